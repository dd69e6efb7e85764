"""Sets: the value, then its commands.

Problem. Membership must be one look-up, a random member must be fair and cheap at any size, and a
set must grow, be scanned and be sampled without ever stopping the loop.

Idea: a set is a Table without values: it grows bucket by bucket, and picks a fair random key by
itself. Redis holds small sets of integers in another form; here that is only remembered, because
OBJECT ENCODING shows it: `integers` is True until a member that is no integer comes in, or more
than set-max-intset-entries; it never becomes True again.

Random choices are effects: SPOP propagates what it took (SREM, or DEL), never that it chose.

Invariant: every value in the table is True.

Source of the commands: https://redis.io/docs/latest/commands/?group=set, behaviour of Redis 7.0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from random import Random
from typing import Any

from cache_server.commands.table import Command, numkeys_at
from cache_server.datatypes.arguments import (
    INT64_MAX,
    integer_or_none,
    parse_in_range,
    parse_positive,
)
from cache_server.datatypes.sampling import check_draws
from cache_server.datatypes.scanning import parse_cursor, parse_options, scan_reply
from cache_server.errors import CommandError, syntax_error
from cache_server.keyspace.database import NOTIFY_GENERIC, NOTIFY_SET, Database
from cache_server.structures.table import Table, table_of
from cache_server.wire.replies import SetReply

#: Most members of a set of integers when nothing else is configured (set-max-intset-entries).
INTSET_MEMBERS_MAX = 512
#: A sample of more than one in so many members is drawn from a list of all of them.
_LISTED_SHARE = 5
#: Bytes of a set object without its table; of a bytes object beyond its contents.
_SET_BYTES = 48
_MEMBER_BYTES = 48


class Set:
    """A set of bytes."""

    type_name = b"set"

    def __init__(
        self, members: Iterable[bytes] = (), integers_max: int = INTSET_MEMBERS_MAX
    ) -> None:
        self.table = Table()
        self.integers = True
        for member in members:
            self.add(member, integers_max)

    def __len__(self) -> int:
        return self.table.used

    def __contains__(self, member: bytes) -> bool:
        return member in self.table

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.table)

    @property
    def encoding(self) -> bytes:
        """What OBJECT ENCODING shows."""
        return b"intset" if self.integers else b"hashtable"

    def copy(self) -> Set:
        """A set of its own with the same members and encoding."""
        twin = Set()
        twin.integers = self.integers
        for member in self.table:
            twin.table.set(member, True)
        return twin

    def memory_bytes(self, samples: int) -> int:
        """Bytes taken, estimated from `samples` members (all for 0)."""
        sampled = 0
        contents = 0
        for member in self.table:
            contents += len(member) + _MEMBER_BYTES
            sampled += 1
            if sampled == samples:
                break
        members_bytes = contents * len(self) // sampled if sampled else 0
        return _SET_BYTES + int(self.table.memory_bytes) + members_bytes

    def add(self, member: bytes, integers_max: int) -> bool:
        """Adds a member; False where it is there already."""
        table = self.table
        if not table.set(member, True):
            return False
        if self.integers and (table.used > integers_max or integer_or_none(member) is None):
            self.integers = False
        return True

    def fit(self, integers_max: int) -> None:
        """Decides anew whether these count as integers, where so many may."""
        count = self.table.used
        if count > integers_max:
            self.integers = False
        elif count > INTSET_MEMBERS_MAX:
            self.integers = _all_integers(self.table.keys_list())

    def discard(self, member: bytes) -> bool:
        """Takes a member out; False where it is not there."""
        return self.table.discard(member)

    def members(self) -> list[bytes]:
        """All members in a new list."""
        return self.table.keys_list()

    def random_member(self, rng: Random) -> Any:
        """A member, each with the same probability, of a set that is not empty."""
        return self.table.random_key(rng)

    def sample(self, rng: Random, count: int) -> list[bytes]:
        """`count` different members, each choice equally probable; all where there are no more."""
        size = len(self)
        if count >= size:
            return self.members()
        if count * _LISTED_SHARE >= size:
            return rng.sample(self.members(), count)
        chosen: dict[bytes, None] = {}
        while len(chosen) < count:
            chosen[self.random_member(rng)] = None
        return list(chosen)

    def draw(self, rng: Random, count: int) -> list[bytes]:
        """`count` members, chosen independently of each other: the same may come again."""
        if count * _LISTED_SHARE >= len(self):
            return rng.choices(self.members(), k=count)
        return [self.random_member(rng) for _ in range(count)]


def set_of(members: list[bytes]) -> Set:
    """A set of `members`; smaller than these where one comes twice."""
    value = Set.__new__(Set)
    value.table = table_of(members, None)
    value.integers = value.table.used <= INTSET_MEMBERS_MAX and _all_integers(members)
    return value


def _all_integers(members: list[bytes]) -> bool:
    for member in members:  # noqa: SIM110 - a generator costs more than a short set
        if integer_or_none(member) is None:
            return False
    return True


# -- members -----------------------------------------------------------------------------------


def sadd_command(ctx: Any, args: list[bytes]) -> Any:
    """SADD key member [member ...]"""
    db = ctx.db
    key = args[1]
    value = db.write_as(key, Set)
    if value is None:
        value = Set()
        db.put(key, value)
    added = 0
    integers_max = ctx.config.set_max_intset_entries if value.integers else 0
    for index in range(2, len(args)):
        added += value.add(args[index], integers_max)
    if added:
        db.changed(key, NOTIFY_SET, b"sadd", added)
    return added


def srem_command(ctx: Any, args: list[bytes]) -> Any:
    """SREM key member [member ...]"""
    db = ctx.db
    key = args[1]
    value = db.write_as(key, Set)
    if value is None:
        return 0
    removed = 0
    for index in range(2, len(args)):
        removed += value.table.discard(args[index])
    if removed:
        db.changed(key, NOTIFY_SET, b"srem", removed)
        if value.table.used == 0:
            _emptied(db, key)
    return removed


def _emptied(db: Database, key: bytes) -> None:
    db.delete(key)
    db.notify(NOTIFY_GENERIC, b"del", key)


def smove_command(ctx: Any, args: list[bytes]) -> Any:
    """SMOVE source destination member"""
    db = ctx.db
    source, target, member = args[1], args[2], args[3]
    origin = db.write_as(source, Set)
    if origin is None:
        return 0
    goal = db.write_as(target, Set)
    if origin is goal:
        return int(member in origin)
    if not origin.discard(member):
        return 0
    db.changed(source, NOTIFY_SET, b"srem")
    if len(origin) == 0:
        _emptied(db, source)
    if goal is None:
        goal = Set()
        db.put(target, goal)
    if goal.add(member, ctx.config.set_max_intset_entries):
        db.changed(target, NOTIFY_SET, b"sadd")
    return 1


def sismember_command(ctx: Any, args: list[bytes]) -> Any:
    """SISMEMBER key member"""
    value = ctx.db.read_as(args[1], Set)
    return 0 if value is None or value.table.get(args[2]) is None else 1


def smismember_command(ctx: Any, args: list[bytes]) -> Any:
    """SMISMEMBER key member [member ...]"""
    value = ctx.db.read_as(args[1], Set)
    return [int(value is not None and member in value) for member in args[2:]]


def scard_command(ctx: Any, args: list[bytes]) -> Any:
    """SCARD key"""
    value = ctx.db.read_as(args[1], Set)
    return 0 if value is None else value.table.used


def smembers_command(ctx: Any, args: list[bytes]) -> Any:
    """SMEMBERS key"""
    value = ctx.db.read_as(args[1], Set)
    return SetReply([] if value is None else value.members())


def sscan_command(ctx: Any, args: list[bytes]) -> Any:
    """SSCAN key cursor [MATCH pattern] [COUNT count]"""
    cursor = parse_cursor(args[2])
    value = ctx.db.read_as(args[1], Set)
    if value is None:
        return scan_reply(0, [])
    options = parse_options(args, 3)
    cursor, members = value.table.scan(cursor, options.count)
    if options.match is not None:
        members = list(filter(options.match, members))
    return scan_reply(cursor, members)


# -- at random ---------------------------------------------------------------------------------


def spop_command(ctx: Any, args: list[bytes]) -> Any:
    """SPOP key [count]"""
    if len(args) > 2:
        return _pop_counted(ctx, args)
    db = ctx.db
    key = args[1]
    value = db.write_as(key, Set)
    if value is None:
        return None
    table = value.table
    member = table.random_key(ctx.keyspace.rng)
    table.discard(member)
    db.changed(key, NOTIFY_SET, b"spop")
    if table.used == 0:
        _emptied(db, key)
    ctx.propagate(b"SREM", key, member)
    return member


def _pop_counted(ctx: Any, args: list[bytes]) -> Any:
    if len(args) > 3:
        raise syntax_error()
    count = parse_positive(args[2])
    db = ctx.db
    key = args[1]
    value = db.write_as(key, Set)
    if value is None or count == 0:
        return SetReply()
    members = value.sample(ctx.keyspace.rng, count)
    db.changed(key, NOTIFY_SET, b"spop", len(members))
    if len(members) == len(value):
        _emptied(db, key)
        ctx.propagate(b"DEL", key)
        return SetReply(members)
    for member in members:
        value.discard(member)
        ctx.propagate(b"SREM", key, member)
    return SetReply(members)


def srandmember_command(ctx: Any, args: list[bytes]) -> Any:
    """SRANDMEMBER key [count]"""
    if len(args) > 3:
        raise syntax_error()
    if len(args) == 2:
        value = ctx.db.read_as(args[1], Set)
        return None if value is None else value.random_member(ctx.keyspace.rng)
    count = parse_in_range(args[2], -INT64_MAX, INT64_MAX)
    value = ctx.db.read_as(args[1], Set)
    if value is None or count == 0:
        return []
    if count < 0:
        check_draws(ctx, -count)
        return value.draw(ctx.keyspace.rng, -count)
    return value.sample(ctx.keyspace.rng, count)


# -- several sets ------------------------------------------------------------------------------


def _read_sets(ctx: Any, keys: list[bytes]) -> list[Set | None]:
    """The sets at `keys`, None where there is none. Raises WRONGTYPE for any other value."""
    return [ctx.db.read_as(key, Set) for key in keys]


def _intersection(sets: list[Set | None], limit: int = 0) -> list[bytes]:
    """Members of all sets, at most `limit` of them (0: all)."""
    present = [value for value in sets if value is not None]
    if len(present) < len(sets):
        return []
    present.sort(key=len)
    others = [value.table for value in present[1:]]
    found: list[bytes] = []
    for member in present[0].table:
        for table in others:
            if member not in table:
                break
        else:
            found.append(member)
            if len(found) == limit:
                break
    return found


def _union(sets: list[Set | None]) -> list[bytes]:
    seen: dict[bytes, None] = {}
    for value in sets:
        if value is not None:
            seen.update(dict.fromkeys(value.table))
    return list(seen)


def _difference(sets: list[Set | None]) -> list[bytes]:
    """Members of the first set that no other one has, by the cheaper of two ways."""
    first = sets[0]
    if first is None:
        return []
    others = [value for value in sets[1:] if value is not None]
    if len(first) * len(others) <= sum(map(len, others)):
        tables = [value.table for value in others]
        return [member for member in first if not any(member in table for table in tables)]
    left = dict.fromkeys(first)
    for value in others:
        for member in value:
            left.pop(member, None)
    return list(left)


def _store(ctx: Any, key: bytes, members: list[bytes], event: bytes) -> int:
    """Makes `members` the set at `key`, whatever was there; deletes the key for none."""
    db = ctx.db
    if members:
        db.put(key, Set(members, ctx.config.set_max_intset_entries))
        db.changed(key, NOTIFY_SET, event)
    elif db.write(key) is not None:
        db.delete(key)
        db.changed(key, NOTIFY_GENERIC, b"del")
    return len(members)


def sinter_command(ctx: Any, args: list[bytes]) -> Any:
    """SINTER key [key ...]"""
    return SetReply(_intersection(_read_sets(ctx, args[1:])))


def sinterstore_command(ctx: Any, args: list[bytes]) -> Any:
    """SINTERSTORE destination key [key ...]"""
    return _store(ctx, args[1], _intersection(_read_sets(ctx, args[2:])), b"sinterstore")


def sintercard_command(ctx: Any, args: list[bytes]) -> Any:
    """SINTERCARD numkeys key [key ...] [LIMIT limit]"""
    numkeys = parse_in_range(args[1], 1, INT64_MAX, b"ERR numkeys should be greater than 0")
    if numkeys > len(args) - 2:
        raise CommandError(b"ERR Number of keys can't be greater than number of args")
    limit = 0
    for index in range(2 + numkeys, len(args), 2):
        if args[index].lower() != b"limit" or index + 1 >= len(args):
            raise syntax_error()
        limit = parse_in_range(args[index + 1], 0, INT64_MAX, b"ERR LIMIT can't be negative")
    return len(_intersection(_read_sets(ctx, args[2 : 2 + numkeys]), limit))


def sunion_command(ctx: Any, args: list[bytes]) -> Any:
    """SUNION key [key ...]"""
    return SetReply(_union(_read_sets(ctx, args[1:])))


def sunionstore_command(ctx: Any, args: list[bytes]) -> Any:
    """SUNIONSTORE destination key [key ...]"""
    return _store(ctx, args[1], _union(_read_sets(ctx, args[2:])), b"sunionstore")


def sdiff_command(ctx: Any, args: list[bytes]) -> Any:
    """SDIFF key [key ...]"""
    return SetReply(_difference(_read_sets(ctx, args[1:])))


def sdiffstore_command(ctx: Any, args: list[bytes]) -> Any:
    """SDIFFSTORE destination key [key ...]"""
    return _store(ctx, args[1], _difference(_read_sets(ctx, args[2:])), b"sdiffstore")


COMMANDS = [
    Command(
        "sadd",
        -3,
        "write denyoom fast",
        sadd_command,
        (1, 1, 1),
        group="set",
        since="1.0.0",
        summary="Add one or more members to a set",
        complexity=(
            "O(1) for each element added, so O(N) to add N elements when the command is "
            "called with multiple arguments."
        ),
    ),
    Command(
        "scard",
        2,
        "readonly fast",
        scard_command,
        (1, 1, 1),
        group="set",
        since="1.0.0",
        summary="Get the number of members in a set",
        complexity="O(1)",
    ),
    Command(
        "sdiff",
        -2,
        "readonly",
        sdiff_command,
        (1, -1, 1),
        group="set",
        since="1.0.0",
        summary="Subtract multiple sets",
        complexity="O(N) where N is the total number of elements in all given sets.",
    ),
    Command(
        "sdiffstore",
        -3,
        "write denyoom",
        sdiffstore_command,
        (1, -1, 1),
        group="set",
        since="1.0.0",
        summary="Subtract multiple sets and store the resulting set in a key",
        complexity="O(N) where N is the total number of elements in all given sets.",
    ),
    Command(
        "sinter",
        -2,
        "readonly",
        sinter_command,
        (1, -1, 1),
        group="set",
        since="1.0.0",
        summary="Intersect multiple sets",
        complexity=(
            "O(N*M) worst case where N is the cardinality of the smallest set and M is "
            "the number of sets."
        ),
    ),
    Command(
        "sintercard",
        -3,
        "readonly movablekeys",
        sintercard_command,
        numkeys_at(1),
        group="set",
        since="7.0.0",
        summary="Intersect multiple sets and return the cardinality of the result",
        complexity=(
            "O(N*M) worst case where N is the cardinality of the smallest set and M is "
            "the number of sets."
        ),
    ),
    Command(
        "sinterstore",
        -3,
        "write denyoom",
        sinterstore_command,
        (1, -1, 1),
        group="set",
        since="1.0.0",
        summary="Intersect multiple sets and store the resulting set in a key",
        complexity=(
            "O(N*M) worst case where N is the cardinality of the smallest set and M is "
            "the number of sets."
        ),
    ),
    Command(
        "sismember",
        3,
        "readonly fast",
        sismember_command,
        (1, 1, 1),
        group="set",
        since="1.0.0",
        summary="Determine if a given value is a member of a set",
        complexity="O(1)",
    ),
    Command(
        "smembers",
        2,
        "readonly",
        smembers_command,
        (1, 1, 1),
        group="set",
        since="1.0.0",
        summary="Get all the members in a set",
        complexity="O(N) where N is the set cardinality.",
    ),
    Command(
        "smismember",
        -3,
        "readonly fast",
        smismember_command,
        (1, 1, 1),
        group="set",
        since="6.2.0",
        summary="Returns the membership associated with the given elements for a set",
        complexity="O(N) where N is the number of elements being checked for membership",
    ),
    Command(
        "smove",
        4,
        "write fast",
        smove_command,
        (1, 2, 1),
        group="set",
        since="1.0.0",
        summary="Move a member from one set to another",
        complexity="O(1)",
    ),
    Command(
        "spop",
        -2,
        "write fast",
        spop_command,
        (1, 1, 1),
        group="set",
        since="1.0.0",
        summary="Remove and return one or multiple random members from a set",
        complexity=(
            "Without the count argument O(1), otherwise O(N) where N is the value of the "
            "passed count."
        ),
    ),
    Command(
        "srandmember",
        -2,
        "readonly",
        srandmember_command,
        (1, 1, 1),
        group="set",
        since="1.0.0",
        summary="Get one or multiple random members from a set",
        complexity=(
            "Without the count argument O(1), otherwise O(N) where N is the absolute "
            "value of the passed count."
        ),
    ),
    Command(
        "srem",
        -3,
        "write fast",
        srem_command,
        (1, 1, 1),
        group="set",
        since="1.0.0",
        summary="Remove one or more members from a set",
        complexity="O(N) where N is the number of members to be removed.",
    ),
    Command(
        "sscan",
        -3,
        "readonly",
        sscan_command,
        (1, 1, 1),
        group="set",
        since="2.8.0",
        summary="Incrementally iterate Set elements",
        complexity=(
            "O(1) for every call. O(N) for a complete iteration, including enough "
            "command calls for the cursor to return back to 0. N is the number of "
            "elements inside the collection.."
        ),
    ),
    Command(
        "sunion",
        -2,
        "readonly",
        sunion_command,
        (1, -1, 1),
        group="set",
        since="1.0.0",
        summary="Add multiple sets",
        complexity="O(N) where N is the total number of elements in all given sets.",
    ),
    Command(
        "sunionstore",
        -3,
        "write denyoom",
        sunionstore_command,
        (1, -1, 1),
        group="set",
        since="1.0.0",
        summary="Add multiple sets and store the resulting set in a key",
        complexity="O(N) where N is the total number of elements in all given sets.",
    ),
]
