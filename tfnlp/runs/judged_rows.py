"""How a run's model did on each row that it was judged on, so that two runs can be paired."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.files.writers import write_json
from pipelines.rows import Rows
from tfnlp.report import Report

if TYPE_CHECKING:
    from tfnlp.training.model import TrainedModel

FILE = "judged.json"  # in a run's folder
HOLDS: Mapping[str, Any] = {
    "rows": int,
    "sha256": str,
    "numbers": list,
    "right": (str, type(None)),
    "resampled": dict,
}


def write(run: Path, model: TrainedModel, rows: Rows, report: Report) -> None:
    """Keep in a run's folder what its intervals were made from.

    The file holds ``source`` of the rows, how many ``rows``, and ``sha256`` of their targets, by
    which is seen that two runs had the same rows; the rows' ``numbers``; ``right``, a digit a row,
    1 where all of the answer is right, null where answers are not right or wrong; and
    ``resampled``, metric -> its values on rows drawn again.

    Args:
        run: the run's folder.
        model: was trained in it.
        rows: that it was judged on: test rows, or validation rows where there are none.
        report: on its answers to them.

    Example::

        write(run, model, splits.test, report)
    """
    from tfnlp.runs import data_digest  # studies read the file, and start without TensorFlow

    names = [column.name for column in model.task.target_columns(model.experiment.options)]
    targets = {name: rows.columns[name] for name in names if name in rows.columns}
    right = "".join("01"[value] for value in report.right)
    values = {
        "source": rows.source,
        **data_digest.of(targets or rows.columns),
        "numbers": rows.numbers,
        "right": right or None,
        "resampled": report.resampled,
    }
    write_json(run / FILE, values)
