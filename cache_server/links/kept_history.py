"""The history that this node has on disk: found again when it starts, written as it goes on.

    start    snapshot or log --> id, position, epoch, checksum --> machines
             end of the log  --> the last frames               --> backlog: followers may resume
    later    backlog, each frame that is sealed --> append log, before any follower gets it

The problem: a node that comes back must not offer a history that it cannot hold to. A leader whose
log may lack what a follower has already got would write other bytes at the same position. The idea:
only a log that cannot have lost anything keeps its id (`recover` says so); otherwise the node goes
on under a new id, to which followers shift from the old one.

Invariants: no frame leaves for a follower before the log has taken it, while there is a log; a
shift of ids is taken back only if nothing has been written since.
"""

from __future__ import annotations

from typing import Any

from cache_server.persistence.append_log import AppendLog
from cache_server.persistence.recovery import RecoveredHistory
from cache_server.persistence.replay import Tail
from replication.history import HistoryMark, is_replid


class KeptHistory:
    """The part of a replicator that knows its files."""

    def __init__(self, replicator: Any) -> None:
        self.replicator = replicator
        self.server = replicator.server
        #: Where this node began to lead for want of another leader; None where it did not.
        self._shifted_at: int | None = None
        self.log: AppendLog = self.server.append_log
        self.log.history = self.history
        self.log.on_switched = self._log_switched
        self.log.on_writable = replicator.settle

    # -- at the start --------------------------------------------------------------------------

    def recover(self) -> bool:
        """Takes up the history that the loaded data names. True where a log names it that cannot
        have lost anything."""
        load, recovered = self.server.persistence.log_load, self.server.persistence.recovered
        if recovered is None or not is_replid(recovered.replication_id):
            return False
        self._take_history(recovered)
        if load is None or load.replay.tail is None:
            return False
        self._take_tail(load.replay.tail)
        return bool(load.intact)

    def _take_history(self, found: RecoveredHistory) -> None:
        """The data was loaded, and what it was loaded from names this point of a history."""
        replicator = self.replicator
        history, backlog = replicator.leader.history, replicator.leader.backlog
        history.restart(found.replication_id)
        history.replid2, history.replid2_position = found.second_id, found.second_id_offset
        history.raise_epoch(found.epoch)
        mark = None if found.checksum is None else HistoryMark(found.checksum, found.base)
        backlog.reset(found.offset, mark)
        replicator.following.applier.restart(found.offset, found.stream_db)
        replicator.follower.resumable = True

    def _take_tail(self, tail: Tail) -> None:
        """What the log's end holds can be sent to followers again."""
        backlog = self.replicator.leader.backlog
        backlog.reset(tail.start, tail.mark)
        backlog.active = True
        for frame in tail.frames:
            backlog.append_sealed(frame)

    # -- ids -----------------------------------------------------------------------------------

    def shifted(self) -> None:
        """This node has just begun to lead under an id of its own, for want of another leader."""
        self._shifted_at = self.replicator.leader.history.replid2_position

    def forget_shift(self, handover: bool) -> None:
        """A node that led because it found no other order when it started, or because its heir did
        not answer, wrote nothing and follows now, goes on in the history that it had."""
        leader = self.replicator.leader
        if self._shifted_at == leader.backlog.end and not handover:
            leader.history.unshift()
            self.log.history_changed()
        self._shifted_at = None

    def history(self) -> RecoveredHistory:
        """The history at the position that the data has."""
        replicator = self.replicator
        history, backlog = replicator.leader.history, replicator.leader.backlog
        position = replicator.follower.position
        checksum = backlog.checksum if position == backlog.end else None
        return RecoveredHistory(
            history.replid,
            position,
            replicator.stream_db(),
            history.epoch,
            checksum,
            backlog.base,
            history.replid2,
            history.replid2_position,
        )

    # -- the log -------------------------------------------------------------------------------

    def begin_log(self) -> None:
        """The log begins with the data and the history as they are."""
        backlog = self.replicator.leader.backlog
        backlog.active = True
        self.log.begin(self.history(), backlog.checksum)
        self._log_switched()

    def _log_switched(self) -> None:
        """The log takes every frame from here on, or none."""
        replicator, on = self.replicator, self.log.on
        backlog = replicator.leader.backlog
        if on:
            replicator.flush()
            backlog.active = True
        backlog.on_sealed = self.log.take if on else None
        backlog.on_reset = self._log_outdated if on else None
        replicator.read_settings()
        replicator.refresh()

    def _log_outdated(self) -> None:
        backlog = self.replicator.leader.backlog
        self.log.stream_replaced(backlog.end, backlog.mark.checksum)

    def write_log(self) -> bool:
        """Hands new frames to the log, before anyone else gets them; False where it fails."""
        files = self.log
        if not files.held:
            return not files.failing
        replicator = self.replicator
        leader = replicator.leader
        end = leader.backlog.end
        boundary = end if leader.leading else max(end, replicator.following.applier.position)
        return files.write(boundary)


__all__ = ["KeptHistory"]
