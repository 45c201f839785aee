"""What is told of a language model: how well it guesses the pieces of a text."""

from __future__ import annotations

import numpy as np

from tfnlp import pictures
from tfnlp.report import Report


def masked_lm(loss: np.ndarray, hidden: np.ndarray, right: np.ndarray) -> Report:
    """Judge the guesses of N blocks.

    Args:
        loss: float (N,), the sum of the negative log-likelihoods of a block's pieces [nats].
        hidden: int (N,), how many pieces of a block had to be guessed.
        right: int (N,), how many of the likeliest guesses were right.

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
    figures = {"loss_by_block": lambda: pictures.histograms(title, {"blocks": each})}
    return Report(values, [], figures)
