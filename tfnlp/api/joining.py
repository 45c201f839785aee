"""Several runs joined into one SavedModel; heads that are added to one, or withdrawn."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipelines import checksums
from pipelines.errors import UserError
from pipelines.json_files import damaged, read_json
from tfnlp.config import Experiment
from tfnlp.inference.saved_model import HEADS, SAVED_MODELS, find_model
from tfnlp.runtime.startup import quiet_start

HEADS_OF_RUN = "heads"  # in a run's folder, the runs of heads that were trained with it
_AGAIN = "join the runs again"
_BY: dict[Any, Any] = {by: by for by in (None, "gradient_input", "integrated_gradients")}
_MUCH = 0.5  # share of a model's weights; who has more of them to itself shares little


@dataclass(frozen=True)
class Named:
    """A run to be joined.

    Attributes:
        name: that it is asked by; if not given, the run's own.
        run: its folder.
        digest: of the run that an earlier version was made of, "" of a new one.
        explain: by which method the earlier version explained it, if it did.
    """

    name: str | None
    run: Path
    digest: str = ""
    explain: Literal["gradient_input", "integrated_gradients"] | None = None


def named(given: Sequence[str], without: Sequence[str] = ()) -> tuple[list[Named], Path | None]:
    """Return the runs that are to be joined, and the folder of the SavedModel's versions, if any.

    Args:
        given: folders of runs, perhaps with a name before (NAME=RUN), and SavedModels of joined
            runs, which stand for those runs.
        without: names of heads that are left out.

    Raises:
        UserError: a SavedModel is not of joined runs, or there is no such head.

    Example::

        named(["saved_models/all", "tensorboard_logs/spam/RUN"], without=["topics"])
    """
    found: list[Named] = []
    model = None
    for text in given:
        name, equals, rest = text.partition("=")
        if equals and not Path(text).exists():
            found.append(Named(name, Path(rest)))
        elif _is_saved_model(text):
            there = _heads(find_model(text))
            model = model or find_model(text).parent
            found += there
        else:
            found += [Named(None, Path(text)), *_together(Path(text))]
    there_names = [one.name or _name(one.run) for one in found]
    for name in without:
        if name not in there_names:
            raise UserError(f"there is no head {name!r} to leave out; {', '.join(there_names)} are")
    kept = [one for one, name in zip(found, there_names, strict=True) if name not in without]
    if not kept:
        raise UserError("no head would be left (leave out fewer of them)")
    return kept, model


def _is_saved_model(text: str) -> bool:
    """Return whether a text names a SavedModel, or a folder of versions."""
    path = Path(text)
    if not path.exists():
        path = SAVED_MODELS / text
    return (path / "saved_model.pb").exists() or bool(list(path.glob("[0-9]*/saved_model.pb")))


def _heads(folder: Path) -> list[Named]:
    """Return the runs that a SavedModel was made of."""
    file = folder / HEADS
    if not file.exists():
        raise UserError(
            f"{folder} is not a SavedModel of joined runs (name the runs themselves: "
            "tensorboard_logs/NAME/RUN)"
        )
    heads = read_json(file, {"heads": list}, remedy=_AGAIN)["heads"]
    try:
        return [
            Named(
                str(h["name"]),
                _near(folder.parent / h["run"]),
                str(h["digest"]),
                _BY[h.get("explain")],
            )
            for h in heads
        ]
    except (KeyError, TypeError):
        raise damaged(file, "it does not hold heads", _AGAIN) from None


def _near(path: Path) -> Path:
    """Return a path without its ``..``, as seen from here if it is below."""
    whole = path.resolve()
    here = Path.cwd()
    return whole.relative_to(here) if whole.is_relative_to(here) else whole


def _together(run: Path) -> list[Named]:
    """Return the heads that were trained with a run."""
    return [Named(None, folder) for folder in sorted((run / HEADS_OF_RUN).glob("*/"))]


def _name(run: Path) -> str:
    """Return what a run was filed under."""
    from tfnlp.runs import experiment_yaml

    return experiment_yaml.read_trusted(_kept(run) / "experiment.yaml", _AGAIN).name


def _kept(run: Path) -> Path:
    """Return the folder of what a run keeps.

    Raises:
        UserError: it keeps nothing.
    """
    if not (run / "model" / "facts.json").exists():
        raise UserError(
            f"{run} holds no trained model (it must be a folder such as "
            "tensorboard_logs/NAME/RUN whose training has ended)"
        )
    return run / "model"


def join(
    runs: Sequence[Named],
    parent: Path,
    metrics: Mapping[str, Any] | None = None,
    placed: Callable[[Experiment], Experiment] = lambda experiment: experiment,
) -> Path:
    """Write one SavedModel of several runs; returns its folder.

    Args:
        runs: of `named`.
        parent: the folder of versions.
        metrics: of the first run, if its evaluation has just ended; the SavedModel keeps them.
        placed: changes what a run's experiment says of its SavedModel.

    Raises:
        UserError: a run is gone or another one, or cannot be joined with the others.

    Example::

        join(named(["logs/a/RUN", "logs/b/RUN"])[0], Path("saved_models/all"))
    """
    with quiet_start("keras_hub"):
        from tfnlp.exporting import joined, shared_pass
        from tfnlp.runs import storage
    parts: list[joined.Part] = []
    for one in runs:
        digest = checksums.sha256(_kept(one.run) / checksums.FILE)
        if one.digest and digest != one.digest:
            raise UserError(
                f"{one.run} is not the run that the head {one.name!r} was made of (put that back, "
                f"or leave it out, --without {one.name}, and name the run)"
            )
        model = storage.load(one.run)
        experiment = model.experiment
        if one.explain:
            export = dataclasses.replace(
                experiment.export, export_explain=True, explain_by=one.explain
            )
            experiment = dataclasses.replace(experiment, export=export)
        model = dataclasses.replace(model, experiment=placed(experiment))
        name = one.name or model.experiment.name
        found = metrics if metrics and not parts else _metrics(one.run)
        parts.append(joined.Part(name, model, one.run, found, digest))
    joined.check(parts)
    sizes = shared_pass.share([part.model for part in parts])
    whole = sum(4 * weight.numpy().size for weight in parts[0].model.network.weights)
    for part, size in list(zip(parts, sizes, strict=True))[1:]:
        if size > _MUCH * whole:
            print(
                f"warning: {part.run} trained the backbone itself, so {size / 1e6:.0f} MB of its "
                "weights stand beside the others' (--peft lora or --freeze-layers shares them)",
                file=sys.stderr,
            )
    return joined.join(parts, parent, sizes, metrics)


def _metrics(run: Path) -> dict[str, Any]:
    """Return what a run's evaluation found; nothing of one without."""
    file = run / "metrics.json"
    return dict(read_json(file, remedy=_AGAIN)) if file.exists() else {}
