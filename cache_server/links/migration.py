"""MIGRATE's other end: sends keys to another server and hears which of them it took.

Problem. A key must not change between its dump and its deletion here, so Redis serves nobody while
the other server is asked. Idea: only writes wait (as in CLIENT PAUSE WRITE); reads are served. The
talk itself is a few blocking calls in a thread, which sees bytes and a socket and no data.

    request -> dump -> pause writes -> thread: AUTH, SELECT, RESTORE ... -> lines of reply
                                         |
    reply <- deletion, as one unit <- request run again with the outcome, writes go on

A client that may not wait (in a transaction, a script) has the talk in its own place, as in Redis.
A connection that worked is kept for the next MIGRATE to the same address, for ten seconds.

Invariants: one shipment is under way at a time, because MIGRATE is a write and writes wait; a link
is either in `kept` or with the shipment under way; a talk is tried again, on a new connection, only
before anything was answered and not after a timeout.

Source: https://redis.io/docs/latest/commands/migrate/.
"""

from __future__ import annotations

import logging
import socket
from contextlib import suppress
from threading import Thread
from typing import Any

from cache_server.constants import (
    MIGRATE_CHUNK_BYTES,
    MIGRATE_LINE_BYTES_MAX,
    MIGRATE_LINK_IDLE_MS,
    MIGRATE_LINKS_MAX,
)
from cache_server.wire import ReplyWriter
from cache_server.wire.replies import NO_REPLY

#: The purpose under which writes wait.
BY_MIGRATE = "migrate"
#: A pause ends with the talk, which has timeouts of its own; this is only what a timer takes.
_PAUSE_MS = 24 * 3600 * 1000

log = logging.getLogger("cache_server")


class Shipment:
    """What is to be sent where. `restores` are whole RESTORE commands, one for each of `keys`."""

    def __init__(self, host: bytes, port: bytes, db_index: int, timeout_ms: int) -> None:
        self.host = host
        self.port = port
        self.db_index = db_index
        self.timeout_ms = timeout_ms
        self.auth: list[bytes] = []
        self.keys: list[Any] = []
        self.restores: list[list[bytes]] = []


class Outcome:
    """What came of a shipment.

    `fault` is what failed (connecting, writing, reading) or empty; `lines` are the replies to the
    RESTOREs, as far as they came; `refusal` is the first error among all replies."""

    def __init__(self) -> None:
        self.fault = ""
        self.timed_out = False
        self.lines: list[bytes] = []
        self.refusal = b""
        self.refused_before = False


class Link:
    """A connection to another server. `db_index` is what it has selected, -1 for unknown."""

    def __init__(self, host: str, port: int, timeout_s: float) -> None:
        self.socket = socket.create_connection((host, port), timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.db_index = -1
        self.used_ms = 0
        self._buffer = b""

    def send(self, data: bytes) -> None:
        """Writes all, the timeout counting for each part. Raises OSError."""
        for start in range(0, len(data), MIGRATE_CHUNK_BYTES):
            self.socket.sendall(data[start : start + MIGRATE_CHUNK_BYTES])

    def line(self) -> bytes:
        """The next line without its end. Raises OSError."""
        while b"\n" not in self._buffer:
            more = self.socket.recv(MIGRATE_LINE_BYTES_MAX)
            if not more or len(self._buffer) > MIGRATE_LINE_BYTES_MAX:
                raise ConnectionError("closed, or a line without an end")
            self._buffer += more
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.rstrip(b"\r")

    def close(self) -> None:
        self.socket.close()


def deliver(shipment: Shipment, link: Link | None) -> tuple[Outcome, Link | None]:
    """Talks to the other server, on `link` if there is one; the link to keep is None after a
    fault. Blocks, for the shipment's timeout at each step."""
    outcome, link = _try(shipment, link)
    if outcome.fault in ("writing", "reading") and not (outcome.timed_out or outcome.lines):
        outcome, link = _try(shipment, None)
    return outcome, link


def _try(shipment: Shipment, link: Link | None) -> tuple[Outcome, Link | None]:
    outcome = Outcome()
    outcome.fault = "connecting"
    try:
        if link is None:
            timeout_s = shipment.timeout_ms / 1000
            link = Link(shipment.host.decode(), int(shipment.port), timeout_s)
        link.socket.settimeout(shipment.timeout_ms / 1000)
        before, request = _request(shipment, link)
        outcome.fault = "writing"
        link.send(request)
        outcome.fault = "reading"
        for _ in range(before):
            _take(outcome, link.line())
        outcome.refused_before = bool(outcome.refusal)
        for _ in shipment.restores:
            line = link.line()
            outcome.lines.append(line)
            _take(outcome, line)
        link.db_index = -1 if outcome.refusal else shipment.db_index
        outcome.fault = ""
    except (OSError, OverflowError, ValueError) as error:
        # The last two: a name or a port that no address can have.
        outcome.timed_out = isinstance(error, TimeoutError)
        log.warning("MIGRATE: %s failed: %s", outcome.fault, error)
        if link is not None:
            link.close()
            link = None
    return outcome, link


def _take(outcome: Outcome, line: bytes) -> None:
    if line.startswith(b"-") and not outcome.refusal:
        outcome.refusal = line[1:]


def _request(shipment: Shipment, link: Link) -> tuple[int, bytes]:
    """How many replies come before those to the RESTOREs, and all that is to be sent."""
    writer = ReplyWriter()
    commands = [[b"AUTH", *shipment.auth]] if shipment.auth else []
    if link.db_index != shipment.db_index:
        commands.append([b"SELECT", b"%d" % shipment.db_index])
    for command in (*commands, *shipment.restores):
        writer.write_command(command)
    return len(commands), writer.take()


class Migrations:
    """The kept links, and the shipment under way. A part of the server."""

    def __init__(self, server: Any) -> None:
        self.server = server
        #: address -> link that nobody uses now
        self.kept: dict[tuple[bytes, bytes], Link] = {}
        self._arrived_for: Any = None
        self._arrived: tuple[Shipment, Outcome] | None = None

    @staticmethod
    def new_shipment(host: bytes, port: bytes, db_index: int, timeout_ms: int) -> Shipment:
        """An empty shipment to this address."""
        return Shipment(host, port, db_index, timeout_ms)

    def take_arrived(self, client: Any) -> tuple[Shipment, Outcome] | None:
        """What came of this client's shipment, for the request that is run again because of it."""
        if self._arrived_for is not client:
            return None
        arrived, self._arrived, self._arrived_for = self._arrived, None, None
        return arrived

    def ship(self, client: Any, args: list[bytes], shipment: Shipment) -> Outcome | None:
        """Sends the keys. None: the client waits, and `args` is run again with the outcome."""
        address = (shipment.host, shipment.port)
        link = self.kept.pop(address, None)
        if self.server.blocking.wait(client, 0, _nothing) is not NO_REPLY:
            outcome, link = deliver(shipment, link)
            self._keep(address, link)
            return outcome
        self.server.pauses.pause(BY_MIGRATE, self.server.now_ms() + _PAUSE_MS, everything=False)
        work = (client, client.last_command, args, shipment, link)
        Thread(target=self._deliver_in_thread, args=work, daemon=True).start()
        return None

    def _deliver_in_thread(
        self, client: Any, row: Any, args: list[bytes], shipment: Shipment, link: Link | None
    ) -> None:
        outcome, link = deliver(shipment, link)
        with suppress(RuntimeError):  # the loop is closed: the server has ended meanwhile
            self.server.loop.call_soon_threadsafe(
                self._finish, client, row, args, shipment, outcome, link
            )

    def _finish(
        self,
        client: Any,
        row: Any,
        args: list[bytes],
        shipment: Shipment,
        outcome: Outcome,
        link: Link | None,
    ) -> None:
        self._keep((shipment.host, shipment.port), link)
        self._arrived_for, self._arrived = client, (shipment, outcome)
        server = self.server
        server.dispatcher.begin_pass()
        try:
            if not server.blocking.run_again(client, args):
                # Gone, or told to wait no more: what was taken over there is deleted all the same.
                server.dispatcher.call(client, row, args)
        finally:
            self._arrived_for = self._arrived = None
            server.pauses.end(BY_MIGRATE)

    def _keep(self, address: tuple[bytes, bytes], link: Link | None) -> None:
        if link is None:
            return
        while len(self.kept) >= MIGRATE_LINKS_MAX:
            self.kept.pop(next(iter(self.kept))).close()
        link.used_ms = self.server.now_ms()
        self.kept[address] = link

    async def start(self) -> None:
        """There is nothing to begin."""

    def cron(self, now_ms: int) -> None:
        """Closes links that were not used for a while."""
        for address, link in list(self.kept.items()):
            if now_ms - link.used_ms > MIGRATE_LINK_IDLE_MS:
                del self.kept[address]
                link.close()

    async def stop(self) -> None:
        """Closes the links."""
        for link in self.kept.values():
            link.close()
        self.kept.clear()


def _nothing() -> None:
    """Who may not wait gets no reply for waiting."""
