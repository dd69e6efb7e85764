"""Bits of long texts: counting ones, finding, combining. Twin of `bits.pyx`, which is compiled.

A text is bytes or a bytearray; positions are bytes, `start` belongs to the range and `stop` does
not. The first bit of a byte is its highest. The twin turns texts into numbers, of which Python
counts and combines the bits; the compiled form walks 64 bits at a time and copies nothing.
"""

from __future__ import annotations

import re

AND = 0
OR = 1
XOR = 2

_NOT_ZERO = re.compile(rb"[^\x00]")
_NOT_FULL = re.compile(rb"[^\xff]")

Text = bytes | bytearray


def count_ones(data: Text, start: int, stop: int) -> int:
    """How many bits of data[start:stop] are set; 0 <= start <= stop <= len(data)."""
    return int.from_bytes(data[start:stop], "little").bit_count()


def find_other(data: Text, full: bool, start: int, stop: int) -> int:
    """Where in data[start:stop] the first byte is that is not 0, or with `full` not 255; or -1."""
    found = (_NOT_FULL if full else _NOT_ZERO).search(data, start, stop)
    return -1 if found is None else found.start()


def combine(operation: int, texts: list[Text], size: int) -> bytearray:
    """AND, OR or XOR of texts of at most `size` bytes, each as if it went on with zeros."""
    total = int.from_bytes(texts[0], "little")
    for text in texts[1:]:
        number = int.from_bytes(text, "little")
        if operation == AND:
            total &= number
        elif operation == OR:
            total |= number
        else:
            total ^= number
    return bytearray(total.to_bytes(size, "little"))


def invert(data: Text) -> bytearray:
    """Every bit the other way."""
    return bytearray(data.translate(_INVERTED))


def load_field(data: Text, offset: int, width: int) -> int:
    """The unsigned number of `width` bits, 1 to 64, from bit `offset`; zeros follow the data."""
    first, last = offset >> 3, (offset + width + 7) >> 3
    part = data[first:last]
    number = int.from_bytes(part, "big") << (8 * (last - first - len(part)))
    return (number >> (last * 8 - offset - width)) & ((1 << width) - 1)


def store_field(data: bytearray, offset: int, width: int, number: int) -> None:
    """Puts an unsigned number of `width` bits where `load_field` finds it; within the data."""
    first, last = offset >> 3, (offset + width + 7) >> 3
    shift = last * 8 - offset - width
    around = int.from_bytes(data[first:last], "big") & ~(((1 << width) - 1) << shift)
    data[first:last] = (around | number << shift).to_bytes(last - first, "big")


_INVERTED = bytes(255 - byte for byte in range(256))
