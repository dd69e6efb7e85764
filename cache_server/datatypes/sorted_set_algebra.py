"""Unions, intersections and differences of sorted sets; a plain set counts with score 1.

The inputs are taken in ascending order of their length, as Redis takes them: it is the cheapest
order for an intersection, and it decides the last bit of a sum.

No result is NaN: infinity times zero, and the sum of opposite infinities, are 0.

Source: https://redis.io/docs/latest/commands/zunionstore/ and its relatives.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cache_server.commands.table import Command, numkeys_at
from cache_server.datatypes.arguments import INT64_MAX, float_or_none, parse_in_range, parse_integer
from cache_server.datatypes.sorted_sets import SortedSet, fitted, nested, store_result
from cache_server.errors import CommandError, syntax_error, wrong_type

_SUM = b"sum"
_MIN = b"min"
_MAX = b"max"

_UNION = 1
_INTER = 2
_DIFF = 3


class _Source:
    """One input: a sorted set, a set or nothing, with its weight."""

    def __init__(self, value: Any) -> None:
        """Raises WRONGTYPE for a value that is neither."""
        self.value = value
        self.weight = 1.0
        self.is_sorted = type(value) is SortedSet
        is_set = getattr(value, "type_name", b"") == b"set"
        if not (value is None or self.is_sorted or is_set):
            raise wrong_type()
        self.length = 0 if value is None else len(value)

    def items(self) -> Iterator[tuple[bytes, float]]:
        """(member, score), not weighted."""
        if self.is_sorted:
            yield from self.value.items()
        elif self.value is not None:
            for member in self.value:
                yield member, 1.0

    def score(self, member: bytes) -> float | None:
        """The member's score, not weighted, or None."""
        if self.is_sorted:
            return self.value.score(member)  # type: ignore[no-any-return]
        return 1.0 if self.value is not None and member in self.value else None


class _Request:
    """Words of one request: inputs with weights, aggregate, WITHSCORES, LIMIT. Raises CommandError.

    `first` is where numkeys is; `card` says that only the number of members is asked for."""

    def __init__(
        self, ctx: Any, args: list[bytes], first: int, kind: int, store: bool, card: bool = False
    ) -> None:
        self.kind = kind
        self.store = store
        self.card = card
        self.aggregate = _SUM
        self.with_scores = False
        self.limit = 0
        count = parse_integer(args[first])
        if count < 1:
            raise CommandError(
                b"ERR at least 1 input key is needed for '%b' command" % args[0].lower()
            )
        if count > len(args) - first - 1:
            raise syntax_error()
        keys = args[first + 1 : first + 1 + count]
        self.sources = [_Source(ctx.db.read(key)) for key in keys]
        self._parse_options(args, first + 1 + count)

    def _parse_options(self, args: list[bytes], index: int) -> None:
        weighted = self.kind != _DIFF and not self.card
        while index < len(args):
            word = args[index].lower()
            left = len(args) - index
            if word == b"weights" and weighted and left > len(self.sources):
                for source, text in zip(self.sources, args[index + 1 :]):
                    weight = float_or_none(text)
                    if weight is None:
                        raise CommandError(b"ERR weight value is not a float")
                    source.weight = weight
                index += len(self.sources)
            elif word == b"aggregate" and weighted and left > 1:
                index += 1
                self.aggregate = args[index].lower()
                if self.aggregate not in (_SUM, _MIN, _MAX):
                    raise syntax_error()
            elif word == b"withscores" and not self.store and not self.card:
                self.with_scores = True
            elif word == b"limit" and self.card and left > 1:
                index += 1
                message = b"ERR LIMIT can't be negative"
                self.limit = parse_in_range(args[index], 0, INT64_MAX, message)
            else:
                raise syntax_error()
            index += 1

    def result(self) -> dict[bytes, float]:
        """Members and scores of the result, in no order."""
        if self.kind == _DIFF:
            return self._difference()
        ordered = sorted(self.sources, key=lambda source: source.length)
        return self._union(ordered) if self.kind == _UNION else self._intersection(ordered)

    def _union(self, ordered: list[_Source]) -> dict[bytes, float]:
        total: dict[bytes, float] = {}
        for source in ordered:
            weight = source.weight
            for member, score in source.items():
                value = _no_nan(weight * score)
                known = total.get(member)
                total[member] = value if known is None else self._joined(known, value)
        return total

    def _intersection(self, ordered: list[_Source]) -> dict[bytes, float]:
        total: dict[bytes, float] = {}
        smallest, others = ordered[0], ordered[1:]
        for member, score in smallest.items():
            value = _no_nan(smallest.weight * score)
            for source in others:
                other = source.score(member)
                if other is None:
                    break
                value = self._joined(value, source.weight * other)
            else:
                total[member] = value
                if self.card and len(total) == self.limit:
                    break
        return total

    def _difference(self) -> dict[bytes, float]:
        first, others = self.sources[0], self.sources[1:]
        return {
            member: score
            for member, score in first.items()
            if all(source.score(member) is None for source in others)
        }

    def _joined(self, known: float, value: float) -> float:
        if self.aggregate == _SUM:
            return _no_nan(known + value)
        if self.aggregate == _MIN:
            return min(known, value)
        return max(known, value)


def _no_nan(value: float) -> float:
    return value if value == value else 0.0


def _store(ctx: Any, args: list[bytes], kind: int, event: bytes) -> int:
    request = _Request(ctx, args, 2, kind, store=True)
    return store_result(ctx, args[1], fitted(ctx, request.result().items()), event)


def _reply(ctx: Any, args: list[bytes], kind: int) -> list[Any]:
    request = _Request(ctx, args, 1, kind, store=False)
    ordered = sorted((score, member) for member, score in request.result().items())
    members = [member for _, member in ordered]
    if not request.with_scores:
        return members
    return nested(ctx, members, [score for score, _ in ordered])


def zunion_command(ctx: Any, args: list[bytes]) -> list[Any]:
    """ZUNION numkeys key [key ...] [WEIGHTS weight ...] [AGGREGATE SUM|MIN|MAX] [WITHSCORES]"""
    return _reply(ctx, args, _UNION)


def zinter_command(ctx: Any, args: list[bytes]) -> list[Any]:
    """ZINTER numkeys key [key ...] [WEIGHTS weight ...] [AGGREGATE SUM|MIN|MAX] [WITHSCORES]"""
    return _reply(ctx, args, _INTER)


def zdiff_command(ctx: Any, args: list[bytes]) -> list[Any]:
    """ZDIFF numkeys key [key ...] [WITHSCORES]"""
    return _reply(ctx, args, _DIFF)


def zunionstore_command(ctx: Any, args: list[bytes]) -> int:
    """ZUNIONSTORE dst numkeys key [key ...] [WEIGHTS weight ...] [AGGREGATE SUM|MIN|MAX]"""
    return _store(ctx, args, _UNION, b"zunionstore")


def zinterstore_command(ctx: Any, args: list[bytes]) -> int:
    """ZINTERSTORE dst numkeys key [key ...] [WEIGHTS weight ...] [AGGREGATE SUM|MIN|MAX]"""
    return _store(ctx, args, _INTER, b"zinterstore")


def zdiffstore_command(ctx: Any, args: list[bytes]) -> int:
    """ZDIFFSTORE dst numkeys key [key ...]"""
    return _store(ctx, args, _DIFF, b"zdiffstore")


def zintercard_command(ctx: Any, args: list[bytes]) -> int:
    """ZINTERCARD numkeys key [key ...] [LIMIT limit]"""
    return len(_Request(ctx, args, 1, _INTER, store=False, card=True).result())


def _store_keys(args: list[bytes]) -> list[int]:
    """The destination, then the keys that follow numkeys."""
    return [1, *numkeys_at(2)(args)]


COMMANDS = [
    Command(
        "zdiff",
        -3,
        "readonly movablekeys",
        zdiff_command,
        numkeys_at(1),
        group="sorted-set",
        since="6.2.0",
        summary="Subtract multiple sorted sets",
        complexity=(
            "O(L + (N-K)log(N)) worst case where L is the total number of elements in all the "
            "sets, N is the size of the first set, and K is the size of the result set."
        ),
    ),
    Command(
        "zdiffstore",
        -4,
        "write denyoom movablekeys",
        zdiffstore_command,
        (1, 1, 1),
        finder=_store_keys,
        group="sorted-set",
        since="6.2.0",
        summary="Subtract multiple sorted sets and store the resulting sorted set in a new key",
        complexity=(
            "O(L + (N-K)log(N)) worst case where L is the total number of elements in all the "
            "sets, N is the size of the first set, and K is the size of the result set."
        ),
    ),
    Command(
        "zinter",
        -3,
        "readonly movablekeys",
        zinter_command,
        numkeys_at(1),
        group="sorted-set",
        since="6.2.0",
        summary="Intersect multiple sorted sets",
        complexity=(
            "O(N*K)+O(M*log(M)) worst case with N being the smallest input sorted set, K being "
            "the number of input sorted sets and M being the number of elements in the resulting "
            "sorted set."
        ),
    ),
    Command(
        "zintercard",
        -3,
        "readonly movablekeys",
        zintercard_command,
        numkeys_at(1),
        group="sorted-set",
        since="7.0.0",
        summary="Intersect multiple sorted sets and return the cardinality of the result",
        complexity=(
            "O(N*K) worst case with N being the smallest input sorted set, K being the number of "
            "input sorted sets."
        ),
    ),
    Command(
        "zinterstore",
        -4,
        "write denyoom movablekeys",
        zinterstore_command,
        (1, 1, 1),
        finder=_store_keys,
        group="sorted-set",
        since="2.0.0",
        summary="Intersect multiple sorted sets and store the resulting sorted set in a new key",
        complexity=(
            "O(N*K)+O(M*log(M)) worst case with N being the smallest input sorted set, K being "
            "the number of input sorted sets and M being the number of elements in the resulting "
            "sorted set."
        ),
    ),
    Command(
        "zunion",
        -3,
        "readonly movablekeys",
        zunion_command,
        numkeys_at(1),
        group="sorted-set",
        since="6.2.0",
        summary="Add multiple sorted sets",
        complexity=(
            "O(N)+O(M*log(M)) with N being the sum of the sizes of the input sorted sets, and M "
            "being the number of elements in the resulting sorted set."
        ),
    ),
    Command(
        "zunionstore",
        -4,
        "write denyoom movablekeys",
        zunionstore_command,
        (1, 1, 1),
        finder=_store_keys,
        group="sorted-set",
        since="2.0.0",
        summary="Add multiple sorted sets and store the resulting sorted set in a new key",
        complexity=(
            "O(N)+O(M log(M)) with N being the sum of the sizes of the input sorted sets, and M "
            "being the number of elements in the resulting sorted set."
        ),
    ),
]
