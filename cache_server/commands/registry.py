"""Gathers the rows of all modules of commands."""

from __future__ import annotations

from importlib import import_module

from cache_server.commands.dispatch import Dispatcher
from cache_server.config_kinds import ConfigError

#: Modules that have a `COMMANDS` list.
MODULES = (
    "cache_server.datatypes.strings",
    "cache_server.datatypes.bitmaps",
    "cache_server.datatypes.hyperloglog",
    "cache_server.datatypes.lists",
    "cache_server.datatypes.list_moving",
    "cache_server.datatypes.sets",
    "cache_server.datatypes.hashes",
    "cache_server.datatypes.sorted_sets",
    "cache_server.datatypes.sorted_set_ranges",
    "cache_server.datatypes.sorted_set_algebra",
    "cache_server.datatypes.geo",
    "cache_server.datatypes.streams",
    "cache_server.datatypes.sorting",
    "cache_server.datatypes.stream_reading",
    "cache_server.datatypes.stream_group_commands",
    "cache_server.datatypes.stream_info",
    "cache_server.commands.keys",
    "cache_server.commands.connection",
    "cache_server.commands.access",
    "cache_server.commands.clients",
    "cache_server.commands.configuration",
    "cache_server.commands.introspection",
    "cache_server.commands.diagnostics",
    "cache_server.commands.server",
    "cache_server.commands.pubsub",
    "cache_server.commands.transactions",
    "cache_server.commands.migrating",
    "cache_server.commands.replication",
    "cache_server.commands.persistence",
    "cache_server.commands.cluster",
    "cache_server.commands.lease",
    "cache_server.commands.verification",
    "cache_server.scripting.commands",
)


def register_all(dispatcher: Dispatcher) -> None:
    """Registers every row of every module."""
    for name in MODULES:
        for row in import_module(name).COMMANDS:
            dispatcher.register(row)


def rename_command(dispatcher: Dispatcher, old: str, new: str) -> None:
    """rename-command: calls `old` by `new` from now on, or not at all where `new` is empty.

    Raises ConfigError with Redis's text."""
    old_name, new_name = (word.encode("utf-8", "surrogateescape").lower() for word in (old, new))
    row = dispatcher.commands.get(old_name)
    if row is None:
        raise ConfigError("No such command in rename-command")
    if new_name in dispatcher.commands:
        raise ConfigError("Target command name already exists")
    del dispatcher.commands[old_name]
    for spelling in [name for name, known in dispatcher.lookup.items() if known is row]:
        del dispatcher.lookup[spelling]
    if new_name:
        dispatcher.commands[new_name] = row
        dispatcher.lookup[new_name] = row
