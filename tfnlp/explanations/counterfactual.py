"""A small change of words with which the answer is another.

Greedy: the words that the answer rests on most are left out or replaced, one after another, each
time by what lowers the score most, and what was not needed is taken back; so it is a small change,
not the smallest.

Source: Wu et al. 2021, "Polyjuice", section 2 (https://arxiv.org/abs/2101.00288), on what such a
change is good for; the greedy search is that of Jin et al. 2020, "Is BERT really robust?",
algorithm 1 (https://arxiv.org/abs/1907.11932).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from pipelines import text_pieces
from pipelines.rows import Record
from tfnlp.extensions import Attribution, Explanation, Piece, Subject, UnsuitableError, Wanted
from tfnlp.options import option, unknown_key

if TYPE_CHECKING:
    from tfnlp.explanations._candidates import Candidates

Edit: TypeAlias = tuple[Piece, str]  # a word, and what is put in its place


@dataclass(frozen=True)
class Options:
    """How far a text is changed.

    Example::

        python -m tfnlp.explain RUN "A dull film." --by counterfactual
    """

    edits: int = option(3, "words that are changed at most [words]", minimum=1, maximum=50)
    words: int = option(
        8, "of a text, the words that are tried: those that the answer rests on", minimum=1
    )
    candidates: int = option(
        10, "words of each other label that are tried in their place; 0 only leaves out", minimum=0
    )
    near: bool = option(
        False,
        "leave no word out, and put in near words that keep the meaning, by the guards of an "
        "attack on words (English, Chinese): an answer that turns then should not",
    )


def explain(
    subject: Subject, records: Iterable[Record], options: Options, wanted: Wanted
) -> Iterator[Attribution]:
    """Yield for each row a change with which the answer is another, or ``wanted.label``.

    Pieces are the words that were changed, with how far the score fell without each.

    Example::

        for found in explain(subject, records, Options(), Wanted()):
            print(found.changed)
    """
    candidates: Candidates | None = None
    for number, record in enumerate(records):
        answer = subject.answer({name: [text] for name, text in record.values.items()})[0]
        if number == 0:
            _check(subject, answer, wanted)
            candidates = _candidates(subject, options)
        yield _changed(subject, record, answer, options, wanted, candidates)


def _check(subject: Subject, answer: Mapping[str, Any], wanted: Wanted) -> None:
    """Raise UnsuitableError unless there is one label, which words may turn."""
    if not isinstance(answer.get("scores"), Mapping) or "label" not in answer or "given" in answer:
        raise UnsuitableError(
            f"counterfactual turns one label into another, and {subject.name} answers with "
            f"{', '.join(answer)} (ask a model of --task classification or relation_extraction)"
        )
    if wanted.label is not None:
        unknown_key({wanted.label: None}, list(answer["scores"]), "the model", "label")
    if wanted.unit != "words" or wanted.rather_than is not None:
        raise UnsuitableError(
            "counterfactual changes words, towards --target-label or any other label (leave out "
            "--unit and --rather-than)"
        )


def _candidates(subject: Subject, options: Options) -> Candidates | None:
    """Return what may stand in place of a word; None of a SavedModel, which tells no words."""
    from tfnlp.explanations import _candidates

    if options.near:
        return _candidates.near(options.candidates)
    if subject.model is None or not options.candidates:
        return None
    model = subject.model
    (target,) = model.task.target_columns(model.context.options)
    names = [column.name for column in subject.inputs]
    return _candidates.of_rows(subject.trained_on(), names, target.name, options.candidates)


def _changed(
    subject: Subject,
    record: Record,
    answer: Mapping[str, Any],
    options: Options,
    wanted: Wanted,
    candidates: Candidates | None,
) -> Attribution:
    """Return the change that was found, or a flag."""
    label, score = answer["label"], float(answer["score"])

    def towards(other: Mapping[str, Any]) -> float:
        """Return how near another answer is to what is wanted."""
        if wanted.label is not None:
            return float(other["scores"][wanted.label])
        return -float(other["scores"].get(label, 0.0))

    def turned(other: Mapping[str, Any]) -> bool:
        return bool(other["label"] == wanted.label if wanted.label else other["label"] != label)

    pieces = _heaviest(subject, record, answer, towards, options.near)[: options.words]
    left, used = list(pieces), list[tuple[Piece, str]]()
    for _ in range(0 if turned(answer) else options.edits):
        tried = list(_tried(record, left, used, label, candidates, not options.near))
        if not tried:
            break
        answers = _asked(subject, record, tried)
        ranks = [(turned(other), towards(other)) for other in answers]
        best = max(range(len(tried)), key=ranks.__getitem__)
        used = tried[best]
        left.remove(used[-1][0])
        if ranks[best][0]:
            used, found = _smaller(subject, record, used, answers[best], turned)
            changed = {**_told(record, used), "label": found["label"], "score": found["score"]}
            changed["edits"] = [_said(record, *edit) for edit in used]
            own = [piece for piece, _ in used]
            return Attribution(record.number, record.values, label, score, own, changed=changed)
    flag = f"no change of {options.edits} words that was tried gives another answer"
    flag = "it is the answer already" if turned(answer) else flag
    return Attribution(record.number, record.values, label, score, (), (flag,))


def _heaviest(
    subject: Subject, record: Record, answer: Mapping[str, Any], towards: Any, near: bool
) -> list[Piece]:
    """Return the words, those first without which the answer is nearest to what is wanted."""
    pieces = [
        Piece(column.name, *place, 0.0)
        for column in subject.inputs
        for place in _words(record.values[column.name], column.kind, near)
    ]
    if not pieces:
        return []
    answers = _asked(subject, record, [[(piece, "")] for piece in pieces])
    before = towards(answer)
    weighed = [
        Piece(piece.input, piece.start, piece.end, towards(other) - before)
        for piece, other in zip(pieces, answers, strict=True)
    ]
    return sorted(weighed, key=lambda piece: -piece.weight)


def _words(text: str, kind: str, near: bool) -> list[tuple[int, int]]:
    if near:
        from tfnlp.explanations import _candidates

        found = [(word.start, word.end) for word in _candidates.free(text)]
    else:
        found = text_pieces.words(text)
    return text_pieces.unmarked(text, found) if kind == "marked" else found


def _tried(
    record: Record,
    left: Sequence[Piece],
    used: Sequence[Edit],
    label: str,
    candidates: Candidates | None,
    without: bool,
) -> Iterator[list[Edit]]:
    """Yield what may be changed: what has been, and one word more."""
    for piece in left:
        text = record.values[piece.input]
        given = candidates(text, (piece.start, piece.end), label) if candidates else ()
        for put in ("", *given) if without else given:
            if put.casefold() != text[piece.start : piece.end].casefold():
                yield [*used, (piece, put)]


def _asked(subject: Subject, record: Record, edits: Sequence[Sequence[Edit]]) -> list[Any]:
    """Return the answers to a row that is changed in several ways."""
    texts = [_told(record, one) for one in edits]
    return subject.answer({name: [text[name] for text in texts] for name in texts[0]})


def _smaller(
    subject: Subject,
    record: Record,
    used: list[Edit],
    answer: Any,
    turned: Callable[[Mapping[str, Any]], bool],
) -> tuple[list[Edit], Any]:
    """Take back the changes without which the answer is turned all the same."""
    for edit in list(used):
        fewer = [one for one in used if one is not edit]
        if fewer:
            (other,) = _asked(subject, record, [fewer])
            if turned(other):
                used, answer = fewer, other
    return used, answer


def _said(record: Record, piece: Piece, put: str) -> str:
    word = record.values[piece.input][piece.start : piece.end]
    return f"{word} → {put}" if put else f"without {word}"


def _told(record: Record, edits: Sequence[Edit]) -> dict[str, str]:
    """Return a row's texts with words replaced, or left out with a space beside them."""
    texts = dict(record.values)
    for piece, put in sorted(edits, key=lambda edit: -edit[0].start):
        text = texts[piece.input]
        if put:
            texts[piece.input] = text[: piece.start] + put + text[piece.end :]
        else:
            texts[piece.input] = text_pieces.without(text, piece.start, piece.end)[0]
    return texts


EXPLANATION = Explanation(
    summary="a small change of words with which the answer is another",
    options=Options,
    explain=explain,
)
