"""`durability in-sync` with real processes: a killed leader takes no acknowledged write with it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.integration.pause_times import Writer
from tests.integration.processes import OUR_SENTINEL, OURS, Cluster, wait_for
from tests.integration.test_lease import WRITERS, stop_writers, wait_for_more_writes

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    extra = ("durability in-sync", "in-sync-timeout 500", 'save ""')
    with Cluster(tmp_path, OURS, OUR_SENTINEL, extra=extra) as cluster:
        leader = cluster.nodes[0]
        wait_for(lambda: leader.info()["lease_managed"] == 1, "the leader to be under a lease")
        wait_for(lambda: leader.info().get("in_sync_count") == 3, "everybody to be in sync")
        yield cluster


def test_a_killed_leader_loses_no_acknowledged_write(cluster: Cluster) -> None:
    writers = [Writer(cluster, number) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    old = cluster.by_port(cluster.leader_port())
    wait_for(lambda: all(len(one.keys) > 20 for one in writers), "writes")
    old.kill()
    new = cluster.wait_for_new_leader(old.port)
    wait_for_more_writes(writers)
    written = stop_writers(writers)
    client = new.client()
    lost = [key for key in written if not client.exists(key)]
    print(f"{len(written)} writes acknowledged, {len(lost)} lost")
    assert lost == []


def test_writes_go_on_without_a_stopped_follower_and_end_below_the_minimum(
    cluster: Cluster,
) -> None:
    leader = cluster.by_port(cluster.leader_port())
    followers = [node for node in cluster.nodes if node is not leader]
    followers[0].send(signal.SIGSTOP)
    assert leader.client(socket_timeout=10).set("a", "1")
    wait_for(lambda: leader.info()["in_sync_count"] == 2, "the stopped one to leave the set")
    followers[1].send(signal.SIGSTOP)
    with pytest.raises((redis.ConnectionError, redis.TimeoutError, redis.ResponseError)):
        leader.client(socket_timeout=10).set("b", "1")
    for one in followers:
        one.send(signal.SIGCONT)
    wait_for(lambda: leader.info()["in_sync_count"] == 3, "both to be back in the set")
    assert leader.client(socket_timeout=10).set("c", "1")


def test_the_only_member_that_survives_is_elected_though_the_others_are_dead(
    cluster: Cluster,
) -> None:
    leader = cluster.by_port(cluster.leader_port())
    assert leader.client(socket_timeout=10).set("kept", "1")
    dead, survivor = [node for node in cluster.nodes if node is not leader]
    dead.kill()
    leader.kill()
    assert cluster.wait_for_new_leader(leader.port, 60) is survivor
    assert survivor.client().get("kept") == "1"
