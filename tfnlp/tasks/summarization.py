"""A short text that says what a long one does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.rows import Column, Rows
from tfnlp.generation.options import WritingOptions, within
from tfnlp.options import option
from tfnlp.tasks._text_to_text import TextToText

DOCUMENT = Column("document", "text", "the long text", ("text", "article", "content", "body"))
SUMMARY = Column("summary", "text", "the short one", ("title", "headline", "highlights"))


@dataclass(frozen=True)
class Options(WritingOptions):
    """Options of summarization.

    Example::

        python -m tfnlp.train --task summarization --train articles.csv --max-length 512
    """

    max_length: int = option(256, "longest text that is read [tokens]", minimum=8)
    no_repeat_ngram: int = option(
        3,
        "never repeat an n-gram of this size; 0 is off",
        minimum=0,
        needs=within("no_repeat_ngram"),
    )


def sample(options: Options) -> list[dict[str, Any]]:
    """Return four rows."""
    pairs = [
        (
            "The central bank raised its main interest rate by a quarter of a point on Monday. It "
            "said that prices were still rising too fast.",
            "Central bank raises rates",
        ),
        (
            "Heavy rain closed two mountain roads in the north. Nobody was hurt, the police said.",
            "Rain closes mountain roads",
        ),
        (
            "A school in Leeds has won a prize for its garden, in which 40 pupils grow vegetables.",
            "School garden wins prize",
        ),
        (
            "The team lost its third game in a row. The trainer said he would not resign.",
            "Trainer stays after third defeat",
        ),
    ]
    return [{"document": document, "summary": summary} for document, summary in pairs]


def baselines(rows: Rows) -> Mapping[str, Sequence[str]]:
    """Return the first sentence of each document, which sums up most news articles.

    Example:
        >>> baselines(Rows("a.csv", {"document": ["It rained. Nobody was hurt."]}, [1]))
        {'the lead sentence': ['It rained.']}
    """
    from tfnlp.evaluation import generated_text

    return {"the lead sentence": [generated_text.lead(text) for text in rows.columns["document"]]}


TASK = TextToText(DOCUMENT, SUMMARY, headline="rougeL", baselines=baselines).task(
    "a short text that says what a long one does", "news-titles", Options, sample
)
