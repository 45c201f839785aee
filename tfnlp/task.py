"""A task as a record of functions; a new task is one file in tfnlp/tasks/ that fills one in.

Raw columns are named vectors of B values: ``text``, ``marked`` and ``label`` columns are string
tensors (B,), ``labels`` columns ragged string tensors (B, None), ``number`` columns float32
tensors (B,); ``spans`` and ``answers`` columns are several ragged tensors (B, None), such as
``entities/start`` and ``entities/end``, int32 in bytes, and ``entities/label``, string. While
training and evaluating there is also ``seed``, int64 (B,), another one for each row and epoch.

Answers are named tensors with B rows. A list of things in each row, such as the entities of a
text, is ``entities``, int32 (B,), how many there are, and ``entities/text``, ``entities/start``
and so on, (B, N, ...), filled up to the longest list of the batch; what reads the answers folds
them into ``entities``: a list of ``{"text": ..., "start": ...}`` for each row.

``encode`` and ``decode`` are written in TensorFlow ops: the same functions run in the tf.data
pipeline, in evaluation and inside the SavedModel, so training and serving cannot drift apart.

Task files are imported by ``--help``: they keep TensorFlow and Keras inside their functions.

Dimensions: N rows, B batch, T tokens, W windows, C classes, H hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pipelines import discover
from pipelines.errors import UserError
from pipelines.rows import BadRow, Column, Rows
from tfnlp.report import Report

if TYPE_CHECKING:
    from pathlib import Path

    import keras
    import numpy as np
    import tensorflow as tf

    from pipelines.tokenizers.tokenizer import Tokenizer

Tensors: TypeAlias = "Mapping[str, tf.Tensor]"
Arrays: TypeAlias = "Mapping[str, np.ndarray]"


@dataclass(frozen=True)
class Context:
    """What the functions of a task may know of the run they serve; saved with the model.

    Attributes:
        options: an instance of the task's options.
        tokenizer: the backbone's tokenizer.
        max_length: longest input the backbone takes, or the user's shorter choice [tokens].
        facts: what the data fixed (label names), and what calibration adds; JSON values. Of a
            task that writes also ``form``, the backbone's kind, ``positions``, the most tokens it
            can count, and ``chat``, the strings of its chat template, if it has one.
        target: the vocabulary that is written with, if it is not the backbone's.
    """

    options: Any
    tokenizer: Tokenizer
    max_length: int
    facts: dict[str, Any]
    target: Tokenizer | None = None

    @property
    def writes(self) -> Tokenizer:
        """The vocabulary that is written with."""
        return self.target or self.tokenizer

    @property
    def resources(self) -> list[Any]:
        """Trackables of the vocabularies, which a SavedModel must hold."""
        both = [self.tokenizer, *([self.target] if self.target else [])]
        return [thing for tokenizer in both for thing in tokenizer.resources]


def load_context(folder: Path, options: Any, facts: dict[str, Any]) -> Context:
    """Make the context of a trained model from the vocabularies in a folder.

    Args:
        folder: holds ``tokenizer``, and ``target_tokenizer`` if it writes with another.
        options: the task's.
        facts: as they were saved.
    """
    from pipelines.tokenizers import tokenizer

    other = folder / "target_tokenizer"
    target = tokenizer.load(other) if other.exists() else None
    own = tokenizer.load(folder / "tokenizer")
    return Context(options, own, options.max_length, facts, target)


@dataclass(frozen=True)
class Objective:
    """What training minimises and what decides which epoch was best.

    Attributes:
        loss: a Keras loss, or one for each named output of the model.
        metrics: Keras metrics shown while training.
        monitor: name of the validation metric that early stopping watches (``val_accuracy``).
        mode: whether a larger (``max``) or smaller (``min``) value is better.
    """

    loss: Any
    metrics: list[Any]
    monitor: str
    mode: Literal["min", "max"]


@dataclass(frozen=True)
class Task:
    """A task.

    Attributes:
        summary: one line, shown by ``--help``.
        dataset: the built-in data set used when the user names no data.
        options: dataclass; each field is a flag.
        input_columns: options -> raw columns that a request has, the SavedModel's arguments.
        target_columns: options -> raw columns that only training files have.
        sample: options -> four rows, for the contract test and the warm-up requests.
        learn: (rows, options) -> facts, from the training rows; raises UserError naming rows.
        unusable_rows: (rows, facts) -> the rows of validation that cannot be learned or judged by
            these facts, each with its reason and remedy; ``python -m tfnlp.validate`` lists them.
        pack: (context, rows) -> raw, the tensors of the examples that training and evaluation go
            through, if those are not the rows themselves; any number of them.
        encode: (context, raw) -> (features, offsets); features are the model's inputs (B, T) or
            (B, W, T), padded to the batch's longest, offsets what ``decode`` needs to point into
            the text and ``lost``, int64 (B,), how many tokens of each row did not fit. If there
            is ``length``, int64 (B,), rows are grouped by it, and features stay as they are.
        encode_targets: (context, raw, features, offsets) -> (targets, sample weights (B,) or None).
        build: (context, backbone model) -> functional Keras model, features -> outputs.
        objective: context -> Objective.
        calibrate: (context, rows, answers) -> facts to add, from the validation rows.
        decode: (context, raw, outputs, offsets) -> answers, named tensors with B rows.
        report: (context, rows, answers) -> Report; answers as NumPy arrays, lists folded, in the
            order of the rows, or of what ``pack`` made of them.
        decodes_from_ids: whether ``decode`` can answer from outputs alone, with neither raw columns
            nor offsets; the SavedModel then has a signature ``tokens`` for ids made elsewhere.
        extra_inputs: options -> further signatures from strings, name -> raw columns; ``encode``
            and ``decode`` are given those columns.
        save_extra: (context, backbone's options, trained model, folder) writes into the run's
            ``model`` folder what else the training was for, such as a backbone to go on from.
        classify: answers -> (classes (B, C) string, scores (B, C) float32) for TF Serving's
            ``:classify``, or None.
        regress: answers -> outputs (B,) float32 for ``:regress``, or None.
        backbones: the kinds of backbones that it can be put on (`tfnlp.backbones.families.Kind`).
        defaults: section -> option -> the default, where it is another for this task.

    Tasks that write text have more:
        vocabulary: (rows, options, the backbone's tokenizer or None) -> the vocabulary to write
            with, learned from the training rows, or None to take the backbone's.
        generate: (context, network, raw) -> answers to requests, in place of ``encode``, the
            network and ``decode``; those are for rows with targets then.
        settings: options -> signature -> what else a request may say, with its value otherwise.
        calls: (context, network) -> signature -> (function, tf.TensorSpecs), those with settings.
        figures: (context, network, N rows, N texts written) -> pictures that need the network.
    """

    summary: str
    dataset: str | None
    options: type
    input_columns: Callable[[Any], tuple[Column, ...]]
    target_columns: Callable[[Any], tuple[Column, ...]]
    sample: Callable[[Any], list[dict[str, Any]]]
    learn: Callable[[Rows, Any], dict[str, Any]]
    unusable_rows: Callable[[Rows, dict[str, Any]], Iterator[BadRow]]
    encode: Callable[[Context, Tensors], tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]]
    encode_targets: Callable[
        [Context, Tensors, Tensors, Tensors], tuple[tf.Tensor, tf.Tensor | None]
    ]
    build: Callable[[Context, keras.Model], keras.Model]
    objective: Callable[[Context], Objective]
    decode: Callable[[Context, Tensors, tf.Tensor, Tensors], dict[str, tf.Tensor]]
    report: Callable[[Context, Rows, Arrays], Report]
    pack: Callable[[Context, Rows], dict[str, tf.Tensor]] | None = None
    calibrate: Callable[[Context, Rows, Arrays], dict[str, Any]] | None = None
    decodes_from_ids: bool = True
    extra_inputs: Callable[[Any], dict[str, tuple[Column, ...]]] = lambda options: {}
    save_extra: Callable[[Context, Any, keras.Model, Path], None] | None = None
    classify: Callable[[Tensors], tuple[tf.Tensor, tf.Tensor]] | None = None
    regress: Callable[[Tensors], tf.Tensor] | None = None
    backbones: tuple[str, ...] = ("encoder",)
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    vocabulary: Callable[[Rows, Any, Tokenizer | None], Tokenizer | None] | None = None
    generate: Callable[[Context, keras.Model, Tensors], dict[str, tf.Tensor]] | None = None
    settings: Callable[[Any], dict[str, dict[str, Any]]] = lambda options: {}
    calls: Callable[[Context, keras.Model], dict[str, Any]] = lambda context, network: {}
    figures: Callable[[Context, keras.Model, Rows, Sequence[str]], dict[str, Any]] | None = None

    def check(self, rows: Rows, facts: dict[str, Any]) -> None:
        """Raise UserError if rows cannot be used, naming the first and counting all."""
        found = list(self.unusable_rows(rows, facts))
        if found:
            numbers = ", ".join(str(bad.number) for bad in found[:5])
            more = ", ..." if len(found) > 5 else ""
            rest = f"; {len(found)} such rows: {numbers}{more}" if len(found) > 1 else ""
            raise UserError(f"{rows.source}, {found[0]}{rest}")


def load(name: str) -> Task:
    """Find a task by its name, or an outsider's by its module (``mypackage.irony``).

    Raises:
        UserError: there is no such task, or the module defines none.
    """
    module = discover.load("tfnlp.tasks", name, "task")
    task = getattr(module, "TASK", None)
    if not isinstance(task, Task):
        raise UserError(f"the module {module.__name__} defines no TASK (a tfnlp.task.Task)")
    return task
