"""The models that are served: versions come, warm up, take traffic, drain and go."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipelines.errors import reason
from tfnlp.serving import memory
from tfnlp.serving.batching import Batcher, Limits
from tfnlp.serving.configuration import Wanted
from tfnlp.serving.failures import Code, RequestError, invalid
from tfnlp.serving.servable import Arrays, Servable

State = Literal["START", "LOADING", "AVAILABLE", "UNLOADING", "END"]
Seen = Callable[[str, int, int, float], None]  # model, rows, requests, seconds waited

log = logging.getLogger("tfnlp.serve")


@dataclass(eq=False)
class Version:
    """A version of a model.

    Attributes:
        model: the model's name.
        number: the version's.
        folder: its SavedModel.
        state: TF Serving's name of where it stands.
        failure: why it cannot be served.
        servable: the SavedModel, while it is in memory.
        batchers: by signature.
        users: requests in progress.
        files: what the folder held when it was tried.
        refused: the place and files of a version that was to replace it, and failed.

    Example::

        version = repository.version("trec")
        await version.ask("serving_default", {"text": np.array([b"Hi"], object)})
    """

    model: str
    number: int
    folder: Path
    state: State = "START"
    failure: RequestError | None = None
    servable: Servable | None = None
    batchers: dict[str, Batcher] = field(default_factory=dict)
    users: int = 0
    files: Any = None
    refused: Any = None

    @contextmanager
    def used(self) -> Iterator[Servable]:
        """Keep it in memory for a request.

        Raises:
            RequestError: it is no longer there.
        """
        if self.servable is None:
            raise RequestError(Code.UNAVAILABLE, "the version is being unloaded; try again")
        self.users += 1
        try:
            yield self.servable
        finally:
            self.users -= 1
            self.let_go()

    def let_go(self) -> None:
        """Leave memory, if nothing asks for it any more."""
        if self.state == "UNLOADING" and not self.users:
            self.servable = None
            self.batchers.clear()
            self.state = "END"
            gc.collect()  # TensorFlow's objects refer to one another
            memory.give_back()
            log.info("unloaded %s version %d", self.model, self.number)

    async def ask(self, signature: str, inputs: Arrays) -> dict[str, np.ndarray]:
        """Answer a request.

        Raises:
            RequestError: there is no such signature; it reads something else; or it fails.
        """
        with self.used() as servable:
            servable.signatures[signature].check(inputs)
            return await self.batchers[signature].ask(inputs)


class Repository:
    """The models that are served.

    Args:
        find: says which are wanted now.
        limits: how requests are batched.
        seen: called for every batch.
        trusted: ops that a SavedModel may have although they read or write files, or run Python.

    Example::

        repository = Repository(lambda: find(Path("saved_models")), Limits(), telemetry.batch)
        await repository.refresh()
    """

    def __init__(
        self,
        find: Callable[[], list[Wanted]],
        limits: Limits,
        seen: Seen,
        trusted: Sequence[str] = (),
    ) -> None:
        self._find, self._limits, self._seen = find, limits, seen
        self._trusted = trusted
        self._wanted: dict[str, Wanted] = {}
        self._versions: dict[str, dict[int, Version]] = {}
        self._pool = ThreadPoolExecutor(limits.threads, "model")
        # Models load while requests are answered, one at a time.
        self._loader = ThreadPoolExecutor(1, "loader")
        self._turn = asyncio.Lock()

    # ------------------------------------------------------------------- who asks

    def version(self, model: str, number: int | None = None, label: str | None = None) -> Version:
        """Return the version that answers a request; without number or label the highest.

        Raises:
            RequestError: there is none.
        """
        name = model
        there = {n: v for n, v in self._versions.get(name, {}).items() if v.state == "AVAILABLE"}
        if label is not None:
            labels = self._wanted[name].labels if name in self._wanted else {}
            if label not in labels:
                raise invalid(f"Unrecognized servable version label: {label}")
            number = labels[label]
        if number is not None:
            if number not in there:
                raise RequestError(
                    Code.NOT_FOUND,
                    f"Servable not found for request: Specific({name}, {number})",
                )
            return there[number]
        if not there:
            raise RequestError(Code.NOT_FOUND, f"Servable not found for request: Latest({name})")
        return there[max(there)]

    def states(self, model: str, number: int | None = None, label: str | None = None) -> list:
        """Return a model's versions, the highest first, loaded or not.

        Raises:
            RequestError: there is none.
        """
        if label is not None:
            number = self.version(model, label=label).number
        there = self._versions.get(model, {})
        found = [v for n, v in sorted(there.items(), reverse=True) if number in (None, n)]
        if not found:
            which = f"version {number} of model" if number is not None else "any versions of model"
            raise RequestError(Code.NOT_FOUND, f"Could not find {which} {model}")
        return found

    def models(self) -> list[str]:
        """Return the names of the models, in alphabetical order."""
        return sorted(self._wanted)

    def ready(self) -> bool:
        """Return whether every model that is wanted has a version that answers."""
        return bool(self._wanted) and all(
            any(v.state == "AVAILABLE" for v in self._versions.get(name, {}).values())
            for name in self._wanted
        )

    # ------------------------------------------------------------------- what comes and goes

    def replace(self, find: Callable[[], list[Wanted]]) -> None:
        """Serve other models from the next refresh on."""
        self._find = find

    async def refresh(self) -> None:
        """Look for versions that came or went: load, then take out of traffic."""
        async with self._turn:
            loop = asyncio.get_running_loop()
            # A folder may be far away; the loop has requests to answer.
            found = await loop.run_in_executor(self._loader, self._look)
            for name, (want, numbers) in found.items():
                self._wanted[name] = want
                await self._renew(want, numbers)
            for name in self._versions.keys() - found.keys():
                self._wanted.pop(name, None)
                self._retire(name, set())
            for name in [n for n, versions in self._versions.items() if not versions]:
                del self._versions[name]

    def _look(self) -> dict[str, tuple[Wanted, Mapping[int, tuple[Path, Any]]]]:
        """Return, by name, the models wanted and their versions' folders and files."""
        found: dict[str, tuple[Wanted, Mapping[int, tuple[Path, Any]]]] = {}
        for want in self._find():
            files = {n: (folder, _files(folder)) for n, folder in want.chosen().items()}
            found[want.name] = (want, files)
        return found

    async def _renew(self, want: Wanted, numbers: Mapping[int, tuple[Path, Any]]) -> None:
        """Load what is new of a model, then retire what it replaces."""
        versions = self._versions.setdefault(want.name, {})
        for number, (folder, files) in numbers.items():
            old = versions.get(number)
            # What could not be loaded is tried again when its files have changed.
            known = old and (files == old.files if old.failure else old.folder == folder)
            if old and (known or old.refused == (folder, files)):
                continue
            version = Version(want.name, number, folder, files=files)
            serving = old if old and old.state == "AVAILABLE" else None
            if not serving:
                versions[number] = version
            await self._load(version)
            if serving and version.failure:
                serving.refused = (folder, files)
            elif serving:
                _drain(serving)
                versions[number] = version
        if any(versions[n].state == "AVAILABLE" for n in numbers) or not numbers:
            self._retire(want.name, set(numbers))

    def _retire(self, name: str, kept: set[int]) -> None:
        """Take versions out of traffic; they leave memory when they have answered."""
        versions = self._versions[name]
        for number in versions.keys() - kept:
            version = versions[number]
            if version.state == "AVAILABLE":
                _drain(version)
            if version.state == "END":
                del versions[number]

    async def _load(self, version: Version) -> None:
        """Bring a version into memory and warm it up; if that fails, note why."""
        version.state = "LOADING"
        loop = asyncio.get_running_loop()
        try:
            servable, count = await loop.run_in_executor(
                self._loader, _loaded, version.folder, self._trusted
            )
        except RequestError as failure:
            version.failure, version.state = failure, "END"
            log.error(
                "cannot load %s version %d: %s", version.model, version.number, failure.message
            )
            return
        version.servable = servable
        for key, signature in servable.signatures.items():

            def run(inputs: Arrays, key: str = key) -> dict[str, np.ndarray]:
                return servable.run(key, inputs)

            def seen(rows: int, requests: int, waited: float) -> None:
                self._seen(version.model, rows, requests, waited)

            together = signature.by_rows
            version.batchers[key] = Batcher(run, together, self._limits, self._pool, seen)
        version.state = "AVAILABLE"
        log.info("serving %s version %d (%d warm-ups)", version.model, version.number, count)

    def close(self) -> None:
        """Let the threads go."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._loader.shutdown(wait=False, cancel_futures=True)


def _drain(version: Version) -> None:
    """Take a version out of traffic."""
    version.state = "UNLOADING"
    version.let_go()


def _loaded(folder: Path, trusted: Sequence[str]) -> tuple[Servable, int]:
    """Load a SavedModel and warm it up.

    Raises:
        RequestError: it is damaged or not to be trusted, or does not answer its own warm-up
            requests.
    """
    try:
        servable = Servable(folder, trusted)
        return servable, servable.warm_up(folder)
    except RequestError:
        raise
    except Exception as error:  # a damaged folder raises almost anything
        raise RequestError(Code.UNKNOWN, f"{type(error).__name__}: {reason(error)}") from error


def _files(folder: Path) -> Any:
    """Return the state of a folder: the names, sizes and times of its files."""
    try:
        there = sorted(path for path in folder.rglob("*") if path.is_file())
        return [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in there]
    except OSError:
        return None
