"""Register and lease of one master, as one sentinel holds them.

Here the two meet: this sentinel's own promise to a leader decides when its acceptor may accept
another one, and what the register is known to hold decides to whom it promises. While this sentinel
takes part in a change (it drives one, or voted for a driver) it renews no lease, so that the old
one runs out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from replication.failover import constants, quorum
from replication.failover.cluster_view import AcceptorState, Ballot, RegisterValue
from replication.failover.context import Context
from replication.failover.coordinator import LostRace, Result, Won
from replication.failover.events import RespValue, WireError
from replication.failover.lease import SentinelLease
from replication.failover.messages import (
    VALUE_FIELDS,
    MessageError,
    encode_ballot,
    encode_value,
    parse_ballot,
    parse_value,
)
from replication.failover.node import Node


class Tenure:
    """The acceptor, the proposer, the lease promise and the value last known to be chosen.

    This is the embedded register; `stored_tenure.StoredTenure` is the same in an external store."""

    #: Whether register and lease are in an external store.
    stored = False

    def __init__(
        self,
        context: Context,
        name: str,
        peers: Callable[[], Iterable[Node]],
        members: Callable[[], int],
        now_ms: float,
    ) -> None:
        self.acceptor = AcceptorState()
        self.register: RegisterValue | None = None
        self.learned_ms = now_ms
        self.released_ms: float | None = None
        self.accepted_ms = now_ms
        self.peer_ballot_ms = -1e18
        self.lease_wanted = False
        self.prepared_ms = now_ms
        self._moving = False
        self.lease = SentinelLease(now_ms, context.timings.lease_ttl_ms)
        self.busy_until_ms = now_ms
        self._context = context
        self._name = name
        self._peers = peers
        self._members = members
        self._proposer = quorum.Proposer(context.sentinel_id)

    def restore(self, acceptor: AcceptorState, register: RegisterValue | None) -> None:
        """What the state file held."""
        self.acceptor = acceptor
        self.register = register
        self._proposer.note_ballot(acceptor.promised)

    @property
    def changing(self) -> bool:
        """Whether a change of ours is under way."""
        return self._proposer.phase not in (quorum.Phase.IDLE, quorum.Phase.READY)

    @property
    def ready(self) -> bool:
        """Whether a majority has promised our next ballot, so that a change is one exchange."""
        return self._proposer.ready and self._proposer.ballot == self.acceptor.promised

    @property
    def undecided(self) -> RegisterValue | None:
        """A newer value that this acceptor holds and nobody has told to be chosen; None if none.

        It may be chosen all the same: its driver may have died, or given up, before it knew.
        """
        accepted, known = self.acceptor.value, self.register
        if accepted is None or (known is not None and accepted.place <= known.place):
            return None
        return accepted

    def peer_drives(self, now_ms: float) -> bool:
        """Whether another sentinel was seen at work on the register a moment ago."""
        return now_ms - self.peer_ballot_ms < constants.PEER_DRIVES_MS

    def withhold(self, for_ms: float, now_ms: float) -> None:
        """Renew no lease for a while: a change is expected."""
        self.busy_until_ms = max(self.busy_until_ms, now_ms + for_ms)

    def may_grant(self, now_ms: float) -> bool:
        """Whether this sentinel is free to renew the lease of the register's leader.

        An acceptor that has taken a newer leader on has left the old one for good. A change of the
        in-sync set leaves the leader in its place.
        """
        known, undecided = self.register, self.undecided
        if known is None or now_ms < self.busy_until_ms or (self.changing and self._moving):
            return False
        return undecided is None or undecided.epoch == known.epoch

    def lend(self, value: RegisterValue, ttl_ms: int, now_ms: float) -> bool:
        """Promise the leader our part; whether it is to be told so."""
        if not self.may_grant(now_ms):
            return False
        self.released_ms = None
        return self.lease.grant(value.epoch, value.leader_id, ttl_ms, now_ms)

    def take_news(self) -> bool:
        """Whether the value known changed by itself since asked last: every node is to be told."""
        return False

    def watch_store(self, _urgent: bool, _now_ms: float) -> None:
        """Look what an external store holds, where there is one."""

    def read_soon(self) -> None:
        """An external store, where there is one, holds something new."""

    def trouble(self, _now_ms: float) -> str:
        """What is wrong with an external store, in words; "" while nothing is."""
        return ""

    def answer(self, args: tuple[bytes, ...], now_ms: float) -> RespValue:
        """The reply to REGISTER <word> <name> ... from a peer."""
        word, fields = args[0].upper(), args[2:]
        try:
            if word == b"PREPARE" and len(fields) == 2:
                ballot = parse_ballot(fields[0], fields[1])
                self.peer_ballot_ms = now_ms
                return quorum.encode_answer(self._prepare(ballot))
            if word == b"ACCEPT" and len(fields) == 2 + VALUE_FIELDS:
                ballot, value = parse_ballot(fields[0], fields[1]), parse_value(fields[2:])
                if value is not None:
                    return quorum.encode_answer(self._accept(ballot, value, now_ms))
            if word == b"LEARN" and len(fields) == VALUE_FIELDS:
                value = parse_value(fields)
                if value is not None:
                    self.learn(value, now_ms)
                    return b"OK"
            if word == b"GET" and not fields:
                return (b"VALUE", *encode_value(self.register))
        except MessageError as error:
            return WireError(f"ERR {error}")
        return WireError("ERR unknown form of SENTINEL REGISTER")

    def learn(self, value: RegisterValue, now_ms: float) -> bool:
        """A chosen value became known; True if it is news."""
        known = self.register
        if known is not None and value.place <= known.place:
            return False
        self.register = value
        self._context.changed_later(now_ms)
        if known is not None and value.epoch == known.epoch:
            return True
        self.learned_ms = now_ms
        self.released_ms = None
        self.busy_until_ms = now_ms
        self._context.raise_epoch(value.epoch, now_ms)
        return True

    def change(self, value: RegisterValue, patience_ms: float, now_ms: float) -> None:
        """Make `value` the register's, if it still holds what we know; `tick` returns the
        outcome.
        """
        known = self.register
        self._moving = known is None or value.epoch != known.epoch
        if self._proposer.ballot != self.acceptor.promised:
            self._proposer.forget_promises()
        self._proposer.change(known, value, self._members(), patience_ms, now_ms)
        self._carry(now_ms)

    def prepare(self, now_ms: float) -> None:
        """Collect promises for a change that is expected."""
        self.prepared_ms = now_ms
        self._proposer.prepare(self._members(), now_ms)
        self._carry(now_ms)

    def cancel(self) -> None:
        """Give a change of ours up."""
        self._proposer.cancel()

    def tick(self, now_ms: float) -> Result | None:
        """Time passed; the outcome of our change, once."""
        if self.changing:
            self._proposer.tick(now_ms)
            self._carry(now_ms)
        result = self._proposer.take_result()
        chosen = None
        if isinstance(result, Won):
            chosen = result.value
        elif isinstance(result, LostRace):
            chosen = result.current
        if chosen is not None and self.learn(chosen, now_ms):
            self.spread()
        return result

    def spread(self) -> None:
        """Tell every peer what was chosen."""
        if self.register is None:
            return
        message = (b"SENTINEL", b"REGISTER", b"LEARN", self._name.encode())
        for peer in self._peers():
            if peer.wires.usable:
                self._context.links.send(peer.wires.link, (*message, *encode_value(self.register)))

    def _prepare(self, ballot: Ballot) -> quorum.Answer:
        before = self.acceptor
        self.acceptor, answer = quorum.prepare(before, ballot)
        self._after(before)
        return answer

    def _accept(self, ballot: Ballot, value: RegisterValue, now_ms: float) -> quorum.Answer:
        before = self.acceptor
        blocked_ms = self.lease.blocked_ms(value.epoch, value.leader_id, now_ms)
        self.acceptor, answer = quorum.accept(before, ballot, value, blocked_ms)
        self._after(before)
        if isinstance(answer, quorum.Accepted):
            self.accepted_ms = now_ms
        elif isinstance(answer, quorum.Leased):
            self.lease_wanted = True
        return answer

    def _after(self, before: AcceptorState) -> None:
        self._proposer.note_ballot(self.acceptor.promised)
        if self.acceptor != before:
            self._context.changed()

    def _carry(self, now_ms: float) -> None:
        """Send what the proposer asks, to ourselves too, until it asks nothing more.

        A ballot is on our disk before others see it, so that no later life uses it again. ACCEPT
        goes to the others first: their disks and ours work at the same time.
        """
        me = self._context.sentinel_id
        while asks := self._proposer.take_asks():
            for ask in asks:
                if ask.value is None and ask.to in (None, me):
                    self._ask_self(ask, now_ms)
                for peer in self._peers():
                    if ask.to in (None, peer.run_id) and peer.wires.usable:
                        self._ask_peer(ask, peer)
                if ask.value is not None and ask.to in (None, me):
                    self._ask_self(ask, now_ms)

    def _ask_self(self, ask: quorum.Ask, now_ms: float) -> None:
        if ask.value is None:
            answer = self._prepare(ask.ballot)
        else:
            answer = self._accept(ask.ballot, ask.value, now_ms)
        self._proposer.receive(self._context.sentinel_id, ask.ballot, answer, now_ms)

    def _ask_peer(self, ask: quorum.Ask, peer: Node) -> None:
        word = b"PREPARE" if ask.value is None else b"ACCEPT"
        value = () if ask.value is None else encode_value(ask.value)
        ballot = encode_ballot(ask.ballot)
        sentinel_id = peer.run_id

        def answered(reply: RespValue, now_ms: float) -> None:
            try:
                answer = quorum.parse_answer(reply)
            except MessageError:
                # A peer that does not know the register counts as one that did not answer.
                return
            self._proposer.receive(sentinel_id, ask.ballot, answer, now_ms)
            self._carry(now_ms)

        self._context.links.send(
            peer.wires.link,
            (b"SENTINEL", b"REGISTER", word, self._name.encode(), *ballot, *value),
            answered,
        )
