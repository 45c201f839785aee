"""A tokenizer from a model's folder, working in the graph and exported with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import tensorflow as tf

from pipelines.errors import UserError, reason
from pipelines.json_files import damaged, read_json
from pipelines.tokenizers import bytepair_files, sentencepiece
from pipelines.tokenizers.wordpiece import MPNET, SPECIAL, WordPiece

_SENTENCEPIECE_FILES = ("sentencepiece.bpe.model", "spiece.model", "spm.model")


class Tokenizer(Protocol):
    """What every kind of tokenizer offers.

    Attributes:
        kind: ``wordpiece``, ``sentencepiece`` or ``bytepair``.
        vocabulary_size: the number of pieces, V.
        pad_id: the id that fills up short texts.
        start_id: the id of [CLS] or <s>.
        end_id: the id of [SEP] or </s>.
        unknown_id: the id of [UNK] or <unk>.
        mask_id: the id of [MASK] or <mask>.
        special_ids: the ids of what is no text, such as all of these.
        pair_separators: how many end_ids stand between two texts: BERT 1, XLM-R 2.
        segment_of_second: the segment id of the second text: BERT 1, XLM-R 0.
        resources: trackables that a tf.Module must hold for tf.saved_model.save to work; those
            in use, so they are asked for when the graph has been traced.
    """

    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def vocabulary_size(self) -> int: ...  # noqa: D102
    @property
    def pad_id(self) -> int: ...  # noqa: D102
    @property
    def start_id(self) -> int: ...  # noqa: D102
    @property
    def end_id(self) -> int: ...  # noqa: D102
    @property
    def unknown_id(self) -> int: ...  # noqa: D102
    @property
    def mask_id(self) -> int: ...  # noqa: D102
    @property
    def special_ids(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def pair_separators(self) -> int: ...  # noqa: D102
    @property
    def segment_of_second(self) -> int: ...  # noqa: D102
    @property
    def resources(self) -> list[Any]: ...  # noqa: D102

    def pieces(self) -> list[str]:
        """Return the V pieces in the order of their ids."""
        ...

    def tokenize(self, strings: tf.Tensor) -> tf.RaggedTensor:
        """Split (B,) strings into (B, tokens) int32 ids, without special tokens."""
        ...

    def tokenize_with_offsets(
        self, strings: tf.Tensor
    ) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        """Split (B,) strings into ids, starts and ends, (B, tokens) int32, in bytes."""
        ...

    def detokenize(self, ids: tf.RaggedTensor) -> tf.Tensor:
        """Join (B, None) int32 ids to (B,) strings, special tokens left out."""
        ...

    def save(self, folder: Path) -> None:
        """Write the files from which :func:`load` makes an equal tokenizer."""
        ...


def load(folder: Path) -> Tokenizer:
    """Return the tokenizer of a model's folder.

    Args:
        folder: as a tokenizer's ``save`` writes it, in Hugging Face layout (vocab.txt,
            sentencepiece.bpe.model, spiece.model, spm.model, tokenizer.json, or vocab.json and
            merges.txt) or KerasHub layout (assets/tokenizer/).

    Raises:
        UserError: the folder has no vocabulary of a kind that can be used, or a damaged one.

    Example::

        load(Path("bert-base-uncased")).kind  # "wordpiece"
    """
    try:
        return _load(folder)
    except OSError:
        raise
    except UserError as error:
        raise error if str(folder) in str(error) else UserError(f"{folder}: {error}") from error
    except Exception as error:  # each library that reads a vocabulary fails in its own way
        raise damaged(folder, f"its vocabulary cannot be read ({reason(error)})") from error


def _load(folder: Path) -> Tokenizer:
    """Return the tokenizer of a model's folder."""
    _check_settings(folder / "tokenizer_config.json")
    for name in ("vocab.txt", "assets/tokenizer/vocabulary.txt"):
        if (folder / name).exists():
            text = (folder / name).read_text("utf-8")
            return _wordpiece(folder, text.removesuffix("\n").split("\n"))
    for name in (*_SENTENCEPIECE_FILES, "assets/tokenizer/vocabulary.spm"):
        if (folder / name).exists():
            return sentencepiece.load(folder / name)
    file = folder / "tokenizer.json"
    config = _json(file)
    model = config.get("model", {})
    if model.get("type") == "WordPiece" and model.get("continuing_subword_prefix", "##") == "##":
        vocabulary: dict[str, int] = model["vocab"]
        return _wordpiece(folder, sorted(vocabulary, key=vocabulary.__getitem__))
    if model.get("type") == "Unigram":
        return sentencepiece.from_unigram(config, file)
    found = bytepair_files.load(folder)
    if found is not None:
        return found
    if model:
        raise UserError(
            f"{file} has a vocabulary of the kind {model.get('type')!r}, which cannot be used here "
            "(take a model with WordPiece, SentencePiece or byte-level BPE)"
        )
    raise UserError(
        f"{folder} has no vocabulary; looked for vocab.txt, {', '.join(_SENTENCEPIECE_FILES)}, "
        "tokenizer.json, vocab.json with merges.txt, and assets/tokenizer/"
    )


def _check_settings(file: Path) -> None:
    """Refuse a way of splitting text that is not that of the vocabulary's kind."""
    config = _json(file)
    usual = {
        "do_basic_tokenize": True,
        "tokenize_chinese_chars": True,
        "word_tokenizer_type": "basic",  # Japanese models have others
        "subword_tokenizer_type": "wordpiece",
    }
    for name, value in usual.items():
        if config.get(name) not in (None, value):
            raise UserError(
                f"{file} says {name}: {config[name]!r}, by which text is split in a way that "
                f"cannot be done here (take a model with {value!r})"
            )


def _wordpiece(folder: Path, vocabulary: list[str]) -> WordPiece:
    """Make a WordPiece tokenizer with the settings that lie in the folder."""
    lowercase, strip_accents = _case(folder)
    if lowercase is None:  # nothing says so: a cased vocabulary has capitals
        words = (piece for piece in vocabulary if not piece.startswith("["))
        lowercase = all(word == word.lower() for word in words)
    # Unless said otherwise, accents go where capitals go, as in BERT's pretraining.
    strip_accents = lowercase if strip_accents is None else strip_accents
    usual = MPNET if set(MPNET).issubset(vocabulary) else SPECIAL
    said = bytepair_files.roles(folder)
    places = zip(("pad", "unknown", "start", "end", "mask"), usual, strict=True)
    special = tuple(said.get(role, piece) for role, piece in places)
    return WordPiece(tuple(vocabulary), lowercase, strip_accents, special)


def _case(folder: Path) -> tuple[bool | None, bool | None]:
    """Find the settings lowercase and strip_accents; None where no file has them."""
    config = _json(folder / "tokenizer_config.json")  # Hugging Face's slow tokenizers
    if config.get("do_lower_case") is not None:
        return config["do_lower_case"], config.get("strip_accents")
    config = _json(folder / "tokenizer.json")
    settings = config.get("normalizer") or config.get("config") or {}  # HF's fast, KerasHub's
    return settings.get("lowercase"), settings.get("strip_accents") or None


def _json(file: Path) -> dict[str, Any]:
    """Read a JSON file; {} if there is none."""
    return read_json(file) if file.exists() else {}
