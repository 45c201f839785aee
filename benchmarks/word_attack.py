"""How a model stands the attack on words: answers turned, words changed, queries, pairs to read.

python benchmarks/word_attack.py saved_models/trec-classification --dataset trec --rows 200
"""

from __future__ import annotations

import argparse
import time

from pipelines import attack, splits
from pipelines.attack import Bounds
from pipelines.lexicons.words import required
from tfnlp import task
from tfnlp.api.augmenting import load
from tfnlp.extensions.attacking import scores_of, vectors_of

PAIRS = 50


def main() -> None:
    """Print the figures, then texts that were turned with what they became."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--dataset", default="trec")
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--similarity", default="minilm-l6-en")
    parser.add_argument("--similar", type=float, default=Bounds.similar)
    parser.add_argument("--cosine", type=float, default=Bounds.cosine)
    parser.add_argument("--share", type=float, default=Bounds.share)
    parser.add_argument("--queries", type=int, default=Bounds.queries)
    given = parser.parse_args()
    chosen = task.load("classification")
    settings = chosen.options()
    columns = (*chosen.input_columns(settings), *chosen.target_columns(settings))
    rows = splits.from_dataset(given.dataset, columns, {}, "error", "|")["test"]
    rows = rows.take(splits.evenly(len(rows), given.rows))
    subject = load(given.model)
    scores, labels = scores_of(subject)
    texts, right = rows.columns["text"], [labels.index(one) for one in rows.columns["label"]]
    languages = required(texts, "adversarial", given.dataset)
    vectors = vectors_of(given.similarity, load, languages)
    began = time.perf_counter()
    bounds = Bounds(given.cosine, given.similar, given.share, queries=given.queries)
    found = attack.attack(texts, scores, vectors, languages, bounds=bounds, answers=right)
    seconds = time.perf_counter() - began
    figures = attack.figures(found)
    clean = sum(one.queries > 1 or one.found == one.answer for one in found) / len(found)
    print(f"{given.model}, {len(found)} rows of {given.dataset}: right before {clean:.3f}")
    print(
        f"attacked {figures['attacked']:.0f}, turned {figures['turned']:.3f}, words changed "
        f"{figures['words_changed']:.3f}, queries a text {figures['queries']:.1f}, {seconds:.0f} s"
    )
    turned = [one for one in found if one.turned]
    for number, one in enumerate(turned[:PAIRS], 1):
        answers = f"{labels[one.answer]} -> {labels[one.found]}, cosine {one.similar:.2f}"
        print(f"{number:3} [{answers}] {one.text}\n    -> {one.changed}")


if __name__ == "__main__":
    main()
