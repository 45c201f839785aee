"""Requests put together: which, when, and what happens to those of which one fails."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfnlp.serving.batching import Batcher, Limits
from tfnlp.serving.failures import Code, RequestError, invalid


def texts(*values):
    array = np.empty(len(values), object)
    array[:] = [value.encode() for value in values]
    return {"text": array}


class Model:
    """Turns texts to upper case; may be held, and refuses what is bad."""

    def __init__(self):
        self.batches = []
        self.free = threading.Event()
        self.free.set()

    def run(self, inputs):
        self.batches.append(list(inputs["text"]))
        self.free.wait(10)
        if b"bad" in list(inputs["text"]):
            raise invalid("bad")
        return {"upper": np.array([text.upper() for text in inputs["text"]], object)}


def ask(model, requests, together=True, limits=None):
    """Answer requests that come while the model is busy with a first one."""

    async def all_of_them():
        with ThreadPoolExecutor(1) as pool:
            batcher = Batcher(
                model.run, together, limits or Limits(threads=1), pool, lambda *_: None
            )
            model.free.clear()
            first = asyncio.create_task(batcher.ask(texts("first")))
            await asyncio.sleep(0.05)
            tasks = [asyncio.create_task(batcher.ask(request)) for request in requests]
            await asyncio.sleep(0.05)
            model.free.set()
            return await asyncio.gather(first, *tasks, return_exceptions=True)

    found = asyncio.run(all_of_them())
    return [f if isinstance(f, Exception) else list(f["upper"]) for f in found[1:]]


def test_what_waits_goes_together():
    model = Model()
    assert ask(model, [texts("a"), texts("b", "c")]) == [[b"A"], [b"B", b"C"]]
    assert model.batches == [[b"first"], [b"a", b"b", b"c"]]


def test_short_and_long_texts_go_apart():
    model = Model()
    long = "long " * 50
    ask(model, [texts("a"), texts(long), texts("b"), texts(long)])
    assert sorted(len(batch) for batch in model.batches[1:]) == [2, 2]
    assert all(len({len(text) for text in batch}) == 1 for batch in model.batches)


def test_a_batch_has_no_more_rows_than_it_may():
    model = Model()
    limits = Limits(rows=4, threads=1)
    ask(model, [texts("a", "b", "c"), texts("d"), texts("e"), texts(*"fghijk")], limits=limits)
    assert [len(batch) for batch in model.batches] == [1, 4, 1, 4, 2]


def test_one_that_is_bad_does_not_spoil_the_others():
    found = ask(Model(), [texts("a"), texts("bad"), texts("b")])
    assert found[0] == [b"A"]
    assert found[2] == [b"B"]
    assert isinstance(found[1], RequestError)


def test_outputs_that_are_not_by_rows_are_asked_for_alone():
    class Total(Model):
        def run(self, inputs):
            return {"upper": np.array([b"".join(inputs["text"])])}

    assert ask(Total(), [texts("a"), texts("b")]) == [[b"a"], [b"b"]]


def test_columns_that_differ_in_length_take_no_rows_of_others():
    class Pairs(Model):
        def run(self, inputs):
            self.batches.append(list(inputs["text"]))
            self.free.wait(10)
            if len(inputs["text"]) != len(inputs["other"]):
                raise invalid("lengths differ")
            return {"upper": inputs["text"] + inputs["other"]}

    def pair(first, second):
        return {"text": texts(*first)["text"], "other": texts(*second)["text"]}

    model = Pairs()
    model.run, run = lambda inputs: run({"other": inputs["text"], **inputs}), model.run
    found = ask(model, [pair("ab", "c"), pair("d", "ef"), pair("g", "h")])
    assert [type(answer) for answer in found] == [RequestError, RequestError, list]
    assert found[2] == [b"gh"]


def test_a_signature_that_is_not_by_rows_is_never_put_together():
    model = Model()
    ask(model, [texts("a"), texts("b")], together=False)
    assert model.batches == [[b"first"], [b"a"], [b"b"]]


def test_a_request_of_more_rows_than_may_be_is_refused():
    [found] = ask(Model(), [texts("a", "b", "c")], limits=Limits(most=2, threads=1))
    assert found.http == 413
    assert "3 rows or more, of 2" in found.message
    [found] = ask(Model(), [texts("a", "b")], limits=Limits(most=2, threads=1))
    assert found == [b"A", b"B"]


def test_others_come_in_between_the_pieces_of_a_large_request():
    model = Model()
    ask(model, [texts(*"abcdefgh"), texts("x")], limits=Limits(rows=2, threads=1, queue=2))
    assert sorted(model.batches[2:4]) == [[b"a", b"b"], [b"c", b"d"]]
    assert model.batches[1] == [b"x"]


def test_large_requests_together_have_no_more_rows_than_one_may():
    limits = Limits(rows=2, most=5, threads=1)
    found = ask(Model(), [texts(*"abc"), texts(*"def"), texts(*"gh")], limits=limits)
    assert found[0] == [b"A", b"B", b"C"]
    assert found[1].code == Code.RESOURCE_EXHAUSTED
    assert found[2] == [b"G", b"H"]


def test_answers_of_other_widths_are_padded_as_within_a_batch():
    class Letters(Model):
        def run(self, inputs):
            rows = [list(text.decode()) for text in inputs["text"]]
            width = max(map(len, rows))
            padded = [[*row, *[""] * (width - len(row))] for row in rows]
            return {"upper": np.array([[c.encode() for c in row] for row in padded], object)}

    [found] = ask(Letters(), [texts("abc", "d", "", "ef")], limits=Limits(rows=2, threads=1))
    assert [row.tolist() for row in found] == [
        [b"a", b"b", b"c"],
        [b"d", b"", b""],
        [b"", b"", b""],
        [b"e", b"f", b""],
    ]


def test_pieces_whose_answers_are_not_by_rows_are_refused():
    class Total(Model):
        def run(self, inputs):
            return {"upper": np.array([b"".join(inputs["text"])])}

    [found] = ask(Total(), [texts("a", "b", "c")], limits=Limits(rows=2, threads=1))
    assert found.http == 400
    assert "send at most 2 rows" in found.message


def test_the_rest_of_a_large_request_is_dropped_when_its_sender_gives_up():
    model = Model()

    async def give_up():
        with ThreadPoolExecutor(1) as pool:
            limits = Limits(rows=1, threads=1)
            batcher = Batcher(model.run, True, limits, pool, lambda *_: None)
            model.free.clear()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(batcher.ask(texts(*"abcdef")), 0.05)
            model.free.set()
            return await batcher.ask(texts("next"))

    assert list(asyncio.run(give_up())["upper"]) == [b"NEXT"]
    assert model.batches == [[b"a"], [b"next"]]


def test_too_much_is_refused():
    found = ask(Model(), [texts("a", "b"), texts("c")], limits=Limits(queue=2, threads=1))
    assert found[0] == [b"A", b"B"]
    assert found[1].code == Code.RESOURCE_EXHAUSTED


def test_who_gives_up_is_not_answered():
    model = Model()

    async def give_up():
        with ThreadPoolExecutor(1) as pool:
            batcher = Batcher(model.run, True, Limits(threads=1), pool, lambda *_: None)
            model.free.clear()
            first = asyncio.create_task(batcher.ask(texts("first")))
            await asyncio.sleep(0.05)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(batcher.ask(texts("late")), 0.05)
            model.free.set()
            await first
            return await batcher.ask(texts("next"))

    assert list(asyncio.run(give_up())["upper"]) == [b"NEXT"]
    assert model.batches == [[b"first"], [b"next"]]


def test_a_wait_for_others():
    model = Model()

    async def two():
        with ThreadPoolExecutor(2) as pool:
            limits = Limits(wait=0.2, threads=2)
            batcher = Batcher(model.run, True, limits, pool, lambda *_: None)
            first = asyncio.create_task(batcher.ask(texts("a")))
            await asyncio.sleep(0.05)
            return await asyncio.gather(first, batcher.ask(texts("b")))

    asyncio.run(two())
    assert model.batches == [[b"a", b"b"]]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.text(max_size=40), min_size=1, max_size=15), min_size=1, max_size=12))
def test_each_gets_its_own(requests):
    async def all_of_them():
        with ThreadPoolExecutor(2) as pool:
            limits = Limits(rows=6, threads=2)
            batcher = Batcher(Model().run, True, limits, pool, lambda *_: None)
            return await asyncio.gather(*(batcher.ask(texts(*request)) for request in requests))

    wanted = [[text.encode().upper() for text in request] for request in requests]
    bad = any(text == "bad" for request in requests for text in request)
    if not bad:
        assert [list(found["upper"]) for found in asyncio.run(all_of_them())] == wanted
