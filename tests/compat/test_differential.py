"""Random commands are answered alike by cache-server and redis-server, and leave the same data."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.compat.both import needs_redis
from tests.compat.differential import run
from tests.compat.random_commands import Commands

COMMANDS = 20_000


@pytest.mark.parametrize("seed", [1, 2])
def test_the_same_seed_gives_the_same_commands(seed: int) -> None:
    first, second = (Commands(seed, {"set", "zadd", "sort"}) for _ in range(2))
    assert [first.next() for _ in range(200)] == [second.next() for _ in range(200)]


@pytest.mark.integration
@needs_redis
@pytest.mark.parametrize("seed", [20, 21])
def test_random_commands_are_answered_alike(seed: int, tmp_path: Path) -> None:
    run(seed, COMMANDS, tmp_path)
