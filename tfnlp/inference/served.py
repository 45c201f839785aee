"""A SavedModel for Python: rows in, a dict for each out."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipelines import memory
from pipelines.errors import UserError
from pipelines.files.formats import SUFFIXES, format_of
from pipelines.rows import Layout, Record
from tfnlp.inference import input_rows, remote, saved_model, streaming
from tfnlp.inference.chunks import answered
from tfnlp.inference.saved_model import Saved, ServedModel, find_model
from tfnlp.inference.settings import DEFAULT
from tfnlp.options import unknown_key
from tfnlp.runtime.precision import Precision

_REQUESTS = 4  # that a server is sent at a time


class Served:
    """A SavedModel in this process, or one on a server; `tfnlp.open` makes it.

    Attributes:
        name: its folder or address.

    Example::

        model = tfnlp.open("trec-classification")
        model.predict(["Who wrote Hamlet?"])[0]["label"]  # "HUM"
    """

    def __init__(self, name: str, saved: Saved, at_once: int) -> None:
        self.name = name
        self._saved = saved
        self._at_once = at_once

    @property
    def signatures(self) -> tuple[str, ...]:
        """The names of its signatures, of which ``serving_default`` is asked if none is named."""
        return tuple(sorted(self._saved.signatures))

    @property
    def settings(self) -> dict[str, dict[str, Any]]:
        """What a model that writes can be told, by signature, with the values it has otherwise."""
        return {name: dict(values) for name, values in self._saved.settings.ways.items()}

    def predict(
        self,
        data: Any,
        *,
        columns: Mapping[str, str] | None = None,
        batch_size: int = 32,
        signature: str | None = None,
        **settings: Any,
    ) -> list[dict[str, Any]]:
        """Return an answer for each row, as ``python -m tfnlp.predict`` writes them.

        Args:
            data: texts, rows or columns, as `pipelines.memory.rows` takes them, or a `pathlib.Path`
                of a file of rows.
            columns: by the model's input, the data's name for it, where it has another.
            batch_size: rows the model is asked at a time [rows].
            signature: which of its signatures is asked.
            **settings: how a model that writes does so, such as ``temperature=0.7``.

        Raises:
            UserError: a row, column or setting cannot be used, or the server does not answer.

        Example::

            tfnlp.open("story").predict(["Once upon a time"], temperature=0.7)[0]["generated"]
        """
        given = self._settings(settings)
        if signature is None and given:
            signature, given = self._saved.settings.choose(given)
        model = self._saved.model(signature or DEFAULT, given)
        return predict(model, data, columns, batch_size, self._at_once)

    def stream(self, text: Any, **settings: Any) -> Iterator[dict[str, Any]]:
        """Yield the answer to one text while it is written.

        Args:
            text: the text, or a dict or tuple of the model's inputs.
            **settings: as of `predict`.

        Yields:
            ``generated`` so far, of which the end may still change, ``score``, ``tokens`` and
            ``done``.

        Raises:
            UserError: the model does not write, or is searched for its answer as a whole.

        Example::

            for part in tfnlp.open("story").stream("Once upon a time"):
                print(part["generated"])
        """
        given = self._settings(settings)
        signature, given = self._saved.settings.choose(given)
        if signature != "sample" or not streaming.possible(self._saved):
            raise UserError(f"{self.name} does not write its answer token by token (use predict)")
        (record,) = records_of([text], self._saved.model(), None)
        yield from streaming.Stream(self._saved, given).parts(record.values)

    def _settings(self, given: Mapping[str, Any]) -> dict[str, str]:
        """Return settings as they are given on a command line."""
        if given and not self._saved.settings.ways:
            raise UserError(
                f"{self.name} has no setting {next(iter(given))!r} (settings are for models that "
                "write)"
            )
        return {name: str(value) for name, value in given.items()}

    def __repr__(self) -> str:
        return f"tfnlp.open({self.name!r})"


def open(model: str | Path, *, precision: Precision = "auto") -> Served:
    """Open a SavedModel to ask it; nothing of how it was trained is loaded.

    Args:
        model: its folder, a folder of its versions (the highest is taken), its name in
            ``saved_models``, or its address on a server: ``http://HOST:8501/v1/models/NAME``,
            ``grpc://HOST:8500/NAME``.
        precision: ``float32``, or ``auto``: with products in bfloat16 where the processor has
            them.

    Returns:
        The model.

    Raises:
        UserError: there is no such model, it cannot be loaded, or the server does not answer.

    Example::

        tfnlp.open("trec-classification").predict(["Who wrote Hamlet?"])
    """
    name = str(model)
    if remote.is_address(name):
        return Served(name, remote.opened(name), _REQUESTS)
    folder = find_model(name)
    return Served(str(folder), saved_model.opened(folder, precision), 1)


def predict(
    model: ServedModel,
    data: Any,
    columns: Mapping[str, str] | None,
    batch_size: int,
    at_once: int = 1,
) -> list[dict[str, Any]]:
    """Return a model's answer for each row; arguments and errors as of `Served.predict`."""
    if batch_size < 1:
        raise UserError(f"batch_size is {batch_size!r}; it must be at least 1")
    records = records_of(data, model, columns)
    chunks = answered(records, model, batch_size, at_once)
    return [answer for _, answer in itertools.chain.from_iterable(chunks)]


def records_of(
    data: Any, model: ServedModel, columns: Mapping[str, str] | None
) -> Iterator[Record]:
    """Yield the rows that a model is asked about, with its inputs checked.

    Raises:
        UserError: they cannot be used.
    """
    if isinstance(data, str):
        _refuse_file(data)
        data = [data]
    headers = dict(columns or {})
    unknown_key(headers, list(model.inputs), "the model", "input")
    if not isinstance(data, Path):
        yield from memory.records(data, model.columns, headers)
        return
    form = format_of(data)
    with input_rows.open_input(str(data)) as file:
        yield from input_rows.from_file(
            file,
            model.columns,
            path=str(data),
            form=form,
            layout=Layout(),
            headers=headers,
            on_bad_row="error",
            report=lambda bad: None,
        )


def _refuse_file(text: str) -> None:
    """Raise UserError if a text is a file's name: evaluate reads the file, predict would not."""
    named = len(text) < 256 and Path(text.removesuffix(".gz")).suffix.lower() in SUFFIXES
    if named and Path(text).is_file():
        raise UserError(f"{text!r} is a file, and a text is answered here (give Path({text!r}))")
