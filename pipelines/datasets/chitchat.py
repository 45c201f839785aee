"""BYU's chit-chat: students who talk with strangers about anything (English conversations)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain, groupby
from typing import Any

import tensorflow_datasets as tfds

from pipelines.datasets._holdout import split_of
from pipelines.registry.packages import Package, member

_PACKAGE = Package(
    "chitchat-dataset",
    "0.9.0",
    "7bf89f36645e2d5ec87d53370c8e851b5a688479c7beb7079cb4c87fc5acea3e",
)
_TURNS = 6  # before a response
_LONGEST = 2000  # characters of a turn that somebody may have typed
_CITATION = """\
@inproceedings{myers2020conversational,
  title = {Conversational Scaffolding: An Analogy-Based Approach to Response Prioritization in
    Open-Domain Dialogs},
  author = {Myers, Will and Etchart, Tyler and Fulda, Nancy},
  booktitle = {Proceedings of ICAART},
  year = {2020}
}
"""


class Chitchat(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """What somebody says in a conversation, and the up to six turns before it.

    Messages that one person sends before the other answers are one turn, and each turn from the
    second on is a response. Of 7,168 conversations 4,017 have two people who say something; one
    with a turn of more than 2,000 characters, sentences pasted over and over, is left out (30).
    About a tenth of the conversations is the validation split (403) and another the test split
    (399); a few rows of greetings recur in other conversations. What people write stands as it
    is, with its slips, keys pressed at random, and hello? to nobody.
    """

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        text = tfds.features.Text()
        features = {"history": tfds.features.Sequence(text), "response": text}
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("history", "response"),
            homepage="https://github.com/BYU-PCCL/chitchat-dataset",
            citation=_CITATION,
            license="Package chitchat-dataset: MIT. Data: MIT, as the package.",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        del dl_manager  # the bytes come from a pinned package
        return {split: self._generate_examples(split) for split in ("train", "validation", "test")}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        path = member(_PACKAGE, "chitchat_dataset/dataset.json")
        number = 0
        for conversation in json.loads(path.read_text("utf-8")).values():
            turns = _turns(conversation["messages"])
            if any(len(turn) > _LONGEST for turn in turns) or split_of(" ".join(turns)) != split:
                continue
            for place in range(1, len(turns)):
                history = turns[max(place - _TURNS, 0) : place]
                yield number, {"history": history, "response": turns[place]}
                number += 1


def _turns(groups: list[list[dict[str, str]]]) -> list[str]:
    """Join the messages that one person sends in a row."""
    said = [message for message in chain(*groups) if message["text"].strip()]
    of_one = groupby(said, key=lambda message: message["sender"])
    return [" ".join(message["text"].strip() for message in several) for _, several in of_one]
