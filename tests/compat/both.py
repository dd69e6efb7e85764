"""A cache-server and a redis-server side by side, and clients that show replies as they came."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.integration.processes import needs

START_SECONDS_MAX = 20.0
REPLY_SECONDS_MAX = 5.0

needs_redis = needs("redis-server")


class RawClient:
    """One connection. Replies are bytes exactly as the server sent them."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), REPLY_SECONDS_MAX)
        self._file = self._socket.makefile("rb")

    def send(self, *words: str) -> None:
        """Sends one request."""
        args = [word.encode() for word in words]
        parts = [b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in args]
        self._socket.sendall(b"*%d\r\n" % len(args) + b"".join(parts))

    def reply(self) -> bytes:
        """The next reply, with all that is nested in it. Raises TimeoutError."""
        line = self._file.readline()
        kind, rest = line[:1], line[1:-2]
        if kind in b"$=" and rest != b"-1":
            return line + self._file.read(int(rest) + 2)
        if kind in b"*~>%" and rest != b"-1":
            count = int(rest) * (2 if kind == b"%" else 1)
            return line + b"".join(self.reply() for _ in range(count))
        return line

    def __call__(self, *words: str) -> bytes:
        """Sends a request and returns its reply."""
        self.send(*words)
        return self.reply()

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def running(program: list[str], folder: Path) -> Iterator[int]:
    """Runs a server on a free port of loopback, in `folder`, and gives its port."""
    port = free_port()
    command = [*program, "--port", str(port), "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_SECONDS_MAX
        while True:
            try:
                RawClient(port).close()
                break
            except OSError:
                assert process.poll() is None, f"{program[0]} ended"
                assert time.monotonic() < deadline, f"{program[0]} did not start"
                time.sleep(0.02)
        yield port
    finally:
        process.kill()
        process.wait()


@contextmanager
def both(folder: Path) -> Iterator[tuple[int, int]]:
    """The ports of a cache-server and a redis-server."""
    ours = [sys.executable, "-m", "cache_server.cli.serve"]
    with running(ours, folder) as our_port, running(["redis-server"], folder) as their_port:
        yield our_port, their_port
