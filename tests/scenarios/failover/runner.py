"""Scenario files: prose (`#`), a command, `----`, and all that came of it, up to an empty line.

`REWRITE_SCENARIOS=1` writes what comes now into the files; read the difference before it is
committed.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

RULE = "----"


@dataclass
class Command:
    """One line: a verb, bare words and `name=value` words."""

    verb: str
    words: list[str] = field(default_factory=list)
    named: dict[str, str] = field(default_factory=dict)

    def number(self, name: str, default: int | None = None) -> int:
        """A named integer. Raises KeyError where it is missing without a default."""
        if name not in self.named and default is not None:
            return default
        return int(self.named[name])


class World(Protocol):
    """What a scenario plays in."""

    def execute(self, command: Command) -> list[str]:
        """Do what the command says; return what came of it, in lines."""


def parse_command(line: str) -> Command:
    """A command line."""
    verb, *rest = shlex.split(line)
    command = Command(verb)
    for word in rest:
        name, equals, value = word.partition("=")
        if equals:
            command.named[name] = value
        else:
            command.words.append(word)
    return command


def play(text: str, world: World) -> str:
    """The same file with what comes of each command now."""
    told: list[str] = []
    lines = text.splitlines()
    position = 0
    while position < len(lines):
        line = lines[position]
        told.append(line)
        position += 1
        if not line or line.startswith("#"):
            continue
        told += [RULE, *world.execute(parse_command(line)), ""]
        if position < len(lines) and lines[position] == RULE:
            while position < len(lines) and lines[position]:
                position += 1
            position += 1
    return "\n".join(told).rstrip() + "\n"


def run_file(path: Path, make_world: Callable[[], World]) -> None:
    """Play a file; AssertionError where it says something else than what happens."""
    before = path.read_text()
    now = play(before, make_world())
    if os.environ.get("REWRITE_SCENARIOS"):
        path.write_text(now)
    else:
        assert now == before, f"{path.name} tells another story (REWRITE_SCENARIOS=1 shows it)"
