"""What may be said of how a network writes: options of a run, settings of a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tfnlp.options import option

Way = Literal["sample", "beam", "contrastive"]


# Settings of each way to write, and of all. Their names are those of the options below.
_ALL = ("max_tokens", "min_tokens", "repetition_penalty", "no_repeat_ngram", "stop")


OWN: dict[Way, tuple[str, ...]] = {
    "sample": ("temperature", "top_k", "top_p", "sampling_seed"),
    "beam": ("beams", "length_penalty"),
    "contrastive": ("top_k", "alpha"),
}


# What a request may ask for; what lies beyond is taken for the nearest.
LIMITS: dict[str, tuple[Any, Any]] = {
    "max_tokens": (0, 2**20),
    "min_tokens": (0, 2**20),
    "repetition_penalty": (0.1, 100.0),
    "no_repeat_ngram": (0, 1000),
    "temperature": (0.0, 100.0),
    "top_k": (0, 2**20),
    "top_p": (0.01, 1.0),
    "beams": (1, 64),
    "length_penalty": (-10.0, 10.0),
    "alpha": (0.0, 1.0),
}


_COMPARED = 5  # tokens, where the options say none in particular


@dataclass(frozen=True)
class WritingOptions:
    """Options of a task that writes."""

    max_length: int = option(128, "longest text that is read [tokens]", minimum=8)
    max_tokens: int = option(64, "longest text that is written [tokens]", minimum=1)
    min_tokens: int = option(0, "shortest text that is written [tokens]", minimum=0)
    decoder_layers: int | None = option(
        None, "layers of the decoder put on an encoder; as many as it has if not given", minimum=1
    )
    target_vocabulary: Literal["auto", "backbone", "learned"] = option(
        "auto",
        "what an encoder's decoder writes with: the backbone's vocabulary, one learned from the "
        "targets, or the first if it can spell them",
    )
    vocabulary_size: int = option(8000, "pieces of a vocabulary that is learned", minimum=100)
    label_smoothing: float = option(
        0.1, "share of each target that goes to all tokens alike", minimum=0.0, maximum=0.9
    )
    decoding: Literal["greedy", "sample", "beam", "contrastive"] = option(
        "beam", "how serving_default and evaluation choose tokens"
    )
    beams: int = option(4, "beam search: hypotheses kept", minimum=1, maximum=64)
    length_penalty: float = option(
        1.0,
        "beam search: power of the length that a hypothesis's score is divided by",
        minimum=-10.0,
        maximum=10.0,
    )
    temperature: float = option(
        1.0, "sampling: below 1 likelier tokens, above 1 more even ones; 0 is greedy", minimum=0.0
    )
    top_k: int = option(
        0, "sampling: of this many likeliest tokens, 0 is all; contrastive: compared", minimum=0
    )
    top_p: float = option(
        1.0, "sampling: of the likeliest that make up this share", minimum=0.01, maximum=1.0
    )
    alpha: float = option(
        0.6, "contrastive search: what likeness to earlier tokens costs", minimum=0.0, maximum=1.0
    )
    repetition_penalty: float = option(
        1.0, "what the logits of tokens that stand there already are divided by", minimum=0.1
    )
    no_repeat_ngram: int = option(
        0, "no sequence of so many tokens is written twice; 0 is any", minimum=0
    )
    stop: tuple[str, ...] = option((), "a text that ends an answer; may be repeated")
    sampling_seed: int = option(
        0, "the seed of answers by chance, where a request has none", minimum=0, maximum=2**31 - 1
    )
    judged: int = option(
        500, "rows of a split for which texts are written and compared [rows]", minimum=1
    )


def settings(options: WritingOptions) -> dict[str, dict[str, Any]]:
    """Return, by signature, the settings that a request may have, with their values otherwise."""
    fixed = {name: getattr(options, name) for own in (*OWN.values(), _ALL) for name in own}
    fixed["stop"] = "||".join(options.stop)  # a request has them in one string
    found: dict[str, dict[str, Any]] = {
        way: {name: fixed[name] for name in (*own, *_ALL)} for way, own in OWN.items()
    }
    found["contrastive"]["top_k"] = options.top_k or _COMPARED
    return found


def requested(raw: Mapping[str, Any], options: WritingOptions) -> dict[str, Any]:
    """Take a request's settings out of its columns."""
    known = {name for values in settings(options).values() for name in values}
    return {name: value for name, value in raw.items() if name in known}
