"""The register in an external store, as one sentinel changes and watches it.

    another leader is wanted
        the lease is empty, released, or its holder's own ------------> write the register
        held     -> write it barred: its holder renews it no more
        barred, or no longer renewed -> wait until this version of the record was seen
                    for longer than its ttl, counted on our clock ----> write the register

Every write names the versions it rests on, so what happened meanwhile makes it a Conflict, and we
look again. An answer that did not come decides nothing: we read what became of it.

Invariant: a change of leader is written only with the lease's version in it, after that version
bound nobody any more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from replication.failover import constants
from replication.failover.cluster_view import RegisterValue
from replication.failover.coordinator import LostRace, Result, Unreachable, Won, may_replace
from replication.failover.lease import stretched_ms
from replication.failover.messages import MessageError
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
    Written,
    decode_lease,
    decode_register,
    encode_lease,
    encode_register,
)


@dataclass(slots=True)
class _Change:
    expected: RegisterValue | None
    value: RegisterValue
    give_up_ms: float


class StoredRegister:
    """One question to the store at a time: `take_ask`, then `receive` its outcome."""

    def __init__(self, name: str) -> None:
        self.cells: Cells | None = None
        #: Why the store gave no answer lately, and since when; "" while it does.
        self.trouble = ""
        self.trouble_ms = 0.0
        self._name = name
        self._seen_ms = 0.0
        self._fresh = False
        self._change: _Change | None = None
        self._result: Result | None = None
        self._asking: Ask | None = None
        self._asked_ms = -1e18
        self._next_ms = -1e18
        self._wanted = False
        self._ask: Ask | None = None

    @property
    def changing(self) -> bool:
        """Whether a change of ours is under way."""
        return self._change is not None

    @property
    def decided(self) -> bool:
        """Whether the outcome of a change waits to be taken."""
        return self._result is not None

    def change(
        self,
        expected: RegisterValue | None,
        value: RegisterValue,
        patience_ms: float,
        now_ms: float,
    ) -> None:
        """Make the register `value` if it is `expected`. A change under way is dropped for it."""
        assert may_replace(expected, value)
        self._change = _Change(expected, value, now_ms + patience_ms)
        self._result = None
        self._next_ms = now_ms
        self.tick(now_ms, 0.0)

    def cancel(self) -> None:
        """Stop asking. The change may still come to be through what was sent."""
        self._change = self._result = None

    def read_soon(self) -> None:
        """Somebody says that the store holds something new."""
        self._fresh, self._wanted = False, True

    def take_ask(self) -> Ask | None:
        """A question for the store; its outcome is to be given to `receive`."""
        ask, self._ask = self._ask, None
        return ask

    def take_result(self) -> Result | None:
        """The outcome of the change, once."""
        result, self._result = self._result, None
        return result

    def tick(self, now_ms: float, period_ms: float) -> None:
        """Go on with a change; read the cells every `period_ms` otherwise."""
        change = self._change
        if change is not None and now_ms >= change.give_up_ms:
            reason = self.trouble or "the lease of the leader did not run out in time"
            self._finish(Unreachable(reason))
        if self._asking is not None:
            if now_ms - self._asked_ms < constants.STORE_ANSWER_MS_MAX:
                return
            self._asking = None
        if now_ms < self._next_ms:
            return
        if self._change is not None:
            self._go_on(now_ms)
        elif self._wanted or now_ms - self._asked_ms >= period_ms:
            self._send(Read(self._name), now_ms)

    def receive(self, asked: Ask, outcome: Outcome, now_ms: float) -> None:
        """What became of a question; of one that was given up, nothing is made of it."""
        if asked is not self._asking:
            return
        self._asking = None
        if isinstance(outcome, Unreachable):
            if not self.trouble:
                self.trouble_ms = now_ms
            self.trouble = outcome.reason
            self._fresh = False
            self._next_ms = max(self._next_ms, now_ms + constants.STORE_RETRY_MS)
            return
        self.trouble = ""
        if isinstance(outcome, Written):
            assert isinstance(asked, Write)
            self._wrote(asked, outcome.version)
        else:
            self._note(outcome.cells if isinstance(outcome, Conflict) else outcome, now_ms)
        if self._change is not None:
            self._go_on(now_ms)

    # What is known.

    @property
    def value(self) -> RegisterValue | None:
        """The register as last read; None where it is empty, unread or no register."""
        try:
            return decode_register(self.cells.register.value) if self.cells else None
        except MessageError:
            return None

    def over_ms(self, leader_id: str, now_ms: float) -> float:
        """How long the lease, as last seen, still keeps others than this leader from leading."""
        if self.cells is None:
            return 0.0
        try:
            record = decode_lease(self.cells.lease.value)
        except MessageError:
            return max(0.0, self._seen_ms + stretched_ms(constants.LEASE_TTL_MS_MAX) - now_ms)
        if record is None or record.hold is Hold.RELEASED or record.leader_id == leader_id:
            return 0.0
        return max(0.0, self._seen_ms + stretched_ms(record.ttl_ms) - now_ms)

    def _note(self, cells: Cells, now_ms: float) -> None:
        if self.cells is None or cells.lease.version != self.cells.lease.version:
            self._seen_ms = now_ms
        self.cells, self._fresh = cells, True

    def _wrote(self, asked: Write, version: int) -> None:
        assert self.cells is not None
        cell = Cell(asked.value, version)
        if asked.which is Which.LEASE:
            # The bar replaced the very version we had seen: what that one granted ends as before,
            # and nothing was granted since. So our count of its time goes on.
            self.cells = replace(self.cells, lease=cell)
        else:
            self.cells = replace(self.cells, register=cell)

    # A change.

    def _go_on(self, now_ms: float) -> None:
        """The next step of the change."""
        change = self._change
        assert change is not None
        if self.cells is None or not self._fresh:
            self._send(Read(self._name), now_ms)
            return
        try:
            current = decode_register(self.cells.register.value)
        except MessageError as error:
            self._fresh = False
            self._finish(Unreachable(f"what the store holds is no register: {error}"))
            return
        if current == change.value:
            self._finish(Won(change.value))
        elif current != change.expected or not may_replace(current, change.value):
            self._finish(LostRace(current))
        elif current is not None and current.leader_id == change.value.leader_id:
            self._write(Which.REGISTER, encode_register(change.value), None, now_ms)
        else:
            self._replace_leader(change, self.cells, now_ms)

    def _replace_leader(self, change: _Change, cells: Cells, now_ms: float) -> None:
        blocked_ms = self.over_ms(change.value.leader_id, now_ms)
        if blocked_ms <= 0:
            value = encode_register(change.value)
            self._write(Which.REGISTER, value, cells.lease.version, now_ms)
            return
        barred = self._barred(cells)
        if barred is not None:
            self._write(Which.LEASE, encode_lease(barred), cells.lease.version, now_ms)
            return
        self._fresh = False  # the leader may give it back meanwhile
        self._next_ms = now_ms + min(blocked_ms, constants.LEASED_AGAIN_MS)

    def _barred(self, cells: Cells) -> LeaseRecord | None:
        """What the lease's cell is to hold so that the leader renews it no more."""
        try:
            record = decode_lease(cells.lease.value)
        except MessageError:
            return None
        if record is None or record.hold is not Hold.HELD:
            return None
        return replace(record, hold=Hold.BARRED)

    def _write(self, which: Which, value: bytes, lease_version: int | None, now_ms: float) -> None:
        assert self.cells is not None
        version = self.cells.register.version
        self._send(Write(self._name, which, value, version, lease_version), now_ms)

    def _send(self, ask: Ask, now_ms: float) -> None:
        self._ask = self._asking = ask
        self._wanted = False
        self._asked_ms = now_ms

    def _finish(self, result: Result) -> None:
        self._change, self._result = None, result
