"""The serving side of replication: one stream, many followers.

The problem: followers come and go at their own pace and must each get every byte once, while the
node's own clients wait for nobody. The idea: the stream is written once into the shared backlog;
a follower is a cursor (`progress.py`) that is moved when there is something to send and its socket
takes it. Who cannot be continued is given the data set first (`full_sync.py`).

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
from replication import events as ev
from replication.actions import GONE, RESUMES, SELECTS, Action, Log, LogLevel
from replication.backlog import Backlog
from replication.checksum import crc32c
from replication.constants import (
    ACK_INTERVAL_MS,
    EPOCH_MAX,
    FRAMES_VERSION,
    KEEPALIVE_INTERVAL_MS,
    MEMBER_ID_BYTES_MAX,
    RESEND_BYTES_MAX,
    SEND_BYTES_MAX,
)
from replication.forks import common_point, decode_lineage
from replication.frames import FrameError, FrameKind, seal
from replication.handover import Handover, HandoverState
from replication.held_log import Overflow
from replication.history import History, HistoryMark
from replication.progress import INFO_STATES, Progress, ProgressState
from replication.settings import LeaderSettings
from replication.snapshot_feed import SnapshotFeed

STREAM_PING: Final = b"*1\r\n$4\r\nPING\r\n"
STREAM_GETACK: Final = b"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n"

OK: Final = b"+OK\r\n"
OK_FRAMES: Final = b"+OK frames %d\r\n" % FRAMES_VERSION
OK_INTERLEAVED: Final = b"+OK frames %d interleaved\r\n" % FRAMES_VERSION


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
class _Waiter:
    position: int
    count: int
    deadline_ms: int | None


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
    handover: Handover = field(default_factory=Handover)
    feed: SnapshotFeed = field(init=False)
    """The full syncs that it gives."""
    new_overflow: Callable[[], Overflow | None] = lambda: None
    """A place for snapshot chunks that are not to be in memory."""
    _actions: list[Action] = field(default_factory=list)
    _waiters: dict[int, _Waiter] = field(default_factory=dict)
    _getack_due: bool = False
    _pump_wanted: bool = False
    _pumped_end: int = 0
    _asked_position: int = -1
    _pinged_ms: int | None = None
    _keepalive_ms: int = 0
    _lonely_since_ms: int | None = None

    def __post_init__(self) -> None:
        self.feed = SnapshotFeed(self)

    # driving

    def receive(self, event: ev.Event, now_ms: int) -> None:
        """Takes one event. Raises `KeyError` for an event that is not this machine's."""
        _HANDLERS[type(event)](self, event, now_ms)

    def append(self, data: bytes, now_ms: int) -> None:
        """Writes to the stream what this node's commands propagated. Needs `active`."""
        self.backlog.append(data, now_ms + self.wall_offset_ms, self.history.epoch)

    def pump(self, now_ms: int) -> None:
        """Sends followers what they have yet to get."""
        self._pump_wanted = False
        if self._getack_due:
            self._getack_due = False
            if self.leading and self.handover.state is HandoverState.IDLE:
                self.append(STREAM_GETACK, now_ms)
        slowest: int | None = None
        end = self._pumped_end = self.backlog.end
        for progress in list(self.followers.values()):
            if not progress.attached or _is_waiting(progress):
                continue
            if not self.backlog.start <= progress.sent_position <= end:
                self._drop(progress, "what it was at has been replaced")
                continue
            if progress.streams and (progress.sent_position < end or progress.control):
                self._send_stream(progress, now_ms)
            elif not progress.online:
                self._enforce_output_limit(progress, now_ms)
            if progress.attached and (slowest is None or progress.pin_position < slowest):
                slowest = progress.pin_position
        self._pump_wanted = self._pump_wanted and self._anyone_can_be_sent()
        if self.backlog.pinned_position != slowest:
            self.backlog.pinned_position = slowest
            self.backlog.trim()

    def tick(self, now_ms: int) -> None:
        """Does what is due by the clock. Ten times a second is often enough."""
        self._tick_stream(now_ms)
        self._tick_followers(now_ms)
        self._tick_waiters(now_ms)
        self._tick_handover(now_ms)
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
        return self._pump_wanted or self.backlog.end != self._pumped_end

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

    def failover_refusal(self, event: ev.FailoverRequested) -> str | None:
        """Redis's error text for a `FAILOVER` that cannot begin, or None."""
        if self.handover.state is not HandoverState.IDLE:
            return "FAILOVER already in progress."
        if not self.leading:
            return "FAILOVER is not valid when server is a replica."
        if not self.attached:
            return "FAILOVER requires connected replicas."
        if event.force and (event.target is None or event.timeout_ms is None):
            return "FAILOVER with force option requires both a timeout and target HOST and IP."
        if event.target is not None:
            found = self._find(event.target)
            if found is None:
                return "FAILOVER target HOST and PORT is not a replica."
            if not found.online:
                return "FAILOVER target replica is not online."
        return None

    # changes of role

    def promote(self, now_ms: int) -> None:
        """Leads from here on, under a new id that continues the old one (REPLICAOF NO ONE)."""
        self.leading = True
        self.history.shift(self.new_replid(), self.backlog.end)
        self._do(act.RecordHistory(), act.ForceSelect())
        self.drop_all("the replication id has changed")
        self._pinged_ms = now_ms

    def demote(self) -> None:
        """Follows from here on. Followers stay; they are dropped if the id changes."""
        self.leading = False
        self.upstream_connected = False
        self.backlog.active = True
        for waiter in list(self._waiters):
            self._finish_waiter(waiter)

    def give_up_pass(self, reason: str) -> None:
        """Ends a full sync that still reads data not worth sending any more."""
        self.feed.give_up(reason)

    def drop_all(self, reason: str) -> None:
        """Closes every attached link; they come back and ask where they can go on."""
        for progress in self.attached:
            self._drop(progress, reason)

    # handshake

    def _on_replconf(self, event: ev.ReplconfReceived, now_ms: int) -> None:
        progress = self._progress(event.link)
        progress.heard_ms = now_ms
        reply = OK
        for name, value in event.options:
            error = self._take_option(progress, name.lower(), value)
            if error is not None:
                self._do(act.Reply(event.link, b"-ERR %s\r\n" % error))
                return
            if name.lower() == b"capa" and value.lower() == b"frames":
                reply = OK_FRAMES
        if reply is OK_FRAMES and progress.interleaves:
            reply = OK_INTERLEAVED
        self._do(act.Reply(event.link, reply))

    def _take_option(self, progress: Progress, name: bytes, value: bytes) -> bytes | None:
        if name == b"capa":
            capability = value.lower()
            progress.can_eof |= capability == b"eof"
            progress.can_psync2 |= capability == b"psync2"
            progress.interleaves |= capability == b"interleaved"
            return None
        if name == b"ip-address":
            if len(value) > 255:
                return b"REPLCONF ip-address provided by replica instance is too long: %d bytes" % (
                    len(value)
                )
            progress.announced_ip = value.decode("latin-1")
            return None
        if name == b"member":
            progress.member = value[:MEMBER_ID_BYTES_MAX].decode("latin-1")
            return None
        if name == b"lineage":
            lineage = decode_lineage(value)
            progress.lineage = lineage or ()
            return None if lineage is not None else b"malformed lineage"
        if name == b"rdb-filter-only":
            return _take_parts(progress, value)
        if name == b"version":
            progress.options[name.decode()] = value.decode("latin-1")
            return None
        if name not in _NUMBER_OPTIONS:
            return b"Unrecognized REPLCONF option: %s" % name[:128]
        number = _number(value, 16 if name == b"history" else 10)
        if number is None:
            return b"value is not an integer or out of range"
        if name == b"listening-port":
            progress.listening_port = number
        elif name == b"rdb-only":
            progress.snapshot_only = number == 1
        else:
            _take_frames_option(progress, name, number)
        return None

    def _on_sync(self, event: ev.SyncReceived, now_ms: int) -> None:
        progress = self._progress(event.link)
        if progress.attached or self._refused_for_now(progress):
            return
        progress.address = event.address
        progress.acknowledges = False
        self._log(LogLevel.NOTICE, f"Replica {_name(progress)} asks for synchronization")
        self.feed.queue(progress, now_ms)

    def _on_psync(self, event: ev.PsyncReceived, now_ms: int) -> None:
        progress = self._progress(event.link)
        if progress.attached:
            return
        progress.address = event.address
        if event.failover and not self._take_over(event, now_ms):
            return
        if self._refused_for_now(progress):
            return
        self._log(LogLevel.NOTICE, f"Replica {_name(progress)} asks for synchronization")
        refusal = self._resume_refusal(progress, event)
        if refusal is None:
            self._resume(progress, event.wanted - 1, now_ms)
            return
        if self._tell_fork(progress, event):
            return
        if event.replid != "?":
            self.stats.sync_partial_err += 1
            self._log(LogLevel.NOTICE, f"Partial resynchronization not accepted: {refusal}")
        else:
            self._log(LogLevel.NOTICE, f"Full resync requested by replica {_name(progress)}")
        self.feed.queue(progress, now_ms)

    def _take_over(self, event: ev.PsyncReceived, now_ms: int) -> bool:
        """Answers the FAILOVER request of our leader; True if we lead now."""
        error = None
        history = self.history
        handed = event.replid == history.replid2 and event.wanted - 1 == history.replid2_position
        if self.leading and handed:
            return True  # sentinels were quicker: we lead already, from this very position on
        if self.leading:
            error = b"-ERR PSYNC FAILOVER can't be sent to a master.\r\n"
        elif event.replid != self.history.replid:
            error = b"-ERR PSYNC FAILOVER replid must match my replid.\r\n"
        if error is not None:
            self._do(act.Reply(event.link, error))
            return False
        self._log(LogLevel.WARNING, "Failover request received for replid " + event.replid)
        self._do(act.Promote())
        self.promote(now_ms)
        return True

    def _refused_for_now(self, progress: Progress) -> bool:
        reason = None
        if self.handover.state is not HandoverState.IDLE:
            reason = b"Can't SYNC while failing over"
        elif not self.leading and not self.upstream_connected:
            reason = b"Can't SYNC while not connected with my master"
        elif not self.may_serve():
            reason = b"Can't SYNC: sentinels have not confirmed this node's history"
        elif progress.epoch > self.history.epoch:
            reason = b"Can't SYNC: my epoch is behind yours"
            self._do(act.YieldTo(progress.epoch))
        if reason is None:
            return False
        self._do(act.Reply(progress.link, b"-NOMASTERLINK %s\r\n" % reason))
        return True

    def _resume_refusal(self, progress: Progress, event: ev.PsyncReceived) -> str | None:
        position = event.wanted - 1
        if event.replid == "?":
            return "no history"
        refusal = self.history.refusal_of_id(event.replid, position)
        if refusal is not None:
            return refusal
        if not self.backlog.covers(position):
            return (
                f"Unable to partial resync with replica {_name(progress)} for lack of backlog"
                f" (Replica request was: {event.wanted})."
            )
        damage = self.backlog.forget_if_damaged(position)
        if damage is not None:
            self.stats.frames_damaged += 1
            for other in self.attached:
                if other.sent_position < self.backlog.start and not _is_waiting(other):
                    self._drop(other, "the backlog is damaged")
            return f"the backlog is damaged: {damage}"
        mark = progress.mark
        if progress.framed and mark is not None and mark.base == self.backlog.base:
            ours = self.backlog.checksum_at(position)
            if ours != mark.checksum:
                self.stats.histories_diverged += 1
                return (
                    f"the replica's history has diverged: at offset {position} its checksum is"
                    f" {mark.checksum:016x} and ours {ours:016x}"
                )
        return None

    def _tell_fork(self, progress: Progress, event: ev.PsyncReceived) -> bool:
        """Tells a peer that cannot resume where its history leaves ours, once a link: it may rewind
        to there and ask again, and knows what would be lost otherwise."""
        point = common_point(self.history.lineage(self.backlog.end), progress.lineage)
        if point is None or progress.fork_told or not progress.framed or event.replid == "?":
            return False
        replid, position = point
        covered = self.backlog.covers(position)
        if position == event.wanted - 1 and (not covered or replid == event.replid):
            return False  # it has written nothing of its own, so only a full sync helps
        how = GONE
        if covered and self.backlog.forget_if_damaged(position) is None:
            ours = dict(self.history.lineage(self.backlog.end))
            begins = replid != self.history.replid and ours[replid] == position
            how = SELECTS if begins else RESUMES
        progress.fork_told = True
        line = f"+FORK {replid} {position} {how}"
        at = self.backlog.end if how == GONE else position
        self._do(act.Reply(progress.link, self._reply_line(progress, line, at)))
        self._log(
            LogLevel.NOTICE,
            f"Replica {_name(progress)} has a history of its own from offset {position + 1} on;"
            f" it is told so",
        )
        return True

    def _resume(self, progress: Progress, position: int, now_ms: int) -> None:
        line = f"+CONTINUE {self.history.replid}" if progress.can_psync2 else "+CONTINUE"
        self._do(act.Reply(progress.link, self._reply_line(progress, line, position)))
        progress.become(ProgressState.STREAM)
        progress.sent_position = position
        progress.acked_position = 0 if progress.rewinding else position
        progress.heard_ms = progress.sent_ms = now_ms
        self.stats.sync_partial_ok += 1
        self._pump_wanted = True
        pending = self.backlog.end - position
        self._log(
            LogLevel.NOTICE,
            f"Partial resynchronization request from {_name(progress)} accepted."
            f" Sending {pending} bytes of backlog starting from offset {position + 1}.",
        )

    def _reply_line(self, progress: Progress, line: str, position: int) -> bytes:
        if progress.framed:
            mark = self.backlog.mark_at(position)
            line += (
                f" FRAMES {FRAMES_VERSION} {self.history.epoch} {mark.checksum:016x} {mark.base}"
            )
            line += f" {crc32c(line.encode()):08x}"
        return line.encode() + b"\r\n"

    # stream

    def send_control(self, link: int, body: bytes) -> None:
        """Sends a VERIFY frame at the present end of the stream, neither before nor after it."""
        progress = self.followers.get(link)
        if progress is not None and progress.framed and progress.online:
            progress.control.append((self.backlog.end, body))
            self._pump_wanted = True

    def _send_control(self, progress: Progress, now_ms: int) -> int:
        """Sends what is due; returns how many bytes of stream may go before the next is."""
        while progress.control and progress.control[0][0] <= progress.sent_position:
            position, body = progress.control.popleft()
            wall_ms = now_ms + self.wall_offset_ms
            sealed = seal(FrameKind.VERIFY, self.history.epoch, position, wall_ms, 0, body)
            self._send(progress, sealed, now_ms)
        if not progress.control:
            return SEND_BYTES_MAX
        return min(SEND_BYTES_MAX, progress.control[0][0] - progress.sent_position)

    def _send_stream(self, progress: Progress, now_ms: int) -> None:
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
            self._drop(progress, f"the backlog is damaged: {error}")
            return
        progress.sent_position = position
        progress.over_soft_limit_since_ms = None
        self._send(progress, data, now_ms)
        if position < self.backlog.end or progress.control:
            self._pump_wanted = True

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
        self._drop(
            progress, f"overcoming of output buffer limits: {behind} bytes behind the stream"
        )

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
            self._drop(progress, f"its history has diverged at offset {event.position}")
            return
        progress.acked_position = max(progress.acked_position, event.position)
        progress.rewinding &= event.position == 0
        progress.lag_bytes = self.backlog.end - progress.acked_position
        progress.lag_ms = self._unacked_age_ms(progress, now_ms)
        if event.log_position is not None:
            progress.logged_position = max(progress.logged_position, event.log_position)
        if progress.stream_on_ack:
            progress.stream_on_ack = False
            self._pump_wanted = True
        for waiter, waiting in list(self._waiters.items()):
            if self.acked_count(waiting.position) >= waiting.count:
                self._finish_waiter(waiter)
        self._hand_over_if_drained()

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
                self._drop(progress, "what it asks for again is no longer in the backlog")
            return
        try:
            data = self.backlog.read_verified(start, min(end, start + RESEND_BYTES_MAX))
        except FrameError as error:
            self.stats.frames_damaged += 1
            self._drop(progress, f"the backlog is damaged: {error}")
            return
        self.stats.resends += 1
        self.stats.bytes_resent += len(data)
        self._log(
            LogLevel.WARNING,
            f"Replica {_name(progress)} got damaged bytes: sending {start} to {end} again",
        )
        self._send(progress, data, now_ms)

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
        self._pump_wanted = True
        self.feed.on_open(progress, now_ms)

    def _on_closed(self, event: ev.LinkClosed, now_ms: int) -> None:
        progress = self.followers.get(event.link)
        if progress is not None:
            was_attached = progress.attached
            self._forget(progress)
            if was_attached:
                self._log(LogLevel.NOTICE, f"Connection with replica {_name(progress)} lost.")

    # waiting clients

    def _on_wait(self, event: ev.WaitStarted, now_ms: int) -> None:
        acked = self.acked_count(event.position)
        if acked >= event.count:
            self._do(act.WaitDone(event.waiter, acked))
            return
        self._waiters[event.waiter] = _Waiter(event.position, event.count, event.deadline_ms)
        if self.backlog.active:
            self._getack_due = True
            self._pump_wanted = True

    def _on_wait_cancelled(self, event: ev.WaitCancelled, now_ms: int) -> None:
        self._waiters.pop(event.waiter, None)

    def _on_acks_wanted(self, event: ev.AcksWanted, now_ms: int) -> None:
        """Asks once: an answer of one of ours covers the asking too."""
        if self.leading and self.backlog.active and self._asked_position != self.backlog.end:
            self._getack_due = True
            self.pump(now_ms)
            self._asked_position = self.backlog.end

    def _finish_waiter(self, waiter: int) -> None:
        waiting = self._waiters.pop(waiter)
        self._do(act.WaitDone(waiter, self.acked_count(waiting.position)))

    # handover

    def _on_failover(self, event: ev.FailoverRequested, now_ms: int) -> None:
        assert self.failover_refusal(event) is None
        handover = self.handover
        handover.become(HandoverState.DRAINING)
        handover.target = event.target
        handover.force = event.force
        if event.timeout_ms is not None:
            handover.deadline_ms = now_ms + event.timeout_ms
        to = "" if event.target is None else f" to {event.target[0]}:{event.target[1]}"
        self._log(LogLevel.NOTICE, f"FAILOVER requested{to}.")
        self._do(act.PauseWrites())
        self.append(STREAM_GETACK, now_ms)
        handover.end_position = self.backlog.end

    def _on_failover_aborted(self, event: ev.FailoverAborted, now_ms: int) -> None:
        if self.handover.state is not HandoverState.IDLE:
            self._abort_handover("Failover manually aborted")

    def _hand_over_if_drained(self) -> None:
        handover = self.handover
        if handover.state is not HandoverState.DRAINING:
            return
        for progress in self.attached:
            if handover.target is not None and not _is_at(progress, handover.target):
                continue
            if progress.online and progress.acked_position == handover.end_position:
                host, port = progress.host, progress.listening_port
                self._log(
                    LogLevel.NOTICE, f"Failover target {host}:{port} is synced, failing over."
                )
                self._hand_over(host, port)
                return

    def _hand_over(self, host: str, port: int) -> None:
        self.handover.become(HandoverState.ASKING)
        self.handover.deadline_ms = None
        self._do(act.HandOver(host, port))

    def _tick_handover(self, now_ms: int) -> None:
        handover = self.handover
        if handover.state is not HandoverState.DRAINING:
            return
        if handover.deadline_ms is None or now_ms < handover.deadline_ms:
            return
        if handover.force:
            assert handover.target is not None
            host, port = handover.target
            self._log(
                LogLevel.NOTICE,
                f"Failover to {host}:{port} time out exceeded, failing over.",
            )
            self._hand_over(host, port)
        else:
            self._abort_handover("Replica never caught up before timeout")

    def _abort_handover(self, reason: str) -> None:
        was_asking = self.handover.state is HandoverState.ASKING
        self._log(LogLevel.NOTICE, f"Aborting failover: {reason}")
        self.handover.clear()
        if was_asking:
            self._do(act.TakeBack())
        self._do(act.ResumeWrites())

    def _on_handover_ended(self, event: ev.HandoverEnded, now_ms: int) -> None:
        if self.handover.state is not HandoverState.ASKING:
            return
        if event.accepted:
            self.handover.clear()
            self._do(act.ResumeWrites())
        else:
            self._abort_handover(event.reason)

    def _find(self, target: tuple[str, int]) -> Progress | None:
        return next((p for p in self.attached if _is_at(p, target)), None)

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
        self._log(LogLevel.WARNING, f"Disconnecting timedout replica ({phase}): {_name(progress)}")
        self._drop(progress, "timed out")

    def _tick_waiters(self, now_ms: int) -> None:
        for waiter, waiting in list(self._waiters.items()):
            if waiting.deadline_ms is not None and now_ms >= waiting.deadline_ms:
                self._finish_waiter(waiter)

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
        self._do(act.RecordHistory())
        self._log(
            LogLevel.NOTICE,
            f"Replication backlog freed after {ttl_ms // 1000} seconds without connected replicas.",
        )

    # common

    def _progress(self, link: int) -> Progress:
        return self.followers.setdefault(link, Progress(link))

    def _send(self, progress: Progress, data: bytes, now_ms: int) -> None:
        if data:
            progress.sent_ms = now_ms
            self._actions.append(act.Send(progress.link, data))

    def _drop(self, progress: Progress, reason: str, *, flush: bool = False) -> None:
        self._forget(progress)
        self._do(act.CloseLink(progress.link, reason, flush))

    def _forget(self, progress: Progress) -> None:
        progress.become(ProgressState.GONE)
        self._pump_wanted = True
        del self.followers[progress.link]
        self.feed.forget(progress)

    def _anyone_can_be_sent(self) -> bool:
        end = self.backlog.end
        return any(
            p.streams and (p.sent_position < end or bool(p.control)) and p.paused_since_ms is None
            for p in self.followers.values()
        )

    def _do(self, *wanted: Action) -> None:
        self._actions.extend(wanted)

    def _log(self, level: LogLevel, text: str) -> None:
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


def _is_at(progress: Progress, target: tuple[str, int]) -> bool:
    host, port = target
    return host in (progress.host, progress.address) and port == progress.listening_port


def _is_waiting(progress: Progress) -> bool:
    return progress.state is ProgressState.WAITING


def _name(progress: Progress) -> str:
    return f"{progress.host}:{progress.listening_port}"


def _number(text: bytes, base: int) -> int | None:
    """A number as a peer may write it, or None: digits only, and not beyond 64 bits."""
    digits = b"0123456789abcdef"[:base]
    if not 0 < len(text) <= 20 or text.strip(digits):
        return None
    number = int(text, base)
    return number if number < 1 << 64 else None


def _take_parts(progress: Progress, value: bytes) -> bytes | None:
    """`REPLCONF rdb-filter-only "part ..."`: of all parts, these alone; the error, if any."""
    parts = act.SnapshotParts.NOTHING
    for word in value.split():
        if word.lower() != b"functions":
            return b"Unsupported rdb-filter-only option: %s" % word[:128]
        parts |= act.SnapshotParts.FUNCTIONS
    progress.parts = parts
    return None


_NUMBER_OPTIONS: Final = frozenset(
    {b"listening-port", b"rdb-only", b"frames", b"epoch", b"history", b"base", b"rewinding"}
)


def _take_frames_option(progress: Progress, name: bytes, number: int) -> None:
    """`REPLCONF frames 1 epoch E history H base B`: the peer wants what it announced."""
    if name == b"frames":
        progress.framed = number == FRAMES_VERSION and progress.can_psync2
    elif name == b"epoch":
        progress.epoch = min(number, EPOCH_MAX)
    elif name == b"rewinding":
        progress.rewinding = number == 1
    elif name == b"history":
        progress.mark = HistoryMark(number, progress.mark.base if progress.mark else -1)
    else:
        progress.mark = HistoryMark(progress.mark.checksum if progress.mark else 0, number)


_HANDLERS: Final[dict[type[ev.Event], Callable[[Leader, Any, int], None]]] = {
    ev.ReplconfReceived: Leader._on_replconf,
    ev.PsyncReceived: Leader._on_psync,
    ev.SyncReceived: Leader._on_sync,
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
    ev.WaitStarted: Leader._on_wait,
    ev.WaitCancelled: Leader._on_wait_cancelled,
    ev.AcksWanted: Leader._on_acks_wanted,
    ev.FailoverRequested: Leader._on_failover,
    ev.FailoverAborted: Leader._on_failover_aborted,
    ev.HandoverEnded: Leader._on_handover_ended,
}

__all__ = ["INFO_STATES", "STREAM_GETACK", "STREAM_PING", "Leader", "LeaderStats"]
