"""What every command does: one sentence for a user's mistake, and the right exit status."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence

from pipelines.errors import UserError, reason


def run(command: Callable[[list[str]], int]) -> int:
    """Run a command on this process's arguments; returns what :func:`status` does."""
    # Importing and tracing make millions of objects that all stay: looking through them for what
    # could go, after each 700 as Python does, delays the first step (benchmarks/speed.py start).
    gc.set_threshold(100_000)
    if logging.lastResort:  # what shows warnings that no handler is set for
        logging.lastResort.setFormatter(Labelled())
    # It warns of each retry where TFDS has set up logging; the error that ends them says it all.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    try:
        return status(command, sys.argv[1:])
    finally:
        gc.freeze()  # nor does the end need to look through them: the process's memory goes as one


def status(command: Callable[[list[str]], int], argv: Sequence[str]) -> int:
    """Run a command on arguments.

    Returns:
        The exit status: the command's own, 2 after a user's mistake, 128 + the signal's number
        after SIGINT or SIGTERM, or if nobody reads standard output any more.
    """
    try:
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # as tfnlp/__init__.py set it
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return command(list(argv))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # as in `... | head`
        discard_output()
        return 128 + signal.SIGPIPE
    except OSError as error:  # a disk that is full, a folder that may not be written
        print(f"error: {sentence(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(f"error: stopped{f' by {stop}' if str(stop) else ''}", file=sys.stderr)
        return 128 + getattr(stop, "signum", signal.SIGINT)


def sentence(error: OSError) -> str:
    """Return what is said of an error of the system.

    Example:
        >>> sentence(OSError(28, "No space left on device", "a.csv"))
        'a.csv: No space left on device'
    """
    return f"{error.filename}: {reason(error)}" if error.filename else reason(error)


def discard_output() -> None:
    """Discard what is still to be flushed to standard output: its reader is gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Labelled(logging.Formatter):
    """Begins a logged line as commands begin theirs: ``warning:`` and ``error:``, else nothing."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        text = super().format(record)
        if record.levelno < logging.WARNING:
            return text
        return f"{'error' if record.levelno >= logging.ERROR else 'warning'}: {text}"
