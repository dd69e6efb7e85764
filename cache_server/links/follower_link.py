"""What a follower does with its leader's bytes: the connection, the stream, and the snapshot.

    LeaderConnection   the socket; passes bytes and endings on, decides nothing
    StreamApplier      executes the commands of the stream and knows how far it got
    SnapshotIntake     loads a snapshot beside the data that is served, then exchanges them

The position reached is that of the last whole command outside of a transaction: a transaction of
which only a part has come has not happened.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from cache_server import client as states
from cache_server.client import Client
from cache_server.errors import CommandError, InputError
from cache_server.keyspace.database import EXPIRE_IGNORE, Keyspace
from cache_server.persistence.recovery import recovered_history
from cache_server.wire import RequestReader

log = logging.getLogger("cache_server")


class LeaderConnection(asyncio.Protocol):
    """The connection to the leader. `on_bytes(data)` and `on_closed(reason)` are told what comes;
    after `close` nothing more is."""

    def __init__(self, on_bytes: Callable[[bytes], None], on_closed: Callable[[str], None]) -> None:
        self._on_bytes = on_bytes
        self._on_closed = on_closed
        self._transport: Any = None
        self._closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        if self._closed:
            transport.abort()  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        if not self._closed:
            self._on_bytes(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._closed:
            self._closed = True
            self._on_closed("" if exc is None else str(exc))

    def write(self, data: bytes) -> None:
        if self._transport is not None and not self._closed:
            self._transport.write(data)

    def close(self) -> None:
        self._closed = True
        if self._transport is not None:
            self._transport.abort()

    @property
    def peer(self) -> str:
        """ip:port of the leader, "" without a connection."""
        peer = None if self._transport is None else self._transport.get_extra_info("peername")
        return "" if not peer else f"{peer[0]}:{peer[1]}"


class StreamApplier:
    """Runs the leader's stream through a client of its own, which keeps the selected database."""

    def __init__(self, server: Any, on_getack: Callable[[int], None]) -> None:
        self.server = server
        self.client: Client = server.new_client()
        self.client.flags |= states.LEADER
        self.position = 0
        self._on_getack = on_getack
        self._fed = 0
        self._reader = RequestReader()

    def restart(self, position: int, db_index: int | None = None) -> None:
        """Goes on at `position`, in database `db_index` if one is given; a cut command is gone."""
        self.client.flags &= ~(states.MULTI | states.DIRTY_EXEC)
        self.client.queue = None
        self._reader = RequestReader()
        self.position = self._fed = position
        if db_index is not None:
            databases = self.server.keyspace.databases
            self.client.db = databases[db_index if 0 <= db_index < len(databases) else 0]

    def apply(self, data: bytes) -> None:
        """Executes the whole commands in what has come. Raises ProtocolError for no command."""
        self._fed += len(data)
        reader, client = self._reader, self.client
        reader.bulk_length_max = max(self.server.config.proto_max_bulk_len, 1 << 33)
        dispatcher = self.server.dispatcher
        execute = dispatcher.execute
        keyspace: Keyspace = self.server.keyspace
        reader.feed(data)
        dispatcher.begin_requests(client)
        mode, keyspace.expire_mode = keyspace.expire_mode, EXPIRE_IGNORE
        try:
            while (args := reader.next_request()) is not None:
                if len(args) == 3 and self._is_getack(args):
                    self._on_getack(self.position)
                else:
                    value = execute(client, args)
                    if isinstance(value, CommandError):
                        self._report(args, value)
                if not client.flags & states.MULTI:
                    self.position = self._fed - reader.buffered_bytes
        finally:
            keyspace.expire_mode = mode

    @staticmethod
    def _is_getack(args: list[bytes]) -> bool:
        return args[0].upper() == b"REPLCONF" and args[1].upper() == b"GETACK"

    @staticmethod
    def _report(args: list[bytes], error: CommandError) -> None:
        log.warning(
            "== CRITICAL == This replica is sending an error to its master: '%s' after processing "
            "the command '%s'",
            error.text.decode("latin-1"),
            args[0].decode("latin-1"),
        )


class SnapshotIntake:
    """A snapshot that is being received. The data it will replace is served meanwhile."""

    def __init__(self, persistence: Any) -> None:
        self._persistence = persistence
        self._loader = persistence.loader(drop_expired=False)

    @property
    def keys(self) -> tuple[int, int]:
        """Keys read, and how many the leader said there are (as many, where it is a stock one)."""
        loaded = self._loader.loaded
        announced = loaded.aux.get(b"cache-keys", b"")
        total = int(announced) if announced.isdigit() and len(announced) < 19 else 0
        return loaded.keys_loaded, max(total, loaded.keys_loaded)

    def feed(self, data: bytes) -> None:
        """Takes a piece. Raises InputError."""
        self._loader.feed(data)

    def commit(self) -> int:
        """Puts the new data in place; returns the database that its stream has selected.

        Raises InputError, with everything as it was."""
        loaded = self._loader.finish()
        if self._loader.rest:
            raise InputError("bytes behind the snapshot's end")
        self._persistence.take(loaded)
        history = recovered_history(loaded)
        return 0 if history is None else history.stream_db
