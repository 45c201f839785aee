"""Labelled spans of a text: names, and by the same task parts of speech or the slots of a command.

Each word gets a BIO tag from its first piece's state, as in Devlin et al. 2019, "BERT", section
5.3 (https://arxiv.org/abs/1810.04805). A text that is too long for one window is read in several
that overlap, each word in the one where it has most context, and the tags are chosen over the
whole text: nothing of it is left out.

Dimensions: B batch, W windows, T tokens of a window, N words of a text, C tags, K types.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.cells import trimmed
from pipelines.errors import UserError
from pipelines.rows import BadRow, Column, Rows
from tfnlp.options import option
from tfnlp.report import Fitted, Report
from tfnlp.task import Arrays, Context, Objective, Task, Tensors
from tfnlp.tasks import _explained_spans, _labels, _pooled_text

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

ENTITIES = Column(
    "entities",
    "spans",
    "the labelled spans",
    ("spans", "labels", "slots", "ner", "upos", "tags"),
    of="text",
)


@dataclass(frozen=True)
class Options:
    """Options of named entity recognition.

    Example::

        python -m tfnlp.train --task ner --train rows.conll --no-crf
    """

    max_length: int = option(128, "longest window of text [tokens]", minimum=8)
    overlap: int = option(
        32, "what neighbouring windows share, at most half of one [tokens]", minimum=0
    )
    crf: bool = option(
        True, "learn which tag follows which (conditional random field), not each tag by itself"
    )
    head_dropout: float = option(0.1, "dropout before the output layer", minimum=0.0, maximum=0.99)


def sample(options: Options) -> list[dict[str, Any]]:
    """Return four rows."""
    return [
        _row("Marie Curie was born in Warsaw.", ("Marie Curie", "person"), ("Warsaw", "place")),
        _row("Zoë 👍🏽 liebt Köln und São Paulo!", ("Zoë", "person"), ("São Paulo", "place")),
        _row("杜甫住在成都。", ("杜甫", "person"), ("成都", "place")),
        _row("Nobody was there 🗻."),
    ]


def _row(text: str, *spans: tuple[str, str]) -> dict[str, Any]:
    """Return a row whose spans stand where they first occur."""
    places = [(text.index(part), text.index(part) + len(part), label) for part, label in spans]
    return {"text": text, "entities": places}


def learn(rows: Rows, options: Options) -> dict[str, Any]:
    """Learn the types, in alphabetical order.

    Example:
        >>> columns = {"text": ["Zoë sang."], "entities": [[(0, 3, "person")]]}
        >>> learn(Rows("a.jsonl", columns, [1]), Options())["labels"]
        ['person']
    """
    spans = rows.columns["entities"]
    labels = sorted({label for labelled in spans for _, _, label in labelled})
    if not labels:
        raise UserError(
            f"{rows.source}: no row has a labelled span; ner needs rows with spans to learn from"
        )
    return {"labels": labels}


def grow(facts: dict[str, Any], rows: Rows, options: Options) -> dict[str, Any]:
    """Return an earlier run's facts with the types of new rows; see `tfnlp.task.Task.grow`."""
    spans = rows.columns["entities"]
    return _labels.grown(facts, {label for labelled in spans for _, _, label in labelled})


def unusable_rows(rows: Rows, facts: dict[str, Any]) -> Iterator[BadRow]:
    """Yield the rows with a span of a type that training has not seen."""
    labels = [[label for _, _, label in spans] for spans in rows.columns["entities"]]
    return _labels.unseen_labels(
        Rows(rows.source, {"type": labels}, rows.numbers), "type", facts["labels"]
    )


def unlearnable(context: Context, rows: Rows) -> Iterator[BadRow]:
    """Yield the rows with spans that begin or end within a word; only whole ones are found."""
    from pipelines.encoding import words

    texts, several = rows.columns["text"], rows.columns["entities"]
    labelled = [i for i, spans in enumerate(several) if spans]
    places = words.places(context.tokenizer, [texts[i] for i in labelled])
    for i, untrimmed in zip(labelled, places, strict=True):
        found = [trimmed(texts[i], *place) for place in untrimmed]
        begins, ends = {first for first, _ in found}, {last for _, last in found}
        for start, end, label in several[i]:
            if start not in begins or end not in ends:
                around = [texts[i][a:b] for a, b in found if a < end and start < b]
                yield BadRow(
                    rows.numbers[i],
                    f"span {start}-{end} {label!r} is {texts[i][start:end]!r} within "
                    f"{' '.join(around)!r}",
                )
                break


def encode(context: Context, raw: Tensors) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    """Lay the texts out in windows.

    Returns:
        ``token_ids``, ``segment_ids`` and ``padding_mask``, int32 (B, W, T); and where the words
        are, in the text and in the windows: see pipelines.encoding.tagging.

    Example::

        features, offsets = encode(context, {"text": tf.constant(["Zoë sang."])})
        features["token_ids"].shape  # (1, W, T)
    """
    from pipelines.encoding import tagging

    return tagging.encode(
        context.tokenizer, raw["text"], context.max_length, context.options.overlap
    )


def encode_targets(
    context: Context, raw: Tensors, features: Tensors, offsets: Tensors
) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Return of each word its tag, -1 beyond a row's words, window and place: int32 (B, N, 3)."""
    import tensorflow as tf

    from pipelines.encoding import tagging

    spans = {name: raw[f"entities/{name}"] for name in ("start", "end", "label")}
    tags = tagging.tags(spans, offsets, context.facts["labels"])
    return tf.stack([tags, offsets["window"], offsets["place"]], -1), None


def build(context: Context, backbone: keras.Model) -> keras.Model:
    """Build the model: outputs are a tag's logits at every token; see tfnlp.heads.token_tags."""
    from tfnlp.heads import token_tags

    options = context.options
    count = 1 + 2 * len(context.facts["labels"])
    return token_tags.head(backbone, count, dropout=options.head_dropout, with_crf=options.crf)


def objective(context: Context) -> Objective:
    """Log-likelihood of the tags; the best epoch has the highest F1 of whole spans."""
    from tfnlp.heads import token_tags

    crf = context.options.crf
    return Objective(
        token_tags.TagLoss(crf), [token_tags.SpanF1(crf)], monitor="val_f1", mode="max"
    )


def decode(
    context: Context, raw: Tensors, outputs: tf.Tensor, offsets: Tensors
) -> dict[str, tf.Tensor]:
    """Find the most likely legal tags of the whole text, and the spans they stand for.

    Returns:
        ``entities`` int32 (B,), how many, and of each, by start, ``entities/text`` string,
        exactly ``text[start:end]``, ``entities/type`` string, ``entities/start`` and
        ``entities/end`` int32 [characters], and ``entities/score`` float32: the mean, over the
        span's words, of their tag's probability given the whole text; all (B, M), padded.

    Example::

        answers = decode(context, raw, network(features), offsets)
        answers["entities/text"], answers["entities/type"]  # [[b"Marie Curie"]], [[b"person"]]

    Source: Lample et al. 2016, section 2.2 (https://arxiv.org/abs/1603.01360); probabilities by
        forward-backward, Rabiner 1989, section III (https://doi.org/10.1109/5.18626).
    """
    import tensorflow as tf

    from pipelines.encoding import tagging
    from tfnlp.heads import crf, token_tags

    emissions, *moves = token_tags.scores_of(
        outputs, offsets["window"], offsets["place"], context.options.crf
    )
    tags = crf.viterbi(emissions, offsets["count"], *moves)
    shares = crf.marginals(emissions, offsets["count"], *moves)
    score = tf.gather(shares, tags, batch_dims=2)
    return tagging.entities(raw["text"], offsets, tags, score, context.facts["labels"])


def report(context: Context, rows: Rows, answers: Arrays) -> Report:
    """F1 of whole spans, by type too; errors."""
    from pipelines.encoding import words
    from tfnlp.evaluation import spans

    # What cannot be seen belongs to a word for some tokenizers, and to no span of a file.
    lists = rows.columns["text"]
    found = [
        [(*trimmed(text, one["start"], one["end"]), one["type"]) for one in entities]
        for text, entities in zip(lists, answers["entities"], strict=True)
    ]
    places = [
        [trimmed(text, *place) for place in several]
        for text, several in zip(lists, words.places(context.tokenizer, lists), strict=True)
    ]
    return spans.report(
        lists,
        rows.columns["entities"],
        found,
        places,
        context.facts["labels"],
    )


def baseline(context: Context, train: Rows, rows: Rows) -> Fitted:
    """Return the spans that a linear SVM finds, by what words begin and end with and by context."""
    from tfnlp.evaluation import linear

    columns = train.columns
    return linear.spans(columns["text"], columns["entities"], rows.columns["text"])


TASK = Task(
    summary="labelled spans of a text: names, parts of speech, slots",
    dataset="finance-ner",
    options=Options,
    input_columns=lambda options: (_pooled_text.TEXT,),
    target_columns=lambda options: (ENTITIES,),
    sample=sample,
    learn=learn,
    grow=grow,
    unusable_rows=unusable_rows,
    unlearnable=unlearnable,
    encode=encode,
    encode_targets=encode_targets,
    build=build,
    objective=objective,
    decode=decode,
    report=report,
    baseline=baseline,
    reading="parts",
    decodes_from_ids=False,
    explaining=_explained_spans.entities(),
)
