"""DEBUG: what tests need to look inside, and to make trouble on purpose.

Guarded by enable-debug-command. Switches that have no meaning here are accepted where Redis's own
tests set them and nothing observable depends on them.
"""

from __future__ import annotations

import ctypes
import logging
import os
import time
from collections.abc import Callable
from typing import Any

from cache_server.commands.configuration import allowed, rewrite
from cache_server.commands.digest import dataset_digest, shown, value_digest
from cache_server.commands.helping import help_reply
from cache_server.datatypes.arguments import parse_float, parse_in_range, parse_integer
from cache_server.datatypes.values import encoding, memory_bytes
from cache_server.errors import CommandError, no_such_key, syntax_error
from cache_server.keyspace.database import NOTIFY_STRING
from cache_server.persistence.key_digests import corrupted
from cache_server.persistence.snapshot_codec import dump_value
from cache_server.structures.glob import match
from cache_server.wire.replies import OK, Map, Push, Raw, SetReply, Status, Verbatim

log = logging.getLogger("cache_server")

Handler = Callable[[Any, list[bytes]], Any]

#: What DUMP adds to a value: its type, the version and the checksum, in bytes.
_DUMP_FRAME_BYTES = 11
#: Keys that DEBUG POPULATE makes at once, at most.
POPULATE_MAX = 100_000_000


def debug_command(ctx: Any, args: list[bytes]) -> Any:
    """DEBUG subcommand [arg ...]"""
    if not allowed(ctx, ctx.config.enable_debug_command):
        raise CommandError(
            b"ERR DEBUG command not allowed. If the enable-debug-command option is set to "
            b'"local", you can run it from a local connection, otherwise you need to set this '
            b"option in the configuration file, and then restart the server."
        )
    row = _SUBCOMMANDS.get(args[1].lower())
    if row is None or not row[1] <= len(args) <= row[2]:
        word = args[1][:128].decode("latin-1")
        raise CommandError(
            f"ERR unknown subcommand or wrong number of arguments for '{word}'. Try DEBUG HELP."
        )
    return row[0](ctx, args)


# -- data --------------------------------------------------------------------------------------


def _digest(ctx: Any, args: list[bytes]) -> Any:
    return Status(shown(dataset_digest(ctx.keyspace)))


def _digest_value(ctx: Any, args: list[bytes]) -> Any:
    entries = [ctx.db.find(key) for key in args[2:]]
    return [
        Status(shown(0 if entry is None else value_digest(entry.value, entry.expire_ms != 0)))
        for entry in entries
    ]


def _corrupt(ctx: Any, args: list[bytes]) -> Any:
    """Changes a value as a bad bit of memory would: nobody is told, nothing is propagated."""
    if not corrupted(ctx.db, args[2]):
        raise no_such_key()
    return OK


def _object(ctx: Any, args: list[bytes]) -> Any:
    entry = ctx.db.table.get(args[2])  # what is held is shown, expired or not
    if entry is None:
        raise no_such_key()
    value = entry.value
    form = encoding(value).decode()
    idle_s = max(0, ctx.keyspace.now_ms - entry.access) // 1000
    text = (
        f"Value at:{id(entry):#x} refcount:1 encoding:{form} "
        f"serializedlength:{len(dump_value(value)) - _DUMP_FRAME_BYTES} "
        f"lru:{entry.access // 1000 & 0xFFFFFF} lru_seconds_idle:{idle_s}"
    )
    if form == "quicklist":
        size = memory_bytes(value, 0)
        text += f" ql_nodes:1 ql_avg_node:{len(value):.2f} ql_listpack_max:-2 ql_compressed:0"
        text += f" ql_uncompressed_size:{size}"
    return Status(text.encode())


def _sdslen(ctx: Any, args: list[bytes]) -> Any:
    value = ctx.db.read_string(args[2])
    if value is None:
        raise no_such_key()
    key_length, length = len(args[2]), len(value)
    text = f"key_sds_len:{key_length}, key_sds_avail:0, key_zmalloc: {key_length + 1}, "
    text += f"val_sds_len:{length}, val_sds_avail:0, val_zmalloc: {length + 1}"
    return Status(text.encode())


def _populate(ctx: Any, args: list[bytes]) -> Any:
    """Adds keys that are missing. Not propagated."""
    message = b"ERR value is out of range, must be positive"
    count = parse_in_range(args[2], 0, POPULATE_MAX, message)
    prefix = args[3] if len(args) > 3 else b"key"
    size = parse_in_range(args[4], 0, ctx.config.proto_max_bulk_len) if len(args) > 4 else 0
    db = ctx.db
    for number in range(count):
        key = b"%b:%d" % (prefix, number)
        if db.find(key) is None:
            value = b"value:%d" % number
            if size:
                value = value[:size].ljust(size, b"\0")
            db.put(key, value)
            db.changed(key, NOTIFY_STRING, b"set", 0)
    return OK


def _htstats(ctx: Any, args: list[bytes]) -> Any:
    index = parse_integer(args[2])
    if not 0 <= index < len(ctx.keyspace.databases):
        raise CommandError(b"ERR Out of range database")
    db = ctx.keyspace.databases[index]
    parts = [("[Dictionary HT]", db.table), ("[Expires HT]", db.volatile)]
    text = "".join(f"{title}\n{_table_report(table)}\n" for title, table in parts)
    return Verbatim(text.encode())


def _htstats_key(ctx: Any, args: list[bytes]) -> Any:
    value = ctx.db.peek(args[2])
    if value is None:
        raise no_such_key()
    table = getattr(value, "table", None)
    if table is None:
        raise CommandError(
            b"ERR The value stored at the specified key is not represented using an hash table"
        )
    return Verbatim(_table_report(table).encode())


def _table_report(table: Any) -> str:
    size = 4
    while size < len(table):
        size *= 2
    return (
        f"Hash table 0 stats (main hash table):\n table size: {size}\n"
        f" number of elements: {len(table)}\n"
    )


def _reload(ctx: Any, args: list[bytes]) -> Any:
    """DEBUG RELOAD [MERGE] [NOFLUSH] [NOSAVE]"""
    options = {arg.lower() for arg in args[2:]}
    if not options <= {b"merge", b"noflush", b"nosave"}:
        raise syntax_error()
    ctx.server.persistence.reload(
        save=b"nosave" not in options,
        flush=b"noflush" not in options,
        replace=b"merge" in options,
    )
    return OK


def _load_log(ctx: Any, args: list[bytes]) -> Any:
    """DEBUG LOADAOF"""
    ctx.server.persistence.reload_log()
    return OK


# -- switches ----------------------------------------------------------------------------------


def _log_flush_sleep(ctx: Any, args: list[bytes]) -> Any:
    ctx.server.append_log.flush_delay_us = parse_integer(args[2])
    return OK


def _set_active_expire(ctx: Any, args: list[bytes]) -> Any:
    ctx.server.upkeep.expiry.enabled = parse_integer(args[2]) != 0
    return OK


def _skip_checksum(ctx: Any, args: list[bytes]) -> Any:
    ctx.server.persistence.skip_checksum = parse_integer(args[2]) != 0
    return OK


def _pause_cron(ctx: Any, args: list[bytes]) -> Any:
    ctx.server.cron_paused = parse_integer(args[2]) != 0
    return OK


def _deny_nothing(ctx: Any, args: list[bytes]) -> Any:
    """DEBUG SET-DISABLE-DENY-SCRIPTS 0|1: whether scripts may run commands that deny them."""
    ctx.server.scripting.host.deny_nothing = args[2] == b"1"
    return OK


def _accepted(ctx: Any, args: list[bytes]) -> Any:
    """A switch of Redis's own memory layout."""
    return OK


def _change_repl_id(ctx: Any, args: list[bytes]) -> Any:
    log.warning("Changing replication IDs after receiving change-repl-id")
    ctx.server.change_history_id()
    return OK


def _replicate(ctx: Any, args: list[bytes]) -> Any:
    """DEBUG REPLICATE arg [arg ...]: into the stream without being run here."""
    ctx.propagate(*args[2:])
    return OK


def _rewrite_all(ctx: Any, args: list[bytes]) -> Any:
    rewrite(ctx.config, force=True)
    return OK


# -- trouble -----------------------------------------------------------------------------------


def _sleep(ctx: Any, args: list[bytes]) -> Any:
    """Stops the whole server, as a slow command would."""
    time.sleep(max(0.0, parse_float(args[2])))  # the very thing asked for
    return OK


def _error(ctx: Any, args: list[bytes]) -> Any:
    raise CommandError(args[2])


def _log(ctx: Any, args: list[bytes]) -> Any:
    log.warning("DEBUG LOG: %s", args[2].decode("utf-8", "replace"))
    return OK


def _segfault(ctx: Any, args: list[bytes]) -> Any:
    ctypes.string_at(1)
    return OK


def _abort(ctx: Any, args: list[bytes]) -> Any:
    log.warning("DEBUG %s: aborting", args[1].decode("latin-1").upper())
    os.abort()


def _protocol(ctx: Any, args: list[bytes]) -> Any:
    """A value of each reply type."""
    kind = args[2].lower()
    resp3 = ctx.protocol == 3
    plain: dict[bytes, Any] = {
        b"string": b"Hello World",
        b"integer": 12345,
        b"double": 3.141,
        b"null": None,
        b"array": [0, 1, 2],
        b"set": SetReply([0, 1, 2]),
        b"map": Map([0, False, 1, True, 2, False]),
        b"push": Push([b"server-cpu-usage", 42]),
        b"true": True,
        b"false": False,
        b"verbatim": Verbatim(b"This is a verbatim\nstring"),
    }
    if kind in plain:
        return plain[kind]
    if kind == b"bignum":
        number = b"1234567999999999999999999999999999999"
        return Raw(b"(%b\r\n" % number) if resp3 else number
    if kind == b"attrib":
        text = b"Some real reply following the attribute"
        if not resp3:
            return text
        attribute = b"|1\r\n$14\r\nkey-popularity\r\n*2\r\n$7\r\nkey:123\r\n:90\r\n"
        return Raw(attribute + b"$%d\r\n%b\r\n" % (len(text), text))
    raise CommandError(
        b"ERR Wrong protocol type name. Please use one of the following: string|integer|double|"
        b"bignum|null|array|set|map|attrib|push|verbatim|true|false"
    )


def _stringmatch(ctx: Any, args: list[bytes]) -> Any:
    """DEBUG STRINGMATCH-LEN pattern length: how long a hostile pattern takes."""
    return int(match(args[2], b"a" * parse_in_range(args[3], 0, 2**26)))


def _help(ctx: Any, args: list[bytes]) -> Any:
    return help_reply(
        "DEBUG",
        "CHANGE-REPL-ID",
        "    Take a new replication id.",
        "CONFIG-REWRITE-FORCE-ALL",
        "    Like CONFIG REWRITE, and with the settings that have their default.",
        "CORRUPT <key>",
        "    Change a value without telling anyone, as a bad bit of memory would.",
        "DIGEST",
        "    Return a digest of all data.",
        "DIGEST-VALUE <key> [<key> ...]",
        "    Return a digest of each value.",
        "ERROR <string>",
        "    Return an error with this text.",
        "HTSTATS <dbid>",
        "    Return the sizes of a database's tables.",
        "HTSTATS-KEY <key>",
        "    Return the size of the table that holds a value.",
        "LOG <message>",
        "    Write a line to the log.",
        "OBJECT <key>",
        "    Return how a value is held.",
        "PAUSE-CRON <0|1>",
        "    Stop periodic work, or go on with it.",
        "POPULATE <count> [<prefix>] [<size>]",
        "    Add keys <prefix>:<number>, without telling followers.",
        "LOADAOF",
        "    Put what the log says in the place of the data.",
        "AOF-FLUSH-SLEEP <microseconds>",
        "    Sleep before each write to the log.",
        "PROTOCOL <type>",
        "    Return a value of a reply type.",
        "RELOAD [MERGE] [NOFLUSH] [NOSAVE]",
        "    Save the data and load them again.",
        "REPLICATE <command> [<arg> ...]",
        "    Send a command to the followers without running it.",
        "SEGFAULT, PANIC, ASSERT",
        "    Crash.",
        "SET-ACTIVE-EXPIRE <0|1>",
        "    Whether expired keys are looked for.",
        "SET-SKIP-CHECKSUM-VALIDATION <0|1>",
        "    Whether snapshots and DUMP payloads may have a wrong checksum.",
        "SLEEP <seconds>",
        "    Stop the server for a while.",
        "STRINGMATCH-LEN <pattern> <length>",
        "    Match a pattern against so many letters a.",
    )


_MANY = 1 << 30
#: name -> (handler, fewest and most arguments with DEBUG and the name)
_SUBCOMMANDS: dict[bytes, tuple[Handler, int, int]] = {
    b"help": (_help, 2, 2),
    b"digest": (_digest, 2, 2),
    b"digest-value": (_digest_value, 2, _MANY),
    b"corrupt": (_corrupt, 3, 3),
    b"object": (_object, 3, 4),
    b"sdslen": (_sdslen, 3, 3),
    b"populate": (_populate, 3, 5),
    b"htstats": (_htstats, 3, 3),
    b"htstats-key": (_htstats_key, 3, 3),
    b"reload": (_reload, 2, 5),
    b"set-active-expire": (_set_active_expire, 3, 3),
    b"set-skip-checksum-validation": (_skip_checksum, 3, 3),
    b"pause-cron": (_pause_cron, 3, 3),
    b"quicklist-packed-threshold": (_accepted, 3, 3),
    b"set-disable-deny-scripts": (_deny_nothing, 3, 3),
    b"replybuffer": (_accepted, 3, 4),
    b"loadaof": (_load_log, 2, 2),
    b"aof-flush-sleep": (_log_flush_sleep, 3, 3),
    b"change-repl-id": (_change_repl_id, 2, 2),
    b"replicate": (_replicate, 3, _MANY),
    b"config-rewrite-force-all": (_rewrite_all, 2, 2),
    b"sleep": (_sleep, 3, 3),
    b"error": (_error, 3, 3),
    b"log": (_log, 3, 3),
    b"segfault": (_segfault, 2, 2),
    b"panic": (_abort, 2, 2),
    b"assert": (_abort, 2, 2),
    b"protocol": (_protocol, 3, 3),
    b"stringmatch-len": (_stringmatch, 4, 4),
}
