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
