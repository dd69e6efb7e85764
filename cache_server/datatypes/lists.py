"""Lists: the commands on one list. Those that pop from several or wait are `list_moving.py`'s.

The value is `list_value.py`'s; here is what Redis makes of it: a key that does not exist is an
empty list, a list that was emptied is deleted, and whoever watches a key is told once of a change.

Invariant: no key holds an empty list when a command has ended.

Source of the commands: https://redis.io/docs/latest/commands/?group=list, behaviour of Redis 7.0.
"""

from __future__ import annotations

from typing import Any

from cache_server.commands.table import Command
from cache_server.datatypes.arguments import (
    INT64_MAX,
    parse_in_range,
    parse_integer,
    parse_positive,
)
from cache_server.datatypes.list_value import List
from cache_server.errors import CommandError, no_such_key, syntax_error, wrong_arity
from cache_server.keyspace.database import NOTIFY_GENERIC, NOTIFY_LIST, Database
from cache_server.wire.replies import NULL_ARRAY, OK

# -- pushing and popping -----------------------------------------------------------------------


def lpush_command(ctx: Any, args: list[bytes]) -> Any:
    """LPUSH key element [element ...]"""
    db = ctx.db
    key = args[1]
    value = db.write_as(key, List)
    if value is None:
        value = List()
        db.put(key, value)
    for index in range(2, len(args)):
        value.push_left(args[index])
    db.changed(key, NOTIFY_LIST, b"lpush", len(args) - 2)
    return value.size


def rpush_command(ctx: Any, args: list[bytes]) -> Any:
    """RPUSH key element [element ...]"""
    db = ctx.db
    key = args[1]
    value = db.write_as(key, List)
    if value is None:
        value = List()
        db.put(key, value)
    for index in range(2, len(args)):
        value.push_right(args[index])
    db.changed(key, NOTIFY_LIST, b"rpush", len(args) - 2)
    return value.size


def lpushx_command(ctx: Any, args: list[bytes]) -> Any:
    """LPUSHX key element [element ...]"""
    return 0 if ctx.db.write_as(args[1], List) is None else lpush_command(ctx, args)


def rpushx_command(ctx: Any, args: list[bytes]) -> Any:
    """RPUSHX key element [element ...]"""
    return 0 if ctx.db.write_as(args[1], List) is None else rpush_command(ctx, args)


def lpop_command(ctx: Any, args: list[bytes]) -> Any:
    """LPOP key [count]"""
    if len(args) > 2:
        return _pop_counted(ctx, args, True)
    db = ctx.db
    key = args[1]
    value = db.write_as(key, List)
    if value is None:
        return None
    item = value.pop_left()
    db.changed(key, NOTIFY_LIST, b"lpop")
    if value.size == 0:
        emptied(db, key)
    return item


def rpop_command(ctx: Any, args: list[bytes]) -> Any:
    """RPOP key [count]"""
    if len(args) > 2:
        return _pop_counted(ctx, args, False)
    db = ctx.db
    key = args[1]
    value = db.write_as(key, List)
    if value is None:
        return None
    item = value.pop_right()
    db.changed(key, NOTIFY_LIST, b"rpop")
    if value.size == 0:
        emptied(db, key)
    return item


def _pop_counted(ctx: Any, args: list[bytes], left: bool) -> Any:
    if len(args) > 3:
        raise wrong_arity("lpop" if left else "rpop")
    count = parse_positive(args[2])
    value = ctx.db.write_as(args[1], List)
    if value is None:
        return NULL_ARRAY
    return take(ctx.db, args[1], value, count, left) if count else []


def take(db: Database, key: bytes, value: List, count: int, left: bool) -> list[bytes]:
    """Pops up to `count` items and says so; deletes a list that it emptied."""
    items = value.pop_many(count, left)
    db.changed(key, NOTIFY_LIST, b"lpop" if left else b"rpop", len(items))
    if value.size == 0:
        emptied(db, key)
    return items


def emptied(db: Database, key: bytes) -> None:
    """A list without items is no key."""
    db.delete(key)
    db.notify(NOTIFY_GENERIC, b"del", key)


# -- reading -----------------------------------------------------------------------------------


def llen_command(ctx: Any, args: list[bytes]) -> Any:
    """LLEN key"""
    value = ctx.db.read_as(args[1], List)
    return 0 if value is None else value.size


def lrange_command(ctx: Any, args: list[bytes]) -> Any:
    """LRANGE key start stop"""
    first = parse_integer(args[2])
    last = parse_integer(args[3])
    value = ctx.db.read_as(args[1], List)
    if value is None:
        return []
    size = value.size
    if first < 0:
        first = max(0, first + size)
    last = last + size if last < 0 else min(last, size - 1)
    return value.slice(first, last + 1) if first <= last else []


def lindex_command(ctx: Any, args: list[bytes]) -> Any:
    """LINDEX key index"""
    value = ctx.db.read_as(args[1], List)
    if value is None:
        return None
    index = _index(value, args[2])
    return None if index is None else value.get(index)


def _index(value: List, word: bytes) -> int | None:
    """The index that `word` names, counted from 0; None beyond the ends."""
    index = parse_integer(word)
    size = value.size
    if index < 0:
        index += size
    return index if 0 <= index < size else None


def lpos_command(ctx: Any, args: list[bytes]) -> Any:
    """LPOS key element [RANK rank] [COUNT num-matches] [MAXLEN len]"""
    rank, count, length_max = 1, -1, 0
    for index in range(3, len(args), 2):
        option = args[index].upper()
        if option not in (b"RANK", b"COUNT", b"MAXLEN") or index + 1 >= len(args):
            raise syntax_error()
        word = args[index + 1]
        if option == b"RANK":
            rank = parse_in_range(word, -INT64_MAX, INT64_MAX)
            if rank == 0:
                raise CommandError(
                    b"ERR RANK can't be zero: use 1 to start from the first match, 2 from the "
                    b"second ... or use negative to start from the end of the list"
                )
        elif option == b"COUNT":
            count = parse_in_range(word, 0, INT64_MAX, b"ERR COUNT can't be negative")
        else:
            length_max = parse_in_range(word, 0, INT64_MAX, b"ERR MAXLEN can't be negative")
    value = ctx.db.read_as(args[1], List)
    if value is None:
        return None if count < 0 else []
    found = value.positions(args[2], rank, 1 if count < 0 else count, length_max)
    if count >= 0:
        return found
    return found[0] if found else None


# -- changing ----------------------------------------------------------------------------------


def lset_command(ctx: Any, args: list[bytes]) -> Any:
    """LSET key index element"""
    value = ctx.db.write_as(args[1], List)
    if value is None:
        raise no_such_key()
    index = _index(value, args[2])
    if index is None:
        raise CommandError(b"ERR index out of range")
    value.set(index, args[3])
    ctx.db.changed(args[1], NOTIFY_LIST, b"lset")
    return OK


def linsert_command(ctx: Any, args: list[bytes]) -> Any:
    """LINSERT key BEFORE|AFTER pivot element"""
    where = args[2].upper()
    if where not in (b"BEFORE", b"AFTER"):
        raise syntax_error()
    value = ctx.db.write_as(args[1], List)
    if value is None:
        return 0
    if not value.insert(args[3], args[4], where == b"AFTER"):
        return -1
    ctx.db.changed(args[1], NOTIFY_LIST, b"linsert")
    return value.size


def lrem_command(ctx: Any, args: list[bytes]) -> Any:
    """LREM key count element"""
    count = parse_integer(args[2])
    value = ctx.db.write_as(args[1], List)
    if value is None:
        return 0
    removed = value.remove(args[3], count)
    if removed:
        ctx.db.changed(args[1], NOTIFY_LIST, b"lrem", removed)
        if value.size == 0:
            emptied(ctx.db, args[1])
    return removed


def ltrim_command(ctx: Any, args: list[bytes]) -> Any:
    """LTRIM key start stop"""
    start = parse_integer(args[2])
    stop = parse_integer(args[3])
    value = ctx.db.write_as(args[1], List)
    if value is None:
        return OK
    size = value.size
    start = min(start if start >= 0 else max(0, start + size), size)
    stop = max(start, min(stop, size - 1) + 1 if stop >= 0 else stop + size + 1)
    value.drop_right(size - stop)
    value.drop_left(start if start < stop else value.size)
    ctx.db.changed(args[1], NOTIFY_LIST, b"ltrim", size - value.size)
    if value.size == 0:
        emptied(ctx.db, args[1])
    return OK


COMMANDS = [
    Command(
        "lindex",
        3,
        "readonly",
        lindex_command,
        (1, 1, 1),
        group="list",
        since="1.0.0",
        summary="Get an element from a list by its index",
        complexity=(
            "O(N) where N is the number of elements to traverse to get to the element at "
            "index. This makes asking for the first or the last element of the list "
            "O(1)."
        ),
    ),
    Command(
        "linsert",
        5,
        "write denyoom",
        linsert_command,
        (1, 1, 1),
        group="list",
        since="2.2.0",
        summary="Insert an element before or after another element in a list",
        complexity=(
            "O(N) where N is the number of elements to traverse before seeing the value "
            "pivot. This means that inserting somewhere on the left end on the list "
            "(head) can be considered O(1) and inserting somewhere on the right end "
            "(tail) is O(N)."
        ),
    ),
    Command(
        "llen",
        2,
        "readonly fast",
        llen_command,
        (1, 1, 1),
        group="list",
        since="1.0.0",
        summary="Get the length of a list",
        complexity="O(1)",
    ),
    Command(
        "lpop",
        -2,
        "write fast",
        lpop_command,
        (1, 1, 1),
        group="list",
        since="1.0.0",
        summary="Remove and get the first elements in a list",
        complexity="O(N) where N is the number of elements returned",
    ),
    Command(
        "lpos",
        -3,
        "readonly",
        lpos_command,
        (1, 1, 1),
        group="list",
        since="6.0.6",
        summary="Return the index of matching elements on a list",
        complexity=(
            "O(N) where N is the number of elements in the list, for the average case. "
            "When searching for elements near the head or the tail of the list, or when "
            "the MAXLEN option is provided, the command may run in constant time."
        ),
    ),
    Command(
        "lpush",
        -3,
        "write denyoom fast",
        lpush_command,
        (1, 1, 1),
        group="list",
        since="1.0.0",
        summary="Prepend one or multiple elements to a list",
        complexity=(
            "O(1) for each element added, so O(N) to add N elements when the command is "
            "called with multiple arguments."
        ),
    ),
    Command(
        "lpushx",
        -3,
        "write denyoom fast",
        lpushx_command,
        (1, 1, 1),
        group="list",
        since="2.2.0",
        summary="Prepend an element to a list, only if the list exists",
        complexity=(
            "O(1) for each element added, so O(N) to add N elements when the command is "
            "called with multiple arguments."
        ),
    ),
    Command(
        "lrange",
        4,
        "readonly",
        lrange_command,
        (1, 1, 1),
        group="list",
        since="1.0.0",
        summary="Get a range of elements from a list",
        complexity=(
            "O(S+N) where S is the distance of start offset from HEAD for small lists, "
            "from nearest end (HEAD or TAIL) for large lists; and N is the number of "
            "elements in the specified range."
        ),
    ),
    Command(
        "lrem",
        4,
        "write",
        lrem_command,
        (1, 1, 1),
        group="list",
        since="1.0.0",
        summary="Remove elements from a list",
        complexity=(
            "O(N+M) where N is the length of the list and M is the number of elements removed."
        ),
    ),
    Command(
        "lset",
        4,
        "write denyoom",
        lset_command,
        (1, 1, 1),
        group="list",
        since="1.0.0",
        summary="Set the value of an element in a list by its index",
        complexity=(
            "O(N) where N is the length of the list. Setting either the first or the "
            "last element of the list is O(1)."
        ),
    ),
    Command(
        "ltrim",
        4,
        "write",
        ltrim_command,
        (1, 1, 1),
        group="list",
        since="1.0.0",
        summary="Trim a list to the specified range",
        complexity="O(N) where N is the number of elements to be removed by the operation.",
    ),
    Command(
        "rpop",
        -2,
        "write fast",
        rpop_command,
        (1, 1, 1),
        group="list",
        since="1.0.0",
        summary="Remove and get the last elements in a list",
        complexity="O(N) where N is the number of elements returned",
    ),
    Command(
        "rpush",
        -3,
        "write denyoom fast",
        rpush_command,
        (1, 1, 1),
        group="list",
        since="1.0.0",
        summary="Append one or multiple elements to a list",
        complexity=(
            "O(1) for each element added, so O(N) to add N elements when the command is "
            "called with multiple arguments."
        ),
    ),
    Command(
        "rpushx",
        -3,
        "write denyoom fast",
        rpushx_command,
        (1, 1, 1),
        group="list",
        since="2.2.0",
        summary="Append an element to a list, only if the list exists",
        complexity=(
            "O(1) for each element added, so O(N) to add N elements when the command is "
            "called with multiple arguments."
        ),
    ),
]
