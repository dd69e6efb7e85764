"""Sorted sets: the commands against a dumb model, and what they propagate and announce."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache_server.datatypes import sorted_set_algebra, sorted_set_ranges, sorted_sets
from cache_server.datatypes.sorted_sets import SortedSet
from cache_server.wire.replies import NULL_ARRAY
from tests.unit.datatypes.calling import Caller

WRONG_TYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"
XX_AND_NX = "ERR XX and NX options at the same time are not compatible"
GT_AND_NX = "ERR GT, LT, and/or NX options at the same time are not compatible"
INCR_PAIRS = "ERR INCR option supports a single increment-element pair"
RANK_LIMIT = "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX"
LEX_SCORES = "ERR syntax error, WITHSCORES not supported in combination with BYLEX"


def new_caller() -> Caller:
    return Caller(sorted_sets, sorted_set_ranges, sorted_set_algebra)


@pytest.fixture
def call() -> Caller:
    return new_caller()


def ranked(model: dict[bytes, float]) -> list[bytes]:
    return sorted(model, key=lambda member: (model[member], member))


def check(call: Caller, model: dict[bytes, float]) -> None:
    members = ranked(model)
    zset = call.db.peek(b"z")
    assert (zset is None) == (not model)
    if zset is not None:
        assert list(zset.items()) == [(member, model[member]) for member in members]
        assert dict(zset.scores.items()) == model
    assert call("ZRANGE", "z", 0, -1) == members
    assert call("ZREVRANGE", "z", 0, -1) == members[::-1]
    flat = call("ZRANGE", "z", 0, -1, "WITHSCORES")
    assert dict(zip(flat[::2], flat[1::2])) == model


def change(call: Caller, model: dict[bytes, float], rng: Random) -> None:
    member, score = b"%d" % rng.randrange(400), float(rng.randrange(20))
    known = model.get(member)
    match rng.randrange(9):
        case 0 | 1 | 2:
            assert call("ZADD", "z", score, member) == int(known is None)
            model[member] = score
        case 3:
            assert call("ZINCRBY", "z", score, member) == (known or 0) + score
            model[member] = (known or 0) + score
        case 4:
            assert call("ZREM", "z", member) == int(known is not None)
            model.pop(member, None)
        case 5:
            option = rng.choice(["GT", "LT", "XX", "NX"])
            allowed = {
                "GT": known is None or score > known,
                "LT": known is None or score < known,
                "XX": known is not None,
                "NX": known is None,
            }[option]
            expected = int(allowed and known != score)
            assert call("ZADD", "z", option, "CH", score, member) == expected
            if allowed:
                model[member] = score
        case 6 if model:
            expected_member = ranked(model)[0]
            assert call("ZPOPMIN", "z") == [expected_member, model.pop(expected_member)]
        case 7 if model:
            expected_member = ranked(model)[-1]
            assert call("ZPOPMAX", "z") == [expected_member, model.pop(expected_member)]
        case _:
            rank = ranked(model).index(member) if member in model else None
            assert call("ZRANK", "z", member) == rank
            below = None if rank is None else len(model) - 1 - rank
            assert call("ZREVRANK", "z", member) == below


def check_ranges(call: Caller, model: dict[bytes, float], rng: Random) -> None:
    members = ranked(model)
    low, high = float(rng.randrange(20)), float(rng.randrange(20))
    inside = [m for m in members if low <= model[m] <= high]
    strictly = [m for m in members if low < model[m] < high]
    assert call("ZRANGEBYSCORE", "z", low, high) == inside
    assert call("ZREVRANGEBYSCORE", "z", f"({high}", f"({low}") == strictly[::-1]
    assert call("ZCOUNT", "z", low, high) == len(inside)
    offset, limit = rng.randrange(5), rng.randrange(5)
    asked = ("LIMIT", offset, limit)
    end = offset + limit
    assert call("ZRANGE", "z", low, high, "BYSCORE", *asked) == inside[offset:end]
    back = call("ZRANGE", "z", high, low, "BYSCORE", "REV", *asked)
    assert back == inside[::-1][offset:end]
    start, stop = rng.randrange(-450, 450), rng.randrange(-450, 450)
    size = len(members)
    first, last = max(0, start + size * (start < 0)), stop + size * (stop < 0)
    assert call("ZRANGE", "z", start, stop) == members[first : max(0, last + 1)]
    assert call("ZREVRANGE", "z", start, stop) == members[::-1][first : max(0, last + 1)]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_any_sequence_of_changes_agrees_with_a_dict(seed: int) -> None:
    rng, call, model = Random(seed), new_caller(), dict[bytes, float]()
    for _ in range(6):
        for _ in range(120):
            change(call, model, rng)
        check(call, model)
        check_ranges(call, model, rng)
        if rng.random() < 0.5:
            low = float(rng.randrange(20))
            gone = [m for m in model if low <= model[m] <= low + 2]
            assert call("ZREMRANGEBYSCORE", "z", low, low + 2) == len(gone)
            for member in gone:
                del model[member]
            check(call, model)


_NAMES = st.binary(max_size=2)


@settings(deadline=None)
@given(st.sets(_NAMES, max_size=30), _NAMES, _NAMES, st.booleans(), st.booleans())
def test_ranges_by_name_are_in_order_of_bytes(
    names: set[bytes], low: bytes, high: bytes, low_out: bool, high_out: bool
) -> None:
    call = new_caller()
    for name in names:
        call("ZADD", "z", 0, name)
    inside = [
        name
        for name in sorted(names)
        if (low < name or (low == name and not low_out))
        and (name < high or (name == high and not high_out))
    ]
    ends = [(b"(" if low_out else b"[") + low, (b"(" if high_out else b"[") + high]
    assert call("ZRANGEBYLEX", "z", *ends) == inside
    assert call("ZREVRANGEBYLEX", "z", *ends[::-1]) == inside[::-1]
    assert call("ZLEXCOUNT", "z", *ends) == len(inside)
    assert call("ZRANGEBYLEX", "z", "-", "+") == sorted(names)
    assert call("ZREMRANGEBYLEX", "z", *ends) == len(inside)
    assert call("ZRANGE", "z", 0, -1) == [name for name in sorted(names) if name not in inside]


def test_a_range_by_name_looks_at_no_score(call: Caller) -> None:
    call("ZADD", "z", 1, "a", 2, "b", 3, "c", 4, "d")
    assert call("ZRANGE", "z", "[b", "[c", "BYLEX") == [b"b", b"c"]
    assert call("ZRANGESTORE", "out", "z", "(a", "+", "BYLEX") == 3


_SCORED = st.dictionaries(
    st.sampled_from([b"%d" % n for n in range(12)]), st.integers(-5, 5).map(float), max_size=8
)


@settings(deadline=None)
@given(st.lists(_SCORED, min_size=1, max_size=4), st.sampled_from(["SUM", "MIN", "MAX"]))
def test_algebra_agrees_with_dicts(inputs: list[dict[bytes, float]], aggregate: str) -> None:
    call = new_caller()
    keys = [b"z%d" % n for n in range(len(inputs))]
    for key, scored in zip(keys, inputs):
        for member, score in scored.items():
            call("ZADD", key, score, member)
    weights = list(range(1, len(keys) + 1))
    parts: dict[bytes, list[float]] = {}
    for weight, scored in zip(weights, inputs):
        for member, score in scored.items():
            parts.setdefault(member, []).append(weight * score)
    join = {"SUM": sum, "MIN": min, "MAX": max}[aggregate]
    union: dict[bytes, float] = {member: join(values) for member, values in parts.items()}  # type: ignore[operator]
    inter = {member: union[member] for member in parts if len(parts[member]) == len(keys)}
    diff = {m: s for m, s in inputs[0].items() if not any(m in other for other in inputs[1:])}
    options = ["WEIGHTS", *weights, "AGGREGATE", aggregate]
    assert call("ZUNION", len(keys), *keys, *options) == ranked(union)
    assert call("ZINTER", len(keys), *keys, *options) == ranked(inter)
    assert call("ZDIFF", len(keys), *keys) == ranked(diff)
    assert call("ZINTERCARD", len(keys), *keys) == len(inter)
    assert call("ZINTERCARD", len(keys), *keys, "LIMIT", 2) == min(2, len(inter))
    assert call("ZUNIONSTORE", "out", len(keys), *keys, *options) == len(union)
    stored = call("ZRANGE", "out", 0, -1, "WITHSCORES")
    assert dict(zip(stored[::2], stored[1::2])) == union
    assert call("ZINTERSTORE", "out", len(keys), *keys, *options) == len(inter)
    assert call("ZDIFFSTORE", "out", len(keys), *keys) == len(diff) == call("ZCARD", "out")


class _PlainSet(set[bytes]):
    type_name = b"set"


def test_a_plain_set_counts_with_score_one(call: Caller) -> None:
    call.db.put(b"s", _PlainSet({b"a", b"b"}))
    call("ZADD", "z", 5, "a", 6, "c")
    assert call("ZUNION", 2, "z", "s", "WITHSCORES") == [b"b", 1.0, b"a", 6.0, b"c", 6.0]
    assert call("ZINTER", 2, "s", "z", "WITHSCORES") == [b"a", 6.0]
    assert call("ZDIFF", 2, "z", "s") == [b"c"]


def test_opposite_infinities_make_zero(call: Caller) -> None:
    call("ZADD", "a", "inf", "m")
    call("ZADD", "b", "-inf", "m")
    assert call("ZUNION", 2, "a", "b", "WITHSCORES") == [b"m", 0.0]
    assert call("ZUNION", 1, "a", "WEIGHTS", 0, "WITHSCORES") == [b"m", 0.0]
    assert call("ZINTER", 2, "a", "b", "WITHSCORES") == [b"m", 0.0]


def test_changes_count_and_announce_themselves(call: Caller) -> None:
    assert call("ZADD", "z", 1, "a", 2, "b", 3, "c") == 3
    assert (call.dirty, call.events, call.effects) == (3, [(b"zadd", b"z")], None)
    assert call("ZADD", "z", 1, "a", 5, "b") == 0
    assert (call.dirty, call.events) == (1, [(b"zadd", b"z")])
    assert call("ZADD", "z", 1, "a") == 0
    assert (call.dirty, call.events) == (0, [])
    assert call("ZINCRBY", "z", 1, "a") == 2.0
    assert (call.dirty, call.events) == (1, [(b"zincr", b"z")])
    assert call("ZREM", "z", "a", "b") == 2
    assert (call.dirty, call.events) == (2, [(b"zrem", b"z")])
    assert call("ZPOPMIN", "z", 10) == [b"c", 3.0]
    assert call.events == [(b"zpopmin", b"z"), (b"del", b"z")]
    assert call("ZPOPMIN", "z", 10) == []
    assert (call.dirty, call.events) == (0, [])


def test_storing_nothing_deletes_the_destination(call: Caller) -> None:
    call("ZADD", "z", 1, "a")
    assert call("ZRANGESTORE", "out", "z", 0, -1) == 1
    assert (call.dirty, call.events) == (1, [(b"zrangestore", b"out")])
    assert call("ZRANGESTORE", "out", "z", 5, 6) == 0
    assert (call.dirty, call.events) == (1, [(b"del", b"out")])
    assert call("ZUNIONSTORE", "out", 1, "nokey") == 0
    assert (call.dirty, call.events) == (0, [])


def test_pops_from_several_keys_reach_followers_as_plain_pops(call: Caller) -> None:
    call("ZADD", "z", 1, "a", 2, "b", 3, "c", 4, "d", 5, "e")
    assert call("ZMPOP", 2, "nokey", "z", "MIN") == [b"z", [[b"a", 1.0]]]
    assert call.effects == [[b"ZPOPMIN", b"z", b"1"]]
    assert call("ZMPOP", 1, "z", "MAX", "COUNT", 2) == [b"z", [[b"e", 5.0], [b"d", 4.0]]]
    assert call.effects == [[b"ZPOPMAX", b"z", b"2"]]
    assert call("BZPOPMIN", "nokey", "z", 0) == [b"z", b"b", 2.0]
    assert call.effects == [[b"ZPOPMIN", b"z"]]
    assert call("BZMPOP", 0, 1, "z", "MAX", "COUNT", 10) == [b"z", [[b"c", 3.0]]]
    assert call.effects == [[b"ZPOPMAX", b"z", b"1"]]
    assert call("ZMPOP", 1, "z", "MIN") is NULL_ARRAY
    assert call.effects is None


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("ZADD", "z", "nx", "xx", 1, "a"), XX_AND_NX),
        (("ZADD", "z", "gt", "nx", 1, "a"), GT_AND_NX),
        (("ZADD", "z", "incr", 1, "a", 2, "b"), INCR_PAIRS),
        (("ZADD", "z", 1, "a", 2), "ERR syntax error"),
        (("ZADD", "z", "nx", "gt"), "ERR syntax error"),
        (("ZADD", "z", "nan", "a"), "ERR value is not a valid float"),
        (("ZADD", "z", 1, "x", "y", "a"), "ERR value is not a valid float"),
        (("ZINCRBY", "z", "-inf", "inf"), "ERR resulting score is not a number (NaN)"),
        (("ZRANGE", "z", 0, "x"), "ERR value is not an integer or out of range"),
        (("ZRANGE", "z", 0, 1, "LIMIT", 0, 1), RANK_LIMIT),
        (("ZRANGE", "z", "-", "+", "BYLEX", "WITHSCORES"), LEX_SCORES),
        (("ZRANGEBYSCORE", "z", "x", 1), "ERR min or max is not a float"),
        (("ZRANGEBYLEX", "z", "x", "+"), "ERR min or max not valid string range item"),
        (("ZUNION", 0, "z"), "ERR at least 1 input key is needed for 'zunion' command"),
        (("ZUNION", 1, "z", "WEIGHTS", "x"), "ERR weight value is not a float"),
        (("ZINTERCARD", 1, "z", "LIMIT", -1), "ERR LIMIT can't be negative"),
        (("ZMPOP", 0, "z", "MIN"), "ERR numkeys should be greater than 0"),
        (("ZMPOP", 1, "z", "MIN", "COUNT", 0), "ERR count should be greater than 0"),
        (("ZPOPMIN", "z", -1), "ERR value is out of range, must be positive"),
        (("BZPOPMIN", "z", "x"), "ERR timeout is not a float or out of range"),
        (("ZRANDMEMBER", "z", -(2**40)), "ERR value is out of range"),
        (("ZADD", "s", 1, "a"), WRONG_TYPE),
        (("ZSCORE", "s", "a"), WRONG_TYPE),
        (("ZUNION", 2, "z", "s"), WRONG_TYPE),
        (("ZRANGESTORE", "out", "s", 0, 1), WRONG_TYPE),
        (("BZPOPMIN", "s", "z", 0), WRONG_TYPE),
    ],
)
def test_refusals_have_the_texts_of_redis(call: Caller, words: Any, text: str) -> None:
    call("ZADD", "z", "inf", "inf", 1, "one")
    call.db.put(b"s", b"a string")
    assert call.error(*words) == text


def test_the_encoding_changes_once_and_for_all(call: Caller) -> None:
    call("ZADD", "z", 1, "x" * 64)
    assert call.db.peek(b"z").encoding == b"listpack"
    call("ZADD", "z", 1, "x" * 65)
    assert call.db.peek(b"z").encoding == b"skiplist"
    for number in range(129):
        assert number == 0 or call.db.peek(b"many").encoding == b"listpack"
        call("ZADD", "many", number, number)
    assert call.db.peek(b"many").encoding == b"skiplist"
    call("ZRANGESTORE", "few", "many", 0, 5)
    assert call.db.peek(b"few").encoding == b"listpack"


def test_a_member_keeps_one_object_however_often_its_score_changes(call: Caller) -> None:
    for number in range(2000):
        call("ZADD", "z", number, b"m%d" % number)
    for number in range(2000):
        call("ZADD", "z", (number * 7919) % 2000 + 0.5, b"m%d" % number)
    zset = call.db.peek(b"z")
    held = {id(member) for member in zset.scores.keys_list()}
    assert all(id(member) in held for member, _ in zset.items())


def test_random_members_and_scans_cover_the_set(call: Caller) -> None:
    model = {b"%d" % number: float(number % 10) for number in range(1000)}
    call.db.put(b"z", SortedSet(model.items()))
    for count in (1, 500, 2000):
        members = call("ZRANDMEMBER", "z", count)
        assert len(set(members)) == len(members) == min(count, 1000)
        assert len(call("ZRANDMEMBER", "z", -count, "WITHSCORES")) == 2 * count
    cursor, found = b"0", {}
    while True:
        cursor, words = call("ZSCAN", "z", cursor, "COUNT", 30)
        found.update(zip(words[::2], map(float, words[1::2])))
        if cursor == b"0":
            break
    assert found == model


def test_a_copy_is_independent_and_memory_is_estimated(call: Caller) -> None:
    call("ZADD", "z", 1, "a", 2, "b")
    value = call.db.peek(b"z")
    twin = value.copy()
    call("ZADD", "z", 3, "a")
    call("ZREM", "z", "b")
    assert list(twin.items()) == [(b"a", 1.0), (b"b", 2.0)]
    assert twin.encoding == b"listpack"
    assert 200 < twin.memory_bytes(0) < 5000
