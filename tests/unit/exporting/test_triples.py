"""Triples are what the entity model and the relation model say when asked one after the other."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from pipelines.errors import UserError
from pipelines.rows import Rows
from tfnlp import export
from tfnlp import task as tasks
from tfnlp import triples as triples_command
from tfnlp.exporting import triples, writer
from tfnlp.inference import saved_model
from tfnlp.runs import storage
from tfnlp.runs.experiment_yaml import from_values
from tfnlp.training import answering
from tfnlp.training.model import TrainedModel, prepare

TEXTS = [
    "Zoë 👍🏽 met <e1>Ann</e1> in Köln.",
    "",
    "杜甫住在成都。",
    "a b c d e f g h i j k l m n o p",
]


def _model(name: str) -> TrainedModel:
    task = tasks.load(name)
    values = {
        "task": {"name": name, "max_length": 32},
        "data": {"train": "sample.csv"},
        "backbone": {"layers": 1},
    }
    made = from_values(values, task.options, "the test")
    sample = task.sample(made.options)
    columns = {key: [row[key] for row in sample] for key in sample[0]}
    return prepare(made, Rows("sample", columns, [1, 2, 3, 4]))


@pytest.fixture(scope="module")
def models():
    """An entity model and a relation model that guess."""
    return _model("ner"), _model("relation_extraction")


@pytest.mark.slow
def test_triples_are_the_answers_of_both_models(models, tmp_path):
    entities, relations = models
    folder = triples.join(entities, relations, tmp_path / "both", 0.0)
    answers = saved_model.load(folder).answer({"text": TEXTS})
    found = answering.answer(entities, Rows("x", {"text": TEXTS}, [1, 2, 3, 4]), asked=True)
    assert sum(len(answer["triples"]) for answer in answers) > 3
    wanted, given = {}, {}
    for row, (text, answer, alone) in enumerate(
        zip(TEXTS, answers, found["entities"], strict=True)
    ):
        assert [e["text"] for e in answer["entities"]] == [e["text"] for e in alone]
        scores = {(e["start"], e["end"]): e["score"] for e in answer["entities"]}
        for head, tail in itertools.permutations(scores, 2):
            wanted[row, head, tail] = _marked(text, head, tail), scores[head] * scores[tail]
        for triple in answer["triples"]:
            ends = [(triple[f"{side}_start"], triple[f"{side}_end"]) for side in ("head", "tail")]
            assert [triple["head"], triple["tail"]] == [text[start:end] for start, end in ends]
            given[row, *ends] = triple["relation"], triple["score"]
    marked = [text for text, _ in wanted.values()]
    asked = Rows("x", {"text": marked}, list(range(len(marked))))
    said = answering.answer(relations, asked, asked=True)
    for place, label, score in zip(wanted, said["label"], said["score"], strict=True):
        if label == relations.context.options.none_label:
            assert place not in given
        else:
            assert given[place] == (label, pytest.approx(score * wanted[place][1], abs=1e-4))


def _marked(text, head, tail):
    """Mark a text's arguments as a user would."""
    text = text.replace("<e1>", "(e1)").replace("</e1>", "(/e1)")
    marks = sorted([(*head, "e1"), (*tail, "e2")], reverse=True)
    for start, end, mark in marks:
        text = f"{text[:start]}<{mark}>{text[start:end]}</{mark}>{text[end:]}"
    return text


def test_only_relations_likely_enough_are_told(models):
    extract = triples.extractor(*models, 1.0)
    assert not np.any(extract(tf.constant(TEXTS))["triples"])


@pytest.fixture(scope="module")
def runs(models, tmp_path_factory):
    """The folders of the models' runs."""
    folders = []
    for model in models:
        folders.append(str(tmp_path_factory.mktemp("run")))
        storage.save(model, Path(folders[-1]))
    return folders


JOIN = ("--join", "--layout", "triples")


def test_export_joins_two_runs_and_the_old_command_says_so(runs, monkeypatch, capsys):
    joined = []

    def join(entities, relations, parent, minimum, example):
        joined.append((entities.experiment.task, relations.experiment.task, str(parent), minimum))
        return parent / "1"

    monkeypatch.setattr(triples, "join", join)
    assert export.main([*runs, *JOIN, "--name", "facts", "--min-score", "0"]) == 0
    assert capsys.readouterr() == ("saved_models/facts/1\n", "")
    assert triples_command.main([*runs, "--saved-models", "elsewhere"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "elsewhere/triples/1\n"
    assert captured.err.startswith("warning: python -m tfnlp.triples will go; type: ")
    assert captured.err.endswith(f"{runs[1]} --saved-models elsewhere {' '.join(JOIN)}\n")
    tasks_joined = ("ner", "relation_extraction")
    assert joined == [
        (*tasks_joined, "saved_models/facts", 0.0),
        (*tasks_joined, "elsewhere/triples", 0.5),
    ]


def test_runs_of_other_tasks_are_refused(runs):
    with pytest.raises(UserError, match="is a run of --task ner, not of --task relation_extractio"):
        export.main([runs[0], runs[0], *JOIN])


def test_a_run_is_exported_under_another_name(runs, monkeypatch, capsys):
    def written(model, metrics, card):
        assert card.startswith("# mine\n")
        return Path(model.experiment.export.saved_models) / model.experiment.name / "3"

    monkeypatch.setattr(writer, "export", written)
    assert export.main([runs[0], "--name", "mine", "--saved-models", "there"]) == 0
    assert capsys.readouterr().out == "there/mine/3\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a", "b"], "2 runs were given; export one, or join them (--join --name NAME)"),
        (["a", "--min-score", ".3"], "--min-score is about joined runs (add --join, or leave it"),
        (["a", "--layout", "triples"], "--layout is about joined runs"),
        (["a", "b", "--join"], "a holds no trained model"),
        (["a", *JOIN], "--layout triples joins 2 runs, not 1 (give a run of --task ner and one"),
        (["a", "--name", "b/c"], "--name 'b/c' is not a plain folder name"),
        (["a", "--name", ".."], "--name '..' is not a plain folder name"),
        (["nowhere"], "nowhere holds no trained model"),
    ],
)
def test_mistakes_are_found_before_anything_is_loaded(arguments, message):
    with pytest.raises(UserError, match=re.escape(message)):
        export.main(arguments)
