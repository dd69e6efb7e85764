"""Client-side caching: which clients may hold a copy of which keys, and telling them to drop it.

Problem: a client that keeps what it read must learn when it changed, and those who do not ask for
that must not pay for it.

Idea: a client with tracking has the TRACKING state, so only its requests take the checked way, and
what they read is noted here. Changes are learnt from keyspace events: while anybody tracks, every
class of events is asked for, and the events go on to pub/sub where its setting asks for them.

    table      key -> id of the one client that read it, or a set of ids; gone with the message
    prefixes   prefix -> clients (BCAST), and the keys changed in this turn of the loop

A message about a client's own command follows its reply; any other goes at once, those of BCAST
once a turn. Key names are those of all databases together, as in Redis.

Invariants: a client has the TRACKING state exactly while it is in `clients`; the keyspace's events
come here exactly while `clients` is not empty; `items` is the number of ids in `table`.

Source: https://redis.io/docs/latest/develop/reference/client-side-caching/.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cache_server import client as states
from cache_server.commands.subscriptions import encoded
from cache_server.commands.table import PUBSUB, READONLY, Command
from cache_server.errors import CommandError
from cache_server.keyspace import database as events
from cache_server.structures.table import Table
from cache_server.wire.replies import NO_REPLY, Push, Raw

CHANNEL = b"__redis__:invalidate"
#: Keys given up in one go when there are more than tracking-table-max-keys.
_EVICTED_TOGETHER = 100
#: What is no change of a key.
_NO_CHANGE = events.NOTIFY_KEY_MISS | events.NOTIFY_NEW
_ALL_CLASSES = (
    events.NOTIFY_GENERIC
    | events.NOTIFY_STRING
    | events.NOTIFY_LIST
    | events.NOTIFY_SET
    | events.NOTIFY_HASH
    | events.NOTIFY_ZSET
    | events.NOTIFY_EXPIRED
    | events.NOTIFY_EVICTED
    | events.NOTIFY_STREAM
    | events.NOTIFY_MODULE
)
_BY_NOBODY = events.NOTIFY_EXPIRED | events.NOTIFY_EVICTED


class TrackingState:
    """How one client tracks. `redirect` is the id of who gets its messages, 0 for itself."""

    def __init__(self, redirect: int, options: frozenset[bytes]) -> None:
        self.redirect = redirect
        self.options = options
        self.prefixes: dict[bytes, None] = {}
        #: CLIENT CACHING was called for the next command or transaction.
        self.caching = False
        self.broken = False

    @property
    def broadcast(self) -> bool:
        return b"bcast" in self.options

    @property
    def noloop(self) -> bool:
        return b"noloop" in self.options

    def remembers(self) -> bool:
        """Whether what is read now is to be remembered."""
        if b"optin" in self.options:
            return self.caching
        return not (b"optout" in self.options and self.caching)

    def flags(self) -> list[bytes]:
        """As CLIENT TRACKINGINFO shows them."""
        shown = [b"on"]
        for option, caching in ((b"bcast", b""), (b"optin", b"yes"), (b"optout", b"no")):
            if option in self.options:
                shown.append(option)
                if caching and self.caching:
                    shown.append(b"caching-" + caching)
        if self.noloop:
            shown.append(b"noloop")
        if self.broken:
            shown.append(b"broken_redirect")
        return shown


class _Prefix:
    """Clients that hear of all keys with a prefix, and the keys changed in this turn, each with
    the tracking client that changed it last (None for anybody else)."""

    def __init__(self) -> None:
        self.clients: dict[Any, None] = {}
        self.keys: dict[bytes, Any] = {}


class Tracking:
    """All tracking of the server. `publish` is where keyspace events go besides."""

    def __init__(self, server: Any, publish: Callable[[int, bytes, bytes, int], None]) -> None:
        self.server = server
        self.keyspace = server.keyspace
        self.clients: dict[Any, TrackingState] = {}
        self.table = Table()
        self.items = 0
        self.prefixes: dict[bytes, _Prefix] = {}
        self._publish = publish
        self._wanted = 0
        #: Clients whose command runs, the innermost last, and the messages that wait for its end.
        self._running: dict[Any, list[list[bytes] | None]] = {}
        self._current: Any = None
        #: The request that each of them is in: a transaction's own, one after the other.
        self._requests: dict[Any, tuple[Command, list[bytes]]] = {}
        self._broadcast_due = False
        self._limit_due = False
        server.config.on_change["tracking-table-max-keys"] = self._limit_changed

    # -- keyspace events -----------------------------------------------------------------------

    def events_wanted(self, flags: int) -> None:
        """notify-keyspace-events was set."""
        self._wanted = flags
        self._route_events()

    def _route_events(self) -> None:
        if self.clients:
            self.keyspace.notify_flags = self._wanted | _ALL_CLASSES
            self.keyspace.on_notify = self._notified
        else:
            self.keyspace.notify_flags = self._wanted
            self.keyspace.on_notify = self._publish

    def _notified(self, kind: int, event: bytes, key: bytes, db_index: int) -> None:
        if not kind & _NO_CHANGE:
            if self.prefixes:
                self._remember_change(key, None if kind & _BY_NOBODY else self._current)
            self._invalidate(key, self._current)
        if kind & self._wanted:
            self._publish(kind, event, key, db_index)

    # -- who tracks ----------------------------------------------------------------------------

    def begin(
        self, client: Any, redirect: int, options: frozenset[bytes], prefixes: list[bytes]
    ) -> None:
        """CLIENT TRACKING ON, its options checked; prefixes are added to those there are."""
        old = self.clients.get(client)
        state = TrackingState(redirect, options)
        if old is not None:
            state.prefixes, state.caching = old.prefixes, old.caching
        self.clients[client] = state
        client.flags |= states.TRACKING
        if state.broadcast:
            for prefix in prefixes or [b""]:
                self.prefixes.setdefault(prefix, _Prefix()).clients[client] = None
                state.prefixes[prefix] = None
        self._route_events()

    def end(self, client: Any) -> None:
        """The client tracks no more, or is gone. What it read is forgotten with its next change."""
        state = self.clients.pop(client, None)
        if state is None:
            return
        client.flags &= ~states.TRACKING
        for prefix in state.prefixes:
            listed = self.prefixes[prefix]
            del listed.clients[client]
            if not listed.clients:
                del self.prefixes[prefix]
        if not self.clients:
            self._forget_keys()
        self._route_events()

    def check_prefixes(self, client: Any, prefixes: list[bytes]) -> None:
        """Raises CommandError where two prefixes of one client would name the same key twice."""
        state = self.clients.get(client)
        for index, prefix in enumerate(prefixes):
            for known in () if state is None else state.prefixes:
                _check_overlap(prefix, known, b"an existing")
            for other in prefixes[index + 1 :]:
                _check_overlap(prefix, other, b"another provided")

    # -- reading -------------------------------------------------------------------------------

    def run(self, client: Any, cmd: Command, args: list[bytes]) -> Any:
        """Calls a command of a client that tracks; the messages it causes follow the reply."""
        self._keep_limit()
        waiting: list[list[bytes] | None] = []
        outer, self._current = self._current, client
        self._running[client] = waiting
        try:
            value = self.call(client, cmd, args)
        finally:
            self._current = outer
            del self._running[client]
            self._requests.pop(client, None)
        state = self.clients.get(client)
        if state is not None and not client.flags & states.MULTI and cmd.container != "client":
            state.caching = False
        return self._after_reply(client, value, waiting) if waiting else value

    def call(self, client: Any, cmd: Command, args: list[bytes]) -> Any:
        """Calls a command, of a transaction too, and notes the keys that it read."""
        self._requests[client] = (cmd, args)
        value = self.server.dispatcher.call(client, cmd, args)
        if cmd.flags & READONLY and not cmd.flags & PUBSUB and cmd.group != "scripting":
            self._remember(client, cmd, args)
        return value

    def script_read(self, caller: Any) -> None:
        """A script that the client runs has read something: that may be any of its keys."""
        if caller in self._requests:
            self._remember(caller, *self._requests[caller])

    def _remember(self, client: Any, cmd: Command, args: list[bytes]) -> None:
        state = self.clients.get(client)
        if state is None or state.broadcast or not state.remembers():
            return
        try:
            positions = cmd.key_positions(args)
        except CommandError:
            return  # a request whose keys cannot be told has been answered by an error
        for position in positions:
            self._note(args[position], client.id)

    def _note(self, key: bytes, client_id: int) -> None:
        known = self.table.get(key)
        if known is None:
            self.table.set(key, client_id)
        elif type(known) is set:
            if client_id in known:
                return
            known.add(client_id)
        elif known == client_id:
            return
        else:
            self.table.set(key, {known, client_id})
        self.items += 1

    # -- telling -------------------------------------------------------------------------------

    def _invalidate(self, key: bytes, by: Any) -> None:
        """Tells all who may hold the key, and forgets who they are. `by` is whose command it is
        that changed the key, where it did change."""
        known = self.table.pop(key)
        if known is None:
            return
        ids = known if type(known) is set else (known,)
        self.items -= len(ids)
        for client_id in sorted(ids):
            client = self.server.clients.get(client_id)
            state = self.clients.get(client)
            if state is None or state.broadcast or (state.noloop and client is by):
                continue
            self._tell(client, [key])

    def _tell(self, client: Any, keys: list[bytes] | None) -> None:
        waiting = self._running.get(client)
        if waiting is not None:
            waiting.append(keys)
        else:
            self._send(client, keys)

    def _send(self, client: Any, keys: list[bytes] | None) -> None:
        state = self.clients[client]
        target = client
        if state.redirect:
            target = self.server.clients.get(state.redirect)
            if target is None or target.flags & (states.CLOSED | states.CLOSE_AFTER_REPLY):
                state.broken = True
                if client.protocol == 3:
                    client.push(Push([b"tracking-redir-broken", state.redirect]))
                return
        if target.protocol == 3:
            target.push(Push([b"invalidate", keys]))
        elif state.redirect and target.flags & states.SUBSCRIBED:
            target.push(Push([b"message", CHANNEL, keys]))

    def _after_reply(self, client: Any, value: Any, waiting: list[list[bytes] | None]) -> Any:
        state = self.clients.get(client)
        if state is None:
            return value
        muted = client.flags & (states.REPLY_OFF | states.REPLY_SKIP) or value is NO_REPLY
        if muted or state.redirect or client.protocol != 3:
            for keys in waiting:
                self._send(client, keys)
            return value
        pushes = [encoded(Push([b"invalidate", keys]), 3) for keys in waiting]
        return Raw(encoded(value, 3) + b"".join(pushes))

    # -- broadcasting --------------------------------------------------------------------------

    def _remember_change(self, key: bytes, by: Any) -> None:
        for prefix, listed in self.prefixes.items():
            if key.startswith(prefix):
                listed.keys[key] = by
                if not self._broadcast_due:
                    self._broadcast_due = True
                    self.server.loop.call_soon(self._broadcast)

    def _broadcast(self) -> None:
        self._broadcast_due = False
        for listed in list(self.prefixes.values()):
            keys, listed.keys = listed.keys, {}
            if not keys:
                continue
            for client in list(listed.clients):
                own = self.clients[client].noloop
                chosen = [key for key, by in keys.items() if not (own and by is client)]
                if chosen:
                    self._tell(client, chosen)

    # -- all keys, too many keys ---------------------------------------------------------------

    def data_flushed(self) -> None:
        """All keys of a database are gone: everybody drops everything."""
        if not self.clients:
            return
        for client in list(self.clients):
            self._tell(client, None)
        self._forget_keys()

    def _forget_keys(self) -> None:
        self.table = Table()
        self.items = 0

    def cron(self, _now_ms: int) -> None:
        """Keeps to the limit."""
        self._keep_limit()

    async def start(self) -> None:
        """Nothing to be started."""

    async def stop(self) -> None:
        """Nothing to be stopped."""

    def _limit_changed(self, _limit: int) -> None:
        self._keep_limit()

    def _keep_limit(self) -> None:
        """Gives up a few keys where there are too many; the rest in the next turns of the loop."""
        limit: int = self.server.config.tracking_table_max_keys
        if not limit or len(self.table) <= limit:
            return
        for _ in range(min(_EVICTED_TOGETHER, len(self.table) - limit)):
            key = self.table.random_key(self.keyspace.rng)
            assert key is not None
            self._invalidate(key, None)
        if len(self.table) > limit and not self._limit_due:
            self._limit_due = True
            self.server.loop.call_soon(self._go_on_limiting)

    def _go_on_limiting(self) -> None:
        self._limit_due = False
        self._keep_limit()


def _check_overlap(prefix: bytes, other: bytes, which: bytes) -> None:
    if prefix.startswith(other) or other.startswith(prefix):
        raise CommandError(
            b"ERR Prefix '%b' overlaps with %b prefix '%b'. Prefixes for a single client must not "
            b"overlap." % (prefix, which, other)
        )
