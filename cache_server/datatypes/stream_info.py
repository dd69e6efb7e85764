"""XINFO: a stream, its groups and their consumers, as an operator sees them.

Source: https://redis.io/docs/latest/commands/xinfo-stream/ and the pages beside it.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from cache_server.commands.table import Command, container_only
from cache_server.datatypes.arguments import parse_integer
from cache_server.datatypes.stream_group_commands import help_of, no_such_group, subcommand_error
from cache_server.datatypes.stream_groups import UNKNOWN, Group, PendingList
from cache_server.datatypes.streams import Node, Stream
from cache_server.errors import no_such_key
from cache_server.structures.stream_ids import format_id
from cache_server.wire.replies import Map

#: What FULL shows of each list unless COUNT says otherwise.
_SHOWN_DEFAULT = 10

#: So many nodes are looked at to tell how many a radix tree of all would have.
_NODES_SEEN_MAX = 1000


def _stream(ctx: Any, key: bytes) -> Stream:
    stream: Stream | None = ctx.db.read_as(key, Stream)
    if stream is None:
        raise no_such_key()
    return stream


def _entries(found: list[tuple[int, list[bytes]]]) -> list[Any]:
    return [[format_id(entry_id), fields] for entry_id, fields in found]


def xinfo_stream_command(ctx: Any, args: list[bytes]) -> Any:
    """XINFO STREAM key [FULL [COUNT count]]"""
    stream = _stream(ctx, args[2])
    words = [word.lower() for word in args[3:]]
    if words and (words[0] != b"full" or len(words) not in (1, 3)):
        raise subcommand_error(b"XINFO", args[1])
    count = _SHOWN_DEFAULT
    if len(words) == 3:
        if words[1] != b"count":
            raise subcommand_error(b"XINFO", args[1])
        count = parse_integer(words[2])
        if count < 0:
            count = _SHOWN_DEFAULT
    reply = Map(
        [
            *(b"length", stream.length),
            *(b"radix-tree-keys", len(stream.nodes)),
            *(b"radix-tree-nodes", _radix_nodes(stream.nodes)),
            *(b"last-generated-id", format_id(stream.last_id)),
            *(b"max-deleted-entry-id", format_id(stream.max_deleted_id)),
            *(b"entries-added", stream.entries_added),
            *(b"recorded-first-entry-id", format_id(stream.first_id)),
        ]
    )
    if words:
        reply += [b"entries", _entries(stream.range(stream.first_id, stream.last_id, count or -1))]
        groups = sorted(stream.groups.items())
        reply += [b"groups", [_full_group(stream, name, group, count) for name, group in groups]]
        return reply
    ends = [stream.first_id, stream.newest_id()]
    first, last = [_entries(stream.range(end, end)) or [None] for end in ends]
    reply += [b"groups", len(stream.groups), b"first-entry", first[0], b"last-entry", last[0]]
    return reply


def _radix_nodes(nodes: list[Node]) -> int:
    """How many nodes Redis's radix tree of these keys (16 bytes each) has, estimated for many.

    A leaf for each key, a node wherever keys part, and one for each run of bytes between."""
    if not nodes:
        return 1
    seen = nodes[:_NODES_SEEN_MAX]
    total = len(seen)
    #: depths, in bytes, of the places where the keys so far part, and of the present leaf
    path: list[int] = []
    shared = [
        16 - ((one.ids[0] ^ other.ids[0]).bit_length() + 7) // 8 for one, other in pairwise(seen)
    ]
    for depth in [*shared, -1]:
        below = 16
        while path and path[-1] > depth:
            total += 1 + int(below - path[-1] > 1)
            below = path.pop()
        if (path and path[-1] == depth) or depth < 0:
            start = path[-1] + 1 if path else 0
            total += int(below > start)
        else:
            total += int(below > depth + 1)
            path.append(depth)
    return total * len(nodes) // len(seen)


def _full_group(stream: Stream, name: bytes, group: Group, count: int) -> Map:
    consumers = []
    for consumer_name, consumer in sorted(group.consumers.items()):
        pending = [
            [format_id(entry_id), entry.delivered_ms, entry.deliveries]
            for entry_id, entry in _first(consumer.pending, count)
        ]
        shown = [b"name", consumer_name, b"seen-time", consumer.seen_ms]
        shown += [b"pel-count", len(consumer.pending), b"pending", pending]
        consumers.append(Map(shown))
    pending = [
        [format_id(entry_id), entry.consumer, entry.delivered_ms, entry.deliveries]
        for entry_id, entry in _first(group.pending, count)
    ]
    return Map(
        [
            *(b"name", name, *_progress(stream, group)),
            *(b"pel-count", len(group.pending), b"pending", pending, b"consumers", consumers),
        ]
    )


def _first(pending: PendingList, count: int) -> list[Any]:
    """The first `count` (0: all) pending entries with their ids."""
    found = []
    for pair in pending.items():
        found.append(pair)
        if len(found) == count:
            break
    return found


def _progress(stream: Stream, group: Group) -> list[Any]:
    read = None if group.entries_read == UNKNOWN else group.entries_read
    return [
        *(b"last-delivered-id", format_id(group.last_id)),
        *(b"entries-read", read, b"lag", group.lag(stream)),
    ]


def xinfo_groups_command(ctx: Any, args: list[bytes]) -> Any:
    """XINFO GROUPS key"""
    stream = _stream(ctx, args[2])
    reply = []
    for name, group in sorted(stream.groups.items()):
        shown = [b"name", name, b"consumers", len(group.consumers)]
        shown += [b"pending", len(group.pending), *_progress(stream, group)]
        reply.append(Map(shown))
    return reply


def xinfo_consumers_command(ctx: Any, args: list[bytes]) -> Any:
    """XINFO CONSUMERS key group"""
    group = _stream(ctx, args[2]).groups.get(args[3])
    if group is None:
        raise no_such_group(args[2], args[3])
    reply = []
    for name, consumer in sorted(group.consumers.items()):
        idle_ms = max(0, ctx.keyspace.now_ms - consumer.seen_ms)
        shown = [b"name", name, b"pending", len(consumer.pending), b"idle", idle_ms]
        reply.append(Map(shown))
    return reply


_XINFO_HELP = """
CONSUMERS <key> <groupname>
    Show consumers of <groupname>.
GROUPS <key>
    Show the stream consumer groups.
STREAM <key> [FULL [COUNT <count>]
    Show information about the stream.
"""


def _row(name: str, arity: int, handler: Any, summary: str) -> Command:
    return Command(
        name,
        arity,
        "readonly",
        handler,
        (2, 2, 1),
        group="stream",
        since="5.0.0",
        summary=summary,
        complexity="O(1)",
    )


COMMANDS = [
    Command(
        "xinfo",
        -2,
        "",
        container_only,
        group="stream",
        since="5.0.0",
        summary="A container for stream introspection commands",
        complexity="Depends on subcommand.",
        subcommands=[
            _row(
                "consumers",
                4,
                xinfo_consumers_command,
                "List the consumers in a consumer group",
            ),
            _row("groups", 3, xinfo_groups_command, "List the consumer groups of a stream"),
            help_of("XINFO", _XINFO_HELP, "5.0.0"),
            _row("stream", -3, xinfo_stream_command, "Get information about a stream"),
        ],
    )
]
