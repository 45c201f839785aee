"""The output over the vocabulary: tied to the embedding, through saving and for every kind."""

import keras
import keras_hub
import numpy as np
import pytest
from scipy.special import log_softmax

from pipelines.encoding import masking
from tfnlp.backbones import loading
from tfnlp.heads import masked_lm

SIZES = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16, "dropout": 0.1}
FEATURES = {
    "token_ids": np.array([[2, 5, 4, 3], [2, 4, 4, 3]], "int32"),
    "segment_ids": np.zeros((2, 4), "int32"),
    "padding_mask": np.ones((2, 4), "int32"),
    "hidden": np.array([[0, 0, 1, 0], [0, 1, 1, 0]], "int32"),
}


def _kinds():
    # DeBERTa is missing: Keras cannot load KerasHub's layer of relative positions from a file.
    hub = keras_hub.models
    return {
        "bert": hub.BertBackbone(9, **SIZES),
        "distilbert": hub.DistilBertBackbone(9, **SIZES),
        "electra": hub.ElectraBackbone(9, embedding_dim=4, **SIZES),
        "albert": hub.AlbertBackbone(9, embedding_dim=4, **SIZES),
        "xlm-roberta": hub.XLMRobertaBackbone(9, **SIZES),
    }


SLOW = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("albert", "xlm-roberta")]


@pytest.mark.parametrize("kind", ["bert", "distilbert", "electra", *SLOW])
def test_the_matrix_is_the_embeddings_own_and_stays_so(kind, tmp_path):
    network = masked_lm.head(loading._model(_kinds()[kind], None))
    logits = network.predict_on_batch(FEATURES)
    assert logits.shape == (2, 2, 9)
    assert logits.dtype == np.float32
    network.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.predict_on_batch(FEATURES), logits, atol=1e-5)
    assert len(again.weights) == len(network.weights)
    big = [w for w in again.weights if w.shape[0] == 9 and len(w.shape) == 2]
    assert len(big) == 1  # no second matrix over the vocabulary
    # Moving a piece's vector moves its logit.
    step = np.outer(np.arange(9) == 7, np.linspace(0, 1, big[0].shape[1]))
    big[0].assign(big[0] + step)
    moved = again.predict_on_batch(FEATURES) - logits
    assert (np.abs(moved).max((0, 1)) > 1e-4).tolist() == [False] * 7 + [True, False]


def test_loss_perplexity_and_accuracy_count_hidden_pieces_alone():
    random = np.random.default_rng(0)
    logits = random.normal(size=(2, 3, 7)).astype("float32")
    labels = np.array([[1, 4, 6], [2, masking.NOTHING, masking.NOTHING]])
    scores = log_softmax(logits, -1)
    each = [scores[0, 0, 1], scores[0, 1, 4], scores[0, 2, 6], scores[1, 0, 2]]
    loss = masked_lm.Crossentropy()(labels, logits)
    np.testing.assert_allclose(loss, -np.mean(each), rtol=1e-5)
    perplexity = masked_lm.Perplexity(name="perplexity")
    accuracy = masked_lm.Accuracy(name="accuracy")
    for row in range(2):
        perplexity.update_state(labels[row : row + 1], logits[row : row + 1])
        accuracy.update_state(labels[row : row + 1], logits[row : row + 1])
    np.testing.assert_allclose(perplexity.result(), np.exp(-np.mean(each)), rtol=1e-5)
    best = logits.argmax(-1)
    right = [best[0, 0] == 1, best[0, 1] == 4, best[0, 2] == 6, best[1, 0] == 2]
    np.testing.assert_allclose(accuracy.result(), np.mean(right))
    nothing = np.full((2, 3), masking.NOTHING)
    assert float(masked_lm.Crossentropy()(nothing, logits)) == 0.0
