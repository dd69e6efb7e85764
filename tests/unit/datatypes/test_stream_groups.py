"""Consumer groups: what is pending for whom, what groups count, and what followers get of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache_server import client as states
from cache_server.datatypes import stream_group_commands, stream_info, stream_reading, streams
from cache_server.datatypes.stream_groups import Consumer, Group, Pending, PendingList
from cache_server.wire.replies import NULL_ARRAY, OK
from tests.unit.datatypes.calling import Caller


class Container:
    """The rows of subcommands, as a module of commands would list them."""

    def __init__(self) -> None:
        self.COMMANDS = []
        for module in (stream_group_commands, stream_info):
            for row in module.COMMANDS:
                for sub in (row.subcommands or {}).values():
                    if sub.name != "help":
                        self.COMMANDS.append(sub)


class GroupCaller(Caller):
    """`call("XGROUP CREATE", ...)`: the subcommand's handler, with both words in front."""

    def __call__(self, name: str, *words: Any) -> Any:
        container, _, sub = name.partition(" ")
        if not sub:
            return super().__call__(name, *words)
        row = self.rows[sub.lower()]
        self.rows[container.lower()] = row
        return super().__call__(container, sub, *words)


@pytest.fixture
def call() -> GroupCaller:
    caller = GroupCaller(streams, stream_reading, stream_group_commands, Container())
    for number in range(1, 6):
        caller("XADD", "s", f"{number}-0", "f", number)
    caller("XGROUP CREATE", "s", "g", "0")
    return caller


def read(call: Caller, consumer: str, *words: Any) -> list[bytes]:
    """The ids that XREADGROUP gives the consumer."""
    reply = call("XREADGROUP", "GROUP", "g", consumer, *words, "STREAMS", "s", ">")
    return [] if reply is NULL_ARRAY else [entry[0] for entry in reply[0][1]]


def pending(call: Caller) -> dict[bytes, tuple[bytes, int]]:
    """id -> (consumer, deliveries)"""
    rows = call("XPENDING", "s", "g", "-", "+", 100)
    return {entry_id: (consumer, deliveries) for entry_id, consumer, _, deliveries in rows}


# -- the list ----------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 60)), max_size=400), st.integers(0, 60))
def test_a_pending_list_is_a_sorted_dictionary(steps: list[tuple[bool, int]], low: int) -> None:
    listed, model = PendingList(), {}
    for add, entry_id in steps:
        if add:
            model[entry_id] = Pending(b"c", 0, 1)
            listed.add(entry_id, model[entry_id])
        elif entry_id in model:
            del model[entry_id]
            listed.remove(entry_id)
    assert len(listed) == len(model)
    assert list(listed.items()) == sorted(model.items())
    assert list(listed.items(low)) == [pair for pair in sorted(model.items()) if pair[0] >= low]
    assert (listed.first_id, listed.last_id) == (min(model, default=0), max(model, default=0))


def test_ids_that_left_do_not_pile_up() -> None:
    listed = PendingList()
    for entry_id in range(10_000):
        listed.add(entry_id, Pending(b"c", 0, 1))
        listed.remove(entry_id)
    assert len(listed.order) < 100


def test_a_copy_shares_nothing_that_changes() -> None:
    group = Group(5, 2)
    group.consumers[b"a"], group.consumers[b"b"] = Consumer(1), Consumer(2)
    group.assign(3, b"a", 7).deliveries = 4
    twin = group.copy()
    group.assign(3, b"b", 8)
    group.acknowledge(3)
    held = twin.consumers[b"a"].pending.entries[3]
    assert held is twin.pending.entries[3]
    assert (held.consumer, held.delivered_ms, held.deliveries) == (b"a", 7, 4)
    assert [consumer.seen_ms for consumer in twin.consumers.values()] == [1, 2]


# -- reading, claiming, acknowledging ----------------------------------------------------------


def test_each_entry_goes_to_one_consumer_and_is_pending_for_it(call: GroupCaller) -> None:
    assert read(call, "alice", "COUNT", 2) == [b"1-0", b"2-0"]
    assert read(call, "bob") == [b"3-0", b"4-0", b"5-0"]
    assert read(call, "alice") == []
    owners = [consumer for consumer, _ in pending(call).values()]
    assert owners == [b"alice"] * 2 + [b"bob"] * 3
    assert call("XACK", "s", "g", "1", "3", "3", "99") == 2
    assert call.dirty == 2
    history = call("XREADGROUP", "GROUP", "g", "alice", "STREAMS", "s", "0")
    assert history == [[b"s", [[b"2-0", [b"f", b"2"]]]]]
    assert pending(call)[b"2-0"] == (b"alice", 2)


def test_reading_is_propagated_as_claims_and_without_them_as_the_groups_id(
    call: GroupCaller,
) -> None:
    read(call, "alice", "COUNT", 1)
    claim = [b"XCLAIM", b"s", b"g", b"alice", b"0", b"1-0", b"TIME", b"1000000", b"RETRYCOUNT"]
    assert call.effects == [[*claim, b"1", b"FORCE", b"JUSTID", b"LASTID", b"1-0"]]
    assert call.dirty == 2
    assert (b"xgroup-createconsumer", b"s") in call.events
    read(call, "bob", "COUNT", 1, "NOACK")
    assert call.effects == [
        [b"XGROUP", b"CREATECONSUMER", b"s", b"g", b"bob"],
        [b"XGROUP", b"SETID", b"s", b"g", b"2-0", b"ENTRIESREAD", b"2"],
    ]
    call("XREADGROUP", "GROUP", "g", "alice", "STREAMS", "s", "0")
    assert call.effects == []


def test_a_follower_that_runs_the_effects_has_the_same_group(call: GroupCaller) -> None:
    follower = GroupCaller(streams, stream_reading, stream_group_commands, Container())
    follower.client.flags |= states.LEADER
    for number in range(1, 6):
        follower("XADD", "s", f"{number}-0", "f", number)
    follower("XGROUP CREATE", "s", "g", "0")

    def run(*words: Any) -> None:
        call(*words)
        assert call.effects is not None
        for name, *rest in call.effects:
            if name == b"XGROUP":
                follower(f"XGROUP {rest[0].decode()}", *rest[1:])
            else:
                follower(name.decode(), *rest)

    run("XREADGROUP", "GROUP", "g", "alice", "COUNT", 3, "STREAMS", "s", ">")
    run("XCLAIM", "s", "g", "bob", 0, "2-0", "IDLE", 500, "RETRYCOUNT", 9)
    call("XDEL", "s", "3-0")
    follower("XDEL", "s", "3-0")
    run("XAUTOCLAIM", "s", "g", "carol", 0, "2-0")
    run("XREADGROUP", "GROUP", "g", "dave", "NOACK", "COUNT", 1, "STREAMS", "s", ">")
    run("XCLAIM", "s", "g", "dave", 0, "999", "LASTID", "4-0")
    listed = call("XPENDING", "s", "g", "-", "+", 10)
    assert follower("XPENDING", "s", "g", "-", "+", 10) == listed
    assert [row[0] for row in listed] == [b"1-0", b"2-0"]
    groups = [caller.db.peek(b"s").groups[b"g"] for caller in (call, follower)]
    assert groups[0].last_id == groups[1].last_id
    assert sorted(groups[0].consumers) == sorted(groups[1].consumers)


def test_claiming_needs_idleness_and_force_makes_pending(call: GroupCaller) -> None:
    read(call, "alice", "COUNT", 1)
    call.keyspace.now_ms += 100
    assert call("XCLAIM", "s", "g", "bob", 101, "1-0") == []
    assert call("XCLAIM", "s", "g", "bob", 100, "1-0") == [[b"1-0", [b"f", b"1"]]]
    assert pending(call)[b"1-0"] == (b"bob", 2)
    assert call("XCLAIM", "s", "g", "bob", 0, "4-0", "JUSTID") == []
    assert call("XCLAIM", "s", "g", "bob", 0, "4-0", "JUSTID", "FORCE") == [b"4-0"]
    assert pending(call)[b"4-0"] == (b"bob", 1)


def test_what_was_deleted_is_given_up_when_it_is_claimed(call: GroupCaller) -> None:
    read(call, "alice")
    call("XDEL", "s", "1-0", "3-0")
    reply = call("XAUTOCLAIM", "s", "g", "bob", 0, "-", "COUNT", 2, "JUSTID")
    assert reply == [b"3-0", [b"2-0"], [b"1-0"]]
    assert call("XCLAIM", "s", "g", "bob", 0, "3-0") == []
    assert sorted(pending(call)) == [b"2-0", b"4-0", b"5-0"]


def test_changes_around_the_entries_do_not_disturb_who_watches(call: GroupCaller) -> None:
    seen: list[bytes] = []
    call.db.watched[b"s"] = True
    call.keyspace.on_watched = lambda db, key: seen.append(key)
    read(call, "alice")
    call("XACK", "s", "g", "1")
    call("XGROUP SETID", "s", "g", "$")
    call("XSETID", "s", "9-0")
    assert seen == []
    call("XDEL", "s", "1-0")
    assert seen == [b"s"]


def test_a_snapshot_is_told_before_a_group_changes(call: GroupCaller) -> None:
    told: list[bytes] = []
    call.db.before_write = lambda db, key: told.append(key)
    for words in (
        ["XREADGROUP", "GROUP", "g", "a", "STREAMS", "s", ">"],
        ["XREADGROUP", "GROUP", "g", "a", "STREAMS", "s", "0"],
        ["XACK", "s", "g", "1"],
        ["XCLAIM", "s", "g", "b", 0, "2"],
        ["XAUTOCLAIM", "s", "g", "b", 0, "0"],
        ["XGROUP SETID", "s", "g", "0"],
        ["XGROUP DELCONSUMER", "s", "g", "b"],
        ["XSETID", "s", "9-0"],
    ):
        told.clear()
        call(*words)
        assert told == [b"s"], words


# -- counting ----------------------------------------------------------------------------------


def test_lag_is_known_until_a_deletion_hides_it(call: GroupCaller) -> None:
    stream = call.db.peek(b"s")
    group = stream.groups[b"g"]
    assert (group.entries_read, group.lag(stream)) == (-1, 5)
    read(call, "a", "COUNT", 2)
    assert (group.entries_read, group.lag(stream)) == (2, 3)
    call("XDEL", "s", "4-0")
    assert group.lag(stream) is None
    read(call, "a", "COUNT", 1)
    assert (group.entries_read, group.lag(stream)) == (-1, None)
    read(call, "a")
    assert (group.entries_read, group.lag(stream)) == (5, 0)
    call("XADD", "s", "9-0", "f", "v")
    assert group.lag(stream) == 1


REFUSALS = {
    "XGROUP CREATE|s|g|$": "BUSYGROUP Consumer Group name already exists",
    "XGROUP CREATECONSUMER|s|x|a": "NOGROUP No such consumer group 'x' for key name 's'",
    "XGROUP SETID|s|g|0|ENTRIESREAD|-2": "ERR value for ENTRIESREAD must be positive or -1",
    "XPENDING|s|x": "NOGROUP No such key 's' or consumer group 'x'",
    "XPENDING|s|g|-": "ERR syntax error",
    "XCLAIM|s|g|a|x|1": "ERR Invalid min-idle-time argument for XCLAIM",
    "XCLAIM|s|g|a|0|1|WHAT": "ERR Unrecognized XCLAIM option 'WHAT'",
    "XAUTOCLAIM|s|g|a|0|0|COUNT|0": "ERR COUNT must be > 0",
    "XREAD|STREAMS|s|t|0": "ERR Unbalanced XREAD list of streams: for each stream key an ID or "
    "'$' must be specified.",
    "XREADGROUP|COUNT|1|NOACK|STREAMS|s|>": "ERR Missing GROUP option for XREADGROUP",
    "XSETID|s|1-0": "ERR The ID specified in XSETID is smaller than the target stream top item",
}


@pytest.mark.parametrize("request_words", REFUSALS)
def test_refusals_have_redis_s_texts(call: GroupCaller, request_words: str) -> None:
    assert call.error(*request_words.split("|")) == REFUSALS[request_words]


def test_an_empty_stream_with_a_group_is_a_key(call: GroupCaller) -> None:
    assert call("XGROUP CREATE", "new", "g", "$", "MKSTREAM") == OK
    assert call("XLEN", "new") == 0
    assert call("XREADGROUP", "GROUP", "g", "a", "STREAMS", "new", ">") is NULL_ARRAY
    assert call("XGROUP DESTROY", "new", "g") == 1
    assert call.db.peek(b"new") is not None
