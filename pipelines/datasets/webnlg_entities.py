"""WebNLG read backwards: the things that a text is about (English)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from pipelines.datasets._holdout import split_of
from pipelines.datasets._webnlg import CITATION, HOMEPAGE, LICENSE, examples

_TYPE = "THING"


class WebnlgEntities(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Sentences with the subjects and objects of their triples, names, dates and numbers alike.

    The texts and splits of webnlg-relations, for a model that finds the arguments of its
    relations. WebNLG tells no types: all are of the type THING. Of each thing the first mention
    is known, of things that are not named word for word none: what a model finds beyond these
    counts as wrong.
    """

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        label = tfds.features.ClassLabel(names=(_TYPE,))
        entity = {"start": np.int32, "end": np.int32, "label": label}
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict(
                {"text": tfds.features.Text(), "entities": tfds.features.Sequence(entity)}
            ),
            supervised_keys=("text", "entities"),
            homepage=HOMEPAGE,
            citation=CITATION,
            license=LICENSE,
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        del dl_manager  # the bytes come from a pinned package
        read = list(examples())
        return {
            split: self._generate_examples(read, split) for split in ("train", "validation", "test")
        }

    def _generate_examples(
        self, read: list[Any], split: str
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for number, (origin, text, places, _) in enumerate(read):
            if split_of(origin) == split and places:
                spans = sorted(places.values())
                entities = [{"start": a, "end": b, "label": _TYPE} for a, b in spans]
                yield number, {"text": text, "entities": entities}
