"""Where the conformance tests meet each backend: change the register, claim the lease, do harm.

The machines are those of the product. For etcd and ZooKeeper they talk to real servers; the
embedded register is made of three acceptors with their promises, in this process.
"""

from __future__ import annotations

import asyncio
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from cache_server.coordination.clock import now_ms
from cache_server.coordination.contract import StoreDesk
from cache_server.coordination.store_address import parse
from cache_server.coordination.stores import open_desk
from replication.failover import quorum
from replication.failover.actions import AskStore, Reply
from replication.failover.cluster_view import AcceptorState, Address, LeaseState, RegisterValue
from replication.failover.coordinator import LostRace, Result, Won
from replication.failover.events import LeaseAsked, LeaseEvent, LeaseGivenUp, StoreAnswered
from replication.failover.lease import LeaderLease, SentinelLease
from replication.failover.messages import LeaseEpoch, LeaseRead, LeaseRenew
from replication.failover.stored_lease import StoredLease
from replication.failover.stored_register import StoredRegister
from tests.integration.stores import Server, Store

TICK_S = 0.02
POLL_MS = 100
HERE = Address("10.0.0.1", 6379)


class Claimant:
    """A data node that writes while it holds the lease."""

    def __init__(self, lease: LeaderLease, act: Callable[[Claimant, Any], None]) -> None:
        self.lease = lease
        self._act = act
        self.reply: Any = None

    @property
    def writable(self) -> bool:
        return self.lease.state.under_lease and self.lease.writable(now_ms())

    def hear(self, event: LeaseEvent) -> Any:
        """One event and what follows; the reply to it, if it is a command."""
        self.reply = None
        self.lease.receive(event, now_ms())
        self.settle()
        return self.reply

    def settle(self) -> None:
        for action in self.lease.take_actions():
            if isinstance(action, Reply):
                self.reply = action.value
            else:
                self._act(self, action)

    def give_up(self) -> None:
        """Hand over to somebody."""
        self.hear(LeaseGivenUp(HERE))


class Bench(ABC):
    """One master name at one backend."""

    #: Whether this backend has a leader of its own that can be lost.
    servers = 3

    def __init__(self, name: str, ttl_ms: int) -> None:
        self.name, self.ttl_ms = name, ttl_ms
        self.claimants: dict[str, Claimant] = {}
        self._ticking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Bench:
        self._ticking = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
            with suppress(asyncio.CancelledError):
                await self._ticking
        await self.close()

    async def _run(self) -> None:
        while True:
            self.tick()
            assert sum(one.writable for one in self.claimants.values()) <= 1
            await asyncio.sleep(TICK_S)

    @property
    def writers(self) -> list[str]:
        return [name for name, one in self.claimants.items() if one.writable]

    async def until(self, condition: Callable[[], bool], what: str, bound_s: float = 120.0) -> None:
        """Polls; what goes wrong in the ticking ends it too."""
        assert self._ticking is not None
        until_ms = now_ms() + bound_s * 1000
        while not condition():
            assert now_ms() < until_ms, f"not within {bound_s} s: {what}"
            if self._ticking.done():
                self._ticking.result()
            await asyncio.sleep(TICK_S)

    async def close(self) -> None:  # noqa: B027
        """Hang up."""

    def tick(self) -> None:  # noqa: B027
        """Whatever is due."""

    @abstractmethod
    def claim(self, node_id: str) -> Claimant:
        """A node that leads as soon as the register names it."""

    @abstractmethod
    async def change(
        self, expected: RegisterValue | None, value: RegisterValue, patience_s: float = 120.0
    ) -> Result:
        """One compare-and-set."""

    @abstractmethod
    def suspend(self) -> None:
        """The whole backend stops without a word."""

    @abstractmethod
    def resume(self) -> None: ...

    @abstractmethod
    def restart(self) -> None:
        """The whole backend dies and comes back with what was on its disks."""

    @abstractmethod
    def lose_leader(self, number: int) -> None:
        """Its leader gets this signal (SIGKILL or SIGSTOP)."""

    @abstractmethod
    def find_leader(self) -> None:
        """The lost one comes back."""


class External(Bench):
    """etcd or ZooKeeper."""

    def __init__(self, name: str, ttl_ms: int, store: Store) -> None:
        super().__init__(name, ttl_ms)
        self.store = store
        self.desk: StoreDesk | None = None
        self.lost: Server | None = None

    def _ask(self, ask: Any, done: Callable[[Any], None]) -> None:
        if self.desk is None:
            address = parse(self.store.address(self.ttl_ms))
            assert address is not None
            self.desk = open_desk(address)
        self.desk.ask(ask, done)

    async def close(self) -> None:
        if self.desk is not None:
            await self.desk.close()

    def tick(self) -> None:
        for one in self.claimants.values():
            assert isinstance(one.lease, StoredLease)
            one.lease.tick(now_ms())
            one.settle()

    def claim(self, node_id: str) -> Claimant:
        def act(one: Claimant, action: Any) -> None:
            if isinstance(action, AskStore):
                self._ask(action.ask, lambda out: one.hear(StoreAnswered(action.tag, out)))

        lease = StoredLease(LeaseState(node_id), "life-1", True, self.ttl_ms)
        one = self.claimants[node_id] = Claimant(lease, act)
        one.hear(LeaseAsked(1, LeaseRead(self.name).encode()[1:]))
        return one

    async def change(
        self, expected: RegisterValue | None, value: RegisterValue, patience_s: float = 120.0
    ) -> Result:
        register = StoredRegister(self.name)
        register.change(expected, value, patience_s * 1000, now_ms())
        result: list[Result] = []

        def carry() -> None:
            ask = register.take_ask()
            if ask is not None:

                def answered(outcome: Any) -> None:
                    register.receive(ask, outcome, now_ms())
                    carry()

                self._ask(ask, answered)
            found = register.take_result()
            if found is not None:
                result.append(found)

        carry()
        while not result:
            await asyncio.sleep(TICK_S)
            register.tick(now_ms(), 1e18)
            carry()
        return result[0]

    def suspend(self) -> None:
        self.store.suspend()

    def resume(self) -> None:
        self.store.resume()

    def restart(self) -> None:
        self.store.restart()

    def lose_leader(self, number: int) -> None:
        self.store.wait()
        self.lost = self.store.leader()
        assert self.lost is not None
        if number == signal.SIGKILL:
            self.lost.kill()
        else:
            self.lost.send(number)

    def find_leader(self) -> None:
        assert self.lost is not None
        assert self.lost.process is not None
        if self.lost.process.poll() is None:
            self.lost.send(signal.SIGCONT)
        else:
            self.lost.start()
        self.store.wait()


class Acceptor:
    """A sentinel's part in the embedded register: what it accepted, and its promise."""

    def __init__(self, name: str, ttl_ms: int) -> None:
        self.name, self.ttl_ms = name, ttl_ms
        self.state = AcceptorState()
        self.register: RegisterValue | None = None
        self.away = False
        self.restart()

    def restart(self) -> None:
        """What is durable stays; promises are forgotten, so it keeps quiet for a ttl."""
        self.lease = SentinelLease(now_ms(), self.ttl_ms)

    def answer(self, ask: quorum.Ask) -> quorum.Answer:
        if ask.value is None:
            self.state, answer = quorum.prepare(self.state, ask.ballot)
        else:
            blocked = self.lease.blocked_ms(ask.value.epoch, ask.value.leader_id, now_ms())
            self.state, answer = quorum.accept(self.state, ask.ballot, ask.value, blocked)
        return answer


class Embedded(Bench):
    """Three acceptors; a leader of theirs is any one of them."""

    def __init__(self, name: str, ttl_ms: int) -> None:
        super().__init__(name, ttl_ms)
        self.acceptors = [Acceptor(f"s{index}", ttl_ms) for index in range(3)]
        self._changing = 0
        self._polled_ms = 0.0
        self._proposers = 0

    def tick(self) -> None:
        if now_ms() - self._polled_ms < POLL_MS:
            return
        self._polled_ms = now_ms()
        for one in self.acceptors:
            if one.register is not None and not one.away:
                self._poll(one, one.register)

    def _poll(self, one: Acceptor, value: RegisterValue) -> None:
        leader = self.claimants.get(value.leader_id)
        if leader is None:
            return
        place = (value.epoch, value.leader_id, value.address)
        renew = LeaseRenew(self.name, one.name, 3, *place, "", life=value.life)
        reply = leader.hear(LeaseAsked(1, renew.encode()[1:]))
        if not isinstance(reply, tuple):
            return
        ttl_ms, token, accepted = reply[2], reply[3].decode(), one.state.value
        moved = self._changing or (accepted is not None and accepted.epoch != value.epoch)
        if token == "released":
            one.lease.release(value.epoch, value.leader_id)
        elif (
            ttl_ms and not moved and one.lease.grant(value.epoch, value.leader_id, ttl_ms, now_ms())
        ):
            leader.hear(LeaseAsked(1, replace(renew, token=token).encode()[1:]))

    def claim(self, node_id: str) -> Claimant:
        lease = LeaderLease(LeaseState(node_id), "life-1", True, self.ttl_ms)
        one = self.claimants[node_id] = Claimant(lease, lambda _one, _action: None)
        self._tell(one)
        return one

    def _tell(self, one: Claimant) -> None:
        known = [a.register for a in self.acceptors if a.register is not None]
        for value in known[:1]:
            said = (value.epoch, value.leader_id, value.address, 0, (), value.life)
            one.hear(LeaseAsked(1, LeaseEpoch(self.name, *said).encode()[1:]))

    async def change(
        self, expected: RegisterValue | None, value: RegisterValue, patience_s: float = 120.0
    ) -> Result:
        self._proposers += 1
        proposer = quorum.Proposer(f"p{self._proposers}")
        for acceptor in self.acceptors:
            proposer.note_ballot(acceptor.state.promised)
        proposer.change(expected, value, 3, patience_s * 1000, now_ms())
        self._changing += 1
        try:
            while (result := proposer.take_result()) is None:
                for ask in proposer.take_asks():
                    for acceptor in self.acceptors:
                        if not acceptor.away and ask.to in (None, acceptor.name):
                            answer = acceptor.answer(ask)
                            proposer.receive(acceptor.name, ask.ballot, answer, now_ms())
                    await asyncio.sleep(0)
                proposer.tick(now_ms())
                await asyncio.sleep(TICK_S)
        finally:
            self._changing -= 1
        chosen = result.value if isinstance(result, Won) else None
        chosen = result.current if isinstance(result, LostRace) else chosen
        if chosen is not None:
            for acceptor in self.acceptors:
                acceptor.register = chosen
            for one in self.claimants.values():
                self._tell(one)
        return result

    def suspend(self) -> None:
        for one in self.acceptors:
            one.away = True

    def resume(self) -> None:
        for one in self.acceptors:
            one.away = False

    def restart(self) -> None:
        for one in self.acceptors:
            one.restart()

    def lose_leader(self, _number: int) -> None:
        self.acceptors[0].away = True

    def find_leader(self) -> None:
        self.acceptors[0].restart()
        self.acceptors[0].away = False
