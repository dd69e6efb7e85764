"""Bits of texts: the compiled form and its twin say what a walk bit by bit says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import pytest

from cache_server.structures import bits


def pure_twin() -> ModuleType:
    path = Path(__file__).resolve().parents[3] / "cache_server/structures/bits.py"
    spec = importlib.util.spec_from_file_location("bits_twin", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=["in use", "pure"])
def module(request: pytest.FixtureRequest) -> Any:
    return bits if request.param == "in use" else pure_twin()


def texts(rng: Random) -> list[bytes | bytearray]:
    kinds = (bytes, bytearray)
    return [kinds[n % 2](rng.randbytes(rng.randrange(40))) for n in range(rng.randint(1, 4))]


def test_ones_are_counted_from_any_start_to_any_stop(module: Any) -> None:
    data = Random(1).randbytes(61)
    for start in range(61):
        for stop in range(start, 62):
            expected = sum(byte.bit_count() for byte in data[start:stop])
            assert module.count_ones(data, start, stop) == expected
            assert module.count_ones(bytearray(data), start, stop) == expected


@pytest.mark.parametrize("full", [False, True])
def test_the_first_other_byte_is_found_in_the_range_only(module: Any, full: bool) -> None:
    for size in range(40):
        data = bytearray((b"\xff" if full else b"\0") * size)
        assert module.find_other(data, full, 0, size) == -1
        for index in range(size):
            data[index] ^= 16
            for start in range(size):
                expected = index if index >= start else -1
                assert module.find_other(data, full, start, size) == expected
                assert module.find_other(data, full, start, index if start <= index else size) == -1
            data[index] ^= 16


@pytest.mark.parametrize("operation", [bits.AND, bits.OR, bits.XOR])
def test_texts_are_combined_as_if_all_went_on_with_zeros(module: Any, operation: int) -> None:
    rng = Random(operation)
    for _ in range(200):
        values = texts(rng)
        size = max(map(len, values))
        expected = bytearray(values[0].ljust(size, b"\0"))
        for value in values[1:]:
            for index, byte in enumerate(value.ljust(size, b"\0")):
                old = expected[index]
                expected[index] = [old & byte, old | byte, old ^ byte][operation]
        assert module.combine(operation, values, size) == expected


def test_every_bit_is_inverted(module: Any) -> None:
    assert module.invert(b"\0\xff\x0f" * 5) == b"\xff\0\xf0" * 5
    assert module.invert(bytearray()) == b""


def test_a_field_is_stored_where_it_is_loaded_and_nothing_else_changes(module: Any) -> None:
    rng = Random(3)
    for width in range(1, 65):
        for offset in range(20):
            data = bytearray(rng.randbytes(11))
            number = rng.getrandbits(width)
            before = int.from_bytes(data, "big")
            shift = 88 - offset - width
            field = ((1 << width) - 1) << shift
            assert module.load_field(data, offset, width) == (before & field) >> shift
            module.store_field(data, offset, width, number)
            assert module.load_field(bytes(data), offset, width) == number
            assert int.from_bytes(data, "big") == (before & ~field) | number << shift


def test_a_field_beyond_the_end_is_of_zeros(module: Any) -> None:
    for offset in (0, 3, 8, 12, 15, 16, 100, 2**40):
        for width in (1, 7, 8, 9, 33, 64):
            text = "1" * 16 + "0" * 200
            expected = int(text[offset : offset + width] or "0", 2)
            assert module.load_field(b"\xff\xff", offset, width) == expected
