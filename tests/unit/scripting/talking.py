"""A room in which scripts are run: requests as words, replies as bytes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.unit.talk import Room, Shell


def ask(shell: Shell, *words: str | bytes) -> bytes:
    """Sends a request; returns the reply as it went over the wire."""
    parts = [word.encode("latin-1") if isinstance(word, str) else word for word in words]
    request = b"*%d\r\n" % len(parts)
    request += b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
    shell.channel.data_received(request)
    return shell.take()


def run(shell: Shell, script: str | bytes, *words: str | bytes) -> bytes:
    """EVAL with no keys unless `words` begins with their number."""
    return ask(shell, "EVAL", script, *(words or ("0",)))


@contextmanager
def scripted(**settings: Any) -> Iterator[Shell]:
    """A client of a fresh server."""
    room = Room(**settings)
    try:
        yield room.client()
    finally:
        room.close()
