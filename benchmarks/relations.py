"""WebNLG read backwards: what a bag of words does, and what a model of triples finds end to end.

python benchmarks/relations.py [--triples saved_models/webnlg-triples] [--limit 300]

The bag of words sees the marked test texts that `python -m tfnlp.train --task
relation_extraction` reports on. The model of triples gets the test texts without marks; its
triples are compared with those of the data set, of which only the ones are known whose arguments
stand in the text word for word: what is right but not told there counts as wrong.
"""

from __future__ import annotations

import argparse
import re
from collections import defaultdict

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from pipelines.rows import Record
from pipelines.sources import load_dataset
from tfnlp.inference.chunks import answered
from tfnlp.inference.saved_model import find_model, load

NONE = "no_relation"
MARKED = re.compile(r"(?s)(.*)<(e[12])>(.*)</\2>(.*)<(e[12])>(.*)</\5>(.*)")


def bag(text: str) -> str:
    """Return the words of a marked text, those between the arguments apart, and their order."""
    found = MARKED.fullmatch(text)
    assert found
    left, first, one, between, _, two, right = found.groups()
    inner = " ".join(f"between_{word}" for word in re.findall(r"\w+", between))
    return f"order_{first} {left} {one} {between} {two} {right} {inner}"


def bag_of_words() -> dict[str, float]:
    """Fit TF-IDF (words and pairs) with a linear SVM; F1 without the label for none."""
    rows = load_dataset("webnlg-relations")
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LinearSVC())
    model.fit(map(bag, rows["train"].columns["text"]), rows["train"].columns["relation"])
    truth = rows["test"].columns["relation"]
    given = model.predict(list(map(bag, rows["test"].columns["text"])))
    counted = sorted({*truth, *given} - {NONE})
    return {
        average: f1_score(truth, given, labels=counted, average=average, zero_division=0.0)
        for average in ("micro", "macro")
    }


def end_to_end(model: str, limit: int) -> tuple[float, float, float, int]:
    """Return precision, recall and F1 of whole triples, and the number of texts."""
    rows = load_dataset("webnlg-relations", ["test"])["test"].columns
    wanted: dict[str, set[tuple[str, str, str]]] = defaultdict(set)
    for text, relation in zip(rows["text"], rows["relation"], strict=True):
        plain = re.sub(r"</?e[12]>", "", text)
        names = {mark: re.search(f"(?s)<{mark}>(.*)</{mark}>", text) for mark in ("e1", "e2")}
        if relation != NONE:
            head, tail = (found[1] for found in names.values() if found)
            wanted[plain].add((head, relation, tail))
    texts = list(wanted)[:limit]
    records = [Record(i, {"text": text}, {}) for i, text in enumerate(texts)]
    right = given = 0
    for chunk in answered(records, load(find_model(model))):
        for record, answer in chunk:
            found = {(t["head"], t["relation"], t["tail"]) for t in answer["triples"]}
            given += len(found)
            right += len(found & wanted[record.values["text"]])
    known = sum(len(wanted[text]) for text in texts)
    precision, recall = right / max(given, 1), right / known
    return precision, recall, 2 * right / max(given + known, 1), len(texts)


def main() -> None:
    """Print the figures as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--triples", metavar="MODEL", help="a SavedModel that answers with triples")
    parser.add_argument("--limit", type=int, default=300, help="texts it is asked about")
    args = parser.parse_args()
    scores = bag_of_words()
    print("| model | micro-F1 | macro-F1 |\n| --- | --- | --- |")
    print(f"| TF-IDF, linear SVM | {scores['micro']:.4f} | {scores['macro']:.4f} |")
    if args.triples:
        precision, recall, f1, texts = end_to_end(args.triples, args.limit)
        print(f"\n| triples of {texts} raw texts | precision | recall | F1 |")
        print("| --- | --- | --- | --- |")
        print(f"| {args.triples} | {precision:.4f} | {recall:.4f} | {f1:.4f} |")


if __name__ == "__main__":
    main()
