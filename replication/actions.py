"""Actions: all that the machines may ask of their shell.

Carried out in the order given. `after` names what must be durable before an action may be seen by
anyone else: with it the ordering contract is part of the type and not of the caller's memory. A
shell that keeps nothing on disk has nothing to wait for.
"""

import enum
from dataclasses import dataclass
from typing import ClassVar, Final


class Durable(enum.Enum):
    """What has to be on disk first."""

    NOTHING = "nothing"
    HISTORY = "history"
    """The ids, epoch and position of this node's history (`RecordHistory`)."""
    STREAM = "stream"
    """The stream up to the position in the action, where the node logs its stream at all."""


class SnapshotParts(enum.Flag):
    """What a snapshot holds: `REPLCONF rdb-filter-only` asks for a part of it."""

    NOTHING = 0
    DATA = enum.auto()
    FUNCTIONS = enum.auto()
    ALL = DATA | FUNCTIONS


class LogLevel(enum.Enum):
    """How loudly to say it, in Redis's words."""

    VERBOSE = "verbose"
    NOTICE = "notice"
    WARNING = "warning"


class Action:
    """Base of all actions."""

    __slots__ = ()
    after: ClassVar[Durable] = Durable.NOTHING


@dataclass(frozen=True, slots=True)
class Log(Action):
    """Write a line to the server's log."""

    level: LogLevel
    text: str


@dataclass(frozen=True, slots=True)
class RecordHistory(Action):
    """The history's ids or epoch have changed: make them durable if the node keeps any state."""


@dataclass(frozen=True, slots=True)
class ForceSelect(Action):
    """Begin the next propagated command with `SELECT`: someone joins who knows no database."""


@dataclass(frozen=True, slots=True)
class DropFollowers(Action):
    """Close all follower links: the history has changed under them and they must ask again."""

    reason: str


# Asked by the serving side


@dataclass(frozen=True, slots=True)
class Reply(Action):
    """The answer to the command that was just received on `link`, already encoded."""

    link: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Send(Action):
    """Write `data` to a follower."""

    link: int
    data: bytes


@dataclass(frozen=True, slots=True)
class CloseLink(Action):
    """Close a follower's connection. The machine has already forgotten it.

    `flush`: send what is written first."""

    link: int
    reason: str
    flush: bool = False


@dataclass(frozen=True, slots=True)
class StartSnapshot(Action):
    """Fix the data set as it is now, at `position`, and make ready to read it out in chunks.

    `spooled` asks for its whole length (`SnapshotSpooled`) before the first chunk is pulled.
    """

    snapshot: int
    position: int
    spooled: bool
    parts: SnapshotParts = SnapshotParts.ALL


@dataclass(frozen=True, slots=True)
class PullSnapshot(Action):
    """Produce the next chunk."""

    snapshot: int


@dataclass(frozen=True, slots=True)
class FeedLater(Action):
    """Say `FeedDue` in a later turn of the loop: somebody can be sent more of a snapshot."""


@dataclass(frozen=True, slots=True)
class AbortSnapshot(Action):
    """Nobody needs this snapshot any more, or it has been read to its end."""

    snapshot: int


@dataclass(frozen=True, slots=True)
class WaitDone(Action):
    """Answer a waiting client with the number of followers that have its writes."""

    waiter: int
    count: int


@dataclass(frozen=True, slots=True)
class PauseWrites(Action):
    """Hold writes, expiry and eviction until `ResumeWrites`: a handover drains."""


@dataclass(frozen=True, slots=True)
class ResumeWrites(Action):
    """The handover is over, whoever leads now."""


@dataclass(frozen=True, slots=True)
class HandOver(Action):
    """Start following `host`:`port` with a request that it take over."""

    after: ClassVar[Durable] = Durable.STREAM
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class TakeBack(Action):
    """The handover failed: stop following and lead again."""


@dataclass(frozen=True, slots=True)
class Promote(Action):
    """Our leader asks us to take over: stop following and lead, before any further action."""


@dataclass(frozen=True, slots=True)
class YieldTo(Action):
    """A peer knows of a higher epoch than ours: someone else leads, or has led since."""

    epoch: int


# Asked by the comparison of data sets


@dataclass(frozen=True, slots=True)
class KeyValue:
    """A key as it is: expiry in Unix ms or 0, and the value as DUMP gives it, b"" for no key."""

    db_index: int
    key: bytes
    expire_ms: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class CompareOwnData(Action):
    """Digest this node's data as it is now; answer with `OwnDataCompared`.

    All buckets, or with `buckets` the keys of these. `budget_percent` of a core may be taken."""

    number: int
    buckets: frozenset[int] | None
    budget_percent: int


@dataclass(frozen=True, slots=True)
class AbandonComparison(Action):
    """Nobody waits for this node's own digests any more."""


@dataclass(frozen=True, slots=True)
class ReadValues(Action):
    """Read these keys (database, name) as they are now; answer with `ValuesRead` at once."""

    link: int
    keys: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True)
class CompareData(Action):
    """The leader asks: as `CompareOwnData`, answered with `DataCompared`."""

    number: int
    buckets: frozenset[int] | None
    budget_percent: int


@dataclass(frozen=True, slots=True)
class RepairKeys(Action):
    """Take these values in place of what is there; answer with `DataCompared` (done)."""

    number: int
    values: tuple[KeyValue, ...]


@dataclass(frozen=True, slots=True)
class ReadKeys(Action):
    """Read these keys as they are now; answer with `KeysRead` before anything else."""

    link: int
    number: int
    keys: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True)
class Rebuild(Action):
    """Our data is not worth resuming from: answer with `RebuildWanted`."""

    reason: str


# Asked by the following side


@dataclass(frozen=True, slots=True)
class Dial(Action):
    """Connect to the leader; answer with `LeaderConnected` or `LeaderUnreachable`."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class SendToLeader(Action):
    """Write to the leader."""

    data: bytes


@dataclass(frozen=True, slots=True)
class SendAck(Action):
    """Write an acknowledgement of `position` to the leader."""

    after: ClassVar[Durable] = Durable.STREAM
    position: int
    data: bytes


@dataclass(frozen=True, slots=True)
class CloseLeaderLink(Action):
    """Close the connection to the leader (or give up dialling). No `LeaderLinkClosed` follows."""

    reason: str


@dataclass(frozen=True, slots=True)
class LoadBegin(Action):
    """A snapshot follows: make a fresh, empty data set beside the one that is served."""

    replid: str
    position: int


@dataclass(frozen=True, slots=True)
class LoadChunk(Action):
    """The next verified bytes of the snapshot."""

    data: bytes


@dataclass(frozen=True, slots=True)
class ApplyHeldLater(Action):
    """Say `HeldDue` in a later turn of the loop: others are to have theirs before it."""


@dataclass(frozen=True, slots=True)
class ReadLeader(Action):
    """Read from the leader, or leave what it sends in the sockets."""

    reading: bool


@dataclass(frozen=True, slots=True)
class LoadCommit(Action):
    """The snapshot is complete: put the fresh data set in place of the old one, or refuse.

    Answer with `SnapshotLoaded` or `SnapshotRejected`.
    """


@dataclass(frozen=True, slots=True)
class LoadAbort(Action):
    """Throw the fresh data set away and go on serving the old one."""

    reason: str


@dataclass(frozen=True, slots=True)
class ApplyStream(Action):
    """Execute the commands in these verified bytes; report `StreamApplied` before the next event.

    A command may be cut at the end: keep the rest for the next call.
    """

    data: bytes


SELECTS: Final = "select"
RESUMES: Final = "resume"
GONE: Final = "gone"
FORK_WORDS: Final = frozenset({SELECTS, RESUMES, GONE})


@dataclass(frozen=True, slots=True)
class Fork:
    """Where our history leaves the leader's: what is behind `position` of `replid` is ours alone.

    `how`: the leader's stream goes on from there and first selects a database; goes on in the
    database that is selected there; or is no longer in its backlog."""

    replid: str
    position: int
    how: str


@dataclass(frozen=True, slots=True)
class PrepareRewind(Action):
    """Put what was written behind the fork into a rollback file and find the keys that it touched;
    answer with `RewindPrepared`, soon or later. Nothing is changed yet."""

    fork: Fork
    leader: str


@dataclass(frozen=True, slots=True)
class BeginRewind(Action):
    """The history has gone back to the fork that was prepared: the data follows."""

    position: int


@dataclass(frozen=True, slots=True)
class FetchKeys(Action):
    """The stream flows: ask for the dirty keys (`KeysWanted`), or say that there are none
    (`RewindEnded`)."""


@dataclass(frozen=True, slots=True)
class TakeValues(Action):
    """Take these values in place of what is there, then go on as for `FetchKeys`."""

    values: tuple[KeyValue, ...]


@dataclass(frozen=True, slots=True)
class StreamReset(Action):
    """Forget an unfinished command or transaction; the stream resumes at a command's beginning."""


@dataclass(frozen=True, slots=True)
class HandoverAnswered(Action):
    """What came of a handover; pass it to the leader machine as `HandoverEnded`."""

    accepted: bool
    reason: str


def command(*words: bytes) -> bytes:
    """A command as a leader reads it, for `SendToLeader` and `SendAck`."""
    parts = [b"*%d\r\n" % len(words)]
    parts += [b"$%d\r\n%s\r\n" % (len(word), word) for word in words]
    return b"".join(parts)
