"""Write WikiText-2, or its first lines, as text files: whole splits take hours on two cores.

python benchmarks/wikitext.py wikitext --train 250 --validation 80
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pipelines.sources import load_dataset


def main() -> None:
    """Write FOLDER/train.txt, validation.txt and test.txt."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    for split in ("train", "validation", "test"):
        parser.add_argument(f"--{split}", type=int, help="lines (default: all)")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    for split, rows in load_dataset("wikitext2").items():
        lines = rows.columns["text"][: getattr(given, split)]
        (given.folder / f"{split}.txt").write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()
