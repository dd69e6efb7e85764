"""AUTH, HELLO, CLIENT: who a client is, and what others may do to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.talk import Room


@pytest.fixture
def room() -> Iterator[Room]:
    room = Room()
    yield room
    room.close()


@pytest.fixture
def locked() -> Iterator[Room]:
    room = Room(requirepass="secret")
    yield room
    room.close()


def test_without_the_password_nothing_is_done(locked: Room) -> None:
    client = locked.client()
    assert client.say("SET k 1") == b"-NOAUTH Authentication required.\r\n"
    assert client.say("AUTH wrong").startswith(b"-WRONGPASS ")
    assert client.say("AUTH other secret").startswith(b"-WRONGPASS ")
    assert client.say("AUTH secret", "SET k 1") == b"+OK\r\n+OK\r\n"
    assert locked.client().say("AUTH default secret") == b"+OK\r\n"


def test_hello_authenticates_and_switches_the_protocol(locked: Room) -> None:
    client = locked.client()
    assert client.say("HELLO 3").startswith(b"-NOAUTH HELLO must be called")
    assert client.say("HELLO 3 AUTH default secret SETNAME me").startswith(b"%7\r\n")
    assert client.say("CLIENT GETNAME") == b"$2\r\nme\r\n"
    assert client.say("HELLO 4") == b"-NOPROTO unsupported protocol version\r\n"


def test_an_unauthenticated_client_may_not_announce_much(locked: Room) -> None:
    client = locked.client()
    client.channel.data_received(b"*100\r\n")
    assert client.take() == b"-ERR Protocol error: unauthenticated multibulk length\r\n"
    other = locked.client()
    other.channel.data_received(b"*1\r\n$100000\r\n")
    assert other.take() == b"-ERR Protocol error: unauthenticated bulk length\r\n"


def test_names_that_would_break_the_client_list_are_refused(room: Room) -> None:
    client = room.client()
    assert client.say('CLIENT SETNAME "a b"').startswith(b"-ERR Client names cannot contain")
    assert client.say("CLIENT SETNAME ok", "CLIENT GETNAME") == b"+OK\r\n$2\r\nok\r\n"


def test_client_list_shows_each_client_once(room: Room) -> None:
    clients = [room.client() for _ in range(3)]
    text = clients[0].say("CLIENT LIST").decode()
    assert [text.count(f"id={client.client.id} ") for client in clients] == [1, 1, 1]
    assert "cmd=client|list" in text
    assert "qbuf=26" in text  # the request itself, as an array


def test_kill_by_filters_spares_the_caller(room: Room) -> None:
    caller, other, subscriber = room.client(), room.client(), room.client()
    subscriber.say("SUBSCRIBE a")
    assert caller.say("CLIENT KILL TYPE pubsub") == b":1\r\n"
    assert subscriber.closed
    assert not other.closed
    assert caller.say("CLIENT KILL TYPE normal") == b":1\r\n"
    assert other.closed
    assert not caller.closed
    assert caller.say("CLIENT KILL ID 0").startswith(b"-ERR client-id should be greater than 0")
    assert caller.say("CLIENT KILL TYPE nonsense").startswith(b"-ERR Unknown client type")
    assert caller.say("CLIENT KILL 1.2.3.4:5") == b"-ERR No such client\r\n"


def test_a_client_may_kill_itself_and_still_gets_the_reply(room: Room) -> None:
    client = room.client()
    number = client.client.id
    assert client.say(f"CLIENT KILL ID {number} SKIPME no") == b":1\r\n"
    assert client.closed


def test_replies_can_be_turned_off_and_skipped(room: Room) -> None:
    client = room.client()
    assert client.say("CLIENT REPLY OFF", "ECHO a", "CLIENT REPLY ON", "ECHO b") == (
        b"+OK\r\n$1\r\nb\r\n"
    )
    assert client.say("CLIENT REPLY SKIP", "ECHO a", "ECHO b") == b"$1\r\nb\r\n"


def test_a_pause_holds_requests_back_and_its_end_runs_them(room: Room) -> None:
    admin, writer, reader = room.client(), room.client(), room.client()
    assert admin.say("CLIENT PAUSE 100000 WRITE") == b"+OK\r\n"
    assert writer.say("SET k 1", "SET k 2") == b""
    assert reader.say("GET k") == b"$-1\r\n"
    assert b"blocked_clients:1\r\n" in admin.say("INFO clients")
    admin.say("CLIENT UNPAUSE")
    assert writer.take() == b"+OK\r\n+OK\r\n"
    assert reader.say("GET k") == b"$1\r\n2\r\n"


def test_a_full_pause_holds_reads_back_and_a_client_that_leaves_is_forgotten(room: Room) -> None:
    admin, reader = room.client(), room.client()
    admin.say("CLIENT PAUSE 100000")
    assert reader.say("GET k") == b""
    room.server.kill(reader.client)
    room.server.pauses.end("client")
    assert reader.take() == b""


def test_a_paused_transaction_that_only_reads_is_run(room: Room) -> None:
    admin, reader, writer = room.client(), room.client(), room.client()
    admin.say("CLIENT PAUSE 100000 WRITE")
    assert reader.say("MULTI", "GET k", "EXEC").endswith(b"*1\r\n$-1\r\n")
    assert writer.say("MULTI") == b"+OK\r\n"
    assert writer.say("SET k 1") == b""  # as Redis: a write waits when it is queued
    admin.say("CLIENT UNPAUSE")
    assert writer.take() == b"+QUEUED\r\n"
    assert writer.say("EXEC") == b"*1\r\n+OK\r\n"


def test_quit_answers_and_closes(room: Room) -> None:
    client = room.client()
    assert client.say("QUIT", "ECHO no") == b"+OK\r\n"
    assert client.closed


def test_too_many_clients_are_told_so() -> None:
    room = Room(maxclients="2")
    first, _, third = room.client(), room.client(), room.client()
    assert third.take() == b"-ERR max number of clients reached\r\n"
    assert third.closed
    assert b"rejected_connections:1\r\n" in first.say("INFO stats")
    room.close()


def test_unread_output_beyond_the_hard_limit_closes_the_client() -> None:
    room = Room()
    reader, sender = room.client(), room.client()
    sender.say('CONFIG SET client-output-buffer-limit "pubsub 100 0 0"')
    reader.say("SUBSCRIBE a")
    reader.channel.gate = lambda _: False
    sender.say("PUBLISH a " + "x" * 200)
    room.server.admission.check_output(reader)
    assert reader.closed
    assert sender.say("PUBLISH a x") == b":0\r\n"
    room.close()


def test_a_reply_beyond_the_hard_limit_is_not_sent() -> None:
    room = Room()
    client, other = room.client(), room.client()
    other.say("SET big " + "x" * 1000, 'CONFIG SET client-output-buffer-limit "normal 500 0 0"')
    assert client.say("SET k v", "GET big") == b""
    assert client.closed
    assert other.say("GET k") == b"$1\r\nv\r\n"
    room.close()


def test_monitor_shows_requests_without_passwords(room: Room) -> None:
    monitor, client = room.client(), room.client()
    assert monitor.say("MONITOR") == b"+OK\r\n"
    client.say('SET k "a\\x00"', "AUTH hunter2", "CONFIG GET x")
    lines = monitor.take().decode().splitlines()
    assert lines[0].endswith('"SET" "k" "a\\x00"')
    assert lines[1].endswith('"AUTH" "(redacted)"')
    assert len(lines) == 2  # administration is not shown
