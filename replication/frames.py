"""Frames: how stream and snapshot travel between two of ours, and lie in backlog and log.

The problem: TCP's checksum misses one damaged segment in some millions, memory and disks err, and
a relay may have a bug; Redis applies whatever arrives. The idea: the leader seals each batch of
its stream once, when it writes it, and every later holder passes the sealed bytes on. Who applies
them verifies first.

A frame, little-endian, is 48 bytes of header and then the body:

     0        3    4          8              16              24
    +---------+----+----------+---------------+---------------+
    | "CF\\x01" |kind| body len |     epoch     | start position|
    +---------+----+----------+---------------+---------------+
    | leader's clock, ms      | history at end | body crc | header crc |
    +-------------------------+----------------+----------+------------+
    24                        32               40         44           48

- *magic* is two letters and the layout's version. The layout of version 1 is frozen.
- *kind*: STREAM is replication stream; SNAPSHOT a chunk of a full sync; SNAPSHOT_END its end.
- *start position* counts the bytes of the stream (or of the snapshot) before this body.
- *history at end* is the CRC-64 of the whole stream (or snapshot) up to the end of this body, so a
  receiver that has carried on its own checksum learns whether both have seen the same past.
- *body crc* is CRC-32C of the body; *header crc* is CRC-32C of the 44 bytes before it, so a
  length is believed only after the header has proved itself.

Invariants: `parse(seal(x)) == x`; a frame with any bit changed is refused with a reason in words;
nothing of a body is handed out before it has been verified.
"""

import enum
import struct
from typing import Final, NamedTuple

from replication.checksum import crc32c, history_checksum
from replication.constants import FRAME_BODY_BYTES_MAX, FRAMES_VERSION

MAGIC: Final = b"CF" + bytes([FRAMES_VERSION])

_FIELDS: Final = struct.Struct("<3sBIQQQQI")
_CRC: Final = struct.Struct("<I")

HEADER_BYTES: Final = _FIELDS.size + _CRC.size
assert HEADER_BYTES == 48


class FrameKind(enum.IntEnum):
    """What a frame carries. Numbers are on the wire and never reused."""

    STREAM = 1
    SNAPSHOT = 2
    SNAPSHOT_END = 3
    VERIFY = 4
    """A question or an order about the sameness of two data sets at this position of the stream."""


class FrameError(ValueError):
    """A frame that must not be used. `str(error)` says why, for the log."""


class Frame(NamedTuple):
    """One verified frame. `sealed` is header and body as they came, for passing on."""

    kind: FrameKind
    epoch: int
    start: int
    timestamp_ms: int
    history: int
    body: bytes
    sealed: bytes

    @property
    def end(self) -> int:
        """Position after the last byte of the body."""
        return self.start + len(self.body)


class Header(NamedTuple):
    """The fields of a header whose own checksum was right."""

    kind: FrameKind
    body_bytes: int
    epoch: int
    start: int
    timestamp_ms: int
    history: int
    body_crc: int


def seal(kind: int, epoch: int, start: int, timestamp_ms: int, history: int, body: bytes) -> bytes:
    """Header and body as one byte string. `history` is the checksum at the end of `body`."""
    assert len(body) <= FRAME_BODY_BYTES_MAX
    fields = _FIELDS.pack(MAGIC, kind, len(body), epoch, start, timestamp_ms, history, crc32c(body))
    return fields + _CRC.pack(crc32c(fields)) + body


def parse_header(data: bytes | bytearray, at: int = 0) -> Header:
    """The header at `at`. Raises `FrameError`; needs `HEADER_BYTES` bytes there."""
    magic, kind, body_bytes, epoch, start, timestamp_ms, history, body_crc = _FIELDS.unpack_from(
        data, at
    )
    if magic != MAGIC:
        raise FrameError(f"not a frame of version {FRAMES_VERSION}: it begins with {magic!r}")
    (header_crc,) = _CRC.unpack_from(data, at + _FIELDS.size)
    actual_crc = crc32c(data[at : at + _FIELDS.size])
    if actual_crc != header_crc:
        raise FrameError(
            f"the header's checksum is {actual_crc:08x} and should be {header_crc:08x}"
        )
    if body_bytes > FRAME_BODY_BYTES_MAX:
        raise FrameError(f"a body of {body_bytes} bytes is over {FRAME_BODY_BYTES_MAX}")
    try:
        known_kind = FrameKind(kind)
    except ValueError:
        raise FrameError(f"unknown kind of frame {kind}") from None
    return Header(known_kind, body_bytes, epoch, start, timestamp_ms, history, body_crc)


def verify_body(header: Header, body: bytes) -> None:
    """Raises `FrameError` unless `body` is what `header` was sealed with."""
    assert len(body) == header.body_bytes
    actual_crc = crc32c(body)
    if actual_crc != header.body_crc:
        raise FrameError(
            f"the body's checksum at position {header.start} is {actual_crc:08x}"
            f" and should be {header.body_crc:08x}"
        )


def parse(sealed: bytes) -> Frame:
    """The frame that `sealed` is, whole and nothing else. Raises `FrameError`."""
    if len(sealed) < HEADER_BYTES:
        raise FrameError(f"cut short: {len(sealed)} bytes of a header of {HEADER_BYTES}")
    header = parse_header(sealed)
    body = sealed[HEADER_BYTES:]
    if len(body) != header.body_bytes:
        raise FrameError(f"{len(body)} bytes of a body of {header.body_bytes}")
    verify_body(header, body)
    return _frame(header, body, sealed)


def reseal_tail(sealed: bytes, skip_bytes: int) -> bytes:
    """The frame for what remains of a verified body after its first `skip_bytes`.

    Epoch, clock and history at the end stay as the leader sealed them. Raises `FrameError` if the
    frame is damaged: resealing must not give fresh checksums to bad bytes.
    """
    frame = parse(sealed)
    assert 0 < skip_bytes < len(frame.body)
    rest = frame.body[skip_bytes:]
    start = frame.start + skip_bytes
    return seal(frame.kind, frame.epoch, start, frame.timestamp_ms, frame.history, rest)


def reseal_head(frame: Frame, keep_bytes: int, history_before: int) -> bytes:
    """The frame for the first `keep_bytes` of a verified frame's body."""
    assert 0 < keep_bytes < len(frame.body)
    head = frame.body[:keep_bytes]
    history = history_checksum(head, history_before)
    return seal(frame.kind, frame.epoch, frame.start, frame.timestamp_ms, history, head)


class BodyDamageError(FrameError):
    """A body that must not be used, behind a header that may be believed."""

    def __init__(self, header: Header, reason: str) -> None:
        super().__init__(reason)
        self.header = header


class FrameReader:
    """Cuts received bytes into verified frames.

    Holds at most one incomplete frame (`HEADER_BYTES + FRAME_BODY_BYTES_MAX`) plus the last read.
    After a `FrameError` it goes on behind the damage: where only the body was bad
    (`BodyDamageError`) at the next frame, else at the next header whose checksum is right. Who
    goes on has to find out what is missing by the positions.
    """

    __slots__ = ("_at", "_buffer", "_header", "searching")

    def __init__(self) -> None:
        self._buffer = b""
        self._at = 0
        self._header: Header | None = None
        self.searching = False
        """Whether a header was damaged and no sound one has been found since."""

    def feed(self, data: bytes) -> None:
        """Takes bytes from the link."""
        self._buffer = self._buffer[self._at :] + data if self._at < len(self._buffer) else data
        self._at = 0

    def skip_newlines(self) -> None:
        """Drops keepalive newlines that a leader sends ahead of the first frame."""
        if self._header is None:
            while self._buffer[self._at : self._at + 1] == b"\n":
                self._at += 1

    def next_frame(self) -> Frame | None:
        """The next verified frame, or None until more bytes come. Raises `FrameError`."""
        header = self._header
        if header is None:
            header = self._next_header()
            if header is None:
                return None
        buffer, at = self._buffer, self._at
        end = at + HEADER_BYTES + header.body_bytes
        if len(buffer) < end:
            return None
        sealed = buffer[at:end]
        body = sealed[HEADER_BYTES:]
        self._at = end
        self._header = None
        try:
            verify_body(header, body)
        except FrameError as error:
            raise BodyDamageError(header, str(error)) from None
        return _frame(header, body, sealed)

    def _next_header(self) -> Header | None:
        buffer = self._buffer
        if self.searching and not self._search():
            return None
        if len(buffer) - self._at < HEADER_BYTES:
            return None
        try:
            self._header = parse_header(buffer, self._at)
        except FrameError:
            self._at += 1
            self.searching = True
            raise
        return self._header

    def _search(self) -> bool:
        """Moves to the next sound header; False where there is none yet, and what cannot be one is
        dropped."""
        buffer = self._buffer
        while True:
            at = buffer.find(MAGIC, self._at)
            if at < 0:
                self._at = max(self._at, len(buffer) - len(MAGIC) + 1)
                return False
            self._at = at
            if len(buffer) - at < HEADER_BYTES:
                return False
            try:
                parse_header(buffer, at)
            except FrameError:
                self._at += 1
            else:
                self.searching = False
                return True


def _frame(header: Header, body: bytes, sealed: bytes) -> Frame:
    kind, _, epoch, start, timestamp_ms, history, _ = header
    return Frame(kind, epoch, start, timestamp_ms, history, body, sealed)
