"""The training rows that are nearest to a text, by the vector that the model's last layer reads.

Source: Rajagopal et al. 2021, "SELFEXPLAIN", section 2.2 (https://arxiv.org/abs/2103.12279), and
before it Caruana et al. 1999, "Case-based explanation of non-case-based learning methods"
(https://pmc.ncbi.nlm.nih.gov/articles/PMC2232607/).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.rows import Record, Rows
from tfnlp.extensions import Attribution, Explanation, Subject, Wanted
from tfnlp.options import option


@dataclass(frozen=True)
class Options:
    """How many rows are named.

    Example::

        python -m tfnlp.explain RUN "It rained." --by neighbours --neighbours-count 3
    """

    count: int = option(5, "training rows that are named [rows]", minimum=1, maximum=1000)
    most: int = option(
        20_000, "training rows that are compared, evenly spaced if there are more [rows]", minimum=1
    )


def explain(
    subject: Subject, records: Iterable[Record], options: Options, wanted: Wanted
) -> Iterator[Attribution]:
    """Yield the nearest training rows of each row, by cosine.

    Example::

        for found in explain(subject, records, Options(), Wanted()):
            print(found.label, found.examples)
    """
    from tfnlp.explanations import _training_rows
    from tfnlp.training.last_layer import Vectors

    model = _training_rows.needs_run(subject, "neighbours")
    train, flag = _training_rows.rows_of(subject, options.most)
    vectors = Vectors(model)
    known = _training_rows.unit(vectors(train))

    def near(rows: Rows, answers: Sequence[Mapping[str, Any]]) -> Any:
        return _training_rows.unit(vectors(rows)) @ known.T

    yield from _training_rows.explained(
        subject, records, train, near, options.count, "similarity", flag
    )


EXPLANATION = Explanation(
    summary="the training rows nearest to each text, by the model's own vector",
    options=Options,
    explain=explain,
)
