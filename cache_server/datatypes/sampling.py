"""What collections of names share: fair samples of them, and how much memory they take."""

from __future__ import annotations

from random import Random
from sys import getsizeof
from typing import Any

from cache_server.constants import DRAWN_ELEMENTS_MAX
from cache_server.errors import CommandError
from cache_server.structures.fields import Fields
from cache_server.structures.table import Table

#: The least that one draw takes in a reply, in bytes: `$0`, and two line ends.
_DRAW_BYTES_MIN = 6


def distinct_keys(table: Table | Fields, count: int, rng: Random) -> list[bytes]:
    """`count` different keys, every choice equally likely; all of them where there are fewer."""
    if count >= len(table):
        return table.keys_list()
    if count * 3 > len(table):
        return rng.sample(table.keys_list(), count)
    chosen: dict[bytes, None] = {}
    while len(chosen) < count:
        key = table.random_key(rng)
        assert key is not None
        chosen[key] = None
    return list(chosen)


def check_draws(ctx: Any, count: int) -> None:
    """Refuses more draws than are made. A client whose output they would pass the limit of is
    closed, as Redis closes it in the middle of them. Raises CommandError."""
    if count > DRAWN_ELEMENTS_MAX:
        ctx.server.refuse_output(ctx, count * _DRAW_BYTES_MIN)
        raise CommandError(b"ERR value is out of range")


def repeated_keys(table: Table | Fields, count: int, rng: Random) -> list[bytes]:
    """`count` independent draws from a table that is not empty."""
    keys = table.keys_list() if count * 8 > len(table) else []
    if keys:
        return rng.choices(keys, k=count)
    draws = [table.random_key(rng) for _ in range(count)]
    return [key for key in draws if key is not None]


def bytes_memory(word: bytes) -> int:
    """What a bytes object takes, in bytes: header and closing zero, in steps of 16."""
    return (len(word) + 48) & ~15


def table_memory(table: Table, samples: int) -> int:
    """Bytes taken by a table of bytes or floats, from `samples` entries (0: from all)."""
    seen = size = 0
    for index in range(table.bucket_count()):
        for key, value in table.bucket_items(index):
            size += bytes_memory(key) + _value_memory(value)
            seen += 1
        if samples and seen >= samples:
            break
    return getsizeof(table) + table.memory_bytes + (size * len(table) // seen if seen else 0)


def _value_memory(value: Any) -> int:
    return bytes_memory(value) if type(value) is bytes else getsizeof(value)
