"""What each word adds to a score, on average over orders in which words are put in: SHAP.

The library's own search over permutations, of words that are there or left out.

Source: Lundberg and Lee 2017, "A unified approach to interpreting model predictions"
(https://arxiv.org/abs/1705.07874); its PermutationExplainer is `shap`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from pipelines import text_pieces
from pipelines.errors import UserError
from pipelines.rows import Record
from tfnlp.explanations import _answers
from tfnlp.extensions import Attribution, Explanation, Piece, Subject, UnsuitableError, Wanted
from tfnlp.options import option


@dataclass(frozen=True)
class Options:
    """How long it searches.

    Example::

        python -m tfnlp.explain MODEL "It rained." --by shap --shap-rounds 20
    """

    rounds: int = option(
        10, "orders of the words, each once forth and once back", minimum=1, maximum=10_000
    )


def explain(
    subject: Subject, records: Iterable[Record], options: Options, wanted: Wanted
) -> Iterator[Attribution]:
    """Yield the SHAP values of each row's pieces, of the score; they add up to its rise from none.

    Example::

        for found in explain(subject, records, Options(), Wanted()):
            print(found.label, sum(piece.weight for piece in found.pieces))
    """
    try:
        import shap
    except ImportError as error:
        raise UserError("--by shap needs another package: pip install -e '.[explain]'") from error
    if wanted.unit == "tokens":
        raise UnsuitableError(
            "--unit tokens: shap leaves out parts of a text, of which a model tells no tokens "
            "(take words, sentences or characters)"
        )
    for record in records:
        answer = subject.answer({name: [text] for name, text in record.values.items()})[0]
        pieces = [
            Piece(column.name, *place, 0.0)
            for column in subject.inputs
            for place in _places(record.values[column.name], column.kind, wanted.unit)
        ]
        found = _answers.claims(answer, record.values, wanted)
        for claim in found:
            values = _values(shap, subject, record, pieces, claim, options)
            weighed = [
                replace(piece, weight=float(value))
                for piece, value in zip(pieces, values, strict=True)
            ]
            yield Attribution(record.number, record.values, claim.label, claim.score, weighed)
        if not found:
            nothing = ("the model gives no label and finds nothing",)
            yield Attribution(record.number, record.values, "", 0.0, (), nothing)


def _places(text: str, kind: str, unit: str) -> list[tuple[int, int]]:
    found = text_pieces.cut(text, unit)
    return text_pieces.unmarked(text, found) if kind == "marked" else found


def _values(
    shap: Any, subject: Subject, record: Record, pieces: list[Piece], claim: Any, options: Options
) -> Any:
    """Return the values of a row's pieces for one claim."""
    import numpy as np

    if not pieces:
        return []

    def score(there: Any) -> Any:
        """Return the scores with some pieces, (N,), of (N, pieces) zeros and ones."""
        rows = [[p for p, here in zip(pieces, row, strict=True) if not here] for row in there]
        texts = [
            {
                name: text_pieces.kept(text, [(p.start, p.end) for p in gone if p.input == name])
                for name, text in record.values.items()
            }
            for gone in rows
        ]
        answers = subject.answer({name: [text[name] for text in texts] for name in texts[0]})
        return np.array([claim.score_of(answer, ("", 0, 0)) for answer in answers])

    count = len(pieces)
    explainer = shap.explainers.Permutation(score, np.zeros((1, count)), seed=0)
    evaluations = options.rounds * (2 * count + 1)
    found = explainer(np.ones((1, count)), max_evals=evaluations, silent=True, batch_size=256)
    return found.values[0]


EXPLANATION = Explanation(
    summary="what each word adds to the score over orders of words, by the library shap",
    options=Options,
    explain=explain,
)
