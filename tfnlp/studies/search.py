"""Which settings are best: a search over some of them, and the best judged on seeds of their own.

Trial 1 has the settings as they are; Optuna's TPE (Bergstra et al. 2011, "Algorithms for
hyper-parameter optimization") chooses the others. A trial that after an eighth, a quarter or half
of the epochs is worse than half of those before it is given up (asynchronous successive halving,
Li et al. 2020, https://arxiv.org/abs/1810.05934). The best of thirty is partly the luckiest of
thirty, so the finalists are trained again with other seeds, beside the settings as they were.

Each choice follows from the trials before it and a seed of its own: a search of one process that
was killed ends as one that was not.
"""

from __future__ import annotations

import logging
import statistics
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from pipelines.errors import UserError
from tfnlp.config import Experiment
from tfnlp.evaluation import runs
from tfnlp.extensions import SEEDS, Settings, Study, Trial
from tfnlp.options import option
from tfnlp.report import Report
from tfnlp.studies._search import judging
from tfnlp.studies._search.rows import has_test
from tfnlp.studies._search.space import (
    FIXED,
    Dimension,
    applies,
    corners,
    count,
    every,
    params,
    space,
)

# What usually matters, by what the first improvement costs; tried where no --vary is given.
USUAL = (
    "learning_rate=2e-5..5e-4:log",
    "batch_size=16,32,64",
    "layer_decay=0.7,0.8,0.9,1.0",
    "dropout=0.0..0.3",
)
GIVE_UP = "give_up"
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
        30, "trials of the search, the defaults among them [runs]", flag="--trials", minimum=2
    )
    minutes: float | None = option(
        None,
        "begin no further trial of the search after this time; how many there are then depends on "
        "the machine [min]",
        flag="--minutes",
        minimum=0.0,
    )
    sampler: Literal["tpe", "random"] = option(
        "tpe", "how settings are chosen: by what the trials before found, or at random"
    )
    prune: bool = option(True, "give up trials that are worse than half of those before them")
    finalists: int = option(
        2, "settings that are trained again with other seeds; 0 is none", minimum=0
    )
    seeds: int = option(3, "seeds of each finalist and of the settings as they were", minimum=3)
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
        UserError: a setting to vary cannot be read.
    """
    return corners(space(options.vary or USUAL))


def propose(base: Experiment, trials: Sequence[Trial], options: Options) -> Settings | None:
    """Return the next trial's settings: the base's own, then chosen ones, then the finalists'.

    Raises:
        UserError: Optuna is not installed.

    Example::

        propose(experiment, [], Options())  # {}, the experiment as it is, or {"test_share": 0.2}
    """
    fixed = _fixed(base, trials, options)
    if not trials:
        return fixed
    searched = search_length(trials, options)
    if searched is None:
        chosen = _chosen(base, trials, options)
        epochs = chosen.get("epochs", base.training.epochs)
        give_up = _least(trials, epochs) if options.prune else ()
        return {**fixed, **chosen, **({GIVE_UP: give_up} if give_up else {})}
    if any(trial.state == "running" for trial in trials[:searched]):
        return None
    for place, (settings, seed) in enumerate(_finals(base, trials[:searched], options)):
        if searched + place == len(trials):
            return {**fixed, **settings, "seed": seed}
    return None


def _fixed(base: Experiment, trials: Sequence[Trial], options: Options) -> Settings:
    """Return what all trials have besides the settings that are varied: as the first one has it.

    Raises:
        UserError: there is no first one, and the base's data set cannot be used.
    """
    if trials:
        return {name: trials[0].settings[name] for name in FIXED if name in trials[0].settings}
    if not options.set_aside or base.data.test_share or has_test(base.data):
        return {}
    return {"test_share": options.set_aside}


def search_length(trials: Sequence[Trial], options: Options) -> int | None:
    """Return how many of the trials are the search's, which ended after them; None if it has not.

    Example::

        search_length(trials, Options(trials=30))  # 30
    """
    dimensions = space(options.vary or USUAL)
    most = count(dimensions)
    tried: set[str] = set()
    spent = 0.0
    for place, trial in enumerate(trials, 1):
        settings = params(trial.settings, dimensions)
        tried |= {repr(settings)} if settings else set()
        spent += trial.seconds
        late = options.minutes is not None and spent >= 60 * options.minutes
        if place >= options.trials or late or len(tried) >= most:
            return place
    return None


def _chosen(base: Experiment, trials: Sequence[Trial], options: Options) -> Settings:
    """Return settings that no trial had, chosen by what the trials so far have found."""
    optuna = _optuna()
    dimensions = space(options.vary or USUAL)
    tried = [params(trial.settings, dimensions) for trial in trials]
    for attempt in range(_SAMPLED):
        # A sampler that is made anew would begin with the same numbers each time.
        seed = (base.seed * 1_000_003 + len(trials) * _SAMPLED + attempt) % 2**32
        startup = max(5, len(dimensions) + 2)
        with _silent():
            sampler = (
                optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup)
                if options.sampler == "tpe"
                else optuna.samplers.RandomSampler(seed=seed)
            )
            study = told(trials, dimensions, sampler)
            trial = study.ask()
            settings: dict[str, Any] = {}
            for each in dimensions:
                if applies(each, settings, dimensions):
                    settings[each.name] = each.suggest(trial)
        if settings not in tried:
            return settings
    return next((s for s in every(dimensions) if s not in tried), settings)


def told(trials: Sequence[Trial], dimensions: Sequence[Dimension], sampler: Any = None) -> Any:
    """Return a study of Optuna's that knows the trials."""
    optuna = _optuna()
    states = optuna.trial.TrialState
    judged = next((trial.metrics for trial in trials if trial.metrics), None)
    less = judged is not None and runs.less_is_better(runs.headline(judged))
    study = optuna.create_study(
        direction="minimize" if less else "maximize", sampler=sampler, storage=None
    )
    held = {each.name: each for each in dimensions}
    for trial in trials:
        own = params(trial.settings, dimensions)
        value = judging.score(trial)
        ended = states.FAIL if value is None else states.COMPLETE
        study.add_trial(
            optuna.trial.create_trial(
                params=dict(own),
                distributions={name: held[name].distribution() for name in own},
                value=value,
                state=states.RUNNING if trial.state == "running" else ended,
            )
        )
    return study


def _least(trials: Sequence[Trial], epochs: int | None = None) -> tuple[str, ...]:
    """Return what a trial must reach after 1, 2, 4, ... epochs: what half of those before did.

    Args:
        trials: those before.
        epochs: of this one, if they are known.
    """
    found: list[str] = []
    longest = max(len(trial.history) for trial in trials)
    rung = max(1, longest // _RUNGS)  # after the first of many epochs luck decides
    while rung < min(longest, epochs or longest):
        reached = [best for t in trials if (best := judging.best_until(t, rung)) is not None]
        if len(reached) < _ENOUGH:
            break
        found.append(f"{rung}={statistics.median(reached):.6g}")
        rung *= 2
    return tuple(found)


def _finals(
    base: Experiment, searched: Sequence[Trial], options: Options
) -> Iterator[tuple[Settings, int]]:
    """Yield the settings and seeds of the finals, a seed at a time."""
    contenders = [{}, *(s for s in finalists(searched, options))]
    if len(contenders) == 1:
        return
    for number in range(1, options.seeds + 1):
        for settings in contenders:
            start = settings.get("seed", base.seed)
            yield settings, (start + number) % SEEDS


def finalists(searched: Sequence[Trial], options: Options) -> list[Settings]:
    """Return the best settings of a search that ran to their end, without the base's own."""
    dimensions = space(options.vary or USUAL)
    left = [trial for trial in searched[1:] if trial.metrics and not judging.gave_up(trial)]
    found: list[Settings] = []
    while left and len(found) < options.finalists:
        place = runs.best([trial.metrics for trial in left])
        if place is None:
            break
        settings = params(left.pop(place).settings, dimensions)
        if settings and settings not in found:
            found.append(settings)
    return found


def best(trials: Sequence[Trial], options: Options) -> int | None:
    """Return which trial is the one to take: of the finals if there are, else of the search."""
    return judging.best(trials, search_length(trials, options))


def report(trials: Sequence[Trial], options: Options) -> Report:
    """Return the trials, what the finals say of the best, and which settings mattered."""
    dimensions = space(options.vary or USUAL)
    searched = search_length(trials, options)

    def importance(some: Sequence[Trial]) -> Mapping[str, float]:
        optuna = _optuna()
        with _silent():
            return dict(optuna.importance.get_param_importances(told(some, dimensions)))

    return judging.report(trials, searched, dimensions, importance)


def _optuna() -> Any:
    """Return Optuna, which comes with an extra.

    Raises:
        UserError: it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise UserError("search needs optuna (pip install -e '.[search]')") from error
    return optuna


@contextmanager
def _silent() -> Iterator[None]:
    """Hold back what Optuna logs and warns of, none of which a user can act on."""
    logger = logging.getLogger("optuna")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


STUDY = Study(
    summary="the best settings, found by trying some and judged on seeds of their own",
    options=Options,
    propose=propose,
    report=report,
    possible=possible,
    best=best,
)
