"""A leader that stalls for 300 ms again and again (a fork, a slow command, a busy machine) is not
replaced, and keeps its lease: in virtual time, with `down-after-milliseconds` at one second.
"""

from __future__ import annotations

import os

from tests.scenarios.failover.world import calm
from tests.sim.cluster import Cluster

#: Virtual seconds; an hour takes some minutes: TEST_STALLS_VIRTUAL_S=3600.
DURATION_S = int(os.environ.get("TEST_STALLS_VIRTUAL_S", "120"))
STALL_MS = 300.0
LEASE_TTL_MS = 600


def test_stalls_of_300_ms_make_no_failover_and_end_no_lease() -> None:
    cluster = Cluster(7, options=calm(3, 3, 1_000, LEASE_TTL_MS))
    world, leader = cluster.world, cluster.nodes[0]
    cluster.begin()
    world.run_until(6_000)
    stalls = 0
    while world.now_ms < 6_000 + DURATION_S * 1000:
        leader.pause()
        world.run_until(world.now_ms + STALL_MS)
        leader.resume()
        world.run_until(world.now_ms + 20 + 400 * world.chance.random())
        stalls += 1
        assert leader.can_acknowledge(), f"the lease ended in stall {stalls}"
    told = [line for line in world.history if "failover" in line or "odown" in line]
    assert told == []
    assert leader.follows is None
    assert leader.lease.state.epoch == 0
