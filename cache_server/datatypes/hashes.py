"""Hashes: fields and their values under one key.

How fields lie in memory is the business of `Fields`. What Redis calls the encoding of a hash is
kept as one bit for those who ask (OBJECT ENCODING): a hash is a listpack until it has more fields,
or a longer field or value, than the settings allow, and never again.

Invariants: fields and values are bytes; a hash in the keyspace is never empty.

Source: https://redis.io/docs/latest/commands/?group=hash.
"""

from __future__ import annotations

from collections.abc import Iterable
from sys import getsizeof
from typing import Any

from cache_server.client import SCRIPT
from cache_server.commands.table import Command
from cache_server.datatypes import sampling
from cache_server.datatypes.arguments import (
    INT64_MAX,
    INT64_MIN,
    add_long_doubles,
    format_long_double,
    integer_or_none,
    long_double_or_none,
    parse_in_range,
    parse_integer,
    parse_long_double,
)
from cache_server.datatypes.scanning import parse_cursor, parse_options, scan_reply
from cache_server.errors import CommandError, syntax_error, wrong_arity
from cache_server.keyspace.database import NOTIFY_GENERIC, NOTIFY_HASH
from cache_server.structures.fields import Fields
from cache_server.wire.replies import OK, Map, Raw

_PACKED_ENTRIES_DEFAULT = 512
_PACKED_BYTES_DEFAULT = 64


class Hash(Fields):
    """Fields to values. `packed` says that Redis would hold them as a listpack.

    `longest` is the length in bytes up to which words were found to fit a listpack: for those the
    settings need not be asked again."""

    type_name = b"hash"

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """`pairs` of field and value. The encoding is what the default settings make of them."""
        super().__init__()
        self.packed = True
        self.longest = 0
        for field, value in pairs:
            self.set(field, value)
        if len(self):
            self.fit(_PACKED_ENTRIES_DEFAULT, _PACKED_BYTES_DEFAULT)

    @property
    def encoding(self) -> bytes:
        """As OBJECT ENCODING shows it."""
        return b"listpack" if self.packed else b"hashtable"

    def fit(self, entries_max: int, bytes_max: int) -> None:
        """Decides anew whether the hash is packed, by its contents."""
        self.packed = len(self) <= entries_max and self.longest_word() <= bytes_max

    def copy(self) -> Hash:
        """The same fields in a hash of its own."""
        twin = Hash(self.items())
        twin.packed = self.packed
        return twin

    def memory_bytes(self, samples: int) -> int:
        """An estimate from `samples` fields (0: from all), in bytes."""
        table = self.unpacked
        return getsizeof(self) + (0 if table is None else sampling.table_memory(table, samples))


def hash_of(words: list[bytes]) -> Hash | None:
    """A hash of `words`, fields and values in turn; None where a field comes twice."""
    value = Hash()
    if not value.take_words(words):
        return None
    value.fit(_PACKED_ENTRIES_DEFAULT, _PACKED_BYTES_DEFAULT)
    return value


def _unpack_if_large(ctx: Any, fields: Hash, words: list[bytes], first: int, added: int) -> None:
    """After `words[first:]` were stored: they or the number of fields may end the listpack."""
    if added and len(fields) > ctx.config.hash_max_listpack_entries:
        fields.packed = False
        return
    for index in range(first, len(words)):
        word = words[index]
        if len(word) > fields.longest:
            if len(word) > ctx.config.hash_max_listpack_value:
                fields.packed = False
                return
            fields.longest = len(word)


def _opened(db: Any, key: bytes) -> Hash:
    """The hash at `key` for changing, made where there is none. Raises WRONGTYPE."""
    fields: Hash | None = db.write_as(key, Hash)
    if fields is None:
        fields = Hash()
        db.put(key, fields)
    return fields


# -- setting -----------------------------------------------------------------------------------


def hset_command(ctx: Any, args: list[bytes]) -> int:
    """HSET key field value [field value ...]: how many fields are new"""
    count = len(args)
    if count % 2:
        raise wrong_arity("hset")
    db = ctx.db
    key = args[1]
    fields = _opened(db, key)
    added = 0
    for index in range(2, count, 2):
        if fields.set(args[index], args[index + 1]):
            added += 1
    if fields.packed:
        _unpack_if_large(ctx, fields, args, 2, added)
    db.changed(key, NOTIFY_HASH, b"hset", count // 2 - 1)
    return added


def hmset_command(ctx: Any, args: list[bytes]) -> Any:
    """HMSET key field value [field value ...]: OK"""
    if len(args) % 2:
        raise wrong_arity("hmset")
    hset_command(ctx, args)
    return OK


def hsetnx_command(ctx: Any, args: list[bytes]) -> int:
    """HSETNX key field value: whether it was set"""
    db = ctx.db
    fields = _opened(db, args[1])
    if args[2] in fields:
        return 0
    fields.set(args[2], args[3])
    if fields.packed:
        _unpack_if_large(ctx, fields, args, 2, 1)
    db.changed(args[1], NOTIFY_HASH, b"hset")
    return 1


def hincrby_command(ctx: Any, args: list[bytes]) -> int:
    """HINCRBY key field increment"""
    increment = parse_integer(args[3])
    db = ctx.db
    key, field = args[1], args[2]
    fields: Hash | None = db.write_as(key, Hash)
    current = None if fields is None else fields.get(field)
    value = 0 if current is None else integer_or_none(current)
    if value is None:
        raise CommandError(b"ERR hash value is not an integer")
    value += increment
    if not INT64_MIN <= value <= INT64_MAX:
        raise CommandError(b"ERR increment or decrement would overflow")
    _store(ctx, key, field, b"%d" % value, b"hincrby")
    return value


def hincrbyfloat_command(ctx: Any, args: list[bytes]) -> bytes:
    """HINCRBYFLOAT key field increment; followers get the sum as HSET"""
    increment = parse_long_double(args[3])
    if isinstance(increment, float):
        raise CommandError(b"ERR value is NaN or Infinity")
    key, field = args[1], args[2]
    fields: Hash | None = ctx.db.write_as(key, Hash)
    current = None if fields is None else fields.get(field)
    value = long_double_or_none(b"0" if current is None else current)
    if value is None:
        raise CommandError(b"ERR hash value is not a float")
    total = add_long_doubles(value, increment)
    if isinstance(total, float):
        raise CommandError(b"ERR increment would produce NaN or Infinity")
    text = format_long_double(total)
    _store(ctx, key, field, text, b"hincrbyfloat")
    ctx.propagate(b"HSET", key, field, text)
    return text


def _store(ctx: Any, key: bytes, field: bytes, value: bytes, event: bytes) -> None:
    """One field set, with its event."""
    fields = _opened(ctx.db, key)
    fields.set(field, value)
    if fields.packed:
        _unpack_if_large(ctx, fields, [field, value], 0, 1)
    ctx.db.changed(key, NOTIFY_HASH, event)


def hdel_command(ctx: Any, args: list[bytes]) -> int:
    """HDEL key field [field ...]: how many were there"""
    db = ctx.db
    key = args[1]
    fields: Hash | None = db.write_as(key, Hash)
    if fields is None:
        return 0
    removed = 0
    for index in range(2, len(args)):
        if fields.discard(args[index]):
            removed += 1
            if len(fields) == 0:
                break
    if removed:
        emptied = len(fields) == 0
        if emptied:
            db.delete(key)
        db.changed(key, NOTIFY_HASH, b"hdel", removed)
        if emptied:
            db.notify(NOTIFY_GENERIC, b"del", key)
    return removed


# -- reading -----------------------------------------------------------------------------------


def hget_command(ctx: Any, args: list[bytes]) -> Any:
    """HGET key field"""
    db = ctx.db
    fields: Hash | None = db.read_as(args[1], Hash)
    return None if fields is None else fields.get(args[2])


def hmget_command(ctx: Any, args: list[bytes]) -> list[bytes | None]:
    """HMGET key field [field ...]"""
    fields: Hash | None = ctx.db.read_as(args[1], Hash)
    if fields is None:
        return [None] * (len(args) - 2)
    return [fields.get(args[index]) for index in range(2, len(args))]


def hlen_command(ctx: Any, args: list[bytes]) -> int:
    """HLEN key"""
    fields: Hash | None = ctx.db.read_as(args[1], Hash)
    return 0 if fields is None else len(fields)


def hexists_command(ctx: Any, args: list[bytes]) -> int:
    """HEXISTS key field"""
    fields: Hash | None = ctx.db.read_as(args[1], Hash)
    return 1 if fields is not None and args[2] in fields else 0


def hstrlen_command(ctx: Any, args: list[bytes]) -> int:
    """HSTRLEN key field: the value's length in bytes"""
    fields: Hash | None = ctx.db.read_as(args[1], Hash)
    value = None if fields is None else fields.get(args[2])
    return 0 if value is None else len(value)


def hkeys_command(ctx: Any, args: list[bytes]) -> list[bytes]:
    """HKEYS key"""
    fields: Hash | None = ctx.db.read_as(args[1], Hash)
    return [] if fields is None else fields.keys_list()


def hvals_command(ctx: Any, args: list[bytes]) -> list[bytes]:
    """HVALS key"""
    fields: Hash | None = ctx.db.read_as(args[1], Hash)
    return [] if fields is None else fields.values_list()


def hgetall_command(ctx: Any, args: list[bytes]) -> Map | Raw:
    """HGETALL key: a map"""
    fields: Hash | None = ctx.db.read_as(args[1], Hash)
    if fields is None:
        return Map()
    if not ctx.flags & SCRIPT:
        encoded = fields.encoded(ctx.protocol == 3)
        if encoded is not None:
            return Raw(encoded)
    return Map(fields.flat_items())


def hrandfield_command(ctx: Any, args: list[bytes]) -> Any:
    """HRANDFIELD key [count [WITHVALUES]]"""
    if len(args) == 2:
        fields: Hash | None = ctx.db.read_as(args[1], Hash)
        return None if fields is None else fields.random_key(ctx.keyspace.rng)
    count = parse_in_range(args[2], -INT64_MAX, INT64_MAX)
    if len(args) > 4 or (len(args) == 4 and args[3].lower() != b"withvalues"):
        raise syntax_error()
    with_values = len(args) == 4
    if with_values and abs(count) > INT64_MAX // 2:
        raise CommandError(b"ERR value is out of range")
    fields = ctx.db.read_as(args[1], Hash)
    if fields is None or count == 0:
        return []
    if count > 0:
        chosen = sampling.distinct_keys(fields, count, ctx.keyspace.rng)
    else:
        sampling.check_draws(ctx, -count)
        chosen = sampling.repeated_keys(fields, -count, ctx.keyspace.rng)
    if not with_values:
        return chosen
    if ctx.protocol == 3:
        return [[field, fields.get(field)] for field in chosen]
    return [word for field in chosen for word in (field, fields.get(field))]


def hscan_command(ctx: Any, args: list[bytes]) -> list[Any]:
    """HSCAN key cursor [MATCH pattern] [COUNT count]"""
    cursor = parse_cursor(args[2])
    fields: Hash | None = ctx.db.read_as(args[1], Hash)
    if fields is None:
        return scan_reply(0, [])
    options = parse_options(args, 3)
    if fields.packed:
        cursor, names = 0, fields.keys_list()
    else:
        cursor, names = fields.scan(cursor, options.count)
    if options.match is not None:
        names = [name for name in names if options.match(name)]
    return scan_reply(cursor, [word for name in names for word in (name, fields.get(name))])


COMMANDS = [
    Command(
        "hdel",
        -3,
        "write fast",
        hdel_command,
        (1, 1, 1),
        group="hash",
        since="2.0.0",
        summary="Delete one or more hash fields",
        complexity="O(N) where N is the number of fields to be removed.",
    ),
    Command(
        "hexists",
        3,
        "readonly fast",
        hexists_command,
        (1, 1, 1),
        group="hash",
        since="2.0.0",
        summary="Determine if a hash field exists",
        complexity="O(1)",
    ),
    Command(
        "hget",
        3,
        "readonly fast",
        hget_command,
        (1, 1, 1),
        group="hash",
        since="2.0.0",
        summary="Get the value of a hash field",
        complexity="O(1)",
    ),
    Command(
        "hgetall",
        2,
        "readonly",
        hgetall_command,
        (1, 1, 1),
        group="hash",
        since="2.0.0",
        summary="Get all the fields and values in a hash",
        complexity="O(N) where N is the size of the hash.",
    ),
    Command(
        "hincrby",
        4,
        "write denyoom fast",
        hincrby_command,
        (1, 1, 1),
        group="hash",
        since="2.0.0",
        summary="Increment the integer value of a hash field by the given number",
        complexity="O(1)",
    ),
    Command(
        "hincrbyfloat",
        4,
        "write denyoom fast",
        hincrbyfloat_command,
        (1, 1, 1),
        group="hash",
        since="2.6.0",
        summary="Increment the float value of a hash field by the given amount",
        complexity="O(1)",
    ),
    Command(
        "hkeys",
        2,
        "readonly",
        hkeys_command,
        (1, 1, 1),
        group="hash",
        since="2.0.0",
        summary="Get all the fields in a hash",
        complexity="O(N) where N is the size of the hash.",
    ),
    Command(
        "hlen",
        2,
        "readonly fast",
        hlen_command,
        (1, 1, 1),
        group="hash",
        since="2.0.0",
        summary="Get the number of fields in a hash",
        complexity="O(1)",
    ),
    Command(
        "hmget",
        -3,
        "readonly fast",
        hmget_command,
        (1, 1, 1),
        group="hash",
        since="2.0.0",
        summary="Get the values of all the given hash fields",
        complexity="O(N) where N is the number of fields being requested.",
    ),
    Command(
        "hmset",
        -4,
        "write denyoom fast",
        hmset_command,
        (1, 1, 1),
        group="hash",
        since="2.0.0",
        summary="Set multiple hash fields to multiple values",
        complexity="O(N) where N is the number of fields being set.",
    ),
    Command(
        "hrandfield",
        -2,
        "readonly",
        hrandfield_command,
        (1, 1, 1),
        group="hash",
        since="6.2.0",
        summary="Get one or multiple random fields from a hash",
        complexity="O(N) where N is the number of fields returned",
    ),
    Command(
        "hscan",
        -3,
        "readonly",
        hscan_command,
        (1, 1, 1),
        group="hash",
        since="2.8.0",
        summary="Incrementally iterate hash fields and associated values",
        complexity=(
            "O(1) for every call. O(N) for a complete iteration, including enough command calls "
            "for the cursor to return back to 0. N is the number of elements inside the "
            "collection.."
        ),
    ),
    Command(
        "hset",
        -4,
        "write denyoom fast",
        hset_command,
        (1, 1, 1),
        group="hash",
        since="2.0.0",
        summary="Set the string value of a hash field",
        complexity=(
            "O(1) for each field/value pair added, so O(N) to add N field/value pairs when the "
            "command is called with multiple field/value pairs."
        ),
    ),
    Command(
        "hsetnx",
        4,
        "write denyoom fast",
        hsetnx_command,
        (1, 1, 1),
        group="hash",
        since="2.0.0",
        summary="Set the value of a hash field, only if the field does not exist",
        complexity="O(1)",
    ),
    Command(
        "hstrlen",
        3,
        "readonly fast",
        hstrlen_command,
        (1, 1, 1),
        group="hash",
        since="3.2.0",
        summary="Get the length of the value of a hash field",
        complexity="O(1)",
    ),
    Command(
        "hvals",
        2,
        "readonly",
        hvals_command,
        (1, 1, 1),
        group="hash",
        since="2.0.0",
        summary="Get all the values in a hash",
        complexity="O(N) where N is the size of the hash.",
    ),
]
