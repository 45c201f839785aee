"""BART, T5 and GPT-2 in KerasHub's layout, as ``--backbone`` takes them: train, keep, export."""

import keras_hub
import numpy as np
import pytest
import tensorflow as tf
from sentencepiece import sentencepiece_model_pb2 as schema

from pipelines.columns import as_request
from pipelines.rows import Rows
from pipelines.splits import Splits
from tfnlp import task as tasks
from tfnlp.backbones import loading
from tfnlp.exporting.writer import export
from tfnlp.runs import storage
from tfnlp.runs.experiment_yaml import from_values
from tfnlp.training import answering
from tfnlp.training.model import prepare
from tfnlp.training.trainer import Trainer

SIZES = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 32}


def byte_level(*special):
    """A vocabulary of single bytes, as GPT-2 writes them, and a few merges."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(b) for b in printable]
    letters += [chr(256 + i) for i in range(256 - len(printable))]
    merged = ["th", "Ġa", "er"]
    pieces = [*special, *letters, *merged]
    return {piece: i for i, piece in enumerate(pieces)}, ["t h", "Ġ a", "e r"]


def bart(folder):
    vocabulary, merges = byte_level("<s>", "<pad>", "</s>", "<mask>")
    keras_hub.models.BartTokenizer(vocabulary, merges).save_to_preset(folder)
    return keras_hub.models.BartBackbone(len(vocabulary), **SIZES, max_sequence_length=160)


def gpt2(folder):
    vocabulary, merges = byte_level("<|endoftext|>")
    keras_hub.models.GPT2Tokenizer(vocabulary, merges).save_to_preset(folder)
    return keras_hub.models.GPT2Backbone(len(vocabulary), **SIZES, max_sequence_length=160)


def t5(folder):
    model = schema.ModelProto()
    for piece in [
        "<pad>",
        "</s>",
        "<unk>",
        *(f"▁{c}" for c in "abcdefgh"),
        *"abcdefghilmnoprstuy. ",
    ]:
        kind = 2 if piece == "<unk>" else 3 if piece.startswith("<") else 1
        model.pieces.add(piece=piece, score=-1.0, type=kind)
    model.trainer_spec.pad_id, model.trainer_spec.eos_id, model.trainer_spec.unk_id = 0, 1, 2
    model.trainer_spec.bos_id = -1
    keras_hub.models.T5Tokenizer(proto=model.SerializeToString()).save_to_preset(folder)
    return keras_hub.models.T5Backbone(len(model.pieces), **SIZES, key_value_dim=8)


def bert(folder):
    letters = [chr(i) for i in range(ord("a"), ord("z") + 1)]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*special, *letters, *(f"##{letter}" for letter in letters)]
    keras_hub.models.BertTokenizer(pieces, lowercase=True).save_to_preset(folder)
    return keras_hub.models.BertBackbone(len(pieces), **SIZES, max_sequence_length=160)


def untrained(name, make, folder, **options):
    """Return a model of random weights, and the rows of its sample."""
    folder.mkdir()
    make(str(folder)).save_to_preset(str(folder))
    task = tasks.load(name)
    values = {
        "task": {"name": name, "max_length": 64, "max_tokens": 16, **options},
        "data": {"train": "rows.csv"},
        "backbone": {"name": str(folder)},
    }
    made = from_values(values, task.options, "the test")
    sample = task.sample(made.options) * 2
    rows = Rows("rows.csv", {n: [r[n] for r in sample] for n in sample[0]}, list(range(1, 9)))
    model = prepare(made, rows)
    draw = np.random.default_rng(1)
    for weight in model.network.weights:  # or all texts would have one answer
        if len(weight.shape) > 1:
            weight.assign(draw.normal(0, 0.5, weight.shape))
    return model


@pytest.mark.slow
@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize(
    ("name", "make"),
    [("dialogue", gpt2), ("dialogue", bert), ("summarization", bart), ("translation", t5)],
)
def test_an_answer_alone_is_that_in_any_crowd(name, make, temperature, tmp_path):
    """In batches of any size, at any place, padded to any neighbour; the seeds are each row's."""
    model = untrained(name, make, tmp_path / "preset", decoding="sample", vocabulary_size=120)
    (column,) = model.task.input_columns(model.experiment.options)
    named = {column.name: tf.string, "temperature": tf.float32, "sampling_seed": tf.int32}
    specs = {name: tf.TensorSpec([None], dtype) for name, dtype in named.items()}

    @tf.function(input_signature=[specs], autograph=False)
    def write(raw):
        return model.task.writing.generate(model.context, model.network, raw)

    def answers(places):
        asked = {
            column.name: tf.gather(tf.constant(texts), places),
            "temperature": tf.fill([len(places)], temperature),
            "sampling_seed": tf.constant(places),
        }
        return write(asked)["generated"].numpy().tolist()

    texts = ["a", "the cat sat here", "ab " * 30, "", "where is it now", "three", "b c d e f"]
    alone = [answers([place])[0] for place in range(len(texts))]
    assert len(set(alone)) > 2
    draw = np.random.default_rng(0)
    for size in (1, 2, 3, 5, 8, 13, 17):
        places = draw.integers(0, len(texts), size).tolist()
        assert answers(places) == [alone[place] for place in places]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "make", "kind"),
    [
        # That they decode as KerasHub's do is tested in test_decoder.
        ("summarization", bart, "encoder-decoder"),
        ("translation", t5, "encoder-decoder"),
        ("dialogue", gpt2, "causal"),
    ],
)
def test_a_writer_of_keras_hubs(name, make, kind, tmp_path):
    folder = tmp_path / "preset"
    folder.mkdir()
    make(str(folder)).save_to_preset(str(folder))
    assert loading.load(str(folder)).kind == kind
    task = tasks.load(name)
    values = {
        "task": {"name": name, "max_length": 32, "max_tokens": 16, "beams": 2},
        "data": {"train": "rows.csv"},
        "backbone": {"name": str(folder)},
        "training": {"epochs": 2, "batch_size": 4},
        "optimizer": {"learning_rate": 1e-3},
        "export": {"saved_models": str(tmp_path / "saved_models")},
    }
    made = from_values(values, task.options, "the test")
    sample = task.sample(made.options) * 2
    rows = Rows("rows.csv", {n: [r[n] for r in sample] for n in sample[0]}, list(range(1, 9)))
    model = prepare(made, rows)
    assert model.context.kind == kind
    assert model.context.target is None
    history = Trainer(model, Splits(rows, rows, None), tmp_path / "checkpoints").fit()
    assert history[1]["loss"] < history[0]["loss"]
    storage.save(model, tmp_path)
    here = answering.answer(model, rows, asked=True)
    again = answering.answer(storage.load(tmp_path), rows, asked=True)
    assert here["generated"].tolist() == again["generated"].tolist()
    saved = export(model, {}, "")
    answer = tf.saved_model.load(str(saved)).signatures["serving_default"]
    (column,) = task.input_columns(made.options)
    texts = tf.constant([as_request(row[column.name]) for row in sample])
    told = answer(**{column.name: texts})
    assert [t.decode() for t in told["generated"].numpy()] == here["generated"].tolist()
    np.testing.assert_allclose(told["score"], here["score"], atol=1e-4)
