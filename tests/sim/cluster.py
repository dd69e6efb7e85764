"""One run: build the cluster from the seed, let it settle, hurt it, stop hurting it, see it
converge.
"""

from __future__ import annotations

import gc
import hashlib
import logging
import random
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from replication.failover.cluster_view import Address, MasterConfig, MasterState, SentinelState
from tests.sim.checkers import Checkers, ViolationError, linearizable, unsettled
from tests.sim.client import Client
from tests.sim.data_node import DataNode
from tests.sim.faults import Faults
from tests.sim.options import Options, draw
from tests.sim.sentinel_node import SentinelNode
from tests.sim.world import Process, World

NAME = "main"
SETTLE_MS = 15_000
CONVERGE_MS = 60_000
LOOK_MS = 20.0


@dataclass(frozen=True)
class Outcome:
    """How a run ended: `violation` is "" where every rule held."""

    seed: int
    options: Options
    violation: str
    kind: str
    history: tuple[str, ...]
    nodes: tuple[str, ...]
    """How each data node was at the end, in words."""
    writes: int
    leaders: int
    rewinds: int

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
        self.name = NAME
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
        self.clients = [Client(self, f"client{i}") for i in range(options.clients)]
        self.check = Checkers(options, self.nodes)
        self.faults = Faults(self)
        self.writing = True
        self._entry = 0
        self._wire(addresses)

    def _rate(self) -> float:
        spread = self.options.clock_rate_spread
        return 1.0 + spread * (2.0 * self.world.random() - 1.0)

    def _wire(self, addresses: list[Address]) -> None:
        options = self.options
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
            node.config_follows = None if node is self.nodes[0] else addresses[0]
            node.check = self.check
        for sentinel in self.sentinels:
            sentinel.reach = by_address
            masters = (MasterState(config, config.address),)
            sentinel.disk = SentinelState(sentinel.name, 0, masters)
            sentinel.check = self.check
            sentinel.made_durable = self.faults.made_durable

    def everybody(self) -> list[Process]:
        """Data nodes first."""
        return [*self.nodes, *self.sentinels]

    def next_entry(self) -> int:
        """What the next write writes: never written before."""
        self._entry += 1
        return self._entry

    def begin(self) -> None:
        """All processes start, and clients begin to ask."""
        for process in self.everybody():
            process.start()
        for client in self.clients:
            client.ask()
        self._look()

    def _look(self) -> None:
        self.world.after(LOOK_MS, self._look)
        self.check.look()

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
            tuple(node.described() for node in self.nodes),
            self.check.writes,
            len(self.check.leaders.leaders),
            self.check.rewinds,
        )

    def _run(self) -> None:
        world, options, faults = self.world, self.options, self.faults
        self.begin()
        self._until(self._is_complete, SETTLE_MS, "not settled")
        world.tell("settled; faults begin")
        faults.begin()
        end_ms = world.now_ms + options.faults_for_ms
        while world.now_ms < end_ms:
            world.run_until(world.now_ms + options.fault_period_ms)
            faults.step()
        world.tell("faults end")
        faults.end()
        world.run_until(world.now_ms + 1_000)
        self.writing = False
        self._until(lambda: not unsettled(self.nodes, self.sentinels), CONVERGE_MS, "not converged")
        world.tell("converged")
        self._check_end()

    def _is_complete(self) -> bool:
        """Whether the first leader is under the lease and every sentinel knows every node: one that
        no sentinel has heard of may be left behind at the first failover, as in Redis."""
        nodes = len(self.nodes)
        return self.nodes[0].lease.state.under_lease and all(
            len(one.machine.view(one.clock()).masters[0].replicas) == nodes - 1
            for one in self.sentinels
        )

    def _check_end(self) -> None:
        options, survival = self.options, self.check.survival
        if not options.in_sync:
            return
        survival.check(next(node for node in self.nodes if node.follows is None))
        if options.linearizable and not survival.all_copies_gone:
            linearizable([one for client in self.clients for one in client.seen()])

    def _until(self, condition: Callable[[], bool], within_ms: float, what: str) -> None:
        world = self.world
        end_ms = world.now_ms + within_ms
        while not condition():
            if world.now_ms >= end_ms:
                why = unsettled(self.nodes, self.sentinels)
                raise ViolationError("convergence", f"{what}: {why}")
            world.run_until(world.now_ms + 250)


@contextmanager
def _quietly() -> Iterator[None]:
    """The log of the parts that run here is not wanted, and collecting garbage pays only between
    runs.
    """
    log = logging.getLogger("cache_server")
    before, collects = log.disabled, gc.isenabled()
    log.disabled = True
    gc.disable()
    try:
        yield
    finally:
        log.disabled = before
        if collects:
            gc.enable()


def run(seed: int, without: tuple[str, ...] = ()) -> Outcome:
    """One run from one seed."""
    with _quietly():
        return Cluster(seed, without).run()
