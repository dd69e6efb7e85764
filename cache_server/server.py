"""The process's server: builds the parts, joins them, and answers for the states they share.

Parts are objects with a noun for a name (`keyspace`, `dispatcher`, `propagation`, `stats` ...). A
part that has work of its own implements what it needs of the `Part` protocol: it is started before
the port is opened, ticked by `cron`, and stopped in reverse order.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import time
from typing import Protocol

from cache_server.client import Client
from cache_server.commands import registry
from cache_server.commands.dispatch import GATE_DISK_ERROR, GATE_LOADING, Dispatcher
from cache_server.commands.propagation import Propagation
from cache_server.commands.table import Command
from cache_server.config import Config
from cache_server.connection import Connection
from cache_server.errors import ProtocolError
from cache_server.keyspace.blocking import Blocking
from cache_server.keyspace.database import Keyspace
from cache_server.links.replicator import Replicator
from cache_server.listeners import Listeners
from cache_server.observe.stats import Stats
from cache_server.persistence.saving import Persistence

log = logging.getLogger("cache_server")


class Part(Protocol):
    """What the server does with a part. All optional."""

    async def start(self) -> None:
        """Before the port is opened; what it raises ends the start."""

    def cron(self, now_ms: int) -> None:
        """`hz` times a second, on the loop."""

    async def stop(self) -> None:
        """After the last client is gone."""


class Server:
    """One running server. `run_id` is 40 hex digits, new with every start."""

    def __init__(self, config: Config, loop: asyncio.AbstractEventLoop) -> None:
        self.config = config
        self.loop = loop
        self.run_id = secrets.token_hex(20)
        self.started_ms = time.time_ns() // 1_000_000
        self.stats = Stats()
        self.keyspace = Keyspace(config.databases)
        self.propagation = Propagation(self._stream_waiting)
        self.dispatcher = Dispatcher(self, self.keyspace, self.propagation)
        self.blocking = Blocking(self.dispatcher, loop.call_later, self._resume_soon)
        self.keyspace.on_ready = self.blocking.key_ready
        self.clients: dict[int, Client] = {}
        self._next_client_id = 1
        self.persistence = Persistence(self)
        self.replication = Replicator(self)
        self.parts: list[Part] = [self.persistence, self.replication]
        self.listeners = Listeners(config, loop, lambda: Connection(self))
        #: The exit code, once the server is to end.
        self.finished: asyncio.Future[int] = loop.create_future()
        registry.register_all(self.dispatcher)

    # -- life ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Accepts clients, then starts the parts: who comes before they are ready is told LOADING.

        The addresses have to be bound. What a part raises ends the start."""
        self.dispatcher.gates |= GATE_LOADING
        await self.listeners.accept()
        for part in self.parts:
            await part.start()
        self.dispatcher.gates &= ~GATE_LOADING
        self.loop.call_later(1 / max(1, self.config.hz), self._cron)

    async def stop(self) -> None:
        """Closes the listeners and all clients, then stops the parts in reverse order."""
        self.listeners.close()
        for client in list(self.clients.values()):
            if client.connection is not None:
                client.connection.close()
        for part in reversed(self.parts):
            await part.stop()

    def finish(self, code: int = 0) -> None:
        """The server is to end with this exit code."""
        if not self.finished.done():
            self.finished.set_result(code)

    def signalled(self, name: str) -> None:
        """SIGTERM or SIGINT arrived."""
        log.warning("Received %s scheduling shutdown...", name)
        self.finish()

    def _cron(self) -> None:
        self.loop.call_later(1 / max(1, self.config.hz), self._cron)
        self.dispatcher.begin_pass()
        for part in self.parts:
            part.cron(self.keyspace.now_ms)

    # -- clients -------------------------------------------------------------------------------

    def new_client(self) -> Client:
        """A client in database 0, with the next id."""
        client = Client(self, self.keyspace.databases[0], self._next_client_id)
        self._next_client_id += 1
        client.created_ms = client.active_ms = time.time_ns() // 1_000_000
        return client

    def client_connected(self, connection: Connection, _sock: socket.socket | None) -> None:
        self.stats.connections += 1
        self.clients[connection.client.id] = connection.client

    def client_disconnected(self, client: Client) -> None:
        self.clients.pop(client.id, None)
        self.blocking.forget(client)
        self.replication.client_gone(client)
        self.stats.input_bytes += client.channel.received_bytes
        self.stats.output_bytes += client.channel.sent_bytes

    def protocol_error(self, client: Client, error: ProtocolError) -> None:
        self.stats.protocol_errors += 1
        log.info("Protocol error (%s) from client %s", error, client.peer)

    def log_closing(self, client: Client, reason: str) -> None:
        log.warning("Closing client that %s: id=%d addr=%s", reason, client.id, client.peer)

    def check_output_limit(self, connection: Connection) -> None:
        """Closes a client whose unread output is beyond client-output-buffer-limit."""

    # -- what the dispatcher asks --------------------------------------------------------------

    def command_was_slow(
        self, client: Client, cmd: Command, args: list[bytes], spent_ns: int
    ) -> None:
        """A command ran longer than slowlog-log-slower-than."""

    def check_disk(self) -> None:
        """Refuses a write while the data cannot be saved. Raises CommandError."""
        self.persistence.check_writable()

    def check_min_replicas(self) -> None:
        """Refuses a write while too few followers are good. Raises CommandError."""
        self.replication.check_min_replicas()

    def serve_blocked(self) -> None:
        """Keys appeared that clients wait for."""
        self.blocking.serve()

    def _resume_soon(self, client: Client) -> None:
        """A client may go on: not within another client's pass, but in the next turn."""
        self.loop.call_soon(client.connection.resume)

    def disk_failing(self, failing: bool) -> None:
        """Saving fails, or works again: every write asks `check_disk` meanwhile."""
        if failing:
            self.dispatcher.gates |= GATE_DISK_ERROR
        else:
            self.dispatcher.gates &= ~GATE_DISK_ERROR

    # -- the stream ----------------------------------------------------------------------------

    def _stream_waiting(self) -> None:
        self.loop.call_soon(self.flush_stream)

    def flush_stream(self) -> None:
        """Hands the stream written in this turn of the loop to the backlog and the log."""
        data = self.propagation.take()
        if data:
            self.replication.stream(data)
