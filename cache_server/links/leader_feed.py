"""What a leader sends its followers: the stream, and the snapshots that precede it.

A follower's link is an ordinary client connection whose client has FOLLOWER set. Its bytes go
through the connection's own writer, behind the replies to its handshake, so order needs no care;
what the kernel does not take waits in the transport, whose marks become LinkPaused and LinkResumed:
a follower that does not read is never sent more than the transport's mark and one action.

A snapshot is produced a chunk at a time, each in its own turn of the event loop.
"""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from collections.abc import Callable
from typing import Any

from cache_server import client as states
from cache_server.constants import SNAPSHOT_SPOOL_MEMORY_BYTES
from cache_server.persistence.snapshot import Snapshot
from cache_server.wire.replies import Raw
from replication import events as ev
from replication.constants import SNAPSHOT_CHUNK_BYTES, SYNC_EARLY_BYTES, SYNC_FEED_CHUNKS


class FeedLink:
    """Our end of one follower's link.

    What the kernel does not take at once makes the link paused: the stream then waits in the
    backlog, where a small write costs a fraction of what it costs in the transport's queue, and
    all followers share it."""

    def __init__(self, client: Any) -> None:
        self.client = client
        # Not 0: a transport that encrypts would take that for full when it is empty.
        client.connection.transport.set_write_buffer_limits(high=1)

    def send(self, data: bytes) -> None:
        """Writes bytes behind what was written before."""
        if not self.client.flags & states.CLOSED:
            channel = self.client.channel
            channel.writer.write(Raw(data))
            channel.flush()

    def cut(self) -> None:
        """Tells the peer at once that the link has ended: the loop closes it in its next turn, and
        who killed the link may ask the peer before that."""
        held = self.client.connection.transport.get_extra_info("socket")
        if held is None or held.fileno() < 0:
            return
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(held.fileno())) as same:
            same.shutdown(socket.SHUT_RDWR)

    def close(self, *, flush: bool) -> None:
        """Ends the connection, after what is written has left or at once."""
        client = self.client
        client.flags &= ~states.FOLLOWER
        if client.flags & states.CLOSED:
            return
        if flush:
            client.connection.close_after_reply()
            client.channel.output_added()
        else:
            client.connection.close()


class SnapshotSource:
    """One reading of the data set for full syncs, `spooled` to a file where its length has to be
    known first. `deliver(event)` hands what was produced to the leader machine."""

    def __init__(
        self,
        number: int,
        snapshot: Snapshot,
        loop: Any,
        deliver: Callable[[ev.Event], None],
        *,
        folder: str,
        key_delay_us: Callable[[], int],
    ) -> None:
        self.number = number
        self.snapshot = snapshot
        self._loop = loop
        self._deliver = deliver
        self._folder = folder
        self._key_delay_us = key_delay_us
        self._spool: Any = None
        self._timer: Any = None
        self._relief: Any = None
        self._closed = False
        self._delayed_keys = 0

    def spool(self) -> None:
        """Reads the whole snapshot into a file, then tells its length."""
        self._spool = tempfile.SpooledTemporaryFile(  # noqa: SIM115 - closed by `close`
            SNAPSHOT_SPOOL_MEMORY_BYTES, dir=self._folder
        )
        self._soon(self._spool_chunk)

    def pull(self) -> None:
        """Produces the next chunk in a later turn of the loop."""
        self._soon(self._read_chunk)

    def relieve(self) -> None:
        """Hands over what writes have made the snapshot read early, so that it does not pile up
        while nobody takes chunks; a few in each turn of the loop."""
        self._relief = None
        if self._spool is not None or self._closed:
            return
        snapshot = self.snapshot
        for _ in range(SYNC_FEED_CHUNKS):
            if snapshot.ended or snapshot.ready_bytes < SYNC_EARLY_BYTES:
                return
            chunk = snapshot.next_chunk(SNAPSHOT_CHUNK_BYTES)
            self._deliver(ev.SnapshotChunk(self.number, chunk, False, self._share()))
            if self._closed:
                return
        self._relief = self._loop.call_soon(self.relieve)

    def close(self) -> None:
        """Nobody needs it any more."""
        self._closed = True
        if self._relief is not None:
            self._relief.cancel()
            self._relief = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.snapshot.close()
        if self._spool is not None:
            self._spool.close()
            self._spool = None

    def _soon(self, step: Callable[[], None]) -> None:
        """Next turn; later where rdb-key-save-delay asks for a slow snapshot."""
        keys = self.snapshot.keys_done - self._delayed_keys
        self._delayed_keys = self.snapshot.keys_done
        self._timer = self._loop.call_later(max(0, self._key_delay_us()) * keys / 1e6, step)

    def _spool_chunk(self) -> None:
        try:
            chunk = self.snapshot.next_chunk(self._chunk_bytes())
            self._spool.write(chunk)
            if chunk:
                self._soon(self._spool_chunk)
                return
            length = self._spool.tell()
            self._spool.seek(0)
        except OSError as error:
            self._deliver(ev.SnapshotFailed(self.number, str(error)))
            return
        self.snapshot.close()
        self._deliver(ev.SnapshotSpooled(self.number, length))

    def _read_chunk(self) -> None:
        try:
            if self._spool is not None:
                chunk = self._spool.read(SNAPSHOT_CHUNK_BYTES)
            else:
                chunk = self.snapshot.next_chunk(self._chunk_bytes())
        except OSError as error:
            self._deliver(ev.SnapshotFailed(self.number, str(error)))
            return
        if chunk:
            self._deliver(ev.SnapshotChunk(self.number, chunk, share=self._share()))
        else:
            self._deliver(ev.SnapshotFinished(self.number))

    def _share(self) -> float:
        return self.snapshot.keys_done / max(1, self.snapshot.keys_total)

    def _chunk_bytes(self) -> int:
        """A delay is per key, so then chunks are small enough to hold about one."""
        return 256 if self._key_delay_us() > 0 else SNAPSHOT_CHUNK_BYTES
