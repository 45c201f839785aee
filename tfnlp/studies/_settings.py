"""Settings as studies propose them: read from text, and known by an experiment's options."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.errors import UserError
from tfnlp import extensions, task
from tfnlp.config import SECTIONS, Entry, Experiment
from tfnlp.extensions import ENTRIES, SUPERVISED
from tfnlp.options import default_of, flag_of, make

_NONE = "none"  # no entry
_WORDS: Mapping[str, Any] = {
    **{"yes": True, "no": False},  # as --help says the defaults
    **{"true": True, "false": False, _NONE: None},
}


def parse(text: str) -> tuple[str, list[Any]]:
    """Return the name and the values of ``NAME=VALUE,VALUE``.

    A value is a whole number, a number, true or false (yes or no), none, or else a text.

    Raises:
        UserError: it has no name or no value, or a value is empty or there twice.

    Example:
        >>> parse("learning_rate=1e-5,3e-5")
        ('learning_rate', [1e-05, 3e-05])
        >>> parse("peft=none,bitfit")
        ('peft', [None, 'bitfit'])
    """
    name, _, listed = text.partition("=")
    parts = [part.strip() for part in listed.split(",")]
    if not name.strip() or not all(parts):
        raise UserError(f"--vary {text}: it must be NAME=VALUE,VALUE (such as epochs=2,4)")
    values = [value(part) for part in parts]
    for place, one in enumerate(values):
        if one in values[:place]:
            raise UserError(f"--vary {text}: {parts[place]} is there twice (leave one out)")
    return name.strip().replace("-", "_"), values


def value(text: str) -> Any:
    """Return what a text stands for.

    Example:
        >>> [value(text) for text in ("3", "1e-5", "true", "none", "minilm-l6-en")]
        [3, 1e-05, True, None, 'minilm-l6-en']
    """
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for kind in (int, float):
        # Python would also read 1_000, and "nan" and "inf", which are no values of a setting.
        if re.fullmatch(r"[-+]?[\d.]+(e[-+]?\d+)?", text, re.IGNORECASE):
            try:
                return kind(text)
            except ValueError:
                continue
    return text


@dataclass(frozen=True)
class Setting:
    """An option of an experiment.

    Attributes:
        section: of experiment.yaml.
        entry: whose option it is; nothing for an option of a section itself.
        kind: the dataclass that has it.
        field: its name there.
        default: with this task and these entries.

    Example::

        Setting("peft", "lora", lora.Options, "rank", 8).of(experiment)  # 4
    """

    section: str
    entry: str
    kind: type
    field: str
    default: Any

    def of(self, experiment: Experiment) -> Any:
        """Return its value in an experiment that has it."""
        if self.section == "task":
            return getattr(experiment.options, self.field)
        held: Any = getattr(experiment, self.section)
        if not self.entry:
            return getattr(held, self.field)
        entries: Sequence[Entry] = held if isinstance(held, tuple) else [held]
        return next(getattr(e.options, self.field) for e in entries if e.name == self.entry)


def named(base: Experiment) -> list[tuple[str, str]]:
    """Return the section and the name of each entry of an experiment, in the order they count.

    Example::

        named(experiment)  # [("strategy", "supervised"), ("peft", "lora")]
    """
    found = [("strategy", base.strategy.name)]
    found += [("peft", base.peft.name)] if base.peft else []
    return found + [("augment", entry.name) for entry in base.augment]


def settings_of(task_name: str, entries: Sequence[tuple[str, str]]) -> dict[str, Setting]:
    """Return every option of an experiment with this task and these entries, by its flag's words.

    Those that say where a run lies are not among them.

    Args:
        task_name: the task's name.
        entries: as of `named`; of a default that several have, the last one's counts.

    Raises:
        UserError: there is no such task or entry.

    Example::

        settings_of("classification", [("peft", "lora")])["lora_rank"].default  # 8
    """
    chosen = task.load(task_name)
    records: list[tuple[str, str, Any]] = [
        (section, name, extensions.load(ENTRIES[section], name)) for section, name in entries
    ]
    defaults = [chosen.defaults, *(getattr(r, "defaults", {}) for _, _, r in records)]
    kinds = {"task": chosen.options, **{n: k for n, k in SECTIONS.items() if n != "export"}}
    found: dict[str, Setting] = {}
    for section, kind in kinds.items():
        own: dict[str, Any] = {}
        for each in defaults:
            own |= each.get(section, {})
        for field in _options(kind):
            default = own.get(field.name, default_of(field))
            setting = Setting(section, "", kind, field.name, default)
            found[_word(field, "")] = setting
            if isinstance(default, dict):  # --column NAME=HEADER, several times, is columns={...}
                found[field.name] = setting
    for section, name, record in records:
        prefix = name.rpartition(".")[2].replace("_", "-") + "-"
        for field in _options(record.options):
            default = default_of(field)
            setting = Setting(section, name, record.options, field.name, default)
            found[_word(field, prefix)] = setting
    return found


def _options(kind: type) -> list[dataclasses.Field]:
    """Return the fields of a dataclass that are flags."""
    return [field for field in dataclasses.fields(kind) if "help" in field.metadata]


def _word(field: dataclasses.Field, prefix: str) -> str:
    """Return a flag's words with ``_``."""
    return flag_of(field, prefix)[2:].replace("-", "_")


def known(base: Experiment, settings: Mapping[str, Any], place: str) -> dict[str, Setting]:
    """Return the options that an experiment has with these settings in place of its own.

    Raises:
        UserError: the settings name a task or an entry that is not there.

    Example::

        "lora_rank" in known(experiment, {"peft": "lora"}, "--vary")  # True
    """
    entries = named(base)
    for section in ENTRIES:
        if section in settings:
            entries = [entry for entry in entries if entry[0] != section]
            entries += [(section, name) for name in _names(settings[section], section, place)]
    name = settings.get("task", base.task)
    if not isinstance(name, str):
        raise UserError(f"{place}: task is {name!r}; it must be a task's name")
    try:
        return settings_of(name, entries)
    except UserError as error:
        raise UserError(f"{place}: {error}") from error


def _names(value: Any, section: str, place: str) -> list[str]:
    """Return the entries that a setting names."""
    if value in (None, _NONE):
        return [SUPERVISED] if section == "strategy" else []
    several = value if section == "augment" and isinstance(value, list) else [value]
    for one in several:
        if not isinstance(one, str):
            raise UserError(f"{place}: {section} is {one!r}; it must be a name, or none")
    return several


def check(settings: Mapping[str, Any], there: Mapping[str, Setting], place: str) -> None:
    """Raise UserError if a setting is none, or cannot have its value.

    Args:
        settings: proposed.
        there: the options that there are with them, as of `known`.
        place: where the settings are written, for messages.

    Example::

        check({"epochs": "few"}, known(base, {}, "row a of a.yaml"), "row a of a.yaml")
        # UserError: row a of a.yaml: epochs: 'few' is not a whole number
    """
    for name, value in settings.items():
        if name in ("task", *ENTRIES):
            continue  # `known` has checked them
        if name == "seed" or (name.endswith("_column") and isinstance(value, str)):
            continue  # which columns there are depends on the task's options
        if name not in there:
            if owner := _owner(name):
                raise UserError(
                    f"{place}: {name} is an option of {owner[0]} {owner[1]}, which is not chosen "
                    f"(give {owner[0]}={owner[1]} too)"
                )
            near = difflib.get_close_matches(name, [*there, *ENTRIES, "task"], n=1)
            hint = f"; did you mean {near[0]!r}?" if near else " (--help lists the flags)"
            raise UserError(f"{place}: there is no setting {name!r}{hint}")
        if value is not None:
            setting = there[name]
            try:
                make(setting.kind, {setting.field: value}, place)
            except UserError as error:
                said = str(error).replace(f"{setting.field}:", f"{name}:", 1)
                raise UserError(said) from error


def _owner(name: str) -> tuple[str, str] | None:
    """Return the section and the name of the entry that has an option, if one has."""
    for section, record in ENTRIES.items():
        for entry in extensions.names(record):
            options = _options(extensions.load(record, entry).options)
            if name in (_word(field, f"{entry.replace('_', '-')}-") for field in options):
                return section, entry
    return None


def effective(base: Experiment, settings: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return what settings change in an experiment: values in their types, but for its own.

    Raises:
        UserError: a setting is none, or cannot have its value.

    Example::

        effective(experiment, {"learning_rate": "1e-3", "epochs": None}, "row a")
        # {"learning_rate": 0.001}
    """
    there = known(base, settings, place)
    check(settings, there, place)
    found: dict[str, Any] = {}
    own: Any
    new: Any
    for name, value in settings.items():
        if name in ENTRIES:
            own, new = [n for s, n in named(base) if s == name], _names(value, name, place)
        elif name in there:
            setting = there[name]
            chosen = not setting.entry or (setting.section, setting.entry) in named(base)
            own = setting.of(base) if chosen else setting.default
            made = make(setting.kind, {setting.field: value}, place) if value is not None else None
            new = getattr(made, setting.field) if made else setting.default
        else:
            own, new = base.task if name == "task" else None, value
        if new != own:
            found[name] = new
    return found


def said(settings: Mapping[str, Any]) -> str:
    """Return settings as a person reads them.

    Example:
        >>> said({"learning_rate": 3e-5, "peft": None, "freeze_embeddings": True})
        'learning_rate=3e-05, peft=none, freeze_embeddings=true'
    """
    return ", ".join(f"{name}={shown(value)}" for name, value in settings.items()) or "as given"


def shown(value: Any) -> str:
    """Return a value as `parse` reads it.

    Example:
        >>> shown(False), shown(None), shown(("swap", "delete"))
        ('false', 'none', 'swap+delete')
    """
    if isinstance(value, (list, tuple)):
        return "+".join(map(shown, value)) or _NONE
    words = {v: word for word, v in _WORDS.items()}
    if value is None or isinstance(value, bool):
        return words[value]
    return str(value)
