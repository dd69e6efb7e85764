"""`cachectl doctor`: what is wrong with a cluster, and the command that mends it.

Facts are collected first (`collect`), then looked at by rules that ask nobody (`diagnose`), so each
rule is a few lines over plain values and is tried without a cluster.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import redis
import typer

from cache_server.cli.asking import (
    SENTINELS_DEFAULT,
    Fields,
    PasswordOption,
    Place,
    SentinelOption,
    ask_sentinel,
    connect,
    console,
    pairs,
    parse_place,
)

CLOCK_APART_MS_MAX = 2_000
LAG_BYTES_MAX = 16 * 1024 * 1024
_SETTINGS = (
    "durability",
    "min-in-sync",
    "min-replicas-to-write",
    "replica-announce-ip",
    "masterauth",
    "requirepass",
    "maxmemory",
    "save",
    "appendonly",
    "repl-backlog-size",
)


@dataclass
class SentinelFacts:
    """What one sentinel says of the master. `clock_ms` is how far its clock is from ours."""

    place: str
    error: str = ""
    master: Fields = field(default_factory=dict)
    peers: list[Fields] = field(default_factory=list)
    replicas: list[Fields] = field(default_factory=list)
    config: Fields = field(default_factory=dict)
    tilt: bool = False
    state_error: str = ""
    clock_ms: float = 0.0


@dataclass
class NodeFacts:
    """What one data node says."""

    place: str
    error: str = ""
    info: Fields = field(default_factory=dict)
    config: Fields = field(default_factory=dict)
    clock_ms: float = 0.0

    @property
    def leads(self) -> bool:
        return self.info.get("role") == "master"


@dataclass
class Facts:
    """A cluster at one instant."""

    sentinels: list[SentinelFacts] = field(default_factory=list)
    nodes: list[NodeFacts] = field(default_factory=list)


@dataclass(frozen=True)
class Finding:
    """One trouble: its name, what is wrong, and what mends it."""

    name: str
    what: str
    mend: str


Rule = Callable[[Facts], Iterator[Finding]]


def _number(fields: Fields, name: str, default: int = 0) -> int:
    word = str(fields.get(name, default))
    return int(word) if word.lstrip("-").isdigit() else default


def _answering(facts: Facts) -> list[SentinelFacts]:
    return [one for one in facts.sentinels if not one.error and one.master]


def _is_name(host: str) -> bool:
    return not host.replace(".", "").isdigit() and ":" not in host


# -- sentinels ------------------------------------------------------------------------------------


def _sentinel_silent(facts: Facts) -> Iterator[Finding]:
    for one in facts.sentinels:
        if one.error and "NOAUTH" not in one.error and "WRONGPASS" not in one.error:
            yield Finding(
                "sentinel-silent",
                f"the sentinel {one.place} does not answer: {one.error}",
                "start it: cache-sentinel sentinel.conf",
            )


def _sentinel_auth(facts: Facts) -> Iterator[Finding]:
    for one in facts.sentinels:
        if "NOAUTH" in one.error or "WRONGPASS" in one.error:
            yield Finding(
                "sentinel-password",
                f"the sentinel {one.place} wants another password",
                "cachectl doctor --password ..., or CONFIG SET requirepass on the sentinel",
            )


def _quorum_impossible(facts: Facts) -> Iterator[Finding]:
    for one in _answering(facts):
        known = len(one.peers) + 1
        if _number(one.master, "quorum") > known:
            yield Finding(
                "quorum-impossible",
                f"{one.place}: quorum {one.master['quorum']} of {known} sentinels known",
                f"SENTINEL SET {one.master['name']} quorum {known // 2 + 1}",
            )


def _quorum_differs(facts: Facts) -> Iterator[Finding]:
    told = {str(one.master.get("quorum")) for one in _answering(facts)}
    if len(told) > 1:
        yield Finding(
            "quorum-differs",
            f"sentinels count with different quorums: {', '.join(sorted(told))}",
            "SENTINEL SET <name> quorum <n>, the same on every sentinel",
        )


def _even_sentinels(facts: Facts) -> Iterator[Finding]:
    for one in _answering(facts)[:1]:
        known = len(one.peers) + 1
        if known == 2:
            yield Finding(
                "two-sentinels",
                "with two sentinels neither may fail: a majority of two is two",
                "start a third one, on a machine of its own",
            )


def _majority_away(facts: Facts) -> Iterator[Finding]:
    for one in _answering(facts):
        away = [p for p in one.peers if "down" in p["flags"] or "disconnected" in p["flags"]]
        known = len(one.peers) + 1
        if known - len(away) < known // 2 + 1:
            yield Finding(
                "no-majority",
                f"{one.place} reaches {known - len(away)} of {known} sentinels: none can lead anew",
                "start the others; forget those that are gone for good: SENTINEL RESET <name>",
            )


def _sentinels_disagree(facts: Facts) -> Iterator[Finding]:
    told = {f"{s.master['ip']}:{s.master['port']}" for s in _answering(facts)}
    if len(told) > 1:
        yield Finding(
            "leaders-differ",
            f"sentinels name different leaders: {', '.join(sorted(told))}",
            "restore the network between sentinels; they settle on the highest epoch",
        )


def _tilt(facts: Facts) -> Iterator[Finding]:
    for one in _answering(facts):
        if one.tilt:
            yield Finding(
                "tilt",
                f"{one.place} is in TILT: it was stopped, or its clock jumped",
                "give it CPU, and mend the clock (chronyc makestep)",
            )


def _state_unwritable(facts: Facts) -> Iterator[Finding]:
    for one in facts.sentinels:
        if one.state_error:
            yield Finding(
                "state-unwritable",
                f"{one.place} cannot write its state: {one.state_error}",
                "make its folder writable for its user, and see that the disk is not full",
            )


def _names_and_ips(facts: Facts) -> Iterator[Finding]:
    for one in _answering(facts):
        hosts = [one.master["ip"], *(replica["ip"] for replica in one.replicas)]
        kinds = {_is_name(host) for host in hosts}
        if len(kinds) > 1:
            yield Finding(
                "names-and-ips",
                f"{one.place} knows some nodes by name and some by IP: {', '.join(hosts)}",
                "set replica-announce-ip on every node to a name, and SENTINEL CONFIG SET "
                "resolve-hostnames yes and announce-hostnames yes",
            )


def _names_unresolved(facts: Facts) -> Iterator[Finding]:
    for one in _answering(facts):
        named = _is_name(str(one.master["ip"]))
        if named and one.config.get("resolve-hostnames") == "no":
            yield Finding(
                "names-not-resolved",
                f"{one.place} watches {one.master['ip']} by name and does not resolve names",
                "SENTINEL CONFIG SET resolve-hostnames yes",
            )


def _down_after_below_lease(facts: Facts) -> Iterator[Finding]:
    for one in _answering(facts):
        if 0 < _number(one.master, "down-after-milliseconds") < 200:
            yield Finding(
                "down-after-too-short",
                f"{one.place}: down-after-milliseconds {one.master['down-after-milliseconds']} "
                "takes a stall for a death",
                f"SENTINEL SET {one.master['name']} down-after-milliseconds 1000",
            )


# -- where register and lease are kept ------------------------------------------------------------


def _coordinator_silent(facts: Facts) -> Iterator[Finding]:
    told = [
        (one.place, one.master.get("coordinator"), one.master.get("coordinator-status"))
        for one in _answering(facts)
    ]
    told += [
        (one.place, one.info.get("lease_coordinator"), one.info.get("lease_coordinator_status"))
        for one in facts.nodes
    ]
    for place, coordinator, status in told:
        if coordinator and status not in (None, "ok"):
            yield Finding(
                "coordinator-unreachable",
                f"{place} cannot use the coordinator {coordinator}: {status}",
                "bring the store back (etcdctl endpoint health, zkServer.sh status), or mend the "
                "network to it; writes go on by themselves then",
            )


def _coordinators_differ(facts: Facts) -> Iterator[Finding]:
    told = {str(one.master.get("coordinator", "embedded")) for one in _answering(facts)}
    told |= {str(one.info["lease_coordinator"]) for one in facts.nodes if not one.error
             and "lease_coordinator" in one.info}  # fmt: skip
    if len(told) > 1:
        yield Finding(
            "coordinators-differ",
            f"register and lease are looked for in different places: {', '.join(sorted(told))}",
            "the same line 'coordinator ...' in the file of every sentinel and node; restart them",
        )


# -- data nodes -----------------------------------------------------------------------------------


def _node_silent(facts: Facts) -> Iterator[Finding]:
    for one in facts.nodes:
        if one.error and not any(w in one.error for w in ("NOAUTH", "WRONGPASS", "NOPERM")):
            yield Finding(
                "node-silent",
                f"{one.place} does not answer: {one.error}",
                "start it: cache-server redis.conf",
            )


def _node_password(facts: Facts) -> Iterator[Finding]:
    for one in facts.nodes:
        if "NOAUTH" in one.error or "WRONGPASS" in one.error:
            yield Finding(
                "node-password",
                f"{one.place} wants another password",
                "SENTINEL SET <name> auth-pass <password>, and cachectl doctor --password",
            )


def _node_permission(facts: Facts) -> Iterator[Finding]:
    for one in facts.nodes:
        if "NOPERM" in one.error:
            yield Finding(
                "node-permission",
                f"{one.place}: {one.error}",
                "ACL SETUSER <sentinel's user> allchannels +multi +slaveof +ping +exec +subscribe "
                "+config|rewrite +role +publish +info +client|setname +client|kill +script|kill "
                "+lease +failover",
            )


def _two_leaders(facts: Facts) -> Iterator[Finding]:
    leaders = [one.place for one in facts.nodes if one.leads]
    if len(leaders) > 1:
        yield Finding(
            "two-leaders",
            f"more than one node says that it leads: {', '.join(leaders)}",
            "wait a few seconds; if it stays: REPLICAOF <leader> on the one sentinels do not name",
        )


def _no_leader(facts: Facts) -> Iterator[Finding]:
    answering = [one for one in facts.nodes if not one.error]
    if answering and not any(one.leads for one in answering):
        yield Finding(
            "no-leader",
            "no node leads",
            "cachectl failover explain; if no copy can be waited for: "
            "cachectl failover --force-new-history",
        )


def _no_lease(facts: Facts) -> Iterator[Finding]:
    for one in facts.nodes:
        managed = _number(one.info, "lease_managed") == 1
        if one.leads and managed and _number(one.info, "lease_remaining_ms") <= 0:
            yield Finding(
                "lease-ended",
                f"{one.place} leads without a lease: writes are refused",
                "bring a majority of the sentinels back; for good without them: LEASE FORGET",
            )


def _followers_broken(facts: Facts) -> Iterator[Finding]:
    for one in facts.nodes:
        if one.info.get("role") == "slave" and one.info.get("master_link_status") != "up":
            yield Finding(
                "link-down",
                f"{one.place} does not hear its leader {one.info.get('master_host')}:"
                f"{one.info.get('master_port')}",
                "see its log; often masterauth is missing: CONFIG SET masterauth <password>",
            )


def _nobody_promotable(facts: Facts) -> Iterator[Finding]:
    followers = [one for one in facts.nodes if one.info.get("role") == "slave"]
    if followers and all(_number(one.info, "slave_priority", 100) == 0 for one in followers):
        yield Finding(
            "nobody-promotable",
            "every follower has replica-priority 0: nobody may ever lead",
            "CONFIG SET replica-priority 100 on one of them",
        )


def _no_followers(facts: Facts) -> Iterator[Finding]:
    if facts.nodes and len(facts.nodes) == 1 and facts.nodes[0].leads:
        yield Finding(
            "no-followers",
            f"{facts.nodes[0].place} has no follower: its data has no second copy",
            "start one: cache-server --replicaof '<leader>'",
        )


def _min_in_sync(facts: Facts) -> Iterator[Finding]:
    for one in facts.nodes:
        wanted = _number(one.config, "min-in-sync", 2)
        if one.leads and one.config.get("durability") == "in-sync" and wanted > len(facts.nodes):
            yield Finding(
                "min-in-sync-impossible",
                f"{one.place}: min-in-sync {wanted} of {len(facts.nodes)} nodes: every write is "
                "refused",
                f"CONFIG SET min-in-sync {len(facts.nodes)}",
            )


def _min_replicas(facts: Facts) -> Iterator[Finding]:
    for one in facts.nodes:
        wanted = _number(one.config, "min-replicas-to-write")
        if one.leads and wanted > len(facts.nodes) - 1:
            yield Finding(
                "min-replicas-impossible",
                f"{one.place}: min-replicas-to-write {wanted} of {len(facts.nodes) - 1} followers",
                f"CONFIG SET min-replicas-to-write {max(0, len(facts.nodes) - 1)}",
            )


def _durability_differs(facts: Facts) -> Iterator[Finding]:
    told = {str(one.config["durability"]) for one in facts.nodes if "durability" in one.config}
    if len(told) > 1:
        yield Finding(
            "durability-differs",
            "nodes have different durability: a failover would change what a reply promises",
            "CONFIG SET durability in-sync on every node",
        )


def _masterauth_missing(facts: Facts) -> Iterator[Finding]:
    for one in facts.nodes:
        if one.config.get("requirepass") and not one.config.get("masterauth"):
            yield Finding(
                "masterauth-missing",
                f"{one.place} wants a password and has none for its leader: after a failover it "
                "cannot follow",
                "CONFIG SET masterauth <password>",
            )


def _clocks(facts: Facts) -> Iterator[Finding]:
    everybody: list[SentinelFacts | NodeFacts] = [*facts.sentinels, *facts.nodes]
    for one in everybody:
        if not one.error and abs(one.clock_ms) > CLOCK_APART_MS_MAX:
            yield Finding(
                "clock",
                f"the clock of {one.place} is {one.clock_ms / 1000:.1f} s off ours: keys expire at "
                "other times after a failover",
                "chronyc makestep",
            )


def _copied_node(facts: Facts) -> Iterator[Finding]:
    ids = [str(one.info["lease_node_id"]) for one in facts.nodes if "lease_node_id" in one.info]
    if len(set(ids)) < len(ids):
        yield Finding(
            "copied-state",
            "two nodes have the same id: a data folder was copied with its .lease file",
            "stop one of them, remove its .lease file, start it again",
        )


def _rollback_refused(facts: Facts) -> Iterator[Finding]:
    for one in facts.nodes:
        if one.info.get("last_rollback_status") == "err":
            yield Finding(
                "rollback-refused",
                f"{one.place} cannot put its discarded writes aside, so it does not rejoin",
                "make room in its data folder, move old rollback files away or raise replication-"
                "rollback-max-bytes; or give them up: CONFIG SET replication-rollback-files no",
            )


def _far_behind(facts: Facts) -> Iterator[Finding]:
    offsets = [_number(one.info, "master_repl_offset") for one in facts.nodes if one.leads]
    for one in facts.nodes:
        if offsets and one.info.get("role") == "slave":
            behind = offsets[0] - _number(one.info, "slave_repl_offset")
            if behind > max(LAG_BYTES_MAX, _number(one.config, "repl-backlog-size")):
                yield Finding(
                    "far-behind",
                    f"{one.place} is {behind} bytes behind: a broken link costs a full sync",
                    "CONFIG SET repl-backlog-size 256mb on every node, or give it more CPU",
                )


RULES: tuple[Rule, ...] = (
    _sentinel_silent,
    _sentinel_auth,
    _quorum_impossible,
    _quorum_differs,
    _even_sentinels,
    _majority_away,
    _sentinels_disagree,
    _tilt,
    _state_unwritable,
    _names_and_ips,
    _names_unresolved,
    _down_after_below_lease,
    _coordinator_silent,
    _coordinators_differ,
    _node_silent,
    _node_password,
    _node_permission,
    _two_leaders,
    _no_leader,
    _no_lease,
    _followers_broken,
    _rollback_refused,
    _nobody_promotable,
    _no_followers,
    _min_in_sync,
    _min_replicas,
    _durability_differs,
    _masterauth_missing,
    _clocks,
    _copied_node,
    _far_behind,
)


def diagnose(facts: Facts) -> list[Finding]:
    """All that is wrong, worst first as far as the order of the rules goes."""
    return [finding for rule in RULES for finding in rule(facts)]


# -- collecting -----------------------------------------------------------------------------------


def _clock_off_ms(client: Any) -> float:
    begun = time.time()
    seconds, micros = client.execute_command("TIME")
    return (int(seconds) + int(micros) / 1e6 - (begun + time.time()) / 2) * 1000


def _sentinel_facts(word: str, name: str, password: str) -> SentinelFacts:
    place = parse_place(word, 26379)
    found = SentinelFacts(str(place))
    client = connect(place, password)
    try:
        masters = [pairs(one) for one in ask_sentinel(client, "MASTERS")]
        found.master = next((one for one in masters if name in ("", one["name"])), {})
        if not found.master:
            return found
        name = found.master["name"]
        found.peers = [pairs(one) for one in ask_sentinel(client, "SENTINELS", name)]
        found.replicas = [pairs(one) for one in ask_sentinel(client, "REPLICAS", name)]
        found.config = pairs(ask_sentinel(client, "CONFIG", "GET", "*"))
        found.tilt = str(client.info("sentinel").get("sentinel_tilt", 0)) == "1"
    except redis.RedisError as error:
        found.error = str(error)
        return found
    try:
        ask_sentinel(client, "FLUSHCONFIG")
    except redis.RedisError as error:
        found.state_error = str(error)
    return found


def _node_facts(place: Place, password: str) -> NodeFacts:
    found = NodeFacts(str(place))
    client = connect(place, password)
    try:
        found.info = client.info("replication")
        found.clock_ms = _clock_off_ms(client)
        for setting in _SETTINGS:
            found.config.update(client.config_get(setting))
    except redis.RedisError as error:
        found.error = str(error)
    return found


def collect(sentinels: str, name: str, password: str) -> Facts:
    """Asks everybody."""
    facts = Facts([_sentinel_facts(word, name, password) for word in sentinels.split(",")])
    known: dict[str, Place] = {}
    for one in _answering(facts):
        for fields in (one.master, *one.replicas):
            place = Place(fields["ip"], int(fields["port"]))
            known[str(place)] = place
    facts.nodes = [_node_facts(place, password) for place in known.values()]
    return facts


def doctor(
    name: str = typer.Option("", "--name", "-n", help="Master name, where there are several."),
    sentinels: SentinelOption = SENTINELS_DEFAULT,
    password: PasswordOption = "",
) -> None:
    """Looks for what is wrong with a cluster, and says what mends it. Ends with 1 for trouble."""
    findings = diagnose(collect(sentinels, name, password))
    for finding in findings:
        console.print(f"[red]{finding.name}[/red]: {finding.what}", highlight=False)
        console.print(f"    {finding.mend}", highlight=False)
    if findings:
        raise typer.Exit(1)
    console.print("Nothing is wrong.")
