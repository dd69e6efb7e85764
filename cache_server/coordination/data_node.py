"""A data node's part in failover: joins its lease with the dispatcher and with replication."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from cache_server.commands.dispatch import GATE_LEASE
from cache_server.coordination import store_address
from cache_server.coordination.clock import now_ms
from cache_server.coordination.giving_up import GivingUp
from cache_server.coordination.lease_keeper import FOREVER_NS, LeaseKeeper
from cache_server.coordination.stores import open_desk
from cache_server.errors import CommandError
from replication.failover.cluster_view import member_id
from replication.failover.events import RespValue, WireError
from replication.failover.lease import LeaderLease

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
        #: Told what the register says: epoch, version and in-sync set.
        self.on_learned: Callable[[int, int, tuple[str, ...]], None] | None = None
        #: The gate of those who hold replies for more than the lease; None while they do not.
        self.reply_gate: Callable[[], Any] = lambda: None
        self._until_ns = FOREVER_NS
        self._giving_up: GivingUp | None = None
        self._given_epoch = 0
        self._server = server
        self._register: tuple[int, int, tuple[str, ...]] | None = None

    # -- part of the server --------------------------------------------------------------------

    async def start(self) -> None:
        """Reads the state file. Raises InputError, OSError."""
        leading = self._config.replicaof is None
        self._giving_up = GivingUp(self._server.pubsub, self._server.loop)
        address = store_address.parse(self._config.coordinator)
        if address is None:
            self.keeper = LeaseKeeper(self, self._path(), self._run_id, leading)
        else:
            desk = open_desk(address)
            self.keeper = LeaseKeeper(
                self, self._path(), self._run_id, leading, desk, address.ttl_ms
            )
        self._replication.on_role.append(self._role_changed)
        self._replication.leader.may_serve = lambda: self._machine.may_serve
        self._raise_epoch(self._machine.state.epoch)

    @property
    def _machine(self) -> LeaderLease:
        assert self.keeper is not None
        return self.keeper.machine

    def _role_changed(self, leading: bool) -> None:
        assert self.keeper is not None
        self.keeper.role_changed(leading, self._replication.handed)

    def _raise_epoch(self, epoch: int) -> None:
        """Bytes written from now on carry the epoch; nobody who knows a higher one takes them."""
        history = self._replication.leader.history
        if epoch > history.epoch:
            history.raise_epoch(epoch)

    def cron(self, now_ms: int) -> None:
        """The lease keeps its own time."""

    async def stop(self) -> None:
        """Hangs up at the external store, where there is one."""
        if self.keeper is not None:
            await self.keeper.stop()

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

    @property
    def member_id(self) -> str:
        """This life of this node."""
        return member_id(self._machine.state.node_id, self._run_id)

    @property
    def epoch(self) -> int:
        """The highest epoch heard of."""
        return 0 if self.keeper is None else self._machine.state.epoch

    @property
    def epoch_led(self) -> int | None:
        """The epoch in which this node leads under a lease; None where it does not."""
        if self.keeper is None or not self._machine.state.under_lease:
            return None
        return self.epoch if self._machine.leading and self.keeper.writable else None

    def outdated(self, client: Any) -> bool:
        """Whether an order to follow comes from a sentinel that has not heard that this node leads:
        one that knows better tells of the epoch first."""
        ordered = client.name.startswith(SENTINEL_NAME)
        return bool(ordered) and self.keeper is not None and self._machine.named

    @property
    def managed(self) -> bool:
        """Whether there is a register: sentinels have told what it says."""
        return self.keeper is not None and self._machine.register[0] >= 0

    def want(self, wanted: tuple[int, tuple[str, ...]] | None) -> None:
        """The in-sync set that the register is asked for, with the version it is to replace."""
        if self.keeper is not None:
            self._machine.want = wanted

    def admits(self, channel: Any) -> bool:
        """Whether a held reply may leave; where not, its connection is closed."""
        return self.keeper is None or self.keeper.admits(channel)

    def gate_changed(self) -> None:
        """Others began or ceased to hold replies."""
        self.writes_until(self._until_ns)

    def check(self) -> None:
        """Raises READONLY where the lease has ended."""
        if self.keeper is not None and not self.keeper.writable:
            raise CommandError(
                "READONLY This node's lease has ended: writes are refused until a majority of "
                "sentinels renews it."
            )

    def unconfirmed_ms(self) -> float:
        """For how long no majority of sentinels has stood behind this node; 0 without sentinels."""
        return 0.0 if self.keeper is None else self._machine.unconfirmed_ms(now_ms())

    def given_up(self, host: str, port: int) -> None:
        """FAILOVER: this node follows its heir now, which has all of its history."""
        if self.keeper is not None:
            self._given_epoch = self.epoch
            self.keeper.given_up(host, port)
            self._knock()

    def taken_back(self) -> None:
        """FAILOVER: the heir refused, this node leads again."""
        if self.keeper is not None:
            self.keeper.taken_back()
            self._knock()

    def _knock(self) -> None:
        if self._giving_up is not None and self._machine.state.under_lease:
            self._giving_up.knock()

    def when_heir_is_known(self, resume: Callable[[], None]) -> None:
        """Calls `resume` when clients that are refused here will find the heir."""
        heir_due = self.keeper is not None and self._machine.state.under_lease
        if self._giving_up is None or not heir_due or self.epoch > self._given_epoch:
            resume()
        else:
            self._giving_up.hold(resume)

    # -- for the lease -------------------------------------------------------------------------

    def lead(self) -> None:
        self._replication.promote()

    def follow(self, host: str, port: int) -> None:
        self._replication.follow(host, port)

    def writes_until(self, monotonic_ns: int) -> None:
        self._until_ns = monotonic_ns
        gate = self.reply_gate()
        if gate is None and self.keeper is not None and monotonic_ns != FOREVER_NS:
            gate = self.keeper.reply_gate
        was_fenced = self._dispatcher.gates & GATE_LEASE
        self._dispatcher.lend_writes(monotonic_ns, gate)
        if was_fenced and not self._dispatcher.gates & GATE_LEASE:
            self._replication.refresh()  # expired keys are deleted again, no longer only hidden

    def learned(self, register: tuple[int, int, tuple[str, ...]], epoch: int) -> None:
        self._raise_epoch(epoch)
        if self._giving_up is not None and epoch > self._given_epoch:
            self._giving_up.known()
        if register != self._register and register[0] >= 0:
            self._register = register
            if self.on_learned is not None:
                self.on_learned(*register)
