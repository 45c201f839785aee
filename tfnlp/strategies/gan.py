"""A language model trained further against a discriminator, compared with it before that.

The model by likelihood is trained first, as without this strategy, and both are measured at several
temperatures, because likelihood with a lower temperature is the rival that language GANs mostly
lose to (Caccia et al. 2020, "Language GANs falling short", https://arxiv.org/abs/1811.02549).

Dimensions: N rows, T tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from pipelines.errors import UserError
from tfnlp.extensions import Outcome, Source, Strategy, TrainedModel, Trainer
from tfnlp.options import option
from tfnlp.report import Report, Table

if TYPE_CHECKING:
    import numpy as np

    from pipelines.rows import Rows
    from tfnlp.config import Experiment
    from tfnlp.evaluation.quality_diversity import Gap, Held, Point
    from tfnlp.strategies._gan.players import Writer
    from tfnlp.task import Task

TEMPERATURES = (0.6, 0.8, 1.0, 1.2, 1.4)
MLE, GAN = "MLE", "GAN"
_WATCHED, _CHOSEN, _JUDGED = 1, 2, 3  # seeds of samples: none serves for choice and test
_SHOWN = 8  # texts of each that a person is shown
_MOST_HELD = 5_000  # rows of a split that others are compared with


@dataclass(frozen=True)
class Options:
    """Options of adversarial training.

    Example::

        python -m tfnlp.train --task language_model --strategy gan --gan-steps 300 --gan-warmup 50
    """

    steps: int = option(1000, "adversarial steps in all [batches]", minimum=1)
    warmup: int = option(
        100, "of these, first ones in which only the discriminator learns [batches]", minimum=0
    )
    batch_size: int = option(
        64, "texts written in a step, and real ones [rows]", minimum=2, maximum=10_000
    )
    generator_rate: float = option(3e-5, "learning rate of the generator", minimum=0.0)
    discriminator_rate: float = option(1e-3, "learning rate of the discriminator", minimum=0.0)
    discount: float = option(0.23, "what a reward one token later counts", minimum=0.0, maximum=1.0)
    evaluate_every: int = option(100, "steps between evaluations [batches]", minimum=1)
    judged: int = option(
        500, "texts in each of the two samples that are measured [rows]", minimum=2, maximum=100_000
    )
    keep: Literal["gan", "mle", "better"] = option(
        "better",
        "whose weights are exported; the better is that of the lower reverse perplexity at "
        "temperature 1 on validation",
    )


def fits(task: Task, experiment: Experiment, own: Options) -> None:
    """Raise UserError for what cannot be trained so.

    Example::

        fits(task, experiment, Options(steps=10, warmup=10))  # UserError
    """
    training, options = experiment.training, experiment.options
    if getattr(options, "unit", None) is None:
        raise UserError(
            "--strategy gan is for a task that learns from single texts (language_model), not for "
            f"{experiment.task}"
        )
    if options.pair:
        raise UserError(
            "--strategy gan generates texts without a prompt and cannot be used with --pair"
        )
    if options.unit != "row":
        raise UserError(
            f"--strategy gan learns from texts one by one, not with --unit {options.unit} (leave "
            "--unit out, or say --unit row)"
        )
    if training.distribute != "none":
        raise UserError(
            f"--strategy gan trains on one device, not with --distribute {training.distribute}"
        )
    if training.precision == "mixed_float16":
        raise UserError("--strategy gan cannot be used with --precision mixed_float16")
    for name in ("generator", "discriminator"):
        if not getattr(own, f"{name}_rate"):
            raise UserError(f"--gan-{name}-rate 0 trains no {name} (raise it)")
    if own.warmup >= own.steps:
        raise UserError(
            f"--gan-warmup {own.warmup} leaves the generator none of --gan-steps "
            f"{own.steps} (it must be less)"
        )


def train(trainer: Trainer) -> Outcome:
    """Train by likelihood, then adversarially; measure both and set the weights that are kept.

    Example::

        outcome = train(trainer)  # as python -m tfnlp.train does with --strategy gan
    """
    from tfnlp.strategies._gan import players

    own, model, seed = trainer.options, trainer.model, trainer.experiment.seed
    trainer.fit()
    likelihood = model.network.get_weights()
    step = players.Adversarial(model.context, own, seed)
    writer = players.Writer(model.context, model.network)
    watched = held(model, writer, trainer.splits.validation)

    def score() -> dict[str, float]:
        point = written(writer, watched, 1.0, 2 * own.judged, _WATCHED)
        found = {n: point.mean(n) for n in ("reverse_perplexity", "bleu", "self_bleu")}
        learned = step.taken > own.warmup
        return {"score": -found["reverse_perplexity"] if learned else -math.inf, **found}

    epochs = -(-own.steps // own.evaluate_every)
    trainer.fit(
        step,
        train=Source(
            partial(drawn, trainer.splits.train, own, trainer.experiment.seed), mixed=True
        ),
        name="gan",
        settings={"training": {"epochs": epochs, "patience": epochs, "batch_size": own.batch_size}},
        score=score,
    )
    weights = {MLE: likelihood, GAN: model.network.get_weights()}
    return _judged(trainer, writer, watched, weights)


def drawn(rows: Rows, own: Options, seed: int, epoch: int) -> Rows:
    """Draw the real texts between two evaluations, with repetition.

    Example::

        drawn(train, Options(evaluate_every=100, batch_size=64), seed=42, epoch=0)  # 6,400 rows
    """
    import numpy as np

    steps = min(own.evaluate_every, own.steps - epoch * own.evaluate_every)
    texts = rows.columns["text"]
    there = [place for place, text in enumerate(texts) if text.strip()]
    places = np.random.default_rng((seed, epoch)).integers(len(there), size=steps * own.batch_size)
    return rows.take([there[place] for place in places])


def padded(model: TrainedModel, rows: Any) -> np.ndarray:
    """Return rows of token ids, int32 (N, T + 1), with the pad id where there is nothing.

    Example::

        padded(model, [[1, 5, NOTHING]])  # [[1, 5, pad_id]]
    """
    import numpy as np

    from pipelines.encoding.masking import NOTHING

    ids = np.asarray(rows)
    return np.where(ids == NOTHING, model.context.tokenizer.pad_id, ids).astype(np.int32)


def ids_of(model: TrainedModel, rows: Rows) -> np.ndarray:
    """Turn rows, of many those that stand evenly spaced, into token ids, int32 (N, T + 1).

    Example::

        ids_of(model, splits.validation)[0]  # start, tokens, end, padding
    """
    import numpy as np

    from pipelines.encoding import prompts, single_sentences

    tokenizer = model.context.tokenizer
    places = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _MOST_HELD)).round())
    texts = rows.take(places.astype(int).tolist()).columns["text"]
    ends = {"start": prompts.document_id(tokenizer), "end": tokenizer.end_id}
    return padded(model, single_sentences.rows(tokenizer, texts, model.context.max_length, **ends))


def held(model: TrainedModel, writer: Writer, rows: Rows) -> Held:
    """Return rows as a reference, in the spelling that the vocabulary gives back.

    Example::

        reference = held(model, writer, splits.validation)
    """
    from tfnlp.evaluation.quality_diversity import Held

    ids = ids_of(model, rows)
    return Held(writer.texts(ids), lists(writer, ids), model.context.tokenizer.vocabulary_size)


def lists(writer: Writer, ids: np.ndarray) -> list[list[int]]:
    """Return each row's tokens, int32 (N, T + 1), from after its start to its end.

    Example::

        lists(writer, writer.rows(2, 1.0, seed=1))  # two lists of token ids
    """
    there = writer.inside(ids).numpy()
    return [row[1:][here].tolist() for row, here in zip(ids, there, strict=True)]


def written(writer: Writer, by: Held, temperature: float, count: int, seed: int) -> Point:
    """Have texts written and measure them in two halves.

    Example::

        point = written(writer, reference, temperature=1.0, count=1000, seed=1)
        point.mean("self_bleu")
    """
    ids = writer.rows(count, temperature, seed)
    return by.point(f"{temperature:g}", writer.texts(ids), lists(writer, ids))


def _judged(trainer: Trainer, writer: Writer, watched: Held, weights: dict[str, Any]) -> Outcome:
    """Measure both models, choose the one that is kept and report what was measured."""
    import numpy as np

    from tfnlp.evaluation import quality_diversity

    options, model, splits = trainer.options, trainer.model, trainer.splits
    judged = held(model, writer, splits.test) if splits.test else watched
    real = ids_of(model, splits.validation if splits.test else splits.train)
    real = np.random.default_rng(trainer.experiment.seed).permutation(real)
    # Self-BLEU grows with the number of texts: every sample has as many as the real one.
    count = max(4, min(2 * options.judged, len(real)))
    curves: dict[str, Sequence[Point]] = {}
    chosen: dict[str, Point] = {}
    shown: dict[str, list[str]] = {}
    for name, values in weights.items():
        model.network.set_weights(values)
        curves[name] = [written(writer, judged, t, count, _JUDGED) for t in TEMPERATURES]
        chosen[name] = written(writer, watched, 1.0, 2 * options.judged, _CHOSEN)
        shown[name] = writer.texts(writer.rows(_SHOWN, 1.0, _JUDGED))
    texts = writer.texts(real[:count])
    curves["real text"] = [judged.point("real", texts, lists(writer, real[:count]))]
    reverse = {name: point.mean("reverse_perplexity") for name, point in chosen.items()}
    kept = (
        min(reverse, key=reverse.__getitem__) if options.keep == "better" else options.keep.upper()
    )
    model.network.set_weights(weights[kept])
    found = quality_diversity.gap(curves[GAN], curves[MLE])
    sentences = [
        quality_diversity.verdict("the GAN", "likelihood (MLE)", found),
        f"the weights kept are the {kept}'s (--gan-keep {options.keep}): reverse perplexity "
        f"at temperature 1 on validation is {reverse[MLE]:.1f} by the MLE and {reverse[GAN]:.1f} "
        "by the GAN",
    ]
    return Outcome(_report(curves, shown, found, sentences), {"weights": kept})


def _report(
    curves: dict[str, Sequence[Point]],
    shown: dict[str, list[str]],
    found: Gap | None,
    sentences: list[str],
) -> Report:
    """Put what was measured into tables, a picture and numbers."""
    from tfnlp.evaluation import quality_diversity

    middle = TEMPERATURES.index(1.0)
    metrics = {
        f"{name.lower()}_{measure}": curves[name][middle].mean(measure)
        for name in (MLE, GAN)
        for measure in ("bleu", "self_bleu", "reverse_perplexity")
    }
    if found is not None:
        metrics["gan_bleu_gain_at_equal_diversity"] = sum(found.halves) / 2
    tables = [
        quality_diversity.table("MLE and GAN", curves),
        Table("Written at temperature 1", tuple(shown), list(zip(*shown.values(), strict=True))),
        Table("As measured", ("finding",), [(sentence,) for sentence in sentences]),
    ]
    figures = {"quality_and_diversity": lambda: quality_diversity.picture(curves)}
    return Report(metrics, tables, figures)


STRATEGY = Strategy(
    summary="maximum likelihood, then against a discriminator; reports both (language_model)",
    options=Options,
    train=train,
    fits=fits,
    defaults={"task": {"unit": "row", "max_length": 24, "max_tokens": 24}},
)
