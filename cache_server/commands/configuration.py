"""CONFIG."""

from __future__ import annotations

import logging
from typing import Any

from cache_server.commands.helping import help_row
from cache_server.commands.table import Command, container_only
from cache_server.config_kinds import ConfigError
from cache_server.errors import CommandError, InputError, syntax_error
from cache_server.structures.glob import match
from cache_server.wire.replies import OK, Map

log = logging.getLogger("cache_server")


def _text(word: bytes) -> str:
    return word.decode("utf-8", "surrogateescape")


def _matches(pattern: str, name: str) -> bool:
    return match(pattern.encode("utf-8", "surrogateescape"), name.encode(), True)


def config_get_command(ctx: Any, args: list[bytes]) -> Any:
    """CONFIG GET pattern [pattern ...]"""
    found = ctx.config.get([_text(word) for word in args[2:]], _matches)
    flat: list[bytes] = []
    for name, value in found.items():
        flat += [name.encode(), value.encode("utf-8", "surrogateescape")]
    return Map(flat)


def config_set_command(ctx: Any, args: list[bytes]) -> Any:
    """CONFIG SET name value [name value ...]: all of them or none."""
    if len(args) % 2:
        raise syntax_error()
    words = [_text(word) for word in args[2:]]
    try:
        ctx.config.set(
            list(zip(words[::2], words[1::2], strict=True)),
            allowed(ctx, ctx.config.enable_protected_configs),
            ctx.server.loading,
        )
    except ConfigError as error:
        raise CommandError(str(error).encode("utf-8", "surrogateescape")) from None
    return OK


def allowed(ctx: Any, mode: str) -> bool:
    """Whether a client may do what an enable-... setting guards: yes, no, or from this machine."""
    local = ctx.peer.startswith(("127.", "[::1]", "/")) or ctx.channel is None
    return mode == "yes" or (mode == "local" and local)


def config_resetstat_command(ctx: Any, args: list[bytes]) -> Any:
    """CONFIG RESETSTAT"""
    ctx.server.reset_statistics()
    return OK


def config_rewrite_command(ctx: Any, args: list[bytes]) -> Any:
    """CONFIG REWRITE"""
    rewrite(ctx.config)
    return OK


def rewrite(config: Any, force: bool = False) -> None:
    """Rewrites the configuration file. Raises CommandError with Redis's texts."""
    if not config.file:
        raise CommandError(b"ERR The server is running without a config file")
    try:
        config.rewrite(force)
    except (OSError, InputError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        log.warning("CONFIG REWRITE failed: %s", reason)
        raise CommandError(f"ERR Rewriting config file: {reason}") from None
    log.warning("CONFIG REWRITE executed with success.")


_ADMIN = "admin noscript loading stale"
_N = "O(N) when N is the number of configuration parameters provided"

COMMANDS = [
    Command(
        "config",
        -2,
        "",
        container_only,
        group="server",
        since="2.0.0",
        summary="A container for server configuration commands",
        complexity="Depends on subcommand.",
        subcommands=[
            Command(
                "get",
                -3,
                _ADMIN,
                config_get_command,
                group="server",
                since="2.0.0",
                summary="Get the values of configuration parameters",
                complexity=_N,
            ),
            Command(
                "set",
                -4,
                _ADMIN,
                config_set_command,
                group="server",
                since="2.0.0",
                summary="Set configuration parameters to the given values",
                complexity=_N,
            ),
            Command(
                "resetstat",
                2,
                _ADMIN,
                config_resetstat_command,
                group="server",
                since="2.0.0",
                summary="Reset the stats returned by INFO",
            ),
            Command(
                "rewrite",
                2,
                _ADMIN,
                config_rewrite_command,
                group="server",
                since="2.8.0",
                summary="Rewrite the configuration file with the in memory configuration",
            ),
            help_row(
                "CONFIG",
                "GET <pattern> [<pattern> ...]",
                "    Return the settings whose names match, and their values.",
                "RESETSTAT",
                "    Set the counters of INFO to zero.",
                "REWRITE",
                "    Write the settings in force into the configuration file.",
                "SET <name> <value> [<name> <value> ...]",
                "    Change settings, all of them or none.",
                group="server",
                since="5.0.0",
            ),
        ],
    )
]
