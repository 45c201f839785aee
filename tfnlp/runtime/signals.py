"""SIGINT and SIGTERM: the first one ends a command cleanly, the second one kills it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import FrameType
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A signal stopped the command.

    Attributes:
        signum: the signal's number.

    Example:
        >>> str(Interrupted(signal.SIGINT, "; run it again to resume"))
        'SIGINT; run it again to resume'
    """

    def __init__(self, signum: int, message: str) -> None:
        super().__init__(f"{signal.Signals(signum).name}{message}")
        self.signum = signum


class Signals:
    """What a signal does: it raises :class:`Interrupted` at once, or is noted while held.

    Attributes:
        noted: the number of the signal that came while they were held; 0 before.

    Example::

        with caught("; run it again to resume") as signals, signals.held():
            save()  # a signal meanwhile is raised at the block's end
    """

    def __init__(self, message: str) -> None:
        """Set what is said after the signal's name."""
        self.message = message
        self.noted = 0
        self._held = False

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        """Take the first signal; give both back to the system, so that another one kills."""
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        self.noted = signum
        if not self._held:
            raise Interrupted(signum, self.message)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Only note a signal inside; one that nobody looked at is raised at the end."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        if self.noted:
            raise Interrupted(self.noted, self.message)

    def holding(self, function: Callable[_P, _R]) -> Callable[_P, _R]:
        """Return a function in which a signal is only noted, and raised at its end.

        An exception in the middle of a call of TensorFlow may be lost there, or end the process.
        """

        @wraps(function)
        def called(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            with self.held():
                return function(*args, **kwargs)

        return called


@contextmanager
def restored() -> Iterator[None]:
    """Give SIGINT and SIGTERM back to whoever had them, also after one came.

    A command ends after a signal, and a second one kills it. A notebook goes on.

    Example::

        with restored(), caught("; call it again to resume"):
            train()
    """
    before = {each: signal.getsignal(each) for each in SIGNALS}
    try:
        yield
    finally:
        if _in_main_thread():
            for each, handler in before.items():
                signal.signal(each, handler)


def _in_main_thread() -> bool:
    """Return whether this is the one thread that may set what a signal does."""
    return threading.current_thread() is threading.main_thread()


@contextmanager
def caught(message: str) -> Iterator[Signals]:
    """Take SIGINT and SIGTERM until the end of the block, if this is the main thread.

    Args:
        message: what is said after the signal's name, such as how to resume.

    Raises:
        Interrupted: a signal came, and nothing took it before the end of the block.

    Example::

        with caught("; run the command again to resume") as signals:
            for batch in batches:
                step(batch)
    """
    signals = Signals(message)
    if not _in_main_thread():
        yield signals
        return
    before = {each: signal.signal(each, signals) for each in SIGNALS}
    try:
        yield signals
    except Exception as error:
        # What a signal raises within a call of TensorFlow may come out of it as something else.
        if signals.noted:
            raise Interrupted(signals.noted, message) from error
        raise
    finally:
        if not signals.noted:
            for each, handler in before.items():
                signal.signal(each, handler)
    if signals.noted:  # what it raised was lost, as in a callback of C++
        raise Interrupted(signals.noted, message)
