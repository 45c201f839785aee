"""How a network writes: options of a run, settings of a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tfnlp.inference.settings import stop_setting
from tfnlp.needs import Need
from tfnlp.options import option

Way = Literal["sample", "beam", "contrastive"]


# Settings of each way to write, and of all. Their names are those of the options below.
_ALL = ("max_tokens", "min_tokens", "repetition_penalty", "no_repeat_ngram", "stop")


OWN: dict[Way, tuple[str, ...]] = {
    "sample": ("temperature", "top_k", "top_p", "sampling_seed"),
    "beam": ("beams", "length_penalty"),
    "contrastive": ("top_k", "alpha"),
}


# What a request may ask for; values outside are clipped to these.
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


_COMPARED = 5  # tokens that contrastive search compares where top_k is 0
# Each token that is compared costs a copy of the row's cache: a request for all of a vocabulary
# would end the server, for its neighbours too.
MOST_COMPARED = 64


def within(name: str) -> Need:
    """Return what limits an option to values that make a difference.

    Example::

        temperature: float = option(1.0, "divides the logits", needs=within("temperature"))
    """
    most = LIMITS[name][1]
    return Need(
        lambda known: getattr(known.options, name) <= most, f"is taken as {most:g}", "lower it"
    )


# A model of another kind brings what it writes with.
_ENCODER = Need(
    lambda known: known.kind in (None, "encoder"),
    "has no effect: {known.experiment.backbone.name} writes by itself, without a decoder put on it",
)


@dataclass(frozen=True)
class WritingOptions:
    """Options of a task that writes."""

    max_length: int = option(128, "longest text that is read [tokens]", minimum=8)
    max_tokens: int = option(
        64,
        "longest text that is written [tokens]",
        minimum=1,
        needs=Need(
            # Of a decoder's text one token is its beginning; another check knows causal models.
            lambda known: (
                known.kind in (None, "causal")
                or 2 <= known.options.max_tokens <= known.model.context.positions
            ),
            "is not from 2 to {known.model.context.positions}, as long as a decoder's text can be",
            "change it",
        ),
    )
    min_tokens: int = option(
        0,
        "shortest text that is written [tokens]",
        minimum=0,
        needs=Need(
            lambda known: known.options.min_tokens <= known.options.max_tokens,
            "is more than --max-tokens {known.options.max_tokens}",
            "lower it",
        ),
    )
    decoder_layers: int | None = option(
        None,
        "layers of the decoder put on an encoder; as many as the encoder's if not given",
        minimum=1,
        maximum=100,
        needs=_ENCODER,
    )
    target_vocabulary: Literal["auto", "backbone", "learned"] = option(
        "auto",
        "what an encoder's decoder writes with: the backbone's vocabulary, one learned from the "
        "targets, or the first if it can spell them",
        needs=_ENCODER,
    )
    vocabulary_size: int = option(
        8000,
        "pieces of a vocabulary that is learned; fewer if the texts give fewer",
        minimum=100,
        maximum=1_000_000,
        needs=Need(
            lambda known: known.from_scratch or known.model is None or known.model.context.target,
            "has no effect: no vocabulary is learned, for that of "
            "{known.experiment.backbone.name} is written with",
            "say --target-vocabulary learned on an encoder",
        ),
    )
    label_smoothing: float = option(
        0.1,
        "probability taken from the target token and spread over all tokens",
        minimum=0.0,
        maximum=0.9,
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
        1.0,
        "sampling: divides the logits; below 1 sharper, above 1 flatter, 0 is greedy",
        minimum=0.0,
        needs=within("temperature"),
    )
    top_k: int = option(
        0,
        "sample from the k most likely tokens (0: all); contrastive search: compare this many",
        minimum=0,
        needs=Need(
            lambda known: (
                known.options.top_k <= MOST_COMPARED or known.options.decoding != "contrastive"
            ),
            f"is taken as {MOST_COMPARED} by contrastive search",
            "lower it",
        ),
    )
    top_p: float = option(
        1.0,
        "nucleus sampling: keep the smallest set of tokens whose probabilities sum to this",
        minimum=0.01,
        maximum=1.0,
    )
    alpha: float = option(
        0.6,
        "contrastive search: weight of the degeneration penalty, 0 to 1",
        minimum=0.0,
        maximum=1.0,
    )
    repetition_penalty: float = option(
        1.0,
        "divides the logits of tokens already in the text (CTRL); 1 is off",
        minimum=0.1,
        needs=within("repetition_penalty"),
    )
    no_repeat_ngram: int = option(
        0,
        "never repeat an n-gram of this size; 0 is off",
        minimum=0,
        needs=within("no_repeat_ngram"),
    )
    stop: tuple[str, ...] = option(
        (), "a text that ends an answer, literally; may be repeated", minimum=1
    )
    sampling_seed: int = option(
        0, "seed of sampled answers where a request has none", minimum=0, maximum=2**31 - 1
    )
    judged: int = option(
        500, "rows of a split whose generated texts are evaluated [rows]", minimum=1
    )


def settings(options: WritingOptions) -> dict[str, dict[str, Any]]:
    """Return, by signature, the settings that a request may have and their defaults.

    Example:
        >>> settings(WritingOptions(beams=2))["beam"]["beams"]
        2
    """
    fixed = {name: getattr(options, name) for own in (*OWN.values(), _ALL) for name in own}
    fixed["stop"] = stop_setting(options.stop)
    by_signature: dict[str, dict[str, Any]] = {
        way: {name: fixed[name] for name in (*own, *_ALL)} for way, own in OWN.items()
    }
    by_signature["contrastive"]["top_k"] = options.top_k or _COMPARED
    return by_signature


def requested(raw: Mapping[str, Any], options: WritingOptions) -> dict[str, Any]:
    """Return the settings among a request's columns.

    Example:
        >>> requested({"text": ["Hi"], "top_p": [0.9]}, WritingOptions())
        {'top_p': [0.9]}
    """
    known = {name for values in settings(options).values() for name in values}
    return {name: value for name, value in raw.items() if name in known}
