"""`python -m tests.integration.pause_times [--rounds N] [--way W]`: how long writes stop when a
leader is replaced by hand, by each of four ways, under eight writers.

    leader     FAILOVER at the leader itself
    sentinel   SENTINEL FAILOVER at one of the sentinels, in turn
    cachectl   `cachectl failover`
    shutdown   SIGTERM of the leader, SHUTDOWN every second time; it is started again afterwards

Two pauses a round. The servers': from the last write that the old leader acknowledged to the first
that the new one did, seen by connections that try every node all the time. The clients': the
longest time that any writer, a redis-py client through Sentinel, went without an acknowledged
write, its questions to the sentinels and its new connection included. These clients try again at
once; with redis-py's default back-off, of up to seconds, one would measure that.
"""

from __future__ import annotations

import argparse
import bisect
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from tests.integration.processes import OUR_SENTINEL, OURS, Cluster, Process, ask, wait_for

WAYS = ("leader", "sentinel", "cachectl", "shutdown")
WRITERS = 8
WRITE_EVERY_S = 0.005
PROBE_EVERY_S = 0.002
CACHECTL = [sys.executable, "-m", "cache_server.cli.admin"]


class Writer(threading.Thread):
    """Writes through Sentinel; `acknowledged_s` has the time of each acknowledged write, whose key
    is its number."""

    def __init__(self, cluster: Cluster, number: int) -> None:
        super().__init__(daemon=True)
        places = [("127.0.0.1", one.port) for one in cluster.sentinels]
        options: dict[str, Any] = {"socket_timeout": 2, "protocol": 2}
        options["retry"] = Retry(NoBackoff(), 0)
        self.sentinel = Sentinel(places, sentinel_kwargs=dict(options), **options)  # type: ignore[no-untyped-call]
        self.client = self.sentinel.master_for(cluster.name, **options)
        self.number = number
        self.keys: list[str] = []
        self.acknowledged_s: list[float] = []
        self.stopping = threading.Event()

    def run(self) -> None:
        try:
            self._write()
        finally:
            for client in (self.client, *self.sentinel.sentinels):
                client.connection_pool.disconnect()

    def _write(self) -> None:
        count = 0
        while not self.stopping.is_set():
            key = f"{self.number}:{count}"
            count += 1
            try:
                self.client.set(key, "1")
            except (redis.RedisError, MasterNotFoundError):
                self.stopping.wait(0.002)
                continue
            self.acknowledged_s.append(time.monotonic())
            self.keys.append(key)
            self.stopping.wait(WRITE_EVERY_S)

    def longest_pause_s(self, since_s: float) -> float:
        """Between two acknowledged writes, the second of them after `since_s`."""
        times = self.acknowledged_s[:]
        first = max(1, bisect.bisect(times, since_s))
        return max((times[i] - times[i - 1] for i in range(first, len(times))), default=0.0)


class Probe(threading.Thread):
    """Tries to write to one node all the time; `acknowledged_s` has when it could."""

    def __init__(self, node: Process) -> None:
        super().__init__(daemon=True)
        self.port = node.port
        self.acknowledged_s: list[float] = []
        self.stopping = threading.Event()

    def run(self) -> None:
        while not self.stopping.is_set():
            try:
                with socket.create_connection(("127.0.0.1", self.port), 5) as link:
                    self._write(link)
            except OSError:
                self.stopping.wait(PROBE_EVERY_S)

    def _write(self, link: socket.socket) -> None:
        while not self.stopping.is_set():
            link.sendall(b"SET probe 1\r\n")
            reply = link.recv(4096)
            if not reply:
                return
            if reply.startswith(b"+OK"):
                self.acknowledged_s.append(time.monotonic())
            self.stopping.wait(PROBE_EVERY_S)


@dataclass(slots=True)
class Pauses:
    """What the rounds of one way showed; times in ms."""

    way: str
    servers_ms: list[float] = field(default_factory=list)
    clients_ms: list[float] = field(default_factory=list)
    written: int = 0
    lost: list[str] = field(default_factory=list)
    full_syncs: int = 0

    def lines(self) -> str:
        """For people."""
        head = (
            f"{self.way}: {len(self.servers_ms)} failovers, {self.written} writes, "
            f"{len(self.lost)} lost, {self.full_syncs} full syncs"
        )
        return (
            f"{head}; pause of the servers {spread(self.servers_ms)}, of the clients "
            f"{spread(self.clients_ms)}; load {os.getloadavg()[0]:.1f}"
        )


def spread(times_ms: list[float]) -> str:
    """p50, p99 and the greatest."""
    ordered = sorted(times_ms)
    p50, p99 = (ordered[min(len(ordered) - 1, int(len(ordered) * part))] for part in (0.5, 0.99))
    return f"p50 {p50:.0f} ms, p99 {p99:.0f} ms, max {ordered[-1]:.0f} ms"


class FullSyncs:
    """Counts full synchronizations over all lives of all nodes."""

    def __init__(self, nodes: list[Process]) -> None:
        self._nodes = nodes
        self._seen: dict[tuple[int, str], int] = {}

    def look(self) -> int:
        """Those of the lives seen so far."""
        for node in self._nodes:
            info = node.client().info()
            self._seen[node.port, info["run_id"]] = info["sync_full"]
        return sum(self._seen.values())


def order(cluster: Cluster, way: str, turn: int, leader: Process) -> None:
    """Asks for one change of leader, until that is accepted."""
    sentinel = cluster.sentinels[turn % len(cluster.sentinels)]
    if way == "leader":
        wait_for(lambda: leader.client().execute_command("FAILOVER"), "FAILOVER")
    elif way == "sentinel":
        wait_for(lambda: ask(sentinel, "FAILOVER", cluster.name) == "OK", "SENTINEL FAILOVER")
    elif way == "cachectl":
        line = [*CACHECTL, "failover", "-s", f"127.0.0.1:{sentinel.port}"]
        wait_for(
            lambda: subprocess.run(line, check=False, capture_output=True).returncode == 0,
            "cachectl failover",
        )
    elif turn % 2:
        with leader.client(socket_timeout=30) as client, contextlib.suppress(redis.ConnectionError):
            client.shutdown()
    else:
        leader.send(signal.SIGTERM)


def one_round(
    cluster: Cluster, way: str, turn: int, writers: list[Writer], probes: dict[int, Probe]
) -> tuple[float, float]:
    """One change of leader: the pause of the servers and that of the clients, in seconds."""
    old = cluster.by_port(cluster.leader_port())
    begun_s = time.monotonic()
    order(cluster, way, turn, old)
    new = cluster.wait_for_new_leader(old.port)
    taken = probes[new.port].acknowledged_s
    wait_for(lambda: taken and taken[-1] > begun_s, "a write to the new leader")
    if way == "shutdown":
        assert old.process is not None
        assert old.process.wait(30) == 0
        old.start()
    cluster.wait_for_followers(new, 60)
    cluster.wait_until_whole()
    count = [len(one.keys) for one in writers]
    wait_for(
        lambda: all(len(one.keys) > n + 5 for one, n in zip(writers, count)), "all to write on"
    )
    first_s = taken[bisect.bisect(taken, begun_s)]
    given = probes[old.port].acknowledged_s
    last_s = given[bisect.bisect(given, first_s) - 1]
    return first_s - last_s, max(one.longest_pause_s(begun_s) for one in writers)


def measure(cluster: Cluster, way: str, rounds: int) -> Pauses:
    """So many changes of leader under writers. The cluster must be whole."""
    found = Pauses(way)
    writers = [Writer(cluster, number) for number in range(WRITERS)]
    probes = {node.port: Probe(node) for node in cluster.nodes}
    threads: list[Writer | Probe] = [*writers, *probes.values()]
    syncs = FullSyncs(cluster.nodes)
    before = syncs.look()
    for one in threads:
        one.start()
    try:
        wait_for(lambda: all(len(one.keys) > 5 for one in writers), "writes")
        for turn in range(rounds):
            servers_s, clients_s = one_round(cluster, way, turn, writers, probes)
            found.servers_ms.append(servers_s * 1000)
            found.clients_ms.append(clients_s * 1000)
            found.full_syncs = syncs.look() - before
    finally:
        for one in threads:
            one.stopping.set()
        for one in threads:
            one.join(30)
    client = cluster.by_port(cluster.leader_port()).client()
    for writer in writers:
        found.written += len(writer.keys)
        found.lost += [key for key in writer.keys if not client.exists(key)]
    return found


def cluster_under_lease(folder: Path) -> Cluster:
    """Not started. `save` is left on, so that a node that was ended comes back with its data, and
    the backlog holds what is written until then."""
    return Cluster(folder, OURS, OUR_SENTINEL, extra=("repl-backlog-size 64mb",))


def wait_for_lease(cluster: Cluster) -> None:
    """The leader is under a lease."""
    wait_for(lambda: cluster.nodes[0].info()["lease_managed"] == 1, "the lease")


def main() -> None:
    """Measures each way on a new cluster and prints a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--way", choices=WAYS, action="append")
    parser.add_argument("--each", action="store_true", help="prints the pauses of each round")
    args = parser.parse_args()
    for way in args.way or WAYS:
        with (
            tempfile.TemporaryDirectory() as folder,
            cluster_under_lease(Path(folder) / "cluster") as cluster,
        ):
            wait_for_lease(cluster)
            found = measure(cluster, way, args.rounds)
        if args.each:
            print("servers", *(f"{one:.0f}" for one in found.servers_ms))
            print("clients", *(f"{one:.0f}" for one in found.clients_ms))
        print(found.lines(), flush=True)


if __name__ == "__main__":
    main()
