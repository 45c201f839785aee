"""Weights & Biases: a group for each study or name, a run for each run.

Its own environment variables hold: ``WANDB_PROJECT``, ``WANDB_ENTITY``, ``WANDB_DIR``, and
``WANDB_MODE=offline``, which keeps runs in files for ``wandb sync``.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.errors import UserError
from tfnlp.extensions import Status, Tracked, Tracker
from tfnlp.report import Table

PROJECT = "tfnlp"
# Used unless the user set them: its own lines, which would fall into the progress bar, and how long
# a run waits at its end for an upload [s].
_SETTINGS = {"silent": True, "console": "off", "finish_timeout": 120.0}
_TAG = 64  # characters
_WAIT = 10  # for an answer of the server [s]
_EXIT = {"finished": 0, "failed": 1, "stopped": 255}


def check() -> None:
    """Raise UserError if it is not installed, there is no key, or no server can be reached."""
    import requests

    wandb = _wandb()
    settings = wandb.setup(_settings()).settings
    if settings.mode in ("offline", "disabled", "dryrun"):
        return
    remedy = "set WANDB_MODE=offline, or leave out --track wandb"
    if not (wandb.api.api_key or settings.identity_token_file):  # else it would ask for one
        raise UserError(f"--track wandb has no key to log in with (run `wandb login`, {remedy})")
    try:
        requests.head(settings.base_url, timeout=_WAIT)
    except requests.RequestException as error:
        raise UserError(
            f"--track wandb cannot reach {settings.base_url} (check the network, {remedy})"
        ) from error


def open(tracked: Tracked) -> Run:
    """Start a run, or go on with the one that was killed."""
    check()
    run = _wandb().init(
        project=os.environ.get("WANDB_PROJECT") or PROJECT,
        group=os.environ.get("WANDB_RUN_GROUP") or tracked.group,
        name=os.environ.get("WANDB_NAME") or tracked.name,
        tags=[tracked.tags[name][:_TAG] for name in ("task", "backbone")],
        config={**tracked.options, **tracked.tags},
        id=tracked.id,
        resume="allow" if tracked.id else None,
        reinit="create_new",  # one that Python code has open stays what it is
        settings=_settings(),
    )
    run.define_metric("*", step_metric="step")
    return Run(run)


class Run:
    """A run of Weights & Biases.

    Each sending is a line of the run's history under its number, of which the server takes one;
    the step that was trained is a column of it. It is committed at once: after a kill a line that
    waits for the next one would be lost.
    """

    def __init__(self, run: Any) -> None:
        self.run = run

    @property
    def id(self) -> str:
        """What it is named by."""
        return str(self.run.id)

    def scalars(self, values: Mapping[str, float], step: int, number: int) -> None:
        """Log numbers."""
        self.run.log({**values, "step": step}, step=number, commit=True)

    def table(self, name: str, table: Table, number: int) -> None:
        """Log a table, its cells as texts: a column may hold numbers and dashes."""
        rows = [[str(cell) for cell in row] for row in table.rows]
        made = _wandb().Table(columns=list(table.header), data=rows)
        self.run.log({name: made}, step=number, commit=True)

    def picture(self, name: str, png: bytes, number: int) -> None:
        """Log a picture."""
        from PIL import Image

        self.run.log({name: _wandb().Image(Image.open(io.BytesIO(png)))}, step=number, commit=True)

    def text(self, name: str, text: str) -> None:
        """Keep a text among the run's files."""
        file = Path(self.run.dir) / (name if name.endswith(".yaml") else f"{name}.txt")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")

    def close(self, status: Status) -> None:
        """End the run, and wait for what is still to be sent."""
        self.run.finish(exit_code=_EXIT[status])


def _wandb() -> Any:
    """Return the package.

    Raises:
        UserError: it is not installed.
    """
    try:
        import wandb
    except ImportError as error:
        raise UserError("--track wandb needs wandb (pip install -e '.[track]')") from error
    return wandb


def _settings() -> Any:
    """Return our settings, without those that the user has made in the environment."""
    ours = {n: v for n, v in _SETTINGS.items() if f"WANDB_{n.upper()}" not in os.environ}
    return _wandb().Settings(**ours)


TRACKER = Tracker("Weights & Biases, on its server or in files", check, open)
