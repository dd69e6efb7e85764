"""One client as a line of CLIENT LIST, and the classes that clients fall into.

Source: https://redis.io/docs/latest/commands/client-list/.
"""

from __future__ import annotations

from typing import Any

from cache_server import client as states

#: Letters of the `flags` field, in Redis's order.
_FLAG_LETTERS = (
    (states.LEADER, "M"),
    (states.SUBSCRIBED, "P"),
    (states.MULTI, "x"),
    (states.BLOCKED, "b"),
    (states.TRACKING, "t"),
    (states.DIRTY_CAS, "d"),
    (states.CLOSE_AFTER_REPLY, "c"),
    (states.CLOSED, "A"),
)
#: What a client costs beside its buffers, in bytes: its objects as the interpreter counts them.
CLIENT_BYTES = 2048
#: A name that is kept for a client, beyond its letters: its object, its places in two tables.
NAME_BYTES = 160


def client_class(client: Any) -> str:
    """normal, master, slave or pubsub: CLIENT KILL TYPE, and the output limits."""
    if client.flags & states.LEADER:
        return "master"
    if client.flags & states.FOLLOWER and not client.flags & states.MONITOR:
        return "slave"
    return "pubsub" if client.flags & states.SUBSCRIBED else "normal"


def class_named(word: bytes) -> str | None:
    """The class for a word of a command, replica and slave being one; None for no class."""
    name = word.lower().decode("latin-1")
    name = "slave" if name == "replica" else name
    return name if name in ("normal", "master", "slave", "pubsub") else None


def letters(client: Any) -> str:
    """The `flags` field."""
    shown = ""
    if client.flags & (states.FOLLOWER | states.MONITOR):
        shown += "O" if client.flags & states.MONITOR else "S"
    shown += "".join(letter for bit, letter in _FLAG_LETTERS if client.flags & bit)
    if client.flags & states.TRACKING:
        state = client.server.tracking.clients[client]
        shown += "R" * state.broken + "B" * state.broadcast
    if client.peer.startswith("/"):
        shown += "U"
    if client.flags & states.NO_EVICT:
        shown += "e"
    return shown or "N"


def redirect(client: Any) -> int:
    """Whose id the client's tracking messages go to: 0 is itself, -1 without tracking."""
    if not client.flags & states.TRACKING:
        return -1
    return int(client.server.tracking.clients[client].redirect)


def queued_bytes(client: Any) -> int:
    """Arguments queued by MULTI."""
    if client.queue is None:
        return 0
    return sum(len(arg) for _, args in client.queue for arg in args)


def named_bytes(client: Any) -> int:
    """Names that the server keeps for the client: watched keys, subscriptions, prefixes."""
    names = [key for _, key in client.watching]
    own = client.subscriptions
    if own is not None:
        names += [*own.channels, *own.patterns, *own.shards]
    if client.flags & states.TRACKING:
        names += client.server.tracking.clients[client].prefixes
    return sum(map(len, names)) + NAME_BYTES * len(names)


def buffers_bytes(client: Any) -> int:
    """What the client holds but for queued commands and names: buffers in and out, its objects."""
    if client.channel is None:
        return CLIENT_BYTES
    reader = client.channel.reader
    return CLIENT_BYTES + int(reader.capacity_bytes) + int(client.connection.output_bytes)


def memory_bytes(client: Any) -> int:
    """All that the client holds."""
    return buffers_bytes(client) + queued_bytes(client) + named_bytes(client)


def request_bytes(args: list[bytes]) -> int:
    """The length of a request as it came over the wire."""
    lengths = [len(args), *map(len, args)]
    return sum(3 + len(str(length)) for length in lengths) + sum(len(arg) + 2 for arg in args)


def describe(client: Any, now_ms: int, running: list[bytes] | None = None) -> str:
    """The line, without its end. `running`: the request that the client is in, which its buffer has
    given away but which counts as part of it."""
    channel, connection = client.channel, client.connection
    own = client.subscriptions
    buffered = channel.reader.buffered_bytes + (request_bytes(running) if running else 0)
    output = connection.output_bytes
    command = client.last_command
    fields = {
        "id": client.id,
        "addr": client.peer,
        "laddr": client.local,
        "fd": channel.fd,
        "name": client.name.decode("latin-1"),
        "age": max(0, now_ms - client.created_ms) // 1000,
        "idle": max(0, now_ms - client.active_ms) // 1000,
        "flags": letters(client),
        "db": client.db.index,
        "sub": 0 if own is None else len(own.channels),
        "psub": 0 if own is None else len(own.patterns),
        "ssub": 0 if own is None else len(own.shards),
        "multi": -1 if client.queue is None else len(client.queue),
        "qbuf": buffered,
        "qbuf-free": max(0, channel.reader.capacity_bytes - buffered),
        "argv-mem": sum(map(len, running)) if running else 0,
        "multi-mem": queued_bytes(client),
        "rbs": 0,
        "rbp": 0,
        "obl": len(channel.writer),
        "oll": 1 if output > len(channel.writer) else 0,
        "omem": max(0, output - len(channel.writer)),
        "tot-mem": memory_bytes(client) + (request_bytes(running) if running else 0),
        "events": "rw" if channel.queued else "r",
        "cmd": "NULL" if command is None else command.full_name,
        "user": "(superuser)" if client.user is None else client.user.name.decode("latin-1"),
        "redir": redirect(client),
        "resp": client.protocol,
    }
    return " ".join(f"{name}={value}" for name, value in fields.items())
