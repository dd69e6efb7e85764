"""Hashes: the value against a dict, the commands by what they reply, propagate and announce."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import hiredis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache_server.datatypes import hashes
from cache_server.datatypes.hashes import Hash
from cache_server.wire.replies import Map, Raw
from tests.unit.datatypes.calling import Caller

WRONG_TYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"


def pairs_of(reply: Any) -> dict[bytes, bytes]:
    """HGETALL's reply, encoded or not, as a dict."""
    if isinstance(reply, Raw):
        reader = hiredis.Reader()
        reader.feed(reply.encoded)
        reply = reader.gets()
        if isinstance(reply, dict):
            return reply
    return dict(zip(reply[::2], reply[1::2], strict=True))


@pytest.fixture
def call() -> Caller:
    return Caller(hashes)


_FIELDS = st.integers(0, 300).map(lambda number: b"%d" % number)
_CHANGES = st.tuples(st.sampled_from(["HSET", "HSETNX", "HDEL", "HINCRBY"]), _FIELDS)


@settings(max_examples=60, deadline=None)
@given(st.lists(_CHANGES, max_size=400))
def test_any_sequence_of_changes_agrees_with_a_dict(changes: list[tuple[str, bytes]]) -> None:
    call = Caller(hashes)
    model: dict[bytes, bytes] = {}
    for name, field in changes:
        reply: Any
        if name == "HDEL":
            reply = int(model.pop(field, None) is not None)
            assert call(name, "h", field) == reply
        elif name == "HINCRBY":
            model[field] = b"%d" % (int(model.get(field, 0)) + 7)
            assert call(name, "h", field, 7) == int(model[field])
        elif name == "HSET":
            assert call(name, "h", field, 1) == int(field not in model)
            model[field] = b"1"
        else:
            assert call(name, "h", field, 2) == int(field not in model)
            model.setdefault(field, b"2")
        assert call("HLEN", "h") == len(model)
    assert pairs_of(call("HGETALL", "h")) == model
    assert (call.db.peek(b"h") is None) == (not model)
    assert sorted(call("HKEYS", "h")) == sorted(model)
    assert sorted(call("HVALS", "h")) == sorted(model.values())


def test_a_change_counts_every_pair_and_announces_itself_once(call: Caller) -> None:
    assert call("HSET", "h", "a", 1, "b", 2) == 2
    assert (call.dirty, call.events, call.effects) == (2, [(b"hset", b"h")], None)
    assert call("HSET", "h", "a", 1) == 0
    assert call.dirty == 1
    assert call("HDEL", "h", "a", "nope") == 1
    assert (call.dirty, call.events) == (1, [(b"hdel", b"h")])
    assert call("HDEL", "h", "b") == 1
    assert call.events == [(b"hdel", b"h"), (b"del", b"h")]
    assert call("HDEL", "h", "b") == 0
    assert (call.dirty, call.events) == (0, [])


def test_float_increments_reach_followers_as_results(call: Caller) -> None:
    assert call("HINCRBYFLOAT", "h", "f", "0.1") == b"0.1"
    assert call("HINCRBYFLOAT", "h", "f", "0.2") == b"0.3"
    assert call.effects == [[b"HSET", b"h", b"f", b"0.3"]]
    assert call.events == [(b"hincrbyfloat", b"h")]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("HSET", "h", "a", 1, "b"), "ERR wrong number of arguments for 'hset' command"),
        (("HMSET", "h", "a", 1, "b"), "ERR wrong number of arguments for 'hmset' command"),
        (("HINCRBY", "h", "t", "x"), "ERR value is not an integer or out of range"),
        (("HINCRBY", "h", "t", 1), "ERR hash value is not an integer"),
        (("HINCRBY", "h", "max", 1), "ERR increment or decrement would overflow"),
        (("HINCRBYFLOAT", "h", "t", 1), "ERR hash value is not a float"),
        (("HINCRBYFLOAT", "h", "t", "x"), "ERR value is not a valid float"),
        (("HINCRBYFLOAT", "h", "t", "inf"), "ERR value is NaN or Infinity"),
        (("HRANDFIELD", "h", 1, "foo"), "ERR syntax error"),
        (("HRANDFIELD", "h", -(2**62) - 1, "withvalues"), "ERR value is out of range"),
        (("HRANDFIELD", "h", -(2**40)), "ERR value is out of range"),
        (("HSCAN", "h", "x"), "ERR invalid cursor"),
        (("HGET", "s", "a"), WRONG_TYPE),
        (("HSET", "s", "a", 1), WRONG_TYPE),
        (("HDEL", "s", "a"), WRONG_TYPE),
    ],
)
def test_refusals_have_the_texts_of_redis(call: Caller, words: Any, text: str) -> None:
    call("HSET", "h", "t", "text", "max", 2**63 - 1)
    call.db.put(b"s", b"a string")
    assert call.error(*words) == text


def test_the_encoding_changes_once_and_for_all(call: Caller) -> None:
    call("HSET", "h", "a", "x" * 64)
    assert call.db.peek(b"h").encoding == b"listpack"
    call("HSET", "h", "a", "x" * 65)
    assert call.db.peek(b"h").encoding == b"hashtable"
    call("HSET", "h", "a", "x")
    assert call.db.peek(b"h").encoding == b"hashtable"
    for number in range(513):
        assert number == 0 or call.db.peek(b"many").encoding == b"listpack"
        call("HSET", "many", number, 1)
    assert call.db.peek(b"many").encoding == b"hashtable"


def test_a_hash_made_from_pairs_is_encoded_by_its_contents() -> None:
    assert Hash([(b"a", b"1"), (b"b", b"2"), (b"a", b"3")]).encoding == b"listpack"
    assert Hash([(b"a", b"x" * 65)]).encoding == b"hashtable"
    assert sorted(Hash([(b"a", b"1"), (b"a", b"3")]).items()) == [(b"a", b"3")]


def test_random_fields_are_distinct_or_repeated_by_the_sign_of_the_count(call: Caller) -> None:
    for number in range(1000):
        call("HSET", "h", number, -number)
    for count in (1, 5, 500, 999, 1000, 2000):
        fields = call("HRANDFIELD", "h", count)
        assert len(set(fields)) == len(fields) == min(count, 1000)
        assert len(call("HRANDFIELD", "h", -count)) == count
    pairs = call("HRANDFIELD", "h", 3, "withvalues")
    assert [-int(field) for field in pairs[::2]] == [int(value) for value in pairs[1::2]]
    assert call("HRANDFIELD", "nokey", 3) == []
    assert call("HRANDFIELD", "nokey") is None


def test_a_scan_returns_every_field(call: Caller) -> None:
    for number in range(1000):
        call("HSET", "h", number, -number)
    cursor, found = b"0", {}
    while True:
        cursor, words = call("HSCAN", "h", cursor, "COUNT", 20, "MATCH", "*5*")
        assert len(words) < 400
        found.update(zip(words[::2], words[1::2]))
        if cursor == b"0":
            break
    assert found == {b"%d" % n: b"%d" % -n for n in range(1000) if "5" in str(n)}


def test_a_copy_is_independent_and_memory_is_estimated(call: Caller) -> None:
    call("HSET", "h", "a", 1)
    value = call.db.peek(b"h")
    twin = value.copy()
    call("HSET", "h", "a", 2, "b", "x" * 1000)
    assert dict(twin.items()) == {b"a": b"1"}
    assert twin.memory_bytes(0) + 1000 < value.memory_bytes(5) < 5000


def test_what_is_missing_is_empty(call: Caller) -> None:
    assert call("HGET", "h", "a") is None
    assert call("HMGET", "h", "a", "b") == [None, None]
    assert call("HGETALL", "h") == Map()
    assert call("HSTRLEN", "h", "a") == call("HEXISTS", "h", "a") == call("HLEN", "h") == 0
    assert call("HSCAN", "h", 0) == [b"0", []]
    call("HSET", "h", "a", "four")
    assert call("HSTRLEN", "h", "a") == 4
    assert call("HMGET", "h", "a", "b") == [b"four", None]


@pytest.mark.parametrize("protocol", [2, 3])
def test_hgetall_shows_words_of_all_lengths_in_both_protocols(call: Caller, protocol: int) -> None:
    call.client.channel = SimpleNamespace(writer=SimpleNamespace(protocol=protocol))
    for sizes in ([0, 1, 9, 10], [99, 100, 254, 255], [256, 5000], [1] * 70):
        model = {b"%d" % at + b"f" * size: b"v" * size for at, size in enumerate(sizes)}
        call.db.delete(b"h")
        for field, value in model.items():
            call("HSET", "h", field, value)
        assert pairs_of(call("HGETALL", "h")) == model
