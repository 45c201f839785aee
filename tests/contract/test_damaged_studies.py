"""Each file of a study's folder, damaged in every way: a sentence, or no harm."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path

import pytest

from pipelines.errors import UserError
from tfnlp import study
from tfnlp.runs import studies

HERE = Path(__file__).parent
LINE = ["seeds", "--name", "toy", "--seed", "0", "--seeds-count", "3"]
DAMAGES = {
    "emptied": lambda file: file.write_bytes(b""),
    "cut": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "garbage": lambda file: file.write_bytes(b"\xff\xfe\x00garbage\x80" * 9),
    "other": lambda file: file.write_text('{"other": [1]}' if file.suffix == ".json" else "a: 1\n"),
    "nested": lambda file: file.write_text("[" * 2000),
    "removed": lambda file: file.unlink(),
}
# Of what these hold, a study has no other copy.
TRUTH = [
    "study.yaml",
    "base.yaml",
    *(f"trials/{n}.{end}" for n in (1, 2, 3) for end in ("yaml", "json")),
]
WRITTEN = ["best.yaml", "trials.csv", "report.html", "lock"]
OPTIONS = "options.json"  # written anew by --resume, and read by --show
WRITTEN += [f"trials/{n}.{end}" for n in (1, 2, 3) for end in ("out", "err", "lock", "held")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a study whose second trial failed."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "orders").write_text("1: fail")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PYTHONPATH", str(HERE.parents[1]))
        patch.setattr(studies, "TRAIN", ("tests.contract.fake_train",))
        assert study.main(LINE) == 0
    return folder


@pytest.fixture
def here(whole, tmp_path, monkeypatch):
    """A copy of it, in which trials are trained by the fake."""
    shutil.copytree(whole, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    monkeypatch.setenv("PYTHONPATH", str(HERE.parents[1]))
    monkeypatch.setattr(studies, "TRAIN", ("tests.contract.fake_train",))
    return tmp_path / "copy"


def table():
    """Return what the trials have come to, without the clock's part."""
    with Path("studies/toy/trials.csv").open(encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k not in ("seconds", "error")} for row in found]


def files(folder):
    found = [f.relative_to(folder) for f in folder.rglob("*") if f.is_file()]
    # What TensorBoard is shown is written anew after each trial, and read by nobody here.
    return sorted(str(f) for f in found if f.parts[0] != "tensorboard")


def test_every_file_is_among_those_that_are_damaged_here(whole):
    assert files(whole / "studies/toy") == sorted([*TRUTH, *WRITTEN, OPTIONS, "trials/2.failed"])


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", TRUTH)
def test_what_a_study_cannot_do_without_is_named(here, name, damage):
    file = Path("studies/toy", name)
    DAMAGES[damage](file)
    before = {other: other.read_bytes() for other in Path("studies/toy").rglob("*.[yj]*")}
    if file.parent.name == "trials" and damage == "removed":
        return  # below
    with pytest.raises(UserError) as caught:
        study.main([*LINE, "--resume"])
    assert re.search(rf"{re.escape(file.name)}.*\(.*(restore|--name)", str(caught.value))
    assert "\n" not in str(caught.value)
    if name != "study.yaml":  # which says whose the trials are, and takes no part in showing them
        with pytest.raises(UserError, match=rf"{re.escape(file.name)}.*\(.*restore"):
            study.main([*LINE, "--show"])
    after = {other: other.read_bytes() for other in Path("studies/toy").rglob("*.[yj]*")}
    assert after == before  # nothing is begun anew over what is left
    assert Path("calls").read_text().split() == ["0", "1", "2"]


@pytest.mark.parametrize("name", [name for name in TRUTH if name.startswith("trials")])
def test_a_trials_file_that_is_removed_is_written_again_from_its_other_one(here, name):
    before, file = table(), Path("studies/toy", name)
    held = file.read_text("utf-8")
    file.unlink()
    with pytest.raises(UserError, match=rf"{file.name}.*--resume"):
        study.main([*LINE, "--show"])
    assert study.main([*LINE, "--resume"]) == 0
    if file.suffix == ".yaml":
        assert file.read_text("utf-8") == held
    assert table() == before
    assert Path("calls").read_text().split() == ["0", "1", "2"]


def test_settings_that_the_study_would_not_propose_are_not_made_up(here):
    Path("studies/toy/trials/2.json").unlink()
    shutil.copy("studies/toy/trials/3.yaml", "studies/toy/trials/2.yaml")
    with pytest.raises(UserError, match=r"2\.json.*missing.*\(restore"):
        study.main([*LINE, "--resume"])


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_written_anew_does_no_harm(here, damage):
    before = table()
    for name in WRITTEN:
        DAMAGES[damage](Path("studies/toy", name))
    assert study.main([*LINE, "--show"]) == 0
    assert study.main([*LINE, "--resume"]) == 0
    assert table() == before
    assert Path("calls").read_text().split() == ["0", "1", "2"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_options_that_were_kept(here, damage, capsys):
    before, file = table(), Path("studies/toy", OPTIONS)
    held = file.read_bytes()
    DAMAGES[damage](file)
    if damage == "removed":
        assert study.main([*LINE, "--show"]) == 0
    else:
        with pytest.raises(UserError, match=r"options\.json.*\(the study's command with --resume"):
            study.main([*LINE, "--show"])
    assert study.main([*LINE, "--resume"]) == 0
    assert file.read_bytes() == held
    assert study.main(["seeds", "--name", "toy", "--show"]) == 0  # its own flags are not needed
    assert table() == before
    with pytest.raises(UserError, match="is a study by seeds, not by grid"):
        study.main(["grid", "--name", "toy", "--show"])


@pytest.mark.parametrize("damage", DAMAGES)
def test_why_a_trial_failed(here, damage):
    before, file = table(), Path("studies/toy/trials/2.failed")
    DAMAGES[damage](file)
    if damage in ("emptied", "garbage"):
        for flag in ("--resume", "--show"):
            with pytest.raises(UserError, match=r"2\.failed is damaged.*\(write into it"):
                study.main([*LINE, flag])
        return
    assert study.main([*LINE, "--show"]) == 0
    assert study.main([*LINE, "--resume"]) == 0
    assert table() == before
    again = ["1"] if damage == "removed" else []
    assert Path("calls").read_text().split() == ["0", "1", "2", *again]


@pytest.mark.parametrize("end", ["yaml", "json"])
def test_the_file_of_another_trial_is_noticed(here, end):
    shutil.copy(f"studies/toy/trials/3.{end}", f"studies/toy/trials/1.{end}")
    for flag in ("--resume", "--show"):
        with pytest.raises(UserError, match=r"trials/1\.yaml is damaged: .*seed.* 1\.json says"):
            study.main([*LINE, flag])


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_runs_metrics_are_named_or_its_trial_trained_again(here, damage):
    (file,) = Path("tensorboard_logs").glob("toy-1/*/metrics.json")
    before = table()
    DAMAGES[damage](file)
    if damage == "removed":
        assert study.main([*LINE, "--resume"]) == 0
        assert [row["state"] for row in table()] == [row["state"] for row in before]
        return
    with pytest.raises(UserError, match=r"metrics.json is damaged: .*delete its run's folder"):
        study.main([*LINE, "--resume"])
    with pytest.raises(UserError, match=r"metrics.json is damaged"):
        study.main([*LINE, "--show"])
