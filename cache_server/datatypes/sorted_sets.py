"""Sorted sets: members with a score, in order of (score, member).

A member's score is in a `Table`, its place in a `SortedBlocks`; both hold the same objects.
Redis's encoding is one bit for those who ask: a listpack until there are more members, or a
longer member, than the settings allow, and never again.

Here are the value and the commands about single members, pops and samples; ranges are in
`sorted_set_ranges`, unions, intersections and differences in `sorted_set_algebra`.

Invariants: table and order hold the same pairs; a score is never NaN; a sorted set in the keyspace
is never empty.

Source: https://redis.io/docs/latest/commands/?group=sorted-set.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from sys import getsizeof
from typing import Any

from cache_server.commands.table import Command, numkeys_at
from cache_server.datatypes import sampling
from cache_server.datatypes.arguments import (
    INT64_MAX,
    parse_float,
    parse_in_range,
    parse_positive,
)
from cache_server.datatypes.scanning import parse_cursor, parse_options, scan_reply
from cache_server.errors import CommandError, syntax_error
from cache_server.keyspace.blocking import parse_timeout_ms
from cache_server.keyspace.database import NOTIFY_GENERIC, NOTIFY_ZSET
from cache_server.structures.sorted_blocks import SortedBlocks, blocks_of
from cache_server.structures.table import Table, table_of
from cache_server.wire.replies import NULL_ARRAY, format_double

_PACKED_ENTRIES_DEFAULT = 128
_PACKED_BYTES_DEFAULT = 64

# ZADD's options.
_NX = 1
_XX = 2
_GT = 4
_LT = 8
_CH = 16
_INCR = 32
# What came of giving a member a score.
_REFUSED = 0
_SAME = 1
_ADDED = 2
_UPDATED = 3

_OPTIONS = {b"nx": _NX, b"xx": _XX, b"gt": _GT, b"lt": _LT, b"ch": _CH, b"incr": _INCR}


class SortedSet:
    """Members (bytes) with scores (float). `packed` says that Redis would hold it as a listpack."""

    type_name = b"zset"

    def __init__(self, pairs: Iterable[tuple[bytes, float]] = ()) -> None:
        """`pairs` of member and score, in any order; a later pair replaces an earlier one.

        The encoding is what the default settings make of them."""
        self.scores = Table()
        self.packed = True
        for member, score in pairs:
            self.scores.set(member, score)
        self.order = SortedBlocks((score, member) for member, score in self.scores.items())
        if self.scores.used:
            self.fit(_PACKED_ENTRIES_DEFAULT, _PACKED_BYTES_DEFAULT)

    def __len__(self) -> int:
        return self.scores.used

    def items(self) -> Iterator[tuple[bytes, float]]:
        """(member, score) in ascending order. Not for use while members change."""
        return self.order.items()

    def score(self, member: bytes) -> float | None:
        """The member's score, or None."""
        return self.scores.get(member)  # type: ignore[no-any-return]

    def set(self, member: bytes, score: float) -> None:
        """Adds the member, or gives it another score."""
        current = self.scores.get(member)
        self.scores.set(member, score)
        if current is None:
            self.order.add(score, member)
        elif current != score:
            self.order.move(current, score, member)

    def discard(self, member: bytes) -> bool:
        """Takes the member out; False where it was not there."""
        score = self.scores.pop(member)
        if score is None:
            return False
        self.order.remove(score, member)
        return True

    def pop(self, highest: bool) -> tuple[bytes, float]:
        """Takes out the lowest or the highest member. Raises IndexError when there is none."""
        pair = self.order.pop_last() if highest else self.order.pop_first()
        self.scores.discard(pair[0])
        return pair

    def remove_slice(self, start: int, stop: int) -> int:
        """Takes out the members of ranks `start` to before `stop`; returns how many."""
        members = self.order.remove_slice(start, stop)
        for member in members:
            self.scores.discard(member)
        return len(members)

    @property
    def encoding(self) -> bytes:
        """As OBJECT ENCODING shows it."""
        return b"listpack" if self.packed else b"skiplist"

    def fit(self, entries_max: int, bytes_max: int) -> None:
        """Decides anew whether the sorted set is packed, by its contents."""
        scores = self.scores
        self.packed = scores.used <= entries_max and scores.longest_key() <= bytes_max

    def copy(self) -> SortedSet:
        """The same members in structures of its own."""
        twin = SortedSet()
        for member, score in self.scores.items():
            twin.scores.set(member, score)
        twin.order = self.order.copy()
        twin.packed = self.packed
        return twin

    def memory_bytes(self, samples: int) -> int:
        """An estimate from `samples` members (0: from all), in bytes."""
        table = sampling.table_memory(self.scores, samples)
        return getsizeof(self) + self.order.memory_bytes + table


def sorted_set_of(members: list[bytes], scores: list[float]) -> SortedSet | None:
    """A sorted set of these members with their scores; None where a member comes twice."""
    table = table_of(members, scores)
    if table.used != len(members):
        return None
    value = SortedSet.__new__(SortedSet)
    value.scores = table
    value.order = blocks_of(members, scores)
    value.fit(_PACKED_ENTRIES_DEFAULT, _PACKED_BYTES_DEFAULT)
    return value


def remove_if_empty(db: Any, key: bytes, zset: SortedSet) -> bool:
    """Deletes the key when its set was emptied; the caller sends the event `del` after its own."""
    if zset.scores.used:
        return False
    db.delete(key)
    return True


def nested(ctx: Any, members: list[bytes], scores: list[float]) -> list[Any]:
    """Members with their scores: pairs in RESP3, one flat list in RESP2."""
    if ctx.protocol == 3:
        return [list(pair) for pair in zip(members, scores)]
    return flat(members, scores)


def flat(members: list[bytes], scores: list[float]) -> list[Any]:
    """member, score, member, score, ..."""
    reply: list[Any] = [None] * (2 * len(members))
    reply[::2] = members
    reply[1::2] = scores
    return reply


def fitted(ctx: Any, pairs: Iterable[tuple[bytes, float]]) -> SortedSet:
    """A sorted set made by a command: its encoding follows the settings in force.

    As when members are added to a listpack, minus zero becomes zero."""
    zset = SortedSet((member, score + 0.0) for member, score in pairs)
    config = ctx.config
    zset.fit(config.zset_max_listpack_entries, config.zset_max_listpack_value)
    return zset


def store_result(ctx: Any, key: bytes, zset: SortedSet, event: bytes) -> int:
    """Puts a result at `key`, or deletes the key when there is none; returns the length."""
    db = ctx.db
    if zset.scores.used:
        db.put(key, zset)
        db.changed(key, NOTIFY_ZSET, event)
        db.ready(key)
    elif db.delete(key):
        db.changed(key, NOTIFY_GENERIC, b"del")
    return zset.scores.used


# -- adding ------------------------------------------------------------------------------------


def _parse_score(word: bytes) -> float:
    if len(word) < 16 and word.isdigit():
        return float(word)
    return parse_float(word)


def _parse_options(args: list[bytes]) -> tuple[int, int]:
    """ZADD's options as bits, and where the pairs begin. Raises CommandError."""
    options = 0
    first = 2
    while first < len(args):
        bit = _OPTIONS.get(args[first].lower(), 0)
        if not bit:
            break
        options |= bit
        first += 1
    pair_words = len(args) - first
    if pair_words == 0 or pair_words % 2:
        raise syntax_error()
    if options & _NX and options & _XX:
        raise CommandError(b"ERR XX and NX options at the same time are not compatible")
    if (options & _NX and options & (_GT | _LT)) or (options & _GT and options & _LT):
        raise CommandError(b"ERR GT, LT, and/or NX options at the same time are not compatible")
    if options & _INCR and pair_words > 2:
        raise CommandError(b"ERR INCR option supports a single increment-element pair")
    return options, first


def zadd_command(ctx: Any, args: list[bytes]) -> Any:
    """ZADD key [NX|XX] [GT|LT] [CH] [INCR] score member [score member ...]"""
    if len(args) == 4 and args[2] < b"A":  # no option: the common form
        score = _parse_score(args[2])
        outcome = _put(ctx, _opened(ctx.db, args[1]), args[3], score, 0)
        if outcome != _SAME:
            ctx.db.changed(args[1], NOTIFY_ZSET, b"zadd")
        return 1 if outcome == _ADDED else 0
    options, first = _parse_options(args)
    scores = [_parse_score(args[index]) for index in range(first, len(args), 2)]
    members = args[first + 1 :: 2]
    if options & _INCR:
        return _increment(ctx, args[1], members[0], scores[0], options)
    return _add(ctx, args[1], members, scores, options)


def zincrby_command(ctx: Any, args: list[bytes]) -> Any:
    """ZINCRBY key increment member: the new score"""
    return _increment(ctx, args[1], args[3], _parse_score(args[2]), 0)


def _opened(db: Any, key: bytes) -> SortedSet:
    """The sorted set at `key` for changing, made where there is none. Raises WRONGTYPE."""
    zset: SortedSet | None = db.write_as(key, SortedSet)
    if zset is None:
        zset = SortedSet()
        db.put(key, zset)
    return zset


def _put(ctx: Any, zset: SortedSet, member: bytes, score: float, options: int) -> int:
    """Gives the member a score as the options allow; returns what came of it."""
    known = zset.scores.get(member)
    if known is None:
        if options & _XX:
            return _REFUSED
        if zset.packed:
            score += 0.0  # a listpack holds whole scores as integers: there is no minus zero
        zset.scores.set(member, score)
        zset.order.add(score, member)
        if zset.packed:
            _unpack_if_large(ctx, zset, member)
        return _ADDED
    new = score
    old = known
    if options and (options & _NX or not _allowed(options, new, old)):
        return _REFUSED
    if new == old:
        return _SAME
    zset.scores.set(member, score)
    zset.order.move(known, score, member)
    return _UPDATED


def _add(ctx: Any, key: bytes, members: list[bytes], scores: list[float], options: int) -> int:
    """ZADD without INCR: how many were added, with CH also how many were updated."""
    if options & _XX and ctx.db.write_as(key, SortedSet) is None:
        return 0
    zset = _opened(ctx.db, key)
    added = updated = 0
    for index in range(len(members)):
        outcome = _put(ctx, zset, members[index], scores[index], options)
        if outcome == _ADDED:
            added += 1
        elif outcome == _UPDATED:
            updated += 1
    if added or updated:
        ctx.db.changed(key, NOTIFY_ZSET, b"zadd", added + updated)
    return added + updated if options & _CH else added


def _increment(ctx: Any, key: bytes, member: bytes, score: float, options: int) -> float | None:
    """ZINCRBY, and ZADD with INCR: the new score, None where an option refuses it."""
    zset: SortedSet | None = ctx.db.write_as(key, SortedSet)
    if zset is None:
        if options & _XX:
            return None
        zset = _opened(ctx.db, key)
    known = zset.scores.get(member)
    if known is not None and not options & _NX:
        score += known
        if score != score:
            raise CommandError(b"ERR resulting score is not a number (NaN)")
    outcome = _put(ctx, zset, member, score, options)
    if outcome in (_ADDED, _UPDATED):
        ctx.db.changed(key, NOTIFY_ZSET, b"zincr")
    return None if outcome == _REFUSED else score


def _allowed(options: int, score: float, current: float) -> bool:
    """Whether GT and LT let the score replace the current one."""
    if options & _GT:
        return score > current
    return score < current if options & _LT else True


def _unpack_if_large(ctx: Any, zset: SortedSet, member: bytes) -> None:
    """After `member` was added: it or the number of members may end the listpack."""
    config = ctx.config
    if (
        zset.scores.used > config.zset_max_listpack_entries
        or len(member) > config.zset_max_listpack_value
    ):
        zset.packed = False


# -- removing ----------------------------------------------------------------------------------


def zrem_command(ctx: Any, args: list[bytes]) -> int:
    """ZREM key member [member ...]: how many were there"""
    db = ctx.db
    key = args[1]
    zset: SortedSet | None = db.write_as(key, SortedSet)
    if zset is None:
        return 0
    removed = 0
    for index in range(2, len(args)):
        if zset.discard(args[index]):
            removed += 1
    if removed:
        emptied = remove_if_empty(db, key, zset)
        db.changed(key, NOTIFY_ZSET, b"zrem", removed)
        if emptied:
            db.notify(NOTIFY_GENERIC, b"del", key)
    return removed


def _pop(
    ctx: Any, key: bytes, zset: SortedSet, highest: bool, count: int
) -> tuple[list[bytes], list[float]]:
    """Pops up to `count` (at least one) members, with events; returns them and their scores."""
    db = ctx.db
    members: list[bytes] = []
    scores: list[float] = []
    for _ in range(min(count, zset.scores.used)):
        member, score = zset.pop(highest)
        members.append(member)
        scores.append(score)
    emptied = remove_if_empty(db, key, zset)
    event = b"zpopmax" if highest else b"zpopmin"
    db.changed(key, NOTIFY_ZSET, event, len(members))
    if emptied:
        db.notify(NOTIFY_GENERIC, b"del", key)
    return members, scores


def _zpop(ctx: Any, args: list[bytes], highest: bool) -> list[Any]:
    if len(args) > 3:
        raise syntax_error()
    count = parse_positive(args[2]) if len(args) == 3 else 1
    zset: SortedSet | None = ctx.db.write_as(args[1], SortedSet)
    if zset is None or count == 0:
        return []
    if count == 1 and zset.scores.used > 1 and len(args) == 2:
        member, score = zset.pop(highest)
        ctx.db.changed(args[1], NOTIFY_ZSET, b"zpopmax" if highest else b"zpopmin")
        return [member, score]
    members, scores = _pop(ctx, args[1], zset, highest, count)
    if len(args) == 3:
        return nested(ctx, members, scores)
    return flat(members, scores)


def zpopmin_command(ctx: Any, args: list[bytes]) -> list[Any]:
    """ZPOPMIN key [count]: members and scores"""
    return _zpop(ctx, args, False)


def zpopmax_command(ctx: Any, args: list[bytes]) -> list[Any]:
    """ZPOPMAX key [count]: members and scores"""
    return _zpop(ctx, args, True)


def _parse_multiple(args: list[bytes], first: int) -> tuple[list[bytes], bool, int]:
    """numkeys key [key ...] MIN|MAX [COUNT count] from `args[first]` on: keys, highest, count."""
    numkeys = parse_in_range(args[first], 1, INT64_MAX, b"ERR numkeys should be greater than 0")
    where = first + 1 + numkeys
    if where >= len(args) or args[where].lower() not in (b"min", b"max"):
        raise syntax_error()
    count = 0
    index = where + 1
    while index < len(args):
        if count or args[index].lower() != b"count" or index + 1 == len(args):
            raise syntax_error()
        count = parse_in_range(args[index + 1], 1, INT64_MAX, b"ERR count should be greater than 0")
        index += 2
    return args[first + 1 : where], args[where].lower() == b"max", count or 1


def _pop_from_first(ctx: Any, keys: list[bytes], highest: bool, count: int) -> Any:
    """Key, members and scores from the first key that has any; None where none has.

    Followers get it as ZPOPMIN or ZPOPMAX; `count` 0 is one member, popped without a count."""
    for key in keys:
        zset: SortedSet | None = ctx.db.write_as(key, SortedSet)
        if zset is not None:
            members, scores = _pop(ctx, key, zset, highest, count or 1)
            effect = [b"ZPOPMAX" if highest else b"ZPOPMIN", key]
            if count:
                effect.append(b"%d" % len(members))
            ctx.propagate(*effect)
            return key, members, scores
    return None


def _multiple_reply(popped: Any) -> list[Any]:
    key, members, scores = popped
    return [key, [list(pair) for pair in zip(members, scores)]]


def zmpop_command(ctx: Any, args: list[bytes]) -> Any:
    """ZMPOP numkeys key [key ...] MIN|MAX [COUNT count]"""
    keys, highest, count = _parse_multiple(args, 1)
    popped = _pop_from_first(ctx, keys, highest, count)
    return NULL_ARRAY if popped is None else _multiple_reply(popped)


def bzmpop_command(ctx: Any, args: list[bytes]) -> Any:
    """BZMPOP timeout numkeys key [key ...] MIN|MAX [COUNT count]"""
    keys, highest, count = _parse_multiple(args, 2)
    timeout_ms = parse_timeout_ms(args[1], in_seconds=True, now_ms=ctx.keyspace.now_ms)
    popped = _pop_from_first(ctx, keys, highest, count)
    if popped is not None:
        return _multiple_reply(popped)
    tail = args[3 + len(keys) :]
    return ctx.server.blocking.wait_for_keys(
        ctx, SortedSet, keys, timeout_ms, lambda key: [args[0], b"0", b"1", key, *tail]
    )


def _bzpop(ctx: Any, args: list[bytes], highest: bool) -> Any:
    timeout_ms = parse_timeout_ms(args[-1], in_seconds=True, now_ms=ctx.keyspace.now_ms)
    keys = args[1:-1]
    popped = _pop_from_first(ctx, keys, highest, 0)
    if popped is not None:
        key, members, scores = popped
        return [key, members[0], scores[0]]
    return ctx.server.blocking.wait_for_keys(
        ctx, SortedSet, keys, timeout_ms, lambda key: [args[0], key, b"0"]
    )


def bzpopmin_command(ctx: Any, args: list[bytes]) -> Any:
    """BZPOPMIN key [key ...] timeout: key, member, score"""
    return _bzpop(ctx, args, False)


def bzpopmax_command(ctx: Any, args: list[bytes]) -> Any:
    """BZPOPMAX key [key ...] timeout: key, member, score"""
    return _bzpop(ctx, args, True)


# -- reading -----------------------------------------------------------------------------------


def zcard_command(ctx: Any, args: list[bytes]) -> int:
    """ZCARD key"""
    zset: SortedSet | None = ctx.db.read_as(args[1], SortedSet)
    return 0 if zset is None else zset.scores.used


def zscore_command(ctx: Any, args: list[bytes]) -> float | None:
    """ZSCORE key member"""
    zset: SortedSet | None = ctx.db.read_as(args[1], SortedSet)
    return None if zset is None else zset.score(args[2])


def zmscore_command(ctx: Any, args: list[bytes]) -> list[float | None]:
    """ZMSCORE key member [member ...]"""
    zset: SortedSet | None = ctx.db.read_as(args[1], SortedSet)
    if zset is None:
        return [None] * (len(args) - 2)
    return [zset.score(member) for member in args[2:]]


def _rank(ctx: Any, args: list[bytes], highest_first: bool) -> int | None:
    zset: SortedSet | None = ctx.db.read_as(args[1], SortedSet)
    if zset is None:
        return None
    score = zset.score(args[2])
    if score is None:
        return None
    rank = zset.order.rank(score, args[2])
    return zset.scores.used - 1 - rank if highest_first else rank


def zrank_command(ctx: Any, args: list[bytes]) -> int | None:
    """ZRANK key member"""
    return _rank(ctx, args, False)


def zrevrank_command(ctx: Any, args: list[bytes]) -> int | None:
    """ZREVRANK key member"""
    return _rank(ctx, args, True)


def zrandmember_command(ctx: Any, args: list[bytes]) -> Any:
    """ZRANDMEMBER key [count [WITHSCORES]]"""
    rng = ctx.keyspace.rng
    if len(args) == 2:
        zset: SortedSet | None = ctx.db.read_as(args[1], SortedSet)
        return None if zset is None else zset.scores.random_key(rng)
    count = parse_in_range(args[2], -INT64_MAX, INT64_MAX)
    if len(args) > 4 or (len(args) == 4 and args[3].lower() != b"withscores"):
        raise syntax_error()
    with_scores = len(args) == 4
    if with_scores and abs(count) > INT64_MAX // 2:
        raise CommandError(b"ERR value is out of range")
    zset = ctx.db.read_as(args[1], SortedSet)
    if zset is None or count == 0:
        return []
    if count > 0:
        chosen = sampling.distinct_keys(zset.scores, count, rng)
    else:
        sampling.check_draws(ctx, -count)
        chosen = sampling.repeated_keys(zset.scores, -count, rng)
    if not with_scores:
        return chosen
    return nested(ctx, chosen, [zset.scores.get(member) for member in chosen])


def zscan_command(ctx: Any, args: list[bytes]) -> list[Any]:
    """ZSCAN key cursor [MATCH pattern] [COUNT count]: members and scores, as text"""
    cursor = parse_cursor(args[2])
    zset: SortedSet | None = ctx.db.read_as(args[1], SortedSet)
    if zset is None:
        return scan_reply(0, [])
    options = parse_options(args, 3)
    if zset.packed:
        cursor, members = 0, zset.order.member_slice(0, zset.scores.used)
    else:
        cursor, members = zset.scores.scan(cursor, options.count)
    if options.match is not None:
        members = [member for member in members if options.match(member)]
    words = [w for m in members for w in (m, format_double(zset.scores.get(m)))]
    return scan_reply(cursor, words)


COMMANDS = [
    Command(
        "bzmpop",
        -5,
        "write blocking movablekeys",
        bzmpop_command,
        numkeys_at(2),
        group="sorted-set",
        since="7.0.0",
        summary=(
            "Remove and return members with scores in a sorted set or block until one is available"
        ),
        complexity=(
            "O(K) + O(M*log(N)) where K is the number of provided keys, N being the number of "
            "elements in the sorted set, and M being the number of elements popped."
        ),
    ),
    Command(
        "bzpopmax",
        -3,
        "write noscript blocking fast",
        bzpopmax_command,
        (1, -2, 1),
        group="sorted-set",
        since="5.0.0",
        summary=(
            "Remove and return the member with the highest score from one or more sorted sets, or "
            "block until one is available"
        ),
        complexity="O(log(N)) with N being the number of elements in the sorted set.",
    ),
    Command(
        "bzpopmin",
        -3,
        "write noscript blocking fast",
        bzpopmin_command,
        (1, -2, 1),
        group="sorted-set",
        since="5.0.0",
        summary=(
            "Remove and return the member with the lowest score from one or more sorted sets, or "
            "block until one is available"
        ),
        complexity="O(log(N)) with N being the number of elements in the sorted set.",
    ),
    Command(
        "zadd",
        -4,
        "write denyoom fast",
        zadd_command,
        (1, 1, 1),
        group="sorted-set",
        since="1.2.0",
        summary="Add one or more members to a sorted set, or update its score if it already exists",
        complexity=(
            "O(log(N)) for each item added, where N is the number of elements in the sorted set."
        ),
    ),
    Command(
        "zcard",
        2,
        "readonly fast",
        zcard_command,
        (1, 1, 1),
        group="sorted-set",
        since="1.2.0",
        summary="Get the number of members in a sorted set",
        complexity="O(1)",
    ),
    Command(
        "zincrby",
        4,
        "write denyoom fast",
        zincrby_command,
        (1, 1, 1),
        group="sorted-set",
        since="1.2.0",
        summary="Increment the score of a member in a sorted set",
        complexity="O(log(N)) where N is the number of elements in the sorted set.",
    ),
    Command(
        "zmpop",
        -4,
        "write movablekeys",
        zmpop_command,
        numkeys_at(1),
        group="sorted-set",
        since="7.0.0",
        summary="Remove and return members with scores in a sorted set",
        complexity=(
            "O(K) + O(M*log(N)) where K is the number of provided keys, N being the number of "
            "elements in the sorted set, and M being the number of elements popped."
        ),
    ),
    Command(
        "zmscore",
        -3,
        "readonly fast",
        zmscore_command,
        (1, 1, 1),
        group="sorted-set",
        since="6.2.0",
        summary="Get the score associated with the given members in a sorted set",
        complexity="O(N) where N is the number of members being requested.",
    ),
    Command(
        "zpopmax",
        -2,
        "write fast",
        zpopmax_command,
        (1, 1, 1),
        group="sorted-set",
        since="5.0.0",
        summary="Remove and return members with the highest scores in a sorted set",
        complexity=(
            "O(log(N)*M) with N being the number of elements in the sorted set, and M being the "
            "number of elements popped."
        ),
    ),
    Command(
        "zpopmin",
        -2,
        "write fast",
        zpopmin_command,
        (1, 1, 1),
        group="sorted-set",
        since="5.0.0",
        summary="Remove and return members with the lowest scores in a sorted set",
        complexity=(
            "O(log(N)*M) with N being the number of elements in the sorted set, and M being the "
            "number of elements popped."
        ),
    ),
    Command(
        "zrandmember",
        -2,
        "readonly",
        zrandmember_command,
        (1, 1, 1),
        group="sorted-set",
        since="6.2.0",
        summary="Get one or multiple random elements from a sorted set",
        complexity="O(N) where N is the number of elements returned",
    ),
    Command(
        "zrank",
        3,
        "readonly fast",
        zrank_command,
        (1, 1, 1),
        group="sorted-set",
        since="2.0.0",
        summary="Determine the index of a member in a sorted set",
        complexity="O(log(N))",
    ),
    Command(
        "zrem",
        -3,
        "write fast",
        zrem_command,
        (1, 1, 1),
        group="sorted-set",
        since="1.2.0",
        summary="Remove one or more members from a sorted set",
        complexity=(
            "O(M*log(N)) with N being the number of elements in the sorted set and M the number "
            "of elements to be removed."
        ),
    ),
    Command(
        "zrevrank",
        3,
        "readonly fast",
        zrevrank_command,
        (1, 1, 1),
        group="sorted-set",
        since="2.0.0",
        summary=(
            "Determine the index of a member in a sorted set, with scores ordered from high to low"
        ),
        complexity="O(log(N))",
    ),
    Command(
        "zscan",
        -3,
        "readonly",
        zscan_command,
        (1, 1, 1),
        group="sorted-set",
        since="2.8.0",
        summary="Incrementally iterate sorted sets elements and associated scores",
        complexity=(
            "O(1) for every call. O(N) for a complete iteration, including enough command calls "
            "for the cursor to return back to 0. N is the number of elements inside the "
            "collection.."
        ),
    ),
    Command(
        "zscore",
        3,
        "readonly fast",
        zscore_command,
        (1, 1, 1),
        group="sorted-set",
        since="1.2.0",
        summary="Get the score associated with the given member in a sorted set",
        complexity="O(1)",
    ),
]
