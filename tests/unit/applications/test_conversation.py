"""The graph grows with each event, and what an event added outlives the process."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import pytest
import rdflib

from pipelines.columns import Column
from pipelines.errors import UserError
from tfnlp.applications.knowledge_graph.conversation import FACTS, GraphConversation
from tfnlp.applications.knowledge_graph.journal import Journal
from tfnlp.inference.saved_model import ServedModel


def ask(graph, **event):
    (answer,) = graph.handle(event)
    return answer


def answering(*triples):
    return ServedModel((Column("text", "text", ""),), lambda texts: [{"triples": list(triples)}])


def triple(**changed):
    ends = {"head": "a", "head_type": "x", "tail": "b", "tail_type": "x", "relation": "r"}
    return {**ends, "score": 0.5, **changed}


def test_texts_become_facts_that_are_asked_about(model, tmp_path):
    graph = GraphConversation(model, tmp_path, 0.0)
    answer = ask(graph, type="text", text="Rome near Tiber")
    assert (answer["type"], answer["row"]) == ("triples", 1)
    assert [t["relation"] for t in answer["triples"]] == ["near"]
    assert ask(graph, type="text", text="nothing")["triples"] == []
    assert ask(graph, type="text", text="rome near TIBER")["row"] == 3
    (fact,) = ask(graph, type="query", entity=" ROME ")["facts"]
    assert (fact["head"], fact["tail"], fact["rows"]) == ("Rome", "Tiber", [1, 3])
    assert ask(graph, type="query", entity="tiber")["facts"] == [fact]
    assert ask(graph, type="query", entity="Paris")["facts"] == []


def test_what_was_read_is_there_again_and_rows_are_counted_on(model, tmp_path):
    first = GraphConversation(model, tmp_path, 0.0)
    ask(first, type="text", text="Rome near Tiber")
    ask(first, type="text", text="")
    before = first.as_json()
    # As after a kill: nothing is closed.
    second = GraphConversation(model, tmp_path, 0.0)
    assert second.as_json() == before
    assert ask(second, type="text", text="Rome in Italy")["row"] == 3
    second.close()
    triples = rdflib.Graph().parse(tmp_path / "graph.ttl")
    asked = "SELECT ?o WHERE { <urn:tfnlp:entity:rome> <urn:tfnlp:relation:in> ?o }"
    assert [str(row.o) for row in triples.query(asked)] == ["urn:tfnlp:entity:italy"]


@pytest.mark.parametrize("torn", [b"{", b'{"row": 2, "text": "x", "trip', b"\x00\x00"])
def test_a_line_that_a_kill_left_in_its_middle_goes(model, tmp_path, torn):
    ask(GraphConversation(model, tmp_path, 0.0), type="text", text="Rome near Tiber")
    with (tmp_path / FACTS).open("ab") as file:
        file.write(torn)
    graph = GraphConversation(model, tmp_path, 0.0)
    assert ask(graph, type="text", text="Rome in Italy")["row"] == 2
    lines = (tmp_path / FACTS).read_text().splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["Rome near Tiber", "Rome in Italy"]


@pytest.mark.parametrize("line", ["nonsense", "[1]", "{}", '{"row": 1, "triples": [{}]}'])
def test_a_file_of_something_else_is_refused(model, tmp_path, line):
    (tmp_path / FACTS).write_text(f"{line}\n")
    with pytest.raises(UserError, match=r"facts.jsonl, line 1 .* --state"):
        GraphConversation(model, tmp_path, 0.0)
    assert (tmp_path / FACTS).read_text() == f"{line}\n"


def test_a_disk_that_is_full_leaves_graph_and_file_as_they_were(model, tmp_path, monkeypatch):
    graph = GraphConversation(model, tmp_path, 0.0)
    ask(graph, type="text", text="Rome near Tiber")
    before = graph.as_json(), (tmp_path / FACTS).read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "full")))
        with pytest.raises(OSError, match="full"):
            ask(graph, type="text", text="Rome in Italy")
    assert (graph.as_json(), (tmp_path / FACTS).read_bytes()) == before
    assert ask(graph, type="text", text="Rome in Italy")["row"] == 2


def test_a_journal_is_on_disk_before_it_answers(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr("os.fsync", lambda handle: synced.append((tmp_path / "j").read_bytes()))
    Journal(tmp_path / "j", print).append({"a": "é"})
    assert synced == ['{"a": "é"}\n'.encode()]


def test_scores_below_the_least_are_kept_for_a_lower_one(tmp_path):
    low = answering(triple(score=0.2), triple(score=0.9, tail="c"), triple(score=float("nan")))
    strict = GraphConversation(low, tmp_path, 0.5)
    assert [t["tail"] for t in ask(strict, type="text", text="")["triples"]] == ["c"]
    assert len(strict.facts("a")) == 1
    assert len(GraphConversation(low, tmp_path, 0.1).facts("a")) == 2


def test_models_of_something_else_are_refused(model, tmp_path):
    pair = ServedModel((Column("text_a", "text", ""), Column("text_b", "text", "")), model.answer)
    with pytest.raises(UserError, match=r"reads text_a, text_b.* tfnlp\.export --join"):
        GraphConversation(pair, tmp_path, 0.0)
    bare = {name: value for name, value in triple().items() if name != "tail_type"}
    graph = GraphConversation(answering(bare), tmp_path, 0.0)
    with pytest.raises(UserError, match="no 'tail_type'"):
        ask(graph, type="text", text="")
    assert not (tmp_path / FACTS).read_bytes()


def test_the_picture_shows_names_and_runs_nothing(tmp_path):
    graph = GraphConversation(
        answering(triple(head="<script>alert(1)</script>", tail="鲁迅")), tmp_path, 0.0
    )
    ask(graph, type="text", text="")
    root = ET.fromstring(graph.svg())
    texts = {node.text for node in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"<script>alert(1)</script>", "鲁迅", "r"} <= texts
    assert not list(root.iter("{http://www.w3.org/2000/svg}script"))
