"""LZF: whatever is compressed comes back, and nothing but that is accepted."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_server.errors import InputError
from cache_server.persistence.lzf import EXPANSION_MAX, Compressor, decompress

#: Repetitive data, so that there is something to find.
texts = st.lists(st.sampled_from([b"a", b"bc", b"hello ", b"\x00" * 40, b"xyz"]), max_size=400).map(
    b"".join
)


@given(st.lists(texts | st.binary(max_size=300), max_size=5))
def test_what_is_compressed_comes_back(items: list[bytes]) -> None:
    compressor = Compressor()
    for data in items:
        packed = compressor.compress(data)
        if packed is not None:
            assert len(packed) <= len(data) - 4
            assert decompress(packed, len(data)) == data


@given(st.binary(max_size=200), st.integers(0, 5000))
def test_arbitrary_bytes_are_decompressed_or_refused(data: bytes, length: int) -> None:
    with suppress(InputError):
        assert len(decompress(data, length)) == length


def test_a_long_run_becomes_short() -> None:
    packed = Compressor().compress(b"a" * 100_000)
    assert packed is not None
    assert len(packed) < 2000
    assert decompress(packed, 100_000) == b"a" * 100_000


def test_noise_is_left_alone() -> None:
    assert Compressor().compress(bytes(range(256))) is None


def test_a_reference_reaches_back_8192_bytes_and_no_further() -> None:
    for gap in (8192 - 20, 8192, 9000):
        data = (
            b"0123456789abcdefghij"
            + bytes(n * 7 % 251 for n in range(gap))
            + b"0123456789abcdefghij"
        )
        packed = Compressor().compress(data)
        assert packed is None or decompress(packed, len(data)) == data


@pytest.mark.parametrize(
    ("data", "length", "reason"),
    [
        (b"\x05ab", 6, "beyond the end"),
        (b"\x20\x00", 3, "before the beginning"),
        (b"\x00a\xe0", 10, "inside a length"),
        (b"\x00a\x20", 4, "inside an offset"),
        (b"\x00a", 2, "does not hold"),
        (b"\x01ab", 1, "does not hold"),
        (b"\x00a", EXPANSION_MAX * 2 + 1, "cannot hold"),
    ],
)
def test_damage_is_named(data: bytes, length: int, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        decompress(data, length)
