"""Every entry of tfnlp/augmenters changes texts of all tasks and leaves their targets right."""

from __future__ import annotations

import dataclasses
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import discover
from pipelines.augmentation import Span, augmented
from pipelines.columns import MARKERS, Column
from pipelines.errors import UserError
from pipelines.rows import Rows
from tfnlp import extensions
from tfnlp import task as tasks
from tfnlp.api import training as api
from tfnlp.cli import arguments
from tfnlp.config import Entry
from tfnlp.extensions import Augmenter
from tfnlp.options import Parser
from tfnlp.runs.experiment_yaml import from_values

NAMES = extensions.names(Augmenter)
CASES = [(name, pair) for name in discover.names("tfnlp.tasks") for pair in (False, True)]
CASES = [
    (name, pair)
    for name, pair in CASES
    if not pair or "pair" in {f.name for f in dataclasses.fields(tasks.load(name).options)}
]
FAMILY = "\U0001f468\u200d\U0001f469"
PIECES = ["word", " ", "\n", "我", "ー", "e\u0301", "字\ufe0f", FAMILY, "\0", "שלום", "مرحبا"]


def experiment(task, pair, augmenter, **data):
    chosen = tasks.load(task)
    values = {
        "task": {"name": task, **({"pair": True} if pair else {})},
        "data": {"train": "sample.csv", **data},
        "augment": [{"name": augmenter}],
    }
    return from_values(values, chosen.options, "the test")


def editor(name):
    return api._editor(Entry(name, extensions.load(Augmenter, name).options()))


@pytest.mark.parametrize("name", NAMES)
def test_entries_say_what_they_are(name, capsys):
    found = extensions.load(Augmenter, name)
    assert found.summary
    assert not found.summary.endswith(".")
    with pytest.raises(SystemExit):
        arguments.parse(["--augment", name, "--help"], Parser(prog="it"))
    shown = capsys.readouterr().out
    for field in dataclasses.fields(found.options):
        assert f"--{name.replace('_', '-')}-{field.name.replace('_', '-')}" in shown


@pytest.mark.parametrize(("task", "pair"), CASES)
@pytest.mark.parametrize("name", NAMES)
def test_targets_of_every_task_stay_right(name, task, pair):
    chosen = tasks.load(task)
    options = chosen.options(**({"pair": True} if pair else {}))
    targets = chosen.target_columns(options)
    if all(column.optional for column in targets):
        with pytest.raises(UserError, match=f"--augment {name} .*{task} have none"):
            experiment(task, pair, name)
        return
    sample = chosen.sample(options)
    rows = Rows("sample", {n: [row[n] for row in sample] for n in sample[0]}, [1, 2, 3, 4])
    epoch = api._augmented(experiment(task, pair, name, augment_times=3), rows)
    found = epoch(0)
    assert (epoch(0), epoch(1) == found) == (found, False)
    assert found.take([0, 1, 2, 3]) == rows
    assert len(found) > 4
    inputs = chosen.input_columns(options)
    for place in range(4, len(found)):
        origin = rows.take([found.numbers[place] - 1])
        row = {n: values[place] for n, values in found.columns.items()}
        source = {n: values[0] for n, values in origin.columns.items()}
        assert any(row[column.name] != source[column.name] for column in inputs)
        for column in inputs:
            if column.kind == "marked":
                assert _arguments(row[column.name]) == _arguments(source[column.name])
        for column in targets:
            assert _held(column, row) == _held(column, source)
    facts = chosen.learn(found, options)
    assert not list(chosen.unusable_rows(found, facts))


def _arguments(text):
    """Return what stands between the marks, which are there once."""
    assert all(text.count(mark) == 1 for mark in MARKERS)
    return [text.split(a)[1].split(b)[0] for a, b in zip(MARKERS[::2], MARKERS[1::2], strict=True)]


def _held(column, row):
    """Return a target without the place where it stands, and the text that stands there."""
    value = row[column.name]
    if column.kind == "spans":
        return [(row[column.of][start:end], label) for start, end, label in value]
    if column.kind == "answers":
        assert all(row[column.of][start:].startswith(text) for start, text in value)
        return [text for _, text in value]
    return value


@st.composite
def texts_with_spans(draw):
    text = "".join(draw(st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=25)))
    cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=8)))
    return text, [(a, b, "A") for a, b in zip(cuts[::2], cuts[1::2], strict=False)]


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=200)
@given(given_=texts_with_spans(), seed=st.integers(0, 99))
def test_spans_of_any_text_hold_the_same(name, given_, seed):
    text, spans = given_
    column, target = Column("text", "text", "the text"), Column("entities", "spans", "spans")
    rows = Rows("file", {"text": [text], "entities": [spans]}, [7])
    found = augmented(rows, [column], [target], [editor(name)], 2, (seed, 0))
    assert found == augmented(rows, [column], [target], [editor(name)], 2, (seed, 0))
    assert set(found.numbers) == {7}
    for place in range(len(found)):
        row = {n: values[place] for n, values in found.columns.items()}
        assert _held(target, row) == [(text[a:b], label) for a, b, label in spans]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_left_to_change_in_a_text_that_is_all_span(name):
    text = "all of it is one span"
    assert not editor(name)(text, [Span(0, len(text))], random.Random(0))
