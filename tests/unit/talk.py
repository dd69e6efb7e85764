"""A server without sockets: clients that send bytes and read the bytes that come back."""

from __future__ import annotations

import asyncio
from typing import Any

from cache_server import client as states
from cache_server.config import Config
from cache_server.server import Server
from cache_server.wire import Channel


class Shell:
    """A connection's shell that keeps what it is given to send."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.client = server.new_client()
        self.client.connection = self
        self.channel = self.client.channel = Channel(self.client, server.dispatcher, self)
        self.client.peer, self.client.local = "127.0.0.1:1000", "127.0.0.1:6379"
        self.channel.output_bytes_max = server.admission.output_bytes_max
        self.sent = b""
        self.closed = False
        self.closing = False
        if server.admission.admit(self, None):
            server.clients[self.client.id] = self.client

    # -- what a test does ----------------------------------------------------------------------

    def say(self, *requests: str) -> bytes:
        """Sends inline requests in one piece; returns what came back."""
        self.channel.data_received("".join(line + "\r\n" for line in requests).encode())
        return self.take()

    def take(self) -> bytes:
        """What came since the last look."""
        self.channel.flush()
        sent, self.sent = self.sent, b""
        return sent

    # -- what channel and server do ------------------------------------------------------------

    @property
    def output_bytes(self) -> int:
        return len(self.channel.writer)

    def write_rest(self, data: bytes) -> None:
        self.sent += data

    def output_allowed(self) -> bool:
        self.server.admission.check_output(self)
        return not self.closed

    def queue_empty(self) -> bool:
        return True

    def pass_needs_care(self) -> None:
        self.channel.flush()
        if self.closing:
            self.close()

    def turn_over(self) -> None:
        """Nobody else waits for a turn."""

    def protocol_error(self, error: Exception) -> None:
        self.channel.writer.write_error(b"ERR Protocol error: " + str(error).encode())
        self.close_after_reply()

    def flush_soon(self) -> None:
        self.channel.flush_due = False
        self.server.loop.call_soon(self.channel.flush)

    def close_after_reply(self) -> None:
        self.closing = True
        self.client.flags |= states.CLOSE_AFTER_REPLY
        self.channel.stop |= states.STOP_CLOSING

    def close(self) -> None:
        self.closed = True
        self.client.flags |= states.CLOSED

    def resume(self) -> None:
        self.channel.run()


class Room:
    """A server with as many clients as a test wants."""

    def __init__(self, **settings: Any) -> None:
        self.loop = asyncio.new_event_loop()
        config = Config()
        for name, value in settings.items():
            config.apply_directive([name.replace("_", "-"), value])
        self.server = Server(config, self.loop)

    def client(self) -> Shell:
        return Shell(self.server)

    def close(self) -> None:
        self.loop.close()
