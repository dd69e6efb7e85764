"""A busy script beside real sockets: whoever is connected or comes is answered, a kill ends it."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import pytest

from cache_server.config import Config
from cache_server.server import Server

pytestmark = pytest.mark.integration

ENDLESS = b"*3\r\n$4\r\nEVAL\r\n$17\r\nwhile true do end\r\n$1\r\n0\r\n"


def talk_to(port: int, heard: dict[str, bytes]) -> None:
    """Runs in a thread: a script without end, then a newcomer's PING and SCRIPT KILL."""
    with socket.create_connection(("127.0.0.1", port)) as runner:
        runner.settimeout(20)
        runner.sendall(ENDLESS)
        deadline = time.monotonic() + 10
        with socket.create_connection(("127.0.0.1", port)) as newcomer:
            newcomer.settimeout(20)
            while time.monotonic() < deadline:
                newcomer.sendall(b"PING\r\n")
                heard["ping"] = newcomer.recv(1000)
                if heard["ping"].startswith(b"-BUSY"):
                    break
            newcomer.sendall(b"SCRIPT KILL\r\n")
            heard["kill"] = newcomer.recv(1000)
            heard["script"] = runner.recv(1000)
            newcomer.sendall(b"PING\r\n")
            heard["after"] = newcomer.recv(1000)


def test_a_newcomer_is_answered_and_stays_after_the_script() -> None:
    heard: dict[str, bytes] = {}

    async def scene() -> None:
        config = Config()
        for name, value in (("port", "0"), ("busy-reply-threshold", "30"), ("save", "")):
            config.apply_directive([name, value])
        server: Any = Server(config, asyncio.get_running_loop())
        config.port = free_port()
        server.listeners.bind()
        await server.start()
        await asyncio.wait_for(asyncio.to_thread(talk_to, config.port, heard), 40)
        await server.stop()

    asyncio.run(scene())
    assert heard["ping"].startswith(b"-BUSY Redis is busy running a script.")
    assert heard["kill"] == b"+OK\r\n"
    assert b"Script killed by user with SCRIPT KILL..." in heard["script"]
    assert heard["after"] == b"+PONG\r\n"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
