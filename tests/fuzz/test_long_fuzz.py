"""The long fuzzer's targets, shortly: what `python -m tests.fuzz` runs by the million."""

import pytest

from tests.fuzz.__main__ import failure, fuzz
from tests.fuzz.targets import TARGETS, Target


@pytest.mark.parametrize("name", TARGETS)
def test_a_thousand_changed_inputs_break_no_promise(name: str) -> None:
    assert fuzz(name, 1000, seed=1)


def test_a_broken_promise_is_reported() -> None:
    def broken(data: bytes, sample: bytes) -> bool:
        raise AssertionError("a promise")

    assert "a promise" in str(failure(Target([b"x"], broken), b"x", b"x"))
