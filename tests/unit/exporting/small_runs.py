"""Runs on a tiny BERT of random weights, as training leaves them."""

import json
from pathlib import Path

import keras
import keras_hub

from pipelines.rows import Rows
from tfnlp import task as tasks
from tfnlp.runs import storage
from tfnlp.runs.experiment_yaml import from_values, write_yaml
from tfnlp.training.model import prepare


def backbone(folder, layers=2, seed=0):
    """Write a BERT that reads single letters; returns its folder."""
    letters = [chr(i) for i in range(ord("a"), ord("z") + 1)]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "$", "#", *letters]
    vocabulary += [f"##{letter}" for letter in letters]
    keras.utils.set_random_seed(seed)
    keras_hub.models.BertBackbone(
        vocabulary_size=len(vocabulary),
        num_layers=layers,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        max_sequence_length=64,
    ).save_to_preset(str(folder))
    keras_hub.models.BertTokenizer(vocabulary, lowercase=True).save_to_preset(str(folder))
    return str(folder)


def model(name, task, on, seed=1, labels=None, peft=None, freeze_layers=0, **options):
    """Return a model that has learned nothing; with LoRA its product is not zero."""
    made = tasks.load(task)
    values = {
        "task": {"name": task, "max_length": 32, **options},
        "data": {"train": "sample.csv"},
        "backbone": {"name": on, "freeze_layers": freeze_layers},
        "name": name,
        "seed": seed,
        **({"peft": {"name": peft}} if peft else {}),
    }
    experiment = from_values(values, made.options, "the test")
    sample = made.sample(experiment.options)
    columns = {key: [row[key] for row in sample] for key in sample[0]}
    if labels:
        columns["label"] = [labels[i % len(labels)] for i in range(len(sample))]
    found = prepare(experiment, Rows("sample", columns, [1, 2, 3, 4]))
    for weight in found.network.trainable_weights:
        if weight.path.endswith("/b"):
            weight.assign(keras.random.normal(weight.shape, seed=seed))
    found.lengths.extend([16, 32])
    return found


def run(folder, *arguments, **options):
    """Keep a model as a run; returns the run's folder."""
    made = model(*arguments, **options)
    Path(folder).mkdir(parents=True)
    storage.save(made, Path(folder))
    write_yaml(made.experiment, Path(folder) / "experiment.yaml")
    metrics = {"test": {"accuracy": 0.5}, "validation": None, "example": None}
    (Path(folder) / "metrics.json").write_text(json.dumps(metrics))
    return str(folder)
