"""Digests of the data set by buckets of keys, as it was at one instant, while it changes.

The problem: two nodes hold the same data or they do not, and nobody can compare a hundred gigabytes
key by key. The idea: every key belongs to one of `BUCKETS` buckets by a hash of its name that is
the same on every node, and a bucket's digest is the sum of its keys' digests. Sums are compared;
only of a bucket that differs the keys are listed, with their digests.

    key      64 bits of BLAKE2b over database, expiry, name and value; elements of a value that has
             no order are digested one by one and summed
    bucket   sum of its keys' digests modulo 2^64

The walk is that of a snapshot (`snapshot.py`): tables are frozen, and a key whose bucket of the
*table* was not reached yet is digested as it was before it changes. What counts is what is held, be
it expired or not: expired keys are deleted by the stream, at the same position everywhere, so the
digests do not depend on when somebody looked.

Invariants: each key that was there at the start is digested once, as it was; `before_write` is told
exactly while the walk runs; a value of many elements is digested in steps.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

from cache_server.datatypes.values import is_string
from cache_server.keyspace.database import Database, Keyspace
from cache_server.persistence.snapshot import BeforeWrite

BUCKETS = 4096
"""Buckets of a pass: a million keys are 244 in each, and all digests are 32 KiB."""

_MASK = (1 << 64) - 1
_DOUBLE = struct.Struct("<d")
_STEP_ELEMENTS = 512


def bucket_of(db_index: int, key: bytes) -> int:
    """The bucket of a key: the same on every node."""
    return zlib.crc32(key, db_index) % BUCKETS


def _hash(data: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little")


def _bytes(value: Any) -> bytes:
    return b"%d" % value if type(value) is int else bytes(value)


def _element_digests(value: Any) -> Iterator[int]:
    """Digests of the elements, to be summed; those of a sequence know their place."""
    kind: bytes = value.type_name
    if kind == b"set":
        for member in value:
            yield _hash(_bytes(member))
    elif kind == b"hash":
        for field, held in value.items():
            name = _bytes(field)
            yield _hash(b"%d:%b%b" % (len(name), name, _bytes(held)))
    elif kind == b"zset":
        for member, score in value.items():
            yield _hash(_DOUBLE.pack(score) + _bytes(member))
    elif kind == b"stream":
        yield _hash(b"%d" % value.last_id)
        for entry_id, words in value.items():
            parts = b"".join(b"%d:%b" % (len(word), word) for word in map(_bytes, words))
            yield _hash(b"%d:%b" % (entry_id, parts))
        yield from _group_digests(value)
    else:
        for place, element in enumerate(value):
            yield _hash(b"%d:%b" % (place, _bytes(element)))


def _group_digests(stream: Any) -> Iterator[int]:
    """Of each group how far it has read, its consumers, and whose which entry is. What a consumer
    changes by reading its own entries again is left out (when and how often each was delivered,
    when it was seen), and so is the count of entries read: no stream carries these."""
    for name, group in stream.groups.items():
        label = b"%d:%b" % (len(name), name)
        yield _hash(b"group %b%d" % (label, group.last_id))
        for consumer in group.consumers:
            yield _hash(b"consumer %b%b" % (label, consumer))
        for entry_id, pending in group.pending.items():
            yield _hash(b"pending %b%d:%b" % (label, entry_id, pending.consumer))


def digest_steps(db_index: int, key: bytes, entry: Any) -> Iterator[int | None]:
    """Gives None after each few elements, and the digest at the end."""
    value = entry.value
    total = 0
    for count, digest in enumerate(_element_digests(value)):
        total += digest
        if count % _STEP_ELEMENTS == _STEP_ELEMENTS - 1:
            yield None
    kind: bytes = value.type_name
    held = b"%b %d" % (kind, total & _MASK)
    yield _hash(b"%d %d %d %b%b" % (db_index, entry.expire_ms, len(key), key, held))


def key_digest(db_index: int, key: bytes, entry: Any) -> int:
    """The digest of a key with its value and its expiry."""
    value = entry.value
    if is_string(value):
        held = value if type(value) is bytes else _bytes(value)
        return _hash(b"%d %d %d %b%b" % (db_index, entry.expire_ms, len(key), key, held))
    return next(each for each in digest_steps(db_index, key, entry) if each is not None)


class _Walk:
    """The progress through one table."""

    def __init__(self, index: int, table: Any) -> None:
        self.index = index
        self.table = table
        self.position = 0
        self.done = bytearray(table.bucket_count())


class DigestWalk:
    """One pass over `keyspace` as it is now: `step` until `ended`, then `close`.

    With `wanted` buckets only keys of these are looked at, and `listed` has them: (database, key,
    digest). Without, `sums` has the digest of every bucket. To be made between two commands."""

    def __init__(self, keyspace: Keyspace, wanted: frozenset[int] | None = None) -> None:
        self.keyspace = keyspace
        self.wanted = wanted
        self.keys_total = len(keyspace)
        self.keys_done = 0
        self.sums = [0] * BUCKETS
        self.listed: list[tuple[int, bytes, int]] = []
        self.ended = False
        self._steps: Iterator[int | None] | None = None
        self._stepping: tuple[Any, int, bytes] | None = None
        self._items: list[tuple[bytes, Any]] = []
        self._walks: list[_Walk] = []
        for db in keyspace.databases:
            if not isinstance(db.before_write, BeforeWrite):
                db.before_write = BeforeWrite()
            db.before_write.snapshots += (self,)
            if db.table.used:
                db.table.frozen += 1
                self._walks.append(_Walk(db.index, db.table))
        self._by_table = {id(walk.table): walk for walk in self._walks}

    def step(self, keys: int) -> None:
        """Looks at about so many keys more; a long value counts as several."""
        until = self.keys_done + keys
        spent = 0
        while not self.ended and self.keys_done < until and spent < keys:
            if self._steps is not None:
                spent += _STEP_ELEMENTS // 8
                self._advance()
            elif self._items:
                self._begin(self._walks[0], *self._items.pop())
            else:
                self._next_bucket()

    def close(self) -> None:
        """Ends the walk, at its end or not. May be called again."""
        for walk in self._walks:
            walk.table.frozen -= 1
        self._walks, self._by_table, self._items, self._steps = [], {}, [], None
        for db in self.keyspace.databases:
            hook = db.before_write
            if isinstance(hook, BeforeWrite):
                hook.forget(self)
                if not hook.snapshots:
                    db.before_write = None

    def before_write(self, table: Any, key: bytes) -> None:
        """A key is about to change: its bucket of the table is digested first, as it is."""
        walk = self._by_table.get(id(table))
        if walk is None:
            return
        index = table.bucket_index(key)
        if not walk.done[index]:
            walk.done[index] = 1
            for each, entry in table.bucket_items(index):
                self._whole(walk, each, entry)
        elif walk is self._walks[0] and index == walk.position - 1:
            while self._steps is not None:
                self._advance()
            while self._items:
                self._whole(walk, *self._items.pop())

    # -- parts ---------------------------------------------------------------------------------

    def _next_bucket(self) -> None:
        if not self._walks:
            self.ended = True
            return
        walk = self._walks[0]
        position = walk.done.find(0, walk.position)
        if position < 0:
            self._walks.pop(0)
            del self._by_table[id(walk.table)]
            walk.table.frozen -= 1
            return
        walk.done[position] = 1
        walk.position = position + 1
        self._items = walk.table.bucket_items(position)

    def _begin(self, walk: _Walk, key: bytes, entry: Any) -> None:
        if self.wanted is not None and bucket_of(walk.index, key) not in self.wanted:
            self.keys_done += 1
        elif is_string(entry.value):
            self._take(walk.index, key, key_digest(walk.index, key, entry))
        else:
            self._steps = digest_steps(walk.index, key, entry)
            self._stepping = (walk, walk.index, key)
            self._advance()

    def _advance(self) -> None:
        assert self._steps is not None
        assert self._stepping is not None
        digest = next(self._steps)
        if digest is not None:
            self._steps = None
            self._take(self._stepping[1], self._stepping[2], digest)

    def _whole(self, walk: _Walk, key: bytes, entry: Any) -> None:
        if self.wanted is not None and bucket_of(walk.index, key) not in self.wanted:
            self.keys_done += 1
        else:
            self._take(walk.index, key, key_digest(walk.index, key, entry))

    def _take(self, db_index: int, key: bytes, digest: int) -> None:
        self.keys_done += 1
        if self.wanted is None:
            bucket = bucket_of(db_index, key)
            self.sums[bucket] = (self.sums[bucket] + digest) & _MASK
        else:
            self.listed.append((db_index, key, digest))


def corrupted(db: Database, key: bytes) -> bool:
    """Changes a value behind everybody's back, as a bad bit in memory would: no event, no dirty
    count, nothing in the stream. False where there is no such key, or nothing in it to change."""
    entry = db.table.get(key)
    if entry is None:
        return False
    value = entry.value
    if is_string(value):
        held = bytearray(_bytes(value) or b"\0")
        held[0] ^= 1
        entry.value = bytes(held)
    elif value.type_name == b"list" or value.type_name == b"set":
        entry.value = type(value)([*value, b"\x01"])
    elif value.type_name == b"hash":
        entry.value = type(value)([*value.items(), (b"\x01", b"\x01")])
    elif value.type_name == b"zset":
        entry.value = type(value)([*value.items(), (b"\x01", 1.0)])
    else:
        entry.value = value.copy()
        entry.value.last_id += 1
    return True


__all__ = ["BUCKETS", "DigestWalk", "bucket_of", "corrupted", "key_digest"]
