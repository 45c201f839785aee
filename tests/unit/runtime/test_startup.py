"""How TensorFlow and its kin are imported."""

import os
import subprocess
import sys

import pytest

from tfnlp.runtime.startup import _NEEDLESS, quiet_start, several_graphs

_STARTED = """
import sys
from tfnlp.runtime.startup import quiet_start
with quiet_start("keras_hub"):
    found = [name for name in {needless} if name in sys.modules]
print({{"keras_hub", "tensorflow"}} <= sys.modules.keys(), found)
import matplotlib, rouge_score, sklearn.metrics
print(sklearn.metrics.accuracy_score([1], [1]))
"""


def test_keras_imports_nothing_needless_that_can_be_imported_afterwards():
    line = [sys.executable, "-c", _STARTED.format(needless=_NEEDLESS)]
    told = subprocess.run(line, capture_output=True, text=True, check=True)
    assert told.stdout == "True []\n1.0\n"


def test_what_was_imported_before_stays():
    import sklearn

    with quiet_start():
        import tensorflow  # noqa: F401
    assert sys.modules["sklearn"] is sklearn


def test_what_native_code_said_is_shown_after_a_failure(capfd, monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    with pytest.raises(ZeroDivisionError):
        _said("why\n", 0)
    assert capfd.readouterr().err == "why\n"
    _said("chatter\n", 1)
    assert not capfd.readouterr().err


def _said(text, number):
    with quiet_start():
        os.write(2, text.encode())
        assert 1 / number


def test_tensorflow_tells_nothing_of_a_saved_model_in_an_interactive_python():
    code = (
        "import sys; sys.ps1 = '>>> '\n"
        "from tfnlp.runtime.startup import quiet_start\n"
        "with quiet_start(): pass\n"
        "import tensorflow as tf; tf.get_logger().info('Assets written')"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout + told.stderr == ""


def test_graphs_of_several_models_are_no_retracing(caplog):
    import tensorflow as tf

    logger = tf.get_logger()
    with several_graphs():
        logger.warning("5 out of the last 5 calls to f triggered tf.function retracing. It is")
        logger.warning("other")
    assert [record.message for record in caplog.records] == ["other"]
    assert not logger.filters
