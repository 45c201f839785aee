"""A run that names modules which are not tfnlp's: nothing is imported without consent."""

import importlib
import sys

import pytest

from pipelines.errors import UserError
from tfnlp import config, evaluate, export, study, train, validate
from tfnlp.extensions import consent
from tfnlp.runs import experiment_yaml, origins

SECTIONS = {
    "task": "task: {name: strange.module}",
    "strategy": "task: {name: classification}\nstrategy: {name: strange.module}",
    "peft": "task: {name: classification}\npeft: strange.module",
    "augmenter": "task: {name: classification}\naugment: [aeda, strange.module]",
}


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """A folder with a module that leaves a trace when it is imported."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("TFNLP_TRUST", raising=False)
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "__init__.py").write_text("")
    (tmp_path / "strange" / "module.py").write_text(
        f"open({str(tmp_path / 'trace')!r}, 'w').close()"
    )
    importlib.invalidate_caches()  # of folders, which know new files by their time in seconds
    yield tmp_path
    for name in ("strange", "strange.module"):
        sys.modules.pop(name, None)
    consent._trusted.clear()


def written(folder, section):
    last = list(config.SECTIONS)[-1]
    field = next(reversed(config.SECTIONS[last].__dataclass_fields__))
    file = folder / "experiment.yaml"
    file.write_text(f"{SECTIONS[section]}\n{last}: {{{field}: true}}\n")
    return file


@pytest.mark.parametrize("section", SECTIONS)
def test_nothing_is_imported_without_consent(section, outside):
    file = written(outside, section)
    with pytest.raises(UserError, match=rf"names the {section} 'strange\.module'.*--trust"):
        experiment_yaml.read_trusted(file, "again")
    assert not (outside / "trace").exists()
    consent.give(outside)
    with pytest.raises(UserError, match="defines no"):  # it is an empty module
        experiment_yaml.read_trusted(file, "again")
    assert (outside / "trace").exists()


def test_an_earlier_run_that_a_run_names_is_no_more_trusted(outside):
    written(outside, "task")
    with pytest.raises(UserError, match=r"names the task 'strange\.module'.*--trust"):
        origins._trained_on(outside, {})
    assert not (outside / "trace").exists()


def test_what_was_imported_by_its_name_needs_no_consent(outside, monkeypatch):
    file = written(outside, "task")
    importlib.import_module("strange.module")

    with pytest.raises(UserError, match="defines no"):
        experiment_yaml.read_trusted(file, "again")


@pytest.mark.parametrize("command", [evaluate.main, export.main])
def test_the_flag_is_consent(command, outside, monkeypatch):
    run = outside / "run"
    (run / "model").mkdir(parents=True)
    written(run, "task")
    written(run / "model", "task")
    (run / "model" / "facts.json").write_text("{}")
    with pytest.raises(UserError, match="--trust"):
        command([str(run)])
    assert not (outside / "trace").exists()
    monkeypatch.setenv("TFNLP_TRUST", "")  # which the flag sets, until the test ends
    with pytest.raises(UserError, match="defines no"):
        command([str(run), "--trust"])


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("command", [train.main, validate.main, study.main])
def test_a_file_of_settings_imports_nothing_without_consent(command, section, outside, monkeypatch):
    line = ["seeds"] if command is study.main else []
    line += ["--config", str(written(outside, section)), "--help"]
    with pytest.raises(UserError, match=rf"names the {section} 'strange\.module'.*--trust"):
        command(line)
    assert not (outside / "trace").exists()
    monkeypatch.setenv("TFNLP_TRUST", "")  # which the flag sets, until the test ends
    with pytest.raises(UserError, match="defines no"):
        command([*line, "--trust"])
    monkeypatch.setenv("TFNLP_TRUST", "")
    if section in ("strategy", "peft"):  # what is named in its place is consent
        with pytest.raises(SystemExit):
            command([*line, f"--{section}", "supervised" if section == "strategy" else "lora"])
