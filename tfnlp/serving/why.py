"""Why a model answers as it does, for the page: by a function that the server is given.

The function knows explanations, which serving does not import; it asks the model by `predict`, as
any client does, in a thread of its own.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import numpy as np

from pipelines.errors import UserError
from tfnlp.serving import about, inference
from tfnlp.serving.failures import RequestError, invalid
from tfnlp.serving.repository import Version

SIGNATURE = "explain"  # that a model may have itself
_DEFAULT = "serving_default"
# From columns of texts to the outputs by name.
Ask: TypeAlias = Callable[[Mapping[str, Sequence[str]]], Mapping[str, np.ndarray]]
# (texts of a row by name, the kinds of inputs that are no plain texts, what asks the model) -> what
# each part did for each thing that the model says, as `tfnlp.api.explaining.values` gives it.
Explain: TypeAlias = Callable[[Mapping[str, str], Mapping[str, Any], Ask], list[dict[str, Any]]]


def way(version: Version, explain: Explain | None) -> str | None:
    """Return how a model's answers are explained: ``signature``, ``asking``, or None.

    Example::

        way(version, explain)  # "signature", of a model with --export-explain
    """
    signatures = version.servable.signatures if version.servable else {}
    if SIGNATURE in signatures:
        return "signature"
    default = signatures.get(_DEFAULT)
    texts = default and all(spec.dtype.name == "string" for spec in default.inputs.values())
    return "asking" if explain and texts else None


async def why(
    version: Version, texts: Any, explain: Explain, threads: ThreadPoolExecutor
) -> list[dict[str, Any]]:
    """Return why a model answers a row as it does.

    Args:
        version: the model's.
        texts: of the row, by the input's name.
        explain: what explains.
        threads: it runs in one of them.

    Raises:
        RequestError: these are not the model's texts, its answers cannot be explained, or it fails.

    Example::

        await why(version, {"text": "A masterpiece."}, explain, threads)
    """
    wanted = inference.signature_of(version, _DEFAULT).inputs.keys()
    if not isinstance(texts, dict) or texts.keys() != set(wanted):
        raise invalid(f"an explanation is asked for with the texts {', '.join(sorted(wanted))}")
    if not all(isinstance(text, str) for text in texts.values()):
        raise invalid("an explanation is asked for with strings")
    loop, over = asyncio.get_running_loop(), threading.Event()

    def ask(columns: Mapping[str, Sequence[str]]) -> Mapping[str, np.ndarray]:
        if over.is_set():
            raise invalid("who asked for the explanation is gone")
        arrays = {
            name: np.array([text.encode("utf-8", "replace") for text in column], object)
            for name, column in columns.items()
        }
        asked = inference.predict(version, _DEFAULT, arrays)
        return asyncio.run_coroutine_threadsafe(asked, loop).result()

    kinds = about.kinds(version)
    try:
        return await loop.run_in_executor(threads, explain, texts, kinds, ask)
    except UserError as error:
        raise invalid(str(error)) from error
    except RequestError:
        raise
    finally:
        over.set()
