"""The score against the rows a label, for each way to train on few: which is best from where on?"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pipelines.errors import UserError
from tfnlp.config import Experiment, Optimizer
from tfnlp.extensions import SEEDS, Settings, Study, Trial
from tfnlp.options import option
from tfnlp.report import Report, Table
from tfnlp.studies import _scores

_ALL = "all"
_SIZES = (0, 2, 8, 32)
_PLAIN: Mapping[str, Any] = {"validation_share": 0.0}  # every row is trained on, for all epochs
METHODS: Mapping[str, Mapping[str, Any]] = {
    "zero_shot": {"strategy": "zero_shot"},
    "linear_probe": {"strategy": "linear_probe"},
    "setfit": {"strategy": "setfit", "setfit_folds": 1},
    "prompt": {"strategy": "prompt", "unlabelled": "rest"},
    "plain": _PLAIN,
    "lora": {**_PLAIN, "peft": "lora"},
}
_WITHOUT_ROWS = ("zero_shot",)
_WITHOUT_STEPS = ("zero_shot", "linear_probe")  # which refuse a learning rate


@dataclass(frozen=True)
class Options:
    """Which methods, on how many rows, and how often.

    Example::

        python -m tfnlp.study few_shot --train rows.csv --test test.csv --few-shot-sizes 0,8
    """

    methods: tuple[str, ...] = option(
        ("zero_shot", "linear_probe", "setfit", "plain", "lora"),
        f"what is compared, of {', '.join(METHODS)}; may be repeated",
        metavar="METHOD",
    )
    sizes: tuple[int, ...] = option(
        _SIZES,
        "rows of each label; 0 are none, of which zero_shot alone makes use [rows]",
        metavar="INT,INT",
        minimum=0,
    )
    whole: bool = option(True, "also train on all rows")
    draws: int = option(
        5,
        "times that rows are drawn, the same for every method, from --seed on [runs]",
        minimum=1,
    )


def propose(base: Experiment, trials: Sequence[Trial], options: Options) -> Settings | None:
    """Return the first method, size and draw without a trial, cheap ones first.

    Raises:
        UserError: a method is unknown, or the base says what the study varies.

    Example::

        propose(experiment, [], Options())  # {"strategy": "zero_shot", "seed": 42}
    """
    check(base, options)
    for settings in planned(base, options):
        if not _scores.is_there(settings, trials):
            return settings
    return None


def check(base: Experiment, options: Options) -> None:
    """Refuse methods that are unknown, and settings that the study has itself.

    Raises:
        UserError: there is one.

    Example::

        check(experiment, Options(methods=("best",)))  # raises
    """
    for name in options.methods:
        if name not in METHODS:
            raise UserError(
                f"--few-shot-methods {name}: there is no such method; there are: "
                f"{', '.join(METHODS)}"
            )
    if len(set(options.methods)) < len(options.methods) or len(set(options.sizes)) < len(
        options.sizes
    ):
        raise UserError("--few-shot-methods or --few-shot-sizes has one twice (give each once)")
    data = base.data
    if data.rows_per_label or data.validation:
        flag = "--rows-per-label" if data.rows_per_label else "--validation"
        raise UserError(
            f"study few_shot trains on every row that it draws, so {flag} has no place (leave it "
            "out; rows to judge by are --test's)"
        )
    if base.peft or base.strategy.name != "supervised":
        raise UserError("study few_shot says --strategy and --peft itself (leave them out)")


def planned(base: Experiment, options: Options) -> list[dict[str, Any]]:
    """Return the settings of all trials, draw by draw, small sizes first.

    Example::

        len(planned(experiment, Options(sizes=(0, 8), whole=False, draws=2)))  # 9
    """
    found: list[dict[str, Any]] = []
    if "zero_shot" in options.methods and 0 in options.sizes:
        own = {"rows_per_label": 1}  # of which the names of the labels are taken
        found.append({**_settings("zero_shot", base), **own, "seed": base.seed})
    sizes: list[int | None] = [size for size in sorted(options.sizes) if size]
    sizes += [None] if options.whole else []
    for draw in range(options.draws):
        for size in sizes:
            for name in options.methods:
                if name in _WITHOUT_ROWS or (size is None and draw and name == "linear_probe"):
                    continue  # all rows are the same rows each time
                rows = {} if size is None else {"rows_per_label": size}
                seed = (base.seed + draw) % SEEDS
                found.append({**_settings(name, base), **rows, "seed": seed})
    return found


def _settings(name: str, base: Experiment) -> dict[str, Any]:
    """Return a method's settings; what the base says of steps is not for those that take none."""
    usual = Optimizer() if name in _WITHOUT_STEPS else base.optimizer
    names = [field.name for field in dataclasses.fields(Optimizer)]
    changed = {
        n: getattr(usual, n) for n in names if getattr(usual, n) != getattr(base.optimizer, n)
    }
    return {**METHODS[name], **changed}


def length(trials: Sequence[Trial], options: Options) -> int:
    """Return how many trials there are.

    Example::

        length([], Options(sizes=(8,), methods=("plain",), whole=False))  # 5
    """
    drawn = [name for name in options.methods if name not in _WITHOUT_ROWS]
    sizes = len([size for size in options.sizes if size])
    whole = options.draws * len(drawn) - (options.draws - 1) * ("linear_probe" in drawn)
    zero = "zero_shot" in options.methods and 0 in options.sizes
    return options.draws * sizes * len(drawn) + whole * options.whole + zero


def best(trials: Sequence[Trial], options: Options) -> int | None:
    """Return the best trial by the rows that judge, for those for validation may be trained on.

    Example::

        best(trials, Options())  # 7
    """
    from tfnlp.evaluation import runs

    split, metric = _scores.headline(trials)
    sign = -1 if runs.less_is_better(metric) else 1
    scores = {
        number: sign * value
        for number, trial in enumerate(trials)
        if (value := _scores.score(trial, split, metric)) is not None
    }
    return max(scores, key=lambda number: scores[number]) if scores else None


def place(trial: Trial) -> tuple[str, int | None]:
    """Return a trial's method, and its rows a label: None of all, 0 of zero-shot."""
    own = {
        name: value
        for name, value in trial.settings.items()
        if name not in ("seed", "rows_per_label")
    }
    name = next((name for name, method in METHODS.items() if dict(method) == own), "plain")
    size = 0 if name in _WITHOUT_ROWS else trial.settings.get("rows_per_label")
    return name, size


def report(trials: Sequence[Trial], options: Options) -> Report:
    """Return the mean of each method on each number of rows, and which to take.

    Example::

        report(trials, Options()).tables[0].rows  # [("setfit", "8", 5, "0.8700 (0.8610 to ...")]
    """
    split, metric = _scores.headline(trials)
    found: dict[tuple[str, int | None], list[float]] = {}
    cells: dict[tuple[str, str], list[Trial]] = {}
    for trial in trials:
        value = _scores.score(trial, split, metric)
        if value is not None:
            found.setdefault(place(trial), []).append(value)
            name, size = place(trial)
            cells.setdefault((name, _said(size)), []).append(trial)
    rows = [
        (name, _said(size), len(values), _scores.cell(_scores.mean(values)))
        for (name, size), values in sorted(found.items(), key=lambda one: _order(one[0][1]))
    ]
    head = ("method", "rows a label", "runs", f"{metric} ({split}): mean (95%)")
    tables = [Table("Score by rows a label", head, rows)]
    if best := recommended(found, metric):
        tables.insert(0, Table("Which to take", ("rows a label", "method", "why"), best))
    beside = _scores.beside_first(_probe_first(cells))
    tables += [beside] if beside else []
    names = {i: f"{place(t)[0]} on {_said(place(t)[1])} rows a label" for i, t in enumerate(trials)}
    warnings = _scores.failures(trials, names)
    if split == "validation" and found:
        warnings.append("all rows were trained on, and judge too (give --test)")
    made = Report({}, tables, warnings=warnings)
    if found:
        made.figures["few_shot"] = partial(_draw, f"{metric} ({split})", found)
    return made


def _said(size: int | None) -> str:
    return _ALL if size is None else str(size)


def _order(size: int | None) -> float:
    return float("inf") if size is None else size


def _probe_first(
    cells: Mapping[tuple[str, str], list[Trial]],
) -> dict[tuple[str, str], list[Trial]]:
    """Return cells with the linear probe as the first of each column, which others are beside."""
    sizes = [size for name, size in cells if name == "linear_probe"]
    kept = {key: several for key, several in cells.items() if key[1] in sizes}
    return dict(sorted(kept.items(), key=lambda one: one[0][0] != "linear_probe"))


def recommended(
    found: Mapping[tuple[str, int | None], Sequence[float]], metric: str
) -> list[tuple[str, str, str]]:
    """Return for each number of rows the method with the best mean, and how far ahead it is.

    Example:
        >>> recommended({("plain", 8): [0.8], ("setfit", 8): [0.9]}, "accuracy")
        [('8', 'setfit', '0.1000 ahead of plain')]
    """
    import numpy as np

    from tfnlp.evaluation import runs

    sign = -1 if runs.less_is_better(metric) else 1
    rows = []
    for size in sorted({size for _, size in found}, key=_order):
        means = {name: sign * float(np.mean(v)) for (name, s), v in found.items() if s == size}
        first, *others = sorted(means, key=lambda name: -means[name])
        why = f"{means[first] - means[others[0]]:.4f} ahead of {others[0]}" if others else "alone"
        rows.append((_said(size), first, why))
    return rows


def _draw(name: str, found: Mapping[tuple[str, int | None], Sequence[float]]) -> Any:
    """Draw each method's means with their intervals."""
    from tfnlp.evaluation import method_plots

    order = sorted({size for _, size in found}, key=_order)
    lines = {}
    for method in dict.fromkeys(method for method, _ in found):
        sizes = [size for size in order if (method, size) in found]
        lines[method] = [(order.index(s), *_scores.mean(found[method, s])) for s in sizes]
    return method_plots.by_steps(name, "rows of each label", [_said(size) for size in order], lines)


STUDY = Study(
    summary="the score against the rows a label: zero-shot, probe, SetFit, prompt, plain and LoRA",
    options=Options,
    propose=propose,
    report=report,
    best=best,
    length=length,
)
