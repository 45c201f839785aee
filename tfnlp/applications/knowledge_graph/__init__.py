"""A graph of the triples found in texts, which grows with each text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfnlp.application import Application, Conversation
from tfnlp.inference.saved_model import ServedModel
from tfnlp.options import option

if TYPE_CHECKING:
    from starlette.routing import BaseRoute


@dataclass(frozen=True)
class Options:
    """What is taken into the graph.

    Example::

        python -m tfnlp.applications knowledge_graph --model triples=facts --min-score 0.5
    """

    min_score: float = option(
        0.0, "lowest score of a triple that is taken into the graph", minimum=0.0, maximum=1.0
    )


def _open(options: Options, models: Mapping[str, ServedModel], folder: Path) -> Conversation:
    from tfnlp.applications.knowledge_graph.conversation import GraphConversation

    return GraphConversation(models["triples"], folder, options.min_score)


def _routes(conversation: Any) -> Sequence[BaseRoute]:
    from tfnlp.applications.knowledge_graph.conversation import routes

    return routes(conversation)


APPLICATION = Application(
    summary="a graph of triples that grows with each text; its model is of tfnlp.triples",
    options=Options,
    models={"triples": "triples"},
    sample=(
        {"type": "text", "text": "Marie Curie was born in Warsaw and died in Passy."},
        {"type": "query", "entity": "Marie Curie"},
    ),
    open=_open,
    routes=_routes,
)
