"""Loading a snapshot's file, and putting what was loaded in the place of what there is.

    read_file      feeds a file to a loader in steps; the caller may serve clients in between
    merge          adds what was loaded to what there is
    install        exchanges the tables of all databases in one step; nothing is ever half loaded
    recovered_history   where in which history the snapshot was taken
    history_aux         how a snapshot says so

A file that cannot be used is refused with one line that says which, where and why; it is not
touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from cache_server.disk import Disk
from cache_server.errors import InputError
from cache_server.keyspace.database import Keyspace
from cache_server.persistence.snapshot_codec import Loaded, Loader
from replication.constants import EPOCH_MAX, NO_REPLID, POSITION_MAX
from replication.history import is_replid


@dataclass(frozen=True)
class RecoveredHistory:
    """The point of the replication stream at which a snapshot was taken, or where a log ends.

    `stream_db` is the database that was selected in the stream there; `checksum` the history
    checksum, None where it is not known, which began to run at `base`."""

    replication_id: str
    offset: int
    stream_db: int
    epoch: int = 0
    checksum: int | None = None
    base: int = 0
    second_id: str = NO_REPLID
    second_id_offset: int = -1

    def moved(self, offset: int, stream_db: int, epoch: int, checksum: int) -> RecoveredHistory:
        """The same history, further on."""
        return replace(self, offset=offset, stream_db=stream_db, epoch=epoch, checksum=checksum)


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
            if key in table or key in db.relied_on:
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


def history_aux(history: RecoveredHistory) -> list[tuple[bytes, Any]]:
    """What a snapshot's preamble says of its history. The first three are Redis's."""
    checksum = history.checksum
    return [
        (b"repl-stream-db", history.stream_db),
        (b"repl-id", history.replication_id.encode()),
        (b"repl-offset", history.offset),
        (b"cs-repl-epoch", history.epoch),
        (b"cs-repl-checksum", b"-" if checksum is None else b"%016x" % checksum),
        (b"cs-repl-base", history.base),
        (b"cs-repl-id2", history.second_id.encode()),
        (b"cs-repl-id2-offset", history.second_id_offset),
    ]


def recovered_history(loaded: Loaded) -> RecoveredHistory | None:
    """The history that the snapshot belongs to, where it says so."""
    aux = loaded.aux
    name = aux.get(b"repl-id", b"").decode("ascii", "replace")
    if not is_replid(name):
        return None
    try:
        offset, stream_db = int(aux[b"repl-offset"]), int(aux[b"repl-stream-db"])
    except (KeyError, ValueError):
        return None
    if not 0 <= offset <= POSITION_MAX:
        return None
    plain = RecoveredHistory(name, offset, stream_db)
    return _with_our_fields(plain, aux)


def _with_our_fields(history: RecoveredHistory, aux: dict[bytes, bytes]) -> RecoveredHistory:
    """What only we write; left out as a whole where any of it is malformed."""
    try:
        digits = aux[b"cs-repl-checksum"]
        epoch, base = int(aux[b"cs-repl-epoch"]), int(aux[b"cs-repl-base"])
        second_offset = int(aux[b"cs-repl-id2-offset"])
        second = aux[b"cs-repl-id2"].decode("ascii")
        checksum = None if digits == b"-" else int(digits, 16)
    except (KeyError, ValueError):
        return history
    sound = (
        0 <= epoch <= EPOCH_MAX
        and 0 <= base <= history.offset
        and -1 <= second_offset <= history.offset
        and is_replid(second)
        and (second == NO_REPLID) == (second_offset < 0)
        and (checksum is None or 0 <= checksum < 1 << 64)
    )
    if not sound:
        return history
    return RecoveredHistory(
        history.replication_id,
        history.offset,
        history.stream_db,
        epoch,
        checksum,
        base,
        second,
        second_offset,
    )
