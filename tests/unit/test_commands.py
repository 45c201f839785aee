"""What holds for every command; a new one is found by its file."""

from __future__ import annotations

import dataclasses
import importlib
import keyword
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import tfnlp
from pipelines import discover
from tfnlp import extensions, task
from tfnlp.__main__ import summaries
from tfnlp.config import SECTIONS
from tfnlp.runtime import exit_status

FOLDER = Path(tfnlp.__file__).parent
COMMANDS = [
    "tfnlp.__main__",
    *(command.removeprefix("python -m ") for command in summaries(FOLDER)),
]
ENTRIES = {"tfnlp.applications": "knowledge_graph", "tfnlp.study": "seeds"}  # they come first
HELP = """
import runpy, sys
sys.argv = ["x", "--help"]
try:
    runpy.run_module({command!r}, run_name="__main__", alter_sys=True)
except SystemExit as stop:
    assert not stop.code, stop.code
heavy = {{"tensorflow", "keras", "numpy", "matplotlib", "sklearn"}} & set(sys.modules)
assert not heavy, heavy
"""


def module_of(command: str):
    """Return the module that is run for a command."""
    found = importlib.import_module(command)
    return importlib.import_module(f"{command}.__main__") if hasattr(found, "__path__") else found


@pytest.mark.parametrize("command", COMMANDS)
def test_help_loads_no_tensorflow_and_no_flag_is_a_keyword(command):
    code = HELP.format(command=command.removesuffix(".__main__"))
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "usage: python -m tfnlp" in ran.stdout
    assert ">>>" not in ran.stdout, "help shows a docstring's example"
    assert "Example:" not in ran.stdout
    flags = re.findall(r"^  (?:-\w, )?--([\w-]+)", ran.stdout, re.MULTILINE)
    assert "help" in flags
    assert not [flag for flag in flags if keyword.iskeyword(flag)]


def test_no_flag_of_a_task_or_strategy_is_a_keyword():
    sections = [task.load(name).options for name in discover.names("tfnlp.tasks")]
    for section in (*sections, *SECTIONS.values()):
        for field in dataclasses.fields(section):
            flag = field.metadata["flag"] or field.name
            assert not keyword.iskeyword(flag.lstrip("-")), (section, flag)
    for record in extensions.PACKAGES:  # their flags bear the entry's name
        for name in extensions.names(record):
            options = getattr(extensions.load(record, name), "options", None)
            for field in dataclasses.fields(options) if options else ():
                assert not keyword.iskeyword(f"{name}-{field.name}")


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_flag_is_one_line_and_status_2(command, capsys):
    said = ""
    files = ["--input", "x", "--output", "y"]  # which an application requires
    entry = ENTRIES.get(command, "x")
    for argv in ([], [entry], [entry, *files]):
        try:
            status = exit_status.status(module_of(command).main, [*argv, "--no-such-flag"])
        except SystemExit as stopped:
            status = stopped.code
        assert status == 2
        captured = capsys.readouterr()
        *warnings, last = captured.err.splitlines()
        assert last.startswith("error: ")
        assert all(line.startswith("warning: ") for line in warnings)
        assert captured.out == ""
        said += last
    assert "there is no option '--no-such-flag'" in said


@pytest.mark.parametrize("command", COMMANDS)
def test_mistakes_and_signals_become_an_exit_status_in_one_place(command):
    source = Path(str(module_of(command).__file__)).read_text("utf-8")
    guard = 'if __name__ == "__main__":\n    sys.exit(exit_status.run(main))\n'
    assert source.endswith(guard)


def test_the_commands_are_listed_with_a_line_each():
    listed = [sys.executable, "-m", "tfnlp"]
    ran = subprocess.run(listed, capture_output=True, text=True, check=False)
    for command in COMMANDS[1:]:
        line = rf"^  python -m {re.escape(command)} +\S.{{10,}}$"
        assert re.search(line, ran.stdout, re.MULTILINE), command
    for command in ("train", "evaluate", "predict", "backbones", "applications.knowledge_graph"):
        assert f"tfnlp.{command}" in COMMANDS
    assert "__" not in ran.stdout
    assert "tfnlp.options" not in ran.stdout  # a module, but no command
    version = subprocess.run([*listed, "--version"], capture_output=True, text=True, check=False)
    assert re.fullmatch(r"tfnlp \d+\.\d+\.\d+\n", version.stdout)


def test_a_new_file_with_a_main_guard_is_a_command(tmp_path):
    guard = 'if __name__ == "__main__":\n    raise ValueError\n'
    for name in ("new", "_own", "deep/er/new", "part/__main__", "_part/__main__"):
        path = tmp_path / "pack" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'"""``python -m pack.new``: do it.\n\nMore.\n"""\n{guard}')
    (tmp_path / "pack" / "module.py").write_text('"""No command, with a word of __main__."""\n')
    found = summaries(tmp_path / "pack")
    names = [command.removeprefix("python -m pack.") for command in found]
    assert names == ["deep.er.new", "new", "part"]
    assert found["python -m pack.new"] == "do it."


def test_ctrl_c_while_a_command_imports_shows_no_traceback(tmp_path):
    """The module that is imported here stands for any: it sends the signal itself."""
    code = "import os, signal; os.kill(os.getpid(), signal.SIGINT); import time; time.sleep(9)"
    (tmp_path / "yaml.py").write_text(code)
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{FOLDER.parent}"}
    command = [sys.executable, "-m", "tfnlp.train"]
    done = subprocess.run(
        command,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        # Tests that run in the background of a shell are started to ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert done.returncode == -signal.SIGINT
    assert not done.stderr


def test_a_command_is_also_an_argument():
    told = subprocess.run(
        [sys.executable, "-m", "tfnlp", "backbones", "--help"], capture_output=True, text=True
    )
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.startswith("usage: python -m tfnlp.backbones")
    told = subprocess.run([sys.executable, "-m", "tfnlp", "trian"], capture_output=True, text=True)
    assert told.returncode == 2
    assert told.stderr == (
        "error: there is no command 'trian'; did you mean train? (see python -m tfnlp)\n"
    )
