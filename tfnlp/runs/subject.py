"""A model under analysis, wherever it is: a run, a SavedModel in a folder, or one on a server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.rows import Column, Record, Rows
from tfnlp.extensions import UnsuitableError
from tfnlp.inference import remote, saved_model
from tfnlp.inference.chunks import answered
from tfnlp.inference.saved_model import Answers, ServedModel, find_model
from tfnlp.runs.experiment_yaml import read_trusted
from tfnlp.runtime import precision
from tfnlp.runtime.startup import quiet_start

if TYPE_CHECKING:
    from tfnlp.config import Experiment
    from tfnlp.training.model import TrainedModel

_REQUESTS = 4  # that a server is sent at a time


@dataclass(frozen=True)
class LoadedSubject:
    """A model that answers; implements `tfnlp.extensions.Subject`.

    Attributes:
        name: what it is called in reports: the folder or address it was loaded from.
        served: what answers a batch.
        experiment: what made it, if that is known.
        model: of a run.
        batch_size: rows it is asked at a time.
        at_once: times it is asked at once.

    Example::

        subject = load("trec-classification")
        subject.answer({"text": ["Who wrote Hamlet?"]})[0]["label"]  # "HUM"
    """

    name: str
    served: ServedModel
    experiment: Experiment | None
    model: TrainedModel | None
    batch_size: int
    at_once: int = 1

    @property
    def inputs(self) -> tuple[Column, ...]:
        """The columns it reads, by name in alphabetical order."""
        return self.served.columns

    def trained_on(self) -> Rows:
        """Return the rows that a run was trained on.

        Raises:
            UnsuitableError: this is no run.
            UserError: the rows are gone, or others.
        """
        if self.model is None:
            raise UnsuitableError(
                f"{self.name} does not tell what it was trained on (name the run's folder, "
                "tensorboard_logs/NAME/RUN)"
            )
        from tfnlp.runs import origins

        return origins.rows_of(Path(self.name))

    def answer(self, texts: Mapping[str, Sequence[Any]]) -> Answers:
        """Return an answer for each of N rows; rows of about one length are asked together."""
        rows = zip(*texts.values(), strict=True)
        records = (
            Record(number, dict(zip(texts, row, strict=True)), {})
            for number, row in enumerate(rows, 1)
        )
        chunks = answered(records, self.served, self.batch_size, self.at_once)
        return [answer for chunk in chunks for _, answer in chunk]


def load(
    source: str,
    batch_size: int = 32,
    holding: Callable[[Callable], Callable] = lambda function: function,
) -> LoadedSubject:
    """Load a model to ask it questions.

    Args:
        source: a run's folder (``tensorboard_logs/NAME/RUN``); a SavedModel's, or one of its
            versions, or its name in ``saved_models``; or a server's address, as predict takes it.
        batch_size: rows it is asked at a time.
        holding: wraps calls of TensorFlow, which a signal must not cut short.

    Raises:
        UserError: there is no such model, or it cannot be loaded.

    Example::

        load("trec-classification").answer({"text": ["Who wrote Hamlet?"]})
    """
    if remote.is_address(source):
        served = remote.opened(source).model()
        return LoadedSubject(source, served, None, None, batch_size, _REQUESTS)
    if is_run(Path(source)):
        model = _trained(Path(source))
        served = _served(model, holding)
        return LoadedSubject(source, served, model.experiment, model, batch_size)
    folder = find_model(source)
    served = saved_model.opened(folder, "float32").model()
    served = ServedModel(served.columns, holding(served.answer))
    return LoadedSubject(str(folder), served, _experiment(folder), None, batch_size)


def is_run(folder: Path) -> bool:
    """Return whether a folder is a run's, ended or not."""
    return (folder / "experiment.yaml").exists() and not (folder / "saved_model.pb").exists()


def _trained(run: Path) -> TrainedModel:
    """Load a run's model to answer with."""
    with quiet_start("keras_hub"):
        from tfnlp.runs import storage

        precision.start("float32", training=False)
    return storage.load(run)


def _served(model: TrainedModel, holding: Callable[[Callable], Callable]) -> ServedModel:
    """Return what answers strings by the functions that are exported."""
    import tensorflow as tf

    from pipelines import batching

    columns = model.task.input_columns(model.experiment.options)
    columns = tuple(sorted(columns, key=lambda column: column.name))
    names = {column.name for column in columns}
    # One graph for batches of any size.
    with precision.exact():
        model.respond.get_concrete_function({n: tf.TensorSpec([None], tf.string) for n in names})

    def answer(texts: Mapping[str, Sequence[Any]]) -> Answers:
        count = len(next(iter(texts.values())))
        rows = Rows("", {name: list(texts[name]) for name in names}, list(range(count)))
        with precision.exact():  # whatever else was trained in this process
            outputs = model.respond(batching.tensors(rows, columns))
        arrays = {name: tensor.numpy() for name, tensor in outputs.items()}
        return saved_model.split_rows(arrays, count)

    return ServedModel(columns, holding(answer))


def _experiment(folder: Path) -> Experiment | None:
    """Return what made a SavedModel; None if tfnlp did not write it."""
    file = folder / "experiment.yaml"
    if not file.exists():
        return None
    return read_trusted(file, saved_model.AGAIN)
