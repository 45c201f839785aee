"""What there is to explain in an answer, and its score in the answer to another text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tfnlp.extensions import UnsuitableError, Wanted
from tfnlp.options import unknown_key

Answer = Mapping[str, Any]
# Characters [start, end) of an input that are left out; None for none.
Cut = tuple[str, int, int]
_OWN = Wanted()


@dataclass(frozen=True)
class Claim:
    """One thing that an answer says.

    Attributes:
        label: what it says: a label, the name of a number, or an entity's type and text.
        score: how sure the model is; a number itself.
        score_of: (the answer to the text without a part, that part) -> the score there.

    Example::

        claim, = claims(answer, {"text": "Who wrote Hamlet?"})
        claim.score - claim.score_of(other, ("text", 0, 4))
    """

    label: str
    score: float
    score_of: Callable[[Answer, Cut], float]


def claims(answer: Answer, texts: Mapping[str, str], wanted: Wanted = _OWN) -> list[Claim]:
    """Return what an answer says; nothing if no label is given and no entity is found.

    Args:
        answer: as ``python -m tfnlp.predict`` writes it.
        texts: the inputs by name.
        wanted: the answer that is explained, if it is another.

    Raises:
        UnsuitableError: the answer is of another kind.
        UserError: there is no such label.

    Example:
        >>> [claim.label for claim in claims({"label": "b", "scores": {"a": 0.1, "b": 0.9}}, {})]
        ['b']
    """
    found = _claims(answer, texts, wanted.label)
    if wanted.rather_than is None:
        return found
    others = _claims(answer, texts, wanted.rather_than)
    return [_less(one, other) for one, other in zip(found, others * len(found), strict=False)]


def _less(one: Claim, other: Claim) -> Claim:
    """Return the claim that one thing is said rather than another."""

    def score_of(answer: Answer, cut: Cut) -> float:
        return one.score_of(answer, cut) - other.score_of(answer, cut)

    return Claim(f"{one.label} rather than {other.label}", one.score - other.score, score_of)


def _claims(answer: Answer, texts: Mapping[str, str], label: str | None) -> list[Claim]:
    """Return what an answer says, or that it is a label."""
    if isinstance(answer.get("scores"), Mapping):
        return _labels(answer, label)
    if "entities" in answer:
        found = [_span(entity, "entities", texts) for entity in answer["entities"]]
    elif {"answer", "start", "end", "score"} <= answer.keys():
        span = {**answer, "text": answer["answer"], "type": ""}
        found = [_span(span, "", texts)] if answer["answer"] else []
    else:
        found = [_number(answer)]
    if label is not None:
        raise UnsuitableError(
            f"occlusion knows the scores of the answer that is given, not of {label!r} (take "
            "--by integrated_gradients on the run, or ask a model that tells all labels' scores)"
        )
    return found


def _number(answer: Answer) -> Claim:
    """Return the claim that a number is what it is."""
    numbers = [name for name, value in answer.items() if isinstance(value, float)]
    if len(numbers) == 1 and not any(isinstance(value, str) for value in answer.values()):
        (name,) = numbers
        return Claim(name, answer[name], lambda other, _: float(other[name]))
    raise UnsuitableError(
        f"the model answers with {', '.join(answer)}, in which there is no label, number or entity "
        "to explain (ask a model of labels, numbers, entities or answers to questions)"
    )


def _labels(answer: Answer, label: str | None) -> list[Claim]:
    """Return the labels given: one, or of several those beyond their thresholds; or a label."""
    scores = answer["scores"]
    if label is not None:
        unknown_key({label: None}, list(scores), "the model", "label")
        names = [label]
    elif "given" in answer:
        names = [name for name, given in zip(scores, answer["given"], strict=True) if given]
    else:
        grade = answer.get("grade")
        given = answer.get("label") if grade is None else f"{grade:g}"
        best = max(scores, key=scores.__getitem__)
        names = [str(given) if given in scores else best]

    def claim(name: str) -> Claim:
        return Claim(name, float(scores[name]), lambda other, _: float(other["scores"][name]))

    return [claim(name) for name in names]


def _span(found: Answer, group: str, texts: Mapping[str, str]) -> Claim:
    """Return the claim that a part of a text is an entity or the answer.

    In the answer to another text it is the thing of the same type that overlaps what is left of
    it, the most likely of several; 0 if there is none.
    """
    start, end = found["start"], found["end"]
    where = next((n for n, text in texts.items() if text[start:end] == found["text"]), "")
    kind = found.get("type", "")

    def score_of(other: Answer, cut: Cut) -> float:
        first, last = start, end
        if cut[0] == where:
            first, last = _moved(start, cut), _moved(end, cut)
        things = other[group] if group else [other]
        scores = [
            thing["score"]
            for thing in things
            if thing.get("type", "") == kind and thing["start"] < last and thing["end"] > first
        ]
        return float(max(scores, default=0.0))

    label = f"{kind}: {found['text']}" if kind else found["text"]
    return Claim(label, float(found["score"]), score_of)


def _moved(place: int, cut: Cut) -> int:
    """Return where a place stands once a part of the text is left out."""
    _, start, end = cut
    return place if place <= start else max(start, place - (end - start))
