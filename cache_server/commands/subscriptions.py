"""Who is subscribed to what, and the delivery of messages.

A message is encoded once per protocol version and form, however many receive it. Channels, patterns
and shard channels are three registries of the same shape: name -> clients in order of subscription.

Invariant: a client is under a name in a registry exactly when the name is in the client's own set
of that registry; a client has the SUBSCRIBED state exactly while any of its sets is non-empty.

Source: https://redis.io/docs/latest/develop/interact/pubsub/.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cache_server import client as states
from cache_server.keyspace import database as events
from cache_server.structures.glob import matcher
from cache_server.wire import ReplyWriter
from cache_server.wire.replies import Push

#: Letters of notify-keyspace-events and the classes that they stand for.
EVENT_LETTERS = {
    "K": events.NOTIFY_KEYSPACE,
    "E": events.NOTIFY_KEYEVENT,
    "g": events.NOTIFY_GENERIC,
    "$": events.NOTIFY_STRING,
    "l": events.NOTIFY_LIST,
    "s": events.NOTIFY_SET,
    "h": events.NOTIFY_HASH,
    "z": events.NOTIFY_ZSET,
    "x": events.NOTIFY_EXPIRED,
    "e": events.NOTIFY_EVICTED,
    "t": events.NOTIFY_STREAM,
    "m": events.NOTIFY_KEY_MISS,
    "d": events.NOTIFY_MODULE,
    "n": events.NOTIFY_NEW,
}
_CHANNEL_CLASSES = events.NOTIFY_KEYSPACE | events.NOTIFY_KEYEVENT


def notify_flags(letters: str) -> int:
    """The classes for notify-keyspace-events; 0 where no channel is asked for."""
    letters = letters.replace("A", "g$lshzxetd")
    flags = 0
    for letter in letters:
        flags |= EVENT_LETTERS[letter]
    return flags if flags & _CHANNEL_CLASSES else 0


def encoded(value: Any, protocol: int) -> bytes:
    """A reply's bytes in a protocol version."""
    writer = ReplyWriter()
    writer.protocol = protocol
    writer.write(value)
    return writer.take()


class Message:
    """A push that many clients get: encoded when the first of each protocol version asks."""

    def __init__(self, *parts: bytes) -> None:
        self.value = Push(parts)
        self.resp2: bytes | None = None
        self.resp3: bytes | None = None

    def encoded(self, protocol: int) -> bytes:
        """The bytes for a client of that version."""
        if protocol == 2:
            if self.resp2 is None:
                self.resp2 = encoded(self.value, 2)
            return self.resp2
        if self.resp3 is None:
            self.resp3 = encoded(self.value, 3)
        return self.resp3


def deliver(message: Message, clients: dict[Any, None]) -> int:
    """Hands the message to each client; returns how many there are."""
    for client in clients:
        if not client.flags & states.CLOSED:
            channel = client.channel
            channel.add(message.encoded(channel.writer.protocol))
    return len(clients)


class Subscriptions:
    """One client's: names in order of subscription."""

    def __init__(self) -> None:
        self.channels: dict[bytes, None] = {}
        self.patterns: dict[bytes, None] = {}
        self.shards: dict[bytes, None] = {}

    def __len__(self) -> int:
        return len(self.channels) + len(self.patterns) + len(self.shards)


class Hub:
    """All subscriptions of the server."""

    def __init__(self) -> None:
        self.channels: dict[bytes, dict[Any, None]] = {}
        self.patterns: dict[bytes, dict[Any, None]] = {}
        self.shards: dict[bytes, dict[Any, None]] = {}
        self._matchers: dict[bytes, Callable[[bytes], object]] = {}

    # -- subscribing ---------------------------------------------------------------------------

    def add(self, client: Any, kind: str, name: bytes) -> int:
        """Subscribes; returns the count that the reply shows. `kind` is a registry's name."""
        if client.subscriptions is None:
            client.subscriptions = Subscriptions()
        own = getattr(client.subscriptions, kind)
        if name not in own:
            own[name] = None
            registry = getattr(self, kind)
            registry.setdefault(name, {})[client] = None
            if kind == "patterns" and name not in self._matchers:
                self._matchers[name] = matcher(name)
        client.flags |= states.SUBSCRIBED
        return count_shown(client, kind)

    def remove(self, client: Any, kind: str, name: bytes) -> int:
        """Unsubscribes, where the client was subscribed; returns the count that the reply shows."""
        own = names_of(client, kind)
        if name in own:
            del own[name]
            registry = getattr(self, kind)
            del registry[name][client]
            if not registry[name]:
                del registry[name]
                if kind == "patterns":
                    del self._matchers[name]
            if not len(client.subscriptions):
                client.flags &= ~states.SUBSCRIBED
        return count_shown(client, kind)

    def remove_all(self, client: Any) -> None:
        """Forgets a client."""
        for kind in ("channels", "patterns", "shards"):
            for name in list(names_of(client, kind)):
                self.remove(client, kind, name)
        client.subscriptions = None

    # -- publishing ----------------------------------------------------------------------------

    def publish(self, channel: bytes, text: bytes) -> int:
        """Delivers a message; returns how many times."""
        receivers = 0
        clients = self.channels.get(channel)
        if clients:
            receivers = deliver(Message(b"message", channel, text), clients)
        for pattern, clients in self.patterns.items():
            if self._matchers[pattern](channel):
                receivers += deliver(Message(b"pmessage", pattern, channel, text), clients)
        return receivers

    def publish_shard(self, channel: bytes, text: bytes) -> int:
        """Delivers a message of a shard channel; returns how many times."""
        clients = self.shards.get(channel)
        if not clients:
            return 0
        return deliver(Message(b"smessage", channel, text), clients)

    def notifier(self, keyspace: Any) -> Callable[[int, bytes, bytes, int], None]:
        """The keyspace's `on_notify`: an event of a class that is asked for."""

        def notify(_: int, event: bytes, key: bytes, db_index: int) -> None:
            if keyspace.notify_flags & events.NOTIFY_KEYSPACE:
                self.publish(b"__keyspace@%d__:%b" % (db_index, key), event)
            if keyspace.notify_flags & events.NOTIFY_KEYEVENT:
                self.publish(b"__keyevent@%d__:%b" % (db_index, event), key)

        return notify


def names_of(client: Any, kind: str) -> dict[bytes, None]:
    """The client's own names in a registry."""
    return {} if client.subscriptions is None else getattr(client.subscriptions, kind)


def count_shown(client: Any, kind: str) -> int:
    """Shard channels are counted alone, channels and patterns together."""
    own = client.subscriptions
    if own is None:
        return 0
    return len(own.shards) if kind == "shards" else len(own.channels) + len(own.patterns)
