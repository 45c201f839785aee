"""Triples found in texts as one graph, and the files and pictures it is written to."""

from __future__ import annotations

import io
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pipelines.atomic import replacing
from pipelines.errors import UserError
from pipelines.files.writers import csv_writer
from tfnlp.report import png

if TYPE_CHECKING:
    import networkx
    from matplotlib.figure import Figure

MOST_DRAWN = 60  # relations in the picture, the best first
URI = "urn:tfnlp:"
FIELDS = ("head", "head_type", "relation", "tail", "tail_type", "score")  # of a model's triples


@dataclass
class Fact:
    """A relation between two things, wherever it was found.

    Attributes:
        head: key of the thing it goes from.
        relation: its name.
        tail: key of the thing it goes to.
        score: the best score it was found with.
        rows: numbers of the rows that it was found in, ascending.

    Example:
        >>> Fact("marie curie", "born_in", "warsaw", 0.9, [1]).rows
        [1]
    """

    head: str
    relation: str
    tail: str
    score: float = 0.0
    rows: list[int] = field(default_factory=list)


@dataclass
class Knowledge:
    """Facts, and the things they are about, each under a key: its name without case and spaces.

    Attributes:
        facts: by (head, relation, tail).
        names: of each thing, how often it is written in which way.
        types: of each thing, how often it is of which type.

    Example::

        knowledge.add(1, triple)  # as the model gives it
        [fact.relation for fact in knowledge.about("Marie Curie")]
    """

    facts: dict[tuple[str, str, str], Fact] = field(default_factory=dict)
    names: dict[str, Counter[str]] = field(default_factory=dict)
    types: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, row: int, triple: Mapping[str, Any]) -> bool:
        """Add a triple as the model gives it, found in a row; rows come in their order.

        Returns:
            Whether it is a fact: nothing stands in a relation to itself.
        """
        keys = []
        for side in ("head", "tail"):
            name = _one_line(triple[side])
            keys.append(name.casefold())
            self.names.setdefault(keys[-1], Counter())[name] += 1
            self.types.setdefault(keys[-1], Counter())[triple[f"{side}_type"]] += 1
        if keys[0] == keys[1]:
            return False
        place = (keys[0], triple["relation"], keys[1])
        fact = self.facts.setdefault(place, Fact(*place))
        fact.score = max(fact.score, triple["score"])
        if fact.rows[-1:] != [row]:
            fact.rows.append(row)
        return True

    def about(self, name: str) -> list[Fact]:
        """Return the facts that a thing is the head or tail of, best first, by any of its names."""
        key = _one_line(name).casefold()
        return sorted((f for f in self.facts.values() if key in (f.head, f.tail)), key=_best_first)

    def name(self, key: str) -> str:
        """Return the way in which a thing is written most often."""
        return self.names[key].most_common(1)[0][0]

    def type(self, key: str) -> str:
        """Return the type that a thing has most often."""
        return self.types[key].most_common(1)[0][0]


def _one_line(name: str) -> str:
    """Return a name in single spaces, without control characters, for which XML has no place."""
    return " ".join("".join(c if c.isprintable() else " " for c in name).split())


def check_libraries() -> None:
    """Raise UserError if the libraries of graphs are not installed."""
    try:
        import networkx  # noqa: F401
        import rdflib  # noqa: F401
    except ModuleNotFoundError as error:
        raise UserError(
            f"the knowledge graph needs {error.name}, which is not installed "
            "(pip install -e '.[applications]')"
        ) from error


def collect(rows: Iterable[tuple[int, Sequence[Mapping[str, Any]]]], minimum: float) -> Knowledge:
    """Return the facts among triples.

    Args:
        rows: numbers of rows in their order, each with the row's triples as a model gives them.
        minimum: lowest score of a triple that is kept.

    Example::

        knowledge = collect([(1, answer["triples"])], minimum=0.5)
    """
    knowledge = Knowledge()
    for row, triples in rows:
        for triple in triples:
            if triple["score"] >= minimum:
                knowledge.add(row, triple)
    return knowledge


def write(knowledge: Knowledge, folder: Path) -> None:
    """Write the graph in all its forms; each file is put in place when it is whole.

    Example::

        write(knowledge, Path("graph"))  # GraphML, Turtle, CSV and a picture
    """
    import networkx

    graph = as_graph(knowledge)
    with replacing(folder / "graph.graphml") as file:
        file.write("\n".join(networkx.generate_graphml(graph)) + "\n")
    write_turtle(knowledge, folder)
    rows = [
        {**as_row(knowledge, fact), "rows": " ".join(map(str, fact.rows))}
        for fact in ranked(knowledge)
    ]
    with replacing(folder / "triples.csv") as file:
        csv_writer(file, ",")(rows)
    draw(knowledge, folder / "graph.png")


def write_turtle(knowledge: Knowledge, folder: Path) -> None:
    """Write graph.ttl, put in place when it is whole."""
    with replacing(folder / "graph.ttl") as file:
        file.write(turtle(knowledge))


def _best_first(fact: Fact) -> tuple[Any, ...]:
    return -len(fact.rows), -fact.score, fact.head, fact.relation, fact.tail


def ranked(knowledge: Knowledge) -> list[Fact]:
    """Return the facts, those found in most rows first, then those with the best scores.

    Example::

        ranked(knowledge)[0].rows  # of the fact that was found most often
    """
    return sorted(knowledge.facts.values(), key=_best_first)


def as_row(knowledge: Knowledge, fact: Fact) -> dict[str, Any]:
    """Return a fact by the names of its things.

    Example::

        [as_row(knowledge, fact) for fact in ranked(knowledge)]
    """
    return {
        "head": knowledge.name(fact.head),
        "head_type": knowledge.type(fact.head),
        "relation": fact.relation,
        "tail": knowledge.name(fact.tail),
        "tail_type": knowledge.type(fact.tail),
        "score": fact.score,
        "rows": list(fact.rows),
    }


def as_graph(knowledge: Knowledge, facts: Sequence[Fact] | None = None) -> networkx.MultiDiGraph:
    """Return facts, by default all, as a directed graph that may have several edges at a pair.

    Example::

        as_graph(knowledge).number_of_edges()
    """
    import networkx

    graph = networkx.MultiDiGraph()
    for fact in ranked(knowledge) if facts is None else facts:
        for key in (fact.head, fact.tail):
            graph.add_node(key, label=knowledge.name(key), type=knowledge.type(key))
        graph.add_edge(
            fact.head,
            fact.tail,
            key=fact.relation,
            relation=fact.relation,
            score=float(fact.score),
            rows=" ".join(map(str, fact.rows)),
        )
    return graph


def as_json(knowledge: Knowledge) -> dict[str, list[dict[str, Any]]]:
    """Return all facts as nodes and edges that JSON can hold.

    Example::

        as_json(knowledge)["edges"][0]["relation"]  # "born_in"
    """
    graph = as_graph(knowledge)
    return {
        "nodes": [{"id": key, **data} for key, data in graph.nodes(data=True)],
        "edges": [
            {
                "source": fact.head,
                "target": fact.tail,
                "relation": fact.relation,
                "score": fact.score,
                "rows": list(fact.rows),
            }
            for fact in ranked(knowledge)
        ],
    }


def turtle(knowledge: Knowledge) -> str:
    """Return the facts as RDF Turtle: a resource for each thing, a property for each relation.

    Example::

        print(turtle(knowledge))  # entity:marie_curie relation:born_in entity:warsaw ...
    """
    import rdflib

    graph = rdflib.Graph()
    graph.bind("entity", f"{URI}entity:")
    graph.bind("relation", f"{URI}relation:")
    graph.bind("type", f"{URI}type:")

    def named(kind: str, name: str) -> rdflib.URIRef:
        return rdflib.URIRef(f"{URI}{kind}:{quote(name.replace(' ', '_'), safe='')}")

    for fact in knowledge.facts.values():
        for key in (fact.head, fact.tail):
            thing = named("entity", key)
            graph.add((thing, rdflib.RDFS.label, rdflib.Literal(knowledge.name(key))))
            graph.add((thing, rdflib.RDF.type, named("type", knowledge.type(key))))
        ends = named("entity", fact.head), named("entity", fact.tail)
        graph.add((ends[0], named("relation", fact.relation), ends[1]))
    text: str = graph.serialize(format="turtle")
    return text


def layout(graph: networkx.MultiDiGraph) -> dict[str, list[float]]:
    """Place each part of a graph by itself and the parts side by side, in rows, largest first.

    Example::

        layout(as_graph(knowledge))["warsaw"]  # [x, y]
    """
    import networkx
    import numpy as np

    turn = np.array([[0.96, 0.28], [-0.28, 0.96]])  # 16 degrees: no edge lies under its names
    parts = sorted(networkx.connected_components(graph.to_undirected()), key=len, reverse=True)
    sides = [2 + len(part) ** 0.5 for part in parts]
    widest = max(sides[0], 1.4 * sum(side**2 for side in sides) ** 0.5)
    places: dict[str, list[float]] = {}
    left, top, height = 0.0, 0.0, sides[0]
    for part, side in zip(parts, sides, strict=True):
        if left + side > widest + 0.01:
            left, top, height = 0.0, top - height, side
        # Sorted: the order of a set of strings changes from run to run.
        inside = graph.to_undirected().subgraph(part)
        ordered = networkx.Graph()
        ordered.add_nodes_from(sorted(part))
        ordered.add_edges_from(sorted((a, b) for a, b, _ in inside.edges))
        within = networkx.kamada_kawai_layout(ordered, scale=side / 2 - 0.6)
        spots = np.array(list(within.values()))
        if np.ptp(spots[:, 0]) > np.ptp(spots[:, 1]):
            spots = spots[:, ::-1]  # names are wide: neighbours should stand above each other
        spots = spots @ turn + (left + side / 2, top - side / 2)
        places |= dict(zip(within, spots.tolist(), strict=True))
        left += side
    return places


def most_found(knowledge: Knowledge) -> networkx.MultiDiGraph:
    """Return the graph of the facts found most often, at most sixty, for a picture.

    Example::

        picture(most_found(knowledge)).savefig("graph.png")
    """
    return as_graph(knowledge, ranked(knowledge)[:MOST_DRAWN])


def draw(knowledge: Knowledge, path: Path) -> None:
    """Draw the facts found most often, at most sixty, as a PNG.

    Example::

        draw(knowledge, Path("graph.png"))
    """
    path.write_bytes(png(picture(most_found(knowledge))))


def svg(graph: networkx.MultiDiGraph) -> str:
    """Return a graph's picture as SVG, with its names as text that a browser can search.

    Example::

        Path("graph.svg").write_text(svg(most_found(knowledge)), "utf-8")
    """
    import matplotlib as mpl

    figure = picture(graph)
    # Set for the process: mpl.rc_context would undo what another thread sets.
    mpl.rcParams["svg.fonttype"] = "none"
    buffer = io.StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # the browser may have it
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def picture(graph: networkx.MultiDiGraph) -> Figure:
    """Draw a graph as :func:`as_graph` makes it.

    Example::

        picture(as_graph(knowledge)).savefig("graph.png")
    """
    import networkx
    from matplotlib.figure import Figure

    from tfnlp.evaluation import plots

    figure = Figure(figsize=(14, 10), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    if graph:
        places = layout(graph)
        kinds = sorted({kind for _, kind in graph.nodes(data="type")})
        colours = [kinds.index(kind) for _, kind in graph.nodes(data="type")]
        networkx.draw_networkx_nodes(
            graph, places, ax=axes, node_size=120, node_color=colours, cmap="Set2"
        )
        networkx.draw_networkx_edges(graph, places, ax=axes, edge_color="0.7", arrowsize=9)
        keys, labels = zip(*graph.nodes(data="label"), strict=True)
        names = dict(zip(keys, plots.shown(labels), strict=True))
        networkx.draw_networkx_labels(graph, places, names, ax=axes, font_size=8)
        edges: dict[Any, str] = {}
        for head, tail, relation in graph.edges(data="relation"):
            edges[head, tail] = f"{edges.get((head, tail), '')}, {relation}".removeprefix(", ")
        networkx.draw_networkx_edge_labels(
            graph, places, edges, ax=axes, font_size=6, font_color="tab:blue"
        )
    else:
        axes.text(0.5, 0.5, "no triples found", ha="center")
    return figure
