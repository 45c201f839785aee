from __future__ import annotations

import csv
import io
import json
import os
import shutil
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from pipelines.errors import UserError
from tfnlp import predict
from tfnlp.inference.saved_model import find_model, load, split_rows
from tfnlp.runtime import exit_status

main = partial(exit_status.status, predict.main)
COMMAND = [sys.executable, "-m", "tfnlp.predict"]
ODD = [
    "emoji 😀👩‍👩‍👧",
    "汉字，标点",
    "nul \x00 inside",
    "",
    "two\r\nlines",
    'quote " , comma',
    "\u2028",
]


@pytest.fixture(autouse=True)
def _at_home(home, tmp_path, monkeypatch):
    """Run in an empty folder that sees the models."""
    (tmp_path / "saved_models").symlink_to(home / "saved_models")
    monkeypatch.chdir(tmp_path)


def piped(monkeypatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def jsonl(text: str) -> list[dict]:
    return [json.loads(line) for line in text.split("\n")[:-1]]


def fails(capsys, *arguments: str) -> str:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    return captured.err


# Answers


def test_texts_on_the_command_line(capsys):
    assert main(["length", *ODD]) == 0
    rows = jsonl(capsys.readouterr().out)
    assert [row["text"] for row in rows] == ODD
    assert [row["bytes"] for row in rows] == [len(text.encode()) for text in ODD]
    assert rows[3] == {
        "text": "",
        "batch": len(ODD),
        "bytes": 0,
        "label": "short",
        "score": 1.0,
        "scores": {"short": 1.0, "long": 0.7, "长": 0.0},
    }


def test_a_model_of_two_inputs_takes_texts_in_pairs(capsys):
    assert main(["pair", "a", "b", "--format", "csv", "c", "c"]) == 0
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert rows == [
        ["text_a", "text_b", "joined", "score"],
        ["a", "b", "ab", "0.0"],
        ["c", "c", "cc", "1.0"],
    ]
    assert "3 texts, but each row takes 2, in this order: text_a, text_b" in fails(
        capsys, "pair", "a", "b", "c"
    )


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
def test_a_file_keeps_its_order_and_its_other_columns(suffix):
    texts = [text * (i % 7) for i in range(300) for text in ODD]
    rows = [{"id": str(i), "review": text, "label": "gold"} for i, text in enumerate(texts)]
    with Path(f"in.{suffix}").open("w", newline="", encoding="utf-8") as file:
        if suffix == "jsonl":
            file.writelines(json.dumps(row) + "\n" for row in rows)
        else:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if suffix == "tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    arguments = ["--input", f"in.{suffix}", "--column", "text=review", "--batch-size", "50"]
    assert main(["length", *arguments, "--output", "out.jsonl"]) == 0
    assert main(["length", *arguments, "--output", f"out.{suffix}"]) == 0
    got = jsonl(Path("out.jsonl").read_text(encoding="utf-8"))
    assert [{name: row[name] for name in ("id", "review", "label")} for row in got] == rows
    assert [row["bytes"] for row in got] == [len(text.encode()) for text in texts]
    assert {row["batch"] for row in got} <= {50, 1024 % 50, (len(texts) - 2048) % 50}
    assert {row["predicted_label"] for row in got} == {"short", "long", "长"}
    if suffix != "jsonl":
        with Path(f"out.{suffix}").open(newline="", encoding="utf-8") as file:
            again = list(csv.DictReader(file, delimiter="\t" if suffix == "tsv" else ","))
        assert [row["review"] for row in again] == texts
        assert [json.loads(row["scores"]) for row in again] == [row["scores"] for row in got]


def test_standard_input_is_one_text_a_line(monkeypatch, capsys):
    piped(monkeypatch, "a\r\n\n汉字".encode())
    assert main(["length"]) == 0
    assert [row["text"] for row in jsonl(capsys.readouterr().out)] == ["a", "", "汉字"]


def test_standard_input_in_another_format(monkeypatch, capsys):
    piped(monkeypatch, b'{"text_a": "x", "text_b": "x", "n": [1, null]}\n')
    assert main(["pair", "--input", "-", "--input-format", "jsonl"]) == 0
    (row,) = jsonl(capsys.readouterr().out)
    assert row == {"text_a": "x", "text_b": "x", "n": [1, None], "joined": "xx", "score": 1.0}
    piped(monkeypatch, b"x\n")
    assert "which lines of plain text cannot hold" in fails(capsys, "pair")


@pytest.mark.parametrize("form", ["jsonl", "csv", "table"])
def test_empty_standard_input(monkeypatch, capsys, form):
    piped(monkeypatch, b"")
    assert main(["length", "--format", form]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "warning: no rows to answer\n"


def test_a_table_shows_inputs_and_single_values_and_obeys_nothing(capsys):
    assert main(["length", "--format", "table", "[red]plain[/red]", "\x1b[31mred", "汉字"]) == 0
    out = capsys.readouterr().out
    assert "[red]plain[/red]" in out
    assert "\x1b" not in out
    assert [word for word in ("text", "label", "score", "scores") if f" {word} " in out] == [
        "text",
        "label",
        "score",
    ]
    assert " 0.680 " in out  # 汉字


def test_floats_have_their_own_digits_and_labels_join_scores():
    rows = split_rows(
        {
            "labels": np.array([[b"a", b"b"], [b"b", b"\xff"]], object),
            "scores": np.array([[0.1, 0.9], [np.nan, 1e-9]], np.float32),
            "half": np.array([0.5, 0.25], np.float16),
            "words": np.array([[b"x", "汉".encode()], [b"", b""]], object),
        },
        2,
    )
    assert rows[0] == {
        "half": 0.5,
        "scores": {"a": 0.1, "b": 0.9},
        "words": ["x", "汉"],
    }
    assert list(rows[1]["scores"]) == ["b", "\ufffd"]
    assert rows[1]["scores"]["\ufffd"] == 1e-9
    with pytest.raises(UserError, match="not one value per row"):
        split_rows({"names": np.array(["a", "b", "c"], object)}, 2)


def test_infinite_outputs_are_null(capsys, monkeypatch):
    piped(monkeypatch, b"nan\n1.5\n")
    assert main(["fails"]) == 0
    out = capsys.readouterr().out
    assert out == '{"text": "nan", "number": null}\n{"text": "1.5", "number": 1.5}\n'


def test_a_clash_that_only_a_later_row_brings_is_an_error(capsys):
    rows = ['{"text": "a"}'] * 1024 + ['{"text": "a", "label": "x"}']
    Path("in.jsonl").write_text("\n".join(rows))
    assert main(["length", "--input", "in.jsonl", "--output", "out.jsonl"]) == 2
    assert "row 1025 has a column 'label', which" in capsys.readouterr().err
    Path("in.jsonl").write_text("\n".join(rows).replace("label", "n"))
    assert main(["length", "--input", "in.jsonl", "--output", "out.csv"]) == 2
    assert "write JSONL: --format jsonl" in capsys.readouterr().err
    assert not list(Path().glob("*out*"))


# Bad rows


def test_bad_rows(capsys):
    Path("in.csv").write_bytes(b"text\ngood\ncaf\xe9\n\xff\nlast\n")
    assert "in.csv, row 2 (line 3): not UTF-8: byte 0xe9" in fails(
        capsys, "length", "--input", "in.csv", "--output", "out.jsonl"
    )
    assert not Path("out.jsonl").exists()
    for mode in ("skip", "quarantine"):
        assert main(["length", "--input", "in.csv", "--on-bad-row", mode]) == 0
        captured = capsys.readouterr()
        assert [row["text"] for row in jsonl(captured.out)] == ["good", "last"]
        assert "bad rows left out: 2, " in captured.err
        assert "the first: row 2 (line 3): not UTF-8" in captured.err
    assert "kept in in.csv.bad.jsonl" in captured.err
    assert [row["number"] for row in jsonl(Path("in.csv.bad.jsonl").read_text())] == [2, 3]


# Mistakes


def test_wrong_models(capsys, home):
    there = ", ".join(sorted(path.name for path in (home / "saved_models").iterdir()))
    assert f"there is no model 'nope'; saved_models/ has: {there}" in fails(capsys, "nope", "x")
    Path("empty").mkdir()
    assert "empty holds no SavedModel" in fails(capsys, "empty", "x")
    Path("file").touch()
    assert "there is no model 'file'" in fails(capsys, "file", "x")
    assert "cannot load the SavedModel in saved_models/broken/1" in fails(capsys, "broken", "x")
    assert "does not read strings" in fails(capsys, "ids", "x")
    assert "has no signature 'serving_default'; it has: none" in fails(capsys, "bare", "x")
    assert "not a model's address" in fails(capsys, "http://host/models/x", "x")
    assert "the model in saved_models/fails/1 fails: " in fails(capsys, "fails", "no number")


def test_weights_that_are_missing_or_cut_off(capsys, home, tmp_path):
    source = home / "saved_models/length/10"
    for name in ("variables.index", "variables.data-00000-of-00001"):
        for cut in (False, True):
            folder = tmp_path / f"{name}-{cut}"
            shutil.copytree(source, folder)
            file = folder / "variables" / name
            content = file.read_bytes()
            file.unlink()
            if cut:
                file.write_bytes(content[: len(content) // 2])
            assert "cannot load the SavedModel in" in fails(capsys, str(folder), "x")


@pytest.mark.parametrize("model", ["length", "saved_models/length", "saved_models/length/10"])
def test_the_highest_version_is_taken(model):
    assert find_model(model) == Path("saved_models/length/10")
    assert load(find_model(model)).inputs == ("text",)


def test_a_marked_input_is_checked(capsys):
    assert "must have one <e1>...</e1>" in fails(capsys, "marked", "no marks")
    assert main(["marked", "<e1>a</e1><e2>b</e2>"]) == 0
    rows = '{"text": "ab", "head": {"start": 0, "end": 1}, "tail": {"start": 1, "end": 2}}\n'
    Path("in.jsonl").write_text(rows + '{"text": "ab"}\n')
    assert main(["marked", "--input", "in.jsonl", "--on-bad-row", "skip"]) == 0
    captured = capsys.readouterr()
    lengths = [row["bytes"] for row in jsonl(captured.out)]
    assert lengths == [len("<e1>a</e1><e2>b</e2>")] * 2
    assert "bad rows left out: 1, the first: row 2: 'text' must have" in captured.err


def test_a_signature_is_chosen(capsys):
    assert main(["marked", "--signature", "embed", "<e1>a</e1><e2>b</e2>"]) == 0
    assert jsonl(capsys.readouterr().out)[0]["bytes"] == len("<e1>a</e1><e2>b</e2>")
    assert "it has: embed, serving_default" in fails(capsys, "marked", "--signature", "x", "text")


def test_wrong_inputs(capsys):
    Path("in.csv").write_text("review,label\na,b\n")
    message = fails(capsys, "length", "--input", "in.csv")
    assert "in.csv has no column 'text'; it has: review, label (use --column text=HEADER" in message
    Path("pair.csv").write_text("text_a,b\na,b\n")
    assert "no column 'text_b'; it has: text_a, b (use --column text_b=HEADER)" in fails(
        capsys, "pair", "--input", "pair.csv"
    )
    assert "--column names 'txt'; the model's inputs are: text" in fails(
        capsys, "length", "--input", "in.csv", "--column", "txt=review"
    )
    assert "there is no file none.csv" in fails(capsys, "length", "--input", "none.csv")
    assert "in.doc is of an unknown kind" in (
        Path("in.doc").touch() or fails(capsys, "length", "--input", "in.doc")
    )
    Path("in.txt").write_text("a\n")
    assert "lines of plain text have none (leave it out" in fails(
        capsys, "length", "--input", "in.txt", "--column", "text=review"
    )
    assert "were both given" in fails(capsys, "length", "x", "--input", "in.csv")
    assert "is not UTF-8" in fails(capsys, "length", "caf\udce9")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch-size", "0"], "argument --batch-size: 0 is too small; the smallest value"),
        (["--batch-size", "x"], "argument --batch-size: 'x' is not a whole number"),
        (["--column", "text"], "--column takes INPUT=HEADER, not 'text'"),
        (["--column", "=text"], "--column takes INPUT=HEADER, not '=text'"),
        (["--format", "xml"], "argument --format: 'xml' is not one of: jsonl, csv, tsv, table"),
        (["--batchsize", "3"], "there is no option '--batchsize'; did you mean --batch-size?"),
    ],
)
def test_wrong_flags(arguments, message, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["length", "x", *arguments])
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")


def test_flags_may_stand_between_texts(capsys):
    assert main(["length", "a", "--batch-size", "1", "b", "--", "-c", "--stream"]) == 0
    rows = jsonl(capsys.readouterr().out)
    assert [row["text"] for row in rows] == ["a", "b", "-c", "--stream"]
    assert {row["batch"] for row in rows} == {1}


def test_wrong_outputs(capsys):
    assert "cannot write" in fails(capsys, "length", "x", "--output", "none/out.jsonl")
    Path("folder").mkdir()
    assert "it is a folder" in fails(capsys, "length", "x", "--output", "folder")
    assert "gzipped" in fails(capsys, "length", "x", "--output", "out.jsonl.gz")


def test_a_folder_that_may_not_be_written(capsys):
    folder = Path("locked")
    folder.mkdir()
    folder.chmod(0o500)
    if os.access(folder, os.W_OK):
        folder = Path("/proc")  # no one may write there, not even root
    message = fails(capsys, "length", "x", "--output", str(folder / "out.jsonl"))
    assert f"cannot write {folder.resolve() / 'out.jsonl'}" in message


def test_a_device_is_written_to_and_not_replaced():
    assert main(["length", "x", "--output", "/dev/null"]) == 0
    assert Path("/dev/null").is_char_device()


def test_an_output_may_take_the_place_of_its_input():
    Path("a.jsonl").write_text('{"text": "x"}\n')
    Path("a.jsonl").chmod(0o640)
    Path("link.jsonl").symlink_to("a.jsonl")
    assert main(["length", "--input", "a.jsonl", "--output", "link.jsonl"]) == 0
    assert Path("link.jsonl").is_symlink()
    assert jsonl(Path("a.jsonl").read_text())[0]["label"] == "long"
    assert Path("a.jsonl").stat().st_mode & 0o777 == 0o640
