"""What make_artefacts.py runs with tfnlp 0.1.0 on PYTHONPATH; it imports the modules of that tree.

python in_old_tree.py backbones PIECES FOLDER | round RUN | interrupted FLAGS... | record
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
from questions import ASKED

HIDDEN, POSITIONS = 16, 64
SCRATCH_POSITIONS = 1024  # of --backbone scratch
SIZES = {"num_layers": 1, "num_heads": 2, "hidden_dim": HIDDEN, "intermediate_dim": 32}
CHAT = (
    "{% for message in messages %}{{ '<' + message['role'] + '>' + message['content'] + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)
EVALUATED = ("labels", "spans", "answers", "translated")
STOPPED_AT = (1, 5)  # epoch and its batch, counted from 0


def backbones(pieces: str, folder: str) -> None:
    """Write a backbone of each kind and layout, with random weights."""
    vocabulary = Path(pieces).read_text("utf-8").split()
    for make in (hugging_face, keras_hub_bert, causal, encoder_decoder):
        make(vocabulary, Path(folder))


def hugging_face(vocabulary: list[str], parent: Path) -> None:
    """BERT in Hugging Face layout."""
    from safetensors.numpy import save_file

    folder = parent / "hugging_face"
    folder.mkdir(parents=True)
    config = {
        "model_type": "bert", "architectures": ["BertModel"], "vocab_size": len(vocabulary),
        "num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": HIDDEN,
        "intermediate_size": 32, "max_position_embeddings": POSITIONS, "type_vocab_size": 2,
        "hidden_act": "gelu", "layer_norm_eps": 1e-12, "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", "utf-8")
    random = np.random.default_rng(1)
    shapes = {
        "embeddings.word_embeddings.weight": (len(vocabulary), HIDDEN),
        "embeddings.position_embeddings.weight": (POSITIONS, HIDDEN),
        "embeddings.token_type_embeddings.weight": (2, HIDDEN),
    }
    layer = "encoder.layer.0"
    products = {
        **{f"{layer}.attention.self.{n}": (HIDDEN, HIDDEN) for n in ("query", "key", "value")},
        f"{layer}.attention.output.dense": (HIDDEN, HIDDEN),
        f"{layer}.intermediate.dense": (32, HIDDEN),
        f"{layer}.output.dense": (HIDDEN, 32),
        "pooler.dense": (HIDDEN, HIDDEN),
    }
    shapes |= {f"{name}.weight": shape for name, shape in products.items()}
    weights = {name: random.normal(0, 0.3, shape) for name, shape in shapes.items()}
    weights |= {f"{name}.bias": np.zeros(shape[0]) for name, shape in products.items()}
    for name in ("embeddings", f"{layer}.attention.output", f"{layer}.output"):
        weights |= {
            f"{name}.LayerNorm.weight": np.ones(HIDDEN),
            f"{name}.LayerNorm.bias": np.zeros(HIDDEN),
        }
    arrays = {name: value.astype("float32") for name, value in weights.items()}
    save_file(arrays, folder / "model.safetensors", {"format": "pt"})


def _drawn(backbone: Any, seed: int) -> Any:
    """Give a backbone random weights, wider ones than its initializers', so that texts differ."""
    random = np.random.default_rng(seed)
    for weight in backbone.weights:
        if len(weight.shape) > 1:
            weight.assign(random.normal(0, 0.3, weight.shape))
    return backbone


def keras_hub_bert(vocabulary: list[str], parent: Path) -> None:
    """BERT in KerasHub layout."""
    import keras_hub

    folder = str(parent / "keras_hub")
    models = keras_hub.models
    backbone = models.BertBackbone(len(vocabulary), **SIZES, max_sequence_length=POSITIONS)
    _drawn(backbone, 2).save_to_preset(folder)
    models.BertTokenizer(vocabulary=vocabulary, lowercase=True).save_to_preset(folder)


def _byte_level(*special: str) -> tuple[dict[str, int], list[str]]:
    """Return a vocabulary of single bytes, as GPT-2 writes them, and its merges."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(b) for b in printable]
    letters += [chr(256 + i) for i in range(256 - len(printable))]
    merges = ["i n", "Ġ in", "a s", "o r", "v e"]
    found = [*special, *letters, *(merge.replace(" ", "") for merge in merges)]
    return {piece: i for i, piece in enumerate(found)}, merges


def causal(_: list[str], parent: Path) -> None:
    """GPT-2 with a chat template."""
    import keras_hub

    folder = str(parent / "causal")
    vocabulary, merges = _byte_level("<|endoftext|>")
    backbone = keras_hub.models.GPT2Backbone(len(vocabulary), **SIZES, max_sequence_length=96)
    _drawn(backbone, 3).save_to_preset(folder)
    keras_hub.models.GPT2Tokenizer(vocabulary, merges).save_to_preset(folder)
    (parent / "causal" / "chat_template.jinja").write_text(CHAT)


def encoder_decoder(_: list[str], parent: Path) -> None:
    """BART."""
    import keras_hub

    folder = str(parent / "encoder_decoder")
    vocabulary, merges = _byte_level("<s>", "<pad>", "</s>", "<mask>")
    backbone = keras_hub.models.BartBackbone(len(vocabulary), **SIZES, max_sequence_length=96)
    _drawn(backbone, 4).save_to_preset(folder)
    keras_hub.models.BartTokenizer(vocabulary, merges).save_to_preset(folder)


def rounded(run: str) -> None:
    """Cut a kept model's weights to 4 bits of fraction; positions that no text reaches become 0."""
    from tfnlp import storage

    model = storage.load(Path(run))
    for weight in model.network.weights:
        value = (weight.numpy().view("uint32") & 0xFFF80000).view("float32")
        if value.shape[0] == SCRATCH_POSITIONS:
            value[POSITIONS:] = 0
        weight.assign(value)
    storage.save(model, Path(run))


def interrupted(*flags: str) -> None:
    """Train, and send the process SIGTERM at a certain batch, as a machine's owner might."""
    from tfnlp import commands, train
    from tfnlp.strategies import supervised

    counted = supervised.FiniteLoss.on_train_batch_end

    def stopped(self: Any, batch: int, logs: dict | None = None) -> None:
        counted(self, batch, logs)
        if (self.state.epoch, self.state.step) == STOPPED_AT:
            os.kill(os.getpid(), signal.SIGTERM)

    supervised.FiniteLoss.on_train_batch_end = stopped
    sys.argv = ["tfnlp.train", *flags]
    sys.exit(commands.run(train.main))


def record() -> None:
    """Write what every run and SavedModel answers, and how good they are, into answers.json."""
    from tfnlp import precision

    precision.bfloat16_is_faster = lambda: False
    found = {
        "runs": {path.name: _run(path / "run") for path in _folders("tensorboard_logs")},
        "saved_models": {path.name: _saved_model(path / "1") for path in _folders("saved_models")},
        "backbone": _backbone(Path("tensorboard_logs/gaps/run/model/backbone")),
        "evaluations": {name: _evaluation(Path("saved_models") / name) for name in EVALUATED},
        "finished": json.loads(Path("tensorboard_logs/interrupted/run/metrics.json").read_text()),
    }
    text = json.dumps(found, ensure_ascii=False, indent=1, default=_plain)
    Path("answers.json").write_text(text + "\n", "utf-8")


def _folders(parent: str) -> list[Path]:
    return sorted(path for path in Path(parent).iterdir() if path.is_dir())


def _plain(value: Any) -> Any:
    """Return what JSON has no name for as what it has."""
    return value.tolist()


def _run(run: Path) -> dict[str, Any]:
    """Load a run and return what it is asked and answers; of the finished one keep the weights."""
    from pipelines.rows import Rows
    from tfnlp import experiment, storage

    model = storage.load(run)
    name = run.parent.name
    if name == "interrupted":
        np.savez("finished.npz", *model.network.get_weights())
        name = "labels"
    columns = ASKED[name]
    numbers = list(range(1, len(next(iter(columns.values()))) + 1))
    answers = experiment.answer(model, Rows("questions", columns, numbers), asked=True)
    return {"asked": columns, "answers": answers}


def _saved_model(folder: Path) -> dict[str, Any]:
    """Load a SavedModel and return what it is asked and answers, by each way in from strings."""
    from tfnlp import saved_model

    saved = saved_model.opened(folder, "float32")
    columns = ASKED[folder.parent.name]
    ways = ["serving_default", *(saved.signatures & {"sample", "beam", "contrastive"})]
    answers = {way: saved.model(way).answer(columns) for way in ways}
    return {"asked": columns, "answers": answers}


def _backbone(folder: Path) -> dict[str, Any]:
    """Load the backbone that masked_lm kept and return its hidden states for some ids."""
    from tfnlp.backbones import loading

    ids = np.array([[2, 10, 80, 11, 3], [2, 60, 3, 0, 0]], "int32")
    features = {
        "token_ids": ids,
        "segment_ids": np.zeros_like(ids),
        "padding_mask": (ids > 0).astype("int32"),
    }
    tokens = loading.load(str(folder)).model(features)["tokens"]
    return {"asked": features, "answers": np.array(tokens)}


def _evaluation(parent: Path) -> dict[str, float]:
    """Judge a SavedModel on the test file of its run."""
    from tfnlp import evaluate

    evaluate.main([str(parent / "1"), "--output", f"evaluations/{parent.name}"])
    found = json.loads(Path(f"evaluations/{parent.name}/metrics.json").read_text())
    metrics: dict[str, float] = found["metrics"]
    return metrics


if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    commands = {
        "backbones": backbones,
        "round": rounded,
        "interrupted": interrupted,
        "record": record,
    }
    commands[command](*rest)
