"""A data node's part in failover: joins its lease with the dispatcher and with replication."""

from __future__ import annotations

import os
from typing import Any

from cache_server.commands.dispatch import GATE_LEASE
from cache_server.coordination.lease_keeper import FOREVER_NS, LeaseKeeper
from cache_server.errors import CommandError
from replication.failover.events import RespValue, WireError

#: How sentinels name their connections (CLIENT SETNAME).
SENTINEL_NAME = b"sentinel-"


class DataNodeLease:
    """A part of the server. `replication` gives `promote()`, `follow(host, port)` and `on_role`,
    the list of those that are told of a change of role."""

    def __init__(self, server: Any, replication: Any) -> None:
        self._config = server.config
        self._dispatcher = server.dispatcher
        self._clients = server.clients
        self._run_id = server.run_id
        self._replication = replication
        self.keeper: LeaseKeeper | None = None

    # -- part of the server --------------------------------------------------------------------

    async def start(self) -> None:
        """Reads the state file. Raises InputError, OSError."""
        leading = self._config.replicaof is None
        self.keeper = LeaseKeeper(self, self._path(), self._run_id, leading)
        self._replication.on_role.append(self.keeper.role_changed)

    def cron(self, now_ms: int) -> None:
        """The lease keeps its own time."""

    async def stop(self) -> None:
        """Nothing is held open."""

    def _path(self) -> str:
        """In `dir`, by the port, because servers may share a folder."""
        return os.path.abspath(f"cache-server-{self._config.port or self._config.tls_port}.lease")

    # -- for the server ------------------------------------------------------------------------

    def ask(self, args: list[bytes]) -> RespValue:
        """The answer to `LEASE args...`."""
        if self.keeper is None:
            return WireError("LOADING Redis is loading the dataset in memory")
        return self.keeper.ask(args)

    def info_lines(self) -> dict[str, str]:
        """Lines of INFO's section `replication`."""
        return {} if self.keeper is None else self.keeper.info_lines(self._watched)

    def _watched(self) -> bool:
        return any(one.name.startswith(SENTINEL_NAME) for one in self._clients.values())

    def check(self) -> None:
        """Raises READONLY where the lease has ended."""
        if self.keeper is not None and not self.keeper.writable:
            raise CommandError(
                "READONLY This node's lease has ended: writes are refused until a majority of "
                "sentinels renews it."
            )

    def given_up(self, host: str, port: int) -> None:
        """FAILOVER: this node follows its heir now, which has all of its history."""
        if self.keeper is not None:
            self.keeper.given_up(host, port)

    def taken_back(self) -> None:
        """FAILOVER: the heir refused, this node leads again."""
        if self.keeper is not None:
            self.keeper.taken_back()

    # -- for the lease -------------------------------------------------------------------------

    def lead(self) -> None:
        self._replication.promote()

    def follow(self, host: str, port: int) -> None:
        self._replication.follow(host, port)

    def writes_until(self, monotonic_ns: int) -> None:
        gate = None if self.keeper is None or monotonic_ns == FOREVER_NS else self.keeper.reply_gate
        was_fenced = self._dispatcher.gates & GATE_LEASE
        self._dispatcher.lend_writes(monotonic_ns, gate)
        if was_fenced and not self._dispatcher.gates & GATE_LEASE:
            self._replication.refresh()  # expired keys are deleted again, no longer only hidden
