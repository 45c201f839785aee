"""MLflow: an experiment for each study or name, a run for each run.

``MLFLOW_TRACKING_URI`` says where; without it MLflow keeps runs in the folder it is started in.
"""

from __future__ import annotations

import csv
import logging
import os
import re
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.errors import UserError
from tfnlp.extensions import Status, Tracked, Tracker
from tfnlp.report import Table

# Used unless the user set them. MLflow tries a server that is gone for minutes, at each call.
_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
_STATUS = {"finished": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
_AT_ONCE = 100  # parameters that a server takes in one request
_LONGEST = 6000  # characters of a parameter


def check() -> None:
    """Raise UserError if MLflow is not installed, or its server cannot be reached."""
    client = _client()
    import mlflow

    try:
        client.search_experiments(max_results=1)
    except Exception as error:
        where = mlflow.get_tracking_uri()
        raise UserError(
            f"--track mlflow cannot reach {where}: {_short(error)} (start the server there, set "
            "MLFLOW_TRACKING_URI, or leave out --track mlflow)"
        ) from error


def open(tracked: Tracked) -> Run:
    """Start a run, or go on with the one that was killed."""
    client = _client()
    if tracked.id:
        client.update_run(tracked.id, status="RUNNING")
        return Run(client, tracked.id)
    experiment = client.get_experiment_by_name(tracked.group)
    made = experiment.experiment_id if experiment else client.create_experiment(tracked.group)
    run = client.create_run(made, run_name=tracked.name, tags=dict(tracked.tags))
    started = Run(client, run.info.run_id)
    started.params(tracked.options)
    return started


class Run:
    """A run on a server.

    Attributes:
        id: what MLflow names it by.
        last: by metric, the last step that it had when it was opened.
    """

    def __init__(self, client: Any, id: str) -> None:
        self.client = client
        self.id = id
        names = client.get_run(id).data.metrics
        self.last = {n: max(m.step for m in client.get_metric_history(id, n)) for n in names}

    def params(self, options: Mapping[str, Any]) -> None:
        """Log what decides the run."""
        from mlflow.entities import Param

        params = [Param(name, str(value)[:_LONGEST]) for name, value in options.items()]
        for start in range(0, len(params), _AT_ONCE):
            self.client.log_batch(self.id, params=params[start : start + _AT_ONCE])

    def scalars(self, values: Mapping[str, float], step: int, number: int) -> None:
        """Log numbers, but for those that the server had before a kill."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        named = {_name(name): value for name, value in values.items()}
        new = [Metric(n, v, now, step) for n, v in named.items() if step > self.last.get(n, -1)]
        if new:
            self.client.log_batch(self.id, metrics=new)

    def table(self, name: str, table: Table, number: int) -> None:
        """Keep a table as CSV, which MLflow's page shows as a table."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"{_file(name)}.csv"
            with file.open("w", encoding="utf-8", newline="") as out:
                csv.writer(out).writerows([table.header, *table.rows])
            self.client.log_artifact(self.id, str(file), _folder(name))

    def picture(self, name: str, png: bytes, number: int) -> None:
        """Keep a picture."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"{_file(name)}.png"
            file.write_bytes(png)
            self.client.log_artifact(self.id, str(file), _folder(name))

    def text(self, name: str, text: str) -> None:
        """Keep a text."""
        file = name if name.endswith(".yaml") else f"{name}.txt"
        self.client.log_text(self.id, text, file)

    def close(self, status: Status) -> None:
        """End the run."""
        self.client.set_terminated(self.id, _STATUS[status])


def _client() -> Any:
    """Return what talks with the server; MLflow says nothing of what it does itself.

    Raises:
        UserError: MLflow is not installed.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        from mlflow import MlflowClient
    except ImportError as error:
        raise UserError("--track mlflow needs mlflow (pip install -e '.[track]')") from error
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return MlflowClient()


def _name(text: str) -> str:
    """Return a metric's name without characters that MLflow refuses."""
    return re.sub(r"[^\w\-. /:]", "_", text)


def _folder(name: str) -> str:
    """Return the folder of an artifact."""
    return name.rpartition("/")[0]


def _file(name: str) -> str:
    """Return the file of an artifact, without its suffix."""
    return name.rpartition("/")[2]


def _short(error: Exception) -> str:
    """Return the beginning of what an error says, in a line."""
    said = " ".join(str(error).split())
    return said if len(said) <= 150 else f"{said[:149]}…"


TRACKER = Tracker("MLflow, on a server or in files", check, open)
