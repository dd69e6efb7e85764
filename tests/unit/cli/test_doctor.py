"""Broken set-ups, each with its diagnosis; a sound one with none."""

import copy

import pytest

from cache_server.cli.doctor import Facts, NodeFacts, SentinelFacts, diagnose


def sound():
    """Three sentinels, a leader, two followers."""
    master = {
        "name": "m",
        "ip": "10.0.0.1",
        "port": "6379",
        "quorum": "2",
        "down-after-milliseconds": "30000",
    }
    replicas = [{"ip": f"10.0.0.{n}", "port": "6379", "flags": "slave"} for n in (2, 3)]
    peers = [{"ip": "10.0.1.1", "port": "26379", "flags": "sentinel"} for _ in range(2)]
    config = {"resolve-hostnames": "no"}
    sentinels = [
        SentinelFacts(f"10.0.1.{n}:26379", "", dict(master), copy.deepcopy(peers), replicas, config)
        for n in (1, 2, 3)
    ]
    leader = {
        "role": "master",
        "master_repl_offset": 100,
        "lease_managed": 1,
        "lease_remaining_ms": 500,
    }
    settings = {"durability": "async", "min-in-sync": "2", "repl-backlog-size": "1048576"}
    nodes = [NodeFacts("10.0.0.1:6379", "", {**leader, "lease_node_id": "a"}, dict(settings))]
    for number, node_id in ((2, "b"), (3, "c")):
        info = {
            "role": "slave",
            "master_link_status": "up",
            "slave_repl_offset": 100,
            "lease_node_id": node_id,
        }
        nodes.append(NodeFacts(f"10.0.0.{number}:6379", "", info, dict(settings)))
    return Facts(sentinels, nodes)


def at(kind, index, attribute, **values):
    """A change of one fact: fields of a mapping, or the attribute itself."""

    def change(facts):
        one = getattr(facts, kind)[index]
        if "value" in values:
            setattr(one, attribute, values["value"])
        else:
            getattr(one, attribute).update(values)

    return change


def every(kind, attribute, **values):
    def change(facts):
        for index in range(len(getattr(facts, kind))):
            at(kind, index, attribute, **values)(facts)

    return change


def both(*changes):
    def change(facts):
        for one in changes:
            one(facts)

    return change


def only_leader(facts):
    del facts.nodes[1:]


def two_sentinels(facts):
    for one in facts.sentinels:
        del one.peers[1:]


def peers_away(facts):
    for peer in facts.sentinels[0].peers:
        peer["flags"] = "s_down,sentinel,disconnected"


BROKEN = [
    ("sentinel-silent", at("sentinels", 0, "error", value="Connection refused")),
    ("sentinel-password", at("sentinels", 0, "error", value="NOAUTH Authentication required.")),
    ("quorum-impossible", every("sentinels", "master", quorum="4")),
    ("quorum-differs", at("sentinels", 1, "master", quorum="3")),
    ("two-sentinels", two_sentinels),
    ("no-majority", peers_away),
    ("leaders-differ", at("sentinels", 2, "master", ip="10.0.0.2")),
    ("tilt", at("sentinels", 1, "tilt", value=True)),
    ("state-unwritable", at("sentinels", 1, "state_error", value="ERR Failed to save config file")),
    ("names-and-ips", every("sentinels", "master", ip="cache-1")),
    ("names-not-resolved", every("sentinels", "master", ip="cache-1")),
    ("down-after-too-short", every("sentinels", "master", **{"down-after-milliseconds": "50"})),
    (
        "coordinator-unreachable",
        at(
            "nodes",
            0,
            "info",
            lease_coordinator="embedded",
            lease_coordinator_status="etcd gave no answer",
        ),
    ),
    ("coordinators-differ", at("nodes", 1, "info", lease_coordinator="etcd://10.0.2.1:2379/c")),
    ("node-silent", at("nodes", 1, "error", value="timed out")),
    ("node-password", at("nodes", 1, "error", value="WRONGPASS invalid username-password pair")),
    ("node-permission", at("nodes", 1, "error", value="NOPERM this user has no permissions")),
    ("two-leaders", at("nodes", 1, "info", role="master")),
    ("no-leader", at("nodes", 0, "info", role="slave", master_link_status="up")),
    ("lease-ended", at("nodes", 0, "info", lease_remaining_ms=0)),
    ("link-down", at("nodes", 2, "info", master_link_status="down")),
    (
        "nobody-promotable",
        both(at("nodes", 1, "info", slave_priority=0), at("nodes", 2, "info", slave_priority=0)),
    ),
    ("no-followers", only_leader),
    (
        "min-in-sync-impossible",
        every("nodes", "config", **{"durability": "in-sync", "min-in-sync": "4"}),
    ),
    ("min-replicas-impossible", at("nodes", 0, "config", **{"min-replicas-to-write": "3"})),
    ("durability-differs", at("nodes", 2, "config", durability="in-sync")),
    ("masterauth-missing", at("nodes", 2, "config", requirepass="secret", masterauth="")),
    ("clock", at("nodes", 1, "clock_ms", value=-90_000.0)),
    ("rollback-refused", at("nodes", 1, "info", last_rollback_status="err")),
    ("copied-state", at("nodes", 1, "info", lease_node_id="a")),
    ("far-behind", at("nodes", 0, "info", master_repl_offset=1 << 30)),
]


def test_nothing_is_wrong_with_a_sound_cluster():
    assert diagnose(sound()) == []


@pytest.mark.parametrize(("name", "breaks"), BROKEN, ids=[name for name, _ in BROKEN])
def test_each_broken_set_up_gets_its_diagnosis_and_a_cure(name, breaks):
    facts = sound()
    breaks(facts)
    found = {finding.name: finding for finding in diagnose(facts)}
    assert name in found
    assert found[name].what
    assert found[name].mend
    expected = {name, "names-and-ips"} if name == "names-not-resolved" else {name}
    if name == "names-and-ips":
        expected.add("names-not-resolved")
    if name == "far-behind":
        assert set(found) == {name}
    assert set(found) <= expected
