"""Backlog: the end of the stream, sealed in frames, shared by all followers.

The problem: several followers, each at its own pace, and links that break. Redis keeps one shared
chain of counted blocks; a private output buffer per follower would hold the same bytes many times.
The idea: one list of sealed frames, addressed by position; a follower is only a cursor into it.

    position:   start                                               end
                 |  frame 0   |  frame 1  |      frame 2       | ... |
    cursors:                  ^ follower 7 (lagging)                 ^ follower 3

Kept are `size_bytes` of stream at least, and besides that everything after `pinned_position`: what
attached followers have yet to be sent. Whoever pins is bounded by its output limit, so the whole
is bounded too. Frames leave whole, oldest first.

A reader may start anywhere: the frame in which it starts is verified and its rest sealed anew with
the history checksum that the leader gave its end. Stock Redis peers read the same bytes without
the headers.

Invariants: frames are contiguous from `start` to `end`; each carries the history checksum at its
end; `checksum` is the one at `end`. An inactive backlog is empty and its position stands still.
"""

from bisect import bisect_right
from collections.abc import Callable

from replication.checksum import history_checksum
from replication.constants import BACKLOG_BYTES_MIN, STREAM_FRAME_BYTES
from replication.frames import (
    HEADER_BYTES,
    Frame,
    FrameError,
    FrameKind,
    parse,
    parse_header,
    reseal_head,
    reseal_tail,
    seal,
)
from replication.history import HistoryMark

_STREAM = FrameKind.STREAM.value
_COMPACT_FRAMES_MIN = 1024
_NUMBERS_BYTES = 32 + 47
"""What a frame's start and checksum take as Python numbers: 32, and 48 or (one in 16) 32."""


def _held_bytes(sealed: bytes) -> int:
    """What a bytes object takes in the allocator: its header and its rounding included."""
    size = 33 + len(sealed)
    return (size + 15) & ~15 if size <= 512 else ((size + 23) & ~15) - 8


class Backlog:
    """Bounded end of a stream. Positions count stream bytes from zero, headers not included."""

    __slots__ = (
        "_checksums",
        "_end",
        "_first",
        "_sealed",
        "_sealed_bytes",
        "_start_checksum",
        "_starts",
        "active",
        "base",
        "checksum",
        "on_reset",
        "on_sealed",
        "pinned_position",
        "size_bytes",
    )

    def __init__(self, size_bytes: int, position: int = 0, mark: HistoryMark | None = None) -> None:
        self.size_bytes = max(size_bytes, BACKLOG_BYTES_MIN)
        self.active = False
        self.pinned_position: int | None = None
        self.on_sealed: Callable[[bytes], None] | None = None
        """Told of each frame that is added, header and body, in order (the log on disk)."""
        self.on_reset: Callable[[], None] | None = None
        """Told when the stream has been replaced, or its checksum begins anew."""
        self.reset(position, mark)

    def reset(self, position: int, mark: HistoryMark | None = None) -> None:
        """Forgets all bytes and goes on at `position` (after a full sync). Pins are dropped."""
        self._sealed: list[bytes] = []
        self._sealed_bytes = 0
        self._starts: list[int] = []
        self._checksums: list[int] = []
        self._first = 0
        self._end = position
        self.base = position if mark is None else mark.base
        self.checksum = self._start_checksum = 0 if mark is None else mark.checksum
        self.pinned_position = None
        if self.on_reset is not None:
            self.on_reset()

    # positions

    @property
    def start(self) -> int:
        """Position of the oldest byte kept."""
        return self._starts[self._first] if self._first < len(self._starts) else self._end

    @property
    def end(self) -> int:
        """Position after the newest byte: the replication offset of this node."""
        return self._end

    @property
    def mark(self) -> HistoryMark:
        """The history checksum at `end`."""
        return HistoryMark(self.checksum, self.base)

    def __len__(self) -> int:
        """Stream bytes kept."""
        return self._end - self.start

    @property
    def frame_count(self) -> int:
        """Frames kept."""
        return len(self._starts) - self._first

    @property
    def memory_bytes(self) -> int:
        """The memory that the frames take, to the byte as far as can be told: a leader does not
        count it against maxmemory, so an error here would evict keys."""
        lists = (self._sealed, self._starts, self._checksums)
        numbers = len(self._starts) * _NUMBERS_BYTES
        return self._sealed_bytes + numbers + sum(held.__sizeof__() for held in lists)

    def covers(self, position: int) -> bool:
        """Whether a reader can go on from `position`."""
        return self.active and self.start <= position <= self._end

    # writing

    def append(self, data: bytes, now_ms: int, epoch: int) -> None:
        """Seals `data` at the end of the stream. `now_ms` is this node's wall clock."""
        assert self.active
        if len(data) <= STREAM_FRAME_BYTES:
            self._append(data, now_ms, epoch)
        else:
            for at in range(0, len(data), STREAM_FRAME_BYTES):
                self._append(data[at : at + STREAM_FRAME_BYTES], now_ms, epoch)

    def _append(self, body: bytes, now_ms: int, epoch: int) -> None:
        checksum = self.checksum = history_checksum(body, self.checksum)
        start = self._end
        sealed = seal(_STREAM, epoch, start, now_ms, checksum, body)
        self._sealed.append(sealed)
        self._sealed_bytes += _held_bytes(sealed)
        self._starts.append(start)
        self._checksums.append(checksum)
        self._end = start + len(body)
        if self.on_sealed is not None:
            self.on_sealed(sealed)
        if self._end - self._starts[self._first] > self.size_bytes:
            self.trim()

    def append_sealed(self, frame: Frame) -> None:
        """Takes a frame that a leader sealed, as it is. It must fit the end of the stream."""
        assert self.active
        assert frame.start == self._end
        assert frame.body
        assert history_checksum(frame.body, self.checksum) == frame.history
        self._sealed.append(frame.sealed)
        self._sealed_bytes += _held_bytes(frame.sealed)
        self._starts.append(frame.start)
        self._checksums.append(frame.history)
        self._end = frame.end
        self.checksum = frame.history
        if self.on_sealed is not None:
            self.on_sealed(frame.sealed)
        self.trim()

    def trim(self) -> None:
        """Lets go of the oldest frames that neither size nor pin hold."""
        starts, first, last = self._starts, self._first, len(self._starts) - 1
        keep_from = self._end - self.size_bytes
        if self.pinned_position is not None and self.pinned_position < keep_from:
            keep_from = self.pinned_position
        dropped = first
        while dropped < last and starts[dropped + 1] <= keep_from:
            dropped += 1
        if dropped == first:
            return
        self._start_checksum = self._checksums[dropped - 1]
        for at in range(first, dropped):
            self._sealed_bytes -= _held_bytes(self._sealed[at])
            self._sealed[at] = b""
        self._first = dropped
        if dropped > _COMPACT_FRAMES_MIN and dropped * 2 > len(starts):
            del self._sealed[:dropped]
            del self._starts[:dropped]
            del self._checksums[:dropped]
            self._first = 0

    def rewind(self, position: int, mark: HistoryMark) -> None:
        """Forgets what was written after `position`, where the history checksum is `mark`. Nobody
        is told: who logs the stream has to go back as well. Raises `FrameError` for a frame that
        has gone bad there."""
        if position == self._end:
            return
        if position < self.start:
            self.reset(position, mark)
            return
        at = self._index(position)
        keep_bytes = position - self._starts[at]
        before = self._checksum_before(at)
        head = b""
        if keep_bytes:
            head = reseal_head(parse(self._sealed[at]), keep_bytes, before)
        self._sealed_bytes -= sum(map(_held_bytes, self._sealed[at:]))
        del self._sealed[at:], self._starts[at:], self._checksums[at:]
        self._end, self.checksum = position, before
        if head:
            self.checksum = parse_header(head).history
            self._sealed.append(head)
            self._sealed_bytes += _held_bytes(head)
            self._starts.append(position - keep_bytes)
            self._checksums.append(self.checksum)

    def resize(self, size_bytes: int) -> None:
        """Takes a new configured size at once."""
        self.size_bytes = max(size_bytes, BACKLOG_BYTES_MIN)
        if self._first < len(self._starts):
            self.trim()

    def forget_if_damaged(self, position: int) -> str | None:
        """Verifies the frame that holds `position`; if it has gone bad, lets go of it and of all
        before it, and says what is wrong: nobody is to be sent it again."""
        if position == self._end:
            return None
        at = self._index(position)
        try:
            parse(self._sealed[at])
        except FrameError as error:
            self._start_checksum = self._checksums[at]
            self._sealed_bytes -= sum(map(_held_bytes, self._sealed[self._first : at + 1]))
            del self._sealed[: at + 1]
            del self._starts[: at + 1]
            del self._checksums[: at + 1]
            self._first = 0
            return str(error)
        return None

    # reading

    def read_frames(self, position: int, bytes_max: int) -> tuple[bytes, int]:
        """Sealed frames from `position` on, and the position after them.

        At least one frame, then as many as keep the stream bytes within `bytes_max`; nothing at
        the end of the stream. Raises `FrameError` if resuming inside a frame that has gone bad.
        """
        if position == self._end:
            return b"", position
        at = self._index(position)
        skip = position - self._starts[at]
        stop = self._stop_index(at, position, bytes_max)
        if skip == 0:
            sealed = self._sealed[at] if stop == at + 1 else b"".join(self._sealed[at:stop])
        else:
            sealed = b"".join([reseal_tail(self._sealed[at], skip), *self._sealed[at + 1 : stop]])
        return sealed, self._start_of(stop)

    def sealed_from(self, position: int) -> list[bytes]:
        """Every sealed frame from `position`, which must be covered, to the end. Raises
        `FrameError` if starting inside a frame that has gone bad."""
        if position == self._end:
            return []
        at = self._index(position)
        skip = position - self._starts[at]
        first = reseal_tail(self._sealed[at], skip) if skip else self._sealed[at]
        return [first, *self._sealed[at + 1 :]]

    def read_verified(self, start: int, end: int) -> bytes:
        """Sealed frames that hold the bytes from `start` to `end`, each verified before it goes.
        Raises `FrameError`."""
        frames = []
        position = start
        while position < end:
            sealed, position = self.read_frames(position, 1)
            frames.append(sealed)
            parse(sealed)
        return b"".join(frames)

    def read(self, position: int, bytes_max: int) -> tuple[bytes, int]:
        """Stream bytes without frames from `position` on, and the position after them."""
        if position == self._end:
            return b"", position
        at = self._index(position)
        skip = position - self._starts[at] + HEADER_BYTES
        stop = self._stop_index(at, position, bytes_max)
        if stop == at + 1:
            return self._sealed[at][skip:], self._start_of(stop)
        bodies = [self._sealed[at][skip:]]
        bodies += [sealed[HEADER_BYTES:] for sealed in self._sealed[at + 1 : stop]]
        return b"".join(bodies), self._start_of(stop)

    def checksum_at(self, position: int) -> int:
        """The history checksum at `position`, which must be covered."""
        if position == self._end:
            return self.checksum
        at = self._index(position)
        skip = position - self._starts[at]
        head = self._sealed[at][HEADER_BYTES : HEADER_BYTES + skip]
        return history_checksum(head, self._checksum_before(at))

    def mark_at(self, position: int) -> HistoryMark:
        """The history checksum at `position` and its base."""
        return HistoryMark(self.checksum_at(position), self.base)

    def timestamp_ms_at(self, position: int) -> int | None:
        """When the byte at `position` was written, by the leader's clock; None at the end."""
        if position >= self._end or position < self.start:
            return None
        return parse_header(self._sealed[self._index(position)]).timestamp_ms

    def _checksum_before(self, at: int) -> int:
        return self._checksums[at - 1] if at > self._first else self._start_checksum

    def _index(self, position: int) -> int:
        """Index of the frame that holds the byte at `position`."""
        starts = self._starts
        assert self.start <= position < self._end
        if starts[-1] <= position:
            return len(starts) - 1
        return bisect_right(starts, position, self._first) - 1

    def _stop_index(self, at: int, position: int, bytes_max: int) -> int:
        """Index after the last frame that a read of `bytes_max` from `position` takes."""
        if self._end - position <= bytes_max:
            return len(self._starts)
        return max(at + 1, bisect_right(self._starts, position + bytes_max, at + 1) - 1)

    def _start_of(self, at: int) -> int:
        return self._starts[at] if at < len(self._starts) else self._end

    def invariants(self) -> None:
        """Raises `AssertionError` where the frames are not the stream from start to end."""
        assert self.base <= self._end
        position, checksum = self.start, self._start_checksum
        for at in range(self._first, len(self._starts)):
            header = parse_header(self._sealed[at])
            assert header.start == self._starts[at] == position
            checksum = history_checksum(self._sealed[at][HEADER_BYTES:], checksum)
            assert header.history == checksum == self._checksums[at]
            position += header.body_bytes
        assert position == self._end
        assert checksum == self.checksum
        assert self._sealed_bytes == sum(map(_held_bytes, self._sealed[self._first :]))
        assert self.active or self._first == len(self._starts)
