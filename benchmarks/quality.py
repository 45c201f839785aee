"""Test scores of `python -m tfnlp.train` over several seeds, compared with a bag-of-words baseline.

python benchmarks/quality.py [--seeds 1 2 3] [flags of tfnlp.train ...]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import accuracy_score, f1_score
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from pipelines.sources import load_dataset


def baseline(dataset: str) -> dict[str, float]:
    """Fit TF-IDF (words and pairs; characters for Chinese) with a linear SVM on all of train."""
    rows = load_dataset(dataset)
    train, test = rows["train"].columns, rows["test"].columns
    text = "".join(train["text"])
    spaced = text.count(" ") > len(text) / 20
    model = make_pipeline(
        TfidfVectorizer(
            analyzer="word" if spaced else "char",
            ngram_range=(1, 2),
            sublinear_tf=True,
            token_pattern=r"(?u)\b\w+\b|[^\w\s]",
        ),
        LinearSVC(),
    )
    model.fit(train["text"], train["label"])
    given = model.predict(test["text"])
    return {
        "accuracy": accuracy_score(test["label"], given),
        "macro_f1": f1_score(test["label"], given, average="macro"),
    }


def trained(dataset: str, seed: int, flags: list[str], folder: Path) -> tuple[dict, float]:
    """Run the command; returns its test metrics and how long it took [s]."""
    command = [sys.executable, "-m", "tfnlp.train", "--dataset", dataset, "--seed", str(seed)]
    command += ["--name", f"seed-{seed}", "--no-export", *flags]
    start = time.monotonic()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    (found,) = folder.glob(f"tensorboard_logs/seed-{seed}/*/metrics.json")
    return json.loads(found.read_text("utf-8"))["test"], time.monotonic() - start


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="trec")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    args, flags = parser.parse_known_args()
    print("| model | accuracy | macro-F1 | ECE | command [s] |")
    print("| --- | --- | --- | --- | --- |")
    plain = baseline(args.dataset)
    print(f"| TF-IDF, linear SVM | {plain['accuracy']:.4f} | {plain['macro_f1']:.4f} | | |")
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in args.seeds:
            metrics, seconds = trained(args.dataset, seed, flags, Path(folder))
            found.append((metrics["accuracy"], metrics["macro_f1"], metrics["ece"], seconds))
            row = "{:.4f} | {:.4f} | {:.4f} | {:.0f}".format(*found[-1])
            print(f"| tfnlp, seed {seed} | {row} |", flush=True)
    middle = [statistics.median(column) for column in zip(*found, strict=True)]
    print("| tfnlp, median | {:.4f} | {:.4f} | {:.4f} | {:.0f} |".format(*middle))


if __name__ == "__main__":
    main()
