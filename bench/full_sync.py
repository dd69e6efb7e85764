"""A follower joins while the leader takes 50,000 writes a second: ours and redis-server's.

Problem. How long a full sync takes says little alone: it may be quick because the leader's clients
wait, or because its memory doubles. So four figures are taken together, for both servers in turn:

    seconds      from REPLICAOF until the follower has what the leader had a moment before
    p99.9        of a GET on the leader, asked every millisecond, while that lasts
    growth       of the leader's memory at most, in percent; of a forked child the pages that it
                 alone holds count too (PSS of both)
    full syncs   how often the follower had to begin: 1 is what is wanted

CPU seconds of both (the leader's with those that the writes cost) tell where time goes on a busy
machine; a forked child's are not among them.

The load is a writer with a rate of its own, so that a slow server is not spared; it and the prober
are processes of their own. With `link_bytes` the follower's link goes through a relay that takes so
much a second.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import redis
from rich.table import Table

from bench.processes import Process, free_port

WRITES_PER_SECOND = 50_000
WRITES_PER_BATCH = 100
BLOCKS = 500
WAIT_MAX_S = 120.0
#: Kind and number of the keys, and bytes a second that the follower's link takes (0: all).
CASES = {
    "1,000,000 small keys": ("small", 1_000_000, 0),
    "200,000 mixed keys": ("mixed", 200_000, 0),
    "200,000 mixed keys at 5 MB/s": ("mixed", 200_000, 5_000_000),
}


@dataclass(slots=True)
class Figures:
    """What one full sync took."""

    seconds: float
    latency_p999_ms: float
    latency_max_ms: float
    growth_percent: float
    writes_per_second: float
    full_syncs: int
    leader_cpu_seconds: float
    follower_cpu_seconds: float


def request(*words: object) -> bytes:
    """One command in RESP."""
    parts = [str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)


def small_keys(count: int) -> Iterator[bytes]:
    """SETs of keys with 9 bytes and values of 9."""
    for number in range(count):
        yield request("SET", f"k:{number:07d}", f"v:{number:07d}")


def mixed_keys(count: int) -> Iterator[bytes]:
    """A fifth each of strings (100 bytes), lists, sets, hashes and sorted sets (10 elements)."""
    elements = [f"element:{at}" for at in range(10)]
    scored = [word for at, element in enumerate(elements) for word in (at, element)]
    makers = [
        lambda key: request("SET", key, "x" * 100),
        lambda key: request("RPUSH", key, *elements),
        lambda key: request("SADD", key, *elements),
        lambda key: request("HSET", key, *[w for e in elements for w in (e, "value")]),
        lambda key: request("ZADD", key, *scored),
    ]
    for number in range(count):
        yield makers[number % 5](f"k:{number:07d}")


def fill(port: int, requests: Iterator[bytes]) -> None:
    """Sends requests in batches and reads their replies."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        answers = sock.makefile("rb")
        batch: list[bytes] = []

        def send() -> None:
            sock.sendall(b"".join(batch))
            for _ in batch:
                assert answers.readline()[:1] in b"+:"
            batch.clear()

        for each in requests:
            batch.append(each)
            if len(batch) == 1000:
                send()
        send()


def write(port: int, keys: int, kind: str) -> None:
    """Writes at the rate until standard input ends, then prints how many were answered."""
    draw = random.Random(5)
    step = 5 if kind == "mixed" else 1
    blocks = []
    for _ in range(BLOCKS):
        numbers = [draw.randrange(keys // step) * step for _ in range(WRITES_PER_BATCH)]
        blocks.append(b"".join(request("SET", f"k:{n:07d}", "w:1234567") for n in numbers))
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    answered = 0
    with socket.create_connection(("127.0.0.1", port)) as sock:

        def drain() -> None:
            nonlocal answered
            with contextlib.suppress(OSError):
                while data := sock.recv(1 << 20):
                    answered += data.count(b"\n")

        threading.Thread(target=drain, daemon=True).start()
        print("ready", flush=True)
        started, sent = time.monotonic(), 0
        while not ended.is_set():
            due = (time.monotonic() - started) * WRITES_PER_SECOND
            while sent + WRITES_PER_BATCH <= due:
                sock.sendall(blocks[(sent // WRITES_PER_BATCH) % BLOCKS])
                sent += WRITES_PER_BATCH
            ended.wait(0.002)
        seconds = time.monotonic() - started
    print(json.dumps(answered / seconds), flush=True)


def be_punctual() -> None:
    """Runs before others where it may: else the scheduler's delay of the instrument would be taken
    for the server's."""
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def probe(port: int) -> None:
    """Asks a GET every millisecond until standard input ends, then prints the latencies in ms."""
    be_punctual()
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    asked = request("GET", "k:0000000")
    latencies = []
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        print("ready", flush=True)
        while not ended.is_set():
            begun = time.perf_counter()
            sock.sendall(asked)
            sock.recv(4096)
            latencies.append((time.perf_counter() - begun) * 1000)
            time.sleep(0.001)
    print(json.dumps(latencies), flush=True)


def relay(target: int, bytes_per_second: int) -> None:
    """A TCP relay that passes `bytes_per_second` on of what `target` sends, and keeps little."""
    be_punctual()
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    print(listener.getsockname()[1], flush=True)

    def pump(source: socket.socket, sink: socket.socket, limit: int) -> None:
        with contextlib.suppress(OSError):
            ready = time.monotonic()
            while data := source.recv(32768):
                sink.sendall(data)
                if limit:
                    ready = max(ready, time.monotonic() - 0.2) + len(data) / limit
                    time.sleep(max(0.0, ready - time.monotonic()))
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    while True:
        near, _ = listener.accept()
        far = socket.socket()
        far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 18)
        far.connect(("127.0.0.1", target))
        for pair in ((near, far, 0), (far, near, bytes_per_second)):
            threading.Thread(target=pump, args=pair, daemon=True).start()


class Helper:
    """One of the loops above in a process of its own, until `end`."""

    def __init__(self, *words: object) -> None:
        line = [sys.executable, "-m", "bench.full_sync", *map(str, words)]
        self.child = subprocess.Popen(
            line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.child.stdout is not None
        self.first_line = self.child.stdout.readline().strip()

    def end(self) -> str:
        """Closes its input; returns what it printed since."""
        said, _ = self.child.communicate(timeout=30)
        return said

    def kill(self) -> None:
        self.child.kill()
        self.child.wait()


class MemoryWatch:
    """The most memory that a process and its children took together."""

    def __init__(self, process: Process) -> None:
        self._pid = process.child.pid
        self.before_bytes = self.peak_bytes = self._taken_bytes()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(0.05):
            self.peak_bytes = max(self.peak_bytes, self._taken_bytes())

    def _taken_bytes(self) -> int:
        total, children = 0, []
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{self._pid}/task/{self._pid}/children").read_text().split()
        for pid in [str(self._pid), *children]:
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1]) * 1024
        return total

    def growth_percent(self) -> float:
        """Ends the watch."""
        self._ended.set()
        self._thread.join()
        return 100 * (self.peak_bytes / self.before_bytes - 1)


def start(command: list[str], folder: Path) -> tuple[Process, redis.Redis]:
    """A server without saving, in `folder`."""
    port = free_port()
    line = [*command, "--port", str(port), "--save", "", "--repl-diskless-sync", "yes"]
    line += ["--repl-diskless-sync-delay", "0", "--dir", str(folder)]
    process = Process(line, folder)
    client = redis.Redis(port=port, socket_timeout=60)
    process.wait_until(client.ping)
    return process, client


def full_sync(
    command: list[str], folder: Path, kind: str, keys: int, link_bytes: int = 0
) -> Figures:
    """One leader with `keys` keys under load, one follower that joins. Raises TimeoutError."""
    leader, client = start(command, folder / "leader")
    follower, reader = start(command, folder / "follower")
    helpers: list[Helper] = []
    try:
        leader_port = client.connection_pool.connection_kwargs["port"]
        fill(leader_port, mixed_keys(keys) if kind == "mixed" else small_keys(keys))
        followed_port = leader_port
        if link_bytes:
            helpers.append(Helper("relay", leader_port, link_bytes))
            followed_port = int(helpers[0].first_line)
        writer = Helper("write", leader_port, keys, kind)
        helpers.append(writer)
        _wait_for_writes(client)
        memory = MemoryWatch(leader)
        prober = Helper("probe", leader_port)
        helpers.append(prober)
        cpu_before = leader.cpu_seconds(), follower.cpu_seconds()
        begun = time.monotonic()
        reader.replicaof("127.0.0.1", followed_port)
        _wait_until_caught_up(client, reader, begun)
        seconds = time.monotonic() - begun
        cpu = leader.cpu_seconds() - cpu_before[0], follower.cpu_seconds() - cpu_before[1]
        latencies = sorted(json.loads(prober.end()))
        growth = memory.growth_percent()
        rate = json.loads(writer.end())
        return Figures(
            seconds,
            latencies[int(len(latencies) * 0.999)],
            latencies[-1],
            growth,
            rate,
            client.info("stats")["sync_full"],
            *cpu,
        )
    finally:
        for helper in helpers:
            helper.kill()
        client.close()
        reader.close()
        follower.stop()
        leader.stop()


def _wait_for_writes(client: redis.Redis) -> None:
    """Until the writer has been at it for about a second."""
    begun, wanted = time.monotonic(), _commands(client) + WRITES_PER_SECOND
    while _commands(client) < wanted:
        if time.monotonic() - begun > WAIT_MAX_S:
            raise TimeoutError(f"{WRITES_PER_SECOND} writes were not taken within {WAIT_MAX_S} s")
        time.sleep(0.02)


def _commands(client: redis.Redis) -> int:
    return int(client.info("stats")["total_commands_processed"])


def _wait_until_caught_up(client: redis.Redis, reader: redis.Redis, begun: float) -> None:
    while time.monotonic() - begun < WAIT_MAX_S:
        end = client.info("replication")["master_repl_offset"]
        time.sleep(0.02)
        with contextlib.suppress(redis.RedisError):
            found = reader.info("replication")
            if found["master_link_status"] == "up" and found["slave_repl_offset"] >= end:
                return
    raise TimeoutError(f"no follower in sync within {WAIT_MAX_S} s")


def median(runs: list[Figures]) -> Figures:
    """Each figure's median; of the full syncs the most."""
    names = [name for name in Figures.__slots__ if name != "full_syncs"]
    middle = {name: statistics.median(getattr(run, name) for run in runs) for name in names}
    return Figures(**middle, full_syncs=max(run.full_syncs for run in runs))


def compare(commands: dict[str, list[str]], folder: Path, rounds: int) -> Table:
    """Every case on every server in turn, so many times: a table of medians."""
    table = Table(title=f"full sync under {WRITES_PER_SECOND:,} writes a second")
    heads = ["s", "GET p99.9 ms", "max ms", "growth %", "syncs", "leader cpu s", "follower cpu s"]
    for head in ["case", "server", *heads]:
        table.add_column(head, justify="left" if head in ("case", "server") else "right")
    for case, (kind, keys, link_bytes) in CASES.items():
        runs: dict[str, list[Figures]] = {name: [] for name in commands}
        for _ in range(rounds):
            for name, command in commands.items():
                with contextlib.suppress(TimeoutError):
                    runs[name].append(full_sync(command, folder / name, kind, keys, link_bytes))
                shutil.rmtree(folder / name, ignore_errors=True)
        for name, found in runs.items():
            table.add_row(case, name, *(_cells(median(found)) if found else ["not in time"]))
    return table


def _cells(figures: Figures) -> list[str]:
    return [
        f"{figures.seconds:.1f}",
        f"{figures.latency_p999_ms:.1f}",
        f"{figures.latency_max_ms:.1f}",
        f"{figures.growth_percent:.1f}",
        str(figures.full_syncs),
        f"{figures.leader_cpu_seconds:.2f}",
        f"{figures.follower_cpu_seconds:.2f}",
    ]


if __name__ == "__main__":
    loops = {"write": write, "probe": probe, "relay": relay}
    loops[sys.argv[1]](*(int(word) if word.isdigit() else word for word in sys.argv[2:]))
