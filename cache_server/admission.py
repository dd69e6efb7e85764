"""Who may connect and stay: maxclients, protected mode, idle time, unread output.

Clients are looked over in small groups, each about once a second, so that many of them cost no
pause.

Invariant: a client that is refused never enters `server.clients` and none of its bytes is executed.
"""

from __future__ import annotations

import logging
import socket
from itertools import islice
from typing import Any

from cache_server import client as states
from cache_server.commands.client_lines import client_class, describe, memory_bytes
from cache_server.observe.logs import VERBOSE

log = logging.getLogger("cache_server")

#: A client that sent nothing for so long gives its query buffer back, in ms.
IDLE_BUFFER_MS = 2000
#: Unread output of a client that has not said who it is, in bytes, as in Redis.
UNAUTHENTICATED_OUTPUT_BYTES_MAX = 1024
#: A maxmemory-clients below this would leave no client that could raise it, in bytes.
CLIENTS_BYTES_MIN = 128 * 1024
#: Clients looked over in one tick, at least.
_GROUP_MIN = 50

TOO_MANY = b"-ERR max number of clients reached\r\n"
PROTECTED = (
    b"-DENIED Redis is running in protected mode because protected mode is enabled and no password "
    b"is set for the default user. In this mode connections are only accepted from the loopback "
    b"interface. To connect from other computers, set a password ('requirepass' in the "
    b"configuration file, or CONFIG SET requirepass), or disable protected mode with 'CONFIG SET "
    b"protected-mode no' from this machine or with 'protected-mode no' in the configuration file, "
    b"if the server cannot be reached from the internet.\r\n"
)


class Admission:
    """Refuses, watches and closes clients as the settings say."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.config = server.config
        self._round: list[Any] = []
        #: What evicted clients still hold until their connections are gone: id -> bytes.
        self.leaving: dict[int, int] = {}
        #: Output that no class of clients is refused for, in bytes: less need not be looked at.
        self.output_bytes_max = 0
        self.config.on_change["client-output-buffer-limit"] = self._limits_changed
        self._limits_changed(self.config.client_output_buffer_limit)

    async def start(self) -> None:
        """Nothing to be started."""

    async def stop(self) -> None:
        """Nothing to be stopped."""

    def admit(self, connection: Any, sock: socket.socket | None) -> bool:
        """Lets a new connection in, or tells it why not and closes it."""
        server, client = self.server, connection.client
        if len(server.clients) >= self.config.maxclients:
            self._refuse(connection, TOO_MANY)
            return False
        if self.config.protected_mode and self._is_open() and not _is_local(client):
            self._refuse(connection, PROTECTED)
            return False
        server.access.begin(client)
        if sock is not None and sock.family != socket.AF_UNIX and self.config.tcp_keepalive:
            keep_alive(sock, self.config.tcp_keepalive)
        return True

    def _is_open(self) -> bool:
        """Whether anybody is let in without a password."""
        return bool(self.server.access.users.default.no_password)

    def _refuse(self, connection: Any, line: bytes) -> None:
        self.server.stats.rejected_connections += 1
        connection.channel.writer.write_raw(line)
        connection.close_after_reply()
        connection.pass_needs_care()

    # -- limits on what is not read ------------------------------------------------------------

    def _limits_changed(self, limits: dict[str, tuple[int, int, int]]) -> None:
        hard_limits = [limits[name][0] for name in ("normal", "pubsub")]
        self.output_bytes_max = min([limit for limit in hard_limits if limit] or [1 << 62])
        for client in self.server.clients.values():
            client.channel.output_bytes_max = self.output_bytes_max

    def check_output(self, connection: Any) -> None:
        """Closes a client whose unread output is beyond client-output-buffer-limit.

        Followers are left to replication, which counts what they have yet to be sent."""
        client = connection.client
        if client.flags & states.FOLLOWER:
            return
        limits = self.config.client_output_buffer_limit
        hard, soft, soft_seconds = limits.get(client_class(client), (0, 0, 0))
        held = connection.output_bytes
        if client.flags & states.UNAUTHENTICATED:
            hard = UNAUTHENTICATED_OUTPUT_BYTES_MAX
        if hard and held >= hard:
            self._overcome(client)
        elif not soft or held < soft:
            client.soft_limit_since_ms = 0
        elif not client.soft_limit_since_ms:
            client.soft_limit_since_ms = self.server.now_ms()
        elif self.server.now_ms() - client.soft_limit_since_ms > soft_seconds * 1000:
            self._overcome(client)

    def _overcome(self, client: Any) -> None:
        log.warning(
            "Client %s closed for overcoming of output buffer limits.",
            describe(client, self.server.now_ms()),
        )
        self.server.stats.output_limit_disconnections += 1
        self.server.kill(client)

    def memory_by_class(self) -> dict[str, int]:
        """Bytes that clients hold, by class; every class is there."""
        held = dict.fromkeys(("normal", "pubsub", "slave", "master"), 0)
        for client in self.server.clients.values():
            held[client_class(client)] += memory_bytes(client)
        return held

    # -- maxmemory-clients ---------------------------------------------------------------------

    def evict_clients(self) -> None:
        """Closes the largest clients until all together are below maxmemory-clients."""
        limit = self._clients_bytes_max()
        if not limit:
            return
        sizes = [
            (memory_bytes(client), client)
            for client in self.server.clients.values()
            if client_class(client) in ("normal", "pubsub")
        ]
        total = sum(size for size, _ in sizes)
        if total < limit:
            return
        sizes = [(size, client) for size, client in sizes if not client.flags & states.NO_EVICT]
        for size, client in sorted(sizes, key=lambda pair: pair[0], reverse=True):
            if total < limit:
                return
            log.info("Evicting client: %s", describe(client, self.server.now_ms()))
            self.server.stats.evicted_clients += 1
            self.leaving[client.id] = size
            self.server.kill(client)
            total -= size
        if total >= limit:
            log.warning("Over client maxmemory after evicting all evictable clients")

    def gone(self, client: Any) -> None:
        """The client's connection is gone, with all that it held."""
        self.leaving.pop(client.id, None)

    def _clients_bytes_max(self) -> int:
        """The limit in bytes, 0 for none; a negative setting is a share of maxmemory."""
        limit: int = self.config.maxmemory_clients
        if limit < 0:
            limit = self.config.maxmemory * -limit // 100
        return max(CLIENTS_BYTES_MIN, limit) if limit else 0

    # -- looking over --------------------------------------------------------------------------

    def cron(self, now_ms: int) -> None:
        """Looks over a group of clients."""
        self.evict_clients()
        if not self._round:
            self._round = list(self.server.clients.values())
        count = max(_GROUP_MIN, len(self._round) // max(1, self.config.hz) + 1)
        group = list(islice(self._round, count))
        del self._round[:count]
        for client in group:
            if not client.flags & states.CLOSED and client.channel is not None:
                self._look_over(client, now_ms)

    def _look_over(self, client: Any, now_ms: int) -> None:
        idle_ms = now_ms - client.active_ms
        client.channel.reader.trim(idle_ms > IDLE_BUFFER_MS)
        if client.channel.queued:
            self.check_output(client.connection)
        waits = states.FOLLOWER | states.LEADER | states.SUBSCRIBED | states.BLOCKED
        limit_s = self.config.timeout
        if limit_s and idle_ms > limit_s * 1000 and not client.flags & waits:
            log.log(VERBOSE, "Closing idle client")
            self.server.kill(client)


def keep_alive(sock: Any, interval_s: int) -> None:
    """A dead peer is found after about two intervals."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, interval_s)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, interval_s // 3))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)


def _is_local(client: Any) -> bool:
    return bool(client.peer.startswith(("127.", "[::1]", "/", ":0", "[::ffff:127.")))
