"""A SavedModel in memory: in which precision it is asked."""

from contextlib import contextmanager

import numpy as np
import pytest
import tensorflow as tf

from tfnlp.runtime import precision
from tfnlp.serving.servable import Servable


class Upper(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def serve(self, text):
        return {"generated": tf.strings.upper(text)}


@pytest.mark.parametrize("writes", [True, False])
def test_a_model_that_writes_is_asked_in_float32(writes, tmp_path, monkeypatch):
    entered = []

    @contextmanager
    def exact():
        entered.append(True)
        yield

    monkeypatch.setattr(precision, "exact", exact)
    module = Upper()
    tf.saved_model.save(module, str(tmp_path), {"serving_default": module.serve})
    if writes:
        (tmp_path / "settings.json").write_text("{}")
    found = Servable(tmp_path).run("serving_default", {"text": np.array([b"hi"], object)})
    assert found["generated"].tolist() == [b"HI"]
    assert entered == [True] * writes
