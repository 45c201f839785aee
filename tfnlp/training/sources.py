"""Sources of batches: what a fit draws from, epoch by epoch, the same for the same seed and place.

Dimensions: N rows, B batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines import batching
from pipelines.errors import UserError
from tfnlp.extensions import Source
from tfnlp.training import examples
from tfnlp.training.examples import Examples
from tfnlp.training.model import TrainedModel

_EXTRA = "extras/"  # what the columns of extras are called among the raw ones


@dataclass
class Drawn:
    """The rows of a source as examples, of each epoch.

    Args:
        model: gives the encoding.
        source: the rows.
        seed: of the order of the rows.

    Example::

        drawn = Drawn(model, Source(splits.train), seed=42)
        drawn.steps(0), drawn.before(3)  # batches of the first epoch, and of the first three
    """

    model: TrainedModel
    source: Source
    seed: int
    _held: dict[int, Examples] = field(default_factory=dict)
    _steps: dict[int, int] = field(default_factory=dict)

    @property
    def changing(self) -> bool:
        """Whether each epoch has rows of its own."""
        return callable(self.source.rows)

    def of(self, epoch: int) -> Examples:
        """Return the examples of an epoch, the first being 0."""
        key = epoch if self.changing else 0
        if key not in self._held:
            kept = self._held[min(self._held)] if self._held else None
            self._held = {0: kept} if kept and self.changing and 0 in self._held else {}
            self._held[key] = self._arranged(key, kept)
        return self._held[key]

    def steps(self, epoch: int) -> int:
        """Return how many batches an epoch has."""
        key = epoch if self.changing else 0
        if key not in self._steps:
            self._steps[key] = len(self.of(key).plan)
        return self._steps[key]

    def before(self, epoch: int) -> int:
        """Return how many batches the epochs before this one have."""
        if not self.changing:
            return epoch * self.steps(0)
        return sum(self.steps(earlier) for earlier in range(epoch))

    def _arranged(self, epoch: int, like: Examples | None) -> Examples:
        """Hold an epoch's rows, padded as the first epoch's, so that no kernel is rebuilt."""
        rows = self.source.rows(epoch) if callable(self.source.rows) else self.source.rows
        if not len(rows):
            raise UserError(f"a fit has no rows to train on: none of {rows.source} are left")
        widths = None if like is None else like.plan.widths
        if self.source.mixed:
            widths = np.zeros(1, np.int64)  # one width, that of the longest row
        extras = {f"{_EXTRA}{name}": value for name, value in self.source.extras.items()}
        for name, value in extras.items():
            if self.changing or len(value) != len(rows):
                raise UserError(
                    f"the extras {name.removeprefix(_EXTRA)!r} have {len(value)} lines for "
                    f"{len(rows)} rows of {rows.source} (give one for each, of rows that stay)"
                )
        held = examples.examples if self.source.targets else examples.unlabelled
        raw = held(self.model, rows) | {n: tf.constant(value) for n, value in extras.items()}
        return examples.arrange(
            self.model, rows, shuffle=True, raw=raw, widths=widths, seed=self.seed
        )

    def batches(self, place: int, count: int) -> Iterator[tuple[range, int, int]]:
        """Yield (epochs, batches of the first to leave out, batches) that a stretch is made of.

        Args:
            place: the number of its first batch, over all epochs.
            count: batches in it.
        """
        if not self.changing:
            steps = self.steps(0)
            first, start = divmod(place, steps)
            last = (place + count - 1) // steps
            yield range(first, last + 1), start, count
            return
        epoch = 0
        while count:
            steps = self.steps(epoch)
            if place < steps:
                taken = min(count, steps - place)
                yield range(epoch, epoch + 1), place, taken
                place, count = steps, count - taken
            place -= steps
            epoch += 1

    def dataset(self, place: int, count: int, parts: range, of: int) -> tf.data.Dataset:
        """Return a stretch of batches, or some parts of each (see `pipelines.batching`)."""
        whole: tf.data.Dataset | None = None
        for epochs, start, taken in self.batches(place, count):
            data = self.of(epochs.start)
            found = batching.batches(data.raw, data.plan, self._element, epochs, start, parts, of)
            found = found.take(taken * len(parts))
            whole = found if whole is None else whole.concatenate(found)
        assert whole is not None
        return whole

    def _element(self, raw: dict[str, tf.Tensor], width: tf.Tensor) -> Any:
        """Turn a batch's raw columns into a network's inputs."""
        extras = {n.removeprefix(_EXTRA): raw.pop(n) for n in list(raw) if n.startswith(_EXTRA)}
        if self.source.targets and not extras:
            return examples.element(self.model, raw, width)
        if self.source.targets:
            held = _named(examples.element(self.model, raw, width))
        else:
            held = {"x": examples.encoded(self.model, raw, width)[0]}
        return {**held, "extras": extras} if extras else held


def digests(sources: Mapping[str, Source]) -> dict[str, str]:
    """Return what tells whether sources hold what they held before; none of rows that change.

    Example::

        digests({"train": Source(rows), "more": Source(texts, targets=False)})
    """
    found = {}
    for name, source in sources.items():
        if not callable(source.rows):
            hashed = hashlib.sha256(repr(source.rows.columns).encode("utf-8", "surrogatepass"))
            for extra, values in sorted(source.extras.items()):
                hashed.update(extra.encode() + np.ascontiguousarray(values).tobytes())
            found[name] = hashed.hexdigest()
    return found


def joined(main: Any, beside: Mapping[str, Any]) -> Any:
    """Put the elements of several sources of one step into one.

    Example:
        >>> joined((1, 2), {"other": (3, 4)})
        {'x': 1, 'y': 2, 'beside': {'other': {'x': 3, 'y': 4}}}
    """
    return {**_named(main), "beside": {name: _named(one) for name, one in beside.items()}}


def _named(element: Any) -> dict[str, Any]:
    """Return an element's parts by name."""
    if isinstance(element, Mapping):
        return dict(element)
    x, y, *weights = element
    return {"x": x, "y": y} | ({"weights": weights[0]} if weights else {})
