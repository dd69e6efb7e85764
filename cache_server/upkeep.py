"""The data's upkeep: what happens to keys without a client asking for it.

Joins expiry, eviction, lazy freeing and the memory gauge with the rest of the server: the clock,
the loop, the stream, the settings.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import Any

from cache_server import client as states
from cache_server.commands import table as rows
from cache_server.commands.dispatch import (
    GATE_LEASE,
    GATE_LOADING,
    GATE_MEMORY,
    GATE_PAUSED,
    NOT_QUEUED,
)
from cache_server.errors import CommandError
from cache_server.keyspace.database import EXPIRE_DELETE, Database
from cache_server.keyspace.eviction import Eviction
from cache_server.keyspace.expiry import ActiveExpiry
from cache_server.keyspace.lazy_free import LazyFree
from cache_server.observe.memory import MemoryGauge

log = logging.getLogger("cache_server")

_OUT_OF_MEMORY = b"OOM command not allowed when used memory > 'maxmemory'."


class Upkeep:
    """A part of the server."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.memory = MemoryGauge(_counter())
        loop, config, keyspace = server.loop, server.config, server.keyspace
        self.lazy_free = LazyFree(loop.call_soon, clock_us)
        self.expiry = ActiveExpiry(keyspace, config, clock_us, server.dispatcher.finish_unit)
        self.eviction = Eviction(
            keyspace, config, self.counted_bytes, clock_us, self._evicted, loop.call_soon
        )
        keyspace.on_expired = self._expired
        config.on_change["maxmemory"] = self._limit_changed
        config.on_change["maxmemory-policy"] = lambda _: self.eviction.policy_changed()

    async def start(self) -> None:
        """The settings have been loaded; the data has not."""
        self.memory.begin()
        self.server.startup_memory_bytes = self.memory.used_bytes()
        self.eviction.policy_changed()
        self._show_gate()

    def cron(self, _now_ms: int) -> None:
        self.memory.refresh()
        stats = self.server.stats
        stats.memory_peak_bytes = max(stats.memory_peak_bytes, self.memory.used_bytes())
        self._timed(b"expire-cycle", self.expiry.slow_cycle)
        if self.expiry.cut_short:
            self.server.loop.call_soon(self._fast_cycle)

    async def stop(self) -> None:
        """Nothing is held that would outlive the process."""

    def counted_bytes(self) -> int:
        """What counts against maxmemory."""
        return self.memory.used_bytes() - self.not_counted_bytes()

    def not_counted_bytes(self) -> int:
        """What does not: what evicted clients are about to give back, and followers' unsent
        output, since deletions are sent to them and would only make more of it."""
        leaving: dict[int, int] = self.server.admission.sizes.leaving
        return int(self.server.replication.unsent_bytes()) + sum(leaving.values())

    def check_memory(self, client: Any, cmd: rows.Command) -> None:
        """Before a command while maxmemory is set. Raises OOM for one that needs memory."""
        if self.counted_bytes() <= self.server.config.maxmemory or not self._evicts():
            return
        self.server.admission.sizes.measure_all()
        if not self._timed(b"eviction-cycle", self.eviction.make_room) and _needs_memory(
            client, cmd
        ):
            raise CommandError(_OUT_OF_MEMORY)

    def is_full(self) -> bool:
        """Whether more than maxmemory is in use, and that is ours to prevent."""
        return self.counted_bytes() > self.server.config.maxmemory and self._evicts()

    # -- parts ---------------------------------------------------------------------------------

    def _evicts(self) -> bool:
        config = self.server.config
        if self.server.dispatcher.gates & (GATE_LOADING | GATE_PAUSED | GATE_LEASE):
            return False
        return not (config.replicaof and config.replica_ignore_maxmemory)

    def _timed(self, event: bytes, work: Callable[[], Any]) -> Any:
        """Does the work, and tells the latency monitor how long it took."""
        started_us = clock_us()
        value = work()
        self.server.observation.add_latency(event, (clock_us() - started_us) // 1000)
        return value

    def _fast_cycle(self) -> None:
        self.server.dispatcher.begin_pass()
        self._timed(b"expire-cycle", self.expiry.fast_cycle)
        if self.expiry.cut_short:
            self.server.loop.call_later(0.002, self._fast_cycle)

    def _limit_changed(self, limit: int) -> None:
        self._show_gate()
        used = self.memory.used_bytes()
        if 0 < limit < used:
            log.warning(
                "WARNING: the new maxmemory value set via CONFIG SET (%d) is smaller than the "
                "current memory usage (%d). This will result in key eviction and/or the inability "
                "to accept new write commands depending on the maxmemory-policy.",
                limit,
                used,
            )
            if self.server.dispatcher.depth > 1:  # in a transaction, which is left whole
                self.server.loop.call_soon(self._make_room)
            else:
                # At once: what clients are told of it leaves before the next request is looked
                # at, and is not taken for memory in use then.
                self._make_room()

    def _make_room(self) -> None:
        if self.server.config.maxmemory and self._evicts():
            self.eviction.make_room()

    def _show_gate(self) -> None:
        dispatcher = self.server.dispatcher
        if self.server.config.maxmemory:
            dispatcher.gates |= GATE_MEMORY
        else:
            dispatcher.gates &= ~GATE_MEMORY

    def _expired(self, db: Database, key: bytes) -> None:
        if self.server.keyspace.expire_mode != EXPIRE_DELETE:
            return  # a follower's own key: its followers never saw it
        lazily = self.server.config.lazyfree_lazy_expire
        self.server.propagation.add(db.index, [b"UNLINK" if lazily else b"DEL", key])

    def _evicted(self, db: Database, key: bytes) -> None:
        self.server.stats.evicted_keys += 1
        lazily = self.server.config.lazyfree_lazy_eviction
        self.server.propagation.add(db.index, [b"UNLINK" if lazily else b"DEL", key])
        self.server.propagation.finish_unit()


def _needs_memory(client: Any, cmd: rows.Command) -> bool:
    if client.flags & states.MULTI and cmd.name not in NOT_QUEUED:
        return True  # the queue itself takes memory
    if cmd.name == "exec" and client.queue is not None:
        return any(queued.flags & rows.DENYOOM for queued, _ in client.queue)
    return bool(cmd.flags & rows.DENYOOM)


def clock_us() -> int:
    """A monotonic clock in microseconds."""
    return time.monotonic_ns() // 1000


def _counter() -> Callable[[], int] | None:
    """Starts the exact count of allocations; None where the core that counts is not there."""
    if os.environ.get("CACHE_SERVER_PURE"):
        return None
    try:
        from cache_server._core import memory
    except ImportError:
        return None
    try:
        memory.start_counting()
    except RuntimeError as error:
        log.warning("Memory in use is estimated, not counted: %s", error)
        return None
    counted: Callable[[], int] = memory.counted_bytes
    return counted
