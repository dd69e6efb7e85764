"""What list commands answer, announce, count and propagate."""

from __future__ import annotations

from typing import Any

import pytest

from cache_server.datatypes import list_moving, lists, strings
from cache_server.wire.replies import NULL_ARRAY
from tests.unit.datatypes.calling import Caller


@pytest.fixture
def call() -> Caller:
    caller = Caller(lists, list_moving, strings)
    caller("SET", "string", "v")
    caller("RPUSH", "three", "a", "b", "c")
    return caller


def items(call: Caller, key: str) -> list[bytes]:
    reply: list[bytes] = call("LRANGE", key, 0, -1)
    return reply


def test_pushes_count_every_element_and_keep_their_order(call: Caller) -> None:
    assert call("LPUSH", "three", "x", "y") == 5
    assert call.dirty == 2
    assert call.events == [(b"lpush", b"three")]
    assert items(call, "three") == [b"y", b"x", b"a", b"b", b"c"]
    assert call("RPUSHX", "missing", "x") == 0
    assert call.dirty == 0


def test_the_last_pop_deletes_the_key_and_says_so(call: Caller) -> None:
    assert call("LPOP", "three", 2) == [b"a", b"b"]
    assert call("RPOP", "three") == b"c"
    assert call.events == [(b"rpop", b"three"), (b"del", b"three")]
    assert call.db.peek(b"three") is None
    assert call("RPOP", "three") is None
    assert call("RPOP", "three", 1) is NULL_ARRAY


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("0", "-1"), [b"a", b"b", b"c"]),
        (("1", "1"), [b"b"]),
        (("-2", "100"), [b"b", b"c"]),
        (("-100", "0"), [b"a"]),
        (("2", "1"), []),
        (("3", "5"), []),
        (("0", "-4"), []),
    ],
)
def test_ranges_and_trims_mean_the_same(
    call: Caller, words: tuple[str, str], expected: list[bytes]
) -> None:
    assert call("LRANGE", "three", *words) == expected
    call("LTRIM", "three", *words)
    assert call.dirty == 3 - len(expected)
    assert call.events[0] == (b"ltrim", b"three")
    assert (call.db.peek(b"three") is None) == (not expected)
    assert items(call, "three") == expected


def test_a_move_announces_the_push_before_the_pop_and_counts_once(call: Caller) -> None:
    assert call("LMOVE", "three", "other", "LEFT", "RIGHT") == b"a"
    assert call.events == [(b"rpush", b"other"), (b"lpop", b"three")]
    assert call.dirty == 1
    assert call("RPOPLPUSH", "three", "three") == b"c"
    assert items(call, "three") == [b"c", b"b"]


def test_a_list_of_one_item_moves_onto_itself(call: Caller) -> None:
    call("RPUSH", "one", "x")
    assert call("LMOVE", "one", "one", "LEFT", "LEFT") == b"x"
    assert items(call, "one") == [b"x"]


@pytest.mark.parametrize(
    ("words", "effect"),
    [
        (("BLPOP", "none", "three", 0), [b"LPOP", b"three"]),
        (("BRPOP", "three", 0), [b"RPOP", b"three"]),
        (
            ("BLMOVE", "three", "t", "left", "RIGHT", 0),
            [b"LMOVE", b"three", b"t", b"left", b"RIGHT"],
        ),
        (("BRPOPLPUSH", "three", "t", 0), [b"RPOPLPUSH", b"three", b"t"]),
        (("BLMPOP", 0, 2, "none", "three", "LEFT", "COUNT", 9), [b"LPOP", b"three", b"3"]),
        (("LMPOP", 1, "three", "RIGHT"), [b"RPOP", b"three", b"1"]),
    ],
)
def test_what_chooses_or_waits_propagates_the_plain_form(
    call: Caller, words: Any, effect: list[bytes]
) -> None:
    call(*words)
    assert call.effects == [effect]


def test_positions_by_rank_count_and_length(call: Caller) -> None:
    call("RPUSH", "abc", *"abcabcabc")
    assert call("LPOS", "abc", "b") == 1
    assert call("LPOS", "abc", "b", "RANK", -1) == 7
    assert call("LPOS", "abc", "b", "RANK", 2, "COUNT", 0) == [4, 7]
    assert call("LPOS", "abc", "b", "COUNT", 0, "MAXLEN", 5) == [1, 4]
    assert call("LPOS", "abc", "x") is None
    assert call("LPOS", "none", "x", "COUNT", 1) == []


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("LPUSH", "string", "x"), "WRONGTYPE Operation against a key holding the wrong kind of"),
        (("LPOP", "three", "1", "2"), "ERR wrong number of arguments for 'lpop' command"),
        (("LPOP", "three", "-1"), "ERR value is out of range, must be positive"),
        (("LINSERT", "three", "beside", "a", "b"), "ERR syntax error"),
        (("LSET", "three", "3", "x"), "ERR index out of range"),
        (("LSET", "none", "0", "x"), "ERR no such key"),
        (("LSET", "three", "x", "x"), "ERR value is not an integer or out of range"),
        (("LMOVE", "three", "string", "LEFT", "LEFT"), "WRONGTYPE Operation against a key"),
        (("LMOVE", "three", "t", "LEFT", "UP"), "ERR syntax error"),
        (("LMPOP", "0", "three", "LEFT"), "ERR numkeys should be greater than 0"),
        (("LMPOP", "9", "three", "LEFT"), "ERR syntax error"),
        (("LMPOP", "1", "three", "LEFT", "COUNT", "0"), "ERR count should be greater than 0"),
        (("LPOS", "three", "a", "RANK", "0"), "ERR RANK can't be zero: use 1 to start from the"),
        (("LPOS", "three", "a", "COUNT", "-1"), "ERR COUNT can't be negative"),
        (("LPOS", "three", "a", "MAXLEN", "-1"), "ERR MAXLEN can't be negative"),
        (("BLPOP", "three", "x"), "ERR timeout is not a float or out of range"),
        (("BLPOP", "string", "three", "0"), "WRONGTYPE Operation against a key"),
    ],
)
def test_refusals_have_the_texts_of_redis(call: Caller, words: Any, text: str) -> None:
    assert call.error(*words).startswith(text)
    assert items(call, "three") == [b"a", b"b", b"c"]
