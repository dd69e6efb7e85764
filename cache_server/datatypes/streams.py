"""Streams: entries in order of their ids, appended at the end and trimmed at the front.

An id is a pair of 64-bit numbers, milliseconds and sequence; it is held as one integer, `ms << 64
| sequence`, whose order is the order of ids. Entries are kept in nodes of a limited number of
entries and bytes, as in Redis: approximate trimming drops whole nodes, and deletion shifts one
node only.

    nodes  [ ids 5-0 5-1 9-0 ] [ ids 9-1 12-0 ]        first ids ascend; each node is sorted
           [ f,v f,v f,v     ] [ f,v  f,v     ]

Unlike other values a stream may be empty: it remembers its last id, and its consumer groups
(`stream_groups`; their commands are in `stream_group_commands`, reading in `stream_reading`).

Invariants: ids ascend over all nodes; no node is empty; `length` is the number of entries;
`last_id` and `entries_added` never fall; no id above `last_id` exists.

Source: https://redis.io/docs/latest/commands/?group=stream.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from sys import getsizeof
from typing import Any

from cache_server import client as states
from cache_server.commands.table import Command
from cache_server.datatypes.arguments import parse_integer
from cache_server.datatypes.sampling import bytes_memory
from cache_server.datatypes.stream_groups import UNKNOWN, Group
from cache_server.errors import CommandError, no_such_key, syntax_error, wrong_arity
from cache_server.keyspace.database import NOTIFY_STREAM
from cache_server.structures.stream_ids import format_id, next_id
from cache_server.wire.replies import NULL_ARRAY, OK

_PART_MAX = 2**64 - 1
ID_MAX = 2**128 - 1

#: A node's limits where no setting says otherwise, as in redis.conf.
_NODE_ENTRIES_DEFAULT = 100
_NODE_BYTES_DEFAULT = 4096

#: Trimming with `~` looks at so many entries at most unless LIMIT says otherwise, as in Redis.
_TRIM_NODES = 100
_TRIM_ENTRIES_DEFAULT = 10_000
_TRIM_ENTRIES_MAX = 1_000_000

_ID_CHARS_MAX = 128
_UNSIGNED = re.compile(rb"[ \t\n\v\f\r]*([+-]?)([0-9]+)")
_INVALID_ID = b"ERR Invalid stream ID specified as stream command argument"


class Node:
    """A run of entries: `fields[i]` (field, value, field, value, ...) belongs to `ids[i]`.

    `gone` entries were deleted: as in Redis, they still count where the node's size is limited."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.fields: list[list[bytes]] = []
        self.size_bytes = 0
        self.gone = 0


class Stream:
    """Entries by id. Ids are integers, `ms << 64 | sequence`."""

    type_name = b"stream"
    encoding = b"stream"

    def __init__(self, entries: Iterable[tuple[int, list[bytes]]] = ()) -> None:
        """`entries` of ascending ids, each with its flat list of fields and values."""
        self.nodes: list[Node] = []
        self.length = 0
        self.last_id = 0
        self.max_deleted_id = 0
        self.entries_added = 0
        self.groups: dict[bytes, Group] = {}
        for entry_id, fields in entries:
            self.append(entry_id, fields)

    def __len__(self) -> int:
        return self.length

    @property
    def first_id(self) -> int:
        """The lowest id present, 0 in an empty stream."""
        return self.nodes[0].ids[0] if self.nodes else 0

    def newest_id(self) -> int:
        """The highest id present, 0 in an empty stream."""
        if not self.nodes:
            return 0
        node = self.nodes[len(self.nodes) - 1]
        return node.ids[len(node.ids) - 1]

    def items(self) -> Iterator[tuple[int, list[bytes]]]:
        """(id, fields and values) in ascending order. Not for use while entries change."""
        for node in self.nodes:
            yield from zip(node.ids, node.fields)

    def copy(self) -> Stream:
        """The same entries in nodes of its own; the lists of fields never change and are shared."""
        twin = Stream()
        twin.length = self.length
        twin.last_id = self.last_id
        twin.max_deleted_id = self.max_deleted_id
        twin.entries_added = self.entries_added
        twin.groups = {name: group.copy() for name, group in self.groups.items()}
        for node in self.nodes:
            other = Node()
            other.ids, other.fields = node.ids[:], node.fields[:]
            other.size_bytes, other.gone = node.size_bytes, node.gone
            twin.nodes.append(other)
        return twin

    def memory_bytes(self, samples: int) -> int:
        """An estimate from `samples` entries (0: from all), in bytes."""
        total = seen = 0
        for node in self.nodes:
            if samples and seen >= samples:
                break
            seen += len(node.ids)
            total += getsizeof(node) + getsizeof(node.ids) + getsizeof(node.fields)
            for fields in node.fields:
                total += 48 + getsizeof(fields) + sum(map(bytes_memory, fields))
        groups = sum(group.memory_bytes() for group in self.groups.values())
        return getsizeof(self) + groups + (total * self.length // seen if seen else 0)

    # -- changing ------------------------------------------------------------------------------

    def append(
        self,
        entry_id: int,
        fields: list[bytes],
        entries_max: int = _NODE_ENTRIES_DEFAULT,
        bytes_max: int = _NODE_BYTES_DEFAULT,
    ) -> None:
        """Adds an entry; `entry_id` is above all that ever were.

        `entries_max` and `bytes_max` are the limits of a node, 0 for none."""
        assert entry_id > self.last_id
        size = 0
        for word in fields:
            size += len(word)
        node = self.nodes[len(self.nodes) - 1] if self.nodes else None
        if (
            node is None
            or (entries_max and len(node.ids) + node.gone >= entries_max)
            or (bytes_max and node.size_bytes + size > bytes_max)
        ):
            node = Node()
            self.nodes.append(node)
        node.ids.append(entry_id)
        node.fields.append(fields)
        node.size_bytes += size
        self.length += 1
        self.last_id = entry_id
        self.entries_added += 1

    def delete(self, entry_id: int) -> bool:
        """Takes the entry out; False where it was not there."""
        index = self._node_of(entry_id)
        if index == len(self.nodes):
            return False
        node = self.nodes[index]
        place = bisect_left(node.ids, entry_id)
        if place == len(node.ids) or node.ids[place] != entry_id:
            return False
        node.gone += 1
        del node.ids[place]
        del node.fields[place]
        if not node.ids:
            del self.nodes[index]
        self.length -= 1
        self.max_deleted_id = max(self.max_deleted_id, entry_id)
        return True

    def trim(self, trimming: Trimming) -> int:
        """Drops entries from the front as `trimming` says; returns how many."""
        dropped = whole = 0
        for node in self.nodes:
            excess = trimming.excess(self.length - dropped, node.ids)
            size = len(node.ids)
            if excess < size or (trimming.limit and dropped + size > trimming.limit):
                break
            dropped += size
            whole += 1
        del self.nodes[:whole]
        if self.nodes and not trimming.approximate:
            node = self.nodes[0]
            excess = trimming.excess(self.length - dropped, node.ids)
            node.gone += excess
            del node.ids[:excess]
            del node.fields[:excess]
            dropped += excess
        self.length -= dropped
        return dropped

    # -- reading -------------------------------------------------------------------------------

    def range(self, low: int, high: int, count: int = -1) -> list[tuple[int, list[bytes]]]:
        """Up to `count` (-1: all) entries with low <= id <= high, ascending."""
        found: list[tuple[int, list[bytes]]] = []
        index = self._node_of(low)
        while index < len(self.nodes) and count != len(found):
            node = self.nodes[index]
            ids = node.ids
            stop = len(ids)
            start = bisect_left(ids, low) if ids[0] < low else 0
            if ids[stop - 1] > high:
                stop = bisect_right(ids, high)
            if start >= stop:
                break
            if 0 <= count < stop - start + len(found):
                stop = start + count - len(found)
            while start < stop:
                found.append((ids[start], node.fields[start]))
                start += 1
            index += 1
        return found

    def range_back(self, low: int, high: int, count: int = -1) -> list[tuple[int, list[bytes]]]:
        """Like `range`, from the highest down."""
        found: list[tuple[int, list[bytes]]] = []
        for index in range(min(self._node_of(high), len(self.nodes) - 1), -1, -1):
            node = self.nodes[index]
            start, stop = bisect_left(node.ids, low), bisect_right(node.ids, high)
            if count == len(found) or node.ids[-1] < low:
                break
            if count >= 0:
                start = max(start, stop - (count - len(found)))
            found += list(zip(node.ids[start:stop], node.fields[start:stop]))[::-1]
        return found

    def has(self, entry_id: int) -> bool:
        """Whether the entry is there."""
        index = self._node_of(entry_id)
        if index == len(self.nodes):
            return False
        node = self.nodes[index]
        return bool(node.ids[bisect_left(node.ids, entry_id)] == entry_id)

    # -- what groups count ---------------------------------------------------------------------

    def deleted_ahead(self) -> int:
        """The highest id deleted among the entries that remain; -1 where none was.

        What is above it was added without gaps, so that entries can be counted from there."""
        if not self.max_deleted_id or not self.nodes or self.first_id > self.max_deleted_id:
            return -1
        return self.max_deleted_id

    def was_read(self, group: Group, found: list[tuple[int, list[bytes]]]) -> None:
        """The group read these entries, which are above its last id and ascend."""
        deleted = self.deleted_ahead()
        if group.entries_read != UNKNOWN and found[0][0] > deleted:
            group.entries_read += len(found)
        else:
            for entry_id, _ in found:
                if group.entries_read != UNKNOWN and entry_id > deleted:
                    group.entries_read += 1
                else:
                    group.entries_read = self.entries_up_to(entry_id)
        group.last_id = found[len(found) - 1][0]

    def entries_up_to(self, entry_id: int) -> int:
        """How many entries up to this id were ever added; UNKNOWN where that cannot be told."""
        if not self.entries_added:
            return 0
        if entry_id == self.last_id or (not self.nodes and entry_id < self.last_id):
            return self.entries_added
        if entry_id > self.last_id:
            return UNKNOWN
        first = self.first_id
        if self.max_deleted_id and self.max_deleted_id >= first:
            return UNKNOWN
        if entry_id <= first:
            return self.entries_added - self.length + int(entry_id == first)
        return UNKNOWN

    def _node_of(self, entry_id: int) -> int:
        """The first node whose last id is not below `entry_id`; their number if there is none."""
        low, high = 0, len(self.nodes)
        while low < high:
            middle = (low + high) // 2
            node = self.nodes[middle]
            ids = node.ids
            if ids[len(ids) - 1] < entry_id:
                low = middle + 1
            else:
                high = middle
        return low


class Trimming:
    """MAXLEN or MINID: what is to go, how exactly, and how many entries at most (0: any number)."""

    def __init__(self, by_length: bool, threshold: int, approximate: bool, at: int) -> None:
        """`at` is where the threshold is in the request."""
        self.by_length = by_length
        self.threshold = threshold
        self.approximate = approximate
        self.limit = 0
        self.at = at

    def excess(self, length: int, ids: list[int]) -> int:
        """How many of these first ids of a stream of this length should go."""
        if self.by_length:
            return max(0, min(length - self.threshold, len(ids)))
        return bisect_left(ids, self.threshold)


# -- ids ---------------------------------------------------------------------------------------


def _part(word: bytes) -> int:
    if word.isdigit() and len(word) < 20:
        return int(word)
    # What C's strtoull takes is taken: spaces, a sign (a negative number wraps around), zeros.
    spelled = _UNSIGNED.fullmatch(word)
    number = int(spelled[2]) if spelled is not None and len(word) < _ID_CHARS_MAX else ID_MAX
    if spelled is None or number > _PART_MAX or word[:1] == b"-":
        raise CommandError(_INVALID_ID)
    return number if spelled[1] != b"-" else -number & _PART_MAX


def parse_id(word: bytes, sequence: int = 0) -> int:
    """`ms-seq`, or `ms` with `sequence` for the missing part. Raises CommandError."""
    first, dash, second = word.partition(b"-")
    return _part(first) << 64 | (_part(second) if dash else sequence)


def parse_end(word: bytes, high: bool) -> int:
    """An end of a range: `-`, `+`, an id or part of one, `(` before it to exclude it."""
    if word == b"-":
        return 0
    if word == b"+":
        return ID_MAX
    excluded = len(word) > 1 and word[:1] == b"("
    entry_id = parse_id(word[1:] if excluded else word, _PART_MAX if high else 0)
    if not excluded:
        return entry_id
    if entry_id == (0 if high else ID_MAX):
        which = b"end" if high else b"start"
        raise CommandError(b"ERR invalid %b ID for the interval" % which)
    return entry_id - 1 if high else entry_id + 1


# -- options of XADD and XTRIM -----------------------------------------------------------------


class _Options:
    """NOMKSTREAM, MAXLEN, MINID, LIMIT, and for XADD where the id is. Raises CommandError."""

    def __init__(self, ctx: Any, args: list[bytes], adding: bool) -> None:
        self.trimming: Trimming | None = None
        self.make = True
        self.index = 2
        self._limit = -1
        while self.index < len(args) and self._option(args, adding):
            self.index += 1
        if self.trimming is None and self._limit > 0:
            raise CommandError(
                b"ERR syntax error, LIMIT cannot be used without specifying a trimming strategy"
            )
        if self.trimming is None and not adding:
            raise CommandError(b"ERR syntax error, XTRIM must be called with a trimming strategy")
        if not ctx.flags & (states.LEADER | states.REPLAY):
            self._set_limit(ctx)

    def _option(self, args: list[bytes], adding: bool) -> bool:
        """Takes one option at `index`; False at XADD's id."""
        word = args[self.index].lower()
        left = len(args) - 1 - self.index
        if adding and word == b"*":
            return False
        if word in (b"maxlen", b"minid") and left:
            self._set_trimming(args, word == b"maxlen", left)
        elif word == b"limit" and left:
            self._limit = parse_integer(args[self.index + 1])
            if self._limit < 0:
                raise CommandError(b"ERR The LIMIT argument must be >= 0.")
            self.index += 1
        elif adding and word == b"nomkstream":
            self.make = False
        elif adding:
            return False
        else:
            raise syntax_error()
        return True

    def _set_trimming(self, args: list[bytes], by_length: bool, left: int) -> None:
        if self.trimming is not None:
            raise CommandError(
                b"ERR syntax error, MAXLEN and MINID options at the same time are not compatible"
            )
        mark = args[self.index + 1]
        if left >= 2 and mark in (b"~", b"="):
            self.index += 1
        self.index += 1
        word = args[self.index]
        threshold = parse_integer(word) if by_length else parse_id(word)
        if threshold < 0:
            raise CommandError(b"ERR The MAXLEN argument must be >= 0.")
        self.trimming = Trimming(by_length, threshold, mark == b"~" and left >= 2, self.index)

    def _set_limit(self, ctx: Any) -> None:
        trimming = self.trimming
        approximate = trimming is not None and trimming.approximate
        if self._limit >= 0 and not approximate:
            raise CommandError(
                b"ERR syntax error, LIMIT cannot be used without the special ~ option"
            )
        if trimming is None or not approximate:
            return
        if self._limit >= 0:
            trimming.limit = self._limit
        else:
            entries = _TRIM_NODES * ctx.config.stream_node_max_entries
            trimming.limit = min(entries or _TRIM_ENTRIES_DEFAULT, _TRIM_ENTRIES_MAX)


def _exact(args: list[bytes], stream: Stream, trimming: Any) -> list[bytes]:
    """The request with what an approximate trimming came to, for followers (they ignore LIMIT)."""
    words = list(args)
    words[trimming.at - 1] = b"="
    words[trimming.at] = b"%d" % stream.length if trimming.by_length else format_id(stream.first_id)
    return words


# -- commands ----------------------------------------------------------------------------------


def _given_id(word: bytes, last: int) -> int:
    """The id for an entry from `ms-*`, `ms` or `ms-seq`. Raises CommandError."""
    if word.endswith(b"-*"):
        low = _part(word[:-2]) << 64
        if low >> 64 == last >> 64 and last & _PART_MAX != _PART_MAX:
            return last + 1
        return low
    return parse_id(word)


def xadd_command(ctx: Any, args: list[bytes]) -> Any:
    """XADD key [NOMKSTREAM] [MAXLEN|MINID [=|~] threshold [LIMIT n]] *|id field value ..."""
    at, make, trimming = 2, True, None
    entry_id = -1
    if args[2] != b"*":
        options = _Options(ctx, args, adding=True)
        at, make, trimming = options.index, options.make, options.trimming
        if at < len(args) and args[at] != b"*":
            entry_id = _given_id(args[at], 0)
    words = len(args) - at - 1
    if words < 2 or words % 2:
        raise wrong_arity("xadd")
    if entry_id == 0:
        raise CommandError(b"ERR The ID specified in XADD must be greater than 0-0")
    stream: Stream | None = ctx.db.write_as(args[1], Stream)
    if stream is None and not make:
        return None
    last_id = 0 if stream is None else stream.last_id
    if last_id == ID_MAX:
        raise CommandError(
            b"ERR The stream has exhausted the last possible ID, unable to add more items"
        )
    if args[at] == b"*":
        entry_id, text = next_id(last_id, ctx.keyspace.now_ms)
    else:
        entry_id = _given_id(args[at], last_id)
        if stream is not None and entry_id <= last_id:
            raise CommandError(
                b"ERR The ID specified in XADD is equal or smaller than the target stream top item"
            )
        text = format_id(entry_id)
    # Followers get the id that was given, and the trimming as it was done: the request itself is
    # what is propagated, so it is changed where it stands.
    args[at] = text
    _append(ctx, args, at, stream, entry_id, trimming)
    return text


def _append(
    ctx: Any,
    args: list[bytes],
    at: int,
    stream: Stream | None,
    entry_id: int,
    trimming: Trimming | None,
) -> None:
    """Adds the entry whose words follow `args[at]`, trims, and propagates."""
    db, key, config = ctx.db, args[1], ctx.config
    if stream is None:
        stream = Stream()
        db.put(key, stream)
    stream.append(
        entry_id, args[at + 1 :], config.stream_node_max_entries, config.stream_node_max_bytes
    )
    db.changed(key, NOTIFY_STREAM, b"xadd")
    if trimming is not None and stream.trim(trimming):
        db.notify(NOTIFY_STREAM, b"xtrim", key)
    if trimming is not None and trimming.approximate:
        ctx.propagate(*_exact(args, stream, trimming))
    db.ready(key)


def xtrim_command(ctx: Any, args: list[bytes]) -> int:
    """XTRIM key MAXLEN|MINID [=|~] threshold [LIMIT count]"""
    trimming = _Options(ctx, args, adding=False).trimming
    assert trimming is not None
    stream: Stream | None = ctx.db.write_as(args[1], Stream)
    if stream is None:
        return 0
    dropped = stream.trim(trimming)
    if dropped:
        ctx.db.changed(args[1], NOTIFY_STREAM, b"xtrim", dropped)
        if trimming.approximate:
            ctx.propagate(*_exact(args, stream, trimming))
    return dropped


def xdel_command(ctx: Any, args: list[bytes]) -> int:
    """XDEL key id [id ...]: how many were there"""
    stream: Stream | None = ctx.db.write_as(args[1], Stream)
    if stream is None:
        return 0
    ids = [parse_id(word) for word in args[2:]]
    deleted = sum(1 for entry_id in ids if stream.delete(entry_id))
    if deleted:
        ctx.db.changed(args[1], NOTIFY_STREAM, b"xdel", deleted)
    return deleted


def xsetid_command(ctx: Any, args: list[bytes]) -> Any:
    """XSETID key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]"""
    last_id, added, deleted_id = parse_id(args[2]), -1, 0
    for index in range(3, len(args), 2):
        option = args[index].lower()
        if option not in (b"entriesadded", b"maxdeletedid") or index + 1 == len(args):
            raise syntax_error()
        if option == b"entriesadded":
            added = parse_integer(args[index + 1])
            if added < 0:
                raise CommandError(b"ERR entries_added must be positive")
            continue
        deleted_id = parse_id(args[index + 1])
        if last_id < deleted_id:
            raise CommandError(
                b"ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id"
            )
    stream: Stream | None = ctx.db.write_as(args[1], Stream)
    if stream is None:
        raise no_such_key()
    if last_id < stream.newest_id():
        raise CommandError(
            b"ERR The ID specified in XSETID is smaller than the target stream top item"
        )
    if stream.nodes and 0 <= added < stream.length:
        raise CommandError(
            b"ERR The entries_added specified in XSETID is smaller than the target stream length"
        )
    stream.last_id = last_id
    if added >= 0:
        stream.entries_added = added
    stream.max_deleted_id = deleted_id or stream.max_deleted_id
    note(ctx, args[1], b"xsetid")
    return OK


def changing(db: Any, key: bytes) -> Stream | None:
    """The stream for a command that counts as reading it and changes its groups."""
    stream: Stream | None = db.read_as(key, Stream)
    if stream is not None and db.before_write is not None:
        db.before_write(db, key)
    return stream


def note(ctx: Any, key: bytes, event: bytes) -> None:
    """A change of what is around the entries: counted and told, but no matter to WATCH."""
    ctx.keyspace.dirty += 1
    ctx.db.notify(NOTIFY_STREAM, event, key)


def xlen_command(ctx: Any, args: list[bytes]) -> int:
    """XLEN key"""
    stream: Stream | None = ctx.db.read_as(args[1], Stream)
    return 0 if stream is None else stream.length


def _range(ctx: Any, args: list[bytes], back: bool) -> Any:
    low = parse_end(args[3 if back else 2], False)
    high = parse_end(args[2 if back else 3], True)
    count = -1
    for index in range(4, len(args), 2):
        if args[index].lower() != b"count" or index + 1 == len(args):
            raise syntax_error()
        count = max(0, parse_integer(args[index + 1]))
    stream: Stream | None = ctx.db.read_as(args[1], Stream)
    if stream is None:
        return []
    if count == 0:
        return NULL_ARRAY
    found = stream.range_back(low, high, count) if back else stream.range(low, high, count)
    return [[format_id(entry_id), fields] for entry_id, fields in found]


def xrange_command(ctx: Any, args: list[bytes]) -> Any:
    """XRANGE key start end [COUNT count]"""
    return _range(ctx, args, False)


def xrevrange_command(ctx: Any, args: list[bytes]) -> Any:
    """XREVRANGE key end start [COUNT count]"""
    return _range(ctx, args, True)


COMMANDS = [
    Command(
        "xadd",
        -5,
        "write denyoom fast",
        xadd_command,
        (1, 1, 1),
        group="stream",
        since="5.0.0",
        summary="Appends a new entry to a stream",
        complexity=(
            "O(1) when adding a new entry, O(N) when trimming where N being the number of entries "
            "evicted."
        ),
    ),
    Command(
        "xdel",
        -3,
        "write fast",
        xdel_command,
        (1, 1, 1),
        group="stream",
        since="5.0.0",
        summary=(
            "Removes the specified entries from the stream. Returns the number of items actually "
            "deleted, that may be different from the number of IDs passed in case certain IDs do "
            "not exist."
        ),
        complexity=(
            "O(1) for each single item to delete in the stream, regardless of the stream size."
        ),
    ),
    Command(
        "xlen",
        2,
        "readonly fast",
        xlen_command,
        (1, 1, 1),
        group="stream",
        since="5.0.0",
        summary="Return the number of entries in a stream",
        complexity="O(1)",
    ),
    Command(
        "xrange",
        -4,
        "readonly",
        xrange_command,
        (1, 1, 1),
        group="stream",
        since="5.0.0",
        summary=(
            "Return a range of elements in a stream, with IDs matching the specified IDs interval"
        ),
        complexity=(
            "O(N) with N being the number of elements being returned. If N is constant (e.g. "
            "always asking for the first 10 elements with COUNT), you can consider it O(1)."
        ),
    ),
    Command(
        "xrevrange",
        -4,
        "readonly",
        xrevrange_command,
        (1, 1, 1),
        group="stream",
        since="5.0.0",
        summary=(
            "Return a range of elements in a stream, with IDs matching the specified IDs "
            "interval, in reverse order (from greater to smaller IDs) compared to XRANGE"
        ),
        complexity=(
            "O(N) with N being the number of elements returned. If N is constant (e.g. always "
            "asking for the first 10 elements with COUNT), you can consider it O(1)."
        ),
    ),
    Command(
        "xsetid",
        -3,
        "write denyoom fast",
        xsetid_command,
        (1, 1, 1),
        group="stream",
        since="5.0.0",
        summary="An internal command for replicating stream values",
        complexity="O(1)",
    ),
    Command(
        "xtrim",
        -4,
        "write",
        xtrim_command,
        (1, 1, 1),
        group="stream",
        since="5.0.0",
        summary="Trims the stream to (approximately if '~' is passed) a certain size",
        complexity=(
            "O(N), with N being the number of evicted entries. Constant times are very small "
            "however, since entries are organized in macro nodes containing multiple entries that "
            "can be released with a single deallocation."
        ),
    ),
]
