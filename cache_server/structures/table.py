"""Table: a hash table that never stops to rehash, can be scanned, sampled and snapshotted.

Problem. A Python dict of millions of keys grows in one step of tens of milliseconds, cannot be
scanned with a cursor while it changes, and has no fair random element. Redis rehashes step by step;
we want the same without writing a hash function or handling raw memory.

Idea: linear hashing over small dicts. A key's bucket is decided by the low bits of its hash; when
the table grows past `TABLE_BUCKET_KEYS` keys a bucket on average, exactly one bucket is split in
two (and the last two are merged when it shrinks), so the work per insertion is bounded.

    5 buckets: level mask = 111, half = 4          bucket i of the upper half or its sibling: 3 bits
    [0] [1] [2] [3] [4]                            the rest (here 1, 2, 3): 2 bits
     3b  2b  2b  2b  3b

A scan visits hash values in the order of their reversed bits. There every bucket is one contiguous
range, and splitting or merging only refines or joins ranges: a cursor (a point in that order) stays
meaningful, so a full scan returns every key that was there from beginning to end, whatever happens
in between (the guarantee of https://redis.io/docs/latest/commands/scan/).

Where there is a compiler, `table.pyx` stands in for this file: the same class with buckets of its
own. This file is the specification.

Invariants: a key is in the bucket its hash names; `used` is the sum of the bucket sizes; while
`frozen` is above zero no bucket is split or merged, so a walk by bucket number sees each key once.
With a single bucket (up to TABLE_SMALL_KEYS keys) iteration is in order of insertion.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from sys import getsizeof
from typing import Any

from cache_server.constants import TABLE_BUCKET_KEYS, TABLE_SMALL_KEYS

#: Cursors are 32 bits wide; this is the end of that range.
_END = 1 << 32
_BUCKET_KEYS = TABLE_BUCKET_KEYS


def _reverse(value: int) -> int:
    """The low 32 bits of `value` in reverse order."""
    value = ((value >> 1) & 0x55555555) | ((value & 0x55555555) << 1)
    value = ((value >> 2) & 0x33333333) | ((value & 0x33333333) << 2)
    value = ((value >> 4) & 0x0F0F0F0F) | ((value & 0x0F0F0F0F) << 4)
    value = ((value >> 8) & 0x00FF00FF) | ((value & 0x00FF00FF) << 8)
    return ((value >> 16) & 0xFFFF) | ((value & 0xFFFF) << 16)


class Table:
    """A mapping of bytes to any object. Not for iteration while it is changed, except by `scan`."""

    def __init__(self) -> None:
        self.buckets: list[dict[bytes, Any]] = [{}]
        self.used = 0
        self.mask = 0
        self.frozen = 0

    @staticmethod
    def of_entries() -> Table:
        """A table whose values are the entries of their keys."""
        return Table()

    def __len__(self) -> int:
        return self.used

    def __contains__(self, key: bytes) -> bool:
        return key in self.buckets[self.bucket_index(key)]

    def __iter__(self) -> Iterator[bytes]:
        for bucket in self.buckets:
            yield from bucket

    def bucket_index(self, key: bytes) -> int:
        """The number of the bucket where `key` is or would be."""
        code = hash(key)
        index = code & self.mask
        if index >= len(self.buckets):
            index = code & (self.mask >> 1)
        return index

    def bucket_count(self) -> int:
        """How many buckets there are."""
        return len(self.buckets)

    def bucket_items(self, index: int) -> list[tuple[bytes, Any]]:
        """The keys and values of one bucket, in a new list of pairs. Raises IndexError."""
        return list(self.buckets[index].items())

    def bucket_keys(self, index: int) -> list[bytes]:
        """The keys of one bucket, in a new list."""
        return list(self.buckets[index])

    def get(self, key: bytes) -> Any:
        """The value of `key`, or None."""
        bucket = self.buckets[0] if self.mask == 0 else self.buckets[self.bucket_index(key)]
        return bucket.get(key)

    def set(self, key: bytes, value: Any) -> bool:
        """Puts the value; True when the key is new."""
        bucket = self.buckets[0] if self.mask == 0 else self.buckets[self.bucket_index(key)]
        before = len(bucket)
        bucket[key] = value
        if len(bucket) == before:
            return False
        self.used += 1
        if self.used > TABLE_SMALL_KEYS and self.used > len(self.buckets) * _BUCKET_KEYS:
            self._split()
        return True

    def pop(self, key: bytes) -> Any:
        """Takes the key out and returns its value, or None where it was not there."""
        bucket = self.buckets[0] if self.mask == 0 else self.buckets[self.bucket_index(key)]
        if key not in bucket:
            return None
        value = bucket.pop(key)
        self._removed()
        return value

    def discard(self, key: bytes) -> bool:
        """Takes the key out; False where it was not there."""
        bucket = self.buckets[0] if self.mask == 0 else self.buckets[self.bucket_index(key)]
        if key not in bucket:
            return False
        del bucket[key]
        self._removed()
        return True

    def clear(self) -> None:
        self.__init__()  # type: ignore[misc]

    def items(self) -> Iterator[tuple[bytes, Any]]:
        for bucket in self.buckets:
            yield from bucket.items()

    def values(self) -> Iterator[Any]:
        for bucket in self.buckets:
            yield from bucket.values()

    def flat_items(self) -> list[Any]:
        """Every key and its value, one after the other, in a new list."""
        result: list[Any] = []
        for key, value in self.items():
            result.append(key)
            result.append(value)
        return result

    def keys_list(self) -> list[bytes]:
        """All keys in a new list."""
        result: list[bytes] = []
        for bucket in self.buckets:
            result.extend(bucket)
        return result

    def longest_key(self) -> int:
        """The length of the longest key in bytes; 0 when empty."""
        return max(map(len, self), default=0)

    def scan(self, cursor: int, count: int) -> tuple[int, list[bytes]]:
        """At least `count` keys from `cursor` on, fewer at the end, and the next cursor or 0.

        Whole buckets are returned, so there may be up to a bucket more; a key may come twice."""
        keys: list[bytes] = []
        cursor &= _END - 1
        while True:
            code = _reverse(cursor)
            index = code & self.mask
            if index >= len(self.buckets):
                index = code & (self.mask >> 1)
            keys.extend(self.buckets[index])
            cursor = _reverse(index) + (_END >> self._depth(index))
            if cursor >= _END:
                return 0, keys
            if len(keys) >= count:
                return cursor, keys

    def random_key(self, rng: Random) -> bytes | None:
        """A key, each with the same probability; None when empty."""
        if self.used == 0:
            return None
        buckets = self.buckets
        longest = max(map(len, buckets)) if len(buckets) <= 4 else 4 * _BUCKET_KEYS
        while True:
            bucket = buckets[int(rng.random() * len(buckets))]
            size = len(bucket)
            if size > longest:
                longest = size
            index = int(rng.random() * longest)
            if index < size:
                for key in bucket:
                    if index == 0:
                        return key
                    index -= 1

    @property
    def memory_bytes(self) -> int:
        """Bytes of the table itself, without keys and values."""
        return sum(map(getsizeof, self.buckets)) + getsizeof(self.buckets)

    def _depth(self, index: int) -> int:
        """How many low bits of the hash decide for bucket `index`."""
        level = self.mask.bit_length()
        half = (self.mask + 1) >> 1
        if index >= half or index + half < len(self.buckets):
            return level
        return level - 1

    def _split(self) -> None:
        if self.frozen:
            return
        new = len(self.buckets)
        if new > self.mask:
            self.mask = self.mask * 2 + 1
        half = (self.mask + 1) >> 1
        low: dict[bytes, Any] = {}
        high: dict[bytes, Any] = {}
        for key, value in self.buckets[new - half].items():
            if hash(key) & half:
                high[key] = value
            else:
                low[key] = value
        self.buckets[new - half] = low
        self.buckets.append(high)

    def _removed(self) -> None:
        self.used -= 1
        buckets = len(self.buckets)
        if buckets > 1 and self.used < buckets * (_BUCKET_KEYS // 4) and not self.frozen:
            half = (self.mask + 1) >> 1
            last = self.buckets.pop()
            self.buckets[buckets - 1 - half].update(last)
            if len(self.buckets) <= half:
                self.mask >>= 1


def table_of(keys: list[bytes], values: list[Any] | None) -> Table:
    """A table of these keys, each with its value; without a list, with True.

    Of a key that comes twice the last is there: `used` is less than the keys then."""
    table = Table()
    for index, key in enumerate(keys):
        table.set(key, True if values is None else values[index])
    return table
