"""What a run keeps is read whole or named; nothing is trained here."""

from __future__ import annotations

import json

import pytest

from pipelines.errors import UserError
from pipelines.tokenizers import tokenizer
from tfnlp.cli import arguments
from tfnlp.options import Parser
from tfnlp.runs import folders, storage
from tfnlp.runs.experiment_yaml import read_trusted, write_yaml
from tfnlp.training import checkpoints

OTHERS = ["", "[]", "{}", "null", '"x"', "NaN", "\x00\x01", '{"task": []}', '{"task": {"name": 3}}']


def experiment(folder):
    place = str(folder / "logs")
    return arguments.parse(["--train", "a.csv", "--tensorboard-logs", place], Parser())[0]


@pytest.mark.parametrize("content", OTHERS)
def test_another_experiment_yaml_is_named(tmp_path, content):
    file = tmp_path / "experiment.yaml"
    file.write_text(content)
    with pytest.raises(UserError, match=r"experiment\.yaml .*\(train again\)"):
        read_trusted(file, "train again")


def test_no_part_of_an_experiment_yaml_is_taken_for_the_whole(tmp_path):
    file, made = tmp_path / "experiment.yaml", experiment(tmp_path)
    write_yaml(made, file)
    whole = file.read_bytes().rstrip()
    assert read_trusted(file, "") == made
    for size in range(0, len(whole), 7):
        file.write_bytes(whole[:size])
        with pytest.raises(UserError, match=r"experiment\.yaml"):
            read_trusted(file, "train again")


def test_a_damaged_run_is_not_passed_over(tmp_path):
    made = experiment(tmp_path)
    run = folders.new_run(made)
    assert folders.last_run(made) == run
    (run / "experiment.yaml").write_text("")
    with pytest.raises(UserError, match=r"experiment\.yaml .*without --resume"):
        folders.last_run(made)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"{}", b"garbage" * 99])
def test_a_damaged_model_is_named(tmp_path, content):
    model = tmp_path / "model"
    (model / "tokenizer").mkdir(parents=True)
    write_yaml(experiment(tmp_path), model / "experiment.yaml")
    (model / "facts.json").write_text('{"widths": [8], "labels": ["a", "b"]}')
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"]
    (model / "tokenizer" / "vocab.txt").write_text("\n".join(pieces))
    (model / "model.keras").write_bytes(content)
    with pytest.raises(UserError, match=r"model\.keras is damaged: .* \(restore it .*train again"):
        storage.load(tmp_path)
    (model / "facts.json").write_text("{}")
    with pytest.raises(UserError, match=r"facts\.json is damaged: it has no 'widths'"):
        storage.load(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{}", "null", '"x"', "NaN", '{"state.json": 3}'])
def test_a_checkpoint_with_another_manifest_is_not_whole(tmp_path, content):
    (tmp_path / "state.json").write_text("{}")
    (tmp_path / "manifest.json").write_text(content)
    assert not checkpoints.whole(tmp_path)


def test_a_checkpoint_without_one_of_its_files_is_not_whole(tmp_path):
    (tmp_path / "state.json").write_text("{}")
    digest = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    (tmp_path / "manifest.json").write_text(json.dumps({"state.json": digest}))
    assert checkpoints.whole(tmp_path)
    (tmp_path / "variables.index").write_text("more than its manifest has")
    assert not checkpoints.whole(tmp_path)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("vocab.txt", b"\xff\xfe\x80"),
        ("vocab.txt", b""),
        ("tokenizer.json", b"[]"),
        ("tokenizer.json", b'{"model": 3}'),
        ("tokenizer.json", b'{"model": {"type": "WordPiece"}}'),
        ("spiece.model", b"garbage"),
        ("spiece.model", b""),
    ],
)
def test_a_damaged_vocabulary_is_named(tmp_path, file, content):
    (tmp_path / file).write_bytes(content)
    with pytest.raises(UserError, match=str(tmp_path)):
        tokenizer.load(tmp_path)
