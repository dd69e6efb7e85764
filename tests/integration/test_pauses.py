"""Planned changes of leader, by each of the four ways, under eight writers: nothing acknowledged is
lost and nobody needs a full synchronization. How long writes stop is `pause_times`' business.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.integration.pause_times import WAYS, cluster_under_lease, measure, wait_for_lease

pytestmark = [pytest.mark.integration, pytest.mark.slow]

#: Of each way; more for a longer look.
ROUNDS = int(os.environ.get("TEST_PAUSE_ROUNDS", "2"))


def test_no_way_of_handing_over_loses_a_write_or_needs_a_full_sync(tmp_path: Path) -> None:
    with cluster_under_lease(tmp_path / "cluster") as cluster:
        wait_for_lease(cluster)
        for way in WAYS:
            found = measure(cluster, way, ROUNDS)
            print(found.lines())
            assert found.lost == []
            assert found.full_syncs == 0
            assert len(found.servers_ms) == ROUNDS
