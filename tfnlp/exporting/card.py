"""Model cards: what a model is, from what, how good, how to ask it.

Source: Mitchell et al. 2019, "Model cards for model reporting"
    (https://arxiv.org/abs/1810.03993).
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote as urlquote

from pipelines.columns import as_request
from tfnlp import __version__
from tfnlp.backbones import entry
from tfnlp.report import Table, markdown, results
from tfnlp.training.model import TrainedModel, columns


def _room(model: TrainedModel) -> str:
    """Return how much of a text the model reads."""
    tokens = f"{model.context.max_length} tokens"
    options = model.experiment.options
    if model.task.writing:
        longest = model.task.writing.max_tokens(options)
        return f"{tokens} and writes up to {longest}; what goes beyond is cut"
    windows = model.task.windows(options)
    if model.task.reading == "parts":
        return f"{tokens} in each of as many windows as the text needs"
    return f"{tokens}{f' in each of {windows} windows' * (windows > 1)}; what goes beyond is cut"


def write(model: TrainedModel, metrics: Mapping[str, Any], tables: Sequence[Table]) -> str:
    """Return a model card in Markdown.

    Args:
        model: trained and calibrated.
        metrics: ``validation_untrained``, ``validation`` and ``test``, each name -> value;
            ``set_aside``, how many test rows are out of the training rows; and ``example``, a
            request: input -> text of the data; the task's sample if there is none.
        tables: the evaluation's tables.

    Example::

        card = write(model, {"validation": {"accuracy": 0.92}}, report.tables)
    """
    experiment, task = model.experiment, model.task
    data = experiment.data
    source = data.dataset or f"{data.train or data.labels} (the user's own)"
    labels = model.context.facts.get("labels")
    request = metrics.get("example") or sample(model)
    body = json.dumps({"instances": [request]}, ensure_ascii=False)
    parts = [
        f"# {experiment.name}",
        "",
        f"{task.summary[0].upper()}{task.summary[1:]}, fine-tuned by tfnlp {__version__}.",
        "",
        "## Model",
        "",
        f"- task: `{experiment.task}`",
        f"- backbone: {_backbone(experiment.backbone.name)}",
        f"- data: {source}{_set_aside(metrics)}",
        f"- reads {_room(model)}",
    ]
    if labels:
        shown = ", ".join(f"`{name}`" for name in labels[:60])
        parts.append(f"- labels ({len(labels)}): {shown}{', ...' if len(labels) > 60 else ''}")
    parts += ["", "## How good it is", "", markdown(results(metrics))]
    parts += [f"\n### {table.title}\n\n{markdown(table)}" for table in tables]
    parts += [
        "",
        "## How to ask it",
        "",
        "```",
        f"curl -d {shlex.quote(body)} "
        f"http://localhost:8501/v1/models/{urlquote(experiment.name)}:predict",
        "```",
        *_settings(model),
        "",
        "## In Python",
        "",
        *saved_model(request),
        *_keras(model),
        "",
        "## Limits",
        "",
        "It has seen only the data named above; on other text, in other languages or for other "
        "labels its scores say little. It was not checked for bias. Look at its errors before "
        "it decides anything about people.",
    ]
    return "\n".join(parts) + "\n"


def _set_aside(metrics: Mapping[str, Any]) -> str:
    """Return what is said of test rows that were taken out of the training rows, "" of others."""
    count = metrics.get("set_aside")
    return f"; {count} test rows were set aside from the training rows" if count else ""


def saved_model(request: Mapping[str, str]) -> list[str]:
    """Return lines on how the SavedModel is loaded, and asked for this request."""
    texts = (f"{name}=tf.constant([{_quoted(text)}])" for name, text in request.items())
    return [
        "In this folder, with TensorFlow and TF Text, whose import registers ops:",
        "",
        "```python",
        "import tensorflow as tf",
        "import tensorflow_text",
        "",
        'model = tf.saved_model.load(".").signatures["serving_default"]',
        f"model({', '.join(texts)})",
        "```",
    ]


def _quoted(text: str) -> str:
    """Return a text as Python has it, its letters as they are."""
    return json.dumps(text, ensure_ascii=False)


def _keras(model: TrainedModel) -> list[str]:
    """Return lines on how the Keras model is loaded; with ``--peft`` a run keeps no whole one."""
    if model.experiment.peft:
        return []
    if model.context.kind == "encoder":
        lines = [
            "import keras",
            "import tfnlp.heads",
            "",
            'network = keras.models.load_model("model/model.keras", compile=False)',
        ]
    else:
        lines = [
            "import keras_hub",
            "",
            'backbone = keras_hub.models.Backbone.from_preset("model/backbone")',
        ]
    told = "In the run's folder, the Keras model, which takes token ids:"
    return ["", told, "", "```python", *lines, "```"]


def sample(model: TrainedModel) -> dict[str, str]:
    """Return the task's own sample as a request.

    Example::

        sample(model)  # {"text": "Who wrote Hamlet?"}
    """
    row = model.task.sample(model.experiment.options)[0]
    wanted = columns(model.experiment, model.task, targets=False)
    return {column.name: as_request(row[column.name]) for column in wanted}


def _settings(model: TrainedModel) -> list[str]:
    """Return lines on the signatures whose requests have settings."""
    if model.task.writing is None:
        return []
    ways = model.task.writing.settings(model.experiment.options)
    lines = ["", "Further signatures take, with each text, how tokens are chosen:", ""]
    for way, values in ways.items():
        listed = ", ".join(f"`{name}` {json.dumps(value)}" for name, value in values.items())
        lines.append(f"- `{way}`: {listed}")
    return lines


def _backbone(name: str) -> str:
    """Name the backbone with its licence, if the catalog has it."""
    if name.replace("_", "-") not in entry.names():
        return f"`{name}`"
    found = entry.find(name)
    return f"`{name}` ({found.summary}; weights: {found.weights_licence})"
