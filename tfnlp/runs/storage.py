"""A trained model in its run's folder: kept, and loaded again."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
from safetensors import safe_open

from pipelines import checksums
from pipelines.atomic import replacing_path
from pipelines.errors import UserError, reason
from pipelines.files.writers import write_tensors
from pipelines.json_files import damaged
from tfnlp import facts
from tfnlp import task as tasks
from tfnlp.backbones import encoder, families, saving
from tfnlp.config import Experiment
from tfnlp.runs.experiment_yaml import read_trusted, write_yaml
from tfnlp.runtime import keras_patches
from tfnlp.task import Context, Task
from tfnlp.training import checkpoints
from tfnlp.training.model import TrainedModel, merged, rebuilt

TRAINED = "peft.safetensors"  # in a run's folder "model"
_AGAIN = "restore it from a copy, or train again"


def save(model: TrainedModel, run: Path) -> None:
    """Keep a trained model in ``run/model``: the network, facts and vocabularies.

    The network is ``model.keras``, or, where it is KerasHub's own, the folder ``backbone``, in
    KerasHub's layout: the model format of Keras 3.15 loses an embedding that is also the output
    layer of a model within a model. Of a run with ``--peft`` it is ``peft.safetensors``, which
    holds what was trained; the rest is the backbone's, but for a run that went on from one which
    had trained the backbone: the file holds all weights then.

    Raises:
        UserError: the disk is full or the folder cannot be written.

    Example::

        save(model, run)
        load(run).respond({"text": tf.constant(["Who wrote Hamlet?"])})
    """
    try:
        with replacing_path(run / "model") as aside:
            _write(model, aside)
    except OSError as error:
        raise UserError(
            f"cannot keep the trained model in {run}: {reason(error)} (its checkpoints are kept; "
            "free space there, then resume with --resume)"
        ) from error


def _write(model: TrainedModel, aside: Path) -> None:
    """Write what :func:`save` keeps."""
    (aside / "tokenizer").mkdir(parents=True)
    network, context = model.network, model.context
    peft = model.experiment.peft
    kept = list(network.trainable_weights if peft and not model.moved else network.weights)
    if model.task.save_extra:
        kept += network.weights
    _ask_for_room(aside, sum(4 * int(np.prod(w.shape)) for w in kept))
    if peft:
        _write_trained(network, kept, aside / TRAINED)
    elif context.kind == "encoder":
        # saved again, without its optimizer
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
        with merged(model):
            model.task.save_extra(context, model.experiment.backbone, network, aside)
    weights = [TRAINED, "model.keras", "backbone"]
    checksums.write(aside, ["facts.json", "tokenizer", "target_tokenizer", *weights])


def _write_trained(network: keras.Model, kept: Sequence[Any], file: Path) -> None:
    """Write the weights that no backbone has, by their paths.

    The file's metadata say what the others must be: ``dtype_policy``, Keras's, and ``frozen``,
    their checksum. Training changes none of them: the only variables that it changes besides are
    the states of seed generators, which no answer depends on.

    Raises:
        ValueError: two weights have the same path.
    """
    trained = {weight.path: weight.numpy() for weight in kept}
    if len({weight.path for weight in network.weights}) < len(network.weights):
        raise ValueError("two weights of the network have the same path; name its layers")
    frozen = [weight for weight in network.weights if weight.path not in trained]
    about = {"dtype_policy": network.dtype_policy.name, "frozen": checkpoints.checksum(frozen)}
    write_tensors(trained, file, about)


def _ask_for_room(folder: Path, size: int) -> None:
    """Raise OSError if this many bytes do not fit: HDF5 crashes on a disk that fills up."""
    if not hasattr(os, "posix_fallocate"):  # as on macOS
        return
    place = folder / "room"
    with place.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size + 2**20)
    place.unlink()


def load(run: Path) -> TrainedModel:
    """Load what :func:`save` kept.

    Raises:
        UserError: the folder holds no trained model, or a damaged one.

    Example::

        model = load(Path("tensorboard_logs/trec-classification/20261125-170635"))
    """
    try:
        return _load(run)
    except UserError:
        raise
    except Exception as error:  # Keras, HDF5 and safetensors each fail in their own way
        # Their first sentence: the next ones tell how to load what should not be.
        fault = reason(error).partition(". ")[0][:200]
        raise damaged(run / "model", f"it cannot be loaded ({fault})", _AGAIN) from error


def _load(run: Path) -> TrainedModel:
    """Load what :func:`save` kept."""
    folder = run / "model"
    if not (folder / "facts.json").exists():
        raise UserError(
            f"{run} holds no trained model (it must be a folder such as "
            "tensorboard_logs/NAME/RUN whose training has ended)"
        )
    checksums.check(folder, _AGAIN)
    experiment = read_trusted(folder / "experiment.yaml", _AGAIN)
    task = tasks.load(experiment.task)
    saved = facts.read(folder / "facts.json", experiment.task, _AGAIN)
    context = tasks.load_context(folder, experiment.options, saved)
    lengths = saved["widths"]
    if (folder / TRAINED).exists():
        network = _completed(experiment, task, context, run)
        return TrainedModel(experiment, task, context, network, lengths=lengths)
    if not (folder / "model.keras").exists():
        with keras_patches.undrawn():
            backbone = keras_hub.models.Backbone.from_preset(str(folder / "backbone"))
        return TrainedModel(
            experiment, task, context, task.build(context, backbone), lengths=lengths
        )
    import tfnlp.heads  # noqa: F401  (the heads' layers must be known by name)

    if not zipfile.is_zipfile(folder / "model.keras"):  # of which Keras says that it is not there
        raise damaged(folder / "model.keras", "it is not a model of Keras", _AGAIN)
    with keras_patches.undrawn():
        network = keras.models.load_model(folder / "model.keras", compile=False)
    encoder.adopt(network)
    if "labels" in saved and "." not in experiment.task:
        facts.check_outputs(saved, network.output_shape)
    return TrainedModel(experiment, task, context, network, lengths=lengths)


def _completed(experiment: Experiment, task: Task, context: Context, run: Path) -> keras.Model:
    """Return the network of a run with ``--peft``: what was trained, on its backbone.

    Raises:
        UserError: the backbone is gone, or has other weights.
    """
    with safe_open(run / "model" / TRAINED, "np") as file:
        about = file.metadata()
        trained = {path: file.get_tensor(path) for path in file.keys()}  # noqa: SIM118
    name = experiment.backbone.name
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy(about["dtype_policy"])
        network = rebuilt(experiment, task, context)
    except UserError as error:
        raise UserError(
            f"{run} holds only what --peft trained, and the backbone {name!r} that belongs to it "
            f"cannot be loaded: {error}"
        ) from error
    finally:
        keras.config.set_dtype_policy(before)
    shapes = {path: value.shape for path, value in trained.items()}
    found = {w.path: tuple(w.shape) for w in network.weights if w.path in trained}
    frozen = [w for w in network.weights if w.path not in trained]
    if found != shapes or checkpoints.checksum(frozen) != about["frozen"]:
        raise UserError(
            f"the backbone {name!r} is not the one that {run} was trained on: its weights differ "
            "(put that one back, or train again)"
        )
    for weight in network.weights:
        if weight.path in trained:
            weight.assign(trained[weight.path])
    return network
