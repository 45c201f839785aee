"""What needs no trained model, on the test rows of a task that writes; and models to compare.

python benchmarks/generation.py --task translation --dataset tatoeba-en-es [--limit-test 500]
    [--answers answers.jsonl ...] [--model saved_models/NAME ...]

Copying gives the source as it is (of a conversation its last turn), the lead the document's first
sentence, retrieval what answers the nearest source of the training rows, by the cosine of TF-IDF
vectors of words. Of a large test split 500 rows are evaluated, evenly spaced: those of a model's
own report. A file of answers is what `python -m tfnlp.predict MODEL --input test.jsonl --output
answers.jsonl` writes, where test.jsonl holds all of the test split, or the rows evaluated, in their
order. All are evaluated by the same functions on the same rows.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from pipelines.columns import joined
from pipelines.errors import UserError
from pipelines.rows import Record, Rows
from pipelines.sources import load_dataset
from pipelines.splits import evenly
from tfnlp.evaluation import generated_text
from tfnlp.inference.chunks import answered
from tfnlp.inference.saved_model import find_model, load

COLUMNS = {
    "translation": ("source", "target"),
    "summarization": ("document", "summary"),
    "dialogue": ("history", "response"),
}
AT_A_TIME = 256  # test rows compared with all training rows


def as_text(value: str | list[str]) -> str:
    """Return a source as a model is asked with it: turns one a line."""
    return value if isinstance(value, str) else joined(value)


def retrieved(train: Sequence[str], targets: Sequence[str], test: Sequence[str]) -> list[str]:
    """Answer each test source as the nearest training source is answered; the first of equals."""
    tfidf = TfidfVectorizer(tokenizer=words, token_pattern=None, lowercase=False)
    known = tfidf.fit_transform(train).T.tocsr()
    asked = tfidf.transform(test)
    found: list[str] = []
    for start in range(0, len(test), AT_A_TIME):
        nearest = (asked[start : start + AT_A_TIME] @ known).argmax(axis=1)
        found += [targets[place] for place in np.asarray(nearest).ravel()]
    return found


def words(text: str) -> list[str]:
    """Cut a text into lower-cased words of any script."""
    return generated_text.words(text.lower(), punctuation=False)


def trivial(task: str, train: Rows, test: Rows) -> Iterator[tuple[str, list[str]]]:
    """Yield what writes without having learned."""
    source, target = COLUMNS[task]
    asked = test.columns[source]
    yield "copy", [text if isinstance(text, str) else text[-1] for text in asked]
    if task == "summarization":
        yield "lead sentence", [generated_text.lead(text) for text in asked]
    known = [as_text(text) for text in train.columns[source]]
    yield "retrieval", retrieved(known, train.columns[target], list(map(as_text, asked)))


def from_file(path: str, source: str, asked: Sequence[Any], places: list[int]) -> list[str]:
    """Read answers to all test rows or to those evaluated; check that they answer the sources."""
    rows = [json.loads(line) for line in Path(path).read_text("utf-8").splitlines() if line.strip()]
    if len(rows) != len(places) and len(rows) > max(places):
        rows = [rows[place] for place in places]
    if len(rows) != len(places):
        raise UserError(f"{path} has {len(rows)} rows, neither all of test nor the {len(places)}")
    for number, (row, text) in enumerate(zip(rows, asked, strict=True), 1):
        if "generated" not in row:
            raise UserError(f"{path} has no column 'generated'; it has: {', '.join(row)}")
        if source in row and as_text(row[source]).strip() != as_text(text).strip():
            raise UserError(
                f"{path}, row {number} of those evaluated is another than in the test split"
            )
    return [row["generated"] for row in rows]


def from_model(name: str, asked: Sequence[Any]) -> list[str]:
    """Ask a SavedModel whose requests are one text."""
    model = load(find_model(name))
    if len(model.inputs) != 1:
        raise UserError(f"{name} reads {', '.join(model.inputs)}, not one text")
    (column,) = model.inputs
    records = [Record(i, {column: as_text(text)}, {}) for i, text in enumerate(asked)]
    return [answer["generated"] for chunk in answered(records, model) for _, answer in chunk]


def line(name: str, texts: list[str], references: list[list[str]]) -> str:
    """Return a row of the table."""
    values = [
        f"{generated_text.bleu(texts, references):.2f}",
        f"{generated_text.chrf(texts, references):.2f}",
        f"{generated_text.rouge(texts, references)['rougeL']:.3f}",
        f"{generated_text.distinct(texts, 2):.3f}",
    ]
    return f"| {name} | {' | '.join(values)} |"


def written(args: argparse.Namespace) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Yield names, texts and references, one system after another."""
    source, target = COLUMNS[args.task]
    splits = load_dataset(args.dataset, ["train", "test"])
    for column in (source, target):
        if column not in splits["test"].columns:
            there = ", ".join(splits["test"].columns)
            raise UserError(f"{args.dataset} has no column {column!r}; it has: {there}")
    test = splits["test"]
    places = evenly(len(test), args.limit_test)
    test = test.take(places)
    asked, references = test.columns[source], [[text] for text in test.columns[target]]
    print(f"{args.dataset}: {len(test)} test rows, {len(splits['train'])} training rows\n")
    systems: list[Callable[[], Iterator[tuple[str, list[str]]]]] = [
        lambda: trivial(args.task, splits["train"], test),
        lambda: ((path, from_file(path, source, asked, places)) for path in args.answers),
        lambda: ((name, from_model(name, asked)) for name in args.model),
    ]
    for system in systems:
        for name, texts in system():
            yield name, texts, references


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--task", choices=COLUMNS, required=True)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--limit-test", type=int, default=500, metavar="N")
    parser.add_argument("--answers", nargs="*", default=[], metavar="FILE.jsonl")
    parser.add_argument("--model", nargs="*", default=[], metavar="MODEL", help="a SavedModel")
    try:
        rows = written(parser.parse_args())
        for place, row in enumerate(rows):
            if not place:
                print("| written by | BLEU | chrF | ROUGE-L | distinct-2 |")
                print("| --- | --- | --- | --- | --- |")
            print(line(*row), flush=True)
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
