"""Each augmenter against none, at equal steps, on questions and on entities, by `study grid`.

python benchmarks/augmentation.py                           # 200 rows, 5 draws of them
python benchmarks/augmentation.py --rows 50 --rows 1000 --draws 10 --augment synonyms --augment eda
python benchmarks/augmentation.py --option masked_lm.model=RUN --augment masked_lm

Without augmentation there are twice the epochs: as many steps, or a few more where an augmenter
cannot change every row. The seed draws the rows. A study that was stopped goes on.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

# By task its data set and the augmenters that need no model.
SETS = {
    "classification": ("trec", "eda aeda shuffle tfidf synonyms vectors typos"),
    "ner": ("finance-ner", "entities eda aeda shuffle synonyms vectors typos"),
}


def main() -> None:
    """Write the settings of each table, and run its study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, action="append", help="training rows (default: 200)")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=8, help="with augmentation")
    parser.add_argument("--augment", action="append", default=[])
    parser.add_argument("--option", action="append", default=[], metavar="NAME.OPTION=VALUE")
    parser.add_argument("--limit-held-out", type=int, default=500)
    parser.add_argument("--task", action="append", choices=[*SETS])
    given = parser.parse_args()
    for task in given.task or SETS:
        dataset, usual = SETS[task]
        names = given.augment or usual.split()
        for rows in given.rows or [200]:
            study = f"augmentation-{dataset}-{rows}"
            table = settings(names, given.epochs, given.option)
            file = Path("studies") / f"{study}.yaml"
            file.parent.mkdir(exist_ok=True)
            file.write_text(yaml.safe_dump(table, sort_keys=False))
            run(task, dataset, rows, study, file, given)


def settings(names: list[str], epochs: int, options: list[str]) -> dict[str, Any]:
    """Return the rows of a table by what is shown of them."""
    table: dict[str, Any] = {"none": {"epochs": 2 * epochs}}
    for name in names:
        own = {}
        for one in options:
            key, _, value = one.partition("=")
            entry, _, option = key.partition(".")
            if entry == name:
                own[f"{name}_{option}"] = yaml.safe_load(value)
        table[name] = {"augment": name, "epochs": epochs, **own}
    return table


def run(task: str, dataset: str, rows: int, study: str, file: Path, given: Any) -> None:
    """Run a study, or go on with it."""
    line = [sys.executable, "-m", "tfnlp.study", "grid", "--task", task, "--dataset", dataset]
    line += ["--limit", str(rows), "--limit-held-out", str(given.limit_held_out)]
    line += ["--patience", "1000", "--name", study, "--settings", str(file)]
    line += ["--grid-seeds", str(given.draws)]
    if (Path("studies") / study).exists():
        line.append("--resume")
    subprocess.run(line, check=True)


if __name__ == "__main__":
    main()
