"""EXPLAIN: the words a sentinel has for what it knows."""

from replication.failover.events import ExplainAsked
from tests.scenarios.failover.world import calm
from tests.sim.cluster import NAME, Cluster


def explained(cluster, index=0):
    sentinel = cluster.sentinels[index]
    lines = []
    sentinel.hand_in(ExplainAsked(sentinel._next(lines.append), NAME))
    return [line.decode() for line in lines[0]]


def settled():
    cluster = Cluster(1, options=calm(3, 3, 1_000, 600))
    for process in cluster.everybody():
        process.start()
    cluster.world.run_until(6_000)
    return cluster


def test_a_calm_cluster_is_explained():
    lines = explained(settled())
    assert lines[0] == "leader: 10.0.0.1:6379, epoch 0, up"
    assert "agreement: 0 of the quorum of 2 say that it is down" in lines
    assert any(line.startswith("candidate 10.0.0.2:6379: would lead") for line in lines)
    assert any("fit, but another comes first" in line for line in lines)
    assert lines[-1] == "state: no failover under way"


def test_a_dead_leader_and_an_unfit_follower_are_explained():
    cluster = settled()
    cluster.nodes[2].crash()
    cluster.world.run_until(8_000)
    cluster.nodes[0].crash()
    cluster.sentinels[1].pause()
    cluster.sentinels[2].pause()
    cluster.world.run_until(10_500)
    lines = explained(cluster)
    assert "down for" in lines[0]
    assert any(line.startswith("candidate 10.0.0.3:6379: not fit: it is down") for line in lines)
    assert "agreement: 1 of the quorum of 2 say that it is down" in lines
    assert "sentinels: 3 of 3 reachable, 2 needed for a change" in lines
