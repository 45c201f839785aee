"""What might make a model better, by how a fit went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import keras
import numpy as np

from pipelines import splits
from pipelines.rows import Column, Rows
from tfnlp.training.state import State

FEW = 32  # rows a label
UNCHANGED = 1e-6  # as a share of the weights
_SAMPLED = 1000  # values of each weight, to see whether training changed them


def of(state: State, monitor: str, epochs: int, moved: float) -> Iterator[str]:
    """Yield a sentence on what might make a model better, if there is something.

    Args:
        state: at the end of a fit.
        monitor: the metric by which its best epoch was chosen.
        epochs: at most.
        moved: how far its weights are from what they were, as a share of them.

    Example::

        list(of(state, "val_accuracy", 4, 0.01))
        # ["the last of 4 epochs was the best: more may help (--epochs 8)"]
    """
    *earlier, last = [logs[monitor] for logs in state.history]
    if moved < UNCHANGED:
        yield (
            f"training changed the weights by {moved:.0e} of what they were, which is nothing "
            "(raise --learning-rate or --epochs)"
        )
    elif state.best_epoch + 1 == epochs == len(state.history) and last not in earlier:
        yield f"the last of {epochs} epochs was the best: more may help (--epochs {2 * epochs})"


def few_rows(rows: Rows, targets: Sequence[Column]) -> Iterator[str]:
    """Yield a sentence on other ways to train, of rows of which each label has few.

    Example:
        >>> rows = Rows("a.csv", {"label": ["a", "b"]}, [1, 2])
        >>> [said[:23] for said in few_rows(rows, [Column("label", "label", "a label")])]
        ['most labels have 1 row ']
    """
    if [column.kind in ("label", "labels") for column in targets] != [True]:
        return
    counts = Counter(mark for row in splits.labels_of(rows, targets) for mark in row)
    middle = int(np.median(list(counts.values()))) if counts else 0
    if 0 < middle < FEW:
        yield (
            f"most labels have {middle} row{'s' * (middle > 1)} or so, where a head on the frozen "
            "backbone may be as good (--strategy linear_probe, or setfit; python -m tfnlp.study "
            "few_shot shows which)"
        )


def sampled(network: keras.Model) -> np.ndarray:
    """Return some values of each weight that is trained, evenly spaced, float64.

    Example::

        before = sampled(network)
    """
    flat = (np.ravel(weight.numpy()) for weight in network.trainable_weights)
    some = [values[:: max(len(values) // _SAMPLED, 1)].astype(float) for values in flat]
    return np.concatenate(some) if some else np.zeros(0)


def moved(before: np.ndarray, after: np.ndarray) -> float:
    """Return how far values are from what they were, as a share of them.

    Example:
        >>> moved(np.array([3.0, 4.0]), np.array([3.0, 4.5]))
        0.1
    """
    return float(np.linalg.norm(after - before)) / max(float(np.linalg.norm(before)), 1e-30)
