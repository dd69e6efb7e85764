"""What set commands answer, announce, count and propagate."""

from __future__ import annotations

from typing import Any

import pytest

from cache_server.datatypes import sets, strings
from cache_server.wire.replies import SetReply
from tests.unit.datatypes.calling import Caller


@pytest.fixture
def call() -> Caller:
    caller = Caller(sets, strings)
    caller("SET", "string", "v")
    caller("SADD", "abc", "a", "b", "c")
    caller("SADD", "bcd", "b", "c", "d")
    return caller


def members(call: Caller, key: str) -> set[bytes]:
    return set(call("SMEMBERS", key))


def test_only_new_members_are_counted_and_nothing_new_is_no_change(call: Caller) -> None:
    assert call("SADD", "abc", "c", "d", "d", "e") == 2
    assert (call.dirty, call.events) == (2, [(b"sadd", b"abc")])
    assert call("SADD", "abc", "a") == 0
    assert (call.dirty, call.events) == (0, [])


def test_the_last_removal_deletes_the_key_and_says_so(call: Caller) -> None:
    assert call("SREM", "abc", "a", "b", "x") == 2
    assert call("SREM", "abc", "c", "c") == 1
    assert call.events == [(b"srem", b"abc"), (b"del", b"abc")]
    assert call.db.peek(b"abc") is None


def test_a_pop_propagates_what_it_took(call: Caller) -> None:
    taken = call("SPOP", "abc")
    assert call.effects == [[b"SREM", b"abc", taken]]
    assert call("SPOP", "abc", 0) == []
    assert call.effects is None
    (second,) = call("SPOP", "abc", 1)
    assert call.effects == [[b"SREM", b"abc", second]]
    assert {taken, second} | members(call, "abc") == {b"a", b"b", b"c"}
    call("SPOP", "abc", 5)
    assert call.effects == [[b"DEL", b"abc"]]
    assert call.events == [(b"spop", b"abc"), (b"del", b"abc")]


def test_a_move_counts_both_sides_and_announces_the_target_only_if_it_grew(call: Caller) -> None:
    assert call("SMOVE", "abc", "bcd", "a") == 1
    assert (call.dirty, call.events) == (2, [(b"srem", b"abc"), (b"sadd", b"bcd")])
    assert call("SMOVE", "abc", "bcd", "b") == 1
    assert (call.dirty, call.events) == (1, [(b"srem", b"abc")])
    assert call("SMOVE", "abc", "abc", "c") == 1
    assert call.dirty == 0
    assert call("SMOVE", "abc", "bcd", "x") == 0


def test_stores_replace_any_value_and_an_empty_result_deletes(call: Caller) -> None:
    assert call("SINTERSTORE", "string", "abc", "bcd") == 2
    assert (call.dirty, call.events) == (1, [(b"sinterstore", b"string")])
    assert members(call, "string") == {b"b", b"c"}
    assert call("SDIFFSTORE", "string", "abc", "abc") == 0
    assert (call.dirty, call.events) == (1, [(b"del", b"string")])
    assert call("SUNIONSTORE", "string", "none") == 0
    assert call.dirty == 0


def test_a_store_may_write_to_its_own_source(call: Caller) -> None:
    assert call("SDIFFSTORE", "abc", "abc", "bcd") == 1
    assert members(call, "abc") == {b"a"}


def test_sets_reply_as_sets_and_samples_as_arrays(call: Caller) -> None:
    for words in (("SMEMBERS", "abc"), ("SINTER", "abc"), ("SUNION", "abc"), ("SPOP", "abc", 1)):
        assert type(call(*words)) is SetReply
    assert type(call("SRANDMEMBER", "bcd", 2)) is list
    assert type(call("SMISMEMBER", "bcd", "b", "x")) is list


def test_samples_are_distinct_or_repeated_by_the_sign_of_the_count(call: Caller) -> None:
    assert sorted(call("SRANDMEMBER", "abc", 9)) == [b"a", b"b", b"c"]
    assert len(call("SRANDMEMBER", "abc", -9)) == 9
    assert call("SRANDMEMBER", "none", -9) == []
    assert call("SRANDMEMBER", "none") is None


def test_a_scan_returns_every_member_and_filters(call: Caller) -> None:
    call("SADD", "many", *range(1000))
    cursor, found = b"0", set()
    while True:
        cursor, part = call("SSCAN", "many", cursor, "COUNT", 50)
        found.update(part)
        if cursor == b"0":
            break
    assert found == {b"%d" % number for number in range(1000)}
    assert call("SSCAN", "abc", 0, "MATCH", "[ab]") == [b"0", [b"a", b"b"]]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("SADD", "string", "x"), "WRONGTYPE Operation against a key holding the wrong kind of"),
        (("SINTER", "none", "string"), "WRONGTYPE Operation against a key"),
        (("SPOP", "abc", "-1"), "ERR value is out of range, must be positive"),
        (("SPOP", "abc", "1", "2"), "ERR syntax error"),
        (("SRANDMEMBER", "abc", str(-(2**63))), "ERR value is out of range, value must between"),
        (("SRANDMEMBER", "abc", str(-(2**62))), "ERR value is out of range"),
        (("SINTERCARD", "0", "abc"), "ERR numkeys should be greater than 0"),
        (("SINTERCARD", "2", "abc"), "ERR Number of keys can't be greater than number of args"),
        (("SINTERCARD", "1", "abc", "LIMIT", "-1"), "ERR LIMIT can't be negative"),
        (("SINTERCARD", "1", "abc", "LIMIT"), "ERR syntax error"),
        (("SSCAN", "abc", "x"), "ERR invalid cursor"),
    ],
)
def test_refusals_have_the_texts_of_redis(call: Caller, words: Any, text: str) -> None:
    assert call.error(*words).startswith(text)
    assert members(call, "abc") == {b"a", b"b", b"c"}
