"""The examples in docstrings, run: what they print is what they say."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def with_examples():
    """Return the modules whose docstrings have examples to run; none of them is imported."""
    files = [file for package in ("pipelines", "tfnlp") for file in (ROOT / package).rglob("*.py")]
    return sorted(
        ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for file in files
        if ">>> " in file.read_text("utf-8")
    )


@pytest.mark.parametrize("name", with_examples())
def test_examples_print_what_they_say(name, tmp_path, monkeypatch):
    module = importlib.import_module(name)
    monkeypatch.chdir(tmp_path)  # for those that write
    failed, attempted = doctest.testmod(module)
    assert attempted
    assert not failed


def test_there_are_examples_in_every_part():
    parts = {name.rpartition(".")[0] for name in with_examples()}
    assert {"pipelines", "pipelines.files", "tfnlp", "tfnlp.evaluation"} <= parts
