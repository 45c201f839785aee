"""Small SavedModels with warm-up requests, and the command run on them."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from tfnlp import deploy
from tfnlp.deployment import warmup

STRINGS = tf.TensorSpec([None], tf.string, "text")


def save(folder: Path, serve=None, signatures=None, warmups=("Is it?",)) -> Path:
    """Write a SavedModel that answers strings, and its warm-up requests."""

    def shout(text):
        return {"loud": tf.strings.upper(text), "length": tf.strings.length(text)}

    serve = serve or tf.function(shout, [tf.TensorSpec([None], tf.string, "text")])
    module = tf.Module()
    module.weight = tf.Variable(tf.zeros([1000]))
    tf.saved_model.save(module, str(folder), {"serving_default": serve, **(signatures or {})})
    if warmups:
        write_warmups(folder, [predict(folder.parent.name, text) for text in warmups])
    return folder


def predict(name: str, text: str, signature: str = "serving_default", column: str = "text"):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = name, signature
    request.inputs[column].CopyFrom(tf.make_tensor_proto([text], tf.string))
    log = prediction_log_pb2.PredictLog(request=request)
    return prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString()


def write_warmups(folder: Path, records: list[bytes]) -> None:
    (folder / "assets.extra").mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(folder / warmup.FILE)) as writer:
        for record in records:
            writer.write(record)


def listed(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def run(*args: object) -> None:
    return deploy.main([str(arg) for arg in args])
