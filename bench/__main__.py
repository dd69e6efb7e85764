"""`make bench`: cache-server beside redis-server, one core each for server and client.

Problem. Throughput on a small machine measures the client as much as the server, and the machine's
speed drifts. So each test runs on both servers in turn, several rounds; the figure to read is the
server's CPU time per request (from the scheduler's own accounting) and its ratio within the run.

    throughput   requests a second that redis-benchmark saw (median of the rounds)
    cpu          microseconds of server CPU a request, all threads (median)
    ratio        ours / redis-server's cpu: below 1 is cheaper

Then SET on a server with a log and on one with two followers, and what applying it costs one of
them; start-up from a snapshot and a log; memory per key for a million small keys; a full sync
under 50,000 writes a second; the time from killing a leader to the first write that its successor
accepts.
"""

from __future__ import annotations

import csv
import os
import shutil
import socket
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import redis
import typer
from rich.console import Console
from rich.table import Table

from bench.cases import CASES, DEFAULTS, Case, fill
from bench.failover import kill_to_first_write
from bench.full_sync import compare
from bench.processes import Process, free_port

WAYS = {
    "SET, no log": [],
    "SET, log everysec": ["--appendonly", "yes"],
    "SET, log always": ["--appendonly", "yes", "--appendfsync", "always"],
    "SET, 2 followers": [],
}
#: How often SET is sent on each way, by depth of the pipeline.
WAY_REQUESTS = {1: 60_000, 16: 200_000}
APPLYING = "applying it, a follower"
#: Start-up: keys in the base, and as many commands in the log behind it.
START_KEYS = 500_000
KEYS_FOR_MEMORY = 1_000_000
SMALL_KEYS = {
    "string": ["SET", "k:%07d", "v:%07d"],
    "hash": ["HSET", "h:%07d", "name", "n:%07d", "mail", "m:%07d", "age", "30", "town", "t:%07d"],
}

app = typer.Typer(add_completion=False)
console = Console(width=110)


def commands() -> dict[str, list[str]]:
    """Name -> command line without port, for each server that is compared."""
    ours = [sys.executable, "-m", "cache_server"]
    found = shutil.which("redis-server")
    return ({"redis": [found]} if found else {}) | {"ours": ours}


class Server:
    """One server on core 0 (its followers are on core 1), with a scratch folder of its own."""

    def __init__(
        self, command: list[str], folder: Path, options: Sequence[str] = (), core: int = 0
    ) -> None:
        self.port = free_port()
        line = ["taskset", "-c", str(core), *command, "--port", str(self.port), *options]
        self.process = Process([*line, "--save", "", "--dir", str(folder)], folder)
        self.client = redis.Redis(port=self.port, socket_timeout=60)
        self.process.wait_until(self.client.ping)

    def cpu_seconds(self) -> float:
        return self.process.cpu_seconds()

    def close(self) -> None:
        self.client.close()
        self.process.stop()


def measure(server: Server, case: Case, pipeline: int, requests: int) -> tuple[float, float]:
    """Requests a second, and server CPU microseconds a request.

    Raises LookupError for a command that the server does not answer."""
    listeners = _listen(server.port, case.subscribers) if case.subscribers else None
    before = server.cpu_seconds()
    line = ["taskset", "-c", "1", "redis-benchmark", "-p", str(server.port), "--csv", "-c", "50"]
    line += ["-n", str(requests), "-P", str(pipeline), "-r", "100000", *case.command]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)
    spent = server.cpu_seconds() - before
    if listeners is not None:
        listeners.kill()
        listeners.wait()
    rows = [row for row in csv.reader(done.stdout.splitlines()) if len(row) > 2]
    if done.returncode != 0 or not rows:
        raise LookupError(done.stdout + done.stderr)
    return float(rows[-1][1]), spent / requests * 1e6


def _listen(port: int, count: int) -> subprocess.Popen[str]:
    line = ["taskset", "-c", "1", sys.executable, "-m", "bench.subscribers", str(port), str(count)]
    child = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


def one_round(
    name: str,
    server: Server,
    pipelines: list[int],
    tests: list[str],
    results: dict[tuple[str, ...], list],
) -> None:
    for pipeline in pipelines:
        for test in tests:
            case = CASES[test]
            requests = int((40_000 if pipeline == 1 else 200_000) * case.share)
            try:
                fill(server.client, case, requests)
                figures = measure(server, case, pipeline, requests)
            except (LookupError, redis.ResponseError) as error:
                console.print(f"{test}: {name} does not answer it: {error}")
                continue
            results.setdefault((test, str(pipeline), name), []).append(figures)
        server.client.flushall()


def one_way_to_run(
    way: str, name: str, command: list[str], folder: Path, results: dict[tuple[str, ...], list]
) -> None:
    """SET with a log or with followers: what they add to the leader's CPU."""
    leader = Server(command, folder / way, WAYS[way])
    followers = []
    try:
        for number in range(2 if way == "SET, 2 followers" else 0):
            options = ("--replicaof", f"127.0.0.1 {leader.port}")
            followers.append(Server(command, folder / f"{way} {number}", options, core=1))
            client = followers[-1].client
            followers[-1].process.wait_until(
                lambda client=client: client.info("replication")["master_link_status"] == "up"
            )
        for pipeline, requests in WAY_REQUESTS.items():
            before = [follower.cpu_seconds() for follower in followers]
            figures = measure(leader, CASES["SET"], pipeline, requests)
            results.setdefault((way, str(pipeline), name), []).append(figures)
            if followers:
                _wait_until_applied(leader, followers)
                spent = followers[0].cpu_seconds() - before[0]
                applied = (figures[0], spent / requests * 1e6)
                results.setdefault((APPLYING, str(pipeline), name), []).append(applied)
    finally:
        for server in (*followers, leader):
            server.close()


def _wait_until_applied(leader: Server, followers: list[Server]) -> None:
    end = leader.client.info("replication")["master_repl_offset"]
    for follower in followers:
        client = follower.client
        follower.process.wait_until(
            lambda client=client: client.info("replication")["slave_repl_offset"] >= end
        )


def start_up(command: list[str], folder: Path) -> float:
    """CPU seconds to start from a base of START_KEYS small keys and a log of as many SETs."""
    options = ("--appendonly", "yes", "--auto-aof-rewrite-percentage", "0")
    server = Server(command, folder / "start", options)
    try:
        _set_keys(server.port, "base")
        server.client.execute_command("BGREWRITEAOF")
        server.process.wait_until(
            lambda: not server.client.info("persistence")["aof_rewrite_in_progress"]
        )
        _set_keys(server.port, "log")
    finally:
        server.close()
    server = Server(command, folder / "start", options)
    try:
        assert server.client.dbsize() == 2 * START_KEYS
        return server.cpu_seconds()
    finally:
        server.close()


def _set_keys(port: int, prefix: str) -> None:
    with socket.create_connection(("127.0.0.1", port)) as sock:
        answers = sock.makefile("rb")
        for start in range(0, START_KEYS, 16):
            keys = [f"{prefix}:{number:07d}" for number in range(start, start + 16)]
            lines = [f"*3\r\n$3\r\nSET\r\n${len(key)}\r\n{key}\r\n$3\r\nxxx\r\n" for key in keys]
            sock.sendall("".join(lines).encode())
            for _ in keys:
                assert answers.readline() == b"+OK\r\n"


def memory_per_key(server: Server, words: list[str]) -> float:
    """Resident bytes a key; in `words`, which make one, %07d stands for its number."""
    server.client.set("warm", "up")
    before = server.process.resident_bytes()
    request = "".join(f"${len(word % 0 if '%' in word else word)}\r\n{word}\r\n" for word in words)
    request = f"*{len(words)}\r\n{request}"
    count = request.count("%07d")
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        answers = sock.makefile("rb")
        for start in range(0, KEYS_FOR_MEMORY, 1000):
            numbers = range(start, start + 1000)
            sock.sendall("".join(request % ((number,) * count) for number in numbers).encode())
            for _ in numbers:
                assert answers.readline()[:1] in b"+:"
    return (server.process.resident_bytes() - before) / KEYS_FOR_MEMORY


def show(
    results: dict[tuple[str, ...], list], names: list[str], tests: list[str], pipelines: list[int]
) -> None:
    for pipeline in pipelines:
        table = Table(title=f"-P {pipeline} (50 clients, 3-byte values)")
        table.add_column("test")
        for name in names:
            table.add_column(f"{name} req/s", justify="right")
            table.add_column("cpu us", justify="right")
        table.add_column("cpu ratio", justify="right")
        for test in tests:
            row, cpu = [test], {}
            for name in names:
                runs = results.get((test, str(pipeline), name))
                if not runs:
                    row += ["-", "-"]
                    continue
                cpu[name] = statistics.median(run[1] for run in runs)
                row += [f"{statistics.median(run[0] for run in runs):,.0f}", f"{cpu[name]:.2f}"]
            row.append(f"{cpu['ours'] / cpu['redis']:.2f}" if len(cpu) == 2 else "-")
            table.add_row(*row)
        console.print(table)


@app.command()
def main(
    rounds: Annotated[int, typer.Option(help="rounds, interleaved")] = 3,
    tests: Annotated[
        str,
        typer.Option(help="names separated by commas; `defaults` are redis-benchmark's, or `all`"),
    ] = "all",
    pipelines: Annotated[str, typer.Option(help="pipeline depths")] = "1,16",
    ways: Annotated[bool, typer.Option(help="measure SET with a log, with followers")] = True,
    memory: Annotated[bool, typer.Option(help="measure memory per key")] = True,
    full_sync: Annotated[int, typer.Option(help="rounds of full syncs under writes")] = 1,
    failover: Annotated[bool, typer.Option(help="measure kill to first write")] = True,
) -> None:
    """Runs the comparison and prints the tables."""
    groups = {"all": list(CASES), "defaults": list(DEFAULTS)}
    chosen = groups.get(tests) or tests.split(",")
    depths = [int(depth) for depth in pipelines.split(",")]
    lines = commands()
    if "redis" not in lines:
        console.print("redis-server is not installed: skipped, only our figures follow")
    scratch = Path(os.environ.get("TMPDIR", "/tmp")) / f"cache-server-bench-{os.getpid()}"
    results: dict[tuple[str, ...], list] = {}
    try:
        for _ in range(rounds):
            for name, line in lines.items():
                server = Server(line, scratch / name)
                try:
                    one_round(name, server, depths, chosen, results)
                finally:
                    server.close()
                for way in WAYS if ways else ():
                    one_way_to_run(way, name, line, scratch / name, results)
        show(results, list(lines), chosen, depths)
        if ways:
            show(results, list(lines), [*WAYS, APPLYING], list(WAY_REQUESTS))
            for name, line in lines.items():
                seconds = start_up(line, scratch / name)
                each = 2 * START_KEYS / seconds
                console.print(f"start-up from base and log, {name}: {each:,.0f} keys a CPU second")
        if memory:
            for name, line in lines.items():
                for kind, words in SMALL_KEYS.items():
                    server = Server(line, scratch / name)
                    each = memory_per_key(server, words)
                    server.close()
                    console.print(f"memory, {name}: {each:.0f} bytes a small {kind}")
        if full_sync:
            console.print(compare(lines, scratch / "full_sync", full_sync))
        if failover:
            seconds = kill_to_first_write(scratch / "failover")
            console.print(f"leader killed to first accepted write: {seconds:.2f} s")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    app()
