"""A thread of its own for each core, where a processor has few cores.

TensorFlow shares every operation out over all cores. Those of a small batch are short, and a good
part of a step goes by in sharing out and waiting. Here an operation stays on its core, and batches
or parts of one (training/network.py) run side by side.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

MOST = 4  # with more cores, parts of a common batch are too small to keep a core busy

_In = TypeVar("_In")
_Out = TypeVar("_Out")


def start() -> None:
    """Let each core run operations of its own; call it before any other TensorFlow operation.

    Example::

        start()  # before the first TensorFlow operation
    """
    import tensorflow as tf

    affinity = getattr(os, "sched_getaffinity", None)  # Linux has it
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    if not 1 < cores <= MOST or tf.config.list_physical_devices("GPU"):
        return
    try:
        tf.config.threading.set_inter_op_parallelism_threads(cores)
        tf.config.threading.set_intra_op_parallelism_threads(1)
    except RuntimeError:
        pass  # TensorFlow runs already, as it does where several commands share a process


def count() -> int:
    """Return how many batches, or parts of one, run side by side in this process.

    Example::

        parts = count()  # 1 where TensorFlow spreads each operation over the cores
    """
    import tensorflow as tf

    threads = tf.config.threading
    apart = threads.get_intra_op_parallelism_threads() == 1
    return max(1, threads.get_inter_op_parallelism_threads()) if apart else 1


def each(function: Callable[[_In], _Out], items: Iterable[_In]) -> list[_Out]:
    """Return a function's results for all items, on every core, in the items' order.

    A tf.function must be traced before: Keras has its settings in the main thread.

    Example::

        answers = each(predict, batches)
    """
    pool = ThreadPoolExecutor(count())
    try:
        return list(pool.map(function, items))
    finally:
        pool.shutdown(cancel_futures=True)
