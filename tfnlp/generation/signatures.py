"""How a trained network writes: its options, and its SavedModel's signatures.

Dimensions: B batch, P tokens of the longest prompt.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from tfnlp.generation.options import LIMITS, MOST_COMPARED, OWN, Way, settings
from tfnlp.task import Context, Tensors

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from tfnlp.generation.sampling import Network, Stop


_CACHED: WeakKeyDictionary[keras.Model, Network] = WeakKeyDictionary()


def generate(
    context: Context,
    network: keras.Model,
    features: Tensors,
    lost: tf.Tensor,
    given: Tensors,
    way: Way | None = None,
) -> dict[str, tf.Tensor]:
    """Return an answer to each prompt.

    Args:
        context: of the trained model.
        network: trained.
        features: what the network reads, ``prompt`` int32 (B, P) and ``prompt_lengths`` (B,).
        lost: int64 (B,), tokens of each text that were cut.
        given: settings of a request, (B,) each, by name; others are as in the options.
        way: how tokens are chosen; None is as in the options.

    Returns:
        ``generated``, string (B,); ``score``, float32 (B,), the mean log-probability of its tokens
        [nats]; ``tokens``, int32 (B,), how many it has; and ``cut``, int32 (B,), tokens of the
        text that were not read.

    Example::

        answers = generate(context, network, features, lost, {"top_p": top_p}, "sample")
        answers["generated"]  # string (B,)
    """
    import tensorflow as tf

    from tfnlp.generation import sampling, search

    options = context.options
    chosen: Way = way or ("sample" if options.decoding == "greedy" else options.decoding)
    wanted = _settings(context, features, given, chosen)
    if way is None and options.decoding == "greedy":
        wanted["temperature"] = tf.zeros_like(wanted["temperature"])
    loops: dict[Way, Callable[[Network, Stop], Any]] = {
        "sample": sampling.Sampler,
        "beam": search.BeamSearch,
        "contrastive": search.ContrastiveSearch,
    }
    stop = ends(context, network)
    written = loops[chosen](cached(context, network), stop).write(features, wanted)
    return _answers(written, stop, wanted["stop"], lost)


def _answers(written: Any, stop: Stop, words: tf.Tensor, lost: tf.Tensor) -> dict[str, tf.Tensor]:
    """Return what was written as the outputs of a signature."""
    import tensorflow as tf

    from tfnlp.generation.answers import before_stop

    return {
        "generated": before_stop(stop.detokenize(written.ids), words),
        "score": written.score,
        "tokens": tf.cast(written.ids.row_lengths(), tf.int32),
        "cut": tf.cast(lost, tf.int32),
    }


def _settings(
    context: Context, features: Tensors, given: Tensors, way: Way
) -> dict[str, tf.Tensor]:
    """Return each row's settings, all in range: none may make the loop fail for its neighbours.

    No answer goes beyond the positions that the model has; not-a-number counts as not given.
    """
    import tensorflow as tf

    lengths = features["prompt_lengths"]
    wanted: dict[str, tf.Tensor] = {}
    for name, value in settings(context.options)[way].items():
        usual = tf.fill(tf.shape(lengths), value)
        told = given.get(name, usual)
        if told.dtype.is_floating:
            told = tf.where(tf.math.is_nan(told), usual, told)
        wanted[name] = told
    limits = {**LIMITS, **({"top_k": (1, MOST_COMPARED)} if way == "contrastive" else {})}
    for name, (least, most) in limits.items():
        if name in wanted:
            wanted[name] = tf.clip_by_value(wanted[name], least, most)
    room = context.positions - lengths
    wanted["max_tokens"] = tf.minimum(wanted["max_tokens"], room)
    if "sampling_seed" in wanted:
        wanted["seed"] = wanted.pop("sampling_seed")
    return wanted


def cached(context: Context, network: keras.Model) -> Network:
    """Return a network as the loops need it, in float32, its step one function for all of them.

    Written out in each loop of a SavedModel's signatures, the layers would take more room than
    small models' weights.

    Example::

        sampler = sampling.Sampler(cached(context, network), ends(context, network))
    """
    if network not in _CACHED:
        import tensorflow as tf

        from tfnlp.generation.keras_ops import in_float32

        made = _cached(context, network)
        # A context manager as a decorator enters anew at each call.
        step, made.prefill = in_float32(network)(made.step), in_float32(network)(made.prefill)  # type: ignore[method-assign]
        made.step = tf.function(step, autograph=False, reduce_retracing=True)  # type: ignore[method-assign]
        _CACHED[network] = made
    return _CACHED[network]


def forget(network: keras.Model) -> None:
    """Trace a network's steps anew, for it has other layers than when they were traced.

    Example::

        forget(network)
    """
    _CACHED.pop(network, None)


def _cached(context: Context, network: keras.Model) -> Network:
    """Return a network as the loops need it."""
    from tfnlp.heads import causal_lm, decoder

    forms: dict[str, Callable[[keras.Model], Network]] = {
        "causal": causal_lm.Cached,
        "encoder": decoder.Cached,
        "encoder-decoder": decoder.CachedHub,
    }
    return forms[context.kind](network)


def ends(context: Context, network: keras.Model) -> Stop:
    """Return the tokens that end an answer, those that are none, and how others are read.

    Args:
        context: of the trained model.
        network: the trained model, which may have logits beyond its vocabulary.

    Example::

        ends(context, network).ids  # (2,)
    """
    from pipelines.encoding import prompts
    from tfnlp.generation.sampling import Stop

    tokenizer = context.writes
    ids = {tokenizer.end_id, prompts.document_id(tokenizer)}
    beyond = range(tokenizer.vocabulary_size, network.output.shape[-1])
    never = {*tokenizer.special_ids, *beyond} - ids
    return Stop(tuple(sorted(ids)), tokenizer.pad_id, tokenizer.detokenize, tuple(sorted(never)))


def with_settings(
    context: Context,
    network: keras.Model,
    names: tuple[str, ...],
    encode: Callable[[Context, Tensors], tuple[dict, dict]],
) -> dict[str, tuple[Callable, list[tf.TensorSpec]]]:
    """Return a SavedModel's signatures whose requests have settings.

    ``sample``, ``beam`` and ``contrastive`` take texts and settings, one of each a row. ``start``
    takes what ``sample`` takes and returns an empty answer and a state; ``advance`` takes the state
    and ``steps``, and returns the answer so far and the new state: so answers are streamed.

    Args:
        context: of the trained model.
        network: the trained model.
        names: the columns of texts.
        encode: the task's.

    Returns:
        By signature, its function and the specs of its arguments.

    Example::

        signatures = with_settings(context, network, ("text",), encode)
        write, specs = signatures["sample"]
    """
    requests = _Requests(context, names, encode)
    whole: dict[str, Any] = {
        way: (_writer(requests, network, way), requests.specs(way)) for way in OWN
    }
    return {**whole, **_in_steps(requests, network)}


@dataclass(frozen=True)
class _Requests:
    """What a signature takes: texts, and the settings of a way to write, one of each a row.

    Attributes:
        context: of the trained model.
        names: the columns of texts.
        encode: the task's.
    """

    context: Context
    names: tuple[str, ...]
    encode: Callable[[Context, Tensors], tuple[dict, dict]]

    def specs(self, way: Way) -> list[tf.TensorSpec]:
        """Return the inputs of a signature, in their order."""
        import tensorflow as tf

        texts = [tf.TensorSpec([None], tf.string, name) for name in self.names]
        values = settings(self.context.options)[way].items()
        return [*texts, *(tf.TensorSpec([None], _dtype(v), name) for name, v in values)]

    def read(self, way: Way, inputs: tuple[tf.Tensor, ...]) -> tuple[dict, tf.Tensor, dict]:
        """Return the features of the texts, the tokens that were cut, and all inputs by name."""
        named = dict(zip((spec.name for spec in self.specs(way)), inputs, strict=True))
        features, offsets = self.encode(self.context, {name: named[name] for name in self.names})
        return features, offsets["lost"], named


def _writer(requests: _Requests, network: keras.Model, way: Way) -> Callable:
    """Return the function that writes whole answers in one way."""

    def write(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        features, lost, named = requests.read(way, inputs)
        return generate(requests.context, network, features, lost, named, way)

    return write


def _in_steps(
    requests: _Requests, network: keras.Model
) -> dict[str, tuple[Callable, list[tf.TensorSpec]]]:
    """Return the signatures ``start`` and ``advance``.

    A state is a nested structure of tensors; between the two it travels flat, as ``state_000`` on.
    """
    import tensorflow as tf

    from tfnlp.generation import sampling

    stop = ends(requests.context, network)
    sampler = sampling.Sampler(cached(requests.context, network), stop)

    def shown(state: Any) -> dict[str, tf.Tensor]:
        answers = _answers(sampler.end(state), stop, state["settings"]["stop"], state["lost"])
        kept = {_name(i): value for i, value in enumerate(tf.nest.flatten(state))}
        return {**answers, **kept, "done": state["done"]}

    def begin(*inputs: tf.Tensor) -> dict[str, Any]:
        features, lost, named = requests.read("sample", inputs)
        wanted = _settings(requests.context, features, named, "sample")
        return {**sampler.begin(features, wanted), "lost": lost}

    specs = requests.specs("sample")
    start = tf.function(begin, specs, autograph=False)
    layout = start.get_concrete_function().structured_outputs
    # A loop's tensors must enter in the shapes in which they leave.
    flat = [tf.TensorSpec([None] * s.shape.rank, s.dtype) for s in tf.nest.flatten(layout)]
    state_specs = [tf.TensorSpec(s.shape, s.dtype, _name(i)) for i, s in enumerate(flat)]

    def advance(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        state = tf.nest.pack_sequence_as(layout, inputs[:-1])
        return shown(sampler.advance(state, inputs[-1]))

    return {
        "start": (lambda *inputs: shown(begin(*inputs)), specs),
        "advance": (advance, [*state_specs, tf.TensorSpec([], tf.int32, "steps")]),
    }


def _name(place: int) -> str:
    """Name a tensor of a loop's state."""
    return f"state_{place:03}"


def _dtype(value: Any) -> tf.DType:
    """Return the dtype of a setting."""
    import tensorflow as tf

    return {int: tf.int32, float: tf.float32, str: tf.string}[type(value)]
