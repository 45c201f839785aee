"""Leave out each part of a text, ask again, and see how far the score falls.

Source: Zeiler and Fergus 2014, "Visualizing and understanding convolutional networks", section 4.2
(https://arxiv.org/abs/1311.2901); for words Li, Monroe and Jurafsky 2016, "Understanding neural
networks through representation erasure" (https://arxiv.org/abs/1612.08220), who divide the
difference by the score before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipelines import text_pieces
from pipelines.rows import Record
from tfnlp.explanations._answers import Claim, Cut, claims
from tfnlp.extensions import Attribution, Explanation, Piece, Subject, UnsuitableError, Wanted
from tfnlp.options import option

_AT_ONCE = 1024  # texts that are asked about together, to be sorted by their length


@dataclass(frozen=True)
class Options:
    """What is left out.

    Example::

        python -m tfnlp.explain MODEL "It rained. We stayed." --unit sentences
    """

    most: int = option(
        256,
        "pieces of a row at most; of a longer row neighbouring words go together [pieces]",
        minimum=1,
    )


@dataclass(frozen=True)
class _Question:
    """A row, and the same row without each of its pieces.

    Attributes:
        record: the row.
        pieces: what is left out, with no weights yet.
        cuts: the same with the space that goes with them.
        texts: what is asked: the row itself, then one without each piece.
        flags: what a reader must know.
    """

    record: Record
    pieces: list[Piece]
    cuts: list[Cut]
    texts: list[dict[str, Any]]
    flags: tuple[str, ...]


def explain(
    subject: Subject, records: Iterable[Record], options: Options, wanted: Wanted
) -> Iterator[Attribution]:
    """Yield the weights of each row's pieces: the score before less the score after.

    Of an entity the score after is that of the entity of the same type in what is left of its
    place, 0 if there is none. Of a run that writes each written word is explained, by the words
    that were read and those that were written before it.

    Example::

        for found in explain(subject, records, Options(), Wanted()):
            print(found.label, [(piece.start, piece.weight) for piece in found.pieces])
    """
    if wanted.unit == "tokens":
        raise UnsuitableError(
            "--unit tokens: occlusion leaves out parts of a text, of which a model tells no tokens "
            "(take words, sentences or characters, or --by integrated_gradients)"
        )
    if subject.model and subject.model.task.writing:
        from tfnlp.explanations import _written

        yield from _written.explain(subject, records, wanted, options.most)
        return
    waiting: list[_Question] = []
    for number, record in enumerate(records):
        if number == 0:  # a model that cannot be explained is asked no more
            answer = subject.answer({name: [value] for name, value in record.values.items()})[0]
            claims(answer, record.values, wanted)
        waiting.append(_question(subject, record, options, wanted))
        if sum(len(question.texts) for question in waiting) >= _AT_ONCE:
            yield from _answered(subject, waiting, wanted)
            waiting = []
    yield from _answered(subject, waiting, wanted)


def _question(subject: Subject, record: Record, options: Options, wanted: Wanted) -> _Question:
    """Make the texts that are asked about a row."""
    places = []
    for column in subject.inputs:
        found = text_pieces.cut(record.values[column.name], wanted.unit)
        if column.kind == "marked":
            found = text_pieces.unmarked(record.values[column.name], found)
        places.append((column.name, found))
    total = sum(len(found) for _, found in places)
    step = max(1, -(-total // options.most))
    question = _Question(record, [], [], [dict(record.values)], ())
    for name, found in places:
        for first in range(0, len(found), step):
            start, end = found[first][0], found[first : first + step][-1][1]
            left, gone = text_pieces.without(record.values[name], start, end)
            question.pieces.append(Piece(name, start, end, 0.0))
            question.cuts.append((name, *gone))
            question.texts.append({**record.values, name: left})
    if step == 1:
        return question
    told = f"{total} {wanted.unit}, left out {step} at a time (--occlusion-most {options.most})"
    return replace(question, flags=(told,))


def _answered(
    subject: Subject, questions: Sequence[_Question], wanted: Wanted
) -> Iterator[Attribution]:
    """Ask about several rows together, and yield what their answers tell."""
    if not questions:
        return
    texts = [text for question in questions for text in question.texts]
    answers = iter(subject.answer({name: [t[name] for t in texts] for name in texts[0]}))
    for question in questions:
        whole, *parts = [next(answers) for _ in question.texts]
        record = question.record
        found = claims(whole, record.values, wanted)
        for claim in found:
            pieces = list(_weighed(question, claim, parts))
            yield Attribution(
                record.number, record.values, claim.label, claim.score, pieces, question.flags
            )
        if not found:
            nothing = ("the model gives no label and finds nothing",)
            yield Attribution(record.number, record.values, "", 0.0, (), nothing)


def _weighed(question: _Question, claim: Claim, parts: Sequence[Any]) -> Iterator[Piece]:
    """Yield a row's pieces with what each did for a claim."""
    for piece, cut, answer in zip(question.pieces, question.cuts, parts, strict=True):
        yield replace(piece, weight=claim.score - claim.score_of(answer, cut))


EXPLANATION = Explanation(
    summary="leave out each word and see how far the score falls", options=Options, explain=explain
)
