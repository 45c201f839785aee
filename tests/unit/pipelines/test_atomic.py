"""Files and folders replaced as a whole, under exceptions, kills, full disks and company."""

from __future__ import annotations

import errno
import inspect
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import atomic
from pipelines.atomic import add_version, replacing, replacing_path, write_text
from pipelines.errors import UserError

SIZE = 8  # files in a folder


def make(place: Path, kind: str, text: str) -> None:
    """Write a file, or a folder of files, that is full of one text."""
    if kind == "file":
        place.write_text(text * 1000)
        return
    place.mkdir()
    for number in range(SIZE):
        (place / f"{number}.txt").write_text(text)


# For processes that are to start quickly.
MAKE = f"from pathlib import Path\nSIZE = {SIZE}\n{inspect.getsource(make)}"


def content(place: Path, kind: str) -> str:
    """Return the text that a whole file or folder is full of."""
    if kind == "file":
        (text,) = set(place.read_text())
        assert place.stat().st_size == 1000
        return text
    (text,) = {file.read_text() for file in place.iterdir()}
    assert len(list(place.iterdir())) == SIZE
    return text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


kinds = pytest.mark.parametrize("kind", ["file", "folder"])


@kinds
def test_the_old_one_stands_until_the_new_one_is_whole(tmp_path, kind):
    place = tmp_path / "it"
    for old, new in (("", "a"), ("a", "b")):
        with replacing_path(place) as aside:
            make(aside, kind, new)
            assert aside.name.startswith(".")
            assert content(place, kind) == old if old else not place.exists()
        assert content(place, kind) == new
        assert names(tmp_path) == ["it"]


@kinds
def test_an_exception_leaves_the_old_one(tmp_path, kind):
    def stopped(aside: Path) -> None:
        make(aside, kind, "b")
        raise KeyboardInterrupt

    make(tmp_path / "it", kind, "a")
    with pytest.raises(KeyboardInterrupt), replacing_path(tmp_path / "it") as aside:
        stopped(aside)
    assert content(tmp_path / "it", kind) == "a"
    assert names(tmp_path) == ["it"]


@kinds
def test_a_rename_that_fails_leaves_the_old_one(tmp_path, kind, monkeypatch):
    make(tmp_path / "it", kind, "a")
    real = os.rename

    def full(source, target, **how):
        if ".tfnlp-new" in str(source):
            raise OSError(28, "No space left on device")
        real(source, target, **how)

    monkeypatch.setattr(os, "rename", full)
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"), replacing_path(tmp_path / "it") as aside:
        make(aside, kind, "b")
    assert content(tmp_path / "it", kind) == "a"
    assert names(tmp_path) == ["it"]


def test_a_folder_takes_no_files_place_and_a_file_no_folders(tmp_path):
    make(tmp_path / "file", "file", "a")
    make(tmp_path / "folder", "folder", "a")
    with pytest.raises(NotADirectoryError), replacing_path(tmp_path / "file") as aside:
        make(aside, "folder", "b")
    with pytest.raises(IsADirectoryError):
        write_text(tmp_path / "folder", "b")
    assert content(tmp_path / "file", "file") == content(tmp_path / "folder", "folder") == "a"
    assert names(tmp_path) == ["file", "folder"]


@kinds
def test_a_link_stays_a_link(tmp_path, kind):
    (tmp_path / "far").mkdir()
    make(tmp_path / "far" / "it", kind, "a")
    (tmp_path / "link").symlink_to("far/it")
    with replacing_path(tmp_path / "link") as aside:
        make(aside, kind, "b")
    assert (tmp_path / "link").is_symlink()
    assert content(tmp_path / "far" / "it", kind) == "b"
    assert names(tmp_path / "far") == ["it"]


def test_a_file_keeps_its_mode(tmp_path):
    (tmp_path / "it").write_text("a")
    (tmp_path / "it").chmod(0o640)
    write_text(tmp_path / "it", "b")
    assert (tmp_path / "it").stat().st_mode & 0o777 == 0o640


def test_text_is_utf_8_with_the_line_ends_that_it_has(tmp_path):
    with replacing(tmp_path / "it") as file:
        file.write("天气\r\nb\n")
    assert (tmp_path / "it").read_bytes() == "天气\r\nb\n".encode()


def test_a_device_is_written_to(tmp_path):
    with replacing(Path(os.devnull)) as file:
        file.write("a")
    assert Path(os.devnull).is_char_device()
    with pytest.raises(OSError, match="No space left"), replacing(Path("/dev/full")) as file:
        file.write("a")
    assert Path("/dev/full").is_char_device()


def test_a_disk_that_fills_up_leaves_the_old_file(tmp_path, monkeypatch):
    (tmp_path / "it").write_text("a")
    real = Path.open
    monkeypatch.setattr(
        Path, "open", lambda self, *how, **more: real(Path("/dev/full"), *how, **more)
    )
    with pytest.raises(OSError, match="No space left"), replacing(tmp_path / "it") as file:
        file.write("b")
    monkeypatch.undo()
    assert (tmp_path / "it").read_text() == "a"
    assert names(tmp_path) == ["it"]


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("a")
    for place, said in (
        (tmp_path / "file" / "it", "Not a directory"),
        (tmp_path / "none" / "it", "No such file"),
        (tmp_path, "it is a folder"),
    ):
        message = rf"^cannot write {place}: {said}.*\(choose another place\)"
        with pytest.raises(UserError, match=message), replacing(place) as file:
            file.write("b")
    assert names(tmp_path) == ["file"]


# Kills


KILLED = f"""{MAKE}
import os, sys
from pipelines.atomic import replacing_path

place, kind, call, seen = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), 0

def dying(function):
    def wrapped(*given, **named):
        global seen
        seen += 1
        if seen == call:
            os.kill(os.getpid(), 9)
        return function(*given, **named)
    return wrapped

for name in ("rename", "replace", "fsync", "rmdir", "unlink", "mkdir", "chmod"):
    setattr(os, name, dying(getattr(os, name)))
with replacing_path(place, sync=True) as aside:
    make(aside, kind, "b")
"""


@kinds
def test_a_kill_at_any_call_leaves_the_old_or_the_new_one(tmp_path, kind):
    found = []
    for call in range(1, 40):
        (tmp_path / str(call)).mkdir()
        place = tmp_path / str(call) / "it"
        make(place, kind, "a")
        command = [sys.executable, "-c", KILLED, str(place), kind, str(call)]
        run = subprocess.run(command, capture_output=True, text=True)
        assert run.returncode in (0, -9), run.stderr
        # The next writer there clears up, even if it fails.
        with pytest.raises(ZeroDivisionError), replacing_path(place.with_name("other")):
            raise ZeroDivisionError
        found.append(content(place, kind))
        assert names(place.parent) == ["it"]
        if run.returncode == 0:  # there is no such call any more
            break
    assert run.returncode == 0
    assert found == sorted(found)  # the old one, and from some call on the new one
    assert set(found) == {"a", "b"}


@pytest.mark.parametrize(
    ("host", "process", "goes"),
    [
        (socket.gethostname(), "dead", True),
        (socket.gethostname(), "own", True),  # the last process of this container had our number
        (socket.gethostname(), "living", False),
        ("elsewhere", "dead", False),
    ],
)
def test_what_killed_processes_left_goes(tmp_path, host, process, goes):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    number = {"dead": dead.pid, "own": os.getpid(), "living": os.getppid()}[process]
    left = tmp_path / f".tfnlp-new-{host}-{number}-999999"
    make(left, "folder", "x")
    moved = tmp_path / f".tfnlp-old-{host}-{number}-999999-my-it"
    make(moved, "folder", "a")
    (tmp_path / ".tfnlp-new-mine").write_text("x")
    write_text(tmp_path / "other", "b")
    assert left.exists() is moved.exists() is not goes
    assert (tmp_path / "my-it").exists() is goes
    assert (tmp_path / ".tfnlp-new-mine").exists()


def test_a_write_in_a_write_clears_nothing(tmp_path):
    with replacing_path(tmp_path / "a") as aside:
        make(aside, "folder", "a")
        write_text(tmp_path / "b", "b")
        write_text(aside / "c", "a")
    assert names(tmp_path) == ["a", "b"]
    assert len(names(tmp_path / "a")) == SIZE + 1


# Several writers


COMPANY = f"""{MAKE}
import sys
from pipelines.atomic import add_version, replacing_path

place, kind, text = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
print(flush=True)
input()
for _ in range(20):
    if kind == "version":
        add_version(place, lambda folder: make(folder, "folder", text))
        continue
    with replacing_path(place) as aside:
        make(aside, kind, text)
"""


def together(place: Path, kind: str) -> None:
    """Let four processes write at once."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", COMPANY, str(place), kind, text],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for text in "abcd"
    ]
    for writer in writers:
        assert writer.stdout is not None
        writer.stdout.readline()  # it is ready
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    for writer in writers:
        _, errors = writer.communicate(timeout=120)
        assert writer.returncode == 0, errors


@kinds
def test_writers_do_not_step_on_each_other(tmp_path, kind):
    together(tmp_path / "it", kind)
    assert content(tmp_path / "it", kind) in "abcd"
    assert names(tmp_path) == ["it"]


def test_a_folder_that_comes_and_goes_is_replaced(tmp_path, monkeypatch):
    """The one in the way when we renamed is gone, moved by a third, before we look again."""
    real, tries = os.rename, []

    def quick(source, target, **how):
        tries.append(target)
        if len(tries) == 1:
            raise OSError(errno.ENOTEMPTY, "Directory not empty")
        real(source, target, **how)

    monkeypatch.setattr(os, "rename", quick)
    with replacing_path(tmp_path / "it") as aside:
        make(aside, "folder", "b")
    tries.clear()
    add_version(tmp_path / "it", lambda folder: make(folder, "folder", "c"))
    assert names(tmp_path) == ["it"]
    assert content(tmp_path / "it" / "1", "folder") == "c"


def test_versions_of_several_writers_are_all_kept(tmp_path):
    together(tmp_path, "version")
    assert sorted(map(int, names(tmp_path))) == list(range(1, 81))
    found = [content(folder, "folder") for folder in tmp_path.iterdir()]
    assert sorted(found) == sorted("abcd" * 20)


# Versions


def test_a_version_comes_after_the_highest(tmp_path):
    for name in ("2", "10", "x", "²", ".11"):
        (tmp_path / name).mkdir()
    assert add_version(tmp_path, lambda folder: make(folder, "folder", "a")) == tmp_path / "11"
    assert content(tmp_path / "11", "folder") == "a"


def test_a_version_that_fails_leaves_nothing(tmp_path):
    def fail(folder: Path) -> None:
        make(folder, "folder", "a")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        add_version(tmp_path, fail)
    assert names(tmp_path) == []


# The disk


@kinds
def test_the_disk_holds_the_new_one_before_it_takes_its_place(tmp_path, kind, monkeypatch):
    order: list[str] = []
    sync, rename = os.fsync, os.rename

    def synced(handle):
        order.append(Path(f"/proc/self/fd/{handle}").readlink().name)
        sync(handle)

    def renamed(source, target, **how):
        order.append("renamed")
        rename(source, target, **how)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", renamed)
    monkeypatch.setattr(os, "replace", renamed)
    with replacing_path(tmp_path / "it", sync=True) as aside:
        make(aside, kind, "a")
    inside = [f"{number}.txt" for number in range(SIZE)] if kind == "folder" else []
    assert sorted(order[: len(inside)]) == sorted(inside)
    assert order[len(inside) :] == [aside.name, "renamed", tmp_path.name]
    order.clear()
    with replacing_path(tmp_path / "it") as aside:
        make(aside, kind, "b")
    assert set(order) == {"renamed"}


def test_a_probe_leaves_nothing(tmp_path):
    atomic.probe(tmp_path)
    assert names(tmp_path) == []
    (tmp_path / "file").write_text("a")
    with pytest.raises(NotADirectoryError):
        atomic.probe(tmp_path / "file")


def test_hidden_names_are_free(tmp_path):
    with atomic.hidden(tmp_path) as one, atomic.hidden(tmp_path) as other:
        assert one != other
        assert not one.exists()


@pytest.mark.parametrize("named", [False, True])
def test_a_full_disk_is_said_of_the_file_that_a_user_knows(tmp_path, named):
    with (
        pytest.raises(OSError, match="No space") as caught,
        replacing_path(tmp_path / "a") as aside,
    ):
        raise OSError(errno.ENOSPC, "No space left on device", str(aside) if named else None)
    assert caught.value.filename == str(tmp_path / "a")
    with pytest.raises(OSError, match="refused") as other, replacing_path(tmp_path / "a"):
        raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")
    assert other.value.filename is None
