"""Subscriptions and messages, in both protocol versions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cache_server.client import SUBSCRIBED
from tests.unit.talk import Room


@pytest.fixture
def room() -> Iterator[Room]:
    room = Room()
    yield room
    room.close()


def test_a_subscription_is_answered_once_a_channel_with_the_count(room: Room) -> None:
    reply = room.client().say("SUBSCRIBE a b a")
    parts = [
        b"*3\r\n$9\r\nsubscribe\r\n$1\r\n%b\r\n:%d\r\n" % pair
        for pair in ((b"a", 1), (b"b", 2), (b"a", 2))
    ]
    assert reply == b"".join(parts)


def test_a_message_reaches_channels_and_patterns(room: Room) -> None:
    first, second, sender = room.client(), room.client(), room.client()
    first.say("SUBSCRIBE news")
    second.say("PSUBSCRIBE n*")
    assert sender.say("PUBLISH news hi") == b":2\r\n"
    assert first.take() == b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$2\r\nhi\r\n"
    expected = b"*4\r\n$8\r\npmessage\r\n$2\r\nn*\r\n$4\r\nnews\r\n$2\r\nhi\r\n"
    assert second.take() == expected


def test_a_resp3_client_gets_pushes_and_may_call_anything(room: Room) -> None:
    client, sender = room.client(), room.client()
    client.say("HELLO 3")
    assert client.say("SUBSCRIBE a").startswith(b">3\r\n")
    sender.say("PUBLISH a x")
    assert client.take() == b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n"
    assert client.say("ECHO yes") == b"$3\r\nyes\r\n"


def test_a_resp2_client_with_subscriptions_may_call_little(room: Room) -> None:
    client = room.client()
    client.say("SUBSCRIBE a")
    assert client.say("GET k").startswith(b"-ERR Can't execute 'get': only (P|S)SUBSCRIBE")
    assert client.say("PING") == b"*2\r\n$4\r\npong\r\n$0\r\n\r\n"
    assert client.say("PING hi") == b"*2\r\n$4\r\npong\r\n$2\r\nhi\r\n"


def test_unsubscribing_from_all_ends_the_state(room: Room) -> None:
    client = room.client()
    client.say("SUBSCRIBE a", "PSUBSCRIBE p*")
    assert client.say("UNSUBSCRIBE") == b"*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:1\r\n"
    assert client.client.flags & SUBSCRIBED
    assert client.say("PUNSUBSCRIBE") == b"*3\r\n$12\r\npunsubscribe\r\n$2\r\np*\r\n:0\r\n"
    assert not client.client.flags & SUBSCRIBED
    assert client.say("UNSUBSCRIBE") == b"*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n"


def test_pubsub_counts_what_is_there(room: Room) -> None:
    client, asker = room.client(), room.client()
    client.say("SUBSCRIBE a b", "PSUBSCRIBE p*", "SSUBSCRIBE s")
    assert asker.say("PUBSUB NUMSUB a c") == b"*4\r\n$1\r\na\r\n:1\r\n$1\r\nc\r\n:0\r\n"
    assert asker.say("PUBSUB NUMPAT") == b":1\r\n"
    assert asker.say("PUBSUB CHANNELS b*") == b"*1\r\n$1\r\nb\r\n"
    assert asker.say("PUBSUB SHARDCHANNELS") == b"*1\r\n$1\r\ns\r\n"
    assert asker.say("SPUBLISH s x") == b":1\r\n"


def test_a_client_that_leaves_receives_nothing_more(room: Room) -> None:
    client, sender = room.client(), room.client()
    client.say("SUBSCRIBE a", "PSUBSCRIBE *")
    room.server.kill(client.client)
    assert sender.say("PUBLISH a x") == b":0\r\n"
    assert not room.server.pubsub.channels
    assert not room.server.pubsub.patterns


def test_reset_ends_subscriptions_and_a_transaction(room: Room) -> None:
    client = room.client()
    client.say("SUBSCRIBE a", "CLIENT SETNAME me")
    assert client.say("RESET", "CLIENT GETNAME", "GET k") == b"+RESET\r\n$-1\r\n$-1\r\n"


def test_publishing_is_propagated_though_nothing_changed(room: Room) -> None:
    room.server.propagation.active = True
    room.client().say("PUBLISH a x")
    assert room.server.propagation.take().endswith(b"$7\r\nPUBLISH\r\n$1\r\na\r\n$1\r\nx\r\n")


def test_keyspace_events_are_published_when_asked_for(room: Room) -> None:
    client, writer = room.client(), room.client()
    client.say("PSUBSCRIBE __key*__:*")
    writer.say("SET k 1")
    assert client.take() == b""
    writer.say("CONFIG SET notify-keyspace-events KE$")
    writer.say("SET k 1")
    received = client.take()
    assert b"__keyspace@0__:k\r\n$3\r\nset\r\n" in received
    assert b"__keyevent@0__:set\r\n$1\r\nk\r\n" in received
