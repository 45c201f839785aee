"""The small SavedModels that the table asks, and the models.config that mounts them.

    python -m tests.serving.models FOLDER [--mounted-at PATH]

writes them for a real TF Serving; `--mounted-at` is where it will see the folder (in a container).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

CONFIG = "models.config"
# The line's second version adds 3: an answer tells which version gave it.
VERSIONS = {1: 2.0, 2: 3.0}
LABELS = {"stable": 1, "canary": 2}
CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"


def spec(name: str, dtype: tf.DType, *shape: int | None) -> tf.TensorSpec:
    return tf.TensorSpec(shape, dtype, name)


def asked(function: Callable, *specs: tf.TensorSpec) -> tf.types.experimental.GenericFunction:
    return tf.function(function, input_signature=specs, autograph=False)


def rows(dtype: tf.DType = tf.float32, name: str = "x") -> tf.TensorSpec:
    """Return a signature's input: a scalar a row."""
    return spec(name, dtype, None)


def line(add: float) -> dict[str, Callable]:
    return {"serving_default": asked(lambda x: {"y": x / 2 + add}, rows())}


def echo() -> dict[str, Callable]:
    """Two outputs of the same strings, one of them by its name bytes; and either alone."""
    text = rows(tf.string, "text")
    return {
        "serving_default": asked(lambda text: {"text": text, "text_bytes": text}, text),
        "string": asked(lambda text: {"text": text}, text),
        "bytes": asked(lambda text: {"text_bytes": text}, text),
    }


def pair() -> dict[str, Callable]:
    def serve(a, b):
        return {
            "joined": a + b,
            "length": tf.cast(tf.strings.length(a + b), tf.int64),
            "same": a == b,
        }

    return {"serving_default": asked(serve, rows(tf.string, "a"), rows(tf.string, "b"))}


def matrix() -> dict[str, Callable]:
    def serve(flags, ids, weights):
        return {"not": tf.logical_not(flags), "twice": ids * 2, "half": weights / 2}

    shape = (None, None)
    specs = (
        spec("flags", tf.bool, *shape),
        spec("ids", tf.int64, *shape),
        spec("weights", tf.float64, *shape),
    )
    return {"serving_default": asked(serve, *specs)}


def shapes() -> dict[str, Callable]:
    """Outputs and inputs that rows cannot say, and models that fail."""

    def fails(x):
        with tf.control_dependencies([tf.debugging.assert_less(x, 0.0, "x is too large")]):
            return {"y": tf.identity(x)}

    return {
        "serving_default": asked(lambda x: {"y": x}, spec("x", tf.float32, None, None)),
        "scalar": asked(lambda x: {"y": x + 1}, spec("x", tf.float32)),
        "total": asked(lambda x: {"y": tf.reduce_sum(x)}, rows()),
        "uneven": asked(lambda x: {"once": x, "twice": tf.concat([x, x], 0)}, rows()),
        "none": asked(lambda x: {"y": x[:0]}, rows()),
        "inverse": asked(lambda x: {"y": 1 / x}, rows()),
        "next": asked(lambda x: {"y": x + 1}, rows(tf.int32)),
        "fails": asked(fails, rows()),
    }


def examples() -> dict[str, Callable]:
    """Signatures over serialized tf.Examples with one feature, the number x."""

    def parsed(inputs):
        return tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([1], tf.float32)})["x"]

    def scores(inputs):
        x = parsed(inputs)
        return tf.concat([1 - x, x], 1)

    def classify(inputs):
        labels = tf.tile([["low", "high"]], [tf.shape(inputs)[0], 1])
        return {"classes": labels, "scores": scores(inputs)}

    inputs = rows(tf.string, "inputs")
    return {
        "serving_default": asked(classify, inputs),
        "classify": asked(classify, inputs),
        "scores": asked(lambda inputs: {"scores": scores(inputs)}, inputs),
        "regress": asked(lambda inputs: {"outputs": parsed(inputs) * 2}, inputs),
    }


METHODS = {"classify": CLASSIFY, "scores": CLASSIFY, "regress": REGRESS}
MODELS = {"echo": echo, "pair": pair, "matrix": matrix, "shapes": shapes, "examples": examples}


def save(signatures: dict[str, Callable], folder: Path, methods: dict[str, str]) -> None:
    tf.saved_model.save(tf.Module(), str(folder), signatures)
    if not methods:
        return
    # TF 2 writes predict into every signature; this is its own tool for the others.
    updater = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(str(folder))
    for name, method in methods.items():
        updater.replace_method_name(signature_key=name, method_name=method)
    updater.save()


def config(mounted_at: str) -> str:
    labels = "".join(f'    version_labels {{ key: "{k}" value: {v} }}\n' for k, v in LABELS.items())
    entries = {"line": "    model_version_policy { all {} }\n" + labels} | dict.fromkeys(MODELS, "")
    found = "".join(
        f'  config {{\n    name: "{name}"\n    base_path: "{mounted_at}/{name}"\n'
        f'    model_platform: "tensorflow"\n{more}  }}\n'
        for name, more in entries.items()
    )
    return f"model_config_list {{\n{found}}}\n"


def write(folder: Path, mounted_at: str = "") -> Path:
    """Write the models, and return the models.config that mounts them."""
    for version, add in VERSIONS.items():
        save(line(add), folder / "line" / str(version), {})
    for name, make in MODELS.items():
        save(make(), folder / name / "1", METHODS if name == "examples" else {})
    path = folder / CONFIG
    path.write_text(config(mounted_at or str(folder.resolve())))
    return path


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.serving.models")
    parser.add_argument("folder", type=Path, help="where to write")
    parser.add_argument("--mounted-at", default="", help="the folder's path for the server")
    arguments = parser.parse_args()
    path = write(arguments.folder, arguments.mounted_at)
    print(
        f"tensorflow_model_server --port=8500 --rest_api_port=8501 --model_config_file={path} "
        "--allow_version_labels_for_unavailable_models=true"
    )


if __name__ == "__main__":
    main()
