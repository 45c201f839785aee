"""Typos that keep targets right, and what is said of a method that does not help."""

import random
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from pipelines.augmentation import Span, applied
from pipelines.rows import Rows
from tfnlp.strategies import _robustness
from tfnlp.tasks import classification, ner


@given(text=st.text(max_size=60), seed=st.integers(0, 9), start=st.integers(0, 60))
def test_typos_swap_letters_and_leave_spans_alone(text, seed, start):
    span = Span(min(start, len(text)), min(start + 5, len(text)))
    edits = _robustness.typos(text, [span], random.Random(seed))
    found = applied(text, edits)
    assert sorted(found) == sorted(text)
    assert found[span.start : span.end] == text[span.start : span.end]
    assert all(edit.end - edit.start == 2 for edit in edits)


def test_a_word_gets_a_typo():
    assert applied("wrote", _robustness.typos("wrote", [], random.Random(5))) != "wrote"


def _trainer(task, options):
    return SimpleNamespace(experiment=SimpleNamespace(task=task, options=options))


def test_rows_keep_their_order_numbers_and_targets():
    rows = Rows("a.csv", {"text": ["42", "Who wrote Hamlet?"], "label": ["x", "y"]}, [7, 7])
    found = _robustness.mistyped(_trainer("classification", classification.Options()), rows)
    assert found.columns["label"] == ["x", "y"]
    assert found.numbers == [7, 7]
    assert found.columns["text"][0] == "42"  # no letters to swap
    assert sorted(found.columns["text"][1]) == sorted("Who wrote Hamlet?")
    assert found.columns["text"][1] != "Who wrote Hamlet?"


def test_entities_stay_where_they_are():
    text = "Yesterday Marie Curie travelled to Warsaw again."
    entities = [(10, 21, "person"), (35, 41, "place")]
    rows = Rows("a.jsonl", {"text": [text], "entities": [entities]}, [1])
    found = _robustness.mistyped(_trainer("ner", ner.Options()), rows)
    assert found.columns["entities"] == [entities]
    for start, end, _ in entities:
        assert found.columns["text"][0][start:end] == text[start:end]
    assert found.columns["text"][0] != text


def _found(own, other, metric="accuracy"):
    kinds = ("clean", "typos", "attacked")
    return {
        name: {f"{kind}_{metric}": v for kind, v in zip(kinds, values, strict=True)}
        | {"seconds": s}
        for name, values, s in (("without", other, 1.0), ("fgm", own, 2.0))
    }


def test_a_method_that_helps_nowhere_says_so():
    report = _robustness.report("fgm", _found((0.9, 0.7, 0.5), (0.9, 0.8, 0.5)), 100)
    assert report.warnings == [
        "--strategy fgm made nothing better on these 100 rows, and a step took 2.0 times as long"
    ]
    assert not _robustness.report("fgm", _found((0.9, 0.7, 0.6), (0.9, 0.8, 0.5)), 9).warnings
    # Of errors less is better.
    assert not _robustness.report("fgm", _found((0.9, 1, 1), (1.0, 1, 1), "mae"), 9).warnings


def test_both_models_stand_beside_one_another():
    report = _robustness.report("fgm", _found((0.9, 0.7, 0.6), (0.8, 0.6, 0.5)), 100)
    (table,) = report.tables
    assert table.header == ("measured", "without", "fgm")
    assert table.rows[0] == ("accuracy of 100 rows", "0.800", "0.900")
    assert report.metrics["without_attacked_accuracy"] == 0.5
