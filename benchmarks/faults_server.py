"""The server that `faults.py` abuses, watched: whether it lives, its memory and descriptors."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import requests

_PATIENCE = 120.0  # seconds until something must have happened


class UnhappenedError(Exception):
    """Something that must happen did not."""


@dataclass
class Server:
    """A server in a process of its own.

    Attributes:
        process: its own.
        url: of REST.
        grpc: host and port of gRPC.
        before: its memory [MB] and descriptors at the beginning.
        lives: the seconds that /healthz took; infinity where it did not answer.
    """

    process: subprocess.Popen[str]
    url: str
    grpc: str
    before: tuple[int, int] = (0, 0)
    lives: list[float] = field(default_factory=list)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of REST."""
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        return host, int(port)

    def ask(self, x: float, timeout: float) -> requests.Response:
        """Ask for a sum."""
        body = {"instances": [x]}
        return requests.post(f"{self.url}/v1/models/adds:predict", json=body, timeout=timeout)

    def state(self) -> tuple[int, int]:
        """Return its memory [MB] and how many descriptors it has."""
        place = Path(f"/proc/{self.process.pid}")
        resident = re.search(r"VmRSS:\s+(\d+)", (place / "status").read_text("utf-8"))
        return int(resident[1]) // 1024 if resident else 0, len(list((place / "fd").iterdir()))

    def settled(self) -> None:
        """Wait until what was asked has left memory."""
        time.sleep(3)

    def until_version(self, number: int) -> None:
        """Wait until a version answers, alone."""
        self._until(lambda: self._states() == {number: "AVAILABLE"})

    def until_tried(self, number: int) -> bool:
        """Wait until a version is loaded or refused; returns whether it was refused."""
        self._until(lambda: self._states().get(number) in ("AVAILABLE", "END"))
        return self._states()[number] == "END"

    def until_active(self, count: int) -> None:
        """Wait until so many requests are in progress."""
        url = f"{self.url}/monitoring/prometheus/metrics"
        self._until(lambda: f"active_requests {count:.1f}" in requests.get(url, timeout=10).text)

    def _states(self) -> dict[int, str]:
        told = requests.get(f"{self.url}/v1/models/adds", timeout=10).json()
        found = told.get("model_version_status", [])
        return {int(each["version"]): each["state"] for each in found}

    def _until(self, happened: object) -> None:
        end = time.monotonic() + _PATIENCE
        while not happened():  # type: ignore[operator]
            if time.monotonic() > end:
                raise UnhappenedError
            time.sleep(0.05)

    def watch(self, stop: threading.Event) -> None:
        """Ask whether it lives, again and again."""
        while not stop.wait(0.05):
            begun = time.monotonic()
            try:
                good = requests.get(f"{self.url}/healthz", timeout=10).status_code == 200
            except requests.RequestException:
                good = False
            if self.process.poll() is None:
                self.lives.append(time.monotonic() - begun if good else float("inf"))


def place(folder: Path, *numbers: int, rounds: int = 0) -> None:
    """Put versions of the model into a folder, by a process of its own; each adds its number."""
    code = (
        "import sys; from pathlib import Path; from tests.serving.adding import place\n"
        "folder, rounds, *numbers = sys.argv[1:]\n"
        "for number in numbers: place(Path(folder), int(number), float(number), int(rounds))"
    )
    (folder / "adds").mkdir(exist_ok=True)
    command = [sys.executable, "-c", code, str(folder / "adds"), str(rounds)]
    subprocess.run([*command, *map(str, numbers)], check=True, capture_output=True)


@contextlib.contextmanager
def running(
    folder: Path,
    number: int,
    notes: list[str],
    *,
    rounds: int = 0,
    placed: bool = False,
    log: Path | None = None,
    limit: int = 0,
) -> Iterator[Server]:
    """Serve a folder of one model; what was watched is noted at the end.

    Args:
        folder: of models.
        number: of the version that is placed there.
        notes: what is added to.
        rounds: work for an answer.
        placed: it is there.
        log: where the log goes to.
        limit: of descriptors.
    """
    if not placed:
        place(folder, number, rounds=rounds)
    log = log or folder / "server.log"
    command = ["-m", "tfnlp.serve", str(folder), "--rest-port", "0", "--grpc-port", "0"]
    flags = ["--poll", "0.1"]
    limited = f"ulimit -n {limit}; " if limit else ""
    with log.open("w") as errors:
        process = subprocess.Popen(
            ["bash", "-c", f'{limited}exec "$@"', "bash", sys.executable, *command, *flags],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    assert process.stdout
    said = [process.stdout.readline().split() for _ in range(2)]
    server = Server(process, said[0][1], said[1][1])
    server.ask(1.0, 60)
    server.before = server.state()
    stop = threading.Event()
    watching = threading.Thread(target=server.watch, args=(stop,))
    watching.start()
    try:
        yield server
        if process.poll() is None:
            notes += _seen(server, log)
    finally:
        stop.set()
        watching.join()
        process.terminate()
        process.wait(60)


def _seen(server: Server, log: Path) -> list[str]:
    """Return what the table says of a server."""
    memory, descriptors = server.state()
    lives = sorted(server.lives) or [0.0]
    dead = sum(each == float("inf") for each in lives)
    text = log.read_text("utf-8", "replace") if log.is_file() else ""
    found = [
        f"memory {server.before[0]:,} to {memory:,} MB",
        f"descriptors {server.before[1]} to {descriptors}",
        f"/healthz {lives[len(lives) // 2] * 1e3:.0f} ms, at most {lives[-1] * 1e3:.0f}",
    ]
    if dead:
        found.append(f"{dead} of {len(lives)} times no answer of /healthz")
    if tracebacks := text.count("Traceback"):
        found.append(f"{tracebacks} tracebacks")
    return found
