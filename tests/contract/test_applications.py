"""Every application in tfnlp/applications, found by discovery, opens, answers and remembers."""

from __future__ import annotations

import dataclasses
import json
import keyword
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
import requests
import uvicorn

from pipelines import discover
from pipelines.columns import Column
from pipelines.errors import UserError
from tfnlp import application as applications
from tfnlp.applications import __main__ as runner
from tfnlp.applications import _web
from tfnlp.inference.saved_model import ServedModel
from tfnlp.options import plain
from tfnlp.serving import sockets

NAMES = discover.names("tfnlp.applications")
TIMEOUT = 60  # [s]

_TRIPLE = {
    "head": "Marie Curie",
    "head_type": "person",
    "relation": "born_in",
    "tail": "Warsaw",
    "tail_type": "place",
    "score": 0.9,
}
# What a fake model says of any text, by the answer that a role wants.
FAKES: Mapping[str, Any] = {"triples": [_TRIPLE]}


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture
def record(name):
    return applications.load(name)


@pytest.fixture
def start(record, tmp_path):
    """Open the application on fake models; each time in the same folder."""

    def fake(answer: str) -> ServedModel:
        columns = (Column("text", "text", ""),)
        return ServedModel(columns, lambda texts: [{answer: FAKES[answer]} for _ in texts["text"]])

    def opened() -> applications.Conversation:
        models = {role: fake(answer) for role, answer in record.models.items()}
        return record.open(record.options(), models, tmp_path)

    return opened


def answers(conversation, event):
    found = list(conversation.handle(event))
    for answer in found:
        assert isinstance(answer["type"], str)
        json.dumps(answer, allow_nan=False)
    return found


def test_there_are_applications():
    assert "knowledge_graph" in NAMES


def test_the_record_is_filled_in(record):
    assert record.summary
    assert "\n" not in record.summary
    assert dataclasses.is_dataclass(record.options)
    assert record.models
    assert len(record.sample) > 1


def test_flags_do_not_clash_and_are_words_that_python_takes(name, record):
    runner._parser(name, record)  # argparse refuses a flag that is there twice
    assert not [word for word in plain(record.options()) if keyword.iskeyword(word)]


def test_help_is_quick(name):
    loads = f"import sys; from tfnlp import application; application.load({name!r})"
    program = f"{loads}; print({{'numpy', 'starlette', 'tensorflow', 'rich'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


def test_events_are_answered_and_their_state_is_there_again(record, start):
    *first, last = record.sample
    with closing(start()) as conversation:
        before = answers(conversation, last)
        for event in first:
            assert answers(conversation, event)
        after = answers(conversation, last)
    assert after != before, "the last event asks about what the others left behind"
    # Once as it was closed, once as a kill leaves it.
    killed = start()
    assert answers(killed, last) == after
    with closing(start()) as conversation:
        assert answers(conversation, last) == after


def test_events_of_another_kind_are_refused_in_one_sentence(record, start):
    wrong = [{}, {"type": "no such event"}, {"type": ["a", "list"]}, {"type": None}]
    wrong += [{"type": event["type"]} for event in record.sample]
    wrong += [{**event, key: 7} for event in record.sample for key in event]
    with closing(start()) as conversation:
        for event in wrong:
            with pytest.raises(UserError, match=r"^[^\n]+$"):
                list(conversation.handle(event))


def test_events_and_routes_may_come_all_at_once(record, start):
    with closing(start()) as conversation:
        server = uvicorn.Server(
            uvicorn.Config(
                _web.application(conversation, record.routes(conversation)),
                lifespan="off",
                log_config=None,
            )
        )
        sock = sockets.listen("127.0.0.1", 0, "--port")
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        thread = threading.Thread(target=server.run, args=([sock],))
        thread.start()
        try:
            body = "".join(f"{json.dumps(event)}\n" for event in record.sample)
            paths = [r.path for r in record.routes(conversation) if "{" not in r.path]
            with ThreadPoolExecutor(8) as pool:
                sent = [
                    pool.submit(requests.post, f"{url}/events", body, timeout=TIMEOUT)
                    for _ in range(20)
                ]
                got = [
                    pool.submit(requests.get, f"{url}{path}", timeout=TIMEOUT) for path in paths * 3
                ]
            for answer in (future.result() for future in sent):
                assert answer.status_code == 200
                assert len(answer.text.splitlines()) == len(record.sample)
                assert '"error"' not in answer.text
            for answer in (future.result() for future in got):
                assert answer.status_code in (200, 400), answer.text  # 400: it wants parameters
                assert answer.content
        finally:
            server.should_exit = True
            thread.join(TIMEOUT)
