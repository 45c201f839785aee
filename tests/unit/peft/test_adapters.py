"""Adapters on a small encoder: how many weights, the papers' formula, and that they stay."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.errors import UserError
from tfnlp.backbones import encoder, insertions
from tfnlp.peft import adapters

from .conftest import answers, train


@pytest.mark.parametrize(("placement", "count", "norms"), [("houlsby", 2, 2), ("pfeiffer", 1, 0)])
def test_what_is_added_begins_near_the_identity(backbone, placement, count, norms):
    before = answers(backbone)
    adapters.adapt(backbone, adapters.Options(size=5, placement=placement))
    assert 0 < np.abs(answers(backbone) - before).max() < 1e-3
    trained = sum(int(np.prod(w.shape)) for w in backbone.model.trainable_weights)
    assert trained == 2 * (count * (16 * 5 + 5 + 5 * 16 + 16) + norms * (16 + 16))


@pytest.mark.parametrize(
    ("activation", "f"),
    [("relu", lambda x: np.maximum(x, 0)), ("silu", lambda x: x / (1 + np.exp(-x)))],
)
def test_it_is_the_papers_formula(backbone, activation, f):
    (output,) = insertions.projections(backbone.blocks[1], ("output",))["output"]
    inner = np.random.default_rng(4).normal(size=(7, 24)).astype("float32")
    y = output(inner[None]).numpy()[0]
    adapters.adapt(backbone, adapters.Options(size=5, activation=activation))
    train(backbone)
    own = output.insertion
    want = y + f(y @ own.down.numpy() + own.down_bias.numpy()) @ own.up.numpy()
    found = output(inner[None]).numpy()[0]
    np.testing.assert_allclose(found, want + own.up_bias.numpy(), rtol=0, atol=1e-5)


def test_the_quick_path_equals_that_of_the_sublayers(backbone):
    adapters.adapt(backbone, adapters.Options(placement="houlsby"))
    train(backbone)
    quick = answers(backbone)
    with encoder.as_kerashub(backbone.model):
        np.testing.assert_allclose(answers(backbone), quick, rtol=0, atol=1e-5)


def test_no_matrix_can_stand_for_them(backbone):
    adapters.adapt(backbone, adapters.Options())
    train(backbone)
    added = answers(backbone)
    with insertions.merged(backbone.model):
        assert len(insertions.inserted(backbone.model)) == 2
        np.testing.assert_array_equal(answers(backbone), added)


def test_a_bottleneck_wider_than_the_backbone_is_refused(backbone):
    with pytest.raises(UserError, match=r"--adapters-size 65 is no bottleneck .* is 16 wide"):
        adapters.adapt(backbone, adapters.Options(size=65))
