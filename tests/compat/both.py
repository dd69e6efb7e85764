"""A cache-server and a redis-server side by side, and clients that show replies as they came."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from hypothesis import HealthCheck, settings

from tests.integration.processes import needs

START_SECONDS_MAX = 20.0
REPLY_SECONDS_MAX = 5.0

needs_redis = needs("redis-server")


class RawClient:
    """One connection. Replies are bytes exactly as the server sent them."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), REPLY_SECONDS_MAX)
        self._file = self._socket.makefile("rb")

    def send(self, *words: str | bytes) -> None:
        """Sends one request."""
        self.send_all([words])

    def send_all(self, requests: Sequence[Sequence[str | bytes]]) -> None:
        """Sends many requests at once."""
        self._socket.sendall(b"".join(self._encoded(words) for words in requests))

    @staticmethod
    def _encoded(words: Sequence[str | bytes]) -> bytes:
        args = [word.encode() if isinstance(word, str) else word for word in words]
        parts = [b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in args]
        return b"*%d\r\n" % len(args) + b"".join(parts)

    def reply(self) -> bytes:
        """The next reply, with all that is nested in it; empty at the end of the connection.
        Raises TimeoutError."""
        line = self._file.readline()
        if not line:
            return line
        kind, rest = line[:1], line[1:-2]
        if kind in b"$=" and rest != b"-1":
            return line + self._file.read(int(rest) + 2)
        if kind in b"*~>%" and rest != b"-1":
            count = int(rest) * (2 if kind == b"%" else 1)
            return line + b"".join(self.reply() for _ in range(count))
        return line

    def __call__(self, *words: str | bytes) -> bytes:
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
    options = ["--enable-debug-command", "yes"]
    ours = [sys.executable, "-m", "cache_server.cli.serve", *options]
    theirs = ["redis-server", *options]
    with running(ours, folder) as our_port, running(theirs, folder) as their_port:
        yield our_port, their_port


#: How a value is read whole, by what TYPE says.
READERS = {
    b"+string\r\n": ["GET"],
    b"+list\r\n": ["LRANGE", "0", "-1"],
    b"+zset\r\n": ["ZRANGE", "0", "-1", "WITHSCORES"],
}


class Pair:
    """The same requests to both, compared: replies, changes counted, keys left, events."""

    def __init__(self, ours: RawClient, theirs: RawClient) -> None:
        self.ours = ours
        self.theirs = theirs
        self._counted = (0, 0)

    def begin(self, protocol: str, setup: list[list[str | bytes]]) -> None:
        """Empty databases, this protocol version, and what `setup` makes."""
        for client in (self.ours, self.theirs):
            assert client("HELLO", protocol)[:1] != b"-"
            assert client("FLUSHALL") == b"+OK\r\n"
            for words in setup:
                assert client(*words)[:1] != b"-", words
        self._counted = self._changes()

    def same(self, *words: str | bytes) -> bytes:
        """The reply of both."""
        ours, theirs = self.ours(*words), self.theirs(*words)
        assert ours == theirs, words
        return theirs

    def same_keys(self) -> None:
        """Both counted as many changes since `begin` and hold the same keys and values."""
        counted = self._changes()
        before = self._counted
        assert counted[0] - before[0] == counted[1] - before[1], "changes since the last save"
        keys = [set(_bulks(client("KEYS", "*"))) for client in (self.ours, self.theirs)]
        assert keys[0] == keys[1]
        for key in keys[0]:
            self.same("PEXPIRETIME", key)
            name, *rest = READERS[self.same("TYPE", key)]
            self.same(name, key, *rest)

    def _changes(self) -> tuple[int, int]:
        return dirty(self.ours), dirty(self.theirs)


def _bulks(reply: bytes) -> list[bytes]:
    """The elements of an array of bulk strings."""
    elements = []
    at = reply.index(b"\r\n") + 2
    while at < len(reply):
        end = reply.index(b"\r\n", at)
        size = int(reply[at + 1 : end])
        elements.append(reply[end + 2 : end + 2 + size])
        at = end + 4 + size
    return elements


def dirty(client: RawClient) -> int:
    """How many changes the server has counted."""
    found = re.search(rb"rdb_changes_since_last_save:(\d+)", client("INFO", "persistence"))
    assert found is not None
    return int(found[1])


@contextmanager
def pairs(our_port: int, their_port: int) -> Iterator[Pair]:
    """One client of each."""
    with closing(RawClient(our_port)) as ours, closing(RawClient(their_port)) as theirs:
        yield Pair(ours, theirs)


#: Examples of a differential test: enough to meet every option and every fault.
thorough = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def play(port: int, story: str) -> list[bytes]:
    """All replies of a story, in its order.

    Who (a, b, c) sends what: `a> request` is sent and not waited for, `a:` reads a reply, `wait n`
    waits until n clients are blocked."""
    with ExitStack() as stack:
        people = {who: stack.enter_context(closing(RawClient(port))) for who in "abcw"}
        people["w"]("FLUSHALL")
        replies = []
        for step in story.split("|"):
            who, *words = step.split(" ")
            if who == "wait":
                wait_for_blocked(people["w"], words[0])
            elif who.endswith(":"):
                replies.append(people[who[0]].reply())
            elif who.endswith(">"):
                people[who[0]].send(*words)
            else:
                replies.append(people[who](*words))
        return replies


def wait_for_blocked(watcher: RawClient, count: str) -> None:
    deadline = time.monotonic() + 5
    while f"blocked_clients:{count}\r".encode() not in watcher("INFO", "clients"):
        assert time.monotonic() < deadline, f"not {count} blocked clients"
