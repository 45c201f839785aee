"""Requests answered together: those of similar length that wait while the model is busy.

Dimensions: B rows of a request.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

import numpy as np

from tfnlp.serving import pieces
from tfnlp.serving.failures import Code, RequestError, too_large
from tfnlp.serving.json_check import too_many_rows
from tfnlp.serving.servable import Arrays

Run = Callable[[Arrays], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Limits:
    """How requests are batched.

    Attributes:
        rows: of requests answered together, at most.
        wait: for others to come, at most, after a request found the model idle [seconds].
        queue: rows that wait, at most; what comes then is refused.
        most: rows of a request, and of those together that are answered in pieces.
        size: of the texts of requests answered together, and of one row's, at most [bytes].
        threads: batches run at once.

    Example:
        >>> Limits(rows=8, wait=0.005).queue
        1024
    """

    rows: int = 32
    wait: float = 0.0
    queue: int = 1024
    most: int = 16384
    size: int = 2**17
    threads: int = 2


@dataclass(eq=False)
class _Asked:
    """A request that waits."""

    inputs: Arrays
    rows: int
    size: int  # bytes of text
    answer: asyncio.Future[dict[str, np.ndarray]]
    since: float = field(default_factory=time.monotonic)


class Batcher:
    """Answers the requests to one signature of one version.

    A request goes to work as soon as a thread is free for it, with those of its kind that wait by
    then; while all threads are busy, requests gather. Lengths of a kind differ by less than
    twice, so that short texts are not padded to long ones. A request of more rows than a batch has
    is answered in pieces, which go to work one a thread, so that others come in between.

    Args:
        run: the model's.
        together: requests can be joined, row after row.
        limits: how.
        pool: its threads.
        seen: called with the rows and requests of each batch and the seconds the oldest waited.

    Example::

        batcher = Batcher(partial(servable.run, "serving_default"), True, limits, pool, seen)
        await batcher.ask({"text": np.array([b"Who wrote Hamlet?"], object)})
    """

    def __init__(
        self,
        run: Run,
        together: bool,
        limits: Limits,
        pool: Executor,
        seen: Callable[[int, int, float], None],
    ) -> None:
        self._run, self._together, self._limits, self._pool = run, together, limits, pool
        self._seen = seen
        self._waiting: dict[Hashable, deque[_Asked]] = {}
        self._rows = self._working = 0
        self._large = 0  # rows of requests that are answered in pieces
        self._turn = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task] = set()

    async def ask(self, inputs: Arrays) -> dict[str, np.ndarray]:
        """Answer a request.

        Args:
            inputs: arrays of B rows each, if requests are joined; checked.

        Raises:
            RequestError: the model fails, it has too many rows, or too many wait.
        """
        rows = max((len(array) for array in inputs.values() if array.ndim), default=1)
        if rows > self._limits.most:
            raise too_many_rows(rows, self._limits.most)
        even = self._together and len({len(array) for array in inputs.values()}) == 1
        sizes = pieces.sizes(inputs) if even else np.array([pieces.size(inputs)])
        if rows and sizes.max() > self._limits.size:
            raise too_large(
                f"a row has {sizes.max()} bytes of text, of {self._limits.size} that one may have "
                "(cut it, or start the server with a larger --max-text)"
            )
        if even and (rows > self._limits.rows or sizes.sum() > self._limits.size):
            return await self._ask_in_pieces(inputs, sizes)
        rows = rows if self._together else 1
        if self._rows + rows > self._limits.queue and self._rows:
            raise RequestError(
                Code.RESOURCE_EXHAUSTED,
                f"{self._rows} rows wait already, of {self._limits.queue} that may; try again",
            )
        return await self._ask(inputs, rows, int(sizes.sum()), even)

    async def _ask(self, inputs: Arrays, rows: int, size: int, even: bool) -> dict[str, np.ndarray]:
        """Answer a request, or a piece of one, with others of its kind."""
        asked = _Asked(inputs, rows, size, asyncio.get_running_loop().create_future())
        # Columns that differ in length would take their neighbours' rows: asked alone.
        kind = (_kind(inputs) if even else object()) if self._together else None
        self._waiting.setdefault(kind, deque()).append(asked)
        self._rows += rows
        self._start()
        try:
            return await asked.answer
        except asyncio.CancelledError:
            self._forget(kind, asked)
            raise

    async def _ask_in_pieces(self, inputs: Arrays, sizes: np.ndarray) -> dict[str, np.ndarray]:
        """Answer a request in pieces of rows of similar size, as many at once as threads.

        Such requests are answered one after the other: side by side all would be late.
        """
        rows = len(sizes)
        if self._large and self._large + rows > self._limits.most:
            raise RequestError(
                Code.RESOURCE_EXHAUSTED,
                f"large requests of {self._large} rows are being answered, of "
                f"{self._limits.most} that may be; try again, or send fewer rows at a time",
            )
        self._large += rows
        try:
            async with self._turn:
                places = pieces.cut(sizes, self._limits.rows, self._limits.size)
                return pieces.joined(await self._ask_all(inputs, sizes, places), places, rows)
        finally:
            self._large -= rows

    async def _ask_all(
        self, inputs: Arrays, sizes: np.ndarray, places: list[np.ndarray]
    ) -> list[dict[str, np.ndarray]]:
        """Return the answers to pieces; when one fails, or the request ends, the rest is left."""
        found: list[dict[str, np.ndarray]] = [{} for _ in places]
        left = iter(enumerate(places))

        async def ask_each() -> None:
            for number, place in left:
                piece = {name: array[place] for name, array in inputs.items()}
                found[number] = await self._ask(piece, len(place), int(sizes[place].sum()), True)

        threads = min(self._limits.threads, len(places))
        tasks = [asyncio.create_task(ask_each()) for _ in range(threads)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        return found

    def _forget(self, kind: Hashable, asked: _Asked) -> None:
        """Drop a request whose sender no longer waits."""
        waiting = self._waiting.get(kind)
        if waiting and asked in waiting:
            waiting.remove(asked)
            self._rows -= asked.rows
            if not waiting:
                del self._waiting[kind]

    def _start(self) -> None:
        """Start what can be started."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        while self._waiting and self._working < self._limits.threads:
            now = time.monotonic()
            oldest = {kind: waiting[0].since for kind, waiting in self._waiting.items()}
            ready = [k for k in oldest if self._full(k) or now - oldest[k] >= self._limits.wait]
            if not ready:
                due = min(oldest.values()) + self._limits.wait - now
                self._timer = asyncio.get_running_loop().call_later(max(due, 0.0), self._start)
                return
            taken = self._take(min(ready, key=oldest.__getitem__))
            self._working += 1
            task = asyncio.get_running_loop().create_task(self._work(taken))
            self._tasks.add(task)  # the loop alone would not keep it
            task.add_done_callback(self._tasks.discard)

    def _full(self, kind: Hashable) -> bool:
        waiting = self._waiting[kind]
        return not self._together or sum(asked.rows for asked in waiting) >= self._limits.rows

    def _take(self, kind: Hashable) -> list[_Asked]:
        """Take the oldest request of a kind, and those after it while there is room."""
        waiting = self._waiting[kind]
        taken = [waiting.popleft()]
        rows, size = taken[0].rows, taken[0].size
        while self._together and waiting and self._fit(rows, size, waiting[0]):
            taken.append(waiting.popleft())
            rows += taken[-1].rows
            size += taken[-1].size
        if not waiting:
            del self._waiting[kind]
        self._rows -= rows
        return taken

    def _fit(self, rows: int, size: int, asked: _Asked) -> bool:
        """Return whether a request goes with others of so many rows and bytes."""
        limits = self._limits
        return rows + asked.rows <= limits.rows and size + asked.size <= limits.size

    async def _work(self, taken: Sequence[_Asked]) -> None:
        """Answer requests together; those that fail together, each alone."""
        self._seen(sum(a.rows for a in taken), len(taken), time.monotonic() - taken[0].since)
        loop = asyncio.get_running_loop()
        try:
            answers = await loop.run_in_executor(self._pool, _together, self._run, taken)
            for asked, answer in zip(taken, answers, strict=True):
                if asked.answer.done():  # its sender is gone
                    continue
                if isinstance(answer, Exception):
                    asked.answer.set_exception(answer)
                else:
                    asked.answer.set_result(answer)
        except BaseException as error:
            for asked in taken:
                if not asked.answer.done():
                    asked.answer.set_exception(RequestError(Code.INTERNAL, str(error)))
            raise
        finally:
            self._working -= 1
            self._start()


def _kind(inputs: Arrays) -> Hashable:
    """Return a key of what can be batched: equal shapes, and strings of about the same length."""
    shapes = tuple((name, a.dtype.kind, a.shape[1:]) for name, a in sorted(inputs.items()))
    texts = [text for a in inputs.values() if a.dtype == object for text in a.flat]
    return shapes, max(map(len, texts), default=0).bit_length()


def _together(run: Run, taken: Sequence[_Asked]) -> list[dict[str, np.ndarray] | Exception]:
    """Run requests as one, and cut what comes out; if that fails, run each alone."""
    if len(taken) > 1:
        merged = {n: np.concatenate([a.inputs[n] for a in taken]) for n in taken[0].inputs}
        rows = sum(asked.rows for asked in taken)
        try:
            outputs = run(merged)
        except RequestError:
            outputs = {}  # one may have spoilt it for the others
        if outputs and all(array.shape[:1] == (rows,) for array in outputs.values()):
            ends = np.cumsum([asked.rows for asked in taken])[:-1]
            parts = {name: np.split(array, ends) for name, array in outputs.items()}
            return [{n: part[i] for n, part in parts.items()} for i in range(len(taken))]
    return [_alone(run, asked) for asked in taken]


def _alone(run: Run, asked: _Asked) -> dict[str, np.ndarray] | Exception:
    try:
        return run(asked.inputs)
    except Exception as error:
        return error
