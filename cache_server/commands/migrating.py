"""MIGRATE: keys go to another server and are deleted here once it has them.

The request is run twice. First it dumps the keys and ships them (`links/migration`), and the client
waits; then, with the outcome, it deletes what the other server took, which travels as DEL.

Source: https://redis.io/docs/latest/commands/migrate/.
"""

from __future__ import annotations

from typing import Any

from cache_server.commands.dispatch import GATE_LEASE, GATE_READONLY
from cache_server.commands.table import Command
from cache_server.datatypes.arguments import parse_integer
from cache_server.errors import CommandError, syntax_error
from cache_server.keyspace.database import NOTIFY_GENERIC
from cache_server.persistence.snapshot_codec import dump_value
from cache_server.wire.replies import NO_REPLY, OK, Status

_TIMEOUT_MS_DEFAULT = 1000
_NO_KEY = Status(b"NOKEY")


class MigrateOptions:
    """What a request says. Raises CommandError."""

    def __init__(self, args: list[bytes]) -> None:
        self.copy = False
        self.replace = False
        self.auth: list[bytes] = []
        self.keys = [args[3]]
        index = 6
        while index < len(args):
            word = args[index].lower()
            left = len(args) - index - 1
            if word == b"keys":
                if args[3]:
                    raise CommandError(
                        b"ERR When using MIGRATE KEYS option, the key argument must be set to the "
                        b"empty string"
                    )
                self.keys = args[index + 1 :]
                break
            if word == b"copy":
                self.copy = True
            elif word == b"replace":
                self.replace = True
            elif word in (b"auth", b"auth2") and left >= (count := 1 + (word == b"auth2")):
                self.auth = args[index + 1 : index + 1 + count]
                index += count
            else:
                raise syntax_error()
            index += 1
        timeout_ms = parse_integer(args[5])
        self.timeout_ms = timeout_ms if timeout_ms > 0 else _TIMEOUT_MS_DEFAULT
        self.db_index = parse_integer(args[4])


def migrate_command(ctx: Any, args: list[bytes]) -> Any:
    """MIGRATE host port key | "" destination-db timeout [COPY] [REPLACE] [AUTH password |
    AUTH2 username password] [KEYS key [key ...]]"""
    options = MigrateOptions(args)
    migrations = ctx.server.migrations
    arrived = migrations.take_arrived(ctx)
    if arrived is not None:
        return _finish(ctx, options, *arrived)
    found = [key for key in options.keys if ctx.db.read(key) is not None]
    if not found:
        return _NO_KEY
    shipment = migrations.new_shipment(args[1], args[2], options.db_index, options.timeout_ms)
    shipment.auth = options.auth
    for key in found:
        _pack(ctx, shipment, key, options.replace)
    outcome = migrations.ship(ctx, args, shipment)
    return NO_REPLY if outcome is None else _finish(ctx, options, shipment, outcome)


def _pack(ctx: Any, shipment: Any, key: bytes, replace: bool) -> None:
    entry = ctx.db.find(key)
    if entry is None:
        return
    ttl_ms = max(1, entry.expire_ms - ctx.keyspace.now_ms) if entry.expire_ms else 0
    payload = dump_value(entry.value, ctx.config.rdbcompression)
    command = [b"RESTORE", key, b"%d" % ttl_ms, payload]
    shipment.restores.append([*command, b"REPLACE"] if replace else command)
    shipment.keys.append((key, entry))


def _finish(ctx: Any, options: MigrateOptions, shipment: Any, outcome: Any) -> Any:
    """Deletes what the other server took, and answers."""
    if outcome.fault == "connecting":
        raise CommandError(b"IOERR error or timeout connecting to the client")
    if not options.copy and not outcome.refused_before:
        _delete_taken(ctx, shipment, outcome)
    # A refusal leaves what was deleted as it is, and that travels.
    if outcome.refusal:
        raise CommandError(b"ERR Target instance replied with error: " + outcome.refusal)
    if outcome.fault:
        raise CommandError(b"IOERR error or timeout %b to target instance" % outcome.fault.encode())
    return OK


def _delete_taken(ctx: Any, shipment: Any, outcome: Any) -> None:
    gates = ctx.server.dispatcher.gates
    if gates & GATE_READONLY:
        raise CommandError(b"READONLY You can't write against a read only replica.")
    if gates & GATE_LEASE:
        ctx.server.check_lease()
    db = ctx.db
    deleted = []
    for (key, entry), line in zip(shipment.keys, outcome.lines, strict=False):
        # Another entry: somebody who does not wait (a stream being applied) has written since.
        if line.startswith(b"-") or db.table.get(key) is not entry:
            continue
        db.delete(key)
        db.changed(key, NOTIFY_GENERIC, b"del")
        deleted.append(key)
    if deleted:
        ctx.propagate(b"DEL", *deleted)


_SKIPPED = {b"copy": 0, b"replace": 0, b"auth": 1, b"auth2": 2}


def keys_of_migrate(args: list[bytes]) -> list[int]:
    """The key, or what KEYS names; nothing where both are given, which is refused."""
    index = 6
    while index < len(args):
        word = args[index].lower()
        if word == b"keys":
            return [] if args[3] else list(range(index + 1, len(args)))
        index += 1 + _SKIPPED.get(word, 0)
    return [3]


COMMANDS = [
    Command(
        "migrate",
        -6,
        "write movablekeys",
        migrate_command,
        (3, 3, 1),
        finder=keys_of_migrate,
        since="2.6.0",
        summary="Atomically transfer a key from a Redis instance to another one.",
        complexity="This command actually executes a DUMP+DEL in the source instance, and a "
        "RESTORE in the target instance. See the pages of these commands for time complexity. "
        "Also an O(N) data transfer between the two instances is performed.",
        categories="dangerous",
    ),
]
