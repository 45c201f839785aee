"""Models as what `pipelines.attack` asks: texts -> scores, and texts -> vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pipelines.attack import Ask
from pipelines.errors import UserError
from pipelines.lexicons.words import Language
from tfnlp.extensions.analysis import Subject, UnsuitableError

if TYPE_CHECKING:
    import numpy as np


def scores_of(subject: Subject) -> tuple[Ask, list[str]]:
    """Return a model as a function from N texts to its labels' scores (N, C), and the labels.

    Args:
        subject: a model that gives one label to one text.

    Raises:
        UnsuitableError: it reads several texts, or answers with something else.

    Example::

        scores, labels = scores_of(subject)
        labels[scores(["Who wrote Hamlet?"])[0].argmax()]  # "HUM"
    """
    if len(subject.inputs) != 1 or subject.inputs[0].kind != "text":
        names = " and ".join(column.name for column in subject.inputs)
        raise UnsuitableError(
            f"{subject.name} reads {names}; an attack on words is for models that read one text "
            "(take a model of --task classification without --pair)"
        )
    name = subject.inputs[0].name
    answer = subject.answer({name: ["It is here."]})[0]
    known = answer.get("scores")
    if not isinstance(known, dict) or "given" in answer:
        raise UnsuitableError(
            f"{subject.name} answers with {', '.join(answer)}; an attack on words is for models "
            "that give one of several labels (take a model of --task classification)"
        )
    labels = list(known)

    def ask(texts: Sequence[str]) -> np.ndarray:
        import numpy as np

        answers = subject.answer({name: list(texts)})
        return np.array([[one["scores"][label] for label in labels] for one in answers])

    return ask, labels


def vectors_of(name: str, load: Callable[[str], Subject], languages: frozenset[Language]) -> Ask:
    """Return what gives texts vectors of norm 1, near for texts that mean the same.

    Args:
        name: a model of ``--task similarity`` (a run, a SavedModel, a server), or an encoder's name
            in the catalog of backbones.
        load: returns a model by its name.
        languages: of the texts.

    Raises:
        UserError: there is no such model, it gives no vectors, or it reads no Chinese.

    Example::

        ask = vectors_of("minilm-l6-en", trainer.load, frozenset({"en"}))
        ask(["A good film."]).shape  # (1, 384)
    """
    from tfnlp.backbones import entry

    if name in entry.names():
        if "zh" in languages and entry.find(name).languages == "English":
            raise UserError(
                f"{name} reads English only, and so cannot tell how near Chinese texts are (name "
                "e5-small-multilingual, or a model of --task similarity)"
            )
        from tfnlp.backbones import text_vectors

        return text_vectors.opened(name)
    subject = load(name)
    columns = [column.name for column in subject.inputs]
    answer = subject.answer({columns[0]: ["It is here."]}) if len(columns) == 1 else [{}]
    if "embedding" not in answer[0]:
        raise UserError(
            f"{name} gives a text no vector (name a model of --task similarity that was trained "
            "without --pair, or an encoder such as minilm-l6-en)"
        )

    def ask(texts: Sequence[str]) -> np.ndarray:
        import numpy as np

        answers = subject.answer({columns[0]: list(texts)})
        found = np.array([one["embedding"] for one in answers], np.float32)
        norms = np.linalg.norm(found, axis=1, keepdims=True)
        return np.asarray(found / np.maximum(norms, 1e-9))

    return ask
