"""The receiving side of a full sync between two of ours: snapshot chunks and the stream's frames
come between each other on one link, and each is put in sequence on its own.

    on the link:   chunk 0  stream 900  chunk 1  chunk 2  stream 940  ...  end  stream 990 ...
    chunks:        0 1 2 ... end        handed on as they come in sequence, to be loaded
    stream:        900 940 ... 990      held, verified, until the snapshot has been loaded

The problem: while a snapshot is sent the stream goes on, and whoever lets it wait must hold it: a
leader would, for each of its followers, and run over its limit for a slow one. The idea: it is sent
at once, ahead of the snapshot, so that the leader holds nothing; the follower, which asked for all
this, holds what it cannot apply yet.

A damaged frame of either kind costs itself: it is asked for again (`intake.py`). Behind a damaged
header it is not known which kind is missing, so both are asked for from where they are.

Invariants: chunks come out once, in order and verified; `finished` is set only behind the end
frame; frames of the stream are in sequence from the snapshot's position on.
"""

from replication.constants import (
    SYNC_ACK_BYTES,
    SYNC_HELD_BYTES_MAX,
    SYNC_HELD_MEMORY_BYTES_MAX,
    SYNC_HELD_PIECE_BYTES,
    SYNC_PATIENCE,
)
from replication.frames import BodyDamageError, Frame, FrameError, FrameKind, FrameReader
from replication.full_sync import SnapshotError
from replication.held_log import HeldLog
from replication.intake import HistoryMismatchError, StreamIntake

_SNAPSHOT_KINDS = (FrameKind.SNAPSHOT, FrameKind.SNAPSHOT_END)


class SyncIntake:
    """One full sync's. `position` and `checksum` are the stream's where the snapshot was taken;
    what has come of the stream is added to `held`, sealed as it came."""

    __slots__ = (
        "_acked_bytes",
        "_chunks",
        "_reader",
        "finished",
        "held",
        "skip_newlines",
        "stream",
        "total_bytes",
    )

    def __init__(self, reader: FrameReader, position: int, checksum: int, held: HeldLog) -> None:
        self._reader = reader
        self.stream = StreamIntake(reader, position, checksum)
        self._chunks = StreamIntake(reader, 0, 0, of_snapshot=True)
        self.stream.behind_snapshot = True
        self.stream.patience = self._chunks.patience = SYNC_PATIENCE
        self.held = held
        self.finished = False
        self.total_bytes: int | None = None
        """The leader makes the snapshot while it sends it, so nobody knows."""
        self.skip_newlines = True
        self._acked_bytes = 0

    @property
    def received_bytes(self) -> int:
        """Of the snapshot, verified and in sequence."""
        return self._chunks.received

    @property
    def damaged(self) -> int:
        """Frames refused, so far."""
        return self._chunks.damaged + self.stream.damaged

    @property
    def repaired(self) -> int:
        """Frames that came when they were asked for again."""
        return self._chunks.repaired + self.stream.repaired

    @property
    def repaired_bytes(self) -> int:
        """What was in them."""
        return self._chunks.repaired_bytes + self.stream.repaired_bytes

    @property
    def room(self) -> bool:
        """Whether more of the stream can be held."""
        held = self.held
        return (
            held.memory_bytes <= SYNC_HELD_MEMORY_BYTES_MAX
            and held.held_bytes <= SYNC_HELD_BYTES_MAX
        )

    def feed(self, data: bytes) -> list[bytes]:
        """Takes bytes from the link; returns the snapshot bytes that they complete.

        Raises `SnapshotError` or `FrameError`; the snapshot is lost then, and the old data stays.
        """
        reader = self._reader
        reader.feed(data)
        if self.skip_newlines:
            reader.skip_newlines()
        chunks: list[Frame] = []
        frames: list[Frame] = []
        while self.stream.refusal is None and self._chunks.refusal is None:
            try:
                frame = reader.next_frame()
            except BodyDamageError as error:
                of_snapshot = error.header.kind in _SNAPSHOT_KINDS
                (self._chunks if of_snapshot else self.stream).damage(error)
                continue
            except FrameError as error:
                self.stream.damage(error)
                self.stream.suspect()
                if not self.finished:
                    self._chunks.suspect()
                continue
            if frame is None:
                break
            self.skip_newlines = False
            if frame.kind not in _SNAPSHOT_KINDS:
                self.stream.take(frame, frames)
            elif not self.finished:
                self._chunks.take(frame, chunks)
                self.finished = bool(chunks) and chunks[-1].kind is FrameKind.SNAPSHOT_END
        hold(self.held, frames)
        self._raise_refusal()
        return [frame.body for frame in chunks if frame.body]

    def _raise_refusal(self) -> None:
        refusal = self._chunks.refusal
        if isinstance(refusal, HistoryMismatchError):
            raise SnapshotError(f"the digest at byte {self.received_bytes} disagrees")
        refusal = refusal or self.stream.refusal
        if isinstance(refusal, HistoryMismatchError):
            at = self.stream.received
            raise SnapshotError(f"the stream behind {at} is of another history")
        if refusal is not None:
            raise refusal

    def ranges_due(self, now_ms: int, *, by_clock: bool = False) -> list[tuple[bool, int, int]]:
        """The missing ranges to ask for now, each with whether it is of the snapshot."""
        due = [(False, *each) for each in self.stream.ranges_due(now_ms, by_clock=by_clock)]
        if not self.finished:
            ranges = self._chunks.ranges_due(now_ms, by_clock=by_clock)
            due += [(True, *each) for each in ranges]
        self._raise_refusal()
        return due

    def ack_due(self, *, by_clock: bool = False) -> bool:
        """Whether the leader is to be told how far the snapshot has come; once for each time."""
        if not by_clock and self.received_bytes - self._acked_bytes < SYNC_ACK_BYTES:
            return False
        self._acked_bytes = self.received_bytes
        return True


def hold(held: HeldLog, frames: list[Frame]) -> None:
    """Adds frames behind what is held, in pieces that can each be applied without delaying
    anybody."""
    piece, size = [], 0
    for frame in frames:
        piece.append(frame.sealed)
        size += len(frame.sealed)
        if size >= SYNC_HELD_PIECE_BYTES:
            held.append(b"".join(piece))
            piece, size = [], 0
    if piece:
        held.append(piece[0] if len(piece) == 1 else b"".join(piece))


def held_frames(held: HeldLog) -> list[Frame]:
    """Takes the oldest piece: its frames, verified once more.

    Raises `FrameError`, and OSError where it cannot be read."""
    reader = FrameReader()
    reader.feed(held.read(held.first))
    held.release(held.first + 1)
    frames = []
    while (frame := reader.next_frame()) is not None:
        frames.append(frame)
    return frames


__all__ = ["SyncIntake", "held_frames", "hold"]
