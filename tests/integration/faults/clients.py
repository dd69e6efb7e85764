"""Clients that write and read as hard as they can to whoever takes it, and record everything.

They ask no sentinel: each stays with a node while it answers and goes to the next one otherwise, so
a leader that should have stopped is asked all the time. Their patience differs; one that gives up
leaves its request in the node's socket, where it may still be done.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from dataclasses import dataclass, field
from typing import Any

import hiredis

from tests.integration.faults.histories import Read, Write

WRITERS = 8
READERS = 4
KEYS = 8
#: How long writers and readers wait for an answer, in seconds, one after the other.
PATIENCE_S = (0.3, 0.5, 1.0, 2.0, 5.0)
#: Between two requests of one client, in seconds.
PAUSE_S = (0.004, 0.014)
RETRY_S = 0.02

_EPOCH = re.compile(rb"lease_epoch:(\d+)")
_RUN_ID = re.compile(rb"run_id:(\w+)")


def encode(*words: str | bytes) -> bytes:
    """One command."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        raw = word.encode() if isinstance(word, str) else word
        parts.append(b"$%d\r\n%b\r\n" % (len(raw), raw))
    return b"".join(parts)


class Wire:
    """One connection. Raises OSError, asyncio.IncompleteReadError (both: it is over)."""

    def __init__(self, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        self._reader, self._writer = streams
        self._replies = hiredis.Reader()
        self.life = ""

    @classmethod
    async def dial(cls, port: int) -> Wire:
        """To a node itself, through no door."""
        return cls(await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, count: int, request: bytes) -> list[Any]:
        """The answers to `count` requests sent at once; errors are values."""
        self._writer.write(request)
        answers: list[Any] = []
        while len(answers) < count:
            while (answer := self._replies.gets()) is not False:
                answers.append(answer)
            if len(answers) < count:
                data = await self._reader.read(65536)
                if not data:
                    raise ConnectionResetError
                self._replies.feed(data)
        return answers

    def close(self) -> None:
        """Hangs up."""
        self._writer.close()


async def ask(port: int, *words: str, timeout_s: float = 2.0) -> Any:
    """One command on a connection of its own. Raises OSError, TimeoutError."""
    async with asyncio.timeout(timeout_s):
        wire = await Wire.dial(port)
        try:
            return (await wire.ask(1, encode(*words)))[0]
        finally:
            wire.close()


@dataclass
class Record:
    """Of one round."""

    number: int
    writes: list[Write] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    acknowledged: int = 0
    last_s: float = 0.0
    pause_s_max: float = 0.0
    """The longest time in which nobody's write was acknowledged."""

    def note(self, write: Write) -> None:
        """A write was acknowledged."""
        self.acknowledged += 1
        if self.last_s:
            self.pause_s_max = max(self.pause_s_max, write.done_s - self.last_s)
        self.last_s = write.done_s


class Client:
    """One writer or reader. `nodes` are names and ports."""

    def __init__(self, name: str, nodes: list[tuple[str, int]], rng: random.Random) -> None:
        self.name = name
        self._nodes = nodes
        self._rng = rng
        self._place = rng.randrange(len(nodes))
        self._patience_s = rng.choice(PATIENCE_S)
        self._wire: Wire | None = None
        self._count = 0

    @property
    def node(self) -> str:
        """Whom it speaks to."""
        return self._nodes[self._place][0]

    async def write(self, record: Record) -> None:
        """Writes until it is cancelled."""
        while True:
            write = await self._try(self._write_once, record)
            await asyncio.sleep(self._rng.uniform(*PAUSE_S) if write else RETRY_S)

    async def read(self, record: Record) -> None:
        """Reads until it is cancelled."""
        while True:
            read = await self._try(self._read_once, record)
            await asyncio.sleep(self._rng.uniform(*PAUSE_S) if read else RETRY_S)

    async def _try(self, once: Any, record: Record) -> bool:
        """One request; goes to the next node where this one did not do it."""
        try:
            async with asyncio.timeout(self._patience_s):
                if self._wire is None:
                    self._wire = await Wire.dial(self._nodes[self._place][1])
                    [info] = await self._wire.ask(1, encode("INFO", "server"))
                    if isinstance(info, hiredis.ReplyError):
                        raise ConnectionRefusedError
                    found = _RUN_ID.search(info)
                    self._wire.life = found[1].decode() if found else ""
                if await once(self._wire, record):
                    return True
        except (OSError, TimeoutError):
            if self._wire is not None:
                self._wire.close()
                self._wire = None
        if self._wire is not None:
            self._wire.close()
            self._wire = None
        self._place = (self._place + 1) % len(self._nodes)
        return False

    async def _write_once(self, wire: Wire, record: Record) -> bool:
        self._count += 1
        value = f"{record.number}.{self.name}.{self._count}"
        key = f"register:{record.number}:{self._rng.randrange(KEYS)}"
        write = Write(key, value, self.name, self.node, time.monotonic(), life=wire.life)
        record.writes.append(write)
        request = b"".join(
            (
                encode("MULTI"),
                encode("SET", key, value),
                encode("RPUSH", f"all:{record.number}:{self.name}", value),
                encode("TIME"),
                encode("INFO", "replication"),
                encode("EXEC"),
            )
        )
        answer = (await wire.ask(6, request))[-1]
        if isinstance(answer, hiredis.ReplyError):
            write.refused = True
            return False
        write.done_s = time.monotonic()
        write.acknowledged = True
        write.executed_s = int(answer[2][0]) + int(answer[2][1]) / 1e6
        found = _EPOCH.search(answer[3])
        write.epoch = int(found[1]) if found else -1
        record.note(write)
        return True

    async def _read_once(self, wire: Wire, record: Record) -> bool:
        key = f"register:{record.number}:{self._rng.randrange(KEYS)}"
        sent_s = time.monotonic()
        request = encode("ROLE") + encode("GET", key) + encode("ROLE")
        before, value, after = await wire.ask(3, request)
        if any(isinstance(one, hiredis.ReplyError) for one in (before, value, after)):
            return False
        if before[0] != b"master" or after[0] != b"master":
            return False
        text = value.decode() if value is not None else None
        record.reads.append(Read(key, text, self.node, sent_s, time.monotonic()))
        return True

    def close(self) -> None:
        """Hangs up."""
        if self._wire is not None:
            self._wire.close()
            self._wire = None
