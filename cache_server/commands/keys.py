"""Keys of any type: deleting, finding, moving, expiring, inspecting.

Times. Clients give seconds or milliseconds, from now or since 1970; the keyspace holds Unix ms,
and the stream carries those only (PEXPIREAT). An expiry that is already past deletes the key and
travels as DEL, so that leader and follower cannot disagree about the moment.

Source: https://redis.io/docs/latest/commands/?group=generic.
"""

from __future__ import annotations

from typing import Any

from cache_server.commands.table import Command, container_only
from cache_server.commands.transactions import data_replaced
from cache_server.datatypes import scanning, values
from cache_server.datatypes.arguments import INT64_MAX, INT64_MIN, parse_int, parse_integer
from cache_server.datatypes.strings import invalid_expire
from cache_server.errors import CommandError, no_such_key, syntax_error
from cache_server.keyspace import eviction
from cache_server.keyspace.database import NOTIFY_GENERIC, NOTIFY_KEY_MISS
from cache_server.keyspace.expiry import already_past
from cache_server.structures import glob
from cache_server.structures.table import Table
from cache_server.wire.replies import OK, Status

#: Keys that RANDOMKEY looks at before it gives up.
_RANDOM_TRIES = 100

#: Elements of a value that UNLINK frees at once, as in Redis; and values that have none.
_FREED_AT_ONCE_MAX = 64
_PLAIN = (bytes, int, float, bytearray, type(None))

_SAME_OBJECT = b"ERR source and destination objects are the same"
_NO_DATABASE = b"ERR DB index is out of range"


# -- deleting ----------------------------------------------------------------------------------


def del_command(ctx: Any, args: list[bytes]) -> int:
    """DEL key [key ...]"""
    db = ctx.db
    count = 0
    for index in range(1, len(args)):
        key = args[index]
        if db.find(key) is not None or ctx.keyspace.expire_mode:
            count += _delete(db, key)
    return count


def unlink_command(ctx: Any, args: list[bytes]) -> int:
    """UNLINK key [key ...]: a long value is freed after the reply."""
    db = ctx.db
    count = 0
    for index in range(1, len(args)):
        key = args[index]
        entry = db.find(key)
        if entry is None and not ctx.keyspace.expire_mode:
            continue
        value: Any = None if entry is None else entry.value
        if _delete(db, key):
            count += 1
            if type(value) not in _PLAIN and len(value) > _FREED_AT_ONCE_MAX:
                ctx.server.upkeep.lazy_free.take_value(value)
    return count


def _delete(db: Any, key: bytes) -> int:
    if not db.delete(key):
        return 0
    db.changed(key, NOTIFY_GENERIC, b"del")
    return 1


def flushdb_command(ctx: Any, args: list[bytes]) -> Any:
    """FLUSHDB [ASYNC | SYNC]"""
    _flush(ctx, [ctx.db], args)
    ctx.propagate(*args)
    return OK


def flushall_command(ctx: Any, args: list[bytes]) -> Any:
    """FLUSHALL [ASYNC | SYNC]"""
    _flush(ctx, ctx.keyspace.databases, args)
    ctx.server.data_flushed()
    ctx.propagate(*args)
    return OK


def _flush(ctx: Any, databases: list[Any], args: list[bytes]) -> None:
    if len(args) > 2 or (len(args) == 2 and args[1].lower() not in (b"async", b"sync")):
        raise syntax_error()
    gradually = ctx.config.lazyfree_lazy_user_flush
    if len(args) == 2:
        gradually = args[1].lower() == b"async"
    for db in databases:
        data_replaced(db, Table())
        if gradually:
            ctx.server.upkeep.lazy_free.take(db.table)
        ctx.keyspace.dirty += db.clear()
    ctx.server.tracking.data_flushed()


# -- finding -----------------------------------------------------------------------------------


def _seen(ctx: Any, key: bytes) -> Any:
    """The entry for a command that only looks: counted as a hit or miss, not as an access."""
    entry = ctx.db.find(key)
    keyspace = ctx.keyspace
    if entry is None:
        keyspace.misses += 1
        ctx.db.notify(NOTIFY_KEY_MISS, b"keymiss", key)
    else:
        keyspace.hits += 1
    return entry


def exists_command(ctx: Any, args: list[bytes]) -> int:
    """EXISTS key [key ...]: a key named twice counts twice."""
    return sum(_seen(ctx, key) is not None for key in args[1:])


def type_command(ctx: Any, args: list[bytes]) -> Status:
    """TYPE key"""
    entry = _seen(ctx, args[1])
    return Status(values.type_name(None if entry is None else entry.value))


def touch_command(ctx: Any, args: list[bytes]) -> int:
    """TOUCH key [key ...]"""
    return sum(ctx.db.read(key) is not None for key in args[1:])


def dbsize_command(ctx: Any, args: list[bytes]) -> int:
    """DBSIZE"""
    return len(ctx.db)


def randomkey_command(ctx: Any, args: list[bytes]) -> bytes | None:
    """RANDOMKEY: null also when many keys in turn were due but cannot be deleted here."""
    db = ctx.db
    for _ in range(_RANDOM_TRIES):
        key: bytes | None = db.table.random_key(ctx.keyspace.rng)
        if key is None or _alive(ctx, key) is not None:
            return key
    return None


def keys_command(ctx: Any, args: list[bytes]) -> list[bytes]:
    """KEYS pattern"""
    db = ctx.db
    keys: list[bytes] = db.table.keys_list()
    if args[1] != b"*":
        matches = glob.matcher(args[1])
        keys = [key for key in keys if matches(key)]
    if not db.volatile.used:
        return keys
    now_ms = ctx.keyspace.now_ms
    due = {key for key, entry in db.volatile.items() if entry.expire_ms <= now_ms}
    return [key for key in keys if key not in due] if due else keys


def scan_command(ctx: Any, args: list[bytes]) -> list[Any]:
    """SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]"""
    cursor = scanning.parse_cursor(args[1])
    options = scanning.parse_options(args, 2, with_type=True)
    db = ctx.db
    cursor, keys = db.table.scan(cursor, options.count)
    matches = options.match
    if matches is not None:
        keys = [key for key in keys if matches(key)]
    if options.type_name is not None or db.volatile.used:
        keys = [key for key in keys if _is_of_type(_alive(ctx, key), options.type_name)]
    return scanning.scan_reply(cursor, keys)


def _alive(ctx: Any, key: bytes) -> Any:
    """The entry, if it is not due. A deletion here is no part of a unit: it is its own, unless a
    transaction runs, because the command reads keys that nobody named."""
    entry = ctx.db.find(key)
    propagation = ctx.server.propagation
    if entry is None and propagation.pending and ctx.server.dispatcher.depth == 1:
        propagation.finish_unit()
    return entry


def _is_of_type(entry: Any, name: bytes | None) -> bool:
    if entry is None:
        return False
    return name is None or values.type_name(entry.value) == name


# -- moving ------------------------------------------------------------------------------------


def rename_command(ctx: Any, args: list[bytes]) -> Any:
    """RENAME key newkey"""
    _rename(ctx, args[1], args[2], only_if_new=False)
    return OK


def renamenx_command(ctx: Any, args: list[bytes]) -> int:
    """RENAMENX key newkey"""
    return _rename(ctx, args[1], args[2], only_if_new=True)


def _rename(ctx: Any, key: bytes, new_key: bytes, only_if_new: bool) -> int:
    db = ctx.db
    entry = db.find(key)
    if entry is None:
        raise no_such_key()
    if key == new_key:
        return 0
    if db.find(new_key) is not None:
        if only_if_new:
            return 0
        db.delete(new_key)
    _carry(entry, db, key, db, new_key)
    db.changed(key, NOTIFY_GENERIC, b"rename_from")
    db.touched(new_key)
    db.notify(NOTIFY_GENERIC, b"rename_to", new_key)
    return 1


def move_command(ctx: Any, args: list[bytes]) -> int:
    """MOVE key db"""
    db, key = ctx.db, args[1]
    target = _database(ctx, args[2])
    if target is db:
        raise CommandError(_SAME_OBJECT)
    entry = db.find(key)
    if entry is None or target.find(key) is not None:
        return 0
    _carry(entry, db, key, target, key)
    db.changed(key, NOTIFY_GENERIC, b"move_from")
    target.touched(key)
    target.notify(NOTIFY_GENERIC, b"move_to", key)
    return 1


def _carry(entry: Any, db: Any, key: bytes, target: Any, new_key: bytes) -> None:
    """Takes value, expiry and access stamp from one key to another, which is not there."""
    value, expire_ms, access = entry.value, entry.expire_ms, entry.access
    db.delete(key)
    target.put(new_key, value)
    target.find(new_key).access = access
    if expire_ms:
        target.set_expiry(new_key, expire_ms)


def _database(ctx: Any, word: bytes) -> Any:
    index = parse_int(word)
    databases = ctx.keyspace.databases
    if not 0 <= index < len(databases):
        raise CommandError(_NO_DATABASE)
    return databases[index]


def copy_command(ctx: Any, args: list[bytes]) -> int:
    """COPY source destination [DB destination-db] [REPLACE]"""
    db, key, new_key = ctx.db, args[1], args[2]
    target, replace = _copy_options(ctx, args)
    if target is db and key == new_key:
        raise CommandError(_SAME_OBJECT)
    value = db.read(key)
    if value is None:
        return 0
    expire_ms = db.find(key).expire_ms
    if target.find(new_key) is not None:
        if not replace:
            return 0
        target.delete(new_key)
    target.put(new_key, values.copy_value(value))
    if expire_ms:
        target.set_expiry(new_key, expire_ms)
    target.changed(new_key, NOTIFY_GENERIC, b"copy_to")
    return 1


def _copy_options(ctx: Any, args: list[bytes]) -> tuple[Any, bool]:
    target, replace = ctx.db, False
    index = 3
    while index < len(args):
        word = args[index].lower()
        if word == b"replace":
            replace = True
        elif word == b"db" and index + 1 < len(args):
            index += 1
            target = _database(ctx, args[index])
        else:
            raise syntax_error()
        index += 1
    return target, replace


def swapdb_command(ctx: Any, args: list[bytes]) -> Any:
    """SWAPDB index1 index2"""
    first = parse_int(args[1], b"ERR invalid first DB index")
    second = parse_int(args[2], b"ERR invalid second DB index")
    databases = ctx.keyspace.databases
    if not (0 <= first < len(databases) and 0 <= second < len(databases)):
        raise CommandError(_NO_DATABASE)
    if first != second:
        swap_databases(databases[first], databases[second])
    ctx.keyspace.dirty += 1
    return OK


def swap_databases(one: Any, two: Any) -> None:
    """Exchanges the data of two databases; who watches or waits stays with the number."""
    data_replaced(one, two.table)
    data_replaced(two, one.table)
    one.table, two.table = two.table, one.table
    one.volatile, two.volatile = two.volatile, one.volatile
    one.avg_ttl_ms, two.avg_ttl_ms = two.avg_ttl_ms, one.avg_ttl_ms
    one.expire_cursor, two.expire_cursor = two.expire_cursor, one.expire_cursor
    for db in (one, two):
        for key in list(db.blocked):
            if key in db.table or key in db.relied_on:
                db.ready(key)


# -- expiring ----------------------------------------------------------------------------------


def expire_command(ctx: Any, args: list[bytes]) -> int:
    """EXPIRE key seconds [NX | XX | GT | LT]"""
    return _expire(ctx, args, "expire", 1000, ctx.keyspace.now_ms)


def pexpire_command(ctx: Any, args: list[bytes]) -> int:
    """PEXPIRE key milliseconds [NX | XX | GT | LT]"""
    return _expire(ctx, args, "pexpire", 1, ctx.keyspace.now_ms)


def expireat_command(ctx: Any, args: list[bytes]) -> int:
    """EXPIREAT key unix-time-seconds [NX | XX | GT | LT]"""
    return _expire(ctx, args, "expireat", 1000, 0)


def pexpireat_command(ctx: Any, args: list[bytes]) -> int:
    """PEXPIREAT key unix-time-milliseconds [NX | XX | GT | LT]"""
    return _expire(ctx, args, "pexpireat", 1, 0)


def _expire(ctx: Any, args: list[bytes], name: str, unit_ms: int, base_ms: int) -> int:
    conditions = _expire_conditions(args)
    when_ms = parse_integer(args[2]) * unit_ms
    if not INT64_MIN <= when_ms <= INT64_MAX - base_ms:
        raise invalid_expire(name)
    when_ms += base_ms
    db, key = ctx.db, args[1]
    if db.write(key) is None:
        return 0
    if conditions and not _expire_allowed(conditions, db.find(key).expire_ms, when_ms):
        return 0
    if already_past(ctx.keyspace, when_ms):
        db.delete(key)
        db.changed(key, NOTIFY_GENERIC, b"del")
        ctx.propagate(b"UNLINK" if ctx.config.lazyfree_lazy_expire else b"DEL", key)
        return 1
    # 0 stands for no expiry: a moment before 1970 is kept as the first one after it.
    db.set_expiry(key, max(1, when_ms))
    db.changed(key, NOTIFY_GENERIC, b"expire")
    ctx.propagate(b"PEXPIREAT", key, b"%d" % when_ms, *args[3:])
    return 1


def _expire_conditions(args: list[bytes]) -> set[bytes]:
    conditions: set[bytes] = set()
    for word in args[3:]:
        if word.lower() not in (b"nx", b"xx", b"gt", b"lt"):
            raise CommandError(b"ERR Unsupported option " + word)
        conditions.add(word.lower())
    if b"nx" in conditions and len(conditions) > 1:
        raise CommandError(b"ERR NX and XX, GT or LT options at the same time are not compatible")
    if b"gt" in conditions and b"lt" in conditions:
        raise CommandError(b"ERR GT and LT options at the same time are not compatible")
    return conditions


def _expire_allowed(conditions: set[bytes], current_ms: int, when_ms: int) -> bool:
    """Whether the conditions hold; no expiry (0) counts as one that never comes."""
    if b"nx" in conditions and current_ms:
        return False
    if b"xx" in conditions and not current_ms:
        return False
    if b"gt" in conditions and (not current_ms or when_ms <= current_ms):
        return False
    return not (b"lt" in conditions and current_ms and when_ms >= current_ms)


def ttl_command(ctx: Any, args: list[bytes]) -> int:
    """TTL key: seconds, -1 without expiry, -2 without key."""
    return _in_seconds(pttl_command(ctx, args))


def pttl_command(ctx: Any, args: list[bytes]) -> int:
    """PTTL key"""
    when_ms = pexpiretime_command(ctx, args)
    return when_ms if when_ms < 0 else max(0, when_ms - ctx.keyspace.now_ms)


def expiretime_command(ctx: Any, args: list[bytes]) -> int:
    """EXPIRETIME key"""
    return _in_seconds(pexpiretime_command(ctx, args))


def pexpiretime_command(ctx: Any, args: list[bytes]) -> int:
    """PEXPIRETIME key"""
    entry = _seen(ctx, args[1])
    if entry is None:
        return -2
    return entry.expire_ms or -1


def _in_seconds(time_ms: int) -> int:
    return time_ms if time_ms < 0 else (time_ms + 500) // 1000


def persist_command(ctx: Any, args: list[bytes]) -> int:
    """PERSIST key"""
    db, key = ctx.db, args[1]
    if db.write(key) is None or not db.find(key).expire_ms:
        return 0
    db.set_expiry(key, 0)
    db.changed(key, NOTIFY_GENERIC, b"persist")
    return 1


# -- OBJECT ------------------------------------------------------------------------------------

_OBJECT_HELP = (
    "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "ENCODING <key>",
    "    Return the kind of internal representation used in order to store the value",
    "    associated with a <key>.",
    "FREQ <key>",
    "    Return the access frequency index of the <key>. The returned integer is",
    "    proportional to the logarithm of the recent access frequency of the key.",
    "IDLETIME <key>",
    "    Return the idle time of the <key>, that is the approximated number of",
    "    seconds elapsed since the last access to the key.",
    "REFCOUNT <key>",
    "    Return the number of references of the value associated with the specified",
    "    <key>.",
    "HELP",
    "    Prints this help.",
)
_ADJUSTING = (
    "Please note that when switching between policies at runtime LRU and LFU data will take some "
    "time to adjust."
)
#: Numbers that Redis shares between keys, and the count it shows for them.
_SHARED_INTEGERS = 10000
_SHARED_REFCOUNT = 2**31 - 1


def object_help_command(ctx: Any, args: list[bytes]) -> list[Status]:
    """OBJECT HELP"""
    return [Status(line.encode()) for line in _OBJECT_HELP]


def object_encoding_command(ctx: Any, args: list[bytes]) -> bytes | None:
    """OBJECT ENCODING key"""
    entry = ctx.db.find(args[2])
    return None if entry is None else values.encoding(entry.value)


def object_refcount_command(ctx: Any, args: list[bytes]) -> int | None:
    """OBJECT REFCOUNT key: values are not shared, but small numbers are shown as in Redis."""
    entry = ctx.db.find(args[2])
    if entry is None:
        return None
    value = entry.value
    config = ctx.config
    stamped = config.maxmemory and config.maxmemory_policy.endswith(("-lru", "-lfu"))
    if not stamped and values.is_string(value) and values.encoding(value) == b"int":
        return _SHARED_REFCOUNT if 0 <= int(value) < _SHARED_INTEGERS else 1
    return 1


def object_idletime_command(ctx: Any, args: list[bytes]) -> int | None:
    """OBJECT IDLETIME key: seconds"""
    entry = ctx.db.find(args[2])
    if entry is None:
        return None
    if ctx.keyspace.lfu:
        raise CommandError(
            "ERR An LFU maxmemory policy is selected, idle time not tracked. " + _ADJUSTING
        )
    return eviction.idle_ms(entry.access, ctx.keyspace.now_ms) // 1000


def object_freq_command(ctx: Any, args: list[bytes]) -> int | None:
    """OBJECT FREQ key"""
    entry = ctx.db.find(args[2])
    if entry is None:
        return None
    if not ctx.keyspace.lfu:
        raise CommandError(
            "ERR An LFU maxmemory policy is not selected, access frequency not tracked. "
            + _ADJUSTING
        )
    return eviction.lfu_counter(entry.access, ctx.keyspace.now_ms, ctx.config.lfu_decay_time)


# -- rows --------------------------------------------------------------------------------------

_ONE = (1, 1, 1)
_TWO = (1, 2, 1)
_ALL = (1, -1, 1)
_NONE = (0, 0, 0)
_WRITE_FAST = "write fast"
_READ_FAST = "readonly fast"

#: name, arity, flags, handler, keys, since, summary, complexity ("" for O(1))
_ROWS: list[tuple[str, int, str, Any, tuple[int, int, int], str, str, str]] = [
    ("del", -2, "write", del_command, _ALL, "1.0.0", "Delete a key",
     ("O(N) where N is the number of keys that will be removed. When a key to remove holds a value "
     "other than a string, the individual complexity for this key is O(M) where M is the number "
     "of elements in the list, set, sorted set or hash. Removing a single key that holds a string "
     "value is O(1).")),
    ("unlink", -2, _WRITE_FAST, unlink_command, _ALL, "4.0.0",
     ("Delete a key asynchronously in another thread. Otherwise it is just as DEL, but non "
     "blocking."),
     ("O(1) for each key removed regardless of its size. Then the command does O(N) work in a "
     "different thread in order to reclaim memory, where N is the number of allocations the "
     "deleted objects where composed of.")),
    ("exists", -2, _READ_FAST, exists_command, _ALL, "1.0.0", "Determine if a key exists",
     "O(N) where N is the number of keys to check."),
    ("type", 2, _READ_FAST, type_command, _ONE, "1.0.0", "Determine the type stored at key", ""),
    ("keys", 2, "readonly", keys_command, _NONE, "1.0.0",
     "Find all keys matching the given pattern",
     ("O(N) with N being the number of keys in the database, under the assumption that the key "
     "names in the database and the given pattern have limited length.")),
    ("scan", -2, "readonly", scan_command, _NONE, "2.8.0", "Incrementally iterate the keys space",
     ("O(1) for every call. O(N) for a complete iteration, including enough command calls for the "
     "cursor to return back to 0. N is the number of elements inside the collection.")),
    ("randomkey", 1, "readonly", randomkey_command, _NONE, "1.0.0",
     "Return a random key from the keyspace", ""),
    ("rename", 3, "write", rename_command, _TWO, "1.0.0", "Rename a key", ""),
    ("renamenx", 3, _WRITE_FAST, renamenx_command, _TWO, "1.0.0",
     "Rename a key, only if the new key does not exist", ""),
    ("copy", -3, "write denyoom", copy_command, _TWO, "6.2.0", "Copy a key",
     ("O(N) worst case for collections, where N is the number of nested items. O(1) for string "
     "values.")),
    ("move", 3, _WRITE_FAST, move_command, _ONE, "1.0.0", "Move a key to another database", ""),
    ("touch", -2, _READ_FAST, touch_command, _ALL, "3.2.1",
     "Alters the last access time of a key(s). Returns the number of existing keys specified.",
     "O(N) where N is the number of keys that will be touched."),
    ("expire", -3, _WRITE_FAST, expire_command, _ONE, "1.0.0",
     "Set a key's time to live in seconds", ""),
    ("pexpire", -3, _WRITE_FAST, pexpire_command, _ONE, "2.6.0",
     "Set a key's time to live in milliseconds", ""),
    ("expireat", -3, _WRITE_FAST, expireat_command, _ONE, "1.2.0",
     "Set the expiration for a key as a UNIX timestamp", ""),
    ("pexpireat", -3, _WRITE_FAST, pexpireat_command, _ONE, "2.6.0",
     "Set the expiration for a key as a UNIX timestamp specified in milliseconds", ""),
    ("ttl", 2, _READ_FAST, ttl_command, _ONE, "1.0.0",
     "Get the time to live for a key in seconds", ""),
    ("pttl", 2, _READ_FAST, pttl_command, _ONE, "2.6.0",
     "Get the time to live for a key in milliseconds", ""),
    ("expiretime", 2, _READ_FAST, expiretime_command, _ONE, "7.0.0",
     "Get the expiration Unix timestamp for a key", ""),
    ("pexpiretime", 2, _READ_FAST, pexpiretime_command, _ONE, "7.0.0",
     "Get the expiration Unix timestamp for a key in milliseconds", ""),
    ("persist", 2, _WRITE_FAST, persist_command, _ONE, "2.2.0",
     "Remove the expiration from a key", ""),
]  # fmt: skip


def _server_row(
    name: str, arity: int, flags: str, handler: Any, since: str, summary: str, complexity: str
) -> Command:
    """A command on whole databases: of Redis's group "server", of the category of keys."""
    dangerous = "" if name == "dbsize" else " dangerous"
    return Command(
        name,
        arity,
        flags,
        handler,
        group="server",
        since=since,
        summary=summary,
        complexity=complexity,
        categories="keyspace" + dangerous,
    )


def _object_row(name: str, arity: int, flags: str, handler: Any, since: str, text: str) -> Command:
    keys = _NONE if name == "help" else (2, 2, 1)
    return Command(name, arity, flags, handler, keys, since=since, summary=text)


COMMANDS: list[Command] = [
    Command(
        name,
        arity,
        flags,
        handler,
        keys,
        since=since,
        summary=summary,
        complexity=complexity or "O(1)",
        categories="keyspace dangerous" if name == "keys" else "keyspace",
    )
    for name, arity, flags, handler, keys, since, summary, complexity in _ROWS
]
COMMANDS += [
    _server_row("dbsize", 1, _READ_FAST, dbsize_command, "1.0.0",
                "Return the number of keys in the selected database", "O(1)"),
    _server_row("flushdb", -1, "write", flushdb_command, "1.0.0",
                "Remove all keys from the current database",
                "O(N) where N is the number of keys in the selected database"),
    _server_row("flushall", -1, "write", flushall_command, "1.0.0",
                "Remove all keys from all databases",
                "O(N) where N is the total number of keys in all databases"),
    _server_row("swapdb", 3, _WRITE_FAST, swapdb_command, "4.0.0", "Swaps two Redis databases",
                "O(N) where N is the count of clients watching or blocking on keys from both "
                "databases."),
    Command(
        "object",
        -2,
        "",
        container_only,
        since="2.2.3",
        summary="A container for object introspection commands",
        complexity="Depends on subcommand.",
        subcommands=[
            _object_row("encoding", 3, "readonly", object_encoding_command, "2.2.3",
                        "Inspect the internal encoding of a Redis object"),
            _object_row("freq", 3, "readonly", object_freq_command, "4.0.0",
                        "Get the logarithmic access frequency counter of a Redis object"),
            _object_row("help", 2, "loading stale", object_help_command, "6.2.0",
                        "Show helpful text about the different subcommands"),
            _object_row("idletime", 3, "readonly", object_idletime_command, "2.2.3",
                        "Get the time since a Redis object was last accessed"),
            _object_row("refcount", 3, "readonly", object_refcount_command, "2.2.3",
                        "Get the number of references to the value of the key"),
        ],
    ),
]  # fmt: skip
