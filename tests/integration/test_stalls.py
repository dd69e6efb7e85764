"""A leader that is stopped for 300 ms again and again, at the default settings: nobody replaces it.

Five seconds of it; TEST_STALLS_S=60 for a longer look. An hour passes in virtual time in
tests/scenarios/failover/test_stalls.py.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from replication.failover.constants import DOWN_AFTER_MS
from tests.integration.processes import OUR_SENTINEL, OURS, Cluster, ask, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.slow]

DURATION_S = float(os.environ.get("TEST_STALLS_S", "5"))
STALL_S = 0.3


def test_a_leader_that_stalls_is_not_replaced(tmp_path: Path) -> None:
    with Cluster(tmp_path / "cluster", OURS, OUR_SENTINEL, down_after_ms=DOWN_AFTER_MS) as cluster:
        leader = cluster.nodes[0]
        wait_for(lambda: leader.info()["lease_managed"] == 1, "the lease")
        until_s, stalls = time.monotonic() + DURATION_S, 0
        while time.monotonic() < until_s:
            leader.send(signal.SIGSTOP)
            time.sleep(STALL_S)
            leader.send(signal.SIGCONT)
            wait_for(lambda stalls=stalls: leader.client().set("stalls", stalls), "a write")
            stalls += 1
        print(f"{stalls} stalls")
        assert cluster.leader_port() == leader.port
        for sentinel in cluster.sentinels:
            assert not [line for line in ask(sentinel, "HISTORY") if "failover" in line]
