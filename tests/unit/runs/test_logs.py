"""What a run's folder shows of every task, read back as TensorBoard reads it."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin
from werkzeug.test import Client

from pipelines import discover
from tfnlp.runs import folders, projector, tensorboard
from tfnlp.training import examples
from tfnlp.training.model import columns

EPOCHS = 2
WIDTH = 16  # of the tiny backbone, or a divisor of it
FAST = ("classification", "language_model")  # one that reads and one that writes
CASES = {name: (name, {}) for name in FAST}
SLOW = {
    **{name: (name, {}) for name in discover.names("tfnlp.tasks") if name not in FAST},
    "pair": ("classification", {"pair": True}),
    "windows": ("classification", {"windows": 3, "max_length": 8, "overlap": 2}),
}


@pytest.fixture(
    scope="module",
    params=[*CASES.values(), *(pytest.param(c, marks=pytest.mark.slow) for c in SLOW.values())],
    ids=[*CASES, *SLOW],
)
def logged(request, tmp_path_factory, prepare, fit):
    name, options = request.param
    folder = tmp_path_factory.mktemp("logs")
    made = prepare(folder, name, epochs=EPOCHS, **options)
    run = folders.new_run(made.model.experiment)
    made.history, made.before, made.report = fit(made, run)
    made.folder, made.run = folder, run
    return made


def test_scalars_of_every_batch(logged, read):
    train, _ = read(logged.run / "train")
    batches = list(range(1, EPOCHS * logged.steps + 1))
    names = {"loss", "learning_rate", "examples_per_second"}
    names |= set() if _two_sides(logged) else {"padding"}
    names |= {name for name in logged.history[0] if not name.startswith("val_")}
    for name in names:
        assert list(train[f"batch/{name}"]) == batches
        assert np.isfinite(list(train[f"batch/{name}"].values())).all()
    rates = [float(v) for v in train["batch/learning_rate"].values()]
    assert rates == sorted(rates, reverse=True)  # no warm-up in so few batches
    assert rates[0] == pytest.approx(1e-3)
    assert all(v > 0 for v in train["batch/examples_per_second"].values())


def test_loss_of_a_batch_is_its_own(logged, read):
    """The mean over an epoch's batches is what Keras reports for the epoch."""
    train, _ = read(logged.run / "train")
    losses = np.array([float(v) for v in train["batch/loss"].values()]).reshape(
        EPOCHS, logged.steps
    )
    for epoch, history in enumerate(logged.history):
        sizes = [len(rows) for rows in logged.train.plan.epoch(epoch)[0]]
        assert np.average(losses[epoch], weights=sizes) == pytest.approx(history["loss"], rel=1e-4)
    assert len(set(losses.ravel())) == losses.size


def test_padding_is_that_of_the_tensors(logged, read):
    train, _ = read(logged.run / "train")
    if _two_sides(logged):
        assert "batch/padding" not in train
        return
    made = examples.batches(logged.model, logged.train, range(EPOCHS))
    shares = [1 - float(tf.reduce_mean(tf.cast(x["padding_mask"], tf.float32))) for x, *_ in made]
    logged_shares = [float(v) for v in train["batch/padding"].values()]
    assert logged_shares == pytest.approx(shares, abs=1e-5)
    if (
        len(set(logged.train.sizes.tokens.tolist())) > logged.steps
    ):  # rows of several lengths in a batch
        assert max(shares) > 0


def _two_sides(logged):
    """Sources and targets are padded each by itself: no single share describes both."""
    return "decoder_ids" in logged.model.network.input


def test_scalars_of_every_epoch(logged, read):
    both = {name: read(logged.run / name)[0] for name in ("train", "validation")}
    ends = [logged.steps * (epoch + 1) for epoch in range(EPOCHS)]
    for step, history in zip(ends, logged.history, strict=True):
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


def test_reports_stand_before_and_after(logged, read):
    for split, steps in {
        "validation": [0, EPOCHS * logged.steps],
        "test": [EPOCHS * logged.steps],
    }.items():
        shown, reader = read(logged.run / "report" / split)
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


def test_configuration_and_graph(logged, read):
    shown, reader = read(logged.run / "report")
    text = shown["experiment.yaml"][0].item().decode()
    assert (logged.run / "experiment.yaml").read_text("utf-8") in text
    nodes = {node.name for node in reader.Graph().node}
    last = logged.model.network.layers[-1].name
    assert any(f"/{last}" in name for name in nodes), sorted(nodes)[:20]
    assert set(logged.model.network.input) <= nodes


def test_projector_finds_the_rows(logged, context):
    apps = ProjectorPlugin(context(logged.folder)).get_plugin_apps()
    found = Client(apps["/runs"]).get("/runs").json
    model = logged.model
    if not projector.projected(model):
        assert found == []
        assert len(model.network.output.shape) > 2
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
    wanted = columns(model.experiment, model.task)
    assert {column.name for column in wanted} <= set(header)
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


def test_a_metric_that_has_no_number_is_left_out():
    """Of one row that was judged there is none of some; before.json has null for it."""
    shown = tensorboard._metrics({"bleu": 0.5, "self_bleu": None})
    assert [value.tag for summary in shown for value in summary.value] == ["report/bleu"]
