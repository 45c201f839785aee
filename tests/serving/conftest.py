"""The server that the table is run against."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from .adding import place
from .asking import Server
from .models import write
from .running import Running


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest, tmp_path_factory) -> Iterator[Server]:
    """The embedded server, or the one of --target."""
    target = request.config.getoption("--target")
    if target:
        beside = f"{urlsplit(target).hostname}:8500"
        yield Server(target.rstrip("/"), request.config.getoption("--target-grpc") or beside)
        return
    folder = tmp_path_factory.mktemp("models")
    config, log = write(folder), folder / "server.log"
    with log.open("wb") as errors, started(config, errors) as process:
        try:
            yield addresses(process, log)
        finally:
            process.terminate()
            process.wait(60)


def started(config: Path, errors) -> subprocess.Popen:
    ports = ["--rest-port", "0", "--grpc-port", "0"]
    return subprocess.Popen(
        [sys.executable, "-m", "tfnlp.serve", str(config), *ports],
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
    )


def addresses(process: subprocess.Popen, log: Path) -> Server:
    """Read where the server listens, once it does."""
    found: dict[str, str] = {}
    for line in process.stdout:
        if said := re.match(r"(REST|gRPC)\s+(\S+)", line):
            found[said[1]] = said[2]
        if len(found) == 2:
            return Server(found["REST"].rstrip("/"), found["gRPC"])
    raise RuntimeError(f"the server ended:\n{log.read_text()[-4000:]}")


@pytest.fixture
def serve(tmp_path):
    """Return what starts a server; it is stopped at the end."""
    with contextlib.ExitStack() as stack:

        def start(models, *flags):
            running = Running(models, *flags, log=tmp_path / "server.log")
            stack.callback(running.process.wait, 30)
            stack.callback(running.process.terminate)
            return running

        yield start


@pytest.fixture
def models(tmp_path):
    """A folder of models with one, which adds 1."""
    folder = tmp_path / "models"
    (folder / "adds").mkdir(parents=True)
    place(folder / "adds", 1, 1.0)
    return folder
