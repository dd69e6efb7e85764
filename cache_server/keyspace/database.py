"""The keyspace: numbered databases of keys, and the one door to each key.

Every command reaches data through `Database`. The doors and their side effects:

    peek(key)          none but lazy expiry; for TTL, TYPE, OBJECT and the like
    read(key)          lazy expiry, access time, hit and miss counts
    write(key)         lazy expiry, access time, the snapshot's before-image; to be called before
                       a value is changed in place
    put(key, value)    add or overwrite; forgets the expiry unless `keep_ttl`
    delete(key)        remove
    changed(...)       to be called once after a change: dirty count, WATCH, notification

A string is `bytes`, `int` (a counter) or `bytearray` (grown in place); any other type has a class
of its own in `datatypes`. A value in the keyspace is never empty: what empties it deletes the key.

Expiry. An expired key is never shown. Who deletes it depends on `expire_mode`: a leader deletes it
and propagates that; a follower (or a paused leader) only hides it, because the stream alone changes
its data; and the stream itself sees the key as it is.

Snapshots. `before_write`, when set, is called with a key before its value changes, so that a
snapshot in progress can still take the value as it was when the snapshot began.

Invariants: `volatile` holds exactly the keys that have an expiry; `entry.expire_ms` is 0 for none;
`Keyspace.dirty` rises with every change and never falls but by a save.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from cache_server.errors import CommandError
from cache_server.structures.entry import Entry, make_entry
from cache_server.structures.table import Table

# What happens to a key found expired.
EXPIRE_DELETE = 0
EXPIRE_HIDE = 1
EXPIRE_IGNORE = 2

# Classes of keyspace events, one bit each, named by their letter in notify-keyspace-events.
NOTIFY_KEYSPACE = 1 << 0  # K
NOTIFY_KEYEVENT = 1 << 1  # E
NOTIFY_GENERIC = 1 << 2  # g
NOTIFY_STRING = 1 << 3  # $
NOTIFY_LIST = 1 << 4  # l
NOTIFY_SET = 1 << 5  # s
NOTIFY_HASH = 1 << 6  # h
NOTIFY_ZSET = 1 << 7  # z
NOTIFY_EXPIRED = 1 << 8  # x
NOTIFY_EVICTED = 1 << 9  # e
NOTIFY_STREAM = 1 << 10  # t
NOTIFY_KEY_MISS = 1 << 11  # m
NOTIFY_MODULE = 1 << 13  # d
NOTIFY_NEW = 1 << 14  # n

WRONG_TYPE = b"WRONGTYPE Operation against a key holding the wrong kind of value"


class Keyspace:
    """The databases, and what they share: time, counters, modes and hooks.

    `now_ms` is the wall clock in Unix ms, set by the server once a pass. Hooks:
    `on_expired(db, key)` after a lazy or active deletion, `on_notify(kind, event, key, db_index)`,
    `on_watched(db, key)` when a watched key changes, `on_ready(db, key)` when a key appears that
    clients are blocked on, or the value goes that they rely on."""

    def __init__(self, count: int = 16, rng: Random | None = None) -> None:
        self.rng = rng if rng is not None else Random()
        self.now_ms = 0
        self.dirty = 0
        self.hits = 0
        self.misses = 0
        self.expired_keys = 0
        self.notify_flags = 0
        self.expire_mode = EXPIRE_DELETE
        #: keys to which a client of a writable follower gave an expiry: the leader knows nothing
        #: of them, so the follower itself deletes them (database number, key)
        self.own_expiries: set[tuple[int, bytes]] = set()
        self.lfu = False
        self.on_lfu_access: Callable[[int], int] = int
        self.on_expired: Callable[[Database, bytes], None] = _ignore
        self.on_notify: Callable[[int, bytes, bytes, int], None] = _ignore
        self.on_watched: Callable[[Database, bytes], None] = _ignore
        self.on_ready: Callable[[Database, bytes], None] = _ignore
        self.databases = [Database(self, index) for index in range(count)]

    def __len__(self) -> int:
        """Keys in all databases."""
        return sum(len(db.table) for db in self.databases)


def _ignore(*_: Any) -> None:
    """A hook that nobody set."""


class Database:
    """One numbered database. Keys are bytes."""

    def __init__(self, keyspace: Keyspace, index: int) -> None:
        self.keyspace = keyspace
        self.index = index
        self.table = Table.of_entries()
        self.volatile = Table.of_entries()
        #: key -> clients that WATCH it; clients blocked on it (kept by transactions and blocking)
        self.watched: dict[bytes, Any] = {}
        self.blocked: dict[bytes, Any] = {}
        #: those of `blocked` that are answered, with an error, when the key's value goes
        self.relied_on: dict[bytes, Any] = {}
        self.before_write: Callable[[Database, bytes], None] | None = None
        #: running sum of the expiries, for INFO's avg_ttl
        self.expire_cursor = 0
        self.avg_ttl_ms = 0

    def __len__(self) -> int:
        return self.table.used

    # -- finding -------------------------------------------------------------------------------

    def find(self, key: bytes) -> Entry | None:
        """The live entry of `key`; deletes it when it is expired and we are the one to do that."""
        entry: Entry | None = self.table.get(key)
        if entry is None:
            return None
        if entry.expire_ms and entry.expire_ms <= self.keyspace.now_ms and self._expire(key):
            return None
        return entry

    def peek(self, key: bytes) -> Any:
        """The value, without touching access time or counters; None when there is no such key."""
        entry = self.find(key)
        return None if entry is None else entry.value

    def read(self, key: bytes) -> Any:
        """The value for a command that reads it, or None."""
        entry = self.find(key)
        keyspace = self.keyspace
        if entry is None:
            keyspace.misses += 1
            if keyspace.notify_flags & NOTIFY_KEY_MISS:
                keyspace.on_notify(NOTIFY_KEY_MISS, b"keymiss", key, self.index)
            return None
        keyspace.hits += 1
        if keyspace.lfu:
            entry.access = keyspace.on_lfu_access(entry.access)
        else:
            entry.access = keyspace.now_ms
        return entry.value

    def write(self, key: bytes) -> Any:
        """The value for a command that will change it in place, or None."""
        entry = self.find(key)
        if entry is None:
            return None
        if self.before_write is not None:
            self.before_write(self, key)
        keyspace = self.keyspace
        if keyspace.lfu:
            entry.access = keyspace.on_lfu_access(entry.access)
        else:
            entry.access = keyspace.now_ms
        return entry.value

    def read_as(self, key: bytes, kind: type) -> Any:
        """Like `read`. Raises WRONGTYPE when the value is not of class `kind`."""
        value = self.read(key)
        if value is not None and type(value) is not kind:
            raise CommandError(WRONG_TYPE)
        return value

    def write_as(self, key: bytes, kind: type) -> Any:
        """Like `write`. Raises WRONGTYPE when the value is not of class `kind`."""
        value = self.write(key)
        if value is not None and type(value) is not kind:
            raise CommandError(WRONG_TYPE)
        return value

    def read_string(self, key: bytes) -> bytes | None:
        """A string as bytes, or None. Raises WRONGTYPE for other types."""
        value = self.read(key)
        if value is None or type(value) is bytes:
            return value
        return string_bytes(value)

    def write_string(self, key: bytes) -> bytes | int | bytearray | None:
        """A string as it is held, or None, to be changed by `put`. Raises WRONGTYPE."""
        value = self.write(key)
        kind = type(value)
        if value is not None and kind is not bytes and kind is not int and kind is not bytearray:
            raise CommandError(WRONG_TYPE)
        return value  # type: ignore[no-any-return]

    # -- changing ------------------------------------------------------------------------------

    def put(self, key: bytes, value: Any, keep_ttl: bool = False) -> None:
        """Adds or overwrites. Not a change by itself: call `changed` after it."""
        keyspace = self.keyspace
        if self.before_write is not None:
            self.before_write(self, key)
        entry: Entry | None = self.table.get(key)
        if entry is None:
            self._add(key, value)
            return
        if entry.expire_ms:
            if entry.expire_ms <= keyspace.now_ms and keyspace.expire_mode == EXPIRE_DELETE:
                self._expire(key)
                self._add(key, value)
                return
            if not keep_ttl:
                entry.expire_ms = 0
                self.volatile.discard(key)
        if self.relied_on and key in self.relied_on:
            keyspace.on_ready(self, key)
        entry.value = value
        if keyspace.lfu:
            entry.access = keyspace.on_lfu_access(entry.access)
        else:
            entry.access = keyspace.now_ms

    def _add(self, key: bytes, value: Any) -> None:
        keyspace = self.keyspace
        access = keyspace.on_lfu_access(-1) if keyspace.lfu else keyspace.now_ms
        self.table.set(key, make_entry(key, value, access))
        if keyspace.notify_flags & NOTIFY_NEW:
            keyspace.on_notify(NOTIFY_NEW, b"new", key, self.index)
        if self.blocked and key in self.blocked:
            keyspace.on_ready(self, key)

    def delete(self, key: bytes) -> bool:
        """Removes the key, expired or not; False where there was none. Call `changed` after it."""
        if self.before_write is not None:
            self.before_write(self, key)
        entry: Entry | None = self.table.pop(key)
        if entry is None:
            return False
        if entry.expire_ms:
            self.volatile.discard(key)
        if self.relied_on and key in self.relied_on:
            self.keyspace.on_ready(self, key)
        return True

    def set_expiry(self, key: bytes, expire_ms: int) -> None:
        """Sets the expiry of an existing key in Unix ms; 0 takes it away."""
        if self.before_write is not None:
            self.before_write(self, key)
        entry: Entry = self.table.get(key)
        entry.expire_ms = expire_ms
        if expire_ms:
            self.volatile.set(key, entry)
            if self.keyspace.expire_mode == EXPIRE_HIDE:
                self.keyspace.own_expiries.add((self.index, key))
        else:
            self.volatile.discard(key)

    def changed(self, key: bytes, kind: int, event: bytes, count: int = 1) -> None:
        """Says that `key` was changed: `count` to the dirty counter, WATCH, and the event."""
        keyspace = self.keyspace
        keyspace.dirty += count
        if self.watched and key in self.watched:
            keyspace.on_watched(self, key)
        if keyspace.notify_flags & kind:
            keyspace.on_notify(kind, event, key, self.index)

    def touched(self, key: bytes) -> None:
        """Says that `key` changed without an event of its own and without a dirty count."""
        if self.watched and key in self.watched:
            self.keyspace.on_watched(self, key)

    def notify(self, kind: int, event: bytes, key: bytes) -> None:
        """A further event of the same command; `changed` sends the first."""
        if self.keyspace.notify_flags & kind:
            self.keyspace.on_notify(kind, event, key, self.index)

    def ready(self, key: bytes) -> None:
        """Says that a key clients may be blocked on got something for them."""
        if self.blocked and key in self.blocked:
            self.keyspace.on_ready(self, key)

    def clear(self) -> int:
        """Drops all keys at once; returns how many there were."""
        count = self.table.used
        self.table = Table.of_entries()
        self.volatile = Table.of_entries()
        for key in self.relied_on:
            self.keyspace.on_ready(self, key)
        return count

    def _expire(self, key: bytes) -> bool:
        """Handles a key found expired; True when it is not to be seen."""
        mode = self.keyspace.expire_mode
        if mode == EXPIRE_IGNORE:
            return False
        if mode == EXPIRE_DELETE:
            self.expire_now(key)
        return True

    def expire_now(self, key: bytes) -> None:
        """Deletes an expired key and tells everyone, as its own change."""
        self.delete(key)
        keyspace = self.keyspace
        keyspace.expired_keys += 1
        self.touched(key)
        if keyspace.notify_flags & NOTIFY_EXPIRED:
            keyspace.on_notify(NOTIFY_EXPIRED, b"expired", key, self.index)
        keyspace.on_expired(self, key)


def string_bytes(value: Any) -> bytes:
    """A string value as bytes. Raises WRONGTYPE for a value of another type."""
    kind = type(value)
    if kind is bytes:
        return value  # type: ignore[no-any-return]
    if kind is int:
        return b"%d" % value
    if kind is bytearray:
        return bytes(value)
    raise CommandError(WRONG_TYPE)
