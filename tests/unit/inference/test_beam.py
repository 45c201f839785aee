"""Files answered by Apache Beam's DirectRunner, beside the same answered by predict itself."""

from __future__ import annotations

import bz2
import gzip
import json
import sys
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfnlp import predict
from tfnlp.runtime import exit_status

main = partial(exit_status.status, predict.main)
ODD = ["emoji 😀👩‍👩‍👧, 汉字", "nul \x00 inside", "", "two\r\nlines", 'quote " , comma', "\u2028"]
PLACE = ("input_file", "input_row")


@pytest.fixture(autouse=True)
def _at_home(home, tmp_path, monkeypatch):
    """Run in an empty folder that sees the models."""
    (tmp_path / "saved_models").symlink_to(home / "saved_models")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def scaled(capsys):
    """Run predict with the DirectRunner; returns its status and what it printed."""
    pytest.importorskip("apache_beam", reason="needs apache-beam: pip install -e '.[beam]'")

    def run(*arguments: str) -> tuple[int, str]:
        status = main([*arguments, "--runner", "DirectRunner"])
        captured = capsys.readouterr()
        assert all(line.startswith(("error: ", "warning: ")) for line in captured.err.splitlines())
        return status, captured.out + captured.err

    return run


def jsonl(path: str) -> list[dict]:
    return [json.loads(line) for line in Path(path).read_text("utf-8").split("\n")[:-1]]


def write(path: str, rows: list[dict]) -> None:
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows))


def shards(prefix: str = "answers") -> list[str]:
    return sorted(str(path) for path in Path().glob(f"{prefix}-*-of-*"))


def answers(prefix: str = "answers") -> list[str]:
    """Return all rows of all shards, without the place they come from, sorted."""
    return plain([row for shard in shards(prefix) for row in jsonl(shard)])


def plain(rows: list[dict], drop: tuple[str, ...] = PLACE) -> list[str]:
    # How many rows were asked together is the one thing that may differ.
    drop = (*drop, "batch")
    return sorted(json.dumps({k: v for k, v in row.items() if k not in drop}) for row in rows)


def locally(*arguments: str) -> list[str]:
    assert main([*arguments, "--output", "local.jsonl"]) == 0
    return plain(jsonl("local.jsonl"))


def flags(*options: str) -> list[str]:
    return [part for option in options for part in ("--runner-option", option)]


# Answers


def test_answers_are_those_of_predict(scaled, capsys):
    rows = [{"text": text, "id": i} for i, text in enumerate(ODD * 3)]
    for part in range(3):
        write(f"texts-{part}.jsonl", rows[part::3])
    write("all.jsonl", rows)
    expected = locally("length", "--input", "all.jsonl")
    capsys.readouterr()
    status, said = scaled(
        "length", "--input", "texts-*.jsonl", "--output", "answers", "--shards", "4"
    )
    assert status == 0
    assert said.splitlines() == [
        "rows answered: 18, of 3 files; left out: 0",
        "shards: 4, answers-*.jsonl",
        "next: head -n 3 answers-00000-of-00004.jsonl",
    ]
    assert shards() == [f"answers-0000{i}-of-00004.jsonl" for i in range(4)]
    assert answers() == expected
    for shard in shards():
        for row in jsonl(shard):
            source = jsonl(row["input_file"])[row["input_row"] - 1]
            assert source == {"text": row["text"], "id": row["id"]}
    assert not Path("answers.bad.jsonl").exists()


@settings(
    max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.text(), min_size=30, max_size=60))
def test_any_text_is_answered_as_by_predict(scaled, texts):
    write("any.jsonl", [{"text": text} for text in texts])
    assert scaled("length", "--input", "any.jsonl", "--output", "answers")[0] == 0
    assert answers() == locally("length", "--input", "any.jsonl")


def test_csv_is_read_by_file_and_columns_are_named(scaled):
    content = 'review,stars\r\n"two\r\nlines",1\r\n"a "" quote",2\r\n汉字,3\r\n'
    Path("a.csv").write_text(content, newline="")
    Path("b.csv").write_text("review,stars\nb 😀,4\n")
    column = ("--column", "text=review")
    assert scaled("length", "--input", "?.csv", *column, "--output", "answers")[0] == 0
    expected = [locally("length", "--input", name, *column) for name in ("a.csv", "b.csv")]
    assert answers() == sorted(expected[0] + expected[1])


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress)])
def test_packed_files_are_read_and_written(scaled, suffix, pack):
    Path(f"lines.txt{suffix}").write_bytes(pack("eins\n汉字\n\n".encode()))
    output = f"answers.jsonl{suffix}"
    assert scaled("length", "--input", f"lines.txt{suffix}", "--output", output)[0] == 0
    unpack = gzip.decompress if suffix == ".gz" else bz2.decompress
    lines = unpack(Path(f"answers-00000-of-00001.jsonl{suffix}").read_bytes()).splitlines()
    rows = [json.loads(line) for line in lines]
    assert {row["input_row"]: row["text"] for row in rows} == {1: "eins", 2: "汉字", 3: ""}


def test_settings_and_signatures_are_those_of_predict(scaled, writers, monkeypatch):
    monkeypatch.chdir(writers)
    output = writers / "scaled"
    write("some.jsonl", [{"text": text} for text in ("abc", "xyz 😀", "longer text")])
    for arguments in (["--set", "max_tokens=3"], ["--set", "beams=2"], ["--signature", "beam"]):
        asked = ("greedy", "--input", "some.jsonl", *arguments)
        assert scaled(*asked, "--output", str(output))[0] == 0
        assert answers("scaled") == locally(*asked)


def test_a_column_named_like_the_place_is_kept(scaled):
    write("texts.jsonl", [{"text": "a", "input_row": 7, "label": "own"}] * 7)
    arguments = ("--input", "texts.jsonl", "--batch-size", "3", "--output", "answers")
    assert scaled("length", *arguments)[0] == 0
    rows = jsonl(shards()[0])
    assert {row["input_row"] for row in rows} == {7}
    assert {row["predicted_input_row"] for row in rows} == {1, 2, 3, 4, 5, 6, 7}
    assert (rows[0]["label"], rows[0]["predicted_label"]) == ("own", "long")
    assert sorted(row["batch"] for row in rows) == [1, 3, 3, 3, 3, 3, 3]


def test_options_reach_the_runner(scaled, monkeypatch):
    from tfnlp.inference import beam

    told = []
    options = beam.PipelineOptions
    monkeypatch.setattr(beam, "PipelineOptions", lambda flags: told.append(flags) or options(flags))
    write("texts.jsonl", [{"text": text} for text in ODD])
    extra = ("direct_num_workers=2", "direct_running_mode=multi_threading")
    arguments = ("--input", "texts.jsonl", "--output", "answers", *flags(*extra))
    assert scaled("length", *arguments)[0] == 0
    assert told == [["--runner=FnApiRunner", *(f"--{option}" for option in extra)]]
    assert len(answers()) == len(ODD)


def test_flink_is_handed_the_job_by_the_portable_protocol(scaled, tmp_path, capsys):
    """Beam's own job service takes Flink's place; what runs is FlinkRunner's code, not Flink."""
    from apache_beam.runners.portability.local_job_service import LocalJobServicer

    Path("a.txt").write_text("one\ntwo 汉字\n")
    service = LocalJobServicer(str(tmp_path / "staged"))
    endpoint = f"job_endpoint=localhost:{service.start_grpc_server()}"
    extra = flags(endpoint, "flink_master=localhost:8081", "environment_type=LOOPBACK")
    arguments = ["length", "--input", "a.txt", "--output", "answers", "--shards", "2"]
    try:
        assert main([*arguments, "--runner", "FlinkRunner", *extra]) == 0
    finally:
        service.stop()
    assert "rows answered: 2, of 1 files; left out: 0\n" in capsys.readouterr().out
    assert len(shards()) == 2
    assert answers() == locally("length", "--input", "a.txt")


# Rows that cannot be used


def test_bad_rows_are_kept_aside_as_by_quarantine(scaled, capsys):
    good = b'{"text": "good"}\n'
    bad = b'{"text": "cut\n\n{"other": 1}\n{"text": "\xff"}\n{"text": "\\ud83d"}\n[]\n'
    Path("a.jsonl").write_bytes(good + bad + good)
    Path("b.jsonl").write_bytes(bad + good)
    expected = []
    for name in ("a.jsonl", "b.jsonl"):
        locally("length", "--input", name, "--on-bad-row", "quarantine")
        expected += [{"input_file": name, **row} for row in jsonl(f"{name}.bad.jsonl")]
        Path(f"{name}.bad.jsonl").unlink()
    capsys.readouterr()
    status, said = scaled("length", "--input", "?.jsonl", "--output", "answers")
    assert status == 0
    assert "rows answered: 3, of 2 files; left out: 10, kept in answers.bad.jsonl\n" in said
    assert plain(jsonl("answers.bad.jsonl"), ()) == plain(expected, ())
    assert len(answers()) == 3

    Path("answers.bad.jsonl").unlink()
    skip = ("--on-bad-row", "skip", "--output", "answers")
    assert "left out: 10\n" in scaled("length", "--input", "?.jsonl", *skip)[1]
    assert not Path("answers.bad.jsonl").exists()

    Path("answers.bad.jsonl").write_text("of an earlier run")
    Path("a.jsonl").write_bytes(good)
    assert scaled("length", "--input", "a.jsonl", "--output", "answers")[0] == 0
    assert not Path("answers.bad.jsonl").exists(), "it would speak of rows that have been fixed"


def test_rows_that_the_model_fails_at_do_not_stop_the_others(scaled):
    Path("numbers.txt").write_text("1\n2\nthree 😀\n4\n")
    status, said = scaled("fails", "--input", "numbers.txt", "--output", "answers")
    assert status == 0
    assert "rows answered: 3, of 1 files; left out: 1, kept in answers.bad.jsonl\n" in said
    assert sorted(row["number"] for row in jsonl(shards()[0])) == [1.0, 2.0, 4.0]
    (bad,) = jsonl("answers.bad.jsonl")
    assert (bad["input_file"], bad["number"], bad["line"]) == ("numbers.txt", 3, None)
    assert "fails: " in bad["reason"]
    assert json.loads(bad["raw"]) == {"text": "three 😀"}


def test_a_file_that_cannot_be_read_does_not_stop_the_others(scaled):
    Path("a.txt.gz").write_bytes(gzip.compress(b"good\n"))
    whole = gzip.compress(b"\xff\n" + b"".join(b"row %d\n" % (i * i) for i in range(5000)))
    Path("b.txt.gz").write_bytes(whole[: len(whole) // 2])
    Path("c.txt.gz").write_bytes(gzip.compress("utf-16\n".encode("utf-16")))
    packed = bz2.compress(b"row\n" * 5000)
    Path("d.txt.bz2").write_bytes(packed[:20] + b"spoilt" + packed[26:])
    text = ("--input-format", "text")
    assert scaled("length", "--input", "*.txt.*", *text, "--output", "answers")[0] == 0
    bad = {(row["input_file"], row["number"]): row["reason"] for row in jsonl("answers.bad.jsonl")}
    assert bad.keys() == {
        ("b.txt.gz", 1),
        ("b.txt.gz", None),
        ("c.txt.gz", None),
        ("d.txt.bz2", None),
    }
    assert "not UTF-8" in bad["b.txt.gz", 1]
    assert "b.txt.gz is not a whole gzip file" in bad["b.txt.gz", None]
    assert "is UTF-16" in bad["c.txt.gz", None]
    assert "d.txt.bz2 cannot be unpacked: " in bad["d.txt.bz2", None]
    assert '{"text": "good"' in Path(shards()[0]).read_text()


def test_no_answer_at_all_is_an_error(scaled):
    Path("numbers.txt").write_text("one\ntwo\n")
    status, said = scaled("fails", "--input", "numbers.txt", "--output", "answers")
    assert status == 2
    assert "error: no row could be answered, kept in answers.bad.jsonl" in said


# Files


def test_an_empty_file_is_no_error(scaled):
    Path("empty.txt").touch()
    status, said = scaled("length", "--input", "empty.txt", "--output", "answers")
    assert status == 0
    assert said.startswith("rows answered: 0, of 1 files")
    assert said.endswith("warning: no rows to answer\n")
    assert answers() == []


def test_answers_take_the_place_of_earlier_ones(scaled):
    Path("a.txt").write_text("one\ntwo\n")
    Path("answers-00000-of-1.jsonl.mine").write_text("not ours")
    for count in ("3", "2", "2"):
        Path("a.txt").write_text(f"{count}\n")
        arguments = ("--output", "answers.jsonl", "--shards", count)
        assert scaled("length", "--input", "a.txt", *arguments)[0] == 0
        ours = [shard for shard in shards() if not shard.endswith("mine")]
        assert ours == [f"answers-0000{i}-of-0000{count}.jsonl" for i in range(int(count))]
        assert [row["text"] for shard in ours for row in jsonl(shard)] == [count]
    assert Path("answers-00000-of-1.jsonl.mine").exists()


def test_answers_that_are_to_be_answered_are_not_replaced(scaled):
    write("texts-00000-of-00001.jsonl", [{"text": "a"}])
    status, said = scaled("length", "--input", "*.jsonl", "--output", "texts")
    assert status == 2
    assert "--output texts would replace texts-00000-of-00001.jsonl, which is to be" in said


def test_a_model_at_an_address_is_copied(scaled, home, tmp_path):
    from tfnlp.inference.beam_files import fetch

    source = home / "saved_models/marked/1"
    fetch(f"{source}/", tmp_path / "copy")
    copied = {p.relative_to(tmp_path / "copy") for p in (tmp_path / "copy").rglob("*")}
    assert copied == {p.relative_to(source) for p in source.rglob("*") if p.is_file()} | {
        Path("variables")
    }


# Mistakes


def test_mistakes_are_found_before_anything_is_written(scaled):
    Path("a.csv").write_text("review\nx\n")
    Path("a.txt").write_text("a\n")
    Path("file").touch()
    whole = ("--input", "a.txt", "--output", "answers")
    for arguments, said in (
        (["length", "text"], "--runner answers files into files (give --input"),
        (["length", "--input", "a.txt"], "--runner answers files into files"),
        (["length", "--input", "no-*.txt", "--output", "x"], "there is no file no-*.txt"),
        (["length", "--input", "a.csv", "--output", "x"], "a.csv has no column 'text'"),
        (["length", "--input", "a.txt", "--output", "file/x"], "cannot write file/x: "),
        (["length", "--input", "a.txt", "--output", "out/"], "--output out/ is a folder"),
        (["length", "--input", "a.txt", "--output", "x.csv"], "writes JSONL, not csv"),
        (["length", *whole, "--format", "table"], "writes JSONL, not table"),
        (["length", *whole, "--stream"], "--stream shows answers here"),
        (["length", *whole, "--on-bad-row", "error"], "with --runner no bad row stops the run"),
        (["length", *whole, "--column", "x=y"], "--column names 'x'"),
        (["length", *whole, "--set", "beams=2"], "length has no settings"),
        (["length", *whole, "--signature", "x"], "has no signature 'x'"),
        (["pair", *whole], "which lines of plain text cannot hold"),
        (["nobody", *whole], "there is no model 'nobody'"),
        (["broken", *whole], "cannot load the SavedModel"),
        (["none://x/model", *whole], "cannot look for none://x/model/**"),
        (["http://h/v1/models/x", *whole], "is a server's address"),
    ):
        status, found = scaled(*arguments)
        assert status == 2, arguments
        assert found.startswith("error: ")
        assert found.count("\n") == 1
        assert said in found
    assert not shards("*")


def test_a_runner_that_fails_is_told_in_one_sentence(scaled, monkeypatch, capsys):
    from tfnlp.inference import beam

    Path("a.txt").write_text("a\n")
    arguments = ["length", "--input", "a.txt", "--output", "answers"]
    assert main([*arguments, "--runner", "NoRunner"]) == 2
    assert "error: the job fails: Unexpected pipeline runner: NoRunner" in capsys.readouterr().err

    def fails(options):
        told = options.get_all_options(drop_default=True)
        raise RuntimeError(f"traceback\n  {told['runner']} is not at {told['flink_master']}\n")

    monkeypatch.setattr(beam.beam, "Pipeline", fails)
    flink = flags("flink_master=host:8081")
    assert main([*arguments, "--runner", "FlinkRunner", *flink]) == 2
    assert capsys.readouterr().err == "error: the job fails: FlinkRunner is not at host:8081\n"


def test_a_runner_without_counters_has_answered_all_the_same(scaled, monkeypatch):
    from apache_beam.runners.portability.fn_api_runner.fn_runner import RunnerResult

    def metrics(result):
        raise NotImplementedError

    monkeypatch.setattr(RunnerResult, "metrics", metrics)
    Path("a.txt").write_text("a\n")
    status, said = scaled("length", "--input", "a.txt", "--output", "answers")
    assert (status, len(answers())) == (0, 1)
    assert said.startswith("rows of 1 files answered; the runner does not tell how many\n")


def test_without_the_extra_it_is_named(monkeypatch, capsys):
    from tfnlp import inference

    for name in ("beam", "beam_files"):
        monkeypatch.delitem(sys.modules, f"tfnlp.inference.{name}", raising=False)
        monkeypatch.delattr(inference, name, raising=False)
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    arguments = ["length", "--input", "a.txt", "--output", "x", "--runner", "DirectRunner"]
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err == "error: --runner needs apache-beam (pip install -e '.[beam]')\n"
