"""A miniature node and network: the smallest shell that the replication machines run in.

A node's data set is the list of values that `ADD value` commands brought; its snapshot is that
list. A wire carries bytes both ways and can be cut, held and damaged. Everything happens when the
world is stepped, in an order that the caller chooses.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from replication import actions as act
from replication import events as ev
from replication.actions import Action
from replication.backlog import Backlog
from replication.follower import Follower
from replication.history import History
from replication.leader import Leader
from replication.rewind import KeyServer
from replication.settings import FollowerSettings, LeaderSettings

CHUNK_BYTES = 24


def command(*words: bytes) -> bytes:
    """A command as it travels."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


class CommandReader:
    """Reads whole commands, and newlines as empty ones."""

    def __init__(self) -> None:
        self.buffer = b""

    def feed(self, data: bytes) -> Iterator[list[bytes]]:
        self.buffer += data
        while (read := self._one()) is not None:
            words, self.buffer = read
            yield words

    def _one(self) -> tuple[list[bytes], bytes] | None:
        line, newline, rest = self.buffer.partition(b"\n")
        if not newline:
            return None
        if not line.strip():
            return [], rest
        assert line.startswith(b"*"), self.buffer[:80]
        words = []
        for _ in range(int(line[1:])):
            length, newline, rest = rest.partition(b"\r\n")
            if not newline:
                return None
            size = int(length[1:])
            if len(rest) < size + 2:
                return None
            words.append(rest[:size])
            rest = rest[size + 2 :]
        return words, rest


@dataclass(eq=False)
class Wire:
    """One connection: `down` flows from leader to follower, `up` the other way."""

    follower: "Node"
    leader: "Node"
    link: int
    up: deque[bytes] = field(default_factory=deque)
    down: deque[bytes] = field(default_factory=deque)
    reader: CommandReader = field(default_factory=CommandReader)
    alive: bool = True
    read: bool = True
    flip_bit: int | None = None

    def deliver_up(self) -> bool:
        if not self.up or not self.alive:
            return False
        for words in self.reader.feed(self.up.popleft()):
            if self.alive:
                self.leader.serve(self.link, words)
        return True

    def deliver_down(self) -> bool:
        if not self.down or not self.alive or not self.read:
            return False
        data = self.down.popleft()
        if self.flip_bit is not None:
            at = self.flip_bit % (len(data) * 8)
            damaged = bytearray(data)
            damaged[at // 8] ^= 1 << at % 8
            data, self.flip_bit = bytes(damaged), None
        self.follower.hear(ev.LeaderBytes(data))
        return True

    def cut(self) -> None:
        if self.alive:
            self.alive = False
            self.leader.serve_event(ev.LinkClosed(self.link))
            if self.follower.wire is self:
                self.follower.wire = None
                self.follower.hear(ev.LeaderLinkClosed())


class Node:
    """One node: both machines, a data set, and its ends of the wires."""

    def __init__(self, name: str, world: "World", port: int, *, framed: bool = True) -> None:
        self.name, self.world, self.port = name, world, port
        self.values: list[bytes] = []
        self.fresh_bytes = b""
        self.applied = CommandReader()
        self.fed = 0
        self.wire: Wire | None = None
        self.served: dict[int, Wire] = {}
        self.snapshots: dict[int, deque[bytes]] = {}
        self.paused = False
        self.settling = False
        #: Values that are of another history than the rest, and those given up for good.
        self.dirty: set[bytes] = set()
        self.prepared: set[bytes] = set()
        self.discarded: list[bytes] = []
        self.on_verify: Callable[[int, bytes], None] = lambda link, payload: None
        history = History(world.new_id())
        backlog = Backlog(1 << 20)
        settings = LeaderSettings(diskless_delay_ms=0)
        self.leader = Leader(history, backlog, settings, world.new_id)
        self.follower = Follower(
            history, backlog, FollowerSettings(listening_port=port, frames_offered=framed)
        )
        self.keys = KeyServer(self.leader)
        self.keys.at_end = lambda: self.leader.leading or self.follower.position == backlog.end

    # clients

    def add(self, value: bytes) -> bool:
        if not self.leader.leading or self.paused:
            return False
        self.values.append(value)
        if self.leader.active:
            self.leader.append(command(b"ADD", value), self.world.now_ms)
            self.leader.pump(self.world.now_ms)
            self.settle()
        return True

    def follow(self, other: "Node", *, handover: bool = False) -> None:
        if self.leader.leading:
            self.follower.resumable = self.leader.active
            self.leader.demote()
            self._apply_from(self.leader.backlog.end)
        self.hear(ev.FollowRequested(other.name, other.port, handover))

    def promote(self) -> None:
        self.hear(ev.UnfollowRequested())
        self.leader.promote(self.world.now_ms)
        self.settle()

    def tick(self) -> None:
        self.leader.tick(self.world.now_ms)
        self.follower.tick(self.world.now_ms)
        self.settle()

    # the machines

    def hear(self, event: ev.Event) -> None:
        self.follower.receive(event, self.world.now_ms)
        self.settle()

    def serve_event(self, event: ev.Event) -> None:
        self.leader.receive(event, self.world.now_ms)
        self.settle()

    def serve(self, link: int, words: list[bytes]) -> None:
        name = words[0].upper() if words else b""
        if name == b"":
            self.serve_event(ev.KeepaliveReceived(link))
        elif name == b"PING":
            self.served[link].down.append(b"+PONG\r\n")
        elif name == b"REPLCONF" and words[1].upper() == b"ACK":
            checksum = int(words[4], 16) if len(words) > 4 else None
            self.serve_event(ev.AckReceived(link, int(words[2]), checksum=checksum))
        elif name == b"REPLCONF" and words[1].upper() == b"VERIFY":
            self.on_verify(link, words[2])
        elif name == b"REPLCONF" and words[1].upper() == b"VALUES":
            self.keys.asked(link, words[2])
            self.settle()
        elif name == b"REPLCONF" and words[1].upper() == b"SYNCED":
            done, position, room = (int(word) for word in words[2::2])
            self.serve_event(ev.SyncedReceived(link, done, position, room == 1))
        elif name == b"REPLCONF" and words[1].upper() == b"RESEND-SNAPSHOT":
            self.serve_event(ev.ResendSnapshotReceived(link, int(words[2]), int(words[4])))
        elif name == b"REPLCONF" and words[1].upper() == b"RESEND":
            self.serve_event(ev.ResendReceived(link, int(words[2]), int(words[4])))
        elif name == b"REPLCONF":
            options = tuple(zip(words[1::2], words[2::2], strict=True))
            self.serve_event(ev.ReplconfReceived(link, options))
        else:
            assert name == b"PSYNC"
            failover = len(words) > 3
            replid, wanted = words[1].decode(), int(words[2])
            peer = self.served[link].follower.name
            self.serve_event(ev.PsyncReceived(link, peer, replid, wanted, failover))

    def settle(self) -> None:
        """Carries out actions until there are none. An action may make further events; what they
        ask for comes after what was asked before, so this is never entered twice."""
        if self.settling:
            return
        self.settling = True
        while True:
            self.leader.upstream_connected = self.follower.connected
            if self.leader.needs_pump:
                self.leader.pump(self.world.now_ms)
            actions = self.follower.take_actions() + self.leader.take_actions()
            actions += self.keys.take_actions()
            if not actions:
                break
            for action in actions:
                self.carry_out(action)
        self.settling = False
        self.leader.invariants()
        self.follower.invariants()
        self.leader.backlog.invariants()

    def carry_out(self, action: Action) -> None:
        handler = getattr(self, "do_" + type(action).__name__, None)
        if handler is not None:
            handler(action)

    def do_Log(self, action: act.Log) -> None:
        self.world.log.append(f"{self.name}: {action.text}")

    def do_Reply(self, action: act.Reply) -> None:
        self.served[action.link].down.append(action.data)

    def do_Send(self, action: act.Send) -> None:
        self.served[action.link].down.append(action.data)

    def do_CloseLink(self, action: act.CloseLink) -> None:
        self.served[action.link].cut()

    def do_DropFollowers(self, action: act.DropFollowers) -> None:
        self.leader.drop_all(action.reason)

    def do_StartSnapshot(self, action: act.StartSnapshot) -> None:
        assert action.position == self.leader.backlog.end
        data = b"".join(b"%s;" % value for value in self.values)
        chunks = deque(data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES))
        self.snapshots[action.snapshot] = chunks
        if action.spooled:
            self.serve_event(ev.SnapshotSpooled(action.snapshot, len(data)))

    def do_PullSnapshot(self, action: act.PullSnapshot) -> None:
        self.world.pulls.append((self, action.snapshot))

    def do_FeedLater(self, action: act.FeedLater) -> None:
        self.world.later.append(lambda: self.serve_event(ev.FeedDue()))

    def do_ApplyHeldLater(self, action: act.ApplyHeldLater) -> None:
        self.world.later.append(lambda: self.hear(ev.HeldDue()))

    def pull(self, snapshot: int) -> None:
        chunks = self.snapshots.get(snapshot)
        if chunks:
            self.serve_event(ev.SnapshotChunk(snapshot, chunks.popleft()))
        elif chunks is not None:
            self.serve_event(ev.SnapshotFinished(snapshot))

    def do_AbortSnapshot(self, action: act.AbortSnapshot) -> None:
        self.snapshots.pop(action.snapshot, None)

    def do_PauseWrites(self, action: act.PauseWrites) -> None:
        self.paused = True

    def do_ResumeWrites(self, action: act.ResumeWrites) -> None:
        self.paused = False

    def do_HandOver(self, action: act.HandOver) -> None:
        self.follow(self.world.nodes[action.host], handover=True)

    def do_HandoverAnswered(self, action: act.HandoverAnswered) -> None:
        self.serve_event(ev.HandoverEnded(action.accepted, action.reason))

    def do_TakeBack(self, action: act.TakeBack) -> None:
        self.promote()

    def do_Promote(self, action: act.Promote) -> None:
        self.hear(ev.UnfollowRequested())

    def do_Dial(self, action: act.Dial) -> None:
        leader = self.world.nodes[action.host]
        if frozenset((self.name, leader.name)) in self.world.partitions:
            self.hear(ev.LeaderUnreachable("no route"))
            return
        self.world.links += 1
        wire = Wire(self, leader, self.world.links)
        self.wire = leader.served[wire.link] = wire
        self.world.wires.append(wire)
        self.hear(ev.LeaderConnected())

    def do_SendToLeader(self, action: act.SendToLeader) -> None:
        if self.wire is not None:
            self.wire.up.append(action.data)

    def do_SendAck(self, action: act.SendAck) -> None:
        if self.wire is not None:
            self.wire.up.append(action.data)

    def do_CloseLeaderLink(self, action: act.CloseLeaderLink) -> None:
        wire, self.wire = self.wire, None
        if wire is not None:
            wire.cut()

    def do_ReadLeader(self, action: act.ReadLeader) -> None:
        if self.wire is not None:
            self.wire.read = action.reading

    def do_LoadBegin(self, action: act.LoadBegin) -> None:
        self.fresh_bytes = b""

    def do_LoadChunk(self, action: act.LoadChunk) -> None:
        self.fresh_bytes += action.data

    def do_LoadCommit(self, action: act.LoadCommit) -> None:
        self.values = [value for value in self.fresh_bytes.split(b";") if value]
        self._apply_from(self.follower.load.position)
        self.dirty.clear()
        self.hear(ev.SnapshotLoaded())

    def do_PrepareRewind(self, action: act.PrepareRewind) -> None:
        backlog, fork = self.leader.backlog, action.fork.position
        start = max(fork, backlog.start)
        tail, _ = backlog.read(start, 1 << 30)
        found = [words[1] for words in CommandReader().feed(tail) if words[0] == b"ADD"]
        self.prepared = set(found)
        self.discarded += found
        refusal = "the tail is not whole" if start > fork else ""
        mark = None if refusal else backlog.mark_at(fork)
        self.hear(ev.RewindPrepared(mark, refusal))

    def do_BeginRewind(self, action: act.BeginRewind) -> None:
        self.dirty |= self.prepared
        self._apply_from(action.position)

    def do_FetchKeys(self, action: act.FetchKeys) -> None:
        if self.dirty:
            self.hear(ev.KeysWanted(tuple((0, key) for key in sorted(self.dirty)[:2])))
        else:
            self.hear(ev.RewindEnded())

    def do_ReadKeys(self, action: act.ReadKeys) -> None:
        values = tuple(
            act.KeyValue(0, key, 0, b"here" if key in self.values else b"")
            for _, key in action.keys
        )
        self.keys.keys_read(ev.KeysRead(action.link, action.number, values))

    def do_TakeValues(self, action: act.TakeValues) -> None:
        for each in action.values:
            self.dirty.discard(each.key)
            if each.payload and each.key not in self.values:
                self.values.append(each.key)
            elif not each.payload and each.key in self.values:
                self.values.remove(each.key)
        self.do_FetchKeys(act.FetchKeys())

    def do_StreamReset(self, action: act.StreamReset) -> None:
        self._apply_from(self.follower.position)

    def _apply_from(self, position: int) -> None:
        self.applied, self.fed = CommandReader(), position

    def do_ApplyStream(self, action: act.ApplyStream) -> None:
        self.fed += len(action.data)
        for words in self.applied.feed(action.data):
            if words[0] == b"ADD":
                if words[1] not in self.dirty:
                    self.values.append(words[1])
            elif words[0] == b"REPLCONF":
                begin = self.fed - len(self.applied.buffer) - len(command(*words))
                self.hear(ev.GetackReceived(begin))
        self.hear(ev.StreamApplied(self.fed - len(self.applied.buffer)))


class World:
    """Nodes by name, wires between them, and a clock that moves when told."""

    def __init__(self, names: str = "abc", *, framed: str | None = None) -> None:
        self.now_ms = 0
        self.links = 0
        self.ids = 0
        self.log: list[str] = []
        self.wires: list[Wire] = []
        self.pulls: deque[tuple[Node, int]] = deque()
        self.later: deque[Callable[[], None]] = deque()
        self.partitions: set[frozenset[str]] = set()
        framed = names if framed is None else framed
        self.nodes: dict[str, Node] = {
            name: Node(name, self, 7000 + at, framed=name in framed)
            for at, name in enumerate(names)
        }

    def new_id(self) -> str:
        self.ids += 1
        return f"{self.ids:040x}"

    def advance(self, ms: int) -> None:
        self.now_ms += ms
        for node in self.nodes.values():
            node.tick()

    def step(self) -> bool:
        """Delivers one thing on every wire; whether there was anything."""
        self.wires = [wire for wire in self.wires if wire.alive]
        moved = False
        for wire in list(self.wires):
            moved |= wire.deliver_up()
            moved |= wire.deliver_down()
        for _ in range(len(self.pulls)):
            node, snapshot = self.pulls.popleft()
            node.pull(snapshot)
            moved = True
        for _ in range(len(self.later)):
            self.later.popleft()()
            moved = True
        return moved

    def run(self, ms: int = 0) -> None:
        """Lets everything happen that can, for so long."""
        end_ms = self.now_ms + ms
        while True:
            while self.step():
                pass
            if self.now_ms >= end_ms:
                return
            self.advance(100)


__all__ = ["Node", "Wire", "World", "command"]
