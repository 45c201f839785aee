"""A model that goes on from what an earlier run has learned: its facts, vocabulary and weights.

New labels grow the head: a weight with an axis for labels begins with what the earlier run has in
it, and what is new begins as in any new head, so that old labels keep their numbers.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines import splits
from pipelines.errors import UserError
from pipelines.rows import Column, Rows
from tfnlp import task as tasks
from tfnlp.backbones import insertions
from tfnlp.config import Experiment
from tfnlp.options import flag_of
from tfnlp.runtime.commands import quoted
from tfnlp.task import Task
from tfnlp.training.model import TrainedModel, columns, merged
from tfnlp.training.model import prepare as prepare_anew


def prepare(experiment: Experiment, train: Rows, earlier: TrainedModel | None) -> TrainedModel:
    """Build the model that is trained, with an earlier run's weights if there is one.

    Args:
        experiment: what decides the run; ``earlier.start_from`` names the earlier one.
        train: the training rows.
        earlier: that run's model, with the names that its labels have now.

    Raises:
        UserError: as `tfnlp.training.model.prepare`; or what the earlier run has cannot be gone on
            with: its task, backbone, vocabulary or network is another, or the rows do not fit it.

    Example::

        model = prepare(experiment, splits.train, storage.load(Path("tensorboard_logs/a/RUN")))
    """
    if earlier is None:
        return prepare_anew(experiment, train)
    check(experiment, earlier)
    facts = grown(experiment, train, earlier)
    known = dataclasses.replace(earlier.context, facts=facts)
    return _started(prepare_anew(experiment, train, known), earlier)


def check(experiment: Experiment, earlier: TrainedModel) -> None:
    """Refuse an earlier run of another task, other inputs or another backbone.

    Raises:
        UserError: it is one; what to do is said.

    Example::

        check(experiment, storage.load(run))
    """
    before, name = earlier.experiment, experiment.earlier.start_from
    if before.task != experiment.task:
        raise UserError(
            f"--start-from {name} is a run of --task {before.task}, not of {experiment.task} (name "
            "a run of the same task)"
        )
    theirs, own = (
        [column.name for column in columns(made, earlier.task, targets=False)]
        for made in (before, experiment)
    )
    if theirs != own:
        raise UserError(
            f"--start-from {name} reads {' and '.join(theirs)}, and this run {' and '.join(own)} "
            f"({_remedy(before, experiment)})"
        )
    names = [before.backbone.name, experiment.backbone.name]
    if names[0] != names[1] and not all(Path(one).is_dir() for one in names):
        raise UserError(
            f"--start-from {name} was trained on the backbone {names[0]}, and this run is on "
            f"{names[1]} (say --backbone {quoted(names[0])})"
        )


def grown(experiment: Experiment, train: Rows, earlier: TrainedModel) -> dict[str, Any]:
    """Return the earlier run's facts, with what the rows add.

    Raises:
        UserError: the rows cannot be learned from with these facts.

    Example::

        grown(experiment, splits.train, earlier)["labels"]  # ["cat", "dog", "bee"]
    """
    task: Task = tasks.load(experiment.task)
    before = earlier.context.facts
    facts = task.grow(dict(before), train, experiment.options) if task.grow else dict(before)
    task.check(train, facts)
    return facts


def remarks(model: TrainedModel, earlier: TrainedModel, train: Rows) -> Iterator[str]:
    """Yield labels of an earlier run that are perhaps called otherwise now, a sentence each.

    Args:
        model: that goes on.
        earlier: from which it goes on.
        train: the training rows.

    Example::

        list(remarks(model, earlier, splits.train))
        # ["'Card arrival' is a new label, and no row has 'card_arrival' ..."]
    """
    known = earlier.context.facts.get("labels", [])
    targets = columns(model.experiment, model.task)
    there = {label for row in splits.labels_of(train, targets) for _, label in row}
    gone = {_plain(label): label for label in known if label not in there}
    for label in model.context.facts.get("labels", [])[len(known) :]:
        for near in difflib.get_close_matches(_plain(label), gone, n=1, cutoff=0.85):
            old = gone[near]
            yield (
                f"{label!r} is a new label, and no row has {old!r}, which the earlier run knows "
                f"(if it was renamed, say --renamed {quoted(f'{old}={label}')})"
            )


def _plain(label: str) -> str:
    """Return a label's letters and digits, in lower case."""
    return "".join(filter(str.isalnum, label.casefold()))


def _started(model: TrainedModel, earlier: TrainedModel) -> TrainedModel:
    """Give a model the weights of an earlier one.

    Raises:
        UserError: vocabularies or networks differ.
    """
    name = model.experiment.earlier.start_from
    if model.context.tokenizer.pieces() != earlier.context.tokenizer.pieces():
        raise UserError(
            f"--start-from {name} reads texts by another vocabulary than the backbone "
            f"{model.experiment.backbone.name} (say --backbone "
            f"{quoted(earlier.experiment.backbone.name)})"
        )
    if model.experiment.peft == earlier.experiment.peft:
        return _with_weights(
            model, earlier, same=_operations(earlier.network) == _operations(model.network)
        )
    if not insertions.can_merge(earlier.network):
        assert earlier.experiment.peft is not None  # which has added something
        raise UserError(
            f"--start-from {name} was trained with --peft {earlier.experiment.peft.name}, whose "
            f"layers cannot be folded into the backbone (say --peft "
            f"{earlier.experiment.peft.name} with the same options)"
        )
    with merged(earlier) as whole:
        return _with_weights(model, whole, more=model.experiment.peft is not None)


def _with_weights(
    model: TrainedModel, earlier: TrainedModel, same: bool = True, more: bool = False
) -> TrainedModel:
    """Copy weights by their paths.

    Args:
        model: gets them.
        earlier: has them.
        same: whether both networks do the same.
        more: whether the model may have weights besides.

    Raises:
        UserError: a weight of the earlier model has no place, or the model has others.
    """
    theirs = {weight.path: weight for weight in earlier.network.weights}
    own = {weight.path: weight for weight in model.network.weights}
    missing = theirs.keys() ^ own.keys() if not more else theirs.keys() - own.keys()
    new = len(model.context.facts.get("labels", ())) - len(earlier.context.facts.get("labels", ()))
    fit = (_fits(theirs[path].shape, own[path].shape, new) for path in theirs.keys() & own.keys())
    if not same or missing or not all(fit):
        raise UserError(
            f"the network of --start-from {model.experiment.earlier.start_from} is another than "
            f"this one ({_remedy(earlier.experiment, model.experiment)})"
        )
    trained = {weight.path for weight in model.network.trainable_weights}
    moved = False
    for path, weight in theirs.items():
        before, value = own[path].numpy(), weight.numpy()
        after = before.copy()
        after[tuple(slice(0, size) for size in value.shape)] = value
        own[path].assign(after)
        moved |= path not in trained and not np.array_equal(before, after)
    return dataclasses.replace(model, moved=moved)


def _fits(before: tuple[int, ...], now: tuple[int, ...], new: int) -> bool:
    """Return whether a weight is as large as another, or grows by new labels (or two tags each)."""
    return len(before) == len(now) and all(
        b - a in (0, new, 2 * new) for a, b in zip(before, now, strict=True)
    )


def _operations(network: Any) -> list[str]:
    """Return what a network does, by name, without the numbers that Keras puts after names."""
    found = []
    for operation in getattr(network, "operations", ()):
        found += [re.sub(r"_\d+$", "", operation.name), *_operations(operation)]
    return found


def _remedy(before: Experiment, now: Experiment) -> str:
    """Return what to say so that the options which decide a network are as they were."""
    flags = [
        flag
        for section in ("options", "backbone")
        for flag in _differing(getattr(before, section), getattr(now, section))
    ]
    return f"say {' '.join(flags)}" if flags else "leave out --start-from"


def _differing(before: Any, now: Any) -> Iterator[str]:
    """Yield an option as it was, where it is another now."""
    for field in dataclasses.fields(before):
        value = getattr(before, field.name)
        if "help" not in field.metadata or value == getattr(now, field.name):
            continue
        flag = flag_of(field)
        if isinstance(value, bool):
            yield flag if value else flag.replace("--", "--no-", 1)
        else:
            yield f"no {flag}" if value is None else f"{flag} {quoted(str(value))}"


def renamed(model: TrainedModel, names: Mapping[str, str]) -> TrainedModel:
    """Return an earlier run's model with other names for some labels.

    Args:
        model: the earlier run's.
        names: label -> its name now.

    Raises:
        UserError: it has no such label, or has the new name already.

    Example::

        renamed(earlier, {"card_arrival": "arrival"}).context.facts["labels"]
    """
    if not names:
        return model
    facts = model.context.facts
    labels, start = facts.get("labels", []), model.experiment.name
    for old, new in names.items():
        if old not in labels:
            there = ", ".join(labels[:10]) + ", ..." * (len(labels) > 10) or "none"
            raise UserError(
                f"--renamed {old}={new}: the run of {start} has no label {old!r}; it has: {there}"
            )
        if new in labels and new not in names:
            raise UserError(
                f"--renamed {old}={new}: the run of {start} has a label {new!r} already (two "
                "labels cannot become one)"
            )
    changed = [names.get(label, label) for label in labels]
    if len(set(changed)) < len(changed):
        raise UserError("--renamed gives two labels one name (give each its own)")
    facts = {k: names.get(v, v) if isinstance(v, str) else v for k, v in facts.items()}
    facts |= {"labels": changed, "grown": facts.get("grown", [])}
    return dataclasses.replace(model, context=dataclasses.replace(model.context, facts=facts))


def rows_renamed(rows: Rows, targets: Sequence[Column], names: Mapping[str, str]) -> Rows:
    """Return rows whose labels have the names that they have now.

    Example:
        >>> column = Column("label", "label", "a label")
        >>> rows = Rows("a.csv", {"label": ["a", "b"]}, [1, 2])
        >>> rows_renamed(rows, [column], {"a": "c"}).columns["label"]
        ['c', 'b']
    """

    def now(value: Any) -> Any:
        if isinstance(value, str):
            return names.get(value, value)
        if isinstance(value, list):
            return [now(one) for one in value]
        return (*value[:-1], now(value[-1])) if isinstance(value, tuple) else value

    if not names:
        return rows
    labelled = [column.name for column in targets if column.kind in ("label", "labels", "spans")]
    changed = {n: [now(v) for v in c] if n in labelled else c for n, c in rows.columns.items()}
    return dataclasses.replace(rows, columns=changed)
