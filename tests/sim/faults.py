"""The fault schedule: every now and then some odds are thrown, and some victims chosen.

crash, restart      SIGKILL, or the power of the machine: what was not synced is gone
stop, go on         SIGSTOP: all that waited happens at once on waking, at a later time
cut                 one process from some others, both ways or one way; two data nodes from each
                    other; all in two parts, between which somebody may change sides
slow disk           what has to be durable first takes up to half a second
wall clock          jumps by up to an hour, either way
damage              bits flip on the way from a leader to its followers
a person            types SENTINEL FAILOVER
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.sim.sentinel_node import SentinelNode
from tests.sim.world import Process

if TYPE_CHECKING:
    from tests.sim.cluster import Cluster

RESTART_ODDS = 0.35
GO_ON_ODDS = 0.4
QUICK_DISK_ODDS = 0.4
SLOW_DISK_MS = 500.0
WALL_JUMP_MS = 3_600_000.0


class Faults:
    """Of one run."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._world = cluster.world
        self._options = cluster.options
        self.active = False
        #: One of the two parts in which everybody is; empty while there is one part.
        self._left: set[str] = set()

    def begin(self) -> None:
        """From now on things go wrong."""
        self.active = True
        for node in self._cluster.nodes:
            node.flip_odds = self._options.damage_odds

    def step(self) -> None:
        """One step of the schedule."""
        options, world = self._options, self._world
        chance = world.chance
        everybody = self._cluster.everybody()
        self._mend(everybody)
        if world.random() < options.crash_odds:
            victim = self._victim()
            if victim.alive:
                victim.crash(power=world.random() < options.power_odds)
        if world.random() < options.pause_odds:
            victim = self._victim()
            if victim.alive and not victim.stopped:
                victim.pause()
        if world.random() < options.partition_odds:
            self._cut_off(self._victim(), both_ways=True)
        if world.random() < options.one_way_odds:
            self._cut_off(self._victim(), both_ways=False)
        if world.random() < options.link_odds:
            self._cut_link()
        if world.random() < options.split_odds:
            self._split(everybody)
        elif self._left and world.random() < options.move_odds:
            self._move(self._victim())
        if world.random() < options.slow_disk_odds:
            self._slow_down(self._victim())
        if world.random() < options.wall_jump_odds:
            node = chance.choice(self._cluster.nodes)
            node.wall_jump_ms += WALL_JUMP_MS * (2.0 * world.random() - 1.0)
            world.tell(f"the wall clock of {node.name} jumps")
        if world.random() < options.manual_odds:
            self._ask_failover()

    def _victim(self) -> Process:
        """Anybody, more often a data node."""
        chance = self._world.chance
        some = self._cluster.nodes if chance.random() < 0.5 else self._cluster.everybody()
        victim: Process = chance.choice(some)
        return victim

    def end(self) -> None:
        """All starts, all paths are whole."""
        self.active = False
        self._world.heal()
        for node in self._cluster.nodes:
            node.flip_odds = 0.0
        for process in self._cluster.everybody():
            process.disk_slow_ms = 0.0
            process.resume()
            if not process.alive:
                process.start()

    def _mend(self, everybody: list[Process]) -> None:
        world = self._world
        for process in everybody:
            if not process.alive and world.random() < RESTART_ODDS:
                process.start()
            elif process.stopped and world.random() < GO_ON_ODDS:
                process.resume()
            elif process.disk_slow_ms and world.random() < QUICK_DISK_ODDS:
                process.disk_slow_ms = 0.0
        if world.cut and world.random() < self._options.heal_odds:
            world.tell("the network heals")
            self._left = set()
            world.heal()

    def _names(self) -> list[str]:
        clients = [one.name for one in self._cluster.clients]
        return [one.name for one in self._cluster.everybody()] + clients

    def _cut_off(self, victim: Process, *, both_ways: bool) -> None:
        """Cut one process off from some of the others, and sometimes from the clients."""
        world = self._world
        others = [name for name in self._names() if name != victim.name]
        apart = [name for name in others if world.random() < 0.7]
        away = not both_ways and world.random() < 0.5
        for other in apart:
            if both_ways or not away:
                world.cut.add((victim.name, other))
            if both_ways or away:
                world.cut.add((other, victim.name))
        arrow = "<->" if both_ways else "<-" if away else "->"
        world.tell(f"cut {victim.name} {arrow} {' '.join(apart)}")

    def _cut_link(self) -> None:
        """Two data nodes do not hear each other, and everybody else hears both."""
        world = self._world
        one, other = world.chance.sample([node.name for node in self._cluster.nodes], 2)
        world.cut |= {(one, other), (other, one)}
        world.tell(f"cut {one} <-> {other}")

    def _split(self, everybody: list[Process]) -> None:
        """Two parts that do not hear each other; often the leader is in the smaller one."""
        world = self._world
        world.heal()
        self._left = {one.name for one in everybody if world.random() < 0.5}
        leading = [one for one in self._cluster.nodes if one.alive and one.can_acknowledge()]
        if leading and world.random() < 0.5:
            self._left = {leading[0].name, world.chance.choice(self._cluster.sentinels).name}
        right = [one.name for one in everybody if one.name not in self._left]
        for one in sorted(self._left):
            for other in right:
                world.cut |= {(one, other), (other, one)}
        world.tell(f"split {' '.join(sorted(self._left))} | {' '.join(right)}")

    def _move(self, process: Process) -> None:
        """Somebody is in the other part from now on."""
        world, name = self._world, process.name
        self._left ^= {name}
        joined = {
            one.name
            for one in self._cluster.everybody()
            if one is not process and (one.name in self._left) == (name in self._left)
        }
        others = {one.name for one in self._cluster.everybody()} - joined - {name}
        world.cut |= {(name, one) for one in others} | {(one, name) for one in others}
        world.tell(f"{name} changes sides, to {' '.join(sorted(joined))}")
        world.heal({(name, one) for one in joined} | {(one, name) for one in joined})

    def _slow_down(self, process: Process) -> None:
        process.disk_slow_ms = SLOW_DISK_MS
        self._world.tell(f"the disk of {process.name} is slow")

    def made_durable(self, sentinel: SentinelNode) -> None:
        """A sentinel made a promise durable: the worst moment to lose power is just after."""
        world = self._world
        if not self.active or world.random() >= self._options.crash_after_persist_odds:
            return
        blink_ms = 20.0 * world.random()

        def start() -> None:
            if not sentinel.alive:
                sentinel.start()

        def blink() -> None:
            if self.active and sentinel.alive and sentinel.token == token:
                sentinel.crash()
                world.after(5 * blink_ms, start)

        token = sentinel.token
        world.after(blink_ms, blink)

    def _ask_failover(self) -> None:
        sentinel = self._world.chance.choice(self._cluster.sentinels)
        if sentinel.alive and not sentinel.paused:
            self._world.tell(f"a person asks {sentinel.name} to fail over")
            sentinel.fail_over(self._cluster.name)
