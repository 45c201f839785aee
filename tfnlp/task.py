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
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pipelines import discover
from pipelines.errors import UserError
from pipelines.rows import BadRow, Column, Rows
from tfnlp.report import Fitted, Report

if TYPE_CHECKING:
    from pathlib import Path

    import keras
    import numpy as np
    import tensorflow as tf

    from pipelines.tokenizers.tokenizer import Tokenizer

Kind: TypeAlias = Literal["encoder", "causal", "encoder-decoder"]
Tensors: TypeAlias = "Mapping[str, tf.Tensor]"
Arrays: TypeAlias = "Mapping[str, np.ndarray]"

# What facts.json holds besides the facts: the rest of a context, and the model's lengths.
# The names are those that version 0.1.0 wrote.
RESERVED = ("form", "positions", "chat", "widths")


@dataclass(frozen=True)
class Context:
    """What the functions of a task may know of the run they serve; saved with the model.

    Attributes:
        options: an instance of the task's options.
        tokenizer: the backbone's tokenizer.
        max_length: longest input the backbone takes, or the user's shorter choice [tokens].
        facts: what the data fixed (label names), and what calibration and the strategy add; JSON
            values. The names ``form``, ``positions``, ``chat`` and ``widths`` are reserved.
        kind: what the backbone is.
        positions: the most tokens that the backbone has positions for.
        target: the vocabulary that is written with, if it is not the backbone's.
        chat: the strings of the backbone's chat template (`pipelines.encoding.chat`), if it has
            one; JSON values.

    Raises:
        UserError: a fact has a reserved name.

    Example::

        Context(Options(), tokenizer, 128, {"labels": ["no", "yes"]}, "encoder", 512)
    """

    options: Any
    tokenizer: Tokenizer
    max_length: int
    facts: dict[str, Any]
    kind: Kind
    positions: int
    target: Tokenizer | None = None
    chat: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        """Check the facts' names."""
        for name in RESERVED:
            if name in self.facts:
                raise UserError(f"a fact is named {name!r}, which is reserved (rename it)")

    @property
    def writes(self) -> Tokenizer:
        """The vocabulary that is written with."""
        return self.target or self.tokenizer

    @property
    def resources(self) -> list[Any]:
        """Trackables of the vocabularies, which a SavedModel must hold."""
        both = [self.tokenizer, *([self.target] if self.target else [])]
        return [thing for tokenizer in both for thing in tokenizer.resources]


def to_json(context: Context, lengths: Sequence[int]) -> dict[str, Any]:
    """Return what facts.json holds: the facts, and what else `load_context` needs.

    Args:
        context: of a trained model.
        lengths: that its training batches were padded to [tokens].

    Example::

        to_json(context, [16, 32])["widths"]  # [16, 32]
    """
    return {
        **context.facts,
        "form": context.kind,
        "positions": context.positions,
        "chat": context.chat,
        "widths": list(lengths),
    }


def load_context(folder: Path, options: Any, saved: dict[str, Any]) -> Context:
    """Make the context of a trained model from the vocabularies in a folder.

    Args:
        folder: holds ``tokenizer``, and ``target_tokenizer`` if it writes with another.
        options: the task's.
        saved: what `to_json` returned. Version 0.1.0 left out ``form``, ``positions`` and ``chat``
            for tasks that do not write, whose backbones are encoders.

    Example::

        saved = json.loads((folder / "facts.json").read_text("utf-8"))
        context = load_context(folder, Options(), saved)
    """
    from pipelines.tokenizers import tokenizer

    other = folder / "target_tokenizer"
    target = tokenizer.load(other) if other.exists() else None
    own = tokenizer.load(folder / "tokenizer")
    facts = copy(saved)  # which says of a missing one where it is missing
    for name in RESERVED:
        facts.pop(name, None)
    return Context(
        options,
        own,
        options.max_length,
        facts,
        saved.get("form", "encoder"),
        saved.get("positions", options.max_length),
        target,
        saved.get("chat"),
    )


@dataclass(frozen=True)
class Objective:
    """What training minimises and what decides which epoch was best.

    Attributes:
        loss: a Keras loss, or one for each named output of the model.
        metrics: Keras metrics shown while training.
        monitor: name of the validation metric that early stopping watches (``val_accuracy``).
        mode: whether a larger (``max``) or smaller (``min``) value is better.

    Example::

        loss = keras.losses.CategoricalCrossentropy(from_logits=True)
        Objective(loss, [], monitor="val_loss", mode="min")
    """

    loss: Any
    metrics: list[Any]
    monitor: str
    mode: Literal["min", "max"]


@dataclass(frozen=True)
class Writing:
    """What only tasks that write text have.

    Their options have what `tfnlp.generation.options.WritingOptions` has; ``judged``, for how many
    rows an evaluation has texts written, and ``decoding``, how ``serving_default`` chooses tokens,
    are read outside the task.

    Attributes:
        vocabulary: (rows, options, the backbone's tokenizer or None) -> the vocabulary to write
            with, learned from the training rows, or None to take the backbone's.
        generate: (context, network, raw) -> answers to requests, in place of ``encode``, the
            network and ``decode`` of `Task`; those are for rows with targets then.
        settings: options -> signature -> what else a request may set, each name with its
            default.
        setting_signatures: (context, network) -> signature -> (function, its tf.TensorSpecs): the
            signatures whose requests may have settings, and those that continue step by step.
        max_tokens: options -> the longest text that is written [tokens].
        figures: (context, network, N rows, N texts written) -> name -> what draws a picture that
            needs the network.

    Example::

        load("translation").writing.max_tokens(options)  # 64
    """

    vocabulary: Callable[[Rows, Any, Tokenizer | None], Tokenizer | None]
    generate: Callable[[Context, keras.Model, Tensors], dict[str, tf.Tensor]]
    settings: Callable[[Any], dict[str, dict[str, Any]]]
    setting_signatures: Callable[[Context, keras.Model], dict[str, Any]]
    max_tokens: Callable[[Any], int]
    figures: Callable[[Context, keras.Model, Rows, Sequence[str]], dict[str, Any]] | None = None


@dataclass(frozen=True)
class Claim:
    """One thing that an answer says, as a number of the network that can be explained.

    Attributes:
        label: what it says: a label, the name of a number, or a part of a text and its type.
        score: how sure the model is; a number itself.
        shares: float32, of the shape of the row's logits: their sum, weighted by these, is what
            speaks for it.
    """

    label: str
    score: float
    shares: np.ndarray


@dataclass(frozen=True)
class Explaining:
    """What explanations by gradients ask of a task.

    Attributes:
        logits: (context, raw, outputs) -> float32 (B, ...), the numbers that an answer follows
            from and that have no bounds, as probabilities have: a share of a sum that is full says
            nothing of what filled it.
        claims: (context, answer, row, label) -> what the answer to one row says. ``answer`` is as
            `tfnlp.predict` gives it; ``row`` holds its ``logits``, raw texts and offsets as arrays;
            ``label`` is another answer to be explained, or None. Raises UserError for a label that
            no answer can be.
        chosen: (context, raw, logits, offsets, answers) -> the shares of the answer that is given
            as in `Claim`, float32 (B, ...), in TensorFlow ops; None of a task that gives several.

    Example::

        explaining = load("classification").explaining
        shares = explaining.chosen(context, raw, logits, offsets, answers)
        tf.reduce_sum(shares * logits, -1)  # the logit of the label that is given
    """

    logits: Callable[[Context, Tensors, tf.Tensor], tf.Tensor]
    claims: Callable[[Context, Mapping[str, Any], Mapping[str, Any], str | None], list[Claim]]
    chosen: Callable[[Context, Tensors, tf.Tensor, Tensors, Tensors], tf.Tensor] | None = None


@dataclass(frozen=True)
class Task:
    """A task.

    Attributes:
        summary: one line, shown by ``--help``.
        dataset: the built-in data set used when the user names no data.
        options: dataclass; each field is a flag.
        input_columns: options -> raw columns that a request has, the SavedModel's arguments.
        target_columns: options -> raw columns that only training files have; some may be optional.
        sample: options -> four rows, for the contract test and the warm-up requests.
        learn: (rows, options) -> facts, from the training rows; raises UserError naming rows.
        grow: (facts of an earlier run, rows, options) -> facts of a model that goes on from it on
            these rows: what it has learned stays, and labels that are new follow its own. Raises
            UserError for rows that it cannot go on with. None of a task whose facts stay as they
            are, whatever the rows.
        unusable_rows: (rows, facts) -> the rows of validation that cannot be learned or evaluated
            by these facts, each with its reason and remedy; ``python -m tfnlp.validate`` lists
            them.
        unlearnable: (context, rows) -> the rows of whose targets the model, by its tokenizer, can
            answer only others, each with the reason; they are warned of before training.
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
        setting_signatures: (context, network) -> signature -> (function, its tf.TensorSpecs, the
            settings that requests may have besides texts, each with its default), of a task that
            does not write.
        save_extra: (context, backbone's options, trained model, folder) writes into the run's
            ``model`` folder what else the training was for, such as a backbone to train further.
        classify: answers -> (classes (B, C) string, scores (B, C) float32) for TF Serving's
            ``:classify``, or None.
        regress: answers -> outputs (B,) float32 for ``:regress``, or None.
        baseline: (context, training rows, rows) -> what a linear model answers that has learned
            from the same rows, in the form of ``decode``'s answers as ``report`` takes them; None
            where ``report`` has rivals of its own, or there is none.
        backbones: the kinds of backbones that it can be put on.
        defaults: section -> option -> the default, where it is another for this task.
        reading: how a request's text that is longer than ``max_length`` is read: it is ``cut``;
            or read in up to ``options.windows`` ``windows`` and cut after them; or read in as
            many ``parts`` as it needs.
        rowwise: whether the network's outputs for a row, and their shape, depend on nothing but
            the row and the length that the batch is padded to; parts of a batch may then go
            through it in parallel.
        writing: what a task that writes text has besides; None of one that does not.
        remarks: (rows, facts) -> sentences on how rows are read, where that depends on what the
            file holds; ``validate`` and ``train`` show them.
        explaining: what explanations by gradients ask; None of a task that they are not for.

    Example::

        TASK = replace(
            regression.TASK,
            summary="a count, by Poisson regression",
            objective=lambda context: Objective(keras.losses.Poisson(), [], "val_loss", "min"),
        )
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
    grow: Callable[[dict[str, Any], Rows, Any], dict[str, Any]] | None = None
    unlearnable: Callable[[Context, Rows], Iterator[BadRow]] | None = None
    pack: Callable[[Context, Rows], dict[str, tf.Tensor]] | None = None
    calibrate: Callable[[Context, Rows, Arrays], dict[str, Any]] | None = None
    decodes_from_ids: bool = True
    extra_inputs: Callable[[Any], dict[str, tuple[Column, ...]]] = lambda options: {}
    setting_signatures: Callable[[Context, keras.Model], dict[str, Any]] = lambda *_: {}
    save_extra: Callable[[Context, Any, keras.Model, Path], None] | None = None
    classify: Callable[[Tensors], tuple[tf.Tensor, tf.Tensor]] | None = None
    regress: Callable[[Tensors], tf.Tensor] | None = None
    baseline: Callable[[Context, Rows, Rows], Fitted] | None = None
    backbones: tuple[Kind, ...] = ("encoder",)
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reading: Literal["cut", "windows", "parts"] = "cut"
    rowwise: bool = True
    writing: Writing | None = None
    remarks: Callable[[Rows, dict[str, Any]], Iterator[str]] = lambda rows, facts: iter(())
    explaining: Explaining | None = None

    def windows(self, options: Any) -> int:
        """Return the most windows in which a text is read before it is cut; 1 of other readings."""
        return int(options.windows) if self.reading == "windows" else 1

    def repacks(self, options: Any) -> bool:
        """Return whether the rows' texts are repacked into examples, so that none is one row's."""
        return self.pack is not None and not self.target_columns(options)

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

    Example:
        >>> load("ner").reading
        'parts'
    """
    return discover.entry("tfnlp.tasks", name, Task)
