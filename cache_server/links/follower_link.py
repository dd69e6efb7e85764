"""What a follower does with its leader's bytes: the connection, and the snapshot.

    LeaderConnection   the socket; passes bytes and endings on, decides nothing
    SnapshotIntake     loads a snapshot beside the data that is served, then exchanges them

The stream is `stream_applier.py`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from cache_server.errors import InputError
from cache_server.persistence.recovery import recovered_history


class LeaderConnection(asyncio.Protocol):
    """The connection to the leader. `on_bytes(data)` and `on_closed(reason)` are told what comes;
    after `close` nothing more is."""

    def __init__(self, on_bytes: Callable[[bytes], None], on_closed: Callable[[str], None]) -> None:
        self._on_bytes = on_bytes
        self._on_closed = on_closed
        self._transport: Any = None
        self._closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        if self._closed:
            transport.abort()  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        if not self._closed:
            self._on_bytes(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._closed:
            self._closed = True
            self._on_closed("" if exc is None else str(exc))

    def write(self, data: bytes) -> None:
        if self._transport is not None and not self._closed:
            self._transport.write(data)

    def read(self, reading: bool) -> None:
        """Reads from the leader, or leaves what it sends in the sockets."""
        if self._transport is None or self._closed:
            return
        if reading:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def close(self) -> None:
        self._closed = True
        if self._transport is not None:
            self._transport.abort()

    @property
    def peer(self) -> str:
        """ip:port of the leader, "" without a connection."""
        peer = None if self._transport is None else self._transport.get_extra_info("peername")
        return "" if not peer else f"{peer[0]}:{peer[1]}"


class SnapshotIntake:
    """A snapshot that is being received. The data it will replace is served meanwhile."""

    def __init__(self, persistence: Any) -> None:
        self._persistence = persistence
        self._loader = persistence.loader(drop_expired=False)

    @property
    def keys(self) -> tuple[int, int]:
        """Keys read, and how many the leader said there are (as many, where it is a stock one)."""
        loaded = self._loader.loaded
        announced = loaded.aux.get(b"cache-keys", b"")
        total = int(announced) if announced.isdigit() and len(announced) < 19 else 0
        return loaded.keys_loaded, max(total, loaded.keys_loaded)

    def feed(self, data: bytes) -> None:
        """Takes a piece. Raises InputError."""
        self._loader.feed(data)

    def commit(self) -> int:
        """Puts the new data in place; returns the database that its stream has selected.

        Raises InputError, with everything as it was."""
        loaded = self._loader.finish()
        if self._loader.rest:
            raise InputError("bytes behind the snapshot's end")
        self._persistence.take(loaded)
        history = recovered_history(loaded)
        return 0 if history is None else history.stream_db
