"""What was tried for speed and is not in tfnlp, beside what is.

Run by benchmarks/speed.py: python speed_dropped.py PART ARGUMENT ...; prints one line of JSON.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import speed_parts

# What TensorFlow, oneDNN and the C library read at their start.
SETTINGS: dict[str, dict[str, str]] = {
    "as it is": {},
    "without oneDNN": {"TF_ENABLE_ONEDNN_OPTS": "0"},
    "the calling thread multiplies too": {"TF_ONEDNN_THREADPOOL_USE_CALLER_THREAD": "1"},
    "malloc for tensors": {"TF_ONEDNN_USE_SYSTEM_ALLOCATOR": "1"},
    "malloc for tensors, huge pages": {
        "TF_ONEDNN_USE_SYSTEM_ALLOCATOR": "1",
        "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    },
}
_FROZEN = {"TF_ONEDNN_ASSUME_FROZEN_WEIGHTS": "1"}
_EXECUTED = 8

_Job = tuple[Sequence[str], Mapping[str, str]]


def dropped(repeats: int, model: Path) -> None:
    """Print what each gains or costs; the model is a SavedModel that reads one text."""
    saved = str(model)
    _compare(
        "A training step of 32 rows of 13 tokens",
        {name: (["trained", "1"], given) for name, given in SETTINGS.items()}
        | {f"{_EXECUTED} steps in one execution": (["trained", str(_EXECUTED)], {})},
        {"ms": "ms a step", "first": "first step [s]", "megabytes": "peak memory [MB]"},
        repeats,
    )
    _compare(
        "A text of some 100 tokens alone, by a SavedModel",
        {name: (["alone", saved], given) for name, given in SETTINGS.items()}
        | {"weights packed once": (["alone", saved], _FROZEN)}
        | {"weights as constants": (["alone", saved, "constants"], {})},
        {"ms": "ms", "first": "loading and the first [s]", "megabytes": "peak memory [MB]"},
        repeats,
    )
    _compare(
        "A product of 128 x 384 by 384 x 1536",
        {kind: (["product", kind], {}) for kind in ("float32", "bfloat16", "int8")},
        {"ms": "ms"},
        repeats,
    )


def _compare(title: str, jobs: Mapping[str, _Job], shown: Mapping[str, str], repeats: int) -> None:
    """Run jobs in turn, each in a process of its own; print medians as Markdown."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in jobs}
    for _ in range(repeats):
        for name, (arguments, environment) in jobs.items():
            line = [sys.executable, __file__, *arguments]
            own = {**os.environ, **environment}
            done = subprocess.run(line, capture_output=True, text=True, env=own)
            if done.returncode:
                raise SystemExit(done.stderr)
            found[name].append(json.loads(done.stdout.splitlines()[-1]))
    print(f"\n**{title}**\n\n| | {' | '.join(shown.values())} |\n|{' --- |' * (len(shown) + 1)}")
    for name, runs in found.items():
        medians = [statistics.median(run[key] for run in runs) for key in shown]
        print(f"| {name} | {' | '.join(f'{value:,.1f}' for value in medians)} |", flush=True)


def _median(job: Callable[[], Any], count: int) -> float:
    """Return the median time of a job [ms]."""
    taken = []
    for _ in range(count):
        begun = time.perf_counter()
        job()
        taken.append(time.perf_counter() - begun)
    return 1e3 * statistics.median(taken)


def trained(executed: str) -> dict[str, float]:
    """Time training steps."""
    from speed_step import learner

    count = int(executed)
    step = learner(32, 13, executed=count)
    first = step()
    step()
    return {"first": first, "ms": _median(step, max(4, 24 // count)) / count}


def alone(model: str, how: str = "") -> dict[str, float]:
    """Time one text at a time, strings in."""
    import tensorflow as tf
    import tensorflow_text  # noqa: F401

    from tfnlp.runtime import precision

    begun = time.perf_counter()
    precision.start("auto", training=False)
    loaded: Any = tf.saved_model.load(model)
    ask = loaded.signatures["serving_default"]
    text = tf.constant(["what is the name of the river that runs through the city? " * 7])
    if how:
        from tensorflow.python.framework import convert_to_constants

        asked = convert_to_constants.convert_variables_to_constants_v2(ask)
        ask = lambda text: asked(text)  # noqa: E731
    ask(text=text)
    first = time.perf_counter() - begun
    _median(lambda: ask(text=text), 10)
    return {"first": first, "ms": _median(lambda: ask(text=text), 100)}


def product(kind: str) -> dict[str, float]:
    """Time a product; int8 is by the one operation that TensorFlow has for float rows."""
    import tensorflow as tf

    x, y = tf.random.normal([128, 384]), tf.random.normal([384, 1536])
    if kind == "bfloat16":
        x, y = tf.cast(x, tf.bfloat16), tf.cast(y, tf.bfloat16)
    scales = tf.reduce_max(tf.abs(tf.cast(y, tf.float32)), 0) / 127
    zeros, low, high = tf.zeros([1536], tf.int32), -127, 127
    if kind != "int8":
        multiply = tf.function(lambda: tf.matmul(x, y))
    else:
        small = tf.raw_ops.UniformQuantize(
            input=y,
            scales=scales,
            zero_points=zeros,
            Tout=tf.qint8,
            quantization_axis=1,
            quantization_min_val=low,
            quantization_max_val=high,
        )
        multiply = tf.function(
            lambda: tf.raw_ops.UniformQuantizedDotHybrid(
                lhs=x,
                rhs=small,
                rhs_scales=scales,
                rhs_zero_points=zeros,
                Tout=tf.float32,
                rhs_quantization_axis=1,
                rhs_quantization_min_val=low,
                rhs_quantization_max_val=high,
            )
        )
    multiply()
    return {"ms": _median(multiply, 50)}


PARTS = {part.__name__: part for part in (trained, alone, product)}

if __name__ == "__main__":
    told = PARTS[sys.argv[1]](*sys.argv[2:])
    print(json.dumps({**told, "megabytes": speed_parts.peak()}))
