"""MULTI and EXEC: what is queued, what is refused, and what a WATCH sees."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cache_server.client import IN_EXEC, MULTI
from tests.unit.talk import Room


@pytest.fixture
def room() -> Iterator[Room]:
    room = Room()
    yield room
    room.close()


def test_a_queue_is_run_in_order_and_answered_in_one_array(room: Room) -> None:
    client = room.client()
    reply = client.say("MULTI", "SET k 1", "GET k", "EXEC")
    assert reply == b"+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n$1\r\n1\r\n"
    assert not client.client.flags & (MULTI | IN_EXEC)


def test_a_refused_command_spoils_the_transaction(room: Room) -> None:
    client = room.client()
    reply = client.say("MULTI", "SET k", "EXEC", "EXEC")
    assert b"-ERR wrong number of arguments for 'set' command\r\n" in reply
    assert b"-EXECABORT Transaction discarded because of previous errors.\r\n" in reply
    assert reply.endswith(b"-ERR EXEC without MULTI\r\n")


def test_an_unknown_command_spoils_the_transaction(room: Room) -> None:
    assert b"-EXECABORT" in room.client().say("MULTI", "NOSUCH", "EXEC")


def test_an_error_at_run_time_does_not_stop_the_rest(room: Room) -> None:
    reply = room.client().say("MULTI", "SELECT 99", "ECHO on", "EXEC")
    assert reply.endswith(b"*2\r\n-ERR DB index is out of range\r\n$2\r\non\r\n")


def test_multi_does_not_nest_and_the_queue_survives(room: Room) -> None:
    reply = room.client().say("MULTI", "ECHO a", "MULTI", "EXEC")
    assert b"-ERR MULTI calls can not be nested\r\n" in reply
    assert reply.endswith(b"*1\r\n$1\r\na\r\n")


def test_discard_forgets_the_queue(room: Room) -> None:
    reply = room.client().say("MULTI", "SET k 1", "DISCARD", "GET k", "DISCARD")
    assert reply.endswith(b"+OK\r\n$-1\r\n-ERR DISCARD without MULTI\r\n")


def test_a_watched_key_that_changed_makes_exec_answer_null(room: Room) -> None:
    watcher, writer = room.client(), room.client()
    watcher.say("WATCH k")
    writer.say("SET k 1")
    assert watcher.say("MULTI", "SET k 2", "EXEC").endswith(b"*-1\r\n")
    assert writer.say("GET k") == b"$1\r\n1\r\n"


def test_unwatch_and_exec_end_a_watch(room: Room) -> None:
    watcher, writer = room.client(), room.client()
    for end in ("UNWATCH", "MULTI\r\nEXEC", "MULTI\r\nDISCARD"):
        watcher.say("WATCH k", end)
        writer.say("SET k 1")
        assert watcher.say("MULTI", "ECHO a", "EXEC").endswith(b"*1\r\n$1\r\na\r\n")
    assert room.server.keyspace.databases[0].watched == {}


def test_watch_is_refused_inside_multi(room: Room) -> None:
    reply = room.client().say("MULTI", "WATCH k", "EXEC")
    assert b"-ERR WATCH inside MULTI is not allowed\r\n" in reply


def test_a_client_that_leaves_watches_nothing(room: Room) -> None:
    watcher = room.client()
    watcher.say("WATCH a b", "MULTI", "SET k 1")
    room.server.kill(watcher.client)
    assert room.server.keyspace.databases[0].watched == {}


def test_a_watch_belongs_to_its_database(room: Room) -> None:
    watcher, writer = room.client(), room.client()
    watcher.say("WATCH k")
    writer.say("SELECT 1", "SET k 1")
    assert watcher.say("MULTI", "ECHO a", "EXEC").endswith(b"*1\r\n$1\r\na\r\n")


def test_an_expired_key_that_was_watched_counts_as_changed(room: Room) -> None:
    watcher = room.client()
    watcher.say("SET k 1")
    db = room.server.keyspace.databases[0]
    db.set_expiry(b"k", room.server.keyspace.now_ms + 3_600_000)
    watcher.say("WATCH k")
    db.set_expiry(b"k", 1)
    assert watcher.say("MULTI", "ECHO a", "EXEC").endswith(b"*-1\r\n")


def test_a_key_expired_before_the_watch_and_deleted_since_has_not_changed(room: Room) -> None:
    watcher, other = room.client(), room.client()
    watcher.say("SET k 1")
    room.server.keyspace.databases[0].set_expiry(b"k", 1)
    watcher.say("WATCH k")
    other.say("GET k")
    assert watcher.say("MULTI", "ECHO a", "EXEC").endswith(b"*1\r\n$1\r\na\r\n")


def test_a_unit_of_several_writes_is_propagated_whole(room: Room) -> None:
    room.server.propagation.active = True
    room.client().say("MULTI", "SET a 1", "SET b 2", "EXEC")
    stream = room.server.propagation.take()
    assert stream.index(b"MULTI") < stream.index(b"$1\r\na") < stream.index(b"$1\r\nb")
    assert stream.endswith(b"*1\r\n$4\r\nEXEC\r\n")
    assert stream.count(b"EXEC") == 1
