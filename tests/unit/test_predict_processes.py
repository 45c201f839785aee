"""tfnlp.predict as a process: what it imports and holds, and how it ends."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "tfnlp.predict"]


@pytest.fixture(autouse=True)
def _at_home(home, tmp_path, monkeypatch):
    """Run in an empty folder that sees the models."""
    (tmp_path / "saved_models").symlink_to(home / "saved_models")
    monkeypatch.chdir(tmp_path)


PEAK = """
import re, sys
from pathlib import Path

# Importing these is an error from here on. (Keras cannot be among them: TF Text imports it.)
for name in ("keras_hub", "tfnlp.tasks", "tfnlp.backbones", "tfnlp.heads", "tfnlp.task"):
    sys.modules[name] = None
from tfnlp.predict import main

status = main(sys.argv[1:])
# The peak in kB; getrusage would give the parent's if that is higher.
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
sys.exit(status)
"""


@pytest.mark.slow
def test_a_large_file_in_constant_memory_without_tasks():
    row = "some words " * 20 + ",x\n"
    peaks = []
    for rows in (2_000, 200_000):
        Path("in.csv").write_text("text,gold\n" + row * rows)
        arguments = ["length", "--input=in.csv", "--output=out.csv", "--batch-size=1024"]
        command = [sys.executable, "-c", PEAK, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stderr == ""
        peaks.append(int(done.stdout))
        with Path("out.csv").open() as file:
            assert sum(1 for _ in file) == rows + 1
    assert Path("out.csv").stat().st_size > 50e6
    assert peaks[1] - peaks[0] < 30_000


def test_help_is_quick_and_does_not_load_tensorflow():
    program = "import sys, tfnlp.predict; print({'numpy', 'tensorflow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "set()"
    done = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True)
    assert "--on-bad-row" in done.stdout


def test_a_reader_that_has_enough_is_no_error():
    line = f"yes | head -300000 | {' '.join(COMMAND)} length | head -1; echo ${{PIPESTATUS[2]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
    answer, status = done.stdout.splitlines()
    assert json.loads(answer)["text"] == "y"
    assert (status, done.stderr) == ("0", "")


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_run_leaves_the_old_output(sent):
    output = Path("out.jsonl")
    output.write_text("old")
    process = subprocess.Popen(
        [*COMMAND, "length", "--output", "out.jsonl"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # The tests themselves may run in the background, where SIGINT is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdin is not None
    process.stdin.write(b"a text\n" * 5000)
    process.stdin.flush()
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size for path in Path().glob(".tfnlp-new-*")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(sent)
    _, errors = process.communicate()
    assert output.read_text() == "old"
    if sent != signal.SIGKILL:
        assert process.returncode == 128 + sent
        name = signal.Signals(sent).name
        assert errors.decode() == f"error: stopped by {name}; nothing was changed\n"
        assert not list(Path().glob(".tfnlp-*"))


def test_a_terminal_is_shown_a_table_and_the_progress_of_a_file():
    Path("in.csv").write_text("text\n" + "x\n" * 3000)
    for arguments, parts in (
        (["length", "汉字"], ["┃ text", "│ 汉字", "0.680"]),
        (["length", "--input", "in.csv", "--output", "out.csv"], ["3,000 rows", "100%", "rows/s"]),
        (["length"], ["error: nothing to answer"]),
    ):
        screen = on_terminal([*COMMAND, *arguments])
        for part in parts:
            assert part in screen
        assert "Traceback" not in screen


def on_terminal(command: list[str]) -> str:
    """Return what a command shows on a terminal, without its colours."""
    process, terminal = pty.fork()
    if process == 0:
        os.execvp(command[0], command)
    shown = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # how Linux says that the other side is closed
            part = b""
        if not part:
            break
        shown += part
    os.close(terminal)
    os.waitpid(process, 0)
    return re.sub(r"\x1b\[[0-9;]*m", "", shown.decode())
