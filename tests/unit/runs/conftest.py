"""Runs of tiny models that write their log, and what TensorBoard reads of it.

The fixtures are functions, for a conftest cannot be imported.
"""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import keras
import keras_hub
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins import base_plugin

from pipelines.rows import Rows
from pipelines.splits import Splits
from tfnlp import task as tasks
from tfnlp.runs import tensorboard
from tfnlp.runs.experiment_yaml import from_values
from tfnlp.training import answering
from tfnlp.training import model as models
from tfnlp.training.trainer import Trainer

HOSTILE = [
    "a\tb",
    "two\nlines\r\nand more",
    "从北京到上海有多远？",
    "👩🏽‍🚀 went where?",
    "   ",
    "\u2028x\x0b",
]


@pytest.fixture(scope="session")
def backbone(tmp_path_factory) -> str:
    """A BERT of random weights that reads single letters, in KerasHub's layout."""
    folder = tmp_path_factory.mktemp("backbone")
    letters = [chr(i) for i in range(ord("a"), ord("z") + 1)]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"$#", *letters]
    vocabulary += [f"##{letter}" for letter in letters]
    keras.utils.set_random_seed(0)
    keras_hub.models.BertBackbone(
        vocabulary_size=len(vocabulary),
        num_layers=1,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        max_sequence_length=512,
    ).save_to_preset(str(folder))
    keras_hub.models.BertTokenizer(vocabulary, lowercase=True).save_to_preset(str(folder))
    return str(folder)


def _rows(task, options):
    sample = task.sample(options) * 4
    columns = {name: [row[name] for row in sample] for name in sample[0]}
    fixed = {c.of for c in task.target_columns(options) if c.kind in ("spans", "answers")}
    for column in task.input_columns(options):
        if column.kind == "text" and column.name not in fixed:
            longer = [f"{text} " * (i % 4 + 1) for i, text in enumerate(columns[column.name])]
            columns[column.name] = HOSTILE + longer[len(HOSTILE) :]
    return Rows("sample", columns, list(range(1, len(sample) + 1)))


def _prepare(backbone, folder, task="classification", epochs=2, rate=1e-3, minutes=5.0, **options):
    """A run ready to be trained: its model, rows and log."""
    found = tasks.load(task)
    made = from_values(
        {
            "task": {"name": task, **options},
            "data": {"train": "sample.csv"},
            "backbone": {"name": backbone if "encoder" in found.backbones else "scratch:1x64"},
            "training": {"epochs": epochs, "batch_size": 4, "checkpoint_minutes": minutes},
            "optimizer": {"learning_rate": rate},
            "logging": {"histograms": True, "projector": 10},
            "export": {"tensorboard_logs": str(folder)},
            "name": "sample",
        },
        found.options,
        "the test",
    )
    rows = _rows(found, made.options)
    model = models.prepare(made, rows)
    trained = Trainer(model, Splits(rows, rows, None), folder)
    train = trained.drawn.of(0)
    return SimpleNamespace(
        model=model, rows=rows, trainer=trained, train=train, steps=len(train.plan)
    )


def _fit(made, run, *, resume=False, callbacks=()):
    """Train and finish, as tfnlp.train does."""
    before = answering.evaluate(made.model, made.rows).metrics
    tensorboard.start(made.model, run, before)
    log = tensorboard.Log(made.model, made.trainer.drawn, run)
    made.trainer.folder, made.trainer.resume = run / "checkpoints", resume
    made.trainer.callbacks = lambda fit: [log, *callbacks]
    history = made.trainer.fit()
    report = answering.evaluate(made.model, made.rows)
    reports = {"validation": report, "test": report}
    tensorboard.finish(made.model, run, reports, made.rows, made.trainer.step)
    return history, before, report


def _read(folder):
    """Everything that TensorBoard's own reader finds: tag -> {step: value}, and the reader."""
    reader = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    reader.Reload()
    found = {}
    for tag in reader.Tags()["tensors"]:
        events = reader.Tensors(tag)
        steps = [event.step for event in events]
        assert len(set(steps)) == len(steps), f"{tag} stands twice at a step: {steps}"
        found[tag] = {event.step: tf.make_ndarray(event.tensor_proto) for event in events}
    return found, reader


def _context(logdir):
    """What TensorBoard's plugins work on when it is started with ``--logdir``."""
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(logdir))
    multiplexer.Reload()
    provider = MultiplexerDataProvider(multiplexer, str(logdir))
    return base_plugin.TBContext(logdir=str(logdir), data_provider=provider)


@pytest.fixture(scope="session")
def prepare(backbone):
    return partial(_prepare, backbone)


@pytest.fixture(scope="session")
def fit():
    return _fit


@pytest.fixture(scope="session")
def read():
    return _read


@pytest.fixture(scope="session")
def context():
    return _context
