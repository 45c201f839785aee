"""A causal language model on plain text, or on prompts and their responses.

Plain texts are joined, in their order, and cut into blocks without padding; a request is the
beginning of a text, and the answer continues it. With ``--pair`` a request is a prompt, put into
the backbone's chat template, and only responses are learned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pipelines.errors import UserError
from pipelines.rows import Column, Rows
from tfnlp.generation import signatures
from tfnlp.generation.options import WritingOptions, requested, settings
from tfnlp.needs import Need
from tfnlp.options import option
from tfnlp.report import Report
from tfnlp.task import Arrays, Context, Task, Tensors, Writing
from tfnlp.tasks import _text_to_text
from tfnlp.tasks._text_to_text import TextToText

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from pipelines.tokenizers.tokenizer import Tokenizer

TEXT = Column("text", "text", "the text", ("sentence", "content", "document"))
PROMPT = Column("prompt", "text", "what is asked", ("instruction", "question", "input"))
RESPONSE = Column("response", "text", "what is answered", ("completion", "answer", "output"))
PAIR = TextToText(PROMPT, RESPONSE, headline="rougeL", keep="last")


@dataclass(frozen=True)
class Options(WritingOptions):
    """Options of language modelling.

    Example::

        python -m tfnlp.train --task language_model --train notes.txt --top-p 0.8 --temperature 0.7
    """

    pair: bool = option(False, "rows are a prompt and its response")
    unit: Literal["block", "row"] = option(
        "block",
        "an example: a block of joined texts, or one text, of the longest read",
        needs=Need(
            lambda known: not known.options.pair,
            "has no effect with --pair, where each row is an example",
        ),
    )
    separator: Literal["end", "line"] = option(
        "end",
        "what separates texts: the end of a document, or a line break (texts are lines of one)",
        needs=Need(
            lambda known: not known.options.pair and known.options.unit == "block",
            "has no effect on texts that are not joined, as with --pair or --unit row",
        ),
    )
    label_smoothing: float = option(
        0.0,
        "probability taken from the target token and spread over all tokens",
        minimum=0.0,
        maximum=0.9,
    )
    decoding: Literal["greedy", "sample", "beam", "contrastive"] = option(
        "sample", "how serving_default and evaluation choose tokens"
    )
    top_p: float = option(
        0.9,
        "nucleus sampling: keep the smallest set of tokens whose probabilities sum to this",
        minimum=0.01,
        maximum=1.0,
    )
    judged: int = option(
        100,
        "rows of a split whose generated texts are evaluated [rows]",
        minimum=1,
        needs=Need(
            lambda known: known.options.pair,
            "has no effect without --pair, for texts alone have no answers to compare with",
            "give --pair",
        ),
    )


def sample(options: Options) -> list[dict[str, Any]]:
    """Return four rows."""
    pairs = [
        ("What is the capital of France?", "The capital of France is Paris."),
        ("Name a fruit.", "An apple is a fruit."),
        ("How many legs has a spider?", "A spider has eight legs."),
        ("What do bees make?", "Bees make honey and wax."),
    ]
    if options.pair:
        return [{"prompt": prompt, "response": response} for prompt, response in pairs]
    return [{"text": f"{prompt} {response}"} for prompt, response in pairs]


def vocabulary(rows: Rows, options: Options, tokenizer: Tokenizer | None) -> Tokenizer | None:
    """Learn the vocabulary of a model from scratch.

    Example::

        tokenizer = vocabulary(train, Options(vocabulary_size=2000), None)
    """
    from pipelines.tokenizers import vocabularies

    if options.pair:
        return PAIR.vocabulary(rows, options, tokenizer)
    return vocabularies.learn(rows.columns["text"], options.vocabulary_size, seed=0)


def pack(context: Context, rows: Rows) -> dict[str, tf.Tensor]:
    """Join texts and cut them into ``blocks``, int32 (N, T + 1); prompts stay rows.

    Of the tokens of a block all but the first are predicted, and the last is the first of the
    next: each is predicted once.

    Example::

        pack(context, rows)["blocks"].shape  # (N, max_length + 1)
    """
    import tensorflow as tf

    from pipelines import batching
    from pipelines.encoding import packing, prompts, single_sentences

    if context.options.pair:
        return batching.tensors(rows, (PROMPT, RESPONSE))
    tokenizer, texts, length = context.tokenizer, rows.columns["text"], context.max_length
    start = prompts.document_id(tokenizer)
    line = prompts.line_ids(tokenizer) if context.options.separator == "line" else [start]
    if context.options.unit == "row":
        blocks = single_sentences.rows(tokenizer, texts, length, start=start, end=tokenizer.end_id)
    else:
        blocks = packing.stream(tokenizer, texts, length, start=start, between=line)
    if not len(blocks):
        raise UserError(f"{rows.source} has no text to learn from; every row is empty")
    return {"blocks": tf.constant(blocks)}


def encode(context: Context, raw: Tensors) -> tuple[dict, dict]:
    """Read blocks, prompts with responses, or a request.

    Returns:
        ``token_ids`` and ``padding_mask``, int32 (B, T), or of a request ``prompt``, int32 (B, P),
        and ``prompt_lengths``; ``lost``, int64 (B,), tokens of a request that are not read, the
        first ones; and ``labels``, int32 (B, T), the token after each place, -1 for none.

    Example::

        features, offsets = encode(context, {"text": tf.constant(["Once upon a time"])})
        features["prompt"]  # the start of a document, and the text's tokens: (1, P)
    """
    import tensorflow as tf

    from pipelines.encoding import masking, prompts

    if context.options.pair:
        return PAIR.encode(context, raw)
    tokenizer = context.tokenizer
    if "blocks" in raw:
        there = raw["blocks"] != masking.NOTHING
        longest = tf.reduce_max(tf.reduce_sum(tf.cast(there, tf.int32), 1))
        there, blocks = there[:, :longest], raw["blocks"][:, :longest]
        ids = tf.where(there, blocks, tokenizer.pad_id)[:, :-1]
        features = {"token_ids": ids, "padding_mask": tf.cast(there[:, :-1], tf.int32)}
        lost = tf.zeros(tf.shape(ids)[:1], tf.int64)
        return features, {"lost": lost, "labels": blocks[:, 1:]}
    ids = tf.cast(tokenizer.tokenize(raw["text"]), tf.int32)
    start = [prompts.document_id(tokenizer)]
    asked, lost = prompts.between(start, ids, [], context.max_length, "last")
    return _text_to_text.prompted(tokenizer, asked), {"lost": lost}


def generate(context: Context, network: keras.Model, raw: Tensors) -> dict[str, tf.Tensor]:
    """Answer a request; see `generation.generate`."""
    names = [column.name for column in input_columns(context.options)]
    features, offsets = encode(context, {name: raw[name] for name in names})
    given = requested(raw, context.options)
    return signatures.generate(context, network, features, offsets["lost"], given)


def setting_signatures(context: Context, network: keras.Model) -> dict[str, Any]:
    """Return the signatures that take settings."""
    names = tuple(column.name for column in input_columns(context.options))
    return signatures.with_settings(context, network, names, encode)


def input_columns(options: Options) -> tuple[Column, ...]:
    """Return the raw columns of a request."""
    return (PROMPT,) if options.pair else (TEXT,)


def report(context: Context, rows: Rows, answers: Arrays) -> Report:
    """Compare responses with the references; of plain text, report the likelihood."""
    from tfnlp.evaluation import language_modeling

    if context.options.pair:
        return PAIR.report(context, rows, answers)
    texts = rows.columns["text"]
    lines = len(texts) if context.options.separator == "line" else 0
    words = sum(len(text.split()) for text in texts) + lines
    return language_modeling.language_model(
        answers["loss"], answers["target_tokens"], words, sum(map(len, texts)) + lines
    )


TASK = Task(
    summary="a causal language model: continues a text, or answers a prompt",
    dataset="wikitext2",
    options=Options,
    input_columns=input_columns,
    target_columns=lambda options: (RESPONSE,) if options.pair else (),
    sample=sample,
    learn=lambda rows, options: {},
    unusable_rows=_text_to_text.all_usable,
    pack=pack,
    encode=encode,
    encode_targets=PAIR.encode_targets,
    build=_text_to_text.build,
    objective=_text_to_text.objective,
    decode=_text_to_text.decode,
    report=report,
    decodes_from_ids=False,
    writing=Writing(
        vocabulary=vocabulary,
        generate=generate,
        settings=settings,
        setting_signatures=setting_signatures,
        max_tokens=lambda options: options.max_tokens,
    ),
    backbones=("causal",),
    defaults={
        "backbone": {"name": "smollm2-135m"},
        "optimizer": {"learning_rate": 5e-5},
        "training": {"batch_size": 8, "epochs": 1},
    },
)
