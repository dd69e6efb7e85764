"""Waiting clients: order, exactly one answer, timeouts, and what ends a wait."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_server import client as states
from cache_server.client import Client
from cache_server.commands.dispatch import Dispatcher
from cache_server.commands.propagation import Propagation
from cache_server.commands.table import Command
from cache_server.errors import CommandError
from cache_server.keyspace.blocking import Blocking, parse_timeout_ms
from cache_server.keyspace.database import Keyspace
from cache_server.observe.stats import Stats
from cache_server.wire.replies import NO_REPLY, NULL_ARRAY


class Timer:
    def __init__(self, seconds: float, function: Any, args: tuple[Any, ...]) -> None:
        self.seconds, self.function, self.args = seconds, function, args
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True

    def fire(self) -> None:
        self.function(*self.args)


class Stack:
    """What the commands here wait for: a list of bytes, last in, first out."""

    def __init__(self) -> None:
        self.items: list[bytes] = []


class Node:
    """The parts of a server that blocking needs, and two commands that use it."""

    def __init__(self) -> None:
        self.config = None
        self.stats = Stats()
        self.keyspace = Keyspace(2)
        self.propagation = Propagation(lambda: None)
        self.propagation.active = True
        self.dispatcher = Dispatcher(self, self.keyspace, self.propagation)
        self.timers: list[Timer] = []
        self.resumed: list[int] = []
        self.blocking = Blocking(
            self.dispatcher, self._call_later, lambda client: self.resumed.append(client.id)
        )
        self.keyspace.on_ready = self.blocking.key_ready
        self.take = Command("take", -3, "write blocking", self._take)
        self.give = Command("give", 3, "write", self._give)
        self.dispatcher.register(self.take)
        self.dispatcher.register(self.give)
        self.next_id = 0

    def _call_later(self, seconds: float, function: Any, *args: Any) -> Timer:
        self.timers.append(Timer(seconds, function, args))
        return self.timers[-1]

    def serve_blocked(self) -> None:
        self.blocking.serve()

    def client_wrote(self, client: Any) -> None:
        """Nobody asks."""

    def command_was_slow(self, *_: Any) -> None:
        """Nobody asks."""

    def client(self) -> Peer:
        self.next_id += 1
        return Peer(self, self.next_id)

    def _give(self, ctx: Any, args: list[bytes]) -> int:
        value = ctx.db.write(args[1])
        if value is None:
            value = Stack()
            ctx.db.put(args[1], value)
        value.items.append(args[2])
        ctx.db.changed(args[1], 0, b"give")
        return len(value.items)

    def _take(self, ctx: Any, args: list[bytes]) -> Any:
        for key in args[1:-1]:
            value = ctx.db.write_as(key, Stack)
            if value is None:
                continue
            item = value.items.pop()
            if not value.items:
                ctx.db.delete(key)
            ctx.db.changed(key, 0, b"take")
            ctx.propagate(b"TAKE1", key)
            return [key, item]
        return self.blocking.wait_for_keys(
            ctx, Stack, args[1:-1], int(args[-1]), lambda key: [b"take", key, args[-1]]
        )


class Peer:
    """A client's connection, channel and writer in one: pushed replies can be looked at."""

    def __init__(self, node: Node, client_id: int) -> None:
        self.context = Client(node, node.keyspace.databases[0], client_id)
        self.context.channel = self.context.connection = self.writer = self
        self.id = client_id
        self.replies: list[Any] = []
        self.stop = 0

    def write(self, value: Any) -> None:
        self.replies.append(value)

    def output_added(self) -> None:
        """The loop would send it."""

    def __call__(self, *args: bytes) -> Any:
        return self.context.server.dispatcher.execute(self.context, list(args))


def stream(node: Node) -> bytes:
    return node.propagation.take()


def test_a_waiting_client_is_stopped_and_answered_once_when_the_key_appears() -> None:
    node = Node()
    waiter, giver = node.client(), node.client()
    assert waiter(b"take", b"k", b"0") is NO_REPLY
    assert waiter.stop == states.STOP_BLOCKED
    assert waiter.context.flags & states.BLOCKED
    assert len(node.blocking) == 1
    assert giver(b"give", b"k", b"v") == 1
    assert waiter.replies == [[b"k", b"v"]]
    assert waiter.stop == 0
    assert not waiter.context.flags & states.BLOCKED
    assert node.resumed == [waiter.id]
    assert len(node.blocking) == 0
    assert node.keyspace.databases[0].blocked == {}
    assert node.take.calls == 1


def test_clients_are_served_in_the_order_in_which_they_came() -> None:
    node = Node()
    waiters = [node.client() for _ in range(3)]
    for waiter in waiters:
        waiter(b"take", b"k", b"0")
    giver = node.client()
    for value in (b"1", b"2", b"3"):
        giver(b"give", b"k", value)
    assert [waiter.replies[0][1] for waiter in waiters] == [b"1", b"2", b"3"]


def test_the_effect_follows_the_unit_that_made_the_key_ready() -> None:
    node = Node()
    node.client()(b"take", b"k", b"0")
    node.client()(b"give", b"k", b"v")
    data = stream(node)
    assert data.index(b"give") < data.index(b"TAKE1")
    assert b"MULTI" not in data


@pytest.mark.parametrize("way", ["deleted", "overwritten", "expired", "all dropped"])
def test_who_relies_on_a_value_is_answered_when_it_goes(way: str) -> None:
    node = Node()
    waiter, other = node.client(), node.client()
    db = node.keyspace.databases[0]
    db.put(b"k", Stack())
    gone = CommandError(b"UNBLOCKED gone")
    waiter.context.last_command = node.take
    node.blocking.wait_for_keys(
        waiter.context, Stack, [b"k", b"l"], 0, lambda key: [b"take", key, b"0"], gone
    )
    other(b"take", b"l", b"0")
    if way == "deleted":
        db.delete(b"k")
    elif way == "overwritten":
        db.put(b"k", b"string")
    elif way == "expired":
        db.set_expiry(b"k", 1)
        node.keyspace.now_ms = 2
        assert db.peek(b"k") is None
    else:
        db.clear()
    node.dispatcher.finish_unit()
    assert waiter.replies == [gone]
    assert other.replies == []
    assert db.relied_on == {}
    assert list(db.blocked) == [b"l"]


def test_a_value_of_another_type_leaves_the_client_waiting() -> None:
    node = Node()
    waiter = node.client()
    waiter(b"take", b"k", b"0")
    db = node.keyspace.databases[0]
    db.put(b"k", b"string")
    node.dispatcher.finish_unit()
    assert waiter.replies == []
    db.delete(b"k")
    node.client()(b"give", b"k", b"v")
    assert waiter.replies == [[b"k", b"v"]]


def test_a_key_named_twice_is_waited_for_once() -> None:
    node = Node()
    waiter = node.client()
    waiter(b"take", b"k", b"k", b"0")
    node.client()(b"give", b"k", b"v")
    assert waiter.replies == [[b"k", b"v"]]
    assert node.keyspace.databases[0].blocked == {}


def test_the_time_being_over_is_answered_with_a_null_array() -> None:
    node = Node()
    waiter = node.client()
    waiter(b"take", b"k", b"1500")
    (timer,) = node.timers
    assert timer.seconds == 1.5
    timer.fire()
    assert waiter.replies == [NULL_ARRAY]
    assert node.take.calls == 1
    assert len(node.blocking) == 0


def test_being_served_cancels_the_timer() -> None:
    node = Node()
    node.client()(b"take", b"k", b"1500")
    node.client()(b"give", b"k", b"v")
    assert node.timers[0].cancelled


def test_client_unblock_answers_as_asked_for() -> None:
    node = Node()
    one, two = node.client(), node.client()
    assert not node.blocking.client_unblock(one.context, False)
    one(b"take", b"k", b"0")
    two(b"take", b"k", b"0")
    assert node.blocking.client_unblock(one.context, False)
    assert node.blocking.client_unblock(two.context, True)
    assert one.replies == [NULL_ARRAY]
    assert two.replies[0].text == b"UNBLOCKED client unblocked via CLIENT UNBLOCK"
    assert node.take.failed == 1


def test_a_client_that_leaves_is_forgotten() -> None:
    node = Node()
    waiter = node.client()
    waiter(b"take", b"k", b"9")
    node.blocking.forget(waiter.context)
    assert node.keyspace.databases[0].blocked == {}
    node.client()(b"give", b"k", b"v")
    assert waiter.replies == []


@pytest.mark.parametrize("flag", [states.IN_EXEC, states.DENY_BLOCKING, states.LEADER])
def test_a_transaction_a_script_and_the_leaders_stream_do_not_wait(flag: int) -> None:
    node = Node()
    waiter = node.client()
    waiter.context.flags |= flag
    assert waiter(b"take", b"k", b"0") is NULL_ARRAY
    assert len(node.blocking) == 0


def test_waiting_for_an_event_ends_with_unblock_or_the_timeouts_own_reply() -> None:
    node = Node()
    one, two = node.client(), node.client()
    for client in (one, two):
        client.context.last_command = node.take
        assert node.blocking.wait(client.context, 100, lambda: 7) is NO_REPLY
    node.blocking.unblock(one.context, 3)
    node.timers[1].fire()
    assert (one.replies, two.replies) == ([3], [7])
    assert not node.blocking.unblock(one.context, 3)


@pytest.mark.parametrize(
    ("word", "expected"),
    [(b"0", 0), (b"1", 1000), (b"0.001", 1), (b"0.0001", 1), (b"1e1", 10000), (b"0x10", 16000)],
)
def test_timeouts_in_seconds_are_rounded_up(word: bytes, expected: int) -> None:
    assert parse_timeout_ms(word, in_seconds=True, now_ms=0) == expected


@pytest.mark.parametrize(
    ("word", "text"),
    [
        (b"", b"ERR timeout is not a float or out of range"),
        (b"foo", b"ERR timeout is not a float or out of range"),
        (b" 1", b"ERR timeout is not a float or out of range"),
        (b"1_0", b"ERR timeout is not a float or out of range"),
        (b"nan", b"ERR timeout is not a float or out of range"),
        (b"-1", b"ERR timeout is negative"),
        (b"inf", b"ERR timeout is out of range"),
        (b"0x7FFFFFFFFFFFFFFF", b"ERR timeout is out of range"),
    ],
)
def test_bad_timeouts_are_refused_with_redis_texts(word: bytes, text: bytes) -> None:
    with pytest.raises(CommandError) as caught:
        parse_timeout_ms(word, in_seconds=True, now_ms=1)
    assert caught.value.text == text


@given(st.binary(max_size=30), st.booleans())
def test_any_timeout_is_a_number_or_the_typed_error(word: bytes, in_seconds: bool) -> None:
    with contextlib.suppress(CommandError):
        assert parse_timeout_ms(word, in_seconds=in_seconds, now_ms=10**12) >= 0
