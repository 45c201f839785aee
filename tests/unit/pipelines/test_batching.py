"""The plan of batches: properties over free inputs, and the tf.data pipeline that follows it."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import batching
from pipelines.rows import Column, Rows

LENGTHS = st.lists(st.integers(2, 128), min_size=1, max_size=200).map(np.array)


@st.composite
def plans(draw):
    lengths = draw(LENGTHS)
    divisor = draw(st.integers(1, min(4, len(lengths))))
    size = divisor * draw(st.integers(1, 12))
    seed = draw(st.none() | st.integers(0, 2**31 - 1))
    budget = draw(st.none() | st.integers(1, 1000))
    return batching.Plan(lengths, size, batching.widths(lengths), seed, divisor, budget)


@given(plans(), st.integers(0, 50))
def test_every_row_stands_in_an_epoch_once(plan, epoch):
    places = np.concatenate(plan.epoch(epoch)[0])
    assert len(set(places)) == len(places)
    left_out = len(plan.lengths) - len(places)
    assert left_out == len(plan.lengths) % plan.divisor


@given(plans(), st.integers(0, 50))
def test_every_epoch_has_as_many_batches_of_at_most_the_size(plan, epoch):
    batches, widths = plan.epoch(epoch)
    assert len(batches) == len(widths) == len(plan)
    assert all(0 < len(rows) <= plan.batch_size for rows in batches)
    assert all(len(rows) % plan.divisor == 0 for rows in batches)


@given(plans(), st.integers(0, 50))
def test_the_width_is_the_smallest_that_holds_the_longest_row(plan, epoch):
    batches, widths = plan.epoch(epoch)
    for rows, width in zip(batches, widths, strict=True):
        longest = plan.lengths[rows].max()
        assert width == min(w for w in plan.widths if w >= longest)


@given(plans(), st.integers(0, 50))
def test_a_batch_keeps_within_the_budget_if_one_row_does(plan, epoch):
    for rows, width in zip(*plan.epoch(epoch), strict=True):
        within = plan.budget is None or len(rows) * width <= plan.budget
        assert within or len(rows) == plan.divisor


def test_of_long_rows_fewer_stand_in_a_batch():
    lengths = np.array([10] * 8 + [40] * 8)
    plan = batching.Plan(lengths, 8, np.array([10, 40]), None, budget=80)
    assert [len(rows) for rows in plan.epoch(0)[0]] == [8, 2, 2, 2, 2]


@given(plans(), st.integers(0, 50))
def test_the_order_is_a_function_of_seed_and_epoch(plan, epoch):
    again = batching.Plan(
        plan.lengths.copy(),
        plan.batch_size,
        plan.widths.copy(),
        plan.seed,
        plan.divisor,
        plan.budget,
    )
    for rows, same in zip(plan.epoch(epoch)[0], again.epoch(epoch)[0], strict=True):
        np.testing.assert_array_equal(rows, same)


def test_a_few_very_long_rows_do_not_share_a_bucket_with_others():
    lengths = np.array([100] * 870 + [512] * 100 + [768] * 20 + [1792] * 10)
    assert batching.widths(lengths).tolist() == [100, 512, 768, 1792]


def test_epochs_and_seeds_differ_and_no_seed_keeps_the_order():
    lengths = np.tile(np.arange(4, 12), 10)
    widths = batching.widths(lengths)
    orders = {
        tuple(np.concatenate(batching.Plan(lengths, 4, widths, seed).epoch(epoch)[0]))
        for seed in (1, 2)
        for epoch in (0, 1)
    }
    assert len(orders) == 4
    fixed = batching.Plan(lengths, 4, widths)
    np.testing.assert_array_equal(
        np.concatenate(fixed.epoch(0)[0]), np.concatenate(fixed.epoch(7)[0])
    )


@given(LENGTHS, st.integers(1, 10))
def test_widths_cover_every_row(lengths, buckets):
    widths = batching.widths(lengths, buckets)
    assert widths[-1] == lengths.max()
    assert len(widths) <= buckets
    assert (np.diff(widths) > 0).all()
    assert set(widths) <= set(lengths)


@given(st.lists(st.integers(2, 12), min_size=1, max_size=30).map(np.array), st.integers(1, 4))
def test_no_other_widths_pad_less(lengths, buckets):
    def cells(widths):
        return sum(widths[np.searchsorted(widths, lengths)])

    kinds = np.unique(lengths)
    few = min(buckets, len(kinds))
    others = [np.array([*chosen, kinds[-1]]) for chosen in combinations(kinds[:-1], few - 1)]
    assert cells(batching.widths(lengths, buckets)) == min(cells(other) for other in others)


def test_widths_of_more_lengths_than_can_be_weighed():
    lengths = np.arange(2, 6000)
    widths = batching.widths(lengths)
    assert len(widths) == batching.BUCKETS
    assert widths[-1] == 5999
    assert np.diff(widths).max() < 2 * np.diff(widths).min()


def numbers(count: int) -> dict[str, tf.Tensor]:
    return {"place": tf.range(count, dtype=tf.int64)}


def element(raw, width):
    return raw["place"], width


@settings(max_examples=15, deadline=None)
@given(plans(), st.data())
def test_a_run_can_be_taken_up_at_any_batch(plan, data):
    start = data.draw(st.integers(0, len(plan) - 1))
    raw = numbers(len(plan.lengths))
    whole = list(batching.batches(raw, plan, element, range(3)))
    rest = list(batching.batches(raw, plan, element, range(1, 3), start))
    assert len(whole) == 3 * len(plan)
    assert len(rest) == 2 * len(plan) - start
    for (rows, width), (same, wide) in zip(whole[len(plan) + start :], rest, strict=True):
        np.testing.assert_array_equal(rows, same)
        assert width == wide


@settings(max_examples=15, deadline=None)
@given(plans(), st.integers(1, 4))
def test_the_parts_of_a_batch_are_the_batch(plan, of):
    raw = numbers(len(plan.lengths))
    batches, widths = plan.epoch(0)
    halves = [
        list(batching.batches(raw, plan, element, range(1), parts=parts, of=of))
        for parts in (range(of // 2), range(of // 2, of))
        if len(parts)
    ]
    for i, (rows, width) in enumerate(zip(batches, widths, strict=True)):
        parts = []
        for found in halves:
            here = len(found) // len(batches)
            parts += found[i * here : (i + 1) * here]
        assert len(parts) == of
        assert {int(wide) for _, wide in parts} == {width}
        dealt = np.concatenate([part for part, _ in parts])
        assert sorted(dealt) == sorted(rows)
        assert max(len(p) for p, _ in parts) - min(len(p) for p, _ in parts) <= 1
        if len(rows) % of == 0:
            assert len({len(part) for part, _ in parts}) == 1


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=60),
    st.integers(1, 9),
    st.none() | st.integers(1, 200),
)
def test_rows_of_one_length_are_answered_together(lengths, batch_size, budget):
    batches, back = batching.by_length(lengths, batch_size, budget)
    order = np.concatenate(batches)
    asked = [lengths[row] for row in order]
    assert asked == sorted(asked)
    assert order[back].tolist() == list(range(len(lengths)))
    for rows, after in zip(batches, [*batches[1:], None], strict=True):
        wide = lengths[rows[-1]]
        assert 1 <= len(rows) <= batch_size
        assert budget is None or len(rows) == 1 or len(rows) * wide <= budget
        if after is not None:  # no row of the next batch had room in this one
            more = (len(rows) + 1) * lengths[after[0]]
            assert len(rows) == batch_size or (budget is not None and more > budget)


def test_cardinality_is_known():
    plan = batching.Plan(np.full(10, 5), 4, np.array([5]), seed=3)
    found = batching.batches(numbers(10), plan, element, range(2), 1, range(2), 2)
    assert int(found.cardinality()) == len(list(found)) == (2 * 3 - 1) * 2


def test_tensors_hold_each_kind_of_column():
    columns = (
        Column("text", "text", ""),
        Column("labels", "labels", ""),
        Column("score", "number", ""),
        Column("history", "turns", ""),
    )
    values = {"text": ["a", "不"], "labels": [["x", "y"], []], "score": [1.5, -2.0]}
    values["history"] = [["Hi", "Hello\r\nyou"], ["不"]]
    held = batching.tensors(Rows("test", values, [1, 2]), columns)
    assert held["text"].numpy().tolist() == [b"a", "不".encode()]
    assert held["labels"].to_list() == [[b"x", b"y"], []]
    assert held["score"].dtype == tf.float32
    assert held["score"].numpy().tolist() == [1.5, -2.0]
    assert held["history"].numpy().tolist() == ["Hi\nHello\u2028you".encode(), "不".encode()]


@pytest.mark.parametrize("shape", [(2, 3), (2, 2, 3)])
def test_pad_pads_the_last_axis_token_ids_with_the_pad_id(shape):
    ones = tf.ones(shape, tf.int32)
    padded = batching.pad({"token_ids": ones, "padding_mask": ones}, tf.constant(5, tf.int64), 7)
    assert padded["token_ids"].shape == (*shape[:-1], 5)
    assert np.unique(padded["token_ids"][..., 3:]).tolist() == [7]
    assert np.unique(padded["padding_mask"][..., 3:]).tolist() == [0]
    assert np.unique(padded["token_ids"][..., :3]).tolist() == [1]


def test_no_iterator_is_tuned():
    # What tunes it sleeps for up to a minute, and an iterator ends only when that wakes up.
    plan = batching.Plan(np.full(10, 5), 4, np.array([5]), seed=3)
    data = batching.batches(numbers(10), plan, element, range(2))
    assert data.options().autotune.enabled is False
