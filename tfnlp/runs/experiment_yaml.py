"""experiment.yaml: an experiment as nested plain values, read and written."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pipelines.atomic import write_text
from pipelines.errors import UserError
from pipelines.files.formats import format_of
from pipelines.files.layout import USUAL
from pipelines.json_files import damaged
from tfnlp import extensions
from tfnlp import task as tasks
from tfnlp.config import SECTIONS, Entry, Experiment
from tfnlp.config_data import Data
from tfnlp.extensions import (
    ENTRIES,
    SEEDS,
    SUPERVISED,
    Augmenter,
    Peft,
    Strategy,
    augmenting,
    consent,
)
from tfnlp.generation.options import WritingOptions
from tfnlp.inference.settings import stop_strings
from tfnlp.options import make, plain, unknown_key


def from_values(values: Mapping[str, Any], options: type, place: str) -> Experiment:
    """Build an experiment from nested plain values, as YAML holds them.

    Args:
        values: ``{"task": {"name": ..., <option>: ...}, <section>: {...}, "name": ..., "seed": 1}``
        options: the task's options dataclass.
        place: the source of the values, for messages.

    Raises:
        UserError: an unknown section or key, or a value out of range.

    Example:
        >>> from tfnlp.tasks.classification import Options
        >>> values = {"task": {"name": "classification"}, "data": {"train": "a.csv"}}
        >>> from_values(values, Options, "a.yaml").name
        'a-classification'
    """
    check_sections(values, place)
    name = task_name(values, place)
    task = {key: value for key, value in values["task"].items() if key != "name"}
    seed = values.get("seed", 42)
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < SEEDS:
        raise UserError(f"{place}: seed is {seed!r}; it must be a whole number from 0 to 2^31 - 1")
    sections = {
        section: make(kind, values.get(section) or {}, f"{section} in {place}")
        for section, kind in SECTIONS.items()
    }
    if isinstance(task.get("stop"), str) and issubclass(options, WritingOptions):
        task["stop"] = list(stop_strings(task["stop"]))  # version 0.1.0 wrote them as requests do
    made = make(options, task, f"task in {place}")
    filed = values.get("name")
    filed = default_name(name, sections["data"]) if filed is None else filed
    if not isinstance(filed, str) or filed != Path(filed).name or filed[:1] in ("", "."):
        raise UserError(f"{place}: name is {filed!r}; it must be a plain folder name")
    experiment = Experiment(
        task=name,
        options=made,
        name=filed,
        strategy=_entry(Strategy, values.get("strategy") or {"name": SUPERVISED}, place),
        seed=seed,
        peft=_entry(Peft, values["peft"], place) if values.get("peft") else None,
        augment=tuple(_entry(Augmenter, one, place) for one in values.get("augment") or ()),
        **sections,
    )
    _check_fits(experiment)
    return experiment


def _check_fits(experiment: Experiment) -> None:
    """Raise UserError if the layout is not for these files, or what is plugged in for this task."""
    experiment.training.least()
    data = experiment.data
    data.part()
    if (layout := data.layout()) != USUAL:  # else a file's kind is its reader's concern
        files = filter(None, (data.train, data.validation, data.test))
        layout.check([format_of(Path(file)) for file in files])
    task, strategy = tasks.load(experiment.task), experiment.strategy
    extensions.load(Strategy, strategy.name).fits(task, experiment, strategy.options)
    augmenting.check(experiment.task, task, experiment.options, experiment.augment)


def _entry(record: type, given: Mapping[str, Any], place: str) -> Entry:
    """Return an entry that is named in a section, with its options."""
    section = f"{record.__name__.lower()} in {place}"
    own = dict(given)
    name = own.pop("name", None)
    if not isinstance(name, str):
        raise UserError(f"{section} has no name; it must hold `name: NAME`")
    options: type = extensions.load(record, name).options
    known = {field.name for field in dataclasses.fields(options)}
    # Version 0.1.0 wrote gan_steps for steps.
    named = {k if k in known else k.removeprefix(f"{name}_"): v for k, v in own.items()}
    return Entry(name, make(options, named, section))


def check_sections(values: Mapping[str, Any], place: str) -> None:
    """Raise UserError if there is an unknown section, or one that holds no options.

    Example:
        >>> check_sections({"trainig": {}}, "a.yaml")
        Traceback (most recent call last):
        pipelines.errors.UserError: a.yaml has no option 'trainig'; did you mean 'training'?
    """
    unknown_key(values, ["task", *ENTRIES, "name", "seed", *SECTIONS], place)
    for name in ("task", "strategy", "peft", *SECTIONS):
        if not isinstance(values.get(name) or {}, Mapping):
            raise UserError(f"{place}: {name} is {values[name]!r}; it must hold `option: value`")
    augment = values.get("augment") or []
    if not isinstance(augment, list) or not all(isinstance(one, Mapping) for one in augment):
        raise UserError(f"{place}: augment is {augment!r}; it must be a list of `name: NAME`")


def task_name(values: Mapping[str, Any], place: str) -> str:
    """Return the name of the task that an experiment's values are about.

    Raises:
        UserError: there is none.

    Example:
        >>> task_name({"task": {"name": "ner", "crf": False}}, "a.yaml")
        'ner'
    """
    task = values.get("task")
    name = task.get("name") if isinstance(task, Mapping) else None
    if not isinstance(name, str):
        raise UserError(f"{place} names no task; it must hold `task: {{name: classification}}`")
    return name


def default_name(task: str, data: Data) -> str:
    """Name an experiment by its data and task, as in ``trec-classification``.

    Example:
        >>> default_name("classification", Data(dataset="trec"))
        'trec-classification'
    """
    return f"{data_name(data.dataset, data.train or data.labels)}-{task.rpartition('.')[2]}"


def data_name(dataset: str | None, file: str | None) -> str:
    """Name data for a folder: ``tfds:glue/cola`` is ``glue-cola``, ``a/b.csv.gz`` is ``b``.

    Example:
        >>> data_name("tfds:glue/cola", None), data_name(None, "a/b.csv.gz")
        ('glue-cola', 'b')
    """
    if dataset:
        return dataset.removeprefix("tfds:").replace("/", "-").replace(":", "-")
    return Path(str(file)).name.lstrip(".").split(".")[0] or "data"


def to_values(experiment: Experiment) -> dict[str, Any]:
    """Return the nested plain values of an experiment; :func:`from_values` reverses it.

    Example::

        to_values(experiment)["training"]["epochs"]  # 4
    """
    return {
        "name": experiment.name,
        "seed": experiment.seed,
        "task": {"name": experiment.task, **plain(experiment.options)},
        **_entries(experiment),
        **{section: plain(getattr(experiment, section)) for section in SECTIONS},
    }


def _entries(experiment: Experiment) -> dict[str, Any]:
    """Return the sections of what is plugged in; supervised training needs none."""
    strategy, peft = experiment.strategy, experiment.peft
    values: dict[str, Any] = {}
    if strategy.name != SUPERVISED:
        values["strategy"] = _plain(strategy)
    if peft:
        values["peft"] = _plain(peft)
    if experiment.augment:
        values["augment"] = [_plain(one) for one in experiment.augment]
    return values


def _plain(entry: Entry) -> dict[str, Any]:
    """Return an entry as it stands in YAML."""
    return {"name": entry.name, **plain(entry.options)}


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read an experiment file's nested values.

    Raises:
        UserError: the file is missing, is not YAML, or is not a mapping.

    Example:
        >>> _ = Path("a.yaml").write_text("task: ner")
        >>> read_yaml("a.yaml")
        {'task': {'name': 'ner'}}
    """
    try:
        values = yaml.safe_load(Path(path).read_text("utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror} (check the path)") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # dates, brackets without end
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} holds no experiment; it must be a mapping of sections")
    if isinstance(values.get("task"), str):  # `task: ner` is short for `task: {name: ner}`
        values["task"] = {"name": values["task"]}
    for section in ("strategy", "peft"):
        if isinstance(values.get(section), str):
            values[section] = {"name": values[section]}
    if isinstance(values.get("augment"), list):
        values["augment"] = [{"name": o} if isinstance(o, str) else o for o in values["augment"]]
    return values


def read_trusted(path: Path, remedy: str) -> Experiment:
    """Read an experiment that `write_yaml` wrote, all of it; it may come from anyone.

    Args:
        path: the file.
        remedy: what the user can do if it is damaged.

    Raises:
        UserError: it is missing, damaged or cut off, names what is not there any more, or a module
            that nobody has consented to.

    Example::

        read_trusted(run / "model" / "experiment.yaml", "train again").task  # "ner"
    """
    try:
        values = read_yaml(path)
        name = task_name(values, str(path))
    except UserError as error:
        raise UserError(f"{error} ({remedy})") from error
    last = list(SECTIONS)[-1]
    if dataclasses.fields(SECTIONS[last])[-1].name not in (values.get(last) or {}):
        raise damaged(path, "its end is missing", remedy)
    consent.check(values, path)
    return from_values(values, tasks.load(name).options, str(path))


def write_yaml(experiment: Experiment, path: Path) -> None:
    """Write an experiment so that ``--config`` reproduces it.

    Example::

        write_yaml(experiment, run / "experiment.yaml")  # --config RUN/experiment.yaml
    """
    values = to_values(experiment)
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    if not text.replace("\n", "").isprintable():  # YAML would read U+0085 as a line's end
        text = yaml.safe_dump(values, sort_keys=False)
    write_text(path, text)
