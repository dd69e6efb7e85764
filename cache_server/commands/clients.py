"""CLIENT: who is connected, and what can be done about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cache_server import client as states
from cache_server.commands.client_lines import class_named, client_class, describe
from cache_server.commands.client_tracking import HELP as TRACKING_HELP
from cache_server.commands.client_tracking import ROWS as tracking_rows  # noqa: N811
from cache_server.commands.connection import set_name
from cache_server.commands.helping import help_row, switch
from cache_server.commands.pausing import BY_CLIENT
from cache_server.commands.table import Command, container_only
from cache_server.datatypes.arguments import integer_or_none, parse_integer
from cache_server.errors import CommandError, syntax_error
from cache_server.wire.replies import NO_REPLY, OK, Verbatim

Test = Callable[[Any], bool]


def client_id_command(ctx: Any, args: list[bytes]) -> int:
    """CLIENT ID"""
    return int(ctx.id)


def client_info_command(ctx: Any, args: list[bytes]) -> Any:
    """CLIENT INFO"""
    return _lines([ctx], ctx, args)


def client_list_command(ctx: Any, args: list[bytes]) -> Any:
    """CLIENT LIST [TYPE type] [ID id [id ...]]"""
    clients = ctx.server.clients
    if len(args) == 4 and args[2].lower() == b"type":
        kind = _class(args[3])
        chosen = [client for client in clients.values() if client_class(client) == kind]
    elif len(args) > 3 and args[2].lower() == b"id":
        chosen = []
        for word in args[3:]:
            number = integer_or_none(word)
            if number is None:
                raise CommandError(b"ERR Invalid client ID")
            if number in clients:
                chosen.append(clients[number])
    elif len(args) == 2:
        chosen = list(clients.values())
    else:
        raise syntax_error()
    return _lines(chosen, ctx, args)


def _lines(clients: list[Any], ctx: Any, args: list[bytes]) -> Verbatim:
    now_ms = ctx.keyspace.now_ms
    text = "".join(
        describe(client, now_ms, args if client is ctx else None) + "\n"
        for client in clients
        if client.channel is not None and not client.flags & states.CLOSED
    )
    return Verbatim(text.encode("utf-8", "surrogateescape"))


def _class(word: bytes) -> str:
    kind = class_named(word)
    if kind is None:
        raise CommandError(b"ERR Unknown client type '%b'" % word)
    return kind


def client_setname_command(ctx: Any, args: list[bytes]) -> Any:
    """CLIENT SETNAME connection-name"""
    set_name(ctx, args[2])
    return OK


def client_getname_command(ctx: Any, args: list[bytes]) -> bytes | None:
    """CLIENT GETNAME"""
    return ctx.name or None


def client_reply_command(ctx: Any, args: list[bytes]) -> Any:
    """CLIENT REPLY ON|OFF|SKIP"""
    mode = args[2].lower()
    if mode == b"on":
        ctx.flags &= ~(states.REPLY_OFF | states.REPLY_SKIP | states.REPLY_SKIP_NEXT)
        return OK
    if mode == b"off":
        ctx.flags |= states.REPLY_OFF
        return NO_REPLY
    if mode == b"skip":
        if not ctx.flags & states.REPLY_OFF:
            ctx.flags |= states.REPLY_SKIP_NEXT
        return NO_REPLY
    raise syntax_error()


def client_no_evict_command(ctx: Any, args: list[bytes]) -> Any:
    """CLIENT NO-EVICT ON|OFF"""
    if switch(args[2]):
        ctx.flags |= states.NO_EVICT
    else:
        ctx.flags &= ~states.NO_EVICT
    return OK


def client_kill_command(ctx: Any, args: list[bytes]) -> Any:
    """CLIENT KILL ip:port | filter value [filter value ...]"""
    clients = list(ctx.server.clients.values())
    if len(args) == 3:
        address = args[2].decode("utf-8", "surrogateescape")
        tests: list[Test] = [lambda client: bool(client.peer == address)]
        chosen = [client for client in clients if client.peer == address]
        if not chosen and not _kill_leader_link(ctx, tests):
            raise CommandError(b"ERR No such client")
    else:
        tests, skip_me = _kill_filters(ctx, args)
        chosen = [
            client
            for client in clients
            if not (client is ctx and skip_me) and all(test(client) for test in tests)
        ]
    for client in chosen:
        if client is ctx:
            ctx.connection.close_after_reply()
        else:
            ctx.server.kill(client)
    if len(args) == 3:
        return OK
    return len(chosen) + _kill_leader_link(ctx, tests)


def _kill_leader_link(ctx: Any, tests: list[Test]) -> int:
    """The link to our leader is not among the connections; it is closed and dialled again."""
    replication = ctx.server.replication
    stream_client = replication.following.applier.client
    return int(all(test(stream_client) for test in tests) and replication.following.cut())


def _kill_filters(ctx: Any, args: list[bytes]) -> tuple[list[Test], bool]:
    if len(args) % 2:
        raise syntax_error()
    tests: list[Test] = []
    skip_me = True
    for index in range(2, len(args), 2):
        option, value = args[index].lower(), args[index + 1]
        if option == b"skipme":
            if value.lower() not in (b"yes", b"no"):
                raise syntax_error()
            skip_me = value.lower() == b"yes"
        else:
            tests.append(_kill_test(ctx, option, value))
    return tests, skip_me


def _kill_test(ctx: Any, option: bytes, value: bytes) -> Test:
    text = value.decode("utf-8", "surrogateescape")
    if option == b"id":
        number = integer_or_none(value)
        if number is None or number < 1:
            raise CommandError(b"ERR client-id should be greater than 0")
        return lambda client: bool(client.id == number)
    if option == b"type":
        kind = _class(value)
        return lambda client: client_class(client) == kind
    if option == b"addr":
        return lambda client: bool(client.peer == text)
    if option == b"laddr":
        return lambda client: bool(client.local == text)
    if option == b"user":
        user = ctx.server.access.users.find(value)
        if user is None:
            raise CommandError(b"ERR No such user '%b'" % value)
        return lambda client: client.user is user
    raise syntax_error()


def client_pause_command(ctx: Any, args: list[bytes]) -> Any:
    """CLIENT PAUSE timeout-ms [WRITE|ALL]"""
    if len(args) > 4:
        raise syntax_error()
    mode = args[3].lower() if len(args) == 4 else b"all"
    if mode not in (b"write", b"all"):
        raise CommandError(b"ERR CLIENT PAUSE mode must be WRITE or ALL")
    span_ms = integer_or_none(args[2])
    if span_ms is None or span_ms + ctx.keyspace.now_ms >= 2**63:
        raise CommandError(b"ERR timeout is not an integer or out of range")
    if span_ms < 0:
        raise CommandError(b"ERR timeout is negative")
    ctx.server.pauses.pause(BY_CLIENT, ctx.keyspace.now_ms + span_ms, mode == b"all")
    return OK


def client_unpause_command(ctx: Any, args: list[bytes]) -> Any:
    """CLIENT UNPAUSE"""
    ctx.server.pauses.end(BY_CLIENT)
    return OK


def client_unblock_command(ctx: Any, args: list[bytes]) -> int:
    """CLIENT UNBLOCK client-id [TIMEOUT|ERROR]"""
    if len(args) > 4:
        raise syntax_error()
    reason = args[3].lower() if len(args) == 4 else b"timeout"
    if reason not in (b"timeout", b"error"):
        raise CommandError(b"ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
    target = ctx.server.clients.get(parse_integer(args[2]))
    if target is None:
        return 0
    return int(ctx.server.unblock(target, reason == b"error"))


def _row(
    name: str,
    arity: int,
    handler: Any,
    since: str,
    summary: str,
    complexity: str = "O(1)",
    admin: bool = False,
) -> Command:
    return Command(
        name,
        arity,
        ("admin " if admin else "") + "noscript loading stale",
        handler,
        group="connection",
        since=since,
        summary=summary,
        complexity=complexity,
    )


_ROWS = [
    _row("id", 2, client_id_command, "5.0.0", "Returns the client ID for the current connection"),
    _row(
        "info",
        2,
        client_info_command,
        "6.2.0",
        "Returns information about the current client connection.",
    ),
    _row(
        "list",
        -2,
        client_list_command,
        "2.4.0",
        "Get the list of client connections",
        "O(N) where N is the number of client connections",
        admin=True,
    ),
    _row("setname", 3, client_setname_command, "2.6.9", "Set the current connection name"),
    _row("getname", 2, client_getname_command, "2.6.9", "Get the current connection name"),
    _row(
        "reply",
        3,
        client_reply_command,
        "3.2.0",
        "Instruct the server whether to reply to commands",
    ),
    _row(
        "no-evict",
        3,
        client_no_evict_command,
        "7.0.0",
        "Set client eviction mode for the current connection",
        admin=True,
    ),
    _row(
        "kill",
        -3,
        client_kill_command,
        "2.4.0",
        "Kill the connection of a client",
        "O(N) where N is the number of client connections",
        admin=True,
    ),
    _row(
        "pause",
        -3,
        client_pause_command,
        "2.9.50",
        "Stop processing commands from clients for some time",
        admin=True,
    ),
    _row(
        "unpause",
        2,
        client_unpause_command,
        "6.2.0",
        "Resume processing of clients that were paused",
        "O(N) Where N is the number of paused clients",
        admin=True,
    ),
    _row(
        "unblock",
        -3,
        client_unblock_command,
        "5.0.0",
        "Unblock a client blocked in a blocking command from a different connection",
        "O(log N) where N is the number of client connections",
        admin=True,
    ),
    *tracking_rows,
    help_row(
        "CLIENT",
        "GETNAME",
        "    Return the name of the current connection.",
        "ID",
        "    Return the id of the current connection.",
        "INFO",
        "    Return a line about the current connection.",
        "KILL <ip:port>",
        "    Close the connection from an address.",
        "KILL <option> <value> [<option> <value> [...]]",
        "    Close the connections that all options name:",
        "    * ADDR (<ip:port>|<unixsocket>:0): made from the address",
        "    * LADDR (<ip:port>|<unixsocket>:0): made to the address",
        "    * ID <client-id>",
        "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
        "    * USER <username>",
        "    * SKIPME (YES|NO): spare the current connection (default: yes)",
        "LIST [TYPE (NORMAL|MASTER|REPLICA|PUBSUB)] [ID <client-id> ...]",
        "    Return a line about each connection.",
        "NO-EVICT (ON|OFF)",
        "    Protect the current connection from eviction.",
        "PAUSE <timeout> [WRITE|ALL]",
        "    Let all requests, or those that write, wait for <timeout> milliseconds.",
        "REPLY (ON|OFF|SKIP)",
        "    Say which replies the current connection wants.",
        "SETNAME <name>",
        "    Name the current connection.",
        *TRACKING_HELP,
        "UNBLOCK <client-id> [TIMEOUT|ERROR]",
        "    End the wait of a blocked client.",
        "UNPAUSE",
        "    End the pause.",
        group="connection",
        since="5.0.0",
    ),
]

COMMANDS = [
    Command(
        "client",
        -2,
        "",
        container_only,
        group="connection",
        since="2.4.0",
        summary="A container for client connection commands",
        complexity="Depends on subcommand.",
        subcommands=_ROWS,
    )
]
