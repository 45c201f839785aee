"""Reports on language models: how well they predict the pieces of a text."""

from __future__ import annotations

import math

import numpy as np

from tfnlp.evaluation import plots
from tfnlp.report import Report


def masked_lm(loss: np.ndarray, hidden: np.ndarray, right: np.ndarray) -> Report:
    """Return the report on the predictions of N blocks.

    Args:
        loss: float (N,), the sum of the negative log-likelihoods of a block's pieces [nats].
        hidden: int (N,), how many pieces of a block were to be predicted.
        right: int (N,), how many of the most likely predictions were right.

    Example:
        >>> masked_lm(np.array([2.0]), np.array([4]), np.array([3])).metrics["accuracy"]
        0.75

    Source: perplexity: Jelinek et al. 1977, "Perplexity, a measure of the difficulty of speech
        recognition tasks"; here of a masked model, so not comparable with a causal one's.
    """
    count = max(int(hidden.sum()), 1)
    mean = float(loss.sum(dtype=np.float64)) / count
    values = {
        "perplexity": float(np.exp(mean)),
        "loss": mean,
        "accuracy": float(right.sum()) / count,
        "hidden": float(hidden.sum()),
    }
    each = loss / np.maximum(hidden, 1)
    title = "mean negative log-likelihood of a block [nats]"
    figures = {"loss_by_block": lambda: plots.histograms(title, {"blocks": each})}
    return Report(values, [], figures)


def perplexity_per_word(loss: float, count: int) -> float:
    """Return exp(loss / count), the perplexity of this many words.

    Example:
        >>> perplexity_per_word(0.0, 10)
        1.0

    Source: Merity et al. 2017, "Pointer sentinel mixture models" (https://arxiv.org/abs/1609.07843),
        for whom each line's end is a word too: of a model of smaller pieces, what one word costs.
    """
    mean = loss / max(count, 1)
    return math.exp(mean) if mean < 700 else math.inf


def language_model(loss: np.ndarray, tokens: np.ndarray, words: int, characters: int) -> Report:
    """Return the report on how well a model predicts N blocks or rows of text.

    Args:
        loss: float (N,), the sum of the negative log-likelihoods of a block's tokens [nats].
        tokens: int (N,), how many tokens of a block were predicted.
        words: of the raw text, between white space; with one for each line's end, as published
            figures of WikiText count them, if the caller adds those.
        characters: of the raw text.

    Example:
        >>> report = language_model(np.array([0.0]), np.array([5]), words=4, characters=20)
        >>> report.metrics["perplexity"]
        1.0
    """
    nats = float(loss.sum(dtype=np.float64))
    count = int(tokens.sum())
    values = {
        "perplexity": perplexity_per_word(nats, count),
        "perplexity_per_word": perplexity_per_word(nats, words),
        "bits_per_character": nats / math.log(2) / max(characters, 1),
        "tokens_per_word": count / max(words, 1),
        "loss": nats / max(count, 1),
    }
    each = loss / np.maximum(tokens, 1)
    title = "mean negative log-likelihood of a block [nats]"
    figures = {"loss_by_block": lambda: plots.histograms(title, {"blocks": each})}
    return Report(values, [], figures)
