"""tfnlp.predict and models that write: settings, and answers shown as they come."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import UserError
from tfnlp.predict import main
from tfnlp.saved_model import load, opened
from tfnlp.settings import Settings
from tfnlp.streaming import Stream, sure

COMMAND = [sys.executable, "-m", "tfnlp.predict"]
ALL = {"max_tokens": 64, "stop": ""}
WAYS = {
    "sample": {"temperature": 1.0, "top_k": 0, "top_p": 0.9, "sampling_seed": 0, **ALL},
    "beam": {"beams": 4, "length_penalty": 1.0, **ALL},
    "contrastive": {"top_k": 5, "alpha": 0.6, **ALL},
}
DTYPES = {int: tf.int32, float: tf.float32, str: tf.string}


def specs(way: str) -> list[tf.TensorSpec]:
    settings = [
        tf.TensorSpec([None], DTYPES[type(value)], name) for name, value in WAYS[way].items()
    ]
    return [tf.TensorSpec([None], tf.string, "text"), *settings]


def as_text(values: tf.Tensor) -> tf.Tensor:
    if values.dtype == tf.string:
        return values
    return tf.strings.as_string(values, shortest=values.dtype == tf.float32)


class Backwards(tf.Module):
    """Writes a text backwards, a byte a token: an emoji takes four, a space before a comma goes.

    By chance, above a temperature of 0, it writes in capitals.
    """

    def written(self, text, count):
        text = tf.strings.substr(text, tf.zeros_like(count), count)
        return tf.strings.regex_replace(text, " ,", ",")

    def told(self, text, count, stop):
        count = tf.minimum(count, tf.strings.length(text))
        whole = self.written(text, count)
        ended = tf.map_fn(
            lambda both: tf.strings.regex_replace(both[0], both[1] + ".*", ""),
            (whole, stop),
            fn_output_signature=tf.string,
        )
        return {
            "generated": tf.where(stop == "", whole, ended),
            "score": -tf.cast(count, tf.float32) / 8,
            "tokens": count,
            "cut": tf.zeros_like(count),
        }

    def backwards(self, text):
        return tf.strings.reduce_join(tf.strings.unicode_split(text, "UTF-8")[:, ::-1], axis=1)

    def sampled(self, told):
        text = self.backwards(told["text"])
        return tf.where(told["temperature"] > 0, tf.strings.upper(text), text)

    def way(self, way):
        names = [spec.name for spec in specs(way)]

        def write(*inputs):
            told = dict(zip(names, inputs, strict=True))
            text = self.sampled(told) if way == "sample" else self.backwards(told["text"])
            parts = [f"{name}=" + as_text(told[name]) for name in names[1:]]
            return {
                **self.told(text, told["max_tokens"], told["stop"]),
                "told": tf.strings.join([way, *parts], " "),
            }

        return tf.function(write, specs(way), autograph=False)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def serve(self, text):
        text = self.backwards(text)
        return self.told(text, tf.strings.length(text), tf.zeros_like(text))

    def shown(self, text, count, most, stop):
        told = self.told(text, count, stop)
        state = {"state_000": text, "state_001": count, "state_002": most, "state_003": stop}
        stopped = told["generated"] != self.written(text, told["tokens"])
        done = stopped | (count >= tf.minimum(most, tf.strings.length(text)))
        return {**told, **state, "done": done}

    def start(self):
        names = [spec.name for spec in specs("sample")]

        def begin(*inputs):
            told = dict(zip(names, inputs, strict=True))
            none = tf.zeros_like(told["max_tokens"])
            return self.shown(self.sampled(told), none, told["max_tokens"], told["stop"])

        return tf.function(begin, specs("sample"), autograph=False)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, "state_000"),
            tf.TensorSpec([None], tf.int32, "state_001"),
            tf.TensorSpec([None], tf.int32, "state_002"),
            tf.TensorSpec([None], tf.string, "state_003"),
            tf.TensorSpec([], tf.int32, "steps"),
        ]
    )
    def advance(self, state_000, state_001, state_002, state_003, steps):
        return self.shown(state_000, state_001 + steps, state_002, state_003)


@pytest.fixture(scope="module")
def writers(tmp_path_factory) -> Path:
    """A working folder with models: one for each way to write by itself, and others."""
    folder = tmp_path_factory.mktemp("writers")
    module = Backwards()
    signatures = {name: module.way(name) for name in WAYS}
    signatures |= {"serving_default": module.serve}
    tf.saved_model.save(module, str(folder / "whole"), signatures)
    signatures |= {"start": module.start(), "advance": module.advance}
    first = folder / "saved_models" / "sample" / "1"
    tf.saved_model.save(module, str(first), signatures)
    for name in ("greedy", "beam", "contrastive", "talk", "whole", "bare"):
        source = folder / "whole" if name == "whole" else first
        shutil.copytree(source, folder / "saved_models" / name / "1")
    for name in ("sample", "greedy", "beam", "contrastive", "talk", "whole"):
        decoding = {"talk": "greedy", "whole": "sample"}.get(name, name)
        written = {"serving_default": {"decoding": decoding}, **WAYS}
        (folder / "saved_models" / name / "1/settings.json").write_text(json.dumps(written))
    (folder / "saved_models/talk/1/inputs.json").write_text('{"text": "turns"}')
    return folder


@pytest.fixture(autouse=True)
def _at_home(writers, tmp_path, monkeypatch):
    """Run in an empty folder that sees the models."""
    (tmp_path / "saved_models").symlink_to(writers / "saved_models")
    monkeypatch.chdir(tmp_path)


def answers(capsys, *arguments: str) -> list[dict]:
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return [json.loads(line) for line in captured.out.split("\n")[:-1]]


def fails(capsys, *arguments: str) -> str:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    return captured.err.removeprefix("error: ").removesuffix("\n")


def setting(*pairs: str) -> list[str]:
    return [word for pair in pairs for word in ("--set", pair)]


# Settings


def test_without_settings_the_model_answers_in_its_own_way(capsys):
    (row,) = answers(capsys, "sample", "ab")
    assert row == {"text": "ab", "cut": 0, "generated": "ba", "score": -0.25, "tokens": 2}
    assert answers(capsys, "bare", "ab") == [row]


@pytest.mark.parametrize(
    ("model", "pairs", "told"),
    [
        ("sample", ["temperature=0.7"], "sample temperature=0.7 top_k=0 top_p=0.9 sampling_seed=0"),
        ("sample", ["top_k=3", "top_p=.5"], "sample temperature=1 top_k=3 top_p=0.5"),
        ("sample", ["top_k=3", "top_k=4"], "sample temperature=1 top_k=4"),
        ("sample", ["beams=8"], "beam beams=8 length_penalty=1 max_tokens=64 stop="),
        ("sample", ["alpha=.5", "max_tokens=3"], "contrastive top_k=5 alpha=0.5 max_tokens=3"),
        ("beam", ["temperature=2"], "sample temperature=2"),
        ("beam", ["max_tokens=1"], "beam beams=4 length_penalty=1 max_tokens=1"),
        ("contrastive", ["top_k=2"], "contrastive top_k=2"),
        ("beam", ["top_k=2"], "sample temperature=1 top_k=2"),
        ("greedy", ["max_tokens=1"], "sample temperature=0 top_k=0"),
        ("greedy", ["top_p=0.5"], "sample temperature=1 top_k=0 top_p=0.5"),
        ("greedy", ["max_tokens=1", "temperature=2"], "sample temperature=2"),
        ("greedy", ["beams=2"], "beam beams=2"),
    ],
)
def test_settings_choose_who_answers(capsys, model, pairs, told):
    rows = answers(capsys, model, "ab", "c, d", *setting(*pairs))
    assert [row["text"] for row in rows] == ["ab", "c, d"]
    assert rows[0]["told"] == rows[1]["told"]
    assert f"{rows[0]['told']} ".startswith(f"{told} ")


def test_settings_of_the_signature_that_is_named(capsys):
    (row,) = answers(capsys, "greedy", "ab", "--signature", "sample")
    assert row["told"].startswith("sample temperature=1 ")
    (row,) = answers(capsys, "greedy", "ab", "--signature", "beam", *setting("stop=a=b", "beams=1"))
    assert row["told"] == "beam beams=1 length_penalty=1 max_tokens=64 stop=a=b"


def test_load_takes_settings():
    model = load(Path("saved_models/sample/1"), "sample", {"temperature": "0", "max_tokens": "1"})
    assert model.inputs == ("text",)
    first, second = model.answer({"text": ["ab", "cd"]})
    assert (first["generated"], second["generated"]) == ("b", "d")
    assert first["told"].startswith("sample temperature=0 top_k=0 top_p=0.9 sampling_seed=0 max")
    with pytest.raises(UserError, match="bare/1 does not read strings of shape"):
        load(Path("saved_models/bare/1"), "sample")


def test_turns_are_one_string_for_the_model(capsys):
    rows = [["Hi!", "Who are you?"], [{"role": "user", "content": "a\nb"}]]
    Path("in.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    found = answers(capsys, "talk", "--input", "in.jsonl", *setting("max_tokens=99"))
    assert [row["generated"] for row in found] == ["?uoy era ohW\n!iH", "b a"]
    (row,) = answers(capsys, "talk", "one\n two ")
    assert row["generated"] == "owt\neno"


HAVE = (
    "sample has: temperature, top_k, top_p, sampling_seed, max_tokens, stop; "
    "beam has: beams, length_penalty, max_tokens, stop; "
    "contrastive has: top_k, alpha, max_tokens, stop"
)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["sample", *setting("temperature=abc")],
            "the setting temperature is a number, not 'abc' (default: 1.0)",
        ),
        (
            ["sample", *setting("temperature=nan")],
            "the setting temperature is a number, not 'nan' (default: 1.0)",
        ),
        (
            ["sample", *setting("top_p=1e39")],
            "the setting top_p is a number, not '1e39' (default: 0.9)",
        ),
        (
            ["sample", *setting("beams=1.5")],
            "the setting beams is a whole number of 32 bits, not '1.5' (default: 4)",
        ),
        (
            ["sample", *setting("top_k=2147483648")],
            "the setting top_k is a whole number of 32 bits, not '2147483648' (default: 0)",
        ),
        (
            ["sample", *setting("max_tokens=")],
            "the setting max_tokens is a whole number of 32 bits, not '' (default: 64)",
        ),
        (
            ["sample", *setting("stop=\udce9")],
            "the setting stop is a text, not '\\udce9' (default: '')",
        ),
        (
            ["sample", *setting("temprature=1")],
            f"there is no setting 'temprature'; did you mean 'temperature'? {HAVE}",
        ),
        (["beam", *setting("colour=1")], f"there is no setting 'colour'; {HAVE}"),
        (
            ["sample", *setting("beams=2", "alpha=1")],
            f"no signature has all of beams, alpha; {HAVE}",
        ),
        (
            ["sample", "--signature", "beam", *setting("beam=2")],
            "beam of saved_models/sample/1 has no setting 'beam'; did you mean 'beams'? "
            "it has: beams, length_penalty, max_tokens, stop",
        ),
        (
            ["sample", "--signature", "serving_default", *setting("beams=2")],
            "serving_default of saved_models/sample/1 has no setting 'beams'; it has none",
        ),
        (
            ["bare", *setting("beams=2")],
            "saved_models/bare/1 has no settings (--set is for models that write, which have a "
            "settings.json)",
        ),
        (
            ["whole", "--stream"],
            "saved_models/whole/1 cannot be asked with --stream, for which it lacks the "
            "signatures start and advance; it has: beam, contrastive, sample, serving_default",
        ),
        (
            ["beam", "--stream", *setting("beams=2")],
            "--stream writes by the signature sample, which has no setting 'beams'; it has: "
            "temperature, top_k, top_p, sampling_seed, max_tokens, stop",
        ),
        (
            ["sample", "--stream", "--signature", "beam"],
            "--stream writes by the signature sample, not beam (leave out one of them)",
        ),
        (
            ["sample", "--stream", "--output", "out.txt"],
            "--stream shows answers as they are, on standard output (leave out --output and "
            "--format)",
        ),
    ],
)
def test_mistakes(capsys, arguments, message):
    assert fails(capsys, *arguments, "a text") == message
    assert not Path("out.txt").exists()


def test_a_setting_has_a_name_and_a_value(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["sample", "x", "--set", "temperature"])
    assert caught.value.code == 2
    assert "'temperature' is not of the form NAME=VALUE" in capsys.readouterr().err


def test_help_has_examples(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    assert "--set temperature=0.7 --set top_p=0.9" in out
    assert "--stream" in out


def test_what_an_export_writes_is_read():
    known = Settings.of({"serving_default": {"decoding": "beam"}, **WAYS})
    assert known.choose({}) == ("beam", {})
    assert known.ways["start"] == WAYS["sample"]
    assert Settings.of({}).choose({}) == ("", {})


# Streaming

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
        "0 tokens, score -0.00\n",
    )
    assert streamed(capsys, "greedy", "dc ba", "--signature", "sample")[0] == "AB CD\n"


def test_a_search_is_streamed_only_if_told_and_says_so(capsys):
    for model in ("beam", "contrastive"):
        out, err = streamed(capsys, model, "ba")
        assert out == "ab\n"
        first, rest = err.split("\n", 1)
        assert (
            first
            == f"{model} search shows nothing before its end: this is written greedily instead"
        )
        assert re.fullmatch(STATS, rest)
    out, err = streamed(capsys, "contrastive", "ba", "--set", "top_k=2")
    assert out == "AB\n"
    assert "by chance instead\n" in err


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
    assert errors == "interrupted\n"
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
