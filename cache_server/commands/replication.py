"""Replication commands: they read arguments and ask the server's `replication`, which decides.

Source: https://redis.io/docs/latest/operate/oss_and_stack/management/replication/ and the pages of
the commands; texts are those of redis-server 7.0.
"""

from __future__ import annotations

import logging
from typing import Any

from cache_server import client as states
from cache_server.commands.table import Command
from cache_server.errors import CommandError, not_an_integer, syntax_error
from cache_server.wire.replies import NO_REPLY, OK, Status
from replication import events as ev
from replication.follower_states import ROLE_WORDS

log = logging.getLogger("cache_server")

INT64_MAX = 2**63 - 1


def replicaof_command(ctx: Any, args: list[bytes]) -> Any:
    """REPLICAOF host port | NO ONE."""
    replication = ctx.server.replication
    if replication.failing_over:
        raise CommandError(b"ERR REPLICAOF not allowed while failing over.")
    if args[1].lower() == b"no" and args[2].lower() == b"one":
        if not replication.leading:
            replication.promote()
            log.info("MASTER MODE enabled (user request from 'id=%d addr=%s')", ctx.id, ctx.peer)
        return OK
    if ctx.flags & states.FOLLOWER:
        raise CommandError(b"ERR Command is not valid when client is a replica.")
    port = _port(args[2], b"ERR Invalid master port")
    if ctx.server.lease.outdated(ctx):
        raise CommandError(
            b"ERR this node leads epoch %d: the order is older" % ctx.server.lease.epoch
        )
    host = args[1].decode("utf-8", "surrogateescape")
    follower = replication.follower
    if not replication.leading and (follower.host.lower(), follower.port) == (host.lower(), port):
        log.info(
            "REPLICAOF would result into synchronization with the master we are already "
            "connected with. No operation performed."
        )
        return Status(b"OK Already connected to specified master")
    replication.follow(host, port)
    log.info(
        "REPLICAOF %s:%d enabled (user request from 'id=%d addr=%s')", host, port, ctx.id, ctx.peer
    )
    return OK


def sync_command(ctx: Any, args: list[bytes]) -> Any:
    """SYNC, and PSYNC replid offset [FAILOVER]."""
    if ctx.flags & states.FOLLOWER:
        return NO_REPLY
    if ctx.channel is None or ctx.connection.output_bytes:
        raise CommandError(b"ERR SYNC and PSYNC are invalid with pending output")
    address = ctx.peer.rpartition(":")[0].strip("[]")
    replication = ctx.server.replication
    if args[0].lower() == b"sync":
        return replication.serving.request(ctx, ev.SyncReceived(ctx.id, address))
    try:
        wanted = _integer(args[2])
    except CommandError:
        log.warning("Replica %s asks for synchronization but with a wrong offset", address)
        raise
    handover = len(args) > 3 and args[3].lower() == b"failover"
    replid = args[1].decode("latin-1")
    event = ev.PsyncReceived(ctx.id, address, replid, wanted, handover)
    return replication.serving.request(ctx, event)


def replconf_command(ctx: Any, args: list[bytes]) -> Any:
    """REPLCONF name value ...: a follower's handshake and its acknowledgements."""
    if len(args) % 2 == 0:
        raise syntax_error()
    name = args[1].lower() if len(args) > 1 else b""
    replication = ctx.server.replication
    if name == b"ack":
        if ctx.flags & states.FOLLOWER:
            _acknowledged(ctx, args)
        return NO_REPLY
    if name == b"resend":
        if ctx.flags & states.FOLLOWER:
            _resend(ctx, args)
        return NO_REPLY
    if name in (b"synced", b"resend-snapshot"):
        if ctx.flags & states.FOLLOWER:
            _syncing(ctx, args)
        return NO_REPLY
    if name == b"verify":
        if ctx.flags & states.FOLLOWER:
            replication.verification.answered(ctx, args[2])
        return NO_REPLY
    if name == b"values":
        if ctx.flags & states.FOLLOWER:
            replication.keys_asked(ctx, args[2])
        return NO_REPLY
    if name == b"getack":
        return NO_REPLY
    options = tuple(zip(args[1::2], args[2::2]))
    return replication.serving.request(ctx, ev.ReplconfReceived(ctx.id, options))


def _acknowledged(ctx: Any, args: list[bytes]) -> None:
    """REPLCONF ACK offset [FACK offset] [HISTORY checksum]. What makes no sense is passed over."""
    values = {args[at].lower(): args[at + 1] for at in range(1, len(args), 2)}
    position = _digits(values[b"ack"], 10)
    if position is not None:
        logged, checksum = values.get(b"fack"), values.get(b"history")
        ctx.server.replication.tell(
            ev.AckReceived(
                ctx.id,
                position,
                None if logged is None else _digits(logged, 10),
                None if checksum is None else _digits(checksum, 16),
            )
        )


def _syncing(ctx: Any, args: list[bytes]) -> None:
    """REPLCONF SYNCED bytes STREAM position ROOM 0|1, and RESEND-SNAPSHOT start END end: one of
    ours in a full sync. What makes no sense is passed over."""
    numbers = [-1 if arg == b"-1" else _digits(arg, 10) for arg in args[2::2]]
    if args[1].lower() == b"synced" and len(numbers) == 3:
        done, position, room = numbers
        if done is not None and position is not None and min(done, position) >= 0:
            ctx.server.replication.tell(ev.SyncedReceived(ctx.id, done, position, room == 1))
    elif len(numbers) == 2:
        start, end = numbers
        if start is not None and end is not None and start >= 0:
            ctx.server.replication.tell(ev.ResendSnapshotReceived(ctx.id, start, end))


def _resend(ctx: Any, args: list[bytes]) -> None:
    """REPLCONF RESEND start END end, where -1 is everything sent."""
    start, end = _digits(args[2], 10), -1
    if len(args) > 4 and args[4] != b"-1":
        number = _digits(args[4], 10)
        start, end = (None, 0) if number is None else (start, number)
    if start is not None:
        ctx.server.replication.tell(ev.ResendReceived(ctx.id, start, end))


def wait_command(ctx: Any, args: list[bytes]) -> Any:
    """WAIT numreplicas timeout."""
    replication = ctx.server.replication
    if not replication.leading:
        raise CommandError(
            b"ERR WAIT cannot be used with replica instances. Please also note that since Redis "
            b"4.0 if a replica is configured to be writable (which is not the default) writes to "
            b"replicas are just local and are not propagated."
        )
    count = _integer(args[1])
    timeout_ms = _integer(args[2], b"ERR timeout is not an integer or out of range")
    if timeout_ms < 0:
        raise CommandError(b"ERR timeout is negative")
    return replication.serving.wait(ctx, count, timeout_ms)


def role_command(ctx: Any, args: list[bytes]) -> Any:
    """ROLE."""
    replication = ctx.server.replication
    leader, follower = replication.leader, replication.follower
    if replication.leading:
        followers = [
            [p.host.encode(), b"%d" % p.listening_port, b"%d" % p.acked_position]
            for p in leader.attached
            if p.online
        ]
        return [b"master", leader.backlog.end, followers]
    state = b"sync" if follower.rewind.active else ROLE_WORDS[follower.state].encode()
    position = follower.position if follower.connected else -1
    return [b"slave", follower.host.encode(), follower.port, state, position]


def failover_command(ctx: Any, args: list[bytes]) -> Any:
    """FAILOVER [TO host port [FORCE]] [ABORT] [TIMEOUT milliseconds]."""
    replication = ctx.server.replication
    if len(args) == 2 and args[1].lower() == b"abort":
        replication.abort_failover()
        return OK
    target: tuple[str, int] | None = None
    timeout_ms: int | None = None
    force = False
    at = 1
    while at < len(args):
        word, left = args[at].lower(), len(args) - at - 1
        if word == b"timeout" and left >= 1 and timeout_ms is None:
            timeout_ms = _integer(args[at + 1])
            if timeout_ms <= 0:
                raise CommandError(b"ERR FAILOVER timeout must be greater than 0")
            at += 2
        elif word == b"to" and left >= 2 and target is None:
            target = (args[at + 1].decode("utf-8", "surrogateescape"), _integer(args[at + 2]))
            at += 3
        elif word == b"force" and not force:
            force = True
            at += 1
        else:
            raise syntax_error()
    replication.start_failover(ev.FailoverRequested(target, force, timeout_ms))
    return OK


# -- arguments -----------------------------------------------------------------------------------


def _integer(word: bytes, error: bytes = b"") -> int:
    digits = word.removeprefix(b"-")
    if not digits.isdigit() or len(digits) > 19 or (digits[:1] == b"0" and word != b"0"):
        raise CommandError(error) if error else not_an_integer()
    value = int(word)
    if not -INT64_MAX - 1 <= value <= INT64_MAX:
        raise CommandError(error) if error else not_an_integer()
    return value


def _port(word: bytes, error: bytes) -> int:
    port = _integer(word, error)
    if not 0 <= port <= 65535:
        raise CommandError(error)
    return port


def _digits(word: bytes, base: int) -> int | None:
    """A number of at most 64 bits, or None."""
    if not 0 < len(word) <= 20 or word.strip(b"0123456789abcdef"[:base]):
        return None
    number = int(word, base)
    return number if number < 1 << 64 else None


_REPLICAOF_SUMMARY = "Make the server a replica of another instance, or promote it as master."

COMMANDS: list[Command] = [
    Command(
        "replicaof",
        3,
        "admin noscript stale no_async_loading",
        replicaof_command,
        group="server",
        since="5.0.0",
        summary=_REPLICAOF_SUMMARY,
    ),
    Command(
        "slaveof",
        3,
        "admin noscript stale no_async_loading",
        replicaof_command,
        group="server",
        since="1.0.0",
        summary=_REPLICAOF_SUMMARY,
    ),
    Command(
        "sync",
        1,
        "admin noscript no_async_loading no_multi",
        sync_command,
        group="server",
        since="1.0.0",
        summary="Internal command used for replication",
        complexity="",
    ),
    Command(
        "psync",
        -3,
        "admin noscript no_async_loading no_multi",
        sync_command,
        group="server",
        since="2.8.0",
        summary="Internal command used for replication",
        complexity="",
    ),
    Command(
        "replconf",
        -1,
        "admin noscript loading stale allow_busy",
        replconf_command,
        group="server",
        since="3.0.0",
        summary="An internal command for configuring the replication stream",
    ),
    Command(
        "wait",
        3,
        "noscript",
        wait_command,
        group="generic",
        categories="connection",
        since="3.0.0",
        summary="Wait for the synchronous replication of all the write commands sent in the "
        "context of the current connection",
    ),
    Command(
        "role",
        1,
        "noscript loading stale fast",
        role_command,
        group="server",
        since="2.8.12",
        summary="Return the role of the instance in the context of replication",
        categories="admin dangerous",
    ),
    Command(
        "failover",
        -1,
        "admin noscript stale",
        failover_command,
        group="server",
        since="6.2.0",
        summary="Start a coordinated failover between this server and one of its replicas.",
    ),
]
