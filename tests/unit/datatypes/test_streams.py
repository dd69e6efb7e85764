"""Streams: appending, ranges, deletion and trimming, and what followers get of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache_server import client as states
from cache_server.datatypes import streams
from cache_server.datatypes.streams import Stream
from cache_server.wire.replies import NULL_ARRAY
from tests.unit.datatypes.calling import Caller

INVALID_ID = "ERR Invalid stream ID specified as stream command argument"
EXHAUSTED = "ERR The stream has exhausted the last possible ID, unable to add more items"
LIMIT_EXACT = "ERR syntax error, LIMIT cannot be used without the special ~ option"


@pytest.fixture
def call() -> Caller:
    return Caller(streams)


def ids(reply: Any) -> list[bytes]:
    return [entry[0] for entry in reply]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 9)), max_size=300))
def test_any_sequence_of_changes_agrees_with_a_dict(changes: list[tuple[int, int]]) -> None:
    call = Caller(streams)
    call.client.config.stream_node_max_entries = 7
    model: dict[int, bytes] = {}
    last = 0
    for step, choice in changes:
        last += step
        if choice < 7:
            assert call("XADD", "s", f"{last}-1", "f", last) == b"%d-1" % last
            model[last] = b"%d" % last
        elif choice == 7:
            target = last // 2
            assert call("XDEL", "s", f"{target}-1") == int(model.pop(target, None) is not None)
        elif choice == 8:
            gone = sorted(model)[: max(0, len(model) - step)]
            assert call("XTRIM", "s", "MAXLEN", step) == len(gone)
            model = {key: value for key, value in model.items() if key not in gone}
        else:
            gone = [key for key in model if key < last // 3]
            assert call("XTRIM", "s", "MINID", f"{last // 3}") == len(gone)
            model = {key: value for key, value in model.items() if key not in gone}
        low, high = last // 4, last // 2 + 3
        inside = [b"%d-1" % key for key in sorted(model) if low <= key <= high]
        assert call("XLEN", "s") == len(model)
        assert ids(call("XRANGE", "s", low, high)) == inside
        assert ids(call("XREVRANGE", "s", high, low)) == inside[::-1]
        assert (
            ids(call("XRANGE", "s", low, "+", "COUNT", 3))
            == [b"%d-1" % key for key in sorted(model) if low <= key][:3]
        )
        assert (
            ids(call("XREVRANGE", "s", "+", low, "COUNT", 9))
            == [b"%d-1" % key for key in sorted(model, reverse=True) if low <= key][:9]
        )
    stream = call.db.peek(b"s")
    if stream is not None:
        assert [entry_id >> 64 for entry_id, _ in stream.items()] == sorted(model)
        assert all(node.ids for node in stream.nodes)
        assert all(
            node.size_bytes >= sum(len(word) for fields in node.fields for word in fields)
            for node in stream.nodes
        )
        assert all(len(node.ids) + node.gone <= 7 for node in stream.nodes)


def test_ids_are_given_from_the_clock_and_only_rise(call: Caller) -> None:
    assert call("XADD", "s", "*", "f", "v") == b"1000000-0"
    assert call.effects is None
    assert call.args == [b"XADD", b"s", b"1000000-0", b"f", b"v"]
    assert call("XADD", "s", "*", "f", "v") == b"1000000-1"
    call.keyspace.now_ms -= 5
    assert call("XADD", "s", "*", "f", "v") == b"1000000-2"
    assert call("XADD", "s", "1000000-*", "f", "v") == b"1000000-3"
    assert call("XADD", "s", "1000001-*", "f", "v") == b"1000001-0"
    assert call("XADD", "s", "1000002", "f", "v") == b"1000002-0"
    assert call("XADD", "s", "1000002-7", "f", "v") == b"1000002-7"
    assert call.effects is None
    assert call("XADD", "zero", "0-*", "f", "v") == b"0-1"
    assert call.events == [(b"xadd", b"zero")]


def test_approximate_trimming_drops_whole_nodes_and_reaches_followers_exactly(
    call: Caller,
) -> None:
    call.client.config.stream_node_max_entries = 10
    for number in range(1, 36):
        call("XADD", "s", number, "f", "v")
    assert call("XTRIM", "s", "MAXLEN", "~", 30) == 0
    assert call("XTRIM", "s", "MAXLEN", "~", 12) == 20
    assert call.effects == [[b"XTRIM", b"s", b"MAXLEN", b"=", b"15"]]
    assert call("XTRIM", "s", "MINID", "~", 33) == 10
    assert call.effects == [[b"XTRIM", b"s", b"MINID", b"=", b"31-0"]]
    assert call("XADD", "s", "MAXLEN", "~", 0, "LIMIT", 3, 40, "f", "v") == b"40-0"
    assert call("XLEN", "s") == 6
    assert call("XADD", "s", "MAXLEN", "=", 2, 41, "limit", 1) == b"41-0"
    assert call.events == [(b"xadd", b"s"), (b"xtrim", b"s")]
    assert ids(call("XRANGE", "s", "-", "+")) == [b"40-0", b"41-0"]


def test_the_leaders_stream_may_trim_without_limits(call: Caller) -> None:
    call.client.flags |= states.LEADER
    call("XADD", "s", 1, "f", "v")
    assert call("XADD", "s", "MAXLEN", "=", 1, "LIMIT", 100, 2, "f", "v") == b"2-0"
    assert call("XLEN", "s") == 1


def test_an_emptied_stream_remembers_its_last_id(call: Caller) -> None:
    call("XADD", "s", "5-5", "f", "v")
    assert call("XDEL", "s", "5-5", "6-6") == 1
    assert (call.dirty, call.events) == (1, [(b"xdel", b"s")])
    assert call("XLEN", "s") == 0
    stream = call.db.peek(b"s")
    assert stream.last_id == stream.max_deleted_id == 5 << 64 | 5
    assert (stream.first_id, stream.entries_added) == (0, 1)
    assert call.error("XADD", "s", "5-5", "f", "v").startswith("ERR The ID specified in XADD is")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("XADD", "s", "*", "f", "v", "g"), "ERR wrong number of arguments for 'xadd' command"),
        (("XADD", "s", "0-0", "f", "v"), "ERR The ID specified in XADD must be greater than 0-0"),
        (("XADD", "s", "x", "f", "v"), INVALID_ID),
        (("XADD", "s", "1-x", "f", "v"), INVALID_ID),
        (("XADD", "s", "MAXLEN", -1, "*", "f", "v"), "ERR The MAXLEN argument must be >= 0."),
        (
            ("XADD", "s", "MAXLEN", "x", "*", "f", "v"),
            "ERR value is not an integer or out of range",
        ),
        (("XADD", "full", "*", "f", "v"), EXHAUSTED),
        (("XTRIM", "s", "FOO", 1), "ERR syntax error"),
        (("XADD", "s", "LIMIT", 0, "*", "f", "v"), LIMIT_EXACT),
        (("XTRIM", "s", "MAXLEN", 5, "LIMIT", 1), LIMIT_EXACT),
        (("XRANGE", "s", "x", "+"), INVALID_ID),
        (("XRANGE", "s", "-", "+", "COUNT"), "ERR syntax error"),
        (
            ("XRANGE", "s", "(18446744073709551615-18446744073709551615", "+"),
            "ERR invalid start ID for the interval",
        ),
        (("XRANGE", "s", "-", "(0-0"), "ERR invalid end ID for the interval"),
    ],
)
def test_refusals_have_the_texts_of_redis(call: Caller, words: Any, text: str) -> None:
    call("XADD", "s", "9-9", "f", "v")
    call("XADD", "full", "18446744073709551615-18446744073709551615", "f", "v")
    assert call.error(*words) == text


def test_what_is_missing_is_empty(call: Caller) -> None:
    assert call("XLEN", "s") == call("XDEL", "s", "1-1") == call("XTRIM", "s", "MAXLEN", 1) == 0
    assert call("XRANGE", "s", "-", "+") == []
    assert call("XADD", "s", "NOMKSTREAM", "*", "f", "v") is None
    assert call.db.peek(b"s") is None
    call("XADD", "s", 1, "f", "v")
    assert call("XRANGE", "s", "-", "+", "COUNT", 0) is NULL_ARRAY
    assert call("XRANGE", "s", "(1", "+") == []
    assert call("XRANGE", "s", 1, 1) == [[b"1-0", [b"f", b"v"]]]


def test_a_copy_is_independent_and_memory_is_estimated() -> None:
    stream = Stream([(1, [b"f", b"v"]), (2, [b"f", b"w"])])
    twin = stream.copy()
    stream.append(3, [b"f", b"x" * 1000])
    stream.delete(1)
    assert list(twin.items()) == [(1, [b"f", b"v"]), (2, [b"f", b"w"])]
    assert (len(twin), len(stream), twin.last_id) == (2, 2, 2)
    assert twin.memory_bytes(0) + 900 < stream.memory_bytes(5) < 5000
