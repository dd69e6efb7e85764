"""The one door to run a command: look-up, checks, call, accounting, propagation.

    execute    a request from a connection: finds the row, checks, calls or queues; the reply
    call       runs one handler: counts it, decides what it propagates, closes the unit

A client and a server in no special state take the short way: look-up, arity, call. Every special
state is a bit, in `client.flags` or in `gates`; any bit set sends the request through `_admit`,
where the checks stand in Redis's order (processCommand).

Invariants: a refused command has no effect and counts as rejected; a handler's changes are
propagated in the order they were made, and a unit is complete before the next request is read; a
CommandError is a reply, any other exception is our fault: it is logged, answered, and harms nobody
else.
"""

from __future__ import annotations

import logging
from typing import Any

from cache_server import client as states
from cache_server.commands import table as rows
from cache_server.commands.propagation import Propagation
from cache_server.commands.table import Command
from cache_server.constants import COMMAND_SPELLINGS_MAX
from cache_server.errors import CommandError
from cache_server.keyspace.database import EXPIRE_DELETE, EXPIRE_HIDE, Keyspace
from cache_server.wire import Histogram, Stopwatch
from cache_server.wire.replies import NO_REPLY, QUEUED, Raw

log = logging.getLogger("cache_server")

# Server states that every request has to be checked against, one bit each.
GATE_LOADING = 1 << 0
GATE_PAUSED = 1 << 1
GATE_READONLY = 1 << 2  # a follower that refuses writes
GATE_STALE = 1 << 3  # a follower without its leader, and stale reads are refused
GATE_MEMORY = 1 << 4  # maxmemory is set
GATE_MIN_REPLICAS = 1 << 5
GATE_LEASE = 1 << 6  # sentinels decide who may write
GATE_MONITOR = 1 << 7
GATE_DISK_ERROR = 1 << 8
GATE_BUSY = 1 << 9  # a script runs too long
GATE_CLIENTS = 1 << 10  # maxmemory-clients is set
GATE_READS = 1 << 16  # replies to reads wait for the writes that they may show

_GATED = states.GATED
_MULTI = states.MULTI
_APPLYING = states.REPLAY | states.LEADER
_MONITOR = GATE_MONITOR
_FOREVER_NS = 2**63 - 1

#: What a RESP2 client with subscriptions may call.
PUBSUB_CONTEXT = frozenset(
    [
        "ping",
        "subscribe",
        "ssubscribe",
        "unsubscribe",
        "sunsubscribe",
        "psubscribe",
        "punsubscribe",
        "quit",
        "reset",
    ]
)
#: What a transaction does not queue.
NOT_QUEUED = frozenset(["exec", "discard", "multi", "watch", "quit", "reset"])


class Dispatcher:
    """Runs commands. `server` answers for the states behind the gates and keeps the statistics."""

    def __init__(self, server: Any, keyspace: Keyspace, propagation: Propagation) -> None:
        self.server = server
        self.keyspace = keyspace
        self.propagation = propagation
        self.commands: dict[bytes, Command] = {}
        self.lookup: dict[bytes, Command] = {}
        self.gates = 0
        self.depth = 0
        self.stopwatch = Stopwatch()
        self.clock_ns = 0
        self.last_name: bytes = b""
        self.last_row: Command | None = None
        self.total_calls = 0
        self.total_reads = 0
        self.slow_ns = 10_000_000
        self.latency_tracking = False
        #: From a pass that begins later on, writes are refused (GATE_LEASE); see `lend_writes`.
        self.writes_until_ns = _FOREVER_NS
        #: What the channel of a client that wrote asks before it sends the reply, None for nothing.
        self.reply_gate: Any = None
        #: The two that have a say in it: the lease, and the log before it.
        self.lease_gate: Any = None
        self.log_gate: Any = None
        #: set while there are keys that blocked clients may be served from
        self.ready_keys: list[Any] = []

    def register(self, row: Command) -> None:
        """Adds a row. Raises AssertionError for a name that is taken."""
        name = row.name.encode()
        assert name not in self.commands, row.name
        self.commands[name] = row
        self.lookup[name] = row
        self.lookup[name.upper()] = row

    def begin_pass(self) -> None:
        """Reads the clocks; before requests that arrived together are run."""
        self.clock_ns = self.stopwatch.monotonic_ns()
        self.keyspace.now_ms = self.stopwatch.unix_ms()
        if self.clock_ns >= self.writes_until_ns:
            self.gates |= GATE_LEASE
            if self.keyspace.expire_mode == EXPIRE_DELETE:
                self.keyspace.expire_mode = EXPIRE_HIDE

    def lend_writes(self, until_ns: int, reply_gate: Any) -> None:
        """Writes are allowed until then, on the monotonic clock; `reply_gate` is asked again
        before each reply to a write leaves. The time is compared once a pass: what a pass that
        began in time does later is refused by the reply gate."""
        self.writes_until_ns = until_ns
        self.lease_gate = reply_gate
        self.reply_gate = reply_gate if self.log_gate is None else self.log_gate
        if self.stopwatch.monotonic_ns() < until_ns:
            self.gates &= ~GATE_LEASE
        else:
            self.gates |= GATE_LEASE

    def hold_replies(self, log_gate: Any) -> None:
        """`log_gate` is asked before each reply to a write leaves; it asks the lease's in turn.
        None: nobody waits for the log."""
        self.log_gate = log_gate
        self.reply_gate = self.lease_gate if log_gate is None else log_gate

    def begin_requests(self, client: Any) -> None:
        """`begin_pass` for what one client sent."""
        self.begin_pass()
        self.total_reads += 1
        client.active_ms = self.keyspace.now_ms

    def find(self, args: list[bytes]) -> Command | None:
        """The row for a request, the subcommand's where there is one. Raises for an unknown one."""
        if args[0] is self.last_name:
            return self.last_row
        cmd = self.lookup.get(args[0])
        if cmd is None:
            cmd = self.commands.get(args[0].lower())
            if cmd is None:
                return None
            if len(self.lookup) < COMMAND_SPELLINGS_MAX:
                self.lookup[args[0]] = cmd
        if cmd.subcommands is not None and len(args) > 1:
            sub = cmd.subcommands.get(args[1].lower())
            if sub is None:
                word = args[1][:128].decode("latin-1")
                raise CommandError(
                    f"ERR unknown subcommand '{word}'. Try {cmd.name.upper()} HELP.".encode(
                        "latin-1"
                    )
                )
            return sub
        if cmd.subcommands is None:
            # Pipelines repeat a command, and the reader repeats the very object of its name.
            self.last_name = args[0]
            self.last_row = cmd
        return cmd

    def execute(self, client: Any, args: list[bytes]) -> Any:
        """Runs a request; returns its reply, a CommandError among them."""
        # The core's base of dispatchers knows no Client; from here on it is typed.
        return self._execute(client, args)

    def _execute(self, client: Any, args: list[bytes]) -> Any:
        cmd: Command | None = None
        try:
            cmd = self.find(args)
            if cmd is None:
                raise unknown_command(args)
            if not cmd.accepts(len(args)) or (
                cmd.subcommands is not None and cmd.handler is rows.container_only
            ):
                raise CommandError(f"ERR wrong number of arguments for '{cmd.full_name}' command")
            if client.flags & _GATED or self.gates:
                return self._execute_gated(client, cmd, args)
            return self.call(client, cmd, args)
        except CommandError as error:
            return self._refused(client, cmd, error)

    def apply(self, client: Any, args: list[bytes]) -> Any:
        """`execute` for what has happened already, at our leader or before our log was written:
        nothing is refused, so a command that is what it should be goes straight to `call`."""
        cmd: Command | None = None
        if not client.flags & _MULTI and not self.gates & _MONITOR and args[0] is self.last_name:
            cmd = self.last_row
        if cmd is None or not cmd.accepts(len(args)):
            return self._execute(client, args)
        return self.call(client, cmd, args)

    def call(self, client: Any, cmd: Command, args: list[bytes]) -> Any:
        """Runs a handler that is allowed to run; returns its reply, a CommandError among them."""
        keyspace = self.keyspace
        dirty = keyspace.dirty
        db_index = client.db.index
        client.last_command = cmd
        self.depth += 1
        try:
            value = cmd.handler(client, args)
        except CommandError as error:
            cmd.failed += 1
            self.server.stats.count_error(error)
            value = error
        except Exception:
            cmd.failed += 1
            log.exception("Internal error in command '%s'", cmd.full_name)
            value = CommandError(b"ERR internal error, see the server's log")
        self.depth -= 1
        now = self.stopwatch.monotonic_ns()
        spent = now - self.clock_ns
        cmd.calls += 1
        cmd.microseconds += spent // 1000
        self.clock_ns = now
        self.total_calls += 1
        if spent > 1_000_000:
            keyspace.now_ms = self.stopwatch.unix_ms()
            if spent >= self.slow_ns >= 0:
                self.server.command_was_slow(client, cmd, args, spent)
        elif self.slow_ns >= 0 and spent >= self.slow_ns:
            self.server.command_was_slow(client, cmd, args, spent)
        if self.latency_tracking:
            if cmd.latency is None:
                cmd.latency = Histogram()
            cmd.latency.add(spent // 1000)
        if keyspace.dirty != dirty or client.effects is not None:
            self._record(client, args, db_index, keyspace.dirty != dirty)
        if self.depth == 0 and (self.propagation.pending or self.ready_keys):
            self.finish_unit()
        return value

    def finish_unit(self) -> None:
        """The outermost command is over: its effects go out, then blocked clients are served."""
        self.propagation.finish_unit()
        if self.ready_keys and self.depth == 0:
            self.server.serve_blocked()

    def _record(self, client: Any, args: list[bytes], db_index: int, changed: bool) -> None:
        effects = client.effects
        client.effects = None
        propagation = self.propagation
        if changed:
            client.write_offset = -1  # WAIT waits for all that was written until then
            if self.reply_gate is not None and client.channel is not None:
                client.channel.gate = self.reply_gate
        if not propagation.active or client.flags & _APPLYING:
            return  # it has happened: the leader's own bytes are relayed, not their effects
        if effects is None:
            if self.depth == 0 and not propagation.pending:
                propagation.add_alone(db_index, args)
            else:
                propagation.pending.append((db_index, args))
        else:
            for effect in effects:
                propagation.pending.append((db_index, effect))

    # -- the checked way -----------------------------------------------------------------------

    def _execute_gated(self, client: Any, cmd: Command, args: list[bytes]) -> Any:
        if client.flags & states.FOLLOWER:
            return self._execute_for_follower(client, cmd, args)
        if client.flags & (states.REPLY_OFF | states.REPLY_SKIP_NEXT | states.REPLY_SKIP):
            return self._execute_muted(client, cmd, args)
        value = self._admit(client, cmd, args)
        return self._run(client, cmd, args) if value is None else value

    def _run(self, client: Any, cmd: Command, args: list[bytes]) -> Any:
        value = self.call_tracked(client, cmd, args)
        # As in Redis a request is shown when it is done: EXEC after what it ran.
        hidden = cmd.flags & (rows.SKIP_MONITOR | rows.ADMIN) or client.flags & states.REPLAY
        if self.gates & GATE_MONITOR and not hidden:
            self.server.feed_monitors(client, args)
        return value

    def call_tracked(self, client: Any, cmd: Command, args: list[bytes]) -> Any:
        """`call`, also for a client that tracks keys: what it reads is remembered."""
        if client.flags & states.TRACKING:
            return self.server.tracking.run(client, cmd, args)
        return self.call(client, cmd, args)

    def _execute_for_follower(self, client: Any, cmd: Command, args: list[bytes]) -> Any:
        """On a follower's link there is only the stream: a reply would stand in the midst of it."""
        try:
            value = self._admit(client, cmd, args)
            if value is None:
                value = self._run(client, cmd, args)
        except CommandError as error:
            value = self._refused(client, cmd, error)
        if value is not NO_REPLY:
            self.server.follower_was_answered(client, cmd, value)
        return NO_REPLY

    def _execute_muted(self, client: Any, cmd: Command, args: list[bytes]) -> Any:
        if client.flags & states.REPLY_SKIP_NEXT:
            client.flags = (client.flags & ~states.REPLY_SKIP_NEXT) | states.REPLY_SKIP
        try:
            value = self._admit(client, cmd, args)
            if value is None:
                value = self._run(client, cmd, args)
        except CommandError as error:
            value = self._refused(client, cmd, error)
        if client.flags & (states.REPLY_OFF | states.REPLY_SKIP):
            client.flags &= ~states.REPLY_SKIP
            # What (un)subscribing answers are messages, not replies.
            return value if type(value) is Raw else NO_REPLY
        return value

    def _refused(self, client: Any, cmd: Command | None, error: CommandError) -> CommandError:
        if cmd is not None:
            cmd.rejected += 1
            if cmd.name == "exec" and client.flags & states.MULTI:
                error = self.server.transaction_refused(client, error)
        if client.flags & states.MULTI:
            client.flags |= states.DIRTY_EXEC
        self.server.stats.count_error(error)
        return error

    def _admit(self, client: Any, cmd: Command, args: list[bytes]) -> Any:
        """None when the command may run now, QUEUED or NO_REPLY when not now; raises when not."""
        server = self.server
        flags = client.flags
        if flags & states.UNAUTHENTICATED and not cmd.flags & rows.NO_AUTH:
            raise CommandError(b"NOAUTH Authentication required.")
        if flags & states.RESTRICTED:
            server.access.admit(client, cmd, args)
        gates = self.gates
        if flags & (states.LEADER | states.REPLAY):
            # Nothing is refused: it has happened already. A transaction happens at its EXEC.
            if flags & states.MULTI and cmd.name not in NOT_QUEUED:
                return self._queue(client, cmd, args)
            return None
        permits = self.flags_of(cmd, args)
        if gates & GATE_READS and client.channel is not None and _may_show(cmd, permits):
            client.channel.gate = self.reply_gate
        writes = bool(permits & rows.WRITE) or (
            cmd.name == "exec" and client.queue is not None and server.queue_writes(client)
        )
        if gates & GATE_CLIENTS and not server.admission.may_stay(client, cmd, args):
            return NO_REPLY
        if gates & GATE_MEMORY:
            server.check_memory(client, cmd)
            if permits & ~cmd.flags & rows.DENYOOM and server.out_of_memory():
                raise CommandError(b"OOM command not allowed when used memory > 'maxmemory'.")
        if writes and gates:
            self._admit_write(gates)
        elif gates & GATE_DISK_ERROR and cmd.name == "ping":
            server.check_disk()  # monitors are to learn of it
        if flags & states.SUBSCRIBED and client.protocol == 2 and cmd.name not in PUBSUB_CONTEXT:
            raise CommandError(
                f"ERR Can't execute '{cmd.full_name}': only (P|S)SUBSCRIBE / "
                "(P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
            )
        if cmd.name == "exec" and client.queue is not None:
            permits &= server.queue_permits(client)
        if gates & GATE_STALE and not permits & rows.STALE:
            raise CommandError(
                b"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."
            )
        if gates & GATE_LOADING and not permits & rows.LOADING:
            raise CommandError(b"LOADING Redis is loading the dataset in memory")
        if gates & GATE_BUSY and not cmd.flags & rows.ALLOW_BUSY:
            raise CommandError(server.busy_text())
        if flags & states.FOLLOWER and cmd.flags & (rows.WRITE | rows.READONLY):
            raise CommandError(b"ERR Replica can't interact with the keyspace")
        if gates & GATE_PAUSED and server.postpone(client, cmd, args, writes):
            return NO_REPLY
        if flags & states.MULTI and cmd.name not in NOT_QUEUED:
            return self._queue(client, cmd, args)
        return None

    def flags_of(self, cmd: Command, args: list[bytes]) -> int:
        """What a request does: its row's flags, or what a script says of itself."""
        if cmd.flags & rows.NO_MANDATORY_KEYS:
            return int(self.server.scripting.flags_of(cmd, args))
        return cmd.flags

    def _admit_write(self, gates: int) -> None:
        server = self.server
        if gates & GATE_DISK_ERROR:
            server.check_disk()
        if gates & GATE_MIN_REPLICAS:
            server.check_min_replicas()
        if gates & GATE_READONLY:
            raise CommandError(b"READONLY You can't write against a read only replica.")
        if gates & GATE_LEASE:
            server.check_lease()

    def _queue(self, client: Any, cmd: Command, args: list[bytes]) -> Any:
        if cmd.flags & rows.NO_MULTI:
            raise CommandError(b"ERR Command not allowed inside a transaction")
        client.queue.append((cmd, args))
        return QUEUED


def _may_show(cmd: Command, permits: int) -> bool:
    """Whether a reply may show what others wrote: not that of PING, INFO or LEASE, by which
    sentinels learn that a node lives and give it the lease."""
    return bool(permits & (rows.READONLY | rows.WRITE) or cmd.flags & rows.NO_MANDATORY_KEYS) or (
        cmd.name == "exec"
    )


def unknown_command(args: list[bytes]) -> CommandError:
    """Redis's text: the name and the beginning of the arguments, each cut at 128 bytes."""
    shown = b""
    for arg in args[1:]:
        if len(shown) >= 128:
            break
        shown += b"'%b' " % arg[: 128 - len(shown)]
    return CommandError(
        b"ERR unknown command '%b', with args beginning with: %b" % (args[0][:128], shown)
    )
