"""INFO, TIME, MONITOR, LOLWUT, and the rows of SHUTDOWN and DEBUG."""

from __future__ import annotations

from typing import Any

from cache_server import __version__
from cache_server.commands.debug import debug_command
from cache_server.commands.shutdown import shutdown_command
from cache_server.commands.table import Command
from cache_server.constants import REDIS_VERSION
from cache_server.datatypes.arguments import integer_or_none
from cache_server.errors import CommandError
from cache_server.wire.replies import OK, Verbatim

_SHADES = " .:-=+*#%@"


def info_command(ctx: Any, args: list[bytes]) -> Any:
    """INFO [section ...]"""
    words = [word.lower().decode("latin-1") for word in args[1:]]
    return Verbatim(ctx.server.info.text(ctx.server, words).encode("utf-8", "surrogateescape"))


def time_command(ctx: Any, args: list[bytes]) -> list[bytes]:
    """TIME"""
    now_us = ctx.server.now_us()
    return [b"%d" % (now_us // 1_000_000), b"%d" % (now_us % 1_000_000)]


def monitor_command(ctx: Any, args: list[bytes]) -> Any:
    """MONITOR"""
    if ctx.channel is None:
        raise CommandError(b"ERR MONITOR isn't allowed for DENY BLOCKING client")
    ctx.server.monitors.add(ctx)
    return OK


def lolwut_command(ctx: Any, args: list[bytes]) -> Any:
    """LOLWUT [VERSION version] [columns [rows]]: a picture, and the version."""
    words = args[1:]
    if words and words[0].lower() == b"version" and len(words) > 1:
        if integer_or_none(words[1]) is None:
            raise CommandError(b"ERR value is not an integer or out of range")
        words = words[2:]
    sizes = [integer_or_none(word) for word in words[:2]]
    if None in sizes:
        raise CommandError(b"ERR value is not an integer or out of range")
    columns, rows = ([min(max(size or 1, 1), 200) for size in sizes] + [48, 12][len(sizes) :])[:2]
    picture = "".join(
        "".join(_shade(column / columns, row / rows) for column in range(columns)) + "\n"
        for row in range(rows)
    )
    signature = f"\nRedis ver. {REDIS_VERSION} (cache-server {__version__})\n"
    return Verbatim((picture + signature).encode())


def _shade(x: float, y: float) -> str:
    """How long a point takes to leave the Mandelbrot set."""
    point = complex(x * 3 - 2.2, y * 2.4 - 1.2)
    value = 0j
    for step in range(len(_SHADES) * 3):
        value = value * value + point
        if abs(value) > 2:
            return _SHADES[step // 3]
    return _SHADES[-1]


COMMANDS = [
    Command(
        "info",
        -1,
        "loading stale",
        info_command,
        group="server",
        summary="Get information and statistics about the server",
        categories="dangerous",
    ),
    Command(
        "time",
        1,
        "loading stale fast",
        time_command,
        group="server",
        since="2.6.0",
        summary="Return the current server time",
    ),
    Command(
        "monitor",
        1,
        "admin noscript loading stale",
        monitor_command,
        group="server",
        summary="Listen for all requests received by the server in real time",
        complexity="",
    ),
    Command(
        "lolwut",
        -1,
        "readonly fast",
        lolwut_command,
        group="server",
        since="5.0.0",
        summary="Display some computer art and the Redis version",
        complexity="",
    ),
    Command(
        "shutdown",
        -1,
        "admin noscript loading stale no_multi allow_busy",
        shutdown_command,
        group="server",
        summary="Synchronously save the dataset to disk and then shut down the server",
        complexity="O(N) when saving, where N is the total number of keys in all databases when "
        "saving data, otherwise O(1)",
    ),
    Command(
        "debug",
        -2,
        "admin noscript loading stale",
        debug_command,
        group="server",
        summary="A container for debugging commands",
        complexity="Depends on subcommand.",
    ),
]
