"""Rows beside what augmenters make of them, to be read by hand: is each label still right?

python benchmarks/augmented_pairs.py --dataset trec --rows 30 --augment synonyms --augment vectors

docs/augmentation.md says what was found. Models are named as the augmenters' flags do, by
``--option masked_lm.model=RUN``.
"""

from __future__ import annotations

import argparse

from pipelines import augmentation, splits
from pipelines.rows import Rows
from pipelines.splits import evenly
from tfnlp import extensions, task
from tfnlp.api.augmenting import load
from tfnlp.config import Entry
from tfnlp.extensions import Augmenter, Material
from tfnlp.options import make
from tfnlp.training import augmenting

KNOWN = 2000  # rows that augmenters are opened with


def main() -> None:
    """Print for each augmenter a line a row: its label, the text before and after."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="trec")
    parser.add_argument("--task", default="classification")
    parser.add_argument("--rows", type=int, default=30)
    parser.add_argument("--longest", type=int, default=120, help="characters of a row")
    parser.add_argument("--augment", action="append", default=[])
    parser.add_argument("--option", action="append", default=[], metavar="NAME.OPTION=VALUE")
    given = parser.parse_args()
    chosen = task.load(given.task)
    settings = chosen.options()
    inputs, targets = chosen.input_columns(settings), chosen.target_columns(settings)
    found = splits.from_dataset(given.dataset, (*inputs, *targets), {}, "error", "|")["train"]
    known = found.take(evenly(len(found), KNOWN))
    for name in given.augment or extensions.names(Augmenter):
        options: dict[str, str | float] = {}
        for one in given.option:
            key, _, value = one.partition("=")
            if key.startswith(f"{name}."):
                number = value.replace(".", "", 1).isdigit()
                options[key.partition(".")[2]] = float(value) if number else value
        entry = Entry(name, make(extensions.load(Augmenter, name).options, options, "--option"))
        (editor,) = augmenting.editors([entry], Material(known, inputs, targets, load))
        texts = known.columns[inputs[0].name]
        short = [i for i, text in enumerate(texts) if len(text) <= given.longest]
        places = evenly(len(short), 3 * given.rows)
        some = known.take([short[place] for place in places])
        made = augmentation.augmented(some, inputs, targets, [editor], 1, (1, 0))
        show(name, some, made, inputs[0].name, targets[0].name, given.rows)


def show(name: str, rows: Rows, made: Rows, text: str, target: str, most: int) -> None:
    """Print the first rows that were made."""
    count = len(made) - len(rows)
    print(f"## {name}: {count} of {len(rows)} rows could be changed")
    before = dict(zip(rows.numbers, rows.columns[text], strict=True))
    for i in range(len(rows), min(len(made), len(rows) + most)):
        after = made.columns[text][i]
        print(f"{i - len(rows) + 1:3} [{made.columns[target][i]}] {before[made.numbers[i]]}")
        print(f"    -> {after}")


if __name__ == "__main__":
    main()
