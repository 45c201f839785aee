"""Rows answered in batches of about one length, and put back in order."""

from __future__ import annotations

import pytest

from pipelines.errors import UserError
from pipelines.rows import Column, Record
from tfnlp.inference import saved_model
from tfnlp.inference.chunks import answered
from tfnlp.inference.saved_model import ServedModel
from tfnlp.runtime import precision

LENGTHS = [7, 1, 30, 7, 2, 90, 1, 8, 3, 40, 5]


def echo(asked):
    """Make a model that answers with the texts it is given, and notes each batch."""

    def answer(texts):
        asked.append(texts["text"])
        return [{"said": text} for text in texts["text"]]

    return ServedModel((Column("text", "text", ""),), answer)


def records(lengths):
    for number, length in enumerate(lengths):
        text = f"{number:03}".ljust(length, "x")
        yield Record(number, {"text": text}, {"text": text})


@pytest.mark.parametrize("at_once", [1, 3])
def test_answers_come_in_the_order_of_the_rows(at_once, monkeypatch):
    monkeypatch.setattr("tfnlp.inference.chunks.CHUNK", 6)
    asked = []
    chunks = list(answered(records(LENGTHS), echo(asked), 4, at_once))
    assert [len(chunk) for chunk in chunks] == [6, 5]
    found = [(record.number, answer["said"]) for chunk in chunks for record, answer in chunk]
    assert found == [(r.number, r.values["text"]) for r in records(LENGTHS)]
    sizes = sorted(len(batch) for batch in asked)
    assert sizes == [1, 2, 4, 4]
    for batch in asked:
        assert [len(text) for text in batch] == sorted(len(text) for text in batch)


def test_a_stream_is_read_a_chunk_at_a_time(monkeypatch):
    monkeypatch.setattr("tfnlp.inference.chunks.CHUNK", 3)
    read = []

    def rows():
        for record in records(LENGTHS):
            read.append(record.number)
            yield record

    chunks = answered(rows(), echo([]), 2)
    assert read == []
    next(chunks)
    assert read == [0, 1, 2]
    next(chunks)
    assert read == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [('{"serving_default": {}, "sample": {"top_p": 0.9}}', "float32"), (None, "auto")],
)
def test_a_model_that_writes_multiplies_in_float32(settings, wanted, tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(precision, "start", lambda kind, training: started.append(kind))
    if settings:
        (tmp_path / "settings.json").write_text(settings)
    with pytest.raises(UserError, match="cannot load"):  # there is nothing else
        saved_model.opened(tmp_path)
    assert started == [wanted]
