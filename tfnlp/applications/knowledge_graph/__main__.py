"""python -m tfnlp.applications.knowledge_graph: texts -> a graph of the triples found in them."""

from __future__ import annotations

import sys
from pathlib import Path

from pipelines.errors import UserError
from tfnlp.applications.knowledge_graph.graph import collect, write
from tfnlp.inference.saved_model import SAVED_MODELS, find_model
from tfnlp.options import Parser
from tfnlp.runtime import exit_status


def main(argv: list[str]) -> int:
    """Read texts, ask the model and write the graph."""
    parser = Parser(
        prog="python -m tfnlp.applications.knowledge_graph",
        description="Find triples in texts with a model of tfnlp.triples and write them as a "
        "graph: graph.graphml\n(networkx, Gephi, yEd), graph.ttl (RDF Turtle), graph.png and "
        "triples.csv.",
    )
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="SavedModel that answers with triples: folder, folder of versions, or a name in "
        f"{SAVED_MODELS}/",
    )
    parser.add_argument(
        "--input", required=True, metavar="FILE", help="texts: .txt (one a line), .csv, .jsonl, ..."
    )
    parser.add_argument(
        "--text-column", default="text", metavar="HEADER", help="the file's column (%(default)s)"
    )
    parser.add_argument("--output", required=True, metavar="FOLDER", help="where the graph goes")
    parser.add_argument(
        "--min-score",
        type=float,
        default=0.0,
        metavar="SCORE",
        help="least score of a triple that is kept, 0 to 1 (%(default)s)",
    )
    parser.add_argument(
        "--batch-size", type=int, default=32, metavar="ROWS", help="texts at a time (%(default)s)"
    )
    given = parser.parse(argv)
    if given.batch_size < 1:
        raise UserError(f"--batch-size {given.batch_size} is not above 0")
    _check_libraries()
    knowledge = collect(
        find_model(given.model), given.input, given.text_column, given.min_score, given.batch_size
    )
    folder = Path(given.output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write(knowledge, folder)
    except OSError as error:
        raise UserError(f"cannot write into {folder}: {error.strerror}") from error
    print(
        f"{len(knowledge.names)} things, {len(knowledge.facts)} relations: {folder}/graph.graphml"
    )
    print(f"look at {folder}/graph.png; query {folder}/graph.ttl with SPARQL (rdflib)")
    return 0


def _check_libraries() -> None:
    """Raise UserError if the libraries of graphs are not installed."""
    try:
        import networkx  # noqa: F401
        import rdflib  # noqa: F401
    except ModuleNotFoundError as error:
        raise UserError(
            f"the knowledge graph needs {error.name}, which is not installed "
            "(pip install 'tfnlp[graph]')"
        ) from error


if __name__ == "__main__":
    sys.exit(exit_status.run(main))
