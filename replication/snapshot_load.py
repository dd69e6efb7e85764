"""A full sync as a follower takes it: the data set comes, and takes the old one's place at once.

    LOADING      chunks are verified and loaded beside the data that is still served
    COMMITTING   all have come: the shell changes one data set for the other, or refuses the new one
    STREAM       at the snapshot's position; what came of the stream meanwhile is applied first

The problem: a snapshot takes long, may come damaged, and its leader may die in the middle; clients
read the old data all the while. The idea: nothing of ours is touched before the whole has been
verified, so a full sync that fails costs its bytes and nothing else.

A stock leader sends the snapshot alone, and the stream behind it (`SnapshotReceiver`). One of ours
sends both at once in frames (`SyncIntake`); it is told how far they have come, so that it sends no
more than we can hold, and asked again for what came damaged.

Invariant: `snapshot` is there exactly in LOADING and COMMITTING.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replication import actions as act
from replication import events as ev
from replication.actions import LogLevel, command
from replication.constants import KEEPALIVE_INTERVAL_MS, SYNC_HELD_MEMORY_BYTES
from replication.follower_states import SYNCING, FollowerState
from replication.frames import FrameError, FrameReader
from replication.full_sync import SnapshotError, SnapshotReceiver
from replication.held_log import HeldLog
from replication.sync_intake import SyncIntake

if TYPE_CHECKING:
    from replication.follower import Follower

_S = FollowerState


class SnapshotLoad:
    """The full sync that comes. A part of one follower machine."""

    __slots__ = (
        "_behind",
        "_follower",
        "_kept_alive_ms",
        "_room_told",
        "position",
        "replid",
        "snapshot",
    )

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self.snapshot: SnapshotReceiver | SyncIntake | None = None
        self.replid = ""
        """The history of the snapshot; "" if the leader names none."""
        self.position = 0
        self._behind = b""
        """What a stock leader has sent behind the snapshot."""
        self._kept_alive_ms = 0
        self._room_told = True

    def begin(self, replid: str, position: int, now_ms: int) -> None:
        """The leader will send its data as it was at `position`; -1 where it does not say."""
        follower = self._follower
        self.replid, self.position = replid, max(position, 0)
        offer = follower.handshake.offer
        if offer is None:
            self.snapshot = SnapshotReceiver()
        else:
            held = HeldLog(SYNC_HELD_MEMORY_BYTES, follower.new_overflow())
            self.snapshot = SyncIntake(FrameReader(), position, offer.mark.checksum, held)
        self._kept_alive_ms = now_ms
        self._room_told = True
        follower.become(_S.LOADING)
        follower.do(act.LoadBegin(replid, self.position))

    def close(self, reason: str) -> None:
        """The link is gone; what has come of the snapshot is forgotten."""
        follower = self._follower
        if follower.state in SYNCING:
            at = 0 if self.snapshot is None else self.snapshot.received_bytes
            follower.log(LogLevel.WARNING, f"Internal error in RDB reading offset {at}: {reason}")
            follower.do(act.LoadAbort(reason))
        self.snapshot = None
        self._behind = b""

    # what comes

    def take(self, data: bytes, now_ms: int) -> None:
        """Takes bytes from the link, in LOADING."""
        snapshot = self.snapshot
        assert snapshot is not None
        try:
            if isinstance(snapshot, SyncIntake):
                chunks = self._take_interleaved(snapshot, data, now_ms)
            else:
                chunks = snapshot.feed(data)
        except (FrameError, SnapshotError) as error:
            self._refuse(error, now_ms)
            return
        follower = self._follower
        for chunk in chunks:
            follower.do(act.LoadChunk(chunk))
        if snapshot.finished:
            self._behind = b"" if isinstance(snapshot, SyncIntake) else snapshot.rest
            follower.become(_S.COMMITTING)
            follower.do(act.LoadCommit())

    def take_behind(self, data: bytes, now_ms: int) -> None:
        """What comes while the new data set takes its place."""
        if not isinstance(self.snapshot, SyncIntake):
            self._behind += data
            return
        try:
            self._take_interleaved(self.snapshot, data, now_ms)
        except (FrameError, SnapshotError) as error:
            self._refuse(error, now_ms)

    def _take_interleaved(self, snapshot: SyncIntake, data: bytes, now_ms: int) -> list[bytes]:
        """Raises `SnapshotError` or `FrameError`."""
        before = (snapshot.damaged, snapshot.repaired, snapshot.repaired_bytes)
        try:
            chunks = snapshot.feed(data)
        finally:
            self._follower.stats.count_repairs(snapshot, before)
        self._ask_again(snapshot, now_ms)
        if snapshot.ack_due() or snapshot.room != self._room_told:
            self._tell_synced(snapshot)
        return chunks

    def _refuse(self, error: Exception, now_ms: int) -> None:
        self._follower.stats.snapshots_rejected += 1
        self._follower.fail(f"the snapshot was refused: {error}", now_ms)

    # what the leader is told

    def tick(self, now_ms: int) -> None:
        """Asks again for what did not come, and says once a second that we are there."""
        snapshot = self.snapshot
        if isinstance(snapshot, SyncIntake):
            try:
                self._ask_again(snapshot, now_ms, by_clock=True)
            except (FrameError, SnapshotError) as error:
                self._refuse(error, now_ms)
                return
        if now_ms - self._kept_alive_ms < KEEPALIVE_INTERVAL_MS:
            return
        self._kept_alive_ms = now_ms
        if isinstance(snapshot, SyncIntake) and self._follower.interleaved:
            snapshot.ack_due(by_clock=True)
            self._tell_synced(snapshot)
        else:
            self._follower.do(act.SendToLeader(b"\n"))

    def _tell_synced(self, snapshot: SyncIntake) -> None:
        """How far the snapshot and the stream have come, and whether we can hold more of it."""
        if not self._follower.interleaved:
            return
        room = self._room_told = snapshot.room
        words = [b"REPLCONF", b"SYNCED", b"%d" % snapshot.received_bytes]
        words += [b"STREAM", b"%d" % snapshot.stream.received, b"ROOM", b"%d" % room]
        self._follower.do(act.SendToLeader(command(*words)))

    def _ask_again(self, snapshot: SyncIntake, now_ms: int, *, by_clock: bool = False) -> None:
        for of_snapshot, start, end in snapshot.ranges_due(now_ms, by_clock=by_clock):
            self._follower.ask_for(start, end, of_snapshot=of_snapshot)

    # what the shell says

    def on_loaded(self, event: ev.SnapshotLoaded, now_ms: int) -> None:
        """The new data set is in its place."""
        follower = self._follower
        if follower.state is not _S.COMMITTING:
            return
        offer = follower.handshake.offer
        follower.do(act.DropFollowers("the data set was replaced by the leader's"))
        follower.backlog.reset(self.position, None if offer is None else offer.mark)
        if self.replid:
            follower.history.restart(self.replid)
        follower.resumable = bool(self.replid)
        follower.rewind.active = False
        follower.stats.full_syncs += 1
        follower.do(act.RecordHistory())
        follower.log(LogLevel.NOTICE, "MASTER <-> REPLICA sync: Finished with success")
        snapshot, self.snapshot = self.snapshot, None
        follower.stream.begin(self.position, now_ms)
        if isinstance(snapshot, SyncIntake):
            follower.stream.take_over(snapshot)
        follower.stream.ack(self.position, now_ms)
        behind, self._behind = self._behind, b""
        follower.stream.take(behind, now_ms)

    def on_rejected(self, event: ev.SnapshotRejected, now_ms: int) -> None:
        """The new data set cannot be loaded."""
        if self._follower.state in SYNCING:
            self._follower.stats.snapshots_rejected += 1
            self._follower.fail(f"the snapshot could not be loaded: {event.reason}", now_ms)

    def invariants(self) -> None:
        """Raises `AssertionError` where the part contradicts the machine's state."""
        assert (self.snapshot is not None) == (self._follower.state in SYNCING)


__all__ = ["SnapshotLoad"]
