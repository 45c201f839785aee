"""Building a model without drawing the random weights that a file's replace at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import keras

_DRAWN = (
    keras.initializers.TruncatedNormal,
    keras.initializers.RandomNormal,
    keras.initializers.VarianceScaling,
)


@contextmanager
def undrawn() -> Iterator[None]:
    """Start weights at zero: drawing a vocabulary's takes longer than reading them.

    What is drawn later stays the same, for seeds are dealt out when initializers are made.
    """
    zeros = keras.initializers.Zeros()

    def start(_: keras.initializers.Initializer, shape: Any, dtype: Any = None, **__: Any) -> Any:
        return zeros(shape, dtype)

    with ExitStack() as stack:
        for kind in _DRAWN:
            stack.enter_context(mock.patch.object(kind, "__call__", start))
        yield
