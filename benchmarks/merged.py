"""How far the answers of a run with --peft move when what was added is folded into the matrices.

python benchmarks/merged.py tensorboard_logs/NAME/RUN

The classifier answers its test rows, or its validation rows, unmerged and merged: in float32, and
as ``--precision auto`` has it on this machine, where bfloat16 rounds W + B A otherwise than W, then
B A.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfnlp.runs import storage
from tfnlp.runtime import precision
from tfnlp.training import examples
from tfnlp.training.model import TrainedModel, merged

SIZE = 32  # rows of a batch


def logits(model: TrainedModel, texts: list[str]) -> np.ndarray:
    """Return the network's outputs for texts, float32 (N, C)."""
    network = tf.function(lambda features: model.network(features, training=False))
    found = []
    for start in range(0, len(texts), SIZE):
        features, _ = model.encode({"text": tf.constant(texts[start : start + SIZE])})
        found.append(np.asarray(network(features), "float32"))
    return np.concatenate(found)


def main() -> None:
    """Print the differences."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="of --task classification with --peft")
    run = parser.parse_args().run
    model = storage.load(run)
    splits = examples.read_splits(model.experiment, model.task)
    rows = splits.test or splits.validation
    texts = list(rows.columns["text"])
    print("| precision | largest logit | largest difference | labels changed |")
    print("| --- | --- | --- | --- |")
    for kind in ("float32", "auto"):
        precision.start(kind, training=False)
        apart = logits(model, texts)
        with merged(model) as whole:
            folded = logits(whole, texts)
        changed = int(np.sum(apart.argmax(-1) != folded.argmax(-1)))
        difference = np.abs(apart - folded).max()
        cells = (kind, f"{np.abs(apart).max():.2f}", f"{difference:.1e}")
        print("|", " | ".join(cells), f"| {changed} of {len(texts)} |")


if __name__ == "__main__":
    main()
