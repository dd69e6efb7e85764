"""What a key costs in memory, as the interpreter counts its objects."""

from __future__ import annotations

import sys
from typing import Any

#: An Entry, its slots, and the key's place in the table, in bytes.
ENTRY_BYTES = 96


def value_bytes(key: bytes, value: Any, samples: int) -> int:
    """Bytes for key, entry and value; `samples` elements of a collection are looked at, 0 for all."""
    own = sys.getsizeof(key) + ENTRY_BYTES
    if type(value) in (bytes, int, bytearray):
        return own + sys.getsizeof(value)
    return own + int(value.memory_bytes(samples))
