"""The log on disk: sealed frames in a file that every Redis 7 reads as an append-only file.

The problem: a log that only we can read locks its owner in, and Redis's own cannot tell damage from
data. The idea: lines that begin with `#` are annotations to Redis, which skips them. So a frame's
header is written as such a line, in hexadecimal, and its body, which is plain RESP, behind it.

    #CH:1 <ids, position, checksum ...> <crc>\\r\\n      where in which history this begins
    [*2\\r\\n$6\\r\\nSELECT\\r\\n ...]                       the database selected there, if not 0
    #CF:<96 hexadecimal digits>\\r\\n                    header of a frame
    #CF:<96 hexadecimal digits>\\r\\n                    header of the next
    *3\\r\\n$3\\r\\nSET\\r\\n ...                            both bodies

A command may be longer than a frame, and Redis wants annotations between commands only; so the
headers of frames that are cut within commands stand together, and their bodies follow. Such a
*group* ends where a command (and a transaction) ends, and is loaded whole or not at all.

Files of a stock server have no headers: their commands are read one by one. A stock server may have
gone on with a file of ours; it begins with a SELECT then. Anything else between sealed groups is
damage.

Invariants: nothing of a group is handed out before all of it was verified; the parser holds no more
than what it asked for and was fed; every fault is a DamageError with the offset, or a TornError
where the data ends before the item does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from cache_server.constants import (
    LOG_ARGUMENTS_MAX,
    LOG_GROUP_FRAMES_MAX,
    LOG_LINE_BYTES_MAX,
    SNAPSHOT_STRING_BYTES_MAX,
)
from cache_server.errors import InputError
from replication.checksum import crc32c
from replication.constants import POSITION_MAX
from replication.frames import (
    HEADER_BYTES,
    Frame,
    FrameError,
    FrameKind,
    Header,
    parse_header,
    verify_body,
)
from replication.history import is_replid

_FRAME_MARK = b"#CF:"
_PLACE_MARK = b"#CH:"
_TIME_MARK = b"#TS:"
_FRAME_LINE_BYTES = len(_FRAME_MARK) + 2 * HEADER_BYTES + 2
_SELECT = b"*2\r\n$6\r\nSELECT\r\n"
_PLACE_VERSION = b"1"
_DIGITS = frozenset(b"0123456789")


class DamageError(InputError):
    """Bytes at `offset` that nobody wrote like this."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(f"at offset {offset}: {reason}")
        self.offset = offset
        self.reason = reason


class TornError(DamageError):
    """The file ends within what begins at `offset`."""


@dataclass(frozen=True)
class Place:
    """Where in which history the frames behind this line begin.

    `position` counts stream bytes, `checksum` is the history checksum there and `base` where that
    began to run. `database` is selected there. `boot` names the system's run and the
    file: a log that was written in the present run cannot have lost what the system was handed."""

    replid: str
    replid2: str
    replid2_position: int
    epoch: int
    position: int
    checksum: int
    base: int
    database: int
    boot: str


class Group(NamedTuple):
    """Verified frames that end where a command ends. Offsets are those in the file."""

    frames: list[Frame]
    offset: int
    end: int


class Plain(NamedTuple):
    """A command that no frame seals."""

    words: list[bytes]
    offset: int
    end: int


class Placed(NamedTuple):
    """A line that names the history."""

    place: Place
    offset: int
    end: int


Item = Group | Plain | Placed


# -- writing -------------------------------------------------------------------------------------


def frame_line(sealed: bytes) -> bytes:
    """The annotation that carries a sealed frame's header."""
    return b"#CF:%b\r\n" % sealed[:HEADER_BYTES].hex().encode()


def encode_group(frames: list[bytes]) -> bytes:
    """Sealed frames, of which the last ends where a command ends."""
    if len(frames) == 1:
        sealed = frames[0]
        return b"#CF:%b\r\n%b" % (sealed[:HEADER_BYTES].hex().encode(), sealed[HEADER_BYTES:])
    parts = [frame_line(sealed) for sealed in frames]
    parts += [sealed[HEADER_BYTES:] for sealed in frames]
    return b"".join(parts)


def encode_place(place: Place) -> bytes:
    """The line, and the SELECT where one is needed."""
    text = (
        f"#CH:1 {place.replid} {place.replid2} {place.replid2_position} {place.epoch}"
        f" {place.position} {place.checksum:016x} {place.base} {place.database} {place.boot or '-'}"
    ).encode()
    line = b"%b %08x\r\n" % (text, crc32c(text))
    return line + (encode_select(place.database) if place.database else b"")


def encode_select(database: int) -> bytes:
    number = b"%d" % database
    return b"%b$%d\r\n%b\r\n" % (_SELECT, len(number), number)


def encode_command(words: list[bytes]) -> bytes:
    """A command as a log holds it."""
    parts = [b"*%d\r\n" % len(words)]
    parts += [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
    return b"".join(parts)


def encode_time(unix_s: int) -> bytes:
    """The annotation of `aof-timestamp-enabled`."""
    return b"#TS:%d\r\n" % unix_s


# -- reading -------------------------------------------------------------------------------------


class LogParser:
    """Cuts a file's bytes into items: `feed`, then `next_item` until None, and `finish` at the end.

    `offset` is where in the file the first byte fed stands. Raises DamageError, after which the
    parser is of no use; `finish` raises TornError where the file ends within an item."""

    def __init__(self, offset: int = 0) -> None:
        #: Where the file is known to be good up to.
        self.offset = offset
        #: Whether what was read last was sealed, so that what follows has to be.
        self.sealed = False
        #: Bytes that should be there before it is worth while to ask again.
        self.wanted = 1
        self._buffer = b""
        self._at = 0

    @property
    def buffered_bytes(self) -> int:
        """Bytes that were fed and not handed out."""
        return len(self._buffer) - self._at

    def feed(self, data: bytes) -> None:
        """Takes the next bytes of the file."""
        self._buffer = self._buffer[self._at :] + data
        self._at = 0

    def next_item(self) -> Item | None:
        """The next item, None until there is more."""
        buffer = self._buffer
        while self._at < len(buffer):
            at = self._at
            lead = buffer[at]
            if lead == 42:  # *
                return self._command()
            if lead != 35:  # #
                raise DamageError(self.offset, "neither command nor annotation")
            mark = buffer[at : at + 4]
            if mark == _FRAME_MARK:
                return self._group()
            if len(mark) < 4:
                self.wanted = 4
                return None
            end = self._line_end()
            if end < 0:
                return None
            if mark == _PLACE_MARK:
                return self._placed(end)
            if mark != _TIME_MARK and self.sealed:
                raise DamageError(self.offset, f"unknown annotation {mark!r}")
            self._take(end)
        self.wanted = 1
        return None

    def finish(self) -> None:
        """There are no more bytes."""
        left = self.buffered_bytes
        if left:
            raise TornError(
                self.offset, f"the file ends within an item of which {left} bytes are there"
            )

    def _take(self, end: int) -> None:
        self.offset += end - self._at
        self._at = end

    def _more(self, wanted: int) -> None:
        self.wanted = max(wanted, self.buffered_bytes + 1)

    def _line_end(self) -> int:
        """The end of the line that begins here, or -1 where it has not come. Annotations may end
        with a bare newline, as in Redis."""
        found = self._buffer.find(b"\n", self._at, self._at + LOG_LINE_BYTES_MAX)
        if found < 0:
            if self.buffered_bytes >= LOG_LINE_BYTES_MAX:
                raise DamageError(self.offset, "a line without an end")
            self._more(self.buffered_bytes + 1)
            return -1
        return found + 1

    # groups

    def _group(self) -> Group | None:
        if not self.sealed:
            raise DamageError(self.offset, "frames before the line that names their history")
        buffer, at = self._buffer, self._at
        headers: list[tuple[Header, bytes]] = []
        body_bytes = next_start = 0
        while True:
            stop = at + _FRAME_LINE_BYTES
            if len(buffer) < stop:
                if not headers or _FRAME_MARK.startswith(buffer[at : at + 4]):
                    self._more(stop - self._at)
                    return None
                break
            if not buffer.startswith(_FRAME_MARK, at):
                break
            header, raw = self._header(buffer, at)
            if headers and header.start != next_start:
                raise DamageError(
                    self.offset + at - self._at, f"a frame for {header.start} does not come next"
                )
            headers.append((header, raw))
            body_bytes += header.body_bytes
            next_start = header.start + header.body_bytes
            if len(headers) > LOG_GROUP_FRAMES_MAX:
                raise DamageError(self.offset, "a group of too many frames")
            at = stop
        if len(buffer) - at < body_bytes:
            self._more(at + body_bytes - self._at)
            return None
        return self._bodies(headers, at)

    def _header(self, buffer: bytes, at: int) -> tuple[Header, bytes]:
        offset = self.offset + at - self._at
        digits = buffer[at + 4 : at + 4 + 2 * HEADER_BYTES]
        if buffer[at + 4 + 2 * HEADER_BYTES : at + _FRAME_LINE_BYTES] != b"\r\n":
            raise DamageError(offset, "the line of a frame's header has no end")
        try:
            raw = bytes.fromhex(digits.decode("ascii"))
        except ValueError:
            raw = b""
        if raw.hex().encode() != digits:  # what bytes.fromhex takes besides, is none
            raise DamageError(offset, "a frame's header is not in lower-case hexadecimal")
        try:
            header = parse_header(raw)
        except FrameError as error:
            raise DamageError(offset, str(error)) from None
        if header.kind is not FrameKind.STREAM or not header.body_bytes:
            raise DamageError(offset, f"a frame of kind {header.kind.name} in a log")
        return header, raw

    def _bodies(self, headers: list[tuple[Header, bytes]], at: int) -> Group:
        buffer = self._buffer
        frames = []
        for header, raw in headers:
            kind, size, epoch, start, timestamp_ms, history, _ = header
            body = buffer[at : at + size]
            try:
                verify_body(header, body)
            except FrameError as error:
                raise DamageError(self.offset + at - self._at, str(error)) from None
            frames.append(Frame(kind, epoch, start, timestamp_ms, history, body, raw + body))
            at += size
        group = Group(frames, self.offset, self.offset + at - self._at)
        self._take(at)
        self.sealed = True
        return group

    def _placed(self, end: int) -> Placed | None:
        place = self._place(self._buffer[self._at : end - 2])
        if place.database:
            select = encode_select(place.database)
            shown = self._buffer[end : end + len(select)]
            if not select.startswith(shown):
                raise DamageError(self.offset, "no SELECT follows the line that names the history")
            end += len(select)
            if len(shown) < len(select):
                self._more(end - self._at)
                return None
        item = Placed(place, self.offset, self.offset + end - self._at)
        self._take(end)
        self.sealed = True
        return item

    def _place(self, line: bytes) -> Place:
        if self._buffer[self._at + len(line) : self._at + len(line) + 2] != b"\r\n":
            raise DamageError(self.offset, "the line that names the history has no end")
        text, _, crc = line.rpartition(b" ")
        if crc != b"%08x" % crc32c(text):
            raise DamageError(self.offset, "the line that names the history has a wrong checksum")
        words = text[4:].split(b" ")
        if len(words) != 10 or words[0] != _PLACE_VERSION:
            raise DamageError(self.offset, "the line that names the history is of another version")
        try:
            place = Place(
                replid=words[1].decode("ascii"),
                replid2=words[2].decode("ascii"),
                replid2_position=int(words[3]),
                epoch=int(words[4]),
                position=int(words[5]),
                checksum=int(words[6], 16),
                base=int(words[7]),
                database=int(words[8]),
                boot=words[9].decode("ascii"),
            )
        except ValueError:
            raise DamageError(self.offset, "the line that names the history is malformed") from None
        _check_place(place, self.offset)
        return place

    # commands without a seal

    def _command(self) -> Plain | None:
        buffer, at = self._buffer, self._at
        if self.sealed:
            shown = buffer[at : at + len(_SELECT)]
            if not _SELECT.startswith(shown):
                raise DamageError(self.offset, "a command that no frame seals")
            if len(shown) < len(_SELECT):
                self._more(len(_SELECT))
                return None
        counted = self._length(at, 42, LOG_ARGUMENTS_MAX)
        if counted is None:
            return None
        count, at = counted
        if count < 1:
            raise DamageError(self.offset, "a command without words")
        words = []
        for _ in range(count):
            counted = self._length(at, 36, SNAPSHOT_STRING_BYTES_MAX)
            if counted is None:
                return None
            size, at = counted
            if len(buffer) < at + size + 2:
                self._more(at + size + 2 - self._at)
                return None
            if buffer[at + size : at + size + 2] != b"\r\n":
                raise DamageError(self.offset, "a word without an end")
            words.append(buffer[at : at + size])
            at += size + 2
        item = Plain(words, self.offset, self.offset + at - self._at)
        self._take(at)
        self.sealed = False
        return item

    def _length(self, at: int, lead: int, limit: int) -> tuple[int, int] | None:
        """The number in the line at `at`, and where the line ends; None until it has come."""
        buffer = self._buffer
        end = buffer.find(b"\r\n", at, at + 24)
        if end < 0:
            begun = buffer[at : at + 24]
            if len(begun) == 24 or (begun and begun[0] != lead) or b"\n" in begun:
                raise DamageError(self.offset, "a length is expected")
            self._more(len(buffer) - self._at + 24)
            return None
        digits = buffer[at + 1 : end]
        if buffer[at] != lead or not digits or not _DIGITS.issuperset(digits):
            raise DamageError(self.offset, "a length is expected")
        number = int(digits)
        if number > limit:
            raise DamageError(self.offset, f"a length of {number}")
        return number, end + 2


def _check_place(place: Place, offset: int) -> None:
    sound = (
        is_replid(place.replid)
        and is_replid(place.replid2)
        and -1 <= place.replid2_position <= place.position <= POSITION_MAX
        and 0 <= place.base <= place.position
        and 0 <= place.epoch <= POSITION_MAX
        and 0 <= place.checksum < 1 << 64
        and 0 <= place.database < 1 << 31
    )
    if not sound:
        raise DamageError(offset, "the line that names the history contradicts itself")
