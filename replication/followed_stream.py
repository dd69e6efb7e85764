"""The stream as a follower takes it: verified, applied by the shell, then ours to relay.

    link --> StreamIntake --> pending --> applied --> backlog
             verified,        handed to   whole       sealed as the leader sealed it: what our own
             in sequence      the shell   commands    followers get, and what we resume from
             received                     position    backlog.end

What is verified is not yet applied: the shell executes whole commands and tells how far it got
(`StreamApplied`). Only then do the bytes enter our backlog, as the leader sealed them, and count
in our position; so wherever this node is cut, promoted or asked to resume, its position is that of
its data. A frame of which only a part was applied when the link broke is cut there.

A damaged frame is refused and counted, and the damaged range alone is asked for again on the same
link (`intake.py`). If it does not come, the link is dropped and dialled again at once: the leader
continues from our position, without a full sync. Frames that are sound but do not fit our history
checksum mean that the two of us have diverged: then only a full sync helps.

What a leader of ours sent of the stream with a snapshot is *held* (`sync_intake.py`), and applied
piece by piece in turns of their own, before what comes then. While the stream is paused
(`stream_pause.py`) it is verified and held in the same way.

Invariants: `backlog.end <= position <= received`; what lies between is `pending`; outside STREAM
nothing is pending.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from replication import actions as act
from replication import events as ev
from replication.actions import LogLevel, command
from replication.constants import ACK_INTERVAL_MS, STREAM_HELD_BYTES_MAX
from replication.follower_states import FollowerState
from replication.frames import Frame, FrameError, FrameKind, FrameReader, reseal_head
from replication.frames import parse as parse_frame
from replication.held_log import HeldLog
from replication.intake import HistoryMismatchError, StreamIntake
from replication.questions import ComparedSide
from replication.stream_pause import StreamPause
from replication.sync_intake import SyncIntake, held_frames, hold

if TYPE_CHECKING:
    from replication.follower import Follower

_S = FollowerState


class FollowedStream:
    """What flows from the leader. A part of one follower machine."""

    __slots__ = (
        "_ack_due",
        "_acked_ms",
        "_applying",
        "_compared",
        "_follower",
        "_handed",
        "_intake",
        "_lost",
        "_pending_raw",
        "_refused_position",
        "held",
        "lag_ms",
        "leader_timestamp_ms",
        "pause",
        "pending",
        "position",
        "received",
    )

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self.position = 0
        """How much of the stream is in the data set, while it flows."""
        self.received = 0
        """How much has come and been verified, likewise."""
        self.pending: deque[Frame] = deque()
        self._pending_raw = bytearray()
        self.held: HeldLog | None = None
        """What came of the stream with the snapshot or during a pause, yet to be applied."""
        self.pause = StreamPause()
        self._handed = 0
        self._lost = ""
        """Why the link ended before what is held was applied."""
        self.lag_ms = 0
        """The age of what was applied last, when it was applied, by the leader's timestamp."""
        self.leader_timestamp_ms = 0
        """When the leader wrote what was last applied, by its clock."""
        self._intake: StreamIntake | None = None
        self._compared = ComparedSide()
        self._applying = 0
        """Parts of the stream that were handed out and not yet reported as applied."""
        self._refused_position = -1
        self._acked_ms = 0
        self._ack_due = False

    # its beginning and end

    def begin(self, position: int, now_ms: int) -> None:
        """The stream flows from here on, and the data is that of `position`."""
        follower = self._follower
        backlog, history = follower.backlog, follower.history
        backlog.active = True
        self.position = self.received = position
        self.pending.clear()
        self._pending_raw.clear()
        self._intake = None
        if follower.framed:
            self._intake = StreamIntake(FrameReader(), position, backlog.checksum)
        offer = follower.handshake.offer
        if offer is not None and offer.epoch > history.epoch:
            history.raise_epoch(offer.epoch)
            follower.do(act.RecordHistory())
        self._acked_ms = now_ms
        follower.become(_S.STREAM)
        if follower.rewind.active:
            follower.do(act.FetchKeys())
        else:
            follower.down_since_ms = None

    def take_over(self, snapshot: SyncIntake) -> None:
        """Goes on with what came beside the snapshot that has been loaded."""
        self._intake = snapshot.stream
        self.received = snapshot.stream.received
        self._handed = self.position
        if snapshot.held:
            self.held = snapshot.held
            self._follower.do(act.ApplyHeldLater())
        else:
            snapshot.stream.patience = 1

    def lost(self, reason: str) -> bool:
        """The connection broke. True where what is held comes first: it came with the snapshot, and
        would have to come again with it."""
        if self.held is None or self.pause.holds:
            return False
        self._lost = reason
        return True

    def close(self) -> None:
        """The link is gone; keeps what was applied."""
        if self._follower.state is _S.STREAM:
            self._cut_pending()
            self._follower.do(act.StreamReset())
        if self.held is not None:
            self.held.clear()
            self.held = None
        self.pause.reset()
        self._lost = ""
        self._intake = None
        self._applying = 0
        self._compared.reset()

    def forget_refusals(self) -> None:
        """Another leader's frames are not refused for this one's."""
        self._refused_position = -1

    def _cut_pending(self) -> None:
        """Keeps of what is pending the part that was applied, and forgets the rest."""
        backlog = self._follower.backlog
        keep_bytes = self.position - backlog.end
        if keep_bytes > 0 and self.pending:
            frame = self.pending[0]
            self._relay(parse_frame(reseal_head(frame, keep_bytes, backlog.checksum)))
        self.pending.clear()
        self._pending_raw.clear()
        self.received = self.position = backlog.end

    # what comes

    def take(self, data: bytes, now_ms: int) -> None:
        """Takes bytes from the link."""
        intake = self._intake
        if intake is None:
            if data:
                self._pending_raw += data
                self.received += len(data)
                if self.pause.on:
                    self.pause.raw_bytes += len(data)
                    self._fit_reading(now_ms)
                else:
                    self._follower.do(act.ApplyStream(data))
            return
        if intake.refusal is not None:
            return
        before = (intake.damaged, intake.repaired, intake.repaired_bytes)
        frames = intake.feed(data)
        self._follower.stats.count_repairs(intake, before)
        if self.pause.on and self.held is None:
            self.held = HeldLog(STREAM_HELD_BYTES_MAX)
            self.pause.holds = True
            self._handed = self.received
        self.received = intake.received
        if intake.missing:
            self._ask_again(intake, now_ms)
        if self.held is not None:
            hold(self.held, frames)
            self._fit_reading(now_ms)
            return
        self._use(frames, intake)
        if not self._applying:
            self._refuse_if_due(now_ms)

    def on_held_due(self, event: ev.HeldDue, now_ms: int) -> None:
        """Has the next piece applied of what came with the snapshot, or during a pause."""
        follower = self._follower
        held, intake = self.held, self._intake
        if held is None or intake is None or self.pause.on:
            return
        try:
            frames = held_frames(held)
        except (OSError, FrameError) as error:
            reason = f"the stream held during the full sync cannot be used: {error}"
            follower.fail(reason, now_ms)
            return
        self._use(frames, intake)
        if held:
            follower.do(act.ApplyHeldLater())
        else:
            self.held = None
        self._fit_reading(now_ms)
        if self.pause.holds:
            self.pause.holds = bool(held)
        elif not held:
            intake.patience = 1
            follower.log(LogLevel.NOTICE, "MASTER <-> REPLICA sync: caught up with the stream")
            if self._lost:
                follower.fail(self._lost, now_ms, at_once=True)

    def _use(self, frames: list[Frame], intake: StreamIntake) -> None:
        """Has the stream applied, and what stands between its frames done in its place."""
        follower = self._follower
        bodies: list[bytes] = []
        for frame in frames:
            if frame.kind is FrameKind.STREAM:
                self._handed = frame.end
                self.pending.append(frame)
                bodies.append(frame.body)
                continue
            self._apply(bodies)
            bodies = []
            try:
                values = follower.rewind.take(frame.body, follower.heard_ms)
                follower.do(*(self._compared.take(frame.body) if values is None else values))
            except FrameError as error:
                intake.refusal = error
        self._apply(bodies)

    def _apply(self, bodies: list[bytes]) -> None:
        if bodies:
            self._applying += 1
            joined = bodies[0] if len(bodies) == 1 else b"".join(bodies)
            self._follower.do(act.ApplyStream(joined))

    # pauses

    def on_paused(self, event: ev.StreamPaused, now_ms: int) -> None:
        """The data is to stand still from here on, or may move again."""
        follower, pause = self._follower, self.pause
        if event.paused == pause.on:
            return
        pause.on = event.paused
        if event.paused or follower.state is not _S.STREAM:
            return
        raw_bytes, pause.raw_bytes = pause.raw_bytes, 0
        if raw_bytes:
            follower.do(act.ApplyStream(bytes(self._pending_raw[-raw_bytes:])))
        if self.held:
            follower.do(act.ApplyHeldLater())
        else:
            self.held = None
            pause.holds = False
        self._fit_reading(now_ms)

    def _fit_reading(self, now_ms: int) -> None:
        """The leader is not read from while a pause has left too much to be applied."""
        held_bytes = 0 if self.held is None else self.held.held_bytes
        reading = self.pause.may_read(held_bytes)
        if reading != self.pause.reading:
            self.pause.reading = reading
            self._follower.heard_ms = now_ms
            self._follower.do(act.ReadLeader(reading))

    # what does not come, or comes wrong

    def _ask_again(self, intake: StreamIntake, now_ms: int, *, by_clock: bool = False) -> None:
        """Asks for what came damaged, and for nothing else."""
        for start, end in intake.ranges_due(now_ms, by_clock=by_clock):
            self._follower.ask_for(start, end)

    def _refuse_if_due(self, now_ms: int) -> None:
        """Gives up the link for what cannot be mended, once all before it has been applied."""
        if self.held is not None:
            return
        refusal = None if self._intake is None else self._intake.refusal
        if isinstance(refusal, HistoryMismatchError):
            self._follower.diverged(refusal.theirs, refusal.ours, now_ms)
        elif refusal is not None:
            again = self.received == self._refused_position
            self._refused_position = self.received
            self._follower.fail(f"a frame was refused: {refusal}", now_ms, at_once=not again)

    # what the shell has done

    def on_applied(self, event: ev.StreamApplied, now_ms: int) -> None:
        """The data set is that of the event's position now."""
        follower = self._follower
        if follower.state is not _S.STREAM:
            return
        position = event.position
        self._applying = max(0, self._applying - 1)
        assert follower.backlog.end <= position <= self.received
        self.position = position
        if self._intake is None:
            self._seal_raw(position, now_ms)
            return
        pending = self.pending
        while pending and pending[0].end <= position:
            frame = pending.popleft()
            self.lag_ms = max(0, now_ms + follower.wall_offset_ms - frame.timestamp_ms)
            self._relay(frame)
        if self._ack_due:
            self.ack(position, now_ms)
        if not self._applying:
            self._refuse_if_due(now_ms)

    def on_unreadable(self, event: ev.StreamUnreadable, now_ms: int) -> None:
        """The same bytes would come again, so there is nothing to resume."""
        if self._follower.state is _S.STREAM:
            self._follower.fail(f"the stream cannot be read: {event.reason}", now_ms)
            self._follower.resumable = False

    def on_compared(self, event: ev.DataCompared, now_ms: int) -> None:
        """The data has been compared, as the leader asked."""
        follower = self._follower
        answer = self._compared.answer(event) if follower.state is _S.STREAM else None
        if answer is not None:
            follower.do(act.SendToLeader(command(b"REPLCONF", b"VERIFY", answer)))

    def _relay(self, frame: Frame) -> None:
        follower = self._follower
        follower.backlog.append_sealed(frame)
        self.leader_timestamp_ms = frame.timestamp_ms
        if frame.epoch > follower.history.epoch:
            follower.history.raise_epoch(frame.epoch)
            follower.do(act.RecordHistory())

    def _seal_raw(self, position: int, now_ms: int) -> None:
        """A stock leader's bytes become frames here: from now on they are protected."""
        follower = self._follower
        count = position - follower.backlog.end
        if count:
            data = bytes(self._pending_raw[:count])
            del self._pending_raw[:count]
            wall_ms = now_ms + follower.wall_offset_ms
            follower.backlog.append(data, wall_ms, follower.history.epoch)
            self.leader_timestamp_ms = wall_ms

    # acknowledging, and the clock

    def tick(self, now_ms: int) -> None:
        """Does what is due by the clock."""
        if now_ms - self._acked_ms >= ACK_INTERVAL_MS:
            self.ack(self.position, now_ms)
        if self._intake is not None and self._intake.missing:
            self._ask_again(self._intake, now_ms, by_clock=True)
            self._refuse_if_due(now_ms)

    def on_getack(self, event: ev.GetackReceived, now_ms: int) -> None:
        """The stream asks how far we have come."""
        if self._follower.state is _S.STREAM:
            self.ack(event.position, now_ms)
            # A leader of ours may wait for its very last byte, which is this command's.
            self._ack_due = self._follower.framed

    def ack(self, position: int, now_ms: int) -> None:
        """Tells the leader that the data is that of `position`."""
        follower = self._follower
        self._acked_ms = now_ms
        self._ack_due = False
        if follower.rewind.active:
            position = 0  # no position is that of all our data
        words = [b"REPLCONF", b"ACK", b"%d" % position]
        if follower.framed and position == follower.backlog.end:
            words += [b"HISTORY", b"%016x" % follower.backlog.checksum]
        follower.do(act.SendAck(position, command(*words)))

    def invariants(self) -> None:
        """Raises `AssertionError` where the part contradicts itself or the machine's state."""
        backlog = self._follower.backlog
        if self._follower.state is _S.STREAM:
            assert backlog.active
            assert backlog.end <= self.position <= self.received
            pending = sum(len(frame.body) for frame in self.pending) + len(self._pending_raw)
            received = self.received if self.held is None else self._handed
            assert backlog.end + pending == received
        else:
            assert not self.pending
            assert not self._pending_raw


__all__ = ["FollowedStream"]
