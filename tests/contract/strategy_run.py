"""A run of a strategy from rows to SavedModel, in this process, killed or resumed.

python strategy_run.py FOLDER BACKBONE STRATEGY [--replicas 2] [--precision mixed_float16]
    [--peft NAME] [--start-from RUN] [--kill FIT:BATCH] [--resume]
"""

import argparse
import json
import os
import signal
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
TEXTS = ["red apple", "blue sea", "green leaf", "the sky is blue", "apples are red", "on a leaf"]
LABELS = ["fruit", "water", "plant", "water", "fruit", "plant"]


def experiment(folder, backbone, strategy, precision="float32", distribute="none", **sections):
    """Return what is run, on a small file that it writes."""
    from tfnlp import task
    from tfnlp.runs.experiment_yaml import from_values

    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "rows.jsonl"
    pairs = [
        (f"{text} {'very ' * (round_ % 4)}{round_}", label if label != "plant" else "water")
        for round_ in range(9)
        for text, label in zip(TEXTS, LABELS, strict=True)
    ]
    file.write_text("".join(json.dumps({"text": t, "label": n}) + "\n" for t, n in pairs))
    values = {
        "task": {"name": "classification", "max_length": 32, "head_dropout": 0.2},
        "data": {"train": str(file)},
        "backbone": {"name": backbone, "dropout": 0.1},
        "strategy": strategy if isinstance(strategy, dict) else {"name": strategy},
        "training": {
            "epochs": 2,
            "batch_size": 8,
            "patience": 3,
            "checkpoint_minutes": 0.0,
            "precision": precision,
            "distribute": distribute,
            "deterministic": True,
        },
        "logging": {"projector": 0},
        "export": {
            "export": False,
            "saved_models": str(folder / "saved_models"),
            "tensorboard_logs": str(folder / "logs"),
        },
        "name": "toy",
    }
    for section, given in sections.items():
        whole = isinstance(given, list) or section not in values
        values[section] = given if whole else {**values[section], **given}
    return from_values(values, task.load("classification").options, "the test")


def killing(fit, batch, kill):
    """Return a callback for a fit that kills at the n-th batch from where it begins."""
    import keras

    class Kill(keras.callbacks.Callback):
        seen = 0

        def on_train_batch_end(self, number, logs=None):
            self.seen += 1
            if self.seen == batch:
                kill()

    return lambda given: [Kill()] if given.name == fit else []


def trainer(made, resume=False, further=lambda given: []):
    """Return what a strategy is given."""
    import tensorflow as tf

    from tfnlp import task
    from tfnlp.cli import arguments
    from tfnlp.runs import origins, subject
    from tfnlp.training import continuing, examples
    from tfnlp.training.trainer import Trainer

    tf.config.experimental.enable_op_determinism()
    splits = examples.read_splits(made, task.load(made.task))
    folder = Path(made.export.tensorboard_logs) / "checkpoints"
    origin = origins.of(made, subject.load, print)
    model = continuing.prepare(made, splits.train, origin and origin.model)
    read = arguments.from_file
    return Trainer(
        model, splits, folder, resume, further, origin=origin, load=subject.load, read=read
    )


def fit(made, *, resume=False, further=lambda given: []):
    """Train by the strategy alone; returns all that must be the same after a kill."""
    from tfnlp import extensions

    given = trainer(made, resume, further)
    extensions.load(extensions.Strategy, made.strategy.name).train(given)
    weights = given.model.network.get_weights()
    return [weight.tobytes().hex() for weight in weights], given.histories


def train(made, *, resume=False, further=lambda given: []):
    """Train as the command does; returns the run and all that must be the same after a kill."""
    import numpy as np

    from tfnlp.api import training as api
    from tfnlp.runs import storage

    before = api._callbacks
    api._callbacks = lambda *given: [*before(*given), *further(given[-1])]
    try:
        run = api.train(made, resume=resume)
    finally:
        api._callbacks = before
    text = (run / "metrics.json").read_text()
    metrics = json.loads(text.replace(str(run), "RUN"))  # which is named by the time of day
    del metrics["saved_model"], metrics["costs"]["latency"], metrics["costs"]["seconds"]
    timed = [n for n in metrics["strategy"] or () if n.startswith("times") or "seconds" in n]
    for name in timed:
        del metrics["strategy"][name]
    histories = {
        str(f.relative_to(run)): json.loads(f.read_text()) for f in run.rglob("history.json")
    }
    weights = storage.load(run).network.get_weights()
    return run, {
        "weights": [np.asarray(w).tobytes().hex() for w in weights],
        "metrics": metrics,
        "histories": histories,
    }


def answers(run):
    """Export a run and return the SavedModel's answers, and the network's own labels."""
    from pipelines.rows import Rows
    from tfnlp.exporting import writer
    from tfnlp.inference import saved_model
    from tfnlp.runs import storage
    from tfnlp.training import answering

    model, texts = storage.load(run), ["a red leaf", "x", "蓝色的海 🌊"]
    saved = saved_model.load(writer.export(model, {}, "")).answer({"text": texts})
    own = answering.answer(model, Rows("texts", {"text": texts}, [1, 2, 3]), asked=True)
    return [answer["label"] for answer in saved], own["label"].tolist()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("backbone")
    parser.add_argument("strategy")
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--peft")
    parser.add_argument("--start-from")
    parser.add_argument("--options", type=json.loads, default={}, help="the strategy's")
    parser.add_argument("--kill")
    parser.add_argument("--resume", action="store_true")
    given = parser.parse_args()
    if given.replicas > 1:
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        devices = [tf.config.LogicalDeviceConfiguration()] * given.replicas
        tf.config.set_logical_device_configuration(cpu, devices)
    distribute = "mirrored" if given.replicas > 1 else "none"
    peft = {"peft": {"name": given.peft}} if given.peft else {}
    strategy = {"name": given.strategy, **given.options}
    earlier = {"start_from": given.start_from}
    made = experiment(
        given.folder,
        given.backbone,
        strategy,
        given.precision,
        distribute,
        **peft,
        **({"earlier": earlier} if given.start_from else {}),
    )
    further = lambda fit: []  # noqa: E731
    if given.kill:
        fit, batch = given.kill.split(":")
        further = killing(fit, int(batch), lambda: os.kill(os.getpid(), signal.SIGKILL))
    run, found = train(made, resume=given.resume, further=further)
    if given.resume:
        found["answers"], own = answers(run)
        assert found["answers"] == own
    (given.folder / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
