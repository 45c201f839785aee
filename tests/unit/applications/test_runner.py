"""python -m tfnlp.applications: events by lines and over HTTP, users' mistakes, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from filelock import FileLock

from pipelines.errors import UserError
from tfnlp.applications import __main__ as runner
from tfnlp.applications import _events, _web
from tfnlp.inference import saved_model

COMMAND = [sys.executable, "-m", "tfnlp.applications"]
PATIENCE = 120  # [s]
ROOT = Path(runner.__file__).parents[2]


@pytest.fixture(autouse=True)
def _at_saved(saved, tmp_path, monkeypatch):
    """Run in an empty folder that sees the models."""
    (tmp_path / "saved_models").symlink_to(saved)
    monkeypatch.chdir(tmp_path)


GRAPH = ("knowledge_graph", "--model", "triples=triples")
# An outsider's module, which asks no model, so that it starts quickly.
ECHO = """
import time
from dataclasses import make_dataclass
from pathlib import Path

from tfnlp.application import Application


class Echo:
    def __init__(self, folder):
        self.folder = folder

    def handle(self, event):
        if event["text"] == "slow":
            Path("at work").touch()
            time.sleep(0.5)
        yield {"type": "echo", "text": event["text"]}

    def close(self):
        (self.folder / "closed").touch()


APPLICATION = Application(
    summary="says it again",
    options=make_dataclass("Options", []),
    models={},
    sample=(),
    open=lambda options, models, folder: Echo(folder),
)
"""


def write_echo() -> None:
    Path("mine").mkdir()
    Path("mine/echo.py").write_text(ECHO)


@contextlib.contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen]:
    """Start the command."""
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # The tests themselves may run in the background, where SIGINT is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{Path.cwd()}"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def lines(output: bytes) -> list[dict]:
    return [json.loads(line) for line in output.splitlines()]


# ------------------------------------------------------------------- lines


def test_each_line_is_answered():
    given = b"\n".join(
        [
            b"\xef\xbb\xbfRome near Tiber",
            b"",
            b'{"type": "text", "text": "R\\u00f6m in Italy"}',
            b'{"type": "tea"}',
            b"{nonsense",
            b"not UTF-8: \xff",
            b'{"type": "text", "text": "\\ud800"}',
            b'{"type": "query"}',
            b'{"type": "query", "entity": "rome"}',
        ]
    )
    with started(*GRAPH) as process:
        out, errors = process.communicate(given, timeout=PATIENCE)
    assert (process.returncode, errors) == (0, b"")
    answers = lines(out)
    assert [answer["type"] for answer in answers] == [
        *["triples"] * 2,
        *["error"] * 5,
        "facts",
    ]
    assert answers[1]["triples"][0]["head"] == "Röm"
    assert [answer["line"] for answer in answers[2:7]] == [4, 5, 6, 7, 8]
    said = ["there are: text, query", "invalid JSON", "0xff", "surrogate", "'entity'"]
    for answer, part in zip(answers[2:7], said, strict=True):
        assert part in answer["error"]
    assert answers[-1]["facts"][0]["tail"] == "Tiber"
    assert Path("application_state/knowledge_graph/graph.ttl").read_text().count("tiber") == 2


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_event_in_hand_be_answered(sent):
    write_echo()
    with started("mine.echo", "--state", "kept") as process:
        process.stdin.write(b"slow\nnever\n")
        process.stdin.flush()
        wait_for(Path("at work"))
        process.send_signal(sent)
        out, errors = process.communicate(timeout=PATIENCE)
    assert lines(out) == [{"type": "echo", "text": "slow"}]
    assert (process.returncode, errors) == (128 + sent, f"error: stopped by {sent.name}\n".encode())
    assert Path("kept/closed").exists()


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_answer_comes_before_the_next_line_does():
    write_echo()
    with started("mine.echo") as process:
        for text in ("one", "zwei", "三"):
            process.stdin.write(f"{text}\n".encode())
            process.stdin.flush()
            assert lines(process.stdout.readline()) == [{"type": "echo", "text": text}]


def test_a_kill_leaves_what_was_answered():
    with started(*GRAPH, "--state", "kept") as process:
        process.stdin.write(b"Rome near Tiber\n")
        process.stdin.flush()
        assert lines(process.stdout.readline())[0]["row"] == 1
        process.kill()
        process.communicate(timeout=PATIENCE)
    assert json.loads(Path("kept/facts.jsonl").read_text())["text"] == "Rome near Tiber"
    with FileLock("kept/lock", timeout=0):
        pass  # the next process is not kept out


# ------------------------------------------------------------------- HTTP


def test_a_server_answers_events_and_ends_with_its_state_written():
    with started(*GRAPH, "--serve", "--port", "0", "--state", "kept") as process:
        url = process.stdout.readline().decode().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url), process.stderr.read()
        shown = [process.stdout.readline().decode().split() for _ in range(4)]
        assert ["POST", f"{url}/events"] in shown
        assert ["GET", f"{url}/graph.svg"] in shown
        body = b"Rome near Tiber\r\n{nonsense\n"
        answer = requests.post(f"{url}/events", body, timeout=PATIENCE)
        assert answer.headers["content-type"] == "application/x-ndjson"
        assert [(a["type"], a.get("line")) for a in lines(answer.content)] == [
            ("triples", None),
            ("error", 2),
        ]
        graph = requests.get(f"{url}/graph", timeout=PATIENCE).json()
        assert [node["label"] for node in graph["nodes"]] == ["Rome", "Tiber"]
        assert graph["edges"] == [
            {"source": "rome", "target": "tiber", "relation": "near", "score": 0.5, "rows": [1]}
        ]
        facts = requests.get(f"{url}/facts", {"entity": "ROME"}, timeout=PATIENCE).json()
        assert facts["facts"][0]["relation"] == "near"
        for path, status in (("/facts", 400), ("/nowhere", 404), ("/events", 405)):
            refused = requests.get(f"{url}{path}", timeout=PATIENCE)
            assert refused.status_code == status
            assert refused.json()["error"]
        port = url.rpartition(":")[2]
        with pytest.raises(UserError, match=f"cannot listen on 127.0.0.1:{port}"):
            command("--model", "triples=triples", "--serve", "--port", port)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors) == (128 + signal.SIGTERM, b"error: stopped by SIGTERM\n")
    assert "tiber" in Path("kept/graph.ttl").read_text()


def test_a_body_that_is_too_large_is_refused_before_it_is_read(monkeypatch):
    monkeypatch.setattr(_web, "LARGEST", 10)
    sent: list[dict] = []
    parts = iter(range(100))

    async def receive():
        next(parts)
        return {"type": "http.request", "body": b"123456", "more_body": True}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/events", "headers": []}
    asyncio.run(_web.application(None, [])(scope, receive, send))
    assert sent[0]["status"] == 413
    assert "larger than 10 bytes" in json.loads(sent[1]["body"])["error"]
    assert next(parts) == 2


# ------------------------------------------------------------------- mistakes


def command(*arguments: str) -> int:
    return runner.main(["knowledge_graph", *arguments])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give it as --model triples=SAVEDMODEL"),
        (["--model", "triple=triples"], "has no role 'triple'; did you mean 'triples'"),
        (["--model", "triples=a", "--model", "triples=b"], "names a role twice"),
        (["--model", "triples=nowhere"], "there is no model 'nowhere'"),
        (["--model", "triples=length"], "answers with length, not with triples"),
        (["--model", "triples=http://127.0.0.1:9/x"], "is not a model's address"),
        (["--model", "triples=triples", "--port", "8000"], "--port 8000 is given without --serve"),
        (["--model", "triples=triples", "--serve", "--port", "70000"], "70000 is not a port"),
    ],
)
def test_mistakes_are_one_sentence(arguments, said):
    with pytest.raises(UserError, match=said):
        command(*arguments)


def test_mistakes_of_the_parser_exit_with_2(capsys):
    for arguments, said in (
        (["--model", "triples"], "'triples' is not of the form ROLE=MODEL"),
        (["--mode", "triples=triples"], "did you mean --model"),
        (["--min-score", "2"], "too large"),
    ):
        with pytest.raises(SystemExit) as stop:
            command(*arguments)
        assert stop.value.code == 2
        assert said in capsys.readouterr().err


def test_a_state_belongs_to_one_process():
    Path("kept").mkdir()
    with (
        FileLock("kept/lock"),
        pytest.raises(UserError, match=r"kept is in use by another process .* --state FOLDER"),
    ):
        command("--model", "triples=triples", "--state", "kept")


def test_applications_are_listed(capsys):
    assert runner.main([]) == 0
    assert "knowledge_graph    a graph" in capsys.readouterr().out
    with pytest.raises(UserError, match="name comes first"):
        runner.main(["--serve"])
    with pytest.raises(UserError, match="did you mean 'knowledge_graph'"):
        runner.main(["knowledge-graf"])


def test_an_outsiders_module_must_define_a_record(monkeypatch):
    monkeypatch.syspath_prepend(Path.cwd())
    Path("mine").mkdir()
    Path("mine/shop.py").write_text("")
    with pytest.raises(UserError, match=r"mine\.shop defines no APPLICATION"):
        runner.main(["mine.shop"])


def test_a_missing_library_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "networkx", None)
    with pytest.raises(UserError, match=r"needs networkx.*pip install -e '\.\[applications\]'"):
        command("--model", "triples=triples")


def test_a_models_failure_is_an_error_event(model):
    def fail(event):
        raise UserError("the server is away")
        yield

    conversation = type("Failing", (), {"handle": staticmethod(fail)})()
    assert list(_events.answers(conversation, 7, b"x")) == [
        {"type": "error", "line": 7, "error": "the server is away"}
    ]


def test_the_fixture_answers_as_it_says(saved, model):
    texts = {"text": ["Rome near Tiber", "", "Ö b c d", "a b"]}
    assert saved_model.load(saved / "triples/1").answer(texts) == model.answer(texts)
