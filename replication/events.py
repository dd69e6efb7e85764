"""Events: all that may come into the machines.

A link is named by a number that the shell chooses and never uses twice. Positions count stream
bytes from zero. The leader machine takes the first group, the follower machine the second.
"""

from dataclasses import dataclass

from replication.actions import KeyValue
from replication.history import HistoryMark


class Event:
    """Base of all events."""

    __slots__ = ()


# What the serving side (leader machine) hears


@dataclass(frozen=True, slots=True)
class ReplconfReceived(Event):
    """`REPLCONF name value ...` from a peer that is not (yet) acknowledging."""

    link: int
    options: tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class PsyncReceived(Event):
    """`PSYNC replid wanted [FAILOVER]`. `address` is the peer's, as seen by the socket."""

    link: int
    address: str
    replid: str
    wanted: int
    failover: bool = False


@dataclass(frozen=True, slots=True)
class SyncReceived(Event):
    """`SYNC`: a peer that cannot resume and does not acknowledge."""

    link: int
    address: str


@dataclass(frozen=True, slots=True)
class AckReceived(Event):
    """`REPLCONF ACK position [FACK log_position] [HISTORY checksum]`."""

    link: int
    position: int
    log_position: int | None = None
    checksum: int | None = None


@dataclass(frozen=True, slots=True)
class ResendReceived(Event):
    """`REPLCONF RESEND start END end`: a follower got these stream bytes damaged. `end` is -1 for
    everything that it was sent."""

    link: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class KeepaliveReceived(Event):
    """A bare newline: the follower is busy but alive."""

    link: int


@dataclass(frozen=True, slots=True)
class LinkPaused(Event):
    """The link's socket buffer is over its high mark: send it nothing more."""

    link: int


@dataclass(frozen=True, slots=True)
class LinkResumed(Event):
    """The link's socket buffer has drained."""

    link: int


@dataclass(frozen=True, slots=True)
class LinkClosed(Event):
    """The link is gone, whoever closed it."""

    link: int


@dataclass(frozen=True, slots=True)
class SnapshotSpooled(Event):
    """A spooled snapshot is complete; its length is known and it can be pulled."""

    snapshot: int
    length_bytes: int


@dataclass(frozen=True, slots=True)
class SnapshotChunk(Event):
    """The next bytes of a snapshot, in answer to one `PullSnapshot`, or because writes made them
    due early and they are not to be kept by their maker. `share` of the snapshot has been read."""

    snapshot: int
    data: bytes
    asked: bool = True
    share: float = 0.0


@dataclass(frozen=True, slots=True)
class FeedDue(Event):
    """In answer to `FeedLater`."""


@dataclass(frozen=True, slots=True)
class SyncedReceived(Event):
    """`REPLCONF SYNCED bytes STREAM position ROOM 0|1`: a follower has verified so much of its
    snapshot and of the stream behind it, and can or cannot hold more of that."""

    link: int
    snapshot_bytes: int
    position: int
    room: bool


@dataclass(frozen=True, slots=True)
class ResendSnapshotReceived(Event):
    """`REPLCONF RESEND-SNAPSHOT start END end`: likewise, bytes of its snapshot came damaged."""

    link: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class SnapshotFinished(Event):
    """In answer to `PullSnapshot`: there is no more."""

    snapshot: int


@dataclass(frozen=True, slots=True)
class SnapshotFailed(Event):
    """The snapshot could not be produced."""

    snapshot: int
    reason: str


@dataclass(frozen=True, slots=True)
class WaitStarted(Event):
    """`WAIT`: tell `waiter` when `count` followers have acknowledged `position`."""

    waiter: int
    position: int
    count: int
    deadline_ms: int | None


@dataclass(frozen=True, slots=True)
class WaitCancelled(Event):
    """The waiting client is gone."""

    waiter: int


@dataclass(frozen=True, slots=True)
class AcksWanted(Event):
    """Somebody wants to know soon how far the followers are."""


@dataclass(frozen=True, slots=True)
class FailoverRequested(Event):
    """`FAILOVER [TO host port [FORCE]] [TIMEOUT ms]`, already checked by `Handover.refusal`."""

    target: tuple[str, int] | None = None
    force: bool = False
    timeout_ms: int | None = None


@dataclass(frozen=True, slots=True)
class FailoverAborted(Event):
    """`FAILOVER ABORT`."""


@dataclass(frozen=True, slots=True)
class HandoverEnded(Event):
    """The follower machine has asked the target to take over, and this came of it."""

    accepted: bool
    reason: str = ""


# What the comparison of data sets hears


@dataclass(frozen=True, slots=True)
class OwnDataCompared(Event):
    """In answer to `CompareOwnData`: the digests of all buckets, or the keys of some, each as
    (database, key, digest, bucket). `keys` is how many were looked at."""

    number: int
    keys: int
    buckets: tuple[int, ...] | None
    listed: tuple[tuple[int, bytes, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class ValuesRead(Event):
    """In answer to `ReadValues`."""

    link: int
    values: tuple[KeyValue, ...]


@dataclass(frozen=True, slots=True)
class KeysRead(Event):
    """In answer to `ReadKeys`."""

    link: int
    number: int
    values: tuple[KeyValue, ...]


# What the following side (follower machine) hears


@dataclass(frozen=True, slots=True)
class RewindPrepared(Event):
    """In answer to `PrepareRewind`: `mark` is the history checksum at the fork. `refusal`: why the
    data cannot be rewound and has to be rebuilt; `failure`: why the tail cannot be put aside, so
    that nothing may be done yet."""

    mark: HistoryMark | None
    refusal: str = ""
    failure: str = ""


@dataclass(frozen=True, slots=True)
class KeysWanted(Event):
    """Of the dirty keys, those to ask for next."""

    keys: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True)
class RewindEnded(Event):
    """No key is dirty any more."""


@dataclass(frozen=True, slots=True)
class HeldDue(Event):
    """In answer to `ApplyHeldLater`."""


@dataclass(frozen=True, slots=True)
class StreamPaused(Event):
    """The stream is not to be applied, or is again."""

    paused: bool


@dataclass(frozen=True, slots=True)
class DataCompared(Event):
    """What came of `CompareData` or `RepairKeys`: the verb and the words of the answer."""

    number: int
    verb: bytes
    words: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class RebuildWanted(Event):
    """In answer to `Rebuild`: everything before it has been applied."""

    reason: str


@dataclass(frozen=True, slots=True)
class FollowRequested(Event):
    """Follow the leader at `host`:`port`. `handover` asks it to take over from us first."""

    host: str
    port: int
    handover: bool = False


@dataclass(frozen=True, slots=True)
class UnfollowRequested(Event):
    """Stop following (the shell promotes this node next)."""


@dataclass(frozen=True, slots=True)
class LeaderConnected(Event):
    """The dialled connection stands."""


@dataclass(frozen=True, slots=True)
class LeaderUnreachable(Event):
    """The dialled connection failed."""

    reason: str


@dataclass(frozen=True, slots=True)
class LeaderBytes(Event):
    """Bytes from the leader."""

    data: bytes


@dataclass(frozen=True, slots=True)
class LeaderLinkClosed(Event):
    """The connection to the leader is gone."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class StreamApplied(Event):
    """Every command that ends at or before `position` has been executed."""

    position: int


@dataclass(frozen=True, slots=True)
class StreamUnreadable(Event):
    """What was applied last is no command, though it is what the leader sent."""

    reason: str


@dataclass(frozen=True, slots=True)
class GetackReceived(Event):
    """`REPLCONF GETACK` was read in the stream; `position` is where that command begins."""

    position: int


@dataclass(frozen=True, slots=True)
class SnapshotLoaded(Event):
    """In answer to `LoadCommit`: the new data set has replaced the old one."""


@dataclass(frozen=True, slots=True)
class SnapshotRejected(Event):
    """The snapshot cannot be loaded; the old data set is as it was."""

    reason: str
