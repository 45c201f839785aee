"""Labelled spans of texts, scored as `seqeval` scores them.

A span is right if its start, end and type are. Sequences of BIO tags come to the same thing: the
values equal seqeval's on the tags of the same words (Nakayama 2018,
https://github.com/chakki-works/seqeval).

Dimensions: R rows, K types.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np

from tfnlp.evaluation import plots
from tfnlp.evaluation.classification import unjudged_warnings
from tfnlp.report import Report, Table

Span: TypeAlias = tuple[int, int, str]  # start, end [characters], type

ERRORS = 10  # rows of the table of errors
NONE = "(none)"
_CONTEXT = 120  # characters of a text in the table of errors


def scores(gold: Sequence[Iterable[Span]], found: Sequence[Iterable[Span]]) -> dict[str, Any]:
    """Return precision, recall and F1 of the spans found in R texts.

    Returns:
        By type, in alphabetical order, (precision, recall, F1, spans expected), 0 where undefined;
        and under "" the same over all spans.

    Example:
        >>> scores([[(0, 4, "PER")]], [[(0, 4, "PER"), (5, 9, "ORG")]])["PER"]
        (1.0, 1.0, 1.0, 1)
    """
    right, wanted, given = Counter[str](), Counter[str](), Counter[str]()
    for expected, answered in zip(map(set, gold), map(set, found), strict=True):
        for counter, spans in ((right, expected & answered), (wanted, expected), (given, answered)):
            counter.update(label for _, _, label in spans)
            counter.update("" for _ in spans)
    result = {}
    for label in sorted({"", *wanted, *given}):
        precision = right[label] / max(given[label], 1)
        recall = right[label] / max(wanted[label], 1)
        f1 = 2 * right[label] / max(wanted[label] + given[label], 1)
        result[label] = (precision, recall, f1, wanted[label])
    return result


def report(
    texts: Sequence[str],
    gold: Sequence[Sequence[Span]],
    found: Sequence[Sequence[Span]],
    words: Sequence[Sequence[tuple[int, int]]],
    names: Sequence[str],
) -> Report:
    """Return the report on the spans found in R texts.

    Args:
        texts: the texts.
        gold: by text, the spans expected.
        found: by text, the spans found.
        words: by text, where its words begin and end [characters].
        names: the K types the model knows.

    Example::

        gold, words = [[(0, 3, "PER")]], [[(0, 3), (4, 9)]]
        report(["Ada sings"], gold, gold, words, ["PER"]).metrics
    """
    by_type = scores(gold, found)
    precision, recall, f1, _ = by_type.pop("")
    right = sum(
        sum(map(str.__eq__, _tags_of(places, a), _tags_of(places, b)))
        for places, a, b in zip(words, gold, found, strict=True)
    )
    values = {
        "f1": f1,
        "precision": precision,
        "recall": recall,
        "macro_f1": float(np.mean([v[2] for v in by_type.values()])) if by_type else 0.0,
        "word_accuracy": right / max(sum(map(len, words)), 1),
    }
    table = Table(
        "By type",
        ("type", "precision", "recall", "f1", "spans"),
        [(n, f"{p:.3f}", f"{r:.3f}", f"{f:.3f}", s) for n, (p, r, f, s) in by_type.items()],
    )
    every = list(by_type)
    figures = {}
    if every:
        figures = {
            "f1_by_type": lambda: plots.bars(
                "F1", every, np.array([by_type[name][2] for name in every])
            ),
            "confusion_of_types": lambda: plots.confusion_matrix(
                _confusion(gold, found, every), [*every, NONE]
            ),
        }
    errors = Table(
        "Errors",
        ("text", "expected, not found", "found, not expected"),
        _errors(texts, gold, found),
    )
    wanted = [label for spans in gold for _, _, label in spans]
    warnings = unjudged_warnings("type", wanted, names)
    warnings += _unseen(gold, names) + _unreachable(gold, words)
    whole = [set(a) == set(b) for a, b in zip(gold, found, strict=True)]
    tables = [table, *([errors] if errors.rows else [])]
    return Report(values, tables, figures, warnings, right=whole)


def _tags_of(places: Sequence[tuple[int, int]], spans: Sequence[Span]) -> list[str]:
    """Return the BIO tags of words, by where they begin."""
    tags = []
    spans, upcoming, before = sorted(spans), 0, -1
    for first, _ in places:
        while upcoming < len(spans) and spans[upcoming][1] <= first:
            upcoming += 1
        if upcoming < len(spans) and spans[upcoming][0] <= first:
            tags.append(f"{'I' if before == upcoming else 'B'}-{spans[upcoming][2]}")
            before = upcoming
        else:
            tags.append("O")
    return tags


def _confusion(
    gold: Sequence[Sequence[Span]], found: Sequence[Sequence[Span]], names: Sequence[str]
) -> np.ndarray:
    """Count spans by type expected and type found at the same place; the last is no span there."""
    row_of = {name: i for i, name in enumerate([*names, NONE])}
    counts = np.zeros((len(row_of), len(row_of)), int)
    for wanted, given in zip(gold, found, strict=True):
        a, b = ({span[:2]: span[2] for span in spans} for spans in (wanted, given))
        for where in a.keys() | b.keys():
            counts[row_of[a.get(where, NONE)], row_of[b.get(where, NONE)]] += 1
    return counts


def _errors(
    texts: Sequence[str], gold: Sequence[Sequence[Span]], found: Sequence[Sequence[Span]]
) -> list[tuple[str, str, str]]:
    """Show the first texts with an error, from a little before it."""
    rows = []
    for text, wanted, given in zip(texts, gold, found, strict=True):
        missed, extra = sorted(set(wanted) - set(given)), sorted(set(given) - set(wanted))
        if missed or extra:
            begin = max(0, min(span[0] for span in (*missed, *extra)) - _CONTEXT // 3)
            part = text[begin : begin + _CONTEXT]
            cut = f"{'…' * (begin > 0)}{part}{'…' * (begin + _CONTEXT < len(text))}"
            rows.append((cut, _listed(text, missed), _listed(text, extra)))
        if len(rows) == ERRORS:
            break
    return rows


def _listed(text: str, spans: Sequence[Span]) -> str:
    """Name the first spans of a text."""
    named = [f"{text[start:end]} ({label})" for start, end, label in spans[:5]]
    return "; ".join(named) + ("; …" if len(spans) > 5 else "")


def _unseen(gold: Sequence[Sequence[Span]], names: Sequence[str]) -> list[str]:
    """Warn of types that the model cannot answer."""
    counts = Counter(label for spans in gold for _, _, label in spans)
    strange = sorted(set(counts) - set(names))
    if not strange:
        return []
    first = ", ".join(f"{name!r} ({counts[name]})" for name in strange[:5])
    more = f" and {len(strange) - 5} more" if len(strange) > 5 else ""
    return [f"types never seen in training, never found (spans): {first}{more}"]


def _unreachable(
    gold: Sequence[Sequence[Span]], words: Sequence[Sequence[tuple[int, int]]]
) -> list[str]:
    """Warn of spans that begin or end within a word, of which the model knows only whole ones."""
    missed = total = 0
    for spans, places in zip(gold, words, strict=True):
        begins, ends = {first for first, _ in places}, {last for _, last in places}
        missed += sum(start not in begins or end not in ends for start, end, _ in spans)
        total += len(spans)
    if not missed:
        return []
    return [
        f"{missed} of {total} expected spans begin or end within a word of this backbone's "
        "tokenizer and can never be found exactly"
    ]
