"""Files of SQuADShifts, as BIG-bench carries them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from pipelines.files import squad
from pipelines.registry.packages import Package, member

PACKAGE = Package(
    "bigbench",
    "1.0.0",
    "1bb398a5512c6d798cdebe0dfa0ac03f67f6033fa6b39c6ef71df978c7cbc5c2",
    "bigbench-1.0.0.tar.gz",
)
REQUEST = (
    "BIG-bench asks that its files stay out of the training corpora of language models: "
    "fine-tune on them locally, do not redistribute them."
)
_CITATION = """\
@inproceedings{miller2020effect,
  title = {The Effect of Natural Distribution Shift on Question Answering Models},
  author = {Miller, John and Krauth, Karl and Recht, Benjamin and Schmidt, Ludwig},
  booktitle = {International Conference on Machine Learning},
  pages = {6905--6916},
  year = {2020},
  organization = {PMLR}
}
"""


class SquadShifts(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Questions whose answers stand in a paragraph."""

    VERSION = tfds.core.Version("1.0.0")
    STEM = ""  # of the file's name

    def _info(self) -> tfds.core.DatasetInfo:
        text = tfds.features.Text()
        answers = tfds.features.Sequence({"text": tfds.features.Text(), "start": np.int32})
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict(
                {"question": text, "context": text, "answers": answers}
            ),
            homepage="https://modestyachts.github.io/squadshifts-website/",
            citation=_CITATION,
            license=f"Package bigbench: Apache-2.0. Data: CC BY 4.0. {REQUEST}",
            disable_shuffling=True,
        )

    def split_of(self, title: str) -> str:
        """Return the split in which an article's questions belong."""
        raise NotImplementedError

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        del dl_manager  # the bytes come from a pinned package
        path = f"bigbench/benchmark_tasks/squad_shifts/{self.STEM}_v1.0.json"
        with member(PACKAGE, path).open(encoding="utf-8") as file:
            rows = [row.fields for row in squad.rows(file, path)]
        there = {self.split_of(row["title"]) for row in rows}
        return {
            split: self._generate_examples(rows, split)
            for split in ("train", "validation", "test")
            if split in there
        }

    def _generate_examples(
        self, rows: list[dict[str, Any]], split: str
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for number, row in enumerate(rows):
            answers = _placed(row["answers"], row["context"])
            if self.split_of(row["title"]) == split and answers:
                texts = {"question": row["question"], "context": row["context"]}
                yield number, {**texts, "answers": answers}


def _placed(answers: list[dict[str, Any]], context: str) -> list[dict[str, Any]]:
    """Return answers without the white space around them, where they stand next to their offset."""
    found = {}
    for answer in answers:
        text = answer["text"].strip()
        begin = answer["answer_start"]
        starts = [begin + shift for shift in (0, 1, -1) if context.startswith(text, begin + shift)]
        if starts and text:
            found[starts[0], text] = {"text": text, "start": starts[0]}
    return list(found.values())
