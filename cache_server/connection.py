"""The asyncio shell of one client: what happens between a socket and its `Channel`.

uvloop calls `data_received`; the channel does the whole pass (parse, execute, encode, send). Here is
what remains: opening and closing, flow control, limits, protocol errors.

A client that does not read its replies is not read from: the transport's buffer passing
OUTPUT_PAUSE_BYTES sets STOP_CONGESTED and stops reading until it has drained, so a client costs
at most that, one flush, and the limit on its query buffer.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

from cache_server import client as states
from cache_server.client import Client
from cache_server.constants import OUTPUT_PAUSE_BYTES
from cache_server.errors import ProtocolError
from cache_server.wire import Channel

if TYPE_CHECKING:
    from cache_server.server import Server


class Connection(asyncio.Protocol):
    """One accepted client. The server makes one for each connection."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.client: Client = server.new_client()
        self.client.connection = self
        self.transport: asyncio.Transport
        self._flush_scheduled = False

    # -- asyncio's callbacks -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop has its own class
        self.transport.set_write_buffer_limits(high=OUTPUT_PAUSE_BYTES)
        sock = transport.get_extra_info("socket")
        client = self.client
        client.channel = Channel(
            client, self.server.dispatcher.execute, self.transport.write, self._queue_empty, self._fd(sock)
        )
        client.channel.reader.bulk_length_max = self.server.config.proto_max_bulk_len
        client.peer, client.local = _address(self.transport, "peername"), _address(self.transport, "sockname")
        self.server.client_connected(self, sock)

    def data_received(self, data: bytes) -> None:
        server = self.server
        server.dispatcher.begin_pass()
        client = self.client
        client.active_ms = server.keyspace.now_ms
        channel = client.channel
        server.stats.input_bytes += len(data)
        try:
            channel.feed(data)
        except ProtocolError as error:
            self._protocol_error(error)
        else:
            self._after_pass()

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self.client.channel.stop |= states.STOP_CONGESTED
        if not self.client.flags & states.CLOSED:
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.client.channel.stop &= ~states.STOP_CONGESTED
        if not self.client.flags & states.CLOSED:
            self.transport.resume_reading()
            self.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        self.client.flags |= states.CLOSED
        self.client.channel.stop |= states.STOP_CLOSING
        self.server.client_disconnected(self.client)

    # -- for the rest of the server ------------------------------------------------------------

    def resume(self) -> None:
        """Goes on with requests that were read while the client had to wait."""
        if self.client.flags & states.CLOSED:
            return
        self.server.dispatcher.begin_pass()
        try:
            self.client.channel.run()
        except ProtocolError as error:
            self._protocol_error(error)
        else:
            self._after_pass()

    def output_added(self) -> None:
        """Output was written outside of a pass: it leaves at the end of this turn of the loop."""
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self.server.loop.call_soon(self._flush_now)

    def close_after_reply(self) -> None:
        """Sends what is written, then closes; no further request is read."""
        self.client.flags |= states.CLOSE_AFTER_REPLY
        self.client.channel.stop |= states.STOP_CLOSING

    def close(self) -> None:
        """Closes at once; unsent output is dropped."""
        self.client.flags |= states.CLOSED
        self.client.channel.stop |= states.STOP_CLOSING
        self.transport.abort()

    @property
    def output_bytes(self) -> int:
        """Output not yet taken by the kernel, in bytes."""
        return len(self.client.channel.writer) + self.transport.get_write_buffer_size()

    # -- parts ---------------------------------------------------------------------------------

    def _flush_now(self) -> None:
        self._flush_scheduled = False
        if not self.client.flags & states.CLOSED:
            self.client.channel.flush()
            self._after_pass()

    def _after_pass(self) -> None:
        client = self.client
        channel = client.channel
        if channel.stop & states.STOP_CLOSING and client.flags & states.CLOSE_AFTER_REPLY:
            channel.flush()
            self.transport.close()
        elif channel.queued:
            self.server.check_output_limit(self)
        if channel.reader.buffered_bytes > self.server.config.client_query_buffer_limit:
            self.server.log_closing(client, "reached max query buffer length")
            self.close()

    def _protocol_error(self, error: ProtocolError) -> None:
        channel = self.client.channel
        self.server.protocol_error(self.client, error)
        channel.writer.write_error(b"ERR Protocol error: " + str(error).encode("latin-1"))
        self.close_after_reply()
        self._after_pass()

    def _queue_empty(self) -> bool:
        return self.transport.get_write_buffer_size() == 0

    @staticmethod
    def _fd(sock: Any) -> int:
        return -1 if sock is None else int(sock.fileno())


def _address(transport: asyncio.Transport, which: str) -> str:
    """ip:port, or path:0 for a unix socket, as CLIENT LIST shows it."""
    value = transport.get_extra_info(which)
    if isinstance(value, tuple):
        host = f"[{value[0]}]" if ":" in value[0] else value[0]
        return f"{host}:{value[1]}"
    sock = transport.get_extra_info("socket")
    path = sock.getsockname() if sock is not None and sock.family == socket.AF_UNIX else ""
    return f"{path if isinstance(path, str) else ''}:0"
