"""A data node: real replication, real LeaderLease, real Durability, and Redis's commands as
sentinels use them.

A client's request takes the way of the server's: it is refused, or executed and put into the
stream, and its reply leaves when the gate lets it: the lease's alone, or that of
`cache_server/coordination/durability.py`, which runs here as it is, over the simulated clock.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from cache_server.commands.dispatch import GATE_READS
from cache_server.coordination.durability import Durability
from cache_server.errors import CommandError
from replication.failover.actions import Lead, LeaseAction, PersistLease, Reply, Yield
from replication.failover.cluster_view import Address, LeaseState, member_id
from replication.failover.events import (
    LeaseAsked,
    LeaseEvent,
    LeaseGivenUp,
    LeaseTakenBack,
    RespValue,
    RoleChanged,
    WireError,
)
from replication.failover.lease import ALWAYS_MS, LeaderLease
from replication.failover.messages import LEASE_KNOCK
from tests.sim.disk import Disk
from tests.sim.options import Options
from tests.sim.replication import Replication
from tests.sim.world import Conn, Process, World

if TYPE_CHECKING:
    from tests.sim.checkers import Checkers

CRON_MS = 100.0
WALL_BEGINS_MS = 1_700_000_000_000.0
HELLO = b"__sentinel__:hello"
Told = Callable[[str, int | None], None]


class Request:
    """A client's request on its way, with what the durability gate expects of a channel, a client
    and a connection. `reply` is called once: "ok", "refused" or "closed", and what was read."""

    __slots__ = ("_closed", "_reply", "entry", "gate", "node", "register", "stop", "value")

    flags = 0
    peer = "a client"

    def __init__(self, node: DataNode, register: int, entry: int | None, reply: Told) -> None:
        self.node = node
        self.register = register
        self.entry = entry
        self.value: int | None = None
        self.gate: Callable[[Any], bool] | None = None
        self.stop = 0
        self._reply: Told | None = reply
        self._closed = False

    @property
    def client(self) -> Request | None:
        """None once the connection is closed."""
        return None if self._closed else self

    @property
    def connection(self) -> Request:
        return self

    @property
    def writer(self) -> Request:
        return self

    def take(self) -> bytes:
        """The reply is thrown away."""
        return b""

    def flush(self) -> None:
        """Sends the reply, unless the gate holds it back."""
        if self._reply is not None and (self.gate is None or self.gate(self)):
            self.answer("ok")

    def close(self) -> None:
        """The connection ends without a reply."""
        self._closed = True
        self.answer("closed")

    def resume(self) -> None:
        """There is no second request behind this one."""

    def answer(self, kind: str) -> None:
        """The reply leaves."""
        reply, self._reply = self._reply, None
        if reply is not None:
            if kind == "ok" and self.entry is not None:
                self.node.check.acknowledged(self.node, self.entry)
            reply(kind, self.value)


class DataNode(Process):
    """`disk` outlives a crash; all else does not."""

    def __init__(
        self, world: World, name: str, address: Address, rate: float, options: Options
    ) -> None:
        super().__init__(world, name, rate)
        self.address = address
        self.options = options
        self.nodes: dict[Address, DataNode] = {}
        self.disk = Disk(LeaseState(f"id-{name}"), world.chance, options.log)
        self.config_follows: Address | None = None
        self.check: Checkers
        self.wall_jump_ms = 0.0
        self.flip_odds = 0.0

    def started(self) -> None:
        self.run_id = f"{self.life:08d}{self.name:0>32}"
        follows = self.config_follows
        options = self.options
        leading = follows is None
        self.lease = LeaderLease(self.disk.lease, self.run_id, leading, options.lease_ttl_ms)
        self.member = member_id(self.disk.lease.node_id, self.run_id)
        self.replication = Replication(self, self.disk, self.world.chance)
        self._postponed: list[Request] = []
        self._requests: dict[int, Callable[[RespValue], None]] = {}
        self._request = 0
        self._register: tuple[int, int, tuple[str, ...]] | None = None
        self._raise_epoch(self.lease.state.epoch)
        self.replication.leader.may_serve = lambda: self.lease.may_serve
        self.replication.start(follows)
        self.replication.on_role.append(self._role_changed)
        self._start_durability()
        self.later(CRON_MS * self.world.random(), self._cron)
        if options.log == "everysec":
            self.later(1_000 * self.world.random(), self._sync)

    def died(self, power: bool) -> None:
        self.disk.crash(power)

    def wall_ms(self) -> float:
        """Its wall clock: Unix ms, which may jump either way."""
        return WALL_BEGINS_MS + self.world.now_ms + self.wall_jump_ms

    def _cron(self) -> None:
        self.later(CRON_MS, self._cron)
        self.replication.cron()
        self.durability.cron(0)

    def _sync(self) -> None:
        self.later(1_000, self._sync)
        self.disk.sync()

    # Durability: the real part of the server, among stand-ins for what it asks.

    def _start_durability(self) -> None:
        options = self.options
        config = SimpleNamespace(
            durability="in-sync" if options.in_sync else "async",
            min_in_sync=options.min_in_sync,
            in_sync_timeout=options.in_sync_timeout_ms,
            linearizable_reads=options.linearizable,
            max_loss_ms=options.max_loss_ms,
            max_loss_bytes=options.max_loss_bytes,
            on_change={},
        )
        self.dispatcher = SimpleNamespace(gates=0)
        loop = SimpleNamespace(
            time=lambda: self.clock() / 1000.0, call_soon=lambda call, *a: self.later(0.0, call, *a)
        )
        server = SimpleNamespace(config=config, dispatcher=self.dispatcher, loop=loop)
        self.on_learned: Callable[[int, int, tuple[str, ...]], None] | None = None
        self.reply_gate: Callable[[], Any] = lambda: None
        self.durability = Durability(server, self.replication, self)
        starting = self.durability.start()
        try:
            starting.send(None)
        except StopIteration:
            return
        raise AssertionError("the start of Durability waits for something")

    @property
    def member_id(self) -> str:
        """This life of this node."""
        return self.member

    @property
    def managed(self) -> bool:
        """Whether there is a register."""
        return self.lease.register[0] >= 0

    def unconfirmed_ms(self) -> float:
        """For how long no majority of sentinels has stood behind this node."""
        return self.lease.unconfirmed_ms(self.clock())

    def want(self, wanted: tuple[int, tuple[str, ...]] | None) -> None:
        """The in-sync set that the register is asked for."""
        self.lease.want = wanted

    def admits(self, channel: Request) -> bool:
        """Whether a held reply may leave; where not, its connection is closed."""
        if self.writable():
            return True
        channel.close()
        return False

    def gate_changed(self) -> None:
        """Gates are looked up at each request."""

    def _gate(self, channel: Request) -> bool:
        return self.admits(channel)

    # Requests of clients.

    @property
    def follows(self) -> Address | None:
        """Whom this node follows; None where it leads."""
        follower = self.replication.follower
        return None if self.replication.leading else Address(follower.host, follower.port)

    @property
    def link_up(self) -> bool:
        """Whether its leader's stream is flowing."""
        return self.replication.follower.connected

    @property
    def in_sync(self) -> Any:
        """The in-sync machine."""
        return self.durability.in_sync

    def writable(self) -> bool:
        """Whether the lease allows a write to be acknowledged now."""
        return "lease" in self.options.without or self.clock() < self.lease.writes_until_ms

    def can_acknowledge(self) -> bool:
        """Whether a write that arrived now would be acknowledged, sooner or later."""
        replication = self.replication
        return replication.leader.leading and not replication.writes_paused and self.writable()

    def request(self, register: int, entry: int | None, reply: Told) -> None:
        """A client's write (or read, without an entry) of a register."""
        request = Request(self, register, entry, reply)
        if self.replication.writes_paused and entry is not None:
            self._postponed.append(request)
        else:
            self._execute_request(request)

    def _execute_request(self, request: Request) -> None:
        gate = self.reply_gate()
        if gate is None and self.lease.writes_until_ms != ALWAYS_MS:
            gate = self._gate
        if request.entry is None:
            if not self.replication.leading:
                request.answer("refused")
                return
            request.value = self.replication.value_of(request.register)
            if self.dispatcher.gates & GATE_READS:
                request.gate = gate
        else:
            try:
                self.replication.write(request.entry)
            except CommandError:
                request.answer("refused")
                return
            request.gate = gate
        request.flush()

    def resume_writes(self) -> None:
        """A handover is over: who waited is served, or learns that this node leads no longer."""
        postponed, self._postponed = self._postponed, []
        for request in postponed:
            self.later(0.0, self._execute_request, request)

    # Told by replication.

    def address_of(self, process: Process) -> Address:
        """Where a peer lives."""
        address: Address = process.address  # type: ignore[attr-defined]
        return address

    def wrote(self, entry: int) -> None:
        """A client's write is in the data set."""
        self.check.written(self, entry)

    def reached(self) -> None:
        """Stream and data are at a new position, together."""
        if not self.replication.rewinding.active:
            self.check.reached(self)

    def replaces_data(self, data: list[list[int]], leader: Process) -> None:
        """A snapshot of a leader's takes the place of our data."""
        self.check.replaces(self, data, leader)

    def hands_over(self, heir: Address) -> None:
        """The heir is asked to take over."""
        self.world.tell(f"{self.name} hands over to {heir}")
        self.check.hands_over(self, heir)

    def takes_over(self) -> None:
        """Our leader asked us to take over."""
        self.check.takes_over(self)

    def given_up(self, heir: Address) -> None:
        """This node follows its heir now."""
        self._tell_lease(LeaseGivenUp(heir))
        self._knock()

    def taken_back(self) -> None:
        """The heir refused."""
        self._tell_lease(LeaseTakenBack())
        self._knock()

    def _knock(self) -> None:
        """Sentinels are to ask about the lease now."""
        if self.lease.state.under_lease:
            self._publish(LEASE_KNOCK)

    def heard_leader(self, conn: Conn, data: bytes) -> None:
        """Bytes of our leader."""
        self.replication.heard_leader(conn, data)

    def heard_follower(self, conn: Conn, data: bytes) -> None:
        """Commands of a follower."""
        self.replication.hear(conn, data)

    def disconnected(self, conn: Conn) -> None:
        if conn.kind == "replica":
            self.replication.lost(conn)

    # The lease machine.

    def _role_changed(self, leading: bool) -> None:
        self._tell_lease(RoleChanged(leading, self.replication.handed))

    def _raise_epoch(self, epoch: int) -> None:
        """Bytes written from now on carry the epoch; nobody who knows a higher one takes them."""
        history = self.replication.leader.history
        if epoch > history.epoch and "frame-epoch" not in self.options.without:
            history.raise_epoch(epoch)

    raise_epoch = _raise_epoch

    def _tell_lease(self, event: LeaseEvent) -> None:
        """Hand it in, carry its actions out in order."""
        self.lease.receive(event, self.clock())
        self._lease_actions(self.lease.take_actions())

    def _lease_actions(self, actions: list[LeaseAction]) -> None:
        for at, action in enumerate(actions):
            if isinstance(action, PersistLease):
                self.disk.lease_in_flight = action.state
                slow_ms = self.disk_slow_ms
                if slow_ms:
                    self.stall(slow_ms * self.world.random(), self._persisted, actions[at:])
                    return
                self._made_durable(action.state)
            elif isinstance(action, Reply):
                self._requests.pop(action.request)(action.value)
            elif isinstance(action, Lead):
                self.replication.promote()
            else:
                assert isinstance(action, Yield), "there is no external store here"
                self.replication.follow(action.leader)
        self._raise_epoch(self.lease.state.epoch)
        register = self.lease.register
        if register != self._register and register[0] >= 0:
            self._register = register
            if self.on_learned is not None:
                self.on_learned(*register)

    def _persisted(self, actions: list[LeaseAction]) -> None:
        action = actions[0]
        assert isinstance(action, PersistLease)
        self._made_durable(action.state)
        self._lease_actions(actions[1:])

    def _made_durable(self, state: LeaseState) -> None:
        self.disk.lease, self.disk.lease_in_flight = state, None
        self.check.role_told(self)

    def described(self) -> str:
        """How this node is, for a story."""
        if not self.alive:
            return f"{self.name} is dead"
        follows, replication = self.follows, self.replication
        state, entries = self.lease.state, replication.entries()
        link = replication.follower.state.value
        return (
            f"{self.name} {f'follows {follows}, link {link}' if follows else 'leads'}"
            f"{', stopped' if self.stopped else ''}: life {self.life}, epoch {state.epoch} of "
            f"{state.leader_id}, {'takes' if self.can_acknowledge() else 'refuses'} writes, "
            f"{len(entries)} entries up to {max(entries, default=0)}, position "
            f"{replication.follower.position} of {replication.leader.history.replid[:8]}, in sync: "
            f"{' '.join(sorted(self.in_sync.confirmed)) or '-'}"
        )

    # Commands of sentinels.

    def command(
        self, conn: Conn, args: tuple[bytes, ...], reply: Callable[[RespValue], None]
    ) -> None:
        """One command of a sentinel."""
        if conn.transaction is not None and args[0] != b"EXEC":
            conn.transaction.append(args)
            reply(b"QUEUED")
        elif args[0] == b"MULTI":
            conn.transaction = []
            reply(b"OK")
        elif args[0] == b"EXEC":
            queued, conn.transaction = conn.transaction or [], None
            for one in queued:
                self._execute(one, lambda _value: None)
            reply(b"OK")
        else:
            self._execute(args, reply)

    def _execute(self, args: tuple[bytes, ...], reply: Callable[[RespValue], None]) -> None:
        word = args[0]
        if word == b"PING":
            reply(b"PONG")
        elif word == b"INFO":
            reply(self._info())
        elif word == b"LEASE":
            self._request += 1
            self._requests[self._request] = reply
            self._tell_lease(LeaseAsked(self._request, args[1:]))
        elif word == b"SLAVEOF":
            reply(self._replicaof(args))
        elif word == b"PUBLISH":
            self._publish(args[2])
            reply(1)
        elif word == b"FAILOVER":
            reply(self._failover(args))
        else:
            if args[:2] == (b"CONFIG", b"REWRITE"):
                self.config_follows = self.follows
            reply(b"OK")

    def _replicaof(self, args: tuple[bytes, ...]) -> RespValue:
        replication = self.replication
        if replication.failing_over:
            return WireError("ERR REPLICAOF not allowed while failing over.")
        if args[1] == b"NO":
            replication.promote()
            return b"OK"
        leader = Address(args[1].decode(), int(args[2]))
        if self.follows != leader:
            replication.follow(leader)
        return b"OK"

    def _failover(self, args: tuple[bytes, ...]) -> RespValue:
        if args[1] == b"ABORT":
            self.replication.abort_failover()
            return b"OK"
        heir = Address(args[2].decode(), int(args[3]))
        refusal = self.replication.fail_over(heir, int(args[5]))
        return WireError(f"ERR {refusal}") if refusal else b"OK"

    def _publish(self, payload: bytes) -> None:
        for conn in sorted(self.conns, key=lambda one: one.number):
            if conn.kind == "pubsub" and conn.open and conn.server is self:
                conn.send(self, conn.client.heard_hello, conn, payload)

    def _info(self) -> bytes:
        replication = self.replication
        leader, follower = replication.leader, replication.follower
        lines = [f"run_id:{self.run_id}"]
        if leader.leading:
            lines.append("role:master")
            lines.append(f"master_repl_offset:{replication.written_position()}")
        else:
            up = follower.connected
            lines += [
                "role:slave",
                f"master_host:{follower.host}",
                f"master_port:{follower.port}",
                f"master_link_status:{'up' if up else 'down'}",
                f"slave_repl_offset:{follower.position}",
                "slave_priority:100",
            ]
            if not up:
                since_ms = follower.down_since_ms
                down_ms = self.clock() - since_ms if since_ms is not None else -1
                lines.append(f"master_link_down_since_seconds:{int(down_ms // 1000)}")
        lines += [
            f"slave{at}:ip={p.host},port={p.listening_port},state=online,offset={p.acked_position}"
            for at, p in enumerate(leader.attached)
        ]
        lines += [f"{key}:{value}" for key, value in self.lease.info_lines().items()]
        return "\r\n".join(lines).encode()
