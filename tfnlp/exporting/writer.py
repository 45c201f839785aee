"""A trained model to a SavedModel that takes strings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from pipelines import checksums
from pipelines.atomic import add_version
from pipelines.errors import UserError, reason
from pipelines.files.writers import write_json
from tfnlp.exporting.warmup import write_model_warmup
from tfnlp.inference import serving_ops
from tfnlp.inference.saved_model import HEADS, INPUTS, SETTINGS
from tfnlp.runtime import precision
from tfnlp.task import to_json

if TYPE_CHECKING:
    import tensorflow as tf

    from pipelines.rows import Column
    from tfnlp.task import Task
    from tfnlp.training.model import TrainedModel

SERVING_VERSION = "2.12"
# Files beside the graph that are read again, by `checksums`.
_CHECKED = (
    *("fingerprint.pb", "facts.json", INPUTS, SETTINGS, HEADS),
    *("assets.extra/tokenizer", "assets.extra/target_tokenizer"),
)
Signature: TypeAlias = tuple[Callable, "list[tf.TensorSpec]"]  # a function, and what it takes
Answer: TypeAlias = "Callable[[Mapping[str, tf.Tensor]], dict[str, tf.Tensor]]"


def export(model: TrainedModel, metrics: Mapping[str, Any], card: str) -> Path:
    """Write the next version of a SavedModel; returns ``<saved_models>/<name>/<version>``.

    The signatures are ``serving_default`` (strings) and, where the task has them, ``tokens``
    (ids), further ways in from strings, and ``classify`` and ``regress`` (serialized
    tf.Examples, for TF Serving's methods); with --export-explain ``explain``.

    Args:
        model: trained and calibrated.
        metrics: what the evaluation found, kept as metrics.json.
        card: the model card, Markdown.

    Raises:
        UserError: the folder cannot be written, or the graph has an op that TF Serving lacks.
    """
    from tfnlp.training.model import merged

    name = model.experiment.name

    def beside(folder: Path) -> None:
        write_model_warmup(folder, model)
        _write_beside(folder, model, metrics, card)

    with merged(model) as whole:
        module = traced([whole], _signatures(whole))
        return write(Path(model.experiment.export.saved_models) / name, *module, beside)


def write(
    parent: Path,
    module: tf.Module,
    signatures: Mapping[str, Callable],
    beside: Callable[[Path], None],
) -> Path:
    """Write a SavedModel as the next version below ``parent``, whole or not at all.

    Args:
        parent: the folder of versions.
        module: holds the weights and resources.
        signatures: tf.functions by name.
        beside: writes what else the version's folder is to hold.

    Raises:
        UserError: as :func:`export`.

    Example::

        write(Path("saved_models/trec"), module, {"serving_default": respond}, lambda folder: None)
    """
    import tensorflow as tf

    def save(folder: Path) -> None:
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        with precision.exact():  # saving traces calls, each of which has its precision in it
            tf.saved_model.save(module, str(folder), signatures, options)
        _prepare(folder)
        serving_ops.check(folder, SERVING_VERSION)
        beside(folder)
        checksums.write(folder, _CHECKED)

    try:
        parent.mkdir(parents=True, exist_ok=True)
        return add_version(parent, save)
    except (OSError, tf.errors.OpError) as error:
        raise UserError(
            f"cannot write the SavedModel in {parent}: {reason(error)} (what was trained is kept "
            "in its run: python -m tfnlp.export RUN --saved-models FOLDER writes it elsewhere)"
        ) from error


def traced(
    models: Sequence[TrainedModel], signatures: Mapping[str, Signature]
) -> tuple[tf.Module, dict[str, Callable]]:
    """Return a module that holds the weights of models, each once, and their ways in, traced.

    The module holds the variables and nothing else of Keras: tracking the Keras model would
    write every weight twice, under ``variables`` and under ``_all_variables``.

    Args:
        models: whose functions are called.
        signatures: by name the ways in.

    Example::

        write(Path("saved_models/trec"), *traced([model], signatures), lambda folder: None)
    """
    import tensorflow as tf

    module = tf.Module(name="tfnlp")
    every = [weight.value for model in models for weight in model.network.weights]
    module.weights = list({id(variable): variable for variable in every}.values())
    # Concrete, or saving would trace them all once more. A tokenizer makes its resources by that.
    with precision.exact():  # and not as this machine's processor would like it
        found = {
            key: tf.function(call, spec, autograph=False).get_concrete_function()
            for key, (call, spec) in signatures.items()
        }
    module.resources = [thing for model in models for thing in model.context.resources]
    return module, found


def _signatures(model: TrainedModel) -> dict[str, Signature]:
    """Return every way into a model by name."""
    from tfnlp.training.model import columns

    task, context = model.task, model.context
    inputs = columns(model.experiment, task, targets=False)
    answer = partial(_answer, model)
    found = {"serving_default": from_strings(answer, inputs)}
    found |= {
        name: from_strings(answer, own) for name, own in task.extra_inputs(context.options).items()
    }
    if task.writing:
        found |= task.writing.setting_signatures(context, model.network)
    further = task.setting_signatures(context, model.network)
    found |= {name: (call, spec) for name, (call, spec, _) in further.items()}
    if explains(model):
        found["explain"] = explained(model, inputs)
    if task.decodes_from_ids:
        found["tokens"] = _from_tokens(model)
    return found | from_examples(task, answer, inputs)


def _answer(model: TrainedModel, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Return the answers to texts, string (B,) each, by the task's own ops."""
    task, context, network = model.task, model.context, model.network
    if task.writing:
        return task.writing.generate(context, network, raw)
    features, offsets = task.encode(context, raw)
    return task.decode(context, raw, network(features, training=False), offsets)


def from_strings(answer: Answer, columns: Sequence[Column]) -> Signature:
    """Return the way in from a string for each column.

    Args:
        answer: from strings (B,) by name to answers.
        columns: the names.

    Example::

        signatures = {"serving_default": from_strings(model.respond, columns)}
    """
    import tensorflow as tf

    names = [column.name for column in columns]

    def from_texts(*texts: tf.Tensor) -> dict[str, tf.Tensor]:
        return answer(dict(zip(names, texts, strict=True)))

    return from_texts, [tf.TensorSpec([None], tf.string, name) for name in names]


def explains(model: TrainedModel) -> bool:
    """Return whether the SavedModel gets a signature that explains, which one answer a text has.

    Example::

        explains(model)  # True of --task classification with --export-explain
    """
    wanted, explaining = model.experiment.export.export_explain, model.task.explaining
    return bool(wanted and explaining and explaining.chosen)


def explained(model: TrainedModel, columns: Sequence[Column]) -> Signature:
    """Return the way in from strings to an answer and what each word did for it.

    Example::

        explained(model, columns)  # by the method that --explain-by names
    """
    import tensorflow as tf

    from tfnlp.extensions import Explanation, load

    entry = load(Explanation, model.experiment.export.explain_by)
    assert entry.in_graph is not None  # of those that the option allows
    explain = entry.in_graph(model)
    names = [column.name for column in columns]

    def from_texts(*texts: tf.Tensor) -> dict[str, tf.Tensor]:
        return explain(dict(zip(names, texts, strict=True)))

    return from_texts, [tf.TensorSpec([None], tf.string, name) for name in names]


def _from_tokens(model: TrainedModel) -> Signature:
    """Return the way in from what the network reads, for clients with a tokenizer of their own."""
    import tensorflow as tf

    ids = [tf.TensorSpec(x.shape, tf.int32, x.name) for x in model.network.inputs]

    def from_tokens(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        features = {spec.name: tensor for spec, tensor in zip(ids, inputs, strict=True)}
        outputs = model.network(features, training=False)
        return model.task.decode(model.context, {}, outputs, {})

    return from_tokens, ids


def from_examples(task: Task, answer: Answer, columns: Sequence[Column]) -> dict[str, Signature]:
    """Return the ways in from serialized tf.Examples, by which TF Serving classifies and regresses.

    Args:
        task: says which of them there are.
        answer: from strings (B,) by name to answers.
        columns: the features of an example, a text each.

    Example::

        signatures |= from_examples(model.task, model.respond, columns)
    """
    import tensorflow as tf

    features = {column.name: tf.io.FixedLenFeature([], tf.string) for column in columns}

    def way(results: Callable[[dict], dict[str, tf.Tensor]]) -> Signature:
        def from_serialized(examples: tf.Tensor) -> dict[str, tf.Tensor]:
            return results(answer(tf.io.parse_example(examples, features)))

        return from_serialized, [tf.TensorSpec([None], tf.string, "inputs")]

    found = {}
    if classify := task.classify:
        named = ("classes", "scores")
        found["classify"] = way(lambda given: dict(zip(named, classify(given), strict=True)))
    if regress := task.regress:
        found["regress"] = way(lambda given: {"outputs": regress(given)})
    return found


def _prepare(folder: Path) -> None:
    """Name the methods that TF Serving asks for, and no gradients, for a served graph has none.

    An operation with a gradient written in Python, such as ``tf.nn.silu`` in Llama's layers, names
    it, and TensorFlow warns of each name whenever the graph is loaded.
    """
    path = folder / "saved_model.pb"
    saved = serving_ops.read(folder)
    graph = saved.meta_graphs[0]
    for key in ("classify", "regress"):
        if key in graph.signature_def:
            graph.signature_def[key].method_name = f"tensorflow/serving/{key}"
    for node in serving_ops.every_node(graph):
        node.attr.pop("_gradient_op_type", None)
    path.write_bytes(saved.SerializeToString(deterministic=True))


def _write_beside(folder: Path, model: TrainedModel, metrics: Mapping[str, Any], card: str) -> None:
    """Write what a person or another program may want to know of the model."""
    from tfnlp.runs.experiment_yaml import write_yaml

    write_yaml(model.experiment, folder / "experiment.yaml")
    inputs = model.task.input_columns(model.context.options)
    write_json(folder / INPUTS, {column.name: column.kind for column in inputs})
    write_json(folder / "metrics.json", dict(metrics))
    write_json(folder / "facts.json", to_json(model.context, model.lengths))
    (folder / "README.md").write_text(card, "utf-8")
    vocabulary = folder / "assets.extra" / "tokenizer"  # TF Serving does not look at extra assets
    vocabulary.mkdir(parents=True)
    model.context.tokenizer.save(vocabulary)
    if model.context.target:
        model.context.target.save(folder / "assets.extra" / "target_tokenizer")
    if model.task.writing:
        settings = model.task.writing.settings(model.context.options)
        own = {"decoding": model.context.options.decoding}
        write_json(folder / SETTINGS, {"serving_default": own, **settings})
    elif further := model.task.setting_signatures(model.context, model.network):
        own = {name: values for name, (_, _, values) in further.items()}
        write_json(folder / SETTINGS, {"serving_default": {}, **own})
    if "labels" in model.context.facts:  # a line each; facts.json has them to the letter
        lines = (" ".join(str(label).split()) for label in model.context.facts["labels"])
        (folder / "labels.txt").write_text("".join(f"{line}\n" for line in lines), "utf-8")
