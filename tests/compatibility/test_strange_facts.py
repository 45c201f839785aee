"""Facts of models of 0.1.0, which have no checksums, that are not what was learned.

What cannot have been learned is named in one sentence, with the file and the remedy.
"""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.errors import UserError
from tfnlp import facts
from tfnlp.runtime import exit_status

CHANGES: dict[str, Callable[[Any], Any]] = {
    "null": lambda _: None,
    "text": lambda _: "x",
    "object": lambda _: {"a": 1},
    "true": lambda _: 3 if isinstance(_, bool) else True,
    "empty": lambda _: [],
    "negative": lambda _: -1,
    "infinite": lambda _: float("inf"),
    "nan": lambda _: float("nan"),
}
OF_LISTS: dict[str, Callable[[Any], Any]] = {
    "twice": lambda value: [value[0], *value[:-1]],
    "backwards": lambda value: value[::-1],
    "shorter": lambda value: value[:-1],
    "longer": lambda value: [*value, value[-1]],
    "others": lambda value: [None for _ in value],
    "nested": lambda value: [value],
}
FACTS = {
    "labels": ["labels", "temperature", "widths"],
    "tags": ["labels", "temperature", "thresholds"],
    "relations": ["labels", "temperature", "most_frequent"],
    "spans": ["labels"],
    "grades": ["grades", "reached"],
    "numbers": ["mean", "deviation"],
    "answers": ["unanswerable", "null_threshold"],
    "chat": ["form", "positions", "chat"],
}
LISTS = ("labels", "thresholds", "grades", "reached")
# Values that may be learned.
RIGHT = {
    ("numbers", "mean", "negative"),
    ("answers", "null_threshold", "negative"),
    ("answers", "null_threshold", "null"),
    ("labels", "widths", "empty"),
    ("chat", "chat", "null"),
}
# What only the model itself tells from what was learned.
PLAUSIBLE = {(name, "labels", "shorter") for name in ("labels", "tags", "relations", "spans")}
PLAUSIBLE |= {("grades", "grades", "shorter"), ("tags", "thresholds", "backwards")}
PLAUSIBLE |= {("grades", "reached", "backwards"), ("tags", "thresholds", "twice")}
PLAUSIBLE |= {("grades", "reached", "twice")}
COMMANDS = {
    "export": ["export", "tensorboard_logs/{name}/run", "--saved-models", "again"],
    "evaluate": ["evaluate", "saved_models/{name}/1", "--output", "report"],
}


def cases() -> list:
    found = []
    for name, known in FACTS.items():
        for fact in known:
            changes = {*CHANGES, *(OF_LISTS if fact in LISTS else ())}
            found += [(name, fact, change) for change in sorted(changes)]
    return [case for case in found if case not in RIGHT | PLAUSIBLE]


def change(file: Path, fact: str, how: str) -> None:
    values = json.loads(file.read_text("utf-8"))
    if how == "gone":
        del values[fact]
    else:
        values[fact] = {**CHANGES, **OF_LISTS}[how](values[fact])
    file.write_text(json.dumps(values), "utf-8")


@pytest.fixture
def read(artefacts, tmp_path) -> Callable[..., Any]:
    """Return a function that changes a fact of a model, and reads them."""

    def changed(name: str, fact: str = "", how: str = "") -> Any:
        run = artefacts / f"tensorboard_logs/{name}/run"
        file = shutil.copy(run / "model" / "facts.json", tmp_path)
        if fact:
            change(Path(file), fact, how)
        task = yaml.safe_load((run / "experiment.yaml").read_text("utf-8"))["task"]["name"]
        return facts.read(Path(file), task, "train again")

    return changed


@pytest.mark.parametrize("name", FACTS)
def test_facts_as_they_were_learned_are_read(read, name):
    assert read(name).keys() >= {"widths"}


@pytest.mark.parametrize(("name", "fact", "how"), cases())
def test_facts_that_were_not_learned_are_named(read, name, fact, how):
    with pytest.raises(UserError, match=r"facts\.json is damaged: .*\(train again\)"):
        read(name, fact, how)


@pytest.mark.parametrize("case", sorted(RIGHT), ids="-".join)
def test_facts_that_may_have_been_learned_are_read(read, case):
    read(*case)


def test_a_fact_that_is_missing_is_named_where_it_is_needed(read):
    with pytest.raises(UserError, match=r"facts\.json is damaged: it has no 'temperature'"):
        read("labels", "temperature", "gone")["temperature"]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("name", "fact", "how"), [("labels", "temperature", "gone"), ("labels", "labels", "shorter")]
)
def test_commands_name_what_the_model_tells(
    artefacts, name, fact, how, command, monkeypatch, capfd
):
    monkeypatch.chdir(artefacts)
    module, *flags = (part.format(name=name) for part in COMMANDS[command])
    file = Path(flags[0], *(["model"] if command == "export" else []), "facts.json")
    whole = file.read_bytes()
    change(file, fact, how)
    capfd.readouterr()
    try:
        status = exit_status.status(importlib.import_module(f"tfnlp.{module}").main, flags)
    finally:
        file.write_bytes(whole)
    said = capfd.readouterr().err.strip().split("\n")[-1]
    assert status == 2, said
    assert said.startswith(f"error: {file} is damaged: "), said
