"""BitFit chooses the biases, and says so where there are none."""

from types import SimpleNamespace

import keras_hub
import pytest

from pipelines.errors import UserError
from tfnlp.peft import bitfit

SIZES = {"vocabulary_size": 9, "num_layers": 1, "hidden_dim": 8, "intermediate_dim": 16}


def adapted(model):
    bitfit.adapt(SimpleNamespace(name="it", model=model), bitfit.Options())
    return {weight.path for weight in model.trainable_weights}


@pytest.mark.parametrize("frozen", [False, True])
def test_biases_are_trained_unless_their_layer_is_frozen(frozen):
    model = keras_hub.models.BertBackbone(num_heads=2, **SIZES)
    layer = model.get_layer("transformer_layer_0")
    layer.trainable = not frozen
    of_layer = {w.path for w in layer.weights}
    biases = {w.path for w in model.weights if w.path.endswith(("/bias", "/beta"))}
    assert len(biases & of_layer) == 8  # four of attention, two dense, two LayerNorm
    assert adapted(model) == (biases - of_layer if frozen else biases)


def test_a_backbone_without_biases_is_refused():
    model = keras_hub.models.LlamaBackbone(num_query_heads=2, num_key_value_heads=2, **SIZES)
    with pytest.raises(UserError, match="'it' has no biases"):
        adapted(model)
