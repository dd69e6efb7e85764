"""The embedded register: CASPaxos among the sentinels.

Problem: one value, changed by compare-and-set, that survives the loss of a minority of sentinels.

Idea (Rystsov, "CASPaxos: Replicated State Machines without logs"): one Paxos register without a
log. A proposer picks a ballot higher than any it saw and asks all acceptors to PREPARE. Each
promises to ignore lower ballots and tells what it last accepted. From a majority of promises the
proposer takes the value of the highest ballot, applies its change to it, and asks for the result to
be ACCEPTed. Once a majority has accepted, the value is chosen, and every later majority of promises
contains it.

    proposer               acceptors (a majority of N must answer)
       | PREPARE b             |
       |---------------------->|  promised := b             durable before the answer
       |   PROMISE b', v'      |
       |<----------------------|
       |  v := change(v of highest b')
       | ACCEPT b, v           |
       |---------------------->|  LEASED ms, while promised to another leader
       |      ACCEPTED         |  accepted := b, v          durable before the answer
       |<----------------------|

A proposer that finds another value than expected still completes the round with that value
unchanged: only then it is certain that the value it reports as the winner's is chosen.

PREPARE is always answered, also under a lease: it changes no leader. ACCEPT of another leader waits
for the sentinel's own promise to run out; see docs/failover.md for why that is enough.

Invariants: promised >= accepted; an acceptor answers from durable state only; the epoch never
falls.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from replication.failover import constants
from replication.failover.cluster_view import NO_BALLOT, AcceptorState, Ballot, RegisterValue
from replication.failover.coordinator import (
    LostRace,
    Result,
    Unreachable,
    Won,
    may_replace,
)
from replication.failover.events import RespValue, WireError
from replication.failover.lease import majority
from replication.failover.messages import (
    VALUE_FIELDS,
    MessageError,
    encode_ballot,
    encode_value,
    integer,
    parse_ballot,
    parse_value,
)


@dataclass(frozen=True, slots=True)
class Promise:
    """The acceptor will ignore lower ballots; this is what it last accepted."""

    accepted: Ballot
    value: RegisterValue | None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The acceptor holds the value under the ballot asked for."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The acceptor has promised a higher ballot: this one."""

    promised: Ballot


@dataclass(frozen=True, slots=True)
class Leased:
    """The acceptor has promised its part to another leader for so long."""

    wait_ms: int


Answer: TypeAlias = Promise | Accepted | Refused | Leased


def prepare(state: AcceptorState, ballot: Ballot) -> tuple[AcceptorState, Answer]:
    """An acceptor's answer to PREPARE and its state after it (to be durable before the answer
    leaves).
    """
    if ballot < state.promised:
        return state, Refused(state.promised)
    return replace(state, promised=ballot), Promise(state.accepted, state.value)


def accept(
    state: AcceptorState, ballot: Ballot, value: RegisterValue, blocked_ms: float
) -> tuple[AcceptorState, Answer]:
    """An acceptor's answer to ACCEPT; `blocked_ms` is what its lease promise to another leader has
    left.
    """
    if ballot < state.promised:
        return state, Refused(state.promised)
    if blocked_ms > 0:
        return state, Leased(int(blocked_ms) + 1)
    return AcceptorState(ballot, ballot, value), Accepted()


def encode_answer(answer: Answer) -> RespValue:
    """The reply on the wire."""
    if isinstance(answer, Promise):
        return (b"PROMISE", *encode_ballot(answer.accepted), *encode_value(answer.value))
    if isinstance(answer, Refused):
        return (b"REFUSED", *encode_ballot(answer.promised))
    if isinstance(answer, Leased):
        return (b"LEASED", b"%d" % answer.wait_ms)
    return (b"ACCEPTED",)


def parse_answer(reply: RespValue) -> Answer:
    """The inverse of `encode_answer`. Raises MessageError."""
    if isinstance(reply, WireError):
        raise MessageError(reply.text[:200])
    if not isinstance(reply, tuple) or not reply:
        raise MessageError("an answer of the register is an array")
    word, fields = reply[0], reply[1:]
    if word == b"PROMISE" and len(fields) == 2 + VALUE_FIELDS:
        return Promise(parse_ballot(fields[0], fields[1]), parse_value(fields[2:]))
    if word == b"REFUSED" and len(fields) == 2:
        return Refused(parse_ballot(fields[0], fields[1]))
    if word == b"LEASED" and len(fields) == 1:
        return Leased(integer(fields[0], 0, constants.LEASE_TTL_MS_MAX * 2))
    if word == b"ACCEPTED" and not fields:
        return Accepted()
    raise MessageError("unknown answer of the register")


class Phase(enum.Enum):
    """Where a proposer is."""

    IDLE = "idle"
    READY = "ready"
    """Promises are collected for a change that is still to come."""
    PREPARE = "prepare"
    ACCEPT = "accept"


@dataclass(frozen=True, slots=True)
class Ask:
    """One message the proposer wants to be sent: to one acceptor, or to all (None), itself
    included.
    """

    to: str | None
    ballot: Ballot
    value: RegisterValue | None
    """None asks to PREPARE."""


@dataclass(slots=True)
class _Round:
    ballot: Ballot
    began_ms: float
    promises: dict[str, Promise] = field(default_factory=dict)
    accepted: set[str] = field(default_factory=set)
    value: RegisterValue | None = None
    mine: bool = True
    retry_at_ms: dict[str, float] = field(default_factory=dict)


class Proposer:
    """Drives one change at a time. The owner carries the Asks and feeds the Answers back.

    `members` is N at the start of the change. Gives up as Unreachable after `patience_ms`.
    """

    def __init__(self, sentinel_id: str) -> None:
        self.phase = Phase.IDLE
        self._id = sentinel_id
        self._seen = NO_BALLOT
        self._round = _Round(NO_BALLOT, 0.0)
        self._expected: RegisterValue | None = None
        self._value: RegisterValue | None = None
        self._needed = 1
        self._give_up_ms = 0.0
        self._asks: list[Ask] = []
        self._result: Result | None = None

    def change(
        self,
        expected: RegisterValue | None,
        value: RegisterValue,
        members: int,
        patience_ms: float,
        now_ms: float,
    ) -> None:
        """Make the register `value` if it is `expected`. A change under way is dropped for it."""
        assert may_replace(expected, value)
        self._expected, self._value = expected, value
        self._give_up_ms = now_ms + patience_ms
        self._result = None
        prepared = self.phase is Phase.READY and self._needed == majority(members)
        recent = now_ms - self._round.began_ms < constants.REGISTER_ROUND_MS / 2
        self._needed = majority(members)
        if prepared and (self.ready or recent):
            self.phase = Phase.PREPARE
            self._round.began_ms = now_ms
            self._on_promise()
        else:
            self._begin(now_ms)

    def prepare(self, members: int, now_ms: float) -> None:
        """Collect promises for a change to come, where none is under way."""
        if self.phase in (Phase.IDLE, Phase.READY):
            self._needed = majority(members)
            self._begin(now_ms)
            self.phase = Phase.READY

    def forget_promises(self) -> None:
        """Somebody prepared a higher ballot: what was promised to ours is void."""
        if self.phase is Phase.READY:
            self.phase = Phase.IDLE

    @property
    def ready(self) -> bool:
        """Whether the promises collected are enough."""
        return self.phase is Phase.READY and len(self._round.promises) >= self._needed

    @property
    def ballot(self) -> Ballot:
        """The one of the round under way, or of the last one."""
        return self._round.ballot

    def cancel(self) -> None:
        """Stop asking. The change may still come to be through what was sent; promises collected
        for the next one are kept.
        """
        self._result = None
        if self.phase is not Phase.READY:
            self.phase = Phase.IDLE
            self._asks.clear()

    def take_asks(self) -> list[Ask]:
        """Messages to send, in order."""
        asks, self._asks = self._asks, []
        return asks

    def take_result(self) -> Result | None:
        """The outcome, once."""
        result, self._result = self._result, None
        return result

    def note_ballot(self, ballot: Ballot) -> None:
        """A ballot seen anywhere: ours must be higher."""
        self._seen = max(self._seen, ballot)

    def _begin(self, now_ms: float) -> None:
        ballot = Ballot(self._seen.number + 1, self._id)
        self._seen = ballot
        self._round = _Round(ballot, now_ms)
        self.phase = Phase.PREPARE
        self._asks = [Ask(None, ballot, None)]

    def tick(self, now_ms: float) -> None:
        """Ask again whoever was bound by a lease; start over a round that got no majority."""
        if self.phase in (Phase.IDLE, Phase.READY):
            return
        if now_ms >= self._give_up_ms:
            self.phase = Phase.IDLE
            self._result = Unreachable("no majority of sentinels answered in time")
            return
        current = self._round
        for sentinel_id, at_ms in list(current.retry_at_ms.items()):
            if now_ms >= at_ms:
                del current.retry_at_ms[sentinel_id]
                current.began_ms = now_ms
                self._asks.append(Ask(sentinel_id, current.ballot, current.value))
        if not current.retry_at_ms and now_ms - current.began_ms > constants.REGISTER_ROUND_MS:
            self._begin(now_ms)

    def receive(self, sentinel_id: str, ballot: Ballot, answer: Answer, now_ms: float) -> None:
        """One acceptor's answer to what was asked under `ballot`."""
        if self.phase is Phase.IDLE or ballot != self._round.ballot:
            return
        current = self._round
        if isinstance(answer, Refused):
            self.note_ballot(answer.promised)
            if self.phase is Phase.READY:
                self.phase = Phase.IDLE
            # Wait a moment before the next, higher ballot: two proposers must not chase each other.
            current.began_ms = min(current.began_ms, now_ms - constants.REGISTER_ROUND_MS / 2)
        elif isinstance(answer, Promise):
            current.promises[sentinel_id] = answer
            if self.phase is Phase.PREPARE:
                self._on_promise()
        elif isinstance(answer, Leased):
            if self.phase is Phase.ACCEPT:
                wait_ms = min(answer.wait_ms, constants.LEASED_AGAIN_MS)
                current.retry_at_ms[sentinel_id] = now_ms + wait_ms
        elif self.phase is Phase.ACCEPT:
            current.accepted.add(sentinel_id)
            if len(current.accepted) >= self._needed:
                self._finish()

    def _on_promise(self) -> None:
        current = self._round
        if len(current.promises) < self._needed:
            return
        latest = max(current.promises.values(), key=lambda promise: promise.accepted)
        assert self._value is not None
        # A ballot of ours that a majority accepted unseen shows as our own value: that is a win
        # too. A majority that never accepted anything has chosen nothing, so nothing is
        # overwritten.
        current.mine = latest.value in (None, self._expected, self._value)
        current.value = self._value if current.mine else latest.value
        self.phase = Phase.ACCEPT
        self._asks.append(Ask(None, current.ballot, current.value))

    def _finish(self) -> None:
        value = self._round.value
        assert value is not None
        self.phase = Phase.IDLE
        self._result = Won(value) if self._round.mine else LostRace(value)
