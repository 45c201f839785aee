"""Which part of a network a fit trains, and its rows as that takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from pipelines.errors import UserError
from pipelines.rows import Rows
from tfnlp.extensions import Source, Step
from tfnlp.training import examples, features
from tfnlp.training.examples import Examples
from tfnlp.training.model import TrainedModel
from tfnlp.training.sources import Drawn


@dataclass(frozen=True)
class FitRows:
    """What a fit trains, its sources by name, what it is validated on, and what is to be said.

    Example::

        found = arranged(model, Step(), {"train": Source(rows)}, held_out, folder, False, None)
        found.sources["train"].steps(0)
    """

    model: TrainedModel
    sources: Mapping[str, Drawn]
    held: Examples
    hints: Sequence[str] = ()


def arranged(
    model: TrainedModel,
    step: Step,
    sources: Mapping[str, Source],
    held_out: Rows,
    folder: Path,
    resume: bool,
    drawn: Drawn | None,
) -> FitRows:
    """Return what is trained: the part above what is frozen, where that can be kept.

    A fit that has begun goes on as it began, for what is below has no dropout in the one case.

    Args:
        model: the whole.
        step: that the fit takes.
        sources: by name; ``train`` is the first.
        held_out: rows that the fit is validated on.
        folder: of the fit's checkpoints.
        resume: whether it goes on from the last of them.
        drawn: the default source, arranged already for the whole.

    Raises:
        UserError: what was kept when the fit began is gone, and cannot be made again.

    Example::

        arranged(model, Step(), {"train": Source(rows)}, held_out, folder, False, None).model
    """
    mark = folder / "features"
    begun = resume and any(folder.glob("step-*"))
    able = type(step) is Step or step.on_features
    able = able and not any(callable(one.rows) or one.model for one in sources.values())
    upper = features.above(model) if able and (mark.exists() or not begun) else None
    if upper is None:
        return _held(model, sources, held_out, drawn)
    try:
        found = _held(upper, sources, held_out, None)
    except features.TooLargeError:
        if begun:
            raise UserError(f"{features.TOO_LARGE}, with which the fit began") from None
        hint = f"{features.TOO_LARGE}, so they were computed in each epoch"
        return _held(model, sources, held_out, drawn, [hint])
    folder.mkdir(parents=True, exist_ok=True)
    mark.touch()
    return found


def _held(
    model: TrainedModel,
    sources: Mapping[str, Source],
    held_out: Rows,
    drawn: Drawn | None,
    hints: Sequence[str] = (),
) -> FitRows:
    """Hold the rows of a fit as a network takes them."""
    found = {
        name: Drawn(
            cast(TrainedModel, source.model or model), source, model.experiment.seed + place
        )
        for place, (name, source) in enumerate(sources.items())
    }
    if drawn and drawn.model is model and sources["train"] is drawn.source:
        found["train"] = drawn
    if model.frozen:
        for one in found.values():
            one.of(0)  # so that what is too large is found before the fit begins
    return FitRows(model, found, examples.arrange(model, held_out, shuffle=False), hints)
