"""SUBSCRIBE and its kin, PUBLISH, PUBSUB.

A subscription is answered by one push for each name, so these commands return the pushes encoded,
one after the other: inside a transaction they then stand where Redis puts them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cache_server import client as states
from cache_server.commands.helping import help_row
from cache_server.commands.pausing import is_hello
from cache_server.commands.subscriptions import count_shown, encoded, names_of
from cache_server.commands.table import Command, container_only
from cache_server.errors import CommandError, wrong_arity
from cache_server.structures.glob import matcher
from cache_server.wire.replies import Push, Raw


def _subscribe(ctx: Any, word: bytes, kind: str, names: list[bytes]) -> Raw:
    # A transaction may subscribe to channels and patterns: old clients rely on it.
    in_exec = ctx.flags & states.IN_EXEC and kind != "shards"
    if ctx.flags & states.DENY_BLOCKING and not in_exec:
        raise CommandError(b"ERR %b isn't allowed for a DENY BLOCKING client" % word.upper())
    hub, protocol = ctx.server.pubsub, ctx.protocol
    return Raw(
        b"".join(encoded(Push([word, name, hub.add(ctx, kind, name)]), protocol) for name in names)
    )


def _unsubscribe(ctx: Any, word: bytes, kind: str, names: Iterable[bytes]) -> Raw:
    hub, protocol = ctx.server.pubsub, ctx.protocol
    chosen = list(names) or list(names_of(ctx, kind))
    if not chosen:
        return Raw(encoded(Push([word, None, count_shown(ctx, kind)]), protocol))
    return Raw(
        b"".join(
            encoded(Push([word, name, hub.remove(ctx, kind, name)]), protocol) for name in chosen
        )
    )


def subscribe_command(ctx: Any, args: list[bytes]) -> Any:
    """SUBSCRIBE channel [channel ...]"""
    return _subscribe(ctx, b"subscribe", "channels", args[1:])


def unsubscribe_command(ctx: Any, args: list[bytes]) -> Any:
    """UNSUBSCRIBE [channel [channel ...]]"""
    return _unsubscribe(ctx, b"unsubscribe", "channels", args[1:])


def psubscribe_command(ctx: Any, args: list[bytes]) -> Any:
    """PSUBSCRIBE pattern [pattern ...]"""
    return _subscribe(ctx, b"psubscribe", "patterns", args[1:])


def punsubscribe_command(ctx: Any, args: list[bytes]) -> Any:
    """PUNSUBSCRIBE [pattern [pattern ...]]"""
    return _unsubscribe(ctx, b"punsubscribe", "patterns", args[1:])


def ssubscribe_command(ctx: Any, args: list[bytes]) -> Any:
    """SSUBSCRIBE shardchannel [shardchannel ...]"""
    return _subscribe(ctx, b"ssubscribe", "shards", args[1:])


def sunsubscribe_command(ctx: Any, args: list[bytes]) -> Any:
    """SUNSUBSCRIBE [shardchannel [shardchannel ...]]"""
    return _unsubscribe(ctx, b"sunsubscribe", "shards", args[1:])


def publish_command(ctx: Any, args: list[bytes]) -> int:
    """PUBLISH channel message: to our subscribers, and through the stream to the followers'."""
    receivers: int = ctx.server.pubsub.publish(args[1], args[2])
    if not is_hello(ctx, args):
        ctx.propagate(*args)
    return receivers


def spublish_command(ctx: Any, args: list[bytes]) -> int:
    """SPUBLISH shardchannel message"""
    receivers: int = ctx.server.pubsub.publish_shard(args[1], args[2])
    ctx.propagate(*args)
    return receivers


def _active(names: Iterable[bytes], args: list[bytes]) -> list[bytes]:
    if len(args) > 3:
        raise wrong_arity("pubsub|" + args[1].decode("latin-1").lower())
    if len(args) == 2:
        return list(names)
    matches = matcher(args[2])
    return [name for name in names if matches(name)]


def pubsub_channels_command(ctx: Any, args: list[bytes]) -> list[bytes]:
    """PUBSUB CHANNELS [pattern]"""
    return _active(ctx.server.pubsub.channels, args)


def pubsub_shardchannels_command(ctx: Any, args: list[bytes]) -> list[bytes]:
    """PUBSUB SHARDCHANNELS [pattern]"""
    return _active(ctx.server.pubsub.shards, args)


def _counts(registry: dict[bytes, Any], names: list[bytes]) -> list[bytes | int]:
    counts: list[bytes | int] = []
    for name in names:
        counts += [name, len(registry.get(name, ()))]
    return counts


def pubsub_numsub_command(ctx: Any, args: list[bytes]) -> list[bytes | int]:
    """PUBSUB NUMSUB [channel [channel ...]]"""
    return _counts(ctx.server.pubsub.channels, args[2:])


def pubsub_shardnumsub_command(ctx: Any, args: list[bytes]) -> list[bytes | int]:
    """PUBSUB SHARDNUMSUB [shardchannel [shardchannel ...]]"""
    return _counts(ctx.server.pubsub.shards, args[2:])


def pubsub_numpat_command(ctx: Any, args: list[bytes]) -> int:
    """PUBSUB NUMPAT: different patterns, not subscriptions to them."""
    return len(ctx.server.pubsub.patterns)


def _row(name: str, arity: int, handler: Any, since: str, summary: str, complexity: str) -> Command:
    return Command(
        name,
        arity,
        "pubsub noscript loading stale",
        handler,
        (1, -1, 1) if name.startswith("s") and name != "subscribe" else (0, 0, 0),
        group="pubsub",
        since=since,
        summary=summary,
        complexity=complexity,
    )


def _sub(
    name: str, arity: int, handler: Any, since: str, summary: str, complexity: str = "O(1)"
) -> Command:
    return Command(
        name,
        arity,
        "pubsub loading stale",
        handler,
        group="pubsub",
        since=since,
        summary=summary,
        complexity=complexity,
    )


COMMANDS = [
    _row(
        "subscribe",
        -2,
        subscribe_command,
        "2.0.0",
        "Listen for messages published to the given channels",
        "O(N) where N is the number of channels to subscribe to.",
    ),
    _row(
        "unsubscribe",
        -1,
        unsubscribe_command,
        "2.0.0",
        "Stop listening for messages posted to the given channels",
        "O(N) where N is the number of clients already subscribed to a channel.",
    ),
    _row(
        "psubscribe",
        -2,
        psubscribe_command,
        "2.0.0",
        "Listen for messages published to channels matching the given patterns",
        "O(N) where N is the number of patterns the client is already subscribed to.",
    ),
    _row(
        "punsubscribe",
        -1,
        punsubscribe_command,
        "2.0.0",
        "Stop listening for messages posted to channels matching the given patterns",
        "O(N+M) where N is the number of patterns the client is already subscribed and M is the "
        "number of total patterns subscribed in the system (by any client).",
    ),
    _row(
        "ssubscribe",
        -2,
        ssubscribe_command,
        "7.0.0",
        "Listen for messages published to the given shard channels",
        "O(N) where N is the number of shard channels to subscribe to.",
    ),
    _row(
        "sunsubscribe",
        -1,
        sunsubscribe_command,
        "7.0.0",
        "Stop listening for messages posted to the given shard channels",
        "O(N) where N is the number of clients already subscribed to a shard channel.",
    ),
    Command(
        "publish",
        3,
        "pubsub loading stale fast may_replicate",
        publish_command,
        group="pubsub",
        since="2.0.0",
        summary="Post a message to a channel",
        complexity="O(N+M) where N is the number of clients subscribed to the receiving channel "
        "and M is the total number of subscribed patterns (by any client).",
    ),
    Command(
        "spublish",
        3,
        "pubsub loading stale fast may_replicate",
        spublish_command,
        (1, 1, 1),
        group="pubsub",
        since="7.0.0",
        summary="Post a message to a shard channel",
        complexity="O(N) where N is the number of clients subscribed to the receiving shard "
        "channel.",
    ),
    Command(
        "pubsub",
        -2,
        "",
        container_only,
        group="pubsub",
        since="2.8.0",
        summary="A container for Pub/Sub commands",
        complexity="Depends on subcommand.",
        subcommands=[
            _sub(
                "channels",
                -2,
                pubsub_channels_command,
                "2.8.0",
                "List active channels",
                "O(N) where N is the number of active channels, and assuming constant time pattern "
                "matching (relatively short channels and patterns)",
            ),
            _sub(
                "numsub",
                -2,
                pubsub_numsub_command,
                "2.8.0",
                "Get the count of subscribers for channels",
                "O(N) for the NUMSUB subcommand, where N is the number of requested channels",
            ),
            _sub(
                "numpat",
                2,
                pubsub_numpat_command,
                "2.8.0",
                "Get the count of unique patterns pattern subscriptions",
            ),
            _sub(
                "shardchannels",
                -2,
                pubsub_shardchannels_command,
                "7.0.0",
                "List active shard channels",
                "O(N) where N is the number of active shard channels, and assuming constant time "
                "pattern matching (relatively short shard channels).",
            ),
            _sub(
                "shardnumsub",
                -2,
                pubsub_shardnumsub_command,
                "7.0.0",
                "Get the count of subscribers for shard channels",
                "O(N) for the SHARDNUMSUB subcommand, where N is the number of requested shard "
                "channels",
            ),
            help_row(
                "PUBSUB",
                "CHANNELS [<pattern>]",
                "    Return the active channels, those that match a pattern where one is given.",
                "NUMPAT",
                "    Return the number of different patterns that are subscribed to.",
                "NUMSUB [<channel> ...]",
                "    Return the number of subscribers of each channel, patterns not counted.",
                "SHARDCHANNELS [<pattern>]",
                "    Return the active shard channels.",
                "SHARDNUMSUB [<shardchannel> ...]",
                "    Return the number of subscribers of each shard channel.",
                group="pubsub",
                since="6.2.0",
            ),
        ],
    ),
]
