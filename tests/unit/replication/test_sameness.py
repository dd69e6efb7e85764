"""Sameness: what differs is found at one position and repaired, and nothing else is touched."""

import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replication import actions as act
from replication import events as ev
from replication.constants import VERIFY_KEYS_MAX, VERIFY_TIMEOUT_MS
from replication.frames import FrameError
from replication.questions import ComparedSide, pack, pack_keys, pack_numbers, unpack, unpack_keys
from replication.sameness import Phase, Sameness
from tests.scenarios.miniature import Node, World

BUCKETS = 64


def bucket_of(value: bytes) -> int:
    return zlib.crc32(value) % BUCKETS


class Comparing(World):
    """Nodes whose values are the keys; a walk ends when the world is stepped, with the data as it
    was when it began."""

    def __init__(self, names: str = "abc") -> None:
        super().__init__(names)
        self.sameness = {name: Sameness(node.leader) for name, node in self.nodes.items()}
        self.walks: list[tuple[Node, act.Action, list[bytes]]] = []
        for node in self.nodes.values():
            node.on_verify = self._answers(node)
            for kind in ("CompareOwnData", "CompareData", "ReadValues", "RepairKeys", "Rebuild"):
                setattr(node, "do_" + kind, self._handler(node, kind))

    def _handler(self, node: Node, kind: str) -> Callable[[Any], None]:
        handler = getattr(self, "_" + kind)
        return lambda action: handler(node, action)

    def _answers(self, node: Node) -> Callable[[int, bytes], None]:
        sameness = self.sameness[node.name]
        return lambda link, payload: sameness.answered(link, payload, self.now_ms)

    def _CompareOwnData(self, node: Node, action: act.CompareOwnData) -> None:
        self.walks.append((node, action, list(node.values)))

    _CompareData = _CompareOwnData

    def _ReadValues(self, node: Node, action: act.ReadValues) -> None:
        values = tuple(
            act.KeyValue(0, key, 0, b"here" if key in node.values else b"")
            for _, key in action.keys
        )
        self.sameness[node.name].values_read(ev.ValuesRead(action.link, values), self.now_ms)

    def _RepairKeys(self, node: Node, action: act.RepairKeys) -> None:
        for each in action.values:
            if not each.payload:
                node.values.remove(each.key)
            elif each.key not in node.values:
                node.values.append(each.key)
        count = b"%d" % len(action.values)
        node.hear(ev.DataCompared(action.number, b"done", (count,)))

    def _Rebuild(self, node: Node, action: act.Rebuild) -> None:
        node.hear(ev.RebuildWanted(action.reason))

    def advance(self, ms: int) -> None:
        super().advance(ms)
        for sameness in self.sameness.values():
            sameness.tick(self.now_ms)
        self.care()

    def care(self) -> None:
        for node in self.nodes.values():
            sameness = self.sameness[node.name]
            while actions := sameness.take_actions():
                for action in actions:
                    node.carry_out(action)
            node.settle()

    def step(self) -> bool:
        moved = super().step()
        walks, self.walks = self.walks, []
        for node, action, values in walks:
            self._end_walk(node, action, values)
        self.care()
        return moved or bool(walks)

    def _end_walk(self, node: Node, action: act.Action, values: list[bytes]) -> None:
        assert isinstance(action, act.CompareOwnData | act.CompareData)
        sums = [0] * BUCKETS
        for value in values:
            sums[bucket_of(value)] += zlib.crc32(b"digest" + value)
        wanted = action.buckets or frozenset()
        listed = [
            (0, value, zlib.crc32(value), bucket_of(value))
            for value in values
            if bucket_of(value) in wanted
        ]
        if isinstance(action, act.CompareOwnData):
            own = None if action.buckets is not None else tuple(sums)
            event = ev.OwnDataCompared(action.number, len(values), own, tuple(listed))
            self.sameness[node.name].own_data_compared(event, self.now_ms)
        elif action.buckets is None:
            node.hear(ev.DataCompared(action.number, b"digests", (pack_numbers(sums),)))
        else:
            words = tuple(pack_keys(each[:3] for each in listed))
            node.hear(ev.DataCompared(action.number, b"keys", words))


@pytest.fixture
def world() -> Comparing:
    world = Comparing()
    a, b, c = world.nodes.values()
    for at in range(100):
        a.add(b"%d" % at)
    b.follow(a)
    c.follow(a)
    world.run(300)
    a.add(b"first")
    world.run(100)
    assert a.values == b.values == c.values
    return world


def verify(world: Comparing) -> None:
    assert world.sameness["a"].start(world.now_ms, by_hand=True) is None
    world.care()
    world.run(1000)
    assert world.sameness["a"].phase is Phase.IDLE


def test_equal_data_is_found_equal_while_writes_go_on(world: Comparing) -> None:
    sameness = world.sameness["a"]
    assert sameness.start(world.now_ms, by_hand=True) is None
    world.care()
    for at in range(50):
        world.nodes["a"].add(b"late %d" % at)
        world.step()
    world.run(500)
    assert sameness.last.same
    assert sameness.last.keys == 101
    assert len(sameness.last.found) == 2
    assert sameness.keys_repaired == 0


def test_what_differs_is_named_and_repaired_and_nothing_else_is_sent(world: Comparing) -> None:
    a, b, _ = world.nodes.values()
    b.values.remove(b"42")
    b.values.append(b"stray")
    verify(world)
    assert sorted(b.values) == sorted(a.values)
    found = {each.name: each for each in world.sameness["a"].last.found.values()}
    assert sorted(found["b:7001"].named) == [(0, b"42"), (0, b"stray")]
    assert not found["c:7002"].buckets
    assert any("b'42' of database 0 differs on replica b:7001" in line for line in world.log)
    verify(world)
    assert world.sameness["a"].last.same
    assert a.leader.stats.sync_full == 2


def test_a_repair_does_not_undo_what_was_written_since(world: Comparing) -> None:
    a, b, _ = world.nodes.values()
    b.values.remove(b"42")
    assert world.sameness["a"].start(world.now_ms, by_hand=True) is None
    world.care()
    for at in range(200):
        a.add(b"more %d" % at)
        world.step()
    world.run(2000)
    assert sorted(b.values) == sorted(a.values)


def test_a_follower_that_goes_is_left_out(world: Comparing) -> None:
    sameness = world.sameness["a"]
    assert sameness.start(world.now_ms, by_hand=True) is None
    wire = world.nodes["b"].wire
    assert wire is not None
    wire.cut()
    world.care()
    world.run(500)
    assert sameness.phase is Phase.IDLE
    assert sorted(each.note for each in sameness.last.found.values()) == ["", "its link was lost"]


def test_a_follower_that_differs_altogether_does_a_full_sync(world: Comparing) -> None:
    a, b, _ = world.nodes.values()
    b.values = [b"other %d" % at for at in range(300)]
    verify(world)
    world.run(3000)
    assert b.values == a.values
    assert a.leader.stats.sync_full == 3
    assert VERIFY_KEYS_MAX > 300


def test_nobody_to_compare_with_and_a_pass_under_way_are_said() -> None:
    world = Comparing("a")
    assert world.sameness["a"].start(0, by_hand=True) == "no follower of ours is online"


def test_the_clock_starts_passes_and_gives_up_one_that_hangs(world: Comparing) -> None:
    sameness = world.sameness["a"]
    sameness.interval_ms = 5000
    world.run(5200)
    assert sameness.passes == 1
    assert sameness.start(world.now_ms, by_hand=True) is None
    sameness.tick(world.now_ms + VERIFY_TIMEOUT_MS + 1)
    assert sameness.phase is Phase.IDLE
    assert {each.note for each in sameness.last.found.values()} == {"it did not answer"}


@given(st.lists(st.binary(max_size=50)))
def test_words_come_out_as_they_went_in(words: list[bytes]) -> None:
    assert unpack(pack(words)) == words


@given(st.binary(max_size=200))
def test_junk_is_refused_by_its_error(data: bytes) -> None:
    for read in (unpack, ComparedSide().take, lambda data: unpack_keys(unpack(data))):
        try:
            read(data)
        except FrameError:
            continue
