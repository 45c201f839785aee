"""Dataclasses <-> command-line flags <-> YAML: each option is written once, with its help and unit.

A *section* is a frozen dataclass whose fields are made by :func:`option`. The name of a field is
its key in YAML and, with hyphens, its flag::

    @dataclass(frozen=True)
    class Training:
        batch_size: int = option(32, "rows in a batch [rows]", minimum=1)

    --batch-size 64                training: {batch_size: 64}

An option that is a list, ``tuple[str, ...]``, is a flag given several times and a list in YAML;
of ``tuple[int, ...]`` the flag also takes several at once, ``--sizes 100,200``::

    stop: tuple[str, ...] = option((), "texts that end an answer")

    --stop "User:" --stop END      task: {stop: ["User:", END]}
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from pipelines.errors import UserError
from tfnlp import completion
from tfnlp.option_values import NAMES, FaultError, checked, kind_of


def option(
    default: Any,
    help: str,
    *,
    flag: str | None = None,
    metavar: str | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    needs: Any = None,
) -> Any:
    """Return a dataclass field that is an option of a section.

    Args:
        default: its value when neither file nor flag says otherwise.
        help: one line for ``--help``, with the unit in square brackets.
        flag: the flag, where it is not the field's name with hyphens (``--backbone``).
        metavar: what ``--help`` puts after the flag, where it is not the type (``FILE``).
        minimum: smallest value allowed; of a text, and of each text in a list, its fewest
            characters, 1 if not given.
        maximum: largest value allowed; of a number without one, what int32 or float32 holds.
        needs: what it needs to have an effect, a `tfnlp.needs.Need`.

    Example:
        >>> option(32, "rows in a batch [rows]", minimum=1).default
        32
    """
    metadata = {
        "help": help,
        "flag": flag,
        "metavar": metavar,
        "minimum": minimum,
        "maximum": maximum,
        "needs": needs,
    }
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: dict(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


class Parser(argparse.ArgumentParser):
    """An argument parser that suggests the flag that was meant and exits with one sentence.

    Example::

        parser = Parser(description="Train a model.")
        parser.add_argument("--name")
        parser.parse(["--nam", "a"])  # exits: there is no option '--nam'; did you mean --name? ...
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(
                prog, max_help_position=34, width=100
            ),
            allow_abbrev=False,
            **kwargs,
        )

    def parse(self, argv: list[str]) -> argparse.Namespace:
        """Parse all of ``argv``, flags before, between or after the rest; say what was meant."""
        completion.answer(self)
        values, unknown = self.parse_known_intermixed_args(argv)
        if unknown:
            word = unknown[0]
            known = [s for action in self._actions for s in action.option_strings]
            near = meant(word.split("=")[0], known)
            hint = f"; did you mean {near}?" if near else ""
            self.error(f"there is no option {word!r}{hint} (see {self.prog} --help)")
        return values

    def error(self, message: str) -> NoReturn:
        """Print the sentence and exit with status 2."""
        self.exit(2, f"error: {message}\n")


def meant(word: str, known: Sequence[str]) -> str | None:
    """Return the flag that was perhaps meant: --lr is --learning-rate, --max_len --max-length.

    By initials, then by spelling, then by the last word, as of Transformers' --num_train_epochs.
    """
    asked = "--" + word.lstrip("-").replace("_", "-").lower()
    initials = {"--" + "".join(part[:1] for part in flag[2:].split("-")): flag for flag in known}
    if len(asked) > 3 and asked in initials:
        return initials[asked]
    last = f"--{asked.rpartition('-')[2]}"
    near = difflib.get_close_matches(asked, known, n=1) or [flag for flag in known if flag == last]
    return near[0] if near else None


def add_flags(
    parser: argparse.ArgumentParser,
    name: str,
    section: type,
    title: str,
    defaults: Mapping[str, Any] | None = None,
    prefix: str = "",
) -> argparse._ArgumentGroup:
    """Add a section's options to a parser, as an argument group with this title.

    Where a task has defaults of its own, they are shown in place of the section's. A prefix such
    as ``gan-`` makes ``--gan-steps`` of ``steps``. A flag that is not given leaves nothing in the
    namespace, so that a file's value can stand. Values arrive under ``<name>.<field>``.

    Example::

        add_flags(parser, "training", Training, "training: how long and how")
        vars(parser.parse(["--epochs", "3"]))  # {"training.epochs": 3}

    Raises:
        UserError: another option has a flag of the same name, as of two entries of one name.
    """
    group = parser.add_argument_group(title)
    try:
        _add_to(group, name, section, defaults or {}, prefix)
    except argparse.ArgumentError as error:
        raise UserError(f"{title}: {error.message} (rename the module or its option)") from error
    return group


def _add_to(
    group: argparse._ArgumentGroup,
    name: str,
    section: type,
    defaults: Mapping[str, Any],
    prefix: str,
) -> None:
    """Add each of a section's options to a group, its own before those that it shares."""
    hints = typing.get_type_hints(section)
    own = vars(section).get("__annotations__", {})
    for field in sorted(dataclasses.fields(section), key=lambda field: field.name not in own):
        if "help" not in field.metadata:
            continue
        flag = flag_of(field, prefix)
        kind, choices = kind_of(hints[field.name])
        default = defaults.get(field.name, default_of(field))
        shown = "" if default in (None, {}, ()) else f" (default: {_shown(default)})"
        settings: dict[str, Any] = {
            "dest": f"{name}.{field.name}",
            "default": argparse.SUPPRESS,
            "help": (field.metadata["help"] + shown).replace("%", "%%"),
        }
        if kind is bool:
            group.add_argument(flag, action=argparse.BooleanOptionalAction, **settings)
            continue
        settings["metavar"] = field.metadata["metavar"] or _metavar(kind, choices)
        if kind is dict:
            group.add_argument(flag, action=_Pair, **settings)
        elif kind is tuple:
            group.add_argument(flag, **_list_of(hints[field.name], field), **settings)
        else:
            read = _reader(kind, hints[field.name], field)
            group.add_argument(flag, type=read, choices=choices, **settings)


def _metavar(kind: type, choices: tuple[str, ...] | None) -> str:
    """Return what help puts after a flag: its choices, or the type of its value."""
    if choices:
        return "{" + ",".join(choices) + "}"
    names: dict[type, str] = {dict: "NAME=VALUE", tuple: "STR"}
    return names.get(kind, kind.__name__.upper())


def _reader(kind: type, hint: Any, field: dataclasses.Field) -> Callable[[str], Any]:
    """Return what reads a flag's value; argparse puts the flag's name before its message."""

    def read(text: str) -> Any:
        try:
            return checked(kind(text), hint, field)
        except FaultError as fault:
            raise argparse.ArgumentTypeError(str(fault)) from None
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {NAMES[kind]}") from None

    return read


def _list_of(hint: Any, field: dataclasses.Field) -> dict[str, Any]:
    """Return how argparse reads a list: texts, which may hold commas, one by one."""
    item = typing.get_args(hint)[0]
    read = _reader(kind_of(item)[0], item, field)
    if item is str:
        return {"action": "append", "type": read}
    return {"action": "extend", "type": lambda text: [read(part) for part in text.split(",")]}


class _Pair(argparse.Action):
    """Collects NAME=VALUE arguments in a dict."""

    def __call__(
        self, parser: Any, namespace: Any, values: Any, option_string: str | None = None
    ) -> None:
        name, sep, value = str(values).partition("=")
        if not (name and sep):
            parser.error(f"{option_string} takes {self.metavar}, not {values!r}")
        pairs = {**getattr(namespace, self.dest, {}), name: value}
        setattr(namespace, self.dest, pairs)


def make(section: type, values: Mapping[str, Any], place: str) -> Any:
    """Return a section built from plain values.

    Args:
        section: the dataclass.
        values: field name -> value, as YAML or flags give them.
        place: where the values come from, named in messages, such as ``training in a.yaml``.

    Raises:
        UserError: an unknown key (with a suggestion), or a value of the wrong type or range.

    Example:
        >>> Section = dataclasses.make_dataclass("Section", [("epochs", int, option(4, "passes"))])
        >>> make(Section, {"epochs": 3}, "training in a.yaml")
        Section(epochs=3)
    """
    hints = typing.get_type_hints(section)
    fields = {f.name: f for f in dataclasses.fields(section)}
    unknown_key(values, list(fields), place)
    found = {}
    for name, value in values.items():
        try:
            found[name] = checked(value, hints[name], fields[name])
        except FaultError as fault:
            raise UserError(f"{place}: {name}: {fault}") from None
    return section(**found)


def values_of(flags: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return what parsed flags set in a section, by field; flags not given are not among them.

    Args:
        flags: what :meth:`Parser.parse` returned, as a mapping.
        name: the section's, as given to :func:`add_flags`.

    Example:
        >>> values_of({"training.epochs": 3, "task.pair": True}, "training")
        {'epochs': 3}
    """
    return {
        key[len(name) + 1 :]: value for key, value in flags.items() if key.startswith(name + ".")
    }


def unknown_key(
    values: Mapping[str, Any], known: list[str], place: str, what: str = "option"
) -> None:
    """Raise UserError if a key is not a known one, suggesting the nearest.

    Example:
        >>> unknown_key({"epoch": 3}, ["epochs"], "training in a.yaml")
        Traceback (most recent call last):
        pipelines.errors.UserError: training in a.yaml has no option 'epoch'; did you mean 'epochs'?
    """
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; it has: {', '.join(known)}"
            raise UserError(f"{place} has no {what} {name!r}{hint}")


def plain(section: Any) -> dict[str, Any]:
    """Return a section's values as YAML can hold them.

    Example:
        >>> Section = dataclasses.make_dataclass("Section", [("stop", tuple)])
        >>> plain(Section(("a", "b")))
        {'stop': ['a', 'b']}
    """
    values = {f.name: getattr(section, f.name) for f in dataclasses.fields(section)}
    return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}


def flag_of(field: dataclasses.Field, prefix: str = "") -> str:
    """Return an option's flag.

    Example:
        >>> Section = dataclasses.make_dataclass("Section", [("batch_size", int, option(32, ""))])
        >>> flag_of(dataclasses.fields(Section)[0])
        '--batch-size'
    """
    return field.metadata["flag"] or f"--{prefix}{field.name.replace('_', '-')}"


def default_of(field: dataclasses.Field) -> Any:
    """Return the value a field has when nobody sets it.

    Example:
        >>> Section = dataclasses.make_dataclass("Section", [("batch_size", int, option(32, ""))])
        >>> default_of(dataclasses.fields(Section)[0])
        32
    """
    if field.default is not dataclasses.MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else None


def _shown(value: Any) -> str:
    """Return a default as a person would say it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
