"""The command table: one row is the only truth about a command.

A row says name, arity, flags, key positions, handler and documentation; arity checks, COMMAND, ACL
categories, key extraction and propagation all read it. Each module of commands lists its rows in
`COMMANDS`; `all_commands` gathers them.

    arity       arguments with the name itself; -n: at least n
    flags       Redis's names, space separated (https://redis.io/docs/latest/commands/command/)
    keys        (first, last, step) as in COMMAND INFO; last -1 is the last argument; or a function
                from the arguments to the list of key positions, for commands that need one;
                with both, the function is the `finder`

A container (CONFIG, CLIENT ...) has rows of its own in `subcommands`; its handler is not called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from cache_server.errors import CommandError
from cache_server.wire import Histogram

Handler = Callable[[Any, list[bytes]], Any]
KeyFinder = Callable[[list[bytes]], list[int]]

FLAG_NAMES = [
    "write",
    "readonly",
    "denyoom",
    "module",
    "admin",
    "pubsub",
    "noscript",
    "blocking",
    "loading",
    "stale",
    "skip_monitor",
    "skip_slowlog",
    "asking",
    "fast",
    "no_auth",
    "may_replicate",
    "no_mandatory_keys",
    "protected",
    "no_async_loading",
    "no_multi",
    "movablekeys",
    "allow_busy",
]
FLAG_BITS = {name: 1 << index for index, name in enumerate(FLAG_NAMES)}

WRITE = FLAG_BITS["write"]
READONLY = FLAG_BITS["readonly"]
DENYOOM = FLAG_BITS["denyoom"]
ADMIN = FLAG_BITS["admin"]
PUBSUB = FLAG_BITS["pubsub"]
NOSCRIPT = FLAG_BITS["noscript"]
BLOCKING = FLAG_BITS["blocking"]
LOADING = FLAG_BITS["loading"]
STALE = FLAG_BITS["stale"]
SKIP_MONITOR = FLAG_BITS["skip_monitor"]
SKIP_SLOWLOG = FLAG_BITS["skip_slowlog"]
FAST = FLAG_BITS["fast"]
NO_AUTH = FLAG_BITS["no_auth"]
MAY_REPLICATE = FLAG_BITS["may_replicate"]
NO_MANDATORY_KEYS = FLAG_BITS["no_mandatory_keys"]
PROTECTED = FLAG_BITS["protected"]
NO_ASYNC_LOADING = FLAG_BITS["no_async_loading"]
NO_MULTI = FLAG_BITS["no_multi"]
MOVABLE_KEYS = FLAG_BITS["movablekeys"]
ALLOW_BUSY = FLAG_BITS["allow_busy"]

NO_KEYS = (0, 0, 0)
#: The group of what Redis does not have; COMMAND LIST without a filter passes over it.
EXTENSION = "extension"

_GROUP_CATEGORIES = {
    "generic": "keyspace",
    "sorted-set": "sortedset",
    "pubsub": "",
    "cluster": "",
    "transactions": "transaction",
    "server": "",
    "connection": "connection",
    "sentinel": "",
}


class Command:
    """One row, and the counters that INFO commandstats shows (times in microseconds)."""

    def __init__(
        self,
        name: str,
        arity: int,
        flags: str,
        handler: Handler,
        keys: tuple[int, int, int] | KeyFinder = NO_KEYS,
        *,
        finder: KeyFinder | None = None,
        group: str = "generic",
        since: str = "1.0.0",
        summary: str = "",
        complexity: str = "O(1)",
        categories: str = "",
        subcommands: Iterable[Command] | None = None,
        container: str = "",
    ) -> None:
        self.name = name
        self.container = container
        self.arity = arity
        self.flag_names = flags.split()
        self.flags = sum(FLAG_BITS[flag] for flag in self.flag_names)
        self.handler = handler
        self.find_keys: KeyFinder | None = keys if callable(keys) else finder
        self.first_key, self.last_key, self.key_step = NO_KEYS if callable(keys) else keys
        self.group = group
        self.since = since
        self.summary = summary
        self.complexity = complexity
        self.categories = self._categories(categories)
        self.subcommands: dict[bytes, Command] | None = None
        if subcommands is not None:
            self.subcommands = {}
            for row in subcommands:
                row.container = name
                self.subcommands[row.name.encode()] = row
        self.calls = 0
        self.microseconds = 0
        self.rejected = 0
        self.failed = 0
        self.latency: Histogram | None = None

    @property
    def full_name(self) -> str:
        """`get`, or `config|get` for a subcommand."""
        return f"{self.container}|{self.name}" if self.container else self.name

    def _categories(self, extra: str) -> list[str]:
        """ACL categories: those that flags and group imply (as Redis derives them), and `extra`."""
        flags = self.flags
        implied = []
        if flags & WRITE:
            implied.append("write")
        if flags & READONLY and "scripting" not in extra:
            implied.append("read")
        if flags & ADMIN:
            implied += ["admin", "dangerous"]
        if flags & PUBSUB:
            implied.append("pubsub")
        if flags & BLOCKING:
            implied.append("blocking")
        implied.append("fast" if flags & FAST else "slow")
        if self.handler is not container_only and "connection" not in extra:
            implied.append(_GROUP_CATEGORIES.get(self.group, self.group))
        return list(dict.fromkeys(word for word in extra.split() + implied if word))

    def key_positions(self, args: list[bytes]) -> list[int]:
        """Where the keys are in `args`. Raises CommandError when they cannot be told."""
        if self.find_keys is not None:
            return self.find_keys(args)
        if self.first_key == 0:
            return []
        last = self.last_key if self.last_key >= 0 else len(args) + self.last_key
        if last >= len(args):
            raise CommandError(b"ERR Invalid number of arguments specified for command")
        return list(range(self.first_key, last + 1, self.key_step))

    def accepts(self, count: int) -> bool:
        """Whether `count` arguments (with the name) satisfy the arity."""
        return count == self.arity if self.arity > 0 else count >= -self.arity


def numkeys_at(position: int) -> KeyFinder:
    """Keys that follow a count at `position` (ZUNION, LMPOP, SINTERCARD ...)."""

    def find(args: list[bytes]) -> list[int]:
        try:
            count = int(args[position])
        except (ValueError, IndexError):
            count = 0
        if count < 1 or position + count >= len(args):
            raise CommandError(b"ERR Invalid arguments specified for command")
        return list(range(position + 1, position + 1 + count))

    return find


def container_only(ctx: Any, args: list[bytes]) -> Any:
    """The handler of a container: the dispatcher refuses the call before it gets here."""
    raise AssertionError("a container has no handler of its own")
