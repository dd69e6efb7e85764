"""Fields: as a dict, in one block of memory and beyond it."""

from __future__ import annotations

import os
from random import Random

import pytest

from cache_server.constants import FIELDS_BLOCK_BYTES_MAX, FIELDS_BLOCK_PAIRS_MAX
from cache_server.structures.fields import Fields


@pytest.mark.parametrize("value_bytes_max", [0, 12, 255, 400])
def test_behaves_as_a_dict_whatever_the_sizes(value_bytes_max: int) -> None:
    rng = Random(value_bytes_max)
    for _ in range(120):
        fields, model = Fields(), {}
        for _ in range(rng.randrange(150)):
            name = b"field:%d" % rng.randrange(90)
            if rng.random() < 0.7:
                value = rng.randbytes(rng.randint(0, value_bytes_max))
                assert fields.set(name, value) == (name not in model)
                model[name] = value
            else:
                assert fields.discard(name) == (model.pop(name, None) is not None)
            assert len(fields) == len(model)
            assert fields.get(name) == model.get(name)
            assert (name in fields) == (name in model)
        assert dict(fields.items()) == model
        assert list(fields.keys_list()) == list(fields) == fields.flat_items()[::2]
        assert sorted(fields) == sorted(model)
        assert fields.values_list() == [model[name] for name in fields]
        assert fields.scan(0, 1000) == (0, fields.keys_list())
        assert fields.random_key(rng) in (model or [None])


@pytest.mark.parametrize("long", [b"x" * 255, b"x" * 256, b"x" * 70000, b"\0" * 300])
def test_long_fields_and_values_are_kept_whole(long: bytes) -> None:
    fields = Fields()
    fields.set(b"short", b"1")
    fields.set(long, b"2")
    fields.set(b"value", long)
    fields.set(b"", b"")
    assert dict(fields.items()) == {b"short": b"1", long: b"2", b"value": long, b"": b""}


def test_each_field_of_a_block_is_drawn() -> None:
    fields = Fields()
    names = {b"%d" % number for number in range(FIELDS_BLOCK_PAIRS_MAX)}
    for name in names:
        fields.set(name, b"")
    rng = Random(3)
    assert {fields.random_key(rng) for _ in range(40 * len(names))} == names


@pytest.mark.skipif(bool(os.environ.get("CACHE_SERVER_PURE")), reason="the twin has no blocks")
def test_a_block_becomes_a_table_at_its_limits() -> None:
    def filled(count: int, value_bytes: int) -> Fields:
        fields = Fields()
        for number in range(count):
            fields.set(b"%03d" % number, b"x" * value_bytes)
        return fields

    assert filled(FIELDS_BLOCK_PAIRS_MAX, 1).unpacked is None
    assert filled(FIELDS_BLOCK_PAIRS_MAX + 1, 1).unpacked is not None
    fits = FIELDS_BLOCK_BYTES_MAX // (2 + 3 + 100)
    assert filled(fits, 100).unpacked is None
    assert filled(fits + 1, 100).unpacked is not None


@pytest.mark.parametrize("pairs", [0, 1, 10, FIELDS_BLOCK_PAIRS_MAX, 1 + FIELDS_BLOCK_PAIRS_MAX])
@pytest.mark.parametrize("value_bytes", [0, 5, 255, 256])
def test_words_taken_at_once_are_those_set_one_by_one(pairs: int, value_bytes: int) -> None:
    words = [word for at in range(pairs) for word in (b"f:%d" % at, bytes(value_bytes))]
    taken, one_by_one = Fields(), Fields()
    assert taken.take_words(words)
    for at in range(0, len(words), 2):
        one_by_one.set(words[at], words[at + 1])
    assert taken.flat_items() == one_by_one.flat_items()
    assert (taken.unpacked is None) == (one_by_one.unpacked is None)
    assert taken.longest_word() == max(map(len, words), default=0)
    assert taken.set(b"another", b"word")
    assert taken.get(b"another") == b"word"
    assert len(taken) == pairs + 1


@pytest.mark.parametrize("pairs", [2, 10, 900])
def test_words_with_a_field_twice_are_known(pairs: int) -> None:
    words = [word for at in range(pairs) for word in (b"f:%d" % (at % (pairs - 1)), b"value")]
    assert not Fields().take_words(words)
