"""LEASE: how sentinels lend a leader the right to write, and tell a node what the register says.

    LEASE RENEW <name> <sentinel id> <members> <epoch> <leader id> <host> <port> <token or ->
    LEASE EPOCH <name> <epoch> <leader id> <host> <port>
    LEASE POLL <as RENEW>        where an external store keeps the lease: what does the leader want?
    LEASE READ <name>            the external store holds something new
    LEASE FORGET                 no sentinel manages this node any more: writes need no lease

Source: docs/failover.md; the forms are `replication.failover.messages`.
"""

from __future__ import annotations

from typing import Any

from cache_server.commands.table import Command
from cache_server.errors import CommandError
from cache_server.wire.replies import OK
from replication.failover.events import WireError


def lease_command(ctx: Any, args: list[bytes]) -> Any:
    answer = ctx.server.lease.ask(args[1:])
    if isinstance(answer, WireError):
        raise CommandError(answer.text)
    if answer == b"OK":
        return OK
    return list(answer) if isinstance(answer, tuple) else answer


COMMANDS: list[Command] = [
    Command(
        "lease",
        -2,
        "admin noscript stale no_multi fast",
        lease_command,
        group="server",
        since="7.0.0",
        summary="Renews a leader's right to write, or says who leads (sent by sentinels)",
    ),
]
