"""TensorFlow's start without its messages, among which a command's own would be lost."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

# What Keras and KerasHub import where it is installed, for their scikit-learn wrappers, galleries
# of images and ROUGE, none of which tfnlp uses: it costs every command time and memory.
_NEEDLESS = ("sklearn", "matplotlib", "rouge_score")


@contextmanager
def quiet_start(*modules: str) -> Iterator[None]:
    """Import TensorFlow, and hold back what native code writes to standard error.

    That is shown if the body fails. What Keras imports needlessly is spared (and can be imported
    afterwards): its wrappers for scikit-learn do not work in this process.

    Args:
        modules: what else the body imports, of Keras's kin: ``keras_hub``.

    TensorFlow 2.21 and TF Text log some lines while they are imported and while the first device
    is looked for, which TF_CPP_MIN_LOG_LEVEL does not hold back. Setting it to 0 or 1 shows all.
    Later it calls error what is none (an int64 product that oneDNN leaves to Eigen), so that the
    level is 3 here; what really fails raises an exception too. Its Python logger tells of each
    SavedModel in a notebook and in an interactive Python only; here it warns, as in scripts.

    Example::

        with quiet_start("keras_hub"):
            from tfnlp.training import train
    """
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") in ("0", "1"):
        _import("tensorflow", *modules)
        yield
        return
    sys.stderr.flush()
    shown = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            _import("tensorflow", *modules)
            sys.modules["tensorflow"].get_logger().setLevel("WARNING")
            yield
        except Exception:
            held.seek(0)
            os.write(shown, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(shown, 2)
            os.close(shown)


@contextmanager
def several_graphs() -> Iterator[None]:
    """Hold back TensorFlow's warning of "retracing": each model of a process has its own graphs.

    Example::

        with several_graphs():
            for seed in range(6):
                train(seed)
    """
    import tensorflow as tf

    def shown(record: logging.LogRecord) -> bool:
        return "triggered tf.function retracing" not in record.getMessage()

    logger = tf.get_logger()
    logger.addFilter(shown)
    try:
        yield
    finally:
        logger.removeFilter(shown)


def _import(*modules: str) -> None:
    """Import modules as if packages that are not needed were missing, which all of them allow."""
    withheld = [name for name in _NEEDLESS if name not in sys.modules]
    for name in withheld:
        sys.modules[name] = None  # type: ignore[assignment]  # it cannot be imported
    try:
        with warnings.catch_warnings():
            # In a notebook without widgets; the bars that it speaks of are never shown.
            warnings.filterwarnings("ignore", "IProgress not found")
            for name in modules:
                importlib.import_module(name)
    finally:
        for name in withheld:
            del sys.modules[name]
