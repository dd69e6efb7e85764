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
from cache_server.client_sizes import ClientSizes
from cache_server.commands.client_lines import client_class, describe, memory_bytes
from cache_server.observe.logs import VERBOSE

log = logging.getLogger("cache_server")

#: A client that sent nothing for so long gives its query buffer back, in ms.
IDLE_BUFFER_MS = 2000
#: Unread output of a client that has not said who it is, in bytes, as in Redis.
UNAUTHENTICATED_OUTPUT_BYTES_MAX = 1024
#: With maxmemory-clients, unparsed input beyond which a client is measured at once, in bytes.
WATCHED_INPUT_BYTES = 32 * 1024
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
        self.sizes = ClientSizes(server)
        #: Unparsed input that nobody is asked about, in bytes.
        self.query_bytes_max = 0
        #: Output that no class of clients is refused for, in bytes: less need not be looked at.
        self.output_bytes_max = 0
        for name in ("client-query-buffer-limit", "maxmemory-clients"):
            self.config.on_change[name] = self._input_limits_changed
        self._input_limits_changed()
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
            return
        self.sizes.measure(client)
        if not soft or held < soft:
            client.soft_limit_since_ms = 0
        elif not client.soft_limit_since_ms:
            client.soft_limit_since_ms = self.server.now_ms()
        elif self.server.now_ms() - client.soft_limit_since_ms > soft_seconds * 1000:
            self._overcome(client)

    def refuse_output(self, client: Any, size_bytes: int) -> None:
        """Closes a client whose hard limit a reply of so many bytes would have passed."""
        if client.channel is None:
            return
        hard = self.config.client_output_buffer_limit.get(client_class(client), (0, 0, 0))[0]
        if hard and size_bytes >= hard:
            self._overcome(client)

    def _input_limits_changed(self, _: object = None) -> None:
        limited = self.sizes.limit_changed()
        limit: int = self.config.client_query_buffer_limit
        self.query_bytes_max = min(limit, WATCHED_INPUT_BYTES) if limited else limit
        for client in self.server.clients.values():
            client.channel.query_bytes_max = self.query_bytes_max

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

    def check_input(self, client: Any) -> None:
        """Closes a client that has sent more than client-query-buffer-limit without a request."""
        held = client.channel.reader.buffered_bytes
        if held > self.config.client_query_buffer_limit:
            self.server.log_closing(client, "reached max query buffer length")
            client.connection.close()
        else:
            self.sizes.measure(client)

    # -- looking over --------------------------------------------------------------------------

    def may_stay(self, client: Any, cmd: Any, args: list[bytes]) -> bool:
        """Before a command while maxmemory-clients is set; False when the client was closed."""
        return self.sizes.may_stay(client, cmd, args)

    def cron(self, now_ms: int) -> None:
        """Looks over a group of clients."""
        self.sizes.measure_all()
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
