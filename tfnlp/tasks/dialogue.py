"""The next turn of a conversation.

A request is one text with a turn on each line, the last being what is to be answered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipelines.rows import Column
from tfnlp.generation.options import WritingOptions
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

    no_repeat_ngram: int = option(3, "never repeat an n-gram of this size; 0 is off", minimum=0)


def sample(options: Options) -> list[dict[str, Any]]:
    """Return four rows."""
    pairs = [
        (["Hi!", "Hello, how are you?", "Fine. What do you do for a living?"], "I teach maths."),
        (["Do you like music?"], "Yes, I play the piano."),
        (["I moved to Oslo.", "How do you like it?", "It is cold!"], "Buy a warm coat, then."),
        (["What did you have for lunch?"], "A bowl of noodle soup."),
    ]
    return [{"history": history, "response": response} for history, response in pairs]


TASK = TextToText(
    HISTORY,
    RESPONSE,
    headline="bleu",
    keep="last",
    baselines=lambda rows: {"the last turn": [said[-1] for said in rows.columns["history"]]},
).task("the next turn of a conversation", "chitchat", Options, sample)
