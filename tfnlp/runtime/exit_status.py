"""What every command does: one sentence for a user's mistake, and the right exit status."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable

from pipelines.errors import UserError, reason


def run(command: Callable[[list[str]], int]) -> int:
    """Run a command on this process's arguments.

    Returns:
        The exit status: the command's own, 2 after a user's mistake, 128 + the signal's number
        after SIGINT or SIGTERM.
    """
    # Importing and tracing make millions of objects that all stay: looking through them for what
    # could go, after each 700 as Python does, delays the first step (benchmarks/speed.py start).
    gc.set_threshold(100_000)
    try:
        return command(sys.argv[1:])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # a disk that is full, a folder that may not be written
        if isinstance(error, BrokenPipeError):  # as in `... | head`: nobody reads on
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 128 + signal.SIGPIPE
        place = f"{error.filename}: " if error.filename else ""
        print(f"error: {place}{reason(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(f"stopped{f': {stop}' if str(stop) else ''}", file=sys.stderr)
        return 128 + getattr(stop, "signum", signal.SIGINT)
    finally:
        gc.freeze()  # nor does the end need to look through them: the process's memory goes as one
