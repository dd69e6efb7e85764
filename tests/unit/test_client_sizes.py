"""maxmemory-clients: who is closed, before which command, and who is spared."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cache_server import client as states
from tests.unit.talk import Room, Shell

LIMIT = 200_000


@pytest.fixture
def room() -> Iterator[Room]:
    room = Room(maxmemory_clients=str(LIMIT))
    yield room
    room.close()


def gone(shell: Shell) -> bool:
    return bool(shell.client.flags & states.CLOSED)


def test_a_queue_counts_before_the_next_command(room: Room) -> None:
    client, other = room.client(), room.client()
    client.say("MULTI")
    for _ in range(8):
        client.say("SET k " + "v" * (LIMIT // 8))
    assert gone(client)
    assert not gone(other)
    assert room.server.stats.evicted_clients == 1


@pytest.mark.parametrize("command", ["WATCH", "SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE"])
def test_names_kept_for_a_client_count(room: Room, command: str) -> None:
    client = room.client()
    names = 0
    while not gone(client):
        client.say(*(f"{command} name:{names + number}" for number in range(100)))
        names += 100
        assert names < LIMIT // 50
    assert room.server.admission.sizes.sizes == {}


def test_the_largest_goes_first_and_only_as_many_as_must(room: Room) -> None:
    small, large = room.client(), room.client()
    small.say("MULTI", "SET k " + "v" * 30_000)
    large.say("MULTI", "SET k " + "v" * 100_000)
    room.client().say("PING")
    assert (gone(small), gone(large)) == (False, False) or gone(large)
    room.server.config.maxmemory_clients = 1
    room.server.admission.sizes.limit_changed()
    assert gone(large)
    assert not gone(small)


def test_who_asked_for_no_evict_is_spared(room: Room) -> None:
    client = room.client()
    client.say("CLIENT NO-EVICT ON", "MULTI")
    for _ in range(8):
        client.say("SET k " + "v" * (LIMIT // 8))
    assert not gone(client)


def test_the_sum_is_that_of_the_sizes(room: Room) -> None:
    clients = [room.client() for _ in range(5)]
    for client in clients:
        client.say("PING", "SET k 1", "WATCH k")
    room.server.kill(clients[0].client)
    sizes = room.server.admission.sizes
    assert sizes.total_bytes == sum(sizes.sizes.values()) > 0
    room.server.config.maxmemory_clients = 0
    sizes.limit_changed()
    assert (sizes.total_bytes, sizes.sizes) == (0, {})
