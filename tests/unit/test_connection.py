"""A connection that has ended leaves nothing behind, though nothing collects cycles."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

from cache_server.config import Config
from cache_server.connection import GONE, Connection
from cache_server.server import Server


class Transport:
    """As much of a transport as a connection needs."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def set_write_buffer_limits(self, high: int) -> None: ...

    def get_extra_info(self, name: str) -> Any:
        return None

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def abort(self) -> None: ...


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
