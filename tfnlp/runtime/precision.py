"""In which precision a process multiplies matrices.

A CPU of AMD with AVX512-BF16, or one with AMX, multiplies bfloat16 matrices about twice as fast as
float32 ones. (Intel's without AMX, as some virtual machines have them, take twice as long.) There,
TensorFlow's graph optimizer gives products bfloat16 factors when a graph is run; sums,
norms, softmax, weights, gradients' sums and the optimizer stay float32, and so does what is saved
and exported. A GPU of compute capability 8 or more trains by Keras's policy ``mixed_bfloat16``.

Source: TensorFlow's ``auto_mixed_precision_onednn_bfloat16``
    (https://www.tensorflow.org/api_docs/python/tf/config/optimizer/set_experimental_options).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeAlias

Precision: TypeAlias = Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"]

_OPTION = "auto_mixed_precision_onednn_bfloat16"
_KEPT = "TF_AUTO_MIXED_PRECISION_GRAPH_REWRITE_INFERLIST_REMOVE"
# What stays float32 although it stands between two products. Answers lose no digits of norms and
# softmax; the rest is joined with the product before it. Training cannot join them, and bfloat16
# sums are slower than float32 ones.
_ANSWERING = "Mean,Rsqrt,Softmax,SquaredDifference,Sub,Sum"
_TRAINING = (
    f"Add,AddN,AddV2,BiasAdd,BiasAddGrad,Erf,Erfc,Inv,Log,Mul,RealDiv,Sqrt,Square,{_ANSWERING}"
)


def start(kind: Precision, *, training: bool) -> str:
    """Set the precision of what this process runs from now on, and return Keras's policy.

    Args:
        kind: ``auto`` is the fastest that costs no quality; the others are Keras's policies.
        training: gradients are taken too.

    Returns:
        Keras's dtype policy that goes with it.

    Example::

        keras.config.set_dtype_policy(start("auto", training=True))
    """
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    on = kind == "auto" and not gpus and bfloat16_is_faster()
    os.environ[_KEPT] = _TRAINING if training else _ANSWERING
    tf.config.optimizer.set_experimental_options({_OPTION: on})
    if kind != "auto":
        return kind
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    capable = [detail.get("compute_capability", (0, 0)) >= (8, 0) for detail in details]
    return "mixed_bfloat16" if capable and all(capable) else "float32"


def multiplies_in_bfloat16() -> bool:
    """Return whether this process gives products of float32 tensors bfloat16 factors.

    Example::

        start("float32", training=True)
        multiplies_in_bfloat16()  # False
    """
    import tensorflow as tf

    return bool(tf.config.optimizer.get_experimental_options().get(_OPTION))


@contextmanager
def exact() -> Iterator[None]:
    """Multiply in float32 what this thread calls, or traces calls of, within the block.

    A product of bfloat16 factors depends in its third digit on the kernel that computes it, and
    so on how many rows there are: enough to change a token, and with it all that follows. Other
    threads go on as they were.

    Example::

        with exact():
            answers = write(prompts)
    """
    from tensorflow.core.protobuf import config_pb2, rewriter_config_pb2
    from tensorflow.python.eager import context  # TensorFlow's own options hold for all threads

    there = context.context()
    before = there.function_call_options
    config = config_pb2.ConfigProto.FromString(before.config_proto_serialized)
    setattr(config.graph_options.rewrite_options, _OPTION, rewriter_config_pb2.RewriterConfig.OFF)
    there.function_call_options = context.FunctionCallOptions(before.executor_type, config)
    try:
        yield
    finally:
        there.function_call_options = before


def bfloat16_is_faster(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether this machine multiplies bfloat16 faster than float32; False if unknown.

    It goes by the processor's name and abilities, not by a measurement, which may come out another
    way for the same run resumed. ``benchmarks/speed.py arithmetic`` measures.

    Example::

        bfloat16_is_faster(Path("missing"))  # False
    """
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:  # not Linux
        return False
    processor = {
        name.strip(): value.split() for name, _, value in (line.partition(":") for line in lines)
    }
    flags, vendor = processor.get("flags", []), processor.get("vendor_id", [])
    return "amx_bf16" in flags or ("avx512_bf16" in flags and vendor == ["AuthenticAMD"])
