"""`cachectl`: the state of a cluster, and changes of leader by hand, for people.

Everything is asked of the sentinels and the data nodes over the ordinary protocol, so that it works
with stock redis-server and redis-sentinel as well.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import Annotated, Any

import redis
import typer
from rich.console import Console
from rich.table import Table

from cache_server.cli.verify import is_same, report_table, run_pass
from cache_server.disk import Disk
from cache_server.errors import InputError
from cache_server.persistence.inspection import FileReport, LogReport, inspect_log
from cache_server.persistence.inspection import repair as repair_log
from cache_server.persistence.snapshot_codec import Loaded

SENTINELS_DEFAULT = "127.0.0.1:26379"
SENTINELS_VARIABLE = "CACHECTL_SENTINELS"
DIAL_TIMEOUT_S = 2.0

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
)
#: Tables keep their width where the output goes to a file.
console = Console(width=None if sys.stdout.isatty() else 160)
errors = Console(stderr=True)

SentinelOption = Annotated[
    str,
    typer.Option(
        "--sentinels",
        "-s",
        envvar=SENTINELS_VARIABLE,
        help="host:port of sentinels, separated by commas; the first that answers is asked.",
    ),
]
PasswordOption = Annotated[
    str, typer.Option("--password", envvar="REDISCLI_AUTH", help="Password of the data nodes.")
]
#: A node's fields, as redis-py gives them or as we found them.
Fields = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """Where a process listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def parse_place(word: str, port_default: int) -> Place:
    """`host:port`, `[::1]:port`, or a host alone. Raises typer.BadParameter."""
    host, colon, port = word.strip().rpartition(":")
    if not colon or (word.count(":") > 1 and not host.endswith("]")):
        host, port = word.strip(), str(port_default)
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise typer.BadParameter(f"'{word}' is not host:port")
    return Place(host.strip("[]"), int(port))


#: How every connection is encrypted, in redis-py's words; empty for in clear.
_encryption: Fields = {}


@app.callback()
def encrypt(
    tls: Annotated[bool, typer.Option("--tls", help="Connect with TLS.")] = False,
    cacert: Annotated[str, typer.Option(help="Certificates of the authorities, a file.")] = "",
    cert: Annotated[str, typer.Option(help="Certificate to show, a file.")] = "",
    key: Annotated[str, typer.Option(help="Private key of the certificate, a file.")] = "",
) -> None:
    """Shows and steers a cluster of cache-server and cache-sentinel."""
    _encryption.clear()
    if tls:
        files = {"ssl_ca_certs": cacert, "ssl_certfile": cert, "ssl_keyfile": key}
        _encryption.update({"ssl": True, "ssl_check_hostname": False})
        _encryption.update({name: file for name, file in files.items() if file})


def connect(place: Place, password: str = "") -> Any:
    """A client of one node; nothing is sent yet."""
    return redis.Redis(
        host=place.host,
        port=place.port,
        password=password or None,
        socket_timeout=DIAL_TIMEOUT_S,
        socket_connect_timeout=DIAL_TIMEOUT_S,
        decode_responses=True,
        protocol=2,
        **_encryption,
    )


def fail(text: str) -> typer.Exit:
    """Prints why it did not work; to be raised."""
    errors.print(f"[red]cachectl:[/red] {text}", highlight=False)
    return typer.Exit(1)


def pairs(reply: Any) -> Fields:
    """A flat list of names and values, or a map, as a dict."""
    if isinstance(reply, dict):
        return reply
    return dict(zip(reply[::2], reply[1::2]))


def ask_sentinel(client: Any, *args: str) -> Any:
    """One SENTINEL command, its reply as it came (redis-py would parse it on its own)."""
    connection = client.connection_pool.get_connection()
    try:
        connection.send_command("SENTINEL", *args)
        return connection.read_response()
    finally:
        client.connection_pool.release(connection)


def first_sentinel(words: str) -> tuple[Place, Any]:
    """The first sentinel that answers. Raises typer.Exit."""
    reasons = []
    for word in words.split(","):
        place = parse_place(word, 26379)
        client = connect(place)
        try:
            client.ping()
        except redis.RedisError as error:
            reasons.append(f"{place}: {error}")
        else:
            return place, client
    raise fail("no sentinel answers (" + "; ".join(reasons) + ")")


def master_fields(client: Any, name: str) -> Fields:
    """What the sentinel knows of a master; the only one where no name is given."""
    masters = [pairs(one) for one in ask_sentinel(client, "MASTERS")]
    found = [one for one in masters if one["name"] == name] if name else masters
    if len(found) != 1:
        names = ", ".join(one["name"] for one in masters) or "none"
        raise fail(f"which master? The sentinel watches: {names}")
    return found[0]


def node_row(place: Place, password: str) -> Fields:
    """INFO replication of one node, and whether it answered."""
    try:
        found: Fields = connect(place, password).info("replication")
    except redis.RedisError as error:
        return {"error": str(error)}
    return found


def node_cells(place: Place, flags: str, told: Fields, leader_offset: int) -> list[str]:
    """One line of the table: role, address, link, offset, behind, what sentinels think."""
    if "error" in told:
        return ["?", str(place), "[red]no answer[/red]", "", "", flags]
    leading = told.get("role") == "master"
    offset = int(told.get("master_repl_offset", 0))
    if not leading:
        offset = int(told.get("slave_repl_offset", offset))
    link = "" if leading else str(told.get("master_link_status", "?"))
    if leading and str(told.get("lease_managed", "0")) == "1":
        link = f"lease {told.get('lease_remaining_ms')} ms"
    role = "[bold]leader[/bold]" if leading else "follower"
    behind = "" if leading else f"{max(0, leader_offset - offset)}"
    return [role, str(place), link, str(offset), behind, flags]


def cluster_table(client: Any, master: Fields, password: str) -> Table:
    """All nodes of one master."""
    name = master["name"]
    table = Table(title=f"{name}: epoch {master['config-epoch']}, quorum {master['quorum']}")
    for column in ("role", "address", "link", "offset", "behind (bytes)", "flags"):
        table.add_column(column, no_wrap=True)
    nodes = [master, *(pairs(one) for one in ask_sentinel(client, "REPLICAS", name))]
    places = [Place(one["ip"], int(one["port"])) for one in nodes]
    told = [node_row(place, password) for place in places]
    leader_offset = int(told[0].get("master_repl_offset", 0))
    for node, place, row in zip(nodes, places, told):
        table.add_row(*node_cells(place, node["flags"], row, leader_offset))
    for one in [pairs(one) for one in ask_sentinel(client, "SENTINELS", name)]:
        table.add_row("sentinel", f"{one['ip']}:{one['port']}", "", "", "", one["flags"])
    return table


@app.command()
def status(
    name: Annotated[str, typer.Argument(help="Master name; all where left out.")] = "",
    sentinels: SentinelOption = SENTINELS_DEFAULT,
    password: PasswordOption = "",
) -> None:
    """Shows every node: role, address, link, offset, and what the sentinels think of it."""
    place, client = first_sentinel(sentinels)
    masters = [pairs(one) for one in ask_sentinel(client, "MASTERS")]
    chosen = [one for one in masters if name in ("", one["name"])]
    if not chosen:
        raise fail(f"the sentinel {place} watches no master '{name}'")
    for master in chosen:
        console.print(cluster_table(client, master, password))
    console.print(f"as seen by the sentinel {place}")


def ask_failover(client: Any, leader: Place, name: str, to: Place | None, password: str) -> None:
    """Asks for the change; returns when it is accepted. Raises typer.Exit."""
    try:
        if to is None:
            ask_sentinel(client, "FAILOVER", name)
        else:
            node = connect(leader, password)
            node.execute_command("FAILOVER", "TO", to.host, str(to.port), "TIMEOUT", "10000")
    except redis.RedisError as error:
        raise fail(str(error)) from None


@app.command()
def failover(
    name: Annotated[str, typer.Argument(help="Master name, where there are several.")] = "",
    to: Annotated[str, typer.Option(help="host:port of the follower that is to lead.")] = "",
    timeout_s: Annotated[float, typer.Option("--timeout", help="Seconds to wait.")] = 30.0,
    sentinels: SentinelOption = SENTINELS_DEFAULT,
    password: PasswordOption = "",
) -> None:
    """Hands the lead over to a follower: writes pause, it catches up, nothing is lost."""
    _, client = first_sentinel(sentinels)
    master = master_fields(client, name)
    old = Place(master["ip"], int(master["port"]))
    target = parse_place(to, 6379) if to else None
    if target == old:
        raise fail(f"{old} leads already")
    begun = time.monotonic()
    ask_failover(client, old, master["name"], target, password)
    while time.monotonic() - begun < timeout_s:
        host, port = ask_sentinel(client, "GET-MASTER-ADDR-BY-NAME", master["name"])
        if (new := Place(host, int(port))) != old:
            took_ms = (time.monotonic() - begun) * 1000
            console.print(f"{master['name']}: {old} -> [bold]{new}[/bold] in {took_ms:.0f} ms")
            return
        time.sleep(0.02)
    raise fail(f"{old} still leads after {timeout_s:.0f} s; see the log of the sentinels")


@app.command()
def verify(
    name: Annotated[str, typer.Argument(help="Master name, where there are several.")] = "",
    node: Annotated[str, typer.Option(help="host:port of a node to ask; no sentinel then.")] = "",
    timeout_s: Annotated[float, typer.Option("--timeout", help="Seconds to wait.")] = 600.0,
    sentinels: SentinelOption = SENTINELS_DEFAULT,
    password: PasswordOption = "",
) -> None:
    """Compares all data of the followers with their leader's, and repairs what differs.

    Ends with 0 where all was the same, with 3 where something differed or was not compared."""
    if node:
        place = parse_place(node, 6379)
    else:
        _, client = first_sentinel(sentinels)
        master = master_fields(client, name)
        place = Place(master["ip"], int(master["port"]))
    try:
        found = run_pass(connect(place, password), timeout_s)
    except (redis.RedisError, TimeoutError) as error:
        raise fail(f"{place}: {error}") from None
    console.print(report_table(found))
    if not is_same(found):
        raise typer.Exit(3)


FileArgument = Annotated[
    str,
    typer.Argument(help="A snapshot, a log file, a manifest, or the folder that holds one."),
]


def inspect(path: str) -> LogReport:
    """What is in the files. Raises typer.Exit."""
    try:
        return inspect_log(Disk(), path, time.time_ns() // 1_000_000)
    except InputError as error:
        raise fail(f"{path}: {error}") from None
    except OSError as error:
        raise fail(f"{error.filename or path}: {error.strerror}") from None


@app.command()
def check(path: FileArgument) -> None:
    """Reads snapshots and logs to their end, verifies every checksum, and says what is in them."""
    report = inspect(path)
    for one in report.files:
        show_file(one)
    fault = report.fault
    if fault is None:
        return
    what = "the file is torn" if fault.torn else "damage"
    advice = "" if fault.kind != "log" else "; 'cachectl repair' cuts it there"
    raise fail(f"{fault.path}: {what} at offset {fault.good_bytes}: {fault.fault}{advice}")


@app.command()
def repair(
    path: FileArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Cuts a log at its first fault. What comes after it is put aside, and not loaded any more."""
    report = inspect(path)
    fault = report.fault
    if fault is None:
        console.print("nothing to repair: everything is whole")
        return
    lost_bytes = fault.size_bytes - fault.good_bytes
    console.print(f"{fault.path}: at offset {fault.good_bytes}: {fault.fault}")
    if not yes and not typer.confirm(f"Cut {lost_bytes} bytes, and the files after this one?"):
        raise typer.Exit(1)
    try:
        for line in repair_log(Disk(), report):
            console.print(line)
    except (InputError, OSError) as error:
        raise fail(str(error)) from None


def show_file(one: FileReport) -> None:
    """A line about a file, and a table where it has a snapshot."""
    if one.loaded is not None:
        show_data(one.loaded)
    if one.whole and one.kind != "log":
        console.print(f"{one.path}: whole, checksum verified")
    elif one.whole:
        console.print(
            f"{one.path}: whole, {one.frames} frames in {one.groups} groups verified,"
            f" {one.unsealed} commands that nothing seals"
        )
    if one.history:
        console.print(f"history: {one.history}")


def show_data(loaded: Loaded) -> None:
    """Keys by database and type, and the fields of the preamble."""
    table = Table()
    for column in ("database", "type", "keys"):
        table.add_column(column)
    for index, entries in enumerate(loaded.tables):
        kinds = Counter(kind_of(entry.value) for _, entry in entries.items())
        for kind, count in sorted(kinds.items()):
            table.add_row(str(index), kind, str(count))
    console.print(table)
    for name, value in loaded.aux.items():
        console.print(f"{name.decode('utf-8', 'replace')}: {value.decode('utf-8', 'replace')}")


def kind_of(value: Any) -> str:
    """The type's name as TYPE says it."""
    name: bytes = getattr(value, "type_name", b"string")
    return name.decode()


def main() -> int:
    """The command line's entry."""
    try:
        app()
    except redis.RedisError as error:
        errors.print(f"[red]cachectl:[/red] {error}", highlight=False)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
