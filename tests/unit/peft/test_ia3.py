"""(IA)3 on a small encoder: the paper's formula, and that it folds."""

from __future__ import annotations

import numpy as np

from tfnlp.backbones import encoder, insertions
from tfnlp.peft import ia3

from .conftest import answers, train


def test_at_first_nothing_changes_and_three_vectors_a_layer_are_trained(backbone):
    before = answers(backbone)
    ia3.adapt(backbone, ia3.Options())
    np.testing.assert_array_equal(answers(backbone), before)
    trained = sum(int(np.prod(w.shape)) for w in backbone.model.trainable_weights)
    assert trained == 2 * (16 + 16 + 24)


def test_values_and_inner_activations_are_multiplied(backbone):
    found = insertions.projections(backbone.blocks[1], ("value", "output"))
    (value,), (output,) = found["value"], found["output"]
    x, inner = (np.random.default_rng(4).normal(size=(7, n)).astype("float32") for n in (16, 24))
    plain = value(x[None]).numpy(), output(inner[None]).numpy()
    ia3.adapt(backbone, ia3.Options())
    train(backbone)
    scale = value.insertion.scale.numpy().reshape(plain[0].shape[2:])
    np.testing.assert_allclose(value(x[None]).numpy(), plain[0] * scale, rtol=0, atol=1e-5)
    kernel, bias = output.kernel.numpy(), output.bias.numpy()
    want = (inner * output.insertion.scale.numpy()) @ kernel + bias
    np.testing.assert_allclose(output(inner[None]).numpy()[0], want, rtol=0, atol=1e-5)


def test_the_quick_path_equals_that_of_the_sublayers(backbone):
    ia3.adapt(backbone, ia3.Options())
    train(backbone)
    quick = answers(backbone)
    with encoder.as_kerashub(backbone.model):
        np.testing.assert_allclose(answers(backbone), quick, rtol=0, atol=1e-5)


def test_folded_it_computes_the_same(backbone):
    ia3.adapt(backbone, ia3.Options())
    train(backbone)
    added = answers(backbone)
    with insertions.merged(backbone.model):
        assert insertions.inserted(backbone.model) == []
        np.testing.assert_allclose(answers(backbone), added, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(answers(backbone), added)
