"""Our metrics and optimizers against tensorflow-addons 0.23, the last one there will be.

It cannot be imported beside Keras 3: a process of its own, with Keras 2, computes its values.
"""

import importlib.util
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from scipy.special import expit as sigmoid
from sklearn.metrics import matthews_corrcoef

from tfnlp.config import Optimizer
from tfnlp.heads.metrics import LogitF1
from tfnlp.training import optimizers

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow_addons") is None,
    reason="tensorflow-addons has no build for this Python (the last is for 3.11)",
)

REFERENCE = """
import json, sys
import tf_keras.src.engine
sys.modules["keras.src.engine"] = tf_keras.src.engine
import numpy as np
import tensorflow as tf
import tensorflow_addons as tfa

asked = json.load(sys.stdin)
labels, scores = np.array(asked["labels"], "float32"), np.array(asked["scores"], "float32")
truth, given = labels, np.array(asked["many"], "float32")
found = {}
for average in ("micro", "macro"):
    metric = tfa.metrics.F1Score(num_classes=labels.shape[1], average=average)
    metric.update_state(labels, scores)
    found[f"f1_{average}"] = float(metric.result())
    metric = tfa.metrics.F1Score(num_classes=labels.shape[1], average=average, threshold=0.5)
    metric.update_state(given, scores)
    found[f"many_f1_{average}"] = float(metric.result())
metric = tfa.metrics.MatthewsCorrelationCoefficient(num_classes=labels.shape[1])
metric.update_state(labels, np.eye(labels.shape[1], dtype="float32")[scores.argmax(-1)])
found["mcc"] = float(metric.result())
# Addons subtracts decay * weight; Keras, as the paper, learning_rate * decay * weight.
rate, decay = asked["rate"], asked["decay"]
optimizer = tfa.optimizers.AdamW(weight_decay=rate * decay, learning_rate=rate, epsilon=1e-7)
weight = tf.Variable(asked["weight"])
for gradient in asked["gradients"]:
    optimizer.apply_gradients([(tf.constant(gradient), weight)])
found["adamw"] = weight.numpy().tolist()
print(json.dumps(found))
"""

RATE, DECAY, STEPS = 0.01, 0.1, 20


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(0)
    labels = np.eye(5)[random.integers(0, 5, 200)]
    logits = 2 * labels + random.normal(size=(200, 5)) * 1.5
    return {
        "labels": labels,
        "many": (random.random((200, 5)) < sigmoid(logits)).astype(float),
        "logits": logits,
        "scores": sigmoid(logits),
        "weight": random.normal(size=7),
        "gradients": random.normal(size=(STEPS, 7)),
    }


@pytest.fixture(scope="module")
def reference(data):
    asked = {name: values.tolist() for name, values in data.items()}
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", REFERENCE],
        input=json.dumps({**asked, "rate": RATE, "decay": DECAY}),
        env={**os.environ, "TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.parametrize("average", ["micro", "macro"])
def test_f1_of_one_label_a_row(data, reference, average):
    metric = keras.metrics.F1Score(average=average)
    metric.update_state(data["labels"], data["logits"])
    assert float(metric.result()) == pytest.approx(reference[f"f1_{average}"], abs=1e-6)


@pytest.mark.parametrize("average", ["micro", "macro"])
def test_f1_of_many_labels_a_row(data, reference, average):
    metric = LogitF1(average=average, name="f1")
    metric.update_state(data["many"], data["logits"])
    assert float(metric.result()) == pytest.approx(reference[f"many_f1_{average}"], abs=1e-6)


def test_matthews_correlation(data, reference):
    ours = matthews_corrcoef(data["labels"].argmax(-1), data["logits"].argmax(-1))
    assert ours == pytest.approx(reference["mcc"], abs=1e-6)


@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
def test_adamw(data, reference, layer_decay):
    settings = Optimizer(
        learning_rate=RATE,
        weight_decay=DECAY,
        schedule="constant",
        warmup=0.0,
        clip_norm=0.0,
        layer_decay=layer_decay,
    )
    # A variable of no block is the head's: its rate is the full one whatever the decay.
    optimizer = optimizers.adamw(settings, STEPS, blocks=[])
    weight = keras.Variable(data["weight"].astype("float32"), name="kernel")
    optimizer.build([weight])
    for gradient in data["gradients"].astype("float32"):
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [weight])
    np.testing.assert_allclose(weight.numpy(), reference["adamw"], atol=1e-6)
