"""Intake: the bytes of a framed link become frames in sequence, and damage costs the damage alone.

The problem: a byte that was flipped on the way makes one frame useless, and everything behind it is
sound. To drop the link would send all of that again. The idea: what is behind the damage is held,
the damaged range alone is asked for again, and all of it goes on when the range has come.

    link order:     [ 100..140 ]  [ damaged ]  [ 190..230 ]  [ 230..260 ]      [ 140..190 ]
                     taken         140..190     held          held              asked again
    given out:      100..140                                                   140..190 .. 260

A body that is damaged leaves its header sound, so the range is known at once. Where the header is
damaged the next sound header ends the range; if none comes, the range is asked for without an end.
Whatever was sent twice is dropped by its position.

What is held is bounded, and so are the time for which anything is missing and the number of times
it is asked for; beyond a bound the link is given up, and resumed by PSYNC.

Sound frames whose history checksum is not ours mean that two histories have diverged. Not so after
a search for a header: bytes that look like a frame may be part of a body then, so it is damage.

Invariants: frames are given out once, in sequence, verified, with the history checksum that follows
from all before; `received` is the end of the last; after `refusal` is set nothing is given out.
"""

from collections import deque
from typing import Final

from replication.checksum import history_checksum
from replication.constants import (
    REPAIR_ATTEMPTS_MAX,
    REPAIR_HELD_BYTES_MAX,
    REPAIR_INTERVAL_MS,
)
from replication.frames import BodyDamageError, Frame, FrameError, FrameKind, FrameReader

END_UNKNOWN: Final = -1
"""In a range: everything sent so far."""


_OF_SNAPSHOT: Final = (FrameKind.SNAPSHOT, FrameKind.SNAPSHOT_END)


class HistoryMismatchError(Exception):
    """A sound frame of another history than ours."""

    def __init__(self, theirs: int, ours: int) -> None:
        super().__init__()
        self.theirs = theirs
        self.ours = ours


class StreamIntake:
    """One link's. `position` and `checksum` say where the stream goes on, or with `of_snapshot`
    the snapshot, whose chunks are checked and asked for again in the same way."""

    __slots__ = (
        "_asked",
        "_asked_at",
        "_asked_ms",
        "_attempts",
        "_epoch",
        "_expected",
        "_held",
        "_held_bytes",
        "_kind",
        "_other",
        "_patches",
        "_reader",
        "_searched",
        "_suspect",
        "behind_snapshot",
        "checksum",
        "damaged",
        "patience",
        "received",
        "refusal",
        "repaired",
        "repaired_bytes",
    )

    def __init__(
        self, reader: FrameReader, position: int, checksum: int, *, of_snapshot: bool = False
    ) -> None:
        self._reader = reader
        self._kind = FrameKind.SNAPSHOT if of_snapshot else FrameKind.STREAM
        self._other = FrameKind.SNAPSHOT_END if of_snapshot else FrameKind.VERIFY
        self._suspect = False
        self.behind_snapshot = False
        """Whether chunks that were sent twice may still come, and mean nothing."""
        self.patience = 1
        """How many times longer than usual to wait before asking once more: on a link that is full
        what was asked for comes behind everything that has been sent already."""
        self.received = position
        self.checksum = checksum
        self.refusal: Exception | None = None
        """Why the link is to be given up: FrameError or HistoryMismatchError."""
        self.damaged = 0
        """Frames refused, so far."""
        self.repaired = 0
        """Frames that came when they were asked for again."""
        self.repaired_bytes = 0
        self._epoch = 0
        self._expected = position
        self._held: deque[Frame] = deque()
        self._patches: dict[int, Frame] = {}
        self._held_bytes = 0
        self._searched = False
        self._asked: list[tuple[int, int]] = []
        self._asked_at = -1
        self._asked_ms = 0
        self._attempts = 0

    @property
    def missing(self) -> bool:
        """Whether frames are held because something before them is missing."""
        return (
            bool(self._held)
            or self._reader.searching
            or self._suspect
            or self._expected > self.received
        )

    def feed(self, data: bytes) -> list[Frame]:
        """Takes bytes from the link; returns the frames that can be used now, in sequence."""
        given: list[Frame] = []
        if self.refusal is not None:
            return given
        reader = self._reader
        reader.feed(data)
        while self.refusal is None:
            try:
                frame = reader.next_frame()
            except FrameError as error:
                self.damage(error)
                continue
            if frame is None:
                break
            self.take(frame, given)
        return given

    def take(self, frame: Frame, given: list[Frame]) -> None:
        """Takes one frame; adds to `given` what can be used now."""
        try:
            self._take(frame, given)
        except HistoryMismatchError as error:
            self.refusal = error
        except FrameError as error:
            self.damage(error)

    def damage(self, error: FrameError) -> None:
        """A frame did not come, for this reason."""
        self.damaged += 1
        if isinstance(error, BodyDamageError):
            header = error.header
            if header.kind is self._kind and header.start >= self._expected:
                self._expected = header.start + header.body_bytes
            return
        self._searched = True
        if not self._reader.searching:
            self.refusal = error

    def suspect(self) -> None:
        """Behind a damaged header something is missing, here or in what shares the link: it is
        asked for without an end, until the next frame in sequence shows that nothing is."""
        self._searched = self._suspect = True

    def ranges_due(self, now_ms: int, *, by_clock: bool = False) -> list[tuple[int, int]]:
        """The missing ranges to ask for now: the new ones, and by the clock those that did not
        come. Sets `refusal` where it has been asked for too often."""
        if not self.missing or self.refusal is not None:
            return []
        if self._asked_at != self.received:
            self._asked_at, self._attempts = self.received, 0
            self._asked = [each for each in self._asked if each[0] >= self.received]
        wanted = self._missing_ranges(open_ended=by_clock)
        fresh = [each for each in wanted if each not in self._asked]
        if by_clock:
            if now_ms - self._asked_ms < REPAIR_INTERVAL_MS * self.patience:
                return []
            if self._held or self._reader.searching or self._expected > self.received:
                self._attempts += 1
            fresh = wanted
        if self._attempts > REPAIR_ATTEMPTS_MAX:
            self.refusal = FrameError(f"what was damaged at {self.received} did not come again")
            return []
        if fresh:
            self._asked, self._asked_ms = wanted, now_ms
        return fresh

    def _missing_ranges(self, *, open_ended: bool) -> list[tuple[int, int]]:
        ranges = []
        at = self.received
        known = sorted([*self._held, *self._patches.values()], key=lambda frame: frame.start)
        for frame in known:
            if frame.start > at:
                ranges.append((at, frame.start))
            at = max(at, frame.end)
        if self._expected > at:
            ranges.append((at, self._expected))
            at = self._expected
        if open_ended and (self._reader.searching or self._suspect):
            ranges.append((at, END_UNKNOWN))
        return ranges

    def _take(self, frame: Frame, given: list[Frame]) -> None:
        kind = frame.kind
        if kind is not self._kind and kind is not self._other:
            if self.behind_snapshot and kind in _OF_SNAPSHOT:
                return
            raise FrameError(f"a {kind.name} frame came among {self._kind.name} frames")
        if kind is FrameKind.STREAM and not frame.body:
            raise FrameError("a STREAM frame of 0 bytes")
        if frame.start >= self._expected:
            self._suspect = False
        if frame.start == self._expected == self.received and not self._held:
            self._give(frame, given)
            self._expected = self.received
            return
        if frame.start >= self._expected:
            if not self._searched and not self.missing:
                raise FrameError(f"a frame for {frame.start} came where {self._expected} was next")
            self._hold(frame)
            self._held.append(frame)
            self._expected = max(self._expected, self._end(frame))
        elif self._fills(frame):
            self._hold(frame)
            self._patches[frame.start] = frame
            self.repaired += 1
            self.repaired_bytes += len(frame.body)
        self._drain(given)

    def _fills(self, frame: Frame) -> bool:
        """Whether a frame brings what is missing, and has not come already."""
        fresh = frame.start not in self._patches
        return fresh and frame.kind is self._kind and frame.end > self.received

    def _end(self, frame: Frame) -> int:
        """Where the next frame begins: one that is no part of the bytes takes no room in them."""
        return frame.end if frame.kind is self._kind else frame.start

    def _hold(self, frame: Frame) -> None:
        self._held_bytes += len(frame.sealed)
        if self._held_bytes > REPAIR_HELD_BYTES_MAX:
            raise FrameError(f"too much came behind the damage at {self.received}")

    def _drain(self, given: list[Frame]) -> None:
        while True:
            frame = self._patches.pop(self.received, None)
            if frame is None:
                while (
                    self._held
                    and self._end(self._held[0]) <= self.received
                    and (self._held[0].start < self.received)
                ):
                    self._held_bytes -= len(self._held.popleft().sealed)
                if not self._held or self._held[0].start != self.received:
                    break
                frame = self._held.popleft()
            self._held_bytes -= len(frame.sealed)
            self._give(frame, given)
        if self._held and self._held[0].start < self.received:
            raise FrameError(f"a frame for {self._held[0].start} overlaps what came before")
        if not self._held and self._expected <= self.received:
            self._expected = self.received
            self._patches.clear()
            self._held_bytes = 0

    def _give(self, frame: Frame, given: list[Frame]) -> None:
        if frame.epoch < self._epoch:
            raise FrameError(f"epoch {frame.epoch} after epoch {self._epoch}")
        if frame.kind is self._kind:
            ours = history_checksum(frame.body, self.checksum)
            if frame.history != ours:
                if self._searched:
                    raise FrameError(f"a frame for {frame.start} is not of this stream")
                raise HistoryMismatchError(frame.history, ours)
            self.checksum = ours
            self.received = frame.end
        self._epoch = frame.epoch
        given.append(frame)
