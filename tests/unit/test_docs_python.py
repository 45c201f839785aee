"""The Python of the pages: it parses, and what it calls is there with these arguments."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import tfnlp
from tfnlp.api import auditing, evaluating, exporting
from tfnlp.api.auditing import Audited
from tfnlp.api.fitting import StudyResult
from tfnlp.cli import arguments, settings
from tfnlp.inference.served import Served
from tfnlp.options import Parser

ROOT = Path(tfnlp.__file__).parents[1]
PAGES = [
    ROOT / name for name in ("README.md", "README.zh-CN.md", "docs/python.md", "docs/zh/python.md")
]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`([^`\n]*\b(?:tfnlp|model)\.\w[^`\n]*)`")

# What the functions return, and so which methods their results have.
RETURNS: dict[str, type] = {
    "fit": tfnlp.Model,
    "load": tfnlp.Model,
    "open": Served,
    "run_study": StudyResult,
    "evaluate": tfnlp.Report,
    "audit": Audited,
}
# Methods and functions that take options by name, and where those are.
OPTIONS = {"evaluate": evaluating.Options, "audit": auditing.Options, "export": exporting.Options}


def blocks(text: str) -> list[str]:
    """Return the Python of a page: its blocks, then inline code with the package or a model."""
    inline = INLINE.findall(FENCED.sub("", text))
    shell = re.compile(r"python -m|model/|\.keras$")  # commands, folders and files
    return [*BLOCK.findall(text), *(code for code in inline if not shell.search(code))]


def faults(text: str) -> list[str]:
    """Return what is wrong in the Python of a page, in the order of its lines."""
    known: dict[str, type] = {}  # the names that a block assigns are those of later ones too
    found = []
    for code in blocks(text):
        try:
            tree = ast.parse(code)
        except SyntaxError as error:
            found.append(f"{code}: {error}")
            continue
        for node in sorted_nodes(tree):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                kind = kind_of(node.value, known)
                known.pop(node.targets[0].id, None)
                if kind:
                    known[node.targets[0].id] = kind
            if isinstance(node, ast.Attribute):
                found += missing(node, known)
            if isinstance(node, ast.Call):
                found += wrong_arguments(node, known)
    return found


def sorted_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a block in the order of the source, an assignment before its parts.

    What is shown to be refused, by `except tfnlp.UserError`, is left out.
    """
    refused = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.Try)
        and any("UserError" in ast.unparse(handler) for handler in node.handlers)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    placed = [node for node in ast.walk(tree) if hasattr(node, "lineno") and node not in refused]
    yield from sorted(placed, key=lambda node: node.lineno)  # type: ignore[attr-defined]


def kind_of(node: ast.AST, known: dict[str, type]) -> type | None:
    """Return the class of ours that an expression is of, if it is seen from its names."""
    if isinstance(node, ast.Name):
        return known.get(node.id)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        owner, name = node.func.value, node.func.attr
        if is_package(owner) or kind_of(owner, known):
            return RETURNS.get(name)
    if isinstance(node, ast.Attribute) and node.attr == "report" and kind_of(node.value, known):
        return tfnlp.Report
    return None


def is_package(node: ast.AST) -> bool:
    """Return whether an expression is the package."""
    return isinstance(node, ast.Name) and node.id == "tfnlp"


def missing(node: ast.Attribute, known: dict[str, type]) -> list[str]:
    """Return whether an attribute of the package, or of a class of ours, is not there."""
    kind = kind_of(node.value, known)
    if is_package(node.value):
        there = node.attr in tfnlp.__all__ or (ROOT / "tfnlp" / node.attr).exists()
    else:
        there = kind is None or node.attr in attributes(kind)
    return [] if there else [f"{ast.unparse(node)} is not there"]


@cache
def attributes(kind: type) -> set[str]:
    """Return the public attributes of a class: methods, fields, and those its documentation has."""
    fields = re.findall(r"^ {4,}(\w+):", kind.__doc__ or "", re.MULTILINE)
    return {*dir(kind), *getattr(kind, "__dataclass_fields__", {}), *fields}


def wrong_arguments(node: ast.Call, known: dict[str, type]) -> list[str]:
    """Return which arguments a function or method of ours does not take."""
    if not isinstance(node.func, ast.Attribute):
        return []
    owner, name = node.func.value, node.func.attr
    kind = kind_of(owner, known)
    call: Any = getattr(tfnlp if is_package(owner) else kind, name, None)
    if not callable(call) or not (is_package(owner) or kind):
        return []  # `missing` says so; a module such as tfnlp.train may be imported here
    signature = inspect.signature(call)
    given = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
    open_ended = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    taken = {*signature.parameters} | (options(name, given) if open_ended else set())
    found = [f"{name}() takes no {word!r}" for word in given if word not in taken]
    places = [p for p in signature.parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    if len(node.args) > len(places) - (kind is not None):
        found.append(f"{name}() takes fewer arguments: {ast.unparse(node)}")
    return found


def options(name: str, given: dict[str, ast.AST]) -> set[str]:
    """Return the options that a function takes besides its parameters."""
    if name in OPTIONS:
        return {field.name for field in dataclasses.fields(OPTIONS[name])}
    if name not in ("fit", "run_study"):  # the settings of a model that writes
        return {"temperature", "max_tokens"}
    begun = {key: named(given.get(key)) for key in ("task", "strategy", "peft")}
    augment = given.get("augment")
    several = augment.elts if isinstance(augment, ast.List) else [augment] if augment else []
    entries = [named(one) for one in several] or None
    parser = Parser(add_help=False)
    begun_with = arguments.argparse.Namespace(**begun, config=None, augment=entries)
    arguments.add_options(parser, arguments.begin(begun_with, f"{name}()"))
    return {*settings.destinations(parser), "config", "task", "strategy", "peft", "augment"}


def named(node: ast.AST | None) -> str | None:
    """Return the name in a literal that is a name, or a dict with one."""
    if node is None:
        return None
    value = ast.literal_eval(node)
    return str(value["name"]) if isinstance(value, dict) else value


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_python_of_a_page_fits_the_api(page):
    text = page.read_text("utf-8")
    assert BLOCK.findall(text)
    assert not faults(text)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("tfnlp.fit(", "was never closed"),
        ("tfnlp.train('a.csv')\ntfnlp.fitt", "tfnlp.fitt is not there"),
        ("tfnlp.fit('a.csv', lr=1)", "fit() takes no 'lr'"),
        ("tfnlp.fit('a.csv', max_tokens=4)", "fit() takes no 'max_tokens'"),
        ("tfnlp.fit('a.csv', 'b.csv')", "fit() takes fewer arguments"),
        ("tfnlp.run_study('seeds', 'a.csv', epoch=1)", "run_study() takes no 'epoch'"),
        ("model = tfnlp.load('a')\nmodel.score([])", "model.score is not there"),
        ("tfnlp.load('a').predict([], column={})", "predict() takes no 'column'"),
        ("m = tfnlp.fit('a.csv')\nm.evaluate([]).metric", "m.evaluate([]).metric is not there"),
        ("m = tfnlp.fit('a.csv')\nr = m.evaluate([], split_='a')", "evaluate() takes no 'split_'"),
        ("r = tfnlp.load('a').report\nr.to_frame(title='b')", "to_frame() takes no 'title'"),
        ("s = tfnlp.open('a')\ns.evaluate([])", "s.evaluate is not there"),
        ("tfnlp.run_study('seeds', 'a.csv').winner", ".winner is not there"),
    ],
)
def test_what_is_wrong_is_found(code, said):
    found = faults(f"```python\n{code}\n```\n")
    assert found
    assert said in found[-1]
    if "\n" not in code:
        assert said in faults(f"As `{code}` does.\n")[-1]
