"""Register and lease of one master, where both are in an external store.

The sentinels still watch, elect a driver and say what the register holds; they accept and promise
nothing. What a peer tells of the register is a hint to read it: the store alone is believed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from replication.failover import constants
from replication.failover.cluster_view import RegisterValue
from replication.failover.context import Context
from replication.failover.coordinator import LostRace, Result, Won
from replication.failover.events import RespValue, WireError
from replication.failover.lease import SentinelLease
from replication.failover.messages import VALUE_FIELDS, encode_value
from replication.failover.node import Node
from replication.failover.stored_register import StoredRegister
from replication.failover.stores import Outcome
from replication.failover.tenure import Tenure


class ObservedLease(SentinelLease):
    """The lease as seen in the store: nothing of it is ours to promise or to take back."""

    def __init__(self, store: StoredRegister, now_ms: float) -> None:
        super().__init__(now_ms)
        self._store = store

    def granted_ms(self, now_ms: float) -> float:
        """How long it still keeps others from leading, if it is not renewed."""
        return self._store.over_ms("", now_ms)


class StoredTenure(Tenure):
    """As Tenure; `AskStore` goes out by the context, and its outcome comes back there."""

    stored = True

    def __init__(
        self,
        context: Context,
        name: str,
        peers: Callable[[], Iterable[Node]],
        members: Callable[[], int],
        now_ms: float,
    ) -> None:
        super().__init__(context, name, peers, members, now_ms)
        self._store = StoredRegister(name)
        self.lease = ObservedLease(self._store, now_ms)
        self._news = False

    @property
    def changing(self) -> bool:
        """Whether a change of ours is under way."""
        return self._store.changing

    @property
    def ready(self) -> bool:
        """A store needs no promises before."""
        return True

    def prepare(self, _now_ms: float) -> None:
        """Nothing is to be prepared."""

    @property
    def undecided(self) -> RegisterValue | None:
        """A store decides at once."""
        return None

    def lend(self, _value: RegisterValue, _ttl_ms: int, _now_ms: float) -> bool:
        """The store lends; the leader has its lease (again)."""
        self.released_ms = None
        return False

    def take_news(self) -> bool:
        """Whether the store was read to hold another value since asked last."""
        news, self._news = self._news, False
        return news

    def watch_store(self, urgent: bool, now_ms: float) -> None:
        """Read the cells, often while the leader may have to be replaced: its lease is then known
        not to have been renewed for as long as possible."""
        ttl_ms = self._context.timings.lease_ttl_ms
        period_ms = ttl_ms / constants.LEASE_POLLS_PER_TTL if urgent else constants.STORE_READ_MS
        self._store.tick(now_ms, period_ms)
        self._carry(now_ms)

    def read_soon(self) -> None:
        """The store holds something new."""
        self._store.read_soon()

    def trouble(self, now_ms: float) -> str:
        """Why the store cannot be used, with the time in ms; "" while it can."""
        store, known = self._store, self.register
        if store.trouble:
            return f"out of reach for {int(now_ms - store.trouble_ms)} ms: {store.trouble}"
        if store.cells is None or known is None:
            return ""
        held = store.value
        if held is None:
            return f"it holds no register, though epoch {known.epoch} is known: it was emptied"
        if held.place < known.place:
            return f"it went back from epoch {known.epoch} to {held.epoch}: it was restored"
        return ""

    def answer(self, args: tuple[bytes, ...], now_ms: float) -> RespValue:
        """The reply to REGISTER <word> <name> ... from a peer."""
        word, fields = args[0].upper(), args[2:]
        if word == b"LEARN" and len(fields) == VALUE_FIELDS:
            self.peer_ballot_ms = now_ms
            self.read_soon()
            return b"OK"
        if word == b"GET" and not fields:
            return (b"VALUE", *encode_value(None))
        return WireError(
            "ERR the register is kept in an external store: give every sentinel the same "
            "'coordinator'"
        )

    def change(self, value: RegisterValue, patience_ms: float, now_ms: float) -> None:
        """Make `value` the register's, if it still holds what we know."""
        self._store.change(self.register, value, patience_ms, now_ms)
        self._carry(now_ms)

    def cancel(self) -> None:
        """Give a change of ours up."""
        self._store.cancel()

    def tick(self, now_ms: float) -> Result | None:
        """The outcome of our change, once."""
        if self._store.changing:
            self._store.tick(now_ms, 0.0)
            self._carry(now_ms)
        result = self._store.take_result()
        chosen = None
        if isinstance(result, Won):
            chosen = result.value
        elif isinstance(result, LostRace):
            chosen = result.current
        if chosen is not None and self.learn(chosen, now_ms):
            self.spread()
        return result

    def _carry(self, _now_ms: float) -> None:
        ask = self._store.take_ask()
        if ask is None:
            return

        def answered(outcome: Outcome, now_ms: float) -> None:
            self._store.receive(ask, outcome, now_ms)
            self._carry(now_ms)
            value = self._store.value
            idle = not self._store.changing and not self._store.decided
            if value is not None and idle and self.learn(value, now_ms):
                self._news = True

        self._context.ask_store(ask, answered)
