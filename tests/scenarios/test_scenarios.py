"""Plays every scenario file in its world."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.replication_worlds import FollowerWorld, LeaderWorld, PairWorld
from tests.scenarios.runner import World, run_file

HERE = Path(__file__).parent
WORLDS: dict[str, Callable[[], World]] = {
    "leader": LeaderWorld,
    "follower": FollowerWorld,
    "full_sync": PairWorld,
    "rewind": FollowerWorld,
    "rewind_leader": LeaderWorld,
}


@pytest.mark.parametrize("name", sorted(WORLDS))
def test_scenario_file_tells_what_happens(name: str) -> None:
    run_file(HERE / f"{name}.txt", WORLDS[name])
