"""What all monitored masters of one sentinel share: its identity, its epoch, its links, its
outgoing actions.

Durability is kept here: whoever changes what must survive a restart calls `changed()`, and the next
action that others could observe (a reply, a command) is preceded by a Persist of the whole state.
What could be learned again after a restart, and binds nobody, is noted by `changed_later()`: it is
written a little later, when no change of leader waits for this sentinel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from replication.failover import constants
from replication.failover.actions import (
    AskStore,
    LeaderMoved,
    LinkKind,
    Persist,
    Publish,
    Reply,
    SendCommand,
    SentinelAction,
)
from replication.failover.cluster_view import Address, SentinelState, Timings
from replication.failover.detector import ClockDoubt
from replication.failover.node import LinkTable, Wires
from replication.failover.stores import Ask, Outcome

_OBSERVABLE = (Reply, SendCommand, LeaderMoved, AskStore)
#: What an external store answered, and when.
StoreHandler: TypeAlias = Callable[[Outcome, float], None]


class Chance(Protocol):
    """The one thing needed of a seeded random.Random."""

    def random(self) -> float:
        """A number from 0 to 1."""


class Context:
    """Shared by the machine and its watches."""

    def __init__(
        self,
        sentinel_id: str,
        announce: Address,
        timings: Timings,
        chance: Chance,
        coordinator: str = "",
    ) -> None:
        #: What the external store is called; "" where the sentinels hold register and lease.
        self.coordinator = coordinator
        self.sentinel_id = sentinel_id
        self.current_epoch = 0
        self.announce = announce
        self.timings = timings
        self.doubt = ClockDoubt()
        self.links = LinkTable(self.emit)
        self.peers: dict[str, Wires] = {}
        self.snapshot: Callable[[], SentinelState] = lambda: SentinelState(sentinel_id)
        self._chance = chance
        self._actions: list[SentinelAction] = []
        self._dirty = False
        self._outdated_ms: float | None = None
        self._ips: dict[str, str] = {}
        self._asks = 0
        self._asked: dict[int, StoreHandler] = {}

    def emit(self, action: SentinelAction) -> None:
        """Queue an action, after the state it may rest on."""
        if self._dirty and isinstance(action, _OBSERVABLE):
            self._flush()
        self._actions.append(action)

    def ask_store(self, ask: Ask, handler: StoreHandler) -> None:
        """Queue a question to the external store; `handler` gets its outcome."""
        self._asks += 1
        self._asked[self._asks] = handler
        self.emit(AskStore(self._asks, ask))

    def store_answered(self, tag: int, outcome: Outcome, now_ms: float) -> None:
        """Give an outcome to who asked."""
        handler = self._asked.pop(tag, None)
        if handler is not None:
            handler(outcome, now_ms)

    def publish(self, channel: str, payload: str, warning: bool = True) -> None:
        """Queue a Sentinel event."""
        self._actions.append(Publish(channel, payload, warning))

    def changed(self) -> None:
        """Something that must survive a restart is different now."""
        self._dirty = True

    def changed_later(self, now_ms: float) -> None:
        """Something is different that would be learned again: it is kept before long."""
        if self._outdated_ms is None:
            self._outdated_ms = now_ms + constants.PERSIST_LATER_MS

    def tick(self, now_ms: float) -> None:
        """What was to be kept later is kept when it is time."""
        if self._outdated_ms is not None and now_ms >= self._outdated_ms:
            self.changed()

    def take_actions(self) -> list[SentinelAction]:
        """All that is queued, state first where it changed."""
        if self._dirty:
            self._flush()
        taken, self._actions = self._actions, []
        return taken

    def _flush(self) -> None:
        self._dirty, self._outdated_ms = False, None
        self._actions.append(Persist(self.snapshot()))

    def by_chance(self, below_ms: float) -> float:
        """A time from 0 to `below_ms`."""
        return self._chance.random() * below_ms

    def raise_epoch(self, epoch: int, heard_ms: float | None = None) -> bool:
        """Follow a higher epoch; True (and +new-epoch) if it is one. One that was only heard of,
        at `heard_ms`, would be heard of again.
        """
        if epoch <= self.current_epoch:
            return False
        self.current_epoch = epoch
        if heard_ms is None:
            self.changed()
        else:
            self.changed_later(heard_ms)
        self.publish("+new-epoch", str(epoch))
        return True

    def resolved(self, host: str, ip: str) -> None:
        """What a name resolves to now."""
        self._ips[host] = ip

    def same(self, one: Address, other: Address) -> bool:
        """Whether both are one place, by name or by IP."""
        if one == other:
            return True
        ips = self._ips
        return one.port == other.port and ips.get(one.host, one.host) == ips.get(
            other.host, other.host
        )

    def peer_wires(self, sentinel_id: str, address: Address, now_ms: float) -> Wires:
        """The one link to another sentinel, shared by all masters that it watches with us."""
        wires = self.peers.get(sentinel_id)
        if wires is None:
            wires = self.peers[sentinel_id] = Wires(address, LinkKind.SENTINEL, now_ms)
            wires.shared_by = 0
        if wires.address != address:
            wires.address = address
            self.links.close(wires.link)
        wires.shared_by += 1
        return wires

    def drop_peer(self, sentinel_id: str) -> None:
        """One master fewer shares the link."""
        wires = self.peers.get(sentinel_id)
        if wires is None:
            return
        wires.shared_by -= 1
        if wires.shared_by == 0:
            self.links.close(wires.link)
            del self.peers[sentinel_id]
