"""Triples become a graph that other programs read."""

import csv

import networkx
import pytest
import rdflib

from tfnlp.applications.knowledge_graph import graph as graphs
from tfnlp.applications.knowledge_graph.graph import Knowledge


def _triple(head, relation, tail, score=0.9, types=("person", "place")):
    ends = {"head": head, "head_type": types[0], "tail": tail, "tail_type": types[1]}
    return {**ends, "relation": relation, "score": score}


@pytest.fixture
def knowledge():
    found = Knowledge()
    found.add(1, _triple("Marie Curie", "born_in", "Warsaw", 0.7))
    found.add(3, _triple("marie  curie", "born_in", "Warsaw", 0.9))
    found.add(3, _triple("Marie Curie", "died_in", "Passy"))
    found.add(4, _triple("鲁迅", "born_in", 'Shaoxing <"&\x00> 绍兴'))
    found.add(5, _triple("Warsaw", "part_of", "warsaw"))
    return found


def test_one_thing_written_in_two_ways_is_one_node(knowledge):
    fact = knowledge.facts["marie curie", "born_in", "warsaw"]
    knowledge.add(3, _triple("Marie Curie", "born_in", "Warsaw", 0.8))
    assert (fact.score, fact.rows) == (0.9, [1, 3])
    assert knowledge.name("marie curie") == "Marie Curie"
    assert len(knowledge.facts) == 3, "nothing stands in a relation to itself"


def test_files_are_read_by_other_programs(knowledge, tmp_path):
    graphs.write(knowledge, tmp_path)
    graph = networkx.read_graphml(tmp_path / "graph.graphml")
    assert graph.nodes["鲁迅"]["label"] == "鲁迅"
    edges = {(a, b): data["relation"] for a, b, data in graph.edges(data=True)}
    assert edges["marie curie", "passy"] == "died_in"
    triples = rdflib.Graph().parse(tmp_path / "graph.ttl")
    asked = """SELECT ?name WHERE {
        ?who <urn:tfnlp:relation:born_in> ?where .
        ?who <http://www.w3.org/2000/01/rdf-schema#label> ?name }"""
    assert {str(row.name) for row in triples.query(asked)} == {"Marie Curie", "鲁迅"}
    with (tmp_path / "triples.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [rows[0][name] for name in ("head", "relation", "rows")] == [
        "Marie Curie",
        "born_in",
        "1 3",
    ]
    assert (tmp_path / "graph.png").read_bytes().startswith(b"\x89PNG")


def test_no_triples_give_empty_files(tmp_path):
    graphs.write(Knowledge(), tmp_path)
    assert len(networkx.read_graphml(tmp_path / "graph.graphml")) == 0
    assert len(rdflib.Graph().parse(tmp_path / "graph.ttl")) == 0
    assert (tmp_path / "graph.png").stat().st_size > 1000
