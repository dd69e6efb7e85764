"""What XX HELP answers, and words that several commands read the same way."""

from __future__ import annotations

from typing import Any

from cache_server.commands.table import Command, Handler
from cache_server.errors import CommandError
from cache_server.wire.replies import Status


def help_reply(container: str, *lines: str) -> list[Status]:
    """The usage of a container: lines of `SUBCOMMAND args`, each followed by its explanation."""
    title = f"{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"
    texts = [title, *lines, "HELP", "    Prints this help."]
    return [Status(text.encode()) for text in texts]


def help_row(container: str, *lines: str, group: str, since: str, categories: str = "") -> Command:
    """The row of XX HELP."""
    reply = help_reply(container, *lines)

    def help_command(ctx: Any, args: list[bytes]) -> Any:
        return reply

    handler: Handler = help_command
    return Command(
        "help",
        2,
        "loading stale",
        handler,
        summary="Show helpful text about the different subcommands",
        group=group,
        since=since,
        categories=categories,
    )


def switch(word: bytes) -> bool:
    """ON or OFF. Raises a syntax error for anything else."""
    lowered = word.lower()
    if lowered not in (b"on", b"off"):
        raise CommandError(b"ERR syntax error")
    return lowered == b"on"
