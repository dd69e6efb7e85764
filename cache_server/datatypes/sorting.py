"""SORT: the elements of a list, set or sorted set in another order, or what they point to.

    SORT users BY weight_* LIMIT 0 10 GET # GET user_*->name STORE result

A pattern makes a key out of an element: its first `*` is replaced by the element, and what follows
`->` behind it is the field of a hash. `#` is the element itself. A BY pattern without `*` means: do
not sort, take the order that the value has; a set has none, so there a result that is stored (or
returned to a script) is sorted by the alphabet, or leader and follower would differ.

Elements are compared as numbers, equal ones byte by byte, or with ALPHA byte by byte.

Source: https://redis.io/docs/latest/commands/sort/.
"""

from __future__ import annotations

from typing import Any

from cache_server import client as states
from cache_server.commands.table import Command
from cache_server.datatypes.arguments import float_or_none, parse_integer
from cache_server.datatypes.hashes import Hash
from cache_server.datatypes.list_value import List
from cache_server.datatypes.sets import Set
from cache_server.datatypes.sorted_sets import SortedSet
from cache_server.datatypes.values import is_string
from cache_server.errors import CommandError, syntax_error, wrong_type
from cache_server.keyspace.database import NOTIFY_GENERIC, NOTIFY_LIST, string_bytes


class SortOptions:
    """What follows the key. Raises CommandError."""

    def __init__(self, args: list[bytes], may_store: bool) -> None:
        self.descending = False
        self.by_alphabet = False
        self.start = 0
        self.count = -1
        self.by: bytes | None = None
        self.gets: list[bytes] = []
        self.target: bytes | None = None
        index = 2
        while index < len(args):
            index += 1 + self._take(args, index, may_store)

    def _take(self, args: list[bytes], index: int, may_store: bool) -> int:
        """Takes in the option at `index`; how many arguments it has."""
        word = args[index].lower()
        left = len(args) - index - 1
        if word in (b"asc", b"desc"):
            self.descending = word == b"desc"
            return 0
        if word == b"alpha":
            self.by_alphabet = True
            return 0
        if word == b"limit" and left >= 2:
            self.start = parse_integer(args[index + 1])
            self.count = parse_integer(args[index + 2])
            return 2
        if word == b"store" and left >= 1 and may_store:
            self.target = args[index + 1]
        elif word == b"by" and left >= 1:
            self.by = args[index + 1]
        elif word == b"get" and left >= 1:
            self.gets.append(args[index + 1])
        else:
            raise syntax_error()
        return 1

    @property
    def sorts(self) -> bool:
        return self.by is None or b"*" in self.by

    def ends(self, size: int) -> tuple[int, int]:
        """The part of a result of `size` elements that is asked for, as a slice's ends."""
        start = min(max(self.start, 0), size)
        return start, size if self.count < 0 else min(size, start + self.count)


def option_needing_full_access(args: list[bytes]) -> bytes | None:
    """BY or GET, whichever comes first in a well-formed SORT that reads keys it does not name:
    only who may read every key is allowed that. None where there is no such option."""
    SortOptions(args, may_store=True)
    index = 2
    while index < len(args):
        word = args[index].lower()
        if word == b"get" or (word == b"by" and b"*" in args[index + 1]):
            return word.upper()
        index += {b"limit": 3, b"by": 2, b"store": 2}.get(word, 1)
    return None


def sort_command(ctx: Any, args: list[bytes]) -> Any:
    """SORT key [BY pattern] [LIMIT offset count] [GET pattern ...] [ASC | DESC] [ALPHA]
    [STORE destination]"""
    options = SortOptions(args, may_store=True)
    _check_access(ctx, args)
    results = _results(ctx, args[1], options)
    if options.target is None:
        return results
    return _store(ctx, options.target, results)


def sort_ro_command(ctx: Any, args: list[bytes]) -> list[bytes | None]:
    """SORT_RO: SORT without STORE."""
    options = SortOptions(args, may_store=False)
    _check_access(ctx, args)
    return _results(ctx, args[1], options)


def _check_access(ctx: Any, args: list[bytes]) -> None:
    """Patterns read keys that the request does not name. Raises CommandError."""
    user = ctx.user
    if user is None or user.unrestricted:
        return
    option = option_needing_full_access(args)
    if option and not ctx.server.access.reads_every_key(ctx, ctx.last_command, args):
        raise CommandError(
            b"ERR %b option of SORT denied due to insufficient ACL permissions." % option
        )


def _store(ctx: Any, key: bytes, results: list[bytes | None]) -> int:
    db = ctx.db
    if results:
        db.put(key, List([b"" if word is None else word for word in results]))
        db.changed(key, NOTIFY_LIST, b"sortstore", len(results))
        db.ready(key)
    elif db.delete(key):
        db.changed(key, NOTIFY_GENERIC, b"del")
    return len(results)


def _results(ctx: Any, key: bytes, options: SortOptions) -> list[bytes | None]:
    value = ctx.db.read(key)
    if value is not None and type(value) not in (List, Set, SortedSet):
        raise wrong_type()
    elements = _chosen(ctx, value, options)
    if not options.gets:
        return elements  # type: ignore[return-value]
    lookups = [Pattern(word) for word in options.gets]
    return [lookup.value(ctx.db, element) for element in elements for lookup in lookups]


def _chosen(ctx: Any, value: Any, options: SortOptions) -> list[bytes]:
    """The elements asked for, in order."""
    if value is None:
        return []
    if type(value) is SortedSet:
        value.packed = False  # as in Redis, for which that makes reading it in order simple
    by, by_alphabet, sorts = options.by, options.by_alphabet, options.sorts
    if not sorts and type(value) is Set and (options.target or ctx.flags & states.SCRIPT):
        by, by_alphabet, sorts = None, True, True
    start, stop = options.ends(len(value))
    if not sorts:
        return _slice(value, start, stop, options.descending)
    elements = _elements(value)
    weights = elements if by is None else _weights(ctx.db, by, elements)
    if by_alphabet:
        # A missing weight is less than any.
        marks: list[Any] = [(word is not None, word) for word in weights]
    else:
        marks = [(_number(word), element) for word, element in zip(weights, elements, strict=True)]
    places = sorted(range(len(marks)), key=marks.__getitem__, reverse=options.descending)
    return [elements[place] for place in places[start:stop]]


def _elements(value: Any) -> list[bytes]:
    if type(value) is Set:
        return value.members()
    if type(value) is SortedSet:
        return value.order.member_slice(0, len(value))
    return list(value)


def _slice(value: Any, start: int, stop: int, backwards: bool) -> list[bytes]:
    """A part of the value in its own order, or in that order backwards."""
    if type(value) is Set:
        return value.members()[start:stop]
    if backwards:
        start, stop = len(value) - stop, len(value) - start
    if type(value) is SortedSet:
        words = value.order.member_slice(start, stop)
    else:
        words = value.slice(start, stop)
    return words[::-1] if backwards else words


def _weights(db: Any, pattern: bytes, elements: list[bytes]) -> list[bytes | None]:
    lookup = Pattern(pattern)
    return [lookup.value(db, element) for element in elements]


def _number(word: bytes | None) -> float:
    """What C's strtod makes of it: blanks may precede, nothing is zero, a zero byte ends it."""
    if word is None:
        return 0.0
    if word.isdigit() and len(word) < 300:
        return float(word)
    text = word.split(b"\0", 1)[0]
    number = float_or_none(text.lstrip(b" \t\n\v\f\r")) if text else 0.0
    if number is None:
        raise CommandError(b"ERR One or more scores can't be converted into double")
    return number


class Pattern:
    """Finds the string that an element points to."""

    def __init__(self, pattern: bytes) -> None:
        self.is_element = pattern == b"#"
        self.before, star, rest = pattern.partition(b"*")
        self.finds = bool(star)
        self.after, arrow, field = rest.partition(b"->")
        if not field:
            self.after += arrow
        self.field = field

    def value(self, db: Any, element: bytes) -> bytes | None:
        """The string or field found, or None; a value of another type counts as none."""
        if self.is_element:
            return element
        if not self.finds:
            return None
        found = db.read(self.before + element + self.after)
        if self.field:
            found = found.get(self.field) if type(found) is Hash else None
        elif not is_string(found):
            found = None
        return None if found is None else string_bytes(found)


# -- rows --------------------------------------------------------------------------------------


def keys_of_sort(args: list[bytes]) -> list[int]:
    """The key, and what the last STORE names."""
    target = 0
    index = 2
    while index < len(args):
        word = args[index].lower()
        if word == b"store" and index + 1 < len(args):
            target = index + 1
        index += {b"limit": 3, b"get": 2, b"by": 2}.get(word, 1)
    return [1, target] if target else [1]


_COMPLEXITY = (
    "O(N+M*log(M)) where N is the number of elements in the list or set to sort, and M the number "
    "of returned elements. When the elements are not sorted, complexity is O(N)."
)
_CATEGORIES = "set sortedset list dangerous"

COMMANDS = [
    Command(
        "sort",
        -2,
        "write denyoom movablekeys",
        sort_command,
        (1, 1, 1),
        finder=keys_of_sort,
        since="1.0.0",
        summary="Sort the elements in a list, set or sorted set",
        complexity=_COMPLEXITY,
        categories=_CATEGORIES,
    ),
    Command(
        "sort_ro",
        -2,
        "readonly movablekeys",
        sort_ro_command,
        (1, 1, 1),
        since="7.0.0",
        summary="Sort the elements in a list, set or sorted set. Read-only variant of SORT.",
        complexity=_COMPLEXITY,
        categories=_CATEGORIES,
    ),
]
for _row in COMMANDS:
    _row.categories.remove("keyspace")
