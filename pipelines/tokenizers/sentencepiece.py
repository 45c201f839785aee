"""SentencePiece (unigram) in the graph, its ids being the model's own.

The vocabulary is one ModelProto whose pieces stand at the ids that the weights know, special
tokens included. What other layouts leave to Python (XLM-R's shift by one, DeBERTa's appended
mask) is put into the proto when it is loaded, so that the graph needs no correction.

Ids equal those of the SentencePiece library, and those of Hugging Face's `tokenizers` but for
- white space at the end of a text: it gives no piece here, as in pretraining, and a lone "▁" there;
- special tokens written in the text ("</s>"): they are plain characters here, so that no user's
  text can forge a separator;
- a letter with two combining marks: that library loses the second;
- long runs of one character, where several segmentations are equally likely and rounding decides.
"""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import tensorflow as tf
import tensorflow_text as tf_text
from sentencepiece import sentencepiece_model_pb2 as schema

from pipelines.errors import UserError
from pipelines.tokenizers import characters

FILE = "spiece.model"  # the name under which a proto with the model's own ids is saved
# sentencepiece_model.proto, SentencePiece.Type
_NORMAL, _UNKNOWN, _CONTROL, _UNUSED, _BYTE = 1, 2, 3, 5, 6
_NAMES = ("<pad>", "[PAD]", "<s>", "[CLS]", "</s>", "[SEP]", "<unk>", "[UNK]", "<mask>", "[MASK]")
_UNIGRAM = 1  # ModelType
_SPACES = r"^(?:[\s\p{Z}]|\x{2581})+"
# A table of normalization without a rule: a trie's size, the trie, and what its leaves would point
# to. Without any table TF Text does the same, but says so on standard error each time it loads.
_NO_RULES = struct.pack("<I", 1024) + bytes(1024) + b"\0"
_NORMALIZERS = {"Sequence", "Precompiled", "Replace", "Strip", "Nmt"}


@dataclass(frozen=True, eq=False)
class SentencePiece:
    """A SentencePiece tokenizer as XLM-R, multilingual E5, ALBERT and DeBERTa-v3 use it.

    Attributes:
        proto: a serialized ModelProto; a piece's place in it is its id.

    Example::

        tokenizer = load(Path("xlm-roberta-base/sentencepiece.bpe.model"))
        tokenizer.tokenize(tf.constant(["Hello world"]))  # ragged int32 (1, None)
    """

    proto: bytes

    kind: ClassVar[str] = "sentencepiece"

    @property
    def vocabulary_size(self) -> int:
        """The number of pieces, V."""
        return len(self._pieces)

    @cached_property
    def pad_id(self) -> int:
        """The id of <pad> or [PAD]."""
        return self._find("<pad>", "[PAD]")

    @cached_property
    def start_id(self) -> int:
        """The id of <s> or [CLS]."""
        return self._find("[CLS]", "<s>")

    @cached_property
    def end_id(self) -> int:
        """The id of </s> or [SEP]."""
        return self._find("[SEP]", "</s>")

    @cached_property
    def unknown_id(self) -> int:
        """The id of <unk> or [UNK]."""
        return self._find("<unk>", "[UNK]")

    @cached_property
    def mask_id(self) -> int:
        """The id of <mask> or [MASK]."""
        return self._find("<mask>", "[MASK]")

    @cached_property
    def special_ids(self) -> tuple[int, ...]:
        """The ids of control pieces, the unknown one, unused ones, and the usual names of these."""
        pieces = schema.ModelProto.FromString(self.proto).pieces
        kinds = (_UNKNOWN, _CONTROL, _UNUSED)
        return tuple(i for i, p in enumerate(pieces) if p.type in kinds or p.piece in _NAMES)

    @property
    def pair_separators(self) -> int:
        """Two between a pair in RoBERTa's format (<s> a </s></s> b </s>), one in BERT's."""
        return 2 if self._pieces[self.start_id] == "<s>" else 1

    @property
    def segment_of_second(self) -> int:
        """RoBERTa's format knows no segments."""
        return 0 if self._pieces[self.start_id] == "<s>" else 1

    @property
    def resources(self) -> list[Any]:
        """The model resources in use, which a SavedModel must hold."""
        used = [vars(self).get(name) for name in ("_tokenizer", "_of_words")]
        return [tokenizer._model_resource for tokenizer in used if tokenizer is not None]

    def pieces(self) -> list[str]:
        """Return the V pieces in the order of their ids."""
        return list(self._pieces)

    def tokenize(self, strings: tf.Tensor) -> tf.RaggedTensor:
        """Split texts into pieces.

        Args:
            strings: (B,) string, UTF-8; an invalid byte is an unknown character.

        Returns:
            (B, tokens) int32, without special tokens.

        Source: Kudo 2018, Subword Regularization, section 3.2 (the most likely segmentation).
        """
        return self._tokenizer.tokenize(strings)

    def tokenize_with_offsets(
        self, strings: tf.Tensor
    ) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        """Split texts into pieces and say where each one stands.

        Args:
            strings: (B,) string, UTF-8; an invalid byte is an unknown character.

        Returns:
            Ids, starts and ends, each (B, tokens) int32. Starts and ends are bytes of the text as
            it was given, without the white space that a piece begins with.
        """
        ids, starts, ends = self._tokenizer.tokenize_with_offsets(strings)
        begin = tf.cast(starts.flat_values, tf.int32)
        end = tf.cast(ends.flat_values, tf.int32)
        surface = tf.strings.substr(tf.gather(strings, ids.value_rowids()), begin, end - begin)
        bare = tf.strings.regex_replace(surface, _SPACES, "")
        begin = end - tf.strings.length(bare)
        return ids, starts.with_flat_values(begin), ends.with_flat_values(end)

    def tokenize_words(self, words: tf.Tensor, after_space: tf.Tensor) -> tf.RaggedTensor:
        """Split words, each by itself, into the pieces they would be in the midst of a text.

        Args:
            words: (M,) string, UTF-8, without white space.
            after_space: (M,) bool, whether the word follows white space or begins a text; only
                then its pieces begin with "▁".

        Returns:
            (M, pieces) int32; none for a word that normalization leaves nothing of.
        """
        return self._of_words.tokenize(tf.where(after_space, " ", "") + words)

    def detokenize(self, ids: tf.RaggedTensor) -> tf.Tensor:
        """Join pieces to texts.

        Args:
            ids: (B, None) int32; control pieces, and ids beyond the vocabulary, are left out.

        Returns:
            (B,) string, UTF-8; an unknown piece gives " ⁇ ", and pieces of bytes that make no whole
            character U+FFFD, or nothing at the end of a text, which may have been cut there.
        """
        known = (ids.values >= 0) & (ids.values < self.vocabulary_size)
        ids = tf.ragged.boolean_mask(ids, ids.with_values(known))
        if any(self._bytes):
            last = tf.gather(tf.constant(self._bytes), ids)[:, ::-1][:, :3].to_tensor(
                shape=[None, 3]
            )
            whole = ids.row_lengths() - tf.cast(characters.begun(last), tf.int64)
            place = tf.ragged.range(ids.row_lengths())
            kept = place.flat_values < tf.gather(whole, ids.value_rowids())
            ids = tf.ragged.boolean_mask(ids, ids.with_values(kept))
        return self._tokenizer.detokenize(ids)

    def save(self, folder: Path) -> None:
        """Write spiece.model, from which it can be loaded again."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE).write_bytes(self.proto)

    @cached_property
    def _pieces(self) -> tuple[str, ...]:
        """The pieces of the proto."""
        return tuple(piece.piece for piece in schema.ModelProto.FromString(self.proto).pieces)

    @cached_property
    def _bytes(self) -> list[int]:
        """The byte of each piece that stands for one, 0 for others."""
        pieces = schema.ModelProto.FromString(self.proto).pieces
        return [int(p.piece[1:-1], 16) if p.type == _BYTE else 0 for p in pieces]

    @cached_property
    def _tokenizer(self) -> Any:
        """TF Text's tokenizer."""
        return _tf_text(schema.ModelProto.FromString(self.proto))

    @cached_property
    def _of_words(self) -> Any:
        """The same tokenizer, but one that neither adds nor removes spaces."""
        model = schema.ModelProto.FromString(self.proto)
        model.normalizer_spec.add_dummy_prefix = False
        model.normalizer_spec.remove_extra_whitespaces = False
        return _tf_text(model)

    def _find(self, *names: str) -> int:
        """Return the id of the first of these pieces that there is."""
        for name in names:
            if name in self._pieces:
                return self._pieces.index(name)
        raise UserError(
            f"the SentencePiece vocabulary of {self.vocabulary_size} pieces lacks "
            f"{' or '.join(names)} (take the file that belongs to the weights)"
        )


def load(file: Path) -> SentencePiece:
    """Return the tokenizer of an encoder's SentencePiece file.

    Args:
        file: as ALBERT (spiece.model), DeBERTa-v3 (spm.model), XLM-R (sentencepiece.bpe.model) or
            KerasHub (vocabulary.spm) name it.

    Raises:
        UserError: it is not a SentencePiece file.

    Example::

        load(Path("albert-base-v2/spiece.model")).vocabulary_size  # 30000
    """
    try:
        model = schema.ModelProto.FromString(file.read_bytes())
    except Exception as error:  # protobuf's DecodeError, whose module moves between versions
        raise UserError(f"{file} is not a SentencePiece model: {error}") from error
    names = [piece.piece for piece in model.pieces]
    if not names:  # an empty file is a model without pieces
        raise UserError(f"{file} is not a SentencePiece model: it has no pieces")
    if names[:3] == ["<unk>", "<s>", "</s>"] and model.trainer_spec.model_type == _UNIGRAM:
        _shift(model)  # XLM-R; Llama 2 and Mistral begin so too, with BPE, and know these ids
    elif "[CLS]" in names and "[MASK]" not in names:  # DeBERTa-v3
        model.pieces.add(piece="[MASK]", score=0.0, type=_CONTROL)
    return _made(model)


def from_unigram(config: dict[str, Any], where: Path) -> SentencePiece:
    """Return the SentencePiece model that a tokenizer.json of Hugging Face's describes.

    Args:
        config: the parsed tokenizer.json, whose model is of type Unigram.
        where: its path, for messages.

    Raises:
        UserError: it has a step that SentencePiece does not know.

    Example::

        from_unigram(json.loads(path.read_text("utf-8")), path)
    """
    steps = _steps(config.get("normalizer"))
    unknown = {step["type"] for step in steps} - _NORMALIZERS
    if unknown:
        raise UserError(
            f"{where} normalizes text by {', '.join(sorted(unknown))}, which SentencePiece cannot "
            "(put the model's own spiece.model or sentencepiece.bpe.model next to it)"
        )
    special = {token["content"] for token in config.get("added_tokens", []) if token["special"]}
    unk = config["model"]["unk_id"]
    model = schema.ModelProto()
    for index, (piece, score) in enumerate(config["model"]["vocab"]):
        kind = _UNKNOWN if index == unk else _CONTROL if piece in special else _NORMAL
        model.pieces.add(piece=piece, score=score, type=kind)
    rules = model.normalizer_spec
    rules.name = "tokenizer.json"
    for step in steps:
        if step["type"] == "Precompiled":
            rules.precompiled_charsmap = base64.b64decode(step["precompiled_charsmap"])
    rules.add_dummy_prefix = True
    rules.escape_whitespaces = True
    rules.remove_extra_whitespaces = True
    return _made(model)


def _steps(normalizer: dict[str, Any] | None) -> list[dict[str, Any]]:
    """List the steps of a normalizer, sequences resolved."""
    if normalizer is None:
        return []
    if normalizer["type"] == "Sequence":
        return [step for part in normalizer["normalizers"] for step in _steps(part)]
    return [normalizer]


def _shift(model: Any) -> None:
    """Give XLM-R's pieces the ids that its weights know, those of fairseq."""
    rest = [piece for piece in model.pieces[3:] if piece.piece != "<mask>"]
    kept = [(piece.piece, piece.score, piece.type) for piece in rest]
    del model.pieces[:]
    model.pieces.add(piece="<s>", score=0.0, type=_CONTROL)
    model.pieces.add(piece="<pad>", score=0.0, type=_CONTROL)
    model.pieces.add(piece="</s>", score=0.0, type=_CONTROL)
    model.pieces.add(piece="<unk>", score=0.0, type=_UNKNOWN)
    for piece, score, kind in kept:
        model.pieces.add(piece=piece, score=score, type=kind)
    model.pieces.add(piece="<mask>", score=0.0, type=_CONTROL)


def _made(model: Any) -> SentencePiece:
    """Write down what SentencePiece checks when it reads a model: where its special pieces are."""
    trained = model.trainer_spec
    names = {piece.piece: index for index, piece in enumerate(model.pieces)}
    trained.vocab_size = len(model.pieces)
    for role, candidates in {
        "unk": ("<unk>", "[UNK]"),
        "bos": ("[CLS]", "<s>"),
        "eos": ("[SEP]", "</s>"),
        "pad": ("<pad>", "[PAD]"),
    }.items():
        piece = next((name for name in candidates if name in names), None)
        if piece is not None:
            setattr(trained, f"{role}_id", names[piece])
            setattr(trained, f"{role}_piece", piece)
    return SentencePiece(model.SerializeToString())


def _tf_text(model: Any) -> Any:
    """Make TF Text's tokenizer, outside of any graph: all graphs share its resource."""
    if not model.normalizer_spec.precompiled_charsmap:
        model.normalizer_spec.precompiled_charsmap = _NO_RULES
    with tf.init_scope():
        return tf_text.SentencepieceTokenizer(model.SerializeToString(), out_type=tf.int32)
