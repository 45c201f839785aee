"""tfnlp.predict asks a server as it asks a SavedModel in a folder."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from tfnlp import predict
from tfnlp.inference import remote
from tfnlp.runtime import exit_status

from .models import write

ROWS = [
    "plain",
    "",
    "Ünïcode 中文 🚀",
    'quo"te\\',
    "tab\tand\x00nul",
    "long " * 2000,
    *map(str, range(90)),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("same")
    write(folder)
    return folder


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"a": x, "b": "!"}) + "\n" for x in ROWS))
    return path


def answers(model, rows, target, *flags):
    command = [str(model), "--input", str(rows), "--output", str(target), *flags]
    assert predict.main(command) == 0
    return [json.loads(line) for line in target.read_text().splitlines()]


@pytest.mark.parametrize("protocol", ["REST", "gRPC"])
def test_answers_as_the_folder_does(server, folder, rows, tmp_path, protocol):
    address = f"{server.rest}/v1/models/pair"
    if protocol == "gRPC":
        address = f"grpc://{server.grpc}/pair"
    wanted = answers(folder / "pair", rows, tmp_path / "local.jsonl")
    asked = answers(address, rows, tmp_path / "there.jsonl", "--batch-size", "7", "--requests", "3")
    assert asked == wanted
    assert [row["a"] for row in asked] == ROWS


def test_a_version_and_a_label(server, capsys):
    for which in ("/versions/1", "/labels/stable"):
        saved = remote.opened(f"{server.rest}/v1/models/line{which}")
        assert saved.inputs("serving_default")["x"].shape == [None]
    assert remote.opened(f"grpc://{server.grpc}/line/versions/2").signatures >= {"serving_default"}
    assert exit_status.status(predict.main, [f"{server.rest}/v1/models/line", "a"]) == 2
    assert "does not read strings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://127.0.0.1:9/v1/models/pair", "is the server running?"),
        ("grpc://127.0.0.1:9/pair", "is the server running?"),
        ("http://HOST/v1/modells/pair", "not a model's address"),
        ("ftp://HOST/pair", "not a model's address"),
        ("{rest}/v1/models/nothing", "answers 404"),
        ("grpc://{grpc}/nothing", "answers NOT_FOUND"),
        ("{rest}/v1/models/pair/versions/99", "answers 404"),
    ],
)
def test_mistakes(server, address, said, capsys, monkeypatch):
    monkeypatch.setattr(remote, "_WAIT", 0.01)
    address = address.format(rest=server.rest, grpc=server.grpc)
    assert exit_status.status(predict.main, [address, "a", "b"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert said in told


class Flaky(BaseHTTPRequestHandler):
    """Hands requests on, but refuses each one twice before."""

    def hand_on(self):
        seen = self.server.seen
        size = int(self.headers.get("content-length", 0))
        body = self.rfile.read(size)
        key = (self.path, body)
        with self.server.lock:
            seen[key] = seen.get(key, 0) + 1
            refused = seen[key] <= 2
        if refused:
            self.send_response(503 if seen[key] == 1 else 429)
            self.send_header("content-length", "0")
            self.end_headers()
            return
        url = self.server.behind + self.path
        found = requests.request(self.command, url, data=body or None, timeout=60)
        self.send_response(found.status_code)
        self.send_header("content-length", str(len(found.content)))
        self.end_headers()
        self.wfile.write(found.content)

    do_GET = do_POST = hand_on  # noqa: N815  (the names are http.server's)

    def log_message(self, *args):
        pass


@pytest.fixture
def flaky(server):
    with ThreadingHTTPServer(("127.0.0.1", 0), Flaky) as between:
        between.seen, between.lock, between.behind = {}, threading.Lock(), server.rest
        threading.Thread(target=between.serve_forever, daemon=True).start()
        yield between
        between.shutdown()


def test_a_server_that_is_away_or_full_is_asked_again(flaky, folder, rows, tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "_WAIT", 0.01)
    address = f"http://127.0.0.1:{flaky.server_port}/v1/models/pair"
    wanted = answers(folder / "pair", rows, tmp_path / "local.jsonl")
    assert answers(address, rows, tmp_path / "there.jsonl") == wanted
    assert set(flaky.seen.values()) == {3}


def test_a_failure_leaves_the_old_output(flaky, rows, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(remote, "_WAIT", 0.01)
    target = tmp_path / "answers.jsonl"
    target.write_text("old")
    monkeypatch.setattr(remote, "_ATTEMPTS", 2)
    address = f"http://127.0.0.1:{flaky.server_port}/v1/models/pair"
    assert (
        exit_status.status(predict.main, [address, "--input", str(rows), "--output", str(target)])
        == 2
    )
    assert "answers 429 without JSON" in capsys.readouterr().err
    assert target.read_text() == "old"
