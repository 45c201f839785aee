"""How a command ends: its status, and one line on standard error."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys

import pytest

from pipelines.errors import UserError
from tfnlp.runtime import exit_status
from tfnlp.runtime.signals import Interrupted


def ending(error: BaseException):
    def command(argv: list[str]) -> int:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (UserError("a.csv has no rows"), 2, "error: a.csv has no rows\n"),
        (OSError(28, "No space left on device", "out"), 2, "error: out: No space left on device\n"),
        (KeyboardInterrupt(), 130, "error: stopped\n"),
        (Interrupted(signal.SIGTERM, "; why"), 143, "error: stopped by SIGTERM; why\n"),
    ],
)
def test_a_command_that_fails_says_so_in_one_line(error, status, line, capsys):
    assert exit_status.status(ending(error), ["a"]) == status
    assert capsys.readouterr().err == line


def test_a_command_gets_its_arguments_and_gives_its_status():
    seen: list[list[str]] = []
    assert exit_status.status(lambda argv: seen.append(argv) or 1, ("a", "--b")) == 1
    assert seen == [["a", "--b"]]


def test_what_is_not_the_users_mistake_is_raised():
    with pytest.raises(ValueError, match="ours"):
        exit_status.status(ending(ValueError("ours")), [])


PROGRAM = """
import logging, sys
from tfnlp.runtime import exit_status

def command(argv):
    logging.getLogger("a").warning("%s is damaged", argv[0])
    logging.getLogger("a").error("it fails")
    logging.getLogger("urllib3.connectionpool").warning("Retrying")
    while True:
        print("x", flush=True)

sys.exit(exit_status.run(command))
"""


def test_logged_lines_begin_as_all_do_and_an_unread_output_is_no_traceback():
    # What is left in the buffer is the trouble.
    python = f"env -u PYTHONUNBUFFERED {sys.executable}"
    line = f"{python} -c '{PROGRAM}' file | head -1; exit ${{PIPESTATUS[0]}}"
    ran = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert ran.stderr == "warning: file is damaged\nerror: it fails\n"
    assert (ran.stdout, ran.returncode) == ("x\n", 128 + signal.SIGPIPE)


def test_lines_below_a_warning_stay_as_they_are():
    record = logging.LogRecord("a", logging.INFO, "", 0, "serving %s", ("m",), None)
    assert exit_status.Labelled().format(record) == "serving m"
