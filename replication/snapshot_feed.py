"""Full syncs as a leader gives them: who waits, who shares a pass, and what each is sent when.

The problem: a data set takes long to send and the leader's clients wait for nobody; the slow must
not hold up the fast, and nothing may pile up in memory. The idea: the data is read once for all who
wait (a pass), at the pace of the fastest; its chunks are sealed once and held (`held_log.py`) until
the slowest has them; each follower is a cursor. The stream goes ahead of the chunks, to whoever can
take it between them, so it never waits for a snapshot.

    chunks held:   first                              produced
                    | 12 | 13 | 14 | 15 | 16 | 17 |
                      ^ acked by b   ^ sent to b    ^ c has all, so the next is read from the data

One of ours says how far it has verified (`REPLCONF SYNCED`): it is not sent more than a window
beyond that, what it has not verified is held, and a chunk that came damaged is sent again. It is
online when it acknowledges the stream: then it has the data. A stock follower is given its chunks
as its socket takes them, and the stream behind the last.

Invariants: a follower in SNAPSHOT belongs to one pass and has been sent exactly the chunks before
`chunk`; what it may still ask for is held; at most SYNC_FOLLOWERS_MAX are in passes, the others
wait in the order in which they asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replication import actions as act
from replication import events as ev
from replication.actions import LogLevel
from replication.admission import reply_line
from replication.constants import (
    KEEPALIVE_INTERVAL_MS,
    RESEND_BYTES_MAX,
    SYNC_FEED_CHUNKS,
    SYNC_FOLLOWERS_MAX,
    SYNC_LOG_INTERVAL_MS,
    SYNC_LOG_MEMORY_BYTES_MAX,
    SYNC_WINDOW_BYTES,
)
from replication.frames import HEADER_BYTES, parse_header
from replication.full_sync import PassState, SnapshotPass
from replication.held_log import HeldLog
from replication.progress import Progress, ProgressState

if TYPE_CHECKING:
    from replication.leader import Leader


class SnapshotFeed:
    """The full syncs of one leader machine, which it is a part of."""

    __slots__ = ("_count", "_due", "_leader", "_logged_ms", "passes")

    def __init__(self, leader: Leader) -> None:
        self._leader = leader
        self.passes: list[SnapshotPass] = []
        """Those that somebody is in, oldest first; only the last may still read the data."""
        self._count = 0
        self._due = False
        self._logged_ms = 0

    @property
    def reading(self) -> SnapshotPass | None:
        """The pass that still reads the data."""
        if self.passes and self.passes[-1].state is not PassState.DONE:
            return self.passes[-1]
        return None

    # who waits

    def queue(self, progress: Progress, now_ms: int) -> None:
        """A follower needs the data set."""
        leader = self._leader
        leader.stats.sync_full += 1
        progress.become(ProgressState.WAITING)
        progress.waiting_since_ms = progress.heard_ms = now_ms
        if not leader.backlog.active:
            leader.history.restart(leader.new_replid())
            leader.backlog.reset(leader.backlog.end)
            leader.backlog.active = True
            leader.do(act.RecordHistory())
            leader.log(
                LogLevel.NOTICE,
                "Replication backlog created, my new replication IDs are"
                f" '{leader.history.replid}' and '{leader.history.replid2}'",
            )
        self.start_if_due(now_ms)
        if progress.state is ProgressState.WAITING:
            leader.log(LogLevel.NOTICE, "Delay next BGSAVE for diskless SYNC")

    def start_if_due(self, now_ms: int) -> None:
        """Starts a pass for those who wait, or lets them join one that is still spooling."""
        leader = self._leader
        waiting = [p for p in leader.followers.values() if p.state is ProgressState.WAITING]
        if not waiting:
            return
        waiting.sort(key=lambda progress: progress.waiting_since_ms)
        room = SYNC_FOLLOWERS_MAX - sum(len(each.links) for each in self.passes)
        if room <= 0:
            return
        reading = self.reading
        if reading is not None:
            if reading.state is PassState.SPOOLING and leader.backlog.covers(reading.position):
                for progress in [p for p in waiting if p.parts == reading.parts][:room]:
                    self._join(reading, progress, now_ms)
            return
        # One snapshot serves those who want the same of it; the others have the next one.
        waiting = [p for p in waiting if p.parts == waiting[0].parts]
        if not leader.leading and not leader.upstream_connected:
            return
        settings = leader.settings
        spooled = not settings.diskless or any(not (p.can_eof or p.framed) for p in waiting)
        if spooled or self._diskless_is_due(waiting, now_ms):
            self._begin(waiting[:room], spooled, now_ms)

    def _diskless_is_due(self, waiting: list[Progress], now_ms: int) -> bool:
        settings = self._leader.settings
        longest_ms = max(now_ms - p.waiting_since_ms for p in waiting)
        count_max = settings.diskless_followers_max
        return longest_ms >= settings.diskless_delay_ms or 0 < count_max <= len(waiting)

    def _begin(self, waiting: list[Progress], spooled: bool, now_ms: int) -> None:
        leader = self._leader
        self._count += 1
        current = SnapshotPass(
            self._count,
            leader.backlog.end,
            leader.history.epoch,
            spooled=spooled,
            eof_mark=leader.new_replid(),
            parts=waiting[0].parts,
            chunks=HeldLog(SYNC_LOG_MEMORY_BYTES_MAX, leader.new_overflow()),
        )
        self.passes.append(current)
        target = "disk" if spooled else "replicas sockets"
        leader.log(LogLevel.NOTICE, f"Starting BGSAVE for SYNC with target: {target}")
        parts = current.parts
        leader.do(act.StartSnapshot(current.snapshot, current.position, spooled, parts))
        if leader.leading:
            leader.do(act.ForceSelect())
        for progress in waiting:
            self._join(current, progress, now_ms)
        self._pull(current)

    def _join(self, current: SnapshotPass, progress: Progress, now_ms: int) -> None:
        leader = self._leader
        progress.become(ProgressState.SNAPSHOT)
        progress.sent_position = progress.acked_position = current.position
        progress.begin_sync(current, current.position)
        progress.sent_ms = progress.heard_ms = now_ms
        current.links.add(progress.link)
        if progress.acknowledges:
            line = f"+FULLRESYNC {leader.history.replid} {current.position}"
            reply = reply_line(leader, progress, line, current.position)
            leader.send(progress, reply, now_ms)
        if not current.spooled:
            leader.send(progress, current.envelope_head(framed=progress.framed), now_ms)
        pinned = leader.backlog.pinned_position
        if pinned is None or current.position < pinned:
            leader.backlog.pinned_position = current.position

    # the data

    def _pull(self, current: SnapshotPass) -> None:
        """Asks for the next chunk, if none is on its way and somebody has all others."""
        if current.pulling or current.state is not PassState.SENDING:
            return
        end = current.chunks.end
        members = self._members(current)
        if any(p.chunk == end and self._takes_chunks(p, current) for p in members):
            current.pulling = True
            self._leader.do(act.PullSnapshot(current.snapshot))

    def on_spooled(self, event: ev.SnapshotSpooled, now_ms: int) -> None:
        """The length is known, and the first chunk can be pulled."""
        current = self._reading(event.snapshot)
        if current is None:
            return
        current.spooled_to(event.length_bytes)
        for progress in self._members(current):
            head = current.envelope_head(framed=progress.framed)
            self._leader.send(progress, head, now_ms)
        self._pull(current)

    def on_chunk(self, event: ev.SnapshotChunk, now_ms: int) -> None:
        """One more chunk, for all who are in the pass."""
        current = self._reading(event.snapshot)
        if current is None:
            return
        if event.asked:
            current.pulling = False
        current.share = event.share
        current.take_chunk(event.data, now_ms + self._leader.wall_offset_ms)
        self._feed_all(current, now_ms)

    def on_finished(self, event: ev.SnapshotFinished, now_ms: int) -> None:
        """All has been read; who has all chunks is done, the others get them as they can."""
        current = self._reading(event.snapshot)
        if current is None:
            return
        current.finish()
        if not current.spooled:
            count = len(current.links)
            text = f"Diskless rdb transfer, done reading from pipe, {count} replicas still up."
            self._leader.log(LogLevel.NOTICE, text)
        self._feed_all(current, now_ms)
        self._leader.do(act.AbortSnapshot(current.snapshot))
        self.start_if_due(now_ms)

    def on_failed(self, event: ev.SnapshotFailed, now_ms: int) -> None:
        """The data could not be read: its followers ask again."""
        current = self._reading(event.snapshot)
        if current is None:
            return
        leader = self._leader
        leader.stats.snapshots_failed += 1
        current.become(PassState.FAILED)
        self.passes.remove(current)
        current.chunks.clear()
        leader.log(LogLevel.WARNING, f"Snapshot for SYNC failed: {event.reason}")
        for progress in self._members(current):
            progress.sync = None
            leader.drop(progress, "the snapshot failed")
        leader.do(act.AbortSnapshot(current.snapshot))
        self.start_if_due(now_ms)

    def give_up(self, reason: str) -> None:
        """Ends a pass that still reads data not worth sending any more; its followers ask again.

        One that has its file is sent to the end: the followers have most of it."""
        current = self.reading
        if current is not None and not (current.spooled and current.state is PassState.SENDING):
            for progress in self._members(current):
                self._leader.drop(progress, reason)

    def _reading(self, snapshot: int) -> SnapshotPass | None:
        current = self.reading
        return current if current is not None and current.snapshot == snapshot else None

    def _members(self, current: SnapshotPass) -> list[Progress]:
        return [self._leader.followers[link] for link in sorted(current.links)]

    # sending

    def _takes_chunks(self, progress: Progress, current: SnapshotPass) -> bool:
        """Whether its socket and, if it is one of ours, its window are open."""
        if progress.paused_since_ms is not None or current.state is PassState.SPOOLING:
            return False
        ahead = progress.snapshot_sent_bytes - progress.snapshot_acked_bytes
        return not progress.interleaves or ahead < SYNC_WINDOW_BYTES

    def _feed_all(self, current: SnapshotPass, now_ms: int) -> None:
        for progress in self._members(current):
            if progress.sync is current:
                self._feed(progress, current, now_ms)
        self._release(current)
        self._pull(current)
        if not self._due and any(self._can_be_fed(p, current) for p in self._members(current)):
            self._due = True
            self._leader.do(act.FeedLater())

    def _can_be_fed(self, progress: Progress, current: SnapshotPass) -> bool:
        return progress.chunk < current.chunks.end and self._takes_chunks(progress, current)

    def _feed(self, progress: Progress, current: SnapshotPass, now_ms: int) -> None:
        """Sends the stream first, then as many chunks as one turn is to take."""
        leader = self._leader
        if progress.streams and progress.paused_since_ms is None:
            if progress.sent_position < leader.backlog.end:
                leader.send_stream(progress, now_ms)
            if progress.sync is None or progress.sent_position < leader.backlog.end:
                return
        for _ in range(SYNC_FEED_CHUNKS):
            if not self._can_be_fed(progress, current):
                break
            if not self._send_chunk(progress, current, progress.chunk, now_ms):
                return
            progress.chunk += 1
            progress.snapshot_sent_bytes = current.end_of(progress.chunk)
        done = current.state is PassState.DONE and progress.chunk == current.chunks.end
        if done and not progress.tail_sent:
            self._send_tail(progress, current, now_ms)
            if not progress.interleaves:
                self._enter_stream(current, progress, now_ms)

    def _send_chunk(
        self, progress: Progress, current: SnapshotPass, number: int, now_ms: int
    ) -> bool:
        try:
            sealed = current.chunks.read(number)
        except OSError as error:
            self._leader.drop(progress, f"the snapshot's file cannot be read: {error}")
            return False
        if progress.framed and number == progress.chunk:
            # Not for one that is sent again: a keepalive stands behind the last.
            progress.snapshot_digest = parse_header(sealed).history
        data = sealed if progress.framed else sealed[HEADER_BYTES:]
        self._leader.send(progress, data, now_ms)
        return True

    def _send_tail(self, progress: Progress, current: SnapshotPass, now_ms: int) -> None:
        progress.tail_sent = True
        wall_ms = now_ms + self._leader.wall_offset_ms
        tail = current.envelope_tail(wall_ms, framed=progress.framed)
        self._leader.send(progress, tail, now_ms)

    def on_due(self, event: ev.FeedDue, now_ms: int) -> None:
        """In another turn of the loop: those who are behind are sent more."""
        self._due = False
        for current in list(self.passes):
            self._feed_all(current, now_ms)

    def on_open(self, progress: Progress, now_ms: int) -> None:
        """A follower can take more."""
        if progress.sync is not None:
            self._feed_all(progress.sync, now_ms)

    # what followers say

    def on_synced(self, event: ev.SyncedReceived, now_ms: int) -> None:
        """How far one of ours has come; what makes no sense is passed over."""
        progress = self._leader.followers.get(event.link)
        if progress is None or progress.sync is None or not progress.interleaves:
            return
        progress.heard_ms = now_ms
        if event.snapshot_bytes > progress.snapshot_sent_bytes:
            return
        progress.snapshot_acked_bytes = max(progress.snapshot_acked_bytes, event.snapshot_bytes)
        received = min(event.position, progress.sent_position)
        progress.received_position = max(progress.received_position, received)
        if event.room != progress.room:
            progress.room = event.room
            self._leader.pump_wanted = True
        self._feed_all(progress.sync, now_ms)

    def on_resend(self, event: ev.ResendSnapshotReceived, now_ms: int) -> None:
        """Sends chunks again that came damaged, and the end if that may be what is missing."""
        leader = self._leader
        progress = leader.followers.get(event.link)
        if progress is None or progress.sync is None or not progress.interleaves:
            return
        progress.heard_ms = now_ms
        current, sent = progress.sync, progress.snapshot_sent_bytes
        end = sent if event.end < 0 else min(event.end, sent)
        if event.start > sent or event.start < progress.snapshot_acked_bytes:
            return
        end = min(end, event.start + RESEND_BYTES_MAX)
        number = current.number_at(event.start)
        while number < progress.chunk and current.end_of(number) < end:
            if not self._send_chunk(progress, current, number, now_ms):
                return
            leader.stats.resends += 1
            number += 1
            leader.stats.bytes_resent += current.end_of(number) - current.end_of(number - 1)
        leader.log(
            LogLevel.WARNING,
            f"Replica {progress.name} got a damaged snapshot: sending {event.start} to {end} again",
        )
        if progress.tail_sent and end == sent:
            self._send_tail(progress, current, now_ms)

    def on_ack(self, progress: Progress, now_ms: int) -> None:
        """One of ours that acknowledges the stream has verified and loaded the snapshot."""
        if progress.sync is not None and progress.interleaves and progress.tail_sent:
            self._enter_stream(progress.sync, progress, now_ms)

    def _enter_stream(self, current: SnapshotPass, progress: Progress, now_ms: int) -> None:
        leader = self._leader
        self._leave(current, progress)
        if progress.snapshot_only:
            # Not in a pass any more, and never in the stream.
            leader.drop(progress, "RDB transfer completed, rdb only replica", flush=True)
            return
        progress.become(ProgressState.STREAM)
        progress.heard_ms = now_ms
        progress.stream_on_ack = not (current.spooled or progress.framed)
        progress.catches_up_to = progress.sent_position if progress.interleaves else 0
        leader.pump_wanted = True
        name = progress.name
        leader.log(LogLevel.NOTICE, f"Synchronization with replica {name} succeeded")

    # leaving

    def _leave(self, current: SnapshotPass, progress: Progress) -> None:
        progress.sync = None
        current.links.discard(progress.link)
        if not current.links:
            current.chunks.clear()
            self.passes.remove(current)

    def forget(self, progress: Progress) -> None:
        """A follower is gone; the pass that it was the last of ends."""
        current = progress.sync
        if current is None:
            return
        reading = current is self.reading
        self._leave(current, progress)
        if current.links:
            self._release(current)
            self._pull(current)
        elif reading:
            text = "Last replica of a snapshot dropped, ending it"
            if not current.spooled:
                text = "Diskless rdb transfer, last replica dropped, killing fork child (none)"
            self._leader.log(LogLevel.NOTICE, text)
            self._leader.do(act.AbortSnapshot(current.snapshot))

    def _release(self, current: SnapshotPass) -> None:
        """Lets go of the chunks that nobody can ask for any more."""
        members = self._members(current)
        if members:
            current.chunks.release(
                min(
                    current.number_at(p.snapshot_acked_bytes) if p.interleaves else p.chunk
                    for p in members
                )
            )

    # by the clock

    def tick(self, now_ms: int) -> None:
        """Begins what is due, and says in the log how far all are."""
        for current in list(self.passes):
            self._feed_all(current, now_ms)
        self.start_if_due(now_ms)
        if not self.passes:
            self._logged_ms = now_ms
        elif now_ms - self._logged_ms >= SYNC_LOG_INTERVAL_MS:
            self._logged_ms = now_ms
            for current in self.passes:
                for progress in self._members(current):
                    self._leader.log(
                        LogLevel.NOTICE,
                        f"Full sync of replica {progress.name}:"
                        f" {100 * current.share_of(progress.snapshot_sent_bytes):.1f}%,"
                        f" {progress.snapshot_sent_bytes} bytes sent",
                    )

    def keep_alive(self, progress: Progress, now_ms: int) -> None:
        """Tells a peer that waits for its snapshot that we have not forgotten it."""
        leader, current = self._leader, progress.sync
        if progress.state is ProgressState.WAITING:
            leader.send(progress, b"\n", now_ms)
        elif current is None or progress.paused_since_ms is not None:
            return
        elif not progress.framed:
            if current.state is PassState.SPOOLING:
                leader.send(progress, b"\n", now_ms)
        elif not progress.tail_sent and now_ms - progress.sent_ms >= KEEPALIVE_INTERVAL_MS:
            sent, digest = progress.snapshot_sent_bytes, progress.snapshot_digest
            wall_ms = now_ms + leader.wall_offset_ms
            leader.send(progress, current.keepalive(sent, digest, wall_ms), now_ms)

    def invariants(self) -> None:
        """Raises `AssertionError` where passes and followers contradict each other."""
        followers = self._leader.followers
        for progress in followers.values():
            assert (progress.sync is not None) == (progress.state is ProgressState.SNAPSHOT)
        seen: set[int] = set()
        for current in self.passes:
            assert current.links
            assert not seen & current.links
            seen |= current.links
            for progress in self._members(current):
                assert progress.sync is current
                assert current.chunks.first <= progress.chunk <= current.chunks.end
        assert len(seen) <= SYNC_FOLLOWERS_MAX


__all__ = ["SnapshotFeed"]
