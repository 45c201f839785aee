"""A text in another language."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipelines.rows import Column
from tfnlp.generation.options import WritingOptions
from tfnlp.options import option
from tfnlp.tasks._text_to_text import TextToText

SOURCE = Column("source", "text", "the text to translate", ("en", "text", "src", "source_text"))
TARGET = Column("target", "text", "its translation", ("translation", "tgt", "target_text"))


@dataclass(frozen=True)
class Options(WritingOptions):
    """Options of translation.

    Example::

        python -m tfnlp.train --task translation --train pairs.csv --decoder-layers 3
    """

    max_length: int = option(64, "longest text that is read [tokens]", minimum=8)


def sample(options: Options) -> list[dict[str, Any]]:
    """Return four rows."""
    pairs = [
        ("The train leaves at nine.", "El tren sale a las nueve."),
        ("I don't know where she lives.", "No sé dónde vive."),
        ("Open the window, please.", "Abra la ventana, por favor."),
        ("He bought three books.", "Él compró tres libros."),
    ]
    return [{"source": source, "target": target} for source, target in pairs]


TASK = TextToText(
    SOURCE,
    TARGET,
    headline="bleu",
    baselines=lambda rows: {"the source itself": rows.columns["source"]},
).task("a text in another language", "tatoeba-en-es", Options, sample)
