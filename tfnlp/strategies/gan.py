"""A language model trained on against a discriminator, beside itself as likelihood left it.

The model by likelihood is trained first, as without this strategy, and both are measured at several
temperatures, because likelihood with a lower temperature is the rival that language GANs mostly
lose to (Caccia et al. 2020, "Language GANs falling short", https://arxiv.org/abs/1811.02549).

Dimensions: N rows, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pipelines.errors import UserError
from tfnlp.extensions import Outcome, Stage, Strategy
from tfnlp.options import option
from tfnlp.report import Report, Table

if TYPE_CHECKING:
    import numpy as np

    from pipelines.rows import Rows
    from tfnlp.config import Experiment
    from tfnlp.evaluation.quality_diversity import Gap, Held, Point
    from tfnlp.strategies._gan.players import Settings, Writer

TEMPERATURES = (0.6, 0.8, 1.0, 1.2, 1.4)
MLE, GAN = "MLE", "GAN"
_WATCHED, _CHOSEN, _JUDGED = 1, 2, 3  # seeds of samples: weights are not judged on what chose them
_SHOWN = 8  # texts of each that a person is shown
_MOST_HELD = 5_000  # rows of a split that others are compared with


@dataclass(frozen=True)
class Options:
    """Options of adversarial training."""

    gan_steps: int = option(1000, "adversarial steps in all [batches]", minimum=1)
    gan_warmup: int = option(
        100, "of these, first ones in which only the discriminator learns [batches]", minimum=0
    )
    gan_batch_size: int = option(64, "texts written in a step, and real ones [rows]", minimum=2)
    gan_generator_rate: float = option(3e-5, "learning rate of the generator", minimum=0.0)
    gan_discriminator_rate: float = option(1e-3, "learning rate of the discriminator", minimum=0.0)
    gan_discount: float = option(
        0.23, "what a reward one token later counts", minimum=0.0, maximum=1.0
    )
    gan_evaluate_every: int = option(100, "steps between evaluations [batches]", minimum=1)
    gan_judged: int = option(
        500, "texts in each of the two samples that are measured [rows]", minimum=2
    )
    gan_keep: Literal["gan", "mle", "better"] = option(
        "better",
        "whose weights are exported; the better is that of the lower reverse perplexity at "
        "temperature 1 on validation",
    )


def check(experiment: Experiment, own: Options) -> None:
    """Raise UserError for what cannot be trained so."""
    name, training, options = experiment.task, experiment.training, experiment.options
    if name.replace("-", "_") != "language_model":
        raise UserError(f"--strategy gan is for --task language_model, not for {name}")
    if options.pair:
        raise UserError("--strategy gan writes from nothing and cannot be used with --pair")
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
    if own.gan_warmup >= own.gan_steps:
        raise UserError(
            f"--gan-warmup {own.gan_warmup} leaves the generator none of --gan-steps "
            f"{own.gan_steps} (it must be less)"
        )


def after(stage: Stage) -> Outcome:
    """Train adversarially, measure both and set the weights that are kept."""
    from tfnlp.strategies._gan import players as adversarial

    options = stage.options
    likelihood = stage.network.get_weights()
    players = adversarial.Players(stage.context, stage.network, settings(stage))
    writer = players.writer
    watched = held(stage, writer, stage.validation)
    count = 2 * options.gan_judged

    def measure() -> dict[str, float]:
        point = written(writer, watched, 1.0, count, _WATCHED)
        return {n: point.mean(n) for n in ("reverse_perplexity", "bleu", "self_bleu")}

    state = adversarial.train(
        players,
        padded(stage, stage.raw["blocks"]),
        measure,
        stage.folder,
        resume=stage.resume,
        log_scalars=stage.log,
    )
    weights = {MLE: likelihood, GAN: stage.network.get_weights()}
    return _judged(stage, writer, watched, weights, state.best_step)


def settings(stage: Stage) -> Settings:
    """Return how to train."""
    from tfnlp.strategies._gan import players as adversarial

    options = stage.options
    return adversarial.Settings(
        steps=options.gan_steps,
        warmup=options.gan_warmup,
        evaluate_every=options.gan_evaluate_every,
        batch_size=options.gan_batch_size,
        generator_rate=options.gan_generator_rate,
        discriminator_rate=options.gan_discriminator_rate,
        discount=options.gan_discount,
        seed=stage.experiment.seed,
        minutes=stage.experiment.training.checkpoint_minutes,
    )


def padded(stage: Stage, rows: Any) -> np.ndarray:
    """Return rows of token ids, int32 (N, T + 1), with the pad id where there is nothing."""
    import numpy as np

    from pipelines.encoding.masking import NOTHING

    ids = np.asarray(rows)
    return np.where(ids == NOTHING, stage.context.tokenizer.pad_id, ids).astype(np.int32)


def ids_of(stage: Stage, rows: Rows) -> np.ndarray:
    """Turn rows, of many those that stand evenly spaced, into token ids, int32 (N, T + 1)."""
    import numpy as np

    from pipelines.encoding import prompts, single_sentences

    tokenizer = stage.context.tokenizer
    places = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _MOST_HELD)).round())
    texts = rows.take(places.astype(int).tolist()).columns["text"]
    ends = {"start": prompts.document_id(tokenizer), "end": tokenizer.end_id}
    return padded(stage, single_sentences.rows(tokenizer, texts, stage.context.max_length, **ends))


def held(stage: Stage, writer: Writer, rows: Rows) -> Held:
    """Return rows as what others are judged by, in the spelling that the vocabulary gives back."""
    from tfnlp.evaluation.quality_diversity import Held

    ids = ids_of(stage, rows)
    return Held(writer.texts(ids), lists(writer, ids), stage.context.tokenizer.vocabulary_size)


def lists(writer: Writer, ids: np.ndarray) -> list[list[int]]:
    """Return each row's tokens, int32 (N, T + 1), from behind its start to its end."""
    there = writer.inside(ids).numpy()
    return [row[1:][here].tolist() for row, here in zip(ids, there, strict=True)]


def written(writer: Writer, by: Held, temperature: float, count: int, seed: int) -> Point:
    """Have texts written and measure them in two halves."""
    ids = writer.rows(count, temperature, seed)
    return by.point(f"{temperature:g}", writer.texts(ids), lists(writer, ids))


def _judged(
    stage: Stage, writer: Writer, watched: Held, weights: dict[str, Any], steps: int
) -> Outcome:
    """Measure both models, choose the one that is kept and report what was measured."""
    import numpy as np

    from tfnlp.evaluation import quality_diversity

    options = stage.options
    judged = held(stage, writer, stage.test) if stage.test else watched
    real = ids_of(stage, stage.validation if stage.test else stage.train)
    real = np.random.default_rng(stage.experiment.seed).permutation(real)
    # Self-BLEU grows with the number of texts: every sample has as many as the real one.
    count = max(4, min(2 * options.gan_judged, len(real)))
    curves: dict[str, Sequence[Point]] = {}
    chosen: dict[str, Point] = {}
    shown: dict[str, list[str]] = {}
    for name, values in weights.items():
        stage.network.set_weights(values)
        curves[name] = [written(writer, judged, t, count, _JUDGED) for t in TEMPERATURES]
        chosen[name] = written(writer, watched, 1.0, 2 * options.gan_judged, _CHOSEN)
        shown[name] = writer.texts(writer.rows(_SHOWN, 1.0, _JUDGED))
    texts = writer.texts(real[:count])
    curves["real text"] = [judged.point("real", texts, lists(writer, real[:count]))]
    reverse = {name: point.mean("reverse_perplexity") for name, point in chosen.items()}
    kept = (
        min(reverse, key=reverse.__getitem__)
        if options.gan_keep == "better"
        else options.gan_keep.upper()
    )
    stage.network.set_weights(weights[kept])
    found = quality_diversity.gap(curves[GAN], curves[MLE])
    sentences = [
        quality_diversity.verdict("the GAN", "likelihood (MLE)", found),
        f"the weights kept are the {kept}'s (--gan-keep {options.gan_keep}): reverse perplexity "
        f"at temperature 1 on validation is {reverse[MLE]:.1f} by the MLE and {reverse[GAN]:.1f} "
        f"by the GAN (of adversarial step {steps})",
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
    check=check,
    after=after,
    defaults={"task": {"unit": "row", "max_length": 24, "max_tokens": 24}},
)
