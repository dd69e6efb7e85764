"""Which keys a command of the stream touches, read from the command table alone.

The stream holds effects, so a command's keys are all that it reads and writes. What has no keys and
still changes data (FLUSHALL, SWAPDB, FUNCTION ...) cannot be traced to keys.

    SET k v             database 0: k
    MOVE k 3            database 0: k, database 3: k
    COPY a b DB 2       database 0: a, database 2: b
    DEL a b, MSET ...   each key for itself: what happens to one does not depend on another
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from cache_server.commands.table import MAY_REPLICATE, WRITE, Command
from cache_server.errors import CommandError

Key = tuple[int, bytes]

#: Several keys, none of which has to do with another.
_EACH_FOR_ITSELF = frozenset(["del", "unlink", "mset"])
#: They may be propagated and change no data.
_MESSAGES = frozenset(["publish", "spublish"])
#: What they change is not in their arguments; only a foreign leader sends them.
_SCRIPTS = frozenset(["eval", "evalsha", "fcall"])
#: What frames commands in the stream.
_STREAM_WORDS = frozenset(["select", "multi", "exec", "ping", "replconf"])


class UntraceableError(Exception):
    """A change that is not of single keys; `str(error)` names the command."""


class Touched(NamedTuple):
    """The keys; whether what is written to one may come from another; and whether it may come from
    keys that are not named (SORT BY)."""

    keys: list[Key]
    together: bool = False
    from_unnamed: bool = False


def find_row(commands: Mapping[bytes, Command], words: list[bytes]) -> Command | None:
    """The row of a command, the subcommand's where there is one. Unlike the dispatcher's it keeps
    nothing, so any thread may ask."""
    row = commands.get(words[0].lower())
    if row is not None and row.subcommands is not None and len(words) > 1:
        return row.subcommands.get(words[1].lower())
    return row


def is_data(row: Command | None) -> bool:
    """Whether it is a command for itself, and not part of the stream's form."""
    return row is None or row.name not in _STREAM_WORDS


def touched_keys(row: Command | None, words: list[bytes], db_index: int) -> Touched:
    """What a command touches that runs in database `db_index`. Raises UntraceableError."""
    if row is None:
        raise UntraceableError(f"'{words[0][:64].decode('latin-1')}' is unknown")
    if row.name in _STREAM_WORDS or row.name in _MESSAGES:
        return Touched([])
    name = row.full_name
    if not row.flags & (WRITE | MAY_REPLICATE) and name not in _SCRIPTS:
        return Touched([])
    if name in _SCRIPTS:
        raise UntraceableError(f"{name.upper()} changes what it pleases")
    try:
        keys = [(db_index, words[at]) for at in row.key_positions(words)]
        if name == "move":
            keys.append((int(words[2]), words[1]))
        elif name == "copy":
            keys[1] = (_copied_to(words, db_index), words[2])
    except (CommandError, ValueError, IndexError):
        keys = []
    if not keys:
        raise UntraceableError(f"{name.upper()} changes more than single keys")
    together = len(keys) > 1 and name not in _EACH_FOR_ITSELF
    return Touched(keys, together, from_unnamed=name == "sort")


def _copied_to(words: list[bytes], db_index: int) -> int:
    at = 3
    while at < len(words):
        if words[at].lower() == b"db":
            return int(words[at + 1])
        at += 1
    return db_index
