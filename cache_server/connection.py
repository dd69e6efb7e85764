"""The asyncio shell of one client: what happens between a socket and its `Channel`.

The loop calls the channel, which does the whole pass (parse, execute, encode, send). Here is what
remains: opening and closing, flow control, limits, protocol errors.

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
from replication.events import LinkPaused, LinkResumed

if TYPE_CHECKING:
    from cache_server.server import Server


class Gone:
    """Stands in for a connection that has ended: whoever still holds its client may ask, and
    nothing happens."""

    output_bytes = 0

    def close(self) -> None:
        """It is closed."""

    close_after_reply = resume = close


GONE = Gone()


class Connection(asyncio.Protocol):
    """One accepted client. The server makes one for each connection."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.client: Client = server.new_client()
        self.client.connection = self
        self.channel = Channel(self.client, server.dispatcher, self)
        self.client.channel = self.channel
        #: The loop calls the channel itself: no Python frame between a read and its requests.
        self.data_received = self.channel.data_received  # type: ignore[method-assign]
        self.transport: asyncio.Transport

    # -- asyncio's callbacks -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop has its own class
        self.transport.set_write_buffer_limits(high=OUTPUT_PAUSE_BYTES)
        sock = transport.get_extra_info("socket")
        channel, config = self.channel, self.server.config
        channel.fd = self._fd(transport, sock)
        channel.reader.bulk_length_max = config.proto_max_bulk_len
        channel.query_bytes_max = self.server.admission.query_bytes_max
        channel.output_bytes_max = self.server.admission.output_bytes_max
        self.client.peer = _address(self.transport, "peername")
        self.client.local = _address(self.transport, "sockname")
        self.server.client_connected(self, sock)

    def moved(self, bare: Any, transport: asyncio.BaseTransport) -> None:
        """The loop has taken over a connection that was accepted while a script was busy."""
        self.transport = transport  # type: ignore[assignment]
        self.transport.set_write_buffer_limits(high=OUTPUT_PAUSE_BYTES)
        if bare.unsent:
            self.transport.write(bytes(bare.unsent))
        if self.client.flags & states.CLOSED:
            self.transport.abort()

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        if self.client.flags & states.FOLLOWER:
            # Its acknowledgements still have to be read; what it is sent is replication's to say.
            self.server.replication.tell(LinkPaused(self.client.id))
            return
        self.channel.stop |= states.STOP_CONGESTED
        if not self.client.flags & states.CLOSED:
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.client.flags & states.FOLLOWER:
            self.server.replication.tell(LinkResumed(self.client.id))
            return
        self.channel.stop &= ~states.STOP_CONGESTED
        if not self.client.flags & states.CLOSED:
            self.transport.resume_reading()
            self.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        self.client.flags |= states.CLOSED
        self.channel.stop |= states.STOP_CLOSING
        self.server.client_disconnected(self.client)
        self.server.loop.call_soon(self._let_go)

    # -- for the rest of the server ------------------------------------------------------------

    def resume(self) -> None:
        """Goes on with requests that were read while the client had to wait."""
        if not self.client.flags & states.CLOSED:
            self.channel.run()

    def close_after_reply(self) -> None:
        """Sends what is written, then closes; no further request is read."""
        self.client.flags |= states.CLOSE_AFTER_REPLY
        self.channel.stop |= states.STOP_CLOSING

    def close(self) -> None:
        """Closes at once; unsent output is dropped."""
        self.client.flags |= states.CLOSED
        self.channel.stop |= states.STOP_CLOSING
        self.channel.fd = -1
        self.transport.abort()

    @property
    def output_bytes(self) -> int:
        """Output not yet taken by the kernel, in bytes."""
        return len(self.channel.writer) + self.transport.get_write_buffer_size()

    # -- parts ---------------------------------------------------------------------------------

    def _let_go(self) -> None:
        """Unties client, channel and connection: nothing collects cycles in a running server, so
        they would stay, with their buffers. What was already called for has run by now."""
        self.channel.release()
        self.client.connection = GONE
        self.server.admission.sizes.connection_gone(self.client)

    def _flush_now(self) -> None:
        self.channel.flush_due = False
        if not self.client.flags & states.CLOSED:
            self.channel.flush()
            # Many clients may have been told something at once, to be quiet again for long: what
            # they hold counts against maxmemory, and evictions are among the things told.
            self.channel.writer.trim()
            self.pass_needs_care()

    def _next_turn(self) -> None:
        self.channel.stop &= ~states.STOP_TURN
        if self.client.flags & states.CLOSED or self.transport.is_closing():
            return
        if not self.channel.stop & states.STOP_CONGESTED:
            self.transport.resume_reading()
        self.resume()

    # -- for the channel -----------------------------------------------------------------------

    def pass_needs_care(self) -> None:
        """A pass ended with the channel stopped, with output queued, or with much unparsed."""
        client, channel = self.client, self.channel
        if client.flags & states.CLOSED:
            return
        if client.flags & states.CLOSE_AFTER_REPLY:
            channel.flush()
            if channel.gate is not None or channel.stop & states.STOP_HELD:
                return  # its last replies have to wait
            client.flags |= states.CLOSED
            self.transport.close()
        elif channel.queued:
            self.server.check_output_limit(self)
        if channel.reader.buffered_bytes > channel.query_bytes_max:
            self.server.admission.check_input(client)

    def turn_over(self) -> None:
        """The client's requests have run for long enough: others have their turn first, and what
        it sends meanwhile stays with it."""
        self.channel.stop |= states.STOP_TURN
        self.transport.pause_reading()
        self.server.loop.call_soon(self._next_turn)

    def flush_soon(self) -> None:
        """Output was written outside of a pass: it leaves at the end of this turn of the loop."""
        self.server.loop.call_soon(self._flush_now)

    def protocol_error(self, error: ProtocolError) -> None:
        """The client sent bytes that are no request: it is told so and closed."""
        self.server.protocol_error(self.client, error)
        self.channel.writer.write_error(b"ERR Protocol error: " + str(error).encode("latin-1"))
        self.close_after_reply()

    def write_rest(self, data: bytes) -> None:
        """Output that the kernel did not take at once."""
        self.transport.write(data)

    def output_allowed(self) -> bool:
        """Whether so much output may be sent; where not, the client is closed already."""
        self.server.check_output_limit(self)
        return not self.client.flags & states.CLOSED

    def queue_empty(self) -> bool:
        """Whether the transport has handed all its output to the kernel."""
        return self.transport.get_write_buffer_size() == 0

    @staticmethod
    def _fd(transport: asyncio.BaseTransport, sock: Any) -> int:
        """What the channel may write to itself: nothing where the transport encrypts."""
        encrypted = transport.get_extra_info("ssl_object") is not None
        return -1 if sock is None or encrypted else int(sock.fileno())


def _address(transport: asyncio.Transport, which: str) -> str:
    """ip:port, or path:0 for a unix socket, as CLIENT LIST shows it."""
    value = transport.get_extra_info(which)
    if isinstance(value, tuple):
        host = f"[{value[0]}]" if ":" in value[0] else value[0]
        return f"{host}:{value[1]}"
    sock = transport.get_extra_info("socket")
    path = sock.getsockname() if sock is not None and sock.family == socket.AF_UNIX else ""
    return f"{path if isinstance(path, str) else ''}:0"
