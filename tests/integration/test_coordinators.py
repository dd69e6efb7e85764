"""Register and lease in etcd and in ZooKeeper: whole clusters of real processes.

What every store has to do by itself is in test_stores.py.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
import redis

from cache_server.cli.doctor import collect, diagnose
from tests.integration.processes import OUR_SENTINEL, OURS, Cluster, Process, ask, wait_for
from tests.integration.stores import Store, needs_store, started
from tests.integration.test_lease import Raw

pytestmark = [pytest.mark.integration, pytest.mark.slow]

#: Longer than by default, so that a loaded machine renews in time.
TTL_MS = int(os.environ.get("TEST_COORDINATOR_TTL_MS", "1500"))
PATIENCE_S = 90.0


class Whole:
    """A store and a cluster that uses it."""

    def __init__(self, store: Store, cluster: Cluster) -> None:
        self.store, self.cluster = store, cluster

    def leader(self) -> Process:
        return self.cluster.by_port(self.cluster.leader_port())


@pytest.fixture(params=["etcd", "zookeeper"], scope="module")
def whole(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Whole]:
    """One for all tests of a store: each leaves it with three nodes that replicate."""
    needs_store(request.param)
    folder = tmp_path_factory.mktemp(request.param)
    store = started(request.param, folder)
    try:
        line = f'coordinator "{store.address(TTL_MS)}"'
        extra = ('save ""', line)
        with Cluster(folder, OURS, OUR_SENTINEL, extra=extra, sentinel_extra=(line,)) as cluster:
            leader = cluster.nodes[0]
            wait_for(lambda: leader.info()["lease_managed"] == 1, "the leader to be under a lease")
            yield Whole(store, cluster)
    finally:
        store.kill()


def refused(node: Process) -> bool:
    """Whether it refuses writes."""
    try:
        node.client().set("x", "1")
    except redis.ReadOnlyError:
        return True
    return False


def failovers(cluster: Cluster) -> int:
    """How many changes of leader any sentinel has begun."""
    return sum(one.log_count("+try-failover") for one in cluster.sentinels)


def test_a_killed_leader_is_replaced_and_comes_back_as_a_follower(whole: Whole) -> None:
    cluster, old = whole.cluster, whole.leader()
    old.client().set("kept", "1")
    wait_for(lambda: all(one.client().get("kept") for one in cluster.nodes), "all to have it")
    old.kill()
    new = cluster.wait_for_new_leader(old.port, PATIENCE_S)
    wait_for(lambda: new.client().set("after", "1"), "the new leader to take writes", PATIENCE_S)
    assert new.client().get("kept") == "1"
    assert cluster.master(cluster.sentinels[0])["coordinator"].startswith(whole.store.kind)
    old.start()
    cluster.wait_for_followers(new, PATIENCE_S)
    assert refused(old)


def test_a_leader_stopped_past_its_lease_acknowledges_nothing_when_it_goes_on(
    whole: Whole,
) -> None:
    cluster, old = whole.cluster, whole.leader()
    links = [Raw(old) for _ in range(4)]
    for link in links:
        link.send(b"SET before 1\r\n")
        assert link.reply() == b"+OK\r\n"
    old.send(signal.SIGSTOP)
    for number, link in enumerate(links):
        link.send(b"SET late:%d 1\r\nGET before\r\n" % number)
    new = cluster.wait_for_new_leader(old.port, PATIENCE_S)
    wait_for(lambda: new.client().set("after", "1"), "the new leader to take writes", PATIENCE_S)
    old.send(signal.SIGCONT)
    for link in links:
        answer = link.reply()
        assert answer == b"" or answer.startswith(b"-READONLY"), answer
        link.close()
    cluster.wait_for_followers(new, PATIENCE_S)
    assert all(new.client().get(f"late:{number}") is None for number in range(len(links)))


def test_without_the_store_writes_end_and_go_on_with_it_and_nobody_else_leads(
    whole: Whole,
) -> None:
    cluster, leader = whole.cluster, whole.leader()
    before = failovers(cluster)
    leader.client().set("x", "0")
    whole.store.suspend()
    wait_for(lambda: refused(leader), "writes to end", PATIENCE_S)
    assert leader.client().get("x") is not None
    places = ",".join(f"127.0.0.1:{one.port}" for one in cluster.sentinels)

    def found() -> set[str]:
        return {one.name for one in diagnose(collect(places, cluster.name, ""))}

    wait_for(lambda: "coordinator-unreachable" in found(), "doctor to say so", PATIENCE_S)
    lines = ask(cluster.sentinels[0], "EXPLAIN", cluster.name)
    assert any("coordinator" in line and "out of reach" in line for line in lines), lines
    whole.store.resume()
    wait_for(lambda: not refused(leader), "writes to go on", PATIENCE_S)
    wait_for(lambda: not found() & {"coordinator-unreachable", "lease-ended"}, "doctor", PATIENCE_S)
    assert cluster.leader_port() == leader.port
    assert failovers(cluster) == before


def test_a_failover_by_hand_loses_nothing_and_waits_for_no_lease(whole: Whole) -> None:
    cluster, old = whole.cluster, whole.leader()
    old.client().set("kept", "1")
    wait_for(lambda: ask(cluster.sentinels[1], "FAILOVER", cluster.name) == "OK", "to be accepted")
    new = cluster.wait_for_new_leader(old.port, PATIENCE_S)
    wait_for(lambda: new.client().set("after", "1"), "the new leader to take writes", PATIENCE_S)
    assert new.client().get("kept") == "1"
    cluster.wait_for_followers(new, PATIENCE_S)


def test_sigterm_hands_the_lead_over_first(whole: Whole) -> None:
    cluster, old = whole.cluster, whole.leader()
    old.client().set("before", "1")
    old.send(signal.SIGTERM)
    new = cluster.wait_for_new_leader(old.port, PATIENCE_S)
    assert old.process is not None
    assert old.process.wait(PATIENCE_S) == 0
    wait_for(lambda: new.client().set("after", "1"), "the new leader to take writes", PATIENCE_S)
    assert new.client().get("before") == "1"
    old.start()
    cluster.wait_for_followers(new, PATIENCE_S)


def test_the_in_sync_set_is_kept_in_the_store(whole: Whole) -> None:
    cluster, leader = whole.cluster, whole.leader()
    for node in cluster.nodes:
        node.client().config_set("durability", "in-sync")

    def taken() -> bool:
        try:
            return bool(leader.client().set("x", "1"))
        except redis.ResponseError:
            return False

    wait_for(lambda: leader.info().get("in_sync_count") == 3, "all in the set", PATIENCE_S)
    wait_for(taken, "a write to be on every member", PATIENCE_S)
    for node in cluster.nodes:
        node.client().config_set("durability", "async")


def test_an_emptied_store_ends_writes_until_the_master_is_monitored_anew(whole: Whole) -> None:
    cluster, leader = whole.cluster, whole.leader()
    leader.client().set("kept", "1")
    whole.store.empty()
    wait_for(lambda: refused(leader), "writes to end", PATIENCE_S)
    first = cluster.sentinels[0]
    # A ZooKeeper that went back in time lets no session in that has seen more.
    words = "it was emptied" if whole.store.kind == "etcd" else "not connected"
    wait_for(
        lambda: words in cluster.master(first)["coordinator-status"],
        "a sentinel to say so",
        PATIENCE_S,
    )
    assert refused(leader)
    if whole.store.kind != "etcd":
        return
    for one in cluster.sentinels:
        ask(one, "REMOVE", cluster.name)
        ask(one, "MONITOR", cluster.name, "127.0.0.1", str(leader.port), "2")
    wait_for(lambda: not refused(leader), "writes to go on", PATIENCE_S)
    assert leader.client().get("kept") == "1"
