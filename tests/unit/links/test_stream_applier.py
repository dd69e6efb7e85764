"""What a follower keeps of the stream that it has executed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cache_server.links.stream_applier import StreamApplier
from tests.unit.talk import Room

LONG = b"x" * (1 << 20)


@pytest.fixture
def room() -> Iterator[Room]:
    room = Room()
    yield room
    room.close()


def command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


def test_the_memory_in_which_a_long_command_was_read_is_given_back(room: Room) -> None:
    applier = StreamApplier(room.server, lambda position: None)
    data = command(b"SET", b"k", LONG)
    for at in range(0, len(data), 1 << 16):
        applier.apply(data[at : at + (1 << 16)])
        applier.trim()
    assert applier.position == len(data)
    assert applier.buffer_bytes < 1 << 16
    assert room.client().say("STRLEN k") == b":%d\r\n" % len(LONG)
