"""HyperLogLog values: known hashes, both encodings hold the same, damage is refused."""

from __future__ import annotations

from random import Random

import pytest

from cache_server.structures import hyperloglog
from cache_server.structures.hyperloglog import REGISTERS, CorruptedError

ROOMY = 100_000


def test_a_new_value_is_one_run_of_zeros() -> None:
    data = hyperloglog.new()
    assert bytes(data) == b"HYLL\x01" + bytes(11) + b"\x7f\xff"
    assert hyperloglog.has_header(data)
    assert hyperloglog.cached_count(data) == 0
    assert hyperloglog.count(data) == 0


@pytest.mark.parametrize("seed", range(4))
def test_sparse_and_dense_hold_the_registers_of_a_plain_model(seed: int) -> None:
    rng = Random(seed)
    sparse, dense = hyperloglog.new(), hyperloglog.new()
    hyperloglog.to_dense(dense)
    model = [0] * REGISTERS
    spread = rng.choice([20, 300, REGISTERS])
    for _ in range(1500):
        index, value = rng.randrange(spread), rng.choice([1, 1, 2, rng.randint(1, 32)])
        changes = int(value > model[index])
        model[index] = max(model[index], value)
        assert hyperloglog.raise_register(sparse, index, value, ROOMY) == changes
        assert hyperloglog.raise_register(dense, index, value, ROOMY) == changes
    assert sparse[4] == hyperloglog.SPARSE
    assert hyperloglog.register_values(sparse) == model
    assert hyperloglog.register_values(dense) == model
    assert hyperloglog.count(sparse) == hyperloglog.count(dense)


def test_neighbours_of_one_value_are_one_run_of_at_most_four() -> None:
    data = hyperloglog.new()
    for index in range(6):
        hyperloglog.raise_register(data, index, 3, ROOMY)
    assert hyperloglog.opcodes(data) == b"v:3,4 v:3,2 Z:16378"
    hyperloglog.raise_register(data, 1, 4, ROOMY)
    assert hyperloglog.opcodes(data) == b"v:3,1 v:4,1 v:3,4 Z:16378"


def test_a_value_turns_dense_by_a_large_register_and_by_its_length() -> None:
    data = hyperloglog.new()
    hyperloglog.raise_register(data, 5, 33, ROOMY)
    assert data[4] == hyperloglog.DENSE
    data = hyperloglog.new()
    hyperloglog.raise_register(data, 5, 1, 19)
    assert data[4] == hyperloglog.DENSE
    assert hyperloglog.register_values(data)[5] == 1
    assert len(data) == hyperloglog.DENSE_BYTES


@pytest.mark.parametrize("size", [10, 1000, 30_000])
def test_the_estimate_is_within_three_percent(size: int) -> None:
    data = hyperloglog.new()
    for number in range(size):
        hyperloglog.add(data, b"element:%d" % number, 3000)
    assert abs(hyperloglog.count(data) - size) <= size * 0.03


def test_the_cached_count_is_void_after_a_change() -> None:
    data = hyperloglog.new()
    hyperloglog.cache_count(data, 2**40 + 1)
    assert hyperloglog.cached_count(data) == 2**40 + 1
    hyperloglog.add(data, b"x", 3000)
    assert hyperloglog.cached_count(data) == -1


@pytest.mark.parametrize(
    "runs", [b"", b"\x3f", b"\x7f", b"\x7f\xff\x00", b"\x7f\xff\x7f\xff", b"\x7f\xfe"]
)
def test_runs_that_do_not_cover_the_registers_are_refused(runs: bytes) -> None:
    data = hyperloglog.new()[:16] + runs
    for use in (hyperloglog.count, hyperloglog.to_dense, hyperloglog.register_values):
        with pytest.raises(CorruptedError):
            use(bytearray(data))


def test_a_dense_value_has_one_length() -> None:
    data = hyperloglog.new()
    hyperloglog.to_dense(data)
    assert hyperloglog.has_header(data)
    assert not hyperloglog.has_header(data + b"\0")
    assert not hyperloglog.has_header(data[:-1])
    assert not hyperloglog.has_header(b"HYLL\x02" + bytes(20))
    assert not hyperloglog.has_header(b"HYLX\x01" + bytes(20))
    assert not hyperloglog.has_header(b"HYLL\x01")
