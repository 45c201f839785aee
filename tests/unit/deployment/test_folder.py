"""The folder that is written, and what is said of mistakes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines.errors import UserError
from tfnlp import deploy
from tfnlp.deployment import models, plan, versions
from tfnlp.runtime import exit_status

from .reading import batching
from .saving import listed, predict, run, save, write_warmups


def test_models_are_only_read(saved, tmp_path):
    before = listed(saved)
    run(saved / "loud", saved / "writer", "--output", tmp_path / "d")
    assert listed(saved) == before


def test_what_was_written_is_written_again(saved, tmp_path):
    run(saved / "loud", "--output", tmp_path / "d")
    run(saved / "loud", "--output", tmp_path / "d", "--no-batching")
    assert not (tmp_path / "d/config/batching.config").exists()
    flags = (tmp_path / "d/compose.yaml").read_text("utf-8")
    assert "--enable_batching" not in flags
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


@pytest.mark.parametrize("how", ["foreign", "added", "changed"])
def test_what_the_user_wrote_is_kept(saved, tmp_path, how):
    out = tmp_path / "d"
    if how == "foreign":
        out.mkdir()
    else:
        run(saved / "loud", "--output", out)
    (out / ("README.md" if how == "changed" else "mine")).write_text("mine", "utf-8")
    before = listed(out)
    with pytest.raises(UserError, match="--force"):
        run(saved / "loud", "--output", out)
    assert listed(out) == before
    run(saved / "loud", "--output", out, "--force")
    assert listed(tmp_path / "d.before-1") == before
    assert (out / "compose.yaml").is_file()


def test_where_the_command_runs_is_left_alone(saved, tmp_path, monkeypatch):
    (tmp_path / "mine").write_text("mine", "utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="where this command runs"):
        run(saved / "loud", "--output", ".", "--force")
    assert (tmp_path / "mine").is_file()


def test_a_write_that_fails_leaves_nothing(saved, tmp_path, monkeypatch):
    run(saved / "loud", "--output", tmp_path / "d")
    before = listed(tmp_path)
    rename = Path.rename

    def fail(self, target):
        if ".tfnlp-new-" in self.name:
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(UserError, match="No space left"):
        run(saved / "loud", "--output", tmp_path / "d", "--cpus", 8)
    assert listed(tmp_path) == before
    (tmp_path / "d" / "mine").write_text("mine", "utf-8")
    before = listed(tmp_path)
    with pytest.raises(UserError, match="No space left"):
        run(saved / "loud", "--output", tmp_path / "d", "--force")
    assert listed(tmp_path) == before


def test_batching_in_models_is_written_where_it_is_read(tmp_path):
    folder = save(tmp_path / "m" / "1")
    run(folder.parent, "--output", tmp_path / "d", "--batching-in-models", "--max-batch-size", 12)
    parameters = batching(folder / "batching_params.pbtxt")
    assert list(parameters.allowed_batch_sizes) == [1, 2, 4, 8, 12]
    shared = batching(tmp_path / "d/config/batching.config")
    assert (shared.num_batch_threads.value, list(shared.allowed_batch_sizes)) == (2, [])
    compose = (tmp_path / "d/compose.yaml").read_text("utf-8")
    assert "--enable_per_model_batching_parameters=true" in compose
    (folder / "batching_params.pbtxt").write_text("max_batch_size { value: 9 }", "utf-8")
    with pytest.raises(UserError, match="other values"):
        run(folder.parent, "--output", tmp_path / "d", "--batching-in-models")


def broken(tmp_path: Path, how: str) -> list[object]:
    """Return arguments with a mistake."""
    folder = save(tmp_path / "m" / "1") if how not in ("missing", "empty") else tmp_path / "m"
    if how == "garbage":
        (folder / "saved_model.pb").write_bytes(b"\xff" * 100)
    elif how == "half copied":
        next((folder / "variables").glob("*.data-*")).unlink()
    elif how == "no version":
        folder.rename(folder.with_name("latest"))
        return [tmp_path / "m" / "latest"]
    elif how == "empty":
        folder.mkdir()
    elif how == "bad settings":
        (folder / "settings.json").write_text("{", "utf-8")
    elif how == "odd name":
        return [folder.parent.rename(tmp_path / "a:b")]
    elif how == "twice":
        save(tmp_path / "other" / "m" / "1")
        return [tmp_path / "m", tmp_path / "other" / "m"]
    return [tmp_path / "m"]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("missing", "there is no model"),
        ("empty", "holds no SavedModel"),
        ("garbage", "cannot read the SavedModel"),
        ("half copied", "is not complete"),
        ("no version", "whose name is a whole number"),
        ("bad settings", "settings.json is damaged"),
        ("odd name", "cannot stand in a request's address"),
        ("twice", "two models are called 'm'"),
    ],
)
def test_a_model_that_cannot_be_served_is_one_sentence(tmp_path, capsys, monkeypatch, how, said):
    arguments = [*broken(tmp_path, how), "--output", tmp_path / "d"]
    monkeypatch.setattr(sys, "argv", ["deploy", *map(str, arguments)])
    assert exit_status.run(deploy.main) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ")
    assert said in error
    assert "\n" not in error
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--serving-version", "2.9"], "--serving-version 2.9 is not known"),
        (["--cpus", "0"], "--cpus 0"),
        (["--name", "Über"], "--name"),
        (["--max-batch-size", "0"], "from 1 to 4096"),
        (["--max-batch-size", "other=4"], "there is no model 'other'"),
        (["--max-batch-size", "1e3"], "from 1 to 4096"),
        (["--no-batching", "--max-batch-size", "4"], "--no-batching"),
    ],
)
def test_a_mistake_in_an_option_is_one_sentence(saved, tmp_path, arguments, said):
    with pytest.raises(UserError, match=re.escape(said)):
        run(saved / "loud", "--output", tmp_path / "d", *arguments)
    assert not (tmp_path / "d").exists()


def test_a_place_that_cannot_be_written_is_one_sentence(saved, tmp_path):
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(UserError, match="--output"):
        run(saved / "loud", "--output", tmp_path / "file" / "d")
    with pytest.raises(UserError, match="not a folder"):
        run(saved / "loud", "--output", tmp_path / "file")


def test_errors_are_told_before_anything_is_written(tmp_path, capsys):
    folder = save(tmp_path / "m" / "1", warmups=())
    write_warmups(folder, [predict("m", "a", "other")])
    assert run(folder, "--output", tmp_path / "d", "--batching-in-models") == 1
    assert capsys.readouterr().err.startswith("error: TF Serving 2.19 would not serve m: ")
    assert not (tmp_path / "d").exists()
    assert not (folder / "batching_params.pbtxt").exists()


def test_help_loads_no_tensorflow():
    code = (
        "import sys; from tfnlp import deploy; deploy.parser().format_help(); "
        "sys.exit(any(m.startswith('tensorflow') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_memory_grows_with_weights_and_graph(saved):
    served = models.read(str(saved / "loud"))
    planned = plan.Plan("a", versions.Release.of("2.19"), [served], 2, {}, False)
    assert planned.request == 576  # little more than the server's own 512 MiB
    large = SimpleNamespace(weights=500 * 2**20, graph_size=30 * 2**20)
    planned = plan.Plan("a", versions.Release.of("2.19"), [large], 2, {}, False)
    assert planned.request == 3264  # 512 + 600 + 2100, in steps of 64
    assert planned.limit == 5952
