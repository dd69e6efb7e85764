"""One run: build the cluster from the seed, let it settle, hurt it, stop hurting it, see it
converge.
"""

from __future__ import annotations

import hashlib
import random
import traceback
from dataclasses import dataclass

from replication.failover.cluster_view import Address, MasterConfig, MasterState, SentinelState
from tests.sim.checkers import (
    OneLeaderPerEpoch,
    OneVotePerEpoch,
    OneWriter,
    Survival,
    ViolationError,
    nothing_lost_by_hand,
    unsettled,
)
from tests.sim.data_node import DataNode
from tests.sim.options import Options, draw
from tests.sim.sentinel_node import SentinelNode
from tests.sim.world import Process, World

NAME = "main"
SETTLE_MS = 15_000
CONVERGE_MS = 60_000
WRITE_MS = 25.0


@dataclass(frozen=True)
class Outcome:
    """How a run ended: `violation` is "" where every rule held."""

    seed: int
    options: Options
    violation: str
    kind: str
    history: tuple[str, ...]
    writes: int
    leaders: int

    @property
    def digest(self) -> str:
        """Of the whole history."""
        return hashlib.sha256("\n".join(self.history).encode()).hexdigest()[:16]


class Cluster:
    """Everything of one run."""

    def __init__(
        self, seed: int, without: tuple[str, ...] = (), options: Options | None = None
    ) -> None:
        self.seed = seed
        chance = random.Random(seed)
        self.options = options = options or draw(chance, without)
        self.world = world = World(chance)
        world.delay_ms_mean = options.delay_ms_mean
        addresses = [Address(f"10.0.0.{i + 1}", 6379) for i in range(options.data_nodes)]
        self.nodes = [
            DataNode(world, f"node{i}", address, self._rate(), options)
            for i, address in enumerate(addresses)
        ]
        self.sentinels = [
            SentinelNode(
                world, f"sentinel{i}", Address(f"10.0.1.{i + 1}", 26379), self._rate(), options
            )
            for i in range(options.sentinels)
        ]
        self._wire(addresses)
        self.writes = 0
        self._entry = 0
        self._writing = True
        self._hurting = False

    def _rate(self) -> float:
        spread = self.options.clock_rate_spread
        return 1.0 + spread * (2.0 * self.world.chance.random() - 1.0)

    def _wire(self, addresses: list[Address]) -> None:
        options = self.options
        self.leaders = OneLeaderPerEpoch()
        votes, writer = OneVotePerEpoch(), OneWriter(self.nodes)
        self.survival = Survival(self.nodes)

        def acknowledged(node: DataNode, entry: int) -> None:
            writer.acknowledged(node, entry)
            if options.in_sync:
                self.writes += 1
                self.survival.acknowledged(node, entry)

        by_address: dict[Address, Process] = {one.address: one for one in self.nodes}
        by_address |= {one.address: one for one in self.sentinels}
        config = MasterConfig(
            NAME,
            addresses[0],
            options.quorum,
            members=options.sentinels,
            down_after_ms=options.down_after_ms,
            failover_timeout_ms=options.failover_timeout_ms,
            parallel_syncs=2,
        )
        for node in self.nodes:
            node.nodes = {one.address: one for one in self.nodes}
            node.disk_follows = None if node is self.nodes[0] else addresses[0]
            node.role_told = self.leaders.role_told
            node.acknowledged = acknowledged
            node.took_over = nothing_lost_by_hand
        for sentinel in self.sentinels:
            sentinel.reach = by_address
            masters = (MasterState(config, config.address),)
            sentinel.first_state = SentinelState(sentinel.name, 0, masters)
            sentinel.persisted = self._persisted
            sentinel.voted = votes.voted

    # Faults.

    def _persisted(self, sentinel: SentinelNode, state: SentinelState) -> None:
        """A sentinel made a promise durable: the worst moment to lose power is just after."""
        self.leaders.persisted(sentinel, state)
        self.survival.persisted(state)
        chance = self.world.chance
        if not self._hurting or chance.random() >= self.options.crash_after_persist_odds:
            return
        life, blink_ms = sentinel.life, 20.0 * chance.random()

        def blink() -> None:
            if self._hurting and sentinel.alive and sentinel.life == life:
                sentinel.crash()
                self.world.after(5 * blink_ms, lambda: None if sentinel.alive else sentinel.start())

        self.world.after(blink_ms, blink)

    def everybody(self) -> list[Process]:
        """Data nodes first."""
        return [*self.nodes, *self.sentinels]

    def _hurt(self) -> None:
        """One step of the fault schedule: some odds, some victims."""
        world, options = self.world, self.options
        chance = world.chance
        everybody = self.everybody()
        if chance.random() < options.crash_odds:
            victim = chance.choice(everybody)
            if victim.alive:
                victim.crash()
        for process in everybody:
            if not process.alive and chance.random() < 0.35:
                process.start()
            elif process.paused and chance.random() < 0.4:
                process.resume()
        if chance.random() < options.pause_odds:
            victim = chance.choice(everybody)
            if victim.alive and not victim.paused:
                victim.pause()
        if chance.random() < options.partition_odds:
            self._cut(chance.choice(everybody), 1.0)
        if chance.random() < options.one_way_odds:
            self._cut(chance.choice(everybody), 0.0)
        if world.cut and chance.random() < 0.3:
            world.tell("the network heals")
            world.heal()
        if chance.random() < options.manual_odds:
            self._ask_failover()

    def _cut(self, victim: Process, both_ways: float) -> None:
        """Cut one process off from some of the others."""
        world = self.world
        others = [one for one in self.everybody() if one is not victim]
        apart = [one for one in others if world.chance.random() < 0.7]
        for other in apart:
            world.cut.add((victim.name, other.name))
            if both_ways:
                world.cut.add((other.name, victim.name))
        arrow = "<->" if both_ways else "->"
        world.tell(f"cut {victim.name} {arrow} {' '.join(one.name for one in apart)}")

    def _ask_failover(self) -> None:
        sentinel = self.world.chance.choice(self.sentinels)
        if sentinel.alive and not sentinel.paused:
            self.world.tell(f"a person asks {sentinel.name} to fail over")
            sentinel.fail_over(NAME)

    def begin_writing(self) -> None:
        """Writers try everywhere: whoever acknowledges must be the only one who would."""
        if not self._writing:
            return
        self.world.after(WRITE_MS, self.begin_writing)
        for node in self.nodes:
            if node.alive and not node.paused:
                self._entry += 1
                self.writes += node.write(self._entry)

    # The run.

    def run(self) -> Outcome:
        """All of it. Violations become part of the outcome."""
        violation, kind = "", ""
        try:
            self._run()
        except ViolationError as error:
            violation, kind = str(error), error.kind
            self.world.tell(f"VIOLATION {violation}")
        except AssertionError:
            violation, kind = f"assertion: {traceback.format_exc(limit=-6)}", "assertion"
            self.world.tell(f"VIOLATION {violation}")
        return Outcome(
            self.seed,
            self.options,
            violation,
            kind,
            tuple(self.world.history),
            self.writes,
            len(self.leaders._leaders),
        )

    def _run(self) -> None:
        world, options = self.world, self.options
        for process in self.everybody():
            process.start()
        self.begin_writing()
        first = self.nodes[0]
        self._until(lambda: first.lease.state.under_lease, SETTLE_MS, "no first lease")
        world.tell("settled; faults begin")
        self._hurting = True
        end_ms = world.now_ms + options.faults_for_ms
        while world.now_ms < end_ms:
            world.run_until(world.now_ms + options.fault_period_ms)
            self._hurt()
        world.tell("faults end")
        self._hurting = False
        world.heal()
        for process in self.everybody():
            process.resume()
            if not process.alive:
                process.start()
        world.run_until(world.now_ms + 2_000)
        self._writing = False
        self._until(lambda: not unsettled(self.nodes, self.sentinels), CONVERGE_MS, "not converged")
        world.tell("converged")
        if options.in_sync:
            self.survival.check(next(node for node in self.nodes if node.follows is None))

    def _until(self, condition: object, within_ms: float, what: str) -> None:
        assert callable(condition)
        world = self.world
        end_ms = world.now_ms + within_ms
        while not condition():
            if world.now_ms >= end_ms:
                why = unsettled(self.nodes, self.sentinels)
                raise ViolationError("convergence", f"{what}: {why}")
            world.run_until(world.now_ms + 250)


def run(seed: int, without: tuple[str, ...] = ()) -> Outcome:
    """One run from one seed."""
    return Cluster(seed, without).run()
