"""Reading RESP2 replies of nodes that are not trusted.

Problem: a sentinel reads what any node sends it, and must not run out of memory or time for it.

Idea: every count and length is compared with a limit before anything is allocated for it. A reply
is only looked at whole; while it is not, the reader remembers how many bytes it needs at least, so
that a long bulk string costs one look and not one for each packet.

Invariant: the buffer never holds more than REPLY_BYTES_MAX and one packet.
"""

from __future__ import annotations

from cache_server.coordination import constants
from replication.failover.events import RespValue, WireError


class ReplyError(Exception):
    """Bytes that are no reply, or one beyond the limits; the text says what is wrong."""


class _IncompleteError(Exception):
    """The reply is not complete; it takes so many bytes of buffer at least."""

    def __init__(self, bytes_min: int) -> None:
        self.bytes_min = bytes_min


class ReplyReader:
    """Bytes in, values out: `feed`, then `take` all whole replies."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._needed = 1

    def feed(self, data: bytes) -> list[RespValue]:
        """The replies that are whole now, in order. Raises ReplyError; the link is lost then."""
        self._buffer += data
        replies: list[RespValue] = []
        position = 0
        while len(self._buffer) - position >= self._needed:
            try:
                value, end = self._value(position, 0)
            except _IncompleteError as more:
                self._needed = more.bytes_min - position
                break
            replies.append(value)
            position, self._needed = end, 1
        del self._buffer[:position]
        if max(len(self._buffer), self._needed) > constants.REPLY_BYTES_MAX:
            raise ReplyError("a reply is too long")
        return replies

    def _line(self, position: int) -> tuple[bytes, int]:
        end = self._buffer.find(b"\r\n", position)
        if end < 0:
            raise _IncompleteError(len(self._buffer) + 1)
        return bytes(self._buffer[position:end]), end + 2

    def _integer(self, position: int, low: int, high: int) -> tuple[int, int]:
        line, end = self._line(position)
        digits = line[1:] if line[:1] in (b"-", b"+") else line
        if not digits.isdigit() or len(digits) > constants.REPLY_DIGITS_MAX:
            raise ReplyError("a number was expected")
        if not low <= int(line) <= high:
            raise ReplyError("a number is out of range")
        return int(line), end

    def _value(self, position: int, depth: int) -> tuple[RespValue, int]:
        if position >= len(self._buffer):
            raise _IncompleteError(position + 1)
        kind = self._buffer[position : position + 1]
        if kind == b"+":
            return self._line(position + 1)
        if kind == b":":
            return self._integer(position + 1, -(1 << 63), (1 << 63) - 1)
        if kind == b"$":
            return self._bulk(position + 1)
        if kind == b"*":
            return self._array(position + 1, depth)
        if kind == b"-":
            line, end = self._line(position + 1)
            return WireError(line.decode("utf-8", "replace")), end
        raise ReplyError("a reply begins with an unknown byte")

    def _bulk(self, position: int) -> tuple[RespValue, int]:
        length, start = self._integer(position, -1, constants.REPLY_BYTES_MAX)
        if length < 0:
            return None, start
        end = start + length
        if len(self._buffer) < end + 2:
            raise _IncompleteError(end + 2)
        if self._buffer[end : end + 2] != b"\r\n":
            raise ReplyError("a bulk string does not end where it should")
        return bytes(self._buffer[start:end]), end + 2

    def _array(self, position: int, depth: int) -> tuple[RespValue, int]:
        count, position = self._integer(position, -1, constants.REPLY_ELEMENTS_MAX)
        if count < 0:
            return None, position
        if depth >= constants.REPLY_DEPTH_MAX:
            raise ReplyError("arrays are nested too deeply")
        values: list[RespValue] = []
        for _ in range(count):
            value, position = self._value(position, depth + 1)
            values.append(value)
        return tuple(values), position


def encode_command(args: tuple[bytes, ...]) -> bytes:
    """A command as an array of bulk strings."""
    parts = [b"*%d\r\n" % len(args)]
    parts += [b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in args]
    return b"".join(parts)
