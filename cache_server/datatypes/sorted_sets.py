"""Sorted sets."""

from __future__ import annotations

from cache_server.commands.table import Command

COMMANDS: list[Command] = []
