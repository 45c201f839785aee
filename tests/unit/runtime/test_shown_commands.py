"""Commands that are shown can be copied into a shell."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tfnlp.cli import arguments, terminal
from tfnlp.exporting import writer
from tfnlp.options import Parser
from tfnlp.runtime.commands import command

NAMES = ["plain", "données été (1) $x", "it's", 'a "b" c', "`id`;&", "名字"]


@pytest.mark.parametrize("name", NAMES)
def test_a_shell_reads_what_was_meant(name):
    words = shlex.split(command("tfnlp.export", Path("logs") / name, name))
    assert words == ["python", "-m", "tfnlp.export", f"logs/{name}", name]


@pytest.mark.parametrize("name", NAMES)
def test_every_command_after_training_is_quoted(name, capsys):
    experiment, _ = arguments.parse(["--train", "a.csv", "--name", "x"], Parser())
    run = Path("logs here") / name / "run"
    metrics = {"saved_model": f"models here/{name}/1"}
    terminal.next_steps(run, metrics, experiment, ["-5 degrees", "it's"])
    shown = capsys.readouterr().out.splitlines()
    words = [shlex.split(line) for line in shown if line.startswith("    ")]
    assert words[0] == ["tensorboard", "--logdir", "logs here"]
    place = f"models here/{name}"
    assert words[1] == ["python", "-m", "tfnlp.predict", place, "--", "-5 degrees", "it's"]
    assert words[2] == ["python", "-m", "tfnlp.serve", "models here"]
    assert words[3] == ["python", "-m", "tfnlp.evaluate", place, "--test", "FILE"]
    assert f"$PWD/{place}:/models/{name}" in words[4]
    assert f"MODEL_NAME={name}" in words[4]
    terminal.next_steps(run, {}, experiment, [])
    assert shlex.split(capsys.readouterr().out.splitlines()[-1])[-1] == f"logs here/{name}/run"


def test_a_place_that_cannot_be_written_names_the_command_that_helps(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Exception, match=r"python -m tfnlp\.export RUN --saved-models FOLDER"):
        writer.write(tmp_path / "file" / "x", None, {}, lambda folder: None)
