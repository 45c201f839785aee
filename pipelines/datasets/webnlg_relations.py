"""WebNLG read backwards: which relation holds between two marked arguments (English)."""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds

from pipelines.datasets._holdout import split_of
from pipelines.datasets._webnlg import CITATION, HOMEPAGE, LICENSE, Span, examples

_NONE = "no_relation"
_RARE = 5  # triple sets of a relation; with fewer it cannot be learned and evaluated


class WebnlgRelations(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Sentences with two marked arguments, <e1>subject</e1> and <e2>object</e2>, and the relation.

    WebNLG has people write texts for sets of triples of DBpedia; here the texts are read backwards.
    Of the 3,259 triples of 1,001 sets, 2,734 are found in at least one of the 2,907 texts, which
    is when subject and object stand in it word for word (underscores as spaces; case, quotation
    marks and a name's addition in brackets do not count). Pairs with several relations, and
    relations found in fewer than five sets, are left out. For each text there are at most as many
    rows of ``no_relation``: two arguments, in this order, of which its set tells nothing, though
    the world may. About a tenth of the sets is the validation split and another the test split.
    """

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        text = tfds.features.Text()
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict({"text": text, "relation": text}),
            supervised_keys=("text", "relation"),
            homepage=HOMEPAGE,
            citation=CITATION,
            license=LICENSE,
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        del dl_manager  # the bytes come from a pinned package
        rows = list(_rows())
        return {
            split: self._generate_examples(rows, split) for split in ("train", "validation", "test")
        }

    def _generate_examples(
        self, rows: list[tuple[str, str, str]], split: str
    ) -> Iterator[tuple[int, dict[str, str]]]:
        for number, (origin, text, relation) in enumerate(rows):
            if origin == split:
                yield number, {"text": text, "relation": relation}


def _rows() -> Iterator[tuple[str, str, str]]:
    """Yield (split, marked text, relation)."""
    read = list(examples())
    sets = defaultdict(set)  # relation -> the sets in which it was found
    for origin, _, _, told in read:
        for relations in told.values():
            if len(relations) == 1:
                sets[next(iter(relations))].add(origin)
    for origin, text, places, told in read:
        found = [
            (pair, next(iter(relations)))
            for pair, relations in told.items()
            if len(relations) == 1 and len(sets[next(iter(relations))]) >= _RARE
        ]
        apart = [
            (pair, _NONE)
            for pair in itertools.permutations(sorted(places), 2)
            if pair not in told and pair[::-1] not in told
        ]
        random.Random(text).shuffle(apart)
        for (subject, thing), relation in found + apart[: len(found)]:
            yield split_of(origin), _marked(text, places[subject], places[thing]), relation


def _marked(text: str, subject: Span, thing: Span) -> str:
    """Put markers around two arguments."""
    for (start, end), mark in sorted([(subject, "e1"), (thing, "e2")], reverse=True):
        text = f"{text[:start]}<{mark}>{text[start:end]}</{mark}>{text[end:]}"
    return text
