"""What benchmarks/speed.py measures of tfnlp, each in a process of its own.

Run by benchmarks/speed.py: python speed_parts.py PART ARGUMENT ...; prints one line of JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

BEGUN = time.perf_counter()


def apart(*arguments: str) -> dict[str, Any]:
    """Run a part in a process of its own; returns what it told."""
    begun = time.perf_counter()
    done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {"seconds": time.perf_counter() - begun, **told}


def peak() -> float:
    """Return the most memory that this process held [MB]; getrusage counts its parent's too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def processor() -> str:
    """Name the processor, and what matters of it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    flags = next(line.split() for line in lines if line.startswith("flags"))
    return f"{name} ({', '.join(f for f in flags if f in ('avx512f', 'avx512_bf16', 'amx_bf16'))})"


def kept(run: Path, paths: Mapping[str, str], folder: Path) -> dict[str, Any]:
    """Return what the peers need of a trained classifier: its encoder, head, labels and rows."""
    from tfnlp.backbones import saving
    from tfnlp.runs import storage

    model = storage.load(run)
    source = model.experiment.backbone.name
    saving.write(model.network, source, model.context.tokenizer, folder / "encoder")
    kernel, bias = model.network.layers[-1].get_weights()
    np.savez(folder / "head.npz", kernel=kernel, bias=bias)
    return {
        "weights": str(folder / "encoder"),
        "head": str(folder / "head.npz"),
        "onnx": str(folder / "model.onnx"),
        "labels": model.context.facts["labels"],
        "test": paths["test"],
    }


def _rows(path: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in Path(path).read_text("utf-8").splitlines()]


def answers(model: str, test: str, kind: str = "auto") -> dict[str, Any]:
    """Answer rows as tfnlp.predict does with a file, then one at a time."""
    from pipelines.rows import Record
    from tfnlp.inference import answer_rows, saved_model
    from tfnlp.inference.chunks import answered

    rows = _rows(test)
    asked = saved_model.opened(saved_model.find_model(model), kind).model()  # type: ignore[arg-type]
    records = [Record(i, {"text": row["text"]}, row) for i, row in enumerate(rows)]

    def all_of_them() -> list[str]:
        found = answered(records, asked, 32, answer_rows._AT_ONCE)
        return [answer["label"] for chunk in found for _, answer in chunk]

    found = all_of_them()
    begun = time.perf_counter()
    all_of_them()
    rate = len(rows) / (time.perf_counter() - begun)
    taken = []
    for row in rows[:200]:
        begun = time.perf_counter()
        asked.answer({"text": [row["text"]]})
        taken.append(time.perf_counter() - begun)
    right = [label == row["label"] for label, row in zip(found, rows, strict=True)]
    one = 1e3 * float(np.median(taken))
    return {"rate": rate, "accuracy": float(np.mean(right)), "one": one}


def tokens(test: str, size: str) -> dict[str, Any]:
    """Encode rows as the exported graph does: tokenize, cut, pad."""
    from tfnlp.runtime.startup import quiet_start

    with quiet_start():
        import tensorflow as tf

        from pipelines.encoding import segments
        from pipelines.tokenizers import tokenizer as tokenizers
        from tfnlp.backbones import loading

    tokenizer = tokenizers.load(loading.find("minilm-l6-en"))
    texts = [row["text"] for row in _rows(test)]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def encode(part: tf.Tensor) -> tf.Tensor:
        features, _ = segments.encode(tokenizer, [part], 128)
        return tf.reduce_sum(features["padding_mask"])

    step = int(size)
    parts = [tf.constant(texts[i : i + step]) for i in range(0, len(texts), step)]
    encode(parts[0])
    begun = time.perf_counter()
    count = sum(int(encode(part)) for part in parts)
    return {"rate": count / (time.perf_counter() - begun)}


def first_step() -> dict[str, Any]:
    """Train on TREC until the first batch is learned."""
    import os
    import tempfile

    from tfnlp import train
    from tfnlp.runtime import exit_status, threads

    class _First(BaseException):
        pass

    def stop(*_: Any, **__: Any) -> None:
        raise _First

    start = threads.start

    def patched() -> None:  # called once all is imported, before anything else
        from tfnlp.training import callbacks

        callbacks.Saver.on_train_batch_end = stop  # type: ignore[method-assign]
        start()

    threads.start = patched
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            sys.argv = ["train"]
            exit_status.run(train.main)
        except _First:
            return {"seconds": time.perf_counter() - BEGUN}
    raise SystemExit("no batch was learned")


PARTS = {part.__name__: part for part in (answers, tokens, first_step)}

if __name__ == "__main__":
    found = PARTS[sys.argv[1]](*sys.argv[2:])
    found["megabytes"] = peak()
    print(json.dumps(found))
