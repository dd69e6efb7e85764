"""Ids of stream entries: how they are written, and which one comes next."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_server.structures.stream_ids import format_id, next_id

PART_MAX = 2**64 - 1
parts = st.integers(0, PART_MAX) | st.sampled_from([0, 1, 9, 10, 2**63, PART_MAX])


@given(parts, parts)
def test_an_id_is_written_as_its_two_numbers(ms: int, sequence: int) -> None:
    assert format_id(ms << 64 | sequence) == b"%d-%d" % (ms, sequence)


@given(st.integers(0, 2**128 - 2), st.integers(0, 2**63 - 1))
def test_the_next_id_is_of_this_millisecond_and_above_the_last(last_id: int, now_ms: int) -> None:
    entry_id, text = next_id(last_id, now_ms)
    assert entry_id == max(now_ms << 64, last_id + 1)
    assert text == format_id(entry_id)


@pytest.mark.parametrize("sequence", [0, 5, PART_MAX])
def test_ids_within_a_millisecond_and_after_its_last(sequence: int) -> None:
    assert next_id(7 << 64 | sequence, 7)[0] == (7 << 64 | sequence) + 1
    assert next_id(7 << 64 | sequence, 8)[0] == 8 << 64
