"""What a shell offers on TAB: asked of the shells, and without them, which takes less time."""

from __future__ import annotations

import importlib
import io
import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from argcomplete import CompletionFinder
from argcomplete import io as argcomplete_io

import tfnlp
from pipelines import discover, sources
from pipelines.errors import UserError
from tfnlp import __main__, completion, extensions
from tfnlp.__main__ import summaries
from tfnlp.backbones import entry
from tfnlp.extensions import Augmenter, Peft, Strategy, Tracker

ROOT = Path(tfnlp.__file__).parents[1]
COMMANDS = [name.removeprefix("python -m ") for name in summaries(ROOT / "tfnlp")]
ENTRIES = {"tfnlp.applications": "knowledge_graph", "tfnlp.study": "seeds"}  # they come first
SHELLS = {"bash": ["bash", "--norc", "--noprofile", "-i"], "zsh": ["zsh", "-f", "-i"]}
SETUP = {
    "bash": 'eval "$(python -m tfnlp --print-completion bash)"',
    "zsh": "autoload -U compinit && compinit -u -D\n"
    'eval "$(python -m tfnlp --print-completion zsh)"',
    "fish": "python -m tfnlp --print-completion fish | source",
}


def module_of(command: str):
    """Return the module that is run for a command."""
    found = importlib.import_module(command)
    return importlib.import_module(f"{command}.__main__") if hasattr(found, "__path__") else found


@pytest.fixture
def offered(monkeypatch, tmp_path):
    """Return what is offered for a line, whose command runs in this process."""

    def offered(line: str) -> list[str]:
        answer = tmp_path / "answer"
        monkeypatch.setenv("_ARGCOMPLETE", "1")
        monkeypatch.setenv("_ARGCOMPLETE_STDOUT_FILENAME", str(answer))
        monkeypatch.setenv("COMP_LINE", line)
        monkeypatch.setenv("COMP_POINT", str(len(line)))
        with pytest.raises(SystemExit):
            __main__.main([])
        return [word.strip() for word in answer.read_text("utf-8").split("\013")]

    def no_stream(self: CompletionFinder) -> None:  # it would take file 9, which may be pytest's
        argcomplete_io.debug_stream = io.StringIO()

    def run_module(command: str, **_: object) -> None:
        module_of(command).main(sys.argv[1:])

    monkeypatch.setattr(CompletionFinder, "_init_debug_stream", no_stream)
    monkeypatch.setattr("tfnlp.__main__.runpy.run_module", run_module)
    monkeypatch.setattr(sys, "argv", ["tfnlp"])
    return offered


@pytest.fixture
def started(tmp_path):
    """Return what starts a shell in a folder with two files."""
    for name in ("questions.csv", "script.py"):
        (tmp_path / name).touch()
    own = {
        "HOME": str(tmp_path),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        "TERM": "dumb",
    }

    def started(command: list[str], **streams: int) -> subprocess.Popen:
        if not shutil.which(command[0]):
            pytest.skip(f"there is no {command[0]} here")
        env = {**os.environ, **own}
        return subprocess.Popen(command, env=env, cwd=tmp_path, start_new_session=True, **streams)

    return started


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_what_is_typed(shell, started, tmp_path):
    lines = {
        "python -m tfnlp.tra": "python -m tfnlp.train",
        "python -m tfnlp train --le": "python -m tfnlp train --learning-rate",
        "python -m tfnlp.train --task=ner --no-cr": "python -m tfnlp.train --task=ner --no-crf",
        "python3 -m tfnlp.train --train qu": "python3 -m tfnlp.train --train questions.csv",
        "python scr": "python script.py",  # as before
    }
    keys = [f"{line}\t >> typed\x01echo \n" for line in lines]  # Ctrl-A: to the front
    ours, its = pty.openpty()
    process = started(SHELLS[shell], stdin=its, stdout=its, stderr=its)
    os.close(its)
    os.write(ours, "\n".join([SETUP[shell], *keys, "exit\n"]).encode())
    try:
        while os.read(ours, 4096):
            pass
    except OSError:  # the shell has ended
        os.close(ours)
    process.wait()
    assert (tmp_path / "typed").read_text("utf-8").splitlines() == list(lines.values())


def test_fish_lists_what_may_follow(started):
    lines = ["python -m tfnlp.tra", "python -m tfnlp.train --task ner --no-cr", "python scr"]
    code = "".join(f"; complete -C '{line}'" for line in lines)
    process = started(["fish", "--no-config", "-c", SETUP["fish"] + code], stdout=subprocess.PIPE)
    found = [line.partition(b"\t")[0].decode() for line in process.communicate()[0].splitlines()]
    assert found == ["tfnlp.train", "--no-crf", "script.py"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_in_the_help_of_a_command_is_offered(command, offered, capsys, monkeypatch):
    name = ENTRIES.get(command, "")
    found = offered(f"python -m tfnlp && python -m {command} {name} --")
    monkeypatch.delenv("_ARGCOMPLETE")
    with pytest.raises(SystemExit):
        module_of(command).main([*name.split(), "--help"])
    shown = re.findall(
        r"^  (?:-\w, )?(--[\w-]+)(?:, (--no-[\w-]+))?", capsys.readouterr().out, re.M
    )
    assert set(found) == {flag for flags in shown for flag in flags if flag}
    assert offered(f"python -m tfnlp {command.removeprefix('tfnlp.')} {name} --") == found


NAMES = {
    "--task ": discover.names("tfnlp.tasks"),
    "--task=l": ["--task=language_model"],
    "--strategy ": extensions.names(Strategy),
    "--peft ": extensions.names(Peft),
    "--augment ": extensions.names(Augmenter),
    "--track ": extensions.names(Tracker),
    "--dataset ": sources.dataset_names(),
    "--backbone ": entry.names(),
    "--schedule ": ["linear", "cosine", "constant"],
    "--strategy gan --gan-keep ": ["gan", "mle", "better"],
    "--config gan.yaml --gan-keep b": ["better"],
}


@pytest.mark.parametrize("typed", NAMES)
def test_what_may_follow_a_flag(typed, offered, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("gan.yaml").write_text("task: {name: language_model}\nstrategy: {name: gan}\n")
    assert offered(f"python -m tfnlp.train {typed}") == NAMES[typed]


def test_entries_of_each_kind_are_offered(offered):
    assert set(extensions.PACKAGES.values()) < set(completion._FOLDERS.values())
    assert offered("python -m tfnlp.explain trec --by oc") == ["occlusion"]
    assert offered("python -m tfnlp.audit trec --check c") == ["calibration"]
    assert offered("python -m tfnlp.study see") == offered("python -m tfnlp study see") == ["seeds"]
    assert offered("python -m tfnlp.applications k") == ["knowledge_graph"]


def test_commands_are_offered(offered):
    names = [command.removeprefix("tfnlp.") for command in COMMANDS]
    assert offered("python -m tfnlp ")[4:] == names  # after the flags
    assert offered("python -m tfnlp.") == COMMANDS
    assert offered("python -m tfnlp --print-completion z") == ["zsh"]


def test_a_file_is_offered_where_no_entry_has_that_name(offered, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    assert offered("python -m tfnlp.train --backbone mine") == ["mine/"]
    assert offered("python -m tfnlp.train --backbone mini") == ["minilm-l6-en"]


def test_without_argcomplete_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "argcomplete", None)
    with pytest.raises(UserError, match=re.escape("pip install -e '.[completion]'")):
        __main__.main(["--print-completion", "bash"])
