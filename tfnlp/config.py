"""What one experiment is: every option that decides a run, in sections, and its YAML form."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from pipelines import discover
from pipelines.errors import UserError
from tfnlp import strategy as strategies
from tfnlp.options import make, option, plain, unknown_key

_DATASETS = [name.replace("_", "-") for name in discover.names("pipelines.datasets")]


@dataclass(frozen=True)
class Data:
    """Where the rows come from."""

    dataset: str | None = option(
        None,
        f"a built-in data set ({', '.join(_DATASETS)}) or tfds:NAME; without --dataset and "
        "--train the task's own example is used",
    )
    train: str | None = option(
        None,
        "training file: .csv, .tsv or .jsonl; .conll, .bio, .iob or .iob2 (word and tag columns), "
        ".conllu, .json (SQuAD) or .txt (a text a line); each also with .gz",
    )
    validation: str | None = option(None, "validation file; without one a part of train is used")
    test: str | None = option(None, "test file, read once, after training")
    columns: dict[str, str] = option(
        {},
        "header of a column, such as text=review; --text-column review says the same",
        flag="--column",
    )
    label_separator: str = option("|", "what separates the labels of one row in a file", minimum=1)
    on_bad_row: Literal["error", "skip", "quarantine"] = option(
        "error", "a row that cannot be used stops the run, is left out, or is kept aside in a file"
    )
    validation_share: float | None = option(
        None,
        "share of train used for validation where there is none; if not given a twentieth, or "
        "200 rows if that is more, but at most a fifth",
        minimum=0.001,
        maximum=0.9,
    )
    limit: int | None = option(
        None, "train on this many rows, chosen by the seed [rows]", minimum=1
    )
    limit_held_out: int | None = option(
        None, "validate and test on this many rows of each, evenly spaced [rows]", minimum=2
    )


@dataclass(frozen=True)
class Backbone:
    """The pretrained model."""

    name: str = option(
        "minilm-l6-en",
        "catalog name (python -m tfnlp.backbones), KerasHub preset, hf://..., or a local folder",
        flag="--backbone",
    )
    dropout: float | None = option(
        None, "dropout inside the backbone; its own rate if not given", minimum=0.0, maximum=0.99
    )
    layers: int | None = option(
        None, "keep only the lowest layers of the backbone [layers]", minimum=1
    )
    freeze_embeddings: bool = option(False, "do not train the embeddings")
    freeze_layers: int = option(
        0, "do not train the lowest layers, nor the embeddings if above 0 [layers]", minimum=0
    )


@dataclass(frozen=True)
class Optimizer:
    """The steps of AdamW, their schedule, and what is done to the gradients."""

    learning_rate: float = option(1e-4, "the highest learning rate", minimum=0.0)
    weight_decay: float = option(
        0.01, "decoupled weight decay; none on biases and LayerNorm", minimum=0.0
    )
    schedule: Literal["linear", "cosine", "constant"] = option(
        "linear", "how the learning rate falls after warm-up"
    )
    warmup: float = option(
        0.1, "share of the steps in which the learning rate rises", minimum=0.0, maximum=1.0
    )
    layer_decay: float = option(
        1.0,
        "learning rate of each layer relative to the one above it; 1 is the same for all",
        minimum=0.01,
        maximum=1.0,
    )
    clip_norm: float = option(
        1.0, "largest norm of the whole gradient; 0 is no clipping", minimum=0.0
    )
    accumulate: int = option(
        1, "batches whose gradients are averaged for one update [batches]", minimum=1
    )


@dataclass(frozen=True)
class Training:
    """How long and how."""

    epochs: int = option(4, "passes over the training rows, at most [epochs]", minimum=1)
    batch_size: int = option(32, "rows in a batch, over all devices [rows]", minimum=1)
    patience: int = option(
        2, "epochs without a better validation score before training stops [epochs]", minimum=1
    )
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = option(
        "auto", "Keras dtype policy; auto: float32, with products in bfloat16 where the machine can"
    )
    deterministic: bool = option(
        False, "same seed, same machine: bit-for-bit the same weights (slower on GPU)"
    )
    distribute: Literal["none", "mirrored", "multiworker"] = option(
        "none", "tf.distribute strategy: this machine's GPUs, or the workers in TF_CONFIG"
    )
    checkpoint_minutes: float = option(
        5.0, "time between checkpoints; each epoch also ends with one [min]", minimum=0.0
    )
    calibrate: bool = option(
        True, "fit the probabilities to the validation rows after training (temperature scaling)"
    )


@dataclass(frozen=True)
class Logging:
    """What TensorBoard is shown besides the scalars, the graph and the pictures."""

    histograms: bool = option(False, "histograms of every weight at each epoch")
    projector: int = option(
        500, "validation rows shown in the projector; 0 is none [rows]", minimum=0
    )


@dataclass(frozen=True)
class Export:
    """Where the results go."""

    saved_models: str = option("saved_models", "folder of the SavedModels, <name>/<version> below")
    tensorboard_logs: str = option("tensorboard_logs", "folder of the runs, <name>/<run> below")
    export: bool = option(True, "write a SavedModel after training")


SECTIONS: dict[str, type] = {
    "data": Data,
    "backbone": Backbone,
    "optimizer": Optimizer,
    "training": Training,
    "logging": Logging,
    "export": Export,
}


@dataclass(frozen=True)
class Experiment:
    """Everything that decides a run.

    Attributes:
        task: the task's name, as ``--task`` takes it.
        options: the task's own options, an instance of ``Task.options``.
        name: what runs and SavedModels are filed under.
        seed: where every random choice starts from.
        strategy: how it is trained, as ``--strategy`` takes it.
        strategy_options: the strategy's own options; None of supervised training, which has none.
    """

    task: str
    options: Any
    data: Data
    backbone: Backbone
    optimizer: Optimizer
    training: Training
    logging: Logging
    export: Export
    name: str
    seed: int = 42
    strategy: str = strategies.SUPERVISED
    strategy_options: Any = None


def from_values(values: Mapping[str, Any], options: type, place: str) -> Experiment:
    """Build an experiment from nested plain values, as YAML holds them.

    Args:
        values: ``{"task": {"name": ..., <option>: ...}, <section>: {...}, "name": ..., "seed": 1}``
        options: the task's options dataclass.
        place: the source of the values, for messages.

    Raises:
        UserError: an unknown section or key, or a value out of range.
    """
    check_sections(values, place)
    name = task_name(values, place)
    task = {key: value for key, value in values["task"].items() if key != "name"}
    seed = values.get("seed", 42)
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**31:
        raise UserError(f"{place}: seed is {seed!r}; it must be a whole number from 0 to 2^31 - 1")
    sections = {
        section: make(kind, values.get(section) or {}, f"{section} in {place}")
        for section, kind in SECTIONS.items()
    }
    made = make(options, task, f"task in {place}")
    strategy, own = _strategy(values, place)
    filed = values.get("name") or default_name(name, sections["data"])
    if not isinstance(filed, str) or filed != Path(filed).name or filed.startswith("."):
        raise UserError(f"{place}: name is {filed!r}; it must be a plain folder name")
    experiment = Experiment(
        task=name,
        options=made,
        name=filed,
        seed=seed,
        strategy=strategy,
        strategy_options=own,
        **sections,
    )
    if found := strategies.load(strategy):
        found.check(experiment, own)
    return experiment


def _strategy(values: Mapping[str, Any], place: str) -> tuple[str, Any]:
    """Return the strategy's name and its options."""
    given = dict(values.get("strategy") or {})
    name = str(given.pop("name", strategies.SUPERVISED))
    found = strategies.load(name)
    if found is None:
        unknown_key(given, [], f"strategy in {place}")
        return name, None
    return name, make(found.options, given, f"strategy in {place}")


def check_sections(values: Mapping[str, Any], place: str) -> None:
    """Raise UserError if there is an unknown section, or one that holds no options."""
    unknown_key(values, ["task", "strategy", "name", "seed", *SECTIONS], place)
    for name in ("task", "strategy", *SECTIONS):
        if not isinstance(values.get(name) or {}, Mapping):
            raise UserError(f"{place}: {name} is {values[name]!r}; it must hold `option: value`")


def task_name(values: Mapping[str, Any], place: str) -> str:
    """Return the name of the task that an experiment's values are about.

    Raises:
        UserError: there is none.
    """
    task = values.get("task")
    name = task.get("name") if isinstance(task, Mapping) else None
    if not isinstance(name, str):
        raise UserError(f"{place} names no task; it must hold `task: {{name: classification}}`")
    return name


def default_name(task: str, data: Data) -> str:
    """Name an experiment by its data and task, as in ``trec-classification``."""
    return f"{data_name(data.dataset, data.train)}-{task.rpartition('.')[2]}"


def data_name(dataset: str | None, file: str | None) -> str:
    """Name data for a folder: ``tfds:glue/cola`` is ``glue-cola``, ``a/b.csv.gz`` is ``b``."""
    if dataset:
        return dataset.removeprefix("tfds:").replace("/", "-").replace(":", "-")
    return Path(str(file)).name.lstrip(".").split(".")[0] or "data"


def to_values(experiment: Experiment) -> dict[str, Any]:
    """Return the nested plain values of an experiment; :func:`from_values` reverses it."""
    return {
        "name": experiment.name,
        "seed": experiment.seed,
        "task": {"name": experiment.task, **plain(experiment.options)},
        **_strategy_values(experiment),
        **{section: plain(getattr(experiment, section)) for section in SECTIONS},
    }


def _strategy_values(experiment: Experiment) -> dict[str, Any]:
    """Return the section of a strategy; none of supervised training, so that old files stay."""
    if experiment.strategy_options is None:
        return {}
    return {"strategy": {"name": experiment.strategy, **plain(experiment.strategy_options)}}


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read an experiment file's nested values.

    Raises:
        UserError: the file is missing, is not YAML, or is not a mapping.
    """
    try:
        values = yaml.safe_load(Path(path).read_text("utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror} (check --config)") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} holds no experiment; it must be a mapping of sections")
    if isinstance(values.get("task"), str):  # `task: ner` is short for `task: {name: ner}`
        values["task"] = {"name": values["task"]}
    if isinstance(values.get("strategy"), str):
        values["strategy"] = {"name": values["strategy"]}
    return values


def write_yaml(experiment: Experiment, path: Path) -> None:
    """Write an experiment so that ``--config`` reproduces it."""
    values = to_values(experiment)
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    if not text.replace("\n", "").isprintable():  # YAML would read U+0085 as a line's end
        text = yaml.safe_dump(values, sort_keys=False)
    aside = path.with_name(path.name + ".new")
    aside.write_text(text, "utf-8")
    os.replace(aside, path)
