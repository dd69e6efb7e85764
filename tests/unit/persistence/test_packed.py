"""Packed encodings: read what Redis wrote, refuse everything that does not agree with itself."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_server.errors import InputError
from cache_server.persistence.packed import (
    read_intset,
    read_listpack,
    read_ziplist,
    read_zipmap,
    write_listpack,
)

integers = st.integers(-(2**63), 2**63 - 1)
elements = st.lists(st.binary(max_size=100) | integers, max_size=60)


@given(elements)
def test_a_listpack_holds_what_was_written(items: list[bytes | int]) -> None:
    assert read_listpack(write_listpack(items)) == [
        b"%d" % item if isinstance(item, int) else item for item in items
    ]


@pytest.mark.parametrize("size", [0, 63, 64, 126, 127, 128, 4095, 4096, 16380, 16385, 70_000])
def test_every_width_of_a_listpack_string(size: int) -> None:
    items: list[bytes | int] = [b"x" * size, 1, b"y" * size]
    assert read_listpack(write_listpack(items)) == [b"x" * size, b"1", b"y" * size]


@pytest.mark.parametrize("bits", [6, 7, 12, 13, 15, 16, 23, 24, 31, 32, 63])
def test_every_width_of_a_listpack_integer(bits: int) -> None:
    numbers = [
        number
        for number in ((1 << bits) - 1, 1 << bits, -(1 << bits), -(1 << bits) - 1)
        if -(2**63) <= number < 2**63
    ]
    assert read_listpack(write_listpack(list(numbers))) == [b"%d" % number for number in numbers]


def test_more_elements_than_the_count_can_say() -> None:
    items: list[bytes | int] = [1] * 70_000
    assert len(read_listpack(write_listpack(items))) == 70_000


def test_a_ziplist_with_every_encoding() -> None:
    entries = [
        (b"\x03abc", b"abc"),
        (b"\x40\x46" + b"m" * 70, b"m" * 70),
        (b"\x80\x00\x00\x40\x00" + b"l" * 16384, b"l" * 16384),
        (b"\xfe\x80", b"-128"),
        (b"\xc0\xff\x7f", b"32767"),
        (b"\xf0\x00\x00\x80", b"-8388608"),
        (b"\xd0\xff\xff\xff\x7f", b"2147483647"),
        (b"\xe0" + b"\x00" * 7 + b"\x80", b"-9223372036854775808"),
        (b"\xf1", b"0"),
        (b"\xfd", b"12"),
    ]
    body, before, tail = b"", 0, 10
    for encoded, _ in entries:
        link = bytes((before,)) if before < 254 else b"\xfe" + before.to_bytes(4, "little")
        tail = 10 + len(body)
        body += link + encoded
        before = len(link) + len(encoded)
    size = 11 + len(body)
    head = size.to_bytes(4, "little") + tail.to_bytes(4, "little")
    ziplist = head + len(entries).to_bytes(2, "little") + body + b"\xff"
    assert read_ziplist(ziplist) == [value for _, value in entries]
    for cut in range(len(ziplist) - 1):
        if cut < 200 or cut > len(ziplist) - 60:
            with pytest.raises(InputError):
                read_ziplist(ziplist[:cut])


@pytest.mark.parametrize("width", [2, 4, 8])
def test_an_intset_of_each_width(width: int) -> None:
    numbers = [-(1 << (8 * width - 1)), -1, 0, 7, (1 << (8 * width - 1)) - 1]
    data = width.to_bytes(4, "little") + len(numbers).to_bytes(4, "little")
    data += b"".join(number.to_bytes(width, "little", signed=True) for number in numbers)
    assert read_intset(data) == [b"%d" % number for number in numbers]
    with pytest.raises(InputError, match="bytes for"):
        read_intset(data[:-1])


def test_an_intset_out_of_order_is_refused() -> None:
    with pytest.raises(InputError, match="ascending"):
        read_intset(b"\x02\0\0\0\x02\0\0\0\x05\0\x05\0")


def test_a_zipmap_with_long_lengths_and_padding() -> None:
    long = b"l" * 254
    data = b"\x02\x03foo\x03\x02barxx\xfe\xfe\x00\x00\x00" + long + b"\x00\x00\xff"
    assert read_zipmap(data) == [b"foo", b"bar", long, b""]


@pytest.mark.parametrize(
    "data", [b"\x00\xff", b"\x01\xfe\x04\x00\x00\x00long\x00\x00\xff"], ids=["empty", "long form"]
)
def test_a_zipmap_that_redis_would_not_write_is_refused(data: bytes) -> None:
    with pytest.raises(InputError, match="zipmap"):
        read_zipmap(data)


@pytest.mark.parametrize("read", [read_listpack, read_ziplist, read_intset, read_zipmap])
@given(data=st.binary(max_size=80))
def test_arbitrary_bytes_are_read_or_refused(
    read: Callable[[bytes], list[bytes]], data: bytes
) -> None:
    with suppress(InputError):
        assert isinstance(read(data), list)


@given(elements.filter(bool), st.data())
def test_a_damaged_listpack_never_raises_anything_else(
    items: list[bytes | int], data: st.DataObject
) -> None:
    packed = bytearray(write_listpack(items))
    packed[data.draw(st.integers(0, len(packed) - 1))] ^= data.draw(st.integers(1, 255))
    with suppress(InputError):
        read_listpack(bytes(packed))
