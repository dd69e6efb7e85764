"""The data node's side of a lease that is kept in an external store.

    node                              store
      | the register names us?           |
      |--- read ------------------------>|   register value, version r; lease record, version l
      | notes the time t0                |
      |--- write the lease, if r and l ->|   a change of leader meanwhile: Conflict
      |<-- written ----------------------|   counts until t0 + ttl, on this clock

The count begins at the sending, so it ends before a sentinel that saw the record after it was
written has waited out the ttl. A renewal names the register's version: once another leader is
written, none succeeds. A record that a sentinel barred is left alone, so that it can run out; if no
change came of it for BARRED_TTLS ttls, the leader takes it up again.

Sentinels poll all the same: they learn here that the lease was given back, that the life that led
is over, and which in-sync set is wanted. What they say of the register is no more than a hint to
read it.

Invariant: only an answer to a renewal of this tenure moves `writes_until_ms` forward.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from replication.failover import constants
from replication.failover.actions import AskStore, PersistLease
from replication.failover.cluster_view import LeaseState, life_of
from replication.failover.coordinator import Unreachable
from replication.failover.events import LeaseEvent, RespValue, StoreAnswered, WireError
from replication.failover.lease import LeaderLease
from replication.failover.messages import LeaseEpoch, LeaseMessage, LeaseRenew, MessageError
from replication.failover.stores import (
    Ask,
    Cell,
    Cells,
    Conflict,
    Hold,
    LeaseRecord,
    Outcome,
    Read,
    Which,
    Write,
    decode_lease,
    decode_register,
    encode_lease,
)


@dataclass(frozen=True, slots=True)
class _Flight:
    """A question on its way."""

    tag: int
    ask: Ask
    sent_ms: float
    tenure: int
    renews: bool


class StoredLease(LeaderLease):
    """As LeaderLease, with `tick` to be called every `ttl_ms` / 10 or so, and StoreAnswered taken
    by `receive`."""

    def __init__(self, state: LeaseState, boot_id: str, leading: bool, ttl_ms: int) -> None:
        super().__init__(state, boot_id, leading, ttl_ms)
        #: Why the store gave no answer lately, "" while it does.
        self.trouble = ""
        self._name = state.name
        self._cells: Cells | None = None
        self._lease_seen_ms = 0.0
        self._flight: _Flight | None = None
        self._tags = 0
        self._number = 0
        self._next_ms = -1e18

    def receive(self, event: LeaseEvent, now_ms: float) -> None:
        """Take in one event; collect what follows with `take_actions`."""
        if isinstance(event, StoreAnswered):
            self._answered(event, now_ms)
        else:
            super().receive(event, now_ms)
            self._next_ms = min(self._next_ms, now_ms + self._period_ms)
            if self.heir is not None:
                self._next_ms = now_ms
        self.tick(now_ms)

    def tick(self, now_ms: float) -> None:
        """Time passed: renew, give back, or read, where it is due."""
        flight = self._flight
        if flight is not None and now_ms - flight.sent_ms < constants.STORE_ANSWER_MS_MAX:
            return
        if not self._name or now_ms < self._next_ms:
            return
        self._tags += 1
        ask = self._next_ask(now_ms)
        renews = isinstance(ask, Write) and self.heir is None
        self._flight = _Flight(self._tags, ask, now_ms, self._tenure, renews)
        self._next_ms = now_ms + (self._period_ms if self._claims else constants.STORE_READ_MS)
        self._actions.append(AskStore(self._tags, ask))

    @property
    def _period_ms(self) -> float:
        return self._ttl_ms / constants.LEASE_POLLS_PER_TTL

    @property
    def _claims(self) -> bool:
        """Whether this node is to hold the lease, or to give it back."""
        return self.heir is not None or (self.leading and self._named and not self.life_lost)

    # What sentinels say.

    def _take(self, message: LeaseMessage, now_ms: float) -> RespValue:
        if isinstance(message, LeaseEpoch) or (
            isinstance(message, LeaseRenew) and not message.stored
        ):
            return WireError(
                "ERR this node's lease is kept in an external store: give the sentinels the "
                "'coordinator' of this node"
            )
        self._name = message.name
        if not isinstance(message, LeaseRenew):
            self._next_ms = now_ms
            return b"OK"
        if message.epoch > self.state.epoch or self._cells is None:
            self._next_ms = now_ms
        return self._renew(message, now_ms)

    def _forget(self) -> RespValue:
        self._name, self._cells = "", None
        return super()._forget()

    # What is asked of the store.

    def _next_ask(self, now_ms: float) -> Ask:
        """Read, unless there is a record to write."""
        record = self._record(now_ms) if self._claims else None
        if record is None or self._cells is None:
            return Read(self._name)
        versions = self._cells.register.version, self._cells.lease.version
        return Write(self._name, Which.LEASE, encode_lease(record), *versions)

    def _record(self, now_ms: float) -> LeaseRecord | None:
        """What the lease's cell is to hold; None where it is to be left as it is."""
        if self._cells is None or not self._names_us(self._cells):
            return None
        try:
            held = decode_lease(self._cells.lease.value)
        except MessageError:
            return None
        self._number += 1
        node_id, epoch = self.state.node_id, self.state.epoch
        life = life_of(self._boot_id)
        mine = LeaseRecord(Hold.HELD, epoch, node_id, life, self._ttl_ms, self._number)
        ours = held is not None and held.leader_id == node_id
        if self.heir is not None:
            given = ours and held is not None and held.hold is Hold.RELEASED
            return None if given or not ours else replace(mine, hold=Hold.RELEASED)
        if held is not None and held.hold is Hold.BARRED and ours:
            patience_ms = constants.BARRED_TTLS * self._ttl_ms
            return mine if now_ms - self._lease_seen_ms > patience_ms else None
        return mine

    def _names_us(self, cells: Cells) -> bool:
        try:
            value = decode_register(cells.register.value)
        except MessageError:
            return False
        return value is not None and (value.epoch, value.leader_id) == (
            self.state.epoch,
            self.state.node_id,
        )

    # What it answered.

    def _answered(self, event: StoreAnswered, now_ms: float) -> None:
        flight = self._flight
        if flight is None or event.tag != flight.tag:
            return
        self._flight = None
        outcome: Outcome = event.outcome
        if isinstance(outcome, Unreachable):
            self.trouble = outcome.reason
            self._next_ms = max(self._next_ms, now_ms + constants.STORE_RETRY_MS)
            return
        self.trouble = ""
        if isinstance(outcome, Cells):
            self._note(outcome, now_ms)
        elif isinstance(outcome, Conflict):
            self._note(outcome.cells, now_ms)
            self._next_ms = now_ms
        elif self._cells is not None and isinstance(flight.ask, Write):
            self._cells = replace(self._cells, lease=Cell(flight.ask.value, outcome.version))
            self._lease_seen_ms = now_ms
            self._granted(flight)

    def _granted(self, flight: _Flight) -> None:
        if not flight.renews or flight.tenure != self._tenure or not self._claims:
            return
        if not self.state.under_lease:
            self.state = replace(self.state, under_lease=True)
            self._actions.append(PersistLease(self.state))
            self.writes_until_ms = flight.sent_ms + self._ttl_ms
        self.writes_until_ms = max(self.writes_until_ms, flight.sent_ms + self._ttl_ms)

    def _note(self, cells: Cells, now_ms: float) -> None:
        """What the store holds now: believe the register, and look at the lease."""
        if self._cells is None or cells.lease.version != self._cells.lease.version:
            self._lease_seen_ms = now_ms
        claimed = self._claims
        self._cells = cells
        try:
            value = decode_register(cells.register.value)
        except MessageError as error:
            self.trouble = f"what the store holds is no register: {error}"
            return
        if value is not None:
            place = (value.version, value.in_sync, value.life)
            said = LeaseEpoch(self._name, value.epoch, value.leader_id, value.address, *place)
            self._learn(said, now_ms)
        if self._claims and not claimed:
            self._next_ms = now_ms
