"""LoRA on a small encoder: what it adds, computes and folds."""

from __future__ import annotations

from types import SimpleNamespace

import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf

from pipelines.errors import UserError
from tfnlp.backbones import encoder, insertions
from tfnlp.generation import keras_ops, signatures
from tfnlp.heads import causal_lm
from tfnlp.peft import lora
from tfnlp.training.model import TrainedModel, merged

from .conftest import answers, train


def test_at_first_nothing_changes_and_r_rows_and_columns_are_trained(backbone):
    before = answers(backbone)
    lora.adapt(backbone, lora.Options(rank=3))
    np.testing.assert_array_equal(answers(backbone), before)
    trained = sum(int(np.prod(w.shape)) for w in backbone.model.trainable_weights)
    # r (in + out) for four matrices of 16 x 16, one of 16 x 24 and one of 24 x 16.
    assert trained == 2 * 3 * (4 * (16 + 16) + 2 * (16 + 24))
    train(backbone)
    assert np.abs(answers(backbone) - before).max() > 1e-3


@pytest.mark.parametrize(("scaling", "scale"), [("rank", 16 / 4), ("sqrt", 16 / 2)])
def test_it_is_the_papers_formula(backbone, scaling, scale):
    """The product for queries, by hand: x W + b + scale x A B."""
    (query,) = insertions.projections(backbone.blocks[1], ("query",))["query"]
    lora.adapt(backbone, lora.Options(rank=4, alpha=16.0, scaling=scaling, targets=("query",)))
    train(backbone)
    x = np.random.default_rng(4).normal(size=(3, 7, 16)).astype("float32")
    a, b = query.insertion.a.numpy(), query.insertion.b.numpy()
    kernel = query.kernel.numpy().reshape(16, 16)
    want = x @ kernel + query.bias.numpy().reshape(16) + scale * (x @ a @ b)
    found = query(x).numpy().reshape(3, 7, 16)
    np.testing.assert_allclose(found, want, rtol=0, atol=1e-5)


def test_the_quick_path_equals_that_of_the_sublayers(backbone):
    """Keras's own call, which asks each sublayer, gives the same."""
    lora.adapt(backbone, lora.Options(rank=2))
    train(backbone)
    quick = answers(backbone)
    with encoder.as_kerashub(backbone.model):
        np.testing.assert_allclose(answers(backbone), quick, rtol=0, atol=1e-5)


def test_folded_it_computes_the_same_with_the_weights_of_before(backbone):
    weights = len(backbone.model.weights)
    frozen = [w.numpy() for w in backbone.model.weights]
    lora.adapt(backbone, lora.Options(rank=2))
    train(backbone)
    added = answers(backbone)
    trained = len(backbone.model.trainable_weights)
    with insertions.merged(backbone.model):
        assert len(backbone.model.weights) == weights
        assert insertions.inserted(backbone.model) == []
        np.testing.assert_allclose(answers(backbone), added, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(answers(backbone), added)  # it is as before
    assert len(backbone.model.trainable_weights) == trained
    kept = [w.numpy() for w in backbone.model.weights if "lora" not in w.path]
    for one, other in zip(kept, frozen, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (lora.Options(rank=17), "--lora-rank 17 is more than the 16 that the matrix"),
        (lora.Options(targets=()), "has no layer to train with a matrix"),
    ],
)
def test_what_cannot_be_is_named(backbone, options, message):
    with pytest.raises(UserError, match=message):
        lora.adapt(backbone, options)


def test_a_matrix_that_is_named_twice_is_added_to_once(backbone):
    lora.adapt(backbone, lora.Options(targets=("query", "query")))
    assert len(insertions.inserted(backbone.model)) == 2


def test_alpha_0_would_train_nothing(backbone):
    with pytest.raises(UserError, match="--lora-alpha 0 would train nothing but the head"):
        lora.adapt(backbone, lora.Options(alpha=0.0))


def test_steps_of_writing_are_traced_anew_when_it_is_folded():
    """Those that wrote answers for a report hold the layers that the export has folded."""
    keras.utils.set_random_seed(3)
    llama = keras_hub.models.LlamaBackbone(90, 1, 4, 16, 24, 2)
    network = causal_lm.head(llama)
    blocks = ((), tuple(llama.transformer_layers))
    lora.adapt(SimpleNamespace(name="small", model=llama, blocks=blocks), lora.Options(rank=2))
    context = SimpleNamespace(kind="causal")
    model = TrainedModel(SimpleNamespace(peft="lora"), None, context, network)
    prompt = {"prompt": np.array([[5, 6, 7]], "int32")}

    def held():
        form = signatures.cached(context, network)
        with keras_ops.portable():
            _, cache, fixed = form.prefill(prompt, tf.constant(2))
            given = tf.constant([[8]]), tf.constant(3), cache, fixed
            graph = form.step.get_concrete_function(*given).graph
        return {id(variable) for variable in graph.variables}

    added = {id(w.value) for w in network.trainable_weights if w.path.startswith("lora")}
    assert added
    assert added <= held()
    with merged(model):
        assert not added & held()
    assert added <= held()
