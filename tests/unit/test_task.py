"""What a model's facts.json says is read again, as this version wrote it and as 0.1.0 did."""

import json
from types import SimpleNamespace

import pytest

from pipelines.errors import UserError
from pipelines.tokenizers import vocabularies
from tfnlp import task as tasks


@pytest.fixture(scope="module")
def vocabulary():
    return vocabularies.learn(["El tren sale a las nueve.", "No sé dónde vive."] * 20, 90, seed=0)


OPTIONS = SimpleNamespace(max_length=32)


def saved(folder, vocabulary):
    (folder / "tokenizer").mkdir()
    vocabulary.save(folder / "tokenizer")
    return folder


def test_a_context_is_loaded_as_it_was(tmp_path, vocabulary):
    chat = {"begin": "<s>"}
    facts = {"labels": ["a", "b"], "temperature": 1.5}
    made = tasks.Context(OPTIONS, vocabulary, 32, facts, "causal", 1024, chat=chat)
    written = json.loads(json.dumps(tasks.to_json(made, [8, 16])))
    assert written["widths"] == [8, 16]
    found = tasks.load_context(saved(tmp_path, vocabulary), OPTIONS, written)
    assert (found.facts, found.kind, found.positions, found.chat) == (facts, "causal", 1024, chat)


def test_files_of_0_1_0_are_read(tmp_path, vocabulary):
    folder = saved(tmp_path, vocabulary)
    reads = {"labels": ["a", "b"], "widths": [8]}
    found = tasks.load_context(folder, OPTIONS, reads)
    assert (found.facts, found.kind, found.chat) == ({"labels": ["a", "b"]}, "encoder", None)
    writes = {"form": "encoder-decoder", "positions": 512, "chat": None, "widths": [8, 16]}
    found = tasks.load_context(folder, OPTIONS, writes)
    assert (found.facts, found.kind, found.positions) == ({}, "encoder-decoder", 512)


@pytest.mark.parametrize("name", ["form", "positions", "chat", "widths"])
def test_facts_cannot_take_a_reserved_name(name, vocabulary):
    with pytest.raises(UserError, match=f"a fact is named '{name}', which is reserved"):
        tasks.Context(OPTIONS, vocabulary, 32, {name: 1}, "encoder", 512)
