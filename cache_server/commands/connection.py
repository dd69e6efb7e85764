"""AUTH, HELLO, PING, ECHO, SELECT, RESET, QUIT."""

from __future__ import annotations

from typing import Any

from cache_server import client as states
from cache_server.access.users import DEFAULT
from cache_server.commands.table import Command
from cache_server.commands.transactions import forget_transaction
from cache_server.constants import REDIS_VERSION
from cache_server.datatypes.arguments import integer_or_none
from cache_server.errors import CommandError, syntax_error, wrong_arity
from cache_server.wire.replies import OK, PONG, Map, Status

RESET_DONE = Status(b"RESET")
_SUBSCRIBED = states.SUBSCRIBED


def auth_command(ctx: Any, args: list[bytes]) -> Any:
    """AUTH [username] password"""
    if len(args) > 3:
        raise syntax_error()
    if len(args) == 2:
        if ctx.server.access.users.default.no_password:
            raise CommandError(
                b"ERR AUTH <password> called without any password configured for the default user. "
                b"Are you sure your configuration is correct?"
            )
        ctx.server.access.authenticate(ctx, args[0], DEFAULT, args[1])
    else:
        ctx.server.access.authenticate(ctx, args[0], args[1], args[2])
    return OK


def hello_command(ctx: Any, args: list[bytes]) -> Any:
    """HELLO [protover [AUTH username password] [SETNAME clientname]]"""
    protocol = 0
    if len(args) > 1:
        version = integer_or_none(args[1])
        if version is None:
            raise CommandError(b"ERR Protocol version is not an integer or out of range")
        if version not in (2, 3):
            raise CommandError(b"NOPROTO unsupported protocol version")
        protocol = version
    index = 2
    while index < len(args):
        option, rest = args[index].lower(), len(args) - index - 1
        if option == b"auth" and rest >= 2:
            ctx.server.access.authenticate(ctx, args[0], args[index + 1], args[index + 2])
            index += 3
        elif option == b"setname" and rest:
            set_name(ctx, args[index + 1])
            index += 2
        else:
            raise CommandError(b"ERR Syntax error in HELLO option '%b'" % args[index])
    if ctx.flags & states.UNAUTHENTICATED:
        raise CommandError(
            b"NOAUTH HELLO must be called with the client already authenticated, otherwise the "
            b"HELLO AUTH <user> <pass> option can be used to authenticate the client and select "
            b"the RESP protocol version at the same time"
        )
    if protocol and ctx.channel is not None:
        ctx.channel.writer.protocol = protocol
    role = b"replica" if ctx.config.replicaof else b"master"
    shown: list[Any] = [b"server", b"redis", b"version", REDIS_VERSION.encode()]
    shown += [b"proto", ctx.protocol, b"id", ctx.id, b"mode", b"standalone"]
    return Map([*shown, b"role", role, b"modules", []])


def ping_command(ctx: Any, args: list[bytes]) -> Any:
    """PING [message]; a RESP2 client with subscriptions gets it as a message."""
    if len(args) > 2:
        raise wrong_arity("ping")
    if ctx.flags & _SUBSCRIBED and ctx.protocol == 2:
        return [b"pong", args[1] if len(args) == 2 else b""]
    return args[1] if len(args) == 2 else PONG


def echo_command(ctx: Any, args: list[bytes]) -> bytes:
    """ECHO message"""
    return args[1]


def select_command(ctx: Any, args: list[bytes]) -> Any:
    """SELECT index"""
    index = integer_or_none(args[1])
    if index is None:
        raise CommandError(b"ERR value is not an integer or out of range")
    databases = ctx.keyspace.databases
    if not 0 <= index < len(databases):
        raise CommandError(b"ERR DB index is out of range")
    ctx.db = databases[index]
    return OK


def quit_command(ctx: Any, args: list[bytes]) -> Any:
    """QUIT"""
    if ctx.connection is not None:
        ctx.connection.close_after_reply()
    return OK


def reset_command(ctx: Any, args: list[bytes]) -> Any:
    """RESET: the connection is as if it had just been made."""
    server = ctx.server
    if ctx.flags & (states.FOLLOWER | states.LEADER):
        raise CommandError(b"ERR can only reset normal client connections")
    forget_transaction(ctx)
    server.pubsub.remove_all(ctx)
    server.monitors.remove(ctx)
    server.tracking.end(ctx)
    ctx.db = ctx.keyspace.databases[0]
    ctx.name = b""
    ctx.flags &= ~(states.REPLY_OFF | states.REPLY_SKIP | states.REPLY_SKIP_NEXT | states.NO_EVICT)
    if ctx.channel is not None:
        ctx.channel.writer.protocol = 2
        server.access.begin(ctx)
    return RESET_DONE


def set_name(ctx: Any, name: bytes) -> None:
    """Names the connection. Raises for bytes that would break CLIENT LIST's lines."""
    if any(not 0x21 <= byte <= 0x7E for byte in name):
        raise CommandError(
            b"ERR Client names cannot contain spaces, newlines or special characters."
        )
    ctx.name = name


_ALWAYS = "noscript loading stale fast no_auth allow_busy"

COMMANDS = [
    Command(
        "auth",
        -2,
        _ALWAYS,
        auth_command,
        group="connection",
        summary="Authenticate to the server",
        complexity="O(N) where N is the number of passwords defined for the user",
    ),
    Command(
        "hello",
        -1,
        _ALWAYS,
        hello_command,
        group="connection",
        since="6.0.0",
        summary="Handshake with Redis",
    ),
    Command("ping", -1, "fast", ping_command, group="connection", summary="Ping the server"),
    Command(
        "echo",
        2,
        "loading stale fast",
        echo_command,
        group="connection",
        summary="Echo the given string",
    ),
    Command(
        "select",
        2,
        "loading stale fast",
        select_command,
        group="connection",
        summary="Change the selected database for the current connection",
    ),
    Command(
        "reset",
        1,
        _ALWAYS,
        reset_command,
        group="connection",
        since="6.2.0",
        summary="Reset the connection",
    ),
    Command("quit", -1, _ALWAYS, quit_command, group="connection", summary="Close the connection"),
]
