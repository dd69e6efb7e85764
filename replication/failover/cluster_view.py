"""What a sentinel knows, as values that never change once made.

Problem: commands that report (SENTINEL MASTERS, INFO, explain) and decisions (ranking, election)
need one consistent picture, while events keep arriving.

Idea: the machine hands out a frozen copy. Nothing here refers back to the machine, so a view may be
kept, compared and printed at leisure. Times are the monotonic milliseconds that the shell passes
in; ages and durations are milliseconds.

Redis's own words (flags, role-reported) appear here as they go over the wire; `docs/failover.md`
explains them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from replication.failover import constants


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """Where a node listens, as others are told to reach it (host name or IP, port)."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class RegisterValue:
    """The one linearizable value kept per monitored master name.

    `leader_id` is the node's lasting id, or "" where the leader is a stock server without one.
    `in_sync` holds member ids (`member_id`), the leader's among them; empty means the set is not in
    use (durability `async`). `version` counts the changes of the set within one epoch. `life` is
    the leader's (`life_of`): a later life of it, without its memory, is not who was chosen; "" for
    any.
    """

    epoch: int
    leader_id: str
    address: Address
    in_sync: tuple[str, ...] = ()
    version: int = 0
    life: str = ""

    @property
    def place(self) -> tuple[int, int]:
        """Values of one register are ordered by it."""
        return self.epoch, self.version


def life_of(run_id: str) -> str:
    """A process among those that a node was: the beginning of its run id."""
    return run_id[:8]


def member_id(node_id: str, run_id: str) -> str:
    """One life of one node: a process that restarted may have lost what it acknowledged."""
    return f"{node_id}.{life_of(run_id)}"


def node_of(member: str) -> str:
    """The node id in a member id."""
    return member.rpartition(".")[0]


@dataclass(frozen=True, slots=True, order=True)
class Ballot:
    """A round of the register: ordered by number, then by the proposing sentinel's id."""

    number: int
    sentinel_id: str


NO_BALLOT = Ballot(0, "")


@dataclass(frozen=True, slots=True)
class AcceptorState:
    """What one acceptor of the embedded register must never forget."""

    promised: Ballot = NO_BALLOT
    accepted: Ballot = NO_BALLOT
    value: RegisterValue | None = None


@dataclass(frozen=True, slots=True)
class MasterConfig:
    """One `sentinel monitor` entry with its options (units in the names, defaults as in Redis).

    `members` is N, the number of sentinels of which a majority must grant a lease or accept a
    change; 0 means 2 * quorum - 1. Never fewer than the sentinels known are counted.
    """

    name: str
    address: Address
    quorum: int
    members: int = 0
    down_after_ms: int = constants.DOWN_AFTER_MS
    failover_timeout_ms: int = constants.FAILOVER_TIMEOUT_MS
    parallel_syncs: int = constants.PARALLEL_SYNCS
    master_reboot_down_after_ms: int = 0


@dataclass(frozen=True, slots=True)
class Timings:
    """Periods of a sentinel, all milliseconds; `SENTINEL DEBUG` changes them in tests."""

    info_period_ms: int = constants.INFO_PERIOD_MS
    ping_period_ms: int = constants.PING_PERIOD_MS
    ask_period_ms: int = constants.ASK_PERIOD_MS
    publish_period_ms: int = constants.PUBLISH_PERIOD_MS
    default_down_after_ms: int = constants.DOWN_AFTER_MS
    tilt_trigger_ms: int = constants.TILT_TRIGGER_MS
    tilt_period_ms: int = constants.TILT_PERIOD_MS
    slave_reconf_timeout_ms: int = constants.SLAVE_RECONF_TIMEOUT_MS
    min_link_reconnect_ms: int = constants.MIN_LINK_RECONNECT_MS
    default_failover_timeout_ms: int = constants.FAILOVER_TIMEOUT_MS
    election_timeout_ms: int = constants.ELECTION_TIMEOUT_MS
    start_delay_ms_max: int = constants.START_DELAY_MS_MAX
    lease_ttl_ms: int = constants.LEASE_TTL_MS


@dataclass(frozen=True, slots=True)
class KnownSentinel:
    """Another sentinel, as remembered across restarts."""

    sentinel_id: str
    address: Address


@dataclass(frozen=True, slots=True)
class MasterState:
    """All that must survive a restart for one monitored master."""

    config: MasterConfig
    address: Address
    config_epoch: int = 0
    vote_epoch: int = 0
    voted_for: str = ""
    acceptor: AcceptorState = field(default_factory=AcceptorState)
    register: RegisterValue | None = None
    replicas: tuple[Address, ...] = ()
    sentinels: tuple[KnownSentinel, ...] = ()


@dataclass(frozen=True, slots=True)
class SentinelState:
    """The sentinel's state file: `state.encode` and `state.decode` give its bytes."""

    sentinel_id: str
    current_epoch: int = 0
    masters: tuple[MasterState, ...] = ()


@dataclass(frozen=True, slots=True)
class LeaseState:
    """The data node's state file: once under a lease, a node boots read-only until confirmed."""

    node_id: str
    name: str = ""
    epoch: int = 0
    leader_id: str = ""
    under_lease: bool = False


@dataclass(frozen=True, slots=True)
class NodeView:
    """One data node or sentinel as SENTINEL MASTERS, REPLICAS and SENTINELS report it.

    `kind` is "master", "slave" or "sentinel"; `flags` are Redis's words in Redis's order. The
    `*_ms` fields are ages at the time of the view, -1 where the thing never happened.
    """

    kind: str
    name: str
    address: Address
    run_id: str
    flags: tuple[str, ...]
    link_pending_commands: int
    link_refcount: int
    last_ping_sent_ms: int
    last_ok_ping_reply_ms: int
    last_ping_reply_ms: int
    down_after_ms: int
    s_down_ms: int = -1
    o_down_ms: int = -1
    info_refresh_ms: int = -1
    role_reported: str = ""
    role_reported_ms: int = -1
    master_link_down_ms: int = 0
    master_link_status: str = ""
    master_host: str = "?"
    master_port: int = 0
    priority: int = 100
    repl_offset: int = 0
    replica_announced: bool = True
    last_hello_ms: int = -1
    voted_leader: str = ""
    voted_leader_epoch: int = 0
    info: str = ""
    node_id: str = ""
    lease_capable: bool = False


@dataclass(frozen=True, slots=True)
class MasterView:
    """One monitored master: its own node, its followers, the other sentinels, and a change in
    progress. `coordinator` names the external store, "" where there is none.

    `advertised` is what SENTINEL GET-MASTER-ADDR-BY-NAME answers: during a failover the promoted
    node's address, once chosen. `failover_state` is Redis's word, "none" outside a failover.
    """

    config: MasterConfig
    node: NodeView
    advertised: Address
    config_epoch: int
    replicas: tuple[NodeView, ...]
    sentinels: tuple[NodeView, ...]
    failover_state: str
    members_count: int
    register: RegisterValue | None
    lease_granted_ms: int
    reachable_sentinels: int
    coordinator: str = ""
    coordinator_trouble: str = ""


@dataclass(frozen=True, slots=True)
class ClusterView:
    """Everything one sentinel knows at one instant."""

    sentinel_id: str
    current_epoch: int
    tilt: bool
    tilt_ms: int
    masters: tuple[MasterView, ...]

    def master(self, name: str) -> MasterView | None:
        """The master monitored under `name`, or None."""
        return next((m for m in self.masters if m.config.name == name), None)
