"""Rows to files: JSONL and CSV; values as JSON."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from pipelines.atomic import probe, replacing_path, write_text
from pipelines.errors import UserError

Writer = Callable[[Sequence[Mapping[str, Any]]], None]


def check_folder(target: Path, holds: str) -> None:
    """Refuse, before the work is done, a folder that `replacing_folder` could not replace.

    Args:
        target: the folder, there already or not.
        holds: the file by which an earlier result in it is known.

    Raises:
        UserError: nothing can be written there, or it holds something else.

    Example::

        check_folder(Path("audits/reviews"), "report.json")
    """
    earlier = (target / holds).exists()
    if target.exists() and not earlier and (target.is_file() or any(target.iterdir())):
        raise UserError(f"{target} exists and holds no report (choose another --output)")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        probe(target.parent)
    except OSError as error:
        raise _unwritable(target, error) from error


@contextmanager
def replacing_folder(target: Path) -> Iterator[Path]:
    """Make an empty folder that takes the place of ``target`` at the end of the block.

    An exception or a kill leaves what was there before.

    Raises:
        UserError: it cannot be written.

    Example::

        with replacing_folder(Path("audits/reviews")) as folder:
            (folder / "report.json").write_text("{}")
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing_path(target) as aside:
            aside.mkdir()
            yield aside
    except OSError as error:
        raise _unwritable(target, error) from error


def _unwritable(target: Path, error: OSError) -> UserError:
    return UserError(f"cannot write {target}: {error.strerror} (choose another place: --output)")


def json_text(value: Any) -> str:
    """Return a value as one line of JSON; NaN and infinities, which JSON lacks, become null.

    Example:
        >>> json_text({"score": float("nan")})
        '{"score": null}'
    """
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return json.dumps(finite(value), ensure_ascii=False)


def jsonl_writer(file: TextIO) -> Writer:
    """Return a function that appends rows to ``file``, one JSON object a line.

    Example:
        >>> import sys
        >>> jsonl_writer(sys.stdout)([{"label": "yes"}])
        {"label": "yes"}
    """

    def write(rows: Sequence[Mapping[str, Any]]) -> None:
        file.writelines(f"{json_text(row)}\n" for row in rows)

    return write


def csv_writer(file: TextIO, delimiter: str = ",") -> Writer:
    """Return a function that appends rows to ``file`` as CSV; lists and mappings become JSON.

    The header is the columns of the first rows that are written. As the file is written while
    rows still arrive, a column that appears only later is an error.

    Example:
        >>> import io
        >>> out = io.StringIO()
        >>> csv_writer(out)([{"label": "yes", "tags": ["a"]}])
        >>> out.getvalue().splitlines()
        ['label,tags', 'yes,"[""a""]"']
    """
    header: list[str] = []
    out = csv.writer(file, delimiter=delimiter)

    def write(rows: Sequence[Mapping[str, Any]]) -> None:
        if not header and rows:
            header.extend(dict.fromkeys(name for row in rows for name in row))
            out.writerow(header)
        for row in rows:
            late = [name for name in row if name not in header]
            if late:
                raise UserError(
                    f"a row has the column {late[0]!r}, which the first rows lack: CSV cannot "
                    "hold it (write JSONL: --format jsonl)"
                )
            out.writerow([_cell(row.get(name)) for name in header])

    return write


def _cell(value: Any) -> Any:
    """Return a value as a CSV cell: empty for None, JSON for what is neither text nor number."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return json_text(value) if isinstance(value, (list, dict, bool)) else value


def finite(value: Any) -> Any:
    """Return the value with None for each float that JSON cannot hold.

    Example:
        >>> finite([1.5, float("inf")])
        [1.5, None]
    """
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: Path, value: Any) -> None:
    """Replace a file by one of JSON; NaN and infinities become null.

    Example::

        write_json(Path("metrics.json"), {"f1": 0.91})
    """
    write_text(path, json.dumps(finite(value), ensure_ascii=False, indent=1) + "\n")


def write_tensors(tensors: Mapping[str, Any], file: Path, about: Mapping[str, str]) -> None:
    """Write arrays as a safetensors file, readable for whoever reads the files beside it.

    The library makes files that only their owner can read.

    Args:
        tensors: name -> NumPy array.
        file: where to write.
        about: the file's metadata.

    Raises:
        OSError: it cannot be written.

    Example::

        write_tensors({"head/bias": np.zeros(3)}, Path("peft.safetensors"), {"format": "pt"})
    """
    from safetensors.numpy import save_file

    file.touch()
    mode = file.stat().st_mode
    save_file(dict(tensors), file, dict(about))
    file.chmod(mode & 0o777)
