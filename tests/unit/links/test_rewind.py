"""Rewind: after any tail and any stream behind the fork, the data is the leader's, and the rollback
file holds the tail."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache_server.commands.digest import dataset_digest
from cache_server.commands.touched_keys import UntraceableError
from cache_server.links.own_tail import Source, scan_tail
from cache_server.links.rewind import DirtyKeys
from cache_server.links.sameness import read_values, repair
from replication.constants import REWIND_BATCH_KEYS
from tests.unit.talk import Room

KEYS = [b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"h"]

SCRIPT = "\"redis.call('SET', KEYS[1], redis.call('GET', KEYS[2]) or 'none')\""


class Side:
    """A server whose stream is kept, and which can be written to as its clients would."""

    def __init__(self) -> None:
        self.room = Room(enable_debug_command="yes")
        self.server: Any = self.room.server
        self.client: Any = self.room.client()
        self.backlog = self.server.replication.leader.backlog
        self.backlog.active = True
        self.server.replication.refresh()

    def run(self, line: str) -> None:
        self.client.say(line)
        self.server.replication.flush()

    def digest(self) -> int:
        return int(dataset_digest(self.server.keyspace))


@pytest.fixture
def sides() -> Iterator[tuple[Side, Side]]:
    made = Side(), Side()
    yield made
    for side in made:
        side.room.close()


def random_line(rng: random.Random) -> str:
    """A write, on few keys, so that they meet; of every kind that could carry a value along."""
    one, two, three = (rng.choice(KEYS).decode() for _ in range(3))
    number = rng.randrange(5)
    return rng.choice(
        [
            f"SET {one} {number}",
            f"INCR {one}",
            f"APPEND {one} {number}",
            f"DEL {one} {two}",
            f"MSET {one} 1 {two} 2",
            f"MSETNX {one} 1 {two} 2",
            f"RPUSH l{one} {number} {number}",
            f"LMOVE l{one} l{two} LEFT RIGHT",
            f"LPOP l{one}",
            f"SADD s{one} {number}",
            f"SUNIONSTORE s{one} s{two} s{three}",
            f"SINTERSTORE s{one} s{two} s{three}",
            f"SMOVE s{one} s{two} {number}",
            f"SPOP s{one}",
            f"ZADD z{one} {number} m{number}",
            f"ZUNIONSTORE z{one} 2 z{two} z{three}",
            f"HSET h{one} f{number} {number}",
            f"HINCRBY h{one} f{number} 3",
            f"COPY h{one} h{two}",
            f"COPY {one} {two} DB 1",
            f"MOVE {one} 1",
            f"RENAME {one} {two}",
            f"EXPIRE {one} 100000",
            f"SORT l{one} BY h*->f1 STORE l{two}",
            f"BITOP XOR {one} {two} {three}",
            f"PFADD p{one} {number}",
            f"PFMERGE p{one} p{two}",
            f"XADD x{one} 1-{number + 1} f {number}",
            f"EVAL {SCRIPT} 2 {one} {two}",
            f"SELECT {number % 2}",
        ]
    )


def write(side: Side, rng: random.Random, count: int) -> None:
    for _ in range(count):
        if rng.random() < 0.15:
            side.run("MULTI")
            for _ in range(3):
                side.run(random_line(rng))
            side.run("EXEC")
        else:
            side.run(random_line(rng))


class Rewound:
    """The old leader's side of a rewind, with the leader's answers handed over directly."""

    def __init__(self, old: Side, new: Side, fork: int, database: int) -> None:
        self.new, self.server, self.at = new, old.server, fork
        backlog = old.backlog
        source = Source(fork, backlog.sealed_from(fork), backlog.mark_at(fork), database)
        tail = scan_tail(self.server.dispatcher.commands, source, database, 16)
        assert tail is not None
        assert not tail.untraceable
        self.dirty = DirtyKeys(self.server.dispatcher.commands, tail.keys)
        self.applier = self.server.replication.following.applier
        self.applier.restart(fork, database)
        self.applier.passes_over = self.dirty.meets
        self.dirty.select(database)

    def follow(self) -> None:
        """Takes the leader's stream up to its end."""
        backlog = self.new.backlog
        if backlog.end > self.at:
            self.applier.apply(backlog.read(self.at, 1 << 30)[0])
            self.at = backlog.end

    def fetch(self, count: int) -> None:
        """Fetches some of the dirty keys, as they are at the stream's end."""
        wanted = sorted(self.dirty.keys)[:count]
        self.follow()
        values = read_values(self.new.server.keyspace, wanted)
        assert repair(self.server, values) == len(values)
        self.dirty.keys.difference_update(wanted)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 32))
def test_after_any_tail_the_data_is_the_leader_s(seed: int) -> None:
    rng = random.Random(seed)
    old, new = Side(), Side()
    try:
        write(old, rng, 20)
        old.run("SELECT 0")
        old.run("SET fork 1")
        new.server.replication.following.applier.restart(0, 0)
        new.server.replication.following.applier.apply(old.backlog.read(0, 1 << 30)[0])
        assert new.digest() == old.digest()
        fork = old.backlog.end
        new.backlog.reset(fork, old.backlog.mark)
        write(old, rng, rng.randrange(1, 25))
        new.server.replication.forget_selected()
        write(new, rng, rng.randrange(0, 20))
        rewound = Rewound(old, new, fork, 0)
        while rewound.dirty.keys:
            write(new, rng, rng.randrange(0, 4))
            rewound.fetch(rng.randrange(1, 6))
        rewound.applier.passes_over = None
        write(new, rng, 3)
        rewound.follow()
        assert old.digest() == new.digest()
    finally:
        old.room.close()
        new.room.close()


def dirty(sides: tuple[Side, Side], *keys: bytes) -> DirtyKeys:
    return DirtyKeys(sides[0].server.dispatcher.commands, {(0, key) for key in keys})


def test_what_is_written_out_of_a_dirty_key_is_dirty(sides: tuple[Side, Side]) -> None:
    held = dirty(sides, b"a")
    assert not held.meets([b"SET", b"x", b"1"])
    assert held.meets([b"INCR", b"a"])
    assert held.meets([b"SUNIONSTORE", b"b", b"a", b"c"])
    assert held.keys == {(0, b"a"), (0, b"b"), (0, b"c")}
    assert held.meets([b"SORT", b"q", b"BY", b"w*", b"STORE", b"r"])
    assert (0, b"r") in held.keys
    assert not held.meets([b"DEL", b"a", b"z"])
    assert (0, b"z") not in held.keys


def test_another_database_is_another_key(sides: tuple[Side, Side]) -> None:
    held = dirty(sides, b"a")
    assert not held.meets([b"SELECT", b"1"])
    assert not held.meets([b"INCR", b"a"])
    assert not held.meets([b"SWAPDB", b"0", b"1"])
    assert held.keys == {(0, b"a"), (1, b"a")}


def test_a_command_nobody_knows_ends_the_rewind(sides: tuple[Side, Side]) -> None:
    with pytest.raises(UntraceableError):
        dirty(sides, b"a").meets([b"SOMETHING", b"a"])


def test_a_question_is_bounded(sides: tuple[Side, Side]) -> None:
    held = dirty(sides, *(b"%d" % at for at in range(3 * REWIND_BATCH_KEYS)))
    assert len(held.batch()) == REWIND_BATCH_KEYS
    held = dirty(sides, b"x" * 1_000_000, b"y" * 1_000_000)
    assert len(held.batch()) == 1
