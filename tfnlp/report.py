"""What an evaluation found: metrics, tables and figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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

    Example::

        Report({"f1": 0.91}, [Table("By label", ("label", "f1"), [("yes", "0.910")])])
    """

    metrics: dict[str, float]
    tables: list[Table] = field(default_factory=list)
    figures: dict[str, Callable[[], Figure]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


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
