"""Names in loan agreements: persons (parties), organizations, locations (English, 3 types)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from pipelines.registry.packages import Package, member

_PACKAGE = Package(
    "evals",
    "3.0.1.post1",
    "0abcb2051303500784b1641a6e4f6b813ed43ad64f879a37d344a6774eb8eb78",
)
_TYPES = ("PERSON", "ORGANIZATION", "LOCATION")
_NAMED = re.compile(rf"(.+?) - ({'|'.join(_TYPES)})(?:, |\]$)")
# Where the second and the fifth of the five agreements stand: the test split.
_TEST = (*range(278, 366), *range(1033, 1164))
_CITATION = """\
@misc{openai-evals-ner-finance,
  title = {NER for finance},
  author = {adimaggio2021},
  year = {2023},
  url = {https://github.com/openai/evals/pull/1255}
}
@inproceedings{salinas-alvarado-2015-domain,
  title = {Domain Adaption of Named Entity Recognition to Support Credit Risk Assessment},
  author = {Salinas Alvarado, Julio Cesar and Verspoor, Karin and Baldwin, Timothy},
  booktitle = {Proceedings of the Australasian Language Technology Association Workshop},
  year = {2015},
  url = {https://aclanthology.org/U15-1010}
}
"""


class FinanceNer(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Sentences of five loan agreements with the names in them.

    PERSON is mostly a party by its role (Borrower), ORGANIZATION a bank or company, LOCATION a
    place or address. The file lists each sentence's names in their order, without offsets: each
    of the 1,164 names was found in its sentence, as whole words, after the one before it. The
    second and fifth agreements are the test split; no sentence of theirs stands in another. The
    sentences look like those of Salinas Alvarado et al. (2015).
    """

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        label = tfds.features.ClassLabel(names=_TYPES)
        entity = {"start": np.int32, "end": np.int32, "label": label}
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict(
                {"text": tfds.features.Text(), "entities": tfds.features.Sequence(entity)}
            ),
            supervised_keys=("text", "entities"),
            homepage="https://github.com/openai/evals",
            citation=_CITATION,
            license="Package evals: MIT. Data: MIT, as contributed to it; filed agreements.",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        del dl_manager  # the bytes come from a pinned package
        return {split: self._generate_examples(split) for split in ("train", "test")}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        path = member(_PACKAGE, "evals/registry/data/ner_finance/samples.jsonl")
        samples = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        for place, sample in enumerate(samples):
            if (place in _TEST) == (split == "test"):
                text = sample["input"][-1]["content"]
                yield place, {"text": text, "entities": list(_located(sample["ideal"], text))}


def _located(ideal: str, text: str) -> Iterator[dict[str, Any]]:
    """Yield a list's names at their places in the text, each after the one before."""
    end = 0
    for name, label in _NAMED.findall(ideal.removeprefix("[")):
        found = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)").search(text, end)
        if found:
            end = found.end()
            yield {"start": found.start(), "end": end, "label": label}
