"""In which precision a process multiplies, and what it says of its processor."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, rewriter_config_pb2
from tensorflow.python.eager import context

from tfnlp.runtime import precision


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    monkeypatch.setenv(precision._KEPT, "")
    before = tf.config.optimizer.get_experimental_options().get(precision._OPTION, False)
    yield
    tf.config.optimizer.set_experimental_options({precision._OPTION: before})


@pytest.mark.parametrize(
    ("vendor", "flags", "faster"),
    [
        ("AuthenticAMD", "fpu avx512f avx512_bf16 avx512_vnni", True),
        ("AuthenticAMD", "fpu avx2 avx512f avx512_vnni", False),
        ("GenuineIntel", "fpu avx512f avx512_bf16 avx512_vnni", False),
        ("GenuineIntel", "fpu avx512_bf16 amx_bf16 amx_tile", True),
        ("", "", False),
    ],
)
def test_the_flags_of_a_processor(tmp_path, vendor, flags, faster, processor):
    file = tmp_path / "cpuinfo"
    one = f"vendor_id\t: {vendor}\nflags\t\t: {flags}\n\n"
    file.write_text(f"processor\t: 0\n{one}processor\t: 1\n{one}")
    assert processor(file) is faster
    assert processor(tmp_path / "not-linux") is False


def product(kind: str, able: bool, monkeypatch, how=nullcontext) -> tuple[np.ndarray, str]:
    """Multiply in a graph; returns the product's distance from the exact one, and the policy."""
    monkeypatch.setattr(precision, "bfloat16_is_faster", lambda: able)
    policy = precision.start(kind, training=False)
    random = np.random.default_rng(3)
    x, y = (tf.constant(random.normal(size=(64, 64)), tf.float32) for _ in range(2))
    multiply = tf.function(lambda x, y: tf.matmul(x, y, name=f"{kind}_{able}".lower()))
    exact = x.numpy().astype(np.float64) @ y.numpy().astype(np.float64)
    with how():
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


def told(config: bytes = b"") -> int:
    """Return what a call is told of bfloat16: rewriter_config.proto, Toggle."""
    config = config or context.context().function_call_options.config_proto_serialized
    options = config_pb2.ConfigProto.FromString(config).graph_options.rewrite_options
    return getattr(options, precision._OPTION)


def test_exact_products_are_float32_in_one_thread_and_in_what_it_traces(monkeypatch):
    monkeypatch.setattr(precision, "bfloat16_is_faster", lambda: True)
    precision.start("auto", training=False)
    on, off = rewriter_config_pb2.RewriterConfig.ON, rewriter_config_pb2.RewriterConfig.OFF
    square = tf.function(lambda x: tf.matmul(x, x))

    def traced():
        outer = tf.function(lambda x: square(x))
        nodes = outer.get_concrete_function(tf.TensorSpec([2, 2])).graph.as_graph_def().node
        return [told(node.attr["config_proto"].s) for node in nodes if "Call" in node.op]

    assert (told(), traced()) == (on, [on])
    with precision.exact(), ThreadPoolExecutor(1) as other:
        assert (told(), traced(), other.submit(told).result()) == (off, [off], on)
    assert told() == on
    with pytest.raises(ZeroDivisionError), precision.exact():
        raise ZeroDivisionError
    assert told() == on


def test_exact_products_are_exact_where_the_processor_has_bfloat16(monkeypatch):
    assert product("auto", True, monkeypatch, precision.exact)[0] < 1e-4
