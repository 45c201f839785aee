"""Knowledge fusion: runs of several domains become one, by their answers or their weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pipelines.errors import UserError
from tfnlp.config import Experiment
from tfnlp.extensions import Outcome, Source, Strategy, Trainer
from tfnlp.options import option
from tfnlp.report import Report, Table
from tfnlp.strategies import _fusion, _rehearsal, _unlabelled, _weights
from tfnlp.strategies._fusion import Parent
from tfnlp.task import Task

if TYPE_CHECKING:
    from pipelines.rows import Rows

_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # of the sum that are tried


@dataclass(frozen=True)
class Options:
    """Which runs become one, and how.

    Example::

        python -m tfnlp.train --train few.csv --strategy fusion --fusion-runs A --fusion-runs B
    """

    runs: tuple[str, ...] = option(
        (), "the folder of an earlier run; given several times", metavar="RUN"
    )
    by: Literal["answers", "task-vectors", "soup"] = option(
        "answers",
        "answers: a new model learns what the runs answer; task-vectors: what each learned is "
        "added to the backbone; soup: their weights are averaged where that helps validation rows",
    )
    unlabelled: str | None = option(
        None,
        "a file of further texts for the runs to answer, with the columns of the training file but "
        "for its targets",
        metavar="FILE",
    )
    weight: float = option(
        1.0, "what the distance from the runs' answers is multiplied by", minimum=0.0
    )
    temperature: float = option(
        2.0, "that softens the probabilities of both", minimum=0.01, maximum=100.0
    )


def fits(task: Task, experiment: Experiment, options: Options) -> None:
    """Refuse a fusion of fewer than two runs, and settings that contradict one another.

    Raises:
        UserError: a sentence.

    Example::

        fits(load("classification"), experiment, Options(runs=("a", "b")))
    """
    if len(set(options.runs)) < 2:
        raise UserError("--strategy fusion needs --fusion-runs (two or more folders of runs)")
    if task.writing is not None or task.pack is not None:
        raise UserError(
            f"--strategy fusion is not for {experiment.task} (take a task that labels or compares "
            "texts)"
        )
    if experiment.augment:
        raise UserError(
            "--augment changes the texts that the runs have answered (leave it out with --strategy "
            "fusion)"
        )
    if options.by == "answers":
        return
    for name in ("unlabelled", "weight", "temperature"):
        if getattr(options, name) != getattr(Options(), name):
            raise UserError(
                f"--fusion-{name} is about answers, and --fusion-by {options.by} asks for none "
                "(leave it out)"
            )
    if experiment.peft:
        raise UserError(
            f"--fusion-by {options.by} makes weights of the whole backbone, of which --peft "
            f"{experiment.peft.name} would keep none (leave out --peft; the runs may have it)"
        )


def train(trainer: Trainer) -> Outcome:
    """Make one model of several runs, and report each of them and it on each one's rows.

    Example::

        train(trainer).report.tables[0].rows

    Source: `_answered`, `_added` and `tfnlp.strategies._weights.soup` name theirs.
    """
    own = trainer.options
    every = _fusion.parents(trainer, own.runs)
    if own.by == "soup":
        trained = {
            one.name: _weights.same_beginning(trainer, one.name, _fusion.FLAG) for one in every
        }
        taken = _weights.soup(trainer, trained)
        done = f"average of {len(taken)} of {len(every)} runs"
        return Outcome(report(trainer, every, done, {"runs_averaged": float(len(taken))}))
    if own.by == "task-vectors":
        _fusion.check_beginning(trainer, every)
    facts = _fusion.joined_facts(trainer, every)
    fused = trainer
    if facts is not None:
        fused = trainer.beside(trainer.experiment, trainer.splits, facts)
    if own.by == "answers":
        _answered(fused, every)
        done, found = "the runs' answers", {}
    else:
        share = _added(fused, every)
        done, found = f"{share:g} of what the runs learned", {"share": share}
    told = report(fused, every, done, found)
    return Outcome(told, model=None if fused is trainer else fused.model)


def _answered(trainer: Trainer, every: Sequence[Parent]) -> None:
    """Fit on the labels and on what the runs answer, to further texts too.

    Source: Hinton et al. 2015, "Distilling the knowledge in a neural network", section 2
        (https://arxiv.org/abs/1503.02531), with several teachers of unlike labels.
    """
    own = trainer.options
    more = _unlabelled.read(trainer, own.unlabelled)

    def answered(name: str, rows: Rows, targets: bool) -> Source:
        said = trainer.kept(f"answers_{name}", lambda: _fusion.answers(trainer, every, rows))
        return Source(rows, targets=targets, extras={_rehearsal.SAID: said})

    trainer.fit(
        _rehearsal.make(0.0, own.weight, own.temperature),
        train=answered("train", trainer.splits.train, True),
        beside={"more": answered("more", more, False)} if more else None,
    )


def _added(trainer: Trainer, every: Sequence[Parent]) -> float:
    """Add what runs learned to the backbone, as much of it as validation rows like best.

    Returns:
        What the sum is multiplied by.

    Source: Ilharco et al. 2023, "Editing models with task arithmetic", sections 2 and 4.2
        (https://arxiv.org/abs/2212.04089); heads are joined by their labels' names.
    """
    from tfnlp.evaluation.runs import less_is_better
    from tfnlp.training import answering

    model: Any = trainer.model
    trained = [_weights.whole(one.model) for one in every]
    paths = _fusion.backbone_paths(trainer)
    before = _weights.weights_of(model.network)
    for weights in trained:
        paths &= weights.keys()
    head = _fusion.joined_heads(trainer, every, trained)

    def put(share: float) -> None:
        _weights.put(model.network, {**_fusion.added(before, trained, paths, share), **head})

    found: dict[float, float] = {}
    for share in trainer.tracked(_SHARES, "trying shares"):
        put(share)
        metrics = answering.evaluate(model, trainer.splits.validation).metrics
        metric, value = next(iter(metrics.items()))
        found[share] = -value if less_is_better(metric) else value
    best: float = max(found, key=lambda share: found[share])
    put(best)
    return best


def report(
    trainer: Trainer, every: Sequence[Parent], done: str, metrics: dict[str, float]
) -> Report:
    """Return how each run and the fused model do on the rows that each run was judged on.

    Args:
        trainer: of the fused model.
        every: the runs.
        done: what the fused model was made of.
        metrics: what else is to be kept.

    Example::

        report(fused, every, "the runs' answers", {}).tables[0].rows
    """
    rows, warnings = [], []
    metric = ""
    for place, (domain, found) in enumerate(_fusion.domains(every), 1):
        if isinstance(found, str):
            warnings.append(f"the rows of {domain.name} cannot be read: {found}")
            continue
        cells = []
        for number, one in enumerate(every, 1):
            metric, value = _fusion.score(trainer, one.model, found)
            metrics = {**metrics, f"domain_{place}_run_{number}_{metric}": value}
            cells.append(f"{value:.4f}")
        metric, value = _fusion.score(trainer, trainer.model, found)
        metrics = {**metrics, f"domain_{place}_fused_{metric}": value}
        rows.append((f"rows of {domain.short} ({len(found)})", *cells, f"{value:.4f}"))
    header = ("domain", *(one.short for one in every), "fused")
    title = f"Domains, runs and {done}" + (f" ({metric})" if metric else "")
    return Report(metrics, [Table(title, header, rows)] if rows else [], warnings=warnings)


STRATEGY = Strategy(
    summary="make one model of runs of several domains, by their answers or their weights",
    options=Options,
    train=train,
    fits=fits,
)
