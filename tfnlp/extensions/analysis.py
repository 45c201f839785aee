"""Questions to a trained model: why it gave an answer, and what is wrong with it.

Dimensions: N rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from pipelines.errors import UserError
from pipelines.rows import Column, Record, Rows
from tfnlp.config import Experiment
from tfnlp.extensions.training import TrainedModel
from tfnlp.report import Report


class UnsuitableError(UserError):
    """An entry cannot work on this model; of several that were not named it is left out."""


class Subject(Protocol):
    """A model under analysis: a run with its network, or a SavedModel in a folder or on a server.

    Where it lies decides what is known of it: a server tells what it reads, and no more.
    """

    @property
    def name(self) -> str:
        """What it is called in reports."""

    @property
    def inputs(self) -> tuple[Column, ...]:
        """The columns it reads, by name in alphabetical order."""

    @property
    def experiment(self) -> Experiment | None:
        """What made it; None of a server, and of a SavedModel that tfnlp did not write."""

    @property
    def model(self) -> TrainedModel | None:
        """The network with its task; None of a SavedModel: what needs a network needs a run."""

    @property
    def batch_size(self) -> int:
        """How many rows it is asked at a time."""

    def answer(self, texts: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
        """Return an answer for each of N rows, as ``python -m tfnlp.predict`` writes them.

        Args:
            texts: N values of each input, strings or lists of turns.
        """

    def trained_on(self) -> Rows:
        """Return the rows that it was trained on.

        Raises:
            UnsuitableError: it is no run.
            UserError: the rows are gone, or others.
        """


@dataclass(frozen=True)
class Wanted:
    """What of an answer is explained, and in which pieces.

    Attributes:
        unit: what a piece is; a word is a character of scripts without spaces.
        label: the answer that is explained, where it is not the model's own.
        rather_than: another answer, over which the first is preferred.

    Example::

        Wanted(label="LOC", rather_than="HUM")  # why LOC rather than HUM
    """

    unit: Literal["words", "sentences", "tokens", "characters"] = "words"
    label: str | None = None
    rather_than: str | None = None


@dataclass(frozen=True)
class Piece:
    """Characters [start, end) of one input, and what they did for the answer."""

    input: str
    start: int
    end: int
    weight: float


@dataclass(frozen=True)
class Attribution:
    """Why one answer was given.

    Attributes:
        row: number of the row, the first being 1.
        inputs: its texts by name.
        label: the answer that is explained.
        score: its score.
        pieces: what each part of the inputs did for the score.
        flags: what a reader must know.
        examples: rows that stand behind the answer, each with its ``row`` number, its columns, and
            what it did under the name of that.
        changed: inputs with which the answer is another: their texts by name, and the ``label`` and
            ``score`` of that answer.
    """

    row: int
    inputs: Mapping[str, str]
    label: str
    score: float
    pieces: Sequence[Piece] = ()
    flags: Sequence[str] = ()
    examples: Sequence[Mapping[str, Any]] = ()
    changed: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Explanation:
    """Why a model gave its answers.

    Attributes:
        summary: one line, shown by ``--help``.
        options: dataclass; each field is a flag that bears the method's name.
        explain: (subject, records, options, wanted) -> attributions in the records' order, one or
            several of each; it holds few records at a time. Raises UnsuitableError before the first
            if the model's answers are of a kind that it cannot explain.
        in_graph: model -> a function in TensorFlow ops, from its inputs to the weights of words,
            that can be served with it; None of what takes more than ops.
        faithful: whether the weights follow from what the answer depends on.
    """

    summary: str
    options: type
    explain: Callable[[Subject, Iterable[Record], Any, Wanted], Iterator[Attribution]]
    in_graph: Callable[[TrainedModel], Callable[..., dict[str, Any]]] | None = None
    faithful: bool = True


@dataclass(frozen=True)
class Finding:
    """One figure of an audit.

    Attributes:
        name: what was measured, in one word that ``--bound`` can take.
        value: the figure.
        n: rows it rests on.
        interval: 95% confidence.
        bound: what it must not cross; None is information.
        worse: the side of the bound that fails.
    """

    name: str
    value: float
    n: int
    interval: tuple[float, float]
    bound: float | None = None
    worse: Literal["above", "below"] = "above"

    @property
    def passed(self) -> bool:
        """Whether the value is on the right side of its bound; True if it has none."""
        if self.bound is None:
            return True
        return self.value <= self.bound if self.worse == "above" else self.value >= self.bound


@dataclass(frozen=True)
class Audit:
    """What is wrong with a model.

    Attributes:
        summary: one line, shown by ``--help``.
        options: dataclass; each field is a flag that bears the audit's name.
        examine: (subject, rows, options, bounds) -> findings, and a report of tables and figures;
            the rows have the inputs and the targets. Raises UnsuitableError if the model's answers
            are of a kind that it cannot assess.
        bounds: defaults, by the finding's name; ``--bound NAME=VALUE`` changes them. None has no
            bound until a user gives one.
    """

    summary: str
    options: type
    examine: Callable[
        [Subject, Rows, Any, Mapping[str, float | None]], tuple[Sequence[Finding], Report]
    ]
    bounds: Mapping[str, float | None] = field(default_factory=dict)
