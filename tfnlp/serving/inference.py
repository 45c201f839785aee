"""What both protocols ask of a version: predict, classify, regress, and what it is.

Dimensions: B rows of a request, C classes.
"""

from __future__ import annotations

import numpy as np

from tfnlp.serving.failures import Code, RequestError, invalid
from tfnlp.serving.repository import Version
from tfnlp.serving.servable import Arrays, Signature

PREDICT, CLASSIFY, REGRESS = (
    f"tensorflow/serving/{name}" for name in ("predict", "classify", "regress")
)


def signature_of(version: Version, name: str, method: str = PREDICT) -> Signature:
    """Return a signature of a version that may be asked by a method.

    Raises:
        RequestError: there is none.

    Example::

        signature_of(version, "classify", CLASSIFY).inputs  # {"inputs": ...}
    """
    servable = version.servable
    if servable is None or name not in servable.signatures:
        if method == PREDICT:
            raise invalid(f'Serving signature name: "{name}" not found in signature def')
        raise invalid(f"No signature was found with the name: {name}")
    signature = servable.signatures[name]
    if method != PREDICT and signature.method != method:
        kind = {CLASSIFY: "classification", REGRESS: "regression"}[method]
        raise invalid(
            f"Expected {kind} signature method_name to be {method}. Was: {signature.method}"
        )
    return signature


async def predict(version: Version, name: str, inputs: Arrays) -> dict[str, np.ndarray]:
    """Ask a signature; raises RequestError.

    Example::

        outputs = await predict(version, "serving_default", {"text": np.array([b"Hi"], object)})
        outputs["label"]
    """
    return await version.ask(signature_of(version, name).name, inputs)


async def classify(version: Version, name: str, examples: np.ndarray) -> list[list[tuple]]:
    """Classify examples.

    Args:
        version: the model's.
        name: the signature's.
        examples: serialized tf.Examples, object (B,).

    Returns:
        B lists of C classes, each a label (bytes) and a score.

    Raises:
        RequestError: it is no signature for that, or fails.
    """
    signature = signature_of(version, name, CLASSIFY)
    outputs = await version.ask(name, {_only(signature): examples})
    classes, scores = outputs.get("classes"), outputs.get("scores")
    given = [array for array in (classes, scores) if array is not None]
    if not given or any(array.shape[:1] != examples.shape or array.ndim != 2 for array in given):
        raise RequestError(Code.INTERNAL, f"{name} returns no classes or scores of shape (B, C)")
    rows, count = given[0].shape
    labels = classes if classes is not None else np.full((rows, count), b"", object)
    values = scores if scores is not None else np.zeros((rows, count), np.float32)
    pairs = zip(labels.tolist(), values.tolist(), strict=True)
    return [list(zip(*pair, strict=True)) for pair in pairs]


async def regress(version: Version, name: str, examples: np.ndarray) -> list[float]:
    """Return a number for each example; arguments and errors as of `classify`.

    Example::

        await regress(version, "regress", examples)  # [3.4, -1.2]
    """
    signature = signature_of(version, name, REGRESS)
    outputs = (await version.ask(name, {_only(signature): examples})).get("outputs")
    if outputs is None or outputs.size != len(examples):
        raise RequestError(Code.INTERNAL, f"{name} returns no outputs of shape (B,)")
    found: list[float] = outputs.reshape(-1).tolist()
    return found


def _only(signature: Signature) -> str:
    """Return the name of the one input, examples."""
    if list(signature.inputs) != ["inputs"]:
        raise RequestError(
            Code.FAILED_PRECONDITION, f"Expected one input Tensor of {signature.name}: inputs"
        )
    return "inputs"
