"""The next turn of a conversation.

A request is one text with a turn on each line, the last being what is to be answered. A line end
within a turn is U+2028, and a first line that begins with U+0001 is a system prompt.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipelines.conversations import SYSTEM
from pipelines.rows import Column, Rows
from tfnlp.generation.options import WritingOptions, within
from tfnlp.options import option
from tfnlp.tasks._text_to_text import TextToText

HISTORY = Column(
    "history", "turns", "the turns so far, the last to be answered", ("context", "prompt", "text")
)
RESPONSE = Column(
    "response", "text", "the next turn", ("answer", "reply", "completion"), of="history"
)


@dataclass(frozen=True)
class Options(WritingOptions):
    """Options of dialogue.

    Example::

        python -m tfnlp.train --task dialogue --train chats.jsonl --no-repeat-ngram 0
    """

    no_repeat_ngram: int = option(
        3,
        "never repeat an n-gram of this size; 0 is off",
        minimum=0,
        needs=within("no_repeat_ngram"),
    )


def sample(options: Options) -> list[dict[str, Any]]:
    """Return four rows."""
    pairs = [
        (["Hi!", "Hello, how are you?", "Fine. What do you do for a living?"], "I teach maths."),
        (["Do you like music?"], "Yes, I play the piano."),
        (["I moved to Oslo.", "How do you like it?", "It is cold!"], "Buy a warm coat, then."),
        (["What did you have for lunch?"], "A bowl of noodle soup."),
    ]
    return [{"history": history, "response": response} for history, response in pairs]


def remarks(rows: Rows, facts: dict[str, Any]) -> Iterator[str]:
    """Say what was done to turns so that user and assistant alternate.

    Example:
        >>> from pipelines.conversations import from_items
        >>> said = [{"role": "user", "content": text} for text in ("Hi", "You there?")]
        >>> rows = Rows("a.jsonl", {"history": [from_items(said, "m")], "response": ["Yes"]}, [1])
        >>> list(remarks(rows, {}))
        ['a.jsonl: 1 turn is joined by a line end to the one before, of the same role (1 row)']
    """
    told = rows.columns["history"]
    for name, does in (
        ("merged", "joined by a line end to the one before, of the same role"),
        ("unanswered", "left out, for no answer of the assistant follows"),
    ):
        counts = [count for turns in told if (count := getattr(turns, name, 0))]
        if counts:
            turns = f"{sum(counts)} turn{'s are' if sum(counts) > 1 else ' is'}"
            yield f"{rows.source}: {turns} {does} ({_counted(len(counts))})"
    prompted = sum(turns[0].startswith(SYSTEM) for turns in told)
    if prompted:
        yield f"{rows.source}: {_counted(prompted)} of {len(told)} with a system prompt"


def _counted(rows: int) -> str:
    """Return how many rows there are, in words."""
    return f"{rows} row{'s' * (rows != 1)}"


TASK = TextToText(
    HISTORY,
    RESPONSE,
    headline="bleu",
    keep="last",
    baselines=lambda rows: {"the last turn": [said[-1] for said in rows.columns["history"]]},
).task("the next turn of a conversation", "chitchat", Options, sample, remarks=remarks)
