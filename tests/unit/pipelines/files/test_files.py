"""Files that cannot be read, and files too large to be held."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.errors import UserError
from pipelines.rows import Column, read

TEXT = Column("text", "text", "")
LABEL = Column("label", "label", "")


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def error(path: Path, *columns: Column, **options: object) -> str:
    with pytest.raises(UserError) as caught:
        read(path, columns or (TEXT, LABEL), **options)  # type: ignore[arg-type]
    return str(caught.value)


# The time in it would be part of the test's name, which two workers would not agree on.
CUT_SHORT = gzip.compress(b"text,label\na,x\n" * 9999, mtime=0)[:-20]


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("a.csv", "", "is empty"),
        ("a.csv", "\n\n", "is empty"),
        ("a.csv", "\ufeff", "is empty"),
        ("a.csv", "text,label\n", "has no rows"),
        ("a.jsonl", "", "has no rows"),
        ("a.jsonl", "\n \n", "has no rows"),
        ("a.csv", "text,label\n,x\n,x\n", "'text' is empty"),
        ("a.csv", b"caf\xe9,label\na,b\n", "header that cannot be read: not UTF-8"),
        ("a.csv", '"text,label\n', "header that cannot be read: a quote is opened"),
        ("a.csv", "text,label\na,x\n".encode("utf-16"), "is UTF-16"),
        ("a.csv", gzip.compress(b"text,label\na,x\n", mtime=0), "ends in .gz"),
        ("a.csv", b"PK\x03\x04rest", "zip or Excel"),
        ("a.csv.gz", "text,label\na,x\n", "is not a whole gzip file"),
        ("a.csv.gz", CUT_SHORT, "is not a whole gzip file"),
        ("a.csv.gz", b"", "is empty"),
        ("a.doc", "text", "must end in .csv, .tsv, .jsonl, .ndjson"),
        ("a", "text", "must end in .csv"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, name, content, part):
    path = write(tmp_path / name, content)
    message = error(path)
    assert str(path) in message
    assert part in message


def test_places_that_are_no_file(tmp_path):
    assert "there is no file" in error(tmp_path / "none.csv")
    assert "is a folder" in error(tmp_path)
    (tmp_path / "folder.csv").mkdir()
    assert "is a folder" in error(tmp_path / "folder.csv")
    loop = tmp_path / "loop.csv"
    loop.symlink_to(loop)
    assert "cannot read" in error(loop)


def test_a_file_of_bad_rows_only(tmp_path):
    path = write(tmp_path / "a.csv", "text,label\n,x\n,x\n")
    message = error(path, on_bad_row="skip")
    assert (
        "has no usable row; of 2 bad ones the first is row 1 (line 2): 'text' is empty" in message
    )


STREAM = """
import re, sys
from pathlib import Path
from pipelines.rows import Column, stream

def peak():  # MB; getrusage would give the parent's peak if that is higher
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

begin, bad = peak(), []
with open(sys.argv[1], "rb") as file:
    rows = sum(1 for _ in stream(file, [Column("text", "text", "")], source=sys.argv[1],
        on_bad_row="skip", report=lambda row: bad.append(str(row))))
print(rows, round(peak() - begin), *bad)
"""


def streamed(path: Path) -> tuple[int, int, str]:
    """Return rows, growth of memory in MB, and the bad rows, of a process that streams a file."""
    command = [sys.executable, "-c", STREAM, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows, grown, *bad = done.stdout.split(" ", 2)
    return int(rows), int(grown), "".join(bad)


def test_a_stream_is_read_in_constant_memory(tmp_path):
    row = "some words " * 20 + ",x\n"
    path = write(tmp_path / "a.csv", "text,label\n" + row * 200_000)
    assert path.stat().st_size > 40e6
    rows, grown, bad = streamed(path)
    assert (rows, bad.strip()) == (200_000, "")
    assert grown < 10


def test_a_quote_left_open_does_not_swallow_the_file(tmp_path):
    row = "some words " * 20 + ",x\n"
    path = write(tmp_path / "a.csv", f'text,label\ngood,x\n"open,x\n{row * 50_000}')
    rows, _, bad = streamed(path)
    assert (rows, bad.strip()) == (50_002, "")  # a field can have 10,000,000 characters
