"""What the keyspace holds of one key. There is one for every key, so its size is what a key costs.

`entry.pyx` is the same, compiled: there the key's bytes lie inside of the entry, behind its fields,
so that a key is one block of memory and a table of entries needs one pointer a key. It is also
without the header that Python's garbage collector puts before an object: an entry is never part of
a cycle, and nothing collects cycles in a running server.
"""

from __future__ import annotations

from typing import Any


class Entry:
    """Value, expiry (Unix ms, 0 for none), access stamp. Made by `make_entry`.

    The stamp is the time of the last access in ms, or under an LFU policy Redis's packed pair
    (minutes << 8 | logarithmic counter)."""

    value: Any
    expire_ms: int
    access: int


def make_entry(key: bytes, value: Any, access: int) -> Entry:
    """The entry of `key`, without an expiry; to be put into a table under that key alone."""
    entry = Entry()
    entry.value = value
    entry.expire_ms = 0
    entry.access = access
    return entry
