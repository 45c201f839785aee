"""Byte-pair encoding over bytes in the graph, as GPT-2, BART, RoBERTa and SmolLM2 use it.

SentencePiece's BPE does the merging, inside the pre-tokens that a regular expression finds. It
merges two neighbours whenever their concatenation is a piece, where BPE asks for a merge of just
these two. Both do the same once the pieces are left out that BPE cannot reach: a piece's text has,
by itself, one derivation; it runs unchanged wherever nothing is merged across its ends, and passes
through one state of two pieces only, those of its last merge (:func:`_reachable`).

Ids equal those of Hugging Face's `tokenizers` but for
- special tokens written in the text ("<|im_end|>"): they are plain characters here, so that no
  user's text can forge a turn;
- characters that Unicode added or reclassified between that library's version and RE2's.
A byte without a piece (SmolLM2 lacks 21, mostly of no UTF-8) is left out, as there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import tensorflow as tf
import tensorflow_text as tf_text
from sentencepiece import sentencepiece_model_pb2 as schema

from pipelines.errors import UserError
from pipelines.tokenizers import characters

CONFIG = "bytepair.json"
VOCABULARY = "vocabulary.json"
MERGES = "merges.txt"
# Who plays a role where no file says so, the most likely first.
_USUAL = {
    "start": ("<s>", "[CLS]", "<|begin_of_text|>", "<|im_start|>", "<|endoftext|>"),
    "end": ("</s>", "[SEP]", "<|end_of_text|>", "<|im_end|>", "<|endoftext|>"),
    "pad": ("<pad>", "[PAD]"),
    "unknown": ("<unk>", "[UNK]", "<|endoftext|>"),
    "mask": ("<mask>", "[MASK]"),
}
_NORMAL, _UNKNOWN, _CONTROL, _BPE = 1, 2, 3, 2  # sentencepiece_model.proto: Type, ModelType
_SPACE = (  # what Unicode calls white space; RE2's \s is ASCII only
    r"\x{09}-\x{0D}\x{20}\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}"
    r"\x{3000}"
)
# Source: Radford et al. 2019; openai/gpt-2, src/encoder.py.
_PATTERN = (
    rf"'s|'t|'re|'ve|'m|'ll|'d| ?\p{{L}}+| ?\p{{N}}+| ?[^{_SPACE}\p{{L}}\p{{N}}]+|[{_SPACE}]+"
)
# An empty trie of rules. Without any, the library writes a line to stderr at each load.
_NO_RULES = (1024).to_bytes(4, "little") + bytes(1024) + b"\0"
_BREAK = b"\xff"  # no byte of UTF-8: no text has it and no part of the pattern matches it


def _alphabet() -> dict[str, int]:
    """Map GPT-2's printable characters to the bytes that they stand for."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(b): b for b in shown} | {chr(256 + i): b for i, b in enumerate(hidden)}


ALPHABET = _alphabet()


@dataclass(frozen=True, eq=False)
class BytePair:
    """A byte-level BPE tokenizer.

    Attributes:
        vocabulary: V pieces in the order of their ids, in GPT-2's printable characters.
        merges: pairs of pieces, the first to be merged first.
        special: pieces by their role: start, end, pad, unknown, mask.
        single_digits: whether each digit is a pre-token (SmolLM2), or a run of them (GPT-2).

    Example::

        tokenizer = bytepair_files.load(Path("gpt2"))
        tokenizer.tokenize(tf.constant(["Hello world"]))  # [[15496, 995]]
    """

    vocabulary: tuple[str, ...]
    merges: tuple[tuple[str, str], ...]
    special: Mapping[str, str]
    single_digits: bool = False

    kind: ClassVar[str] = "bytepair"

    def __post_init__(self) -> None:
        known = set(self.vocabulary)
        if missing := [name for name in self.special.values() if name not in known]:
            raise UserError(
                f"the byte-pair vocabulary of {len(known)} pieces lacks its special tokens "
                f"{', '.join(missing)} (take the files that belong to the weights)"
            )
        for pair in self.merges:
            if not known.issuperset((*pair, "".join(pair))):
                raise UserError(
                    f"the merge {' '.join(pair)!r} names pieces that the byte-pair vocabulary of "
                    f"{len(known)} pieces lacks (take the files that belong to the weights)"
                )

    @property
    def vocabulary_size(self) -> int:
        """The number of pieces, V."""
        return len(self.vocabulary)

    @cached_property
    def pad_id(self) -> int:
        """The padding id; that of the end where, as in GPT-2, there is no piece for padding."""
        if self._named("pad") is None and self._named("end") is not None:
            return self.end_id
        return self._find("pad")

    @cached_property
    def start_id(self) -> int:
        """The id of <s>, <|im_start|> or <|endoftext|>."""
        return self._find("start")

    @cached_property
    def end_id(self) -> int:
        """The id of </s>, <|im_end|> or <|endoftext|>."""
        return self._find("end")

    @cached_property
    def unknown_id(self) -> int:
        """The id of <unk> or <|endoftext|>; no text gives it."""
        return self._find("unknown")

    @cached_property
    def mask_id(self) -> int:
        """The id of <mask>."""
        return self._find("mask")

    @cached_property
    def special_ids(self) -> tuple[int, ...]:
        """The ids of pieces that no merge makes."""
        return tuple(i for i, piece in enumerate(self.vocabulary) if piece in self._special)

    @property
    def pair_separators(self) -> int:
        """Two between a pair in RoBERTa's format (<s> a </s></s> b </s>), else one."""
        return 2 if self._named("start") == "<s>" else 1

    @property
    def segment_of_second(self) -> int:
        """No model with this vocabulary knows segments."""
        return 0

    @property
    def resources(self) -> list[Any]:
        """The model resource, once it is in use, which a SavedModel must hold."""
        made = vars(self).get("_merger")
        return [] if made is None else [made._model_resource]

    def pieces(self) -> list[str]:
        """Return the V pieces in the order of their ids."""
        return list(self.vocabulary)

    def tokenize(self, strings: tf.Tensor) -> tf.RaggedTensor:
        """Split texts into pieces.

        Args:
            strings: (B,) string, UTF-8; invalid bytes count as U+FFFD.

        Returns:
            (B, tokens) int32, without special tokens.

        Source: Sennrich et al. 2016, Neural Machine Translation of Rare Words with Subword Units.
        """
        return self._with_pieces(self._ids(_valid(strings)))[0]

    def tokenize_with_offsets(
        self, strings: tf.Tensor
    ) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        """Split texts into pieces and say where each one stands.

        Args:
            strings: (B,) string, UTF-8; invalid bytes count as U+FFFD.

        Returns:
            Ids, starts and ends, each (B, tokens) int32. Starts and ends are bytes of the text as
            it was given; a piece covers the space it begins with, and may cut a character in two.
        """
        ids = self._ids(_valid(strings))
        sizes = tf.gather(tf.constant(self._sizes), ids.flat_values)
        ends = tf.cumsum(sizes)
        row = ids.value_rowids()
        starts, ends = _original_places(strings, ends - sizes, ends, row)
        every = self._with_pieces(ids, ids.with_values(starts), ids.with_values(ends))
        return every[0], every[1], every[2]

    def detokenize(self, ids: tf.RaggedTensor) -> tf.Tensor:
        """Join pieces to texts.

        Args:
            ids: (B, None) int32; special tokens, and ids beyond the vocabulary, are left out.

        Returns:
            (B,) string, UTF-8; pieces that make no whole character give U+FFFD, or nothing at the
            end of a text, which may have been cut there.
        """
        size = self.vocabulary_size
        known = tf.where(ids.values < size, ids.values, size)
        parts = tf.gather(tf.constant(self._written), known)
        texts = tf.strings.reduce_join(ids.with_values(parts), axis=-1)
        last = tf.strings.substr(tf.strings.join(["\0\0\0", texts]), -3, 3)
        last = tf.reshape(tf.io.decode_raw(last, tf.uint8), [-1, 3])[:, ::-1]
        whole = tf.strings.length(texts) - characters.begun(tf.cast(last, tf.int32))
        return _valid(tf.strings.substr(texts, tf.zeros_like(whole), whole))

    def save(self, folder: Path) -> None:
        """Write vocabulary.json, merges.txt and bytepair.json, from which it is loaded again."""
        folder.mkdir(parents=True, exist_ok=True)
        vocabulary = {piece: i for i, piece in enumerate(self.vocabulary)}
        text = json.dumps(vocabulary, ensure_ascii=False)
        (folder / VOCABULARY).write_text(text + "\n", "utf-8", newline="\n")
        lines = ["#version: 0.2", *(" ".join(pair) for pair in self.merges)]
        (folder / MERGES).write_text("\n".join(lines) + "\n", "utf-8", newline="\n")
        config = {"special": dict(self.special), "single_digits": self.single_digits}
        (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", "utf-8")

    # --- the graph

    def _ids(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Split (B,) valid texts into (B, tokens) int32; bytes without a piece are V and above."""
        if self.single_digits:
            texts = tf.strings.regex_replace(texts, r"(\p{N})", _BREAK + rb"\1" + _BREAK)
        # GPT-2's \s+(?!\S) without the look ahead that RE2 lacks: a run of white space ends before
        # its last character if another token can take that one.
        run = rf"([{_SPACE}]+)([{_SPACE}][^{_SPACE}])"
        texts = tf.strings.regex_replace(texts, run, rb"\1" + _BREAK + rb"\2")
        # RE2 finds where a whole pattern ends many times quicker than tf_text.regex_split, which
        # also loses what follows a NUL.
        texts = tf.strings.regex_replace(texts, _PATTERN, rb"\0" + _BREAK)
        words = tf.strings.split(texts, _BREAK)
        # Most words are there many times; no ids come of the empty ones between two breaks.
        different, places = tf.unique(words.values)
        # Read as Latin-1, each byte is a character of its own: the merger's pieces are in them.
        letters = tf.strings.unicode_transcode(different, "ISO-8859-1", "UTF-8")
        ids = tf.gather(self._merger.tokenize(letters), places)
        return words.with_values(ids).merge_dims(1, 2)

    def _with_pieces(self, ids: tf.RaggedTensor, *more: tf.RaggedTensor) -> list[tf.RaggedTensor]:
        """Leave out, in all of these, what has no piece in the vocabulary."""
        if len(self._bytes) == self.vocabulary_size:
            return [ids, *more]
        kept = ids.with_values(ids.values < self.vocabulary_size)
        return [tf.ragged.boolean_mask(part, kept) for part in (ids, *more)]

    @cached_property
    def _merger(self) -> Any:
        """TF Text's tokenizer, made outside of any graph: all graphs share its resource."""
        with tf.init_scope():
            return tf_text.SentencepieceTokenizer(self._proto(), out_type=tf.int32)

    def _proto(self) -> bytes:
        """Build SentencePiece's model: the pieces that merging reaches, in Latin-1."""
        scores = dict.fromkeys(ALPHABET, 0.0)
        scores |= {piece: -float(rank) for piece, rank in _reachable(self.merges).items()}
        model = schema.ModelProto()
        for index, piece in enumerate(self.vocabulary):
            if piece in scores:
                text = self._bytes[index].decode("latin-1")
                model.pieces.add(piece=text, score=scores[piece], type=_NORMAL)
            else:  # keeps its id, and is in no text that reads as Latin-1
                model.pieces.add(piece=f"\ue000{index}", score=0.0, type=_CONTROL)
        for byte in self._bytes[self.vocabulary_size :]:
            model.pieces.add(piece=byte.decode("latin-1"), score=0.0, type=_NORMAL)
        model.pieces.add(piece="\ue000unknown", score=0.0, type=_UNKNOWN)
        trained, rules = model.trainer_spec, model.normalizer_spec
        trained.model_type = _BPE
        trained.vocab_size = len(model.pieces)
        trained.unk_id, trained.unk_piece = len(model.pieces) - 1, "\ue000unknown"
        trained.bos_id = trained.eos_id = trained.pad_id = -1
        rules.name = "identity"
        rules.precompiled_charsmap = _NO_RULES
        rules.add_dummy_prefix = rules.remove_extra_whitespaces = rules.escape_whitespaces = False
        return model.SerializeToString()  # type: ignore[no-any-return]

    # --- the vocabulary

    @cached_property
    def _bytes(self) -> list[bytes]:
        """What each piece stands for, and after them the bytes that have no piece."""
        known = set(self.vocabulary)
        missing = [bytes([byte]) for character, byte in ALPHABET.items() if character not in known]
        return [*map(_bytes_of, self.vocabulary), *missing]

    # Lists are made here, not where a graph is traced: there, each call would be converted first.
    @cached_property
    def _sizes(self) -> list[int]:
        """How many bytes each of these is."""
        return [len(text) for text in self._bytes]

    @cached_property
    def _written(self) -> list[bytes]:
        """What each piece adds to a text, and after them what an id beyond the vocabulary adds."""
        size, special = self.vocabulary_size, self._special
        of = zip(self.vocabulary, self._bytes[:size], strict=True)
        return [*(b"" if piece in special else text for piece, text in of), b""]

    @cached_property
    def _special(self) -> frozenset[str]:
        """The pieces that no merge makes."""
        return frozenset(self.vocabulary).difference(ALPHABET, map("".join, self.merges))

    def _named(self, role: str) -> str | None:
        """Return the piece in a role; None if there is none."""
        if role in self.special:
            return self.special[role]
        return next((name for name in _USUAL[role] if name in self._special), None)

    def _find(self, role: str) -> int:
        """Return the id of the piece in a role."""
        name = self._named(role)
        if name is None:
            raise UserError(
                f"the byte-pair vocabulary of {self.vocabulary_size} pieces has no token for "
                f"{role!r}, such as {_USUAL[role][0]} (take a backbone that was trained with one)"
            )
        return self.vocabulary.index(name)


def _bytes_of(piece: str) -> bytes:
    """Turn GPT-2's characters into bytes; a special token stands for itself."""
    if all(character in ALPHABET for character in piece):
        return bytes(ALPHABET[character] for character in piece)
    return piece.encode()


def _reachable(merges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Find the pieces that merging their own text gives, and the rank of each one's last merge."""
    ranks: dict[tuple[str, str], int] = {}
    for rank, pair in enumerate(merges):
        ranks.setdefault(pair, rank)
    found = {}
    for piece in dict.fromkeys(map("".join, merges)):
        parts, last = list(piece), -1
        while len(parts) > 1:
            pairs = [ranks.get(pair, len(merges)) for pair in pairwise(parts)]
            last = min(pairs)
            if last == len(merges):
                break
            place = pairs.index(last)
            parts[place : place + 2] = ["".join(parts[place : place + 2])]
        if len(parts) == 1:
            found[piece] = last
    return found


def _valid(strings: tf.Tensor) -> tf.Tensor:
    """Replace invalid UTF-8 by U+FFFD."""
    return tf.strings.unicode_transcode(strings, "UTF-8", "UTF-8")


def _original_places(
    strings: tf.Tensor, starts: tf.Tensor, ends: tf.Tensor, row: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Turn places in all valid texts, one after the other, into places in each text as given.

    Args:
        strings: (B,) string, as given.
        starts: flat int32, in bytes of the valid texts joined.
        ends: the same.
        row: flat, which text each is of.
    """
    points, places = tf.strings.unicode_decode_with_offsets(strings, "UTF-8")
    sizes = 1 + tf.reduce_sum(
        tf.cast(points.flat_values[:, None] >= [0x80, 0x800, 0x10000], tf.int32), 1
    )
    ends_of_texts = tf.cumsum(sizes)
    lengths = tf.strings.length(strings)
    given = tf.cumsum(lengths, exclusive=True)
    begin = tf.cast(places.flat_values, tf.int32) + tf.gather(given, points.value_rowids())
    stop = tf.concat([begin[1:], [tf.reduce_sum(lengths)]], 0)

    def original(byte: tf.Tensor, among: tf.Tensor, edge: tf.Tensor) -> tf.Tensor:
        inside = byte - tf.gather(ends_of_texts - sizes, among)
        whole = inside >= tf.gather(sizes, among)
        moved = tf.minimum(tf.gather(begin, among) + inside, tf.gather(stop, among))
        return tf.where(whole, tf.gather(stop, among), moved) - edge

    edge = tf.gather(given, row)
    first = original(starts, tf.searchsorted(ends_of_texts, starts, side="right"), edge)
    return first, original(ends, tf.searchsorted(ends_of_texts, ends, side="left"), edge)
