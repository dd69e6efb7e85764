"""Full syncs between two machines: what is held, what is sent again, who waits."""

import random
from collections.abc import Callable

import pytest

from replication.constants import SYNC_FOLLOWERS_MAX
from replication.events import LinkPaused, LinkResumed
from replication.held_log import HeldLog
from replication.progress import ProgressState
from tests.scenarios.miniature import Node, World


class FileInMemory:
    """An overflow that can be told to fail."""

    def __init__(self) -> None:
        self.data = b""
        self.full = False

    def append(self, data: bytes) -> int:
        if self.full:
            raise OSError("no space left")
        self.data += data
        return len(self.data) - len(data)

    def read(self, offset: int, count: int) -> bytes:
        return self.data[offset : offset + count]

    def clear(self) -> None:
        self.data = b""


def test_a_held_log_keeps_to_its_memory_and_gives_the_file_back() -> None:
    overflow = FileInMemory()
    held = HeldLog(10, overflow)
    pieces = [b"%d" % at * 4 for at in range(8)]
    for piece in pieces:
        held.append(piece)
        assert held.memory_bytes <= 10
    assert [held.read(number) for number in range(held.end)] == pieces
    held.release(5)
    assert [held.read(number) for number in range(held.first, held.end)] == pieces[5:]
    held.clear()
    assert (held.held_bytes, overflow.data) == (0, b"")


def test_what_the_file_refuses_stays_in_memory() -> None:
    overflow = FileInMemory()
    overflow.full = True
    held = HeldLog(4, overflow)
    held.append(b"1234")
    held.append(b"5678")
    assert (held.memory_bytes, held.failures) == (8, 1)
    assert held.read(1) == b"5678"


def leader_with(world: World, count: int) -> Node:
    a = world.nodes["a"]
    for at in range(count):
        a.add(b"before %d" % at)
    return a


def step_until(world: World, happened: Callable[[], bool]) -> None:
    for _ in range(5000):
        if happened():
            return
        if not world.step():
            world.advance(100)
    raise AssertionError("it did not happen")


def begin(world: World, follower: Node, leader: Node) -> None:
    """Until the first chunks are on the wire."""
    follower.follow(leader)
    step_until(world, lambda: follower.follower.syncing)


def test_the_stream_does_not_wait_for_a_snapshot_in_the_leaders_backlog() -> None:
    world = World("ab")
    a, b = leader_with(world, 200), world.nodes["b"]
    begin(world, b, a)
    progress = next(iter(a.leader.followers.values()))
    for at in range(30):
        a.add(b"meanwhile %d" % at)
        world.step()
        assert progress.sent_position == a.leader.backlog.end
    assert b.follower.syncing
    assert b.values == []
    world.run(1000)
    assert b.values == a.values
    assert b.leader.backlog.mark == a.leader.backlog.mark
    assert a.leader.stats.sync_full == 1


def test_a_follower_is_online_when_it_has_the_data() -> None:
    world = World("ab")
    a, b = leader_with(world, 50), world.nodes["b"]
    begin(world, b, a)
    progress = next(iter(a.leader.followers.values()))
    while b.follower.syncing:
        assert progress.state is ProgressState.SNAPSHOT
        assert world.step()
    world.run(100)
    assert progress.online


@pytest.mark.parametrize("seed", range(30))
def test_damage_in_a_full_sync_costs_what_was_damaged(seed: int) -> None:
    draw = random.Random(seed)
    world = World("ab")
    a, b = leader_with(world, 150), world.nodes["b"]
    begin(world, b, a)
    for at in range(60):
        if draw.random() < 0.3 and b.wire is not None and b.follower.syncing:
            b.wire.flip_bit = draw.randrange(10_000)
        if draw.random() < 0.5:
            a.add(b"meanwhile %d" % at)
        if not world.step():
            world.advance(100)
    world.run(5000)
    assert b.values == a.values
    assert b.leader.backlog.mark == a.leader.backlog.mark
    assert a.leader.stats.sync_full == 1
    assert b.follower.stats.snapshots_rejected == 0
    if b.follower.stats.frames_rejected:
        assert a.leader.stats.resends


def test_the_fast_does_not_wait_for_the_slow() -> None:
    world = World("abc")
    a, b, c = leader_with(world, 300), world.nodes["b"], world.nodes["c"]
    a.leader.settings.diskless_delay_ms = 200
    b.follow(a)
    c.follow(a)
    step_until(world, lambda: b.follower.syncing and c.follower.syncing)
    assert len(a.leader.feed.passes) == 1
    slow = c.wire
    assert slow is not None
    held, slow.down = slow.down, type(slow.down)()
    a.serve_event(LinkPaused(slow.link))
    a.add(b"more")
    step_until(world, lambda: not b.follower.syncing)
    assert b.values[:300] == a.values[:300]
    assert c.follower.syncing
    slow.down = held + slow.down
    a.serve_event(LinkResumed(slow.link))
    world.run(2000)
    assert c.values == b.values == a.values
    assert not a.leader.feed.passes


def test_a_stream_that_cannot_be_held_waits_at_the_leader() -> None:
    world = World("ab")
    a, b = leader_with(world, 200), world.nodes["b"]
    begin(world, b, a)
    progress = next(iter(a.leader.followers.values()))
    snapshot = b.follower.snapshot
    assert snapshot is not None
    progress.room = False
    sent = progress.sent_position
    a.add(b"one")
    assert progress.sent_position == sent
    assert a.leader.backlog.pinned_position is not None
    world.run(3000)
    assert b.values == a.values
    assert a.leader.stats.sync_full == 1


def test_those_who_ask_at_once_are_admitted_in_turn() -> None:
    names = "abcdefghijklm"
    world = World(names)
    a = leader_with(world, 100)
    a.leader.settings.diskless_delay_ms = 300
    for name in names[1:]:
        world.nodes[name].follow(a)
    most = 0
    for _ in range(3000):
        world.step()
        syncing = sum(p.sync is not None for p in a.leader.followers.values())
        most = max(most, syncing)
        if all(world.nodes[name].follower.connected for name in names[1:]):
            break
        world.advance(10)
    world.run(500)
    assert most == SYNC_FOLLOWERS_MAX
    assert a.leader.stats.sync_full == len(names) - 1
    assert all(world.nodes[name].values == a.values for name in names[1:])
