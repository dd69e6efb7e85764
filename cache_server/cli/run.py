"""A whole cluster on this machine: one leader, two followers, three sentinels (`make run`).

Each process has a folder of its own below the chosen one, with its configuration, its data and its
log, and they stay there: the next run goes on where this one ended, whoever leads by then. A data
node that dies is started again after a while, so that one can kill the leader and watch what
happens. Ctrl-C stops everything in order.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import redis
import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

NAME = "mymaster"
HOST = "127.0.0.1"
DATA_NODES = 3
SENTINELS = 3
QUORUM = 2
DOWN_AFTER_MS = 1000
FAILOVER_TIMEOUT_MS = 10_000
POLL_S = 0.25
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0

console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)


@dataclass
class Node:
    """One process: where it lives, and when it was seen dead."""

    kind: str
    port: int
    folder: Path
    module: str
    process: subprocess.Popen[bytes] | None = None
    died_s: float = 0.0
    client: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.client = redis.Redis(
            host=HOST, port=self.port, socket_timeout=1, socket_connect_timeout=1,
            decode_responses=True,
            protocol=2,
        )  # fmt: skip

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Starts it in its own session, so that Ctrl-C is ours alone; it writes to its own log."""
        with open(self.folder / "output.log", "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.module, str(self.folder / "node.conf")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.died_s = 0.0

    def answers(self) -> bool:
        """Whether it answers PING."""
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False

    def stop(self) -> None:
        """Asks it to end."""
        if self.alive and self.process is not None:
            self.process.send_signal(signal.SIGTERM)

    def wait(self, until_s: float) -> None:
        """Waits for its end; kills it when time is up."""
        if self.process is None:
            return
        try:
            self.process.wait(max(0.1, until_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Cluster:
    """The six processes."""

    def __init__(self, folder: Path, port: int, sentinel_port: int) -> None:
        serve, sentinel = "cache_server.cli.serve", "cache_server.cli.sentinel"
        self.data_nodes = [
            Node("data", port + index, folder / f"node-{port + index}", serve)
            for index in range(DATA_NODES)
        ]
        self.sentinels = [
            Node("sentinel", sentinel_port + i, folder / f"sentinel-{sentinel_port + i}", sentinel)
            for i in range(SENTINELS)
        ]

    @property
    def nodes(self) -> list[Node]:
        """All of them, data nodes first."""
        return self.data_nodes + self.sentinels

    def check_ports(self) -> list[int]:
        """The ports that somebody else holds."""
        return [node.port for node in self.nodes if _taken(node.port)]

    def lay_out(self) -> None:
        """Folders, and configurations where there are none yet."""
        leader = self.data_nodes[0].port
        for node in self.nodes:
            node.folder.mkdir(parents=True, exist_ok=True)
            conf = node.folder / "node.conf"
            if not conf.exists():
                lines = [f"port {node.port}", f"bind {HOST}", f'dir "{node.folder.resolve()}"']
                lines += self._own_lines(node, leader)
                conf.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def _own_lines(self, node: Node, leader: int) -> list[str]:
        if node.kind == "data":
            follows = [] if node.port == leader else [f"replicaof {HOST} {leader}"]
            return ["repl-diskless-sync-delay 0", *follows]
        return [
            f"sentinel monitor {NAME} {HOST} {leader} {QUORUM}",
            f"sentinel members {NAME} {SENTINELS}",
            f"sentinel down-after-milliseconds {NAME} {DOWN_AFTER_MS}",
            f"sentinel failover-timeout {NAME} {FAILOVER_TIMEOUT_MS}",
        ]

    def start(self) -> list[Node]:
        """Starts all; returns those that do not answer in time."""
        for node in self.nodes:
            node.start()
        until_s = time.monotonic() + START_TIMEOUT_S
        waiting = list(self.nodes)
        while waiting and time.monotonic() < until_s:
            waiting = [node for node in waiting if not node.answers()]
            if any(not node.alive for node in waiting):
                break
            time.sleep(0.05)
        return waiting

    def stop(self) -> None:
        """Sentinels first: they need not see the nodes go."""
        for group in (self.sentinels, self.data_nodes):
            for node in group:
                node.stop()
            until_s = time.monotonic() + STOP_TIMEOUT_S
            for node in group:
                node.wait(until_s)

    def revive(self, after_s: float) -> None:
        """Starts again what has been dead for so long."""
        now_s = time.monotonic()
        for node in self.nodes:
            if node.alive:
                continue
            node.died_s = node.died_s or now_s
            if now_s - node.died_s >= after_s:
                node.start()


def _taken(port: int) -> bool:
    with contextlib.closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False


# -- the table ------------------------------------------------------------------------------------

#: role, address, link, offset, process id
Row = tuple[str, str, str, str, str]


def data_row(node: Node) -> Row:
    """What a data node says of itself."""
    address = f"{HOST}:{node.port}"
    if not node.alive or node.process is None:
        return ("-", address, "[red]down[/red]", "", "")
    pid = str(node.process.pid)
    try:
        told = node.client.info("replication")
    except redis.RedisError as error:
        return ("-", address, f"[yellow]{type(error).__name__}[/yellow]", "", pid)
    if told["role"] == "master":
        link = f"{told.get('connected_slaves', 0)} followers"
        if str(told.get("lease_managed", "0")) == "1":
            held = int(told.get("lease_remaining_ms", 0)) > 0
            link += ", lease held" if held else ", [yellow]no lease: read-only[/yellow]"
        return ("[bold green]leader[/bold green]", address, link,
                str(told["master_repl_offset"]), pid)  # fmt: skip
    up = told.get("master_link_status") == "up"
    link = f"{'up' if up else '[yellow]down[/yellow]'}, follows {told.get('master_port')}"
    return ("follower", address, link, str(told.get("slave_repl_offset", "")), pid)


def sentinel_row(node: Node) -> Row:
    """Whom a sentinel names leader."""
    address = f"{HOST}:{node.port}"
    if not node.alive or node.process is None:
        return ("sentinel", address, "[red]down[/red]", "", "")
    pid = str(node.process.pid)
    try:
        found = node.client.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", NAME)
    except redis.RedisError as error:
        return ("sentinel", address, f"[yellow]{type(error).__name__}[/yellow]", "", pid)
    return ("sentinel", address, f"names {found[1]}" if found else "names nobody", "", pid)


def table_of(rows: list[Row]) -> Table:
    """The table as it is shown."""
    table = Table()
    for column in ("role", "address", "link", "offset", "pid"):
        table.add_column(column, no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def how_to_connect(cluster: Cluster) -> str:
    """What a person types next."""
    sentinels = ", ".join(f'("{HOST}", {node.port})' for node in cluster.sentinels)
    leader, follower = cluster.data_nodes[0].port, cluster.data_nodes[1].port
    ask = cluster.sentinels[0].port
    return f"""
write        redis-cli -p {leader} set hello world
read         redis-cli -p {follower} get hello
who leads    redis-cli -p {ask} sentinel get-master-addr-by-name {NAME}
hand over    cachectl failover -s {HOST}:{ask}
overview     cachectl status -s {HOST}:{ask}
Python       redis.sentinel.Sentinel([{sentinels}]).master_for("{NAME}")
kill         kill -9 PID of the leader: another node leads a moment later
load test    redis-benchmark -p {leader} -q

Ctrl-C stops everything.
"""


@contextlib.contextmanager
def display() -> Iterator[Any]:
    """`show(rows)`: redraws in place on a terminal, prints changes of role and link elsewhere."""
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            yield lambda rows: live.update(table_of(rows), refresh=True)
        return
    shown: list[list[Row]] = [[]]

    def show(rows: list[Row]) -> None:
        without_offsets = [(*row[:3], "", row[4]) for row in rows]
        if without_offsets != shown[0]:
            shown[0] = without_offsets
            console.print(table_of(rows))

    yield show


def watch(cluster: Cluster, restart_after_s: float, stopping: list[int]) -> None:
    """Shows the cluster until a signal comes."""
    shown: list[Row] = []
    with display() as show:
        while not stopping:
            cluster.revive(restart_after_s)
            rows = [data_row(node) for node in cluster.data_nodes]
            rows += [sentinel_row(node) for node in cluster.sentinels]
            if rows != shown:
                show(rows)
                shown = rows
            time.sleep(POLL_S)


def run(
    port: Annotated[int, typer.Option(help="Of the first data node; the others follow.")] = 6379,
    sentinel_port: Annotated[int, typer.Option(help="Of the first sentinel.")] = 26379,
    folder: Annotated[Path, typer.Option("--dir", help="Where all data is kept.")] = Path("run"),
    restart_after: Annotated[
        float, typer.Option(help="Seconds until a dead process is started again.")
    ] = 15.0,
) -> None:
    """Runs one leader, two followers and three sentinels until Ctrl-C."""
    cluster = Cluster(folder, port, sentinel_port)
    if taken := cluster.check_ports():
        console.print(
            f"[red]Taken already: port {', '.join(map(str, taken))}.[/red] Choose others with "
            "--port and --sentinel-port (make run PORT=7000 SENTINEL_PORT=27000)."
        )
        raise typer.Exit(1)
    stopping: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda caught, _frame: stopping.append(caught))
    cluster.lay_out()
    try:
        for node in cluster.start():
            console.print(
                f"[red]{HOST}:{node.port} does not start[/red], see {node.folder}/output.log"
            )
            raise typer.Exit(1)
        console.print(how_to_connect(cluster))
        watch(cluster, restart_after, stopping)
        console.print("stopping ...")
    finally:
        cluster.stop()


def main() -> None:
    """The command line's entry."""
    typer.run(run)


if __name__ == "__main__":
    main()
