"""The faults of one round, chosen by its random numbers.

A fault is a list of steps; each waits, tells what it does, and does it. At most one data node a
round loses its memory (the nodes keep nothing on disk): what all holders of a write forget at once
is gone in any system.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

from tests.integration.faults.cluster import EVERYBODY, NAME, NODES, SENTINELS, FaultCluster
from tests.integration.faults.relay import Direction

#: Around the lease's 600 ms: shorter, about as long, much longer. In seconds.
SHORT_S = (0.05, 0.4)
NEAR_S = (0.5, 0.9)
LONG_S = (1.2, 3.5)


@dataclass(frozen=True, slots=True)
class Step:
    """After `wait_s` more seconds."""

    wait_s: float
    text: str
    do: Callable[[], Awaitable[None]]


class Faults:
    """Of one round; `leader` leads when it begins."""

    def __init__(self, cluster: FaultCluster, leader: str, rng: random.Random) -> None:
        self._cluster = cluster
        self._leader = leader
        self._followers = [name for name in NODES if name != leader]
        self._rng = rng

    def choose(self) -> list[list[Step]]:
        """Faults that run side by side."""
        chosen = [self._one(memory=True)]
        if self._cluster.in_sync and self._rng.random() < 0.35:
            forgets = any("kill n" in step.text for step in chosen[0])
            chosen.append(self._one(memory=not forgets))
        return chosen

    def _one(self, memory: bool) -> list[Step]:
        kinds = [
            (2 * memory, lambda: self._kill([self._leader])),
            (1 * memory, lambda: self._kill([self._rng.choice(self._followers)])),
            (1, lambda: self._kill([self._rng.choice(SENTINELS)])),
            (1, lambda: self._kill(self._rng.sample(SENTINELS, self._rng.randint(2, 3)))),
            (2, lambda: self._stop([self._leader])),
            (1, lambda: self._stop([self._rng.choice(self._followers)])),
            (1, lambda: self._stop([self._rng.choice(SENTINELS)])),
            (1, lambda: self._stop(self._rng.sample(EVERYBODY, self._rng.randint(2, 6)))),
            (2 * memory, self._abandon),
            (6, self._cut),
            (1, self._hand_over),
        ]
        weights = [weight for weight, _ in kinds]
        return self._rng.choices([make for _, make in kinds], weights)[0]()

    def _start_s(self) -> float:
        return self._rng.uniform(0.0, 0.8)

    def _length_s(self) -> float:
        return self._rng.uniform(*self._rng.choice((SHORT_S, NEAR_S, LONG_S, LONG_S)))

    def _kill(self, names: list[str]) -> list[Step]:
        who = " ".join(names)

        async def kill() -> None:
            for name in names:
                self._cluster.kill(name)

        async def revive() -> None:
            for name in names:
                await self._cluster.revive(name)

        return [
            Step(self._start_s(), f"kill {who}", kill),
            Step(self._length_s(), f"start {who}", revive),
        ]

    def _stop(self, names: list[str]) -> list[Step]:
        who = " ".join(names)

        async def stop() -> None:
            for name in names:
                self._cluster.signal(name, signal.SIGSTOP)

        async def go_on() -> None:
            for name in self._rng.sample(names, len(names)):
                self._cluster.signal(name, signal.SIGCONT)

        return [
            Step(self._start_s(), f"stop {who}", stop),
            Step(self._length_s(), f"continue {who}", go_on),
        ]

    def _abandon(self) -> list[Step]:
        """The leader is cut off from its followers, and dies before the cut heals."""
        cut, heal = self._cut_of(set(_both([self._leader], self._followers)))
        kill, revive = self._kill([self._leader])
        dies = Step(self._rng.uniform(0.05, 1.5), kill.text, kill.do)
        return [cut, dies, heal, revive]

    def _cut(self) -> list[Step]:
        return self._cut_of(self._shape())

    def _cut_of(self, directions: set[Direction]) -> list[Step]:
        text = " ".join(f"{one}>{two}" for one, two in sorted(directions))

        async def cut() -> None:
            self._cluster.net.cut(directions)

        async def heal() -> None:
            self._cluster.net.cut(set())

        return [
            Step(self._start_s(), f"cut {text}", cut),
            Step(self._length_s(), "heal", heal),
        ]

    def _shape(self) -> set[Direction]:
        rng, leader = self._rng, self._leader
        one = rng.choice((leader, leader, *EVERYBODY))
        others = [name for name in EVERYBODY if name != one]
        kind = rng.randrange(8)
        if kind == 0:
            return set(_both([one], others))
        if kind == 1:
            return set(_both([leader], SENTINELS))
        if kind == 2:
            return set(_both([leader], self._followers))
        if kind == 3:
            return {(one, other) for other in others}
        if kind == 4:
            return {(other, one) for other in others}
        if kind == 5:
            some = rng.sample(EVERYBODY, rng.randint(2, 3))
            return set(_both(some, [name for name in EVERYBODY if name not in some]))
        if kind == 6:
            some = [leader, rng.choice(self._followers)]
            return set(_both(some, [name for name in EVERYBODY if name not in some]))
        pairs = [(a, b) for a in EVERYBODY for b in EVERYBODY if a != b]
        return set(rng.sample(pairs, rng.randint(1, 8)))

    def _hand_over(self) -> list[Step]:
        sentinel = self._rng.choice(SENTINELS)

        async def ask() -> None:
            await self._cluster.ask(sentinel, "SENTINEL", "FAILOVER", NAME)

        return [Step(self._start_s(), f"hand over, asked of {sentinel}", ask)]


def _both(some: Iterator[str] | list[str], others: object) -> Iterator[Direction]:
    for one in some:
        for other in others:  # type: ignore[attr-defined]
            yield one, other
            yield other, one
