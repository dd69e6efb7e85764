"""Strings.

A string is held in one of three forms, of which clients see only OBJECT ENCODING:

    bytes        what SET was given; never changed
    int          a counter, between INCR and the next SET
    bytearray    a text that grows or is written into in place (APPEND, SETRANGE)

The hot commands (GET, SET without options, MSET, MGET, INCR) go straight to the keyspace; options
are looked at only when there are any. What a command with a relative time propagates is the
absolute one, and INCRBYFLOAT its result: a follower needs neither our clock nor our arithmetic.

Source: https://redis.io/docs/latest/commands/?group=string.
"""

from __future__ import annotations

from typing import Any

from cache_server import client as states
from cache_server.commands.table import Command
from cache_server.datatypes.arguments import (
    INT64_MAX,
    INT64_MIN,
    incremented,
    integer_or_none,
    parse_integer,
    parse_long_double,
)
from cache_server.datatypes.values import is_string
from cache_server.errors import (
    CommandError,
    not_an_integer,
    syntax_error,
    wrong_arity,
)
from cache_server.keyspace.database import (
    NOTIFY_GENERIC,
    NOTIFY_STRING,
    string_bytes,
)
from cache_server.keyspace.expiry import already_past
from cache_server.structures.lcs import CommonSubsequence
from cache_server.wire.replies import OK, Map

_INT64_MAX = 2**63 - 1
_INT64_MIN = -(2**63)

#: Longest string that LCS compares, as in Redis.
_LCS_BYTES_MAX = 2**32 - 2


# -- reading -----------------------------------------------------------------------------------


def get_command(ctx: Any, args: list[bytes]) -> bytes | None:
    """GET key"""
    return ctx.db.read_string(args[1])  # type: ignore[no-any-return]


def mget_command(ctx: Any, args: list[bytes]) -> list[bytes | None]:
    """MGET key [key ...]: a value that is no string is null."""
    db = ctx.db
    values: list[bytes | None] = []
    for key in args[1:]:
        value = db.read(key)
        if value is not None and type(value) is not bytes:
            value = string_bytes(value) if is_string(value) else None
        values.append(value)
    return values


def strlen_command(ctx: Any, args: list[bytes]) -> int:
    """STRLEN key"""
    value = _read(ctx, args[1])
    return 0 if value is None else len(value)


def getrange_command(ctx: Any, args: list[bytes]) -> bytes:
    """GETRANGE key start end: both ends belong to it, negative ones count from the end."""
    start = parse_integer(args[2])
    end = parse_integer(args[3])
    value = _read(ctx, args[1])
    if value is None or (start < 0 and end < 0 and start > end):
        return b""
    size = len(value)
    start = max(0, start + size if start < 0 else start)
    end = max(0, end + size if end < 0 else end)
    return bytes(value[start : end + 1]) if start <= end else b""


def _read(ctx: Any, key: bytes) -> bytes | bytearray | None:
    """A string without copying one that grows. Raises WRONGTYPE."""
    value = ctx.db.read(key)
    if value is None or type(value) is bytes or type(value) is bytearray:
        return value
    return string_bytes(value)


# -- writing -----------------------------------------------------------------------------------


def set_command(ctx: Any, args: list[bytes]) -> Any:
    """SET key value [NX | XX] [GET] [EX | PX | EXAT | PXAT time | KEEPTTL]"""
    if len(args) == 3:
        db = ctx.db
        key = args[1]
        db.put(key, args[2])
        db.changed(key, NOTIFY_STRING, b"set")
        return OK
    return _set_with(ctx, args, parse_options(args, 3, of_set=True))


class Options:
    """What SET and GETEX were asked for beyond key and value."""

    def __init__(self) -> None:
        self.condition = b""  # nx or xx
        self.get = False
        self.keep_ttl = False
        self.persist = False
        self.unit = b""  # ex, px, exat or pxat
        self.time = b""

    def expire_ms(self, ctx: Any, name: str) -> int:
        """The absolute expiry in Unix ms, 0 for none. Raises CommandError."""
        if not self.unit:
            return 0
        return expire_time(ctx, self.time, self.unit, name)


def parse_options(args: list[bytes], first: int, of_set: bool) -> Options:
    """The options of SET, or of GETEX. Raises a syntax error for unknown or contrary ones."""
    options = Options()
    index = first
    while index < len(args):
        word = args[index].lower()
        if word in (b"nx", b"xx") and of_set and options.condition in (b"", word):
            options.condition = word
        elif word == b"get" and of_set:
            options.get = True
        elif word == b"keepttl" and of_set and not options.unit:
            options.keep_ttl = True
        elif word == b"persist" and not of_set and not options.unit:
            options.persist = True
        elif (
            word in (b"ex", b"px", b"exat", b"pxat")
            and options.unit in (b"", word)
            and not (options.keep_ttl or options.persist)
            and index + 1 < len(args)
        ):
            options.unit = word
            index += 1
            options.time = args[index]
        else:
            raise syntax_error()
        index += 1
    return options


def expire_time(ctx: Any, word: bytes, unit: bytes, name: str) -> int:
    """The absolute time in Unix ms of EX, PX, EXAT or PXAT. Raises CommandError."""
    when = parse_integer(word)
    in_seconds = unit in (b"ex", b"exat")
    if when <= 0 or (in_seconds and when > INT64_MAX // 1000):
        raise invalid_expire(name)
    if in_seconds:
        when *= 1000
    if unit in (b"ex", b"px"):
        when += ctx.keyspace.now_ms
    if when > INT64_MAX:
        raise invalid_expire(name)
    return when


def invalid_expire(name: str) -> CommandError:
    return CommandError(f"ERR invalid expire time in '{name}' command")


def _set_with(ctx: Any, args: list[bytes], options: Options) -> Any:
    key, value = args[1], args[2]
    db = ctx.db
    expire_ms = options.expire_ms(ctx, "set")
    reply: Any = OK
    if options.get:
        reply = db.read_string(key)
    if options.condition:
        found = db.find(key) is not None
        if found is (options.condition == b"nx"):
            return reply if options.get else None
    _store(ctx, key, value, expire_ms, options.keep_ttl)
    if options.get and not expire_ms:
        ctx.propagate(*args[:3], *(word for word in args[3:] if word.lower() != b"get"))
    return reply


def _store(ctx: Any, key: bytes, value: bytes, expire_ms: int, keep_ttl: bool = False) -> None:
    """Puts a string with its expiry, if any, and propagates that as an absolute one."""
    db = ctx.db
    db.put(key, value, keep_ttl)
    db.changed(key, NOTIFY_STRING, b"set")
    if expire_ms:
        db.set_expiry(key, expire_ms)
        ctx.propagate(b"SET", key, value, b"PXAT", b"%d" % expire_ms)
        db.notify(NOTIFY_GENERIC, b"expire", key)


def setnx_command(ctx: Any, args: list[bytes]) -> int:
    """SETNX key value"""
    if ctx.db.find(args[1]) is not None:
        return 0
    _store(ctx, args[1], args[2], 0)
    return 1


def setex_command(ctx: Any, args: list[bytes]) -> Any:
    """SETEX key seconds value"""
    _store(ctx, args[1], args[3], expire_time(ctx, args[2], b"ex", "setex"))
    return OK


def psetex_command(ctx: Any, args: list[bytes]) -> Any:
    """PSETEX key milliseconds value"""
    _store(ctx, args[1], args[3], expire_time(ctx, args[2], b"px", "psetex"))
    return OK


def getset_command(ctx: Any, args: list[bytes]) -> bytes | None:
    """GETSET key value"""
    old: bytes | None = ctx.db.read_string(args[1])
    _store(ctx, args[1], args[2], 0)
    ctx.propagate(b"SET", args[1], args[2])
    return old


def getdel_command(ctx: Any, args: list[bytes]) -> bytes | None:
    """GETDEL key"""
    db, key = ctx.db, args[1]
    value: bytes | None = db.read_string(key)
    if value is not None:
        db.delete(key)
        db.changed(key, NOTIFY_GENERIC, b"del")
        ctx.propagate(b"UNLINK" if ctx.config.lazyfree_lazy_user_del else b"DEL", key)
    return value


def getex_command(ctx: Any, args: list[bytes]) -> bytes | None:
    """GETEX key [EX | PX | EXAT | PXAT time | PERSIST]"""
    options = parse_options(args, 2, of_set=False)
    db, key = ctx.db, args[1]
    value: bytes | None = db.read_string(key)
    if value is None:
        return None
    expire_ms = options.expire_ms(ctx, "getex")
    if expire_ms and options.unit in (b"exat", b"pxat") and already_past(ctx.keyspace, expire_ms):
        db.delete(key)
        db.changed(key, NOTIFY_GENERIC, b"del")
        ctx.propagate(b"UNLINK" if ctx.config.lazyfree_lazy_expire else b"DEL", key)
    elif expire_ms:
        db.set_expiry(key, expire_ms)
        db.changed(key, NOTIFY_GENERIC, b"expire")
        ctx.propagate(b"PEXPIREAT", key, b"%d" % expire_ms)
    elif options.persist and db.find(key).expire_ms:
        db.set_expiry(key, 0)
        db.changed(key, NOTIFY_GENERIC, b"persist")
        ctx.propagate(b"PERSIST", key)
    return value


def mset_command(ctx: Any, args: list[bytes]) -> Any:
    """MSET key value [key value ...]"""
    if len(args) % 2 == 0:
        raise wrong_arity("mset")
    db = ctx.db
    for index in range(1, len(args), 2):
        key = args[index]
        db.put(key, args[index + 1])
        db.changed(key, NOTIFY_STRING, b"set")
    return OK


def msetnx_command(ctx: Any, args: list[bytes]) -> int:
    """MSETNX key value [key value ...]: all or nothing."""
    if len(args) % 2 == 0:
        raise wrong_arity("msetnx")
    if any(ctx.db.find(key) is not None for key in args[1::2]):
        return 0
    mset_command(ctx, args)
    return 1


# -- growing -----------------------------------------------------------------------------------


def append_command(ctx: Any, args: list[bytes]) -> int:
    """APPEND key value"""
    db, key, more = ctx.db, args[1], args[2]
    value = db.write_string(key)
    if value is None:
        db.put(key, more)
        size = len(more)
    else:
        size = _length(value) + len(more)
        _check_length(ctx, size)
        grown = _growing(db, key, value)
        grown += more
    db.changed(key, NOTIFY_STRING, b"append")
    return size


def setrange_command(ctx: Any, args: list[bytes]) -> int:
    """SETRANGE key offset value: what lies before is filled with zero bytes."""
    db, key, part = ctx.db, args[1], args[3]
    offset = parse_integer(args[2])
    if offset < 0:
        raise CommandError(b"ERR offset is out of range")
    value = db.write_string(key)
    if not part:
        return 0 if value is None else _length(value)
    _check_length(ctx, offset + len(part))
    if value is None:
        grown = bytearray(offset + len(part))
        db.put(key, grown)
    else:
        grown = _growing(db, key, value)
        if len(grown) < offset:
            grown.extend(bytes(offset - len(grown)))
    grown[offset : offset + len(part)] = part
    db.changed(key, NOTIFY_STRING, b"setrange")
    return len(grown)


def _length(value: bytes | int | bytearray) -> int:
    return len(b"%d" % value) if isinstance(value, int) else len(value)


def _growing(db: Any, key: bytes, value: bytes | int | bytearray) -> bytearray:
    """The string in the form that is changed in place, put there if it was not."""
    if isinstance(value, bytearray):
        return value
    grown = bytearray(string_bytes(value))
    db.put(key, grown, True)
    return grown


def _check_length(ctx: Any, size: int) -> None:
    """Raises where a client makes a string longer than it may send one."""
    if size > ctx.config.proto_max_bulk_len and not ctx.flags & (states.LEADER | states.REPLAY):
        raise CommandError(b"ERR string exceeds maximum allowed size (proto-max-bulk-len)")


# -- counting ----------------------------------------------------------------------------------


def _increment(ctx: Any, key: bytes, delta: int) -> int:
    db = ctx.db
    value = db.write_string(key)
    if value is None:
        db.put(key, delta)
        db.changed(key, NOTIFY_STRING, b"incrby")
        return delta
    if type(value) is not int:
        value = integer_or_none(string_bytes(value))
        if value is None:
            raise not_an_integer()
    old = value
    if (delta < 0 and old < _INT64_MIN - delta) or (delta > 0 and old > _INT64_MAX - delta):
        raise CommandError(b"ERR increment or decrement would overflow")
    total = old + delta
    db.put(key, total, True)
    db.changed(key, NOTIFY_STRING, b"incrby")
    return total


def incr_command(ctx: Any, args: list[bytes]) -> int:
    """INCR key"""
    return _increment(ctx, args[1], 1)


def decr_command(ctx: Any, args: list[bytes]) -> int:
    """DECR key"""
    return _increment(ctx, args[1], -1)


def incrby_command(ctx: Any, args: list[bytes]) -> int:
    """INCRBY key increment"""
    return _increment(ctx, args[1], parse_integer(args[2]))


def decrby_command(ctx: Any, args: list[bytes]) -> int:
    """DECRBY key decrement"""
    delta = parse_integer(args[2])
    if delta == INT64_MIN:
        raise CommandError(b"ERR decrement would overflow")
    return _increment(ctx, args[1], -delta)


def incrbyfloat_command(ctx: Any, args: list[bytes]) -> bytes:
    """INCRBYFLOAT key increment"""
    db, key = ctx.db, args[1]
    value = db.write_string(key)
    current = parse_long_double(b"0" if value is None else string_bytes(value))
    total = incremented(current, parse_long_double(args[2]))
    db.put(key, total, True)
    db.changed(key, NOTIFY_STRING, b"incrbyfloat")
    ctx.propagate(b"SET", key, total, b"KEEPTTL")
    return total


# -- LCS ---------------------------------------------------------------------------------------


class LcsOptions:
    def __init__(self) -> None:
        self.length = False
        self.ranges = False
        self.with_length = False
        self.length_min = 0


def lcs_command(ctx: Any, args: list[bytes]) -> Any:
    """LCS key1 key2 [LEN] [IDX] [MINMATCHLEN len] [WITHMATCHLEN]"""
    left, right = _lcs_text(ctx, args[1]), _lcs_text(ctx, args[2])
    options = _lcs_options(args)
    if max(len(left), len(right)) > _LCS_BYTES_MAX:
        raise CommandError(b"ERR String too long for LCS")
    if (len(left) + 1) * (len(right) + 1) * 4 > ctx.config.proto_max_bulk_len:
        raise CommandError(
            b"ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len"
        )
    common = CommonSubsequence(left, right, keep_rows=options.ranges or not options.length)
    if options.length:
        return common.length
    if not options.ranges:
        return common.text()
    matches: list[Any] = []
    for i_first, i_last, j_first, j_last in common.stretches():
        size = i_last - i_first + 1
        if size >= options.length_min:
            matches.append([[i_first, i_last], [j_first, j_last]])
            if options.with_length:
                matches[-1].append(size)
    return Map([b"matches", matches, b"len", common.length])


def _lcs_text(ctx: Any, key: bytes) -> bytes:
    try:
        return ctx.db.read_string(key) or b""
    except CommandError:
        raise CommandError(b"ERR The specified keys must contain string values") from None


def _lcs_options(args: list[bytes]) -> LcsOptions:
    options = LcsOptions()
    index = 3
    while index < len(args):
        word = args[index].lower()
        if word == b"idx":
            options.ranges = True
        elif word == b"len":
            options.length = True
        elif word == b"withmatchlen":
            options.with_length = True
        elif word == b"minmatchlen" and index + 1 < len(args):
            index += 1
            options.length_min = parse_integer(args[index])
        else:
            raise syntax_error()
        index += 1
    if options.length and options.ranges:
        raise CommandError(b"ERR If you want both the length and indexes, please just use IDX.")
    return options


def _row(
    name: str,
    arity: int,
    flags: str,
    handler: Any,
    since: str,
    summary: str,
    complexity: str = "O(1)",
    keys: tuple[int, int, int] = (1, 1, 1),
) -> Command:
    return Command(
        name,
        arity,
        flags,
        handler,
        keys,
        group="string",
        since=since,
        summary=summary,
        complexity=complexity,
    )


_ROOM = "write denyoom"
_ROOM_FAST = "write denyoom fast"
_READ_FAST = "readonly fast"
_ALL_PAIRS = (1, -1, 2)
_N_SET = "O(N) where N is the number of keys to set."
_N_RETURNED = (
    "O(N) where N is the length of the returned string. The complexity is ultimately determined by "
    "the returned length, but because creating a substring from an existing string is very cheap, "
    "it can be considered O(1) for small strings."
)
_AMORTIZED = (
    "O(1). The amortized time complexity is O(1) assuming the appended value is small and the "
    "already present value is of any size, since the dynamic string library used by Redis will "
    "double the free space available on every reallocation."
)
_COPY = (
    "O(1), not counting the time taken to copy the new string in place. Usually, this string is "
    "very small so the amortized complexity is O(1). Otherwise, complexity is O(M) with M being "
    "the length of the value argument."
)

COMMANDS = [
    _row("get", 2, _READ_FAST, get_command, "1.0.0", "Get the value of a key"),
    _row("set", -3, _ROOM, set_command, "1.0.0", "Set the string value of a key"),
    _row(
        "getex",
        -2,
        "write fast",
        getex_command,
        "6.2.0",
        "Get the value of a key and optionally set its expiration",
    ),
    _row(
        "getdel",
        2,
        "write fast",
        getdel_command,
        "6.2.0",
        "Get the value of a key and delete the key",
    ),
    _row(
        "getset",
        3,
        _ROOM_FAST,
        getset_command,
        "1.0.0",
        "Set the string value of a key and return its old value",
    ),
    _row(
        "setnx",
        3,
        _ROOM_FAST,
        setnx_command,
        "1.0.0",
        "Set the value of a key, only if the key does not exist",
    ),
    _row("setex", 4, _ROOM, setex_command, "2.0.0", "Set the value and expiration of a key"),
    _row(
        "psetex",
        4,
        _ROOM,
        psetex_command,
        "2.6.0",
        "Set the value and expiration in milliseconds of a key",
    ),
    _row(
        "mset",
        -3,
        _ROOM,
        mset_command,
        "1.0.1",
        "Set multiple keys to multiple values",
        _N_SET,
        _ALL_PAIRS,
    ),
    _row(
        "msetnx",
        -3,
        _ROOM,
        msetnx_command,
        "1.0.1",
        "Set multiple keys to multiple values, only if none of the keys exist",
        _N_SET,
        _ALL_PAIRS,
    ),
    _row(
        "mget",
        -2,
        _READ_FAST,
        mget_command,
        "1.0.0",
        "Get the values of all the given keys",
        "O(N) where N is the number of keys to retrieve.",
        (1, -1, 1),
    ),
    _row("append", 3, _ROOM_FAST, append_command, "2.0.0", "Append a value to a key", _AMORTIZED),
    _row(
        "strlen",
        2,
        _READ_FAST,
        strlen_command,
        "2.2.0",
        "Get the length of the value stored in a key",
    ),
    _row(
        "setrange",
        4,
        _ROOM,
        setrange_command,
        "2.2.0",
        "Overwrite part of a string at key starting at the specified offset",
        _COPY,
    ),
    _row(
        "getrange",
        4,
        "readonly",
        getrange_command,
        "2.4.0",
        "Get a substring of the string stored at a key",
        _N_RETURNED,
    ),
    _row(
        "substr",
        4,
        "readonly",
        getrange_command,
        "1.0.0",
        "Get a substring of the string stored at a key",
        _N_RETURNED,
    ),
    _row(
        "incr",
        2,
        _ROOM_FAST,
        incr_command,
        "1.0.0",
        "Increment the integer value of a key by one",
    ),
    _row(
        "decr",
        2,
        _ROOM_FAST,
        decr_command,
        "1.0.0",
        "Decrement the integer value of a key by one",
    ),
    _row(
        "incrby",
        3,
        _ROOM_FAST,
        incrby_command,
        "1.0.0",
        "Increment the integer value of a key by the given amount",
    ),
    _row(
        "decrby",
        3,
        _ROOM_FAST,
        decrby_command,
        "1.0.0",
        "Decrement the integer value of a key by the given number",
    ),
    _row(
        "incrbyfloat",
        3,
        _ROOM_FAST,
        incrbyfloat_command,
        "2.6.0",
        "Increment the float value of a key by the given amount",
    ),
    _row(
        "lcs",
        -3,
        "readonly",
        lcs_command,
        "7.0.0",
        "Find longest common substring",
        "O(N*M) where N and M are the lengths of s1 and s2, respectively",
        (1, 2, 1),
    ),
]
