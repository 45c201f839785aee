"""The answer to a question as a part of a given text, or that the text has none.

Question and context stand side by side, as in Devlin et al. 2019, "BERT", sections 4.2 and 4.3
(https://arxiv.org/abs/1810.04805); a context that is too long for one window is read in several
that overlap, and nothing of it is left out.

Dimensions: B batch, W windows, T tokens of a window, L tokens of a context, A right answers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.errors import UserError
from pipelines.rows import BadRow, Column, Rows
from tfnlp.options import option
from tfnlp.report import Report
from tfnlp.task import Arrays, Context, Objective, Task, Tensors
from tfnlp.tasks import _explained_spans

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

QUESTION = Column("question", "text", "the question", ("query",))
CONTEXT = Column("context", "text", "the text to answer from", ("passage", "paragraph", "document"))
ANSWERS = Column(
    "answers", "answers", "the right answers and where they stand", ("answer",), of="context"
)


@dataclass(frozen=True)
class Options:
    """Options of extractive question answering.

    Example::

        python -m tfnlp.train --task extractive_qa --train squad.json --max-answer-length 20
    """

    max_length: int = option(384, "longest window of question and text [tokens]", minimum=16)
    overlap: int = option(
        128, "what neighbouring windows share, at most half of the text in one [tokens]", minimum=0
    )
    max_question_length: int = option(
        64, "longest question, at most half of a window; the rest is cut [tokens]", minimum=1
    )
    max_answer_length: int = option(30, "longest answer given [tokens]", minimum=1, maximum=512)
    head_dropout: float = option(0.1, "dropout before the output layer", minimum=0.0, maximum=0.99)


def sample(options: Options) -> list[dict[str, Any]]:
    """Return four rows, one of them without an answer."""
    fuji = "Mount Fuji is 3,776 metres high and stands on Honshū 🗻."
    return [
        _row("How high is Mount Fuji?", fuji, "3,776 metres"),
        _row("Who was first on Mount Fuji?", fuji, None),
        _row("Que boit Zoé ?", "Au café 🍵, Zoé boit un thé à la menthe.", "un thé à la menthe"),
        _row("杜甫是哪里人？", "🏯 杜甫是河南人，写了许多诗。", "河南"),
    ]


def _row(question: str, context: str, answer: str | None) -> dict[str, Any]:
    """Return a row whose answer stands where it first occurs."""
    answers = [] if answer is None else [(context.index(answer), answer)]
    return {"question": question, "context": context, "answers": answers}


def learn(rows: Rows, options: Options) -> dict[str, Any]:
    """Learn whether there are questions without an answer.

    Returns:
        ``unanswerable``, and ``null_threshold`` None: until calibration the best part of the text
        is always given.

    Example:
        >>> rows = Rows("a.json", {"answers": [[(0, "Rome")], []]}, [1, 2])
        >>> learn(rows, Options())
        {'unanswerable': True, 'null_threshold': None}
    """
    answered = sum(map(bool, rows.columns["answers"]))
    if not answered:
        raise UserError(
            f"{rows.source}: no question has an answer; extractive_qa needs rows with answers to "
            "learn from"
        )
    return {"unanswerable": answered < len(rows), "null_threshold": None}


def grow(facts: dict[str, Any], rows: Rows, options: Options) -> dict[str, Any]:
    """Return an earlier run's facts, and whether questions may have no answer now."""
    found = learn(rows, options)
    return {**found, "unanswerable": found["unanswerable"] or facts["unanswerable"]}


def unusable_rows(rows: Rows, facts: dict[str, Any]) -> Iterator[BadRow]:
    """Accept any rows: what reads them has found every answer in its context."""
    return iter(())


def encode(context: Context, raw: Tensors) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    """Join the question with each window of the context.

    Returns:
        ``token_ids``, ``segment_ids``, ``padding_mask`` and ``candidates``, int32 (B, W, T), as
        tfnlp.heads.answer_span reads them; and of the context ``starts`` and ``ends``, int32 (B, L)
        [bytes], its token at each ``places``, int32 (B, W, T) or -1, and ``lost``, int64 (B,),
        the tokens cut from the question.

    Example::

        features, offsets = encode(context, {"question": questions, "context": contexts})
        network(features)  # (B, W, T, 2): logits of start and end
    """
    from pipelines.encoding import questions

    options = context.options
    return questions.encode(
        context.tokenizer,
        raw["question"],
        raw["context"],
        max_length=context.max_length,
        max_question_length=options.max_question_length,
        overlap=options.overlap,
    )


def encode_targets(
    context: Context, raw: Tensors, features: Tensors, offsets: Tensors
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Return start and end of the first answer that lies in each window, int32 (B, W, 2).

    Both are 0, [CLS], where a window holds no answer, and -1 where the row has no such window.

    Example::

        places, _ = encode_targets(context, raw, features, offsets)
        places[0, 0]  # first and last token of the answer in the first window: [14, 16]
    """
    from pipelines.encoding import questions

    return questions.positions(raw["answers/start"], raw["answers/end"], features, offsets), None


def build(context: Context, backbone: keras.Model) -> keras.Model:
    """Build the model: outputs are the logits of start and end, float32 (B, W, T, 2)."""
    from tfnlp.heads import answer_span

    return answer_span.head(backbone, dropout=context.options.head_dropout)


def objective(context: Context) -> Objective:
    """Cross-entropy; the best epoch has most windows with start and end both right.

    The validation loss is a poor criterion: it rises with overconfidence while answers still
    improve.
    """
    from tfnlp.heads import answer_span

    return Objective(
        answer_span.SpanCrossEntropy(), [answer_span.exact], monitor="val_exact", mode="max"
    )


def calibrate(context: Context, rows: Rows, answers: Arrays) -> dict[str, Any]:
    """Find the threshold for not answering that gives the best F1 on the validation rows."""
    import numpy as np

    from tfnlp.evaluation.squad import best_threshold, f1

    if not context.facts["unanswerable"]:
        return {}
    gold = _texts(rows)
    given = [f1(answer, texts) for answer, texts in zip(answers["answer"], gold, strict=True)]
    silent = [f1("", texts) for texts in gold]
    threshold = best_threshold(answers["null_margin"], np.array(given), np.array(silent))
    return {"null_threshold": threshold}


def decode(
    context: Context, raw: Tensors, outputs: tf.Tensor, offsets: Tensors
) -> dict[str, tf.Tensor]:
    """Turn logits into the best part of the context, or none.

    A part has at most ``max_answer_length`` tokens, and its score is the sum of its logits, in
    the best of the windows that it lies in. The score of having no answer is that of [CLS], in
    the window where it is lowest; there is no answer if it exceeds the best part's by more than
    the threshold. Probabilities are a softmax over all parts of the context and no answer.

    Returns:
        ``answer`` string (B,), exactly ``context[start:end]``, or "" for none; ``start`` and
        ``end`` int32 (B,) [characters], both -1 for none; ``score`` float32 (B,), the
        probability of what is answered; ``no_answer`` float32 (B,), that of no answer;
        ``null_margin`` float32 (B,), what is compared with the threshold.

    Example::

        answers = decode(context, raw, network(features), offsets)
        answers["answer"], answers["start"]  # [b"3,776 metres"], [14]

    Source: Devlin et al. 2019, section 4.3; one softmax over all windows: Clark and Gardner 2018,
        "Simple and effective multi-paragraph reading comprehension", section 3.3
        (https://arxiv.org/abs/1710.10723).
    """
    from pipelines.encoding import questions

    return questions.answers(
        raw["context"],
        outputs,
        offsets,
        longest=context.options.max_answer_length,
        threshold=context.facts["null_threshold"],
    )


def report(context: Context, rows: Rows, answers: Arrays) -> Report:
    """Exact match and F1 as SQuAD's scripts define them, with tables and the worst errors."""
    from tfnlp.evaluation import squad

    columns = rows.columns
    return squad.report(
        columns["question"],
        columns["context"],
        _texts(rows),
        answers["answer"].tolist(),
        answers["score"],
    )


def _texts(rows: Rows) -> list[list[str]]:
    """Return each row's right answers."""
    return [[text for _, text in answers] for answers in rows.columns["answers"]]


TASK = Task(
    summary="the answer to a question as a part of a given text, or none",
    dataset="new-wiki",
    options=Options,
    input_columns=lambda options: (QUESTION, CONTEXT),
    target_columns=lambda options: (ANSWERS,),
    sample=sample,
    learn=learn,
    grow=grow,
    unusable_rows=unusable_rows,
    encode=encode,
    encode_targets=encode_targets,
    build=build,
    objective=objective,
    calibrate=calibrate,
    decode=decode,
    report=report,
    reading="parts",
    decodes_from_ids=False,
    explaining=_explained_spans.answer_span(),
)
