"""Full sync: one snapshot from a leader to the followers that need it.

Sending side, `SnapshotPass`: the data set is read once and each chunk is sealed once, for every
follower that was waiting when the pass began (`snapshot_feed.py` says when who is sent what).

    SPOOLING (with a known length only) --length known--> SENDING --all read--> DONE
       any of the two --> FAILED

It goes in one of three envelopes. The receiving side of the first is `sync_intake.py`, of the
others `SnapshotReceiver`.

    framed   SNAPSHOT frames, each with the digest of everything so far, then one SNAPSHOT_END
    length   `$<bytes>\\r\\n` and that many bytes
    mark     `$EOF:<40 bytes>\\r\\n`, bytes, and the same 40 bytes

Invariants: bytes come out once, in order; `finished` is set only when the end was seen. In
the mark envelope the last 40 bytes read are held back, since they
may be the mark; the leader sends nothing behind it until we acknowledge.
"""

import enum
from bisect import bisect_right
from typing import Final

from replication.actions import SnapshotParts
from replication.checksum import crc64_redis
from replication.constants import (
    EOF_MARK_LENGTH,
    HANDSHAKE_LINE_BYTES_MAX,
    SNAPSHOT_LENGTH_BYTES_MAX,
    SYNC_LOG_MEMORY_BYTES_MAX,
)
from replication.frames import FrameKind, seal
from replication.held_log import HeldLog


class SnapshotError(ValueError):
    """A snapshot that cannot be used. `str(error)` says why."""


class PassState(enum.Enum):
    """Where a pass over the data set is."""

    SPOOLING = "spooling"
    SENDING = "sending"
    DONE = "done"
    FAILED = "failed"


PASS_EDGES: Final[dict[PassState, frozenset[PassState]]] = {
    PassState.SPOOLING: frozenset({PassState.SENDING, PassState.FAILED}),
    PassState.SENDING: frozenset({PassState.DONE, PassState.FAILED}),
    PassState.DONE: frozenset(),
    PassState.FAILED: frozenset(),
}


class SnapshotPass:
    """One reading of the data set, for the followers in `links`."""

    __slots__ = (
        "_starts",
        "chunks",
        "digest",
        "eof_mark",
        "epoch",
        "length_bytes",
        "links",
        "parts",
        "position",
        "produced_bytes",
        "pulling",
        "share",
        "snapshot",
        "spooled",
        "state",
    )

    def __init__(
        self,
        snapshot: int,
        position: int,
        epoch: int,
        *,
        spooled: bool,
        eof_mark: str,
        parts: SnapshotParts = SnapshotParts.ALL,
        chunks: HeldLog | None = None,
    ) -> None:
        assert len(eof_mark) == EOF_MARK_LENGTH
        self.parts = parts
        self.snapshot = snapshot
        self.position = position
        self.epoch = epoch
        self.spooled = spooled
        self.eof_mark = eof_mark
        self.chunks = HeldLog(SYNC_LOG_MEMORY_BYTES_MAX) if chunks is None else chunks
        """Sealed, from the first that somebody may still need."""
        self.state = PassState.SPOOLING if spooled else PassState.SENDING
        self.links: set[int] = set()
        self.length_bytes: int | None = None
        self.produced_bytes = 0
        self.share = 0.0
        """How much of the data has been read, 0 to 1."""
        self.digest = 0
        self.pulling = False
        """Whether a chunk has been asked for and not yet come."""
        self._starts = [0]

    @property
    def transferring(self) -> bool:
        """Whether it is a finished snapshot that is being sent; one that is made while it is sent
        is still being made, which is what Redis's INFO calls it."""
        return self.state is PassState.DONE or (self.spooled and self.state is PassState.SENDING)

    def become(self, state: PassState) -> None:
        """Takes an edge of the table; any other raises `AssertionError`."""
        assert state in PASS_EDGES[self.state], f"{self.state} -> {state}"
        self.state = state

    def spooled_to(self, length_bytes: int) -> None:
        """The length is known and the first chunk can be pulled."""
        self.length_bytes = length_bytes
        self.become(PassState.SENDING)

    def envelope_head(self, *, framed: bool) -> bytes:
        """What goes before the first chunk."""
        if framed:
            return b""
        if self.length_bytes is not None:
            return b"$%d\r\n" % self.length_bytes
        return b"$EOF:%s\r\n" % self.eof_mark.encode()

    def take_chunk(self, data: bytes, now_ms: int) -> None:
        """Seals a chunk behind the others."""
        assert self.state is PassState.SENDING
        start = self.produced_bytes
        self.digest = crc64_redis(data, self.digest)
        self.produced_bytes += len(data)
        assert self.length_bytes is None or self.produced_bytes <= self.length_bytes
        self._starts.append(self.produced_bytes)
        self.chunks.append(seal(FrameKind.SNAPSHOT, self.epoch, start, now_ms, self.digest, data))

    def end_of(self, number: int) -> int:
        """Where the chunks before that number end."""
        return self._starts[number]

    def number_at(self, position: int) -> int:
        """The number of the chunk that begins at a position, or in which it is."""
        return bisect_right(self._starts, position) - 1

    def share_of(self, sent_bytes: int) -> float:
        """How much of the data these bytes are, 0 to 1."""
        return self.share * sent_bytes / max(1, self.produced_bytes)

    def keepalive(self, sent_bytes: int, digest: int, now_ms: int) -> bytes:
        """A frame without body, for a framed reader that has had so much and waits."""
        return seal(FrameKind.SNAPSHOT, self.epoch, sent_bytes, now_ms, digest, b"")

    def finish(self) -> None:
        """The last chunk has been taken."""
        assert self.length_bytes is None or self.produced_bytes == self.length_bytes
        self.pulling = False
        self.share = 1.0
        self.become(PassState.DONE)

    def envelope_tail(self, now_ms: int, *, framed: bool) -> bytes:
        """What goes behind the last chunk."""
        if framed:
            end = FrameKind.SNAPSHOT_END
            return seal(end, self.epoch, self.produced_bytes, now_ms, self.digest, b"")
        return b"" if self.spooled else self.eof_mark.encode()


class SnapshotReceiver:
    """Unwraps one snapshot. Feed until `finished`; then `rest` is what came behind it.

    `feed` raises `SnapshotError`; the snapshot is lost then, and the old data stays."""

    __slots__ = (
        "_head_done",
        "_held",
        "_mark",
        "finished",
        "received_bytes",
        "total_bytes",
    )

    def __init__(self) -> None:
        self._held = b""
        self._mark = b""
        self._head_done = False
        self.received_bytes = 0
        self.total_bytes: int | None = None
        self.finished = False

    @property
    def rest(self) -> bytes:
        """Bytes behind an unframed snapshot."""
        assert self.finished
        return self._held

    def feed(self, data: bytes) -> list[bytes]:
        """Takes bytes from the link; returns the snapshot bytes that they complete."""
        assert not self.finished
        data = self._held + data
        self._held = b""
        if not self._head_done:
            data = self._take_head(data)
            if not self._head_done:
                self._held = data
                return []
        return self._take_length(data) if not self._mark else self._take_mark(data)

    def _take_head(self, data: bytes) -> bytes:
        data = data.lstrip(b"\n")
        end = data.find(b"\n")
        if end < 0:
            if len(data) > HANDSHAKE_LINE_BYTES_MAX:
                raise SnapshotError("the line before the snapshot is too long")
            return data
        line = data[:end].rstrip(b"\r")
        if line.startswith(b"-"):
            raise SnapshotError(f"the leader aborted: {line[1:].decode('latin-1')}")
        if line.startswith(b"$EOF:"):
            self._mark = line[5:]
            if len(self._mark) != EOF_MARK_LENGTH:
                raise SnapshotError(f"an end mark of {len(self._mark)} bytes")
        else:
            self.total_bytes = _length_of(line)
        self._head_done = True
        return data[end + 1 :]

    def _take_length(self, data: bytes) -> list[bytes]:
        assert self.total_bytes is not None
        missing = self.total_bytes - self.received_bytes
        chunk, self._held = data[:missing], data[missing:]
        self.received_bytes += len(chunk)
        self.finished = self.received_bytes == self.total_bytes
        return [chunk] if chunk else []

    def _take_mark(self, data: bytes) -> list[bytes]:
        if data.endswith(self._mark):
            self.finished = True
            chunk = data[:-EOF_MARK_LENGTH]
        else:
            chunk, self._held = data[:-EOF_MARK_LENGTH], data[-EOF_MARK_LENGTH:]
        self.received_bytes += len(chunk)
        return [chunk] if chunk else []


def _length_of(line: bytes) -> int:
    digits = line[1:]
    if not line.startswith(b"$") or not digits.isdigit() or len(digits) > 20:
        raise SnapshotError(f"{line[:40]!r} came where a snapshot was to begin")
    length = int(digits)
    if length > SNAPSHOT_LENGTH_BYTES_MAX:
        raise SnapshotError(f"a snapshot of {length} bytes is not believed")
    return length


__all__ = [
    "PASS_EDGES",
    "PassState",
    "SnapshotError",
    "SnapshotPass",
    "SnapshotReceiver",
]
