"""Digests of buckets: of the data as it was at the start, whatever happens meanwhile."""

import random
from typing import Any

import pytest

from cache_server.datatypes.hashes import Hash
from cache_server.datatypes.list_value import List
from cache_server.datatypes.sets import Set
from cache_server.datatypes.sorted_sets import SortedSet
from cache_server.keyspace.database import Keyspace
from cache_server.persistence.key_digests import BUCKETS, DigestWalk, bucket_of, corrupted
from tests.unit.talk import Room


def filled(seed: int = 1, count: int = 300) -> Keyspace:
    keyspace = Keyspace(2)
    keyspace.now_ms = 1000
    names = [b"%d" % at for at in range(count)]
    random.Random(seed).shuffle(names)
    for name in names:
        db = keyspace.databases[int(name) % 2]
        db.put(b"s" + name, b"v" + name if int(name) % 3 else int(name))
        if int(name) % 5 == 0:
            db.set_expiry(b"s" + name, 500 + int(name))
    members = [b"%d" % at for at in range(600)]
    random.Random(seed).shuffle(members)
    db = keyspace.databases[0]
    db.put(b"hash", Hash((each, each + b"!") for each in members))
    db.put(b"set", Set(members))
    db.put(b"zset", SortedSet((each, float(each)) for each in members))
    db.put(b"list", List([b"a", b"b", b"c"]))
    return keyspace


def sums(keyspace: Keyspace) -> list[int]:
    walk = DigestWalk(keyspace)
    while not walk.ended:
        walk.step(10)
    walk.close()
    return walk.sums


def test_equal_data_gives_equal_digests_in_whatever_order_it_came() -> None:
    assert sums(filled(1)) == sums(filled(2))


def test_a_number_and_its_digits_are_the_same_string() -> None:
    one, two = Keyspace(1), Keyspace(1)
    one.databases[0].put(b"k", 12)
    two.databases[0].put(b"k", b"12")
    assert sums(one) == sums(two)


@pytest.mark.parametrize("key", [b"s10", b"hash", b"set", b"zset", b"list"])
def test_a_corrupted_value_shows_in_its_bucket_alone(key: bytes) -> None:
    keyspace = filled()
    before = sums(keyspace)
    assert corrupted(keyspace.databases[0], key)
    after = sums(keyspace)
    differing = [at for at in range(BUCKETS) if before[at] != after[at]]
    assert differing == [bucket_of(0, key)]


def test_exchanged_values_and_another_order_of_a_list_show() -> None:
    one, two = Keyspace(1), Keyspace(1)
    for keyspace, values in ((one, [b"x", b"y"]), (two, [b"y", b"x"])):
        keyspace.databases[0].put(b"l", List(values))
    assert sums(one) != sums(two)


@pytest.mark.parametrize("seed", range(8))
def test_what_changes_meanwhile_is_digested_as_it_was(seed: int) -> None:
    keyspace = filled()
    expected = sums(keyspace)
    rng = random.Random(seed)
    walk = DigestWalk(keyspace)
    while not walk.ended:
        walk.step(rng.randint(1, 20))
        for _ in range(rng.randint(0, 8)):
            change(keyspace, rng)
    walk.close()
    assert walk.sums == expected
    assert all(db.before_write is None for db in keyspace.databases)
    assert all(db.table.frozen == 0 for db in keyspace.databases)


def change(keyspace: Keyspace, rng: random.Random) -> None:
    db = rng.choice(keyspace.databases)
    key = b"s%d" % rng.randrange(400)
    what = rng.randrange(5)
    if what == 0:
        db.delete(key)
    elif what == 1:
        held: Any = keyspace.databases[0].write(b"set")
        held.add(b"new %d" % rng.randrange(600), 512)
    elif what == 2 and db.table.get(key) is not None:
        db.set_expiry(key, 10_000)
    else:
        db.put(key, b"other")


def test_only_wanted_buckets_are_listed() -> None:
    keyspace = filled()
    wanted = frozenset([bucket_of(0, b"s10"), bucket_of(0, b"hash")])
    walk = DigestWalk(keyspace, wanted)
    while not walk.ended:
        walk.step(10)
    walk.close()
    assert {(0, b"s10"), (0, b"hash")} <= {(db_index, key) for db_index, key, _ in walk.listed}
    assert {bucket_of(db_index, key) for db_index, key, _ in walk.listed} == wanted


GROUP_STEPS = {
    "group": "XGROUP CREATE x other 0",
    "last id": "XGROUP SETID x g 1-1",
    "consumer": "XGROUP CREATECONSUMER x g carol",
    "owner": "XCLAIM x g bob 0 1-1 JUSTID",
    "acknowledged": "XACK x g 1-2",
}


def with_group(*requests: str) -> Keyspace:
    """A stream of four entries, of which alice has two pending and bob one."""
    room = Room()
    shell = room.client()
    for number in range(1, 5):
        shell.say(f"XADD x 1-{number} f v")
    shell.say("XGROUP CREATE x g 0", "XREADGROUP GROUP g alice COUNT 2 STREAMS x >")
    shell.say("XREADGROUP GROUP g bob COUNT 1 STREAMS x >", *requests)
    room.close()
    return room.server.keyspace


@pytest.mark.parametrize("what", GROUP_STEPS)
def test_groups_consumers_and_pending_entries_count(what: str) -> None:
    assert sums(with_group()) == sums(with_group())
    assert sums(with_group(GROUP_STEPS[what])) != sums(with_group())


def test_reading_pending_entries_again_does_not_count() -> None:
    again = with_group("XREADGROUP GROUP g alice STREAMS x 0")
    assert sums(again) == sums(with_group())


def test_a_corrupted_stream_shows() -> None:
    keyspace = with_group()
    before = sums(keyspace)
    assert corrupted(keyspace.databases[0], b"x")
    assert sums(keyspace) != before
