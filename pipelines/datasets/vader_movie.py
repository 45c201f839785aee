"""VADER's movie snippets: how positive a sentence is, -4 to 4 (English, real-valued)."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from pipelines.datasets._holdout import is_held_out
from pipelines.registry.packages import Package, member

_PACKAGE = Package(
    "vaderSentiment",
    "3.3.2",
    "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    "vaderSentiment-3.3.2.tar.gz",
)
_CITATION = """\
@inproceedings{hutto2014vader,
  title = {VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text},
  author = {Hutto, C.J. and Gilbert, Eric},
  booktitle = {Eighth International AAAI Conference on Weblogs and Social Media},
  year = {2014}
}
@inproceedings{pang2005seeing,
  title = {Seeing Stars: Exploiting Class Relationships for Sentiment Categorization with Respect
    to Rating Scales},
  author = {Pang, Bo and Lee, Lillian},
  booktitle = {Proceedings of ACL},
  year = {2005}
}
"""


class VaderMovie(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Sentences of film reviews: the mean of what a panel of people rated them, -4 to 4 (best).

    The snippets name neither film nor critic, so the text alone groups them: about a tenth is set
    aside as the test split, copies of a sentence on the same side.
    """

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        target = tfds.features.Scalar(np.float32)
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict({"text": tfds.features.Text(), "target": target}),
            supervised_keys=("text", "target"),
            homepage="https://github.com/cjhutto/vaderSentiment",
            citation=_CITATION,
            license=(
                "Package vaderSentiment: MIT. Data: ratings with it; the snippets are quoted from "
                "reviews, no licence stated."
            ),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        del dl_manager  # the bytes come from a pinned package
        return {split: self._generate_examples(split) for split in ("train", "test")}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        path = member(_PACKAGE, "additional_resources/hutto_ICWSM_2014.tar.gz")
        with tarfile.open(path) as tar:
            file = tar.extractfile("hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt")
            assert file is not None  # the archive is the pinned one
            lines = file.read().decode("utf-8").split("\n")
        for number, line in enumerate(filter(None, lines)):
            _, target, text = line.rstrip("\r").split("\t")
            if is_held_out(text) == (split == "test"):
                yield number, {"text": text, "target": float(target)}
