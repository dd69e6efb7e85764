"""A data node's replication: the real Leader and Follower machines, and hands for their actions.

The data set is a list of entries for each register, in the order of their writing: entry n is
pushed to register n % REGISTERS, whose value is its last entry. So two data sets are equal only if
every write was applied once, in one order. A snapshot is these lists; the stream is `RPUSH register
entry` in Redis's protocol, sealed in frames by the machines.

What `cache_server/links/replicator.py` does with sockets and a keyspace is done here with links of
the simulated network, in the same order: what was written is appended before the leader machine
looks, actions are carried out one after the other, an action's event after what was asked before.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cache_server.errors import CommandError
from replication import actions as act
from replication import events as ev
from replication.actions import Action
from replication.backlog import Backlog
from replication.failover.cluster_view import Address
from replication.follower import Follower
from replication.handover import HandoverState
from replication.history import History
from replication.leader import Leader
from replication.rewind import KeyServer
from replication.settings import FollowerSettings, LeaderSettings
from tests.sim.disk import REGISTERS, Disk
from tests.sim.rewinding import Rewinding
from tests.sim.world import Conn, Process, dial

if TYPE_CHECKING:
    from tests.sim.data_node import DataNode

CHUNK_BYTES = 400
PULL_MS = 0.3
BACKLOG_BYTES = 16 * 1024
#: Messages that wait in a cut path until the socket's buffer counts as full.
SOCKET_MESSAGES = 12


def as_command(entry: int) -> bytes:
    """A write as it travels in the stream."""
    value = b"%d" % entry
    return b"*3\r\n$5\r\nRPUSH\r\n$1\r\n%d\r\n$%d\r\n%s\r\n" % (
        entry % REGISTERS,
        len(value),
        value,
    )


class Replication:
    """Of one life of a node. What `Durability` asks of the real Replicator is here by its names."""

    def __init__(self, node: DataNode, disk: Disk, chance: random.Random) -> None:
        self.node = node
        self.disk = disk
        self._chance = chance
        self.data: list[list[int]] = [[] for _ in range(REGISTERS)]
        #: For each register a number that follows from its entries and their order.
        self._chains = [0] * REGISTERS
        history = History(self._new_replid())
        backlog = Backlog(BACKLOG_BYTES)
        self.leader = Leader(history, backlog, LeaderSettings(), self._new_replid)
        settings = FollowerSettings(listening_port=node.address.port)
        self.follower = Follower(history, backlog, settings)
        self.rewinding = Rewinding(self)
        self._keys = KeyServer(self.leader)
        self._keys.at_end = lambda: self.leading or self.follower.position == backlog.end
        self.on_ack: Callable[[], None] | None = None
        self.on_role: list[Callable[[bool], None]] = []
        self.write_check: Callable[[], None] | None = None
        self.handed = False
        self.writes_paused = False
        self._loading: list[bytes] | None = None
        self._snapshots: dict[int, list[bytes]] = {}
        self._feeds: dict[int, Conn] = {}
        self._conn: Conn | None = None
        self._dials = 0
        self._started_at: int | None = None
        self._unsent = b""
        self._settling = False
        self._full: set[int] = set()

    def _new_replid(self) -> str:
        return f"{self._chance.getrandbits(160):040x}"

    # Life.

    def start(self, follows: Address | None) -> None:
        """Goes on where the disk's data is, and follows whom the configuration says."""
        options = self.node.options
        leader, settings = self.leader, self.leader.settings
        settings.diskless_delay_ms = options.diskless_delay_ms
        settings.timeout_ms = self.follower.settings.timeout_ms = options.repl_timeout_ms
        settings.ping_period_ms = options.repl_ping_ms
        if self.disk.log_kept:
            settings.backlog_ttl_ms = 0
        found = self.disk.recover()
        if found is not None:
            self._replace([*found.data])
            leader.history.restart(found.replid)
            leader.history.replid2, leader.history.replid2_position = found.second
            self.node.raise_epoch(found.epoch)
            leader.backlog.reset(found.position, found.mark)
            leader.backlog.active = True
            for frame in found.frames:
                leader.backlog.append_sealed(frame)
            self.follower.resumable = True
        if self.disk.log_kept:
            leader.backlog.active = True
            self.log_anew()
            leader.backlog.on_sealed = self.disk.append
            leader.backlog.on_reset = self.log_anew
        if follows is not None:
            self.follow(follows, resume=self.follower.resumable)
        elif found is not None and not found.intact:
            leader.promote(self._now_ms())
            self._settle()
            self._started_at = leader.backlog.end

    def _base(self) -> tuple[Any, ...]:
        history, backlog = self.leader.history, self.leader.backlog
        second = (history.replid2, history.replid2_position)
        ids = (history.replid, second, history.epoch)
        return ([list(each) for each in self.data], backlog.end, backlog.mark, ids)

    def log_anew(self) -> None:
        """The log, where there is one, begins with the data as it is now."""
        if self.disk.log_kept:
            self.disk.begin(self._base())

    def change_id(self) -> None:
        """Takes an id that shares nothing with the past: nobody can resume any more."""
        self._flush()
        self.leader.history.restart(self._new_replid())

    # The data.

    @property
    def content(self) -> int:
        """A number that follows from all entries and their order."""
        return hash(tuple(self._chains))

    def entries(self) -> set[int]:
        """All entries of all registers."""
        return {entry for each in self.data for entry in each}

    def value_of(self, register: int) -> int | None:
        """What a read of a register gives."""
        pushed = self.data[register]
        return pushed[-1] if pushed else None

    def payload(self, register: int) -> bytes:
        """A register as it travels, b"" for an empty one."""
        return b",".join(b"%d" % entry for entry in self.data[register])

    def put(self, register: int, payload: bytes) -> None:
        """Replaces a register by what has come."""
        self.data[register] = []
        self._chains[register] = 0
        for entry in _entries(payload):
            self._apply(entry)

    def _replace(self, data: list[list[int]]) -> None:
        self.data = [[] for _ in range(REGISTERS)]
        self._chains = [0] * REGISTERS
        for pushed in data:
            for entry in pushed:
                self._apply(entry)

    def _apply(self, entry: int) -> None:
        register = entry % REGISTERS
        self.data[register].append(entry)
        self._chains[register] = hash((self._chains[register], entry))

    def cron(self) -> None:
        """Ten times a second."""
        now_ms = self._now_ms()
        wall_ms = int(self.node.wall_ms())
        self.leader.wall_offset_ms = self.follower.wall_offset_ms = wall_ms - now_ms
        self._flush()
        self._watch_sockets()
        self.leader.tick(now_ms)
        self.follower.tick(now_ms)
        self._settle()

    def _watch_sockets(self) -> None:
        """A link whose path is cut takes no more after a while; one that is whole again does."""
        for link, conn in list(self._feeds.items()):
            full = conn.held_count > SOCKET_MESSAGES
            if full and link not in self._full:
                self._full.add(link)
                self._serve(ev.LinkPaused(link))
            elif not full and link in self._full:
                self._full.discard(link)
                self._serve(ev.LinkResumed(link))

    # Roles.

    @property
    def leading(self) -> bool:
        """Whether this node is a leader."""
        return self.leader.leading

    @property
    def failing_over(self) -> bool:
        """Whether a FAILOVER is under way."""
        return self.leader.handover.state is not HandoverState.IDLE

    def follow(self, leader: Address, *, resume: bool = True, handover: bool = False) -> None:
        """REPLICAOF host port."""
        self._flush()
        was_leading = self.leader.leading
        if was_leading:
            self.leader.demote()
            if self._started_at == self.leader.backlog.end and not handover:
                self.leader.history.unshift()
                self._note_history()
            self._started_at = None
            self.follower.resumable = resume
        if self.follower.following or self.on_role:
            self.node.world.tell(f"{self.node.name} follows {leader}")
        self._follow(ev.FollowRequested(leader.host, leader.port, handover))
        if was_leading:
            for told in self.on_role:
                told(False)

    def promote(self) -> None:
        """REPLICAOF NO ONE."""
        if self.leader.leading:
            return
        self._follow(ev.UnfollowRequested())
        self.leader.promote(self._now_ms())
        self._has_promoted()
        self._settle()

    def _has_promoted(self) -> None:
        self.rewinding.give_up()
        self.node.world.tell(f"{self.node.name} leads")
        for told in self.on_role:
            told(True)

    def fail_over(self, target: Address, timeout_ms: int) -> str:
        """FAILOVER TO; returns the refusal or ""."""
        self._flush()
        event = ev.FailoverRequested((target.host, target.port), timeout_ms=timeout_ms)
        refusal = self.leader.handover.refusal(event)
        if refusal is not None:
            return refusal
        self._serve(event)
        if "drain" in self.node.options.without and self.failing_over:
            self.leader.handover.give(target.host, target.port)
            self._settle()
        return ""

    def abort_failover(self) -> None:
        """FAILOVER ABORT."""
        if self.failing_over:
            self._serve(ev.FailoverAborted())

    # What the durability gate asks.

    def refresh(self) -> None:
        """Gates follow from role and settings: nothing is cached here."""

    @property
    def leader_process(self) -> Process:
        """Who is at the other end of the link to our leader."""
        assert self._conn is not None
        return self._conn.server

    def written_position(self) -> int:
        """The position after everything this node has written."""
        self._flush()
        return self.leader.backlog.end

    def ask_for_acks(self) -> None:
        """Followers are asked how far they are."""
        if self.leader.attached:
            self._serve(ev.AcksWanted())

    # Writing.

    def write(self, entry: int) -> None:
        """Executes a client's write and propagates it. Raises CommandError where it is refused."""
        if not self.leading:
            raise CommandError(b"READONLY You can't write against a read only replica.")
        if self.write_check is not None:
            self.write_check()
        if not self.node.writable():
            raise CommandError(b"READONLY This node's lease has ended.")
        self._apply(entry)
        if self.leader.active:
            if not self._unsent:
                self.node.later(0.0, self._end_turn)
            self._unsent += as_command(entry)
        self.node.wrote(entry)

    def _end_turn(self) -> None:
        self._flush()
        self._settle()

    def _flush(self) -> None:
        data, self._unsent = self._unsent, b""
        if data:
            self.leader.append(data, self._now_ms())
            self.node.reached()

    # Links.

    def accept(self, conn: Conn) -> None:
        """A follower has dialled us."""
        self._feeds[conn.number] = conn

    def hear(self, conn: Conn, data: bytes) -> None:
        """A follower sent commands."""
        if conn.number not in self._feeds:
            return
        if data == b"\n":
            self._serve(ev.KeepaliveReceived(conn.number))
            return
        lines = data.split(b"\r\n")
        at = 0
        while at < len(lines) - 1:
            count = int(lines[at][1:])
            self._command(conn, lines[at + 2 : at + 2 + 2 * count : 2])
            at += 1 + 2 * count

    def _command(self, conn: Conn, words: list[bytes]) -> None:
        link, name = conn.number, words[0]
        if name == b"PING":
            self._send(conn, b"+PONG\r\n")
        elif name == b"PSYNC":
            address = self.node.address_of(conn.client)
            replid, wanted = words[1].decode(), int(words[2])
            self._serve(ev.PsyncReceived(link, address.host, replid, wanted, len(words) > 3))
        elif words[1] == b"ACK":
            checksum = int(words[4], 16) if len(words) > 4 else None
            self._serve(ev.AckReceived(link, int(words[2]), checksum=checksum))
            if self.on_ack is not None:
                self.on_ack()
        elif words[1] == b"VALUES":
            self._keys.asked(link, words[2])
            self._settle()
        elif words[1] == b"RESEND":
            self._serve(ev.ResendReceived(link, int(words[2]), int(words[4])))
        else:
            options = tuple(zip(words[1::2], words[2::2]))
            self._serve(ev.ReplconfReceived(link, options))

    def lost(self, conn: Conn) -> None:
        """A follower is gone."""
        if self._feeds.pop(conn.number, None) is not None:
            self._full.discard(conn.number)
            self._serve(ev.LinkClosed(conn.number))

    def _send(self, conn: Conn, data: bytes) -> None:
        follower = conn.client
        flip_odds = self.node.flip_odds
        if flip_odds and self._chance.random() < flip_odds:
            damaged = bytearray(data)
            damaged[self._chance.randrange(len(data))] ^= 1 << self._chance.randrange(8)
            data = bytes(damaged)
        conn.send(self.node, follower.heard_leader, conn, data)  # type: ignore[attr-defined]

    def heard_leader(self, conn: Conn, data: bytes) -> None:
        """Our leader sent bytes."""
        if conn is self._conn:
            self._follow(ev.LeaderBytes(data))

    # Machines.

    def _now_ms(self) -> int:
        return int(self.node.clock())

    def _serve(self, event: ev.Event) -> None:
        self._flush()
        self.leader.receive(event, self._now_ms())
        self._settle()

    def follow_event(self, event: ev.Event) -> None:
        """Something came of what the follower machine asked for."""
        self._follow(event)

    def _follow(self, event: ev.Event) -> None:
        self.follower.receive(event, self._now_ms())
        self._settle()

    def _settle(self) -> None:
        """Carries out actions until there are none."""
        if self._settling:
            return
        self._settling = True
        leader, follower = self.leader, self.follower
        while True:
            leader.upstream_connected = follower.connected
            if leader.needs_pump:
                leader.pump(self._now_ms())
            actions = follower.take_actions() + leader.take_actions() + self._keys.take_actions()
            if not actions:
                break
            for action in actions:
                _CARRY_OUT[type(action)](self, action)
        self._settling = False

    # Actions: both sides, and serving.

    def _ignore(self, action: Action) -> None:
        """Nothing of the simulated world depends on it."""

    def _do_record_history(self, action: act.RecordHistory) -> None:
        self._note_history()

    def _note_history(self) -> None:
        history = self.leader.history
        second = (history.replid2, history.replid2_position)
        self.disk.note((history.replid, second, history.epoch))

    def _do_drop_followers(self, action: act.DropFollowers) -> None:
        self.leader.drop_all(action.reason)

    def _do_send(self, action: act.Send | act.Reply) -> None:
        conn = self._feeds.get(action.link)
        if conn is not None:
            self._send(conn, action.data)

    def _do_close_link(self, action: act.CloseLink) -> None:
        conn = self._feeds.pop(action.link, None)
        self._full.discard(action.link)
        if conn is not None:
            conn.hang_up(self.node)

    def _do_start_snapshot(self, action: act.StartSnapshot) -> None:
        data = b";".join(self.payload(register) for register in range(REGISTERS))
        chunks = [data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES)]
        self._snapshots[action.snapshot] = chunks[::-1]
        if action.spooled:
            self.node.later(PULL_MS, self._serve, ev.SnapshotSpooled(action.snapshot, len(data)))

    def _do_pull_snapshot(self, action: act.PullSnapshot) -> None:
        self.node.later(PULL_MS, self._pull, action.snapshot)

    def _pull(self, snapshot: int) -> None:
        chunks = self._snapshots.get(snapshot)
        if chunks:
            self._serve(ev.SnapshotChunk(snapshot, chunks.pop()))
        elif chunks is not None:
            self._serve(ev.SnapshotFinished(snapshot))

    def _do_feed_later(self, action: act.FeedLater) -> None:
        self.node.later(0, self._serve, ev.FeedDue())

    def _do_abort_snapshot(self, action: act.AbortSnapshot) -> None:
        self._snapshots.pop(action.snapshot, None)

    def _do_pause_writes(self, action: act.PauseWrites) -> None:
        self.writes_paused = True

    def _do_resume_writes(self, action: act.ResumeWrites) -> None:
        self.writes_paused = False
        self.node.resume_writes()

    def _do_hand_over(self, action: act.HandOver) -> None:
        heir = Address(action.host, action.port)
        self.node.hands_over(heir)
        self.follow(heir, handover=True)
        self.node.given_up(heir)

    def _do_take_back(self, action: act.TakeBack) -> None:
        self.promote()
        self.node.taken_back()

    def _do_promote(self, action: act.Promote) -> None:
        self._follow(ev.UnfollowRequested())
        self.handed = True
        self.node.takes_over()
        self._has_promoted()
        self.handed = False

    def _do_read_keys(self, action: act.ReadKeys) -> None:
        self._flush()
        self._keys.keys_read(self.rewinding.read(action))

    # Actions: going back.

    def _do_prepare_rewind(self, action: act.PrepareRewind) -> None:
        self.rewinding.prepare(action)

    def _do_begin_rewind(self, action: act.BeginRewind) -> None:
        self.rewinding.begin()

    def _do_fetch_keys(self, action: act.FetchKeys) -> None:
        self.rewinding.fetch()

    def _do_take_values(self, action: act.TakeValues) -> None:
        self.rewinding.take(action.values)

    # Actions: following.

    def _do_dial(self, action: act.Dial) -> None:
        target = self.node.nodes.get(Address(action.host, action.port))
        if target is self.node:
            target = None
        self._dials += 1
        number = self._dials

        def opened(conn: Conn) -> None:
            if number == self._dials:
                leader: Any = conn.server
                leader.replication.accept(conn)
                self._follow(ev.LeaderConnected())

        def closed(reason: str) -> None:
            if number == self._dials:
                self._conn = None
                self._follow(ev.LeaderUnreachable(reason))
                self._follow(ev.LeaderLinkClosed(reason))

        self._conn = dial(self.node, target, "replica", 1_000.0, opened, closed)

    def _do_send_to_leader(self, action: act.SendToLeader | act.SendAck) -> None:
        conn = self._conn
        if conn is not None:
            leader: Any = conn.server
            conn.send(self.node, leader.heard_follower, conn, action.data)

    def _do_close_leader_link(self, action: act.CloseLeaderLink) -> None:
        conn, self._conn = self._conn, None
        self._dials += 1
        if conn is not None:
            conn.hang_up(self.node)

    def _do_load_begin(self, action: act.LoadBegin) -> None:
        self._loading = []

    def _do_load_chunk(self, action: act.LoadChunk) -> None:
        if self._loading is not None:
            self._loading.append(action.data)

    def _do_load_commit(self, action: act.LoadCommit) -> None:
        loading, self._loading = self._loading, None
        if loading is None:
            return
        data = [_entries(payload) for payload in b"".join(loading).split(b";")]
        self.node.replaces_data(data, self.leader_process)
        self._replace(data)
        self.rewinding.forget()
        self._follow(ev.SnapshotLoaded())
        self.node.reached()

    def _do_apply_held_later(self, action: act.ApplyHeldLater) -> None:
        self.node.later(0, self._follow, ev.HeldDue())

    def _do_load_abort(self, action: act.LoadAbort) -> None:
        self._loading = None

    def _do_apply_stream(self, action: act.ApplyStream) -> None:
        data = action.data
        lines = data.split(b"\r\n")
        at, count = 0, len(lines) - 1
        copied, dirty = self.node.check.copied, self.rewinding.dirty
        while at < count:
            words = int(lines[at][1:])
            if lines[at + 2] == b"RPUSH":
                entry = int(lines[at + 6])
                if entry % REGISTERS not in dirty:
                    self._apply(entry)
                copied.add(entry)
            elif lines[at + 2] == b"REPLCONF":
                rest = sum(map(len, lines[at:])) + 2 * (count - at)
                begins = self.follower.position + len(data) - rest
                self._follow(ev.GetackReceived(begins))
            at += 1 + 2 * words
        self._follow(ev.StreamApplied(self.follower.position + len(data)))
        self.node.reached()

    def _do_handover_answered(self, action: act.HandoverAnswered) -> None:
        self._serve(ev.HandoverEnded(action.accepted, action.reason))


def _entries(payload: bytes) -> list[int]:
    return [int(word) for word in payload.split(b",")] if payload else []


_CARRY_OUT: dict[type[Action], Callable[[Replication, Any], None]] = {
    act.Log: Replication._ignore,
    act.RecordHistory: Replication._do_record_history,
    act.ForceSelect: Replication._ignore,
    act.DropFollowers: Replication._do_drop_followers,
    act.Reply: Replication._do_send,
    act.Send: Replication._do_send,
    act.CloseLink: Replication._do_close_link,
    act.StartSnapshot: Replication._do_start_snapshot,
    act.PullSnapshot: Replication._do_pull_snapshot,
    act.FeedLater: Replication._do_feed_later,
    act.AbortSnapshot: Replication._do_abort_snapshot,
    act.PauseWrites: Replication._do_pause_writes,
    act.ResumeWrites: Replication._do_resume_writes,
    act.HandOver: Replication._do_hand_over,
    act.TakeBack: Replication._do_take_back,
    act.Promote: Replication._do_promote,
    act.YieldTo: Replication._ignore,
    act.ReadKeys: Replication._do_read_keys,
    act.PrepareRewind: Replication._do_prepare_rewind,
    act.BeginRewind: Replication._do_begin_rewind,
    act.FetchKeys: Replication._do_fetch_keys,
    act.TakeValues: Replication._do_take_values,
    act.Dial: Replication._do_dial,
    act.SendToLeader: Replication._do_send_to_leader,
    act.SendAck: Replication._do_send_to_leader,
    act.CloseLeaderLink: Replication._do_close_leader_link,
    act.LoadBegin: Replication._do_load_begin,
    act.LoadChunk: Replication._do_load_chunk,
    act.LoadCommit: Replication._do_load_commit,
    act.LoadAbort: Replication._do_load_abort,
    act.ApplyHeldLater: Replication._do_apply_held_later,
    act.ApplyStream: Replication._do_apply_stream,
    act.StreamReset: Replication._ignore,
    act.HandoverAnswered: Replication._do_handover_answered,
}
