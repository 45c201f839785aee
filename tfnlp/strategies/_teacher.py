"""What a teacher answers to rows, in the form of the student's outputs.

Dimensions: N rows, B batch, W windows, T tokens, C classes, H hidden.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pipelines import atomic, splits
from pipelines.errors import UserError, reason
from pipelines.registry import packages
from pipelines.rows import Rows
from tfnlp.report import Report
from tfnlp.strategies import _hidden
from tfnlp.strategies import _teacher_fit as _fit

if TYPE_CHECKING:
    import keras
    import numpy as np
    import tensorflow as tf

    from tfnlp.extensions import Subject, Trainer
    from tfnlp.training.model import TrainedModel

_BATCH = 64
_NEVER = -1e9  # the logit of what is beyond a text
_SUREST = 1e-6  # a probability of 0 has no logarithm


@dataclass(frozen=True)
class Teacher:
    """A model whose answers are learned.

    Attributes:
        subject: the model.
        student: what learns.
        tracked: shows progress; see `tfnlp.extensions.Trainer.tracked`.

    Example::

        teacher = Teacher.of(trainer, "tensorboard_logs/big/RUN")
        teacher.outputs(splits.train).shape  # (N, C): log-probabilities
    """

    subject: Subject
    student: TrainedModel
    tracked: Callable[[Collection[Any], str], Iterator[Any]]

    @classmethod
    def of(cls, trainer: Trainer, source: str) -> Teacher:
        """Load a teacher for what a trainer trains, and check that it fits.

        Raises:
            UserError: there is no such model, or it does not fit.
        """
        student = cast("TrainedModel", trainer.model)
        found = cls(trainer.load(source), student, trainer.tracked)
        found.check()
        return found

    @property
    def model(self) -> TrainedModel | None:
        """The teacher's network with its task; None of a SavedModel."""
        return cast("TrainedModel | None", self.subject.model)

    def check(self) -> None:
        """Refuse what this student cannot learn from.

        Raises:
            UserError: the teacher is of another task, has other labels, or is a SavedModel where
                a network is needed.
        """
        own, name = self.student.experiment, self.subject.name
        made = self.subject.experiment
        if made is not None and made.task != own.task:
            raise UserError(
                f"the teacher {name} is of the task {made.task}, and the student of {own.task} "
                "(give a teacher of the same task)"
            )
        if self.model is None and not (_scored(self.student) or _numbered(self.student)):
            raise UserError(
                f"the teacher {name} is a SavedModel, which does not tell what {own.task} learns "
                "from (give the folder of its run, tensorboard_logs/NAME/RUN)"
            )
        if self.model is not None:
            _fit.same_inputs(self.subject, self.student)
            _fit.same_labels(self.model.context.facts, self.student.context.facts, name)
            if self.student.task.writing is not None:
                _fit.same_words(self.model, self.student, name)

    @property
    def network(self) -> keras.Model:
        """The teacher's network.

        Raises:
            UserError: it is a SavedModel.
        """
        if self.model is None:
            raise UserError(
                f"the teacher {self.subject.name} is a SavedModel, and its network is needed (give "
                "the folder of its run, tensorboard_logs/NAME/RUN)"
            )
        return self.model.network

    def report(self, rows: Rows) -> Report:
        """Return how well it answers rows with targets."""
        from tfnlp.evaluation import intervals
        from tfnlp.inference.chunks import arrays
        from tfnlp.training import answering

        if self.model is not None:
            return answering.evaluate(self.model, rows)
        answers, own = self._answers(rows), _labels(self.student)
        if "scores" in answers[0]:  # in the student's order of labels
            answers = [a | {"scores": {n: a["scores"][n] for n in own}} for a in answers]
        told = arrays(answers)
        return intervals.judged(self.student.task, self.student.context, rows, told, sure=False)

    def latency(self, rows: Rows) -> float:
        """Return how long a row takes to be answered, of a server with the way there [ms]."""
        from tfnlp.training import answering

        if self.model is not None:
            return answering.latency(self.model, rows)
        some = rows.take(splits.evenly(len(rows), answering.TIMED))
        began = time.perf_counter()
        self._answers(some)
        return 1000 * (time.perf_counter() - began) / len(some)

    def _answers(self, rows: Rows) -> list[dict[str, Any]]:
        """Return what a SavedModel answers to rows."""
        names = [column.name for column in self.subject.inputs]
        return self.subject.answer({name: rows.columns[name] for name in names})

    def vectors(self, rows: Rows) -> np.ndarray:
        """Return the vectors that the head of the teacher is given for rows, float32 (N, H).

        Raises:
            UserError: it is a SavedModel, or its head is given no vector of a row.
        """
        whole = _hidden.with_vector(self.network)
        model = dataclasses.replace(cast("TrainedModel", self.model), network=whole)
        return each(model, self, rows, lambda x, outputs: outputs["vector"])

    def outputs(self, rows: Rows) -> np.ndarray:
        """Return what `tfnlp.heads.agreement.towards` wants of the rows, float32 (N, ...).

        They are log-probabilities of the choices that the student's outputs are logits of, or
        numbers. They are kept in the cache by the teacher's weights and the rows.

        Raises:
            UserError: the teacher's labels are others, or its tokenizer cuts texts otherwise where
                tokens are compared.
        """
        import numpy as np

        model = self.model
        if model is None:
            return _of_answers(self, rows)
        file = packages.cache_root() / "teachers" / f"{_digest(model, self.student, rows)}.npy"
        found = _kept(file)
        if found is None:
            found = _of_network(model, self, rows)
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
                with atomic.replacing_path(file) as aside, aside.open("wb") as opened:
                    np.save(opened, found)
            except OSError as error:
                raise UserError(
                    f"cannot write {file}: {reason(error)} (set TFNLP_CACHE to another folder)"
                ) from error
        return np.asarray(found, np.float32)


def _kept(file: Path) -> np.ndarray | None:
    """Return what the cache holds; None if there is nothing, or a damaged file."""
    import numpy as np

    try:
        return np.asarray(np.load(file))
    except (OSError, ValueError, EOFError):
        return None


def outputs(teachers: Sequence[Teacher], rows: Rows) -> np.ndarray:
    """Return the mean of what teachers answer to rows; see `Teacher.outputs`.

    Example::

        outputs([Teacher.of(trainer, source) for source in sources], splits.train)
    """
    return mean([teacher.outputs(rows) for teacher in teachers], teachers[0].student)


def mean(outputs: Sequence[np.ndarray], student: TrainedModel) -> np.ndarray:
    """Return the mean of several teachers' outputs: of probabilities, numbers or cosines.

    Example::

        mean([first.outputs(rows), second.outputs(rows)], trainer.model)
    """
    import numpy as np

    if len(outputs) == 1:
        return outputs[0]
    if _embedded(student):  # the cosines of unit vectors one after the other are their sum
        return np.concatenate(outputs, -1)
    shape = np.max([one.shape for one in outputs], 0)
    whole = [_padded(one, shape) for one in outputs]
    if _numbered(student):
        return np.asarray(np.mean(whole, 0), np.float32)
    return np.asarray(np.logaddexp.reduce(whole, 0) - np.log(len(whole)), np.float32)


def _loss(model: TrainedModel) -> Any:
    """Return a task's loss, which tells what its outputs are."""
    return model.task.objective(model.context).loss


def _labels(model: TrainedModel) -> list[str]:
    """Return the labels or grades of a model as its answers name them."""
    facts = model.context.facts
    return facts.get("labels") or [f"{grade:g}" for grade in facts.get("grades", [])]


def _scored(model: TrainedModel) -> bool:
    """Return whether a model's answers hold a probability of each of its labels."""
    return model.task.classify is not None


def _numbered(model: TrainedModel) -> bool:
    """Return whether a model's outputs are a standardized number."""
    return "deviation" in model.context.facts


def _embedded(model: TrainedModel) -> bool:
    """Return whether a model's outputs are vectors of texts."""
    from tfnlp.heads import sentence_vector

    vectors = (sentence_vector.Contrastive, sentence_vector.CosineRegression)
    return isinstance(_loss(model), vectors)


def _digest(model: TrainedModel, student: TrainedModel, rows: Rows) -> str:
    """Return what names the answers of a network to rows for a student."""
    found = hashlib.sha256()
    for weight in model.network.weights:
        found.update(weight.numpy().tobytes())
    facts = {key: student.context.facts.get(key) for key in ("labels", "mean", "deviation")}
    about = [facts, student.experiment.backbone.name, student.context.max_length, rows.columns]
    found.update(json.dumps(about, default=str).encode())
    return found.hexdigest()[:32]


# ---------------------------------------------------------------- of a run


def _of_network(model: TrainedModel, teacher: Teacher, rows: Rows) -> np.ndarray:
    """Return a network's log-probabilities, numbers or vectors, in the student's form."""
    import numpy as np
    import tensorflow as tf

    from tfnlp.heads import agreement

    student, loss = teacher.student, _loss(model)

    def say(x: Any, outputs: tf.Tensor) -> tf.Tensor:
        found = agreement.choices(loss, x, outputs)
        return outputs if found is None else tf.nn.log_softmax(tf.cast(found[0], tf.float32))

    whole = each(model, teacher, rows, say)
    if _numbered(student):
        own, theirs = student.context.facts, model.context.facts
        value = whole * theirs["deviation"] + theirs["mean"]
        return np.asarray((value - own["mean"]) / own["deviation"], np.float32)
    return _ordered(whole, model.context.facts, student)


def each(
    model: TrainedModel, teacher: Teacher, rows: Rows, say: Callable[[Any, Any], tf.Tensor]
) -> np.ndarray:
    """Return what is made of a network's inputs and outputs for each row, float32 (N, ...)."""
    import numpy as np

    places: list[int] = []
    parts: list[np.ndarray] = []
    for batch, found in _passed(model, teacher, rows, say):
        places.extend(batch)
        parts.extend(found)
    shape = (len(parts), *np.max([part.shape for part in parts], 0))
    whole = np.full(shape, _NEVER, np.float32)
    for place, part in zip(places, parts, strict=True):
        there = tuple(slice(0, size) for size in part.shape)
        whole[place][there] = part
    return whole


def _passed(
    model: TrainedModel, teacher: Teacher, rows: Rows, say: Callable[[Any, Any], tf.Tensor]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield places of rows and what is made of them; rows of about one length together."""
    import numpy as np
    import tensorflow as tf

    from pipelines import batching
    from tfnlp.runtime import precision
    from tfnlp.training import examples

    student = teacher.student
    targets = model.task.target_columns(model.experiment.options)
    known = all(column.optional or column.name in rows.columns for column in targets)
    raw = (examples.examples if known else examples.unlabelled)(model, rows)
    lengths = examples.measure(model, raw).lengths

    @tf.function(autograph=False)
    def passed(batch: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        x, _ = model.encode(batch)
        said = say(x, model.network(x, training=False))
        return said, x["padding_mask"], student.encode(batch)[0]["padding_mask"]

    order, _ = batching.by_length(lengths, _BATCH)
    for batch in teacher.tracked(order, "asking the teacher"):
        with precision.exact():
            said, theirs, own = passed({n: tf.gather(column, batch) for n, column in raw.items()})
        if said.shape.rank > 3 and not np.array_equal(theirs, own):
            raise UserError(
                f"the teacher {teacher.subject.name} cuts texts into other tokens than "
                f"{student.experiment.backbone.name}, such as that of {rows.source}, row "
                f"{rows.numbers[batch[0]]} (give a teacher with the same tokenizer and "
                "--max-length)"
            )
        yield batch, said.numpy()


def _ordered(found: np.ndarray, teacher: dict[str, Any], student: TrainedModel) -> np.ndarray:
    """Return choices with the classes in the student's order of labels."""
    import keras
    import numpy as np

    labels, own = teacher.get("labels", []), student.context.facts.get("labels", [])
    if labels == own:
        return found
    order = [labels.index(label) for label in own]
    if isinstance(_loss(student), keras.losses.BinaryCrossentropy):  # (N, labels, yes or no)
        return np.take(found, order, 1)
    if found.shape[-1] == 1 + 2 * len(labels):  # of tags: outside, and two for each label
        order = [0, *(1 + 2 * place + part for place in order for part in (0, 1))]
    return np.take(found, order, -1)


def _padded(values: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    import numpy as np

    wider = [(0, size - there) for size, there in zip(shape, values.shape, strict=True)]
    return np.pad(values, wider, constant_values=_NEVER)


# ---------------------------------------------------------------- of a SavedModel


def _of_answers(teacher: Teacher, rows: Rows) -> np.ndarray:
    """Return the log-probabilities or numbers in the answers of a SavedModel or server."""
    import keras
    import numpy as np

    subject, student = teacher.subject, teacher.student
    _fit.same_inputs(subject, student)
    answers = teacher._answers(rows)
    facts = student.context.facts
    if _numbered(student):
        values = np.array([_held(subject, answer, "value") for answer in answers], np.float32)
        return np.asarray((values - facts["mean"]) / facts["deviation"])[:, None]
    said = [_held(subject, answer, "scores") for answer in answers]
    own = _labels(student)
    _fit.same_labels({"labels": list(said[0])}, {"labels": own}, subject.name)
    scores = np.array([[one[label] for label in own] for one in said], np.float64)
    if "grades" in facts:  # whether each grade but the lowest is reached
        scores = np.cumsum(scores[:, ::-1], 1)[:, -2::-1]
    scores = np.clip(scores, _SUREST, 1 - _SUREST)
    if isinstance(_loss(student), keras.losses.BinaryCrossentropy):
        return np.asarray(np.log(np.stack([scores, 1 - scores], -1)), np.float32)
    return np.asarray(np.log(scores), np.float32)


def _held(subject: Subject, answer: dict[str, Any], name: str) -> Any:
    """Return what an answer must hold."""
    if name not in answer:
        raise UserError(
            f"the answers of the teacher {subject.name} have no {name!r}, but "
            f"{', '.join(answer)} (give a teacher of the same task)"
        )
    return answer[name]
