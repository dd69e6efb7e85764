"""What the parts of `cachectl` share: places, connections, questions to sentinels."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated, Any

import redis
import typer
from rich.console import Console

SENTINELS_DEFAULT = "127.0.0.1:26379"
SENTINELS_VARIABLE = "CACHECTL_SENTINELS"
DIAL_TIMEOUT_S = 2.0
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
encryption: Fields = {}


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
        **encryption,
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
