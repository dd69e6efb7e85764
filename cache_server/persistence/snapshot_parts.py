"""The parts that a snapshot is written of: numbers, strings, and whole values in one call.

Problem. A leader that feeds a new follower encodes every value that it has, and most are small: ten
elements, or one string. A step object and a method call an element cost more than the bytes.

Idea. A value is appended as a whole: its elements are measured, room is made once, and they are
copied to where they lie then. Only where a word is long enough to be compressed, word by word.
Values of so many elements that clients would notice are encoded in steps, by the encoder, a list
of elements a step.

    list, set      count | string ...                         in the order of the value
    hash           count | field, value ...
    sorted set     count | member, score (8, little) ...      lowest first

That is `snapshot_parts.pyx`. This file is the specification and the pure twin. The format of
lengths and strings is drawn in `snapshot_codec.py`.
"""

from __future__ import annotations

from struct import Struct
from typing import Any

from cache_server.datatypes.hashes import Hash
from cache_server.datatypes.list_value import List
from cache_server.datatypes.sets import Set
from cache_server.datatypes.sorted_sets import SortedSet
from cache_server.persistence.lzf import Compressor

#: Up to this length compressing cannot pay (as in Redis).
_COMPRESS_OVER = 20
_MS = Struct("<q")
_DOUBLE = Struct("<d")


def append_number(out: bytearray, value: int) -> None:
    """A length, or any number from 0 to 2**64 - 1."""
    if value < 64:
        out.append(value)
    elif value < 16384:
        out.append(64 | (value >> 8))
        out.append(value & 255)
    elif value < 1 << 32:
        out.append(0x80)
        out += value.to_bytes(4, "big")
    else:
        out.append(0x81)
        out += value.to_bytes(8, "big")


def append_ms(out: bytearray, value: int) -> None:
    """Signed milliseconds, in 8 bytes."""
    out += _MS.pack(value)


def append_score(out: bytearray, score: float) -> None:
    """The score of a member, in 8 bytes."""
    out += _DOUBLE.pack(score)


def append_integer(out: bytearray, value: int) -> None:
    """A string that is an integer of up to 64 bits."""
    if -128 <= value < 128:
        out.append(0xC0)
        out += value.to_bytes(1, "little", signed=True)
    elif -32768 <= value < 32768:
        out.append(0xC1)
        out += value.to_bytes(2, "little", signed=True)
    elif -(1 << 31) <= value < 1 << 31:
        out.append(0xC2)
        out += value.to_bytes(4, "little", signed=True)
    else:
        append_string(out, b"%d" % value, None)


def append_string(out: bytearray, data: bytes, compressor: Compressor | None) -> None:
    """A string, compressed where there is a compressor and it pays."""
    if compressor is not None and len(data) > _COMPRESS_OVER:
        packed = compressor.compress(data)
        if packed is not None:
            out.append(0xC3)
            append_number(out, len(packed))
            append_number(out, len(data))
            out += packed
            return
    append_number(out, len(data))
    out += data


def append_words(out: bytearray, words: list[bytes], compressor: Compressor | None) -> None:
    """Strings, one after the other."""
    for word in words:
        append_string(out, word, compressor)


def append_members(
    out: bytearray, members: list[bytes], scores: list[float], compressor: Compressor | None
) -> None:
    """Members of a sorted set, each with its score."""
    for member, score in zip(members, scores):
        append_string(out, member, compressor)
        append_score(out, score)


def append_elements(out: bytearray, value: Any, compressor: Compressor | None) -> bool:
    """A list, set, hash or sorted set as a whole; False, and nothing, for any other value."""
    kind = type(value)
    if kind is SortedSet:
        size = len(value)
        append_number(out, size)
        order = value.order
        append_members(out, order.member_slice(0, size), order.score_slice(0, size), compressor)
    elif kind is Hash:
        append_number(out, len(value))
        append_words(out, value.flat_items(), compressor)
    elif kind is List or kind is Set:
        append_number(out, len(value))
        append_words(out, list(value), compressor)
    else:
        return False
    return True
