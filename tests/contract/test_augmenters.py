"""Every entry of tfnlp/augmenters changes texts of all tasks and leaves their targets right."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import discover
from pipelines.augmentation import augmented
from pipelines.columns import MARKERS, Column
from pipelines.errors import UserError
from pipelines.rows import Rows
from pipelines.splits import Splits
from tfnlp import extensions
from tfnlp import task as tasks
from tfnlp.cli import arguments
from tfnlp.config import Entry
from tfnlp.extensions import Augmenter, Material
from tfnlp.inference import served
from tfnlp.options import Parser
from tfnlp.runs.experiment_yaml import from_values
from tfnlp.training import augmenting

NAMES = extensions.names(Augmenter)
CASES = [(name, pair) for name in discover.names("tfnlp.tasks") for pair in (False, True)]
CASES = [
    (name, pair)
    for name, pair in CASES
    if not pair or "pair" in {f.name for f in dataclasses.fields(tasks.load(name).options)}
]
FAMILY = "\U0001f468\u200d\U0001f469"
# What augmenters are opened with that learn from the rows.
KNOWN = Rows(
    "file",
    {
        "text": [
            "The doctor quickly bought the big car.",
            "A movie of the sea.",
            "我看电影。",
            "It rained quickly.",
        ]
        * 3,
        "entities": [[(4, 10, "A")], [(2, 7, "A")], [(2, 4, "A")], []] * 3,
    },
    [*range(12)],
)
OPTION_TYPE = tasks.load("classification").options
PIECES = ["word", " ", "\n", "我", "ー", "e\u0301", "字\ufe0f", FAMILY, "\0", "שלום", "مرحبا"]


# What those that ask a model are given; `load` returns it.
OPTIONS = {
    "adversarial": {"model": "labels", "similarity": "vectors"},
    "masked_lm": {"model": "gaps", "score": 0.0},
    "back_translation": {"there": "writes", "back": "writes"},
}
REPLACES = {"entities"}  # whole spans; all others leave them alone
ENGLISH = Column("text", "text", "the text")


@dataclasses.dataclass
class Told:
    """A model of which the answers are known."""

    name: str
    say: object
    inputs: tuple = (ENGLISH,)
    experiment: object = None
    model: object = None

    def answer(self, texts):
        return [self.say(text) for text in texts["text"]]


def labels(text):
    sure = 1 / (1 + sum(map(ord, text)) % 7)
    return {"label": "a", "scores": {"a": sure, "b": 1 - sure}}


def gaps(text):
    tokens = ["film", "physician", "rapidly", "large", "purchased"]
    one = {"token": tokens[0], "score": 0.3, "tokens": tokens, "scores": [0.3] * 5}
    return {"masks": [one] * text.count("[MASK]")}


def vectors(text):
    return {"embedding": [1.0, 0.01 * (len(text) % 3)]}


def load(name):
    return Told(name, {"labels": labels, "gaps": gaps, "vectors": vectors}[name])


class Writes:
    """Translates by putting a word in front, so that what comes back differs."""

    name, settings = "writes", {"sample": {"temperature": 1.0, "sampling_seed": 0}}

    def predict(self, texts, **settings):
        return [
            {"generated": f"surely {text} {settings['sampling_seed'] % 7 * '.'}"} for text in texts
        ]


@pytest.fixture(autouse=True)
def models(monkeypatch):
    monkeypatch.setattr(served, "open", lambda name: Writes())


def experiment(task, pair, augmenter, **data):
    chosen = tasks.load(task)
    values = {
        "task": {"name": task, **({"pair": True} if pair else {})},
        "data": {"train": "sample.csv", **data},
        "augment": [{"name": augmenter, **OPTIONS.get(augmenter, {})}],
    }
    return from_values(values, chosen.options, "the test")


def entry(name):
    return Entry(name, extensions.load(Augmenter, name).options(**OPTIONS.get(name, {})))


def editor(name, rows, inputs=(ENGLISH,), targets=()):
    (found,) = augmenting.editors([entry(name)], Material(rows, inputs, targets, load))
    return found


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
    if name in REPLACES and not any(column.kind == "spans" for column in targets):
        with pytest.raises(UserError, match="--augment entities is for rows with entities"):
            experiment(task, pair, name)
        return
    sample = chosen.sample(options)
    held_out = Rows("held out", {n: [] for n in sample[0]}, [])
    rows = Rows("sample", {n: [row[n] for row in sample] for n in sample[0]}, [1, 2, 3, 4])
    whole = experiment(task, pair, name, augment_times=3)
    epoch = augmenting.epochs(whole, Splits(rows, held_out, held_out), load)
    found = epoch(0)
    assert epoch(0) == found
    assert found.take([0, 1, 2, 3]) == rows
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
            assert _held(column, row, name) == _held(column, source, name)
    facts = chosen.learn(found, options)
    assert not list(chosen.unusable_rows(found, facts))


def _arguments(text):
    """Return what stands between the marks, which are there once."""
    assert all(text.count(mark) == 1 for mark in MARKERS)
    return [text.split(a)[1].split(b)[0] for a, b in zip(MARKERS[::2], MARKERS[1::2], strict=True)]


def _held(column, row, name=""):
    """Return a target without the place where it stands, and the text that stands there."""
    value = row[column.name]
    if column.kind == "spans" and name in REPLACES:
        assert all(row[column.of][start:end] for start, end, _ in value)
        return [label for *_, label in value]
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
@settings(deadline=None, max_examples=100)
@given(given_=texts_with_spans(), seed=st.integers(0, 99))
def test_spans_of_any_text_hold_the_same(name, given_, seed):
    text, spans = given_
    target = Column("entities", "spans", "spans")
    rows = Rows("file", {"text": [text], "entities": [spans]}, [7])
    made = editor(name, KNOWN, targets=[target])
    found = augmented(rows, [ENGLISH], [target], [made], 2, (seed, 0))
    assert found == augmented(rows, [ENGLISH], [target], [made], 2, (seed, 0))
    assert set(found.numbers) == {7}
    for place in range(len(found)):
        row = {n: values[place] for n, values in found.columns.items()}
        before = {"text": text, "entities": spans}
        assert _held(target, row, name) == _held(target, before, name)


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_made_and_are_others_each_epoch(name):
    target = Column("entities", "spans", "spans")
    made = editor(name, KNOWN, targets=[target])
    found = [augmented(KNOWN, [ENGLISH], [target], [made], 2, (0, epoch)) for epoch in range(4)]
    assert all(len(one) > len(KNOWN) for one in found)
    assert any(one != found[0] for one in found[1:])
    held_out = found[0].take([*range(len(KNOWN), len(found[0]))])
    without = augmented(KNOWN, [ENGLISH], [target], [made], 2, (0, 0), [held_out])
    assert without == dataclasses.replace(KNOWN, notes=[])


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_left_to_change_in_a_text_that_is_all_answer(name):
    text = "all of it is one span"
    rows = Rows("file", {"text": [text], "answers": [[(0, text)]]}, [1])
    target = Column("answers", "answers", "answers")
    made = editor(name, KNOWN, targets=[Column("entities", "spans", "spans")])
    assert len(augmented(rows, [ENGLISH], [target], [made], 3, (0, 0))) == 1


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", [name for name in NAMES if name not in REPLACES])
def test_a_text_of_100_000_characters_is_changed(name):
    rows = Rows("file", {"text": ["The doctor quickly bought a big car. " * 2700]}, [1])
    found = augmented(rows, [ENGLISH], [], [editor(name, KNOWN)], 1, (0, 0))
    assert len(found) == 2


@pytest.mark.parametrize("name", [*OPTIONS])
def test_a_model_that_is_not_named_is_asked_for(name):
    values = {"data": {"train": "a.csv"}, "augment": [{"name": name}]}
    with pytest.raises(UserError, match=f"--augment {name} .*--{name.replace('_', '-')}-"):
        from_values({"task": {"name": "classification"}, **values}, OPTION_TYPE, "the test")
