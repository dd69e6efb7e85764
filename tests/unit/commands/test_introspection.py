"""COMMAND, INFO, CONFIG, SLOWLOG, LATENCY, MEMORY and DEBUG over the wire."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.talk import Room


@pytest.fixture
def room() -> Iterator[Room]:
    room = Room(enable_debug_command="yes")
    yield room
    room.close()


def test_every_row_can_be_described_and_documented(room: Room) -> None:
    client = room.client()
    count = len(room.server.dispatcher.commands)
    assert client.say("COMMAND COUNT") == b":%d\r\n" % count
    for request in ("COMMAND", "COMMAND INFO"):
        assert client.say(request).startswith(b"*%d\r\n" % count)
    listed = client.say("COMMAND LIST")
    assert b"\r\nconfig|get\r\n" in listed
    assert b"\r\nget\r\n" in listed
    assert client.say("COMMAND DOCS").startswith(b"*%d\r\n" % (2 * count))
    assert client.say("COMMAND INFO nosuch") == b"*1\r\n*-1\r\n"


def test_keys_of_a_request_are_told(room: Room) -> None:
    client = room.client()
    assert client.say("COMMAND GETKEYS SET k v") == b"*1\r\n$1\r\nk\r\n"
    assert client.say("COMMAND GETKEYS PING x").startswith(b"-ERR The command has no key")
    assert client.say("COMMAND GETKEYS NOSUCH x").startswith(b"-ERR Invalid command specified")
    assert client.say("COMMAND GETKEYS SET k").startswith(b"-ERR Invalid number of arguments")


def test_containers_refuse_unknown_words_and_help(room: Room) -> None:
    client = room.client()
    containers = ("CLIENT", "CONFIG", "COMMAND", "PUBSUB", "SLOWLOG", "LATENCY", "MEMORY", "DEBUG")
    for name in containers:
        assert client.say(f"{name} HELP").startswith(b"*"), name
        assert client.say(f"{name} NOSUCH").startswith(b"-ERR unknown subcommand"), name


def test_info_shows_the_sections_asked_for(room: Room) -> None:
    client = room.client()
    text = client.say("INFO server clients").decode()
    assert text.count("# ") == 2
    everything = client.say("INFO everything").decode()
    assert "# Commandstats\r\n" in everything
    assert "cmdstat_info:calls=" in everything
    assert "# Commandstats" not in client.say("INFO").decode()
    assert client.say("INFO nosuch") == b"$0\r\n\r\n"


def test_errors_are_counted_by_their_code(room: Room) -> None:
    client = room.client()
    client.say("NOSUCH", "SELECT x", "AUTH a b")
    text = client.say("INFO errorstats")
    assert b"errorstat_ERR:count=2\r\n" in text
    assert b"errorstat_WRONGPASS:count=1\r\n" in text
    client.say("CONFIG RESETSTAT")
    assert b"errorstat_" not in client.say("INFO errorstats")


def test_a_reset_of_the_counters_resets_what_was_freed_lazily(room: Room) -> None:
    client = room.client()
    room.server.upkeep.lazy_free.freed = 3
    assert b"lazyfreed_objects:3\r\n" in client.say("INFO memory")
    client.say("CONFIG RESETSTAT")
    assert b"lazyfreed_objects:0\r\n" in client.say("INFO memory")


@pytest.mark.parametrize("draw", ["HRANDFIELD h", "ZRANDMEMBER z", "SRANDMEMBER s"])
def test_who_draws_more_than_its_output_limit_is_closed_and_others_are_refused(
    room: Room, draw: str
) -> None:
    client = room.client()
    client.say("HSET h a b", "ZADD z 1 a", "SADD s a")
    assert client.say(f"{draw}x -999999999") == b"*0\r\n"
    assert client.say(f"{draw} -999999999") == b"-ERR value is out of range\r\n"
    client.say('CONFIG SET client-output-buffer-limit "normal 1000000 0 0"')
    client.say(f"{draw} -999999999")
    assert client.closed
    assert room.server.stats.output_limit_disconnections == 1


def test_the_streams_own_frames_are_no_reason_to_evict(room: Room) -> None:
    client = room.client()
    client.say("CONFIG SET repl-backlog-size 16kb")
    replication = room.server.replication
    replication.leader.backlog.active = True
    replication.refresh()
    for _ in range(1000):
        client.say("SET k " + "x" * 100)
        replication.written_position()
    assert not replication.leader.attached
    beyond = replication.buffer_bytes() - 16 * 1024
    assert beyond > 0
    assert room.server.memory_not_counted_bytes() == beyond


def test_slow_commands_are_logged_shortened_and_without_secrets(room: Room) -> None:
    client = room.client()
    client.say("CONFIG SET slowlog-log-slower-than 0", "SLOWLOG RESET")
    client.say("SET k " + "x" * 200, "AUTH secret", "MSET " + " ".join("k v" for _ in range(40)))
    text = client.say("SLOWLOG GET -1")
    assert b"... (72 more bytes)" in text
    assert b"(redacted)" in text
    assert b"secret" not in text
    client.say("CONFIG SET slowlog-log-slower-than -1")
    length = client.say("SLOWLOG LEN")
    client.say("SET k v")
    assert client.say("SLOWLOG LEN") == length
    assert client.say("SLOWLOG GET -2").startswith(b"-ERR count should be greater than or equal")


def test_memory_usage_of_a_key(room: Room) -> None:
    client = room.client()
    assert client.say("MEMORY USAGE k") == b"$-1\r\n"
    client.say("SET k v")
    small = int(client.say("MEMORY USAGE k")[1:])
    client.say("SET k " + "v" * 1000)
    assert int(client.say("MEMORY USAGE k SAMPLES 0")[1:]) > small + 900
    assert client.say("MEMORY USAGE k SAMPLES x").startswith(b"-ERR")


def test_the_digest_tells_data_apart_and_not_encodings(room: Room) -> None:
    client = room.client()
    empty = client.say("DEBUG DIGEST")
    client.say("SET a 1", "SET b x")
    digest = client.say("DEBUG DIGEST")
    assert digest != empty
    client.say("DEL a", "SET a 2")
    assert client.say("DEBUG DIGEST") != digest
    client.say("SET a 1")
    assert client.say("DEBUG DIGEST") == digest
    assert client.say("DEBUG DIGEST-VALUE a b").startswith(b"*2\r\n+")


def test_debug_is_refused_unless_it_is_enabled() -> None:
    room = Room()
    assert room.client().say("DEBUG HELP").startswith(b"-ERR DEBUG command not allowed.")
    room.close()


def test_debug_protocol_gives_every_reply_type(room: Room) -> None:
    client = room.client()
    kinds = "string integer double bignum null array set map attrib push verbatim true false"
    for protocol in (2, 3):
        client.say(f"HELLO {protocol}")
        for kind in kinds.split():
            assert not client.say(f"DEBUG PROTOCOL {kind}").startswith(b"-"), kind


def test_latency_spikes_are_kept_by_event(room: Room) -> None:
    client = room.client()
    assert client.say("LATENCY DOCTOR").startswith(b"$")
    client.say("CONFIG SET latency-monitor-threshold 10")
    room.server.observation.add_latency(b"fork", 20)
    room.server.observation.add_latency(b"fork", 5)
    assert client.say("LATENCY LATEST").startswith(b"*1\r\n*4\r\n$4\r\nfork\r\n")
    assert client.say("LATENCY HISTORY fork").startswith(b"*1\r\n*2\r\n")
    assert b"high 20 ms" in client.say("LATENCY GRAPH fork")
    assert client.say("LATENCY GRAPH none").startswith(b"-ERR No samples available")
    assert client.say("LATENCY RESET") == b":1\r\n"


def test_a_script_may_have_no_keys() -> None:
    room = Room()
    client = room.client()
    assert client.say("COMMAND GETKEYS EVAL x 0") == b"*0\r\n"
    assert client.say("COMMAND GETKEYS EVAL x 1 k") == b"*1\r\n$1\r\nk\r\n"
    room.close()
