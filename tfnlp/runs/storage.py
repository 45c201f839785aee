"""A trained model in its run's folder: kept, and loaded again."""

from __future__ import annotations

import json
import os
from pathlib import Path

import keras
import keras_hub
import numpy as np

from pipelines.atomic import replacing_path
from pipelines.errors import UserError, reason
from tfnlp import task as tasks
from tfnlp.backbones import encoder, families, saving
from tfnlp.backbones.undrawn import undrawn
from tfnlp.runs.experiment_yaml import from_values, read_yaml, write_yaml
from tfnlp.training.model import TrainedModel


def save(model: TrainedModel, run: Path) -> None:
    """Keep a trained model in ``run/model``: the network, facts and vocabularies.

    The network is ``model.keras``, or, where it is KerasHub's own, the folder ``backbone``, in
    KerasHub's layout: the model format of Keras 3.15 loses an embedding that is also the output
    layer of a model within a model.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    try:
        with replacing_path(run / "model") as aside:
            _write(model, aside)
    except OSError as error:
        raise UserError(
            f"cannot keep the trained model in {run}: {reason(error)} (its checkpoints are kept; "
            "free space there, then go on with --resume)"
        ) from error


def _write(model: TrainedModel, aside: Path) -> None:
    """Write what :func:`save` keeps."""
    (aside / "tokenizer").mkdir(parents=True)
    network, context = model.network, model.context
    copies = 2 if model.task.save_extra else 1
    _ask_for_room(aside, copies * sum(4 * int(np.prod(w.shape)) for w in network.weights))
    if context.kind == "encoder":
        # saved anew, it leaves its optimizer behind
        bare = keras.Model(network.input, network.output, name=network.name)
        with encoder.as_kerashub(bare):
            bare.save(aside / "model.keras")
    else:
        saving.write_hub(
            families.inside(network).backbone,
            model.experiment.backbone.name,
            context.tokenizer,
            aside / "backbone",
        )
    context.tokenizer.save(aside / "tokenizer")
    if context.target:
        (aside / "target_tokenizer").mkdir()
        context.target.save(aside / "target_tokenizer")
    facts = json.dumps(tasks.to_json(context, model.lengths), ensure_ascii=False, indent=1)
    (aside / "facts.json").write_text(facts, "utf-8")
    write_yaml(model.experiment, aside / "experiment.yaml")
    if model.task.save_extra:
        model.task.save_extra(context, model.experiment.backbone, network, aside)


def _ask_for_room(folder: Path, size: int) -> None:
    """Raise OSError if there is no room for so many bytes: HDF5 crashes on a disk that fills up."""
    if not hasattr(os, "posix_fallocate"):  # as on macOS
        return
    place = folder / "room"
    with place.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size + 2**20)
    place.unlink()


def load(run: Path) -> TrainedModel:
    """Load what :func:`save` kept.

    Raises:
        UserError: the folder holds no trained model.
    """
    folder = run / "model"
    if not (folder / "facts.json").exists():
        raise UserError(
            f"{run} holds no trained model (it must be a folder such as "
            "tensorboard_logs/NAME/RUN whose training has ended)"
        )
    values = read_yaml(folder / "experiment.yaml")
    task = tasks.load(values["task"]["name"])
    experiment = from_values(values, task.options, str(folder / "experiment.yaml"))
    saved = json.loads((folder / "facts.json").read_text("utf-8"))
    context = tasks.load_context(folder, experiment.options, saved)
    lengths = saved["widths"]
    if not (folder / "model.keras").exists():
        with undrawn():
            backbone = keras_hub.models.Backbone.from_preset(str(folder / "backbone"))
        return TrainedModel(
            experiment, task, context, task.build(context, backbone), lengths=lengths
        )
    import tfnlp.heads  # noqa: F401  (the heads' layers must be known by name)

    with undrawn():
        network = keras.models.load_model(folder / "model.keras", compile=False)
    encoder.adopt(network)
    return TrainedModel(experiment, task, context, network, lengths=lengths)
