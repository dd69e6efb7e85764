"""Progress: one follower as the serving side sees it.

    HANDSHAKE --PSYNC, can continue--------------------------> STREAM
        |                                                        ^
        +--PSYNC or SYNC, cannot--> WAITING --> SNAPSHOT --------+

Any state ends in GONE. In SNAPSHOT and STREAM the follower is a cursor (`sent_position`) into the
shared backlog; in SNAPSHOT that stands at the snapshot's position and does not move, unless the
follower takes the stream between the chunks.

A stock follower that was sent a snapshot of unknown length cannot tell its end from the stream's
beginning before it has looked at what it read, so nothing is sent until its first ACK
(`stream_on_ack`).
"""

import enum
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from replication.actions import SnapshotParts
from replication.constants import SYNC_CATCH_UP_BYTES
from replication.full_sync import SnapshotPass
from replication.history import HistoryMark


class ProgressState(enum.Enum):
    """Where a follower is on its way to the stream."""

    HANDSHAKE = "handshake"
    WAITING = "waiting"
    SNAPSHOT = "snapshot"
    STREAM = "stream"
    GONE = "gone"


PROGRESS_EDGES: Final[dict[ProgressState, frozenset[ProgressState]]] = {
    ProgressState.HANDSHAKE: frozenset(
        {ProgressState.WAITING, ProgressState.STREAM, ProgressState.GONE}
    ),
    ProgressState.WAITING: frozenset({ProgressState.SNAPSHOT, ProgressState.GONE}),
    ProgressState.SNAPSHOT: frozenset({ProgressState.STREAM, ProgressState.GONE}),
    ProgressState.STREAM: frozenset({ProgressState.GONE}),
    ProgressState.GONE: frozenset(),
}

INFO_STATES: Final = {
    ProgressState.WAITING: "wait_bgsave",
    ProgressState.SNAPSHOT: "send_bulk",
    ProgressState.STREAM: "online",
}
"""The words of `slaveN:...,state=` in INFO."""


@dataclass(slots=True)
class Progress:
    """What is known of one follower. Times are the machine's `now_ms`."""

    link: int
    state: ProgressState = ProgressState.HANDSHAKE
    address: str = ""
    announced_ip: str = ""
    listening_port: int = 0
    can_eof: bool = False
    can_psync2: bool = False
    framed: bool = False
    acknowledges: bool = True
    """False for a `SYNC` peer: it never sends ACK and is not timed out for it."""
    snapshot_only: bool = False
    parts: SnapshotParts = SnapshotParts.ALL
    """Of which the snapshot for it is to consist."""
    epoch: int = 0
    member: str = ""
    """Its id in the in-sync set; "" for a stock follower, which cannot be in it."""
    mark: HistoryMark | None = None
    """The history checksum it announced for the position it will ask for."""
    lineage: tuple[tuple[str, int], ...] = ()
    """The ids it knows, each with the last position that belongs to it."""
    fork_told: bool = False
    rewinding: bool = False
    """Whether keys of its data are of another history: what it acknowledges counts for nothing."""
    sent_position: int = 0
    acked_position: int = 0
    logged_position: int = 0
    lag_bytes: int = 0
    """Stream bytes that it had yet to apply when it acknowledged last."""
    lag_ms: int = 0
    """The age of the oldest of them then, by our own clock alone."""
    heard_ms: int = 0
    sent_ms: int = 0
    waiting_since_ms: int = 0
    paused_since_ms: int | None = None
    over_soft_limit_since_ms: int | None = None
    stream_on_ack: bool = False
    interleaves: bool = False
    """Whether it takes the stream between the chunks of a snapshot, and says how far it is."""
    sync: SnapshotPass | None = None
    """The pass that it is sent, in SNAPSHOT."""
    chunk: int = 0
    """The number of the chunk that it is sent next."""
    snapshot_sent_bytes: int = 0
    snapshot_acked_bytes: int = 0
    snapshot_digest: int = 0
    """The digest of the snapshot up to what it was sent."""
    tail_sent: bool = False
    received_position: int = 0
    """How much of the stream it has verified, while it is sent a snapshot."""
    catches_up_to: int = 0
    """How much of the stream one of ours had been sent when its snapshot was loaded."""
    room: bool = True
    """Whether it can hold more of the stream meanwhile."""
    control: deque[tuple[int, bytes]] = field(default_factory=deque)
    """Bodies of VERIFY frames, each to be sent at its position of the stream."""
    options: dict[str, str] = field(default_factory=dict)

    def become(self, state: ProgressState) -> None:
        """Takes an edge of the table; any other raises `AssertionError`."""
        assert state in PROGRESS_EDGES[self.state], f"{self.state} -> {state}"
        self.state = state

    @property
    def host(self) -> str:
        """The address to tell others: the announced one, else the socket's."""
        return self.announced_ip or self.address

    @property
    def name(self) -> str:
        """How log lines name it."""
        return f"{self.host}:{self.listening_port}"

    @property
    def attached(self) -> bool:
        """Whether PSYNC or SYNC has been accepted."""
        return self.state in INFO_STATES

    @property
    def online(self) -> bool:
        """Whether it is reading the stream."""
        return self.state is ProgressState.STREAM

    @property
    def streams(self) -> bool:
        """Whether it is sent the stream: in STREAM, or between the chunks of its snapshot."""
        return self.online or (self.sync is not None and self.interleaves and self.room)

    @property
    def pin_position(self) -> int:
        """From where on it may still need the stream."""
        if self.sync is not None and self.interleaves:
            return min(self.sent_position, self.received_position)
        if self.acked_position < self.catches_up_to:
            return max(self.acked_position, self.sent_position - SYNC_CATCH_UP_BYTES)
        return self.sent_position

    def begin_sync(self, current: SnapshotPass, position: int) -> None:
        """Is sent a pass from its first chunk."""
        self.sync = current
        self.interleaves = self.interleaves and self.framed
        self.chunk = self.snapshot_sent_bytes = self.snapshot_acked_bytes = 0
        self.snapshot_digest = 0
        self.tail_sent = False
        self.received_position = position
        self.room = True

    def invariants(self) -> None:
        """Raises `AssertionError` where the positions contradict each other."""
        if self.state in (ProgressState.SNAPSHOT, ProgressState.STREAM):
            assert self.sent_position >= 0
        if self.framed:
            assert self.can_psync2
