"""Of a model that copies words each written word rests on the word that it copies."""

from __future__ import annotations

import random

import pytest

import tfnlp
from pipelines.errors import UserError

WORDS = ["red", "blue", "cat", "dog", "sun", "moon", "tree", "fish"]


@pytest.mark.slow
def test_a_written_word_rests_on_the_one_that_was_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    drawn = random.Random(0)
    texts = [" ".join(drawn.choices(WORDS, k=3)) for _ in range(400)]
    model = tfnlp.fit(
        {"source": texts, "target": texts},
        task="translation",
        backbone="scratch:1x64",
        epochs=12,
        learning_rate=3e-3,
        max_length=16,
        max_tokens=8,
        export=False,
    )
    found = model.explain(["red cat moon"])
    assert [one["label"] for one in found] == ["red", "cat", "moon"]
    assert all(one["generated"] == "red cat moon" for one in found)
    for number, one in enumerate(found):
        read = {p["text"]: p["weight"] for p in one["pieces"] if p["input"] == "source"}
        assert read[one["label"]] > 1
        assert sum(p["input"] == "generated" for p in one["pieces"]) == number
    assert len(model.explain(["red cat moon"], target_label="Cat")) == 1
    with pytest.raises(UserError, match="leave out --unit"):
        model.explain(["red"], unit="characters")
