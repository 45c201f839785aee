"""Words and their parts of speech, after Universal Dependencies (Brazilian Portuguese)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from pipelines.datasets._holdout import split_of
from pipelines.files.conll import conllu_rows
from pipelines.registry.packages import Package, member

_PACKAGE = Package(
    "dante-corpora",
    "2.0.5",
    "e050761fd00d09a99beabf81658419b284267341c96afd6dd1225468a9d73bb0",
)
_CORPORA = ("porttinari", "petrogold", "dantestocks")
_RARE = 20  # words of a label; with fewer it cannot be learned and evaluated
_CITATION = """\
@inproceedings{pardo2021porttinari,
  title = {Porttinari - a Large Multi-genre Treebank for Brazilian Portuguese},
  author = {Pardo, Thiago Alexandre Salgueiro and Duran, Magali Sanches and Lopes, Lucelene and
    Di Felippo, Ariani and Roman, Norton Trevisan and Nunes, Maria das Gra{\\c{c}}as Volpe},
  booktitle = {Simp{\\'o}sio Brasileiro de Tecnologia da Informa{\\c{c}}{\\~a}o e da Linguagem
    Humana (STIL)},
  year = {2021}
}
@inproceedings{silva2021universal,
  title = {Universal Dependencies for Tweets in Brazilian Portuguese: Tokenization and Part of
    Speech Tagging},
  author = {Silva, Emanuel Huber da and Pardo, Thiago Alexandre Salgueiro and Roman, Norton
    Trevisan and Di Felippo, Ariani},
  booktitle = {Encontro Nacional de Intelig{\\^e}ncia Artificial e Computacional (ENIAC)},
  year = {2021},
  doi = {10.5753/eniac.2021.18273}
}
"""


class Dante(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Sentences of news (Porttinari), oil and gas (PetroGold) and tweets on stocks (DANTEStocks).

    Each word is an entity whose label is its part of speech (UPOS); a contraction such as ``na``
    (em + a) is one with the labels of both, ``ADP+DET``, where the corpus does not write its parts
    as words of their own. Each text is taken once; two sentences with a broken line, and 88 with a
    label that fewer than 20 words have, are left out.
    About a tenth is the validation split and another the test split, near-copies on the same side.
    """

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        word = {"start": np.int32, "end": np.int32, "label": tfds.features.Text()}
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict(
                {"text": tfds.features.Text(), "entities": tfds.features.Sequence(word)}
            ),
            supervised_keys=("text", "entities"),
            homepage="https://github.com/DANTE-POeTiSA/dante-corpora",
            citation=_CITATION,
            license="Package dante-corpora: MIT. Data: MIT, as the package.",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        del dl_manager  # the bytes come from a pinned package
        rows = _sentences()
        counts = Counter(word["label"] for words in rows.values() for word in words)
        kept = {
            text: words
            for text, words in rows.items()
            if all(counts[word["label"]] >= _RARE for word in words)
        }
        return {
            split: self._generate_examples(kept, split) for split in ("train", "validation", "test")
        }

    def _generate_examples(
        self, rows: dict[str, Any], split: str
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for number, (text, words) in enumerate(rows.items()):
            if split_of(text) == split:
                yield number, {"text": text, "entities": words}


def _sentences() -> dict[str, list[dict[str, Any]]]:
    """Return the words of each sentence that can be read."""
    found: dict[str, list[dict[str, Any]]] = {}
    for corpus in _CORPORA:
        path = member(_PACKAGE, f"dante/data/{corpus}/annotated.conllu")
        with path.open(encoding="utf-8", newline="\n") as file:
            for row in conllu_rows(file, str(path)):
                if row.fields and row.number:
                    found.setdefault(row.fields["text"], row.fields["upos"])
    return found
