"""What the keyspace holds of one key. There is one for every key, so its size is what a key costs.

`entry.pyx` is the same, compiled, without the header that Python's garbage collector puts before an
object: an entry is never part of a cycle, and nothing collects cycles in a running server.
"""

from __future__ import annotations

from typing import Any


class Entry:
    """Value, expiry (Unix ms, 0 for none), access stamp.

    The stamp is the time of the last access in ms, or under an LFU policy Redis's packed pair
    (minutes << 8 | logarithmic counter)."""

    def __init__(self, value: Any, access: int) -> None:
        self.value = value
        self.expire_ms = 0
        self.access = access
