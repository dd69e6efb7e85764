"""Lists: the commands that take items from the first list that has any, and wait for one.

    RPOPLPUSH, LMOVE         from one list to another        BRPOPLPUSH, BLMOVE    or wait for it
    LMPOP, (LPOP, RPOP)      from the first of several       BLMPOP, BLPOP, BRPOP  or wait for one

Problem. A client that waits is served when its command could be executed, in the order in which
clients came, and followers must get what was done, not the waiting.

Idea: a command that waits leaves a *retry*: the command to execute when a key it waits for has
items, with a timeout of 0. What it then does is propagated as the plain command.

Invariant: nothing that blocks is propagated.

Source of the commands: https://redis.io/docs/latest/commands/?group=list, behaviour of Redis 7.0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cache_server.commands.table import Command, numkeys_at
from cache_server.datatypes.arguments import INT64_MAX, parse_in_range
from cache_server.datatypes.list_value import List
from cache_server.datatypes.lists import emptied, take
from cache_server.errors import syntax_error
from cache_server.keyspace.blocking import parse_timeout_ms
from cache_server.keyspace.database import NOTIFY_LIST
from cache_server.wire.replies import NULL_ARRAY


def _is_left(word: bytes) -> bool:
    side = word.upper()
    if side not in (b"LEFT", b"RIGHT"):
        raise syntax_error()
    return side == b"LEFT"


# -- moving ------------------------------------------------------------------------------------


def lmove_command(ctx: Any, args: list[bytes]) -> Any:
    """LMOVE source destination LEFT|RIGHT LEFT|RIGHT"""
    return _move(ctx, args[1], args[2], _is_left(args[3]), _is_left(args[4]))


def rpoplpush_command(ctx: Any, args: list[bytes]) -> Any:
    """RPOPLPUSH source destination"""
    return _move(ctx, args[1], args[2], False, True)


def _move(ctx: Any, source: bytes, target: bytes, from_left: bool, to_left: bool) -> Any:
    """Moves one item and returns it; None where there is none."""
    db = ctx.db
    origin = db.write_as(source, List)
    if origin is None:
        return None
    goal = db.write_as(target, List)
    item = origin.pop_left() if from_left else origin.pop_right()
    if goal is None:
        goal = List()
        db.put(target, goal)
    if to_left:
        goal.push_left(item)
    else:
        goal.push_right(item)
    db.changed(target, NOTIFY_LIST, b"lpush" if to_left else b"rpush", 0)
    db.changed(source, NOTIFY_LIST, b"lpop" if from_left else b"rpop")
    if origin.size == 0:
        emptied(db, source)
    return item


# -- several keys ------------------------------------------------------------------------------


def lmpop_command(ctx: Any, args: list[bytes]) -> Any:
    """LMPOP numkeys key [key ...] LEFT|RIGHT [COUNT count]"""
    keys, left, count = _parse_mpop(args, 1)
    found = _mpop(ctx, keys, left, count)
    return NULL_ARRAY if found is None else found


def _parse_mpop(args: list[bytes], at: int) -> tuple[list[bytes], bool, int]:
    """Keys, side and count of LMPOP and BLMPOP; `at` is where numkeys stands."""
    numkeys = parse_in_range(args[at], 1, INT64_MAX, b"ERR numkeys should be greater than 0")
    side = at + 1 + numkeys
    if side >= len(args):
        raise syntax_error()
    left = _is_left(args[side])
    count = 0
    index = side + 1
    while index < len(args):
        if count or args[index].lower() != b"count" or index + 1 >= len(args):
            raise syntax_error()
        count = parse_in_range(args[index + 1], 1, INT64_MAX, b"ERR count should be greater than 0")
        index += 2
    return args[at + 1 : side], left, count or 1


def _mpop(ctx: Any, keys: list[bytes], left: bool, count: int) -> list[Any] | None:
    """Pops from the first of `keys` that there is."""
    for key in keys:
        value = ctx.db.write_as(key, List)
        if value is not None:
            items = take(ctx.db, key, value, count, left)
            ctx.propagate(b"LPOP" if left else b"RPOP", key, b"%d" % len(items))
            return [key, items]
    return None


# -- waiting -----------------------------------------------------------------------------------


def _wait(
    ctx: Any, keys: list[bytes], timeout_ms: int, retry: Callable[[bytes], list[bytes]]
) -> Any:
    return ctx.server.blocking.wait_for_keys(ctx, List, keys, timeout_ms, retry)


def blpop_command(ctx: Any, args: list[bytes]) -> Any:
    """BLPOP key [key ...] timeout"""
    return _blocking_pop(ctx, args, True)


def brpop_command(ctx: Any, args: list[bytes]) -> Any:
    """BRPOP key [key ...] timeout"""
    return _blocking_pop(ctx, args, False)


def _blocking_pop(ctx: Any, args: list[bytes], left: bool) -> Any:
    timeout_ms = parse_timeout_ms(args[-1], in_seconds=True, now_ms=ctx.keyspace.now_ms)
    keys = args[1:-1]
    for key in keys:
        value = ctx.db.write_as(key, List)
        if value is not None:
            items = take(ctx.db, key, value, 1, left)
            ctx.propagate(b"LPOP" if left else b"RPOP", key)
            return [key, items[0]]
    return _wait(ctx, keys, timeout_ms, lambda key: [args[0], key, b"0"])


def blmove_command(ctx: Any, args: list[bytes]) -> Any:
    """BLMOVE source destination LEFT|RIGHT LEFT|RIGHT timeout"""
    from_left, to_left = _is_left(args[3]), _is_left(args[4])
    timeout_ms = parse_timeout_ms(args[5], in_seconds=True, now_ms=ctx.keyspace.now_ms)
    return _blocking_move(ctx, args, from_left, to_left, timeout_ms)


def brpoplpush_command(ctx: Any, args: list[bytes]) -> Any:
    """BRPOPLPUSH source destination timeout"""
    timeout_ms = parse_timeout_ms(args[3], in_seconds=True, now_ms=ctx.keyspace.now_ms)
    return _blocking_move(ctx, args, False, True, timeout_ms)


def _blocking_move(
    ctx: Any, args: list[bytes], from_left: bool, to_left: bool, timeout_ms: int
) -> Any:
    item = _move(ctx, args[1], args[2], from_left, to_left)
    if item is not None:
        name = b"LMOVE" if len(args) == 6 else b"RPOPLPUSH"
        ctx.propagate(name, *args[1:-1])
        return item
    reply = _wait(ctx, [args[1]], timeout_ms, lambda _: [*args[:-1], b"0"])
    # Where it may not wait, it answers what LMOVE would.
    return None if reply is NULL_ARRAY else reply


def blmpop_command(ctx: Any, args: list[bytes]) -> Any:
    """BLMPOP timeout numkeys key [key ...] LEFT|RIGHT [COUNT count]"""
    keys, left, count = _parse_mpop(args, 2)
    timeout_ms = parse_timeout_ms(args[1], in_seconds=True, now_ms=ctx.keyspace.now_ms)
    found = _mpop(ctx, keys, left, count)
    if found is not None:
        return found
    rest = args[3 + len(keys) :]
    return _wait(ctx, keys, timeout_ms, lambda key: [args[0], b"0", b"1", key, *rest])


COMMANDS = [
    Command(
        "blmove",
        6,
        "write denyoom noscript blocking",
        blmove_command,
        (1, 2, 1),
        group="list",
        since="6.2.0",
        summary=(
            "Pop an element from a list, push it to another list and return it; or block "
            "until one is available"
        ),
        complexity="O(1)",
    ),
    Command(
        "blmpop",
        -5,
        "write blocking movablekeys",
        blmpop_command,
        numkeys_at(2),
        group="list",
        since="7.0.0",
        summary="Pop elements from a list, or block until one is available",
        complexity=(
            "O(N+M) where N is the number of provided keys and M is the number of "
            "elements returned."
        ),
    ),
    Command(
        "blpop",
        -3,
        "write noscript blocking",
        blpop_command,
        (1, -2, 1),
        group="list",
        since="2.0.0",
        summary="Remove and get the first element in a list, or block until one is available",
        complexity="O(N) where N is the number of provided keys.",
    ),
    Command(
        "brpop",
        -3,
        "write noscript blocking",
        brpop_command,
        (1, -2, 1),
        group="list",
        since="2.0.0",
        summary="Remove and get the last element in a list, or block until one is available",
        complexity="O(N) where N is the number of provided keys.",
    ),
    Command(
        "brpoplpush",
        4,
        "write denyoom noscript blocking",
        brpoplpush_command,
        (1, 2, 1),
        group="list",
        since="2.2.0",
        summary=(
            "Pop an element from a list, push it to another list and return it; or block "
            "until one is available"
        ),
        complexity="O(1)",
    ),
    Command(
        "lmove",
        5,
        "write denyoom",
        lmove_command,
        (1, 2, 1),
        group="list",
        since="6.2.0",
        summary="Pop an element from a list, push it to another list and return it",
        complexity="O(1)",
    ),
    Command(
        "lmpop",
        -4,
        "write movablekeys",
        lmpop_command,
        numkeys_at(1),
        group="list",
        since="7.0.0",
        summary="Pop elements from a list",
        complexity=(
            "O(N+M) where N is the number of provided keys and M is the number of "
            "elements returned."
        ),
    ),
    Command(
        "rpoplpush",
        3,
        "write denyoom",
        rpoplpush_command,
        (1, 2, 1),
        group="list",
        since="1.2.0",
        summary="Remove the last element in a list, prepend it to another list and return it",
        complexity="O(1)",
    ),
]
