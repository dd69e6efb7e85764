"""SAVE, BGSAVE, BGREWRITEAOF, LASTSAVE, DUMP, RESTORE; and what DEBUG RELOAD does."""

from __future__ import annotations

import logging
from typing import Any

from cache_server import client as states
from cache_server.commands.table import Command
from cache_server.datatypes.arguments import parse_integer
from cache_server.errors import CommandError, InputError, syntax_error
from cache_server.keyspace.database import NOTIFY_GENERIC
from cache_server.persistence.snapshot_codec import Fit, dump_is_intact, dump_value, restore_value
from cache_server.wire.replies import OK, Status

log = logging.getLogger("cache_server")


def save_command(ctx: Any, args: list[bytes]) -> Any:
    """SAVE: https://redis.io/docs/latest/commands/save/."""
    if ctx.server.persistence.running is not None:
        raise CommandError(b"ERR Background save already in progress")
    if not ctx.server.persistence.save():
        raise CommandError(b"ERR")
    return OK


def bgsave_command(ctx: Any, args: list[bytes]) -> Any:
    """BGSAVE [SCHEDULE]: https://redis.io/docs/latest/commands/bgsave/."""
    if len(args) > 2 or (len(args) == 2 and args[1].lower() != b"schedule"):
        raise syntax_error()
    persistence = ctx.server.persistence
    if persistence.running is not None:
        raise CommandError(b"ERR Background save already in progress")
    if ctx.flags & states.IN_EXEC:
        # Half of a transaction is no state to be saved.
        persistence.scheduled = True
        return Status(b"Background saving scheduled")
    if not persistence.background_save():
        raise CommandError(b"ERR")
    return Status(b"Background saving started")


def bgrewriteaof_command(ctx: Any, args: list[bytes]) -> Any:
    """BGREWRITEAOF: https://redis.io/docs/latest/commands/bgrewriteaof/."""
    persistence, log_ = ctx.server.persistence, ctx.server.append_log
    if log_.rewriting is not None:
        raise CommandError(b"ERR Background append only file rewriting already in progress")
    if persistence.running is not None or ctx.flags & states.IN_EXEC:
        log_.scheduled = True
        return Status(b"Background append only file rewriting scheduled")
    if not log_.rewrite():
        raise CommandError(
            b"ERR Can't execute an AOF background rewriting. Please check the server logs for more "
            b"information."
        )
    return Status(b"Background append only file rewriting started")


def lastsave_command(ctx: Any, args: list[bytes]) -> Any:
    """LASTSAVE: https://redis.io/docs/latest/commands/lastsave/."""
    return ctx.server.persistence.last_save_s


def dump_command(ctx: Any, args: list[bytes]) -> Any:
    """DUMP key: https://redis.io/docs/latest/commands/dump/."""
    value = ctx.db.read(args[1])
    return None if value is None else dump_value(value, ctx.config.rdbcompression)


def restore_command(ctx: Any, args: list[bytes]) -> Any:
    """RESTORE key ttl payload [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]:
    https://redis.io/docs/latest/commands/restore/."""
    options = _RestoreOptions(args)
    db, key = ctx.db, args[1]
    if not options.replace and db.write(key) is not None:
        raise CommandError(b"BUSYKEY Target key name already exists.")
    expire_ms = _integer(args[2])
    if expire_ms < 0:
        raise CommandError(b"ERR Invalid TTL value, must be >= 0")
    if not dump_is_intact(args[3], verify=not ctx.server.persistence.skip_checksum):
        raise CommandError(b"ERR DUMP payload version or checksum are wrong")
    try:
        value = restore_value(args[3])
    except InputError as error:
        log.warning("RESTORE: bad data: %s", error)
        raise CommandError(b"ERR Bad data format") from None
    value = Fit(ctx.config).apply(value)
    now_ms = ctx.keyspace.now_ms
    if expire_ms and not options.absolute:
        expire_ms += now_ms
    deleted = options.replace and db.delete(key)
    if expire_ms and expire_ms <= now_ms:
        if deleted:
            ctx.propagate(b"DEL", key)
            db.changed(key, NOTIFY_GENERIC, b"del")
        return OK
    db.put(key, value)
    if expire_ms:
        db.set_expiry(key, expire_ms)
        if not options.absolute:
            ctx.propagate(*args[:2], b"%d" % expire_ms, *args[3:], b"ABSTTL")
    options.set_access(db.table.get(key), ctx.keyspace)
    db.changed(key, NOTIFY_GENERIC, b"restore")
    return OK


class _RestoreOptions:
    """What follows the payload. Raises CommandError."""

    def __init__(self, args: list[bytes]) -> None:
        self.replace = False
        self.absolute = False
        self.idle_seconds = -1
        self.frequency = -1
        words = iter(args[4:])
        for word in words:
            option = word.lower()
            if option == b"replace":
                self.replace = True
            elif option == b"absttl":
                self.absolute = True
            elif option == b"idletime" and self.frequency == -1:
                self.idle_seconds = _integer(next(words, None))
                if self.idle_seconds < 0:
                    raise CommandError(b"ERR Invalid IDLETIME value, must be >= 0")
            elif option == b"freq" and self.idle_seconds == -1:
                self.frequency = _integer(next(words, None))
                if not 0 <= self.frequency <= 255:
                    raise CommandError(b"ERR Invalid FREQ value, must be >= 0 and <= 255")
            else:
                raise syntax_error()

    def set_access(self, entry: Any, keyspace: Any) -> None:
        """Dates the last access as the options say, as far as the policy in force keeps it."""
        if keyspace.lfu:
            if self.frequency >= 0:
                entry.access = (entry.access & ~255) | self.frequency
        elif self.idle_seconds >= 0:
            entry.access = max(0, keyspace.now_ms - 1000 * self.idle_seconds)


def _integer(word: bytes | None) -> int:
    """A signed 64-bit integer. Raises CommandError; a missing one is a syntax error."""
    if word is None:
        raise syntax_error()
    return parse_integer(word)


def debug_reload(server: Any, options: list[bytes]) -> Any:
    """DEBUG RELOAD [MERGE] [NOFLUSH] [NOSAVE]; `options` are the words behind RELOAD."""
    words = {word.lower() for word in options}
    if words - {b"merge", b"noflush", b"nosave"}:
        raise CommandError(b"ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.")
    server.persistence.reload(
        save=b"nosave" not in words, flush=b"noflush" not in words, replace=b"merge" in words
    )
    return OK


COMMANDS: list[Command] = [
    Command(
        "save",
        1,
        "admin noscript no_async_loading no_multi",
        save_command,
        group="server",
        summary="Synchronously save the dataset to disk",
        complexity="O(N) where N is the total number of keys in all databases",
    ),
    Command(
        "bgsave",
        -1,
        "admin noscript no_async_loading",
        bgsave_command,
        group="server",
        summary="Asynchronously save the dataset to disk",
    ),
    Command(
        "bgrewriteaof",
        1,
        "admin noscript no_async_loading",
        bgrewriteaof_command,
        group="server",
        summary="Asynchronously rewrite the append-only file",
    ),
    Command(
        "lastsave",
        1,
        "loading stale fast",
        lastsave_command,
        group="server",
        summary="Get the UNIX time stamp of the last successful save to disk",
        categories="admin dangerous",
    ),
    Command(
        "dump",
        2,
        "readonly",
        dump_command,
        (1, 1, 1),
        since="2.6.0",
        summary="Return a serialized version of the value stored at the specified key.",
        complexity="O(1) to access the key and additional O(N*M) to serialize it, where N is the "
        "number of Redis objects composing the value and M their average size. For small string "
        "values the time complexity is thus O(1)+O(1*M) where M is small, so simply O(1).",
    ),
    Command(
        "restore",
        -4,
        "write denyoom",
        restore_command,
        (1, 1, 1),
        since="2.6.0",
        summary="Create a key using the provided serialized value, previously obtained using DUMP.",
        complexity="O(1) to create the new key and additional O(N*M) to reconstruct the serialized "
        "value, where N is the number of Redis objects composing the value and M their average "
        "size. For small string values the time complexity is thus O(1)+O(1*M) where M is small, "
        "so simply O(1). However for sorted set values the complexity is O(N*M*log(N)) because "
        "inserting values into sorted sets is O(log(N)).",
        categories="dangerous",
    ),
]
