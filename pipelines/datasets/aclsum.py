"""ACLSum: papers on language processing, and what each says in three sentences (English)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds

from pipelines.registry.packages import Package, member

_PACKAGE = Package(
    "aclsum",
    "0.1.2",
    "c75ffc48d3eabc5f37c68ea087943780a85950087957759e89746f21111f2213",
)
_FILES = {"train": "train", "validation": "val", "test": "test"}
_SECTIONS = ("abstract", "introduction", "conclusion")
_ASPECTS = ("challenge", "approach", "outcome")
_CITATION = """\
@inproceedings{takeshita2024aclsum,
  title = {{ACLSum}: A New Dataset for Aspect-based Summarization of Scientific Publications},
  author = {Takeshita, Sotaro and Green, Tommaso and Reinig, Ines and Eckert, Kai and
    Ponzetto, Simone Paolo},
  booktitle = {Proceedings of NAACL-HLT},
  year = {2024}
}
"""


class Aclsum(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """The abstract, introduction and conclusion of a paper, and a summary that experts wrote.

    The data have three summaries of a sentence each, for readers with different questions: the
    challenge that a paper takes up, its approach, and its outcome. The summary here is all three,
    in this order. Words and punctuation of the papers stand a space apart, as in the original;
    lines without a letter, such as numbers of pages and footnotes, are left out.
    """

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        text = tfds.features.Text()
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict({"document": text, "summary": text}),
            supervised_keys=("document", "summary"),
            homepage="https://github.com/sobamchan/aclsum",
            citation=_CITATION,
            license=(
                "Package aclsum: MIT. Data: the summaries MIT, as the package; the papers, of the "
                "ACL Anthology, CC BY 4.0, before 2016 CC BY-NC-SA 3.0."
            ),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        del dl_manager  # the bytes come from a pinned package
        return {split: self._generate_examples(stem) for split, stem in _FILES.items()}

    def _generate_examples(self, stem: str) -> Iterator[tuple[int, dict[str, str]]]:
        path = member(_PACKAGE, f"aclsum/dataset/{stem}.jsonl")
        for number, line in enumerate(path.read_text("utf-8").splitlines()):
            paper = json.loads(line)
            sentences = [said for name in _SECTIONS for said in paper["sentences"][name]]
            said = [text for text in sentences if any(letter.isalpha() for letter in text)]
            summary = [paper["summary"][name].strip() for name in _ASPECTS]
            yield number, {"document": " ".join(said), "summary": " ".join(summary)}
