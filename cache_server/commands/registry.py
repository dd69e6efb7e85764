"""Gathers the rows of all modules of commands."""

from __future__ import annotations

from importlib import import_module

from cache_server.commands.dispatch import Dispatcher

#: Modules that have a `COMMANDS` list.
MODULES = (
    "cache_server.datatypes.strings",
    "cache_server.datatypes.lists",
    "cache_server.datatypes.sets",
    "cache_server.datatypes.hashes",
    "cache_server.datatypes.sorted_sets",
    "cache_server.datatypes.streams",
    "cache_server.commands.keys",
    "cache_server.commands.connection",
    "cache_server.commands.server",
    "cache_server.commands.pubsub",
    "cache_server.commands.transactions",
    "cache_server.commands.replication",
    "cache_server.commands.persistence",
    "cache_server.commands.lease",
)


def register_all(dispatcher: Dispatcher) -> None:
    """Registers every row of every module."""
    for name in MODULES:
        for row in import_module(name).COMMANDS:
            dispatcher.register(row)
