"""Which settings are best: a search over some of them, and the best judged on seeds of their own.

Trial 1 has the settings as they are; Optuna's TPE (Bergstra et al. 2011, "Algorithms for
hyper-parameter optimization") chooses the others. A trial that after an eighth, a quarter or half
of the epochs is worse than half of those before it is given up (asynchronous successive halving,
Li et al. 2020, https://arxiv.org/abs/1810.05934). With few rows settings are judged by
cross-validation: a trial for each fold, and none further of settings that were given up in one.
The best of thirty is partly the luckiest of thirty, so the finalists are trained again with other
seeds, beside the settings as they were.

Each choice follows from the trials before it and a seed of its own: a search of one process that
was killed ends as one that was not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipelines.errors import UserError
from tfnlp.config import Experiment
from tfnlp.extensions import SEEDS, Settings, Study, Trial
from tfnlp.options import option
from tfnlp.report import Report
from tfnlp.studies import _settings
from tfnlp.studies._search import judging, objectives, rows, sampling, tried
from tfnlp.studies._search.objectives import COSTS, Objective
from tfnlp.studies._search.space import (
    FIXED,
    applies,
    corners,
    count,
    every,
    params,
    space,
)
from tfnlp.studies._search.tried import FOLD, GIVE_UP, Tried

# What usually matters, by what the first improvement costs; tried where no --vary is given.
USUAL = (
    "learning_rate=2e-5..5e-4:log",
    "batch_size=16,32,64",
    "layer_decay=0.7,0.8,0.9,1.0",
    "dropout=0.0..0.3",
)
_RUNGS = 8  # share of the longest trial after which others may be given up
_ENOUGH = 4  # trials that have come as far, before one is given up
_SAMPLED = 100  # times that one is drawn anew if it was tried already


@dataclass(frozen=True)
class Options:
    """What is varied, and how many trials there are.

    Example::

        python -m tfnlp.study search --train rows.csv --vary learning_rate=1e-5..1e-3:log
    """

    vary: tuple[str, ...] = option(
        (),
        "a setting to vary, by its flag's words: NAME=LOW..HIGH, NAME=LOW..HIGH:log or "
        f"NAME=VALUE,VALUE; may be repeated (default: {'; '.join(USUAL)})",
        flag="--vary",
        metavar="NAME=VALUES",
        minimum=1,
    )
    trials: int = option(
        30,
        "settings that are tried, the defaults among them; each takes --search-folds trials",
        flag="--trials",
        minimum=2,
    )
    minutes: float | None = option(
        None,
        "try no further settings after this time; how many are tried then depends on the machine "
        "[min]",
        flag="--minutes",
        minimum=0.0,
    )
    sampler: Literal["tpe", "random"] = option(
        "tpe", "how settings are chosen: by what the trials before found, or at random"
    )
    objective: tuple[str, ...] = option(
        (),
        f"what is looked for: a metric of validation rows, or {', '.join(COSTS)}; may be repeated, "
        "and no trial is given up then (default: the first metric)",
        flag="--objective",
        metavar="NAME",
        minimum=1,
    )
    prune: bool = option(
        True,
        "give up trials that are worse than half of those before them; with several objectives, or "
        "one that is no metric, none is",
    )
    finalists: int = option(
        2, "settings that are trained again with other seeds; 0 is none", minimum=0
    )
    seeds: int = option(3, "seeds of each finalist and of the settings as they were", minimum=3)
    folds: int | None = option(
        None,
        "parts of the training rows, each of which in its turn judges every setting: "
        "cross-validation; 1 is none (default: 5 with fewer than 1,000 training rows and without "
        "rows for validation, else 1)",
        minimum=1,
    )
    set_aside: float = option(
        0.2,
        "share of the training rows that is set aside to judge the finalists where there are no "
        "test rows; 0 is none",
        minimum=0.0,
        maximum=0.9,
    )


def possible(options: Options) -> Sequence[Settings]:
    """Return settings that must be possible: each value once.

    Raises:
        UserError: a setting to vary cannot be read, or an objective is there twice.
    """
    objectives.check(options.objective)
    return corners(space(options.vary or USUAL))


def propose(base: Experiment, trials: Sequence[Trial], options: Options) -> Settings | None:
    """Return the next trial's settings: the base's own, then chosen ones, then the finalists'.

    Raises:
        UserError: Optuna is not installed, the base's rows cannot be used, or the trials have no
            such objective.

    Example::

        propose(experiment, [], Options())  # {}, the experiment as it is, or {"test_share": 0.2}
    """
    if not trials:
        return _first(base, options)
    _check_space(trials, options)
    _check_folds(trials, options)
    goals = objectives.objectives(trials, options.objective)
    searched = search_length(trials, options)
    if searched is None:
        return _searching(base, trials, options, goals)
    if any(trial.state == "running" for trial in trials[:searched]):
        return None
    for place, (settings, seed) in enumerate(_finals(base, trials[:searched], options)):
        if searched + place == len(trials):
            return {**_fixed(trials), **settings, "seed": seed}
    return None


def _first(base: Experiment, options: Options) -> Settings:
    """Return the first trial's settings, which say how all are judged.

    Raises:
        UserError: the base's rows cannot be used.
    """
    share = base.data.test_share
    settings: dict[str, Any] = {}
    if options.set_aside and not share and not rows.has_test(base.data):
        share = settings["test_share"] = options.set_aside
    folds = rows.folds(base, options.folds, share)
    return settings | ({FOLD: f"1/{folds}"} if folds > 1 else {})


def _fixed(trials: Sequence[Trial]) -> Settings:
    """Return what all trials have besides the settings that are varied, as the first one has it."""
    first = trials[0].settings
    return {name: first[name] for name in FIXED if name in first}


def _check_space(trials: Sequence[Trial], options: Options) -> None:
    """Raise UserError if trials have settings that the space as it is given now does not have."""
    held = {each.name: each for each in space(options.vary or USUAL)}
    for number, trial in enumerate(trials, 1):
        for name, given in trial.settings.items():
            own = name in (*FIXED, FOLD, GIVE_UP, "seed")
            if not own and (name not in held or not held[name].holds(given)):
                raise UserError(
                    f"trial {number} of this search has {_settings.said({name: given})}, which "
                    "--vary does not allow as it is given now (give it as the search was begun, "
                    "or begin another with --name)"
                )


def _check_folds(trials: Sequence[Trial], options: Options) -> None:
    """Raise UserError if a search is resumed with other folds."""
    folds = tried.folds_of(trials)
    if options.folds not in (None, folds):
        raise UserError(
            f"--search-folds {options.folds}: this search was begun with {folds} (leave it out, or "
            "begin another with --name)"
        )


def _searching(
    base: Experiment, trials: Sequence[Trial], options: Options, goals: Sequence[Objective]
) -> Settings | None:
    """Return the search's next trial: a fold of settings that were begun, or other settings."""
    settings = tried.group(trials)
    folds = tried.folds_of(trials)
    idle = next((one for one in settings if one.is_open and not one.is_running), None)
    if idle is not None:
        chosen, number = dict(idle.settings), len(idle.trials) + 1
    elif _enough(settings, trials, options):
        return None  # until other processes' trials have ended
    else:
        chosen, number = {**_fixed(trials), **_chosen(base, settings, options, goals)}, 1
    fold = {FOLD: f"{number}/{folds}"} if folds > 1 else {}
    same = [one.trials[number - 1] for one in settings if len(one.trials) >= number]
    lost = sum(one.is_given_up and len(one.trials) < number for one in settings)
    epochs = chosen.get("epochs", base.training.epochs)
    prune = options.prune and len(goals) == 1 and goals[0].name not in COSTS
    give_up = _least(same, epochs, lost) if prune else ()
    return {**fold, **chosen, **({GIVE_UP: give_up} if give_up else {})}


def search_length(trials: Sequence[Trial], options: Options) -> int | None:
    """Return how many of the trials are the search's, which ended after them; None if it has not.

    Example::

        search_length(trials, Options(trials=30))  # 30
    """
    for place in range(1, len(trials) + 1):
        settings = tried.group(trials[:place])
        ended = not any(one.is_open for one in settings)
        # What another process had begun by then is of the search too.
        last = place == len(trials) or _is_first_final(trials, place)
        if last and ended and _enough(settings, trials[:place], options):
            return place
    return None


def _is_first_final(trials: Sequence[Trial], place: int) -> bool:
    """Return whether a trial has the settings as they were, with the next seed."""
    seed = (trials[0].experiment.seed + 1) % SEEDS
    return trials[place].settings == {**_fixed(trials), "seed": seed}


def length(trials: Sequence[Trial], options: Options) -> int:
    """Return how many trials there are at most, those of the finals among them."""
    folds = tried.folds_of(trials) if trials else 1  # as the first trial says
    searched = min(options.trials, count(space(options.vary or USUAL))) * folds
    return int(searched) + (options.finalists + 1) * options.seeds * bool(options.finalists)


def _enough(settings: Sequence[Tried], trials: Sequence[Trial], options: Options) -> bool:
    """Return whether no further settings are to be tried."""
    dimensions = space(options.vary or USUAL)
    spent = sum(trial.seconds for trial in trials)
    late = options.minutes is not None and spent >= 60 * options.minutes
    different = {repr(own) for one in settings if (own := params(one.settings, dimensions))}
    return len(settings) >= options.trials or late or len(different) >= count(dimensions)


def _chosen(
    base: Experiment, settings: Sequence[Tried], options: Options, goals: Sequence[Objective]
) -> Settings:
    """Return settings that were not tried, chosen by what those so far have found."""
    optuna = sampling.optuna()
    dimensions = space(options.vary or USUAL)
    there = [params(one.settings, dimensions) for one in settings]
    for attempt in range(_SAMPLED):
        # A sampler that is made anew would begin with the same numbers each time.
        seed = (base.seed * 1_000_003 + len(settings) * _SAMPLED + attempt) % 2**32
        startup = max(5, len(dimensions) + 2)
        with sampling.silent():
            sampler = (
                optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup)
                if options.sampler == "tpe"
                else optuna.samplers.RandomSampler(seed=seed)
            )
            study = sampling.told(settings, dimensions, goals, sampler)
            trial = study.ask()
            chosen: dict[str, Any] = {}
            for each in dimensions:
                if applies(each, chosen, dimensions):
                    chosen[each.name] = each.suggest(trial)
        if chosen not in there and _settings.effective(base, chosen, "--vary"):
            return chosen  # other than the settings as they are, which the first trial has
    return next((one for one in every(dimensions) if one not in there), chosen)


def _least(trials: Sequence[Trial], epochs: int | None = None, lost: int = 0) -> tuple[str, ...]:
    """Return what a trial must reach after 1, 2, 4, ... epochs: what half of those before did.

    Args:
        trials: those before, of the same fold.
        epochs: of this one, if they are known.
        lost: settings that were given up in an earlier fold.
    """
    longest = max((len(trial.history) for trial in trials), default=0)
    rungs = []
    rung = max(1, longest // _RUNGS)  # after the first of many epochs luck decides
    while rung < min(longest, epochs or longest):
        rungs.append(rung)
        rung *= 2
    found = tried.least(trials, rungs, _ENOUGH, lost)
    return tuple(f"{rung}={value:.6g}" for rung, value in found.items())


def _finals(
    base: Experiment, searched: Sequence[Trial], options: Options
) -> Iterator[tuple[Settings, int]]:
    """Yield the settings and seeds of the finals, a seed at a time."""
    contenders = _contenders(searched, options)
    if len(contenders) == 1:
        return
    for number in range(1, options.seeds + 1):
        for settings in contenders:
            start = settings.get("seed", base.seed)
            yield settings, (start + number) % SEEDS


def _contenders(searched: Sequence[Trial], options: Options) -> list[Settings]:
    """Return what the finals train with each seed: the settings as they were, and the finalists."""
    return [{}, *finalists(searched, options)]


def finalists(searched: Sequence[Trial], options: Options) -> list[Settings]:
    """Return the best settings of a search that ran to their end, without the base's own.

    With several objectives they are of the Pareto front.
    """
    dimensions = space(options.vary or USUAL)
    there = tried.group(searched)
    found: list[Settings] = []
    goals = objectives.objectives(searched, options.objective)
    for place in objectives.ranked(there, goals):
        settings = params(there[place].settings, dimensions)
        if place and settings and settings not in found:
            found.append(settings)
    return found[: options.finalists]


def best(trials: Sequence[Trial], options: Options) -> int | None:
    """Return which trial is the one to take: of the finals if there are, else of the search."""
    goals = objectives.objectives(trials, options.objective)
    searched = search_length(trials, options)
    return judging.best(trials, searched, _contenders(trials[:searched], options), goals)


def report(trials: Sequence[Trial], options: Options) -> Report:
    """Return the trials, what the finals say of the best, and which settings mattered."""
    _check_space(trials, options)
    dimensions = space(options.vary or USUAL)
    searched = search_length(trials, options)
    goals = objectives.objectives(trials, options.objective)

    def importance(some: Sequence[Tried]) -> Mapping[str, float]:
        optuna = sampling.optuna()
        with sampling.silent():
            return dict(
                optuna.importance.get_param_importances(sampling.told(some, dimensions, goals[:1]))
            )

    contenders = _contenders(trials[:searched], options)
    return judging.report(trials, searched, contenders, dimensions, goals, importance)


STUDY = Study(
    summary="the best settings, found by trying some and judged on seeds of their own",
    options=Options,
    propose=propose,
    report=report,
    possible=possible,
    best=best,
    length=length,
)
