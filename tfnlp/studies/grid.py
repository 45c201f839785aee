"""Every combination of some settings, or a list of whole settings on several data sets."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from pipelines.errors import UserError
from tfnlp.config import Experiment
from tfnlp.extensions import SEEDS, Settings, Study, Trial
from tfnlp.options import option
from tfnlp.report import Report, Table
from tfnlp.studies import _costs, _scores, _settings

_USUAL = ("learning_rate=3e-5,1e-4,3e-4",)
_DATA = "data"  # in a file: the columns
_SOURCES = ("dataset", "train", "validation", "test")


@dataclass(frozen=True)
class Options:
    """What is tried.

    Example::

        python -m tfnlp.study grid --dataset trec --vary epochs=2,4 --vary peft=none,bitfit
    """

    vary: tuple[str, ...] = option(
        (),
        "a flag's words with _ and its values; several --vary make every combination (if neither "
        f"this nor --settings is given: {_USUAL[0]})",
        flag="--vary",
        metavar="NAME=VALUE,VALUE",
        minimum=1,
    )
    settings: str | None = option(
        None,
        "YAML file of the rows of a table, name: {setting: value}; under data its columns, name: "
        "{dataset: trec} or name: {train: a.csv, test: b.csv}",
        flag="--settings",
        metavar="FILE",
        minimum=1,
    )
    seeds: int = option(1, "runs of each cell, from --seed on [runs]", minimum=1)


def propose(base: Experiment, trials: Sequence[Trial], options: Options) -> Settings | None:
    """Return the first cell without a trial, row by row, and that again for each further seed.

    Raises:
        UserError: a setting is none or cannot have its value, or the file cannot be used.

    Example::

        propose(experiment, [], Options(("epochs=2,4",)))  # {"epochs": 2, "seed": 42}
    """
    if options.settings:
        rows, columns = _read(options)
        _check(base, rows, columns, options.settings)
    else:
        rows, columns = _product(base, options.vary or _USUAL), {"": {}}
    for draw in range(options.seeds):
        seed = {"seed": (base.seed + draw) % SEEDS}
        for row, column in itertools.product(rows.values(), columns.values()):
            settings = {**_cell(row, column), **seed}
            if not _scores.is_there(settings, trials):
                return settings
    return None


def _cell(row: Settings, column: Settings) -> dict[str, Any]:
    """Return the settings of a cell; a column's data takes the place of the base's."""
    return {**(dict.fromkeys(_SOURCES) if column else {}), **column, **row}


def _product(base: Experiment, vary: Sequence[str]) -> dict[str, Settings]:
    """Return every combination of values, by how it is said.

    Options of an entry are left out where another one is chosen.
    """
    values = dict(map(_settings.parse, vary))
    if len(values) < len(vary):
        raise UserError("--vary names a setting twice (give all of its values at once)")
    combined = [
        dict(zip(values, each, strict=True)) for each in itertools.product(*values.values())
    ]
    there = [_settings.known(base, settings, "--vary") for settings in combined]
    every = {name: setting for known in there for name, setting in known.items()}
    found: dict[str, Settings] = {}
    if "seed" in values:
        raise UserError("--vary cannot vary the seed (give --grid-seeds)")
    for settings, known in zip(combined, there, strict=True):
        _settings.check(settings, every, "--vary")
        own = {n: v for n, v in settings.items() if n in known or n not in every}
        found.setdefault(_settings.said(own), own)
    return found


def _read(options: Options) -> tuple[dict[str, Settings], dict[str, Settings]]:
    """Return the rows and the columns of a file; one column of no settings if it names no data."""
    file = str(options.settings)
    if options.vary:
        raise UserError("--vary and --settings are both given; give one of them")
    try:
        values = yaml.load(Path(file).read_text("utf-8"), _Loader)
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror} (check the path)") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise UserError(f"{file} holds no rows; each must be `name: {{setting: value}}`")
    columns = values.pop(_DATA, None)
    if columns is not None and (not isinstance(columns, dict) or not columns):
        raise UserError(f"{file}: {_DATA} must hold `name: {{dataset: trec}}` (or leave it out)")
    if not values:
        raise UserError(f"{file} holds no rows; each must be `name: {{setting: value}}`")
    return _named(values, f"{file}: row"), _named(columns or {"": {}}, f"{file}: data")


class _Loader(yaml.SafeLoader):
    """Reads YAML, and refuses a name that stands twice in a mapping: one would be lost."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        """Return a mapping."""
        keys = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        names = [self.construct_object(key, deep=True) for key in keys]
        for place, name in enumerate(names):
            if name in names[:place]:
                line = keys[place].start_mark.line + 1
                raise yaml.YAMLError(f"line {line}: {name!r} stands there twice (rename one)")
        return super().construct_mapping(node, deep)


def _named(values: Mapping[Any, Any], place: str) -> dict[str, Settings]:
    """Return settings by name, as a file has them; a name without settings changes nothing."""
    found: dict[str, Settings] = {}
    for name, settings in values.items():
        if not isinstance(name, str):
            raise UserError(f"{place} {name!r} is not named by a text (put it in quotes)")
        if settings is not None and not isinstance(settings, dict):
            raise UserError(f"{place} {name!r} is {settings!r}; it must hold `setting: value`")
        own = dict(settings or {})
        if twin := next((n for n, other in found.items() if other == own), None):
            raise UserError(f"{place} {name!r} has the settings of {twin!r} (leave one out)")
        found[name] = own
    return found


def _check(
    base: Experiment, rows: Mapping[str, Settings], columns: Mapping[str, Settings], file: str
) -> None:
    """Raise UserError if a cell's settings cannot be used, or are those of another row."""
    seen: dict[str, str] = {}
    for row, own in rows.items():
        known = {n: v for n, v in own.items() if n not in _SOURCES and n != "seed"}
        found = repr(sorted(_settings.effective(base, known, f"{file}: row {row!r}").items()))
        if not any(n in _SOURCES for n in own) and seen.setdefault(found, row) != row:
            raise UserError(
                f"{file}: row {row!r} has the settings of {seen[found]!r}, some of them as its "
                "defaults or written otherwise (leave one out)"
            )
    for (row, own), (column, data) in itertools.product(rows.items(), columns.items()):
        places = [(own, f"{file}: row {row!r}"), (data, f"{file}: data {column!r}")]
        for settings, place in places:
            if "seed" in settings:
                raise UserError(f"{place} sets the seed, which each run has (give --grid-seeds)")
            _settings.check(settings, _settings.known(base, {**data, **own}, place), place)
        if data and not (data.get("dataset") or data.get("train")):
            raise UserError(f"{places[1][1]} says no data (give dataset: NAME or train: FILE)")
        if both := [name for name in own if name in data or (data and name in _SOURCES)]:
            raise UserError(f"{places[0][1]} sets {both[0]}, which its column says (leave it out)")


def report(trials: Sequence[Trial], options: Options) -> Report:
    """Return the table of means with their 95% intervals over the seeds, and a picture of it.

    Example::

        report(trials, Options()).tables[0].header  # ("settings", "accuracy (test)")
    """
    table = _Results(trials, options)
    cells, long = [], []
    for row in table.rows:
        line = []
        for column in table.columns:
            found = table.mean(row, column)
            mark = " best" if row in table.best(column) and len(table.rows) > 1 else ""
            line.append(_scores.cell(found) + mark if found else table.state(row, column))
            if found:
                figures = map(_scores.number, found)
                long.append((row, column, len(table.scores(row, column)), *figures))
        cells.append((row, *line))
    title = f"Mean and 95% interval over {options.seeds} seeds" if options.seeds > 1 else "Scores"
    heads = [table.head(column) for column in table.columns]
    tables = [Table(title, ("settings", *heads), cells)]
    head = ("settings", _DATA, "runs", "mean", "95% from", "to")
    tables.append(Table("Cells", head, long))
    if beside := _scores.beside_first(table.cells()):
        tables.insert(1, beside)
    if costs := _costs.table(table.cells()):
        tables.append(costs)
    warnings = table.warnings()
    if options.seeds == 1 and len(long) > 1:
        warnings.append(
            "each cell is one run, so the best may have been lucky (give --grid-seeds 3 or more)"
        )
    titles = {column: table.head(column) for column in table.columns}
    pictures = {"grid": table.draw, **_costs.figures(table.cells(), titles)}
    return Report({}, tables, pictures, warnings)


class _Results:
    """Trials by the cell that they are of.

    Attributes:
        rows: names.
        columns: names.
    """

    def __init__(self, trials: Sequence[Trial], options: Options) -> None:
        known = _read(options) if options.settings else ({}, {"": {}})
        rows, columns = known
        self.rows, self.columns = list(rows), list(columns)
        self._places: dict[int, tuple[str, str]] = {}
        self._trials = trials
        cells = {(r, c): _cell(rows[r], columns[c]) for r in rows for c in columns}
        for place, trial in enumerate(trials):
            own = _scores.without_seed(trial.settings)
            if options.settings:
                cell = next((cell for cell, settings in cells.items() if settings == own), None)
            else:
                cell = (_settings.said(own), "")
                self.rows += [cell[0]] if cell[0] not in self.rows else []
            if cell:
                self._places[place] = cell

    def cells(self) -> dict[tuple[str, str], list[Trial]]:
        """Return the trials of each cell that has some."""
        every = itertools.product(self.rows, self.columns)
        return {cell: found for cell in every if (found := self._of(*cell))}

    def _of(self, row: str | None, column: str) -> list[Trial]:
        """Return the trials of a cell, or of a column."""
        cells = self._places.items()
        return [self._trials[i] for i, (r, c) in cells if c == column and row in (r, None)]

    def place(self, number: int) -> tuple[str, str]:
        """Return the row and the column of a trial; "" of one that is in no cell."""
        return self._places.get(number, ("", ""))

    def scores(self, row: str, column: str) -> list[float]:
        """Return the scores of a cell."""
        split, metric = _scores.headline(self._of(None, column))
        each = (_scores.score(trial, split, metric) for trial in self._of(row, column))
        return [value for value in each if value is not None]

    def mean(self, row: str, column: str) -> tuple[float, float, float] | None:
        """Return the mean of a cell and its interval, if it has a score."""
        scores = self.scores(row, column)
        return _scores.mean(scores) if scores else None

    def best(self, column: str) -> list[str]:
        """Return the best row of a column, or those that are as good."""
        from tfnlp.evaluation import runs

        sign = -1 if runs.less_is_better(_scores.headline(self._of(None, column))[1]) else 1
        means = {row: sign * found[0] for row in self.rows if (found := self.mean(row, column))}
        return [row for row, mean in means.items() if mean == max(means.values())]

    def state(self, row: str, column: str) -> str:
        """Return what is said of a cell without a score."""
        return "failed" if any(t.state == "failed" for t in self._of(row, column)) else ""

    def head(self, column: str) -> str:
        """Return a column's header."""
        split, metric = _scores.headline(self._of(None, column))
        return f"{column}: {metric} ({split})" if column else f"{metric} ({split})"

    def warnings(self) -> list[str]:
        """Return a sentence on each trial that failed, and on those that are in no cell."""
        names = {i: " on ".join(filter(None, cell)) for i, cell in self._places.items()}
        found = _scores.failures(self._trials, names)
        if lost := len(self._trials) - len(names):
            found.append(f"{lost} trials have settings that the file no longer has")
        return found

    def draw(self) -> Any:
        """Draw the table."""
        from tfnlp.evaluation import plots

        panels = {self.head(c): [self.mean(r, c) for r in self.rows] for c in self.columns}
        return plots.intervals("mean and 95% interval", self.rows, panels)


def labels(trials: Sequence[Trial], options: Options) -> list[dict[str, str]]:
    """Return the row and the column of each trial's cell, as the file names them.

    Example::

        labels(trials, Options(settings="table.yaml"))[0]  # {"row": "default", "data": "trec"}
    """
    if not options.settings:
        return [{}] * len(trials)
    table = _Results(trials, options)
    several = any(table.columns)
    return [
        {"row": row, **({_DATA: column} if several else {})}
        for row, column in (table.place(number) for number in range(len(trials)))
    ]


def best(trials: Sequence[Trial], options: Options) -> int | None:
    """Return the first run of the row that is best by the mean over its seeds on validation rows.

    It is of the first column: columns have other rows.

    Example::

        best(trials, Options())  # 2
    """
    from tfnlp.evaluation import runs

    table = _Results(trials, options)
    found: dict[str, list[tuple[int, float]]] = {}
    for place, trial in enumerate(trials):
        metric = runs.headline(trial.metrics) if trial.metrics else ""
        value = _scores.score(trial, "validation", metric)
        row, column = table.place(place)
        if row and column == table.columns[0] and value is not None:
            sign = -1 if runs.less_is_better(metric) else 1
            found.setdefault(row, []).append((place, sign * value))
    means = {row: fmean(value for _, value in several) for row, several in found.items()}
    return found[max(means, key=means.__getitem__)][0][0] if means else None


STUDY = Study(
    summary="every combination of settings, or a table of settings and data sets",
    options=Options,
    propose=propose,
    report=report,
    best=best,
    labels=labels,
)
