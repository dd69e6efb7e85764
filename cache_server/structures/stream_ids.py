"""Ids of stream entries: pairs of 64-bit numbers held as one integer, `ms << 64 | sequence`.

Specification and twin of `stream_ids.pyx`, which works on the bytes of the integer.
"""

from __future__ import annotations

_PART_MAX = 2**64 - 1


def format_id(entry_id: int) -> bytes:
    """ms-sequence"""
    return b"%d-%d" % (entry_id >> 64, entry_id & _PART_MAX)


def next_id(last_id: int, now_ms: int) -> tuple[int, bytes]:
    """The id that `*` stands for, and how it is written: of this millisecond, and above `last_id`,
    which is not the highest of all."""
    entry_id = max(now_ms << 64, last_id + 1)
    return entry_id, format_id(entry_id)
