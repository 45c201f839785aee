"""How a trained network writes: its options, and its SavedModel's signatures.

Dimensions: B batch, P tokens of the longest prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

from tfnlp.options import option
from tfnlp.task import Context, Tensors

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfnlp.decoding import Network, Stop

Way = Literal["sample", "beam", "contrastive"]

_CACHED: WeakKeyDictionary[keras.Model, Network] = WeakKeyDictionary()

# Settings of each way to write, and of all. Their names are those of the options below.
_ALL = ("max_tokens", "min_tokens", "repetition_penalty", "no_repeat_ngram", "stop")
_OWN: dict[Way, tuple[str, ...]] = {
    "sample": ("temperature", "top_k", "top_p", "sampling_seed"),
    "beam": ("beams", "length_penalty"),
    "contrastive": ("top_k", "alpha"),
}
# What a request may ask for; what lies beyond is taken for the nearest.
_LIMITS: dict[str, tuple[Any, Any]] = {
    "max_tokens": (0, 2**20),
    "min_tokens": (0, 2**20),
    "repetition_penalty": (0.1, 100.0),
    "no_repeat_ngram": (0, 1000),
    "temperature": (0.0, 100.0),
    "top_k": (0, 2**20),
    "top_p": (0.01, 1.0),
    "beams": (1, 64),
    "length_penalty": (-10.0, 10.0),
    "alpha": (0.0, 1.0),
}
_COMPARED = 5  # tokens, where the options say none in particular


@dataclass(frozen=True)
class Options:
    """Options of a task that writes."""

    max_length: int = option(128, "longest text that is read [tokens]", minimum=8)
    max_tokens: int = option(64, "longest text that is written [tokens]", minimum=1)
    min_tokens: int = option(0, "shortest text that is written [tokens]", minimum=0)
    decoder_layers: int | None = option(
        None, "layers of the decoder put on an encoder; as many as it has if not given", minimum=1
    )
    target_vocabulary: Literal["auto", "backbone", "learned"] = option(
        "auto",
        "what an encoder's decoder writes with: the backbone's vocabulary, one learned from the "
        "targets, or the first if it can spell them",
    )
    vocabulary_size: int = option(8000, "pieces of a vocabulary that is learned", minimum=100)
    label_smoothing: float = option(
        0.1, "share of each target that goes to all tokens alike", minimum=0.0, maximum=0.9
    )
    decoding: Literal["greedy", "sample", "beam", "contrastive"] = option(
        "beam", "how serving_default and evaluation choose tokens"
    )
    beams: int = option(4, "beam search: hypotheses kept", minimum=1, maximum=64)
    length_penalty: float = option(
        1.0,
        "beam search: power of the length that a hypothesis's score is divided by",
        minimum=-10.0,
        maximum=10.0,
    )
    temperature: float = option(
        1.0, "sampling: below 1 likelier tokens, above 1 more even ones; 0 is greedy", minimum=0.0
    )
    top_k: int = option(
        0, "sampling: of this many likeliest tokens, 0 is all; contrastive: compared", minimum=0
    )
    top_p: float = option(
        1.0, "sampling: of the likeliest that make up this share", minimum=0.01, maximum=1.0
    )
    alpha: float = option(
        0.6, "contrastive search: what likeness to earlier tokens costs", minimum=0.0, maximum=1.0
    )
    repetition_penalty: float = option(
        1.0, "what the logits of tokens that stand there already are divided by", minimum=0.1
    )
    no_repeat_ngram: int = option(
        0, "no sequence of so many tokens is written twice; 0 is any", minimum=0
    )
    stop: str | None = option(None, "texts that end an answer, || between several")
    sampling_seed: int = option(
        0, "the seed of answers by chance, where a request has none", minimum=0, maximum=2**31 - 1
    )
    judged: int = option(
        500, "rows of a split for which texts are written and compared [rows]", minimum=1
    )


def settings(options: Options) -> dict[str, dict[str, Any]]:
    """Return, by signature, the settings that a request may have, with their values otherwise."""
    fixed = {name: getattr(options, name) for own in (*_OWN.values(), _ALL) for name in own}
    fixed["stop"] = options.stop or ""
    found: dict[str, dict[str, Any]] = {
        way: {name: fixed[name] for name in (*own, *_ALL)} for way, own in _OWN.items()
    }
    found["contrastive"]["top_k"] = options.top_k or _COMPARED
    return found


def generate(
    context: Context,
    network: keras.Model,
    features: Tensors,
    lost: tf.Tensor,
    given: Tensors,
    way: Way | None = None,
) -> dict[str, tf.Tensor]:
    """Write an answer to each prompt.

    Args:
        context: with ``form`` and ``positions`` in its facts.
        network: trained.
        features: what the network reads, ``prompt`` int32 (B, P) and ``prompt_lengths`` (B,).
        lost: int64 (B,), tokens of each text that are not among them.
        given: settings of a request, (B,) each, by name; others are as in the options.
        way: how tokens are chosen; None is as in the options.

    Returns:
        ``generated``, string (B,); ``score``, float32 (B,), the mean log-probability of its tokens
        [nats]; ``tokens``, int32 (B,), how many it has; and ``cut``, int32 (B,), tokens of the
        text that were not read.
    """
    import tensorflow as tf

    from tfnlp import decoding, searches

    options = context.options
    chosen: Way = way or ("sample" if options.decoding == "greedy" else options.decoding)
    wanted = _settings(context, features, given, chosen)
    if way is None and options.decoding == "greedy":
        wanted["temperature"] = tf.zeros_like(wanted["temperature"])
    loops: dict[Way, Callable[[Network, Stop], Any]] = {
        "sample": decoding.Sampler,
        "beam": searches.BeamSearch,
        "contrastive": searches.ContrastiveSearch,
    }
    stop = ends(context)
    found = loops[chosen](cached(context, network), stop).write(features, wanted)
    return _told(found, stop, wanted["stop"], lost)


def _told(found: Any, stop: Stop, words: tf.Tensor, lost: tf.Tensor) -> dict[str, tf.Tensor]:
    """Turn what was written into answers."""
    import tensorflow as tf

    from tfnlp import decoding

    return {
        "generated": decoding.before_stop(stop.detokenize(found.ids), words),
        "score": found.score,
        "tokens": tf.cast(found.ids.row_lengths(), tf.int32),
        "cut": tf.cast(lost, tf.int32),
    }


def _settings(
    context: Context, features: Tensors, given: Tensors, way: Way
) -> dict[str, tf.Tensor]:
    """Return each row's settings; no answer goes beyond the positions that the model has."""
    import tensorflow as tf

    lengths = features["prompt_lengths"]
    wanted: dict[str, tf.Tensor] = {}
    for name, value in settings(context.options)[way].items():
        wanted[name] = given[name] if name in given else tf.fill(tf.shape(lengths), value)
    for name, (least, most) in _LIMITS.items():
        if name in wanted:
            wanted[name] = tf.clip_by_value(wanted[name], least, most)
    room = context.facts["positions"] - lengths
    wanted["max_tokens"] = tf.minimum(wanted["max_tokens"], room)
    if "sampling_seed" in wanted:
        wanted["seed"] = wanted.pop("sampling_seed")
    return wanted


def cached(context: Context, network: keras.Model) -> Network:
    """Return a network as the loops ask for it, its step one function for all of them.

    Written out in each loop of a SavedModel's signatures, the layers would take more room than
    small models' weights.
    """
    if network not in _CACHED:
        import tensorflow as tf

        made = _cached(context, network)
        made.step = tf.function(made.step, autograph=False, reduce_retracing=True)  # type: ignore[method-assign]
        _CACHED[network] = made
    return _CACHED[network]


def _cached(context: Context, network: keras.Model) -> Network:
    """Return a network as the loops ask for it."""
    from tfnlp.heads import causal_lm, decoder

    forms: dict[str, Callable[[keras.Model], Network]] = {
        "causal": causal_lm.Cached,
        "encoder": decoder.Cached,
        "encoder-decoder": decoder.CachedHub,
    }
    return forms[context.facts["form"]](network)


def ends(context: Context) -> Stop:
    """Say what ends an answer."""
    from pipelines.encoding import prompts
    from tfnlp.decoding import Stop

    tokenizer = context.writes
    ids = {tokenizer.end_id, prompts.document_id(tokenizer)}
    return Stop(tuple(sorted(ids)), tokenizer.pad_id, tokenizer.detokenize)


def calls(
    context: Context,
    network: keras.Model,
    names: tuple[str, ...],
    encode: Callable[[Context, Tensors], tuple[dict, dict]],
) -> dict[str, tuple[Callable, list[tf.TensorSpec]]]:
    """Return a SavedModel's signatures whose requests have settings.

    ``sample``, ``beam`` and ``contrastive`` take texts and settings, one of each a row. ``start``
    takes what ``sample`` takes and returns what was written so far, nothing, and a state, which
    ``advance`` takes with ``steps`` and returns, further on: so answers are shown as they come.

    Args:
        context: of the trained model.
        network: the trained model.
        names: the columns of texts.
        encode: the task's.
    """
    import tensorflow as tf

    from tfnlp import decoding

    made: dict[str, tuple[Callable, list[tf.TensorSpec]]] = {}

    def specs(way: Way) -> list[tf.TensorSpec]:
        texts = [tf.TensorSpec([None], tf.string, name) for name in names]
        values = settings(context.options)[way].items()
        return [*texts, *(tf.TensorSpec([None], _dtype(v), name) for name, v in values)]

    def read(way: Way, inputs: tuple[tf.Tensor, ...]) -> tuple[dict, tf.Tensor, dict]:
        named = dict(zip((spec.name for spec in specs(way)), inputs, strict=True))
        features, offsets = encode(context, {name: named[name] for name in names})
        return features, offsets["lost"], named

    def writer(way: Way) -> Callable:
        def write(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            features, lost, named = read(way, inputs)
            return generate(context, network, features, lost, named, way)

        return write

    for way in _OWN:
        made[way] = (writer(way), specs(way))
    stop = ends(context)
    sampler = decoding.Sampler(cached(context, network), stop)

    def shown(state: Any) -> dict[str, tf.Tensor]:
        found = _told(sampler.end(state), stop, state["settings"]["stop"], state["lost"])
        kept = {_name(i): value for i, value in enumerate(tf.nest.flatten(state))}
        return {**found, **kept, "done": state["done"]}

    def begin(inputs: tuple[tf.Tensor, ...]) -> dict[str, Any]:
        features, lost, named = read("sample", inputs)
        wanted = _settings(context, features, named, "sample")
        return {**sampler.begin(features, wanted), "lost": lost}

    start = tf.function(lambda *inputs: begin(inputs), specs("sample"), autograph=False)
    layout = start.get_concrete_function().structured_outputs
    # A loop must find its tensors in the shapes in which it leaves them.
    flat = [tf.TensorSpec([None] * s.shape.rank, s.dtype) for s in tf.nest.flatten(layout)]
    state_specs = [tf.TensorSpec(s.shape, s.dtype, _name(i)) for i, s in enumerate(flat)]

    def advance(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        state = tf.nest.pack_sequence_as(layout, inputs[:-1])
        return shown(sampler.advance(state, inputs[-1]))

    made["start"] = (lambda *inputs: shown(begin(inputs)), specs("sample"))
    made["advance"] = (advance, [*state_specs, tf.TensorSpec([], tf.int32, "steps")])
    return made


def _name(place: int) -> str:
    """Name a tensor of a loop's state."""
    return f"state_{place:03}"


def _dtype(value: Any) -> tf.DType:
    """Return the dtype of a setting."""
    import tensorflow as tf

    return {int: tf.int32, float: tf.float32, str: tf.string}[type(value)]


def requested(raw: Mapping[str, Any], options: Options) -> dict[str, Any]:
    """Take a request's settings out of its columns."""
    known = {name for values in settings(options).values() for name in values}
    return {name: value for name, value in raw.items() if name in known}
