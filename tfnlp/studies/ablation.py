"""Each setting that is not the default put back in its turn: which of them help.

Source: Melis et al. 2018, "On the state of the art of evaluation in neural language models"
(https://arxiv.org/abs/1707.05589), on why each needs several seeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pipelines.errors import UserError
from tfnlp import extensions
from tfnlp.config import Experiment
from tfnlp.extensions import SUPERVISED, Settings, Study, Trial
from tfnlp.options import option
from tfnlp.report import Report, Table
from tfnlp.studies import _scores, _settings

_SECTIONS = ("task", "backbone", "optimizer", "training", *extensions.ENTRIES)
# These change how fast it goes, or what is shown.
_NO_EFFECT = ("deterministic", "distribute", "checkpoint_minutes", "baseline")


@dataclass(frozen=True)
class Options:
    """How many seeds.

    Example::

        python -m tfnlp.study ablation --config best.yaml --ablation-seeds 5
    """

    seeds: int = option(3, "runs with and without each setting, from --seed on [runs]", minimum=1)


def propose(base: Experiment, trials: Sequence[Trial], options: Options) -> Settings | None:
    """Return the base as it is, then with each setting put back; and that again for each seed.

    Raises:
        UserError: nothing differs from the defaults.

    Example::

        propose(experiment, [], Options())  # {"seed": 42}
    """
    changes = put_back(base)
    if not changes:
        raise UserError(
            "no setting differs from its default, so there is nothing to put back (give some, such "
            "as --learning-rate 3e-5, or --config FILE)"
        )
    for draw in range(options.seeds):
        for change in ({}, *changes):
            settings = {**change, "seed": (base.seed + draw) % extensions.SEEDS}
            if not _scores.is_there(settings, trials):
                return settings
    return None


def put_back(base: Experiment) -> list[Settings]:
    """Return what puts back each setting that is not the default.

    With an entry go the defaults that it brought, such as its learning rate.

    Example::

        put_back(experiment)  # [{"learning_rate": None}, {"peft": None}, {"lora_rank": None}]
    """
    entries = _settings.named(base)
    there = _settings.settings_of(base.task, entries)
    changes: list[Settings] = [
        {word: None}
        for word, setting in there.items()
        if setting.section in _SECTIONS
        and word not in _NO_EFFECT
        and setting.of(base) != setting.default
    ]
    for section in extensions.ENTRIES:
        names = [name for kind, name in entries if kind == section and name != SUPERVISED]
        for name in names:
            others = [other for other in names if other != name]
            brought = dict.fromkeys(_brought(base, section, name, there))
            changes.append({section: others or None, **brought})
    return changes


def _brought(
    base: Experiment, section: str, name: str, there: dict[str, _settings.Setting]
) -> Iterator[str]:
    """Yield the settings that have the value that an entry gave them."""
    record: Any = extensions.load(extensions.ENTRIES[section], name)
    for of, values in getattr(record, "defaults", {}).items():
        for word, setting in there.items():
            given = setting.section == of and not setting.entry and setting.field in values
            if given and setting.of(base) == values[setting.field]:
                yield word
    if section == "augment" and len(base.augment) == 1:
        yield "augment_times"  # which has no effect without one


def report(trials: Sequence[Trial], options: Options) -> Report:
    """Return by how much each setting that is put back changes the score, on the same seeds.

    Example::

        report(trials, Options()).tables[0].header[:2]  # ("put back", "runs")
    """
    from tfnlp.evaluation import runs

    split, metric = _scores.headline(trials)
    less = runs.less_is_better(metric)
    base = {_seed(t): t for t in trials if not _scores.without_seed(t.settings)}
    groups: dict[str, list[float]] = {}
    names = {}
    for place, trial in enumerate(trials):
        change = _scores.without_seed(trial.settings)
        names[place] = name = _said(change, next(iter(base.values()), None), trial)
        if change:
            groups.setdefault(name, [])
            pair = [_scores.score(t, split, metric) for t in (trial, base.get(_seed(trial))) if t]
            if len(pair) == 2 and None not in pair:
                groups[name].append(pair[0] - pair[1])  # type: ignore[operator]
    found = {name: _scores.mean(each) for name, each in groups.items() if each}
    order = sorted(found, key=lambda name: found[name][0], reverse=less)
    rows: list[tuple[Any, ...]] = [
        (name, len(groups[name]), *map(_signed, found[name]), _verdict(found[name], less))
        for name in order
    ]
    rows += [(name, 0, "", "", "", "no pair of runs") for name in groups if name not in found]
    head = ("put back", "runs", f"{metric} ({split}) changes by", "95% from", "to", "the setting")
    scores = [s for t in base.values() if (s := _scores.score(t, split, metric)) is not None]
    given = [(f"{metric} ({split})", len(scores), _scores.cell(_scores.mean(scores)))]
    tables = [Table("Put back to the default", head, rows)]
    tables.append(
        Table("As given", ("metric", "runs", "mean (95% interval)"), given[: len(scores)])
    )
    quantity = f"change of {metric} ({split}) when put back"
    return Report(
        {},
        tables,
        {"ablation": partial(_draw, quantity, order, [found[name] for name in order])},
        _scores.failures(trials, names),
    )


def _seed(trial: Trial) -> int | None:
    """Return the seed that a trial was proposed with."""
    seed: int | None = trial.settings.get("seed")
    return seed


def _said(change: Settings, base: Trial | None, trial: Trial) -> str:
    """Return how a trial is called: ``learning_rate=0.0001, not 0.0003``."""
    if not change:
        return "as given"
    word = next(iter(change))
    before, after = (_value(t.experiment, word) if t else None for t in (base, trial))
    if before == after:  # the trial has no experiment, because its settings contradict others
        return word
    return f"{word}={after}, not {before}"


def _value(experiment: Experiment, word: str) -> str | None:
    """Return a setting's value as it is said; None if the experiment has no such setting."""
    entries = _settings.named(experiment)
    if word in extensions.ENTRIES:
        return _settings.shown([name for section, name in entries if section == word])
    setting = _settings.settings_of(experiment.task, entries).get(word)
    return _settings.shown(setting.of(experiment)) if setting else None


def _signed(value: float) -> str:
    """Return a difference as a table shows it."""
    text = _scores.number(value)
    return f"+{text}" if value > 0 else text


def _verdict(found: tuple[float, float, float], less: bool) -> str:
    """Return whether a setting helps, from the change of the score without it."""
    _, low, high = found
    if low > 0:
        return "helps" if less else "hurts"
    if high < 0:
        return "hurts" if less else "helps"
    return "cannot say"


def _draw(quantity: str, names: Sequence[str], points: Sequence[tuple[float, float, float]]) -> Any:
    """Draw the changes."""
    from tfnlp.evaluation import plots

    return plots.intervals(quantity, names, {"": points}, line=0.0)


STUDY = Study(
    summary="each setting that is not the default put back in its turn",
    options=Options,
    propose=propose,
    report=report,
)
