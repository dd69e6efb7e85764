"""Client-side caching: who is told that a key changed, when, and in which form."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.unit.talk import Room, Shell

INVALID_K = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n"


def turn(room: Room) -> None:
    """One turn of the loop, in which broadcasts leave."""
    room.loop.run_until_complete(asyncio.sleep(0))


@pytest.fixture
def room() -> Iterator[Room]:
    room = Room()
    yield room
    room.close()


def tracker(room: Room, *options: str) -> Shell:
    client = room.client()
    client.say("HELLO 3", " ".join(("CLIENT TRACKING ON", *options)))
    return client


def test_who_read_a_key_is_told_once_that_it_changed(room: Room) -> None:
    client, other = tracker(room), room.client()
    other.say("SET k 1")
    client.say("GET k")
    other.say("SET k 2", "SET k 3")
    assert client.take() == INVALID_K
    assert client.say("GET k") == b"$1\r\n3\r\n"


def test_what_a_client_changes_itself_is_told_after_the_reply(room: Room) -> None:
    client = tracker(room)
    client.say("HSET k f 1", "HGET k f")
    assert client.say("HDEL k f") == b":1\r\n" + INVALID_K
    client.say("GET k", "MULTI", "SET k 1", "GET j")
    assert client.say("EXEC") == b"*2\r\n+OK\r\n_\r\n" + INVALID_K


def test_noloop_leaves_out_what_the_client_changed_itself(room: Room) -> None:
    client = tracker(room, "NOLOOP")
    client.say("GET k")
    assert client.say("SET k 1") == b"+OK\r\n"
    room.client().say("SET k 2")
    assert client.take() == b""  # the first change took the key from the table


def test_broadcast_tells_prefixes_once_a_turn(room: Room) -> None:
    client, loner = tracker(room, "BCAST PREFIX a"), tracker(room, "BCAST NOLOOP")
    room.client().say("MSET a1 x b1 x a2 x")
    loner.say("SET a1 y")
    assert client.take() == b""
    turn(room)
    assert client.take() == b">2\r\n$10\r\ninvalidate\r\n*2\r\n$2\r\na1\r\n$2\r\na2\r\n"
    assert loner.take() == b">2\r\n$10\r\ninvalidate\r\n*2\r\n$2\r\nb1\r\n$2\r\na2\r\n"


def test_messages_are_redirected_to_a_subscriber_with_resp2(room: Room) -> None:
    reader, listener, writer = room.client(), room.client(), room.client()
    listener.say("SUBSCRIBE __redis__:invalidate")
    reader.say(f"CLIENT TRACKING ON REDIRECT {listener.client.id}", "GET k")
    assert reader.say("CLIENT GETREDIR") == b":%d\r\n" % listener.client.id
    writer.say("SET k 1")
    message = b"*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n"
    assert listener.take() == message + b"*1\r\n$1\r\nk\r\n"
    writer.say("FLUSHALL")
    assert listener.take() == message + b"$-1\r\n"
    assert reader.take() == b""


def test_a_broken_redirection_is_told_to_a_resp3_client(room: Room) -> None:
    listener = room.client()
    client = tracker(room, f"REDIRECT {listener.client.id}")
    client.say("GET k")
    room.server.kill(listener.client)
    room.client().say("SET k 1")
    number = listener.client.id
    assert client.take() == b">2\r\n$21\r\ntracking-redir-broken\r\n:%d\r\n" % number
    assert b"broken_redirect" in client.say("CLIENT TRACKINGINFO")
    assert b"flags=tR" in client.say("CLIENT INFO")


@pytest.mark.parametrize(("mode", "word"), [("OPTIN", "YES"), ("OPTOUT", "NO")])
def test_caching_turns_the_mode_round_for_one_command(room: Room, mode: str, word: str) -> None:
    client, other = tracker(room, mode), room.client()
    client.say(f"CLIENT CACHING {word}", "GET a", "GET b")
    noted = [key for key in (b"a", b"b") if key in room.server.tracking.table]
    assert noted == ([b"a"] if mode == "OPTIN" else [b"b"])
    other.say("MSET a 1 b 1")
    assert client.take().count(b"invalidate") == 1


def test_expiry_is_told(room: Room) -> None:
    client, other = tracker(room), room.client()
    client.say("SET k 1 PXAT 1", "GET k")
    other.say("SET k 1 PX 5")
    client.take()
    client.say("GET k")
    room.server.keyspace.now_ms += 100
    room.server.keyspace.databases[0].peek(b"k")
    assert client.take() == INVALID_K


def test_the_table_keeps_to_its_limit(room: Room) -> None:
    client = tracker(room, "NOLOOP")
    client.say(*(f"GET key:{number}" for number in range(250)))
    assert room.server.tracking.items == 250
    told = client.say("CONFIG SET tracking-table-max-keys 10")
    for _ in range(4):
        turn(room)
    assert len(room.server.tracking.table) == room.server.tracking.items == 10
    assert (told + client.take()).count(b"invalidate") == 240


def test_without_trackers_nothing_is_asked_of_the_keyspace(room: Room) -> None:
    client = tracker(room)
    assert room.server.keyspace.notify_flags
    client.say("GET k", "CLIENT TRACKING OFF")
    assert room.server.keyspace.notify_flags == 0
    assert len(room.server.tracking.table) == 0
    assert client.say("CLIENT GETREDIR") == b":-1\r\n"


def test_keyspace_events_still_reach_those_who_asked(room: Room) -> None:
    listener, other = room.client(), room.client()
    other.say("CONFIG SET notify-keyspace-events Kg")
    tracker(room)
    listener.say("PSUBSCRIBE *")
    other.say("SET k 1", "DEL k")
    assert listener.take().count(b"pmessage") == 1


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        ("ON PREFIX a", "PREFIX option requires BCAST mode to be enabled"),
        ("ON BCAST OPTIN", "OPTIN and OPTOUT are not compatible with BCAST"),
        ("ON OPTIN OPTOUT", "You can't specify both OPTIN mode and OPTOUT mode"),
        ("ON REDIRECT 999", "The client ID you want redirect to does not exist"),
        ("ON BCAST PREFIX ab PREFIX a", "Prefix 'ab' overlaps with another provided prefix 'a'"),
        ("MAYBE", "syntax error"),
        ("ON REDIRECT", "syntax error"),
    ],
)
def test_options_that_do_not_fit_are_refused(room: Room, request_: str, text: str) -> None:
    assert room.client().say(f"CLIENT TRACKING {request_}").startswith(b"-ERR " + text.encode())


def test_modes_cannot_be_switched_while_tracking(room: Room) -> None:
    client = tracker(room, "OPTIN")
    assert b"BCAST mode on/off" in client.say("CLIENT TRACKING ON BCAST")
    assert b"OPTIN/OPTOUT mode before" in client.say("CLIENT TRACKING ON OPTOUT")
    assert b"only valid when tracking is enabled in OPTOUT" in client.say("CLIENT CACHING NO")
    assert b"in tracking mode with" in room.client().say("CLIENT CACHING YES")


def test_what_an_eviction_tells_is_not_made_room_for(room: Room) -> None:
    eviction, keys = room.server.upkeep.eviction, 300
    client, other = tracker(room), room.client()
    for number in range(keys):
        name = f"{number}" + "x" * 1000
        other.say(f"SET {name} x")
        client.say(f"GET {name}")
    used = [10_000_000]
    eviction.used_bytes = lambda: used[0]  # whatever is freed, the messages cost as much
    other.say("CONFIG SET maxmemory-policy allkeys-random")
    room.server.config.maxmemory = used[0] - 20_000
    assert eviction.make_room()
    assert keys - 30 < len(room.server.keyspace) < keys - 10


def test_a_script_s_keys_are_tracked_when_it_reads(room: Room) -> None:
    client, other = tracker(room), room.client()
    client.say("EVAL \"redis.call('set', 'z', '1')\" 1 k")
    other.say("SET k 1")
    assert client.take() == b""
    client.say("EVAL_RO \"redis.call('ping')\" 1 k")
    other.say("SET k 1")
    assert client.take() == b""
    client.say("EVAL_RO \"redis.call('get', 'k')\" 1 k")
    other.say("SET k 1")
    assert client.take() == INVALID_K
    client.say("MULTI", "EVAL \"redis.call('get', 'k')\" 1 k", "EXEC")
    other.say("SET k 1")
    assert client.take() == INVALID_K
