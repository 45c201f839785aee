"""What a notebook shows of training and reports: every line, bars, tables and pictures."""

from __future__ import annotations

import re
from itertools import groupby

import nbformat
import pytest
from nbconvert.preprocessors import ExecutePreprocessor

CELLS = [
    """
import sys
import time
import numpy as np
from tfnlp.runtime.startup import quiet_start
sys.modules["ipywidgets"] = None  # as where it is not installed
with quiet_start("keras_hub"):
    from tfnlp.cli import console, terminal
from tfnlp.evaluation import plots
from tfnlp.report import Report, Table

def train(steps):
    for n in range(steps):
        time.sleep(0.6)
        console.line(f"step {n}")
        bar.on_train_batch_end(n, {"loss": 0.5})
""",
    """
bar = terminal.Progress(lambda epoch: 3, epochs=2)
bar.set_params({})
bar.on_epoch_begin(0)
train(3)
bar.on_epoch_end(0, {"loss": 0.25})
bar.on_epoch_begin(1)
train(2)
""",
    """
table = Table("By label", ("label", "f1"), [("<yes>", 0.9)])
found = Report({"f1": 0.9}, [table], warnings=["few rows"])
console.tables(found)
found
""",
    """
for part in console.tracked([1, 2], "answering"):
    time.sleep(0.6)
for part in console.tracked([1, 2], "quickly"):
    pass
""",
    'plots.confusion_matrix(np.eye(2, dtype=int), ["no", "是"])',
]


@pytest.fixture(scope="module")
def outputs():
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    done, _ = ExecutePreprocessor(timeout=300, kernel_name="python3").preprocess(book, {})
    return [list(_shown(cell.outputs)) for cell in done.cells]


def _shown(outputs):
    """Yield what a browser shows: lines that follow one another are one text."""
    for name, parts in groupby(outputs, key=lambda output: output.get("name")):
        if name:
            yield name, "".join(part.text for part in parts)
        else:
            yield from (part.data for part in parts)


def test_lines_are_kept_beside_a_bar_and_an_epoch_takes_the_place_of_its_bar(outputs):
    assert outputs[0] == []
    first, epoch, rest, stopped, last = outputs[1]
    assert first == ("stdout", "step 0\n")
    assert re.fullmatch(r"epoch 1/2  \d s  loss 0\.2500", epoch["text/plain"])
    assert rest == ("stdout", "step 1\nstep 2\nstep 0\n")
    assert stopped["text/plain"].startswith("epoch 2/2 ━━━")
    assert " 2/3 " in stopped["text/plain"]
    assert last == ("stdout", "step 1\n")


def test_tables_are_html_and_warnings_plain(outputs):
    table, warning, report = outputs[2]
    assert "<caption>By label</caption>" in table["text/html"]
    assert "&lt;yes&gt;" in table["text/html"]
    assert "┃ label ┃" in table["text/plain"]
    assert warning == ("stderr", "warning: few rows\n")
    assert report["text/plain"] == "Report(f1 0.9000; tables: By label)"


def test_progress_of_work_is_shown_if_it_takes_long(outputs):
    assert outputs[3] == [{"text/plain": "answering 2/2"}]


def test_a_picture_needs_no_pyplot(outputs):
    assert outputs[4][0]["image/png"].startswith("iVBOR")
