"""What an evaluation found: metrics, tables and figures."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

from pipelines.errors import UserError

if TYPE_CHECKING:
    import pandas
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


@dataclass(frozen=True, repr=False)
class Report:
    """What an evaluation found.

    Attributes:
        metrics: name -> value; the first is the headline.
        tables: shown in the terminal, the model card and TensorBoard.
        figures: name -> picture, drawn when called.
        warnings: sentences the user should read, such as labels never seen in training.
        intervals: metric -> lower and upper end of its 95% confidence interval, where known.
        resampled: metric -> its values on rows drawn again, from which the intervals follow; of as
            many rows the same rows are drawn, so that two models' values can be paired.
        right: of N rows, whether all of the answer is right; nothing where answers are not right
            or wrong.

    Example::

        Report({"f1": 0.91}, [Table("By label", ("label", "f1"), [("yes", "0.910")])])
    """

    metrics: dict[str, float]
    tables: list[Table] = field(default_factory=list, repr=False)
    figures: dict[str, Callable[[], Figure]] = field(default_factory=dict, repr=False)
    warnings: list[str] = field(default_factory=list)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    resampled: dict[str, list[float]] = field(default_factory=dict)
    right: list[bool] = field(default_factory=list)

    def to_frame(self, table: str | None = None) -> pandas.DataFrame:
        """Return the metrics, or one of the tables, as a pandas DataFrame.

        Args:
            table: the table's title; the metrics with their intervals if not given.

        Raises:
            UserError: there is no such table, or pandas is not installed.

        Example::

            report.to_frame("By label").sort_values("f1")
        """
        try:
            import pandas
        except ImportError as error:
            raise UserError("to_frame needs pandas (pip install pandas)") from error
        if table is None:
            ends = {name: self.intervals.get(name, (None, None)) for name in self.metrics}
            rows = [(name, value, *ends[name]) for name, value in self.metrics.items()]
            return pandas.DataFrame(rows, columns=["metric", "value", "low", "high"])
        titles = {content.title: content for content in self.tables}
        if table not in titles:
            there = ", ".join(titles) or "none"
            raise UserError(f"the report has no table {table!r}; it has: {there}")
        frame = pandas.DataFrame(titles[table].rows, columns=list(titles[table].header))
        return frame.apply(_as_numbers)

    def __repr__(self) -> str:
        parts = [", ".join(f"{name} {four_places(value)}" for name, value in self.metrics.items())]
        parts += [f"tables: {', '.join(table.title for table in self.tables)}"] * bool(self.tables)
        parts += [f"figures: {', '.join(self.figures)}"] * bool(self.figures)
        return f"Report({'; '.join(filter(None, parts))})"

    def _repr_html_(self) -> str:
        """Return the warnings, metrics, tables and figures, for a notebook."""
        return html(self)


def _as_numbers(column: Any) -> Any:
    """Return a column of a data frame as numbers, where all its cells are numbers."""
    try:
        return column.astype(float) if column.dtype == object or column.dtype == "str" else column
    except (TypeError, ValueError):
        return column


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
            Test rows that were set aside from the training rows are said to be.

    Example:
        >>> results({"validation": {"f1": 0.5}, "intervals": {"f1": (0.4, 0.6)}}).header
        ('metric', 'trained (validation)', '95% interval')
    """
    known = metrics.get("intervals") or {}
    columns: dict[str, dict[str, str]] = {}
    for key, title in _SPLITS.items():
        values = metrics.get(key)
        if key == "test" and metrics.get("set_aside"):
            title = "trained (test, set aside from train)"
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


# Words in cells that are coloured.
_BAD, _GOOD = ("crossed", "failed"), ("passed", "complete")


def html(report: Report) -> str:
    """Return the warnings, metrics, tables and figures of a report as HTML.

    Example:
        >>> "<td>f1</td>" in html(Report({"f1": 0.91}))
        True
    """
    parts = [f'<p class="warning">{escape(text)}</p>' for text in report.warnings]
    if report.metrics:
        cells = [
            (name, four_places(value), between(report.intervals.get(name)))
            for name, value in report.metrics.items()
        ]
        columns = ("metric", "value", "95% interval")[: 3 if report.intervals else 2]
        parts.append(_html_table(Table("Metrics", columns, [row[: len(columns)] for row in cells])))
    parts += [_html_table(table) for table in report.tables]
    for name, draw in report.figures.items():
        data = base64.b64encode(png(draw())).decode("ascii")
        alt = escape(name.replace("_", " "), quote=True)
        parts.append(f'<p><img alt="{alt}" src="data:image/png;base64,{data}"></p>')
    return "\n".join(parts)


def png(figure: Figure, dpi: float = 120.0) -> bytes:
    """Return a picture as PNG; characters that no font here has are drawn as boxes.

    For Chinese, Japanese and Korean label names install one of the fonts that
    `tfnlp.evaluation.plots` names, such as Debian's ``fonts-noto-cjk``.

    Args:
        figure: the picture.
        dpi: its resolution [dots an inch].

    Example::

        Path("f1.png").write_bytes(png(report.figures["confusion_matrix"]()))
    """
    held = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(held, format="png", dpi=dpi)
    return held.getvalue()


def _html_table(table: Table) -> str:
    """Return a table as HTML."""
    head = "".join(f"<th>{escape(name)}</th>" for name in table.header)
    rows = "".join(f"<tr>{_html_cells(row)}</tr>\n" for row in table.rows)
    return f"<table><caption>{escape(table.title)}</caption><tr>{head}</tr>\n{rows}</table>"


def _html_cells(row: Sequence[Any]) -> str:
    """Return a row's cells, numbers on the right, verdicts in colour."""
    shown = []
    for value in row:
        text = str(value)
        kind = "bad" if text in _BAD else "good" if text in _GOOD else ""
        kind = kind or ("number" if _is_number(text) else "")
        attribute = f' class="{kind}"' if kind else ""
        shown.append(f"<td{attribute}>{escape(text)}</td>")
    return "".join(shown)


def _is_number(text: str) -> bool:
    """Return whether a cell holds a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True
