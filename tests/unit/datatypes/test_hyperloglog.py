"""HyperLogLog commands: what they answer, count, notify and refuse."""

from __future__ import annotations

from typing import Any

import pytest

from cache_server.datatypes import hyperloglog, sets, strings
from cache_server.errors import CommandError
from tests.unit.datatypes.calling import Caller


@pytest.fixture
def call() -> Caller:
    return Caller(hyperloglog, strings, sets)


def test_pfadd_says_whether_anything_changed_and_counts_each_change(call: Caller) -> None:
    assert call("PFADD", "k", "a", "b", "a") == 1
    assert call.dirty == 3
    assert call.events == [(b"pfadd", b"k")]
    assert call("PFADD", "k", "a") == 0
    assert call.dirty == 0
    assert call("PFADD", "empty") == 1
    assert call("PFADD", "empty") == 0
    assert call("PFCOUNT", "empty") == 0


def test_pfcount_keeps_its_result_in_the_value(call: Caller) -> None:
    call("PFADD", "k", *"abc")
    assert call("PFCOUNT", "k") == 3
    assert call.dirty == 1
    assert call.events == []
    assert call("PFCOUNT", "k") == 3
    assert call.dirty == 0
    assert call("GET", "k")[8:16] == b"\3" + bytes(7)
    assert call("PFCOUNT", "none") == 0


def test_the_union_of_keys_is_counted_and_merged(call: Caller) -> None:
    call("PFADD", "a", *"12345")
    call("PFADD", "b", *"45678")
    assert call("PFCOUNT", "a", "b", "none") == 8
    assert call.dirty == 0
    call("PFMERGE", "d", "a", "b")
    assert call.events == [(b"pfadd", b"d")]
    assert call("PFCOUNT", "d") == 8
    assert call("PFDEBUG", "ENCODING", "d").text == b"sparse"
    assert call("PFDEBUG", "TODENSE", "a") == 1
    assert call("PFDEBUG", "TODENSE", "a") == 0
    call("PFMERGE", "d", "a")
    assert call("PFDEBUG", "ENCODING", "d").text == b"dense"
    assert call("PFCOUNT", "d") == 8


def test_a_read_value_stays_as_it_was_set(call: Caller) -> None:
    call("PFADD", "k", "a")
    text = call("GET", "k")
    call("SET", "copy", text)
    call("PFADD", "copy", "b")
    assert call("GET", "k") == text


def test_registers_and_runs_are_shown(call: Caller) -> None:
    call("PFADD", "k", "a")
    assert call("PFDEBUG", "DECODE", "k").count(b"v:") == 1
    registers = call("PFDEBUG", "GETREG", "k")
    assert call.dirty == 1
    assert len(registers) == 16384
    assert sum(map(bool, registers)) == 1
    with pytest.raises(CommandError, match="HLL encoding is not sparse"):
        call("PFDEBUG", "DECODE", "k")


def test_the_self_test_passes(call: Caller) -> None:
    assert call("PFSELFTEST").text == b"OK"


@pytest.mark.parametrize("value", [b"v", b"12", b"HYLL\2" + bytes(11), b"HYLL\0" + bytes(11)])
@pytest.mark.parametrize("words", ["PFADD k a", "PFCOUNT k", "PFCOUNT k k", "PFMERGE d k"])
def test_another_string_is_refused(call: Caller, value: bytes, words: str) -> None:
    call("SET", "k", value)
    with pytest.raises(CommandError, match="WRONGTYPE Key is not a valid HyperLogLog"):
        call(*words.split())


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("PFADD k a", "INVALIDOBJ Corrupted HLL object detected"),
        ("PFCOUNT k", "INVALIDOBJ Corrupted HLL object detected"),
        ("PFCOUNT k none", "INVALIDOBJ Corrupted HLL object detected"),
        ("PFMERGE d k", "INVALIDOBJ Corrupted HLL object detected"),
        ("PFDEBUG TODENSE k", "INVALIDOBJ Corrupted HLL object detected"),
        ("PFDEBUG what k", "ERR Unknown PFDEBUG subcommand 'what'"),
        ("PFDEBUG TODENSE none", "ERR The specified key does not exist"),
        ("PFADD s a", "WRONGTYPE Operation against a key holding the wrong kind of value"),
    ],
)
def test_damage_and_wrong_requests_are_refused(call: Caller, words: str, text: str) -> None:
    call("SADD", "s", "m")
    call("SET", "k", b"HYLL\1" + bytes(10) + b"\x80")
    parts: list[Any] = words.split()
    with pytest.raises(CommandError) as refused:
        call(*parts)
    assert refused.value.text.decode() == text
