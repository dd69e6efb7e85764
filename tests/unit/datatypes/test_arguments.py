"""Numbers in requests: what is taken, what is refused, and how sums are written."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_server.datatypes import arguments
from cache_server.errors import CommandError


@pytest.mark.parametrize(
    ("word", "value"),
    [
        (b"0", 0),
        (b"-1", -1),
        (b"9223372036854775807", 2**63 - 1),
        (b"-9223372036854775808", -(2**63)),
        (b"9223372036854775808", None),
        (b"-9223372036854775809", None),
        (b"99999999999999999999", None),
        (b"", None),
        (b"-", None),
        (b"-0", None),
        (b"+1", None),
        (b"01", None),
        (b" 1", None),
        (b"1 ", None),
        (b"1_0", None),
        (b"1.0", None),
        (b"1\x00", None),
        ("\u0661".encode(), None),
    ],
)
def test_integer(word: bytes, value: int | None) -> None:
    assert arguments.integer_or_none(word) == value


@given(st.binary(max_size=24))
def test_integers_are_what_would_be_printed(word: bytes) -> None:
    value = arguments.integer_or_none(word)
    assert value is None or b"%d" % value == word


def test_range_and_count_errors_are_redis_texts() -> None:
    assert arguments.parse_in_range(b"5", 0, 5) == 5
    with pytest.raises(CommandError, match="value must between 0 and 5"):
        arguments.parse_in_range(b"6", 0, 5)
    with pytest.raises(CommandError, match="must be positive"):
        arguments.parse_positive(b"-1")
    with pytest.raises(CommandError, match="must be positive"):
        arguments.parse_positive(b"x")


@pytest.mark.parametrize(
    ("word", "value"),
    [
        (b"1", 1.0),
        (b"-1.5e3", -1500.0),
        (b".5", 0.5),
        (b"5.", 5.0),
        (b"0x10", 16.0),
        (b"0x1.8p1", 3.0),
        (b"inf", math.inf),
        (b"-Infinity", -math.inf),
        (b"nan", None),
        (b"1e400", None),
        (b"1e-400", None),
        (b"0e-400", 0.0),
        (b" 1", None),
        (b"1 ", None),
        (b"1_0", None),
        (b"", None),
        (b"abc", None),
        (b"1\x00", None),
        (b"0x", None),
        (b"0x1p99999", None),
    ],
)
def test_double(word: bytes, value: float | None) -> None:
    assert arguments.float_or_none(word) == value


@given(st.binary(max_size=30))
def test_any_bytes_are_a_double_or_none(word: bytes) -> None:
    value = arguments.float_or_none(word)
    assert value is None or isinstance(value, float)
    arguments.long_double_or_none(word)


@pytest.mark.parametrize(
    ("left", "right", "total"),
    [
        (b"0.1", b"0.2", b"0.3"),
        (b"3.0", b"1.1", b"4.1"),
        (b"1.5", b"-1.5", b"0"),
        (b"-0.5", b"0.25", b"-0.25"),
        (b"17179869184", b"1.5", b"17179869185.5"),
        (b"1e18", b"0.1", b"1000000000000000000.125"),
        (b"5.0e3", b"200", b"5200"),
        (b"0", b"1e-30", b"0"),
        (b"0", b"-1e-30", b"0"),
        (b"0x10", b"1", b"17"),
        (b"10.123456789012345678", b"0", b"10.12345678901234568"),
    ],
)
def test_long_double_sums_print_as_the_80_bit_format_does(
    left: bytes, right: bytes, total: bytes
) -> None:
    result = arguments.incremented(
        arguments.parse_long_double(left), arguments.parse_long_double(right)
    )
    assert result == total


def test_long_double_range() -> None:
    assert arguments.long_double_or_none(b"1e4932") is not None
    assert arguments.long_double_or_none(b"1e4933") is None
    assert arguments.long_double_or_none(b"1e-4950") is not None
    assert arguments.long_double_or_none(b"1e-5000") is None
    assert arguments.long_double_or_none(b"1e999999999999999999999") is None
    assert arguments.long_double_or_none(b"9" * 6000) is None
    assert arguments.format_long_double(Fraction(2**16000)).isdigit()
    assert arguments.long_double_or_none(b"0." + b"3" * 4500) is not None
    largest = arguments.parse_long_double(b"1e4932")
    with pytest.raises(CommandError, match="NaN or Infinity"):
        arguments.incremented(largest, arguments.parse_long_double(b"9e4931"))
    with pytest.raises(CommandError, match="NaN or Infinity"):
        arguments.incremented(arguments.parse_long_double(b"inf"), largest)
