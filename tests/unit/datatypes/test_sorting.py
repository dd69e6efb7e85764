"""SORT: orders, patterns, ranges, storing; what Redis's documentation says of each."""

from __future__ import annotations

from typing import Any

import pytest

from cache_server import client as states
from cache_server.datatypes import hashes, lists, sets, sorted_sets, sorting, strings
from cache_server.errors import CommandError
from tests.unit.datatypes.calling import Caller


@pytest.fixture
def call() -> Caller:
    caller = Caller(sorting, lists, sets, sorted_sets, hashes, strings)
    caller("RPUSH", "l", 3, 10, 2, 1)
    return caller


def test_numbers_are_sorted_by_value_and_words_by_bytes(call: Caller) -> None:
    assert call("SORT", "l") == [b"1", b"2", b"3", b"10"]
    assert call("SORT", "l", "DESC") == [b"10", b"3", b"2", b"1"]
    assert call("SORT", "l", "alpha") == [b"1", b"10", b"2", b"3"]
    call("SADD", "s", "b", "a", "B")
    assert call("SORT", "s", "ALPHA", "desc") == [b"b", b"a", b"B"]
    call("ZADD", "z", 3, "1", 2, "2", 1, "1e1")
    assert call("SORT", "z") == [b"1", b"2", b"1e1"]


def test_limit_takes_a_part_of_the_result(call: Caller) -> None:
    assert call("SORT", "l", "LIMIT", 1, 2) == [b"2", b"3"]
    assert call("SORT", "l", "LIMIT", -5, 1) == [b"1"]
    assert call("SORT", "l", "LIMIT", 2, -1) == [b"3", b"10"]
    assert call("SORT", "l", "LIMIT", 9, 1) == []
    assert call("SORT", "l", "LIMIT", 0, 0) == []


def test_patterns_find_strings_and_fields_of_hashes(call: Caller) -> None:
    for place, number in enumerate((1, 2, 3, 10)):
        call("SET", f"w{number}x", -place)
        call("HSET", f"h{number}", "name", f"n{number}", "rank", place)
    assert call("SORT", "l", "BY", "w*x") == [b"10", b"3", b"2", b"1"]
    assert call("SORT", "l", "BY", "h*->rank", "LIMIT", 0, 1, "GET", "h*->name", "GET", "#") == [
        b"n1", b"1",
    ]  # fmt: skip
    assert call("SORT", "l", "LIMIT", 0, 1, "GET", "h*", "GET", "w*x->name", "GET", "fixed") == [
        None, None, None,
    ]  # fmt: skip
    assert call("SORT", "l", "BY", "none*", "GET", "none*->", "LIMIT", 0, 1) == [None]


def test_a_constant_pattern_keeps_the_order_of_the_value(call: Caller) -> None:
    assert call("SORT", "l", "BY", "nosort") == [b"3", b"10", b"2", b"1"]
    assert call("SORT", "l", "BY", "nosort", "DESC", "LIMIT", 1, 2) == [b"2", b"10"]
    call("ZADD", "z", 1, "a", 2, "b", 3, "c")
    assert call("SORT", "z", "BY", "nosort", "DESC", "LIMIT", 0, 2) == [b"c", b"b"]
    assert call.db.peek(b"z").encoding == b"skiplist"


def test_a_set_without_order_is_sorted_where_the_result_has_to_be_the_same_everywhere(
    call: Caller,
) -> None:
    call("SADD", "s", *"qwertyuiop")
    call("SORT", "s", "BY", "nosort", "STORE", "d")
    assert call("LRANGE", "d", 0, -1) == [bytes([byte]) for byte in sorted(b"qwertyuiop")]
    call.client.flags |= states.SCRIPT
    assert call("SORT", "s", "BY", "nosort") == call("LRANGE", "d", 0, -1)


def test_a_stored_result_is_a_list_and_an_empty_one_no_key(call: Caller) -> None:
    call("SET", "d", "v", "EX", 100)
    assert call("SORT", "l", "GET", "none*", "STORE", "d") == 4
    assert call.dirty == 4
    assert call.events == [(b"sortstore", b"d")]
    assert call("LRANGE", "d", 0, -1) == [b""] * 4
    assert call.db.find(b"d").expire_ms == 0
    assert call("SORT", "none", "STORE", "d") == 0
    assert call.events == [(b"del", b"d")]
    assert call("SORT", "none", "STORE", "d") == 0
    assert call.dirty == 0


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("SORT", "l", "LIMIT", 1), "ERR syntax error"),
        (("SORT", "l", "LIMIT", "x", 1), "ERR value is not an integer or out of range"),
        (("SORT", "l", "BY"), "ERR syntax error"),
        (("SORT_RO", "l", "STORE", "d"), "ERR syntax error"),
        (("SORT", "words"), "ERR One or more scores can't be converted into double"),
        (("SORT", "l", "BY", "bad*"), "ERR One or more scores can't be converted into double"),
        (("SORT", "bad1"), "WRONGTYPE Operation against a key holding the wrong kind of value"),
    ],
)
def test_a_wrong_request_is_refused(call: Caller, words: tuple[Any, ...], text: str) -> None:
    call("RPUSH", "words", "a", "1")
    call("SET", "bad1", "1 ")
    with pytest.raises(CommandError) as refused:
        call(*words)
    assert refused.value.text.decode() == text


@pytest.mark.parametrize(
    ("word", "number"), [(b"", 0.0), (b" 1", 1.0), (b"0x10", 16.0), (b"-inf", float("-inf"))]
)
def test_weights_are_read_as_strtod_reads_them(word: bytes, number: float) -> None:
    assert sorting._number(word) == number


def test_keys_and_the_option_that_reads_any_key_are_found() -> None:
    def split(text: str) -> list[bytes]:
        return text.encode().split()

    assert sorting.keys_of_sort(split("sort k by store get store store a store b")) == [1, 9]
    assert sorting.keys_of_sort(split("sort k store")) == [1]
    assert sorting.option_needing_full_access(split("sort k by nosort limit 0 1")) is None
    assert sorting.option_needing_full_access(split("sort k limit 0 1 by w* get #")) == b"BY"
    assert sorting.option_needing_full_access(split("sort k by get store get get by")) == b"GET"
