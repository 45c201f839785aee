"""Every task in tfnlp/tasks, found by discovery, learns, saves, loads, exports and answers."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from pipelines import batching, discover
from pipelines.columns import as_request
from pipelines.errors import UserError
from pipelines.rows import Rows
from pipelines.splits import Splits
from tfnlp import task as tasks
from tfnlp.exporting import card, writer
from tfnlp.inference import serving_ops
from tfnlp.runs import storage
from tfnlp.runs.experiment_yaml import from_values
from tfnlp.training import answering
from tfnlp.training.model import prepare
from tfnlp.training.trainer import Trainer

VARIANTS = {"plain": {}, "pair": {"pair": True}, "windows": {"windows": 3, "max_length": 8}}
# One of each kind stands for the others: a label of a text, of each token, and written text.
FAST = ("classification", "ner", "translation")
CASES = [(name, "plain") for name in FAST]
# Pairs and windows are shared code (tfnlp/tasks/_pooled_text.py) too.
SLOW = [("classification", "pair"), ("classification", "windows"), ("similarity", "pair")]
SLOW += [(name, "plain") for name in discover.names("tfnlp.tasks") if name not in FAST]

# Of no token, of none that is known, of more than is read, of bytes that end a string elsewhere.
ODD = ["", "  ", "\u200b", "a " * 300, "x" * 300, "a\0b", "👩‍👧", "\ud7ff\uffff", "[UNK]"]

# What the exporter does with any task's model is tried with one.
ONE_FOR_ALL = pytest.mark.parametrize("trained", CASES[:1], indirect=True, ids="-".join)

# Reads lines of {"model": folder, "rows": {column: texts}}; prints the answers of every signature.
FRESH_PROCESS = """
import json, sys
import numpy as np
import tensorflow as tf
import tensorflow_text
tf.constant("")
print("started", file=sys.stderr, flush=True)
def feature(value):
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
def plain(tensor):
    value = tensor.numpy()
    if value.dtype == object:
        value = np.vectorize(bytes.decode, otypes=[object])(value)
    return value.tolist()
for line in sys.stdin:
    asked = json.loads(line)
    model = tf.saved_model.load(asked["model"])
    texts = {name: tf.constant(values) for name, values in asked["rows"].items()}
    answers = {"serving_default": model.signatures["serving_default"](**texts)}
    examples = [
        tf.train.Example(features=tf.train.Features(feature=dict(zip(texts, map(feature, row)))))
        for row in zip(*(column.numpy() for column in texts.values()))
    ]
    for key in ("classify", "regress"):
        if key in model.signatures:
            serialized = tf.constant([example.SerializeToString() for example in examples])
            answers[key] = model.signatures[key](inputs=serialized)
    loaded = {name.partition(".")[0] for name in sys.modules}
    assert not loaded & {"tfnlp", "pipelines", "keras_hub"}, loaded
    print(json.dumps({k: {n: plain(t) for n, t in v.items()} for k, v in answers.items()}))
    sys.stdout.flush()
"""


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """Ask SavedModels in a process that knows TensorFlow alone, one for all of them."""
    errors = tmp_path_factory.mktemp("fresh") / "stderr"
    with errors.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", FRESH_PROCESS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )

    def ask(model: Path, rows: dict[str, list[str]]) -> dict[str, Any]:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"model": str(model), "rows": rows}) + "\n")
        process.stdin.flush()
        answers = process.stdout.readline()
        assert answers, errors.read_text()[-2000:]
        assert errors.read_text().rpartition("started\n")[2] == ""
        return json.loads(answers)

    with process:
        yield ask


def _backbone(task: tasks.Task) -> dict[str, Any]:
    """One real layer, or of tasks that only a causal model can do, one from scratch."""
    if "encoder" in task.backbones:
        return {"layers": 1, "freeze_embeddings": True}
    return {"name": "scratch:1x256"}


def _options(task: tasks.Task, variant: str) -> dict[str, Any]:
    """Return the variant's options; what is written is short, or most of the time goes there."""
    short = {"max_tokens": 16, "beams": 2} if task.writing else {}
    known = {field.name for field in dataclasses.fields(task.options)}
    return {**VARIANTS[variant], **{n: value for n, value in short.items() if n in known}}


def _rows(task: tasks.Task, options: object) -> Rows:
    sample = task.sample(options) * 4
    columns = {name: [row[name] for row in sample] for name in sample[0]}
    return Rows("sample", columns, list(range(1, len(sample) + 1)))


@pytest.fixture(
    scope="module",
    params=[*CASES, *(pytest.param(case, marks=pytest.mark.slow) for case in SLOW)],
    ids="-".join,
)
def trained(request, tmp_path_factory):
    """A task, trained for two epochs on its own sample on one real layer, and exported."""
    name, variant = request.param
    task = tasks.load(name)
    folder = tmp_path_factory.mktemp(f"{name}-{variant}")
    made = from_values(
        {
            "task": {"name": name, **_options(task, variant)},
            "data": {"train": "sample.csv"},
            "backbone": _backbone(task),
            "training": {"epochs": 2, "batch_size": 4},
            "optimizer": {"learning_rate": 1e-3},
            "export": {"saved_models": str(folder / "saved_models")},
        },
        task.options,
        "the test",
    )
    rows = _rows(task, made.options)
    model = prepare(made, rows)
    task.check(rows, model.context.facts)
    history = Trainer(model, Splits(rows, rows, None), folder / "checkpoints").fit()
    model = answering.calibrated(model, rows)
    storage.save(model, folder)
    report = answering.evaluate(model, rows)
    metrics = {"validation": report.metrics}
    saved = writer.export(model, metrics, card.write(model, metrics, report.tables))
    return SimpleNamespace(
        task=task, model=model, rows=rows, history=history, report=report, run=folder, saved=saved
    )


def _close(a: Any, b: Any) -> None:
    """Compare answers, floats to 1e-5, in lists of things too."""
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for name in a:
            _close(a[name], b[name])
    elif isinstance(a, list) or (isinstance(a, np.ndarray) and a.dtype.kind == "O"):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            _close(one, other)
    elif isinstance(a, bytes):
        assert a.decode() == b
    elif isinstance(a, str):
        assert a == b
    else:
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_training_lowers_the_loss(trained):
    losses = [epoch["loss"] for epoch in trained.history]
    assert losses[-1] < losses[0]


def test_report_has_metrics_tables_and_drawable_figures(trained, tmp_path):
    # A model this small may write nothing at all, whose scores then correlate with nothing.
    metrics = {n: v for n, v in trained.report.metrics.items() if n != "score_correlation"}
    assert all(np.isfinite(value) for value in metrics.values())
    for table in trained.report.tables:
        assert all(len(row) == len(table.header) for row in table.rows)
    assert trained.report.figures
    for name, draw in trained.report.figures.items():
        draw().savefig(tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 1000


def test_answers_do_not_depend_on_the_batch(trained):
    together = answering.answer(trained.model, trained.rows, asked=True)
    for place in range(4):
        alone = answering.answer(trained.model, trained.rows.take([place]), asked=True)
        for name, values in alone.items():
            _close(values, together[name][place : place + 1])


def test_every_odd_text_is_answered_by_numbers(trained):
    names = [column.name for column in trained.task.input_columns(trained.model.experiment.options)]
    asked = {name: ODD[place:] + ODD[:place] for place, name in enumerate(names)}
    raw = {name: tf.constant(texts) for name, texts in asked.items()}
    for name, answer in trained.model.respond(raw).items():
        assert answer.shape[0] == len(ODD), name
        assert not answer.dtype.is_floating or np.isfinite(answer).all(), name


def test_saved_run_loads_and_answers_the_same(trained):
    loaded = storage.load(trained.run)
    before = answering.answer(trained.model, trained.rows, asked=True)
    after = answering.answer(loaded, trained.rows, asked=True)
    for name, values in before.items():
        _close(values, after[name])


def test_saved_model_answers_the_same_in_a_process_with_tensorflow_alone(trained, fresh):
    inputs = trained.task.input_columns(trained.model.context.options)
    columns = trained.rows.columns
    rows = {column.name: [*map(as_request, columns[column.name][:4])] for column in inputs}
    told = fresh(trained.saved, rows)
    raw = batching.tensors(trained.rows.take([0, 1, 2, 3]), inputs)
    here = {name: tensor.numpy() for name, tensor in trained.model.respond(raw).items()}
    assert set(told["serving_default"]) == set(here)
    for name, values in here.items():
        _close(values, told["serving_default"][name])
    if trained.task.classify:
        classes, scores = trained.task.classify(here)
        _close(classes, told["classify"]["classes"])
        _close(scores, told["classify"]["scores"])
    if trained.task.regress:
        _close(trained.task.regress(here), told["regress"]["outputs"])


def test_saved_model_holds_every_weight_once(trained):
    weights = sum(4 * int(np.prod(w.shape)) for w in trained.model.network.weights)
    held = sum(f.stat().st_size for f in (trained.saved / "variables").iterdir())
    assert held <= 1.01 * weights + 20_000
    # Graphs and vocabularies do not grow with the model, of which there is one layer here.
    on_disk = sum(f.stat().st_size for f in trained.saved.rglob("*") if f.is_file())
    assert on_disk - held <= 12e6


def test_warmup_requests_are_answered(trained):
    from tensorflow_serving.apis import prediction_log_pb2

    path = trained.saved / "assets.extra" / "tf_serving_warmup_requests"
    answer = tf.saved_model.load(str(trained.saved)).signatures["serving_default"]
    records = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
    assert len(records) == len(trained.model.lengths)
    for record in records:
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        assert request.model_spec.name == trained.model.experiment.name
        answer(**{name: tf.constant(tf.make_ndarray(t)) for name, t in request.inputs.items()})


def test_methods_are_named_as_tf_serving_asks(trained):
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel.FromString((trained.saved / "saved_model.pb").read_bytes())
    methods = {key: s.method_name for key, s in saved.meta_graphs[0].signature_def.items()}
    assert methods["serving_default"] == "tensorflow/serving/predict"
    assert ("classify" in methods) == (trained.task.classify is not None)
    assert methods.get("classify", "tensorflow/serving/classify") == "tensorflow/serving/classify"
    assert methods.get("regress", "tensorflow/serving/regress") == "tensorflow/serving/regress"


def test_saved_model_names_no_gradients(trained):
    graph = serving_ops.read(trained.saved).meta_graphs[0]
    assert not graph.graph_def.library.registered_gradients
    nodes = serving_ops.every_node(graph)
    assert not [node.name for node in nodes if "_gradient_op_type" in node.attr]


@ONE_FOR_ALL
def test_a_second_export_is_a_new_version(trained):
    again = writer.export(trained.model, {}, "")
    assert int(again.name) == int(trained.saved.name) + 1
    assert not [f for f in again.parent.iterdir() if not f.name.isdigit()]


@ONE_FOR_ALL
def test_an_op_that_tf_serving_lacks_is_refused_by_name(trained, monkeypatch):
    monkeypatch.setattr(writer, "SERVING_VERSION", "test")
    listed = Path(serving_ops.__file__).with_name("serving_ops_test.txt")
    listed.write_text("Const\n", "utf-8")
    try:
        with pytest.raises(UserError, match="which TF Serving test does not run"):
            writer.export(trained.model, {}, "")
    finally:
        listed.unlink()
    parent = trained.saved.parent
    assert not [f for f in parent.iterdir() if not f.name.isdigit()]


def test_summary_and_columns_are_documented(trained):
    options = trained.model.context.options
    assert trained.task.summary
    assert not trained.task.summary.endswith(".")
    for column in (*trained.task.input_columns(options), *trained.task.target_columns(options)):
        assert column.help
    for field in dataclasses.fields(options):
        assert field.metadata["help"], field.name
