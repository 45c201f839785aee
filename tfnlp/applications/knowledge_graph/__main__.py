"""python -m tfnlp.applications.knowledge_graph: texts -> a graph of the triples found in them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines.errors import UserError
from pipelines.files.formats import opened
from pipelines.rows import BadRow, Column, stream
from tfnlp.applications.knowledge_graph.graph import check_libraries, collect, write
from tfnlp.inference.chunks import answered
from tfnlp.inference.saved_model import SAVED_MODELS, find_model, load
from tfnlp.options import Parser
from tfnlp.runtime import exit_status


def main(argv: list[str]) -> int:
    """Read texts, ask the model and write the graph."""
    parser = Parser(
        prog="python -m tfnlp.applications.knowledge_graph",
        description="Find triples in texts with a model of triples and write them as a "
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
        help="lowest score of a triple that is kept, 0 to 1 (%(default)s)",
    )
    parser.add_argument(
        "--batch-size", type=int, default=32, metavar="ROWS", help="texts at a time (%(default)s)"
    )
    given = parser.parse(argv)
    if given.batch_size < 1:
        raise UserError(f"--batch-size {given.batch_size} is not above 0")
    check_libraries()
    rows = _triples(find_model(given.model), given.input, given.text_column, given.batch_size)
    knowledge = collect(rows, given.min_score)
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


def _triples(
    model: Path, source: str, column: str, batch_size: int
) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Ask a model about every text of a file; yields the rows' numbers and their triples.

    Args:
        model: the SavedModel's folder.
        source: the file of texts.
        column: its column with the texts.
        batch_size: texts the model is asked at a time [rows].

    Raises:
        UserError: the file or the model cannot be used.
    """
    from rich.console import Console
    from rich.progress import track

    left_out: list[BadRow] = []
    err = Console(stderr=True)
    with opened(Path(source)) as file:
        ask = load(model)
        if ask.inputs != ("text",):
            raise UserError(
                f"{model} reads {', '.join(ask.inputs)}, not text (join two runs into a model that "
                "does: python -m tfnlp.export --join --layout triples)"
            )
        columns = [Column("text", "text", "the text")]
        records = stream(
            file,
            columns,
            source=source,
            names={"text": column},
            flag="--text-column",
            on_bad_row="skip",
            report=left_out.append,
        )
        chunks = answered(records, ask, batch_size)
        for chunk in track(chunks, "reading", console=err, disable=not err.is_terminal, total=None):
            for record, answer in chunk:
                if "triples" not in answer:
                    raise UserError(
                        f"{model} answers with {', '.join(answer)}, not with triples (join two "
                        "runs into a model that does: python -m tfnlp.export --join --layout "
                        "triples)"
                    )
                yield record.number, answer["triples"]
    if left_out:
        err.print(
            f"warning: bad rows left out: {len(left_out)}, the first: {left_out[0]}", markup=False
        )


if __name__ == "__main__":
    sys.exit(exit_status.run(main))
