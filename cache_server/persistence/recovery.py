"""Loading a snapshot's file, and putting what was loaded in the place of what there is.

    read_file      feeds a file to a loader in steps; the caller may serve clients in between
    merge          adds what was loaded to what there is
    install        exchanges the tables of all databases in one step; nothing is ever half loaded
    recovered_history   where in which history the snapshot was taken

A file that cannot be used is refused with one line that says which, where and why; it is not
touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cache_server.disk import Disk
from cache_server.errors import InputError
from cache_server.keyspace.database import Keyspace
from cache_server.persistence.snapshot_codec import Loaded, Loader


@dataclass(frozen=True)
class RecoveredHistory:
    """The point of the replication stream at which a snapshot was taken.

    `stream_db` is the database that was selected in the stream there."""

    replication_id: str
    offset: int
    stream_db: int


def read_file(disk: Disk, path: str, loader: Loader, step_bytes: int) -> Iterator[int]:
    """Feeds the file to `loader`; yields the bytes read so far after each `step_bytes`.

    Raises InputError for contents that cannot be used, OSError for a file that cannot be read."""
    read_bytes = 0
    with disk.open(path) as file:
        while data := file.read(step_bytes):
            try:
                loader.feed(data)
            except InputError as error:
                raise InputError(f"{path}: {error}") from None
            read_bytes += len(data)
            yield read_bytes
    try:
        loader.finish()
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def install(keyspace: Keyspace, loaded: Loaded) -> None:
    """Makes the loaded data the keyspace's. Who watches a key of either data sees a change."""
    for db, table, volatile in zip(keyspace.databases, loaded.tables, loaded.volatile):
        before, db.table, db.volatile = db.table, table, volatile
        for key in list(db.watched):
            if key in before or key in table:
                keyspace.on_watched(db, key)
        for key in list(db.blocked):
            if key in table:
                keyspace.on_ready(db, key)


def merge(keyspace: Keyspace, loaded: Loaded, replace: bool) -> None:
    """Adds the loaded keys to the data. Raises InputError, before anything was added, for a key
    that is there already, unless `replace`."""
    for db, table in zip(keyspace.databases, loaded.tables):
        for key in table:
            if not replace and key in db.table:
                raise InputError(f"the key {key[:80]!r} is there already")
    for db, table in zip(keyspace.databases, loaded.tables):
        for key, entry in table.items():
            db.delete(key)
            db.put(key, entry.value)
            if entry.expire_ms:
                db.set_expiry(key, entry.expire_ms)
            db.touched(key)


def recovered_history(loaded: Loaded) -> RecoveredHistory | None:
    """The history that the snapshot belongs to, where it says so."""
    aux = loaded.aux
    name = aux.get(b"repl-id", b"").decode("ascii", "replace")
    if len(name) != 40 or not all(digit in "0123456789abcdef" for digit in name):
        return None
    try:
        offset, stream_db = int(aux[b"repl-offset"]), int(aux[b"repl-stream-db"])
    except (KeyError, ValueError):
        return None
    if offset < 0:
        return None
    return RecoveredHistory(name, offset, stream_db)
