"""How long writes stop when a leader is killed: one leader, two followers, three sentinels."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import redis
from redis.sentinel import Sentinel

from bench.processes import Process, free_port

DOWN_AFTER_MS = 1000


def kill_to_first_write(folder: Path) -> float:
    """Seconds from SIGKILL of the leader to the first write through the sentinels' answer.

    Detection is `down-after-milliseconds` DOWN_AFTER_MS of it."""
    processes: dict[int, Process] = {}
    ports = [free_port() for _ in range(6)]
    leader, sentinels = ports[0], ports[3:]
    try:
        for port in ports[:3]:
            line = [sys.executable, "-m", "cache_server", "--port", str(port)]
            line += ["--dir", str(folder / str(port)), "--save", ""]
            (folder / str(port)).mkdir(parents=True, exist_ok=True)
            line += [] if port == leader else ["--replicaof", f"127.0.0.1 {leader}"]
            processes[port] = Process(line, folder / str(port))
            processes[port].wait_until(redis.Redis(port=port).ping)
        for port in sentinels:
            processes[port] = Process(
                _sentinel(folder / str(port), port, leader), folder / str(port)
            )
        front = Sentinel([("127.0.0.1", port) for port in sentinels], socket_timeout=0.5)
        master = front.master_for("cache", socket_timeout=0.5)
        processes[sentinels[0]].wait_until(lambda: _settled(sentinels))
        processes[leader].wait_until(lambda: master.set("before", 1))
        started = time.monotonic()
        processes[leader].kill()
        processes[ports[1]].wait_until(lambda: master.set("after", 1))
        return time.monotonic() - started
    finally:
        for process in processes.values():
            if process.child.poll() is None:
                process.stop()


def _sentinel(folder: Path, port: int, leader: int) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "sentinel.conf"
    config.write_text(
        f"port {port}\ndir {folder}\nsentinel monitor cache 127.0.0.1 {leader} 2\n"
        f"sentinel down-after-milliseconds cache {DOWN_AFTER_MS}\n"
    )
    return [sys.executable, "-m", "cache_server.cli.sentinel", str(config)]


def _settled(sentinels: list[int]) -> bool:
    """Every sentinel knows the two followers and the two other sentinels."""
    for port in sentinels:
        state = redis.Redis(port=port, decode_responses=True).sentinel_master("cache")
        if state["num-slaves"] != 2 or state["num-other-sentinels"] != 2:
            return False
    return True
