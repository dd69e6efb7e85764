"""`cachectl failover`, `cachectl history`: changes of leader by hand, and what happened before."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated, Any

import redis
import typer

from cache_server.cli.asking import (
    SENTINELS_DEFAULT,
    PasswordOption,
    Place,
    SentinelOption,
    ask_sentinel,
    connect,
    console,
    fail,
    first_sentinel,
    master_fields,
    parse_place,
)

failover = typer.Typer(
    invoke_without_command=True,
    help="Hands the lead over to a follower: writes pause, it catches up, nothing is lost.",
)

NameOption = Annotated[
    str, typer.Option("--name", "-n", help="Master name, where there are several.")
]


def ask_failover(
    client: Any, leader: Place, name: str, to: Place | None, password: str, *, forced: bool
) -> None:
    """Asks for the change; returns when it is accepted. Raises typer.Exit."""
    try:
        if to is None:
            ask_sentinel(client, "FAILOVER", name, *(["FORCE-NEW-HISTORY"] if forced else []))
        else:
            node = connect(leader, password)
            node.execute_command("FAILOVER", "TO", to.host, str(to.port), "TIMEOUT", "10000")
    except redis.RedisError as error:
        raise fail(str(error)) from None


def explanation(client: Any, name: str) -> list[str]:
    """SENTINEL EXPLAIN. Raises typer.Exit where the sentinel does not know it."""
    try:
        lines: list[str] = ask_sentinel(client, "EXPLAIN", name)
    except redis.RedisError as error:
        raise fail(f"the sentinel cannot explain itself: {error}") from None
    return lines


@failover.callback()
def hand_over(
    context: typer.Context,
    name: NameOption = "",
    to: Annotated[str, typer.Option(help="host:port of the follower that is to lead.")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would happen; changes nothing.")
    ] = False,
    forced: Annotated[
        bool,
        typer.Option(
            "--force-new-history",
            help="Also a follower that may lack acknowledged writes. They are lost then.",
        ),
    ] = False,
    timeout_s: Annotated[float, typer.Option("--timeout", help="Seconds to wait.")] = 30.0,
    sentinels: SentinelOption = SENTINELS_DEFAULT,
    password: PasswordOption = "",
) -> None:
    """Hands the lead over to a follower: writes pause, it catches up, nothing is lost."""
    if context.invoked_subcommand is not None:
        return
    _, client = first_sentinel(sentinels)
    master = master_fields(client, name)
    old = Place(master["ip"], int(master["port"]))
    target = parse_place(to, 6379) if to else None
    if target == old:
        raise fail(f"{old} leads already")
    if dry_run:
        console.print(*explanation(client, master["name"]), sep="\n", highlight=False)
        return
    begun = time.monotonic()
    ask_failover(client, old, master["name"], target, password, forced=forced)
    while time.monotonic() - begun < timeout_s:
        host, port = ask_sentinel(client, "GET-MASTER-ADDR-BY-NAME", master["name"])
        if (new := Place(host, int(port))) != old:
            took_ms = (time.monotonic() - begun) * 1000
            console.print(f"{master['name']}: {old} -> [bold]{new}[/bold] in {took_ms:.0f} ms")
            return
        time.sleep(0.02)
    raise fail(f"{old} still leads after {timeout_s:.0f} s: try `cachectl failover explain`")


@failover.command()
def explain(
    name: NameOption = "",
    sentinels: SentinelOption = SENTINELS_DEFAULT,
) -> None:
    """Tells why a failover happens, or does not: detection, votes, each candidate, the loss."""
    for word in sentinels.split(","):
        place, client = first_sentinel(word)
        master = master_fields(client, name)
        console.print(f"[bold]{place}[/bold]")
        console.print(*explanation(client, master["name"]), sep="\n", highlight=False)


def history(
    count: Annotated[int, typer.Option(help="Events of each sentinel.")] = 100,
    sentinels: SentinelOption = SENTINELS_DEFAULT,
) -> None:
    """Shows the recorded role changes of all the sentinels named, in order of time."""
    found: set[tuple[int, str, str]] = set()
    for word in sentinels.split(","):
        place, client = first_sentinel(word)
        try:
            lines: list[str] = ask_sentinel(client, "HISTORY", str(count))
        except redis.RedisError as error:
            raise fail(f"{place}: {error}") from None
        for line in lines:
            at, _, event = line.partition(" ")
            found.add((int(at), str(place), event))
    for at_ms, who, event in sorted(found):
        at = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
        console.print(f"{at} {who} {event}", highlight=False)
