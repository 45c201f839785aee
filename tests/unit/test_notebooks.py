"""The notebooks of docs/: executed as they are in git, and executable from top to bottom."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

import tfnlp

ROOT = Path(tfnlp.__file__).parents[1]
BOOKS = sorted((ROOT / "docs/notebooks").glob("*.ipynb"))
ENGLISH = [book for book in BOOKS if not book.stem.endswith(".zh")]
# A folder of the machine that a notebook was executed on, or an object's address.
OWN = re.compile(r"(?<![\w.:])/(?:home|root|tmp|work|usr|opt|var|mnt|Users)/|\b[A-Z]:\\|\b0x\w{6}")
# What fetches packages and data sets tells of, and what a reader can act on.
TOLD = re.compile(r"(warning: |preparing the data set |fetching )")
each = pytest.mark.parametrize("book", BOOKS, ids=lambda book: book.stem)


def code(book):
    """Return the code cells of a notebook."""
    return [cell for cell in nbformat.read(book, 4).cells if cell.cell_type == "code"]


def texts(outputs):
    """Yield all texts that outputs hold, without pictures."""
    for output in outputs:
        yield output.get("text", "")
        for kind, content in output.get("data", {}).items():
            if not kind.startswith("image/"):
                yield re.sub(r"data:image/png;base64,[\w+/=]+", "", str(content))


def has_picture(cell):
    """Return whether a cell's output is a picture."""
    return any("image/png" in output.get("data", {}) for output in cell.outputs)


def noise(cells):
    """Return the lines on standard error that are no news for a reader."""
    streams = [
        output for cell in cells for output in cell.outputs if output.get("name") == "stderr"
    ]
    lines = [line for output in streams for line in output.text.splitlines()]
    return [line for line in lines if line.strip() and not TOLD.match(line)]


def test_there_are_notebooks():
    assert {book.stem for book in ENGLISH} >= {"own-csv", "error-analysis"}


@each
def test_a_notebook_was_executed_from_top_to_bottom(book):
    cells = code(book)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert all(output.output_type != "error" for cell in cells for output in cell.outputs)
    assert any(map(has_picture, cells))
    assert not noise(cells)


@each
def test_a_notebook_tells_nothing_of_the_machine(book):
    found = nbformat.read(book, 4)
    assert set(found.metadata) == {"kernelspec", "language_info"}
    assert not any(cell.metadata for cell in found.cells)
    outputs = [output for cell in code(book) for output in cell.outputs]
    assert not [text for text in texts(outputs) if OWN.search(text)]
    assert book.stat().st_size < 300_000


@pytest.mark.parametrize("book", ENGLISH, ids=lambda book: book.stem)
def test_the_chinese_notebook_has_the_cells_of_the_english_one(book):
    chinese = book.with_name(f"{book.stem}.zh.ipynb")
    kinds = [[cell.cell_type for cell in nbformat.read(one, 4).cells] for one in (book, chinese)]
    assert kinds[0] == kinds[1]


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("pandas"), reason="pip install -e '.[test]'")
@each
def test_a_notebook_can_be_executed(book, tmp_path):
    here, scratch = tmp_path / "here", tmp_path / "scratch"
    for folder in (here, scratch):
        folder.mkdir()
    shutil.copy(book, here)
    # pytest's mark keeps a kernel from showing what native code writes.
    env = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    env["TMPDIR"] = str(scratch)  # a kernel that is slow to end is killed, and leaves its folder
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT), env.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "--inplace"]
    ran = subprocess.run(
        [*command, book.name], cwd=here, env=env, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr[-5000:]
    assert [path.name for path in here.iterdir()] == [book.name]
    cells = code(here / book.name)
    assert not noise(cells)
    assert [has_picture(cell) for cell in cells] == [has_picture(cell) for cell in code(book)]
