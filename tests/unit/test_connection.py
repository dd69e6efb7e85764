"""A connection: it leaves nothing behind, though nothing collects cycles, and takes turns."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

from cache_server.config import Config
from cache_server.connection import GONE, Connection
from cache_server.constants import TURN_REQUESTS
from cache_server.server import Server


class Transport:
    """As much of a transport as a connection needs."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.reading = True

    def set_write_buffer_limits(self, high: int) -> None: ...

    def get_extra_info(self, name: str) -> Any:
        return None

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def abort(self) -> None: ...

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


def test_client_channel_and_connection_are_freed_without_a_collector() -> None:
    loop = asyncio.new_event_loop()
    server = Server(Config(), loop)
    gc.disable()
    try:
        connection = Connection(server)
        transport = Transport()
        connection.connection_made(transport)  # type: ignore[arg-type]
        connection.data_received(b"*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n")
        assert b"".join(transport.written) == b"+PONG\r\n"
        held = weakref.ref(connection.client)
        connection.connection_lost(None)
        loop.call_soon(loop.stop)
        loop.run_forever()
        client = held()
        assert client is not None
        assert client.connection is GONE
        client.connection.resume()
        del client, connection
        assert held() is None
    finally:
        gc.enable()
        loop.close()


def test_a_long_pipeline_of_slow_commands_lets_others_have_their_turn() -> None:
    loop = asyncio.new_event_loop()
    try:
        config = Config()
        config.apply_directive(["enable-debug-command", "yes"])
        server = Server(config, loop)
        transport, other = Transport(), Transport()
        connection, brief = Connection(server), Connection(server)
        connection.connection_made(transport)  # type: ignore[arg-type]
        brief.connection_made(other)  # type: ignore[arg-type]
        slow = TURN_REQUESTS * 2
        connection.data_received(b"DEBUG SLEEP 0.001\r\n" * slow + b"PING\r\n" * slow)
        assert b"".join(transport.written) == b"+OK\r\n" * slow
        assert not transport.reading
        connection.data_received(b"ECHO last\r\n")
        brief.data_received(b"PING\r\n")
        assert other.written == [b"+PONG\r\n"]
        loop.call_soon(loop.stop)
        loop.run_forever()
        wanted = b"+OK\r\n" * slow + b"+PONG\r\n" * slow + b"$4\r\nlast\r\n"
        assert b"".join(transport.written) == wanted
        assert transport.reading
        connection.connection_lost(None)
        brief.connection_lost(None)
        loop.call_soon(loop.stop)
        loop.run_forever()
    finally:
        loop.close()
