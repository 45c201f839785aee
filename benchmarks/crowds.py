"""How far a SavedModel's answers to a text move when other texts are asked with it.

python benchmarks/crowds.py saved_models/trec texts.csv

Each text is asked alone and in batches of 8 and 32 with others of all lengths, with
``--precision float32`` and ``auto``, each in a process of its own. For each number that the model
answers (probability, score, part of a vector) the table has the largest and the 99th percentile of
the differences, and how many texts got another label.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

SIZES = (8, 32)


def numbers(answer: Any) -> list[float]:
    """Return the numbers in an answer, in order."""
    if isinstance(answer, dict):
        return [number for value in answer.values() for number in numbers(value)]
    if isinstance(answer, list):
        return [number for value in answer for number in numbers(value)]
    return [float(answer)] if isinstance(answer, float) else []


def words(answer: Any) -> Any:
    """Return what is left of an answer without its numbers."""
    if isinstance(answer, dict):
        return {name: words(value) for name, value in answer.items()}
    if isinstance(answer, list):
        return [words(value) for value in answer]
    return None if isinstance(answer, float) else answer


def measure(model: str, file: str, limit: int, kind: Any) -> dict[str, Any]:
    """Return how answers differ from those to a text alone, by the size of its batch."""
    from tfnlp.inference.saved_model import find_model, opened

    served = opened(find_model(model), kind).model("serving_default")
    with Path(file).open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))[:limit]
    asked = {name: [row[name] for row in rows] for name in served.inputs}

    def ask(places: list[int]) -> list[Any]:
        return served.answer({name: [asked[name][i] for i in places] for name in asked})

    alone = [ask([i])[0] for i in range(len(rows))]
    found: dict[Any, Any] = {}
    for size in SIZES:
        order = np.random.default_rng(size).permutation(len(rows)).tolist()
        beside: dict[int, Any] = {}
        for start in range(0, len(rows), size):
            places = order[start : start + size]
            beside |= dict(zip(places, ask(places), strict=True))
        same = [i for i in range(len(rows)) if words(alone[i]) == words(beside[i])]
        moved = np.abs(
            np.concatenate([np.subtract(numbers(alone[i]), numbers(beside[i])) for i in same])
        )
        found[size] = {
            "largest": float(moved.max()),
            "percentile": float(np.quantile(moved, 0.99)),
            "others": len(rows) - len(same),
        }
    return found


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a SavedModel")
    parser.add_argument("file", help="a CSV file with the model's inputs")
    parser.add_argument("--limit", type=int, default=400, help="rows (default: %(default)s)")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.model, args.file, args.limit, args.one)))
        return
    print("| precision | in a batch of | largest | 99th percentile | other labels |")
    print("| --- | --- | --- | --- | --- |")
    for kind in ("float32", "auto"):
        line = [sys.executable, __file__, args.model, args.file, "--limit", str(args.limit)]
        told = subprocess.run([*line, "--one", kind], check=True, stdout=subprocess.PIPE, text=True)
        for size, found in json.loads(told.stdout.splitlines()[-1]).items():
            row = (kind, size, f"{found['largest']:.1e}", f"{found['percentile']:.1e}")
            print("|", " | ".join((*row, str(found["others"]))), "|", flush=True)


if __name__ == "__main__":
    main()
