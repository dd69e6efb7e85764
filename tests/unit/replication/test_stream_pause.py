"""A paused stream: the data stands still, the link stays, and nothing is lost when it goes on."""

import random

import pytest

from replication import events as ev
from replication import stream_pause
from tests.scenarios.miniature import Node, World

FRAMED = pytest.mark.parametrize("framed", ["ab", "a"], ids=["framed", "raw"])


def pair(framed: str = "ab") -> tuple[World, Node, Node]:
    world = World("ab", framed=framed)
    a, b = world.nodes["a"], world.nodes["b"]
    a.add(b"before")
    b.follow(a)
    world.run(300)
    assert b.values == [b"before"]
    return world, a, b


@FRAMED
def test_what_comes_during_a_pause_is_received_and_applied_at_its_end(framed: str) -> None:
    world, a, b = pair(framed)
    position = b.follower.position
    b.hear(ev.StreamPaused(True))
    a.add(b"x")
    a.add(b"y")
    world.run(300)
    assert b.values == [b"before"]
    assert b.follower.position == position
    assert b.follower.received_position == a.leader.backlog.end
    b.hear(ev.StreamPaused(False))
    world.run(300)
    assert b.values == a.values
    a.add(b"z")
    world.run(300)
    assert b.values == a.values
    assert b.follower.position == a.leader.backlog.end
    assert a.leader.stats.sync_full == 1


@FRAMED
def test_a_pause_holds_no_more_than_its_limit_and_outlives_the_timeout(
    framed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_pause, "STREAM_HELD_BYTES_MAX", 300)
    world, a, b = pair(framed)
    wire = b.wire
    b.hear(ev.StreamPaused(True))
    for at in range(100):
        a.add(b"value %d" % at)
        world.run(100)
    assert wire is not None
    assert not wire.read
    assert b.follower.received_position < a.leader.backlog.end
    for _ in range(20):
        world.run(b.follower.settings.timeout_ms // 10)
    assert b.follower.connected
    assert b.wire is wire
    b.hear(ev.StreamPaused(False))
    world.run(1000)
    assert wire.read
    assert b.values == a.values
    assert a.leader.stats.sync_partial_ok == 0


def test_a_link_that_ends_during_a_pause_comes_back_paused() -> None:
    world, a, b = pair()
    b.hear(ev.StreamPaused(True))
    a.add(b"x")
    world.run(100)
    assert b.wire is not None
    b.wire.cut()
    world.run(3000)
    a.add(b"y")
    world.run(300)
    assert b.follower.connected
    assert b.values == [b"before"]
    b.hear(ev.StreamPaused(False))
    world.run(300)
    assert b.values == a.values
    assert a.leader.stats.sync_full == 1


@pytest.mark.parametrize("seed", range(40))
def test_pauses_cuts_and_damage_in_any_order_end_equal(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_pause, "STREAM_HELD_BYTES_MAX", 400)
    draw = random.Random(seed)
    world, a, b = pair(draw.choice(["ab", "a"]))
    for count in range(150):
        roll = draw.random()
        if roll < 0.5:
            a.add(b"value %d" % count)
        elif roll < 0.65:
            b.hear(ev.StreamPaused(draw.random() < 0.5))
        elif roll < 0.7 and b.wire is not None:
            b.wire.cut()
        elif roll < 0.8 and b.wire is not None and b.follower.framed:
            b.wire.flip_bit = draw.randrange(10_000)
        elif roll < 0.95:
            world.step()
        else:
            world.advance(draw.choice([100, 1000]))
    if b.wire is not None:
        b.wire.flip_bit = None
    b.hear(ev.StreamPaused(False))
    world.run(12_000)
    assert b.values == a.values
    assert b.follower.stream.pause.reading
    assert b.follower.position == a.leader.backlog.end
