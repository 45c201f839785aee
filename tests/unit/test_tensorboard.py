"""What a run's folder shows, read back as TensorBoard reads it."""

import json
import shutil
from types import SimpleNamespace

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_accumulator import (
    EventAccumulator as PluginEventAccumulator,
)
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams.hparams_plugin import HParamsPlugin
from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin
from werkzeug.test import Client

from pipelines import discover
from pipelines.errors import UserError
from pipelines.rows import Rows
from tfnlp import config, experiment, judging, projector, runs, tensorboard
from tfnlp import task as tasks

EPOCHS, STEPS = 2, 4
CASES = {name: (name, {}) for name in discover.names("tfnlp.tasks")}
SLOW = {
    "pair": ("classification", {"pair": True}),
    "windows": ("classification", {"windows": 3, "max_length": 8, "overlap": 2}),
}
HOSTILE = [
    "a\tb",
    "two\nlines\r\nand more",
    "从北京到上海有多远？",
    "👩🏽‍🚀 went where?",
    "   ",
    "\u2028x\x0b",
]


WIDTH = 16


@pytest.fixture(scope="module", autouse=True)
def backbone(tmp_path_factory):
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
        hidden_dim=WIDTH,
        intermediate_dim=32,
        max_sequence_length=512,
    ).save_to_preset(str(folder))
    keras_hub.models.BertTokenizer(vocabulary, lowercase=True).save_to_preset(str(folder))
    global BACKBONE
    BACKBONE = str(folder)


def _rows(task, options):
    sample = task.sample(options) * 4
    columns = {name: [row[name] for row in sample] for name in sample[0]}
    fixed = {c.of for c in task.targets(options) if c.kind in ("spans", "answers")}
    for column in task.inputs(options):
        if column.kind == "text" and column.name not in fixed:
            longer = [f"{text} " * (i % 4 + 1) for i, text in enumerate(columns[column.name])]
            columns[column.name] = HOSTILE + longer[len(HOSTILE) :]
    return Rows("sample", columns, list(range(1, len(sample) + 1)))


def _prepare(folder, task="classification", rate=1e-3, minutes=5.0, **options):
    """A run ready to be trained: its model, rows and log."""
    found = tasks.load(task)
    made = config.from_values(
        {
            "task": {"name": task, **options},
            "data": {"train": "sample.csv"},
            "backbone": {"name": BACKBONE if "encoder" in found.backbones else "scratch:1x64"},
            "training": {"epochs": EPOCHS, "batch_size": 4, "checkpoint_minutes": minutes},
            "optimizer": {"learning_rate": rate},
            "logging": {"histograms": True, "projector": 10},
            "export": {"tensorboard_logs": str(folder)},
            "name": "sample",
        },
        found.options,
        "the test",
    )
    rows = _rows(found, made.options)
    model = experiment.prepare(made, rows)
    train = experiment.arrange(model, rows, shuffle=True)
    held = experiment.arrange(model, rows, shuffle=False)
    steps = len(train.plan)
    return SimpleNamespace(model=model, rows=rows, train=train, held=held, steps=steps)


def _fit(made, run, *, resume=False, callbacks=()):
    """Train and finish, as tfnlp.train does."""
    before = judging.evaluate(made.model, made.rows).metrics
    log = tensorboard.Log(made.model, made.train, run, before)
    state = experiment.fit(
        made.model, made.train, made.held, run, resume=resume, callbacks=[log, *callbacks]
    )
    runs.write_json(run / "history.json", state.history)
    report = judging.evaluate(made.model, made.rows)
    log.finish(made.model, {"validation": report, "test": report}, made.rows)
    return state, before, report


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


@pytest.fixture(
    scope="module",
    params=[*CASES.values(), *(pytest.param(c, marks=pytest.mark.slow) for c in SLOW.values())],
    ids=[*CASES, *SLOW],
)
def logged(request, tmp_path_factory):
    name, options = request.param
    folder = tmp_path_factory.mktemp("logs")
    made = _prepare(folder, name, **options)
    run = runs.new_run(made.model.experiment)
    made.state, made.before, made.report = _fit(made, run)
    made.folder, made.run = folder, run
    return made


def test_scalars_of_every_batch(logged):
    train, _ = _read(logged.run / "train")
    batches = list(range(1, EPOCHS * logged.steps + 1))
    names = {"loss", "learning_rate", "examples_per_second"}
    names |= set() if _two_sides(logged) else {"padding"}
    names |= {name for name in logged.state.history[0] if not name.startswith("val_")}
    for name in names:
        assert list(train[f"batch/{name}"]) == batches
        assert np.isfinite(list(train[f"batch/{name}"].values())).all()
    rates = [float(v) for v in train["batch/learning_rate"].values()]
    assert rates == sorted(rates, reverse=True)  # no warm-up in so few batches
    assert rates[0] == pytest.approx(1e-3)
    assert all(v > 0 for v in train["batch/examples_per_second"].values())


def test_loss_of_a_batch_is_its_own(logged):
    """The mean over an epoch's batches is what Keras reports for the epoch."""
    train, _ = _read(logged.run / "train")
    losses = np.array([float(v) for v in train["batch/loss"].values()]).reshape(
        EPOCHS, logged.steps
    )
    for epoch, history in enumerate(logged.state.history):
        sizes = [len(rows) for rows in logged.train.plan.epoch(epoch)[0]]
        assert np.average(losses[epoch], weights=sizes) == pytest.approx(history["loss"], rel=1e-4)
    assert len(set(losses.ravel())) == losses.size


def test_padding_is_that_of_the_tensors(logged):
    train, _ = _read(logged.run / "train")
    if _two_sides(logged):
        assert "batch/padding" not in train
        return
    made = experiment.batches(logged.model, logged.train, range(EPOCHS))
    shares = [1 - float(tf.reduce_mean(tf.cast(x["padding_mask"], tf.float32))) for x, *_ in made]
    logged_shares = [float(v) for v in train["batch/padding"].values()]
    assert logged_shares == pytest.approx(shares, abs=1e-5)
    if (
        len(set(logged.train.sizes.tokens.tolist())) > logged.steps
    ):  # rows of several lengths in a batch
        assert max(shares) > 0


def _two_sides(logged):
    """Sources and targets are padded each by itself: no one share tells of both."""
    return "decoder_ids" in logged.model.network.input


def test_scalars_of_every_epoch(logged):
    both = {name: _read(logged.run / name)[0] for name in ("train", "validation")}
    ends = [logged.steps * (epoch + 1) for epoch in range(EPOCHS)]
    for step, history in zip(ends, logged.state.history, strict=True):
        for name, value in history.items():
            part = both["validation" if name.startswith("val_") else "train"]
            shown = part[f"epoch/{name.removeprefix('val_')}"]
            assert list(shown) == ends
            assert float(shown[step]) == pytest.approx(value)
    for name in ("learning_rate", "padding", "examples_per_second"):
        if name == "padding" and _two_sides(logged):
            continue
        assert list(both["train"][f"epoch/{name}"]) == ends
    for weight in logged.model.network.layers[-1].weights:
        assert list(both["train"][f"weights/{weight.path}"]) == ends


def test_reports_stand_before_and_after(logged):
    for split, steps in {
        "validation": [0, EPOCHS * logged.steps],
        "test": [EPOCHS * logged.steps],
    }.items():
        shown, reader = _read(logged.run / "report" / split)
        for name, value in logged.report.metrics.items():
            assert list(shown[f"report/{name}"]) == steps
            assert float(shown[f"report/{name}"][steps[-1]]) == pytest.approx(value)
        for table in logged.report.tables:
            text = shown[f"report/{table.title}"][steps[-1]]
            assert text.shape == (len(table.rows) + 1, len(table.header))
        for name in logged.report.figures:
            width, height, png = shown[f"report/{name}"][steps[-1]]
            picture = tf.io.decode_png(png)
            assert picture.shape[:2] == (int(height), int(width))
            assert np.ptp(picture.numpy()) > 100
            assert reader.SummaryMetadata(f"report/{name}").plugin_data.plugin_name == "images"


def test_configuration_and_graph(logged):
    shown, reader = _read(logged.run / "report")
    text = shown["experiment.yaml"][0].item().decode()
    assert (logged.run / "experiment.yaml").read_text("utf-8") in text
    nodes = {node.name for node in reader.Graph().node}
    last = logged.model.network.layers[-1].name
    assert any(f"/{last}" in name for name in nodes), sorted(nodes)[:20]
    assert set(logged.model.network.input) <= nodes


def _context(logdir):
    """What TensorBoard's plugins work on when it is started with ``--logdir``."""
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(logdir))
    multiplexer.Reload()
    provider = MultiplexerDataProvider(multiplexer, str(logdir))
    return base_plugin.TBContext(logdir=str(logdir), data_provider=provider)


def test_projector_finds_the_rows(logged):
    apps = ProjectorPlugin(_context(logged.folder)).get_plugin_apps()
    found = Client(apps["/runs"]).get("/runs").json
    model = logged.model
    if not projector.projected(model):
        assert found == []
        assert model.task.pack or len(model.network.output.shape) > 2
        return
    (run,) = found
    assert run == f"sample/{logged.run.name}/report/validation"
    (shown,) = Client(apps["/info"]).get("/info", query_string={"run": run}).json["embeddings"]
    assert shown["tensorShape"][0] == 10
    asked = {"run": run, "name": shown["tensorName"]}
    vectors = Client(apps["/tensor"]).get("/tensor", query_string=asked).data
    vectors = np.frombuffer(vectors, np.float32).reshape(shown["tensorShape"])
    assert vectors.shape[0] == 10
    assert vectors.shape[1] % WIDTH == 0  # of relations several states side by side
    assert len(np.unique(vectors, axis=0)) > 3
    text = Client(apps["/metadata"]).get("/metadata", query_string=asked).data.decode()
    lines = text.removesuffix("\n").split("\n")
    assert len(lines) == 11
    header = lines[0].split("\t")
    columns = experiment.columns(model.experiment, model.task)
    assert {column.name for column in columns} <= set(header)
    for line in lines[1:]:
        cells = line.strip().split("\t")  # TensorBoard strips each line
        assert len(cells) == len(header)
        assert all(cells)


@given(st.text() | st.binary(max_size=0) | st.lists(st.text()) | st.floats())
def test_a_cell_stays_one_cell(value):
    cell = projector._cell(value)
    assert cell
    assert cell == cell.strip()
    assert len(cell.splitlines()) == 1
    assert "\t" not in cell
    assert len(cell) <= projector.LONGEST_CELL


def test_a_full_disk_is_named(tmp_path):
    made = _prepare(tmp_path)
    run = runs.new_run(made.model.experiment)
    log = tensorboard.Log(made.model, made.train, run, {})
    log.step, log.writers = 1, {"train": tf.io.TFRecordWriter("/dev/full")}
    with pytest.raises(UserError, match=f"cannot write the TensorBoard log in {run}/train"):
        log._write("train", [tensorboard.scalar_pb("batch/loss", 1.0)])


class Kill(keras.callbacks.Callback):
    """Stops a run after some batches, without a checkpoint of the last one."""

    def __init__(self, batches):
        super().__init__()
        self.left = batches

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if not self.left:
            raise RuntimeError("killed")


def test_resumed_run_shows_every_batch_once(tmp_path):
    whole = _prepare(tmp_path / "whole")
    expected = runs.new_run(whole.model.experiment)
    _fit(whole, expected)

    run = runs.new_run(_prepare(tmp_path / "killed", minutes=0.0).model.experiment)
    with pytest.raises(RuntimeError):
        _fit(_prepare(tmp_path / "killed", minutes=0.0), run, callbacks=[Kill(STEPS + 3)])
    (written,) = (run / "train").glob("*.fit")
    orphans = [tf.compat.v1.Event.FromString(r.numpy()) for r in tf.data.TFRecordDataset(written)]
    assert max(event.step for event in orphans) == STEPS + 3
    with written.open("r+b") as file:  # and killed while it wrote
        file.truncate(written.stat().st_size - 20)
    newest = max((run / "checkpoints").glob("step-*"), key=lambda f: int(f.name[5:]))
    shutil.rmtree(newest)  # so that the run goes on one more batch before

    state, _, _ = _fit(_prepare(tmp_path / "killed", minutes=0.0), run, resume=True)
    assert len(state.history) == EPOCHS
    for part in ("train", "validation", "report", "report/validation", "report/test"):
        shown, there = _read(run / part)[0], _read(expected / part)[0]
        assert set(shown) == set(there)
        for tag, values in there.items():
            assert list(shown[tag]) == list(values), tag
            if tag.startswith(("batch/", "epoch/", "report/")) and "per_second" not in tag:
                for step, value in values.items():
                    if value.dtype.kind == "f":
                        np.testing.assert_allclose(shown[tag][step], value, rtol=1e-3, atol=1e-6)


@pytest.mark.slow
def test_what_was_finished_is_not_written_twice(tmp_path):
    made = _prepare(tmp_path)
    run = runs.new_run(made.model.experiment)
    _fit(made, run)
    before = sorted(path.name for path in run.rglob("*.tfevents.*"))
    _fit(_prepare(tmp_path), run, resume=True)  # killed before metrics.json: all is done again
    assert sorted(path.name for path in run.rglob("*.tfevents.*")) == before


def test_runs_are_compared_by_their_options(tmp_path):
    rates = {}
    for rate in (1e-3, 3e-3):
        made = _prepare(tmp_path, rate=rate)
        run = runs.new_run(made.model.experiment)
        rates[f"sample/{run.name}/report"] = rate, _fit(made, run)[2].metrics["accuracy"]
    apps = HParamsPlugin(_context(tmp_path)).get_plugin_apps()
    ask = {"headers": {"Content-Type": "application/json"}}
    found = Client(apps["/experiment"]).post("/experiment", data="{}", **ask).json
    assert [h["name"] for h in found["hparamInfos"] if h.get("differs")] == ["learning_rate"]
    assert {"task", "backbone", "batch_size", "pooling", "seed"} <= {
        h["name"] for h in found["hparamInfos"]
    }
    metrics = [(m["name"]["tag"], m["name"]["group"]) for m in found["metricInfos"]]
    assert metrics[:2] == [("report/accuracy", "test"), ("report/accuracy", "validation")]
    assert all(tag.startswith("report/") for tag, _ in metrics)  # none of single batches
    asked = {
        "startIndex": 0,
        "sliceSize": 10,
        "allowedStatuses": ["STATUS_SUCCESS"],
        "colParams": [{"metric": {"group": "test", "tag": "report/accuracy"}}],
    }
    groups = (
        Client(apps["/session_groups"])
        .post("/session_groups", data=json.dumps(asked), **ask)
        .json["sessionGroups"]
    )
    assert len(groups) == 2
    for group in groups:
        (session,) = group["sessions"]
        rate, accuracy = rates[session["name"]]
        assert group["hparams"]["learning_rate"] == pytest.approx(rate)
        values = {m["name"]["group"] + "/" + m["name"]["tag"]: m for m in group["metricValues"]}
        assert values["test/report/accuracy"]["value"] == pytest.approx(accuracy)


def _write(writer, tag, steps):
    for step in steps:
        scalar = tensorboard.scalar_pb(tag, float(step))
        writer.write(tensorboard._event(step, scalar).SerializeToString())
    writer.flush()


@pytest.mark.parametrize("epoch_ended", [True, False])
def test_a_tensorboard_that_runs_forgets_too(tmp_path, epoch_ended):
    """It has read the batches after the last checkpoint before the run is resumed at batch 4."""
    reader = PluginEventAccumulator(str(tmp_path))
    writer = tensorboard._open(tmp_path, 1)
    _write(writer, "batch/loss", range(1, 7))
    _write(writer, "epoch/loss", [2, 4, 6])
    reader.Reload()
    assert [event.step for event in reader.Tensors("batch/loss")] == [1, 2, 3, 4, 5, 6]
    tensorboard._forget(tmp_path, 4, epoch_ended)
    assert list(_read(tmp_path)[0]["batch/loss"]) == [1, 2, 3, 4]
    assert list(_read(tmp_path)[0]["epoch/loss"]) == ([2, 4] if epoch_ended else [2])
    writer = tensorboard._open(tmp_path, 5)
    _write(writer, "batch/loss", range(5, 9))
    reader.Reload()
    assert [event.step for event in reader.Tensors("batch/loss")] == list(range(1, 9))
    assert list(_read(tmp_path)[0]["batch/loss"]) == list(range(1, 9))
