"""Who a client is: the default user's password, AUTH, HELLO's AUTH, ACL WHOAMI.

There is one user, `default`, whose password is `requirepass`; without one everybody is let in. A
client that came while there was no password stays in when one is set, as in Redis.
"""

from __future__ import annotations

import hmac
from typing import Any

from cache_server import client as states
from cache_server.errors import CommandError

DEFAULT_USER = b"default"
WRONG_PASSWORD = b"WRONGPASS invalid username-password pair or user is disabled."


def admit_unauthenticated(client: Any, password: str) -> None:
    """Marks a new client as not authenticated where a password is wanted."""
    if password:
        client.flags |= states.UNAUTHENTICATED
        client.channel.reader.authenticated = False


def admit(client: Any) -> None:
    """The client has shown who it is."""
    client.flags &= ~states.UNAUTHENTICATED
    client.channel.reader.authenticated = True


def authenticate(ctx: Any, user: bytes, password: bytes) -> None:
    """Lets the client in. Raises WRONGPASS, leaving it as it was."""
    wanted = ctx.config.requirepass.encode("utf-8", "surrogateescape")
    if user != DEFAULT_USER or (wanted and not hmac.compare_digest(wanted, password)):
        raise CommandError(WRONG_PASSWORD)
    if ctx.channel is not None:
        admit(ctx)


def password_changed(server: Any, password: str) -> None:
    """After CONFIG SET requirepass: without a password whoever waits for AUTH is let in."""
    if not password:
        for client in server.clients.values():
            if client.flags & states.UNAUTHENTICATED:
                admit(client)
