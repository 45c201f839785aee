"""Several runs on one backbone in one SavedModel, which holds the backbone's weights once."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote as urlquote

from pipelines.errors import UserError
from pipelines.files.writers import write_json
from tfnlp.exporting import card, mixed, shared_pass, writer
from tfnlp.exporting.shared_pass import Head, Pass
from tfnlp.exporting.warmup import requests_of, write_warmup
from tfnlp.inference.saved_model import HEAD, HEADS, INPUTS
from tfnlp.report import Table, markdown
from tfnlp.runtime.commands import command

if TYPE_CHECKING:
    from pipelines.rows import Column
    from tfnlp.exporting.writer import Signature

EVERY, BY_ROW = "all", "heads"  # the signatures for all models, and for one by row
_TAKEN = (EVERY, BY_ROW, "serving_default", "classify", "regress", "tokens")


@dataclass(frozen=True)
class Part(Head):
    """A run that is joined.

    Attributes:
        run: its folder.
        metrics: what its evaluation found, as its metrics.json holds it.
        digest: of what was kept of it.
    """

    run: Path = Path()
    metrics: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""

    @property
    def columns(self) -> tuple[Column, ...]:
        """The texts that it reads."""
        options = self.model.experiment.options
        return tuple(self.model.task.input_columns(options))


def check(parts: Sequence[Part]) -> None:
    """Refuse runs that cannot be in one SavedModel.

    Raises:
        UserError: two have one name, one writes texts, or one is on another backbone.

    Example::

        check([Part("topics", storage.load(run), run)])
    """
    names: set[str] = set()
    for part in parts:
        if part.name in names:
            raise UserError(
                f"two of the runs are named {part.name!r}, and a signature is named after each "
                f"(call one of them otherwise: NAME={part.run})"
            )
        if not part.name.strip() or not part.name.isprintable():
            raise UserError(
                f"{part.run} is named {part.name!r}, which no request can say (call it otherwise: "
                f"NAME={part.run})"
            )
        if part.name in _TAKEN:
            raise UserError(
                f"{part.run} is named {part.name!r}, as another signature is (call it otherwise: "
                f"NAME={part.run})"
            )
        if part.model.task.writing is not None:
            raise UserError(
                f"{part.run} is a run of --task {part.model.experiment.task}, which writes texts "
                "and has signatures of its own (export it alone)"
            )
        names.add(part.name)
    first, words = parts[0].model.experiment.backbone, parts[0].model.context.tokenizer.pieces()
    for part in parts[1:]:
        own = part.model.experiment.backbone
        same_words = part.model.context.tokenizer.pieces() == words
        if _backbone(own.name) != _backbone(first.name) or not same_words:
            raise UserError(
                f"{part.run} is on the backbone {own.name}, and {parts[0].run} on {first.name}: a "
                "SavedModel holds one backbone (export it alone, or train it on the other's)"
            )


def _backbone(name: str) -> str:
    """Return what is the same of one backbone's names."""
    from tfnlp.backbones import loading

    return loading.digest(name) or name.replace("_", "-")


def join(
    parts: Sequence[Part],
    parent: Path,
    sizes: Sequence[int],
    metrics: Mapping[str, Any] | None = None,
) -> Path:
    """Write the next version of a SavedModel of several runs; returns its folder.

    ``serving_default`` is the first run, and each has a signature by its name. ``all`` answers
    with every run that reads the same columns as the first, and ``heads`` with the one that a row
    names (`tfnlp.exporting.mixed`).

    Args:
        parts: runs that `check` lets through, whose equal weights are one.
        parent: the folder of versions.
        sizes: of each run the bytes that those before it do not have.
        metrics: kept as metrics.json, if there are any.

    Raises:
        UserError: the folder cannot be written.

    Example::

        join(parts, Path("saved_models/all"), shared_pass.share([p.model for p in parts]))
    """
    shared_pass.share_encoding([part.model for part in parts])
    together = [p for p in parts if p.columns == parts[0].columns]
    passes = shared_pass.passes(together)
    signatures = _signatures(parts, passes)

    def beside(folder: Path) -> None:
        write_warmup(folder, parent.name, _requests(parts, together))
        kinds = {column.name: column.kind for part in parts for column in part.columns}
        write_json(folder / INPUTS, kinds | ({HEAD: "text"} if len(together) > 1 else {}))
        write_json(folder / HEADS, {"heads": [_told(part, parent) for part in parts]})
        if metrics is not None:
            write_json(folder / "metrics.json", dict(metrics))
        text = _card(parts, passes, parent.name, sizes)
        (folder / "README.md").write_text(text, "utf-8")

    module = writer.traced([part.model for part in parts], signatures)
    return writer.write(parent, *module, beside)


def _signatures(parts: Sequence[Part], passes: Sequence[Pass]) -> dict[str, Signature]:
    """Return the ways in by name."""
    from pipelines.rows import Column

    first = parts[0]
    answer = first.model.respond
    found = {"serving_default": writer.from_strings(answer, first.columns)}
    found |= writer.from_examples(first.model.task, answer, first.columns)
    for part in parts:
        found[part.name] = writer.from_strings(part.model.respond, part.columns)
        if writer.explains(part.model):
            found[f"{part.name}_explain"] = writer.explained(part.model, part.columns)
        for name, own in part.model.task.extra_inputs(part.model.context.options).items():
            found[f"{part.name}.{name}"] = writer.from_strings(part.model.respond, own)
    if sum(len(one.heads) for one in passes) > 1:
        asked = (*first.columns, Column(HEAD, "text", "the model that answers the row"))
        found[EVERY] = writer.from_strings(mixed.every(passes), first.columns)
        found[BY_ROW] = writer.from_strings(mixed.by_row(passes), asked)
    return found


def _requests(
    parts: Sequence[Part], together: Sequence[Part]
) -> list[tuple[str, Mapping[str, str]]]:
    """Return requests of each length that training met, to every signature that reads texts."""
    found: list[tuple[str, Mapping[str, str]]] = []
    for place, part in enumerate(parts):
        rows = requests_of(part.model)
        found += [(part.name, row) for row in rows]
        if place == 0:
            found += [("serving_default", row) for row in rows]
        if len(together) > 1 and any(part is one for one in together):
            found += [(EVERY, row) for row in rows] if place == 0 else []
            found += [(BY_ROW, {**row, HEAD: part.name}) for row in rows[:1]]
    return found


def _told(part: Part, parent: Path) -> dict[str, Any]:
    """Return what heads.json says of a run; its folder as seen from the SavedModel's."""
    export = part.model.experiment.export
    return {
        "name": part.name,
        "task": part.model.experiment.task,
        "inputs": [column.name for column in part.columns],
        "labels": part.model.context.facts.get("labels"),
        "run": os.path.relpath(part.run.resolve(), parent.resolve()),
        "digest": part.digest,
        "explain": export.explain_by if export.export_explain else None,
    }


def _card(parts: Sequence[Part], passes: Sequence[Pass], name: str, sizes: Sequence[int]) -> str:
    """Return what a person should know of the joined model, in Markdown."""
    from tfnlp.backbones import entry

    backbone = parts[0].model.experiment.backbone.name
    about = entry.find(backbone).summary if backbone in entry.names() else ""
    request = _example(parts[0])
    body = shlex.quote(json.dumps({"instances": [request]}, ensure_ascii=False))
    url = f"http://localhost:8501/v1/models/{urlquote(name)}:predict"
    lines = [
        f"# {name}",
        "",
        f"{len(parts)} models on one backbone, `{backbone}`{f' ({about})' if about else ''}, whose "
        "weights are here once.",
        "",
        markdown(_table(parts, sizes)),
        "",
        "How good each is, and from what it was made, its run's own model card says.",
        "",
        "## How to ask it",
        "",
        f"`{parts[0].name}` answers if no signature is named; the others answer by their names.",
        "",
        "```",
        f"curl -d {body} {url}",
    ]
    there = [head.name for one in passes for head in one.heads]
    if len(there) > 1:
        both = [{**request, HEAD: head} for head in there[:2]]
        asked = json.dumps({"signature_name": BY_ROW, "instances": both}, ensure_ascii=False)
        lines += [
            command("tfnlp.predict", name, *request.values(), "--signature", EVERY),
            f"curl -d {shlex.quote(asked)} {url}",
            "```",
            "",
            f"`{EVERY}` answers with {_listed(there)}. `{BY_ROW}` answers each row with the one "
            f"that its `{HEAD}` names.",
            *_of_passes(passes),
        ]
    else:
        lines.append("```")
    return "\n".join([*lines, "", "## In Python", "", *card.saved_model(request)]) + "\n"


def _of_passes(passes: Sequence[Pass]) -> list[str]:
    """Say which models are computed in one pass."""
    several = [one for one in passes if one.below is not None]
    return [
        f"For `{EVERY}` a text passes what is shared of the backbone once for "
        f"{_listed([head.name for head in one.heads])}."
        for one in several
    ]


def _listed(names: Sequence[str]) -> str:
    """Return names as code, with commas between them."""
    return ", ".join(f"`{name}`" for name in names)


def _table(parts: Sequence[Part], sizes: Sequence[int]) -> Table:
    """Return a row on each model."""
    rows = []
    for part, size in zip(parts, sizes, strict=True):
        labels = part.model.context.facts.get("labels") or ()
        shown = ", ".join(map(str, labels[:10])) + (", ..." if len(labels) > 10 else "")
        found = part.metrics.get("test") or part.metrics.get("validation") or {}
        split = "test" if part.metrics.get("test") else "validation"
        best = next(((n, v) for n, v in found.items() if n != "loss"), None)
        score = f"{best[0]} {best[1]:.4f} ({split})" if best and best[1] is not None else ""
        task = part.model.experiment.task
        rows.append((part.name, task, shown, score, f"{size / 1e6:.2f}"))
    return Table("Models", ("name", "task", "labels", "score", "MB of its own"), rows)


def _example(part: Part) -> dict[str, str]:
    """Return a request to a model: a row of its data, or its task's sample."""
    found = part.metrics.get("example")
    return dict(found) if found else card.sample(part.model)
