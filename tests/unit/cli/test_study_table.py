"""The table of a study's trials, on a terminal and once."""

from __future__ import annotations

import csv
import dataclasses
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from pipelines.files.writers import write_json
from tfnlp import extensions
from tfnlp.cli import arguments
from tfnlp.cli.settings import Given
from tfnlp.cli.study_table import StudyTable
from tfnlp.extensions import Study, Trial
from tfnlp.options import Parser
from tfnlp.runs import folders, study_files
from tfnlp.runs.experiment_yaml import write_yaml
from tfnlp.runs.study_files import Asked

# Trains as tests/contract/fake_train.py does, epoch by epoch, and waits for a signal in the second
# trial.
FAKE = """
import signal, sys, time
from pipelines.files.writers import write_json
from tfnlp.runs import folders, study_files
from tfnlp.runs.experiment_yaml import read_trusted
from pathlib import Path
came = []
signal.signal(signal.SIGTERM, lambda *_: came.append(1))
made = read_trusted(Path(sys.argv[2]), "")
run = folders.new_run(made)
write_json(run / "history.json", [{"val_accuracy": 0.5 + made.seed / 10}])
while made.seed and not came:
    time.sleep(0.1)
time.sleep(1)
if came:
    sys.exit(143)
held = {"accuracy": 0.75, "loss": 1.0}
rows = {"train": 400, "validation": 40, "test": 100}
write_json(run / "metrics.json", {"validation": held, "test": held, "rows": rows})
"""
STUDY = """
import sys
from tfnlp import study
from tfnlp.runs import studies
from tfnlp.runtime import exit_status
studies.TRAIN = ("fake",)
sys.exit(exit_status.run(study.main))
"""
LINE = ["seeds", "--name", "toy", "--seed", "0", "--dataset", "trec", "--seeds-count", "3"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(extensions.__file__).parents[2]))
    Path("fake.py").write_text(FAKE)
    return tmp_path


def _on_terminal(until):
    """Run the study on a terminal, press Ctrl-C when a text was shown; return all that was."""
    own, other = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"}
    command = [sys.executable, "-c", STUDY, *LINE]
    ends = {"stdin": other, "stdout": other, "stderr": other}
    process = subprocess.Popen(command, env=env, start_new_session=True, **ends)
    os.close(other)
    shown, pressed, end = "", False, time.monotonic() + 240
    while time.monotonic() < end:
        try:
            shown += os.read(own, 10_000).decode("utf-8", "replace")
        except OSError:  # the process has ended
            break
        if not pressed and re.search(until, shown):
            process.send_signal(2)
            pressed = True
    os.close(own)
    return process.wait(60), shown


def test_a_terminal_shows_a_table_and_is_left_clean(here):
    status, shown = _on_terminal(r"running.*0\.6000")  # the second trial, after an epoch
    assert status == 130
    assert re.search(r"★.*1.*complete.*seed=0.*0\.7500.*0\.7500", shown)
    assert "trial 2 of at most 3" in shown
    assert "trial 1: complete" not in shown  # what is in the table is not said again
    assert shown.rfind("\x1b[?25l") < shown.rfind("\x1b[?25h")  # the cursor is there again
    last = re.split(r"\x1b\[\d*[A-Z]", shown)[-1]  # after the table was removed
    left = " ".join(re.sub(r"\x1b\[[\d;?]*[a-z]", "", last).split())
    assert left == "error: stopped by SIGINT; run the same command with --resume to continue"


def test_a_file_has_plain_lines(here):
    (here / "fake.py").write_text(FAKE.replace("while made.seed and", "while False and"))
    command = [sys.executable, "-c", STUDY, *LINE]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "trial 3: complete, accuracy 0.7500 in" in ran.stdout
    assert "\x1b" not in ran.stdout
    assert "to go" not in ran.stdout
    again = subprocess.run([*command, "--show"], capture_output=True, text=True, check=False)
    assert re.search(r"★.*1.*complete.*seed=0.*0\.7500", again.stdout)


def test_the_last_trials_and_the_best(here):
    given = Given(*arguments.read(["--dataset", "trec", "--name", "toy"], Parser())[:2])
    entry = extensions.load(Study, "seeds")
    asked = Asked("seeds", entry, entry.options(count=20), given.experiment(), given.vary)
    folder = asked.folder / "trials"
    folder.mkdir(parents=True)
    for number in range(1, 19):
        made = dataclasses.replace(given.vary({"seed": number}), name=f"toy-{number}")
        write_yaml(made, folder / f"{number}.yaml")
        held = {"settings": {"seed": number}, "seconds": 60.0}
        write_json(folder / f"{number}.json", held)
        if number < 18:
            score = 0.9 if number == 2 else 0.5
            metrics = {"validation": {"f1": score}, "test": None}
            write_json(folders.new_run(made) / "metrics.json", metrics)
    out = Console(width=120, record=True)
    out.print(StudyTable(asked).follow())
    text = out.export_text()
    numbers = [int(n) for n in re.findall(r"seed=(\d+)", text)]
    assert numbers == [2, *range(4, 19)]
    assert re.search(r"★.*seed=2 .*0\.9000", text)
    assert "validation f1" in text
    # 18 minutes were trained, two trials are to come and one is in its second minute.
    assert "trial 18 of at most 20, 18:00 min so far, about 2:00 min to go" in text


def test_the_file_of_trials_has_an_entry_that_the_first_lacks(here):
    given = Given(*arguments.read(["--dataset", "trec", "--name", "toy"], Parser())[:2])
    entry = extensions.load(Study, "grid")
    asked = Asked("grid", entry, entry.options(), given.experiment(), given.vary)
    chosen = [{}, {"peft": "bitfit"}, {"peft": "lora", "lora_rank": 4}]
    trials = [Trial(given.vary(settings), settings, "failed") for settings in chosen]
    asked.folder.mkdir(parents=True)
    study_files.write(asked, trials)
    with (asked.folder / "trials.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["peft.name"] for row in rows] == ["", "bitfit", "lora"]
    assert rows[2]["peft.rank"] == "4"


def test_a_trial_of_a_table_bears_the_name_of_its_cell(here):
    Path("table.yaml").write_text("data:\n  ours: {train: a.csv}\nplain:\nlow: {dropout: 0.0}\n")
    given = Given(*arguments.read(["--dataset", "trec", "--name", "toy"], Parser())[:2])
    entry = extensions.load(Study, "grid")
    options = entry.options(settings="table.yaml")
    asked = Asked("grid", entry, options, given.experiment(), given.vary)
    settings = entry.propose(asked.base, [], options)
    trials = [Trial(given.vary(settings), settings, "failed")]
    out = Console(width=100, record=True)
    out.print(StudyTable(asked, trials).draw())
    assert "plain on ours, seed=42" in out.export_text()


@pytest.mark.parametrize(
    ("name", "options", "trials"),
    [
        ("seeds", {"count": 7}, 7),
        ("grid", {"vary": ("epochs=2,4", "peft=none,bitfit"), "seeds": 3}, 12),
        ("compare", {"against": ("epochs=2",), "seeds": 3}, 6),
        ("ablation", {"seeds": 2}, 6),
        ("learning_curve", {"seeds": 3}, 15),
        ("learning_curve", {"sizes": (100, 200), "seeds": 2}, 4),
        ("search", {"trials": 5}, 14),
        ("few_shot", {"sizes": (0, 8), "draws": 2, "methods": ("zero_shot", "plain")}, 5),
    ],
)
def test_how_many_trials_there_will_be(name, options, trials):
    """Before the first one."""
    line = ["--dataset", "trec", "--name", "toy", "--dropout", "0.2", "--max-length", "64"]
    given = Given(*arguments.read(line, Parser())[:2])
    entry = extensions.load(Study, name)
    asked = Asked(name, entry, entry.options(**options), given.experiment(), given.vary)
    assert asked.length([]) == trials


def test_no_study_is_left_out():
    of = test_how_many_trials_there_will_be.pytestmark[0].args[1]
    assert {name for name, _, _ in of} == set(extensions.names(Study))
