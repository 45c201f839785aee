"""Requests that TF Serving runs before traffic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.columns import as_request

if TYPE_CHECKING:
    from tfnlp.training.model import TrainedModel


def write_model_warmup(folder: Path, model: TrainedModel) -> None:
    """Write a request of each length that training met.

    The texts are the task's samples repeated, not rows of the user's.

    Example::

        write_model_warmup(Path("saved_models/trec/1"), model)
    """
    requests = [("serving_default", row) for row in requests_of(model)]
    write_warmup(folder, model.experiment.name, requests)


def requests_of(model: TrainedModel) -> list[dict[str, str]]:
    """Return a request of each length that training met: of each the text of every input.

    Example::

        requests_of(model)[0]  # {"text": "Who wrote"}
    """
    from tfnlp.training.model import columns

    wanted = columns(model.experiment, model.task, targets=False)
    sample = model.task.sample(model.context.options)[0]
    row = {c.name: as_request(sample[c.name]) for c in wanted}
    sizes = [length // len(wanted) for length in model.lengths]
    return [{n: _of_length(model, text, size) for n, text in row.items()} for size in sizes]


def write_warmup(
    folder: Path, name: str, requests: Sequence[tuple[str, Mapping[str, str]]]
) -> None:
    """Write requests for TF Serving to run before traffic.

    Args:
        folder: the version's folder.
        name: the model's name.
        requests: of each the signature, and the text of every input.

    Example::

        request = ("serving_default", {"text": "Who wrote Hamlet?"})
        write_warmup(Path("saved_models/trec/1"), "trec", [request])
    """
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    (folder / "assets.extra").mkdir(exist_ok=True)
    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, texts in requests:
            request = predict_pb2.PredictRequest()
            request.model_spec.name = name
            request.model_spec.signature_name = signature
            for column, text in texts.items():
                request.inputs[column].CopyFrom(tf.make_tensor_proto([text], tf.string))
            log = prediction_log_pb2.PredictLog(request=request)
            record = prediction_log_pb2.PredictionLog(predict_log=log)
            writer.write(record.SerializeToString())


def _of_length(model: TrainedModel, text: str, tokens: int) -> str:
    """Repeat a text's words until it has about this many tokens."""
    import tensorflow as tf

    words = text.split()
    count = int(model.context.tokenizer.tokenize(tf.constant([text])).row_lengths()[0])
    wanted = max(1, (tokens - 2) * len(words) // max(count, 1))
    return " ".join(words[i % len(words)] for i in range(wanted))
