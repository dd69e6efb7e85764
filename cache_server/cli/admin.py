"""`cachectl`: the state of a cluster, and changes of leader by hand, for people.

Everything is asked of the sentinels and the data nodes over the ordinary protocol, so that it works
with stock redis-server and redis-sentinel as well.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from typing import Annotated, Any

import redis
import typer
from rich.table import Table

from cache_server.cli import changing, doctor
from cache_server.cli.asking import (
    SENTINELS_DEFAULT,
    Fields,
    PasswordOption,
    Place,
    SentinelOption,
    ask_sentinel,
    connect,
    console,
    encryption,
    errors,
    fail,
    first_sentinel,
    master_fields,
    pairs,
    parse_place,
)
from cache_server.cli.rollback import opened, rollback, show_header, verified
from cache_server.cli.verify import is_same, report_table, run_pass
from cache_server.disk import Disk
from cache_server.errors import InputError
from cache_server.persistence.inspection import FileReport, LogReport, inspect_log
from cache_server.persistence.inspection import repair as repair_log
from cache_server.persistence.rollback import is_rollback
from cache_server.persistence.snapshot_codec import Loaded

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
)


@app.callback()
def encrypt(
    tls: Annotated[bool, typer.Option("--tls", help="Connect with TLS.")] = False,
    cacert: Annotated[str, typer.Option(help="Certificates of the authorities, a file.")] = "",
    cert: Annotated[str, typer.Option(help="Certificate to show, a file.")] = "",
    key: Annotated[str, typer.Option(help="Private key of the certificate, a file.")] = "",
) -> None:
    """Shows and steers a cluster of cache-server and cache-sentinel."""
    encryption.clear()
    if tls:
        files = {"ssl_ca_certs": cacert, "ssl_certfile": cert, "ssl_keyfile": key}
        encryption.update({"ssl": True, "ssl_check_hostname": False})
        encryption.update({name: file for name, file in files.items() if file})


app.add_typer(changing.failover, name="failover")
app.add_typer(rollback, name="rollback")
app.command()(changing.history)
app.command()(doctor.doctor)


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
    typer.Argument(help="A snapshot, a log or rollback file, a manifest, or the folder of one."),
]


def is_rollback_file(path: str) -> bool:
    """Whether a file begins as a rollback file does."""
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return is_rollback(file.read(16))


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
    """Reads snapshots, logs and rollback files to their end, verifies every checksum, and says what
    is in them."""
    if is_rollback_file(path):
        reader = opened(path)
        count = verified(reader)
        show_header(reader.header)
        console.print(f"{path}: whole, {count} discarded commands verified")
        return
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
