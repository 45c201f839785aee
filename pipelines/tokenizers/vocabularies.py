"""Vocabularies learned from a corpus, for models that have none."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

from pipelines.errors import UserError
from pipelines.tokenizers.sentencepiece import SentencePiece

ALPHABET = 500  # a language with fewer characters keeps them all
COVERAGE = 0.9995  # of the characters of a text, in a language with more, such as Chinese
LONGEST = 1 << 20  # bytes of a text: longer ones would be left out
SAMPLE = 1_000_000  # texts
_HAN = re.compile(r"[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]")


def learn(texts: Sequence[str], size: int, *, seed: int) -> SentencePiece:
    """Return a SentencePiece vocabulary (unigram) learned from texts.

    Args:
        texts: N texts, of which at most a million, drawn at random, are read.
        size: the number of pieces, V, special tokens included; fewer if the texts give fewer.
        seed: of what is drawn.

    Returns:
        A tokenizer whose ids begin with <pad>, <s>, </s>, <unk>; the same for the same arguments.

    Raises:
        UserError: there is no text, or `size` is less than the texts' characters need.

    Example::

        learn(["A text.", "Another one."] * 100, 300, seed=0).pieces()[:4]

    Source: Kudo 2018, Subword Regularization, section 3.2.
    """
    import numpy as np
    from sentencepiece import SentencePieceTrainer, set_random_generator_seed

    kept = [text for text in texts if text.strip()]
    if not kept:
        raise UserError("there is no text to learn a vocabulary from")
    if len(kept) > SAMPLE:
        chosen = np.random.default_rng(seed).choice(len(kept), SAMPLE, replace=False)
        kept = [kept[i] for i in np.sort(chosen)]
    alphabet = len(set().union(*kept))
    written = io.BytesIO()
    set_random_generator_seed(seed)
    try:
        SentencePieceTrainer.train(
            sentence_iterator=iter(kept),
            model_writer=written,
            model_type="unigram",
            vocab_size=size,
            hard_vocab_limit=False,
            character_coverage=1.0 if alphabet < ALPHABET else COVERAGE,
            # NFKC would have a model write "," for "，".
            normalization_rule_name="identity" if _HAN.search("".join(kept[:1000])) else "nmt_nfkc",
            byte_fallback=False,
            max_sentence_length=LONGEST,
            num_threads=1,
            pad_id=0,
            bos_id=1,
            eos_id=2,
            unk_id=3,
            pad_piece="<pad>",
            minloglevel=2,
        )
    except RuntimeError as error:
        needed = re.search(r"required_chars.* vs (\d+)", str(error))
        least = f" (it takes {needed[1]} for their characters alone)" if needed else f": {error}"
        raise UserError(
            f"cannot learn a vocabulary of {size} pieces from {len(kept)} texts{least}"
        ) from error
    return SentencePiece(written.getvalue())
