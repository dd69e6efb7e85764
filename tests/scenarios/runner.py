"""Scenario files: stories of a machine that a person can read and check.

A file is prose, commands and all that they make the machine say:

    # A follower that knows nothing gets everything.
    psync link=1 replid=? wanted=-1
    ----
    reply 1 "+FULLRESYNC ..."
    [waiting]

Lines that begin with `#` are prose. A command is one line, its first word the verb, the others
`name=value` (quotes as in a shell) or bare words. Below `----` stands what came of it, up to the
next empty line. `REWRITE_SCENARIOS=1` writes what comes now into the files, to be read before it
is committed.
"""

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

RULE = "----"


@dataclass
class Command:
    """One line of a scenario: a verb, bare words and named values."""

    verb: str
    words: list[str] = field(default_factory=list)
    named: dict[str, str] = field(default_factory=dict)

    def number(self, name: str, default: int | None = None) -> int:
        """A named integer. Raises `KeyError` if it is missing and has no default."""
        if name not in self.named and default is not None:
            return default
        return int(self.named[name])

    def text(self, name: str, default: str | None = None) -> str:
        """A named text."""
        if name not in self.named and default is not None:
            return default
        return self.named[name]

    def data(self, name: str) -> bytes:
        """A named byte string, written with Python's escapes."""
        escaped = self.named[name].encode("latin-1").decode("unicode_escape")
        return escaped.encode("latin-1")


class World(Protocol):
    """What a scenario plays in."""

    def execute(self, command: Command) -> list[str]:
        """Does what the command says; returns what came of it, in lines."""


def parse_command(line: str) -> Command:
    """Reads a command line."""
    verb, *rest = shlex.split(line)
    command = Command(verb)
    for word in rest:
        name, equals, value = word.partition("=")
        if equals and name.isidentifier():
            command.named[name] = value
        else:
            command.words.append(word)
    return command


def run_file(path: Path, make_world: Callable[[], World]) -> None:
    """Plays a file; raises `AssertionError` where it says something else than what happens."""
    world = make_world()
    before = path.read_text()
    after: list[str] = []
    lines = iter(before.splitlines())
    for line in lines:
        after.append(line)
        if not line or line.startswith("#"):
            continue
        separator = next(lines, RULE)
        assert separator == RULE, f"{path.name}: {RULE} is missing under {line!r}"
        for _ in iter(lambda: next(lines, ""), ""):
            pass
        said = world.execute(parse_command(line)) or ["ok"]
        assert all(said), "an empty line would end the block"
        after += [RULE, *said, ""]
    played = "\n".join(after).rstrip("\n") + "\n"
    if os.environ.get("REWRITE_SCENARIOS"):
        path.write_text(played)
    assert played == before, f"{path.name} tells another story"
