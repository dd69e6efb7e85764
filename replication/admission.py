"""Who is let in as a follower, and where it goes on: REPLCONF, SYNC and PSYNC as a leader answers.

    REPLCONF ...           what the peer is and can take, into its `Progress`
    PSYNC replid offset    +CONTINUE     our history holds that position, and the checksums agree
                           +FORK         only up to a point: it may go back to there (`rewind.py`)
                           +FULLRESYNC   else (`snapshot_feed.py`)
                           -NOMASTERLINK not now: ours is not the history to follow
    PSYNC ... FAILOVER     our leader hands its place to us (`handover.py`)

The problem: a position means nothing without the history that it is of, and two histories can share
an id and a length. The idea: id and position are compared first, then what the peer's frames say of
its bytes, the history checksum there; only then is its cursor set.

Invariants: a peer is attached once; nobody is let in while this node cannot say whose history it
has; nobody whose epoch is beyond ours is served.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from replication import actions as act
from replication import events as ev
from replication.actions import GONE, RESUMES, SELECTS, LogLevel
from replication.checksum import crc32c
from replication.constants import EPOCH_MAX, FRAMES_VERSION, MEMBER_ID_BYTES_MAX
from replication.forks import common_point, decode_lineage
from replication.handover import HandoverState
from replication.history import HistoryMark
from replication.progress import Progress, ProgressState

if TYPE_CHECKING:
    from replication.leader import Leader

OK: Final = b"+OK\r\n"
OK_FRAMES: Final = b"+OK frames %d\r\n" % FRAMES_VERSION
OK_INTERLEAVED: Final = b"+OK frames %d interleaved\r\n" % FRAMES_VERSION


def on_replconf(leader: Leader, event: ev.ReplconfReceived, now_ms: int) -> None:
    """A peer says what it is, and what it can take."""
    progress = leader.progress_of(event.link)
    progress.heard_ms = now_ms
    reply = OK
    for name, value in event.options:
        error = _take_option(progress, name.lower(), value)
        if error is not None:
            leader.do(act.Reply(event.link, b"-ERR %s\r\n" % error))
            return
        if name.lower() == b"capa" and value.lower() == b"frames":
            reply = OK_FRAMES
    if reply is OK_FRAMES and progress.interleaves:
        reply = OK_INTERLEAVED
    leader.do(act.Reply(event.link, reply))


def _take_option(progress: Progress, name: bytes, value: bytes) -> bytes | None:
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


def on_sync(leader: Leader, event: ev.SyncReceived, now_ms: int) -> None:
    """A peer that does not know PSYNC asks for everything."""
    progress = leader.progress_of(event.link)
    if progress.attached or _refused_for_now(leader, progress):
        return
    progress.address = event.address
    progress.acknowledges = False
    leader.log(LogLevel.NOTICE, f"Replica {progress.name} asks for synchronization")
    leader.feed.queue(progress, now_ms)


def on_psync(leader: Leader, event: ev.PsyncReceived, now_ms: int) -> None:
    """A peer asks where it can go on."""
    progress = leader.progress_of(event.link)
    if progress.attached:
        return
    progress.address = event.address
    if event.failover and not _take_over(leader, event, now_ms):
        return
    if _refused_for_now(leader, progress):
        return
    leader.log(LogLevel.NOTICE, f"Replica {progress.name} asks for synchronization")
    refusal = _resume_refusal(leader, progress, event)
    if refusal is None:
        _resume(leader, progress, event.wanted - 1, now_ms)
        return
    if _tell_fork(leader, progress, event):
        return
    if event.replid != "?":
        leader.stats.sync_partial_err += 1
        leader.log(LogLevel.NOTICE, f"Partial resynchronization not accepted: {refusal}")
    else:
        leader.log(LogLevel.NOTICE, f"Full resync requested by replica {progress.name}")
    leader.feed.queue(progress, now_ms)


def _take_over(leader: Leader, event: ev.PsyncReceived, now_ms: int) -> bool:
    """Answers the FAILOVER request of our leader; True if we lead now."""
    error = None
    history = leader.history
    handed = event.replid == history.replid2 and event.wanted - 1 == history.replid2_position
    if leader.leading and handed:
        return True  # sentinels were quicker: we lead already, from this very position on
    if leader.leading:
        error = b"-ERR PSYNC FAILOVER can't be sent to a master.\r\n"
    elif event.replid != leader.history.replid:
        error = b"-ERR PSYNC FAILOVER replid must match my replid.\r\n"
    if error is not None:
        leader.do(act.Reply(event.link, error))
        return False
    leader.log(LogLevel.WARNING, "Failover request received for replid " + event.replid)
    leader.do(act.Promote())
    leader.promote(now_ms)
    return True


def _refused_for_now(leader: Leader, progress: Progress) -> bool:
    reason = None
    if leader.handover.state is not HandoverState.IDLE:
        reason = b"Can't SYNC while failing over"
    elif not leader.leading and not leader.upstream_connected:
        reason = b"Can't SYNC while not connected with my master"
    elif not leader.may_serve():
        reason = b"Can't SYNC: sentinels have not confirmed this node's history"
    elif progress.epoch > leader.history.epoch:
        reason = b"Can't SYNC: my epoch is behind yours"
        leader.do(act.YieldTo(progress.epoch))
    if reason is None:
        return False
    leader.do(act.Reply(progress.link, b"-NOMASTERLINK %s\r\n" % reason))
    return True


def _resume_refusal(leader: Leader, progress: Progress, event: ev.PsyncReceived) -> str | None:
    position = event.wanted - 1
    if event.replid == "?":
        return "no history"
    refusal = leader.history.refusal_of_id(event.replid, position)
    if refusal is not None:
        return refusal
    if not leader.backlog.covers(position):
        return (
            f"Unable to partial resync with replica {progress.name} for lack of backlog"
            f" (Replica request was: {event.wanted})."
        )
    damage = leader.backlog.forget_if_damaged(position)
    if damage is not None:
        leader.stats.frames_damaged += 1
        start = leader.backlog.start
        for other in leader.attached:
            waiting = other.state is ProgressState.WAITING
            if other.sent_position < start and not waiting:
                leader.drop(other, "the backlog is damaged")
        return f"the backlog is damaged: {damage}"
    mark = progress.mark
    if progress.framed and mark is not None and mark.base == leader.backlog.base:
        ours = leader.backlog.checksum_at(position)
        if ours != mark.checksum:
            leader.stats.histories_diverged += 1
            return (
                f"the replica's history has diverged: at offset {position} its checksum is"
                f" {mark.checksum:016x} and ours {ours:016x}"
            )
    return None


def _tell_fork(leader: Leader, progress: Progress, event: ev.PsyncReceived) -> bool:
    """Tells a peer that cannot resume where its history leaves ours, once a link: it may rewind
    to there and ask again, and knows what would be lost otherwise."""
    point = common_point(leader.history.lineage(leader.backlog.end), progress.lineage)
    if point is None or progress.fork_told or not progress.framed or event.replid == "?":
        return False
    replid, position = point
    covered = leader.backlog.covers(position)
    if position == event.wanted - 1 and (not covered or replid == event.replid):
        return False  # it has written nothing of its own, so only a full sync helps
    how = GONE
    if covered and leader.backlog.forget_if_damaged(position) is None:
        ours = dict(leader.history.lineage(leader.backlog.end))
        begins = replid != leader.history.replid and ours[replid] == position
        how = SELECTS if begins else RESUMES
    progress.fork_told = True
    line = f"+FORK {replid} {position} {how}"
    at = leader.backlog.end if how == GONE else position
    leader.do(act.Reply(progress.link, reply_line(leader, progress, line, at)))
    leader.log(
        LogLevel.NOTICE,
        f"Replica {progress.name} has a history of its own from offset {position + 1} on;"
        f" it is told so",
    )
    return True


def _resume(leader: Leader, progress: Progress, position: int, now_ms: int) -> None:
    line = f"+CONTINUE {leader.history.replid}" if progress.can_psync2 else "+CONTINUE"
    leader.do(act.Reply(progress.link, reply_line(leader, progress, line, position)))
    progress.become(ProgressState.STREAM)
    progress.sent_position = position
    progress.acked_position = 0 if progress.rewinding else position
    progress.heard_ms = progress.sent_ms = now_ms
    leader.stats.sync_partial_ok += 1
    leader.pump_wanted = True
    pending = leader.backlog.end - position
    leader.log(
        LogLevel.NOTICE,
        f"Partial resynchronization request from {progress.name} accepted."
        f" Sending {pending} bytes of backlog starting from offset {position + 1}.",
    )


def reply_line(leader: Leader, progress: Progress, line: str, position: int) -> bytes:
    """An answer to PSYNC: for one of ours with our epoch and the history at `position`, sealed."""
    if progress.framed:
        mark = leader.backlog.mark_at(position)
        line += f" FRAMES {FRAMES_VERSION} {leader.history.epoch} {mark.checksum:016x} {mark.base}"
        line += f" {crc32c(line.encode()):08x}"
    return line.encode() + b"\r\n"


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


__all__ = ["on_psync", "on_replconf", "on_sync", "reply_line"]
