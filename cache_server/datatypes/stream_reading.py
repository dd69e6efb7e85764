"""XREAD and XREADGROUP: entries after an id, for anyone or for a consumer, now or later.

A request is parsed whole, then every stream that has something is read. If none has and BLOCK was
given, the client waits; the request is run again for the stream that got something, with the ids
that `$` stood for when it came. Run again (`ctx.blocked` is set) it is served as soon as the
stream's last id moved on, and a group that is gone is an error.

What XREADGROUP did is propagated as XCLAIM for each entry delivered, or as XGROUP SETID with NOACK.

Source: https://redis.io/docs/latest/commands/xread/, xreadgroup.
"""

from __future__ import annotations

from typing import Any

from cache_server import client as states
from cache_server.commands.table import Command
from cache_server.datatypes.arguments import parse_integer
from cache_server.datatypes.stream_groups import Consumer, Group
from cache_server.datatypes.streams import ID_MAX, Stream, note, parse_id
from cache_server.errors import CommandError, syntax_error
from cache_server.keyspace.blocking import parse_timeout_ms
from cache_server.structures.stream_ids import format_id
from cache_server.wire.replies import NULL_ARRAY, Map

#: Entries that a client which waited gets at most where it gave no COUNT, as in Redis.
_WAITED_ENTRIES_MAX = 1000

#: In the place of an id: XREADGROUP's `>`.
_NEW = ID_MAX

_NONE, _STREAMS, _COUNT, _GROUP, _BLOCK, _NOACK = range(6)
_OPTIONS = {
    spelled: option
    for option, name in enumerate((b"STREAMS", b"COUNT", b"GROUP", b"BLOCK", b"NOACK"), _STREAMS)
    for spelled in (name, name.lower())
}

_GONE_GROUP = b"NOGROUP the consumer group this client was blocked on no longer exists"
_GONE_KEY = b"UNBLOCKED the stream key no longer exists"


class _Reading:
    """A parsed request; the keys begin at `args[first]` and their ids `streams` further."""

    def __init__(self, ctx: Any, args: list[bytes], grouped: bool) -> None:
        """Raises CommandError."""
        self.count = 0
        self.timeout_ms = -1
        self.group: bytes | None = None
        self.consumer = b""
        self.acknowledged = False
        index, size = 1, len(args)
        while index < size:
            word = args[index]
            option = _OPTIONS.get(word) or _OPTIONS.get(word.lower(), _NONE)
            left = size - 1 - index
            if option == _STREAMS and left:
                break
            if option == _COUNT and left:
                index += 1
                self.count = max(0, parse_integer(args[index]))
            elif option == _GROUP and left >= 2:
                _only_grouped(grouped, b"GROUP")
                self.group, self.consumer = args[index + 1], args[index + 2]
                index += 2
            elif option == _BLOCK and left:
                index += 1
                self._block(ctx, args, args[index])
            elif option == _NOACK:
                _only_grouped(grouped, b"NOACK")
                self.acknowledged = True
            else:
                raise syntax_error()
            index += 1
        self.first = index + 1
        self.streams = (size - self.first) // 2
        self._check(size, grouped)

    def _block(self, ctx: Any, args: list[bytes], word: bytes) -> None:
        if ctx.flags & states.SCRIPT:
            raise CommandError(
                b"ERR %b command is not allowed with BLOCK option from scripts" % args[0]
            )
        self.timeout_ms = parse_timeout_ms(word, in_seconds=False, now_ms=ctx.keyspace.now_ms)

    def _check(self, size: int, grouped: bool) -> None:
        if self.first > size:
            raise syntax_error()
        if (size - self.first) % 2:
            raise CommandError(
                b"ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be "
                b"specified."
            )
        if grouped and self.group is None:
            raise CommandError(b"ERR Missing GROUP option for XREADGROUP")


def _only_grouped(grouped: bool, option: bytes) -> None:
    if not grouped:
        raise CommandError(
            b"ERR The %b option is only supported by XREADGROUP. You called XREAD instead." % option
        )


def text(word: bytes) -> bytes:
    """A name inside an error line, which ends where a C string would."""
    return word.partition(b"\0")[0]


# -- XREAD -------------------------------------------------------------------------------------


def xread_command(ctx: Any, args: list[bytes]) -> Any:
    """XREAD [COUNT count] [BLOCK milliseconds] STREAMS key [key ...] id [id ...]"""
    reading = _Reading(ctx, args, False)
    first, streams = reading.first, reading.streams
    ids = []
    for index in range(first, first + streams):
        stream: Stream | None = ctx.db.read_as(args[index], Stream)
        word = args[index + streams]
        if word == b"$":
            ids.append(0 if stream is None else stream.last_id)
        elif word == b">":
            raise CommandError(
                b"ERR The > ID can be specified only when calling XREADGROUP using the GROUP "
                b"<group> <consumer> option."
            )
        else:
            ids.append(parse_id(word))
    reply: list[Any] = []
    for index in range(streams):
        key = args[first + index]
        stream = ctx.db.read_as(key, Stream)
        if stream is None or not _has_after(ctx, stream, ids[index]):
            continue
        found = stream.range(ids[index] + 1, ID_MAX, reading.count or -1)
        reply += [key, [[format_id(entry_id), fields] for entry_id, fields in found]]
    if reply:
        return _paired(ctx, reply)
    if reading.timeout_ms < 0:
        return NULL_ARRAY
    keys = args[first : first + streams]
    places = dict(zip(reversed(keys), reversed(ids)))
    options = [b"COUNT", b"%d" % (reading.count or _WAITED_ENTRIES_MAX), b"BLOCK", b"0"]
    return ctx.server.blocking.wait_for_keys(
        ctx,
        Stream,
        keys,
        reading.timeout_ms,
        lambda key: [args[0], *options, b"STREAMS", key, format_id(places[key])],
    )


def _has_after(ctx: Any, stream: Stream, entry_id: int) -> bool:
    """Whether there is an entry after the id. Who waited is served by any that was added, even if
    it has been deleted since."""
    if ctx.blocked is not None:
        return bool(stream.last_id > entry_id)
    return stream.length > 0 and bool(stream.newest_id() > entry_id)


def _paired(ctx: Any, flat: list[Any]) -> Any:
    """(key, entries, ...) as a map in RESP3, as pairs in RESP2."""
    if ctx.protocol == 3:
        return Map(flat)
    return [flat[index : index + 2] for index in range(0, len(flat), 2)]


# -- XREADGROUP --------------------------------------------------------------------------------


def xreadgroup_command(ctx: Any, args: list[bytes]) -> Any:
    """XREADGROUP GROUP group consumer [COUNT count] [BLOCK milliseconds] [NOACK] STREAMS key ..."""
    reading = _Reading(ctx, args, True)
    first, streams = reading.first, reading.streams
    ids = [_group_id(ctx, args, reading, index) for index in range(first, first + streams)]
    reply: list[Any] = []
    for index in range(streams):
        key = args[first + index]
        stream: Stream | None = ctx.db.write(key)
        if stream is None:
            continue
        group = stream.groups[reading.group]  # type: ignore[index]
        if ids[index] != _NEW:
            reply += [key, _history(ctx, key, stream, group, reading, ids[index])]
        elif _has_after(ctx, stream, group.last_id):
            reply += [key, _deliver(ctx, key, stream, group, reading)]
    if reply:
        return _paired(ctx, reply)
    return NULL_ARRAY if reading.timeout_ms < 0 else _wait_for_new(ctx, args, reading)


def _wait_for_new(ctx: Any, args: list[bytes], reading: _Reading) -> Any:
    """Parks a client that asked for new entries of groups."""
    options = args[1 : reading.first - 1]
    if not reading.count:
        options += [b"COUNT", b"%d" % _WAITED_ENTRIES_MAX]
    return ctx.server.blocking.wait_for_keys(
        ctx,
        Stream,
        args[reading.first : reading.first + reading.streams],
        reading.timeout_ms,
        lambda key: [args[0], *options, b"STREAMS", key, b">"],
        CommandError(_GONE_KEY),
    )


def _group_id(ctx: Any, args: list[bytes], reading: _Reading, index: int) -> int:
    """The id given for the key at `index`, whose stream and group exist. Raises CommandError."""
    key, word, name = args[index], args[index + reading.streams], reading.group
    stream: Stream | None = ctx.db.read_as(key, Stream)
    if stream is None or name not in stream.groups:
        if ctx.blocked is not None:
            raise CommandError(_GONE_GROUP)
        assert name is not None
        raise CommandError(
            b"NOGROUP No such key '%b' or consumer group '%b' in XREADGROUP with GROUP option"
            % (text(key), text(name))
        )
    if word == b">":
        return _NEW
    if word == b"$":
        raise CommandError(
            b"ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the "
            b"history of this consumer by specifying a proper ID, or use the > ID to get new "
            b"messages. The $ ID would just return an empty result set."
        )
    return parse_id(word)


def consumer_of(ctx: Any, key: bytes, group: Group, name: bytes) -> tuple[Consumer, bool]:
    """The consumer, seen now, and whether it had to be made."""
    consumer = group.consumers.get(name)
    if consumer is not None:
        consumer.seen_ms = ctx.keyspace.now_ms
        return consumer, False
    consumer = group.consumers[name] = Consumer(ctx.keyspace.now_ms)
    note(ctx, key, b"xgroup-createconsumer")
    return consumer, True


def _history(
    ctx: Any, key: bytes, stream: Stream, group: Group, reading: _Reading, after: int
) -> list[Any]:
    """What is pending for the consumer after an id, counted as delivered once more."""
    consumer, made = consumer_of(ctx, key, group, reading.consumer)
    ctx.propagate_nothing()
    if made:
        _propagate_consumer(ctx, key, reading)
    ctx.keyspace.dirty += 1
    reply: list[Any] = []
    for entry_id, pending in consumer.pending.items(after + 1):
        found = stream.range(entry_id, entry_id)
        if found:
            pending.delivered_ms = ctx.keyspace.now_ms
            pending.deliveries += 1
        reply.append([format_id(entry_id), found[0][1] if found else NULL_ARRAY])
        if len(reply) == reading.count:
            break
    return reply


def _deliver(ctx: Any, key: bytes, stream: Stream, group: Group, reading: _Reading) -> list[Any]:
    """New entries for the consumer, pending from now on unless NOACK was given."""
    name, now_ms = reading.consumer, ctx.keyspace.now_ms
    consumer = group.consumers.get(name)
    made = consumer is None
    if consumer is None:
        consumer_of(ctx, key, group, name)
    else:
        consumer.seen_ms = now_ms
    found = stream.range(group.last_id + 1, ID_MAX, reading.count or -1)
    telling = propagates(ctx)
    ctx.propagate_nothing()
    ctx.keyspace.dirty += 1
    if made and (reading.acknowledged or not found):
        _propagate_consumer(ctx, key, reading)
    if not found:
        return []
    stream.was_read(group, found)
    if reading.acknowledged:
        propagate_group_id(ctx, key, reading.group, group)
        return [[format_id(entry_id), fields] for entry_id, fields in found]
    reply: list[Any] = []
    for entry_id, fields in found:
        spelled = format_id(entry_id)
        pending = group.assign(entry_id, name, now_ms)
        pending.deliveries = 1
        if telling:
            propagate_claim(ctx, key, reading.group, spelled, name, now_ms, 1, spelled)
        reply.append([spelled, fields])
    return reply


# -- what followers get ------------------------------------------------------------------------


def propagates(ctx: Any) -> bool:
    """Whether anybody takes effects of this client's commands."""
    return ctx.server.propagation.active and not ctx.flags & (states.LEADER | states.REPLAY)


def propagate_claim(
    ctx: Any,
    key: bytes,
    group: bytes | None,
    spelled: bytes,
    consumer: bytes,
    delivered_ms: int,
    deliveries: int,
    last_id: bytes,
) -> None:
    """The entry `spelled` belongs to `consumer`, and the group has read up to `last_id`."""
    assert group is not None
    when, often = b"%d" % delivered_ms, b"%d" % deliveries
    ctx.propagate(
        *(b"XCLAIM", key, group, consumer, b"0", spelled, b"TIME", when, b"RETRYCOUNT", often),
        *(b"FORCE", b"JUSTID", b"LASTID", last_id),
    )


def propagate_group_id(ctx: Any, key: bytes, name: bytes | None, group: Group) -> None:
    """The group has read up to its last id."""
    assert name is not None
    last_id, read = format_id(group.last_id), b"%d" % group.entries_read
    ctx.propagate(b"XGROUP", b"SETID", key, name, last_id, b"ENTRIESREAD", read)


def _propagate_consumer(ctx: Any, key: bytes, reading: _Reading) -> None:
    assert reading.group is not None
    ctx.propagate(b"XGROUP", b"CREATECONSUMER", key, reading.group, reading.consumer)


# -- rows --------------------------------------------------------------------------------------


def _keys_after_streams(args: list[bytes]) -> list[int]:
    """Where the keys are: the first half of what follows STREAMS."""
    index = 1
    steps = {b"block": 2, b"count": 2, b"group": 3, b"noack": 1}
    while index < len(args) and args[index].lower() in steps:
        index += steps[args[index].lower()]
    keys = len(args) - index - 1
    if keys < 2 or keys % 2 or args[index].lower() != b"streams":
        raise CommandError(b"ERR Invalid arguments specified for command")
    return list(range(index + 1, index + 1 + keys // 2))


COMMANDS = [
    Command(
        "xread",
        -4,
        "readonly blocking movablekeys",
        xread_command,
        _keys_after_streams,
        group="stream",
        since="5.0.0",
        summary=(
            "Return never seen elements in multiple streams, with IDs greater than the ones "
            "reported by the caller for each stream. Can block."
        ),
        complexity=(
            "For each stream mentioned: O(N) with N being the number of elements being returned, "
            "it means that XREAD-ing with a fixed COUNT is O(1). Note that when the BLOCK option "
            "is used, XADD will pay O(M) time in order to serve the M clients blocked on the "
            "stream getting new data."
        ),
    ),
    Command(
        "xreadgroup",
        -7,
        "write blocking movablekeys",
        xreadgroup_command,
        _keys_after_streams,
        group="stream",
        since="5.0.0",
        summary=(
            "Return new entries from a stream using a consumer group, or access the history of "
            "the pending entries for a given consumer. Can block."
        ),
        complexity=(
            "For each stream mentioned: O(M) with M being the number of elements returned. If M is "
            "constant (e.g. always asking for the first 10 elements with COUNT), you can consider "
            "it O(1). On the other side when XREADGROUP blocks, XADD will pay the O(N) time in "
            "order to serve the N clients blocked on the stream getting new data."
        ),
    ),
]
