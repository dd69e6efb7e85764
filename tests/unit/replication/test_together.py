"""Leader and follower machines joined by a wire: what holds whatever happens in between."""

import random

import pytest

from replication.events import FailoverRequested
from replication.follower_states import FollowerState
from replication.handover import HandoverState
from replication.history import HistoryMark
from tests.scenarios.miniature import World


def test_full_sync_then_stream_then_equal() -> None:
    world = World("ab")
    a, b = world.nodes["a"], world.nodes["b"]
    for at in range(20):
        a.add(b"before %d" % at)
    b.follow(a)
    world.run(200)
    a.add(b"after")
    world.run()
    assert b.values == a.values
    assert b.follower.framed
    assert b.follower.connected
    assert b.leader.backlog.mark == a.leader.backlog.mark


@pytest.mark.parametrize("diskless", [True, False])
def test_a_peer_without_frames_gets_the_same_data(diskless: bool) -> None:
    world = World("ab", framed="a")
    a, b = world.nodes["a"], world.nodes["b"]
    a.leader.settings.diskless = diskless
    for at in range(20):
        a.add(b"before %d" % at)
    b.follow(a)
    world.run(200)
    a.add(b"after")
    world.run()
    assert not b.follower.framed
    assert b.values == a.values


def test_a_damaged_frame_costs_itself_and_no_resync() -> None:
    world = World("ab")
    a, b = world.nodes["a"], world.nodes["b"]
    b.follow(a)
    world.run(200)
    for at in range(50):
        assert b.wire is not None
        b.wire.flip_bit = at * 37
        a.add(b"value %d" % at)
        world.run(500)
    assert b.values == a.values
    assert b.follower.stats.frames_rejected == 50
    assert b.follower.stats.full_syncs == 1
    assert b.follower.stats.partial_syncs == 0
    assert a.leader.stats.sync_full == 1
    assert a.leader.stats.resends == 50


def test_a_chain_relays_what_the_first_leader_sealed() -> None:
    world = World("abc")
    a, b, c = world.nodes.values()
    b.follow(a)
    world.run(200)
    c.follow(b)
    world.run(2000)
    a.add(b"x")
    world.run()
    assert c.values == a.values
    end = a.leader.backlog.end
    start = max(a.leader.backlog.start, c.leader.backlog.start)
    frames, _ = a.leader.backlog.read_frames(start, end)
    assert c.leader.backlog.read_frames(start, end) == (frames, end)


def test_after_a_promotion_the_others_resume_partially() -> None:
    world = World("abc")
    a, b, c = world.nodes.values()
    b.follow(a)
    c.follow(a)
    world.run(200)
    a.add(b"x")
    world.run()
    b.promote()
    c.follow(b)
    a.follow(b)
    world.run(200)
    b.add(b"y")
    world.run(2000)
    assert a.values == b.values == c.values == [b"x", b"y"]
    assert b.leader.stats.sync_full == 0
    assert b.leader.stats.sync_partial_ok == 2


def test_handover_moves_the_lead_and_loses_nothing() -> None:
    world = World("ab")
    a, b = world.nodes["a"], world.nodes["b"]
    b.follow(a)
    world.run(200)
    a.add(b"x")
    a.serve_event(FailoverRequested())
    assert not a.add(b"held back")
    world.run()
    assert b.leader.leading
    assert not a.leader.leading
    assert a.leader.handover.state is HandoverState.IDLE
    assert b.add(b"y")
    world.run(200)
    assert a.values == b.values == [b"x", b"y"]
    assert b.leader.stats.sync_full == 0


def test_a_diverged_follower_is_found_and_rebuilt() -> None:
    world = World("ab")
    a, b = world.nodes["a"], world.nodes["b"]
    b.follow(a)
    world.run(200)
    a.add(b"x")
    world.run()
    b.values = [b"something else"]
    assert b.wire is not None
    b.wire.cut()
    backlog = b.leader.backlog
    backlog.reset(backlog.end, HistoryMark(backlog.checksum ^ 1, backlog.base))
    world.run(3000)
    assert a.leader.stats.histories_diverged == 1
    assert b.values == a.values == [b"x"]


@pytest.mark.parametrize("seed", range(60))
def test_whatever_breaks_all_end_equal(seed: int) -> None:
    """Writes, cuts, damage, re-pointing and promotions at random; then quiet, then equal."""
    draw = random.Random(seed)
    world = World("abc", framed=draw.choice(["abc", "abc", "ab", "c"]))
    nodes = list(world.nodes.values())
    leader = nodes[0]
    nodes[1].follow(leader)
    nodes[2].follow(nodes[draw.randrange(2)])
    count = 0
    for _ in range(150):
        roll = draw.random()
        if roll < 0.5:
            count += 1
            leader.add(b"value %d" % count)
        elif roll < 0.6 and world.wires:
            draw.choice(world.wires).cut()
        elif roll < 0.7 and world.wires:
            wire = draw.choice(world.wires)
            if wire.follower.follower.framed:
                wire.flip_bit = draw.randrange(10_000)
        elif roll < 0.73:
            world.run(1500)
            successor = draw.choice([node for node in nodes if node is not leader])
            if successor.follower.connected and successor.values == leader.values:
                successor.promote()
                for node in nodes:
                    if node is not successor:
                        node.follow(successor)
                leader = successor
        elif roll < 0.9:
            for _ in range(draw.randrange(5)):
                world.step()
        else:
            world.advance(draw.choice([100, 1000]))
    for wire in world.wires:
        wire.flip_bit = None
    world.run(12_000)
    for node in nodes:
        assert node.values == leader.values, (seed, node.name, world.log[-20:])
        if node is not leader:
            assert node.follower.connected
            assert node.leader.backlog.end == leader.leader.backlog.end
            assert node.follower.stats.histories_diverged == 0


@pytest.mark.parametrize("seed", range(60))
def test_leaders_that_part_end_equal_and_nothing_is_lost_in_silence(seed: int) -> None:
    """A follower is promoted while its leader, cut off, writes on; again and again, with cuts and
    damage in between. Nobody needs a full sync, and what is gone was given up in the open."""
    draw = random.Random(seed)
    world = World("abc")
    nodes = list(world.nodes.values())
    leader = nodes[0]
    for node in nodes[1:]:
        node.follow(leader)
    world.run(300)
    written: set[bytes] = set()
    for _ in range(60):
        roll = draw.random()
        if roll < 0.4:
            written.add(value := b"value %d" % len(written))
            assert leader.add(value)
        elif roll < 0.5 and world.wires:
            draw.choice(world.wires).cut()
        elif roll < 0.6 and world.wires:
            wire = draw.choice(world.wires)
            if wire.follower.follower.state is FollowerState.STREAM:
                wire.flip_bit = draw.randrange(10_000)
        elif roll < 0.7:
            successor = draw.choice([node for node in nodes if node is not leader])
            if successor.dirty or not successor.follower.connected:
                continue
            successor.promote()
            for node in (leader, successor) * draw.randrange(4):
                written.add(value := b"value %d" % len(written))
                assert node.add(value)
            (third,) = (node for node in nodes if node not in (leader, successor))
            leader.follow(successor)
            third.follow(draw.choice([successor, leader]))
            leader = successor
        else:
            for _ in range(draw.randrange(9)):
                world.step()
            world.advance(draw.choice([100, 1000]))
    for wire in world.wires:
        wire.flip_bit = None
    world.run(20_000)
    assert written.issuperset(leader.values)
    for node in nodes:
        assert sorted(node.values) == sorted(leader.values), (seed, node.name, world.log[-20:])
        if node is not leader:
            assert node.follower.connected, (seed, node.name, world.log[-20:])
            assert node.leader.backlog.mark == leader.leader.backlog.mark
    given_up = {value for node in nodes for value in node.discarded}
    assert written - set(leader.values) <= given_up
    assert sum(node.follower.stats.full_syncs for node in nodes) == 2, (seed, world.log[-40:])


def test_a_follower_that_is_rebuilt_drops_who_follows_it() -> None:
    world = World("abc")
    a, b, c = world.nodes.values()
    b.follow(a)
    world.run(200)
    c.follow(b)
    world.run(1500)
    a.leader.backlog.resize(0)
    assert b.wire is not None
    b.wire.cut()
    for at in range(2000):
        a.add(b"value %d" % at)
    world.run(4000)
    assert b.follower.stats.full_syncs == 2
    assert c.values == b.values == a.values
