"""WordPiece in the graph, with the token ids that Hugging Face's BERT tokenizers give.

TF Text's own lower-casing folds compatibility characters too ("…" to three full stops, "™" to
"tm", "ß" to "ss") and turns control characters into spaces. BERT models were pretrained on
neither, so text is cleaned here first, with ops that every TF Serving from 2.12 on has.

Ids equal those of Hugging Face's `tokenizers` but for
- special tokens written in the text: "[SEP]" is "[", "sep", "]" here, so that no user's text can
  forge a separator;
- 256 rare ideographs (U+2B820 to U+2B91F, left out there by a slip of the pen) and what Unicode
  added after version 8 (about 580 marks and signs, which that library holds for unassigned).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import tensorflow as tf
import tensorflow_text as tf_text

from pipelines.errors import UserError

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # BERT's
MPNET = ("<pad>", "[UNK]", "<s>", "</s>", "<mask>")  # beside BERT's, which it has no use for
ROLES = ("pad", "unk", "cls", "sep", "mask")  # Hugging Face's names of what these are for
LONGEST_WORD = 100  # characters; a longer word is one unknown token, as in pretraining
_CONTROL = r"\x{00}-\x{08}\x{0B}\x{0C}\x{0E}-\x{1F}\x{7F}-\x{9F}\p{Cf}\p{Co}\x{FFFD}"

_IDEOGRAPHS = r"\p{Han}\x{3000}-\x{303F}\x{FF00}-\x{FF0F}\x{FF1A}-\x{FF20}"
# Where words were split and no space was: what each pattern leaves of it.
_UNSPACED = (
    (rf" ?([{_IDEOGRAPHS}]) ?", r"\1"),
    (r" ([.,!?;:%)\]}…]+)", r"\1"),
    (r"([(\[{¿¡$#@]) ", r"\1"),
    (r" (['’\-–/]) ", r"\1"),
    (r"(\d\.) (\d)", r"\1\2"),
    (r" (n't|'m|'s|'ve|'re|'ll|'d)\b", r"\1"),
)


@dataclass(frozen=True, eq=False)
class WordPiece:
    """A WordPiece tokenizer as BERT, DistilBERT, ELECTRA and MPNet use it.

    Attributes:
        vocabulary: V pieces in the order of their ids.
        lowercase: whether text is lower-cased.
        strip_accents: whether accents are taken off.
        special: the pieces for padding, the unknown, the start, the end and the mask.

    Example::

        tokenizer = WordPiece((*SPECIAL, "sing", "##s"), lowercase=True, strip_accents=True)
        tokenizer.tokenize(tf.constant(["Sings"]))  # [[5, 6]]
    """

    vocabulary: tuple[str, ...]
    lowercase: bool
    strip_accents: bool
    special: tuple[str, ...] = SPECIAL

    kind: ClassVar[str] = "wordpiece"

    def __post_init__(self) -> None:
        missing = [token for token in self.special if token not in self.vocabulary]
        if missing:
            raise UserError(
                f"the WordPiece vocabulary of {len(self.vocabulary)} pieces lacks "
                f"{', '.join(missing)} (take the vocab.txt that belongs to the weights)"
            )

    @property
    def vocabulary_size(self) -> int:
        """The number of pieces, V."""
        return len(self.vocabulary)

    @cached_property
    def pad_id(self) -> int:
        """The id of [PAD] or <pad>."""
        return self.vocabulary.index(self.special[0])

    @cached_property
    def start_id(self) -> int:
        """The id of [CLS] or <s>."""
        return self.vocabulary.index(self.special[2])

    @cached_property
    def end_id(self) -> int:
        """The id of [SEP] or </s>."""
        return self.vocabulary.index(self.special[3])

    @cached_property
    def unknown_id(self) -> int:
        """The id of [UNK]."""
        return self.vocabulary.index(self.special[1])

    @cached_property
    def mask_id(self) -> int:
        """The id of [MASK] or <mask>."""
        return self.vocabulary.index(self.special[4])

    @cached_property
    def special_ids(self) -> tuple[int, ...]:
        """The ids of special pieces and of the places that BERT kept free, such as [unused0]."""
        return tuple(
            i
            for i, piece in enumerate(self.vocabulary)
            if piece in self._no_text or re.fullmatch(r"\[unused\d+\]", piece)
        )

    @property
    def pair_separators(self) -> int:
        """Two between a pair in RoBERTa's format (<s> a </s></s> b </s>), one in BERT's."""
        return 2 if self.special[2] == "<s>" else 1

    @property
    def segment_of_second(self) -> int:
        """RoBERTa's format knows no segments."""
        return 0 if self.special[2] == "<s>" else 1

    @property
    def resources(self) -> list[Any]:
        """Trackables that a SavedModel must hold: none, the vocabulary is a constant."""
        return []

    def pieces(self) -> list[str]:
        """Return the V pieces in the order of their ids."""
        return list(self.vocabulary)

    def tokenize(self, strings: tf.Tensor) -> tf.RaggedTensor:
        """Split texts into pieces.

        Args:
            strings: (B,) string, UTF-8; invalid bytes are left out.

        Returns:
            (B, tokens) int32, without special tokens.
        """
        ids = self._tokenizer.tokenize(self._clean(strings))
        head, _, keep = self._words(ids)
        return tf.ragged.boolean_mask(ids.with_flat_values(head), ids.with_flat_values(keep))

    def tokenize_with_offsets(
        self, strings: tf.Tensor
    ) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        """Split texts into pieces and say where each one stands.

        Args:
            strings: (B,) string, UTF-8; invalid bytes are left out.

        Returns:
            Ids, starts and ends, each (B, tokens) int32. Starts and ends are bytes of the text as
            it was given; a piece covers the combining marks and invisible characters after it.
        """
        characters, places = tf.strings.unicode_split_with_offsets(strings, "UTF-8")
        cleaned = self._clean(characters.flat_values)
        texts = tf.strings.reduce_join(characters.with_flat_values(cleaned), axis=-1)
        ids, starts, ends = self._tokenizer.tokenize_with_offsets(texts)
        head, ends_of_words, keep = self._words(ids, ends)
        mask = ids.with_flat_values(keep)
        original = _original_places(strings, places, cleaned, texts)
        starts, ends = original(starts, starts.with_flat_values(ends_of_words))
        return (
            tf.ragged.boolean_mask(ids.with_flat_values(head), mask),
            tf.ragged.boolean_mask(starts, mask),
            tf.ragged.boolean_mask(ends, mask),
        )

    def detokenize(self, ids: tf.RaggedTensor) -> tf.Tensor:
        """Join pieces to texts, roughly: capitals, accents and some spaces are not in the pieces.

        Args:
            ids: (B, None) int32; special tokens, and ids beyond the vocabulary, are left out.

        Returns:
            (B,) string, UTF-8; no space stands before punctuation, around the apostrophes and
            hyphens of words, or around ideographs.

        Source: clean_up_tokenization of Hugging Face's transformers, widened.
        """
        known = tf.where(ids.values < self.vocabulary_size, ids.values, self.vocabulary_size)
        words = tf.gather(tf.constant(self._written), known)
        texts = tf.strings.reduce_join(ids.with_values(words), axis=-1)
        for pattern, rest in _UNSPACED:
            texts = tf.strings.regex_replace(texts, pattern, rest)
        return tf.strings.strip(texts)

    def save(self, folder: Path) -> None:
        """Write vocab.txt and tokenizer_config.json, from which it can be loaded again."""
        folder.mkdir(parents=True, exist_ok=True)
        text = "".join(f"{piece}\n" for piece in self.vocabulary)
        (folder / "vocab.txt").write_text(text, encoding="utf-8", newline="\n")
        config = {
            "tokenizer_class": "BertTokenizer",
            "do_lower_case": self.lowercase,
            "strip_accents": self.strip_accents,
            **{f"{role}_token": piece for role, piece in zip(ROLES, self.special, strict=True)},
        }
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")

    @cached_property
    def _written(self) -> list[str]:
        """What each piece adds to a text, and after them what an id beyond the vocabulary adds."""
        return [
            "" if p in self._no_text else p[2:] if p.startswith("##") else f" {p}"
            for p in (*self.vocabulary, SPECIAL[0])
        ]

    @cached_property
    def _no_text(self) -> frozenset[str]:
        """The pieces that no text gives."""
        return frozenset((*SPECIAL, *self.special, "<unk>"))

    @cached_property
    def _tokenizer(self) -> Any:
        """TF Text's tokenizer over cleaned text; a word's bytes are at most 4 a character."""
        with tf.init_scope():  # outside of any graph: all graphs share its constants
            return tf_text.FastBertTokenizer(
                list(self.vocabulary),
                max_bytes_per_word=4 * LONGEST_WORD,
                token_out_type=tf.int32,
                unknown_token=self.special[1],
                lower_case_nfd_strip_accents=False,
            )

    def _clean(self, strings: tf.Tensor) -> tf.Tensor:
        """Do what pretraining did to text before splitting it, character by character."""
        strings = tf.strings.unicode_transcode(strings, "UTF-8", "UTF-8")  # invalid: U+FFFD
        removed = _CONTROL
        if self.strip_accents:
            strings = tf_text.normalize_utf8(strings, "NFD")
            removed += r"\p{Mn}"
        strings = tf.strings.regex_replace(strings, f"[{removed}]+", "")
        if self.lowercase:
            # By itself: ICU lowers a word's last Σ to ς, pretraining lowered each letter alone.
            strings = tf.strings.regex_replace(strings, "Σ", "σ")
            strings = tf.strings.lower(strings, encoding="utf-8")
        return strings

    @tf.autograph.experimental.do_not_convert  # else every piece is a call to convert: seconds
    def _words(
        self, ids: tf.RaggedTensor, ends: tf.RaggedTensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Join the pieces of words beyond LONGEST_WORD into one unknown token.

        Returns:
            For each piece (flat): its id, its end, and whether it stays.
        """
        flat = ids.flat_values
        lengths = [len(piece.removeprefix("##")) for piece in self.vocabulary]
        follows = [piece.startswith("##") for piece in self.vocabulary]
        is_head = ~tf.gather(tf.constant(follows), flat)
        word = tf.cumsum(tf.cast(is_head, tf.int32)) - 1
        characters = tf.math.segment_sum(tf.gather(tf.constant(lengths), flat), word)
        too_long = tf.gather(characters > LONGEST_WORD, word)
        new_ends = tf.zeros_like(flat)
        if ends is not None:
            last = tf.gather(tf.math.segment_max(ends.flat_values, word), word)
            new_ends = tf.where(too_long, last, ends.flat_values)
        return tf.where(too_long, self.unknown_id, flat), new_ends, is_head | ~too_long


def _original_places(
    strings: tf.Tensor, places: tf.RaggedTensor, cleaned: tf.Tensor, texts: tf.Tensor
) -> Any:
    """Return a function from places in the cleaned texts to places in the texts as given.

    Args:
        strings: (B,) string, as given.
        places: (B, characters) int64, where each character starts in its string.
        cleaned: flat, string, what became of each character ("" if it was left out).
        texts: (B,) string, the cleaned texts.
    """

    def bases(values: tf.Tensor) -> tf.Tensor:
        return tf.cumsum(tf.strings.length(values), exclusive=True)

    # All rows as one long string: one search then serves the batch.
    given, sizes = bases(strings), tf.strings.length(strings)
    of_cleaned = bases(texts)
    after = tf.cumsum(tf.strings.length(cleaned))  # where each character ends, cleaned
    begins = tf.cast(places.flat_values, tf.int32) + tf.gather(given, places.value_rowids())
    begins = tf.concat([begins, [tf.reduce_sum(sizes)]], 0)

    def search(values: tf.Tensor) -> tf.Tensor:
        return tf.searchsorted(after, values, side="right")

    def original(
        starts: tf.RaggedTensor, ends: tf.RaggedTensor
    ) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
        row = tf.cast(starts.value_rowids(), tf.int32)
        base = tf.gather(of_cleaned, row)
        start = tf.cast(starts.flat_values, tf.int32) + base
        end = tf.cast(ends.flat_values, tf.int32) + base
        following = tf.maximum(search(end - 1) + 1, search(end))  # the next character that stayed
        first = tf.gather(begins, search(start)) - tf.gather(given, row)
        last = tf.gather(begins, following) - tf.gather(given, row)
        last = tf.minimum(last, tf.gather(sizes, row))
        return starts.with_flat_values(first), ends.with_flat_values(last)

    return original
