"""CLIENT TRACKING, CACHING, GETREDIR, TRACKINGINFO: how a client says what it keeps copies of."""

from __future__ import annotations

from typing import Any

from cache_server import client as states
from cache_server.commands.table import Command
from cache_server.datatypes.arguments import parse_integer
from cache_server.errors import CommandError, syntax_error
from cache_server.wire.replies import OK, Map, SetReply

_OPTIONS = frozenset((b"bcast", b"optin", b"optout", b"noloop"))


def client_tracking_command(ctx: Any, args: list[bytes]) -> Any:
    """CLIENT TRACKING ON|OFF [REDIRECT id] [PREFIX p ...] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]"""
    redirect, prefixes, options = 0, [], set()
    index = 3
    while index < len(args):
        option, more = args[index].lower(), index + 1 < len(args)
        if option == b"redirect" and more:
            index += 1
            redirect = _redirect(ctx, args[index], redirect)
        elif option == b"prefix" and more:
            index += 1
            prefixes.append(args[index])
        elif option in _OPTIONS:
            options.add(option)
        else:
            raise syntax_error()
        index += 1
    mode, tracking = args[2].lower(), ctx.server.tracking
    if mode == b"off":
        tracking.end(ctx)
    elif mode == b"on":
        _check(options, prefixes, tracking.clients.get(ctx))
        if b"bcast" in options:
            tracking.check_prefixes(ctx, prefixes)
        tracking.begin(ctx, redirect, frozenset(options), prefixes)
    else:
        raise syntax_error()
    return OK


def _redirect(ctx: Any, word: bytes, known: int) -> int:
    if known:
        raise CommandError(b"ERR A client can only redirect to a single other client")
    client_id = parse_integer(word)
    if client_id not in ctx.server.clients:
        raise CommandError(b"ERR The client ID you want redirect to does not exist")
    return client_id


def _check(options: set[bytes], prefixes: list[bytes], state: Any) -> None:
    """Raises CommandError for options that do not fit together, or to how the client tracks."""
    if prefixes and b"bcast" not in options:
        raise CommandError(b"ERR PREFIX option requires BCAST mode to be enabled")
    if state is not None and state.broadcast != (b"bcast" in options):
        raise CommandError(
            b"ERR You can't switch BCAST mode on/off before disabling tracking for this client, "
            b"and then re-enabling it with a different mode."
        )
    if b"bcast" in options and options & {b"optin", b"optout"}:
        raise CommandError(b"ERR OPTIN and OPTOUT are not compatible with BCAST")
    if options >= {b"optin", b"optout"}:
        raise CommandError(b"ERR You can't specify both OPTIN mode and OPTOUT mode")
    for new, old in ((b"optin", b"optout"), (b"optout", b"optin")):
        if state is not None and new in options and old in state.options:
            raise CommandError(
                b"ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this "
                b"client, and then re-enabling it with a different mode."
            )


def client_caching_command(ctx: Any, args: list[bytes]) -> Any:
    """CLIENT CACHING YES|NO: for the next command or transaction."""
    if not ctx.flags & states.TRACKING:
        raise CommandError(
            b"ERR CLIENT CACHING can be called only when the client is in tracking mode with "
            b"OPTIN or OPTOUT mode enabled"
        )
    state, answer = ctx.server.tracking.clients[ctx], args[2].lower()
    mode = {b"yes": b"optin", b"no": b"optout"}.get(answer)
    if mode is None:
        raise syntax_error()
    if mode not in state.options:
        raise CommandError(
            b"ERR CLIENT CACHING %b is only valid when tracking is enabled in %b mode."
            % (answer.upper(), mode.upper())
        )
    state.caching = True
    return OK


def client_getredir_command(ctx: Any, args: list[bytes]) -> int:
    """CLIENT GETREDIR: the client's own messages are 0, no tracking is -1."""
    state = ctx.server.tracking.clients.get(ctx)
    return -1 if state is None else int(state.redirect)


def client_trackinginfo_command(ctx: Any, args: list[bytes]) -> Any:
    """CLIENT TRACKINGINFO"""
    state = ctx.server.tracking.clients.get(ctx)
    if state is None:
        return Map([b"flags", SetReply([b"off"]), b"redirect", -1, b"prefixes", []])
    shown: list[Any] = [b"flags", SetReply(state.flags()), b"redirect", state.redirect]
    return Map([*shown, b"prefixes", sorted(state.prefixes)])


def _row(name: str, arity: int, handler: Any, since: str, summary: str, complexity: str) -> Command:
    return Command(
        name,
        arity,
        "noscript loading stale",
        handler,
        group="connection",
        since=since,
        summary=summary,
        complexity=complexity,
    )


ROWS = [
    _row(
        "tracking",
        -3,
        client_tracking_command,
        "6.0.0",
        "Enable or disable server assisted client side caching support",
        "O(1). Some options may introduce additional complexity.",
    ),
    _row(
        "caching",
        3,
        client_caching_command,
        "6.0.0",
        "Instruct the server about tracking or not keys in the next request",
        "O(1)",
    ),
    _row(
        "getredir",
        2,
        client_getredir_command,
        "6.0.0",
        "Get tracking notifications redirection client ID if any",
        "O(1)",
    ),
    _row(
        "trackinginfo",
        2,
        client_trackinginfo_command,
        "6.2.0",
        "Return information about server assisted client side caching for the current connection",
        "O(1)",
    ),
]
HELP = (
    "CACHING (YES|NO)",
    "    Say whether the keys of the next command are tracked (OPTIN and OPTOUT modes).",
    "GETREDIR",
    "    Return the id of the client that tracking messages go to, -1 without tracking.",
    "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]",
    "         [OPTIN] [OPTOUT] [NOLOOP]",
    "    Have messages sent when keys change that were read, or that begin with a prefix.",
    "TRACKINGINFO",
    "    Report the tracking status of the current connection.",
)
