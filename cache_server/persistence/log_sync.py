"""Syncing the log: in a thread, one sync at a time, and the replies that wait for one.

What was written while a sync ran is covered by the next, together (group commit). Replies to
writes leave after the log has been handed what they tell of, at the end of the loop's turn; if the
disk refuses that, when there is room and the log has it (a killed process has lost it). Under
`appendfsync always` they wait for the disk as well: the channel of a client that wrote is stopped,
so that all of its output is covered by the sync that begins next; then it is sent, and its next
requests are taken.

Invariants: a channel waits in one place at most; files are synced and closed in the order in which
they were written, so that a position that is durable is durable with all before it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from cache_server import client as states
from cache_server.disk import Appender

log = logging.getLogger("cache_server")

_UNDURABLE = states.STOP_UNDURABLE
_CLOSED = states.CLOSED
_CLOSE_AFTER_REPLY = states.CLOSE_AFTER_REPLY

Work = Callable[[], Any]
Told = Callable[[Exception | None], None]


class FileThread:
    """A thread that does one thing after the other. A sync is short, and there may be thousands a
    second, so nothing is made for each but its two callables."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._jobs: SimpleQueue[tuple[Work, Told] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def run(self, work: Work, told: Told) -> None:
        """Has the thread do `work`; then `told` gets what it raised, or None, in the loop."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._main, name="log-sync", daemon=True)
            self._thread.start()
        self._jobs.put((work, told))

    def close(self) -> None:
        """Returns when everything is done."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._jobs.put(None)
            thread.join()

    def _main(self) -> None:
        while (job := self._jobs.get()) is not None:
            work, told = job
            error = None
            try:
                work()
            except Exception as raised:
                error = raised
            self._loop.call_soon_threadsafe(told, error)


class Syncs:
    """Syncing in a thread, and the clients that wait for it."""

    def __init__(self, owner: Any) -> None:
        self._owner = owner
        self.always = False
        self.running = False
        #: Whether a sync has failed, so that only new files can be trusted.
        self.broken = False
        self.delayed = 0
        self.durable = 0
        self._waiting: list[Any] = []
        #: Channels whose replies leave at the end of this turn.
        self.unsent: list[Any] = []
        self._synced_at = 0.0
        self._synced_position = 0
        self._thread = FileThread(owner.server.loop)
        #: What the sync under way covers.
        self._syncing_position = 0
        self._syncing: list[Any] = []
        self._gate = self.gate
        self._gate_written = self.gate_written

    def set_mode(self, on: bool, always: bool) -> None:
        """What replies to writes wait for: for the disk (`always`), for the log, or for nothing."""
        if always != self.always:
            self.always = always
            self.durable = self._owner.position
        written = self._gate_written if on else None
        self._owner.server.dispatcher.hold_replies(self._gate if always else written)
        self.release_written()

    def every_second(self, hindered: bool) -> None:
        """appendfsync everysec: begins a sync when a second has passed since the last one began."""
        now = time.monotonic()
        if self._owner.position == self._synced_position or now - self._synced_at < 1:
            return
        if self.running:
            if now - self._synced_at > 2:
                self.delayed += 1
                self._synced_at = now
            return
        if not hindered:
            self.begin()

    def begin(self) -> None:
        """Syncs what is written, unless a sync is running: it is followed by another then."""
        owner = self._owner
        if self.running or self.broken or owner.file is None:
            return
        self.running = True
        self._synced_at = time.monotonic()
        self._synced_position = self._syncing_position = owner.position
        # Who waits for what the disk refused is not covered.
        covers = self.always and not self._refused
        self._syncing = self._take_waiting() if covers else []
        self._thread.run(owner.file.sync, self._done)

    def _done(self, error: Exception | None) -> None:
        self.running = False
        waiting, self._syncing = self._syncing, []
        if error is not None:
            if not isinstance(error, OSError):
                raise error
            self._waiting = waiting + self._waiting
            self.broken = True
            self._owner.sync_failed(error)
            return
        position = self.durable = self._syncing_position
        self._release(waiting)
        if self.always and not self._owner.server.finished.done():
            self._owner.server.flush_stream()
            if self._owner.position > position:
                self.begin()
            else:
                self._release_durable()

    def _release_durable(self) -> None:
        """Who came to wait without anything new to wait for."""
        if self._waiting and not self._pending():
            self._release(self._take_waiting())

    def mend(self) -> None:
        """A rewrite has put everything into new files, of which the last is synced now."""
        self.broken = False
        self._synced_position = -1
        self._owner.sync_trusted()
        self.begin()

    # -- replies that wait ---------------------------------------------------------------------

    def _pending(self) -> bool:
        owner = self._owner
        return bool(
            self.running
            or owner.held
            or owner.position > self.durable
            or owner.server.propagation.waiting
        )

    def gate(self, channel: Any) -> bool:
        """Asked before a reply to a write leaves: True when what it tells of is durable."""
        server = self._owner.server
        if not self._pending() or not server.replication.leading:
            return self._pass(channel)
        if not channel.stop & _UNDURABLE:
            channel.stop |= _UNDURABLE
            self._waiting.append(channel)
        return False

    def gate_written(self, channel: Any) -> bool:
        """Asked before a reply to a write leaves: True when the log has what it tells of. Else it
        is sent at the end of this turn of the loop."""
        if not self.unsent:
            owner = self._owner
            if not owner.server.propagation.waiting:
                if not owner.held:
                    return self._pass(channel)
                owner.server.loop.call_soon(owner.server.flush_stream)
        self.unsent.append(channel)
        return False

    def send(self) -> None:
        """The turn's stream is in the log: replies are sent; or waits there for room, and so do
        they."""
        unsent, self.unsent = self.unsent, []
        owner = self._owner
        refused = self._refused and owner.server.replication.leading
        lease_gate = owner.server.dispatcher.lease_gate
        for channel in unsent:
            client = channel.client
            if channel.gate is None or client is None or client.flags & _CLOSED:
                continue
            if refused:
                if not channel.stop & _UNDURABLE:
                    channel.stop |= _UNDURABLE
                    self._waiting.append(channel)
                continue
            channel.gate = lease_gate
            channel.flush()
            if channel.queued or client.flags & _CLOSE_AFTER_REPLY:
                client.connection.pass_needs_care()

    def release_written(self) -> None:
        """Once the log has what waited, only those wait on who wait for a sync."""
        if not self.always and not self._refused:
            self._release(self._take_waiting())

    @property
    def _refused(self) -> bool:
        """Whether there is something that the log could not be given."""
        return bool(self._owner.failing and self._owner.held)

    def _pass(self, channel: Any) -> bool:
        """The log has no objection; the lease may have one."""
        lease = self._owner.server.dispatcher.lease_gate
        channel.gate = None
        return lease is None or bool(lease(channel))

    def _take_waiting(self) -> list[Any]:
        waiting, self._waiting = self._waiting, []
        return waiting

    def _release(self, waiting: list[Any]) -> None:
        if not waiting:
            return
        lease_gate = self._owner.server.dispatcher.lease_gate
        for channel in waiting:
            channel.stop &= ~_UNDURABLE
            client = channel.client
            if client is None or client.flags & _CLOSED:
                continue
            channel.gate = lease_gate
            channel.flush()
            unread = channel.reader.buffered_bytes > 0
            if unread or channel.queued or client.flags & _CLOSE_AFTER_REPLY:
                client.connection.pass_needs_care()
            if unread:
                client.connection.resume()

    # -- files ---------------------------------------------------------------------------------

    def close_file(self, file: Appender) -> None:
        """Syncs and closes in the thread, after what is under way."""

        def close() -> None:
            try:
                file.sync()
            finally:
                file.close()

        self._thread.run(close, self._closed)

    def _closed(self, error: Exception | None) -> None:
        if isinstance(error, OSError) and self._owner.on:
            self.broken = True
            self._owner.sync_failed(error)
        else:
            _report(error)

    def run(self, work: Work, told: Told) -> None:
        """Has the thread do something else with the log's files, in turn: see `FileThread.run`."""
        self._thread.run(work, told)

    def remove(self, path: str) -> None:
        """Deletes in the thread: a large file takes a while."""
        self._thread.run(lambda: self._owner.disk.remove(path), _report)

    async def drain(self) -> None:
        """Returns when what is under way is done."""
        over = asyncio.Event()
        self._thread.run(_nothing, lambda error: over.set())
        await over.wait()

    def close(self) -> None:
        """Waits for the thread."""
        self._thread.close()


def _nothing() -> None:
    """Is done when all that was asked before is."""


def _report(error: Exception | None) -> None:
    if isinstance(error, OSError):
        log.warning("A file of the log could not be ended: %s", error)
    elif error is not None:
        raise error
