"""Checkpoints under kills, damage and full disks."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from pipelines.errors import UserError
from tfnlp.training import checkpoints


def variables(value: float = 1.0) -> list[tf.Variable]:
    return [tf.Variable(tf.fill([50, 20], value)), tf.Variable(7, dtype=tf.int64)]


def kept(folder) -> list[str]:
    return sorted(f.name for f in folder.iterdir())


def test_what_was_written_is_read(tmp_path):
    written = variables(2.5)
    checkpoints.write(tmp_path / "step-3", written, {"epoch": 1, "best": None})
    read = variables(0.0)
    checkpoints.restore(tmp_path / "step-3", read)
    np.testing.assert_array_equal(read[0], written[0])
    assert int(read[1]) == 7
    assert checkpoints.whole(tmp_path / "step-3")
    assert checkpoints.read_state(tmp_path / "step-3") == {"epoch": 1, "best": None}
    assert kept(tmp_path) == ["step-3"]


def test_an_older_one_of_that_name_is_replaced(tmp_path):
    checkpoints.write(tmp_path / "step-3", variables(1.0), {"n": 1})
    checkpoints.write(tmp_path / "step-3", variables(2.0), {"n": 2})
    read = variables(0.0)
    checkpoints.restore(tmp_path / "step-3", read)
    assert float(read[0][0, 0]) == 2.0
    assert checkpoints.read_state(tmp_path / "step-3") == {"n": 2}


def truncate(folder):
    data = next(folder.glob("variables.data*"))
    data.write_bytes(data.read_bytes()[:-100])


def flip(folder):
    data = next(folder.glob("variables.data*"))
    content = bytearray(data.read_bytes())
    content[1000] ^= 1
    data.write_bytes(content)


def lose_manifest(folder):
    (folder / "manifest.json").unlink()


def cut_manifest(folder):
    (folder / "manifest.json").write_text('{"state.json": ')


def lose_state(folder):
    (folder / "state.json").unlink()


def lose_index(folder):
    (folder / "variables.index").unlink()


@pytest.mark.parametrize(
    "damage", [truncate, flip, lose_manifest, cut_manifest, lose_state, lose_index]
)
def test_a_damaged_one_is_passed_over_for_the_one_before(tmp_path, damage):
    for number in (2, 10):
        checkpoints.write(tmp_path / f"step-{number}", variables(), {})
    assert checkpoints.newest(tmp_path, "step-") == tmp_path / "step-10"
    damage(tmp_path / "step-10")
    assert not checkpoints.whole(tmp_path / "step-10")
    assert checkpoints.newest(tmp_path, "step-") == tmp_path / "step-2"


def test_unfinished_and_foreign_folders_are_not_listed(tmp_path):
    for name in ("step-1", ".tfnlp-new-here-1-0", "best-3", "step-x", "step-10"):
        (tmp_path / name).mkdir()
    assert [f.name for f in checkpoints.listed(tmp_path, "step-")] == ["step-1", "step-10"]
    assert checkpoints.newest(tmp_path / "none", "step-") is None
    checkpoints.drop(tmp_path, {"step-10"})
    assert kept(tmp_path) == [".tfnlp-new-here-1-0", "step-10"]


def test_variables_of_another_model_are_refused(tmp_path):
    checkpoints.write(tmp_path / "step-1", variables(), {})
    for other in ([tf.Variable(tf.zeros([3]))], [*variables(), tf.Variable(1.0)], variables()[:1]):
        with pytest.raises(UserError, match="of another model"):
            checkpoints.restore(tmp_path / "step-1", other)


KILLED = """
import os, sys, pathlib, tensorflow as tf
from tfnlp.training import checkpoints
folder, call = pathlib.Path(sys.argv[1]), int(sys.argv[2])
checkpoints.write(folder / "step-1", [tf.Variable(tf.fill([50, 20], 1.0))], {"n": 1})
seen = 0
def dying(function):
    def wrapped(*args, **kwargs):
        global seen
        seen += 1
        if seen == call:
            os.kill(os.getpid(), 9)
        return function(*args, **kwargs)
    return wrapped
for module, name in ((os, "replace"), (os, "rename"), (os, "fsync"), (checkpoints, "sha256"),
                     (checkpoints.shutil, "rmtree"), (pathlib.Path, "write_text"),
                     (pathlib.Path, "mkdir")):
    setattr(module, name, dying(getattr(module, name)))
checkpoints.write(folder / "step-2", [tf.Variable(tf.fill([50, 20], 2.0))], {"n": 2})
checkpoints.drop(folder, {"step-2"})
print("calls", seen)
"""


@pytest.mark.slow
def test_a_kill_at_any_call_leaves_the_old_or_the_new_one(tmp_path):
    found = set()
    for call in range(1, 40):
        folder = tmp_path / str(call)
        run = subprocess.run(
            [sys.executable, "-c", KILLED, str(folder), str(call)], capture_output=True, text=True
        )
        newest = checkpoints.newest(folder, "step-")
        read = [tf.Variable(tf.zeros([50, 20]))]
        checkpoints.restore(newest, read)
        state = checkpoints.read_state(newest)["n"]
        assert newest.name == f"step-{state}"
        np.testing.assert_array_equal(read[0], np.full([50, 20], state, "float32"))
        found.add(state)
        if run.returncode == 0:  # there is no such call any more
            assert call > 10
            break
        assert run.returncode == -9, run.stderr
    assert found == {1, 2}
    assert run.returncode == 0


FULL = """
import sys, pathlib, tensorflow as tf
from tfnlp.training import checkpoints
from pipelines.errors import UserError
folder = pathlib.Path(sys.argv[1])
checkpoints.write(folder / "step-1", [tf.Variable(tf.fill([100_000], 1.0))], {})
if sys.argv[2] == "limit":
    import resource, signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
try:
    checkpoints.write(folder / "step-2", [tf.Variable(tf.fill([200_000], 2.0))], {})
except UserError as error:
    print(error)
"""


def full(folder, how: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", FULL, str(folder), how], capture_output=True, text=True, check=True
    )
    message = run.stdout.strip()
    assert message.startswith(f"cannot write the checkpoint {folder / 'step-2'}: "), run
    assert message.endswith("free space there, then resume with --resume)")
    assert "\n" not in message
    assert kept(folder) == ["step-1"]  # and nothing half-written takes up the space
    assert checkpoints.whole(folder / "step-1")


def test_a_file_that_cannot_grow_keeps_the_old_checkpoint(tmp_path):
    full(tmp_path, "limit")


@pytest.mark.skipif(sys.platform != "linux" or os.getuid() != 0, reason="needs to mount a tmpfs")
def test_a_full_disk_keeps_the_old_checkpoint(tmp_path):
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)], check=False
    )
    if mount.returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        full(tmp_path, "disk")
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.skipif(os.getuid() == 0, reason="root writes anywhere")
def test_a_folder_that_cannot_be_written(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="Permission denied"):
        checkpoints.write(tmp_path / "step-1", variables(), {})
