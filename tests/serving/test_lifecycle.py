"""What the embedded server does while versions come and go, and when it is asked too much.

It is asked over real sockets, in a process of its own; TF Serving is not, for these are its own.
"""

import contextlib
import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
import requests
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from .adding import place
from .running import Running, until


def test_a_new_version_takes_the_traffic_and_no_request_is_lost(serve, models):
    server = serve(models)
    assert server.ask().json() == {"predictions": [2.0]}
    answers, stop = [], threading.Event()

    def go_on():
        with requests.Session() as session:
            while not stop.is_set():
                url = f"{server.url}/v1/models/adds:predict"
                answers.append(session.post(url, json={"instances": [1.0]}))

    clients = [threading.Thread(target=go_on) for _ in range(4)]
    for client in clients:
        client.start()
    place(models / "adds", 2, 2.0, warm_up="x")
    until(lambda: server.states() == {2: "AVAILABLE"})
    until(lambda: answers[-1].json() == {"predictions": [3.0]})
    stop.set()
    for client in clients:
        client.join()
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["predictions"][0] for answer in answers} == {2.0, 3.0}


@pytest.mark.parametrize("damage", ["graph", "weights", "warm-up"])
def test_a_broken_version_is_refused_and_the_old_one_serves(serve, models, damage):
    server = serve(models)
    if damage == "warm-up":
        place(models / "adds", 2, 2.0, warm_up="no such input")
    else:
        aside = models.parent / "aside"  # a version in the folder of models would make it a model
        aside.mkdir()
        place(aside, 2, 2.0)
        part = "saved_model.pb" if damage == "graph" else "variables/variables.data-00000-of-00001"
        (aside / "2" / part).write_bytes(b"broken")
        (aside / "2").rename(models / "adds" / "2")
    until(lambda: server.states().get(2) == "END")
    assert server.ask().json() == {"predictions": [2.0]}
    assert server.states() == {1: "AVAILABLE", 2: "END"}
    told = requests.get(f"{server.url}/v1/models/adds/versions/2").json()
    assert told["model_version_status"][0]["status"]["error_message"]
    assert requests.get(f"{server.url}/readyz").status_code == 200
    # Fixed, it is taken.
    shutil.rmtree(models / "adds" / "2")
    place(models / "adds", 2, 2.0)
    until(lambda: server.states() == {2: "AVAILABLE"})
    assert server.ask().json() == {"predictions": [3.0]}


def test_a_model_that_is_added_and_one_that_is_taken_away(serve, models):
    server = serve(models)
    (models / "more").mkdir()
    place(models / "more", 7, 7.0)
    url = f"{server.url}/v1/models/more"
    until(lambda: requests.get(url).status_code == 200)
    until(lambda: "AVAILABLE" in requests.get(url).text)
    assert requests.post(f"{url}:predict", json={"instances": [1]}).json() == {"predictions": [8.0]}
    shutil.rmtree(models / "more")
    until(lambda: requests.get(url).status_code == 404)
    assert server.ask().status_code == 200


def test_the_folder_that_is_away_for_a_while_stops_nothing_loaded(serve, models):
    server = serve(models)
    models.rename(models.with_name("away"))
    until(lambda: "there is no folder" in server.log.read_text())
    assert server.ask().json() == {"predictions": [2.0]}
    time.sleep(0.5)
    assert server.log.read_text().count("there is no folder") == 1
    models.with_name("away").rename(models)
    place(models / "adds", 2, 2.0)
    until(lambda: server.states() == {2: "AVAILABLE"})


def test_who_asks_for_other_models_and_gives_up_leaves_none_half_loaded(serve, models, tmp_path):
    server = serve(models)
    (models / ".other").mkdir()
    place(models / ".other", 1, 1.0, rounds=8000, warm_up="x")  # takes a while to warm up
    request = model_management_pb2.ReloadConfigRequest()
    request.config.model_config_list.config.add(name="other", base_path=str(models / ".other"))
    url = f"{server.url}/v1/models/other"
    with grpc.insecure_channel(server.grpc) as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        asked = stub.HandleReloadConfigRequest.future(request)
        until(lambda: "LOADING" in requests.get(url).text)
        asked.cancel()
    until(lambda: "AVAILABLE" in requests.get(url).text)


def test_policies_and_labels(serve, models, tmp_path):
    place(models / "adds", 2, 2.0)
    place(models / "adds", 3, 3.0)
    config = tmp_path / "models.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "adds" base_path: "{models}/adds" '
        'model_platform: "tensorflow" model_version_policy { specific { versions: 1 versions: 3 } }'
        ' version_labels { key: "stable" value: 1 } } }'
    )
    server = serve(config)
    assert server.states() == {1: "AVAILABLE", 3: "AVAILABLE"}
    assert server.ask(which="/labels/stable").json() == {"predictions": [2.0]}
    assert server.ask().json() == {"predictions": [4.0]}
    assert server.ask(which="/versions/2").status_code == 404
    # Another configuration, by gRPC.
    request = model_management_pb2.ReloadConfigRequest()
    wanted = request.config.model_config_list.config.add(
        name="adds", base_path=str(models / "adds"), model_platform="tensorflow"
    )
    wanted.model_version_policy.all.SetInParent()
    wanted.version_labels["stable"] = 2
    with grpc.insecure_channel(server.grpc) as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        assert stub.HandleReloadConfigRequest(request).status.error_code == 0
        status = get_model_status_pb2.GetModelStatusRequest()
        status.model_spec.name = "adds"
        told = stub.GetModelStatus(status).model_version_status
        assert [each.version for each in told] == [3, 2, 1]
    assert server.ask(which="/labels/stable").json() == {"predictions": [3.0]}


def test_too_many_requests_are_refused_at_once(serve, models):
    shutil.rmtree(models / "adds" / "1")
    place(models / "adds", 1, 1.0, rounds=2000)
    server = serve(models, "--queue", "4", "--batch-size", "1", "--threads", "1")
    with ThreadPoolExecutor(24) as pool:
        found = [answer.result() for answer in [pool.submit(server.ask) for _ in range(24)]]
    codes = [answer.status_code for answer in found]
    assert codes.count(200) >= 5
    assert set(codes) == {200, 429}
    assert server.ask().status_code == 200


def test_requests_that_wait_are_answered_together(serve, models):
    shutil.rmtree(models / "adds" / "1")
    place(models / "adds", 1, 1.0, rounds=500)
    server = serve(models, "--threads", "1")
    with ThreadPoolExecutor(32) as pool:
        found = list(pool.map(lambda x: server.ask(x).json()["predictions"], range(64)))
    assert found == [[x + 1.0] for x in range(64)]
    text = requests.get(f"{server.url}/monitoring/prometheus/metrics").text
    assert ':tensorflow:serving:request_count{model_name="adds",status="OK"} 64.0' in text
    batches = re.search(r"batching_session:requests_count\{model_name=\"adds\"\} (\S+)", text)
    assert float(batches[1]) < 64


def test_a_request_with_too_little_time(serve, models):
    shutil.rmtree(models / "adds" / "1")
    place(models / "adds", 1, 1.0, rounds=4000)
    server = serve(models, "--timeout", "0.1")
    answer = server.ask()
    assert answer.status_code == 504
    assert "within 0.1 s" in answer.json()["error"]


def test_the_end_waits_for_the_answers(serve, models):
    shutil.rmtree(models / "adds" / "1")
    place(models / "adds", 1, 1.0, rounds=6000)
    server = serve(models)
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(server.ask) for _ in range(4)]
        until(lambda: "active_requests 4.0" in metrics(server))
        server.process.send_signal(signal.SIGTERM)
        assert [answer.result().status_code for answer in asked] == [200] * 4
    assert server.process.wait(30) == 0


def metrics(server):
    return requests.get(f"{server.url}/monitoring/prometheus/metrics").text


def test_a_token_and_tls(serve, models, tmp_path):
    certificate, key, token = (tmp_path / name for name in ("cert.pem", "key.pem", "token"))
    subprocess.run(
        (
            f"openssl req -x509 -newkey rsa:2048 -nodes -days 1 -keyout {key} -out {certificate} "
            "-subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1"
        ).split(),
        check=True,
        capture_output=True,
    )
    token.write_text("secret\n")
    flags = ("--tls-certificate", str(certificate), "--tls-key", str(key))
    server = serve(models, *flags, "--token-file", str(token))
    assert server.url.startswith("https://")
    assert server.ask(verify=certificate).status_code == 401
    wrong = server.ask(verify=certificate, headers={"Authorization": "Bearer wrong"})
    assert wrong.status_code == 401
    right = server.ask(verify=certificate, headers={"Authorization": "Bearer secret"})
    assert right.json() == {"predictions": [2.0]}
    assert requests.get(f"{server.url}/healthz", verify=certificate).status_code == 200
    credentials = grpc.ssl_channel_credentials(certificate.read_bytes())
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "adds"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([1.0]))
    with grpc.secure_channel(server.grpc, credentials) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            stub.Predict(request)
        assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
        shown = [("authorization", "Bearer secret")]
        assert stub.Predict(request, metadata=shown).outputs["y"].float_val == [2.0]
    assert "secret" not in server.log.read_text()


def test_large_bodies(serve, models):
    server = serve(models, "--max-body", "1")
    url = f"{server.url}/v1/models/adds:predict"
    for data in (b" " * 2**21, iter([b" " * 2**20] * 50)):  # announced, and in chunks
        with contextlib.suppress(requests.ConnectionError):  # it need not hear us out
            answer = requests.post(url, data=data)
            assert answer.status_code == 413
            assert "larger than 1048576 bytes" in answer.json()["error"]
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "adds"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([1.0] * 2**19))
    with grpc.insecure_channel(server.grpc) as channel, pytest.raises(grpc.RpcError) as refused:
        prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request)
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert server.ask().status_code == 200


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
BODIES = st.binary(max_size=200) | st.fixed_dictionaries(
    {},
    optional={
        "instances": JSON,
        "inputs": JSON,
        "examples": JSON,
        "context": JSON,
        "signature_name": JSON,
    },
).map(lambda value: json.dumps(value).encode())


def test_whatever_it_is_sent_it_answers_and_lives(serve, models):
    server = serve(models, "--quiet")
    session = requests.Session()

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
    @given(BODIES, st.sampled_from(["predict", "classify", "regress", "predict?x", "PREDICT", ""]))
    def send(body, method):
        answer = session.post(f"{server.url}/v1/models/adds:{method}", data=body)
        told = answer.json()
        assert answer.status_code == 200 or (answer.status_code == 400 and told["error"])

    send()
    assert server.ask().json() == {"predictions": [2.0]}
    assert "Traceback" not in server.log.read_text()


def test_the_log_tells_of_each_request(serve, models):
    server = serve(models)
    server.ask()
    server.ask("a")
    until(lambda: len(server.lines()) == 2)
    good, bad = server.lines()
    assert good["status"] == "OK"
    assert good["version"] == 1
    assert good["rows"] == 1
    assert bad["status"] == "INVALID_ARGUMENT"
    assert "not of expected type" in bad["error"]


@pytest.mark.slow
def test_mistakes_of_the_command(tmp_path, models):
    def error(*args):
        command = [sys.executable, "-m", "tfnlp.serve", *map(str, args)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        return done.stderr

    assert "there is no" in error(tmp_path / "nothing")
    assert "single SavedModel" in error(models / "adds" / "1")
    wrong = tmp_path / "models.config"
    wrong.write_text("models {")
    assert "not a models.config" in error(wrong)
    assert "--queue: 0 is too small" in error(models, "--queue", "0")
    assert "70000 is too large" in error(models, "--rest-port", "70000")
    assert "TLS takes both" in error(models, "--tls-key", wrong)
    pem = ("--tls-key", wrong, "--tls-certificate", wrong)
    assert "for TLS" in error(models, *pem)
    taken = Running(models, log=tmp_path / "log")
    try:
        port = taken.url.rpartition(":")[2]
        assert "--rest-port" in error(models, "--rest-port", port, "--grpc-port", "0")
        port = taken.grpc.rpartition(":")[2]
        assert "use --grpc-port" in error(models, "--rest-port", "0", "--grpc-port", port)
    finally:
        taken.process.terminate()
        taken.process.wait(30)
