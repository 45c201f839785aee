"""What the embedded server does with requests that would take all memory, time, or trust."""

import gzip
import json
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
import requests
import tensorflow as tf
from tensorflow_serving.apis import model_management_pb2, model_service_pb2_grpc, predict_pb2

from .adding import place
from .running import Running, until


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server of one small model for all that only asks."""
    folder = tmp_path_factory.mktemp("holds")
    (folder / "models" / "adds").mkdir(parents=True)
    place(folder / "models" / "adds", 1, 1.0)
    running = Running(folder / "models", "--max-rows", "1000", log=folder / "server.log")
    yield running
    running.process.terminate()
    running.process.wait(30)
    assert "Traceback" not in running.log.read_text()


def post(server, data, **headers):
    return requests.post(f"{server.url}/v1/models/adds:predict", data=data, headers=headers)


def rows(count):
    return json.dumps({"instances": [float(x) for x in range(count)]})


def test_a_request_larger_than_a_batch_is_answered_whole(server):
    answer = post(server, rows(1000))
    assert answer.json() == {"predictions": [x + 1.0 for x in range(1000)]}
    columns = post(server, json.dumps({"inputs": [float(x) for x in range(999)]}))
    assert columns.json() == {"outputs": [x + 1.0 for x in range(999)]}


@pytest.mark.parametrize(
    ("body", "status", "remedy"),
    [
        (rows(1001), 413, "--max-rows"),
        (b'{"inputs": [' + b"1," * 1001 + b"1]}", 413, "--max-rows"),
        (b'{"inputs": {"x": [' + b"1," * 1001 + b"1]}}", 413, "--max-rows"),
        (b'{"instances": [[' + b"[]," * 2**20 + b"[]]]}", 413, "values"),
        (b'{"instances": ' + b"[" * 100 + b"]" * 100 + b"}", 400, "64 levels"),
        (b'{"instances": ' + b"[" * 62 + b"1" + b"]" * 62 + b"}", 400, ""),
        (b'{"instances": ["\\ud800"]}', 400, "surrogate"),
        (b'{"\\udfff": 1, "instances": [1.0]}', 400, "surrogate"),
        (b'{"instances": [1.0], "signature_name": "\\udc00\\ud800"}', 400, "surrogate"),
    ],
)
def test_what_is_too_large_or_no_text_is_refused_with_a_remedy(server, body, status, remedy):
    answer = post(server, body)
    assert answer.status_code == status
    assert remedy in answer.json()["error"]


def test_a_pair_of_surrogates_is_a_character(server):
    assert "not of expected type" in post(server, b'{"instances": ["\\ud83d\\ude00"]}').text
    assert "😀" in post(server, b'{"instances": ["\\ud83d\\ude00"]}').json()["error"]


def test_bodies_that_are_packed(server):
    body = rows(3).encode()
    packed = gzip.compress(body)
    for coding in ("gzip", "x-gzip", "GZIP"):
        assert post(server, packed, **{"content-encoding": coding}).status_code == 200
    assert post(server, body, **{"content-encoding": "identity"}).status_code == 200
    cases = ((packed[:-4], "cut short"), (packed + b"x", "after"), (body, "not gzip"))
    for data, fault in cases:
        answer = post(server, data, **{"content-encoding": "gzip"})
        assert answer.status_code == 400
        assert fault in answer.json()["error"]
    assert post(server, packed, **{"content-encoding": "br"}).status_code == 415
    bomb = gzip.compress(b" " * 2**26)
    assert post(server, bomb, **{"content-encoding": "gzip"}).status_code == 413


@pytest.mark.parametrize("version", ["9" * 5000, str(2**63), "007"])
def test_versions_that_are_no_number_of_theirs(server, version):
    url = f"{server.url}/v1/models/adds/versions/{version}"
    for answer in (requests.get(url), requests.post(f"{url}:predict", data=rows(1))):
        assert answer.status_code in (400, 404)


def ask_grpc(server, data, method="PredictionService/Predict"):
    with grpc.insecure_channel(server.grpc) as channel:
        return channel.unary_unary(f"/tensorflow.serving.{method}")(data, timeout=30)


def declared(*shape, values=(1.0,)):
    """Return a request of a tensor that declares a shape, with some values."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "adds"
    request.inputs["x"].dtype = tf.float32.as_datatype_enum
    request.inputs["x"].float_val.extend(values)
    for size in shape:
        request.inputs["x"].tensor_shape.dim.add(size=size)
    return request.SerializeToString()


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff no message",
        b"",
        declared(200_000_000),
        declared(1, 200_000_000),
        declared(-1),
        declared(2**62, 2**62, 0),
        declared(1001),
        declared(1, values=[1.0] * (2**20 + 1)),
        predict_pb2.PredictRequest(output_filter=[""] * (2**20 + 1)).SerializeToString(),
    ],
)
def test_messages_that_declare_too_much_or_are_none(server, data):
    before = time.process_time()
    with pytest.raises(grpc.RpcError) as error:
        ask_grpc(server, data)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert time.process_time() - before < 30


def test_one_value_may_stand_for_many(server):
    found = predict_pb2.PredictResponse.FromString(ask_grpc(server, declared(1000)))
    assert tf.make_ndarray(found.outputs["y"]).tolist() == [2.0] * 1000


def test_whose_requests_are_answered_without_a_token(server):
    port = server.url.rpartition(":")[2]

    def status(verb="POST", **headers):
        url = f"{server.url}/v1/models/adds" + ":predict" * (verb == "POST")
        answer = requests.request(verb, url, data=rows(1), headers=headers)
        assert answer.headers["x-content-type-options"] == "nosniff"
        return answer.status_code

    for host in ("localhost", "127.0.0.1", "[::1]", f"LOCALHOST:{port}", "localhost."):
        assert status(host=host) == 200
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost@evil", "", "[::1"):
        assert status(host=host) == 403
        assert status("GET", host=host) == 403
    own = f"127.0.0.1:{port}"
    assert status(host=own, origin=f"http://{own}") == 200
    for origin in ("http://evil.example", "null", "http://localhost:1", "http://["):
        assert status(origin=origin) == 403
        assert status("GET", origin=origin) == 200


def test_a_page_that_may_ask_from_elsewhere(serve, models):
    server = serve(models, "--allow-origin", "https://example.org", "--allow-host", "models.test")
    headers = {"origin": "https://example.org", "host": "models.test:80"}
    answer = server.ask(headers=headers)
    assert answer.json() == {"predictions": [2.0]}
    assert answer.headers["access-control-allow-origin"] == "https://example.org"
    assert server.ask(headers={"origin": "https://example.net"}).status_code == 403
    page = requests.get(server.url).headers["content-security-policy"]
    assert "base-uri 'none'" in page
    assert "form-action 'none'" in page


def test_models_from_elsewhere_take_a_token(serve, models, tmp_path):
    (tmp_path / "token").write_text("secret")
    (tmp_path / "other").mkdir()
    place(tmp_path / "other", 1, 5.0)
    (models / "link").symlink_to(tmp_path / "other")
    servers = serve(models), serve(models, "--token-file", str(tmp_path / "token"))

    def reload(server, folder, **metadata):
        request = model_management_pb2.ReloadConfigRequest()
        request.config.model_config_list.config.add(name="other", base_path=str(folder))
        with grpc.insecure_channel(server.grpc) as channel:
            stub = model_service_pb2_grpc.ModelServiceStub(channel)
            return stub.HandleReloadConfigRequest(request, metadata=tuple(metadata.items()))

    for folder in (tmp_path / "other", models / ".." / "other", models / "link"):
        with pytest.raises(grpc.RpcError) as error:
            reload(servers[0], folder)
        assert error.value.code() == grpc.StatusCode.PERMISSION_DENIED
    assert servers[0].ask().status_code == 200
    reload(servers[0], models / "adds")
    reload(servers[1], tmp_path / "other", authorization="bearer secret")


def test_a_token_in_any_case_and_the_counters(serve, models, tmp_path):
    (tmp_path / "token").write_text("secret")
    flags = ("--token-file", str(tmp_path / "token"))
    server, opened = serve(models, *flags), serve(models, *flags, "--open-metrics")
    refused = server.ask()
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"
    for shown in ("Bearer secret", "bearer secret", "BEARER  secret"):
        assert server.ask(headers={"authorization": shown}).status_code == 200
    for shown in ("secret", "Basic secret", "Bearer secret2", "Bearer"):
        assert server.ask(headers={"authorization": shown}).status_code == 401
    path = "/monitoring/prometheus/metrics"
    assert requests.get(server.url + path).status_code == 401
    shown = {"authorization": "Bearer secret"}
    assert requests.get(server.url + path, headers=shown).status_code == 200
    assert requests.get(opened.url + path).status_code == 200


@pytest.mark.parametrize("token", ["sécret", "two words", "a\x01b"])
def test_a_token_that_no_header_shows_is_refused_at_the_start(models, tmp_path, token):
    (tmp_path / "token").write_text(token)
    command = [sys.executable, "-m", "tfnlp.serve", str(models)]
    flags = ["--token-file", str(tmp_path / "token")]
    done = subprocess.run([*command, *flags], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "ASCII" in done.stderr


def test_a_folder_with_zeros_before_its_number(serve, models):
    (models / "adds" / "1").rename(models / "adds" / "007")
    (models / "adds" / str(2**63)).mkdir()
    server = serve(models)
    assert server.states() == {7: "AVAILABLE"}
    assert server.ask(which="/versions/7").json() == {"predictions": [2.0]}


def test_a_model_that_writes_files_is_refused(serve, models):
    class Writes(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
        def serve(self, x):
            tf.io.write_file("/tmp/never", "a")
            return {"y": x}

    module = Writes()
    (models / "writes").mkdir()
    tf.saved_model.save(module, str(models / "writes" / "1"), {"serving_default": module.serve})
    server = serve(models)
    told = requests.get(f"{server.url}/v1/models/writes").text
    assert "--trusted-ops WriteFile" in told
    trusting = serve(models, "--trusted-ops", "WriteFile")
    assert "AVAILABLE" in requests.get(f"{trusting.url}/v1/models/writes").text


# ------------------------------------------------------------------- connections


def test_few_descriptors_and_clients_that_say_nothing(models, tmp_path):
    command = f"ulimit -n 100; exec {sys.executable} -m tfnlp.serve {models} --rest-port 0 "
    log = tmp_path / "log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            ["bash", "-c", command + "--grpc-port 0 --quiet"],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        url = process.stdout.readline().split()[1]
        host, port = url.removeprefix("http://").split(":")
        begun = [b"", b"GET /hea", b"POST /v1/models/adds:predict HTTP/1.1\r\nHost: localhost\r\n"]
        begun.append(begun[2] + b"Content-Length: 9\r\n\r\n{")
        held = []
        for first in begun:
            for _ in range(60):
                held.append(socket.create_connection((host, int(port))))
                held[-1].send(first)
            time.sleep(0.1)
            assert requests.get(f"{url}/healthz", timeout=10).status_code == 200
            body = {"instances": [1.0]}
            answer = requests.post(f"{url}/v1/models/adds:predict", json=body, timeout=10)
            assert answer.json() == {"predictions": [2.0]}
        with ThreadPoolExecutor(120) as pool:
            found = list(pool.map(lambda _: requests.get(f"{url}/v1/models/adds"), range(120)))
        assert {answer.status_code for answer in found} <= {200, 503}
    finally:
        process.terminate()
        assert process.wait(40) == 0
    assert "Traceback" not in log.read_text()
    assert log.read_text().count("as many connections") == 1


def test_too_few_descriptors_to_serve(models):
    command = f"ulimit -n 50; exec {sys.executable} -m tfnlp.serve {models} --rest-port 0"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "ulimit -n" in done.stderr
    assert "Traceback" not in done.stderr


def test_work_for_a_client_that_has_gone_is_dropped(serve, tmp_path):
    (tmp_path / "slow" / "adds").mkdir(parents=True)
    place(tmp_path / "slow" / "adds", 1, 1.0, rounds=2000)
    server = serve(tmp_path / "slow", "--batch-size", "1", "--threads", "1", "--timeout", "600")
    with pytest.raises(requests.Timeout):
        post_slow(server)
    until(lambda: len(server.lines()) == 1)
    assert server.lines()[0]["status"] == "CANCELLED"
    assert server.ask().status_code == 200
    metrics = requests.get(f"{server.url}/monitoring/prometheus/metrics").text
    [count] = [x for x in metrics.splitlines() if "processed_batch_size_count" in x]
    assert float(count.split()[-1]) < 100


def post_slow(server):
    url = f"{server.url}/v1/models/adds:predict"
    requests.post(url, data=rows(1000), timeout=1)
