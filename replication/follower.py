"""The following side of replication: find the leader, agree where to go on, apply what is verified.

The problem: a leader may be of ours or a stock one, may die, lie or be cut off at any byte, and
what this node serves must at every moment be the data of one known position. The idea: one link at
a time, in one state at a time (`follower_states.py` draws them), and for each stretch of the way a
part with its own state:

    Handshake        handshake.py         what is asked and offered, until both know where to go on
    RewindSide       rewind.py            our history leaves the leader's: back to the fork
    SnapshotLoad     snapshot_load.py     a full sync
    FollowedStream   followed_stream.py   verified bytes, applied, relayed, acknowledged

This module is what they share: the link itself. It dials, notices silence, fails and tries again,
and hands the shell what is to be done. Whatever goes wrong in a part ends in `fail`, which keeps
what was applied.

Invariants: those of the parts; `_close` leaves nothing of a link in any of them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from replication import actions as act
from replication import events as ev
from replication.actions import Action, Log, LogLevel, command
from replication.backlog import Backlog
from replication.checksum import crc32c
from replication.constants import RECONNECT_INTERVAL_MS, RECONNECT_JITTER_MS
from replication.followed_stream import FollowedStream
from replication.follower_states import (
    AT_WORK,
    FOLLOWER_EDGES,
    HANDSHAKE,
    LINKED,
    SYNCING,
    TIMEOUT_TEXTS,
    FollowerState,
)
from replication.full_sync import SnapshotReceiver
from replication.handshake import Handshake
from replication.held_log import HeldLog, Overflow
from replication.history import History
from replication.intake import StreamIntake
from replication.rewind import RewindSide
from replication.settings import FollowerSettings
from replication.snapshot_load import SnapshotLoad
from replication.sync_intake import SyncIntake

_S = FollowerState


@dataclass(slots=True)
class FollowerStats:
    """Counters for INFO. They only rise."""

    frames_rejected: int = 0
    frames_repaired: int = 0
    """Damaged frames that were asked for again on the link, and came."""
    bytes_repaired: int = 0
    snapshots_rejected: int = 0
    histories_diverged: int = 0
    full_syncs: int = 0
    partial_syncs: int = 0
    rewinds: int = 0

    def count_repairs(
        self, intake: StreamIntake | SyncIntake, before: tuple[int, int, int]
    ) -> None:
        """What an intake has refused and mended since it had counted (damaged, repaired, repaired
        bytes) `before`."""
        damaged, repaired, repaired_bytes = before
        self.frames_rejected += intake.damaged - damaged
        self.frames_repaired += intake.repaired - repaired
        self.bytes_repaired += intake.repaired_bytes - repaired_bytes


@dataclass(slots=True)
class Follower:
    """The machine. It shares `history` and `backlog` with the node's `Leader` machine."""

    history: History
    backlog: Backlog
    settings: FollowerSettings
    new_overflow: Callable[[], Overflow | None] = lambda: None
    """A place for what is held of the stream during a full sync and is not to be in memory."""
    resumable: bool = False
    """Whether history and backlog describe the data set, so that PSYNC may ask to go on."""
    wall_offset_ms: int = 0
    host: str = ""
    port: int = 0
    state: FollowerState = FollowerState.IDLE
    stats: FollowerStats = field(default_factory=FollowerStats)
    framed: bool = False
    """Whether this link carries frames."""
    interleaved: bool = False
    """Whether the stream comes between the chunks of a snapshot."""
    heard_ms: int = 0
    down_since_ms: int | None = None
    handover: bool = False
    """Whether the leader is to hand its place to us (`FAILOVER`), and has not answered."""
    handshake: Handshake = field(init=False)
    load: SnapshotLoad = field(init=False)
    stream: FollowedStream = field(init=False)
    rewind: RewindSide = field(init=False)
    _actions: list[Action] = field(default_factory=list)
    _retry_ms: int = 0
    _failures: int = 0

    def __post_init__(self) -> None:
        self.handshake = Handshake(self)
        self.load = SnapshotLoad(self)
        self.stream = FollowedStream(self)
        self.rewind = RewindSide(self)

    # driving

    def receive(self, event: ev.Event, now_ms: int) -> None:
        """Takes one event. Raises `KeyError` for an event that is not this machine's."""
        _HANDLERS[type(event)](self, event, now_ms)

    def tick(self, now_ms: int) -> None:
        """Does what is due by the clock. Ten times a second is often enough."""
        state = self.state
        if state is _S.WAITING:
            if now_ms >= self._retry_ms:
                self._dial(now_ms)
            return
        if state is _S.IDLE:
            return
        silent = now_ms - self.heard_ms > self.settings.timeout_ms
        if silent and state not in AT_WORK and self.stream.pause.reading:
            self.fail(TIMEOUT_TEXTS.get(state, TIMEOUT_TEXTS[_S.HELLO]), now_ms)
        elif state is _S.STREAM:
            self.stream.tick(now_ms)
            self.rewind.tick(now_ms)
        elif state in SYNCING:
            self.load.tick(now_ms)

    def take_actions(self) -> list[Action]:
        """Hands over what is to be done, in order, and forgets it."""
        taken = self._actions
        self._actions = []
        return taken

    # what others ask

    @property
    def following(self) -> bool:
        """Whether this node has a leader at all."""
        return self.state is not _S.IDLE

    @property
    def connected(self) -> bool:
        """`master_link_status`: the stream is flowing, and the data is that of one position."""
        return self.state is _S.STREAM and not self.rewind.active

    @property
    def syncing(self) -> bool:
        """`master_sync_in_progress`: a snapshot is being received."""
        return self.state in SYNCING

    @property
    def position(self) -> int:
        """How much of the stream is in the data set."""
        return self.stream.position if self.state is _S.STREAM else self.backlog.end

    @property
    def received_position(self) -> int:
        """How much of the stream has come and been verified."""
        return self.stream.received if self.state is _S.STREAM else self.backlog.end

    @property
    def snapshot(self) -> SnapshotReceiver | SyncIntake | None:
        """The snapshot that is being received."""
        return self.load.snapshot

    @property
    def held(self) -> HeldLog | None:
        """What came of the stream with the snapshot and has yet to be applied, in STREAM."""
        return self.stream.held

    # following and not

    def _on_follow(self, event: ev.FollowRequested, now_ms: int) -> None:
        if self.state is not _S.IDLE:
            self._close("following another leader")
            self.become(_S.IDLE)
        self.host, self.port, self.handover = event.host, event.port, event.handover
        self.stream.forget_refusals()
        self.down_since_ms = now_ms
        self.become(_S.WAITING)
        self.log(LogLevel.NOTICE, f"Connecting to MASTER {self.host}:{self.port}")
        self._dial(now_ms)

    def _on_unfollow(self, event: ev.UnfollowRequested, now_ms: int) -> None:
        if self.state is not _S.IDLE:
            self._close("no longer following")
            self.become(_S.IDLE)
        self.handover = False

    def _dial(self, now_ms: int) -> None:
        self.become(_S.DIALLING)
        self.heard_ms = now_ms
        self.do(act.Dial(self.host, self.port))

    def _on_connected(self, event: ev.LeaderConnected, now_ms: int) -> None:
        if self.state is _S.DIALLING:
            self.heard_ms = now_ms
            self.framed = self.interleaved = False
            self.handshake.begin()

    def _on_unreachable(self, event: ev.LeaderUnreachable, now_ms: int) -> None:
        if self.state is _S.DIALLING:
            self.fail(f"Error condition on socket for SYNC: {event.reason}", now_ms)

    def _on_bytes(self, event: ev.LeaderBytes, now_ms: int) -> None:
        self.heard_ms = now_ms
        if self.state is _S.STREAM:
            self.stream.take(event.data, now_ms)
        elif self.state in HANDSHAKE:
            rest = self.handshake.take(event.data, now_ms)
            if rest:
                self._on_bytes(ev.LeaderBytes(rest), now_ms)
        elif self.state is _S.LOADING:
            self.load.take(event.data, now_ms)
        elif self.state is _S.COMMITTING:
            self.load.take_behind(event.data, now_ms)
        elif self.state is _S.PREPARING:
            self.fail("the leader spoke out of turn", now_ms)

    def _on_link_closed(self, event: ev.LeaderLinkClosed, now_ms: int) -> None:
        if self.state not in LINKED:
            return
        reason = f"the connection was lost {event.reason}".rstrip()
        if self.state is _S.STREAM:
            self.log(LogLevel.NOTICE, "Connection with master lost.")
            if self.stream.lost(reason):
                return
        self.fail(reason, now_ms)

    def _on_rebuild(self, event: ev.RebuildWanted, now_ms: int) -> None:
        if self.state is _S.STREAM:
            self.fail(f"a full synchronization is needed: {event.reason}", now_ms, at_once=True)
            self.resumable = False

    # failing

    def fail(self, reason: str, now_ms: int, *, at_once: bool = False) -> None:
        """Drops the link, keeps what was applied, and tries again."""
        if self.handover:  # the leader machine says why it ends
            self.handover = False
            self.do(act.HandoverAnswered(False, reason))
        else:
            self.log(LogLevel.WARNING, f"MASTER <-> REPLICA link: {reason}")
        if self.state is _S.STREAM:
            self.down_since_ms = now_ms
        self._close(reason)
        self.become(_S.WAITING)
        self._retry_ms = now_ms if at_once else now_ms + RECONNECT_INTERVAL_MS - self._jitter_ms()

    def diverged(self, theirs: int, ours: int, now_ms: int) -> None:
        """The history checksums at one position differ: there is nothing to resume."""
        self.stats.histories_diverged += 1
        reason = (
            f"our history has diverged at offset {self.received_position}: the leader's checksum"
            f" is {theirs:016x} and ours {ours:016x}; a full synchronization is needed"
        )
        self.fail(reason, now_ms, at_once=True)
        self.resumable = False

    def _jitter_ms(self) -> int:
        """Followers that lost their leader together do not come back together: each by its place
        and its history has another moment, and another one every time."""
        self._failures += 1
        seed = b"%d %d %d" % (self.settings.listening_port, self._failures, self.backlog.end)
        return crc32c(seed) % RECONNECT_JITTER_MS

    def _close(self, reason: str) -> None:
        """Ends the link in whatever state it is, so that nothing is pending."""
        if self.state in LINKED or self.state is _S.DIALLING:
            self.do(act.CloseLeaderLink(reason))
        self.load.close(reason)
        self.stream.close()
        self.rewind.reset()
        self.handshake.close()

    # common, for the parts

    def become(self, state: FollowerState) -> None:
        """Takes an edge of the table; any other raises `AssertionError`."""
        assert state in FOLLOWER_EDGES[self.state], f"{self.state} -> {state}"
        self.state = state

    def ask_for(self, start: int, end: int, *, of_snapshot: bool = False) -> None:
        """Asks for a damaged range again; `end` is -1 for all that was sent."""
        to = "" if end < 0 else f" to {end}"
        what = "snapshot" if of_snapshot else "stream"
        self.log(
            LogLevel.WARNING,
            f"Damage in the {what} from the master: asking again for bytes from {start}{to}",
        )
        name = b"RESEND-SNAPSHOT" if of_snapshot else b"RESEND"
        words = (b"REPLCONF", name, b"%d" % start, b"END", b"%d" % end)
        self.do(act.SendToLeader(command(*words)))

    def do(self, *wanted: Action) -> None:
        """Asks the shell for actions, in this order."""
        self._actions.extend(wanted)

    def log(self, level: LogLevel, text: str) -> None:
        """Has a line logged."""
        self._actions.append(Log(level, text))

    def invariants(self) -> None:
        """Raises `AssertionError` where the machine contradicts itself."""
        self.history.invariants()
        self.stream.invariants()
        self.load.invariants()
        self.handshake.invariants()


_HANDLERS: Final[dict[type[ev.Event], Callable[[Follower, Any, int], None]]] = {
    ev.FollowRequested: Follower._on_follow,
    ev.UnfollowRequested: Follower._on_unfollow,
    ev.LeaderConnected: Follower._on_connected,
    ev.LeaderUnreachable: Follower._on_unreachable,
    ev.LeaderBytes: Follower._on_bytes,
    ev.LeaderLinkClosed: Follower._on_link_closed,
    ev.RebuildWanted: Follower._on_rebuild,
    ev.StreamApplied: lambda follower, *told: follower.stream.on_applied(*told),
    ev.StreamUnreadable: lambda follower, *told: follower.stream.on_unreadable(*told),
    ev.DataCompared: lambda follower, *told: follower.stream.on_compared(*told),
    ev.StreamPaused: lambda follower, *told: follower.stream.on_paused(*told),
    ev.HeldDue: lambda follower, *told: follower.stream.on_held_due(*told),
    ev.GetackReceived: lambda follower, *told: follower.stream.on_getack(*told),
    ev.RewindPrepared: lambda follower, *told: follower.rewind.on_prepared(*told),
    ev.KeysWanted: lambda follower, *told: follower.rewind.on_wanted(*told),
    ev.RewindEnded: lambda follower, *told: follower.rewind.on_ended(*told),
    ev.SnapshotLoaded: lambda follower, *told: follower.load.on_loaded(*told),
    ev.SnapshotRejected: lambda follower, *told: follower.load.on_rejected(*told),
}

__all__ = ["Follower", "FollowerStats"]
