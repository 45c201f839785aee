"""In which precision a process multiplies, and what it says of its processor."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfnlp import precision


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    monkeypatch.setenv(precision._KEPT, "")
    before = tf.config.optimizer.get_experimental_options().get(precision._OPTION, False)
    yield
    tf.config.optimizer.set_experimental_options({precision._OPTION: before})


@pytest.mark.parametrize(
    ("flags", "has"),
    [
        ("fpu avx512f avx512_bf16 avx512_vnni", True),
        ("fpu amx_bf16 amx_tile", True),
        ("fpu avx2 avx512f avx512_vnni", False),
        ("", False),
    ],
)
def test_the_flags_of_a_processor(tmp_path, flags, has, processor):
    file = tmp_path / "cpuinfo"
    file.write_text(f"processor : 0\nflags\t\t: {flags}\nprocessor : 1\n")
    assert processor(file) is has
    assert processor(tmp_path / "not-linux") is False


def product(kind: str, able: bool, monkeypatch) -> tuple[np.ndarray, str]:
    """Multiply in a graph; returns the product's distance from the exact one, and the policy."""
    monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: able)
    policy = precision.start(kind, training=False)
    random = np.random.default_rng(3)
    x, y = (tf.constant(random.normal(size=(64, 64)), tf.float32) for _ in range(2))
    multiply = tf.function(lambda x, y: tf.matmul(x, y, name=f"{kind}_{able}".lower()))
    exact = x.numpy().astype(np.float64) @ y.numpy().astype(np.float64)
    found = multiply(x, y)
    assert found.dtype == tf.float32
    return np.abs(found - exact).max(), policy


def test_products_are_quick_only_where_the_processor_has_them(monkeypatch, processor):
    far, policy = product("auto", True, monkeypatch)
    assert policy == "float32"
    if processor():  # elsewhere TensorFlow may leave the graph as it is
        assert 1e-3 < far < 0.5
    for kind, able in (("auto", False), ("float32", True)):
        near, policy = product(kind, able, monkeypatch)
        assert near < 1e-4
        assert policy == "float32"
    assert product("mixed_bfloat16", True, monkeypatch)[1] == "mixed_bfloat16"
