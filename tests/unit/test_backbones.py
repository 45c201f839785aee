"""Backbones against a computation of our own, and the mistakes that users make."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import erf

from tfnlp.backbones import entry, loading

IDS = np.array([[101, 2040, 2626, 1996, 2338, 102, 0, 0], [101, 2054, 102, 2204, 999, 102, 2, 5]])
SEGMENTS = np.array([[0, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1, 1, 1]])
MASK = np.array([[1, 1, 1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1, 1, 1]])


def features(ids=IDS, segments=SEGMENTS, mask=MASK):
    named = {"token_ids": ids, "segment_ids": segments, "padding_mask": mask}
    return {name: np.asarray(values, "int32") for name, values in named.items()}


@pytest.fixture(scope="module")
def minilm():
    return loading.load("minilm-l6-en")


@pytest.fixture(scope="module")
def tiny():
    return loading.load("minilm-l6-en", layers=1)


def bert(w, ids, segments, mask, heads, layers):
    """BERT's forward pass in float64 (Devlin et al. 2019), from Hugging Face's names."""

    def dense(x, name):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(x, name):
        mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        scaled = (x - mean) / np.sqrt(var + 1e-12)
        return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]

    embedded = (
        w["embeddings.word_embeddings.weight"][ids]
        + w["embeddings.position_embeddings.weight"][: ids.shape[1]]
        + w["embeddings.token_type_embeddings.weight"][segments]
    )
    x = norm(embedded, "embeddings.LayerNorm")
    for i in range(layers):
        p = f"encoder.layer.{i}"
        q, k, v = (
            dense(x, f"{p}.attention.self.{n}").reshape(*ids.shape, heads, -1).swapaxes(1, 2)
            for n in ("query", "key", "value")
        )
        scores = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])
        scores = np.where(mask[:, None, None, :] > 0, scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        context = (weights @ v).swapaxes(1, 2).reshape(x.shape)
        attended = dense(context, f"{p}.attention.output.dense")
        x = norm(x + attended, f"{p}.attention.output.LayerNorm")
        inner = dense(x, f"{p}.intermediate.dense")
        inner = inner * 0.5 * (1 + erf(inner / np.sqrt(2)))
        x = norm(x + dense(inner, f"{p}.output.dense"), f"{p}.output.LayerNorm")
    return x, np.tanh(dense(x[:, 0], "pooler.dense"))


def test_minilm_gives_the_hidden_states_of_its_own_weights(minilm):
    from safetensors.numpy import load_file

    weights = load_file(entry.prepared("minilm-l6-en") / "model.safetensors")
    weights = {k: v.astype("float64") for k, v in weights.items() if v.dtype.kind == "f"}
    tokens, pooled = bert(weights, IDS, SEGMENTS, MASK, heads=12, layers=6)
    got = minilm.model.predict_on_batch(features())
    real = MASK.astype(bool)
    np.testing.assert_allclose(got["tokens"][real], tokens[real], atol=2e-5)
    np.testing.assert_allclose(got["pooled"], pooled, atol=2e-5)
