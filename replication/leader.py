"""The serving side of replication: one stream, many followers.

The problem: followers come and go at their own pace and must each get every byte once, while the
node's own clients wait for nobody. The idea: the stream is written once into the shared backlog;
a follower is a cursor (`progress.py`) that is moved when there is something to send and its socket
takes it. Who is let in, and where, is decided first (`admission.py`); who cannot be continued is
given the data set (`snapshot_feed.py`). Clients that wait for followers are `wait_list.py`'s, the
giving up of our place is `handover.py`'s.

Every node has this machine: a follower serves followers of its own from the same history. What
only a leader does (PING, GETACK, handover, a backlog that expires) asks `leading` first.

How the shell drives it, once per pass of its loop:

    append(bytes propagated in this pass)   then   pump()   then   take_actions()

and before any `receive` or `tick` it appends what is already propagated, so that `backlog.end` is
the position of the data set whenever the machine looks.

Invariants: a follower in STREAM has been sent exactly [its start, sent_position); the backlog
holds everything from the slowest cursor on; followers whose cursor lags by more than their limit
are dropped, so that bound is finite.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from replication import actions as act
from replication import admission
from replication import events as ev
from replication.actions import Action, Log, LogLevel
from replication.backlog import Backlog
from replication.constants import (
    ACK_INTERVAL_MS,
    KEEPALIVE_INTERVAL_MS,
    RESEND_BYTES_MAX,
    SEND_BYTES_MAX,
)
from replication.frames import FrameError, FrameKind, seal
from replication.handover import STREAM_GETACK, Handover, HandoverState
from replication.held_log import Overflow
from replication.history import History
from replication.progress import INFO_STATES, Progress, ProgressState
from replication.settings import LeaderSettings
from replication.snapshot_feed import SnapshotFeed
from replication.wait_list import WaitList

STREAM_PING: Final = b"*1\r\n$4\r\nPING\r\n"


@dataclass(slots=True)
class LeaderStats:
    """Counters for INFO. They only rise."""

    sync_full: int = 0
    sync_partial_ok: int = 0
    sync_partial_err: int = 0
    snapshots_failed: int = 0
    histories_diverged: int = 0
    followers_dropped_for_lag: int = 0
    frames_damaged: int = 0
    resends: int = 0
    """Ranges that followers asked for again, because they came damaged."""
    bytes_resent: int = 0


@dataclass(slots=True)
class Leader:
    """The machine. `new_replid` gives 40 random hexadecimal digits; `wall_offset_ms` added to
    `now_ms` gives wall time, which frames carry."""

    history: History
    backlog: Backlog
    settings: LeaderSettings
    new_replid: Callable[[], str]
    leading: bool = True
    may_serve: Callable[[], bool] = lambda: True
    """Whether followers may take their history from this node; the lease knows."""
    upstream_connected: bool = False
    """For a node that follows: whether its own stream is flowing."""
    wall_offset_ms: int = 0
    followers: dict[int, Progress] = field(default_factory=dict)
    """By link; those in HANDSHAKE included."""
    stats: LeaderStats = field(default_factory=LeaderStats)
    handover: Handover = field(init=False)
    waiters: WaitList = field(init=False)
    feed: SnapshotFeed = field(init=False)
    """The full syncs that it gives."""
    new_overflow: Callable[[], Overflow | None] = lambda: None
    """A place for snapshot chunks that are not to be in memory."""
    pump_wanted: bool = False
    """Whether someone can be sent more, though the stream may not have grown."""
    _actions: list[Action] = field(default_factory=list)
    _pumped_end: int = 0
    _pinged_ms: int | None = None
    _keepalive_ms: int = 0
    _lonely_since_ms: int | None = None

    def __post_init__(self) -> None:
        self.feed = SnapshotFeed(self)
        self.handover = Handover(self)
        self.waiters = WaitList(self)

    # driving

    def receive(self, event: ev.Event, now_ms: int) -> None:
        """Takes one event. Raises `KeyError` for an event that is not this machine's."""
        _HANDLERS[type(event)](self, event, now_ms)

    def append(self, data: bytes, now_ms: int) -> None:
        """Writes to the stream what this node's commands propagated. Needs `active`."""
        self.backlog.append(data, now_ms + self.wall_offset_ms, self.history.epoch)

    def pump(self, now_ms: int) -> None:
        """Sends followers what they have yet to get."""
        self.pump_wanted = False
        if self.waiters.getack_due:
            self.waiters.getack_due = False
            if self.leading and self.handover.state is HandoverState.IDLE:
                self.append(STREAM_GETACK, now_ms)
        slowest: int | None = None
        end = self._pumped_end = self.backlog.end
        for progress in list(self.followers.values()):
            if not progress.attached or progress.state is ProgressState.WAITING:
                continue
            if not self.backlog.start <= progress.sent_position <= end:
                self.drop(progress, "what it was at has been replaced")
                continue
            if progress.streams and (progress.sent_position < end or progress.control):
                self.send_stream(progress, now_ms)
            elif not progress.online:
                self._enforce_output_limit(progress, now_ms)
            if progress.attached and (slowest is None or progress.pin_position < slowest):
                slowest = progress.pin_position
        self.pump_wanted = self.pump_wanted and self._anyone_can_be_sent()
        if self.backlog.pinned_position != slowest:
            self.backlog.pinned_position = slowest
            self.backlog.trim()

    def tick(self, now_ms: int) -> None:
        """Does what is due by the clock. Ten times a second is often enough."""
        self._tick_stream(now_ms)
        self._tick_followers(now_ms)
        self.waiters.tick(now_ms)
        self.handover.tick(now_ms)
        self.feed.tick(now_ms)
        self._tick_backlog(now_ms)

    def take_actions(self) -> list[Action]:
        """Hands over what is to be done, in order, and forgets it."""
        taken = self._actions
        self._actions = []
        return taken

    # what others ask

    @property
    def needs_pump(self) -> bool:
        """Whether the stream has grown, through whichever machine, or someone can take more."""
        return self.pump_wanted or self.backlog.end != self._pumped_end

    @property
    def active(self) -> bool:
        """Whether the stream is kept at all: it is from the first follower on."""
        return self.backlog.active

    @property
    def attached(self) -> list[Progress]:
        """Followers whose PSYNC or SYNC was accepted, oldest first."""
        return [p for p in self.followers.values() if p.attached]

    def good_count(self, now_ms: int) -> int:
        """Followers online and heard of within `min-replicas-max-lag`."""
        lag_max_ms = self.settings.min_followers_lag_max_ms
        return sum(
            1
            for p in self.followers.values()
            if p.online and not p.rewinding and now_ms - p.heard_ms <= lag_max_ms
        )

    def enough_good(self, now_ms: int) -> bool:
        """Whether writes are allowed by `min-replicas-to-write`."""
        wanted = self.settings.min_followers
        if wanted == 0 or self.settings.min_followers_lag_max_ms == 0:
            return True
        return self.good_count(now_ms) >= wanted

    def acked_count(self, position: int) -> int:
        """Followers that acknowledged `position`."""
        return sum(1 for p in self.followers.values() if p.online and p.acked_position >= position)

    def lag_bytes(self, progress: Progress, now_ms: int) -> int:
        """Stream bytes that a follower had yet to apply when it was last heard of; all that it has
        not acknowledged, where that is longer ago than it should be."""
        if not self._is_silent(progress, now_ms):
            return progress.lag_bytes
        return self.backlog.end - progress.acked_position

    def lag_ms(self, progress: Progress, now_ms: int) -> int:
        """Age of the oldest of these bytes, likewise: from the write here to the apply there and
        the way of the acknowledgement, by this clock alone."""
        if not self._is_silent(progress, now_ms):
            return progress.lag_ms
        return self._unacked_age_ms(progress, now_ms)

    def _is_silent(self, progress: Progress, now_ms: int) -> bool:
        return not progress.online or now_ms - progress.heard_ms > 2 * ACK_INTERVAL_MS

    def _unacked_age_ms(self, progress: Progress, now_ms: int) -> int:
        written_ms = self.backlog.timestamp_ms_at(progress.acked_position)
        if written_ms is None:
            return 0
        return max(0, now_ms + self.wall_offset_ms - written_ms)

    # changes of role

    def promote(self, now_ms: int) -> None:
        """Leads from here on, under a new id that continues the old one (REPLICAOF NO ONE)."""
        self.leading = True
        self.history.shift(self.new_replid(), self.backlog.end)
        self.do(act.RecordHistory(), act.ForceSelect())
        self.drop_all("the replication id has changed")
        self._pinged_ms = now_ms

    def demote(self) -> None:
        """Follows from here on. Followers stay; they are dropped if the id changes."""
        self.leading = False
        self.upstream_connected = False
        self.backlog.active = True
        self.waiters.give_up()

    def give_up_pass(self, reason: str) -> None:
        """Ends a full sync that still reads data not worth sending any more."""
        self.feed.give_up(reason)

    def drop_all(self, reason: str) -> None:
        """Closes every attached link; they come back and ask where they can go on."""
        for progress in self.attached:
            self.drop(progress, reason)

    # stream

    def send_control(self, link: int, body: bytes) -> None:
        """Sends a VERIFY frame at the present end of the stream, neither before nor after it."""
        progress = self.followers.get(link)
        if progress is not None and progress.framed and progress.online:
            progress.control.append((self.backlog.end, body))
            self.pump_wanted = True

    def _send_control(self, progress: Progress, now_ms: int) -> int:
        """Sends what is due; returns how many bytes of stream may go before the next is."""
        while progress.control and progress.control[0][0] <= progress.sent_position:
            position, body = progress.control.popleft()
            wall_ms = now_ms + self.wall_offset_ms
            sealed = seal(FrameKind.VERIFY, self.history.epoch, position, wall_ms, 0, body)
            self.send(progress, sealed, now_ms)
        if not progress.control:
            return SEND_BYTES_MAX
        return min(SEND_BYTES_MAX, progress.control[0][0] - progress.sent_position)

    def send_stream(self, progress: Progress, now_ms: int) -> None:
        """Sends what the follower has yet to get, as much as goes at once."""
        if progress.paused_since_ms is not None or progress.stream_on_ack:
            self._enforce_output_limit(progress, now_ms)
            return
        bytes_max = SEND_BYTES_MAX
        if progress.control:
            bytes_max = self._send_control(progress, now_ms)
        read = self.backlog.read_frames if progress.framed else self.backlog.read
        try:
            data, position = read(progress.sent_position, bytes_max)
        except FrameError as error:
            self.stats.frames_damaged += 1
            self.drop(progress, f"the backlog is damaged: {error}")
            return
        progress.sent_position = position
        progress.over_soft_limit_since_ms = None
        self.send(progress, data, now_ms)
        if position < self.backlog.end or progress.control:
            self.pump_wanted = True

    def _enforce_output_limit(self, progress: Progress, now_ms: int) -> None:
        """`client-output-buffer-limit replica`, measured in stream bytes yet to be sent."""
        behind = self.backlog.end - progress.sent_position
        settings = self.settings
        hard, soft = settings.output_limit_hard_bytes, settings.output_limit_soft_bytes
        if hard and behind > hard:
            self._drop_for_lag(progress, behind)
        elif soft and behind > soft:
            if progress.over_soft_limit_since_ms is None:
                progress.over_soft_limit_since_ms = now_ms
            elif now_ms - progress.over_soft_limit_since_ms > settings.output_limit_soft_ms:
                self._drop_for_lag(progress, behind)
        else:
            progress.over_soft_limit_since_ms = None

    def _drop_for_lag(self, progress: Progress, behind: int) -> None:
        self.stats.followers_dropped_for_lag += 1
        self.drop(progress, f"overcoming of output buffer limits: {behind} bytes behind the stream")

    def _on_ack(self, event: ev.AckReceived, now_ms: int) -> None:
        progress = self.followers.get(event.link)
        if progress is None or not progress.attached:
            return
        progress.heard_ms = now_ms
        if event.position <= self.backlog.end:
            self.feed.on_ack(progress, now_ms)
        if event.position > self.backlog.end or not progress.online:
            return
        if not self._same_history(progress, event):
            self.stats.histories_diverged += 1
            self.drop(progress, f"its history has diverged at offset {event.position}")
            return
        progress.acked_position = max(progress.acked_position, event.position)
        progress.rewinding &= event.position == 0
        progress.lag_bytes = self.backlog.end - progress.acked_position
        progress.lag_ms = self._unacked_age_ms(progress, now_ms)
        if event.log_position is not None:
            progress.logged_position = max(progress.logged_position, event.log_position)
        if progress.stream_on_ack:
            progress.stream_on_ack = False
            self.pump_wanted = True
        self.waiters.acknowledged()
        self.handover.give_if_drained()

    def _on_resend(self, event: ev.ResendReceived, now_ms: int) -> None:
        """Sends a range again, out of order: the follower knows it by its positions."""
        progress = self.followers.get(event.link)
        if progress is None or not progress.framed or not progress.streams:
            return
        progress.heard_ms = now_ms
        sent = progress.sent_position
        start, end = event.start, sent if event.end < 0 else min(event.end, sent)
        if not self.backlog.start <= start < end:
            if start < self.backlog.start:
                self.drop(progress, "what it asks for again is no longer in the backlog")
            return
        try:
            data = self.backlog.read_verified(start, min(end, start + RESEND_BYTES_MAX))
        except FrameError as error:
            self.stats.frames_damaged += 1
            self.drop(progress, f"the backlog is damaged: {error}")
            return
        self.stats.resends += 1
        self.stats.bytes_resent += len(data)
        self.log(
            LogLevel.WARNING,
            f"Replica {progress.name} got damaged bytes: sending {start} to {end} again",
        )
        self.send(progress, data, now_ms)

    def _same_history(self, progress: Progress, event: ev.AckReceived) -> bool:
        if event.checksum is None or not progress.framed:
            return True
        if not self.backlog.covers(event.position):
            return True
        return self.backlog.checksum_at(event.position) == event.checksum

    def _on_keepalive(self, event: ev.KeepaliveReceived, now_ms: int) -> None:
        progress = self.followers.get(event.link)
        if progress is not None:
            progress.heard_ms = now_ms

    def _on_paused(self, event: ev.LinkPaused, now_ms: int) -> None:
        progress = self.followers.get(event.link)
        if progress is not None and progress.paused_since_ms is None:
            progress.paused_since_ms = now_ms

    def _on_resumed(self, event: ev.LinkResumed, now_ms: int) -> None:
        progress = self.followers.get(event.link)
        if progress is None:
            return
        progress.paused_since_ms = None
        self.pump_wanted = True
        self.feed.on_open(progress, now_ms)

    def _on_closed(self, event: ev.LinkClosed, now_ms: int) -> None:
        progress = self.followers.get(event.link)
        if progress is not None:
            was_attached = progress.attached
            self._forget(progress)
            if was_attached:
                self.log(LogLevel.NOTICE, f"Connection with replica {progress.name} lost.")

    # by the clock

    def _tick_stream(self, now_ms: int) -> None:
        if self._pinged_ms is None or not self.leading or not self.attached:
            self._pinged_ms = now_ms
            return
        if self.handover.state is not HandoverState.IDLE:
            return
        if now_ms - self._pinged_ms >= self.settings.ping_period_ms:
            self._pinged_ms = now_ms
            self.append(STREAM_PING, now_ms)

    def _tick_followers(self, now_ms: int) -> None:
        keepalive = now_ms - self._keepalive_ms >= KEEPALIVE_INTERVAL_MS
        if keepalive:
            self._keepalive_ms = now_ms
        for progress in self.attached:
            if keepalive:
                self.feed.keep_alive(progress, now_ms)
            if progress.online:
                if progress.paused_since_ms is not None or progress.stream_on_ack:
                    self._enforce_output_limit(progress, now_ms)
                silent_ms = now_ms - progress.heard_ms
                if progress.acknowledges and silent_ms > self.settings.timeout_ms:
                    self._drop_timed_out(progress, "streaming sync")
            elif progress.state is ProgressState.SNAPSHOT:
                quiet_ms = progress.heard_ms if progress.interleaves else progress.paused_since_ms
                if quiet_ms is not None and now_ms - quiet_ms > self.settings.timeout_ms:
                    self._drop_timed_out(progress, "full sync")

    def _drop_timed_out(self, progress: Progress, phase: str) -> None:
        self.log(LogLevel.WARNING, f"Disconnecting timedout replica ({phase}): {progress.name}")
        self.drop(progress, "timed out")

    def _tick_backlog(self, now_ms: int) -> None:
        """Frees a backlog nobody reads. The stream stops being counted then, so the id changes."""
        ttl_ms = self.settings.backlog_ttl_ms
        if self.attached or not (self.leading and self.backlog.active and ttl_ms):
            self._lonely_since_ms = None
            return
        if self._lonely_since_ms is None:
            self._lonely_since_ms = now_ms
        if now_ms - self._lonely_since_ms <= ttl_ms:
            return
        self.history.restart(self.new_replid())
        self.backlog.reset(self.backlog.end)
        self.backlog.active = False
        self._lonely_since_ms = None
        self.do(act.RecordHistory())
        self.log(
            LogLevel.NOTICE,
            f"Replication backlog freed after {ttl_ms // 1000} seconds without connected replicas.",
        )

    # common

    def progress_of(self, link: int) -> Progress:
        """What is known of the peer on this link; nothing yet, perhaps."""
        return self.followers.setdefault(link, Progress(link))

    def send(self, progress: Progress, data: bytes, now_ms: int) -> None:
        """Has bytes written to a follower's link."""
        if data:
            progress.sent_ms = now_ms
            self._actions.append(act.Send(progress.link, data))

    def drop(self, progress: Progress, reason: str, *, flush: bool = False) -> None:
        """Closes a follower's link; it comes back and asks where it can go on."""
        self._forget(progress)
        self.do(act.CloseLink(progress.link, reason, flush))

    def _forget(self, progress: Progress) -> None:
        progress.become(ProgressState.GONE)
        self.pump_wanted = True
        del self.followers[progress.link]
        self.feed.forget(progress)

    def _anyone_can_be_sent(self) -> bool:
        end = self.backlog.end
        return any(
            p.streams and (p.sent_position < end or bool(p.control)) and p.paused_since_ms is None
            for p in self.followers.values()
        )

    def do(self, *wanted: Action) -> None:
        """Asks the shell for actions, in this order."""
        self._actions.extend(wanted)

    def log(self, level: LogLevel, text: str) -> None:
        """Has a line logged."""
        self._actions.append(Log(level, text))

    def invariants(self) -> None:
        """Raises `AssertionError` where the machine contradicts itself."""
        self.history.invariants()
        end, start = self.backlog.end, self.backlog.start
        for link, progress in self.followers.items():
            assert link == progress.link
            progress.invariants()
            if progress.state in (ProgressState.SNAPSHOT, ProgressState.STREAM):
                assert start <= progress.sent_position <= end
                assert progress.acked_position <= end
        self.feed.invariants()
        if not self.leading:
            assert self.handover.state is not HandoverState.DRAINING


_HANDLERS: Final[dict[type[ev.Event], Callable[[Leader, Any, int], None]]] = {
    ev.ReplconfReceived: admission.on_replconf,
    ev.PsyncReceived: admission.on_psync,
    ev.SyncReceived: admission.on_sync,
    ev.AckReceived: Leader._on_ack,
    ev.ResendReceived: Leader._on_resend,
    ev.KeepaliveReceived: Leader._on_keepalive,
    ev.LinkPaused: Leader._on_paused,
    ev.LinkResumed: Leader._on_resumed,
    ev.LinkClosed: Leader._on_closed,
    ev.SnapshotSpooled: lambda leader, *told: leader.feed.on_spooled(*told),
    ev.SnapshotChunk: lambda leader, *told: leader.feed.on_chunk(*told),
    ev.SnapshotFinished: lambda leader, *told: leader.feed.on_finished(*told),
    ev.SnapshotFailed: lambda leader, *told: leader.feed.on_failed(*told),
    ev.FeedDue: lambda leader, *told: leader.feed.on_due(*told),
    ev.SyncedReceived: lambda leader, *told: leader.feed.on_synced(*told),
    ev.ResendSnapshotReceived: lambda leader, *told: leader.feed.on_resend(*told),
    ev.WaitStarted: lambda leader, *told: leader.waiters.on_wait(*told),
    ev.WaitCancelled: lambda leader, *told: leader.waiters.on_cancelled(*told),
    ev.AcksWanted: lambda leader, *told: leader.waiters.on_acks_wanted(*told),
    ev.FailoverRequested: lambda leader, *told: leader.handover.on_requested(*told),
    ev.FailoverAborted: lambda leader, *told: leader.handover.on_aborted(*told),
    ev.HandoverEnded: lambda leader, *told: leader.handover.on_ended(*told),
}

__all__ = ["INFO_STATES", "STREAM_GETACK", "STREAM_PING", "Leader", "LeaderStats"]
