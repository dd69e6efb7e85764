"""A snapshot of the data as it is at one instant, taken while the data changes; nothing is forked.

Idea: a before-image, bucket by bucket. While a snapshot runs, the tables of keys are frozen, so a
key stays in its bucket. The walk goes through the buckets in order. Every write announces its key
first (`Database.before_write`); if the key's bucket has not been written yet, it is written there
and then, as it was, before the change goes on. So each key is written once, as it was at the start.

    bucket     0   1   2   3   4   5   6   7
               #   #   #   >   .   #   .   .        # written   > the walk is here   . still to come
                                   ^
                                   a write came to bucket 5 before the walk did

The work that writes cause is bounded: a bucket is written early at most once, and then the walk has
less to do. A value of many elements is written in steps; a write to its bucket meanwhile finishes
that bucket at once, and what other buckets need to have written waits in `_aside`, because a value
cannot be interrupted by others.

Databases may be emptied, exchanged or replaced by a load meanwhile: the walk holds on to the tables
that were there at the start, and knows a table by its identity, not by its number.

Invariants: the bytes are those of the data at the start, whatever happens until `close`; a table is
frozen exactly while it is walked; `before_write` is set exactly while some snapshot needs it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from cache_server.constants import SNAPSHOT_GROUP_KEYS
from cache_server.keyspace.database import Database, Keyspace
from cache_server.persistence.command_encoder import CommandEncoder
from cache_server.persistence.snapshot_codec import ACCESS_NONE, Encoder, trailer
from cache_server.structures.table import Table
from replication.checksum import crc64_redis


class BeforeWrite:
    """Tells every running snapshot (or other walk with `before_write`) that a key is about to
    change."""

    def __init__(self) -> None:
        self.snapshots: tuple[Any, ...] = ()

    def __call__(self, db: Database, key: bytes) -> None:
        table = db.table
        for snapshot in self.snapshots:
            snapshot.before_write(table, key)

    def forget(self, snapshot: Any) -> None:
        """The snapshot is over."""
        self.snapshots = tuple(other for other in self.snapshots if other is not snapshot)


class _Walk:
    """The progress of a snapshot through one table."""

    def __init__(self, index: int, table: Table, volatile: int) -> None:
        self.index = index
        self.table = table
        self.keys = table.used
        self.volatile = volatile
        #: The buckets that are being written: from `first`, before `position`.
        self.first = self.position = 0
        self.written = bytearray(table.bucket_count())
        self.announced = False


class Snapshot:
    """A snapshot of `keyspace`, read by `next_chunk` and ended by `close`.

    To be made between two commands, never inside a transaction. `aux` are fields for the preamble,
    `functions` libraries as they were loaded, `access` one of the codec's ACCESS_*. With
    `commands` what is written are the commands that make the data."""

    def __init__(
        self,
        keyspace: Keyspace,
        aux: Iterable[tuple[bytes, Any]] = (),
        *,
        functions: Iterable[bytes] = (),
        compress: bool = False,
        checksum: bool = True,
        access: int = ACCESS_NONE,
        commands: bool = False,
    ) -> None:
        self.keyspace = keyspace
        self.checksum = checksum
        #: Keys at the start, and keys encoded so far.
        self.keys_total = len(keyspace)
        self.keys_done = 0
        #: Bytes that writes, not the reader, caused to be encoded: the price of not stopping them.
        self.early_bytes = 0
        self.ended = False
        self._commands = commands
        kind = CommandEncoder if commands else Encoder
        self._encoder = kind(compress, access, keyspace.now_ms)
        self._aside = kind(compress, access, keyspace.now_ms)
        self._selected = self._aside_selected = -1
        self._crc = 0
        self._walk: _Walk | None = None
        self._items: list[tuple[bytes, Any]] = []
        self._next_item = 0
        self._steps: Iterator[None] | None = None
        self._walks = self._begin()
        self._by_table = {id(walk.table): walk for walk in self._walks}
        self._encoder.header()
        for name, value in aux:
            self._encoder.aux(name, value)
        for library in functions:
            self._encoder.function(library)

    def _begin(self) -> list[_Walk]:
        walks = []
        for db in self.keyspace.databases:
            if not isinstance(db.before_write, BeforeWrite):
                db.before_write = BeforeWrite()
            db.before_write.snapshots += (self,)
            if db.table.used:
                db.table.frozen += 1
                walks.append(_Walk(db.index, db.table, db.volatile.used))
        # Small databases first, so that they are soon free to grow again.
        walks.sort(key=lambda walk: walk.keys)
        return walks

    @property
    def buffered_bytes(self) -> int:
        """Bytes encoded and not yet read."""
        return len(self._encoder.out) + len(self._aside.out)

    @property
    def ready_bytes(self) -> int:
        """Bytes that the next chunks are made of without anything being read for them."""
        return len(self._encoder.out)

    def next_chunk(self, budget_bytes: int) -> bytes:
        """The next 1 to `budget_bytes` bytes; b"" at the end."""
        out = self._encoder.out
        while len(out) < budget_bytes and not self.ended:
            if self._steps is not None:
                self._step()
            elif self._next_item < len(self._items):
                self._continue_buckets()
            else:
                self._next_buckets()
        chunk = bytes(out[:budget_bytes])
        del out[:budget_bytes]
        if self.checksum and not self.ended:
            self._crc = crc64_redis(chunk, self._crc)
        return chunk

    def close(self) -> None:
        """Ends the snapshot, read to its end or not. May be called again."""
        for walk in self._walks:
            walk.table.frozen -= 1
        self._walks = []
        self._by_table = {}
        self._walk = None
        self._items = []
        self._steps = None
        for db in self.keyspace.databases:
            hook = db.before_write
            if isinstance(hook, BeforeWrite):
                hook.forget(self)
                if not hook.snapshots:
                    db.before_write = None

    # -- the walk ------------------------------------------------------------------------------

    def _next_buckets(self) -> None:
        """Takes the next few buckets that have not been written."""
        items: list[tuple[bytes, Any]] = []
        self._items, self._next_item = items, 0
        while self._walks and not items:
            walk = self._walk = self._walks[0]
            table, written, position = walk.table, walk.written, walk.position
            walk.first = position
            while len(items) < SNAPSHOT_GROUP_KEYS:
                position = written.find(0, position)
                if position < 0:
                    position = len(written)
                    break
                written[position] = 1
                items += table.bucket_items(position)
                position += 1
            walk.position = position
            if not items:
                self._walks.pop(0)
                del self._by_table[id(table)]
                table.frozen -= 1
                self._walk = None
        if not items:
            self._end()

    def _select(self, walk: _Walk) -> None:
        if self._selected != walk.index:
            self._announce(self._encoder, walk)
            self._selected = walk.index

    def _announce(self, encoder: Encoder, walk: _Walk) -> None:
        encoder.select(walk.index)
        if not walk.announced:
            walk.announced = True
            encoder.sizes(walk.keys, walk.volatile)

    def _continue_buckets(self) -> None:
        assert self._walk is not None
        self._select(self._walk)
        start = self._next_item
        stop = self._encoder.entries(self._items, start)
        self.keys_done += stop - start
        self._next_item = stop
        if stop < len(self._items):
            key, entry = self._items[stop]
            self._steps = self._encoder.steps(key, entry)

    def _step(self) -> None:
        assert self._steps is not None
        for _ in self._steps:
            return
        self._steps = None
        self._next_item += 1
        self.keys_done += 1
        if self._aside.out:
            self._encoder.out += self._aside.out
            self._aside.out.clear()
            self._aside_selected = -1
            self._selected = -1

    def _end(self) -> None:
        encoder = self._encoder
        self.ended = True
        if self._commands:
            return
        encoder.end()
        crc = crc64_redis(bytes(encoder.out), self._crc) if self.checksum else 0
        encoder.out += trailer(crc)

    # -- writes meanwhile ----------------------------------------------------------------------

    def before_write(self, table: Table, key: bytes) -> None:
        """Writes the bucket of `key` as it is, unless it has been written."""
        walk = self._by_table.get(id(table))
        if walk is None:
            return
        index = table.bucket_index(key)
        if walk.written[index]:
            if walk is self._walk and walk.first <= index < walk.position:
                self._finish_buckets()
            return
        walk.written[index] = 1
        encoder = self._encoder if self._steps is None else self._aside
        before = len(encoder.out)
        if self._steps is None:
            self._select(walk)
        elif self._aside_selected != walk.index:
            self._announce(encoder, walk)
            self._aside_selected = walk.index
        items = walk.table.bucket_items(index)
        done = encoder.entries(items, 0)
        while done < len(items):
            item_key, entry = items[done]
            encoder.entry(item_key, entry)
            done = encoder.entries(items, done + 1)
        self.keys_done += len(items)
        self.early_bytes += len(encoder.out) - before

    def _finish_buckets(self) -> None:
        before = self.buffered_bytes
        while self._steps is not None or self._next_item < len(self._items):
            if self._steps is not None:
                self._step()
            else:
                self._continue_buckets()
        self.early_bytes += self.buffered_bytes - before
