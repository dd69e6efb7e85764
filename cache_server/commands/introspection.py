"""COMMAND: the command table as clients ask for it.

Source: https://redis.io/docs/latest/commands/command/ and its subcommands' pages.
"""

from __future__ import annotations

from typing import Any

from cache_server.commands import documentation
from cache_server.commands.helping import help_row
from cache_server.commands.key_flags import flags_of_key
from cache_server.commands.table import EXTENSION, WRITE, Command
from cache_server.errors import CommandError, syntax_error
from cache_server.structures.glob import matcher
from cache_server.wire.replies import NULL_ARRAY, Map, SetReply, Status

_HIDDEN_FLAGS = frozenset(("may_replicate", "protected"))


def describe(row: Command) -> list[Any]:
    """One row as COMMAND INFO shows it."""
    flags = [flag for flag in row.flag_names if flag not in _HIDDEN_FLAGS]
    if row.find_keys is not None and "movablekeys" not in flags:
        flags.append("movablekeys")
    return [
        row.full_name.encode(),
        row.arity,
        documentation.statuses(flags),
        row.first_key,
        row.last_key,
        row.key_step,
        SetReply(Status(b"@" + category.encode()) for category in row.categories),
        documentation.tips(row.full_name),
        documentation.key_specifications(row.full_name),
        [describe(sub) for sub in row.subcommands.values()] if row.subcommands else SetReply(),
    ]


def _find(ctx: Any, name: bytes) -> Command | None:
    """The row for a name, or for container|subcommand."""
    first, _, rest = name.lower().partition(b"|")
    row: Command | None = ctx.server.dispatcher.commands.get(first)
    if row is not None and rest:
        return (row.subcommands or {}).get(rest)
    return row


def command_command(ctx: Any, args: list[bytes]) -> Any:
    """COMMAND"""
    return [describe(row) for row in ctx.server.dispatcher.commands.values()]


def command_count_command(ctx: Any, args: list[bytes]) -> int:
    """COMMAND COUNT"""
    return len(ctx.server.dispatcher.commands)


def command_info_command(ctx: Any, args: list[bytes]) -> Any:
    """COMMAND INFO [name ...]"""
    if len(args) == 2:
        return command_command(ctx, args)
    rows = [_find(ctx, name) for name in args[2:]]
    return [NULL_ARRAY if row is None else describe(row) for row in rows]


def command_docs_command(ctx: Any, args: list[bytes]) -> Any:
    """COMMAND DOCS [name ...]"""
    names = args[2:]
    rows = [_find(ctx, name) for name in names]
    if not names:
        rows = list(ctx.server.dispatcher.commands.values())
    reply = Map()
    for row in rows:
        if row is not None:
            reply += [row.full_name.encode(), _documentation(row)]
    return reply


def _documentation(row: Command) -> Map:
    reply = Map()
    for field in ("summary", "since", "group", "complexity"):
        value = getattr(row, field)
        if value:
            reply += [field.encode(), value.encode()]
    reply += documentation.fields(row.full_name)
    if row.subcommands:
        subcommands = Map()
        for sub in row.subcommands.values():
            subcommands += [sub.full_name.encode(), _documentation(sub)]
        reply += [b"subcommands", subcommands]
    return reply


def _asked_about(ctx: Any, args: list[bytes]) -> tuple[Command, list[bytes]]:
    """The row and the arguments of the command that COMMAND GETKEYS is asked about."""
    request = args[2:]
    row = _find(ctx, request[0])
    if row is not None and row.subcommands and len(request) > 1:
        row = row.subcommands.get(request[1].lower())
    if row is None:
        raise CommandError(b"ERR Invalid command specified")
    if row.first_key == 0 and row.find_keys is None:
        raise CommandError(b"ERR The command has no key arguments")
    if not row.accepts(len(request)):
        raise CommandError(b"ERR Invalid number of arguments specified for command")
    return row, request


def command_getkeys_command(ctx: Any, args: list[bytes]) -> list[bytes]:
    """COMMAND GETKEYS command [arg ...]"""
    row, request = _asked_about(ctx, args)
    return [request[position] for position in _positions(row, request)]


def command_getkeysandflags_command(ctx: Any, args: list[bytes]) -> Any:
    """COMMAND GETKEYSANDFLAGS command [arg ...]"""
    row, request = _asked_about(ctx, args)
    writes = bool(row.flags & WRITE)
    reply: list[Any] = []
    for index, position in enumerate(_positions(row, request)):
        flags = flags_of_key(row.full_name, writes, index, request)
        reply.append([request[position], SetReply(Status(flag.encode()) for flag in flags)])
    return reply


def _positions(row: Command, request: list[bytes]) -> list[int]:
    try:
        positions = row.key_positions(request)
    except IndexError:
        positions = []
    if not positions and "no_mandatory_keys" not in row.flag_names:
        raise CommandError(b"ERR Invalid arguments specified for command")
    return positions


def command_list_command(ctx: Any, args: list[bytes]) -> Any:
    """COMMAND LIST [FILTERBY MODULE name | ACLCAT category | PATTERN pattern]"""
    names = _all_names(ctx)
    if len(args) == 2:
        return [name.encode() for name, row in names.items() if row.group != EXTENSION]
    if len(args) != 5 or args[2].lower() != b"filterby":
        raise syntax_error()
    kind, value = args[3].lower(), args[4]
    if kind == b"module":
        return []
    if kind == b"aclcat":
        category = value.lower().decode("latin-1")
        return [name.encode() for name, row in names.items() if category in row.categories]
    if kind == b"pattern":
        matches = matcher(value, True)
        return [name.encode() for name in names if matches(name.encode())]
    raise syntax_error()


def _all_names(ctx: Any) -> dict[str, Command]:
    names: dict[str, Command] = {}
    for row in ctx.server.dispatcher.commands.values():
        names[row.name] = row
        names.update({sub.full_name: sub for sub in (row.subcommands or {}).values()})
    return names


def _row(
    name: str, arity: int, handler: Any, since: str, summary: str, complexity: str = "O(1)"
) -> Command:
    return Command(
        name,
        arity,
        "loading stale",
        handler,
        group="server",
        since=since,
        summary=summary,
        complexity=complexity,
        categories="connection",
    )


_ROWS = [
    _row("count", 2, command_count_command, "2.8.13", "Get total number of Redis commands"),
    _row(
        "docs",
        -2,
        command_docs_command,
        "7.0.0",
        "Get array of specific Redis command documentation",
        "O(N) where N is the number of commands to look up",
    ),
    _row(
        "getkeys",
        -4,
        command_getkeys_command,
        "2.8.13",
        "Extract keys given a full Redis command",
        "O(N) where N is the number of arguments to the command",
    ),
    _row(
        "getkeysandflags",
        -4,
        command_getkeysandflags_command,
        "7.0.0",
        "Extract keys and access flags given a full Redis command",
        "O(N) where N is the number of arguments to the command",
    ),
    _row(
        "info",
        -2,
        command_info_command,
        "2.8.13",
        "Get array of specific Redis command details, or all when no argument is given.",
        "O(N) where N is the number of commands to look up",
    ),
    _row(
        "list",
        -2,
        command_list_command,
        "7.0.0",
        "Get an array of Redis command names",
        "O(N) where N is the total number of Redis commands",
    ),
    help_row(
        "COMMAND",
        "(no subcommand)",
        "    Return details about all commands.",
        "COUNT",
        "    Return how many commands there are.",
        "DOCS [<command-name> ...]",
        "    Return the documentation of commands, of all where none is named.",
        "GETKEYS <full-command>",
        "    Return the keys in a request.",
        "GETKEYSANDFLAGS <full-command>",
        "    Return the keys in a request, and what is done with them.",
        "INFO [<command-name> ...]",
        "    Return details about commands, about all where none is named.",
        "LIST [FILTERBY (MODULE <name>|ACLCAT <category>|PATTERN <pattern>)]",
        "    Return the names of commands.",
        group="server",
        since="5.0.0",
        categories="connection",
    ),
]

COMMANDS = [
    Command(
        "command",
        -1,
        "loading stale",
        command_command,
        group="server",
        since="2.8.13",
        summary="Get array of Redis command details",
        complexity="O(N) where N is the total number of Redis commands",
        categories="connection",
        subcommands=_ROWS,
    )
]
