"""Ranges of sorted sets: by rank, by score, by name; to read, to count, to store, to remove.

Every range is turned into ranks, `start` to before `stop`, by asking the order for the rank of
its two ends; what is done with it is the same for all three.

Source: https://redis.io/docs/latest/commands/zrange/ and the commands it replaced.
"""

from __future__ import annotations

import math
from typing import Any

from cache_server.commands.table import Command
from cache_server.datatypes.arguments import float_or_none, parse_integer
from cache_server.datatypes.sorted_sets import (
    SortedSet,
    fitted,
    nested,
    remove_if_empty,
    store_result,
)
from cache_server.errors import CommandError, syntax_error
from cache_server.keyspace.database import NOTIFY_GENERIC, NOTIFY_ZSET

# What the two ends of a range are. AUTO: ranks, unless an option says otherwise.
AUTO = 0
BY_RANK = 1
BY_SCORE = 2
BY_NAME = 3

_LOWEST = 0
_HIGHEST = 1
_INCLUDED = 2
_EXCLUDED = 3


# -- the ends of a range -----------------------------------------------------------------------


def _score_end(word: bytes) -> tuple[float, bool]:
    """A score and whether it is excluded: `1.5`, `(1.5`, `-inf`. Raises CommandError."""
    excluded = word[:1] == b"("
    # As C's strtod: space before it and nothing at all (zero) are accepted, so is overflow.
    digits = (word[1:] if excluded else word).lstrip(b" \t\n\v\f\r")
    value = float_or_none(digits) if digits else 0.0
    if value is None:
        try:
            value = float(digits)
        except ValueError:
            value = math.nan
        if math.isnan(value) or b"_" in digits or digits[-1:].isspace():
            raise CommandError(b"ERR min or max is not a float")
    return value, excluded


def _name_end(word: bytes) -> tuple[int, bytes]:
    """The kind of end and its name: `-`, `+`, `[name`, `(name`. Raises CommandError."""
    if word == b"-":
        return _LOWEST, b""
    if word == b"+":
        return _HIGHEST, b""
    mark = word[:1]
    if mark == b"[":
        return _INCLUDED, word[1:]
    if mark == b"(":
        return _EXCLUDED, word[1:]
    raise CommandError(b"ERR min or max not valid string range item")


def _clipped(first: int, last: int, size: int) -> tuple[int, int]:
    """Ranks `first` to `last`, from the end where negative, as `start` to before `stop`."""
    start = max(0, first + size if first < 0 else first)
    stop = min(size, (last + size if last < 0 else last) + 1)
    return start, max(start, stop)


class Range:
    """The two ends of a range, parsed before any key is looked at. Raises CommandError."""

    def __init__(self, kind: int, low: bytes, high: bytes, reverse: bool = False) -> None:
        """`reverse` counts ranks from the highest; other ends are swapped by the caller."""
        self.kind = kind
        self.reverse = reverse
        self.low: Any
        self.high: Any
        if kind == BY_SCORE:
            self.low, self.high = _score_end(low), _score_end(high)
        elif kind == BY_NAME:
            self.low, self.high = _name_end(low), _name_end(high)
        else:
            self.low, self.high = parse_integer(low), parse_integer(high)

    def ranks(self, zset: SortedSet) -> tuple[int, int]:
        """The range in this set: `start` to before `stop`, `start` <= `stop`."""
        if self.kind == BY_SCORE:
            start = zset.order.rank_of_score(self.low[0], self.low[1])
            stop = zset.order.rank_of_score(self.high[0], not self.high[1])
        elif self.kind == BY_NAME:
            start = self._rank_of_name(zset, self.low, _EXCLUDED)
            stop = self._rank_of_name(zset, self.high, _INCLUDED)
        else:
            start, stop = _clipped(self.low, self.high, len(zset))
            if self.reverse:
                start, stop = len(zset) - stop, len(zset) - start
        return start, max(start, stop)

    @staticmethod
    def _rank_of_name(zset: SortedSet, end: tuple[int, bytes], after: int) -> int:
        kind, name = end
        if kind == _LOWEST:
            return 0
        if kind == _HIGHEST:
            return len(zset)
        return zset.order.rank_of_name(name, kind == after)


# -- reading and storing -----------------------------------------------------------------------


class _Request:
    """ZRANGE and its relatives: key, range, direction, LIMIT and WITHSCORES. Raises CommandError.

    `first` is where the key is; `kind` and `reverse` are what the command's name already says."""

    def __init__(
        self, args: list[bytes], first: int, kind: int, reverse: bool | None, store: bool = False
    ) -> None:
        self.key = args[first]
        self.with_scores = False
        self.offset = 0
        self.limit = -1
        self.kind = kind
        self._reverse = reverse
        self._store = store
        self._parse_options(args, first + 3)
        self.reverse = bool(self._reverse)
        self.kind = self.kind or BY_RANK
        self._refuse_conflicts()
        low, high = args[first + 1], args[first + 2]
        if self.reverse and self.kind != BY_RANK:
            low, high = high, low
        self.range = Range(self.kind, low, high, self.reverse)

    def _parse_options(self, args: list[bytes], index: int) -> None:
        while index < len(args):
            word = args[index].lower()
            if word == b"withscores" and not self._store:
                self.with_scores = True
            elif word == b"limit" and index + 2 < len(args):
                self.offset = parse_integer(args[index + 1])
                self.limit = parse_integer(args[index + 2])
                index += 2
            elif word == b"rev" and self._reverse is None:
                self._reverse = True
            elif word == b"bylex" and self.kind == AUTO:
                self.kind = BY_NAME
            elif word == b"byscore" and self.kind == AUTO:
                self.kind = BY_SCORE
            else:
                raise syntax_error()
            index += 1

    def _refuse_conflicts(self) -> None:
        if self.limit != -1 and self.kind == BY_RANK:
            raise CommandError(
                b"ERR syntax error, LIMIT is only supported in combination with "
                b"either BYSCORE or BYLEX"
            )
        if self.with_scores and self.kind == BY_NAME:
            raise CommandError(
                b"ERR syntax error, WITHSCORES not supported in combination with BYLEX"
            )

    def ranks(self, zset: SortedSet) -> tuple[int, int]:
        """The ranks asked for, LIMIT applied."""
        start, stop = self.range.ranks(zset)
        if self.kind == BY_RANK:
            return start, stop
        if self.offset < 0:
            return start, start
        if self.offset or self.limit >= 0:
            left = stop - start - self.offset
            wanted = max(0, left if self.limit < 0 else min(left, self.limit))
            if self.reverse:
                stop -= self.offset
                start = stop - wanted
            else:
                start += self.offset
                stop = start + wanted
        return start, stop


def _read_range(ctx: Any, args: list[bytes], kind: int, reverse: bool | None) -> list[Any]:
    request = _Request(args, 1, kind, reverse)
    zset: SortedSet | None = ctx.db.read_as(request.key, SortedSet)
    if zset is None:
        return []
    start, stop = request.ranks(zset)
    members = zset.order.member_slice(start, stop)
    if request.reverse:
        members.reverse()
    if not request.with_scores:
        return members
    scores = zset.order.score_slice(start, stop)
    if request.reverse:
        scores.reverse()
    return nested(ctx, members, scores)


def _read_ranks(ctx: Any, args: list[bytes], reverse: bool) -> list[bytes]:
    """ZRANGE and ZREVRANGE without options: the common form."""
    first, last = parse_integer(args[2]), parse_integer(args[3])
    zset: SortedSet | None = ctx.db.read_as(args[1], SortedSet)
    if zset is None:
        return []
    size = zset.scores.used
    start, stop = _clipped(first, last, size)
    if not reverse:
        return zset.order.member_slice(start, stop)
    members = zset.order.member_slice(size - stop, size - start)
    members.reverse()
    return members


def zrange_command(ctx: Any, args: list[bytes]) -> list[Any]:
    """ZRANGE key start stop [BYSCORE|BYLEX] [REV] [LIMIT offset count] [WITHSCORES]"""
    if len(args) == 4:
        return _read_ranks(ctx, args, False)
    return _read_range(ctx, args, AUTO, None)


def zrevrange_command(ctx: Any, args: list[bytes]) -> list[Any]:
    """ZREVRANGE key start stop [WITHSCORES]"""
    if len(args) == 4:
        return _read_ranks(ctx, args, True)
    return _read_range(ctx, args, BY_RANK, True)


def zrangebyscore_command(ctx: Any, args: list[bytes]) -> list[Any]:
    """ZRANGEBYSCORE key min max [WITHSCORES] [LIMIT offset count]"""
    return _read_range(ctx, args, BY_SCORE, False)


def zrevrangebyscore_command(ctx: Any, args: list[bytes]) -> list[Any]:
    """ZREVRANGEBYSCORE key max min [WITHSCORES] [LIMIT offset count]"""
    return _read_range(ctx, args, BY_SCORE, True)


def zrangebylex_command(ctx: Any, args: list[bytes]) -> list[Any]:
    """ZRANGEBYLEX key min max [LIMIT offset count]"""
    return _read_range(ctx, args, BY_NAME, False)


def zrevrangebylex_command(ctx: Any, args: list[bytes]) -> list[Any]:
    """ZREVRANGEBYLEX key max min [LIMIT offset count]"""
    return _read_range(ctx, args, BY_NAME, True)


def zrangestore_command(ctx: Any, args: list[bytes]) -> int:
    """ZRANGESTORE dst src min max [BYSCORE|BYLEX] [REV] [LIMIT offset count]"""
    request = _Request(args, 2, AUTO, None, store=True)
    source: SortedSet | None = ctx.db.read_as(request.key, SortedSet)
    if source is None:
        return store_result(ctx, args[1], SortedSet(), b"zrangestore")
    start, stop = request.ranks(source)
    order = source.order
    pairs = zip(order.member_slice(start, stop), order.score_slice(start, stop))
    return store_result(ctx, args[1], fitted(ctx, pairs), b"zrangestore")


# -- counting and removing ---------------------------------------------------------------------


def _count(ctx: Any, args: list[bytes], kind: int) -> int:
    wanted = Range(kind, args[2], args[3])
    zset: SortedSet | None = ctx.db.read_as(args[1], SortedSet)
    if zset is None:
        return 0
    start, stop = wanted.ranks(zset)
    return stop - start


def zcount_command(ctx: Any, args: list[bytes]) -> int:
    """ZCOUNT key min max"""
    return _count(ctx, args, BY_SCORE)


def zlexcount_command(ctx: Any, args: list[bytes]) -> int:
    """ZLEXCOUNT key min max"""
    return _count(ctx, args, BY_NAME)


def _remove_range(ctx: Any, args: list[bytes], kind: int, event: bytes) -> int:
    db = ctx.db
    key = args[1]
    wanted = Range(kind, args[2], args[3])
    zset: SortedSet | None = db.write_as(key, SortedSet)
    if zset is None:
        return 0
    start, stop = wanted.ranks(zset)
    removed = zset.remove_slice(start, stop)
    if removed:
        emptied = remove_if_empty(db, key, zset)
        db.changed(key, NOTIFY_ZSET, event, removed)
        if emptied:
            db.notify(NOTIFY_GENERIC, b"del", key)
    return removed


def zremrangebyrank_command(ctx: Any, args: list[bytes]) -> int:
    """ZREMRANGEBYRANK key start stop"""
    return _remove_range(ctx, args, BY_RANK, b"zremrangebyrank")


def zremrangebyscore_command(ctx: Any, args: list[bytes]) -> int:
    """ZREMRANGEBYSCORE key min max"""
    return _remove_range(ctx, args, BY_SCORE, b"zremrangebyscore")


def zremrangebylex_command(ctx: Any, args: list[bytes]) -> int:
    """ZREMRANGEBYLEX key min max"""
    return _remove_range(ctx, args, BY_NAME, b"zremrangebylex")


COMMANDS = [
    Command(
        "zcount",
        4,
        "readonly fast",
        zcount_command,
        (1, 1, 1),
        group="sorted-set",
        since="2.0.0",
        summary="Count the members in a sorted set with scores within the given values",
        complexity="O(log(N)) with N being the number of elements in the sorted set.",
    ),
    Command(
        "zlexcount",
        4,
        "readonly fast",
        zlexcount_command,
        (1, 1, 1),
        group="sorted-set",
        since="2.8.9",
        summary="Count the number of members in a sorted set between a given lexicographical range",
        complexity="O(log(N)) with N being the number of elements in the sorted set.",
    ),
    Command(
        "zrange",
        -4,
        "readonly",
        zrange_command,
        (1, 1, 1),
        group="sorted-set",
        since="1.2.0",
        summary="Return a range of members in a sorted set",
        complexity=(
            "O(log(N)+M) with N being the number of elements in the sorted set and M the number "
            "of elements returned."
        ),
    ),
    Command(
        "zrangebylex",
        -4,
        "readonly",
        zrangebylex_command,
        (1, 1, 1),
        group="sorted-set",
        since="2.8.9",
        summary="Return a range of members in a sorted set, by lexicographical range",
        complexity=(
            "O(log(N)+M) with N being the number of elements in the sorted set and M the number "
            "of elements being returned. If M is constant (e.g. always asking for the first 10 "
            "elements with LIMIT), you can consider it O(log(N))."
        ),
    ),
    Command(
        "zrangebyscore",
        -4,
        "readonly",
        zrangebyscore_command,
        (1, 1, 1),
        group="sorted-set",
        since="1.0.5",
        summary="Return a range of members in a sorted set, by score",
        complexity=(
            "O(log(N)+M) with N being the number of elements in the sorted set and M the number "
            "of elements being returned. If M is constant (e.g. always asking for the first 10 "
            "elements with LIMIT), you can consider it O(log(N))."
        ),
    ),
    Command(
        "zrangestore",
        -5,
        "write denyoom",
        zrangestore_command,
        (1, 2, 1),
        group="sorted-set",
        since="6.2.0",
        summary="Store a range of members from sorted set into another key",
        complexity=(
            "O(log(N)+M) with N being the number of elements in the sorted set and M the number "
            "of elements stored into the destination key."
        ),
    ),
    Command(
        "zremrangebylex",
        4,
        "write",
        zremrangebylex_command,
        (1, 1, 1),
        group="sorted-set",
        since="2.8.9",
        summary="Remove all members in a sorted set between the given lexicographical range",
        complexity=(
            "O(log(N)+M) with N being the number of elements in the sorted set and M the number "
            "of elements removed by the operation."
        ),
    ),
    Command(
        "zremrangebyrank",
        4,
        "write",
        zremrangebyrank_command,
        (1, 1, 1),
        group="sorted-set",
        since="2.0.0",
        summary="Remove all members in a sorted set within the given indexes",
        complexity=(
            "O(log(N)+M) with N being the number of elements in the sorted set and M the number "
            "of elements removed by the operation."
        ),
    ),
    Command(
        "zremrangebyscore",
        4,
        "write",
        zremrangebyscore_command,
        (1, 1, 1),
        group="sorted-set",
        since="1.2.0",
        summary="Remove all members in a sorted set within the given scores",
        complexity=(
            "O(log(N)+M) with N being the number of elements in the sorted set and M the number "
            "of elements removed by the operation."
        ),
    ),
    Command(
        "zrevrange",
        -4,
        "readonly",
        zrevrange_command,
        (1, 1, 1),
        group="sorted-set",
        since="1.2.0",
        summary=(
            "Return a range of members in a sorted set, by index, with scores ordered from high "
            "to low"
        ),
        complexity=(
            "O(log(N)+M) with N being the number of elements in the sorted set and M the number "
            "of elements returned."
        ),
    ),
    Command(
        "zrevrangebylex",
        -4,
        "readonly",
        zrevrangebylex_command,
        (1, 1, 1),
        group="sorted-set",
        since="2.8.9",
        summary=(
            "Return a range of members in a sorted set, by lexicographical range, ordered from "
            "higher to lower strings."
        ),
        complexity=(
            "O(log(N)+M) with N being the number of elements in the sorted set and M the number "
            "of elements being returned. If M is constant (e.g. always asking for the first 10 "
            "elements with LIMIT), you can consider it O(log(N))."
        ),
    ),
    Command(
        "zrevrangebyscore",
        -4,
        "readonly",
        zrevrangebyscore_command,
        (1, 1, 1),
        group="sorted-set",
        since="2.2.0",
        summary=(
            "Return a range of members in a sorted set, by score, with scores ordered from high "
            "to low"
        ),
        complexity=(
            "O(log(N)+M) with N being the number of elements in the sorted set and M the number "
            "of elements being returned. If M is constant (e.g. always asking for the first 10 "
            "elements with LIMIT), you can consider it O(log(N))."
        ),
    ),
]
