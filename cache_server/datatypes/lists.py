"""Lists: the value, then its commands.

Problem. Both ends must be cheap to push to and pop from, a range near either end must cost little
more than copying it, and the middle of a long list must be reachable in reasonable time.

Idea: a row of chunks, Python lists of at most LIST_CHUNK_ITEMS items. Both ends are held directly;
most lists are one chunk only, and then it is both ends at once.

    front [a b c]   middle deque([d .. e] [f .. g] [h .. i])   back [j k l]
    front is back: [a b c]                                     one chunk, no middle

An end is full with LIST_END_ITEMS items, for an insertion at the left of a chunk moves all of it.
The next push starts a new chunk, and the full one joins its neighbour in the middle as long as
both fit in one, because the middle is walked chunk by chunk. Ranges are slices of chunks; what
changes the middle edits one chunk, and splits it, or joins small neighbours, when the row gets
uneven.

Invariants: `size` is the sum of the chunks' lengths; no chunk is empty, but the only one of an
empty list; no chunk is longer than LIST_CHUNK_ITEMS; `front is back` exactly when there is one.

Source of the commands: https://redis.io/docs/latest/commands/?group=list, behaviour of Redis 7.0.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from cache_server.commands.table import Command, numkeys_at
from cache_server.datatypes.arguments import (
    INT64_MAX,
    parse_in_range,
    parse_integer,
    parse_positive,
)
from cache_server.errors import CommandError, no_such_key, syntax_error, wrong_arity
from cache_server.keyspace.blocking import parse_timeout_ms
from cache_server.keyspace.database import NOTIFY_GENERIC, NOTIFY_LIST, Database
from cache_server.wire.replies import NULL_ARRAY, OK

#: Most items in one chunk: what a removal at its left end moves (4 KiB of pointers).
LIST_CHUNK_ITEMS = 512
#: An end with so many items takes no further push: what an insertion at its left end moves.
LIST_END_ITEMS = 64
_CHUNK = LIST_CHUNK_ITEMS
_END = LIST_END_ITEMS
#: Bytes of a list object with its first chunk, and of each further one, without items.
_LIST_BYTES = 144
_CHUNK_BYTES = 72
#: Bytes of a bytes object beyond its contents, rounded as the allocator does.
_ITEM_BYTES = 48


class List:
    """A sequence of bytes. Indexes are from 0 and within bounds: callers check."""

    type_name = b"list"
    encoding = b"quicklist"

    def __init__(self, items: Iterable[bytes] = ()) -> None:
        self.front: list[bytes] = []
        self.back = self.front
        self.middle: Any = None
        self.size = 0
        if items:
            self._adopt(_chunked(list(items)))

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self.chunks():
            yield from chunk

    def chunks(self) -> list[list[bytes]]:
        """The chunks in order, as they are."""
        if self.front is self.back:
            return [self.front]
        if not self.middle:
            return [self.front, self.back]
        return [self.front, *self.middle, self.back]

    def copy(self) -> List:
        """A list of its own with the same items."""
        twin = List()
        twin._adopt([chunk[:] for chunk in self.chunks()])
        return twin

    def memory_bytes(self, samples: int) -> int:
        """Bytes taken, estimated from the first `samples` items (all for 0)."""
        chunks = 1 + (self.front is not self.back) + len(self.middle or ())
        total = _LIST_BYTES + _CHUNK_BYTES * (chunks - 1) + 8 * self.size
        sampled = self.slice(0, min(samples, self.size) if samples > 0 else self.size)
        if sampled:
            contents = sum(map(len, sampled)) + _ITEM_BYTES * len(sampled)
            total += contents * self.size // len(sampled)
        return total

    # -- the ends ------------------------------------------------------------------------------

    def push_left(self, item: bytes) -> int:
        """Adds before the first item; returns the new length."""
        front = self.front
        if len(front) >= _END:
            self._new_front(item)
        else:
            front.insert(0, item)
        self.size += 1
        return self.size

    def push_right(self, item: bytes) -> int:
        """Adds after the last item; returns the new length."""
        back = self.back
        if len(back) >= _END:
            self._new_back(item)
        else:
            back.append(item)
        self.size += 1
        return self.size

    def pop_left(self) -> bytes:
        """Takes the first item of a list that is not empty."""
        front = self.front
        item = front.pop(0)
        self.size -= 1
        if not front:
            self._next_front()
        return item

    def pop_right(self) -> bytes:
        """Takes the last item of a list that is not empty."""
        back = self.back
        item = back.pop()
        self.size -= 1
        if not back:
            self._next_back()
        return item

    def pop_many(self, count: int, left: bool) -> list[bytes]:
        """Takes up to `count` items from one end, in the order of single pops."""
        count = min(count, self.size)
        if left:
            taken = self.slice(0, count)
            self.drop_left(count)
        else:
            taken = self.slice(self.size - count, self.size)
            taken.reverse()
            self.drop_right(count)
        return taken

    def drop_left(self, count: int) -> None:
        """Forgets the first `count` items."""
        while count:
            front = self.front
            cut = min(count, len(front))
            del front[:cut]
            self.size -= cut
            count -= cut
            if not front:
                self._next_front()

    def drop_right(self, count: int) -> None:
        """Forgets the last `count` items."""
        while count:
            back = self.back
            cut = min(count, len(back))
            del back[len(back) - cut :]
            self.size -= cut
            count -= cut
            if not back:
                self._next_back()

    def _new_front(self, item: bytes) -> None:
        front, middle = self.front, self.middle
        self.front = [item]
        if front is self.back:
            return
        if middle is None:
            self.middle = deque((front,))
        elif middle and len(middle[0]) + len(front) <= _CHUNK:
            middle[0][:0] = front
        else:
            middle.appendleft(front)

    def _new_back(self, item: bytes) -> None:
        back, middle = self.back, self.middle
        self.back = [item]
        if back is self.front:
            return
        if middle is None:
            self.middle = deque((back,))
        elif middle and len(middle[-1]) + len(back) <= _CHUNK:
            middle[-1] += back
        else:
            middle.append(back)

    def _next_front(self) -> None:
        self.front = self.middle.popleft() if self.middle else self.back

    def _next_back(self) -> None:
        self.back = self.middle.pop() if self.middle else self.front

    # -- anywhere ------------------------------------------------------------------------------

    def get(self, index: int) -> bytes:
        """The item at `index`."""
        chunk, offset = self._locate(index)
        return chunk[offset]

    def set(self, index: int, item: bytes) -> None:
        """Replaces the item at `index`."""
        chunk, offset = self._locate(index)
        chunk[offset] = item

    def slice(self, start: int, stop: int) -> list[bytes]:
        """A new list of the items from `start` up to, not including, `stop`."""
        if stop <= len(self.front):
            return self.front[start:stop]
        if start > self.size // 2:
            return self._slice_from_back(start, stop)
        result: list[bytes] = []
        position = 0
        for chunk in self.chunks():
            if position >= stop:
                break
            if position + len(chunk) > start:
                result += chunk[max(0, start - position) : stop - position]
            position += len(chunk)
        return result

    def insert(self, pivot: bytes, item: bytes, after: bool) -> bool:
        """Adds next to the first item equal to `pivot`; False where there is none."""
        for chunk in self.chunks():
            if pivot in chunk:
                chunk.insert(chunk.index(pivot) + after, item)
                self.size += 1
                if len(chunk) > _CHUNK:
                    self._even()
                return True
        return False

    def remove(self, item: bytes, count: int) -> int:
        """Removes up to `count` items equal to `item`, from the end if negative, all for 0.

        Returns how many it removed."""
        left = abs(count) or self.size
        removed = 0
        chunks = self.chunks()
        for chunk in reversed(chunks) if count < 0 else chunks:
            here = chunk.count(item)
            if not here:
                continue
            if here <= left - removed:
                chunk[:] = [kept for kept in chunk if kept != item]
                removed += here
            else:
                _remove_some(chunk, item, left - removed, count < 0)
                removed = left
            if removed == left:
                break
        if removed:
            self._even()
        return removed

    def positions(self, item: bytes, rank: int, count: int, length_max: int) -> list[int]:
        """Indexes of items equal to `item`, from the `rank`-th match on (negative: from the end).

        At most `count` of them (0: all), looking at `length_max` items at most (0: all)."""
        found: list[int] = []
        skip = abs(rank) - 1
        chunks = self.chunks()
        if rank < 0:
            chunks.reverse()
        seen = 0
        for chunk in chunks:
            if length_max and seen >= length_max:
                break
            if item in chunk:
                for offset, other in enumerate(reversed(chunk) if rank < 0 else chunk, seen):
                    if other != item or (length_max and offset >= length_max):
                        continue
                    if skip:
                        skip -= 1
                        continue
                    found.append(self.size - 1 - offset if rank < 0 else offset)
                    if len(found) == count:
                        return found
            seen += len(chunk)
        return found

    # -- parts ---------------------------------------------------------------------------------

    def _locate(self, index: int) -> tuple[list[bytes], int]:
        """The chunk that holds `index`, and where in it."""
        if index < len(self.front):
            return self.front, index
        behind = self.size - index
        if behind <= len(self.back):
            return self.back, len(self.back) - behind
        if index <= behind:
            index -= len(self.front)
            for chunk in self.middle:
                if index < len(chunk):
                    return chunk, index
                index -= len(chunk)
        behind -= len(self.back)
        for chunk in reversed(self.middle):
            if behind <= len(chunk):
                return chunk, len(chunk) - behind
            behind -= len(chunk)
        raise IndexError(index)

    def _slice_from_back(self, start: int, stop: int) -> list[bytes]:
        pieces: list[list[bytes]] = []
        end = self.size
        for chunk in reversed(self.chunks()):
            if end <= start:
                break
            end -= len(chunk)
            if end < stop:
                pieces.append(chunk[max(0, start - end) : stop - end])
        result: list[bytes] = []
        for piece in reversed(pieces):
            result += piece
        return result

    def _even(self) -> None:
        """Splits chunks that are too long, joins short neighbours, drops empty ones."""
        row: list[list[bytes]] = []
        for chunk in self.chunks():
            if len(chunk) > _CHUNK:
                row += [chunk[: _CHUNK // 2], chunk[_CHUNK // 2 :]]
            elif row and len(row[-1]) + len(chunk) <= _CHUNK // 2:
                row[-1] += chunk
            elif chunk:
                row.append(chunk)
        self._adopt(row)

    def _adopt(self, row: list[list[bytes]]) -> None:
        """Takes a row of chunks, none of them empty, for its own."""
        self.front = row[0] if row else []
        self.back = row[-1] if row else self.front
        self.middle = deque(row[1:-1]) if len(row) > 2 else None
        self.size = sum(map(len, row))


def _chunked(items: list[bytes]) -> list[list[bytes]]:
    if len(items) <= _CHUNK:
        return [items] if items else []
    return [items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK)]


def _remove_some(chunk: list[bytes], item: bytes, count: int, from_end: bool) -> None:
    """Removes the first or last `count` of more occurrences."""
    if from_end:
        chunk.reverse()
    for _ in range(count):
        chunk.remove(item)
    if from_end:
        chunk.reverse()


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
        _emptied(db, key)
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
        _emptied(db, key)
    return item


def _pop_counted(ctx: Any, args: list[bytes], left: bool) -> Any:
    if len(args) > 3:
        raise wrong_arity("lpop" if left else "rpop")
    count = parse_positive(args[2])
    value = ctx.db.write_as(args[1], List)
    if value is None:
        return NULL_ARRAY
    return _take(ctx.db, args[1], value, count, left) if count else []


def _take(db: Database, key: bytes, value: List, count: int, left: bool) -> list[bytes]:
    """Pops up to `count` items and says so; deletes a list that it emptied."""
    items = value.pop_many(count, left)
    db.changed(key, NOTIFY_LIST, b"lpop" if left else b"rpop", len(items))
    if value.size == 0:
        _emptied(db, key)
    return items


def _emptied(db: Database, key: bytes) -> None:
    db.delete(key)
    db.notify(NOTIFY_GENERIC, b"del", key)


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
        _emptied(db, source)
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
            items = _take(ctx.db, key, value, count, left)
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
            items = _take(ctx.db, key, value, 1, left)
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
            _emptied(ctx.db, args[1])
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
        _emptied(ctx.db, args[1])
    return OK


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
