"""Adversarial training of a tiny language model: what it learns, resumes from and reports."""

from __future__ import annotations

import dataclasses
import io
import math
import os
import signal
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import sentencepiece
import tensorflow as tf
from sentencepiece import sentencepiece_model_pb2 as schema
from tensorflow.python.framework import config as framework_config

from pipelines.encoding import prompts, single_sentences
from pipelines.errors import UserError
from pipelines.rows import Rows
from pipelines.splits import Splits
from pipelines.tokenizers import sentencepiece as pieces
from tfnlp import config, extensions
from tfnlp.backbones import loading
from tfnlp.config import Entry
from tfnlp.evaluation import quality_diversity
from tfnlp.extensions import Strategy
from tfnlp.generation.options import WritingOptions
from tfnlp.heads import causal_lm
from tfnlp.runs.experiment_yaml import from_values
from tfnlp.runtime.signals import Interrupted
from tfnlp.strategies import gan
from tfnlp.strategies._gan import players as adversarial
from tfnlp.task import Context
from tfnlp.tasks import language_model
from tfnlp.training.model import TrainedModel
from tfnlp.training.network import trainable
from tfnlp.training.trainer import Trainer

LENGTH = 8
WHO = ["the cat", "a dog", "my mother", "the old man", "nobody"]
WHAT = ["sees", "likes", "eats", "finds"]
WHOM = ["fish", "the moon", "bread and milk", "a red house", "me"]
TEXTS = [f"{a} {b} {c}." for a in WHO for b in WHAT for c in WHOM]


@dataclasses.dataclass(frozen=True)
class ByRow(language_model.Options):
    """As the task's options will be with --unit."""

    unit: str = "row"


@pytest.fixture(scope="module")
def tokenizer():
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS),
        model_writer=out,
        vocab_size=60,
        hard_vocab_limit=False,
        pad_id=0,
        bos_id=1,
        eos_id=2,
        unk_id=3,
        minloglevel=2,
    )
    model = schema.ModelProto.FromString(out.getvalue())
    return pieces.SentencePiece(model.SerializeToString())


@pytest.fixture(autouse=True)
def deterministic():
    tf.config.experimental.enable_op_determinism()
    yield
    framework_config.disable_op_determinism()  # TensorFlow lets none but its own tests do this


def rows_of(texts):
    return Rows("toy", {"text": list(texts)}, list(range(1, len(texts) + 1)))


def blocks(tokenizer, texts=TEXTS):
    start = prompts.document_id(tokenizer)
    return single_sentences.rows(tokenizer, texts, LENGTH, start=start, end=tokenizer.end_id)


def trainer(tokenizer, folder, *, resume=False, callbacks=lambda fit: (), test=True, **options):
    """What the strategy is given: an untrained network stands for one trained by likelihood."""
    keras.utils.set_random_seed(3)
    tokenizer = pieces.SentencePiece(tokenizer.proto)  # the seed took the old one's resource
    backbone = loading.scratch("scratch:1x64", tokenizer, None)
    network = trainable(causal_lm.head(backbone.model), divisible=False)
    own = ByRow(max_length=LENGTH, max_tokens=LENGTH)
    context = Context(own, tokenizer, LENGTH, {}, "causal", 1024)
    few = {"steps": 4, "warmup": 1, "evaluate_every": 2, "judged": 6}
    chosen = gan.Options(**{**few, "batch_size": 16, "generator_rate": 1e-3, **options})
    experiment = from_values(
        {
            "task": {"name": "language_model", "unit": "row", "max_length": LENGTH},
            "data": {"train": "toy.csv"},
            "training": {"epochs": 1, "checkpoint_minutes": 0.0, "precision": "float32"},
            "seed": 5,
        },
        language_model.Options,
        "the test",
    )
    experiment = dataclasses.replace(experiment, strategy=Entry("gan", chosen))
    model = TrainedModel(experiment, language_model.TASK, context, network, backbone.blocks)
    splits = Splits(rows_of(TEXTS), rows_of(TEXTS[::3]), rows_of(TEXTS[1::3]) if test else None)
    return Trainer(model, splits, folder, resume, callbacks)


def made(tokenizer, tmp_path, **options):
    given = trainer(tokenizer, tmp_path / "gan", **options)
    step = adversarial.Adversarial(given.model.context, given.options, 5)
    given.model.network.step = step
    step.build(given.model.network, 100)
    return given, step


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_rows_are_cut_without_an_end_and_empty_ones_left_out(tokenizer):
    short, long = blocks(tokenizer, ["me", "", "the old man finds bread and milk. " * 3])
    assert short[0] == long[0] == tokenizer.end_id  # which stands between documents
    assert list(short[1:]).count(tokenizer.end_id) == 1
    assert short[-1] == -1
    assert tokenizer.end_id not in long[1:]
    assert -1 not in long


def test_what_is_written_ends_with_its_end(tokenizer, tmp_path):
    _, players = made(tokenizer, tmp_path)
    ids = players.writer.rows(20, 1.0, seed=1)
    assert ids.shape == (20, LENGTH + 1)
    assert set(ids[:, 0]) == {tokenizer.end_id}
    for row, there in zip(ids, players.writer.inside(ids).numpy(), strict=True):
        assert tokenizer.end_id not in row[1:][there][:-1]
        assert set(row[1:][~there]) <= {tokenizer.pad_id}
    assert np.array_equal(ids, players.writer.rows(20, 1.0, seed=1))
    assert not np.array_equal(ids, players.writer.rows(20, 1.0, seed=2))


@pytest.mark.slow
@pytest.mark.slow
def test_the_discriminator_tells_text_from_random_tokens(tokenizer, tmp_path):
    given, players = made(tokenizer, tmp_path, discriminator_rate=3e-3)
    real = gan.padded(given.model, blocks(given.model.context.tokenizer))
    random = np.random.default_rng(0)

    def noise(count):
        ids = random.integers(4, tokenizer.vocabulary_size, (count, LENGTH + 1)).astype(np.int32)
        ids[:, 0] = tokenizer.end_id
        return ids

    for _ in range(40):
        players.judge(real[random.integers(len(real), size=32)], noise(32))
    right = []
    for ids, truth in ((real, True), (noise(100), False)):
        logits, there = players.verdicts(tf.constant(ids))
        right.append(((logits.numpy() > 0) == truth)[there.numpy() > 0])
    assert np.concatenate(right).mean() > 0.9


def test_the_generator_follows_the_rewards(tokenizer, tmp_path):
    """The policy gradient makes tokens with an advantage likelier, and others not."""
    _, players = made(tokenizer, tmp_path, generator_rate=3e-3)
    ids = tf.constant(players.writer.rows(32, 1.0, seed=1))
    there = tf.cast(players.writer.inside(ids), tf.float32)
    wanted = 7
    advantage = tf.where(ids[:, 1:] == wanted, 1.0, -0.02) * there

    def share():
        return (players.writer.rows(200, 1.0, seed=2)[:, 1:] == wanted).mean()

    before, weights = share(), players.generator.get_weights()
    for _ in range(15):
        players.push(ids, there, advantage)
    pairs = zip(weights, players.generator.get_weights(), strict=True)
    moved = [not np.array_equal(a, b) for a, b in pairs]
    assert np.mean(moved) > 0.9
    assert share() > 2 * before


class Killed(BaseException):
    """Stands for kill -9: nothing in the code may catch it and save."""


class Kill(keras.callbacks.Callback):
    """Breaks off a fit after some batches, at once or by a signal."""

    def __init__(self, at, signum=0):
        super().__init__()
        self.at, self.signum, self.seen = at, signum, 0

    def on_train_batch_end(self, batch, logs=None):
        self.seen += 1
        if self.seen == self.at and self.signum:
            os.kill(os.getpid(), self.signum)
        elif self.seen == self.at:
            raise Killed


@pytest.mark.parametrize(
    ("fit", "at", "signum"),
    [
        pytest.param("fit", 2, 0, marks=pytest.mark.slow),
        pytest.param("gan", 1, 0, marks=pytest.mark.slow),
        pytest.param("gan", 3, signal.SIGTERM, marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_ends_as_if_it_was_not(tokenizer, tmp_path, fit, at, signum):
    whole = trainer(tokenizer, tmp_path / "whole", keep="gan")
    told = gan.train(whole)
    cut = trainer(
        tokenizer,
        tmp_path / "cut",
        keep="gan",
        callbacks=lambda given: [Kill(at, signum)] if given.name == fit else [],
    )
    with pytest.raises(Interrupted if signum else Killed):
        gan.train(cut)
    resumed = trainer(tokenizer, tmp_path / "cut", keep="gan", resume=True)
    again = gan.train(resumed)
    assert resumed.histories == whole.histories
    assert again.report.metrics == told.report.metrics
    assert same(whole.model.network.get_weights(), resumed.model.network.get_weights())


@pytest.mark.parametrize(
    ("test", "keep"), [pytest.param(True, "mle", marks=pytest.mark.slow), (False, "gan")]
)
def test_both_models_are_reported(tokenizer, tmp_path, test, keep):
    given = trainer(tokenizer, tmp_path / "gan", test=test, keep=keep)
    outcome = gan.train(given)
    assert outcome.facts == {"weights": keep.upper()}
    found = outcome.report
    assert all(math.isfinite(value) for value in found.metrics.values())
    table = next(t for t in found.tables if t.title == "MLE and GAN")
    by = [row[0] for row in table.rows]
    assert by.count("MLE") == by.count("GAN") == len(gan.TEMPERATURES)
    assert by[-1] == "real text"
    (first,), (second,) = next(t for t in found.tables if t.title == "As measured").rows
    assert "GAN" in first
    assert f"the weights kept are the {keep.upper()}'s" in second
    assert found.figures["quality_and_diversity"]().axes
    first, second = given.histories["gan"]
    assert {"reverse_perplexity", "bleu", "self_bleu", "generator_loss", "reward"} <= set(first)
    assert second["score"] == -second["reverse_perplexity"]


@pytest.mark.slow
def test_the_generator_waits_for_the_discriminator(tokenizer, tmp_path):
    given = trainer(tokenizer, tmp_path / "gan", steps=4, warmup=3)
    before = {}

    class Look(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            moved = not same(before["weights"], self.model.get_weights())
            before.setdefault("moved", []).append(moved)

        def on_train_begin(self, logs=None):
            before.setdefault("weights", self.model.get_weights())

    given.callbacks = lambda fit: [Look()] if fit.name == "gan" else []
    gan.train(given)
    assert before["moved"] == [False, False, False, True]
    assert given.histories["gan"][0]["score"] == -math.inf


def test_a_loss_that_is_no_number_stops_the_run(tokenizer, tmp_path):
    given = trainer(tokenizer, tmp_path / "gan", generator_rate=1e30)
    with pytest.raises(UserError, match=r"--gan-generator-rate"):
        gan.train(given)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "summarization", "options": WritingOptions()}, "not for summarization"),
        ({"options": ByRow(pair=True)}, "--pair"),
        ({"options": ByRow(unit="block")}, "--unit row"),
        ({"training": config.Training(distribute="mirrored")}, "--distribute mirrored"),
        ({"training": config.Training(precision="mixed_float16")}, "mixed_float16"),
    ],
)
def test_what_cannot_be_trained_so_is_refused(changes, message):
    fine = {"task": "language-model", "options": ByRow(), "training": config.Training()}
    gan.fits(language_model.TASK, SimpleNamespace(**fine), gan.Options())
    with pytest.raises(UserError, match=message):
        gan.fits(language_model.TASK, SimpleNamespace(**{**fine, **changes}), gan.Options())
    with pytest.raises(UserError, match="--gan-warmup 5"):
        gan.fits(language_model.TASK, SimpleNamespace(**fine), gan.Options(warmup=5, steps=5))
    with pytest.raises(UserError, match="--gan-generator-rate 0 trains no generator"):
        gan.fits(language_model.TASK, SimpleNamespace(**fine), gan.Options(generator_rate=0.0))


def test_strategies_are_found_by_name():
    assert extensions.load(Strategy, "supervised").summary
    assert extensions.load(Strategy, "gan") is gan.STRATEGY
    with pytest.raises(UserError, match="no strategy 'gam'; did you mean 'gan'"):
        extensions.load(Strategy, "gam")


def test_reverse_perplexity_wants_quality_and_diversity():
    random = np.random.default_rng(0)
    real = [[*random.permutation(8)[:5].tolist(), 9] for _ in range(200)]
    one_good_row = [real[0]] * 200
    noise = random.integers(0, 20, (200, 6)).tolist()
    found = [
        quality_diversity.reverse_perplexity(w, real[100:], 20)
        for w in (real[:100], one_good_row, noise)
    ]
    assert found[0] < min(found[1:])
    assert quality_diversity.reverse_perplexity([], real, 20) == pytest.approx(20)


def points(bleu, self_bleu):
    halves = [quality_diversity.Measured(b, s, 1.0) for b, s in zip(bleu, self_bleu, strict=True)]
    return quality_diversity.Point("1", (halves[0], halves[1]))


def test_curves_are_compared_at_equal_diversity():
    low, high = points((10, 10), (10, 10)), points((30, 30), (30, 30))
    above = [points((15, 12), (10, 10)), points((35, 32), (30, 30))]
    found = quality_diversity.gap(above, [low, high])
    assert found.halves == pytest.approx((5, 2))
    assert "GAN is better than MLE by 3.50" in quality_diversity.verdict("GAN", "MLE", found)
    back = quality_diversity.gap([low, high], above)
    assert "MLE is better than GAN by 3.50" in quality_diversity.verdict("GAN", "MLE", back)
    mixed = quality_diversity.gap(
        [points((15, 8), (10, 10)), points((35, 28), (30, 30))], [low, high]
    )
    assert "neither is better" in quality_diversity.verdict("GAN", "MLE", mixed)
    apart = quality_diversity.gap(
        [points((50, 50), (60, 60)), points((60, 60), (70, 70))], [low, high]
    )
    assert apart is None
    assert "neither can be called better" in quality_diversity.verdict("GAN", "MLE", apart)
