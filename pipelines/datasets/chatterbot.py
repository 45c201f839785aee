"""ChatterBot's corpus: what people say to a bot, and its answer (English pairs)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds
import yaml

from pipelines.datasets._holdout import linked, split_of
from pipelines.registry.packages import Package, member

_PACKAGE = Package(
    "chatterbot-corpus",
    "1.3.3",
    "86de5300afb9a80826386339d3bec79c0a72eb0358abb8327e2ecef5ae0ce154",
)
_CITATION = """\
@misc{chatterbot-corpus,
  title = {ChatterBot Language Training Corpus},
  author = {Cox, Gunther},
  url = {https://github.com/gunthercox/chatterbot-corpus}
}
"""


class Chatterbot(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """The first utterance of a conversation, mostly a question, and the answer to it.

    The corpus has 2,026 English conversations, many of them several times: each pair is taken
    once. About a tenth is the validation split and another the test split; pairs with the same
    question or the same answer stay together.
    """

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        text = tfds.features.Text()
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict({"text_a": text, "text_b": text}),
            supervised_keys=("text_a", "text_b"),
            homepage="https://github.com/gunthercox/chatterbot-corpus",
            citation=_CITATION,
            license="Package chatterbot-corpus: BSD. Data: BSD, as the package.",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        del dl_manager  # the bytes come from a pinned package
        return {split: self._generate_examples(split) for split in ("train", "validation", "test")}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, str]]]:
        folder = member(_PACKAGE, "chatterbot_corpus/data/english/")
        pairs: dict[tuple[str, str], None] = {}
        for path in sorted(folder.glob("*.yml")):
            for said in yaml.safe_load(path.read_text("utf-8"))["conversations"]:
                if len(said) > 1:
                    pairs[said[0].strip(), said[1].strip()] = None
        rows = list(pairs)
        for number, (pair, first) in enumerate(zip(rows, linked(rows), strict=True)):
            if split_of(rows[first][0]) == split:
                yield number, {"text_a": pair[0], "text_b": pair[1]}
