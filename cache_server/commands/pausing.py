"""CLIENT PAUSE and its like: requests that wait until a time, or until the pause is ended.

Several purposes may pause at once (a client's command, a shutdown, a failover); requests wait while
any of them lasts. A request that has to wait is kept with its client, whose channel is stopped, and
is executed from the start when the pause ends: every check is made again then.

A client's pause holds the stream of our leader too; a failover's does not: who handed over follows.

While anything is paused the data must not change by itself: keys are hidden when they expire, not
deleted.

Invariant: the dispatcher's GATE_PAUSED is up exactly while a purpose is active; a client is stopped
with STOP_PAUSED exactly while it has a request here.
"""

from __future__ import annotations

from typing import Any

from cache_server import client as states
from cache_server.commands.dispatch import GATE_PAUSED
from cache_server.commands.table import MAY_REPLICATE, WRITE, Command
from cache_server.commands.transactions import queue_replicates
from cache_server.keyspace.database import EXPIRE_DELETE, EXPIRE_HIDE
from replication.failover.messages import HELLO_CHANNEL

# Purposes. Each may be active once.
BY_CLIENT = "client"
BY_SHUTDOWN = "shutdown"
BY_FAILOVER = "failover"


def is_hello(client: Any, args: list[bytes]) -> bool:
    """Whether a PUBLISH is a sentinel's hello. It never waits: what the sentinel asks next on that
    connection is how a failover goes on. Nor does it go into the stream, whose end stands still
    then: sentinels tell followers themselves."""
    return args[1] == HELLO_CHANNEL and bool(client.name.startswith(b"sentinel-"))


class Pauses:
    """The active pauses, and the requests that wait for their end."""

    def __init__(self, server: Any) -> None:
        self.server = server
        #: purpose -> (end in Unix ms, all commands or only those that may write)
        self.active: dict[str, tuple[int, bool]] = {}
        self.waiting: dict[Any, tuple[Command, list[bytes]]] = {}
        self._timer: Any = None
        self._hid_expired = False

    @property
    def everything(self) -> bool:
        """Whether reads wait as well."""
        return any(everything for _, everything in self.active.values())

    def pause(self, purpose: str, end_ms: int, everything: bool) -> None:
        """Pauses until `end_ms`. A pause of the same purpose is made longer or stricter, never
        less."""
        old_end, old_everything = self.active.get(purpose, (0, False))
        if purpose == BY_CLIENT:
            end_ms, everything = max(end_ms, old_end), everything or old_everything
        self.active[purpose] = (end_ms, everything)
        keyspace = self.server.keyspace
        if keyspace.expire_mode == EXPIRE_DELETE:
            keyspace.expire_mode = EXPIRE_HIDE
            self._hid_expired = True
        self.server.dispatcher.gates |= GATE_PAUSED
        if purpose == BY_CLIENT:
            self.server.replication.following.pause(True)
        self._set_timer()

    def end(self, purpose: str) -> None:
        """Ends a pause; with the last one the waiting requests are executed."""
        self.active.pop(purpose, None)
        if purpose == BY_CLIENT:
            self.server.replication.following.pause(False)
        self._set_timer()
        if self.active:
            return
        self.server.dispatcher.gates &= ~GATE_PAUSED
        if self._hid_expired:
            self._hid_expired = False
            # Unless it has become a follower in between, which hides for good.
            if not self.server.config.replicaof:
                self.server.keyspace.expire_mode = EXPIRE_DELETE
        waiting, self.waiting = self.waiting, {}
        for client, (_, args) in waiting.items():
            self._execute(client, args)

    def forget(self, client: Any) -> None:
        """The client is gone."""
        self.waiting.pop(client, None)

    def postpone(self, client: Any, cmd: Command, args: list[bytes], writes: bool) -> bool:
        """True when the request has to wait: it is kept."""
        if (
            client.flags & states.FOLLOWER
            or client.channel is None
            or client.flags & states.IN_EXEC
        ):
            return False
        if not self.everything:
            replicates = writes or bool(
                self.server.dispatcher.flags_of(cmd, args) & (WRITE | MAY_REPLICATE)
            )
            if cmd.name == "exec" and client.queue is not None:
                replicates = queue_replicates(client)
            if not replicates or (cmd.name == "publish" and is_hello(client, args)):
                return False
        self.waiting[client] = (cmd, args)
        client.flags |= states.BLOCKED
        client.channel.stop |= states.STOP_PAUSED
        return True

    def _execute(self, client: Any, args: list[bytes]) -> None:
        client.flags &= ~states.BLOCKED
        client.channel.stop &= ~states.STOP_PAUSED
        dispatcher = self.server.dispatcher
        dispatcher.begin_pass()
        client.push(dispatcher.execute(client, args))
        client.connection.resume()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.active:
            first = min(end for end, _ in self.active.values())
            delay = max(0, first - self.server.now_ms()) / 1000
            self._timer = self.server.loop.call_later(delay, self._expired)

    def _expired(self) -> None:
        now = self.server.now_ms()
        self._timer = None
        for purpose in [name for name, (end, _) in self.active.items() if end <= now]:
            self.end(purpose)
        if self.active:
            self._set_timer()
