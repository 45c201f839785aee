"""The SavedModel of a run written again, or one of several runs joined."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipelines.errors import UserError
from pipelines.json_files import read_json
from tfnlp.api import joining
from tfnlp.config import Experiment
from tfnlp.options import make, option
from tfnlp.runtime.startup import quiet_start

JOINED = {"triples": ("ner", "relation_extraction")}  # by layout the runs' tasks, in their order


@dataclass(frozen=True)
class Options:
    """Where the SavedModel goes, and how runs are joined.

    Example::

        python -m tfnlp.export tensorboard_logs/NAME/RUN --name other
    """

    name: str | None = option(
        None,
        "file the SavedModel under this (default: the run's name; of joined runs the layout's, or "
        "that of the SavedModel among them)",
        metavar="NAME",
    )
    saved_models: str | None = option(
        None,
        "folder of the SavedModels (default: as in the run; of joined runs saved_models)",
        metavar="FOLDER",
    )
    adapter: str | None = option(
        None,
        "of a run with --peft lora, write what was added into this folder, as an adapter for "
        "Hugging Face's peft, in place of a SavedModel",
        metavar="FOLDER",
    )
    export_explain: bool | None = option(
        None,
        "give the SavedModel a signature explain: from texts to the answer and what each word did "
        "(default: as in the run)",
    )
    explain_by: Literal["gradient_input", "integrated_gradients"] | None = option(
        None, "by which method (default: as in the run)"
    )
    join: bool = option(
        False,
        "put runs on the same backbone into one SavedModel, with a signature for each that is "
        "named after it (NAME=RUN names it otherwise); a SavedModel of joined runs stands for them",
    )
    without: tuple[str, ...] = option(
        (),
        "of joined runs, leave this one out; may be repeated",
        metavar="NAME",
    )
    layout: Literal["triples"] | None = option(
        None,
        "what joined runs make instead: triples reads raw text and answers with (head, relation, "
        "tail), offsets and scores, from a run of --task ner and one of --task relation_extraction",
    )
    min_score: float = option(
        0.5,
        "triples: lowest probability of a relation in the answer",
        minimum=0.0,
        maximum=1.0,
        metavar="SCORE",
    )


def export(runs: Sequence[str], values: Mapping[str, Any], place: str) -> Path:
    """Write the SavedModel of a run as a new version, or join runs into one.

    Args:
        runs: their folders.
        values: the options that were given, by name.
        place: where they were given, for messages.

    Returns:
        The folder of the version, or of the adapter, that was written.

    Raises:
        UserError: options contradict one another, a run holds no model, or the place cannot be
            written.

    Example::

        export(["tensorboard_logs/NAME/RUN"], {"name": "other"}, "the command line")
    """
    options = make(Options, values, place)
    _check(runs, options, values)
    if options.join and options.layout is None:
        return _joined(runs, options)
    folders = [Path(run) for run in runs]
    return _join(folders, options) if options.join else _export(folders[0], options)


def _check(runs: Sequence[str], options: Options, given: Mapping[str, Any]) -> None:
    """Raise UserError for options that do not go together."""
    if options.name is not None and (
        options.name != Path(options.name).name or options.name.startswith(".")
    ):
        raise UserError(f"--name {options.name!r} is not a plain folder name")
    if options.adapter:
        for name in given.keys() - {"adapter"}:
            flag = f"--{name.replace('_', '-')}"
            raise UserError(
                f"{flag} is about a SavedModel, and --adapter writes none (leave it out)"
            )
    if not options.join:
        if len(runs) > 1:
            raise UserError(
                f"{len(runs)} runs were given; export one, or join them (--join --name NAME)"
            )
        for name in ("layout", "min_score", "without"):
            if name in given:
                flag = f"--{name.replace('_', '-')}"
                raise UserError(f"{flag} is about joined runs (add --join, or leave it out)")
    elif options.layout and (options.export_explain or options.explain_by):
        raise UserError(
            "--export-explain is about the runs' own answers: triples have no signature that "
            "explains them (leave it out)"
        )
    elif options.layout is None:
        if "min_score" in given:
            raise UserError("--min-score is about triples (add --layout triples, or leave it out)")
    elif options.without:
        raise UserError("--without is about heads, and triples have none (leave it out)")
    elif len(runs) != len(tasks := JOINED[options.layout]):
        wanted = " and one of ".join(f"--task {task}" for task in tasks)
        raise UserError(
            f"--layout {options.layout} joins {len(tasks)} runs, not {len(runs)} (give a run of "
            f"{wanted})"
        )


def _export(run: Path, options: Options) -> Path:
    """Write a run's SavedModel; returns its folder."""
    with quiet_start("keras_hub"):
        from tfnlp.exporting import card, writer
        from tfnlp.runs import forgetting, storage
    model = storage.load(run)
    experiment = model.experiment
    if options.adapter:
        return _write_adapter(run, model, Path(options.adapter))
    experiment = _placed(experiment, options)
    experiment = dataclasses.replace(experiment, name=options.name or experiment.name)
    if (run / joining.HEADS_OF_RUN).is_dir():  # of several tasks: as at the end of its training
        heads, _ = joining.named([str(run)])
        return joining.join(heads, Path(experiment.export.saved_models) / experiment.name)
    model = dataclasses.replace(model, experiment=experiment)
    if options.export_explain and not writer.explains(model):
        raise UserError(
            f"--export-explain is for tasks with one answer to a text, and {run} is of "
            f"--task {experiment.task} (leave it out; python -m tfnlp.explain explains it)"
        )
    metrics = _metrics(run)
    return writer.export(model, metrics, card.write(model, metrics, forgetting.tables(metrics)))


def _write_adapter(run: Path, model: Any, folder: Path) -> Path:
    """Write what LoRA added in a run as an adapter of peft's; returns its folder."""
    from tfnlp.backbones import insertions, loading, peft_adapters

    name = model.experiment.backbone.name
    if not model.experiment.peft or model.experiment.peft.name != "lora":
        raise UserError(f"{run} was not trained with --peft lora, which --adapter is about")
    there = folder.exists() and not (folder / peft_adapters.CONFIG).exists()
    if there and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} holds something else than an adapter (name another folder)")
    kind, blocks = loading.architecture(name)
    layers = [
        (int(layer.insertion.name.split("_")[1]) - 1, layer)  # lora_1_query: see `insertions`
        for layer in insertions.inserted(model.network)
    ]
    peft_adapters.write(layers, blocks, kind, name, folder)
    return folder


def _metrics(run: Path) -> dict[str, Any]:
    """Return what a run's evaluation found, and its example; nothing of one without."""
    file, again = run / "metrics.json", "delete it to export the model without its scores"
    return dict(read_json(file, remedy=again)) if file.exists() else {}


def _placed(experiment: Experiment, options: Options) -> Experiment:
    """Return a run's experiment with what is said of the SavedModel."""
    given: dict[str, Any] = {
        "saved_models": options.saved_models,
        "export_explain": options.export_explain,
        "explain_by": options.explain_by,
    }
    told = {name: value for name, value in given.items() if value is not None}
    place = dataclasses.replace(experiment.export, **told)
    if options.explain_by and not place.export_explain:
        raise UserError("--explain-by has no effect without --export-explain (add it)")
    return dataclasses.replace(experiment, export=place)


def _joined(runs: Sequence[str], options: Options) -> Path:
    """Write one SavedModel with a signature for each run; returns its folder."""
    heads, there = joining.named(runs, options.without)
    name = options.name or (there and there.name)
    if name is None:
        raise UserError("--join needs a name for the SavedModel of all runs (say --name NAME)")
    folder = options.saved_models or (there.parent if there else "saved_models")
    return joining.join(heads, Path(folder) / name, placed=lambda made: _placed(made, options))


def _join(runs: list[Path], options: Options) -> Path:
    """Write one SavedModel of several runs; returns its folder."""
    with quiet_start("keras_hub"):
        from tfnlp.exporting import triples
        from tfnlp.runs import storage
    layout = str(options.layout)
    models = []
    for run, task in zip(runs, JOINED[layout], strict=True):
        models.append(storage.load(run))
        found = models[-1].experiment.task
        if found != task:
            raise UserError(f"{run} is a run of --task {found}, not of --task {task}")
    entities, relations = models
    parent = Path(options.saved_models or "saved_models") / (options.name or layout)
    example = (_metrics(runs[0]).get("example") or {}).get("text")
    return triples.join(entities, relations, parent, options.min_score, example)
