"""Commands on consumer groups: XGROUP, XACK, XPENDING, XCLAIM, XAUTOCLAIM.

These change what is around the entries, not the entries: nobody who watches the key is told. What
XCLAIM and XAUTOCLAIM did is propagated as one XCLAIM an entry, in the form that gives the same
result whenever it is applied, a pending entry that was dropped among them.

Source: https://redis.io/docs/latest/commands/?group=stream.
"""

from __future__ import annotations

from typing import Any

from cache_server.commands.table import Command, container_only
from cache_server.datatypes.arguments import INT64_MAX, parse_in_range, parse_integer
from cache_server.datatypes.stream_groups import UNKNOWN, Consumer, Group, Pending
from cache_server.datatypes.stream_reading import (
    consumer_of,
    propagate_claim,
    propagate_group_id,
    propagates,
    text,
)
from cache_server.datatypes.streams import (
    ID_MAX,
    Stream,
    changing,
    note,
    parse_end,
    parse_id,
)
from cache_server.errors import CommandError, syntax_error
from cache_server.structures.stream_ids import format_id
from cache_server.wire.replies import NULL_ARRAY, OK, Status

#: XAUTOCLAIM looks at so many pending entries for each that it may return, as in Redis.
_ATTEMPTS_PER_CLAIM = 10
_CLAIMS_MAX = INT64_MAX // 16
_CLAIMS_DEFAULT = 100


def subcommand_error(container: bytes, word: bytes) -> CommandError:
    """Arguments that no form of a subcommand has."""
    return CommandError(
        b"ERR unknown subcommand or wrong number of arguments for '%b'. Try %b HELP."
        % (text(word)[:128], container)
    )


def no_such_group(key: bytes, name: bytes) -> CommandError:
    return CommandError(
        b"NOGROUP No such consumer group '%b' for key name '%b'" % (text(name), text(key))
    )


def _no_key_or_group(key: bytes, name: bytes) -> CommandError:
    return CommandError(
        b"NOGROUP No such key '%b' or consumer group '%b'" % (text(key), text(name))
    )


# -- XGROUP ------------------------------------------------------------------------------------


def _stream_of_group(ctx: Any, args: list[bytes], needs_group: bool) -> Stream:
    """The stream of a request XGROUP x key group. Raises CommandError."""
    stream: Stream | None = ctx.db.write_as(args[2], Stream)
    if stream is None:
        raise CommandError(
            b"ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may "
            b"want to use the MKSTREAM option to create an empty stream automatically."
        )
    if needs_group and args[3] not in stream.groups:
        raise no_such_group(args[2], args[3])
    return stream


def _read_options(args: list[bytes], creating: bool) -> tuple[int, bool]:
    """ENTRIESREAD (or UNKNOWN), and whether MKSTREAM is there. Raises CommandError."""
    read, make, index = UNKNOWN, False, 5
    while index < len(args):
        option = args[index].lower()
        if creating and option == b"mkstream":
            make = True
            index += 1
        elif option == b"entriesread" and index + 1 < len(args):
            read = parse_integer(args[index + 1])
            if read < 0 and read != UNKNOWN:
                raise CommandError(b"ERR value for ENTRIESREAD must be positive or -1")
            index += 2
        else:
            raise subcommand_error(b"XGROUP", args[1])
    return read, make


def xgroup_create_command(ctx: Any, args: list[bytes]) -> Any:
    """XGROUP CREATE key group id|$ [MKSTREAM] [ENTRIESREAD entries-read]"""
    read, make = _read_options(args, creating=True)
    key, name, db = args[2], args[3], ctx.db
    stream: Stream | None
    stream = db.write_as(key, Stream) if make else _stream_of_group(ctx, args, False)
    if len(args) > 8:
        raise subcommand_error(b"XGROUP", args[1])
    newest = 0 if stream is None else stream.last_id
    last_id = newest if args[4] == b"$" else parse_id(args[4])
    if stream is None:
        stream = Stream()
        db.put(key, stream)
        db.touched(key)
    if name in stream.groups:
        raise CommandError(b"BUSYGROUP Consumer Group name already exists")
    stream.groups[name] = Group(last_id, read)
    note(ctx, key, b"xgroup-create")
    return OK


def xgroup_setid_command(ctx: Any, args: list[bytes]) -> Any:
    """XGROUP SETID key group id|$ [ENTRIESREAD entries-read]"""
    read, _ = _read_options(args, creating=False)
    stream = _stream_of_group(ctx, args, True)
    if len(args) not in (5, 7):
        raise subcommand_error(b"XGROUP", args[1])
    group = stream.groups[args[3]]
    if args[4] == b"$":
        group.last_id = stream.last_id
    elif args[4] in (b"-", b"+"):
        group.last_id = 0 if args[4] == b"-" else ID_MAX
    else:
        group.last_id = parse_id(args[4])
    group.entries_read = read
    note(ctx, args[2], b"xgroup-setid")
    return OK


def xgroup_destroy_command(ctx: Any, args: list[bytes]) -> int:
    """XGROUP DESTROY key group: whether it was there"""
    stream = _stream_of_group(ctx, args, False)
    if stream.groups.pop(args[3], None) is None:
        return 0
    note(ctx, args[2], b"xgroup-destroy")
    ctx.db.ready(args[2])  # who waits for the group is told that it is gone
    return 1


def xgroup_createconsumer_command(ctx: Any, args: list[bytes]) -> int:
    """XGROUP CREATECONSUMER key group consumer: whether it was made"""
    group = _stream_of_group(ctx, args, True).groups[args[3]]
    if args[4] in group.consumers:
        return 0
    group.consumers[args[4]] = Consumer(ctx.keyspace.now_ms)
    note(ctx, args[2], b"xgroup-createconsumer")
    return 1


def xgroup_delconsumer_command(ctx: Any, args: list[bytes]) -> int:
    """XGROUP DELCONSUMER key group consumer: how many entries it had pending"""
    group = _stream_of_group(ctx, args, True).groups[args[3]]
    if args[4] not in group.consumers:
        return 0
    pending = group.drop_consumer(args[4])
    note(ctx, args[2], b"xgroup-delconsumer")
    return pending


# -- XACK, XPENDING ----------------------------------------------------------------------------


def xack_command(ctx: Any, args: list[bytes]) -> int:
    """XACK key group id [id ...]: how many were pending"""
    stream: Stream | None = changing(ctx.db, args[1])
    group = None if stream is None else stream.groups.get(args[2])
    if group is None:
        return 0
    acknowledged = 0
    for entry_id in [parse_id(word) for word in args[3:]]:
        if group.acknowledge(entry_id):
            acknowledged += 1
    ctx.keyspace.dirty += acknowledged
    return acknowledged


def xpending_command(ctx: Any, args: list[bytes]) -> Any:
    """XPENDING key group [[IDLE min-idle-time] start end count [consumer]]"""
    if len(args) != 3 and not 6 <= len(args) <= 9:
        raise syntax_error()
    idle_ms, at, low, high, count = 0, 3, 0, ID_MAX, 0
    if len(args) >= 6:
        if args[3].lower() == b"idle":
            idle_ms, at = parse_integer(args[4]), 5
            if len(args) < 8:
                raise syntax_error()
        count = max(0, parse_integer(args[at + 2]))
        low, high = parse_end(args[at], False), parse_end(args[at + 1], True)
    stream: Stream | None = ctx.db.read_as(args[1], Stream)
    group = None if stream is None else stream.groups.get(args[2])
    if group is None:
        raise _no_key_or_group(args[1], args[2])
    if len(args) == 3:
        return _summary(group)
    pending = group.pending
    if at + 3 < len(args):
        consumer = group.consumers.get(args[at + 3])
        if consumer is None:
            return []
        pending = consumer.pending
    now_ms = ctx.keyspace.now_ms
    reply: list[Any] = []
    for entry_id, entry in pending.items(low):
        if entry_id > high or len(reply) >= count:
            break
        passed_ms = now_ms - entry.delivered_ms
        if not idle_ms or passed_ms >= idle_ms:
            reply.append([format_id(entry_id), entry.consumer, max(0, passed_ms), entry.deliveries])
    return reply


def _summary(group: Group) -> list[Any]:
    pending = group.pending
    if not len(pending):
        return [0, None, None, NULL_ARRAY]
    owners = [
        [name, b"%d" % len(consumer.pending)]
        for name, consumer in sorted(group.consumers.items())
        if len(consumer.pending)
    ]
    return [len(pending), format_id(pending.first_id), format_id(pending.last_id), owners]


# -- XCLAIM, XAUTOCLAIM ------------------------------------------------------------------------


class _Claim:
    """A claim on entries of one group for one consumer, and what was got by it."""

    def __init__(self, ctx: Any, args: list[bytes], stream: Stream, idle_ms: int) -> None:
        """`args` begin with command, key, group, consumer."""
        self.ctx = ctx
        self.key, self.name, self.consumer = args[1], args[2], args[3]
        self.stream = stream
        self.group: Group = stream.groups[args[2]]
        self.idle_ms = idle_ms
        self.now_ms: int = ctx.keyspace.now_ms
        self.delivered_ms = self.now_ms
        self.deliveries = -1
        self.only_ids = False
        self.reply: list[Any] = []
        self._telling = propagates(ctx)
        self._known = False

    def drop(self, entry_id: int, spelled: bytes) -> bool:
        """An entry that the stream has no more is not pending any more; False if it was not."""
        pending = self.group.pending.entries.get(entry_id)
        if pending is None:
            return False
        self._propagate(spelled, pending)
        self.group.acknowledge(entry_id)
        return True

    def take(self, entry_id: int, spelled: bytes, force: bool = False) -> bool:
        """Takes an entry of the stream over if it has been idle; `force` makes it pending."""
        pending = self.group.pending.entries.get(entry_id)
        if pending is None:
            if not force:
                return False
        elif self.idle_ms and self.now_ms - pending.delivered_ms < self.idle_ms:
            return False
        if not self._known:
            consumer_of(self.ctx, self.key, self.group, self.consumer)
            self._known = True
        pending = self.group.assign(entry_id, self.consumer, self.delivered_ms)
        if self.deliveries >= 0:
            pending.deliveries = self.deliveries
        elif not self.only_ids:
            pending.deliveries += 1
        if self.only_ids:
            self.reply.append(format_id(entry_id))
        else:
            fields = self.stream.range(entry_id, entry_id)[0][1]
            self.reply.append([format_id(entry_id), fields])
        self._propagate(spelled, pending)
        return True

    def _propagate(self, spelled: bytes, pending: Pending) -> None:
        self.ctx.keyspace.dirty += 1
        if self._telling:
            last_id = format_id(self.group.last_id)
            propagate_claim(
                *(self.ctx, self.key, self.name, spelled, pending.consumer, pending.delivered_ms),
                *(pending.deliveries, last_id),
            )


def xclaim_command(ctx: Any, args: list[bytes]) -> Any:
    """XCLAIM key group consumer min-idle-time id [id ...] [IDLE ms] [TIME unix-time-ms]
    [RETRYCOUNT count] [FORCE] [JUSTID] [LASTID id]"""
    stream: Stream | None = changing(ctx.db, args[1])
    if stream is None or args[2] not in stream.groups:
        raise _no_key_or_group(args[1], args[2])
    idle_ms = _claim_number(args[4], b"min-idle-time")
    claim = _Claim(ctx, args, stream, max(0, idle_ms))
    ids: list[int] = []
    for word in args[5:]:
        try:
            ids.append(parse_id(word))
        except CommandError:
            break
    force, last_id = _claim_options(claim, args, 5 + len(ids))
    group = claim.group
    moved = last_id > group.last_id
    if moved:
        group.last_id = last_id
    ctx.propagate_nothing()
    before = ctx.keyspace.dirty
    for index, entry_id in enumerate(ids):
        if stream.has(entry_id):
            claim.take(entry_id, args[5 + index], force)
        else:
            claim.drop(entry_id, args[5 + index])
    if moved and ctx.keyspace.dirty == before:  # otherwise every XCLAIM says it
        propagate_group_id(ctx, args[1], args[2], group)
        ctx.keyspace.dirty += 1
    return claim.reply


def _claim_number(word: bytes, what: bytes) -> int:
    return parse_in_range(
        word, -INT64_MAX - 1, INT64_MAX, b"ERR Invalid %b argument for XCLAIM" % what
    )


def _claim_options(claim: _Claim, args: list[bytes], index: int) -> tuple[bool, int]:
    """Sets the claim's options; returns FORCE and LASTID. Raises CommandError."""
    force, last_id, delivered_ms = False, 0, -1
    while index < len(args):
        option = args[index].lower()
        left = len(args) - 1 - index
        if option == b"force":
            force = True
        elif option == b"justid":
            claim.only_ids = True
        elif left and option in (b"idle", b"time", b"retrycount"):
            index += 1
            number = _claim_number(args[index], option.upper() + b" option")
            if option == b"retrycount":
                claim.deliveries = number
            else:
                delivered_ms = claim.now_ms - number if option == b"idle" else number
        elif left and option == b"lastid":
            index += 1
            last_id = parse_id(args[index])
        else:
            raise CommandError(b"ERR Unrecognized XCLAIM option '%b'" % text(args[index]))
        index += 1
    # A clock that is a bit ahead of ours is no reason to refuse.
    if 0 <= delivered_ms <= claim.now_ms:
        claim.delivered_ms = delivered_ms
    return force, last_id


def xautoclaim_command(ctx: Any, args: list[bytes]) -> Any:
    """XAUTOCLAIM key group consumer min-idle-time start [COUNT count] [JUSTID]"""
    idle_ms = parse_in_range(
        *(args[4], -INT64_MAX - 1, INT64_MAX),
        b"ERR Invalid min-idle-time argument for XAUTOCLAIM",
    )
    start = parse_end(args[5], False)
    count, only_ids, index = _CLAIMS_DEFAULT, False, 6
    while index < len(args):
        option = args[index].lower()
        if option == b"count" and index + 1 < len(args):
            count = parse_in_range(args[index + 1], 1, _CLAIMS_MAX, b"ERR COUNT must be > 0")
            index += 1
        elif option == b"justid":
            only_ids = True
        else:
            raise syntax_error()
        index += 1
    stream: Stream | None = changing(ctx.db, args[1])
    if stream is None or args[2] not in stream.groups:
        raise _no_key_or_group(args[1], args[2])
    claim = _Claim(ctx, args, stream, max(0, idle_ms))
    claim.only_ids = only_ids
    ctx.propagate_nothing()
    cursor, deleted = _claim_from(claim, start, count)
    return [format_id(cursor), claim.reply, deleted]


def _claim_from(claim: _Claim, start: int, count: int) -> tuple[int, list[bytes]]:
    """Claims up to `count` entries; returns the id to go on with (0: none), and deleted ids."""
    deleted: list[bytes] = []
    attempts = count * _ATTEMPTS_PER_CLAIM
    for entry_id, _ in claim.group.pending.items(start):
        if not attempts or not count:
            return entry_id, deleted
        attempts -= 1
        spelled = format_id(entry_id)
        if not claim.stream.has(entry_id):
            claim.drop(entry_id, spelled)
            deleted.append(spelled)
            count -= 1
        elif claim.take(entry_id, spelled):
            count -= 1
    return 0, deleted


# -- rows --------------------------------------------------------------------------------------


def help_of(container: str, lines: str, since: str) -> Command:
    """The row of XX HELP; `lines` without title and end."""
    title = f"{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"
    shown = [title, *lines.strip("\n").split("\n"), "HELP", "    Prints this help."]
    reply = [Status(line.encode()) for line in shown]

    def help_command(ctx: Any, args: list[bytes]) -> Any:
        return reply

    return Command(
        "help",
        2,
        "loading stale",
        help_command,
        group="stream",
        since=since,
        summary="Show helpful text about the different subcommands",
        complexity="O(1)",
    )


def _group_row(
    name: str,
    arity: int,
    flags: str,
    handler: Any,
    summary: str,
    since: str = "5.0.0",
    complexity: str = "O(1)",
) -> Command:
    return Command(
        name,
        arity,
        flags,
        handler,
        (2, 2, 1),
        group="stream",
        since=since,
        summary=summary,
        complexity=complexity,
    )


_XGROUP_HELP = """
CREATE <key> <groupname> <id|$> [option]
    Create a new consumer group. Options are:
    * MKSTREAM
      Create the empty stream if it does not exist.
    * ENTRIESREAD entries_read
      Set the group's entries_read counter (internal use).
CREATECONSUMER <key> <groupname> <consumer>
    Create a new consumer in the specified group.
DELCONSUMER <key> <groupname> <consumer>
    Remove the specified consumer.
DESTROY <key> <groupname>
    Remove the specified group.
SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]
    Set the current group ID and entries_read counter.
"""

_XGROUP_ROWS = [
    _group_row("create", -5, "write denyoom", xgroup_create_command, "Create a consumer group."),
    _group_row(
        "createconsumer",
        5,
        "write denyoom",
        xgroup_createconsumer_command,
        "Create a consumer in a consumer group.",
        "6.2.0",
    ),
    _group_row(
        "delconsumer",
        5,
        "write",
        xgroup_delconsumer_command,
        "Delete a consumer from a consumer group.",
    ),
    _group_row(
        "destroy",
        4,
        "write",
        xgroup_destroy_command,
        "Destroy a consumer group.",
        complexity="O(N) where N is the number of entries in the group's pending entries list "
        "(PEL).",
    ),
    help_of("XGROUP", _XGROUP_HELP, "5.0.0"),
    _group_row(
        "setid",
        -5,
        "write",
        xgroup_setid_command,
        "Set a consumer group to an arbitrary last delivered ID value.",
    ),
]

COMMANDS = [
    Command(
        "xack",
        -4,
        "write fast",
        xack_command,
        (1, 1, 1),
        group="stream",
        since="5.0.0",
        summary=(
            "Marks a pending message as correctly processed, effectively removing it from the "
            "pending entries list of the consumer group. Return value of the command is the number "
            "of messages successfully acknowledged, that is, the IDs we were actually able to "
            "resolve in the PEL."
        ),
        complexity="O(1) for each message ID processed.",
    ),
    Command(
        "xautoclaim",
        -6,
        "write fast",
        xautoclaim_command,
        (1, 1, 1),
        group="stream",
        since="6.2.0",
        summary=(
            "Changes (or acquires) ownership of messages in a consumer group, as if the messages "
            "were delivered to the specified consumer."
        ),
        complexity="O(1) if COUNT is small.",
    ),
    Command(
        "xclaim",
        -6,
        "write fast",
        xclaim_command,
        (1, 1, 1),
        group="stream",
        since="5.0.0",
        summary=(
            "Changes (or acquires) ownership of a message in a consumer group, as if the message "
            "was delivered to the specified consumer."
        ),
        complexity=(
            "O(log N) with N being the number of messages in the PEL of the consumer group."
        ),
    ),
    Command(
        "xgroup",
        -2,
        "",
        container_only,
        group="stream",
        since="5.0.0",
        summary="A container for consumer groups commands",
        complexity="Depends on subcommand.",
        subcommands=_XGROUP_ROWS,
    ),
    Command(
        "xpending",
        -3,
        "readonly",
        xpending_command,
        (1, 1, 1),
        group="stream",
        since="5.0.0",
        summary=(
            "Return information and entries from a stream consumer group pending entries list, "
            "that are messages fetched but never acknowledged."
        ),
        complexity=(
            "O(N) with N being the number of elements returned, so asking for a small fixed number "
            "of entries per call is O(1). O(M), where M is the total number of entries scanned "
            "when used with the IDLE filter. When the command returns just the summary and the "
            "list of consumers is small, it runs in O(1) time; otherwise, an additional O(N) time "
            "for iterating every consumer."
        ),
    ),
]
