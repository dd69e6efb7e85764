"""The pure twin of the compiled core: the same three classes, readable and slow.

It is the oracle in tests (every wire case runs on both) and what a machine without a C compiler
runs on. `RequestReader` turns bytes into requests, `ReplyWriter` values into bytes, `Channel`
joins them.

    *2 CRLF $3 CRLF GET CRLF $1 CRLF k CRLF        a request: an array of bulk strings
    GET k CRLF                                     or an inline one, split like a shell would

Invariants: a request is yielded once and whole; after a `ProtocolError` the reader yields nothing
more; what is buffered never exceeds what the limits allow plus one read.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic_ns, time_ns
from typing import Any

from cache_server.constants import (
    BULK_LENGTH_UNAUTHENTICATED_MAX,
    INLINE_BYTES_MAX,
    LATENCY_BUCKETS,
    MULTIBULK_COUNT_MAX,
    MULTIBULK_COUNT_UNAUTHENTICATED_MAX,
    REPLY_BYTES_PER_FLUSH,
    TURN_NS_MAX,
    TURN_REQUESTS,
)
from cache_server.errors import CommandError, ProtocolError
from cache_server.wire.inline import split_inline
from cache_server.wire.replies import (
    NO_REPLY,
    NULL_ARRAY,
    Map,
    Push,
    Raw,
    SetReply,
    Status,
    Verbatim,
    format_double,
)


def _length(text: bytes) -> int | None:
    """A length as the protocol writes it: digits with no sign but minus and no leading zero."""
    digits = text.removeprefix(b"-")
    if not digits.isdigit() or len(digits) > 19 or (digits[:1] == b"0" and text != b"0"):
        return None
    length = int(text)
    return length if -(1 << 63) <= length < 1 << 63 else None


class RequestReader:
    """Feed bytes, take requests. `bulk_length_max` in bytes follows proto-max-bulk-len."""

    def __init__(self, bulk_length_max: int = 512 * 1024 * 1024) -> None:
        self.bulk_length_max = bulk_length_max
        self.authenticated = True
        self._buffer = bytearray()
        self._position = 0
        self._args: list[bytes] = []
        self._wanted = 0
        self._bulk = -1
        self._args_bytes = 0

    def feed(self, data: bytes) -> None:
        self._buffer += data

    @property
    def capacity_bytes(self) -> int:
        """Bytes allocated for reading: the buffer, and the arguments of the request half read."""
        return len(self._buffer) + self._args_bytes

    @property
    def buffered_bytes(self) -> int:
        """Bytes held: not yet parsed, and the arguments of the request that is half read."""
        return len(self._buffer) - self._position + self._args_bytes

    def trim(self, idle: bool) -> None:
        """Gives memory back; this reader's buffer never holds more than it needs."""

    def next_request(self) -> list[bytes] | None:
        """The next whole request, or None when more bytes are needed.

        Raises ProtocolError with Redis's wording; the reader is not to be used afterwards."""
        while True:
            if self._wanted == 0:
                start = self._start()
                if start is not None:
                    return start
                if self._wanted == 0:
                    self._compact()
                    return None
            if not self._read_arguments():
                self._compact()
                return None
            args, self._args, self._args_bytes = self._args, [], 0
            return args

    def _line(self, too_big: str) -> bytes | None:
        end = self._buffer.find(b"\r", self._position)
        if end < 0 or end + 1 >= len(self._buffer):
            if len(self._buffer) - self._position > INLINE_BYTES_MAX:
                raise ProtocolError(too_big)
            return None
        line = bytes(self._buffer[self._position + 1 : end])
        self._position = end + 2
        return line

    def _start(self) -> list[bytes] | None:
        """Reads a request's first line; an inline request is returned at once."""
        while self._position < len(self._buffer):
            if self._buffer[self._position] != 0x2A:
                args = self._inline()
                if args is None or args:
                    return args
                continue
            line = self._line("too big mbulk count string")
            if line is None:
                return None
            count = _length(line)
            if count is None or count > MULTIBULK_COUNT_MAX:
                raise ProtocolError("invalid multibulk length")
            if count > MULTIBULK_COUNT_UNAUTHENTICATED_MAX and not self.authenticated:
                raise ProtocolError("unauthenticated multibulk length")
            if count > 0:
                self._wanted = count
                return None
        return None

    def _inline(self) -> list[bytes] | None:
        end = self._buffer.find(b"\n", self._position)
        if end < 0:
            if len(self._buffer) - self._position > INLINE_BYTES_MAX:
                raise ProtocolError("too big inline request")
            return None
        line = bytes(self._buffer[self._position : end]).removesuffix(b"\r")
        self._position = end + 1
        return split_inline(line)

    def _read_arguments(self) -> bool:
        while self._wanted:
            if self._bulk < 0 and not self._read_bulk_length():
                return False
            if len(self._buffer) - self._position < self._bulk + 2:
                return False
            begin = self._position
            self._args.append(bytes(self._buffer[begin : begin + self._bulk]))
            self._args_bytes += self._bulk
            self._position = begin + self._bulk + 2
            self._bulk = -1
            self._wanted -= 1
        return True

    def _read_bulk_length(self) -> bool:
        if self._position >= len(self._buffer):
            return False
        first = self._buffer[self._position]
        end = self._buffer.find(b"\r", self._position)
        if end < 0 or end + 1 >= len(self._buffer):
            if len(self._buffer) - self._position > INLINE_BYTES_MAX:
                raise ProtocolError("too big bulk count string")
            return False
        if first != 0x24:
            raise ProtocolError(f"expected '$', got '{chr(first)}'")
        length = _length(bytes(self._buffer[self._position + 1 : end]))
        if length is None or length < 0 or length > self.bulk_length_max:
            raise ProtocolError("invalid bulk length")
        if length > BULK_LENGTH_UNAUTHENTICATED_MAX and not self.authenticated:
            raise ProtocolError("unauthenticated bulk length")
        self._position = end + 2
        self._bulk = length
        return True

    def _compact(self) -> None:
        del self._buffer[: self._position]
        self._position = 0


class ReplyWriter:
    """Encodes replies into one growing buffer. `protocol` is 2 or 3."""

    def __init__(self) -> None:
        self.protocol = 2
        self._out = bytearray()

    def __len__(self) -> int:
        return len(self._out)

    def take(self) -> bytes:
        """All that was written since the last call."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def trim(self) -> None:
        """The compiled twin gives memory back."""

    def write_raw(self, data: bytes) -> None:
        self._out += data

    def write_error(self, text: bytes) -> None:
        """One error line; line ends inside the text would split it, so they become spaces."""
        self._out += b"-" + text.replace(b"\r", b" ").replace(b"\n", b" ") + b"\r\n"

    def write_command(self, args: list[bytes]) -> None:
        """A request, as it goes into the replication stream."""
        self._out += b"*%d\r\n" % len(args)
        for arg in args:
            self._bulk(arg)

    def write(self, value: Any) -> None:
        """Encodes one reply. Raises TypeError for a value that is not in the table of replies."""
        kind = type(value)
        if kind is bytes or kind is bytearray:
            self._bulk(value)
        elif kind is int:
            self._out += b":%d\r\n" % value
        elif value is None:
            self._out += b"_\r\n" if self.protocol == 3 else b"$-1\r\n"
        elif kind is Status or kind is Raw:
            self._out += value.encoded
        elif kind is list or kind is tuple:
            self._sequence(b"*", value, len(value))
        else:
            self._write_rare(kind, value)

    def _write_rare(self, kind: type, value: Any) -> None:
        resp3 = self.protocol == 3
        if kind is bool:
            self._out += (b"#t\r\n" if value else b"#f\r\n") if resp3 else b":%d\r\n" % value
        elif kind is float:
            text = format_double(value)
            self._out += b"," + text + b"\r\n" if resp3 else b"$%d\r\n%b\r\n" % (len(text), text)
        elif kind is Map:
            self._sequence(b"%" if resp3 else b"*", value, len(value) // (2 if resp3 else 1))
        elif kind is SetReply:
            self._sequence(b"~" if resp3 else b"*", value, len(value))
        elif kind is Push:
            self._sequence(b">" if resp3 else b"*", value, len(value))
        elif value is NULL_ARRAY:
            self._out += b"_\r\n" if resp3 else b"*-1\r\n"
        elif kind is Verbatim:
            if resp3:
                self._out += b"=%d\r\n%b:%b\r\n" % (len(value.text) + 4, value.form, value.text)
            else:
                self._bulk(value.text)
        elif isinstance(value, CommandError):
            self.write_error(value.text)
        elif value is not NO_REPLY:
            raise TypeError(f"not a reply: {value!r}")

    def _bulk(self, value: bytes | bytearray) -> None:
        self._out += b"$%d\r\n" % len(value)
        self._out += value
        self._out += b"\r\n"

    def _sequence(self, mark: bytes, values: Any, count: int) -> None:
        self._out += mark + b"%d\r\n" % count
        for value in values:
            self.write(value)


class Stopwatch:
    """Reads the monotonic clock (ns) and the wall clock (Unix ms)."""

    def monotonic_ns(self) -> int:
        return monotonic_ns()

    def unix_ms(self) -> int:
        return time_ns() // 1_000_000


class Histogram:
    """`counts()[n]` calls took up to 2**n microseconds, those before it not among them; the last
    bucket takes all that is longer."""

    def __init__(self) -> None:
        self._buckets = [0] * LATENCY_BUCKETS

    def add(self, spent_us: int) -> None:
        """Counts a call."""
        index = max(0, spent_us - 1).bit_length()
        self._buckets[min(index, LATENCY_BUCKETS - 1)] += 1

    def counts(self) -> list[int]:
        """The counts, in a new list."""
        return list(self._buckets)


class Channel:
    """One pass over what a connection read: parse, execute, encode, send.

    The compiled channel's docstring fixes the contract with executor and shell. This one never
    sends by itself: everything goes through the shell's `write_rest`.
    """

    def __init__(self, client: Any, executor: Any, shell: Any) -> None:
        self.reader = RequestReader()
        self.writer = ReplyWriter()
        self.client = client
        self.shell = shell
        self.gate: Callable[[Any], bool] | None = None
        self.stop = 0
        self.fd = -1
        self.queued = self.flush_due = False
        self.received_bytes = 0
        self.sent_bytes = 0
        self.query_bytes_max = 1 << 62
        self.output_bytes_max = 1 << 62
        self._executor = executor

    def data_received(self, data: bytes) -> None:
        """Takes what was read and runs all whole requests."""
        self.received_bytes += len(data)
        self.reader.feed(data)
        self.run()

    def run(self) -> None:
        """Runs the requests already read until one must wait, then sends."""
        self._executor.begin_requests(self.client)
        try:
            self._run_requests()
        except ProtocolError as error:
            self.shell.protocol_error(error)
        self.flush()
        if self.stop or self.queued or self.reader.buffered_bytes > self.query_bytes_max:
            self.shell.pass_needs_care()

    def add(self, data: bytes) -> None:
        """Adds output outside of a pass, encoded already."""
        self.writer.write_raw(data)
        self.output_added()

    def output_added(self) -> None:
        """The writer has output that no pass will send: the shell's `flush_soon()` is asked to,
        once."""
        if not self.flush_due and self.shell is not None:
            self.flush_due = True
            self.shell.flush_soon()

    def release(self) -> None:
        """Lets go of client and shell: the connection has ended and nothing runs any more."""
        self.client = self.shell = self.gate = None

    def _run_requests(self) -> None:
        left, turn_ends_ns = TURN_REQUESTS, 0
        while self.stop == 0:
            args = self.reader.next_request()
            if args is None:
                return
            value = self._executor.execute(self.client, args)
            if value is not NO_REPLY:
                self.writer.write(value)
                if len(self.writer) > REPLY_BYTES_PER_FLUSH:
                    self.flush()
            left -= 1
            if left == 0:
                left = TURN_REQUESTS
                turn_ends_ns = self._turn(turn_ends_ns)

    def _turn(self, ends_ns: int) -> int:
        now_ns = monotonic_ns()
        if ends_ns == 0:
            return now_ns + TURN_NS_MAX
        if now_ns > ends_ns:
            self.shell.turn_over()
        return ends_ns

    def flush(self) -> None:
        """Sends what was written, unless the gate holds it back."""
        if len(self.writer) and (self.gate is None or self.gate(self)):
            if len(self.writer) > self.output_bytes_max and not self.shell.output_allowed():
                return
            data = self.writer.take()
            self.sent_bytes += len(data)
            self.queued = True
            self.shell.write_rest(data)
