"""What a run was begun with, so that it is not resumed with other data or another backbone."""

from __future__ import annotations

import hashlib
import json
import logging
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from pipelines.errors import UserError
from pipelines.files.writers import write_json
from pipelines.json_files import read_json
from pipelines.splits import Splits

log = logging.getLogger(__name__)
FILE = "data.json"  # in a run's folder
_HOLDS: Mapping[str, Any] = {
    "id": str,
    "train": dict,
    "validation": dict,
    "labels": (list, type(None)),
    "facts": str,
    "steps": int,
}


def check(
    run: Path,
    splits: Splits,
    facts: Mapping[str, Any],
    steps: int,
    backbone: str | None = None,
    origin: str | None = None,
) -> str:
    """Refuse to resume a run with other data; a new run, or one of 0.1.0, is given a digest.

    Args:
        run: the run's folder, new or to be resumed.
        splits: the rows.
        facts: what the task learned from the rows, JSON values.
        steps: batches of the first epoch.
        backbone: a digest of the backbone's files, if they may change.
        origin: one of the earlier run that this one goes on from.

    Returns:
        The run's id, by which its SavedModel is known.

    Raises:
        UserError: training or validation rows, labels, other facts or the number of batches are
            not those that the run was begun with, nor the backbone's files, or the file that says
            so is gone.

    Example::

        check(run, splits, model.context.facts, trainer.drawn.steps(0))
    """
    now = {
        "train": of(splits.train.columns),
        "validation": of(splits.validation.columns),
        "labels": facts.get("labels"),
        "facts": hashlib.sha256(_text(facts).encode()).hexdigest(),
        "steps": steps,
    }
    if not (run / FILE).exists():
        if any((run / "checkpoints").glob("step-*")):
            _unrecorded(run)
        known = {"backbone": backbone, "origin": origin}
        write_json(run / FILE, {"id": uuid.uuid4().hex, **now, **known})
    begun = read_json(run / FILE, _HOLDS, remedy="start again without --resume")
    if begun.get("backbone") not in (None, backbone):
        raise UserError(
            f"{run} was begun with a backbone whose weights, vocabulary or config.json have "
            "changed since (put them back as they were, or start again without --resume)"
        )
    if begun.get("origin") != origin:
        raise UserError(
            f"{run} was begun from an earlier run whose model has changed since (put it back as it "
            "was, or start again without --resume)"
        )
    differ = [key for key in now if begun[key] != now[key]]
    # Facts and batches follow from the rows.
    told = [key for key in differ if key not in ("facts", "steps")] or differ
    if told:
        changed = ", ".join(_named(key, begun[key], now[key]) for key in told)
        raise UserError(
            f"{run} was begun with other data: {changed} (restore the data as it was, "
            "or start again without --resume)"
        )
    return str(begun["id"])


def _unrecorded(run: Path) -> None:
    """Refuse a run whose digest is gone; of 0.1.0, which wrote none, say what cannot be checked."""
    kept = yaml.safe_load((run / "experiment.yaml").read_text("utf-8"))
    if "baseline" in kept.get("training", {}):  # an option that 0.1.0 had not
        raise UserError(
            f"{run / FILE} is gone, by which is checked that the run goes on with the data that it "
            "was begun with (restore it, or start again without --resume)"
        )
    log.warning(
        "%s is a run of tfnlp 0.1.0, which kept no record of its data: that they are the same now "
        "is not checked",
        run,
    )


def of(columns: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Return how many rows there are, and a hash of their values in their order.

    Example::

        of(splits.test.columns)  # {"rows": 500, "sha256": "9f86d0..."}
    """
    found = hashlib.sha256()
    count = 0
    for name, values in sorted(columns.items()):
        count = len(values)
        found.update(f"\n{name}\n".encode())
        for value in values:
            found.update(f"{value!r}\n".encode("utf-8", "surrogatepass"))
    return {"rows": count, "sha256": found.hexdigest()}


def _text(value: Any) -> str:
    """Return JSON that is the same for the same values."""
    return json.dumps(value, sort_keys=True, default=repr)


def _named(key: str, before: Any, now: Any) -> str:
    """Say what has changed."""
    if key in ("train", "validation"):
        kind = "training" if key == "train" else key
        counts = f"{before['rows']} are now {now['rows']}"
        same = "as many, but not the same"
        return f"the {kind} rows differ ({counts if before['rows'] != now['rows'] else same})"
    if key == "labels" and before and now:
        gone, new = ([v for v in a if v not in b] for a, b in ((before, now), (now, before)))
        shown = [
            f"{', '.join(map(repr, labels[:3]))}{' and more' * (len(labels) > 3)} {verb}"
            for labels, verb in ((gone, "missing"), (new, "new"))
            if labels
        ]
        return f"the labels differ ({'; '.join(shown) or 'their order'})"
    if key == "steps":
        return f"the number of batches differs ({before} are now {now})"
    return "the labels differ" if key == "labels" else "what the task learned from them differs"
