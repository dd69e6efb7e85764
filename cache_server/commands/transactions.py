"""MULTI, EXEC, DISCARD, WATCH, UNWATCH.

While MULTI is open the dispatcher queues what it has checked (`client.queue`); EXEC runs the queue
as one unit, so followers get it whole. A WATCH is kept on both sides: `db.watched[key]` names the
clients (with whether the key was expired when the watch began), `client.watching` the keys.

Invariants: a client is in `db.watched[key]` exactly when (db, key) is in its `watching`; EXEC
leaves no queue, no watch and none of MULTI, DIRTY_CAS, DIRTY_EXEC behind, whatever it answers.

Source: https://redis.io/docs/latest/develop/interact/transactions/.
"""

from __future__ import annotations

from typing import Any

from cache_server import client as states
from cache_server.commands.dispatch import GATE_MONITOR
from cache_server.commands.table import ADMIN, MAY_REPLICATE, SKIP_MONITOR, WRITE, Command
from cache_server.errors import CommandError
from cache_server.wire.replies import NULL_ARRAY, OK


def multi_command(ctx: Any, args: list[bytes]) -> Any:
    """MULTI"""
    if ctx.flags & states.MULTI:
        raise CommandError(b"ERR MULTI calls can not be nested")
    ctx.flags |= states.MULTI
    ctx.queue = []
    return OK


def exec_command(ctx: Any, args: list[bytes]) -> Any:
    """EXEC: null when a watched key changed, EXECABORT when a command was refused."""
    if not ctx.flags & states.MULTI:
        raise CommandError(b"ERR EXEC without MULTI")
    queue = ctx.queue
    refused = ctx.flags & states.DIRTY_EXEC
    changed = ctx.flags & states.DIRTY_CAS or _watched_expired(ctx)
    forget_transaction(ctx)
    if refused:
        raise CommandError(b"EXECABORT Transaction discarded because of previous errors.")
    if changed:
        return NULL_ARRAY
    ctx.flags |= states.IN_EXEC | states.DENY_BLOCKING
    try:
        return [_run_queued(ctx, cmd, arguments) for cmd, arguments in queue]
    finally:
        ctx.flags &= ~(states.IN_EXEC | states.DENY_BLOCKING)
        ctx.propagate_nothing()  # the queue has propagated itself


def _run_queued(ctx: Any, cmd: Command, args: list[bytes]) -> Any:
    dispatcher = ctx.server.dispatcher
    if ctx.flags & states.RESTRICTED:
        refusal = ctx.server.access.queued_refusal(ctx, cmd, args)
        if refusal is not None:
            return refusal
    if ctx.flags & states.TRACKING:
        value = ctx.server.tracking.call(ctx, cmd, args)
    else:
        value = dispatcher.call(ctx, cmd, args)
    if dispatcher.gates & GATE_MONITOR and not cmd.flags & (SKIP_MONITOR | ADMIN):
        ctx.server.feed_monitors(ctx, args)
    return value


def discard_command(ctx: Any, args: list[bytes]) -> Any:
    """DISCARD"""
    if not ctx.flags & states.MULTI:
        raise CommandError(b"ERR DISCARD without MULTI")
    forget_transaction(ctx)
    return OK


def watch_command(ctx: Any, args: list[bytes]) -> Any:
    """WATCH key [key ...]"""
    if ctx.flags & states.MULTI:
        raise CommandError(b"ERR WATCH inside MULTI is not allowed")
    if ctx.flags & states.DIRTY_CAS:
        return OK  # the transaction is lost already
    db = ctx.db
    for key in args[1:]:
        watchers = db.watched.setdefault(key, {})
        if ctx not in watchers:
            watchers[ctx] = _is_expired(db, key)
            ctx.watching.append((db, key))
    return OK


def unwatch_command(ctx: Any, args: list[bytes]) -> Any:
    """UNWATCH"""
    forget_watches(ctx)
    ctx.flags &= ~states.DIRTY_CAS
    return OK


def forget_transaction(ctx: Any) -> None:
    """Leaves MULTI and every watch, as if neither had been."""
    forget_watches(ctx)
    ctx.queue = None
    ctx.flags &= ~(states.MULTI | states.DIRTY_CAS | states.DIRTY_EXEC)


def forget_watches(ctx: Any) -> None:
    """Takes the client out of everything it watches."""
    for db, key in ctx.watching:
        watchers = db.watched[key]
        del watchers[ctx]
        if not watchers:
            del db.watched[key]
    ctx.watching = []


def queue_writes(ctx: Any) -> bool:
    """Whether anything queued writes."""
    flags_of = ctx.server.dispatcher.flags_of
    return any(flags_of(cmd, args) & WRITE for cmd, args in ctx.queue)


def queue_permits(ctx: Any) -> int:
    """The flags that every queued command has."""
    flags = -1
    for cmd, args in ctx.queue:
        flags &= ctx.server.dispatcher.flags_of(cmd, args)
    return flags


def queue_replicates(ctx: Any) -> bool:
    """Whether anything queued may end in the stream."""
    flags_of = ctx.server.dispatcher.flags_of
    return any(flags_of(cmd, args) & (WRITE | MAY_REPLICATE) for cmd, args in ctx.queue)


def watched_key_changed(db: Any, key: bytes) -> None:
    """The keyspace's `on_watched`: clients that watch the key lose their transaction.

    A key that was expired already when it was watched and is deleted now has not changed for
    them."""
    watchers = db.watched[key]
    gone = key not in db.table
    for client, expired in watchers.items():
        if expired and gone:
            watchers[client] = False
        else:
            client.flags |= states.DIRTY_CAS


def data_replaced(db: Any, table: Any) -> None:
    """To be called before `table` takes the place of the database's keys (a flush, a swap).

    Who watches a key that is there before or after loses the transaction, unless the key was
    expired when it was watched and is gone or expired now."""
    now_ms = db.keyspace.now_ms
    for key, watchers in db.watched.items():
        entry = table.get(key)
        if entry is None and key not in db.table:
            continue
        stays_expired = entry is not None and 0 < entry.expire_ms <= now_ms
        for client, expired in watchers.items():
            if expired and (entry is None or stays_expired):
                watchers[client] = stays_expired
            elif stays_expired and key not in db.table:
                watchers[client] = True
            else:
                client.flags |= states.DIRTY_CAS


def _is_expired(db: Any, key: bytes) -> bool:
    entry = db.table.get(key)
    return entry is not None and 0 < entry.expire_ms <= db.keyspace.now_ms


def _watched_expired(ctx: Any) -> bool:
    """Whether a watched key has expired since: it changed though nobody has deleted it yet."""
    return any(not db.watched[key][ctx] and _is_expired(db, key) for db, key in ctx.watching)


COMMANDS = [
    Command(
        "multi",
        1,
        "noscript loading stale fast allow_busy",
        multi_command,
        group="transactions",
        since="1.2.0",
        summary="Mark the start of a transaction block",
    ),
    Command(
        "exec",
        1,
        "noscript loading stale skip_slowlog",
        exec_command,
        group="transactions",
        since="1.2.0",
        summary="Execute all commands issued after MULTI",
        complexity="Depends on commands in the transaction",
    ),
    Command(
        "discard",
        1,
        "noscript loading stale fast allow_busy",
        discard_command,
        group="transactions",
        since="2.0.0",
        summary="Discard all commands issued after MULTI",
        complexity="O(N), when N is the number of queued commands",
    ),
    Command(
        "watch",
        -2,
        "noscript loading stale fast allow_busy",
        watch_command,
        (1, -1, 1),
        group="transactions",
        since="2.2.0",
        summary="Watch the given keys to determine execution of the MULTI/EXEC block",
        complexity="O(1) for every key.",
    ),
    Command(
        "unwatch",
        1,
        "noscript loading stale fast allow_busy",
        unwatch_command,
        group="transactions",
        since="2.2.0",
        summary="Forget about all watched keys",
    ),
]
