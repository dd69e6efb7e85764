"""The elements of Redis's snapshot format, read out of bytes: numbers, strings, scores.

    length   00xxxxxx                     6 bits        80 and 4 bytes, big-endian
             01xxxxxx xxxxxxxx           14 bits        81 and 8 bytes, big-endian
    string   length, bytes | C0, C1, C2 and an integer of 1, 2, 4 bytes | C3, two lengths, LZF data

What they make is the business of `snapshot_codec.py`. Where there is a compiler,
`snapshot_reader.pyx` stands in for this file: the same class on the bytes' memory. This file is the
specification.

Invariants: nothing is read beyond the end; every length is checked before it is believed, and
allocates nothing by itself.
"""

from __future__ import annotations

from struct import Struct
from typing import Any

from cache_server.constants import SNAPSHOT_COUNT_MAX, SNAPSHOT_STRING_BYTES_MAX
from cache_server.errors import InputError
from cache_server.persistence.lzf import EXPANSION_MAX, decompress

_DOUBLE = Struct("<d")
_SIGNED_MS = Struct("<q")


class Truncated(Exception):  # noqa: N818 - not a fault: more is to come
    """The data ends before the item does."""


class Reader:
    """Reads the elements of the format from `data`. Raises Truncated and InputError.

    After Truncated, `wanted` is how long the data would have to be for the read to go on."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0
        self.end = len(data)
        self.wanted = 0

    def byte(self) -> int:
        if self.position >= self.end:
            self.wanted = self.position + 1
            raise Truncated
        value = self.data[self.position]
        self.position += 1
        return value

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        start = self.position
        stop = start + size
        if stop > self.end:
            self.wanted = stop
            raise Truncated
        self.position = stop
        return self.data[start:stop]

    def _big(self, lead: int) -> Any:
        """The number behind a lead byte of 80 or more."""
        if lead == 0x80:
            return int.from_bytes(self.take(4), "big")
        if lead == 0x81:
            return int.from_bytes(self.take(8), "big")
        raise InputError(f"a length begins with {lead:#04x}")

    def number(self) -> Any:
        """A number written like a length, up to 2**64 - 1."""
        lead = self.byte()
        if lead < 64:
            return lead
        if lead < 128:
            return ((lead & 63) << 8) | self.byte()
        return self._big(lead)

    def count(self) -> int:
        """How many elements follow. Raises InputError when that is absurd."""
        lead = self.byte()
        if lead < 64:
            return lead
        if lead < 128:
            return ((lead & 63) << 8) | self.byte()
        value = self._big(lead)
        if value > SNAPSHOT_COUNT_MAX:
            raise InputError(f"{value} elements are promised")
        return int(value)

    def size(self, lead: int) -> int:
        """The size of a string whose first byte was `lead`."""
        if lead < 64:
            return lead
        if lead < 128:
            return ((lead & 63) << 8) | self.byte()
        value = self._big(lead)
        if value > SNAPSHOT_STRING_BYTES_MAX:
            raise InputError(f"a string of {value} bytes is promised")
        return int(value)

    def string(self) -> bytes:
        """A string; an integer comes as its digits."""
        lead = self.byte()
        if lead < 64:
            return self.take(lead)
        if lead < 0xC0:
            return self.take(self.size(lead))
        if lead == 0xC3:
            return self._compressed()
        return b"%d" % self._small_integer(lead)

    def string_value(self) -> Any:
        """A string as the keyspace holds it: an integer comes as int."""
        lead = self.byte()
        if lead < 64:
            return self.take(lead)
        if lead < 0xC0:
            return self.take(self.size(lead))
        if lead == 0xC3:
            return self._compressed()
        return self._small_integer(lead)

    def _small_integer(self, lead: int) -> int:
        if lead > 0xC2:
            raise InputError(f"string encoding {lead:#04x} does not exist")
        return int.from_bytes(self.take(1 << (lead - 0xC0)), "little", signed=True)

    def _compressed(self) -> bytes:
        packed = self.size(self.byte())
        size = self.size(self.byte())
        if size > packed * EXPANSION_MAX:
            raise InputError(f"{packed} bytes of LZF data cannot hold {size} bytes")
        return decompress(self.take(packed), size)

    def strings(self, count: int) -> list[bytes]:
        """The next `count` strings in a new list."""
        elements: list[bytes] = []
        while count > 0:
            elements.append(self.string())
            count -= 1
        return elements

    def scored_strings(self, count: int) -> tuple[list[bytes], list[float]]:
        """The next `count` strings that each have a score in 8 bytes behind them; the scores."""
        members: list[bytes] = []
        scores: list[float] = []
        while count > 0:
            members.append(self.string())
            scores.append(self.double())
            count -= 1
        return members, scores

    def double(self) -> float:
        return float(_DOUBLE.unpack(self.take(8))[0])

    def old_double(self) -> float:
        """A score as digits, with three lengths for what digits cannot say."""
        size = self.byte()
        if size >= 253:
            return (float("nan"), float("inf"), float("-inf"))[size - 253]
        return parse_double(self.take(size))

    def signed_ms(self) -> int:
        """Milliseconds in 8 bytes."""
        return int(_SIGNED_MS.unpack(self.take(8))[0])


def parse_double(digits: bytes) -> float:
    """A score in digits. Raises InputError."""
    try:
        return float(digits)
    except ValueError:
        raise InputError(f"{digits[:40]!r} is no score") from None
