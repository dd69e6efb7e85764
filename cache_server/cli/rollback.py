"""`cachectl rollback`: the writes that a leader had to give up, listed, shown, and done again.

A rollback file holds commands, not values: `replay` does them again, on top of whatever the data is
now, so a counter is raised once more and a list gets its elements behind those that came since.
Look first (`show`, `--dry-run`), and choose by key where not all of it is wanted.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from importlib import import_module
from itertools import groupby
from typing import Annotated, Any

import redis
import typer
from rich.table import Table

from cache_server.cli.asking import (
    DIAL_TIMEOUT_S,
    Place,
    console,
    encryption,
    errors,
    fail,
    parse_place,
)
from cache_server.commands.registry import MODULES
from cache_server.commands.table import Command
from cache_server.commands.touched_keys import UntraceableError, find_row, touched_keys
from cache_server.disk import Disk
from cache_server.errors import InputError
from cache_server.persistence.rollback import (
    UNKNOWN_DB,
    Discarded,
    RollbackHeader,
    RollbackReader,
    rollback_files,
)
from cache_server.structures.glob import match

rollback = typer.Typer(
    no_args_is_help=True,
    help="Writes that a rejoining leader had to give up: kept in files, shown, done again.",
)

#: Commands sent before their replies are waited for.
BATCH_COMMANDS = 500
#: Characters of a word that are shown.
WORD_SHOWN_MAX = 60
#: Refusals that are told one by one.
REFUSALS_SHOWN_MAX = 10

FileArgument = Annotated[str, typer.Argument(help="A rollback file.")]
MatchOption = Annotated[
    str, typer.Option("--match", help="Only commands on a key that fits this glob pattern.")
]
DatabaseOption = Annotated[
    int,
    typer.Option("--db", help="The database of commands whose database the file does not know."),
]
Choice = Callable[[Discarded], bool]


def opened(path: str) -> RollbackReader:
    """The file, its first line read. Raises typer.Exit."""
    try:
        return RollbackReader(Disk(), path)
    except InputError as error:
        raise fail(str(error)) from None
    except OSError as error:
        raise fail(f"{path}: {error.strerror}") from None


def verified(reader: RollbackReader) -> int:
    """Reads the file to its end; how many commands it holds. Raises typer.Exit."""
    try:
        return sum(1 for _ in reader.commands())
    except InputError as error:
        raise fail(str(error)) from None
    except OSError as error:
        raise fail(f"{reader.path}: {error.strerror}") from None


def command_rows() -> dict[bytes, Command]:
    """Every row of the command table by its name."""
    return {row.name.encode(): row for name in MODULES for row in import_module(name).COMMANDS}


def chosen_by(pattern: str) -> Choice:
    """Whether a command touches a key that fits; all do where there is no pattern."""
    if not pattern:
        return lambda one: True
    rows, wanted = command_rows(), pattern.encode("utf-8", "surrogateescape")

    def fits(one: Discarded) -> bool:
        try:
            touched = touched_keys(find_row(rows, one.words), one.words, max(0, one.database))
        except UntraceableError:
            return False
        return any(match(wanted, key) for _, key in touched.keys)

    return fits


def when(header: RollbackHeader) -> str:
    """The time at which the file was written."""
    return datetime.fromtimestamp(header.created_ms / 1000, UTC).isoformat(timespec="seconds")


@rollback.command("list")
def list_files(
    folder: Annotated[str, typer.Argument(help="The data folder of a node (its `dir`).")] = ".",
) -> None:
    """Lists the rollback files of a node, oldest first."""
    table = Table()
    for column in ("file", "written", "history", "offsets", "commands", "new leader", "whole"):
        table.add_column(column, no_wrap=column == "file")
    paths = rollback_files(folder)
    for path in paths:
        try:
            header = RollbackReader(Disk(), path).header
        except (InputError, OSError) as error:
            table.add_row(os.path.basename(path), "", "", "", "", "", f"[red]{error}[/red]")
            continue
        whole = "yes" if header.complete else f"lost before {header.start}"
        offsets = f"{header.fork} to {header.end}"
        id_shown = header.replid[:12]
        cells = (when(header), id_shown, offsets, str(header.commands), header.leader, whole)
        table.add_row(os.path.basename(path), *cells)
    console.print(table if paths else f"{folder}: no rollback files")


@rollback.command()
def show(
    path: FileArgument,
    pattern: MatchOption = "",
    limit: Annotated[int, typer.Option(help="Commands to show at most; 0 for all.")] = 0,
) -> None:
    """Verifies a file and shows its commands: offset, database, transaction, words."""
    reader = opened(path)
    count = verified(reader)
    show_header(reader.header)
    fits = chosen_by(pattern)
    shown = 0
    for one in reader.commands():
        if not fits(one):
            continue
        if limit and shown == limit:
            console.print("...")
            break
        shown += 1
        console.print(line_of(one), highlight=False, markup=False, soft_wrap=True)
    console.print(f"{shown} of {count} commands shown")


def show_header(header: RollbackHeader) -> None:
    """What a file says of itself."""
    console.print(
        f"history {header.replid}, offsets {header.start} to {header.end}, written {when(header)},"
        f" new leader {header.leader or 'unknown'}",
        highlight=False,
    )
    if not header.complete:
        console.print(
            f"[red]incomplete:[/red] writes from offset {header.fork} to {header.start} could not"
            " be kept",
            highlight=False,
        )


def line_of(one: Discarded) -> str:
    """A command on one line."""
    words = " ".join(shown_word(word) for word in one.words)
    database = "?" if one.database == UNKNOWN_DB else str(one.database)
    unit = f" multi {one.unit}" if one.unit else ""
    return f"{one.offset} db {database}{unit}: {words}"


def shown_word(word: bytes) -> str:
    """A word as it can be shown: long ones shortened, odd bytes escaped."""
    text = word[:WORD_SHOWN_MAX].decode("latin-1")
    plain = text.isascii() and text.isprintable() and text and not set(text) & set(" \"'\\")
    rest = f"... ({len(word)} bytes)" if len(word) > WORD_SHOWN_MAX else ""
    return (text if plain else repr(word[:WORD_SHOWN_MAX])[1:]) + rest


@rollback.command()
def replay(
    path: FileArgument,
    to: Annotated[str, typer.Option(help="host:port of the leader that is to do them.")],
    pattern: MatchOption = "",
    database: DatabaseOption = UNKNOWN_DB,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be sent; changes nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    user: Annotated[str, typer.Option(help="User name at the server.")] = "",
    password: Annotated[str, typer.Option(envvar="REDISCLI_AUTH", help="Its password.")] = "",
) -> None:
    """Does the commands of a file again, in their order, transactions as transactions.

    The whole file is verified before anything is sent. Ends with 3 where a command was refused."""
    place = parse_place(to, 6379)
    reader = opened(path)
    verified(reader)
    fits = chosen_by(pattern)
    chosen = [one for one in reader.commands() if fits(one)]
    if database == UNKNOWN_DB and any(one.database == UNKNOWN_DB for one in chosen):
        raise fail("the database of some commands is not known: say which with --db")
    chosen = [
        one._replace(database=database) if one.database == UNKNOWN_DB else one for one in chosen
    ]
    show_header(reader.header)
    if dry_run:
        for one in chosen:
            console.print(line_of(one), highlight=False, markup=False, soft_wrap=True)
        console.print(f"{len(chosen)} commands would be sent to {place}")
        return
    require_leader(place, user, password)
    if not yes and not typer.confirm(f"Send {len(chosen)} commands to {place}?"):
        raise typer.Exit(1)
    refusals = send(chosen, lambda index: client_of(place, index, user, password))
    done = len(chosen) - len(refusals)
    for text in refusals[:REFUSALS_SHOWN_MAX]:
        errors.print(text, highlight=False, markup=False)
    console.print(f"{done} commands done by {place}, {len(refusals)} refused")
    if refusals:
        raise typer.Exit(3)


def require_leader(place: Place, user: str, password: str) -> None:
    """Raises typer.Exit unless a leader answers there."""
    try:
        role = client_of(place, 0, user, password).execute_command("ROLE")
    except redis.RedisError as error:
        raise fail(f"{place}: {error}") from None
    word = role[0].decode() if isinstance(role[0], bytes) else str(role[0])
    if word != "master":
        raise fail(f"{place} is no leader ({word}): its data is another's")


def client_of(place: Place, index: int, user: str, password: str) -> Any:
    """A client of a server, in one database, that takes bytes as they are."""
    return redis.Redis(
        place.host,
        place.port,
        index,
        password or None,
        username=user or None,
        socket_connect_timeout=DIAL_TIMEOUT_S,
        protocol=2,
        **encryption,
    )


def batches(chosen: Iterable[Discarded]) -> Iterator[tuple[int, bool, list[Discarded]]]:
    """What is sent together: a database, whether as a transaction, and the commands."""
    for (index, unit), group in groupby(chosen, key=lambda one: (one.database, one.unit)):
        together = list(group)
        if unit:
            yield index, len(together) > 1, together
            continue
        for at in range(0, len(together), BATCH_COMMANDS):
            yield index, False, together[at : at + BATCH_COMMANDS]


def send(chosen: Iterable[Discarded], client_at: Callable[[int], Any]) -> list[str]:
    """Sends the commands; a line for each that was refused. Raises typer.Exit where the link
    ends."""
    clients: dict[int, Any] = {}
    refusals = []
    sent = 0
    try:
        for index, atomic, together in batches(chosen):
            if index not in clients:
                clients[index] = client_at(index)
            pipe = clients[index].pipeline(transaction=atomic)
            for one in together:
                pipe.execute_command(*one.words)
            replies = pipe.execute(raise_on_error=False)
            refusals += [
                f"{line_of(one)}: {reply}"
                for one, reply in zip(together, replies)
                if isinstance(reply, redis.RedisError)
            ]
            sent += len(together)
    except redis.RedisError as error:
        raise fail(f"after {sent} commands: {error}") from None
    return refusals


__all__ = ["rollback"]
