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
from functools import partial
from typing import Protocol

from cache_server import client as states
from cache_server.access.control import Access
from cache_server.admission import Admission
from cache_server.busy import BareTransport, WhileBusy
from cache_server.client import Client
from cache_server.commands import registry
from cache_server.commands.dispatch import (
    GATE_DISK_ERROR,
    GATE_LOADING,
    GATE_MONITOR,
    Dispatcher,
)
from cache_server.commands.monitors import Monitors
from cache_server.commands.pausing import Pauses
from cache_server.commands.propagation import Propagation
from cache_server.commands.shutdown import Shutdown
from cache_server.commands.subscriptions import Hub, notify_flags
from cache_server.commands.table import Command
from cache_server.commands.tracking import Tracking
from cache_server.commands.transactions import (
    forget_transaction,
    queue_permits,
    queue_writes,
    watched_key_changed,
)
from cache_server.config import Config
from cache_server.connection import Connection
from cache_server.coordination.data_node import DataNodeLease
from cache_server.coordination.durability import Durability
from cache_server.errors import CommandError, ProtocolError
from cache_server.keyspace.blocking import Blocking
from cache_server.keyspace.database import Keyspace
from cache_server.links.migration import Migrations
from cache_server.links.replication_info import replication_fields
from cache_server.links.replicator import Replicator
from cache_server.listeners import Listeners
from cache_server.observation import Observation
from cache_server.observe import logs
from cache_server.observe.stats import Stats
from cache_server.persistence.append_log import AppendLog
from cache_server.persistence.saving import Persistence
from cache_server.process import ProcessLimits
from cache_server.scripting.scripts import Scripting
from cache_server.tls import Tls
from cache_server.upkeep import Upkeep
from cache_server.wire import COMPILED

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
        self.upkeep = Upkeep(self)
        self.persistence = Persistence(self)
        self.append_log = self.persistence.log = AppendLog(self)
        self.replication = Replicator(self)
        self.lease = DataNodeLease(self, self.replication)
        self.durability = Durability(self, self.replication, self.lease)
        self.parts: list[Part] = [self.upkeep, self.lease, self.durability, self.persistence]
        self.parts += [self.append_log, self.replication]
        self.tls = Tls(config)
        self.listeners = Listeners(config, loop, lambda: Connection(self), self.tls)
        self.admission = Admission(self)
        self.process_limits = ProcessLimits(self)
        self.replication.on_role.append(self.process_limits.role_changed)
        self.pauses = Pauses(self)
        self.migrations = Migrations(self)
        self.pubsub = Hub()
        self.tracking = Tracking(self, self.pubsub.notifier(self.keyspace))
        self.monitors = Monitors(self._monitors_changed)
        self.shutdown = Shutdown(self)
        self.observation = Observation(self)
        self.info = self.observation.info
        self.info.put("replication", replication_fields)
        self.info.put("persistence", lambda _: self.persistence.info_fields())
        self.scripting = Scripting(self)
        self.while_busy = WhileBusy(self)
        self.persistence.libraries = self.scripting.libraries
        self.parts += [self.admission, self.observation, self.tracking, self.scripting]
        self.parts += [self.migrations]
        self.loading = False
        self.cron_paused = False
        #: The exit code, once the server is to end.
        self.finished: asyncio.Future[int] = loop.create_future()
        registry.register_all(self.dispatcher)
        self.access = Access(self)
        self._follow_settings()

    # -- life ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Accepts clients, then starts the parts: who comes before they are ready is told LOADING.

        The addresses have to be bound. What a part raises ends the start."""
        self.set_loading(True)
        await self.listeners.accept()
        for part in self.parts:
            await part.start()
        self.set_loading(False)
        self.loop.call_later(1 / max(1, self.config.hz), self._cron)

    def set_loading(self, on: bool) -> None:
        """While the data is being loaded, whoever asks is told LOADING."""
        self.loading = on
        self.dispatcher.gates &= ~GATE_LOADING
        if on:
            self.dispatcher.gates |= GATE_LOADING

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
        self.shutdown.signalled(name)
        if not self.cron_paused:
            self.shutdown.carry_out()

    def now_us(self) -> int:
        """Unix time in microseconds."""
        return time.time_ns() // 1000

    def now_ms(self) -> int:
        """Unix time in ms, read afresh: `keyspace.now_ms` stands still within a pass."""
        return time.time_ns() // 1_000_000

    def _follow_settings(self) -> None:
        """Settings in force at once, and again whenever CONFIG SET changes them."""
        for name, follow in (
            ("loglevel", logs.set_level),
            ("notify-keyspace-events", self._notify_changed),
            ("proto-max-bulk-len", self._bulk_limit_changed),
        ):
            self.config.on_change[name] = follow
        self._notify_changed(self.config.notify_keyspace_events)
        self.keyspace.on_watched = watched_key_changed

    def _notify_changed(self, letters: str) -> None:
        self.tracking.events_wanted(notify_flags(letters))

    def _bulk_limit_changed(self, limit_bytes: int) -> None:
        for client in self.clients.values():
            client.channel.reader.bulk_length_max = limit_bytes

    def _cron(self) -> None:
        self.loop.call_later(1 / max(1, self.config.hz), self._cron)
        if self.cron_paused:
            return
        self.shutdown.carry_out()
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

    def client_connected(self, connection: Connection, sock: socket.socket | None) -> None:
        self.stats.connections += 1
        if self.admission.admit(connection, sock):
            self.clients[connection.client.id] = connection.client

    def client_disconnected(self, client: Client) -> None:
        if self.clients.pop(client.id, None) is None:
            return
        self.blocking.forget(client)
        self.replication.serving.client_gone(client)
        self.pauses.forget(client)
        self.shutdown.forget(client)
        self.monitors.remove(client)
        self.tracking.end(client)
        self.admission.sizes.forget(client)
        self.pubsub.remove_all(client)
        forget_transaction(client)
        self.stats.input_bytes += client.channel.received_bytes
        self.stats.output_bytes += client.channel.sent_bytes

    def kill(self, client: Client) -> None:
        """Closes a client and forgets it at once."""
        client.connection.close()
        self.client_disconnected(client)

    def unblock(self, client: Client, with_error: bool) -> bool:
        """CLIENT UNBLOCK; False where the client does not wait for a key or an event."""
        return self.blocking.client_unblock(client, with_error)

    def follower_count(self) -> int:
        """Clients that are followers' links."""
        return sum(1 for client in self.clients.values() if client.flags & states.FOLLOWER)

    def protocol_error(self, client: Client, error: ProtocolError) -> None:
        self.stats.protocol_errors += 1
        log.log(logs.VERBOSE, "Protocol error (%s) from client: %s", error, client.peer)

    def follower_was_answered(self, client: Client, cmd: Command, value: object) -> None:
        """A command on a follower's link has a reply, which must not get into the stream."""
        if isinstance(value, CommandError):
            log.warning(
                "== CRITICAL == This master is sending an error to its replica: '-%s' after "
                "processing the command '%s'",
                value.text.decode("latin-1"),
                cmd.full_name,
            )
        text = "Replica generated a reply to command '%s', disconnecting it: id=%d addr=%s"
        log.warning(text, cmd.full_name, client.id, client.peer)
        client.connection.close()

    def log_closing(self, client: Client, reason: str) -> None:
        log.warning("Closing client that %s: id=%d addr=%s", reason, client.id, client.peer)

    def check_output_limit(self, connection: Connection) -> None:
        """Closes a client whose unread output is beyond client-output-buffer-limit."""
        self.admission.check_output(connection)

    def refuse_output(self, client: Client, size_bytes: int) -> None:
        """A reply of so many bytes is not going to be made: closes a client whose
        client-output-buffer-limit it would have passed."""
        self.admission.refuse_output(client, size_bytes)

    # -- what commands and the dispatcher ask --------------------------------------------------

    def check_memory(self, client: Client, cmd: Command) -> None:
        """Makes room before a command. Raises OOM where there is none and the command needs it."""
        self.upkeep.check_memory(client, cmd)

    def out_of_memory(self) -> bool:
        """Whether more than maxmemory is in use, and that is to be prevented."""
        return bool(self.config.maxmemory) and self.upkeep.is_full()

    def interpreters_hold(self, held_bytes: int) -> None:
        """What scripts take in their interpreters, which maxmemory counts."""
        self.upkeep.memory.outside_bytes = held_bytes

    def check_script_permission(self, client: Client, cmd: Command, args: list[bytes]) -> None:
        """Refuses a script's command that its caller's user may not run. Raises CommandError."""
        refusal = self.access.script_refusal(client, cmd, args)
        if refusal:
            raise CommandError(b"ERR The user executing the script " + refusal)

    def busy_text(self) -> bytes:
        """What clients are told while a script runs too long."""
        return self.scripting.busy_text()

    def serve_while_busy(self, caller: Client) -> None:
        """Lets other clients have their say while the caller's script runs too long."""
        self.while_busy.serve(caller)

    def busy_script_ended(self) -> None:
        """The script that ran too long is over."""
        self.while_busy.ended()

    def adopt(self, connection: Connection, bare: BareTransport) -> None:
        """Hands a connection that was accepted while a script was busy to the loop."""
        connection.connection_made = partial(connection.moved, bare)  # type: ignore[method-assign]
        self.listeners.background(self.loop.connect_accepted_socket(lambda: connection, bare.sock))

    def data_flushed(self) -> None:
        """FLUSHALL dropped all data."""
        self.persistence.flushed_all()
        self.replication.data_flushed()

    def command_was_slow(
        self, client: Client, cmd: Command, args: list[bytes], spent_ns: int
    ) -> None:
        """A command ran longer than the slow log or the latency monitor allows."""
        self.observation.command_was_slow(client, cmd, args, spent_ns)

    def queue_writes(self, client: Client) -> bool:
        """Whether the client's transaction writes."""
        return queue_writes(client)

    def transaction_refused(self, client: Client, error: CommandError) -> CommandError:
        """EXEC itself is refused: its transaction is gone."""
        forget_transaction(client)
        return CommandError(b"EXECABORT Transaction discarded because of: " + error.text)

    def queue_permits(self, client: Client) -> int:
        """The flags that every command of the client's transaction has."""
        return queue_permits(client)

    def postpone(self, client: Client, cmd: Command, args: list[bytes], writes: bool) -> bool:
        """True when a request has to wait for the end of a pause; it is kept."""
        return self.pauses.postpone(client, cmd, args, writes)

    def feed_monitors(self, client: Client, args: list[bytes]) -> None:
        """Shows a request to MONITOR's audience."""
        self.monitors.feed(client, args, time.time_ns())

    def _monitors_changed(self, any_left: bool) -> None:
        if any_left:
            self.dispatcher.gates |= GATE_MONITOR
        else:
            self.dispatcher.gates &= ~GATE_MONITOR

    # -- what INFO, CONFIG RESETSTAT and SHUTDOWN ask ------------------------------------------

    @property
    def core_name(self) -> str:
        """What runs the requests: `compiled` core or its `pure` twin."""
        return "compiled" if COMPILED else "pure"

    def used_memory_bytes(self) -> int:
        """Memory in use, as maxmemory counts it."""
        return self.upkeep.memory.used_bytes()

    def memory_not_counted_bytes(self) -> int:
        """Buffers that maxmemory does not count."""
        return self.upkeep.not_counted_bytes()

    def reset_statistics(self) -> None:
        """CONFIG RESETSTAT."""
        self.observation.reset()
        self.upkeep.lazy_free.freed = 0

    def followers_behind(self) -> int:
        """Followers that have not acknowledged everything written."""
        return self.replication.followers_behind()

    def log_followers_at_shutdown(self) -> None:
        """Says which followers are behind, before the server ends."""
        self.replication.log_followers_at_shutdown()

    def save_before_exit(self, wanted: bool, refused: bool) -> bool:
        """Saves the data where the settings or SHUTDOWN's words ask for it; False when that
        fails."""
        return self.persistence.save_before_exit(wanted, refused)

    def change_history_id(self) -> None:
        """DEBUG CHANGE-REPL-ID."""
        self.replication.change_id()

    def check_disk(self) -> None:
        """Refuses a write while the data cannot be saved. Raises CommandError."""
        self.persistence.check_writable()
        self.append_log.check_writable()

    def check_lease(self) -> None:
        """Refuses a write where sentinels lead and the lease has ended. Raises CommandError."""
        self.lease.check()

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
        """Saving or logging fails, or works again: every write asks `check_disk` while either
        fails."""
        if failing or self.append_log.failing or not self.persistence.last_save_ok:
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
        if self.append_log.syncs.unsent:
            self.append_log.syncs.send()
