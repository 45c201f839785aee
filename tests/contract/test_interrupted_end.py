"""A signal while the SavedModel is written: the run goes on from there, and has one of them."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import tensorflow as tf

from tfnlp.api import training as api
from tfnlp.runtime import signals


@pytest.fixture(autouse=True)
def _handlers():
    with signals.restored():
        yield


def sending(function, sent, error):
    """Return a function during which a signal comes, which TensorFlow makes an error of."""

    def called(*args, **kwargs):
        try:
            os.kill(os.getpid(), sent)
        except signals.Interrupted:
            raise error from None
        return function(*args, **kwargs)

    return called


def test_a_signal_that_comes_out_of_the_export_as_an_error_does_not_end_the_run(
    small_experiment, tmp_path, monkeypatch
):
    begun = small_experiment(tmp_path)
    error = tf.errors.UnknownError(None, None, "KeyboardInterrupt: ")
    with monkeypatch.context() as patch:
        patch.setattr(tf.saved_model, "save", sending(tf.saved_model.save, signal.SIGTERM, error))
        with pytest.raises(signals.Interrupted) as stopped, signals.caught("; go on"):
            api.train(begun, verbose=False)
    assert stopped.value.signum == signal.SIGTERM
    (run,) = Path(begun.export.tensorboard_logs).glob("*/*/")
    assert not (run / "metrics.json").exists()
    versions = Path(begun.export.saved_models, begun.name)
    assert not list(versions.iterdir())
    kept = json.loads((run / "judged.json").read_text())
    assert api.train(begun, resume=True, verbose=False) == run
    assert [folder.name for folder in versions.iterdir()] == ["1"]
    assert json.loads((run / "judged.json").read_text()) == kept
