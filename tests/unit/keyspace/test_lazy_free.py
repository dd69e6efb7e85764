"""What UNLINK drops is freed after the reply, where it is long."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.unit.talk import Room


@pytest.fixture
def room() -> Iterator[Room]:
    room = Room()
    yield room
    room.close()


def run_loop(room: Room) -> None:
    for _ in range(4):
        room.loop.run_until_complete(asyncio.sleep(0))


MEMBERS = " ".join(f"m{n}" for n in range(100))
PAIRS = " ".join(f"{n} m{n}" for n in range(100))


@pytest.mark.parametrize(
    "make", [f"SADD k {MEMBERS}", f"RPUSH k {MEMBERS}", f"HSET k {PAIRS}", f"ZADD k {PAIRS}"]
)
def test_a_long_value_is_freed_after_the_reply(room: Room, make: str) -> None:
    client, lazy_free = room.client(), room.server.upkeep.lazy_free
    client.say(make)
    assert client.say("UNLINK k none") == b":1\r\n"
    assert client.say("EXISTS k") == b":0\r\n"
    assert (lazy_free.pending, lazy_free.freed) == (1, 0)
    run_loop(room)
    assert (lazy_free.pending, lazy_free.freed) == (0, 1)


def test_a_stream_of_many_entries_is_too(room: Room) -> None:
    client, lazy_free = room.client(), room.server.upkeep.lazy_free
    client.say(*["XADD k * a b"] * 100, "XADD short * a b")
    assert client.say("UNLINK k short") == b":2\r\n"
    run_loop(room)
    assert (lazy_free.pending, lazy_free.freed) == (0, 1)


def test_short_values_and_strings_are_freed_at_once(room: Room) -> None:
    client, lazy_free = room.client(), room.server.upkeep.lazy_free
    client.say("SADD s a b", "SET n 1", "SET t " + "x" * 1000, "SETRANGE r 0 " + "x" * 100)
    assert client.say("UNLINK s n t r") == b":4\r\n"
    assert (lazy_free.pending, lazy_free.freed) == (0, 0)
