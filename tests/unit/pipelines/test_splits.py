from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelines.errors import UserError
from pipelines.rows import Column, Rows
from pipelines.splits import divide, fold, from_files, leakage, limited, set_aside

SETTINGS = settings(deadline=None)  # the machine may be busy

LABEL = Column("label", "label", "")
LABELS = Column("labels", "labels", "")
NUMBER = Column("target", "number", "")
NAMES = st.sampled_from(["a", "b", "c", "", "a|b", "a\nb", "天气", "😀"])
SHARES = st.floats(0.01, 0.9)


def rows_of(column: Column, values: list, source: str = "a.csv") -> Rows:
    texts = [f"text {i}" for i in range(len(values))]
    numbers = [3 * i + 1 for i in range(len(values))]  # as if bad rows were left out
    return Rows(source, {"text": texts, column.name: list(values)}, numbers)


def check_partition(rows: Rows, train: Rows, held: Rows) -> None:
    assert len(train) >= 1
    assert len(held) >= 1
    assert sorted(train.numbers + held.numbers) == rows.numbers
    for part in (train, held):
        assert part.numbers == sorted(part.numbers)
        for name, values in part.columns.items():
            whole = dict(zip(rows.numbers, rows.columns[name], strict=True))
            assert values == [whole[number] for number in part.numbers]


@SETTINGS
@given(labels=st.lists(NAMES, min_size=2, max_size=300), share=SHARES, seed=st.integers(0, 99))
def test_labels_are_divided_once_evenly_and_the_same_for_a_seed(labels, share, seed):
    rows = rows_of(LABEL, labels)
    if len(set(labels)) == len(labels):
        with pytest.raises(UserError, match="one row for each label"):
            divide({"train": rows}, [LABEL], share, seed)
        return
    train, held = divide({"train": rows}, [LABEL], share, seed)
    check_partition(rows, train, held)
    assert set(train.columns["label"]) == set(labels)
    again = divide({"train": rows}, [LABEL], share, seed)
    assert (again[0].numbers, again[1].numbers) == (train.numbers, held.numbers)
    counts, taken = Counter(labels), Counter(held.columns["label"])
    possible = len(labels) - len(counts)
    assert len(held) == min(max(round(share * len(labels)), 1), possible)
    for label, count in counts.items():
        # One row is rounding, and one more what others cannot give as they have a single row.
        assert taken[label] <= min(share * count + len(counts) + 1, count - 1)


def test_each_label_gives_its_share():
    labels = ["a"] * 800 + ["b"] * 150 + ["c"] * 50
    for seed in range(20):
        _, held = divide({"train": rows_of(LABEL, labels)}, [LABEL], 0.1, seed)
        taken = Counter(held.columns["label"])
        assert abs(taken["a"] - 80) <= 2
        assert abs(taken["b"] - 15) <= 2
        assert abs(taken["c"] - 5) <= 2


def test_another_seed_divides_otherwise():
    rows = rows_of(LABEL, ["a", "b"] * 50)
    assert (
        len({tuple(divide({"train": rows}, [LABEL], 0.1, seed)[1].numbers) for seed in range(5)})
        > 1
    )


@SETTINGS
@example(given_labels=[["a"], ["a", "z"], ["c"], ["c", "z"]], share=0.9, seed=0)
@example(given_labels=[["a"], ["a", "z"], ["c"], ["c", "z"]], share=0.9, seed=1)
@example(given_labels=[["a"], ["a", "z"], ["c"], ["c", "z"]], share=0.9, seed=2)
@example(given_labels=[["a"], ["a", "z"], ["c"], ["c", "z"]], share=0.9, seed=3)
@given(
    given_labels=st.lists(
        st.lists(st.sampled_from("abcdef"), unique=True), min_size=2, max_size=200
    ),
    share=SHARES,
    seed=st.integers(0, 99),
)
def test_rows_of_several_labels_leave_each_label_in_train(given_labels, share, seed):
    rows = rows_of(LABELS, given_labels)
    try:
        train, held = divide({"train": rows}, [LABELS], share, seed)
    except UserError:
        counts = Counter(label for row in given_labels for label in row)
        # Then every row but perhaps one without labels is the only one of some label.
        free = [row for row in given_labels if all(counts[label] > 1 for label in row)]
        assert len([row for row in free if row]) <= len(counts)
        return
    check_partition(rows, train, held)
    every = {label for row in given_labels for label in row}
    assert {label for row in train.columns["labels"] for label in row} == every


@SETTINGS
@example(targets=[1.0, 2.0], share=0.9, seed=0)
@given(
    targets=st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=200),
    share=SHARES,
    seed=st.integers(0, 99),
)
def test_numbers_are_divided_too(targets, share, seed):
    rows = rows_of(NUMBER, targets)
    train, held = divide({"train": rows}, [NUMBER], share, seed)
    check_partition(rows, train, held)


@SETTINGS
@given(
    grades=st.lists(st.integers(1, 5).map(float), min_size=10, max_size=200),
    seed=st.integers(0, 99),
)
def test_every_grade_stays_in_train(grades, seed):
    train, _ = divide({"train": rows_of(NUMBER, grades)}, [NUMBER], 0.5, seed)
    assert set(train.columns["target"]) == set(grades)


def test_spans_count_by_their_labels_and_answers_by_nothing():
    values = [[(0, 4, "A"), (5, 6, "A")]] * 20 + [[(0, 4, "B"), (5, 6, "B")]] + [[]] * 19
    rows = rows_of(Column("entities", "spans", ""), values)
    for seed in range(20):
        train, held = divide({"train": rows}, [Column("entities", "spans", "")], 0.9, seed)
        kept = {label for spans in train.columns["entities"] for *_, label in spans}
        assert kept == {"A", "B"}
        assert len(held) == 36
    answers = rows_of(Column("answers", "answers", ""), [[(0, f"text {i}")] for i in range(9)])
    assert len(divide({"train": answers}, [Column("answers", "answers", "")], 0.5, 0)[1]) == 4


def test_a_given_validation_split_is_taken_as_it_is():
    train, held = rows_of(LABEL, ["a"]), rows_of(LABEL, ["b"])
    assert divide({"train": train, "validation": held}, [LABEL], 0.1, 0) == (train, held)


def test_one_row_cannot_be_divided():
    with pytest.raises(UserError, match=r"a.csv has 1 row, too few"):
        divide({"train": rows_of(LABEL, ["a"])}, [LABEL], 0.1, 0)


@pytest.mark.parametrize(
    ("labels", "said"),
    [(["a"], "has 1 row, too few"), (["a", "b"], "has one row for each label")],
)
def test_too_few_rows_of_a_limit_are_not_said_to_be_the_files(labels, said):
    rows = {"train": rows_of(LABEL, labels)}
    with pytest.raises(UserError, match=rf"a.csv with --limit \d {said}.*\(raise --limit, or give"):
        divide(rows, [LABEL], None, 0, limit=len(labels))
    with pytest.raises(UserError, match=rf"a.csv {said}.*\(add rows, or give"):
        divide(rows, [LABEL], None, 0, limit=1000)


@SETTINGS
@given(labels=st.lists(NAMES, min_size=2, max_size=300), share=SHARES)
def test_test_rows_are_set_aside_evenly_by_label(labels, share):
    rows = rows_of(LABEL, labels)
    if len(set(labels)) == len(labels):
        with pytest.raises(UserError, match=r"kept for test \(add rows, or give --test\)"):
            set_aside(rows, [LABEL], share)
        return
    left, test = set_aside(rows, [LABEL], share)
    check_partition(rows, left, test)
    assert set(left.columns["label"]) == set(labels)
    assert len(test) == min(max(round(share * len(labels)), 1), len(labels) - len(set(labels)))


@SETTINGS
@given(
    values=st.lists(st.lists(NAMES, unique=True, max_size=3), min_size=2, max_size=120),
    folds=st.integers(2, 7),
)
def test_folds_share_out_all_rows_but_those_that_alone_have_a_label(values, folds):
    folds = min(folds, len(values))
    rows = rows_of(LABELS, values)
    counts = Counter(label for several in values for label in several)
    seen = []
    for number in range(1, folds + 1):
        try:
            train, held = fold(rows, [LABELS], number, folds)
        except UserError:  # none of its rows can be spared
            continue
        check_partition(rows, train, held)
        assert {label for several in train.columns["labels"] for label in several} == set(counts)
        assert len(held) <= -(-len(rows) // folds)
        seen += held.numbers
    assert len(seen) == len(set(seen))
    alone = [several for several in values if any(counts[label] == 1 for label in several)]
    if max(map(len, values)) <= 1:
        assert len(seen) == len(rows) - len(alone)


def test_rows_too_few_for_as_many_folds():
    with pytest.raises(UserError, match=r"a.csv has 2 rows to train with, too few for 3 folds"):
        fold(rows_of(LABEL, ["a", "a"]), [LABEL], 3, 3)


def test_each_fold_has_its_share_of_each_label():
    rows = rows_of(LABEL, ["a"] * 83 + ["b"] * 31 + ["c"] * 2)
    for number in range(1, 6):
        held = Counter(fold(rows, [LABEL], number, 5)[1].columns["label"])
        assert held["a"] in (16, 17)
        assert held["b"] in (6, 7)
        assert held["c"] <= 1


def test_rows_too_few_to_set_any_aside():
    with pytest.raises(UserError, match=r"too few to train and test with .*--test"):
        set_aside(rows_of(LABEL, ["a"]), [LABEL], 0.2)


@SETTINGS
@given(size=st.integers(1, 100), limit=st.none() | st.integers(1, 120), seed=st.integers(0, 99))
def test_a_limit_draws_rows_in_their_order(size, limit, seed):
    rows = rows_of(LABEL, ["a"] * size)
    part = limited(rows, [LABEL], limit, seed)
    assert len(part) == (size if limit is None else min(size, limit))
    assert part.numbers == sorted(set(part.numbers))
    assert set(part.numbers) <= set(rows.numbers)
    assert limited(rows, [LABEL], limit, seed).numbers == part.numbers


@SETTINGS
@given(st.lists(st.lists(NAMES, max_size=3), min_size=1, max_size=40), st.integers(0, 99))
def test_a_limit_loses_no_label_that_there_is_room_for(values, seed):
    labels = {label for several in values for label in several}
    for limit in range(len(labels), len(values)):
        part = limited(rows_of(LABELS, values), [LABELS], limit or 1, seed)
        assert labels == {label for several in part.columns["labels"] for label in several}


def test_leakage_names_the_first_rows_of_each_split():
    train, test = rows_of(LABEL, ["a"] * 4), rows_of(LABEL, ["a"] * 2, "test.csv")
    test.columns["text"][:] = ["TEXT  2", "new"]
    (warning,) = leakage({"train": train, "test": test}, ["text"])
    assert "1 rows of test.csv" in warning
    assert "row 1 is row 7" in warning
    assert leakage({"train": train, "test": test.take([1])}, ["text"]) == []


def test_files_are_read_by_split(tmp_path):
    text = Column("text", "text", "")
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text(f"text,tag\nof {name},x\n", "utf-8")
    files = {"train": str(tmp_path / "a.csv"), "test": str(tmp_path / "b.csv")}
    found = from_files(files, [text, LABEL], {"label": "tag"}, "error", "|")
    assert {split: rows.columns["text"] for split, rows in found.items()} == {
        "train": ["of a"],
        "test": ["of b"],
    }


@pytest.mark.parametrize(
    ("rows", "held"), [(10_000, 500), (5_452, 272), (3_000, 200), (600, 120), (10, 2)]
)
def test_how_many_rows_are_held_when_nobody_says(rows, held):
    texts = [str(i) for i in range(rows)]
    train = Rows("a.csv", {"text": texts, "label": ["a"] * rows}, list(range(1, rows + 1)))
    kept, validation = divide({"train": train}, [LABEL], None, 1)
    assert len(validation) == held
    assert len(kept) == rows - held
