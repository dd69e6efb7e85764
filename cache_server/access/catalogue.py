"""The command table as access rules see it: every row has a number, sets of rows are bitmaps.

A set of rows is an integer with bit `number` set for each member. Rules are always about a row's
original name: renaming a command changes nothing here.

Invariant: a container's subcommands are rows of their own; `reach(row)` is the row and everything
below it, which is what allowing or forbidding the row changes.
"""

from __future__ import annotations

from collections.abc import Iterable

from cache_server.commands.key_flags import ARGUMENTS_DECIDE, flags_of_key
from cache_server.commands.table import NO_AUTH, Command
from cache_server.commands.table import WRITE as WRITES

READ = 1
WRITE = 2

#: Every category, in the order of ACL CAT.
CATEGORIES = (
    "keyspace", "read", "write", "set", "sortedset", "list", "hash", "string", "bitmap",
    "hyperloglog", "geo", "stream", "pubsub", "admin", "fast", "slow", "blocking", "dangerous",
    "connection", "transaction", "scripting",
)  # fmt: skip

_WRITING = frozenset(("insert", "delete", "update"))
#: Commands whose arguments name channels: the first argument alone, or all of them.
PUBLISHING = frozenset(("publish", "spublish"))
SUBSCRIBING = frozenset(("subscribe", "psubscribe", "ssubscribe"))
#: Rows whose key positions hold channels.
_CHANNELS_AS_KEYS = PUBLISHING | SUBSCRIBING | {"sunsubscribe"}


def has_keys(row: Command) -> bool:
    """Whether a request of this row may name keys."""
    named = row.first_key != 0 or row.find_keys is not None
    return named and row.full_name not in _CHANNELS_AS_KEYS


def access_of(row: Command, index: int, args: list[bytes]) -> int:
    """How a request accesses its `index`-th key: READ, WRITE, both, or 0 for neither."""
    flags = flags_of_key(row.full_name, bool(row.flags & WRITES), index, args)
    access = READ if "access" in flags else 0
    return access if _WRITING.isdisjoint(flags) else access | WRITE


class Catalogue:
    """The rows of a server, as they were before any was renamed."""

    def __init__(self, rows: Iterable[Command]) -> None:
        self.rows: list[Command] = []
        self.numbers: dict[Command, int] = {}
        self._names: dict[bytes, Command] = {}
        self._reach: dict[Command, int] = {}
        for row in rows:
            self._add(row)
        self.everything = (1 << len(self.rows)) - 1
        #: Rows of each category, and what changing the category changes.
        self.categories: dict[bytes, int] = {}
        self.category_reach: dict[bytes, int] = {}
        for name in CATEGORIES:
            members = [row for row in self.rows if name in row.categories]
            self.categories[name.encode()] = self._bits(members)
            reach = 0
            for row in members:
                reach |= self._reach[row]
            self.category_reach[name.encode()] = reach
        self.keyed = self._bits(row for row in self.rows if has_keys(row))
        #: How the first and the other keys of a row are accessed; not there for rows whose
        #: arguments decide.
        self.accesses = {
            row: (access_of(row, 0, []), access_of(row, 1, []))
            for row in self.rows
            if has_keys(row) and row.full_name not in ARGUMENTS_DECIDE
        }
        self.channelled = self._bits(
            row for row in self.rows if row.full_name in PUBLISHING | SUBSCRIBING
        )
        #: Commands that nobody can be denied: a client says with them who it is, or leaves.
        self.always = self._bits(row for row in self.rows if row.flags & NO_AUTH)

    def _add(self, row: Command) -> None:
        self.numbers[row] = len(self.rows)
        self._names[row.full_name.encode()] = row
        self._reach[row] = 1 << len(self.rows)
        self.rows.append(row)
        for sub in (row.subcommands or {}).values():
            self._add(sub)
            self._reach[row] |= self._reach[sub]

    def _bits(self, rows: Iterable[Command]) -> int:
        bits = 0
        for row in rows:
            bits |= 1 << self.numbers[row]
        return bits

    def find(self, name: bytes) -> Command | None:
        """The row of `get` or `config|get`, in any case."""
        return self._names.get(name.lower())

    def bit(self, row: Command) -> int:
        """The row alone."""
        return 1 << self.numbers[row]

    def reach(self, row: Command) -> int:
        """The row and its subcommands."""
        return self._reach[row]

    def category_of(self, name: bytes) -> list[Command]:
        """The rows of a category. Raises KeyError for an unknown one."""
        members = self.categories[name.lower()]
        return [row for number, row in enumerate(self.rows) if members >> number & 1]
