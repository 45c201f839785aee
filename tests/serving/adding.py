"""A model that adds a number, and its versions."""

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2


class Adds(tf.Module):
    """Adds a number; each request takes some time, if it is told to."""

    def __init__(self, number: float, rounds: int = 0):
        super().__init__()
        self.number = tf.Variable(number)
        self.rounds = rounds

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")], autograph=False)
    def serve(self, x):
        matrix = tf.eye(200) + tf.reduce_sum(x) * 0
        if self.rounds:  # some 0.2 ms each
            matrix = tf.while_loop(
                lambda i, m: i < self.rounds, lambda i, m: (i + 1, m @ m), (0, matrix)
            )[1]
        return {"y": x + self.number + matrix[0, 0] * 0}


def place(folder, version, number, rounds=0, warm_up=None):
    """Put a version into a model's folder as an export does: whole."""
    module = Adds(number, rounds)
    aside = folder / f".new-{version}"
    tf.saved_model.save(module, str(aside), {"serving_default": module.serve})
    if warm_up:
        (aside / "assets.extra").mkdir()
        with tf.io.TFRecordWriter(str(aside / "assets.extra/tf_serving_warmup_requests")) as file:
            request = predict_pb2.PredictRequest()
            request.inputs[warm_up].CopyFrom(tf.make_tensor_proto([1.0]))
            log = prediction_log_pb2.PredictLog(request=request)
            record = prediction_log_pb2.PredictionLog(predict_log=log)
            file.write(record.SerializeToString())
    aside.rename(folder / str(version))
