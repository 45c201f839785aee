"""Do explanations find cues that were planted? Precision at 1 by method, beside chance.

Labels follow from words that are put into questions of TREC: one word of one piece; a made-up one
of several pieces; two words that count only together; a frequent decoy counts for nothing. Rows are
looked at whose answer turns when the cue is taken out. What is done is kept and not done again::

    python benchmarks/explanations.py FOLDER
    python benchmarks/explanations.py FOLDER --rows 200 --epochs 1 --test 40   # a small cut
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tfnlp
from pipelines import splits
from pipelines.files.writers import write_json
from pipelines.rows import Record
from tfnlp import extensions, task
from tfnlp.extensions import Explanation, Wanted

# By label the words that decide it; a label of several needs them all.
CUES = {"one": ("violin",), "several": ("quorvexil",), "together": ("copper", "river")}
DECOY, NONE = "station", "none"
METHODS: tuple[dict[str, Any], ...] = (
    {"name": "gradient_input"},
    {"name": "integrated_gradients"},
    {"name": "occlusion"},
    {"name": "integrated_gradients", "nodes": 4, "most": 4},
    {"name": "attention"},
    {"name": "shap"},
)


def planted(texts: list[str], seed: int) -> Iterator[tuple[str, str]]:
    """Yield texts with words put in, and their labels, each label as often as the others."""
    drawn = random.Random(seed)
    names = [*CUES, NONE]
    for place, text in enumerate(texts):
        label = names[place % len(names)]
        words = text.split()
        added = list(CUES.get(label, ()))
        if label == NONE:  # one word of two says nothing
            added = [drawn.choice(CUES["together"])]
        if drawn.random() < 0.5:
            added.append(DECOY)
        for word in added:
            words.insert(drawn.randrange(len(words) + 1), word)
        yield " ".join(words), label


def data(rows: int, test: int) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return training and test rows as columns."""
    classification = task.load("classification")
    options = classification.options()
    columns = (*classification.input_columns(options), *classification.target_columns(options))
    found = splits.from_dataset("trec", columns, {}, "error", "|", training=False)
    texts = {name: found[name].columns["text"] for name in ("train", "test")}
    parts = (list(planted(texts["train"][:rows], 1)), list(planted(texts["test"][:test], 2)))
    train, tested = ({"text": [t for t, _ in p], "label": [y for _, y in p]} for p in parts)
    return train, tested


def turning(model: tfnlp.Model, test: dict[str, list[str]]) -> list[tuple[str, str]]:
    """Return the rows that are answered rightly, and otherwise without their cue."""
    rows = [(t, y) for t, y in zip(test["text"], test["label"], strict=True) if y != NONE]
    without = [" ".join(w for w in t.split() if w not in CUES[y]) for t, y in rows]
    answers = model.predict([t for t, _ in rows])
    others = model.predict(without)
    return [
        row
        for row, answer, other in zip(rows, answers, others, strict=True)
        if answer["label"] == row[1] != other["label"]
    ]


def measured(model: tfnlp.Model, rows: list[tuple[str, str]], by: dict[str, Any]) -> dict[str, Any]:
    """Return a method's precision at 1 by label, and its time a row [s]."""
    entry = extensions.load(Explanation, by["name"])
    options = entry.options(**{name: value for name, value in by.items() if name != "name"})
    records = [Record(i, {"text": text}, {}) for i, (text, _) in enumerate(rows)]
    list(entry.explain(model.subject, records[:4], options, Wanted()))  # traces
    began = time.perf_counter()
    found = list(entry.explain(model.subject, records, options, Wanted()))
    seconds = (time.perf_counter() - began) / len(rows)
    hits: dict[str, list[bool]] = {}
    for (text, label), one in zip(rows, found, strict=True):
        best = max(one.pieces, key=lambda piece: piece.weight)
        hits.setdefault(label, []).append(text[best.start : best.end] in CUES[label])
    missed = sum(bool(one.flags) for one in found) / len(found)
    return {**_shares(hits), "flagged": missed, "seconds": seconds}


def chance(rows: list[tuple[str, str]]) -> dict[str, float]:
    """Return the precision of a word by chance."""
    shares: dict[str, list[float]] = {}
    for text, label in rows:
        words = text.split()
        shares.setdefault(label, []).append(sum(w in CUES[label] for w in words) / len(words))
    return _shares(shares)


def _shares(hits: dict[str, list[Any]]) -> dict[str, float]:
    return {label: sum(hits[label]) / len(hits[label]) for label in CUES if label in hits}


def main() -> None:
    """Train once, measure each method once, and print what is known."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--test", type=int, default=480)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--backbone", default="minilm-l6-en")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    file = given.folder / "results.json"
    known: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    train, test = data(given.rows, given.test)
    if "run" not in known:
        model = tfnlp.fit(
            train,
            name="planted",
            epochs=given.epochs,
            backbone=given.backbone,
            tensorboard_logs=str(given.folder / "logs"),
            saved_models=str(given.folder / "models"),
            max_length=64,
        )
        known["run"] = str(model.run)
        write_json(file, known)
    model = tfnlp.load(known["run"])
    rows = turning(model, test)
    known["random"] = {**chance(rows), "rows": len(rows)}
    for by in METHODS:
        name = " ".join(map(str, by.values()))
        if by["name"] == "shap" and importlib.util.find_spec("shap") is None:
            continue
        if name not in known:
            known[name] = measured(model, rows, by)
            write_json(file, known)
            print(name, known[name], flush=True)
    print(json.dumps(known, indent=1))


if __name__ == "__main__":
    main()
