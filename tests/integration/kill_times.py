"""`python -m tests.integration.kill_times [--kills N]`: SIGKILL of a leader to the first write that
another node accepts, ours at the default settings beside Redis with redis-sentinel.

Writers through Sentinel would measure their own retries; here every node is tried all the time.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from pathlib import Path

import redis

from replication.failover.constants import DOWN_AFTER_MS
from tests.integration.processes import (
    OUR_SENTINEL,
    OURS,
    REDIS,
    REDIS_SENTINEL,
    Cluster,
    Process,
    wait_for,
)

SENTINEL_DOWN_AFTER_MS = 1_000
WITHIN_S = 30.0


def first_write_s(nodes: list[Process], begun_s: float) -> float:
    """Seconds from `begun_s` until one of the nodes takes a write."""
    clients = [node.client(socket_timeout=0.2) for node in nodes]
    while time.monotonic() - begun_s < WITHIN_S:
        for client in clients:
            try:
                client.set("after", "1")
            except (redis.RedisError, OSError):
                continue
            return time.monotonic() - begun_s
    raise AssertionError(f"no write within {WITHIN_S} s")


def kill_once(cluster: Cluster) -> float:
    """Kills the leader, measures, and brings everything back."""
    old = cluster.by_port(cluster.leader_port())
    others = [node for node in cluster.nodes if node is not old]
    begun_s = time.monotonic()
    old.kill()
    took_s = first_write_s(others, begun_s)
    new = cluster.wait_for_new_leader(old.port)
    old.start()
    cluster.wait_for_followers(new, 200)  # a stock sentinel in TILT takes its time
    cluster.wait_until_whole()
    return took_s


def whole(folder: Path, server: list[str], sentinel: list[str], down_after_ms: int) -> Cluster:
    """A running cluster, its leader under a lease where it is ours."""
    cluster = Cluster(folder, server, sentinel, down_after_ms=down_after_ms).__enter__()
    if server is OURS:
        wait_for(lambda: cluster.nodes[0].info()["lease_managed"] == 1, "the lease")
    return cluster


def line(name: str, times_s: list[float], load: float) -> str:
    """For people."""
    times = sorted(times_s)
    p99 = times[min(len(times) - 1, int(len(times) * 0.99))]
    return (
        f"{name}: {len(times)} kills, p50 {statistics.median(times) * 1000:.0f} ms, "
        f"p99 {p99 * 1000:.0f} ms; load {load:.1f} in the mean"
    )


def main() -> None:
    """Kills in both clusters by turns, so that both see the same machine; prints a line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--ours-only", action="store_true")
    args = parser.parse_args()
    sides = [("ours, defaults", OURS, OUR_SENTINEL, DOWN_AFTER_MS)]
    if not args.ours_only:
        sides.append(
            ("redis, down-after 1000", REDIS, REDIS_SENTINEL, SENTINEL_DOWN_AFTER_MS),
        )
    times: dict[str, list[float]] = {side[0]: [] for side in sides}
    loads: list[float] = []
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as running:
        clusters = {}
        for number, (name, *side) in enumerate(sides):
            clusters[name] = whole(Path(folder) / str(number), *side)
            running.callback(clusters[name].__exit__)
        for _ in range(args.kills):
            for name, cluster in clusters.items():
                times[name].append(kill_once(cluster))
            loads.append(os.getloadavg()[0])
    for name, found in times.items():
        print(line(name, found, statistics.mean(loads)), flush=True)


if __name__ == "__main__":
    main()
