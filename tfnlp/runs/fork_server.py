"""Trials' processes, forked from one that has imported TensorFlow.

The import takes some 8 seconds of one core, as long as an epoch of a thousand questions. What comes
after it cannot be shared: TensorFlow's threads, which its first operation starts, do not survive a
fork, and its graphs are of one model. Reading rows and weights is fast, for the files are in the
system's cache.

The study asks with a line of JSON and the files that the trial writes to; it hears the process's
number, and then its exit status.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import IO

from pipelines.errors import UserError

_SERVE = f"import sys; from {__name__} import serve; serve(*sys.argv[1:])"
_FILES = 16  # handed over at once, at most


class ForkServer:
    """A process that forks those of trials; the first one that is asked for starts it.

    Args:
        command: the module that each trial runs as a script.
        shared: the modules that it needs besides TensorFlow, imported once; without any neither is
            TensorFlow.

    Example::

        with ForkServer("tfnlp.train", "tfnlp.api.training") as server:
            status = server.run(["--config", "trials/1.yaml", "--resume"], [out, err, lock])
    """

    def __init__(self, command: str, *shared: str) -> None:
        """Start nothing yet."""
        self._modules = (command, *shared)
        self._socket: socket.socket | None = None
        self._said: IO[str] | None = None  # by the process
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> ForkServer:
        """Return itself."""
        return self

    def __exit__(self, *unused: object) -> None:
        """End the process."""
        if self._socket and self._said and self._process:
            self._said.close()
            self._socket.close()
            self._process.wait()

    def run(self, argv: Sequence[str], files: Sequence[IO]) -> int:
        """Run the command to its end.

        Args:
            argv: its arguments.
            files: its standard output, its standard error, and what else it holds open.

        Returns:
            Its exit status, negative if a signal ended it.

        Raises:
            UserError: the server was killed, or could not import what trials need.
            KeyboardInterrupt: a signal came, and was handed on once; the trial has ended.
        """
        asked, number = False, 0
        try:
            server, said = self._started(files[1])
            line = json.dumps(argv).encode()
            socket.send_fds(server, [line], [file.fileno() for file in files])
            asked = True
            number = int(said.readline())
            return int(said.readline())
        except KeyboardInterrupt:
            if asked:
                with suppress(OSError, ValueError):  # it, or the server, has just ended
                    os.kill(number or int(said.readline()), signal.SIGTERM)
                    said.readline()
            raise
        except (OSError, ValueError) as error:
            raise UserError(
                f"the process that starts trials was killed ({files[1].name})"
            ) from error

    def _started(self, err: IO) -> tuple[socket.socket, IO[str]]:
        """Return where to ask and where to hear; start the process if it is not there.

        It may outlive the study, whose own output it must not hold open.
        """
        if self._socket is None or self._said is None:
            self._socket, theirs = socket.socketpair()
            self._said = self._socket.makefile("r")
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", _SERVE, str(theirs.fileno()), *self._modules],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=err,
                    pass_fds=[theirs.fileno()],
                    # Ctrl-C reaches the study alone, which hands it on: a second one would kill.
                    start_new_session=True,
                    env={**os.environ, "PYTHONUNBUFFERED": "1"},
                )
        return self._socket, self._said


def _answer(study: socket.socket, command: str) -> None:
    """Fork a process for each that is asked for, until nobody asks any more."""
    while True:
        line, files, _, _ = socket.recv_fds(study, 1 << 16, _FILES)
        if not line:
            return
        number = os.fork()
        if number == 0:
            study.close()
            _become(command, json.loads(line), files)
        for file in files:
            os.close(file)
        study.sendall(f"{number}\n".encode())
        _, status = os.waitpid(number, 0)
        study.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def _become(command: str, argv: Sequence[str], files: Sequence[int]) -> None:
    """Run the command in this process, and end it."""
    status = 1
    try:
        os.setsid()
        os.dup2(files[0], 1)
        os.dup2(files[1], 2)
        sys.argv = [command, *argv]
        runpy.run_module(command, run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def serve(descriptor: str, command: str, *shared: str) -> None:
    """Import what every trial needs, and serve.

    Args:
        descriptor: of the socket to the study.
        command: as of `ForkServer`.
        *shared: as of `ForkServer`.
    """
    study = socket.socket(fileno=int(descriptor))
    study.set_inheritable(False)
    gc.set_threshold(100_000)  # as in `runtime.exit_status`
    if shared and sys.platform == "linux":  # elsewhere the system's libraries break in a fork
        from tfnlp.runtime.startup import quiet_start

        with quiet_start("keras_hub"):
            for module in shared:
                importlib.import_module(module)
    gc.freeze()  # nothing is looked through, and so written, in the pages that trials share
    try:
        _answer(study, command)
    except OSError:  # the study was killed
        sys.exit(0)
