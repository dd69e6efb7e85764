"""`linearizable-reads yes`: what may show a write waits for it, and nothing else does."""

from __future__ import annotations

import pytest

from cache_server.commands.dispatch import GATE_READS
from tests.unit.talk import Room


@pytest.fixture
def room():
    room = Room()
    room.server.dispatcher.gates |= GATE_READS
    room.server.dispatcher.reply_gate = lambda _channel: False
    yield room
    room.close()


@pytest.mark.parametrize("asked", ["GET k", "DBSIZE", "EVAL return(1) 0", "SET k v"])
def test_what_may_show_a_write_is_held(room, asked):
    assert room.client().say(asked) == b""


def test_exec_is_held(room):
    client = room.client()
    assert client.say("MULTI", "PING").endswith(b"+QUEUED\r\n")
    assert client.say("EXEC") == b""


@pytest.mark.parametrize("asked", ["PING", "INFO replication", "CLIENT ID", "LEASE FORGET x"])
def test_what_sentinels_ask_is_answered(room, asked):
    assert room.client().say(asked) != b""
