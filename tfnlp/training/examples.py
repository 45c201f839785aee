"""Rows as tensors of examples, and the plan of their batches.

Dimensions: N rows, B batch, W windows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines import batching, selection, splits
from pipelines.rows import OnBadRow, Rows, noted
from tfnlp import extensions
from tfnlp.config import Experiment
from tfnlp.extensions import Strategy
from tfnlp.task import Task, Tensors
from tfnlp.training import doubts
from tfnlp.training.model import TrainedModel, columns

EVALUATION_BATCH = 64


SPLITS = ("train", "validation", "test")


def read(
    experiment: Experiment,
    task: Task,
    on_bad_row: OnBadRow | None = None,
    wanted: Sequence[str] = SPLITS,
) -> dict[str, Rows]:
    """Return the rows of an experiment's splits, as they stand in its files or data set.

    Args:
        experiment: says where they are.
        task: says which columns there are.
        on_bad_row: what is done with a bad row, if not what the experiment says.
        wanted: which files to read; of a data set all splits are read.

    Raises:
        UserError: a file, data set, column or row cannot be used.

    Example::

        read(experiment, task, "skip", ["train"])["train"].bad
    """
    data = experiment.data
    own = _strategy(experiment).rows(experiment)
    if own is not None:
        return {"train": own, **_others(experiment, task, on_bad_row, wanted)}
    how = (columns(experiment, task), data.columns, on_bad_row or data.on_bad_row)
    if not data.train:
        return splits.from_dataset(str(data.dataset), *how, data.label_separator)
    named = {split: getattr(data, split) for split in wanted}
    files = {split: file for split, file in named.items() if file}
    return splits.from_files(files, *how, data.label_separator, data.layout())


def _others(
    experiment: Experiment, task: Task, on_bad_row: OnBadRow | None, wanted: Sequence[str]
) -> dict[str, Rows]:
    """Return the rows of the splits that are named besides a strategy's own training rows."""
    data = experiment.data
    how = (columns(experiment, task), data.columns, on_bad_row or data.on_bad_row)
    if data.dataset:
        found = splits.from_dataset(data.dataset, *how, data.label_separator, training=False)
        return {split: rows for split, rows in found.items() if split != "train"}
    named = {split: getattr(data, split) for split in wanted if split != "train"}
    files = {split: file for split, file in named.items() if file}
    return splits.from_files(files, *how, data.label_separator, data.layout())


def _strategy(experiment: Experiment) -> Strategy:
    """Return how an experiment is trained."""
    found: Strategy = extensions.load(Strategy, experiment.strategy.name)
    return found


def takes_all(experiment: Experiment, found: splits.Splits | None = None) -> bool:
    """Return whether every row is trained on, so that none are left to choose or calibrate by.

    Args:
        experiment: says it, or its strategy does.
        found: the rows; there may be some for validation that the experiment does not name.

    Example::

        takes_all(experiment, splits)  # True of --strategy linear_probe without --validation
    """
    if found is not None and not validates_on_train(found.train, found.validation):
        return False
    data = experiment.data
    if data.validation or data.fold:
        return False
    if data.validation_share is None:
        return _strategy(experiment).takes_all
    return data.validation_share == 0


def divided(experiment: Experiment, task: Task, found: Mapping[str, Rows]) -> dict[str, Rows]:
    """Return the rows that training takes: within the limits, validation out of train if need be.

    Test rows that are taken out of train are taken first, or a run with another seed would train
    on them.

    Args:
        experiment: says how many.
        task: says what the targets are, of which train keeps every one.
        found: rows as `read` returns them, with ``train`` among them.

    Raises:
        UserError: there are too few rows to divide.

    Example::

        divided(experiment, task, read(experiment, task))["validation"]
    """
    data, targets = experiment.data, task.target_columns(experiment.options)
    rows = dict(found)
    if data.test_share and "test" not in rows:
        rows["train"], rows["test"] = splits.set_aside(rows["train"], targets, data.test_share)
    part = data.part()
    seed = splits.FIXED_SEED if part else experiment.seed
    if data.rows_per_label is not None:
        rows["train"] = selection.of_each_label(rows["train"], targets, data.rows_per_label, seed)
    rows["train"] = splits.limited(rows["train"], targets, data.limit, seed)
    if part and "validation" not in rows:
        both = splits.fold(rows["train"], targets, *part)
    elif "validation" not in rows and (
        takes_all(experiment) or (experiment.earlier.start_from and splits.alone(rows, targets))
    ):
        both = rows["train"], rows["train"]  # `read_splits` warns of it
    else:
        both = splits.divide(rows, targets, data.validation_share, seed, data.limit)
    rows["train"], rows["validation"] = both
    held_out = {"validation", "test"} & rows.keys()
    return rows | {split: splits.shortened(rows[split], data.limit_held_out) for split in held_out}


def read_splits(experiment: Experiment, task: Task) -> splits.Splits:
    """Read the rows of all splits and look for leakage between them.

    Raises:
        UserError: a file, data set, column or row cannot be used.

    Example::

        splits = read_splits(experiment, tasks.load("classification"))
        len(splits.train), splits.warnings
    """
    found = read(experiment, task)
    warnings = [
        f"{rows.source}: {len(rows.bad)} rows cannot be used and are left out, the first: "
        f"{rows.bad[0]}"
        for rows in found.values()
        if rows.bad
    ]
    warnings += filter(None, map(noted, found.values()))
    inputs = task.input_columns(experiment.options)
    warnings += splits.leakage(found, [column.name for column in inputs])
    rows = divided(experiment, task, found)
    if takes_all(experiment) and "validation" not in found:
        warnings.append(
            f"all {len(rows['train'])} rows of {rows['train'].source} are trained on, and those "
            "for validation are the same: their scores say nothing of other texts"
        )
    elif validates_on_train(rows["train"], rows["validation"]):
        warnings.append(
            f"{rows['train'].source} has one row for each label, so they are validated on too: the "
            "validation scores say nothing of other texts, and answers are not calibrated (add "
            "rows, or give --validation)"
        )
    targets = task.target_columns(experiment.options)
    separator = experiment.data.label_separator
    for said, bad in (*doubts.of_texts(rows, inputs), *doubts.of_targets(rows, targets, separator)):
        warnings.append(f"{said}, the first: {bad[0]}" if bad else said)
    return splits.Splits(rows["train"], rows["validation"], rows.get("test"), warnings)


def validates_on_train(train: Rows, validation: Rows) -> bool:
    """Return whether the rows that are validated on are those that are trained on.

    Example:
        >>> rows = Rows("a.csv", {"text": ["Good."]}, [1])
        >>> validates_on_train(rows, rows)
        True
    """
    return validation.source == train.source and validation.numbers == train.numbers


def unlearnable(model: TrainedModel, rows: Rows) -> Iterator[doubts.Doubt]:
    """Yield a warning of rows whose targets the model cannot answer, if there are such.

    Example::

        for warning, rows in unlearnable(model, splits.train): ...
    """
    check = model.task.unlearnable
    if bad := list(check(model.context, rows)) if check else []:
        several = f"{len(bad)} row{'s have' if len(bad) > 1 else ' has'}"
        yield (
            f"{rows.source}: {several} a target that begins or ends within a word of the "
            "backbone's tokenizer, and can never be found exactly (move it to the word's edge, or "
            "put a space there)",
            bad,
        )


def examples(model: TrainedModel, rows: Rows) -> dict[str, tf.Tensor]:
    """Hold rows, or what the task packs them into, as tensors with their seeds.

    Example::

        examples(model, rows)["label"][:2], examples(model, rows)["seed"][:2]
    """
    if model.task.pack:
        raw = model.task.pack(model.context, rows)
    else:
        raw = batching.tensors(rows, columns(model.experiment, model.task))
    return _seeded(model, raw)


def _seeded(model: TrainedModel, raw: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Add the rows' seeds, and where what frozen layers return for them is kept."""
    raw = model.frozen.added(raw) if model.frozen else raw
    return {**raw, "seed": tf.range(_size(raw), dtype=tf.int64)}


def _size(raw: Tensors) -> int:
    """Return how many examples there are, N."""
    return int(next(iter(raw.values())).shape[0])


def measure(model: TrainedModel, raw: Tensors) -> batching.Sizes:
    """Count the tokens of examples.

    Example::

        measure(model, examples(model, rows)).lengths.max()  # tokens of the longest
    """
    found = []
    model.count.get_concrete_function(batching.specs(raw))
    for start in range(0, _size(raw), 1024):
        part = {name: column[start : start + 1024] for name, column in raw.items()}
        tokens, lost = (counted.numpy() for counted in model.count(part))
        found.append((tokens.sum(1), (tokens > 0).sum(1), tokens.max(1), lost))
    return batching.Sizes(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


@dataclass(frozen=True)
class Examples:
    """Rows as tensors of examples, with their sizes and the plan of their batches.

    Example::

        data = arrange(model, rows, shuffle=True)
        len(data.plan)  # batches in an epoch
    """

    rows: Rows
    raw: dict[str, tf.Tensor]
    sizes: batching.Sizes
    plan: batching.Plan


def unlabelled(model: TrainedModel, rows: Rows) -> dict[str, tf.Tensor]:
    """Hold rows of which only the inputs are known as tensors with their seeds.

    Example::

        raw = unlabelled(model, rows)  # {"text": ..., "seed": ...}, no "label"
    """
    return _seeded(
        model, batching.tensors(rows, columns(model.experiment, model.task, targets=False))
    )


def arrange(
    model: TrainedModel,
    rows: Rows,
    *,
    shuffle: bool,
    raw: dict[str, tf.Tensor] | None = None,
    widths: np.ndarray | None = None,
    seed: int | None = None,
) -> Examples:
    """Plan the batches of some rows.

    Args:
        model: gives the encoding.
        rows: the rows.
        shuffle: in another order each epoch, in batches of the experiment's size; otherwise
            short rows first, in larger batches.
        raw: the rows as tensors, if not as :func:`examples` holds them.
        widths: padded lengths to keep to, where no row is longer; chosen by the rows if not given.
        seed: of the order; the experiment's if not given.

    Example::

        train = arrange(model, splits.train, shuffle=True)
        held = arrange(model, splits.validation, shuffle=False)
    """
    experiment = model.experiment
    # A causal model has logits for every token of its rows, unless it is asked for new ones.
    large = raw is None and model.context.kind == "causal"
    raw = examples(model, rows) if raw is None else raw
    sizes = measure(model, raw)
    size = experiment.training.batch_size
    size = size if shuffle or large else max(size, EVALUATION_BATCH)
    # Memory is for as many rows of max_length; of rows in many windows there are fewer.
    room = model.context.max_length * model.task.windows(experiment.options)
    if widths is None:
        widths = batching.widths(sizes.lengths)
    elif sizes.lengths.max() > widths[-1]:
        widths = np.append(widths[widths > 0], sizes.lengths.max())
    plan = batching.Plan(
        sizes.lengths,
        size,
        widths,
        (experiment.seed if seed is None else seed) if shuffle else None,
        model.network.distribute_strategy.num_replicas_in_sync if shuffle else 1,
        size * room,
    )
    return Examples(rows, raw, sizes, plan)


def encoded(model: TrainedModel, raw: dict[str, tf.Tensor], width: tf.Tensor) -> tuple[Any, Any]:
    """Return a batch's features, padded to a width, and its offsets.

    Example::

        features, offsets = encoded(model, raw, tf.constant(32, tf.int64))
    """
    features, offsets = model.encode(raw)
    if "length" in offsets:
        return features, offsets
    mask = features["padding_mask"]
    windows = tf.shape(mask, tf.int64)[1] if mask.shape.rank == 3 else 1
    narrow = tf.minimum(-(-width // windows), model.context.max_length)
    padded = batching.pad(features, narrow, model.context.tokenizer.pad_id)
    return padded | (model.frozen.inputs(raw, narrow) if model.frozen else {}), offsets


def element(model: TrainedModel, raw: dict[str, tf.Tensor], width: tf.Tensor) -> Any:
    """Turn a batch's raw columns into what fit takes: (features, targets[, weights]).

    Example::

        features, targets, *weights = element(model, raw, tf.constant(32, tf.int64))
    """
    features, offsets = encoded(model, raw, width)
    targets, weights = model.task.encode_targets(model.context, raw, features, offsets)
    return (features, targets) if weights is None else (features, targets, weights)


def batches(
    model: TrainedModel,
    data: Examples,
    epochs: range,
    start: int = 0,
    parts: range = range(1),
    of: int = 1,
) -> tf.data.Dataset:
    """Return the batches of some epochs, or some parts of each batch (see pipelines.batching).

    Example::

        for features, targets in batches(model, arrange(model, rows, shuffle=True), range(4)):
            ...
    """
    prepared = partial(element, model)
    return batching.batches(data.raw, data.plan, prepared, epochs, start, parts, of)
