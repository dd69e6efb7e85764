"""Clients that read and write registers, and write down what they saw.

A client asks one node at a time, mostly the one that answered last; a node that refuses is left for
another. A request or a reply that meets a cut is lost, and what came of it is unknown, as after a
connection that was closed without a reply.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.linearizability import Operation
from tests.sim.disk import REGISTERS

if TYPE_CHECKING:
    from tests.sim.cluster import Cluster
    from tests.sim.data_node import DataNode

TIMEOUT_MS = 600.0


class Client:
    """One of them: it waits for its answer before it asks again."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self._cluster = cluster
        self._world = cluster.world
        self._options = cluster.options
        self.name = name
        self.history: list[Operation] = []
        self._node = cluster.nodes[0]
        self._asked = 0
        #: The operation under way, None while the client thinks.
        self._operation: Operation | None = None

    def ask(self) -> None:
        """The next operation."""
        cluster, world = self._cluster, self._world
        if not cluster.writing:
            return
        if world.random() < 0.15:
            self._node = world.chance.choice(cluster.nodes)
        reads = self._options.linearizable and world.random() < 0.5
        if reads:
            entry, register = None, int(world.random() * REGISTERS)
        else:
            entry = cluster.next_entry()
            register = entry % REGISTERS
        self._asked += 1
        node, asked = self._node, self._asked
        op = "read" if reads else "write"
        self._operation = Operation(op, register, entry, world.now_ms, None)
        if node.alive and (self.name, node.name) not in world.cut:
            at_ms = world.now_ms + world.delay_ms()
            world.at_process(at_ms, node, self._arrives, node, asked, register, entry)
        world.after(TIMEOUT_MS, self._give_up, asked)

    def _arrives(self, node: DataNode, asked: int, register: int, entry: int | None) -> None:
        world = self._world

        def reply(kind: str, value: int | None) -> None:
            if (node.name, self.name) not in world.cut:
                world.after(world.delay_ms(), self._answered, asked, kind, value)

        node.request(register, entry, reply)

    def _answered(self, asked: int, kind: str, value: int | None) -> None:
        operation = self._operation
        if asked != self._asked or operation is None:
            return
        if kind == "ok":
            if operation.op == "read":
                operation = operation._replace(value=value)
            self.history.append(operation._replace(end=self._world.now_ms))
        elif kind == "closed":
            self.history.append(operation)
        if kind != "ok":
            self._node = self._world.chance.choice(self._cluster.nodes)
        self._think()

    def _give_up(self, asked: int) -> None:
        if asked != self._asked or self._operation is None:
            return
        self.history.append(self._operation)
        self._node = self._world.chance.choice(self._cluster.nodes)
        self._think()

    def _think(self) -> None:
        self._operation = None
        world = self._world
        world.after(self._options.think_ms * (0.5 + world.random()), self.ask)

    def seen(self) -> list[Operation]:
        """All that was seen, the operation under way included."""
        pending = [self._operation] if self._operation is not None else []
        return self.history + pending
