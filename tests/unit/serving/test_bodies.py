"""Bodies that come slowly, not at all, or while others hold the room for them."""

import asyncio

import pytest
from starlette.requests import ClientDisconnect, Request

from tfnlp.serving import bodies
from tfnlp.serving.bodies import Room
from tfnlp.serving.failures import Code, RequestError
from tfnlp.serving.json_check import JsonCheck


def request(parts, gone=False, **headers):
    """Return a request whose body comes in parts; after None nothing comes."""
    left = iter(parts)

    async def receive():
        part = next(left, b"")
        if part is None:
            await asyncio.sleep(60)
        if gone and part == b"":
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": part, "more_body": part != b""}

    named = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": named}, receive)


def read(asked, room=None, most=100):
    async def reading():
        with (room or Room(1000)).kept() as hold:
            return await bodies.read(asked, most, JsonCheck(100), hold)

    return asyncio.run(reading())


def test_a_body_in_parts():
    assert read(request([b'{"a"', b": 1}"])) == b'{"a": 1}'


def test_a_body_that_never_ends_is_given_up(monkeypatch):
    monkeypatch.setattr(bodies, "SECONDS", 0.05)
    with pytest.raises(RequestError) as error:
        read(request([b"{", None]))
    assert (error.value.code, error.value.http) == (Code.DEADLINE_EXCEEDED, 408)


def test_a_sender_that_is_gone():
    with pytest.raises(ClientDisconnect):
        read(request([b"{"], gone=True))


def test_bodies_together_have_a_limit_and_leave_room_when_they_end():
    room = Room(10)
    with room.kept() as hold:
        hold(6)
        with pytest.raises(RequestError) as error:
            read(request([b"12345"]), room)
        assert error.value.http == 429
        assert room.held == 6
    assert read(request([b"12345"]), room) == b"12345"
    assert room.held == 0


def test_the_rest_of_what_is_refused_is_read_so_that_its_sender_reads_the_answer():
    asked = request([b" " * 60, b" " * 60, b" " * 60])
    with pytest.raises(RequestError) as error:
        read(asked)
    assert error.value.http == 413
    assert asked._stream_consumed
