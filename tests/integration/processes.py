"""Real processes for tests: servers and sentinels, ours or Redis's, each in a folder of its own.

Every wait is for a condition and has a bound; every process is ended with its test.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis

Value = TypeVar("Value")

OURS = [sys.executable, "-m", "cache_server.cli.serve"]
OUR_SENTINEL = [sys.executable, "-m", "cache_server.cli.sentinel"]
REDIS = ["redis-server"]
REDIS_SENTINEL = ["redis-sentinel"]


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skips a test whose peers are not installed, and says so; with CI set it fails instead."""
    missing = [program for program in programs if shutil.which(program) is None]
    return pytest.mark.skipif(
        bool(missing) and not os.environ.get("CI"), reason=f"not installed: {', '.join(missing)}"
    )


needs_redis = needs("redis-server")
needs_redis_sentinel = needs("redis-sentinel")


def free_port() -> int:
    """A port that nobody holds now."""
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], Value], what: str, timeout_s: float = 30.0) -> Value:
    """Polls until the condition returns something true; errors of the client count as not yet."""
    until = time.monotonic() + timeout_s
    last: object = None
    while time.monotonic() < until:
        try:
            if found := condition():
                return found
            last = found
        except (redis.RedisError, OSError) as error:
            last = repr(error)  # the error itself would keep this frame, and in it a client, alive
        time.sleep(0.02)
    raise AssertionError(f"not within {timeout_s} s: {what} (last: {last!r})")


class Process:
    """One process with a configuration file; `lines` are its settings after port and dir."""

    def __init__(self, command: list[str], folder: Path, lines: list[str], port: int = 0) -> None:
        self.command = command
        self.folder = folder
        self.port = port or free_port()
        self.conf = folder / "node.conf"
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True)
        text = [f"port {self.port}", f"dir {folder}", *lines]
        self.conf.write_text("\n".join(text) + "\n", encoding="utf-8")

    def spawn(self) -> None:
        """Starts it."""
        with open(self.folder / "output.log", "ab") as log:
            self.process = subprocess.Popen(
                [*self.command, str(self.conf)], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def start(self) -> None:
        """Starts it and waits until it answers."""
        self.spawn()
        wait_for(self.answers, f"{self.command[-1]} on port {self.port} to answer: {self.log()}")

    def answers(self) -> bool:
        """Whether it answers PING, be it with an error."""
        assert self.process is not None
        assert self.process.poll() is None, self.log()
        with contextlib.closing(self.client()) as client:
            try:
                return bool(client.ping())
            except redis.ResponseError:
                return True

    def client(self, **options: Any) -> Any:
        """A new client of it."""
        settings = {"socket_timeout": 5, "decode_responses": True, "protocol": 2, **options}
        return redis.Redis(host="127.0.0.1", port=self.port, **settings)

    def send(self, number: int) -> None:
        """A signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and waits for the end."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait(10)

    def log(self) -> str:
        """What it has said, the end of it."""
        path = self.folder / "output.log"
        return path.read_text(errors="replace")[-4000:] if path.exists() else ""

    def log_count(self, words: str) -> int:
        """How often it has said something."""
        path = self.folder / "output.log"
        return path.read_text(errors="replace").count(words) if path.exists() else 0

    def info(self, section: str = "replication") -> dict[str, Any]:
        """INFO as a dict."""
        with contextlib.closing(self.client()) as client:
            found: dict[str, Any] = client.info(section)
            return found


class Cluster:
    """One leader, followers and sentinels."""

    def __init__(
        self,
        folder: Path,
        server: list[str],
        sentinel: list[str],
        *,
        followers: int = 2,
        sentinels: int = 3,
        down_after_ms: int = 1000,
        extra: tuple[str, ...] = (),
        sentinel_extra: tuple[str, ...] = (),
    ) -> None:
        self.name = "mymaster"
        self.nodes: list[Process] = []
        self.sentinels: list[Process] = []
        for index in range(followers + 1):
            lines = ["repl-diskless-sync-delay 0", *extra]
            if index:
                lines.append(f"replicaof 127.0.0.1 {self.nodes[0].port}")
            self.nodes.append(Process(server, folder / f"node-{index}", lines))
        for index in range(sentinels):
            lines = [
                f"sentinel monitor {self.name} 127.0.0.1 {self.nodes[0].port} {sentinels // 2 + 1}",
                f"sentinel down-after-milliseconds {self.name} {down_after_ms}",
                f"sentinel failover-timeout {self.name} 10000",
                *sentinel_extra,
            ]
            self.sentinels.append(Process(sentinel, folder / f"sentinel-{index}", lines))

    def __enter__(self) -> Cluster:
        try:
            for one in self.nodes + self.sentinels:
                one.start()
            self.wait_until_whole()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for one in self.sentinels + self.nodes:
            one.kill()

    def master(self, sentinel: Process) -> dict[str, str]:
        """SENTINEL MASTER as a dict of text."""
        reply = ask(sentinel, "MASTER", self.name)
        return dict(zip(reply[::2], reply[1::2]))

    def wait_until_whole(self) -> None:
        """Every sentinel knows all followers and all sentinels."""
        for one in self.sentinels:
            wait_for(
                lambda one=one: (
                    self.master(one)["num-slaves"] == str(len(self.nodes) - 1)
                    and self.master(one)["num-other-sentinels"] == str(len(self.sentinels) - 1)
                    and self.master(one)["flags"] == "master"
                ),
                f"sentinel {one.port} to know everybody",
            )

    def leader_port(self, sentinel: Process | None = None) -> int:
        """Whom a sentinel names leader."""
        reply = ask(sentinel or self.sentinels[0], "GET-MASTER-ADDR-BY-NAME", self.name)
        return int(reply[1])

    def by_port(self, port: int) -> Process:
        """The data node on that port."""
        return next(node for node in self.nodes if node.port == port)

    def wait_for_new_leader(self, old: int, timeout_s: float = 30.0) -> Process:
        """All sentinels name another leader, and it leads."""
        for one in self.sentinels:
            wait_for(
                lambda one=one: self.leader_port(one) != old,
                f"sentinel {one.port} to name another leader than {old}: {one.log()}",
                timeout_s,
            )
        new = self.by_port(self.leader_port())
        wait_for(lambda: new.info()["role"] == "master", f"{new.port} to lead", timeout_s)
        return new

    def wait_for_followers(self, leader: Process, timeout_s: float = 30.0) -> None:
        """Every living node but the leader follows it, link up."""
        for node in self.nodes:
            running = node.process is not None and node.process.poll() is None
            if node is leader or not running:
                continue
            wait_for(
                lambda node=node: (
                    node.info().get("master_port") == leader.port
                    and node.info()["master_link_status"] == "up"
                ),
                f"{node.port} to follow {leader.port}",
                timeout_s,
            )


def ask(sentinel: Process, *words: str) -> Any:
    """One SENTINEL command, its reply as it came."""
    client = sentinel.client()
    connection = client.connection_pool.get_connection()
    try:
        connection.send_command("SENTINEL", *words)
        return connection.read_response()
    finally:
        client.close()


os.environ.setdefault("PYTHONPATH", os.getcwd())
