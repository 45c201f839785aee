"""tfnlp.predict and models that write: settings."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from pipelines.errors import UserError
from tfnlp import predict
from tfnlp.inference.saved_model import load
from tfnlp.inference.settings import Settings
from tfnlp.runtime import exit_status

main = partial(exit_status.status, predict.main)
pytestmark = pytest.mark.usefixtures("_at_writers")


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
    assert [row["generated"] for row in found] == ["?uoy era ohW\n!iH", "b\u2028a"]
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
            "saved_models/bare/1 has no settings (--set is for models that write, and --labels for "
            "zero-shot models, which have a "
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
    assert "--set takes NAME=VALUE, not 'temperature'" in capsys.readouterr().err


def test_help_has_examples(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    assert "--set temperature=0.7 --set top_p=0.9" in out
    assert "--stream" in out


def test_what_an_export_writes_is_read():
    written = json.loads(Path("saved_models/beam/1/settings.json").read_text())
    known = Settings.of(written)
    assert known.choose({}) == ("beam", {})
    assert known.ways["start"] == written["sample"]
    assert Settings.of({}).choose({}) == ("", {})
