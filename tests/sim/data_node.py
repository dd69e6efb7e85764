"""A data node: an abstract replicated log, Redis's commands as sentinels use them, and the real
LeaderLease.
"""

from __future__ import annotations

from collections.abc import Callable

from replication.failover.actions import Lead, PersistLease, Reply, Yield
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
from replication.failover.in_sync import InSyncSet, InSyncSettings
from replication.failover.lease import LeaderLease
from replication.failover.messages import LEASE_KNOCK
from tests.sim.options import Options
from tests.sim.world import Conn, Process, World

REPLICATE_MS = 60.0
#: A follower that has not asked for so long is not online.
ONLINE_MS = 400.0
HELLO = b"__sentinel__:hello"


class DataNode(Process):
    """`disk` outlives a crash; all else does not."""

    def __init__(
        self, world: World, name: str, address: Address, rate: float, options: Options
    ) -> None:
        super().__init__(world, name, rate)
        self.address = address
        self.options = options
        self.nodes: dict[Address, DataNode] = {}
        self.disk_lease = LeaseState(f"id-{name}")
        self.disk_log: list[int] = []
        self.disk_follows: Address | None = None
        self.role_told: Callable[[DataNode], None] = lambda _node: None
        self.took_over: Callable[[DataNode, list[int]], None] = lambda _node, _log: None
        self.acknowledged: Callable[[DataNode, int], None] = lambda _node, _entry: None

    def started(self) -> None:
        self.log = list(self.disk_log) if self.options.keeps_log else []
        self.follows = self.disk_follows
        self.run_id = f"{self.life:08d}{self.name:0>32}"
        self.lease = LeaderLease(
            self.disk_lease,
            self.run_id,
            self.follows is None,
            self.options.lease_ttl_ms,
        )
        self.member = member_id(self.disk_lease.node_id, self.run_id)
        settings = InSyncSettings(self.options.min_in_sync, self.options.in_sync_timeout_ms)
        self.in_sync = InSyncSet(self.member, settings)
        self.reign = -1
        self.heard_leader_ms = -1e9
        self.follower_offsets: dict[Address, int] = {}
        self.acked: dict[str, tuple[int, float]] = {}
        self.pending: list[int] = []
        self.question = self.applied = 0
        self.heard: dict[str, int] = {}
        self.handing_over: tuple[Address, float] | None = None
        self._requests: dict[int, Callable[[RespValue], None]] = {}
        self._request = 0
        self._replicate()

    # Writing.

    def can_acknowledge(self) -> bool:
        """Whether a write that arrived now would be acknowledged."""
        if self.follows is not None or self.handing_over is not None:
            return False
        return "lease" in self.options.without or self.lease.writable(self.clock())

    def write(self, entry: int) -> bool:
        """A client's write; True if acknowledged at once (in-sync: later, by `_release`)."""
        if not self.can_acknowledge():
            return False
        if self.options.in_sync and not self.in_sync.enough(self._online()):
            return False
        self.log.append(entry)
        if self.options.keeps_log:
            self.disk_log.append(entry)
        if self.options.in_sync:
            self.pending.append(entry)
            self._release()
            return False
        self.acknowledged(self, entry)
        return True

    # The in-sync set.

    def _online(self) -> dict[str, int]:
        """Member -> acknowledged, of the followers heard of lately."""
        now = self.clock()
        return {one: at for one, (at, ms) in self.acked.items() if now - ms < ONLINE_MS}

    def _release(self) -> None:
        """Acknowledge what every member has, and ask for the set that is wanted."""
        if not self.options.in_sync or self.follows is not None:
            return
        end = len(self.log)
        owed = end if self.pending else 0
        self.lease.want = self.in_sync.update(self._online(), end, owed, self.clock())
        while self.pending and end - len(self.pending) < self.in_sync.released:
            if not self.can_acknowledge() and self.handing_over is None:
                self.pending.clear()
                return
            if not self.lease.writable(self.clock()) and "lease" not in self.options.without:
                self.pending.clear()
                return
            self.acknowledged(self, self.pending.pop(0))

    def _note_register(self) -> None:
        """What the lease was told of the set; a new reign begins with everything unconfirmed."""
        epoch, version, members = self.lease.register
        if self.follows is not None:
            self.pending.clear()
            return
        if epoch != self.reign:
            self.reign = epoch
            self.pending.clear()
            self.in_sync.begin(len(self.log))
        self.in_sync.learn(version, members)
        self.lease.want = self.in_sync.want

    # Replication: the follower asks, the leader sends what is missing.

    def _replicate(self) -> None:
        self.later(REPLICATE_MS, self._replicate)
        self._release()
        if self.handing_over is not None:
            self._hand_over()
        leader = self.nodes.get(self.follows) if self.follows else None
        if leader is None:
            return
        asked = self.follows
        offset, last = len(self.log), self.log[-1] if self.log else -1
        self.question += 1
        question = (self.member, self.question)
        self._datagram(leader, lambda: leader.serve(self, asked, offset, last, question))

    def _datagram(self, target: DataNode, call: Callable[[], None]) -> None:
        world = self.world
        if (self.name, target.name) in world.cut or not target.alive:
            return
        life = target.life
        world.after(world.delay_ms(), lambda: target.run(life, call))

    def serve(
        self,
        follower: DataNode,
        asked: Address | None,
        offset: int,
        last: int,
        question: tuple[str, int],
    ) -> None:
        """Answer a follower with the missing tail, or with everything where histories differ."""
        if not self.lease.may_serve or (self.follows is not None and not self.link_up):
            return
        same = offset <= len(self.log) and (offset == 0 or self.log[offset - 1] == last)
        if question[1] <= self.heard.get(question[0], 0):
            return
        self.heard[question[0]] = question[1]
        if same:
            self.follower_offsets[follower.address] = offset
            self.acked[question[0]] = (offset, self.clock())
            self._release()
        start = offset if same else 0
        tail = self.log[start:]
        self._datagram(follower, lambda: follower.apply(asked, question, start, tail))

    def apply(
        self, leader: Address | None, question: tuple[str, int], start: int, tail: list[int]
    ) -> None:
        """What the leader sent: in the order of the questions, as a stream keeps it."""
        if self.follows != leader or start > len(self.log):
            return
        if question[0] != self.member or question[1] <= self.applied:
            return
        self.applied = question[1]
        self.heard_leader_ms = self.clock()
        if start == 0 or tail:
            self.log[start:] = tail
            if self.options.keeps_log:
                self.disk_log = list(self.log)

    @property
    def link_up(self) -> bool:
        """Whether the leader was heard lately."""
        return self.clock() - self.heard_leader_ms < 1_000

    # Handing over: pause, wait for the heir, give the lease back, let it lead.

    def _hand_over(self) -> None:
        assert self.handing_over is not None
        heir, until_ms = self.handing_over
        if self.clock() > until_ms or self.follows is not None:
            self.handing_over = None
            if self.lease.heir is not None:
                self.tell_lease(LeaseTakenBack())
                self._publish(LEASE_KNOCK)
            return
        undrained = "drain" in self.options.without and heir in self.follower_offsets
        if self.follower_offsets.get(heir, -1) != len(self.log) and not undrained:
            return
        if self.lease.heir is None:
            self.tell_lease(LeaseGivenUp(heir))
            self._publish(LEASE_KNOCK)
        node = self.nodes[heir]
        log = list(self.log)
        self._datagram(node, lambda: node.take_over(self, log))

    def take_over(self, leader: DataNode, log: list[int]) -> None:
        """PSYNC ... FAILOVER: lead in its place, where our history is the leader's."""
        if self.follows != leader.address:
            return
        if self.log != log and "drain" not in self.options.without:
            return
        self.took_over(self, log)
        self.set_role(None, handed=True)
        self._datagram(leader, lambda: leader.handed_over(self.address))

    def handed_over(self, heir: Address) -> None:
        """The heir leads."""
        if self.handing_over is not None and self.handing_over[0] == heir:
            self.handing_over = None
            self.set_role(heir)

    def set_role(self, leader: Address | None, *, handed: bool = False) -> None:
        """REPLICAOF."""
        if self.follows == leader:
            return
        self.follows = self.disk_follows = leader
        self.heard_leader_ms = -1e9
        self.follower_offsets.clear()
        self.acked.clear()
        self.reign = -1
        self.world.tell(f"{self.name} {f'follows {leader}' if leader else 'leads'}")
        self.tell_lease(RoleChanged(leader is None, handed))

    # The lease machine.

    def tell_lease(self, event: LeaseEvent) -> None:
        """Hand it in, carry its actions out in order."""
        self.lease.receive(event, self.clock())
        self._lease_actions()

    def _lease_actions(self) -> None:
        for action in self.lease.take_actions():
            if isinstance(action, PersistLease):
                self.disk_lease = action.state
                self.role_told(self)
            elif isinstance(action, Reply):
                self._requests.pop(action.request)(action.value)
            elif isinstance(action, Lead):
                self.set_role(None)
            elif isinstance(action, Yield):
                self.handing_over = None
                self.set_role(action.leader)
        self._note_register()

    # Commands.

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
            self.tell_lease(LeaseAsked(self._request, args[1:]))
        elif word == b"SLAVEOF":
            to = None if args[1] == b"NO" else Address(args[1].decode(), int(args[2]))
            if self.handing_over is None and to != self.address:
                self.set_role(to)
            reply(b"OK")
        elif word == b"PUBLISH":
            self._publish(args[2])
            reply(1)
        elif word == b"FAILOVER":
            reply(self._failover(args))
        else:
            reply(b"OK")

    def _failover(self, args: tuple[bytes, ...]) -> RespValue:
        if args[1] == b"ABORT":
            if self.handing_over is not None:
                self.handing_over = (self.handing_over[0], -1.0)
            return b"OK"
        heir = Address(args[2].decode(), int(args[3]))
        if self.follows is not None or self.handing_over is not None:
            return WireError("ERR FAILOVER is not valid now.")
        if heir not in self.follower_offsets:
            return WireError("ERR FAILOVER target HOST and PORT is not a replica.")
        self.handing_over = (heir, self.clock() + int(args[5]))
        self.world.tell(f"{self.name} hands over to {heir}")
        return b"OK"

    def _publish(self, payload: bytes) -> None:
        for conn in sorted(self.conns, key=lambda one: one.number):
            if conn.kind == "pubsub" and conn.open and conn.server is self:
                self._pass_on(conn, payload)

    def _pass_on(self, conn: Conn, payload: bytes) -> None:
        client = conn.client
        conn.send(self, lambda: client.heard_hello(conn, payload))

    def _info(self) -> bytes:
        lines = [f"run_id:{self.run_id}"]
        if self.follows is None:
            lines.append("role:master")
            lines.append(f"master_repl_offset:{len(self.log)}")
            for number, address in enumerate(sorted(self.follower_offsets)):
                lines.append(f"slave{number}:ip={address.host},port={address.port},state=online")
        else:
            lines += [
                "role:slave",
                f"master_host:{self.follows.host}",
                f"master_port:{self.follows.port}",
                f"master_link_status:{'up' if self.link_up else 'down'}",
                f"slave_repl_offset:{len(self.log)}",
                "slave_priority:100",
            ]
            if not self.link_up:
                silent_s = (self.clock() - max(0.0, self.heard_leader_ms)) // 1000
                lines.append(f"master_link_down_since_seconds:{silent_s:.0f}")
        lines += [f"{key}:{value}" for key, value in self.lease.info_lines().items()]
        return "\r\n".join(lines).encode()
