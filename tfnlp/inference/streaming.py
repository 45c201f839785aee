"""An answer shown as it is written, by a SavedModel's signatures ``start`` and ``advance``."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

from pipelines.errors import UserError
from tfnlp.inference.outputs import printable
from tfnlp.inference.saved_model import Saved, split_rows
from tfnlp.inference.settings import stop_strings

SIGNATURES = {"start", "advance"}
_TOLD = ("generated", "score", "tokens", "cut", "done")
_HALF = "\ufffd"  # stands for a character of which not all bytes are there yet


def possible(saved: Saved) -> bool:
    """Return whether a model can write in steps.

    Example::

        possible(saved_model.opened(folder))  # True of a model exported from a task that writes
    """
    return saved.signatures >= SIGNATURES


class Stream:
    """Writes answers a token at a time.

    Example::

        Stream(saved, {"temperature": "0.8"}).show({"text": "Once upon a time"}, sys.stdout)
    """

    def __init__(self, saved: Saved, given: Mapping[str, str]) -> None:
        """Prepare requests.

        Args:
            saved: a model.
            given: settings of ``sample``, by name.

        Raises:
            UserError: the model cannot write in steps, or has no such setting.
        """
        if not possible(saved):
            there = ", ".join(sorted(saved.signatures)) or "none"
            raise UserError(
                f"{saved.place} cannot be asked with --stream, for which it lacks the signatures "
                f"start and advance; it has: {there}"
            )
        self._saved = saved
        self._request = saved.request("start", given)
        self._stop = stop_strings(str(self._request.settings.get("stop", "")))

    def parts(self, texts: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield what is written to a row: ``generated`` so far, ``score``, ``tokens``, ``done``.

        Of a text that is not done, what may still change is held back.
        """
        import tensorflow as tf

        outputs = self._saved.call("start", self._request.fill({n: [v] for n, v in texts.items()}))
        state = self._saved.inputs("advance").keys() - {"steps"}
        before = ""
        while True:
            told = {name: outputs[name].numpy() for name in _TOLD if name in outputs}
            (answer,) = split_rows(told, 1)
            if answer["done"]:
                yield answer
                return
            yield {**answer, "generated": sure(before, answer["generated"], self._stop)}
            before = answer["generated"]
            step = {name: outputs[name] for name in state}
            outputs = self._saved.call("advance", {**step, "steps": tf.constant(1)})

    def show(self, texts: Mapping[str, Any], output: TextIO) -> None:
        """Write an answer to a row as it comes, and to standard error what it took."""
        shown = ""
        last: dict[str, Any] = {}
        clock: list[tuple[float, int]] = []
        try:
            for last in self.parts(texts):
                clock.append((time.monotonic(), last["tokens"]))
                if last["generated"].startswith(shown):
                    _put(output, last["generated"][len(shown) :])
                    shown = last["generated"]
            if shown != last["generated"]:  # an earlier part was changed
                _put(output, "\n" + last["generated"])
            _put(output, "\n")
        except KeyboardInterrupt:
            _put(output, "\n")
            raise
        # The first two calls prepare the graph, which takes seconds once.
        (begin, first), (end, tokens) = clock[min(1, len(clock) - 1)], clock[-1]
        speed = f"{(tokens - first) / (end - begin):,.1f} tokens/s, " if tokens > first else ""
        lost = f", {last['cut']:,} tokens of the text not read" if last.get("cut") else ""
        print(f"{tokens:,} tokens, {speed}score {last['score']:z.2f}{lost}", file=sys.stderr)


def sure(before: str, now: str, stop: Sequence[str] = ()) -> str:
    """Return how much of a text that is still being written will stay.

    Args:
        before: the text a token earlier; what differs may change again.
        now: the text.
        stop: strings that end it, of which the beginning must not be shown.

    Example:
        >>> sure("Hello w", "Hello wor"), sure("Ok. E", "Ok. EN", ("END",))
        ('Hello w', 'Ok. ')
    """
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(before, now, strict=False))
    text = "".join(character for character, _ in same).rstrip(_HALF)
    begun = [word[:n] for word in stop for n in range(1, len(word))]
    while held := max((len(part) for part in begun if text.endswith(part)), default=0):
        text = text[:-held]
    return text


def _put(output: TextIO, text: str) -> None:
    """Show text at once; a terminal would obey escape sequences in it."""
    output.write(printable(text, keep="\n") if output.isatty() else text)
    output.flush()
