"""An application as a record: something built on exported models; one file or folder each.

A file in ``tfnlp/applications/`` is an application if it defines such a record as ``APPLICATION``.
``python -m tfnlp.applications`` imports it for its help, so that it keeps TensorFlow and other
heavy imports inside its functions. It asks exported models, and knows nothing of Keras.

Events go in and out as mappings that JSON can hold. Each has a ``type``, such as
``{"type": "text", "text": "Marie Curie was born in Warsaw."}``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pipelines import discover
from tfnlp.inference.saved_model import ServedModel

if TYPE_CHECKING:
    from starlette.routing import BaseRoute


class Conversation(Protocol):
    """An application at work: events in, events out, and a state that is kept.

    A server calls :meth:`handle`, and the routes, from several threads at once.

    Example::

        class Echo:
            def handle(self, event):
                yield {"type": "text", "text": event["text"]}

            def close(self): ...
    """

    def handle(self, event: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the answers to an event.

        What the event changes is on disk before its answer is yielded, so that a kill loses at
        most the event in hand.

        Raises:
            UserError: the application knows no such event; nothing has changed.
        """
        ...

    def close(self) -> None:
        """Write what is written at the end; no event is handled after this."""
        ...


@dataclass(frozen=True)
class Application:
    """An application.

    Attributes:
        summary: one line, shown by ``--help``.
        options: dataclass; each field is a flag.
        models: role -> the answer that its model must give; ``{"triples": "triples"}`` is one
            model, given as ``--model triples=SAVEDMODEL``, among whose answers is ``triples``.
        sample: events to try it with, shown by ``--help``; the last asks about what the others
            left behind. The contract test handles them.
        open: (options, role -> model, folder) -> Conversation; reads what an earlier conversation
            kept in the folder, which exists and is no other process's. Raises UserError.
        routes: the conversation that ``open`` returned -> the pages and HTTP routes of a server,
            in addition to ``POST /events``.

    Example::

        APPLICATION = Application(
            summary="repeats each text",
            options=Options,
            models={},
            sample=({"type": "text", "text": "Hi"},),
            open=lambda options, models, folder: Echo(),
        )
    """

    summary: str
    options: type
    models: Mapping[str, str]
    sample: Sequence[Mapping[str, Any]]
    open: Callable[[Any, Mapping[str, ServedModel], Path], Conversation]
    routes: Callable[[Any], Sequence[BaseRoute]] = lambda conversation: ()


def load(name: str) -> Application:
    """Return an application by its name, or an outsider's by its module (``mypackage.shop``).

    Raises:
        UserError: there is no such application, or the module defines none.

    Example:
        >>> load("knowledge_graph").models
        {'triples': 'triples'}
    """
    return discover.entry("tfnlp.applications", name, Application)
