"""The data node's lease at work: clock, state file, role, and when writes end.

The machine (`replication.failover.lease.LeaderLease`) decides until when this node may acknowledge
writes. Here its time becomes two checks in the path of every write: the dispatcher refuses writes
from a pass that begins after the end, and `reply_gate`, asked right before the reply to a write is
sent, closes the connection where the lease ended meanwhile, because the outcome is unknown then.

A node takes part in leases only while it can keep its state file: as long as the file cannot be
written, sentinels are told nothing of a lease (to them this is a stock server), and a node already
under a lease refuses writes.

Invariant: what the machine asked to persist is durable before a reply, a promotion or a permission
to write that rests on it.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from typing import Any, Protocol

from cache_server.coordination import durable
from cache_server.coordination.clock import now_ms, now_ns
from cache_server.coordination.contract import StoreDesk
from cache_server.errors import InputError
from replication.failover import state as states
from replication.failover.actions import AskStore, Lead, PersistLease, Reply
from replication.failover.cluster_view import Address, LeaseState
from replication.failover.constants import LEASE_TTL_MS
from replication.failover.events import (
    LeaseAsked,
    LeaseEvent,
    LeaseGivenUp,
    LeaseTakenBack,
    RespValue,
    RoleChanged,
    StoreAnswered,
    WireError,
)
from replication.failover.lease import ALWAYS_MS, NEVER_MS, LeaderLease
from replication.failover.stored_lease import StoredLease
from replication.failover.stores import Outcome

log = logging.getLogger("cache_server")

#: How often the lease is looked at where it is kept in an external store.
_TICKS_PER_TTL = 20
#: No end: writes are allowed until somebody says otherwise, in nanoseconds of any clock.
FOREVER_NS = 2**63 - 1


class LeaseHost(Protocol):
    """What the lease may ask of the node."""

    def lead(self) -> None:
        """Do REPLICAOF NO ONE."""

    def follow(self, host: str, port: int) -> None:
        """Do REPLICAOF host port."""

    def writes_until(self, monotonic_ns: int) -> None:
        """Requests read later than this on the monotonic clock may not write."""

    def learned(self, register: tuple[int, int, tuple[str, ...]], epoch: int) -> None:
        """What the register says of the in-sync set (epoch, version, members), and the highest
        epoch heard of."""


class LeaseKeeper:
    """One data node's. `path` is the state file, `boot_id` differs in each life of the process.
    `desk` reaches the external store that keeps the lease, for `ttl_ms` at a time; None where
    sentinels lend it.

    Raises InputError where the state file is damaged, OSError where it cannot be read."""

    def __init__(
        self,
        host: LeaseHost,
        path: str,
        boot_id: str,
        leading: bool,
        desk: StoreDesk | None = None,
        ttl_ms: int = LEASE_TTL_MS,
    ) -> None:
        self._host = host
        self._path = path
        self._broken = False
        self._until_ns = FOREVER_NS
        kept = _read(path)
        self._on_disk = kept is not None
        state = kept if kept is not None else LeaseState(secrets.token_hex(20))
        self._desk = desk
        self._timer: asyncio.TimerHandle | None = None
        self._stored: StoredLease | None = None
        if desk is not None:
            self._stored = StoredLease(state, boot_id, leading, ttl_ms)
        self.machine = self._machine = self._stored or LeaderLease(state, boot_id, leading, ttl_ms)
        self._reply: RespValue = None
        if state.under_lease:
            log.warning(
                "This node was under a lease (epoch %d): read-only until the sentinels confirm it",
                state.epoch,
            )
        self._settle()
        if self._stored is not None:
            self._tick(self._stored, ttl_ms / _TICKS_PER_TTL / 1000)

    async def stop(self) -> None:
        """Nothing more is asked of the store."""
        if self._timer is not None:
            self._timer.cancel()
        if self._desk is not None:
            await self._desk.close()
            self._desk = None

    def _tick(self, machine: StoredLease, period_s: float) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(period_s, self._tick, machine, period_s)
        machine.tick(now_ms())
        self._settle()

    # -- for commands and INFO -----------------------------------------------------------------

    def ask(self, args: list[bytes]) -> RespValue:
        """The answer to `LEASE args...`."""
        self._reply = WireError("ERR the lease state cannot be written to disk")
        self._receive(LeaseAsked(0, tuple(args)))
        return self._reply

    def info_lines(self, watched: Callable[[], bool]) -> dict[str, str]:
        """Lines of INFO's section `replication`. `watched` tells whether a sentinel is connected:
        it must find the id that it learns here again, so the id is made durable first."""
        if not self._on_disk and watched():
            self._persist(self._machine.state)
        if not self._on_disk or self._broken:
            return {}
        managed = self._machine.state.under_lease
        desk, trouble = self._desk, self._stored.trouble if self._stored is not None else ""
        left_ms = -1 if self._until_ns == FOREVER_NS else (self._until_ns - now_ns()) // 1_000_000
        return {
            **self._machine.info_lines(),
            "lease_managed": str(int(managed)),
            "lease_remaining_ms": str(max(0, left_ms) if managed else -1),
            "lease_coordinator": "embedded" if desk is None else desk.label,
            "lease_coordinator_status": " ".join(trouble.split()) or "ok",
        }

    # -- for replication -----------------------------------------------------------------------

    def role_changed(self, leading: bool, handed: bool = False) -> None:
        """This node began to lead or to follow, whoever asked for it; `handed`: its leader did."""
        self._receive(RoleChanged(leading, handed))

    def given_up(self, host: str, port: int) -> None:
        """Writes are paused and the node at this address has all of our history."""
        self._receive(LeaseGivenUp(Address(host, port)))

    def taken_back(self) -> None:
        """The heir refused."""
        self._receive(LeaseTakenBack())

    # -- for the path of a write ---------------------------------------------------------------

    @property
    def writable(self) -> bool:
        """Whether a write may be acknowledged at this moment."""
        return now_ns() < self._until_ns

    @property
    def reply_gate(self) -> Callable[[Any], bool] | None:
        """What the channel of a client that wrote must ask before it sends; None: nothing."""
        return None if self._until_ns == FOREVER_NS else self._gate

    def _gate(self, channel: Any) -> bool:
        if self.admits(channel):
            channel.gate = None
            return True
        return False

    def admits(self, channel: Any) -> bool:
        """Whether the lease lasts; where not, the channel's connection is closed."""
        if now_ns() < self._until_ns:
            return True
        channel.writer.take()
        log.warning(
            "Closing client %s: the lease ended before its write was acknowledged",
            channel.client.peer,
        )
        channel.client.connection.close()
        return False

    # -- parts ---------------------------------------------------------------------------------

    def _receive(self, event: LeaseEvent) -> None:
        if self._broken and not self._persist(self._machine.state):
            return
        self._machine.receive(event, now_ms())
        self._settle()

    def _settle(self) -> None:
        """Carries the machine's actions out, then lets writes end when it says."""
        for action in self._machine.take_actions():
            if isinstance(action, PersistLease):
                if not self._persist(action.state):
                    break
            elif isinstance(action, Reply):
                self._reply = action.value
            elif isinstance(action, AskStore):
                self._ask(action)
            elif isinstance(action, Lead):
                log.warning("The sentinels name this node leader of epoch %d", action.epoch)
                self._host.lead()
            else:
                leader = action.leader
                log.warning("The sentinels name %s leader of epoch %d", leader, action.epoch)
                self._set_until(0)
                self._host.follow(leader.host, leader.port)
        self._set_until(0 if self._broken else _to_ns(self._machine.writes_until_ms))
        self._host.learned(self._machine.register, self._machine.state.epoch)

    def _ask(self, action: AskStore) -> None:
        desk = self._desk
        assert desk is not None

        def answered(outcome: Outcome) -> None:
            if self._desk is not None:
                self._receive(StoreAnswered(action.tag, outcome))

        desk.ask(action.ask, answered)

    def _persist(self, state: LeaseState) -> bool:
        try:
            durable.write(self._path, states.encode_lease(state))
        except OSError as error:
            log.warning("The lease state %s cannot be written: %s", self._path, error)
            # A node that no sentinel leads promised nothing: it goes on as a stock server would.
            self._broken = self._on_disk or state.under_lease
            return False
        self._on_disk, self._broken = True, False
        return True

    def _set_until(self, until_ns: int) -> None:
        if until_ns == self._until_ns:
            return
        self._until_ns = until_ns
        if until_ns not in (0, FOREVER_NS):
            until_ns += time.monotonic_ns() - now_ns()
        self._host.writes_until(until_ns)


def _to_ns(until_ms: float) -> int:
    if until_ms == ALWAYS_MS:
        return FOREVER_NS
    return 0 if until_ms == NEVER_MS else int(until_ms * 1_000_000)


def _read(path: str) -> LeaseState | None:
    raw = durable.read(path)
    if raw is None:
        return None
    try:
        return states.decode_lease(raw)
    except states.StateError as error:
        raise InputError(
            f"{path}: {error}. Remove the file to start as a node that was never led by sentinels; "
            "they will tell it what it is."
        ) from None
