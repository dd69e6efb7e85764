"""Executes the leader's stream: one pass over what has come, from bytes to data.

    frames' bodies ──> RequestReader ──> Dispatcher.apply ──> handler ──> data
                       (one list of arguments, used again)

A follower has to apply at least as fast as its leader executes, though it runs on a core no faster
than the leader's; so nothing is made here for a command but its arguments.

The position reached is that of the last whole command outside of a transaction: a transaction of
which only a part has come has not happened.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from cache_server import client as states
from cache_server.client import Client
from cache_server.errors import CommandError
from cache_server.keyspace.database import EXPIRE_IGNORE
from cache_server.wire import RequestReader

log = logging.getLogger("cache_server")

_MULTI = states.MULTI
_GETACK_WORDS = 3


class StreamApplier:
    """Runs the leader's stream through a client of its own, which keeps the selected database.

    `on_getack(position)` is told where a REPLCONF GETACK begins."""

    def __init__(self, server: Any, on_getack: Callable[[int], None]) -> None:
        self.server = server
        self.client: Client = server.new_client()
        self.client.flags |= states.LEADER
        self.position = 0
        #: Asked of each command while the data is rewound: whether it is not to be executed.
        self.passes_over: Callable[[list[bytes]], bool] | None = None
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
        reader = self._reader
        reader.bulk_length_max = max(self.server.config.proto_max_bulk_len, 1 << 33)
        reader.feed(data)
        dispatcher = self.server.dispatcher
        dispatcher.begin_requests(self.client)
        keyspace = dispatcher.keyspace
        mode = keyspace.expire_mode
        keyspace.expire_mode = EXPIRE_IGNORE
        try:
            if self.passes_over is None:
                self._run(reader, dispatcher)
            else:
                self._run_rewinding(reader, dispatcher)
        finally:
            keyspace.expire_mode = mode

    @property
    def buffer_bytes(self) -> int:
        """Memory that is allocated for reading commands."""
        return int(self._reader.capacity_bytes)

    def trim(self) -> None:
        """Gives back what a long command took to read; a few times a second."""
        self._reader.trim(False)

    def _run(self, reader: RequestReader, dispatcher: Any) -> None:
        client = self.client
        while True:
            args = None  # so that its list can be used again
            args = reader.next_request()
            if args is None:
                return
            if len(args) == _GETACK_WORDS and self._is_getack(args):
                self._on_getack(self.position)
            else:
                value = dispatcher.apply(client, args)
                if type(value) is CommandError:
                    self._report(args, value)
            if not client.flags & _MULTI:
                self.position = self._fed - reader.buffered_bytes

    def _run_rewinding(self, reader: RequestReader, dispatcher: Any) -> None:
        """As `_run`, except that some commands are passed over."""
        client = self.client
        while (args := reader.next_request()) is not None:
            if len(args) == _GETACK_WORDS and self._is_getack(args):
                self._on_getack(self.position)
            elif self.passes_over is None or not self.passes_over(args):
                dispatcher.apply(client, args)
            if not client.flags & _MULTI:
                self.position = self._fed - reader.buffered_bytes

    def _is_getack(self, args: list[bytes]) -> bool:
        name = args[0]
        return len(name) == 8 and name.upper() == b"REPLCONF" and args[1].upper() == b"GETACK"

    def _report(self, args: list[bytes], error: CommandError) -> None:
        log.warning(
            "== CRITICAL == This replica is sending an error to its master: '%s' after processing "
            "the command '%s'",
            error.text.decode("latin-1"),
            args[0].decode("latin-1"),
        )
