"""A graph that grows with each text, and questions to it: as events, and over HTTP."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipelines.errors import UserError
from tfnlp.applications.knowledge_graph import graph
from tfnlp.applications.knowledge_graph.journal import Journal
from tfnlp.inference.saved_model import ServedModel

FACTS = "facts.jsonl"  # in the folder, a line a text: its number, the text, its triples


class GraphConversation:
    """The facts in all texts so far.

    Args:
        model: from ``text`` to ``triples``, as tfnlp.triples makes it.
        folder: keeps the triples of each text, of every score, and the graph at the end.
        minimum: lowest score of a triple that is taken into the graph.

    Raises:
        UserError: the model reads something else, networkx or rdflib is not installed, or the
            folder holds something else.

    Example::

        conversation = GraphConversation(model, Path("state"), minimum=0.5)
        list(conversation.handle({"type": "text", "text": "Marie Curie was born in Warsaw."}))
    """

    def __init__(self, model: ServedModel, folder: Path, minimum: float) -> None:
        graph.check_libraries()
        if model.inputs != ("text",):
            raise UserError(
                f"the model of triples reads {', '.join(model.inputs)}, not text (join two runs "
                "into a model that does: python -m tfnlp.export --join --layout triples)"
            )
        self._model, self._folder, self._minimum = model, folder, minimum
        self._knowledge = graph.Knowledge()
        self._texts = 0  # how many were read
        self._lock = Lock()  # held while the knowledge is read or changed
        self._journal = Journal(folder / FACTS, self._replay)

    def handle(self, event: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the answer to an event.

        ``{"type": "text", "text": ...}`` is answered by the triples that the graph took from the
        text, as the model gives them: ``{"type": "triples", "row": 7, "triples": [...]}``, the
        row being the text's number. ``{"type": "query", "entity": ...}`` is answered by what is
        known of a thing: ``{"type": "facts", "entity": ..., "facts": [...]}``.

        Raises:
            UserError: it is another event, or lacks something, or the model fails.
        """
        kinds = {"text": self._read, "query": self._query}
        kind = event.get("type")
        if not isinstance(kind, str) or kind not in kinds:
            raise UserError(
                f"there is no event of type {kind!r:.60}; there are: {', '.join(kinds)}"
            )
        yield kinds[kind](event)

    def _read(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Ask the model about a text, and keep what it says."""
        text = _string(event, "text")
        (answer,) = self._model.answer({"text": [text]})
        triples = _checked(answer["triples"])
        with self._lock:
            row = {"row": self._texts + 1, "text": text, "triples": triples}
            self._journal.append(row)
            return {"type": "triples", "row": row["row"], "triples": self._replay(row)}

    def _replay(self, row: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Add the triples of a text, as a line of the journal has them; returns those added."""
        number = int(row["row"])
        added = [
            triple
            for triple in row["triples"]
            if triple["score"] >= self._minimum and self._knowledge.add(number, triple)
        ]
        self._texts = number
        return added

    def _query(self, event: Mapping[str, Any]) -> dict[str, Any]:
        entity = _string(event, "entity")
        return {"type": "facts", "entity": entity, "facts": self.facts(entity)}

    def facts(self, entity: str) -> list[dict[str, Any]]:
        """Return what is known of a thing, best first, by a name in any case."""
        with self._lock:
            known = self._knowledge
            return [graph.as_row(known, fact) for fact in known.about(entity)]

    def as_json(self) -> dict[str, Any]:
        """Return all nodes and edges."""
        with self._lock:
            return graph.as_json(self._knowledge)

    def svg(self) -> str:
        """Return the picture of the facts found most often."""
        with self._lock:
            drawn = graph.most_found(self._knowledge)
        return graph.svg(drawn)

    def close(self) -> None:
        """Write graph.ttl."""
        with self._lock:
            self._journal.close()
            graph.write_turtle(self._knowledge, self._folder)


def _string(event: Mapping[str, Any], name: str) -> str:
    """Return a text that an event must have.

    Raises:
        UserError: it has none.
    """
    value = event.get(name)
    if not isinstance(value, str):
        raise UserError(
            f"an event of type {event['type']} has a text as {name!r}, not {value!r:.60}"
        )
    return value


def _checked(triples: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return a model's triples, without those whose score is not a number.

    Raises:
        UserError: they are not as those of tfnlp.triples.
    """
    for triple in triples:
        for name in graph.FIELDS:
            if name not in triple:
                raise UserError(
                    f"the model's triples have no {name!r}, only {', '.join(triple)} (give a "
                    "model that python -m tfnlp.export --join made)"
                )
    return [triple for triple in triples if math.isfinite(triple["score"])]


def routes(conversation: GraphConversation) -> Sequence[Route]:
    """Return ``GET /graph``, ``/graph.svg`` and ``/facts?entity=...``.

    Example::

        _web.application(conversation, routes(conversation))
    """

    def nodes_and_edges(request: Request) -> Response:
        return JSONResponse(conversation.as_json())

    def picture(request: Request) -> Response:
        return Response(conversation.svg(), media_type="image/svg+xml")

    def facts(request: Request) -> Response:
        entity = request.query_params.get("entity")
        if entity is None:
            raise HTTPException(400, "name the entity: /facts?entity=NAME")
        return JSONResponse({"entity": entity, "facts": conversation.facts(entity)})

    return [
        Route("/graph", nodes_and_edges),
        Route("/graph.svg", picture),
        Route("/facts", facts),
    ]
