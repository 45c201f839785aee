"""What the server's page asks when a model cannot explain itself: occlusion, over its answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.rows import Column, Record, Rows
from tfnlp import extensions
from tfnlp.api.explaining import values
from tfnlp.extensions import Explanation, UnsuitableError, Wanted
from tfnlp.inference.saved_model import split_rows

if TYPE_CHECKING:
    import numpy as np

_MOST = 64  # words that are left out one at a time; of a longer text neighbours go together


@dataclass(frozen=True)
class _Served:
    """A model that is being served; implements `tfnlp.extensions.Subject`."""

    inputs: tuple[Column, ...]
    ask: Callable[[Mapping[str, Sequence[str]]], Mapping[str, np.ndarray]]
    name: str = "the model"
    experiment: None = None
    model: None = None
    batch_size: int = 32

    def answer(self, texts: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
        """Return an answer for each row."""
        return split_rows(self.ask(texts), len(next(iter(texts.values()))))

    def trained_on(self) -> Rows:
        """Raise UnsuitableError: a server does not tell."""
        raise UnsuitableError("a server does not tell what a model was trained on")


def explain(
    texts: Mapping[str, str],
    kinds: Mapping[str, Any],
    ask: Callable[[Mapping[str, Sequence[str]]], Mapping[str, np.ndarray]],
) -> list[dict[str, Any]]:
    """Return why a served model answers a row as it does.

    Args:
        texts: of the row, by the input's name.
        kinds: of inputs that are no plain texts, such as ``marked``.
        ask: from columns of texts to the model's outputs by name.

    Raises:
        UnsuitableError: its answers are of a kind that leaving out words does not explain.

    Example::

        explain({"text": "A masterpiece."}, {}, ask)[0]["pieces"]
    """
    columns = tuple(Column(name, kinds.get(name, "text"), "") for name in sorted(texts))
    entry = extensions.load(Explanation, "occlusion")
    records = [Record(1, dict(texts), {})]
    found = entry.explain(_Served(columns, ask), records, entry.options(most=_MOST), Wanted())
    return [values(one) for one in found]
