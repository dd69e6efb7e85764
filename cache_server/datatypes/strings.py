"""Strings."""

from __future__ import annotations

from typing import Any

from cache_server.commands.table import Command
from cache_server.keyspace.database import NOTIFY_STRING
from cache_server.wire.replies import OK


def get_command(ctx: Any, args: list[bytes]) -> bytes | None:
    """GET key"""
    return ctx.db.read_string(args[1])  # type: ignore[no-any-return]


def set_command(ctx: Any, args: list[bytes]) -> Any:
    """SET key value"""
    ctx.db.put(args[1], args[2])
    ctx.db.changed(args[1], NOTIFY_STRING, b"set")
    return OK


COMMANDS = [
    Command("get", 2, "readonly fast", get_command, (1, 1, 1), group="string"),
    Command("set", -3, "write denyoom", set_command, (1, 1, 1), group="string"),
]
