"""tfnlp.predict and models that write: answers shown as they come."""

from __future__ import annotations

import io
import os
import pty
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfnlp import predict
from tfnlp.inference.saved_model import opened
from tfnlp.inference.streaming import Stream, sure
from tfnlp.runtime import exit_status

main = partial(exit_status.status, predict.main)
pytestmark = pytest.mark.usefixtures("_at_writers")

COMMAND = [sys.executable, "-m", "tfnlp.predict"]
STATS = r"(\d+) tokens, [\d.,]+ tokens/s, score (-?\d+\.\d\d)\n"


def streamed(capsys, *arguments: str) -> tuple[str, str]:
    assert main([*arguments, "--stream"]) == 0
    captured = capsys.readouterr()
    return captured.out, captured.err


def test_an_answer_is_streamed_into_a_pipe_as_it_is(capsys):
    text = "😀a\x1b[31m\r\n é ,ß"
    out, err = streamed(capsys, "greedy", text)
    assert out == text[::-1].replace(" ,", ",") + "\n"
    assert re.fullmatch(STATS, err)[1] == str(len(text.encode()))


def test_streaming_samples_as_the_settings_say(capsys):
    out, err = streamed(capsys, "sample", "dc ba")
    assert out == "AB CD\n"
    assert re.fullmatch(STATS, err).groups() == ("5", "-0.62")
    assert streamed(capsys, "sample", "dc ba", "--set", "temperature=0")[0] == "ab cd\n"
    assert streamed(capsys, "greedy", "dc ba", "--set", "max_tokens=4")[0] == "ab c\n"
    assert streamed(capsys, "greedy", "dc ba", "--set", "top_p=.5")[0] == "AB CD\n"
    assert streamed(capsys, "greedy", "dc ba", "--set", "max_tokens=0") == (
        "\n",
        "0 tokens, score 0.00\n",
    )
    assert streamed(capsys, "greedy", "dc ba", "--signature", "sample")[0] == "AB CD\n"


def test_a_search_is_streamed_only_if_told_and_says_so(capsys):
    for model in ("beam", "contrastive"):
        out, err = streamed(capsys, model, "ba")
        assert out == "ab\n"
        first, rest = err.split("\n", 1)
        search = f"{model} search shows nothing before its end"
        assert first == f"warning: {search}; this is written greedily instead"
        assert re.fullmatch(STATS, rest)
    out, err = streamed(capsys, "contrastive", "ba", "--set", "top_k=2")
    assert out == "AB\n"
    assert "; this is sampled instead\n" in err


def test_rows_are_streamed_one_after_another(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("ba\n\n😀d c\n".encode())))
    out, err = streamed(capsys, "greedy")
    assert out == "ab\n\nc d😀\n"
    assert len(err.splitlines()) == 3


class Pieces(io.StringIO):
    """Remembers what was written at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []

    def write(self, text: str) -> int:
        self.pieces.append(text)
        return super().write(text)


def pieces(text: str, **told: str) -> list[str]:
    output = Pieces()
    stream = Stream(opened(Path("saved_models/greedy/1")), {"temperature": "0", **told})
    stream.show({"text": text}, output)
    return [piece for piece in output.pieces if piece]


def test_only_what_stays_is_shown():
    # A character is there with the last of its bytes, and stays if it does once another follows.
    assert pieces("c😀ba") == ["a", "b", "😀c", "\n"]
    assert pieces("cb, a") == ["a", ",", "bc", "\n"]


def test_a_stop_string_is_never_shown_in_part():
    assert "".join(pieces("c DNE ba", stop="END")) == "ab \n"
    assert not any("E" in piece for piece in pieces("c DNE ba", stop="END"))
    assert "".join(pieces("EN ba", stop="END")) == "ab NE\n"


@given(st.lists(st.text(max_size=5), max_size=6), st.lists(st.text(min_size=1, max_size=3)))
def test_what_was_sure_stays(parts, stop):
    before, shown = "", ""
    for part in parts:
        now = before + part
        certain = sure(before, now, stop)
        assert now.startswith(certain)
        assert certain.startswith(shown)
        assert not certain.endswith("\ufffd")
        assert not any(certain.endswith(word[:n]) for word in stop for n in range(1, len(word)))
        before, shown = now, certain


def on_terminal(*arguments: str, stop_at: bytes | None = None) -> tuple[int, str, str]:
    """Return the status, what a terminal shows of standard output, and standard error."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.PIPE,
        # Tests in the background ignore SIGINT, and a child would too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # how Linux says that the other side is closed
            break
        shown += part
        if stop_at is not None and stop_at in shown:
            process.send_signal(signal.SIGINT)
            stop_at = None
    os.close(ours)
    assert process.stderr is not None
    errors = process.stderr.read().decode()
    return process.wait(), shown.decode().replace("\r\n", "\n"), errors


def test_a_terminal_is_shown_an_answer_as_it_comes_and_obeys_nothing():
    status, shown, errors = on_terminal("sample", "m13[\x1b\n😀 \tb\xa0a")
    assert (status, shown) == (0, "A B  😀\n [31M\n")
    assert re.fullmatch(STATS, errors)


@pytest.mark.parametrize(
    ("arguments", "streams"),
    [
        (["greedy", "yx"], True),
        (["beam", "yx", "--set", "temperature=0"], True),
        (["greedy", "yx", "--no-stream"], False),
        (["sample", "yx", "--signature", "sample"], True),
        (["beam", "yx"], False),
        (["sample", "yx", "--set", "beams=2"], False),
        (["sample", "yx", "zx"], False),
        (["sample", "yx", "--format", "table"], False),
        (["whole", "yx"], False),
        (["bare", "yx"], False),
    ],
)
def test_a_terminal_shows_else_a_table(arguments, streams, monkeypatch, capsys):
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda self: True)
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert ("tokens/s" in captured.err) == streams
    assert (captured.out.lower() == "xy\n") == streams
    assert ("┏" in captured.out) != streams


def test_ctrl_c_ends_an_answer():
    text = "end" + "b" * 20_000 + "a"
    status, shown, errors = on_terminal("greedy", text, "--set", "max_tokens=20004", stop_at=b"abb")
    assert status == 130
    assert errors == "error: stopped by SIGINT\n"
    assert re.fullmatch("ab+\n", shown)


def test_a_reader_that_has_enough_ends_an_answer():
    text = "b" * 10_000 + "\na"
    command = [*COMMAND, "greedy", text, "--stream", "--set", "max_tokens=10004"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b"a\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 0
