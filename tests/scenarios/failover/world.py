"""A small calm cluster for stories: the simulator's parts, with every fault a verb.

cluster nodes=3 sentinels=3 down_after=1000 ttl=1000     begin
run ms=2000             let time pass; prints what was told meanwhile
kill NAME | start NAME | stop NAME | go NAME             SIGKILL, start, SIGSTOP, SIGCONT
cut FROM TO             nothing passes from FROM to TO; `heal` mends all
failover SENTINEL       SENTINEL FAILOVER, typed by a person
roles                   each data node: whom it follows, its epoch, whether it would take a write
views                   each sentinel: epoch, leader, flags, register
"""

from __future__ import annotations

from tests.scenarios.failover.runner import Command
from tests.sim.cluster import NAME, Cluster
from tests.sim.options import Options
from tests.sim.world import Process


def calm(nodes: int, sentinels: int, down_after_ms: int, lease_ttl_ms: int) -> Options:
    """Options without any fault."""
    return Options(
        sentinels=sentinels,
        data_nodes=nodes,
        quorum=sentinels // 2 + 1,
        down_after_ms=down_after_ms,
        lease_ttl_ms=lease_ttl_ms,
    )


class FailoverWorld:
    """What a failover scenario plays in."""

    def __init__(self) -> None:
        self._cluster: Cluster | None = None
        self._told = 0

    def execute(self, command: Command) -> list[str]:
        """Do what the command says; return what came of it."""
        if command.verb == "cluster":
            return self._begin(command)
        getattr(self, f"_do_{command.verb}")(command)
        if command.verb == "roles":
            return self._roles()
        if command.verb == "views":
            return self._views()
        return self._news()

    @property
    def _running(self) -> Cluster:
        assert self._cluster is not None, "a scenario begins with `cluster`"
        return self._cluster

    def _begin(self, command: Command) -> list[str]:
        options = calm(
            command.number("nodes", 3),
            command.number("sentinels", 3),
            command.number("down_after", 1_000),
            command.number("ttl", 1_000),
        )
        self._cluster = Cluster(1, options=options)
        self._cluster.begin()
        self._cluster.world.run_until(6_000)
        self._told = len(self._cluster.world.history)
        return self._roles()

    def _process(self, command: Command) -> Process:
        return self._running.world.processes[command.words[0]]

    def _do_run(self, command: Command) -> None:
        world = self._running.world
        world.run_until(world.now_ms + command.number("ms"))

    def _do_kill(self, command: Command) -> None:
        self._process(command).crash()

    def _do_start(self, command: Command) -> None:
        self._process(command).start()

    def _do_stop(self, command: Command) -> None:
        self._process(command).pause()

    def _do_go(self, command: Command) -> None:
        self._process(command).resume()

    def _do_cut(self, command: Command) -> None:
        self._running.world.cut.add((command.words[0], command.words[1]))

    def _do_heal(self, command: Command) -> None:
        self._running.world.heal()

    def _do_failover(self, command: Command) -> None:
        sentinel = next(s for s in self._running.sentinels if s.name == command.words[0])
        sentinel.fail_over(NAME)

    def _do_roles(self, command: Command) -> None:
        assert not command.words

    def _do_views(self, command: Command) -> None:
        assert not command.words

    def _news(self) -> list[str]:
        history = self._running.world.history
        news, self._told = history[self._told :], len(history)
        return [line.strip() for line in news] or ["(nothing)"]

    def _roles(self) -> list[str]:
        lines = []
        for node in self._running.nodes:
            if not node.alive:
                lines.append(f"{node.name} is dead")
                continue
            role = "leads" if node.follows is None else f"follows {node.follows}"
            takes = "takes writes" if node.can_acknowledge() else "refuses writes"
            lines.append(f"{node.name} {role}, epoch {node.lease.state.epoch}, {takes}")
        return lines

    def _views(self) -> list[str]:
        lines = []
        for sentinel in self._running.sentinels:
            if not sentinel.alive:
                lines.append(f"{sentinel.name} is dead")
                continue
            master = sentinel.machine.view(sentinel.clock()).masters[0]
            value = master.register
            register = f"{value.epoch} {value.leader_id}" if value else "empty"
            lines.append(
                f"{sentinel.name} epoch {master.config_epoch}, leader {master.advertised}, "
                f"flags {','.join(master.node.flags)}, register {register}"
            )
        return lines
