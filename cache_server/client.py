"""A client as commands see it: who asks, in which database, in which state.

The same class stands for a connection, for the leader's stream being applied, and for a log being
replayed; only a connection has a `channel`. Commands get it as their context `ctx`.

Invariants: `flags` changes only through the methods and commands that own the state behind the bit;
`queue` is a list exactly while MULTI is open.
"""

from __future__ import annotations

from typing import Any

# State bits of a client. Those in GATED take the checked way through the dispatcher.
MULTI = 1 << 0  # between MULTI and EXEC: commands are queued
UNAUTHENTICATED = 1 << 1
SUBSCRIBED = 1 << 2  # has subscriptions: RESP2 allows few commands then
REPLY_OFF = 1 << 3
REPLY_SKIP_NEXT = 1 << 4
REPLY_SKIP = 1 << 5
TRACKING = 1 << 6
FOLLOWER = 1 << 7  # a follower's link: we stream to it
LEADER = 1 << 8  # the leader's stream: its commands are applied here
MONITOR = 1 << 9
IN_EXEC = 1 << 10  # runs the queue of a transaction
DIRTY_CAS = 1 << 11  # a watched key changed
DIRTY_EXEC = 1 << 12  # a queued command was refused
NO_EVICT = 1 << 13
BLOCKED = 1 << 14  # waits for a key, WAIT or the end of a pause
CLOSE_AFTER_REPLY = 1 << 15
CLOSED = 1 << 16
REPLAY = 1 << 17  # a log or snapshot is being loaded through it
SCRIPT = 1 << 18
NO_TOUCH = 1 << 19
DENY_BLOCKING = 1 << 20  # in a transaction or a script: blocking commands do not block
RESTRICTED = 1 << 21  # its user may not do everything: each request is checked

GATED = (
    MULTI
    | UNAUTHENTICATED
    | SUBSCRIBED
    | REPLY_OFF
    | REPLY_SKIP_NEXT
    | REPLY_SKIP
    | TRACKING
    | FOLLOWER
    | LEADER
    | MONITOR
    | REPLAY
    | RESTRICTED
)

# Reasons why a channel does not take its next request (bits of `channel.stop`).
STOP_BLOCKED = 1
STOP_CLOSING = 2
STOP_CONGESTED = 4
STOP_PAUSED = 8
STOP_UNDURABLE = 16  # what it wrote is not yet on the disk, and its replies wait for that
STOP_TURN = 32  # it has had its turn, and others have theirs
STOP_HELD = 64  # a reply waits for followers to have its write


class Client:
    """The context of a command. `server` is the process's `Server`; `db` the selected database."""

    def __init__(self, server: Any, db: Any, client_id: int) -> None:
        self.server = server
        self.keyspace = db.keyspace
        self.config = server.config
        self.db = db
        self.id = client_id
        self.flags = 0
        self.channel: Any = None
        self.connection: Any = None
        self.name = b""
        #: An access.rules.User; None where nobody asks what it may do (the leader's stream).
        self.user: Any = None
        #: What the running command propagates instead of itself: None for "itself if anything
        #: changed", a list (may be empty) of commands otherwise.
        self.effects: list[list[bytes]] | None = None
        self.queue: list[Any] | None = None
        self.watching: list[tuple[Any, bytes]] = []
        self.blocked: Any = None
        self.subscriptions: Any = None
        self.created_ms = 0
        self.active_ms = 0
        self.last_command: Any = None
        self.write_offset = 0
        self.peer = ""
        self.local = ""
        self.role: Any = None
        #: Since when the unread output is beyond the soft limit, Unix ms; 0 for not.
        self.soft_limit_since_ms = 0

    @property
    def protocol(self) -> int:
        """2 or 3."""
        return 2 if self.channel is None else int(self.channel.writer.protocol)

    def propagate(self, *args: bytes) -> None:
        """Adds a command to what is propagated instead of the running command itself."""
        if self.effects is None:
            self.effects = []
        self.effects.append(list(args))

    def propagate_nothing(self) -> None:
        """Whatever the running command changes, it is not propagated."""
        if self.effects is None:
            self.effects = []

    def push(self, value: Any) -> None:
        """Sends a value outside of request and reply (a message, an unblocked client's reply)."""
        if self.channel is not None and not self.flags & CLOSED:
            self.channel.writer.write(value)
            self.channel.output_added()
