"""A file of JSON lines to which each event adds one, so that a kill loses at most that one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipelines.errors import UserError
from pipelines.files.writers import json_text


class Journal:
    """Lines that are on disk once they are added.

    Args:
        path: the file; it is made if it is not there.
        replay: is called with each line that is there. What it raises of a KeyError, TypeError
            or ValueError says that the line is not one that was added here.

    Raises:
        UserError: the file holds something else.

    Example:
        >>> journal = Journal(Path("facts.jsonl"), print)
        >>> journal.append({"row": 1})
        >>> journal.close()
        >>> Journal(Path("facts.jsonl"), print).close()
        {'row': 1}
    """

    def __init__(self, path: Path, replay: Callable[[dict[str, Any]], object]) -> None:
        self._file = path.open("a+b", buffering=0)
        whole = 0
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    break  # the process was killed while it wrote this
                try:
                    replay(json.loads(line))
                except (KeyError, TypeError, ValueError) as error:
                    self._file.close()
                    raise UserError(
                        f"{path}, line {number} is not what was written there: {error!r} (delete "
                        "the line, or start again with another --state FOLDER)"
                    ) from error
                whole += len(line)
        self._file.truncate(whole)

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a line; it is on disk when this returns.

        Raises:
            OSError: it cannot be written; the file is as it was.
        """
        line = f"{json_text(row)}\n".encode()
        before = self._file.seek(0, os.SEEK_END)
        try:
            written = self._file.write(line)
            if written != len(line):
                raise OSError(None, f"only {written} of {len(line)} bytes could be written")
            os.fsync(self._file.fileno())
        except BaseException:
            self._file.truncate(before)
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()
