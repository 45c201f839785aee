"""Whether a teacher fits a student: the columns it reads, its tokens, its labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipelines.errors import UserError

if TYPE_CHECKING:
    from tfnlp.extensions import Subject
    from tfnlp.training.model import TrainedModel


def same_inputs(subject: Subject, student: TrainedModel) -> None:
    """Refuse a teacher that reads other columns, such as pairs of texts."""
    theirs = sorted(column.name for column in subject.inputs)
    own = sorted(column.name for column in student.task.input_columns(student.experiment.options))
    if theirs != own:
        raise UserError(
            f"the teacher {subject.name} reads {' and '.join(theirs)}, and the student "
            f"{' and '.join(own)} (give a teacher that reads the same)"
        )


def same_words(model: TrainedModel, student: TrainedModel, name: str) -> None:
    """Refuse a teacher that reads or writes other tokens than a student that writes."""
    for kind in ("tokenizer", "writes"):
        theirs, own = getattr(model.context, kind), getattr(student.context, kind)
        if model.context.kind != student.context.kind or theirs.pieces() != own.pieces():
            raise UserError(
                f"the teacher {name} has another vocabulary than "
                f"{student.experiment.backbone.name} (give a teacher of the same kind, with the "
                "same tokenizer and, of a vocabulary that was learned, the same training rows)"
            )


def same_labels(teacher: dict[str, Any], student: dict[str, Any], name: str) -> None:
    """Refuse labels or grades that differ."""
    for kind in ("labels", "grades"):
        theirs, own = teacher.get(kind, []), student.get(kind, [])
        if set(theirs) != set(own):
            there = [f"lacks {label!r}" for label in own if label not in theirs]
            there += [f"has {label!r} besides" for label in theirs if label not in own]
            raise UserError(
                f"the teacher {name} has other {kind} than the training rows: it {there[0]}"
                f"{f', and {len(there) - 1} more differ' if len(there) > 1 else ''} (give a "
                f"teacher of the same {kind})"
            )
