"""What an evaluation found: metrics, tables and figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SPLITS = {
    "validation_untrained": "untrained (validation)",
    "validation": "trained (validation)",
    "test": "trained (test)",
    "baseline": "linear model",
}


@dataclass(frozen=True)
class Table:
    """A table of a report: a title, headers, and rows of cells.

    Example::

        Table("By label", ("label", "f1"), [("yes", "0.910")])
    """

    title: str
    header: tuple[str, ...]
    rows: list[tuple[Any, ...]]


@dataclass(frozen=True)
class Report:
    """What an evaluation found.

    Attributes:
        metrics: name -> value; the first is the headline.
        tables: shown in the terminal, the model card and TensorBoard.
        figures: name -> picture, drawn when called.
        warnings: sentences the user should read, such as labels never seen in training.
        intervals: metric -> lower and upper end of its 95% confidence interval, where known.

    Example::

        Report({"f1": 0.91}, [Table("By label", ("label", "f1"), [("yes", "0.910")])])
    """

    metrics: dict[str, float]
    tables: list[Table] = field(default_factory=list)
    figures: dict[str, Callable[[], Figure]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Fitted:
    """What a linear model answers.

    Attributes:
        answers: name -> M answers, as the task's ``decode`` names them.
        notes: on rows or features that were left out to keep its time bounded.

    Example::

        Fitted({"value": np.array([3.1, 2.2])}, ["learned from 9,000 of 80,000 rows"])
    """

    answers: dict[str, Any]
    notes: list[str]


def results(metrics: Mapping[str, Any]) -> Table:
    """Return the metrics of each split side by side, and of the linear model.

    Args:
        metrics: what is in a run's metrics.json. Intervals are those of the test rows, or of the
            validation rows where there are none; their column follows the one they belong to.

    Example:
        >>> results({"validation": {"f1": 0.5}, "intervals": {"f1": (0.4, 0.6)}}).header
        ('metric', 'trained (validation)', '95% interval')
    """
    known = metrics.get("intervals") or {}
    columns: dict[str, dict[str, str]] = {}
    for key, title in _SPLITS.items():
        values = metrics.get(key)
        if values:
            columns[title] = {name: four_places(value) for name, value in values.items()}
        if known and values and key == ("test" if metrics.get("test") else "validation"):
            columns["95% interval"] = {name: between(known.get(name)) for name in values}
    # A split may lack a metric, such as one of scores, that others have.
    names = dict.fromkeys(name for column in columns.values() for name in column)
    rows = [(name, *(column.get(name, "–") for column in columns.values())) for name in names]
    return Table("Result", ("metric", *columns), rows)


def between(ends: tuple[float, float] | None) -> str:
    """Return an interval as text; nothing for None.

    Example:
        >>> between((0.9, 0.95))
        '0.9000 to 0.9500'
    """
    return "" if ends is None else f"{four_places(ends[0])} to {four_places(ends[1])}"


def four_places(value: float | None) -> str:
    """Return a metric as it is shown everywhere: four places, no minus before zero.

    Args:
        value: the metric; None, as JSON has it for NaN and infinities, has no number.

    Example:
        >>> four_places(-0.00001), four_places(0.12345), four_places(None)
        ('0.0000', '0.1235', '–')
    """
    return "–" if value is None else f"{value:z.4f}"


def markdown(table: Table) -> str:
    r"""Return a table in Markdown, without its title.

    Example:
        >>> print(markdown(Table("By label", ("label", "f1"), [("a|b", 0.5)])))
        | label | f1 |
        | --- | --- |
        | a\|b | 0.5 |
    """

    def line(cells: Sequence[Any]) -> str:
        escaped = (" ".join(str(cell).replace("|", "\\|").split()) for cell in cells)
        return f"| {' | '.join(escaped)} |"

    rule = ["---"] * len(table.header)
    return "\n".join([line(table.header), line(rule), *map(line, table.rows)])
