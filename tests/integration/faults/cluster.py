"""Three data nodes and three sentinels of ours, each behind a door of its own (relay.py)."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import hiredis

from tests.integration.faults.clients import ask
from tests.integration.faults.relay import Network
from tests.integration.processes import OUR_SENTINEL, OURS, Process, free_port

NAME = "mymaster"
NODES = ("n0", "n1", "n2")
SENTINELS = ("s0", "s1", "s2")
EVERYBODY = NODES + SENTINELS
IN_SYNC = ("durability in-sync", "min-in-sync 2", "in-sync-timeout 500", "linearizable-reads yes")
#: The bound in the asynchronous mode.
LOSS_MS = 400
LOSS_BYTES = 200_000
ASYNC = ("durability async", f"max-loss-ms {LOSS_MS}", f"max-loss-bytes {LOSS_BYTES}")
WITHIN_S = 120.0
#: A sentinel that was stopped mistrusts what it sees for so long (30 s as a rule).
TILT_MS = 2_000


class NotInTimeError(AssertionError):
    """A condition did not come true within its bound."""


async def until(condition: Callable[[], Awaitable[str]], what: str) -> None:
    """Polls until the condition has nothing to say. Raises NotInTimeError with what it says."""
    limit_s = time.monotonic() + WITHIN_S
    missing = ""
    while time.monotonic() < limit_s:
        try:
            missing = await condition()
        except (OSError, TimeoutError, hiredis.ReplyError) as error:
            missing = repr(error)
        if not missing:
            return
        await asyncio.sleep(0.05)
    raise NotInTimeError(f"not within {WITHIN_S:.0f} s: {what}: {missing}")


class FaultCluster:
    """The processes, and the network between them. `story` is told what is done to them."""

    def __init__(self, folder: Path, in_sync: bool) -> None:
        self.in_sync = in_sync
        self.net = Network()
        self.story: list[str] = []
        self.processes: dict[str, Process] = {}
        self._begun_s = time.monotonic()
        self.doors = {name: free_port() for name in EVERYBODY}
        for place, name in enumerate(NODES):
            self._add(folder, OURS, name, f"127.0.2.{place + 1}", self._node_lines(name))
        for place, name in enumerate(SENTINELS):
            self._add(
                folder, OUR_SENTINEL, name, f"127.0.3.{place + 1}", self._sentinel_lines(name)
            )

    def _add(
        self, folder: Path, command: list[str], name: str, host: str, lines: list[str]
    ) -> None:
        self.net.names[host] = name
        lines = [f"bind-source-addr {host}", "protected-mode no", *lines]
        self.processes[name] = Process(command, folder / name, lines)

    def _node_lines(self, name: str) -> list[str]:
        lines = [
            'save ""',
            "repl-diskless-sync-delay 0",
            "enable-debug-command yes",
            "replica-announce-ip 127.0.0.1",
            f"replica-announce-port {self.doors[name]}",
            *(IN_SYNC if self.in_sync else ASYNC),
        ]
        return lines if name == "n0" else [*lines, f"replicaof 127.0.0.1 {self.doors['n0']}"]

    def _sentinel_lines(self, name: str) -> list[str]:
        return [
            "sentinel announce-ip 127.0.0.1",
            f"sentinel announce-port {self.doors[name]}",
            f"sentinel monitor {NAME} 127.0.0.1 {self.doors['n0']} 2",
            f"sentinel down-after-milliseconds {NAME} 1000",
            f"sentinel failover-timeout {NAME} 10000",
        ]

    # -- life ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Everybody, and waits until all know all."""
        try:
            for name in EVERYBODY:
                await self.revive(name)
            await until(self.missing, "the cluster to be whole")
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Ends everybody."""
        for name in (*SENTINELS, *NODES):
            self.processes[name].kill()
        self.net.close()
        await asyncio.sleep(0)

    def tell(self, text: str) -> None:
        """For the story."""
        self.story.append(f"{time.monotonic() - self._begun_s:9.3f} s  {text}")

    # -- what is done to them ------------------------------------------------------------------

    def kill(self, name: str) -> None:
        """SIGKILL; dials are refused from now on."""
        process = self.processes[name].process
        self.net.shut(name)
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait(10)

    async def revive(self, name: str) -> None:
        """Starts it where it is dead, and waits until it answers."""
        one = self.processes[name]
        if one.process is None or one.process.poll() is not None:
            one.spawn()

        async def silent() -> str:
            answer = await ask(one.port, "PING")
            assert one.process is not None
            assert one.process.poll() is None, one.log()
            return "" if answer is not None else "no answer"

        await until(silent, f"{name} to answer: {one.log()}")
        if name in SENTINELS:
            await self.ask(name, "SENTINEL", "DEBUG", "TILT-PERIOD", str(TILT_MS))
        await self.net.open(name, self.doors[name], one.port)

    def signal(self, name: str, number: int) -> None:
        """SIGSTOP, SIGCONT."""
        one = self.processes[name].process
        if one is not None and one.poll() is None:
            one.send_signal(number)

    async def ask(self, name: str, *words: str) -> Any:
        """One command. Raises OSError, TimeoutError, ReplyError."""
        answer = await ask(self.processes[name].port, *words)
        if isinstance(answer, hiredis.ReplyError):
            raise answer
        return answer

    # -- what they are -------------------------------------------------------------------------

    async def info(self, name: str) -> dict[str, str]:
        """INFO replication."""
        raw = (await self.ask(name, "INFO", "replication")).decode()
        return dict(line.split(":", 1) for line in raw.splitlines() if ":" in line)

    async def leader(self) -> str:
        """Whom the first sentinel names."""
        address = await self.ask("s0", "SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)
        port = int(address[1])
        return next((name for name, door in self.doors.items() if door == port), str(port))

    async def missing(self) -> str:
        """What keeps the cluster from being whole; "" where it is."""
        leader = await self.leader()
        for name in SENTINELS:
            flat = await self.ask(name, "SENTINEL", "MASTER", NAME)
            master = {k.decode(): v.decode() for k, v in zip(flat[::2], flat[1::2], strict=True)}
            wanted = {
                "port": str(self.doors[leader]),
                "flags": "master",
                "num-slaves": str(len(NODES) - 1),
                "num-other-sentinels": str(len(SENTINELS) - 1),
            }
            wrong = {key: master.get(key) for key in wanted if master.get(key) != wanted[key]}
            if wrong:
                return f"{name}, leader {leader}: {wrong}"
        return await self._wrong_node(leader)

    async def _wrong_node(self, leader: str) -> str:
        for name in NODES:
            info = await self.info(name)
            wanted = {"role": "master", "connected_slaves": str(len(NODES) - 1)}
            if name != leader:
                wanted = {
                    "role": "slave",
                    "master_port": str(self.doors[leader]),
                    "master_link_status": "up",
                }
            elif self.in_sync:
                wanted["in_sync_count"] = str(len(NODES))
            wrong = {key: info.get(key) for key in wanted if info.get(key) != wanted[key]}
            if wrong:
                return f"{name}, leader {leader}: {wrong}"
        return ""

    async def differing(self) -> str:
        """ "" where all nodes hold the same data."""
        digests = {name: await self.ask(name, "DEBUG", "DIGEST") for name in NODES}
        return "" if len(set(digests.values())) == 1 else str(digests)
