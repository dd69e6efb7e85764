"""Bitmaps: bits from the left, ranges in bytes and bits, integers of any width."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from cache_server.datatypes import bitmaps, sets, strings
from cache_server.errors import CommandError
from tests.unit.datatypes.calling import Caller


@pytest.fixture
def call() -> Caller:
    return Caller(bitmaps, strings, sets)


def spelled(data: bytes) -> str:
    return "".join(f"{byte:08b}" for byte in data)


def test_setbit_answers_the_old_bit_and_grows_with_zeros(call: Caller) -> None:
    assert call("SETBIT", "k", 17, 1) == 0
    assert call.dirty == 1
    assert call("GET", "k") == b"\0\0\x40"
    assert call("SETBIT", "k", 17, 0) == 1
    assert call("SETBIT", "k", 3, 0) == 0
    assert call.dirty == 0
    assert call("SETBIT", "k", 24, 0) == 0
    assert call.dirty == 1
    assert call.events == [(b"setbit", b"k")]
    assert call("STRLEN", "k") == 4


def test_setbit_changes_a_large_string_in_place(call: Caller) -> None:
    call("SET", "k", b"x" * 1000)
    call("SETBIT", "k", 0, 1)
    held = call.db.peek(b"k")
    call("SETBIT", "k", 9, 0)
    assert call.db.peek(b"k") is held


def test_setbit_keeps_the_expiry(call: Caller) -> None:
    call("SET", "k", "1", "PX", 5000)
    call("SETBIT", "k", 0, 1)
    assert call.db.find(b"k").expire_ms == call.keyspace.now_ms + 5000


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("SETBIT", "k", -1, 0), "bit offset is not an integer or out of range"),
        (("SETBIT", "k", 4 * 1024**3, 1), "bit offset is not an integer or out of range"),
        (("SETBIT", "k", 1, 2), "bit is not an integer or out of range"),
        (("SETBIT", "k", 1, "x"), "bit is not an integer or out of range"),
        (("GETBIT", "k", "x"), "bit offset is not an integer or out of range"),
        (("BITCOUNT", "k", 1), "syntax error"),
        (("BITCOUNT", "k", 1, 2, "x"), "syntax error"),
        (("BITPOS", "k", 2), "The bit argument must be 1 or 0."),
        (("BITPOS", "k", 1, 0, 1, "x"), "syntax error"),
        (("BITOP", "nand", "d", "k"), "syntax error"),
        (("BITOP", "not", "d", "k", "k"), "BITOP NOT must be called with a single source key."),
        (("BITFIELD", "k", "GET", "u64", 0), bitmaps._BAD_TYPE.decode()[4:]),
        (("BITFIELD", "k", "GET", "u8", "#-1"), "bit offset is not an integer or out of range"),
        (("BITFIELD", "k", "OVERFLOW", "x"), "Invalid OVERFLOW type specified"),
        (("BITFIELD_RO", "k", "SET", "u8", 0, 1), "BITFIELD_RO only supports the GET subcommand"),
    ],
)
def test_a_wrong_request_is_refused(call: Caller, words: tuple[Any, ...], text: str) -> None:
    call("SET", "k", "v")
    with pytest.raises(CommandError) as refused:
        call(*words)
    assert refused.value.text.decode() == "ERR " + text


def test_other_types_are_refused(call: Caller) -> None:
    call("SADD", "k", "m")
    for words in (
        ("SETBIT", "k", 0, 1), ("GETBIT", "k", 0), ("BITCOUNT", "k"), ("BITPOS", "k", 1),
        ("BITOP", "or", "d", "k"), ("BITFIELD", "k", "GET", "u8", 0),
    ):  # fmt: skip
        with pytest.raises(CommandError) as refused:
            call(*words)
        assert refused.value.code == "WRONGTYPE"


@pytest.mark.parametrize("seed", range(3))
def test_counts_and_positions_are_those_of_the_spelled_bits(call: Caller, seed: int) -> None:
    rng = Random(seed)
    for _ in range(150):
        data = bytes(rng.choice([0, 255, rng.randrange(256)]) for _ in range(rng.randint(1, 20)))
        text = spelled(data)
        call("SET", "k", data)
        assert call("BITCOUNT", "k") == text.count("1")
        first, last = sorted(rng.randrange(len(text)) for _ in range(2))
        assert call("BITCOUNT", "k", first, last, "BIT") == text[first : last + 1].count("1")
        for bit in (0, 1):
            found = text.find(str(bit), first, last + 1)
            assert call("BITPOS", "k", bit, first, last, "BIT") == found
            open_end = text.find(str(bit))
            expected = len(text) if open_end < 0 and bit == 0 else open_end
            assert call("BITPOS", "k", bit) == expected
        assert call("BITCOUNT", "k", first // 8 - len(data), last // 8) == text[
            first // 8 * 8 : last // 8 * 8 + 8
        ].count("1")


def test_bitop_writes_the_longest_length_or_deletes(call: Caller) -> None:
    call("SET", "a", b"\xff\x0f")
    call("SET", "b", b"\xf1")
    assert call("BITOP", "AND", "d", "a", "b", "a") == 2
    assert call("GET", "d") == b"\xf1\x00"
    assert call("BITOP", "not", "d", "a") == 2
    assert call("GET", "d") == b"\x00\xf0"
    assert call.events == []
    assert call("BITOP", "xor", "d", "none", "other") == 0
    assert call.events == [(b"del", b"d")]
    assert call("GET", "d") is None


@pytest.mark.parametrize("seed", range(3))
def test_fields_hold_what_was_set_and_touch_nothing_else(call: Caller, seed: int) -> None:
    rng = Random(seed)
    for _ in range(200):
        data = rng.randbytes(24)
        signed = rng.random() < 0.5
        width = rng.randint(1, 64 if signed else 63)
        offset = rng.randrange(100)
        low = -(1 << (width - 1)) if signed else 0
        number = rng.randint(low, low + (1 << width) - 1)
        kind = f"{'i' if signed else 'u'}{width}"
        call("SET", "k", data)
        old, new = call("BITFIELD", "k", "SET", kind, offset, number, "GET", kind, offset)
        bits = spelled(data)
        plain = int(bits[offset : offset + width], 2)
        assert old == (plain - (1 << width) if signed and plain >> (width - 1) else plain)
        assert new == number
        expected = bits[:offset] + f"{number % (1 << width):0{width}b}" + bits[offset + width :]
        assert spelled(call("GET", "k")) == expected


def test_overflow_wraps_saturates_or_fails(call: Caller) -> None:
    def incremented(kind: str, mode: str, start: int, by: int) -> int:
        call("BITFIELD", "k", "SET", kind, "#1", start)
        reply = call("BITFIELD", "k", "OVERFLOW", mode, "INCRBY", kind, "#1", by)
        assert isinstance(reply, list)
        return reply[0]  # type: ignore[no-any-return]

    assert incremented("u8", "WRAP", 250, 10) == 4
    assert incremented("u8", "SAT", 250, 10) == 255
    assert incremented("u8", "SAT", 5, -10) == 0
    assert incremented("u8", "FAIL", 250, 10) is None
    assert incremented("i8", "WRAP", 127, 1) == -128
    assert incremented("i8", "SAT", -120, -100) == -128
    assert incremented("i64", "WRAP", 2**63 - 1, 1) == -(2**63)
    assert call("BITFIELD", "k", "OVERFLOW", "SAT", "SET", "u8", 0, -1, "GET", "u8", 0)[1] == 255
    assert call.dirty == 1


def test_reading_fields_beyond_the_end_gives_zeros_and_makes_no_key(call: Caller) -> None:
    assert call("BITFIELD", "k", "GET", "u8", 100) == [0]
    assert call("BITFIELD_RO", "k", "GET", "i5", "#3") == [0]
    assert call.db.find(b"k") is None
    call("SET", "k", "\xff")
    call("SET", "k", b"\xff")
    assert call("BITFIELD", "k", "GET", "u16", 4) == [0xF000]
    assert call("BITFIELD", "k", "GET", "i64", 1000) == [0]
