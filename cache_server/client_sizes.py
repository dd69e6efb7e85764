"""maxmemory-clients: what all clients hold together, and who is closed when that is too much.

Problem: a client grows with every request, and the limit has to hold between two requests; but to
measure all clients, or one client's long queue, before each of them costs too much.

Idea: the size of each client is kept, and their sum. Before a command only its client's buffers are
measured anew; what a command leaves behind with the server (a queue, watched keys, subscriptions)
is added to the size by the length of the request, and counted exactly a few times a second.

Invariants: `total_bytes` is the sum of `sizes`; both are empty while there is no limit.

Source: https://redis.io/docs/latest/develop/reference/clients/, "Client eviction".
"""

from __future__ import annotations

import logging
from typing import Any

from cache_server import client as states
from cache_server.commands.client_lines import (
    NAME_BYTES,
    buffers_bytes,
    describe,
    memory_bytes,
    request_bytes,
)
from cache_server.commands.dispatch import GATE_CLIENTS
from cache_server.observe.logs import VERBOSE

log = logging.getLogger("cache_server")

#: A limit below this would leave no client that could raise it, in bytes.
CLIENTS_BYTES_MIN = 128 * 1024
#: Commands whose arguments the server keeps.
_KEEPING = frozenset(("watch", "subscribe", "psubscribe", "ssubscribe", "tracking"))


class ClientSizes:
    """The sizes, in bytes, while maxmemory-clients is set."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.config = server.config
        self.sizes: dict[Any, int] = {}
        self.total_bytes = 0
        #: What evicted clients still hold until their connections are gone: id -> bytes.
        self.leaving: dict[int, int] = {}
        #: Queue and names of a client: counted a few times a second, added to in between.
        self._kept: dict[Any, int] = {}
        self._limit = 0

    def limit_changed(self) -> bool:
        """The setting was read or changed; whether it asks for a limit."""
        self.measure_all()
        if not self._limit:
            self._clear()
        return bool(self.config.maxmemory_clients)

    def _refresh_limit(self) -> None:
        limit: int = self.config.maxmemory_clients
        if limit < 0:
            limit = self.config.maxmemory * -limit // 100
        self._limit = max(CLIENTS_BYTES_MIN, limit) if limit else 0
        if self._limit:
            self.server.dispatcher.gates |= GATE_CLIENTS
        else:
            self.server.dispatcher.gates &= ~GATE_CLIENTS

    def may_stay(self, client: Any, cmd: Any, args: list[bytes]) -> bool:
        """Before a command; False when the client had to be closed for it, or for others."""
        if client.channel is None:
            return True
        if client.flags & states.CLOSED:
            return False
        arguments = request_bytes(args)
        kept = self._kept.get(client, 0)
        self._set(client, buffers_bytes(client) + kept + arguments)
        if cmd.name in ("exec", "discard"):
            self._kept.pop(client, None)
        elif client.flags & states.MULTI or cmd.name in _KEEPING:
            self._kept[client] = kept + arguments + NAME_BYTES * len(args)
        self._evict()
        return not client.flags & states.CLOSED

    def measure(self, client: Any) -> None:
        """The client's buffers have grown."""
        if self._limit and self.server.clients.get(client.id) is client:
            self._set(client, buffers_bytes(client) + self._kept.get(client, 0))
            self._evict()

    def measure_all(self) -> None:
        """Counts everything exactly; a limit that is a share of maxmemory follows it."""
        self._refresh_limit()
        if not self._limit:
            return
        self._clear()
        for client in self.server.clients.values():
            size = memory_bytes(client)
            self._kept[client] = size - buffers_bytes(client)
            self._set(client, size)
        self._evict()

    def forget(self, client: Any) -> None:
        """The client is gone, but for what its connection holds."""
        self.total_bytes -= self.sizes.pop(client, 0)
        self._kept.pop(client, None)

    def connection_gone(self, client: Any) -> None:
        """The client's connection is gone, with all that it held."""
        self.leaving.pop(client.id, None)

    def _set(self, client: Any, size: int) -> None:
        if client.flags & (states.FOLLOWER | states.LEADER | states.MONITOR):
            return  # these are never evicted, and have limits of their own
        self.total_bytes += size - self.sizes.get(client, 0)
        self.sizes[client] = size

    def _clear(self) -> None:
        self.sizes.clear()
        self._kept.clear()
        self.total_bytes = 0

    def _evict(self) -> None:
        """Closes the largest clients until all together are below the limit."""
        if self.total_bytes <= self._limit:
            return
        pairs = self.sizes.items()
        sizes = [(size, client) for client, size in pairs if not client.flags & states.NO_EVICT]
        for size, client in sorted(sizes, key=lambda pair: pair[0], reverse=True):
            if self.total_bytes <= self._limit:
                return
            log.info("Evicting client: %s", describe(client, self.server.now_ms()))
            self.server.stats.evicted_clients += 1
            self.leaving[client.id] = size
            self.server.kill(client)
        log.log(VERBOSE, "Over client maxmemory after evicting all evictable clients")
