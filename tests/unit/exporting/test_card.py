"""Model cards: the lines that they show for a request, and for what a run keeps."""

from types import SimpleNamespace

import pytest

from pipelines.rows import Rows
from tfnlp import task
from tfnlp.api import finishing as api
from tfnlp.exporting import card

TASK = task.load("classification")
ENCODER = SimpleNamespace(
    experiment=SimpleNamespace(task="classification", options=TASK.options(), peft=None),
    task=TASK,
    context=SimpleNamespace(kind="encoder"),
)


def test_the_example_is_a_short_row_of_the_data():
    texts = ["谁写了\n《哈姆雷特》？", "x" * 101, "谁写了《哈姆雷特》？", "Who wrote Hamlet?"]
    rows = Rows("rows.csv", {"text": texts, "label": ["a"] * 4}, [1, 2, 3, 4])
    assert api._example(ENCODER, rows) == {"text": texts[2]}
    long = Rows("rows.csv", {"text": texts[1:2], "label": ["a"]}, [1])
    assert api._example(ENCODER, long) == {"text": texts[1]}


@pytest.mark.parametrize("text", ["'", '"""', "\\", "a\u2028b\u0001c\n\t", "😀"])
def test_any_text_is_one_that_python_reads(text):
    line = card.saved_model({"text": text})[-2]
    tf = SimpleNamespace(constant=lambda values: values)
    assert eval(line, {"tf": tf, "model": lambda **texts: texts}) == {"text": [text]}


@pytest.mark.parametrize(
    ("kind", "peft", "loaded"),
    [
        ("encoder", None, "model/model.keras"),
        ("causal", None, "model/backbone"),
        ("encoder", "bitfit", None),
    ],
)
def test_the_lines_are_those_of_what_a_run_keeps(kind, peft, loaded):
    model = SimpleNamespace(
        experiment=SimpleNamespace(peft=peft), context=SimpleNamespace(kind=kind)
    )
    lines = "\n".join(card._keras(model))
    assert (loaded or "") in lines
    assert bool(lines) == bool(loaded)


def test_rows_that_were_set_aside_are_said_to_be():
    assert card._set_aside({"set_aside": 16}) == (
        "; 16 test rows were set aside from the training rows"
    )
    assert card._set_aside({"set_aside": 0}) == card._set_aside({}) == ""
