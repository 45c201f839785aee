"""How time and memory grow with rows and with length, and how near the arithmetic is."""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import speed_parts
from speed_step import learner

ROWS = (1_000, 10_000, 100_000, 1_000_000)
LENGTHS = (16, 32, 64, 128, 256, 512)
TOKENS = 2048  # in a batch of any length
_WORDS = ("what", "is", "the", "name", "of", "a", "city", "river", "king", "war", "year", "book")


def growth(output: Path) -> None:
    """Print and draw the growth with rows and with length."""
    found = {rows: _apart("rows", rows) for rows in ROWS}
    print("\n**An epoch of synthetic rows through the input pipeline, without a model**\n")
    print("| rows | s to count and plan | s an epoch | tokens/s | peak memory [MB] |")
    print("| --- | --- | --- | --- | --- |")
    for rows, told in found.items():
        print(
            f"| {rows:,} | {told['planned']:.2f} | {told['epoch']:.2f} | "
            f"{told['tokens'] / told['epoch']:,.0f} | {told['megabytes']:.0f} |"
        )
    steps = _apart("lengths", *LENGTHS)
    print(f"\n**A training step of {TOKENS:,} tokens, by length**\n")
    print("| tokens a row | rows | ms a step |")
    print("| --- | --- | --- |")
    for length, milliseconds in zip(LENGTHS, steps["milliseconds"], strict=True):
        print(f"| {length} | {TOKENS // length} | {milliseconds:.0f} |")
    _draw(found, steps["milliseconds"], output)


def _draw(found: dict[int, dict[str, Any]], steps: Sequence[float], output: Path) -> None:
    """Draw both as PNG."""
    from matplotlib.figure import Figure

    output.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    time_of, memory, length = figure.subplots(1, 3)
    rows = list(found)
    time_of.loglog(rows, [told["epoch"] for told in found.values()], "o-")
    time_of.set(xlabel="rows", ylabel="s an epoch", title="Input pipeline: time")
    memory.semilogx(rows, [told["megabytes"] for told in found.values()], "o-")
    memory.set(
        xlabel="rows", ylabel="peak memory [MB]", title="Input pipeline: memory", ylim=(0, None)
    )
    length.plot(LENGTHS, steps, "o-")
    title = f"Training: {TOKENS:,} tokens a step"
    length.set(xlabel="tokens a row", ylabel="ms a step", title=title, ylim=(0, None))
    for axes in (time_of, memory, length):
        axes.grid(alpha=0.3)
    figure.savefig(output / "growth.png", dpi=120)
    print(f"\ndrawn: {output / 'growth.png'}")


def _apart(part: str, *numbers: int) -> dict[str, Any]:
    """Run a part in a process of its own, for its memory."""
    line = [sys.executable, __file__, part, *map(str, numbers)]
    done = subprocess.run(line, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def rows(count: int) -> dict[str, Any]:
    """Count, plan and encode an epoch of this many synthetic rows."""
    import tensorflow as tf

    from pipelines import batching
    from pipelines.encoding import segments
    from pipelines.tokenizers import tokenizer as tokenizers
    from tfnlp.backbones import loading

    tokenizer = tokenizers.load(loading.find("minilm-l6-en"))
    choose = random.Random(0)
    texts = [" ".join(choose.choices(_WORDS, k=choose.randint(4, 20))) for _ in range(count)]
    raw = {"text": tf.constant(texts)}
    del texts
    begun = time.perf_counter()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def lengths(part: tf.Tensor) -> tf.Tensor:
        features, _ = segments.encode(tokenizer, [part], 128)
        return tf.reduce_sum(features["padding_mask"], 1)

    counted = [lengths(raw["text"][i : i + 1024]).numpy() for i in range(0, count, 1024)]
    import numpy as np

    tokens = np.concatenate(counted).astype(np.int64)
    plan = batching.Plan(tokens, 32, batching.widths(tokens), seed=1)

    def prepare(part: dict[str, tf.Tensor], width: tf.Tensor) -> Any:
        features, _ = segments.encode(tokenizer, [part["text"]], 128)
        return batching.pad(features, width, tokenizer.pad_id)

    data = batching.batches(raw, plan, prepare, range(1))
    planned = time.perf_counter() - begun
    begun = time.perf_counter()
    for _ in data:
        pass
    epoch = time.perf_counter() - begun
    return {"planned": planned, "epoch": epoch, "tokens": int(tokens.sum())}


def lengths(*widths: int) -> dict[str, Any]:
    """Time a training step of as many tokens in rows of these lengths [ms]."""
    return {"milliseconds": [1e3 * _step(TOKENS // width, width, "auto") for width in widths]}


def _step(rows: int, width: int, kind: str) -> float:
    """Return the median time of a training step of MiniLM [s]."""
    step = learner(rows, width, kind)
    return statistics.median([step() for _ in range(13)][3:])


def arithmetic(repeats: int) -> None:
    """Print what a step and a plain product of matrices achieve in the same run [GFLOP/s]."""
    parts = {
        "a product of 2048 x 2048 matrices, float32": ("product", 0),
        "the same, bfloat16": ("product", 1),
        "a training step, --precision float32": ("trained", 0),
        "a training step, --precision auto": ("trained", 1),
    }
    found: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(repeats):
        for name, part in parts.items():
            found[name].append(_apart(*part)["rate"])
    print("\n**Arithmetic of a training step of 32 rows of 16 tokens**\n")
    print("| | GFLOP/s |\n| --- | --- |")
    for name, rates in found.items():
        print(f"| {name} | {statistics.median(rates):.0f} |")


def product(half: int) -> dict[str, Any]:
    """Time products [GFLOP/s]."""
    import tensorflow as tf

    dtype = tf.bfloat16 if half else tf.float32
    x, y = (tf.cast(tf.random.normal([2048, 2048]), dtype) for _ in range(2))
    multiply = tf.function(lambda: tf.reduce_sum(tf.matmul(x, y)))
    multiply()
    begun = time.perf_counter()
    for _ in range(10):
        multiply()
    return {"rate": 10 * 2 * 2048**3 / (time.perf_counter() - begun) / 1e9}


def trained(half: int) -> dict[str, Any]:
    """Time training steps [GFLOP/s]."""
    # 10.6 million weights multiply each token: forward, and twice backward.
    work = 32 * 16 * 10.6e6 * 2 * 3 / 1e9
    return {"rate": work / _step(32, 16, "auto" if half else "float32")}


PARTS = {part.__name__: part for part in (rows, lengths, product, trained)}

if __name__ == "__main__":
    told = PARTS[sys.argv[1]](*map(int, sys.argv[2:]))
    if sys.argv[1] == "rows":
        told["megabytes"] = speed_parts.peak()
    print(json.dumps(told))
