"""The same random commands to a cache-server and a redis-server: replies and data compared."""

from __future__ import annotations

from pathlib import Path

from tests.compat.both import RawClient, both
from tests.compat.random_commands import UNORDERED, Commands

BATCH = 200
#: After so many batches the data is compared, and sometimes dropped.
BATCHES_PER_DIGEST = 5
BATCHES_PER_FLUSH = 50


class DifferenceError(AssertionError):
    """A reply, or the data, is not the same."""


def run(seed: int, commands: int, folder: Path) -> None:
    """Runs `commands` requests. Raises DifferenceError with the request and both replies."""
    with both(folder) as ports:
        ours, theirs = (RawClient(port) for port in ports)
        try:
            for client in (ours, theirs):
                client("HELLO", str(2 + seed % 2))
            _compare(Commands(seed, _known(ours)), commands, ours, theirs)
        finally:
            ours.close()
            theirs.close()


def _known(client: RawClient) -> set[str]:
    return {line.decode() for line in client("COMMAND", "LIST").split() if line[:1] not in b"*$"}


def _compare(source: Commands, commands: int, ours: RawClient, theirs: RawClient) -> None:
    recent: list[list[bytes]] = []
    for number in range(0, commands, BATCH):
        batch = [source.next() for _ in range(BATCH)]
        for client in (ours, theirs):
            client.send_all(batch)
        for index, request in enumerate(batch):
            mine, real = ours.reply(), theirs.reply()
            if mine != real and not _same(request, mine, real):
                recent += batch[: index + 1]
                keys = {word for word in request[1:] if len(word) == 2}
                raise DifferenceError(
                    f"command {number + index}: {request}\nours   {mine!r}\ntheirs {real!r}\n"
                    "what named its keys before:\n"
                    + "\n".join(str(each) for each in recent[-2000:] if keys & set(each))[-4000:]
                )
        recent = (recent + batch)[-2000:]
        if number // BATCH % BATCHES_PER_DIGEST == 0:
            mine, real = ours("DEBUG", "DIGEST"), theirs("DEBUG", "DIGEST")
            if mine != real:
                raise DifferenceError(f"the data differs after command {number + BATCH}")
        if number // BATCH % BATCHES_PER_FLUSH == 0:
            ours("FLUSHALL")
            theirs("FLUSHALL")


def _same(request: list[bytes], mine: bytes, real: bytes) -> bool:
    if request[0] == b"EVAL":
        request = request[3:]
    if request[0] == b"OBJECT":
        # What INCRBYFLOAT left; here a string is `int` exactly when it reads as one.
        return mine.replace(b"$3\r\nint\r\n", b"$6\r\nembstr\r\n") == real
    if request[0].decode() not in UNORDERED:
        return False
    return sorted(mine.split(b"\r\n")) == sorted(real.split(b"\r\n"))
