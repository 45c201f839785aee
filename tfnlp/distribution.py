"""stub for now"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


def chief() -> bool:
    return True


def broadcast(variables):
    pass


def agree(value):
    return value


@contextmanager
def others_needed() -> Iterator[None]:
    yield
