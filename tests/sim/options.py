"""What one run is like: everything is drawn from the seed, and printed."""

from __future__ import annotations

import random
from dataclasses import dataclass, fields, replace

RULES = ("lease", "persisted-vote", "in-sync-check", "drain", "frame-epoch")


@dataclass(frozen=True)
class Options:
    """Sizes, periods (ms) and the odds of each fault (per step of the fault schedule, unless said
    otherwise). The defaults are a calm cluster."""

    sentinels: int = 3
    data_nodes: int = 3
    quorum: int = 2
    down_after_ms: int = 1_000
    publish_period_ms: int = 1_000
    failover_timeout_ms: int = 5_000
    lease_ttl_ms: int = 1_000
    # The data nodes.
    in_sync: bool = False
    linearizable: bool = False
    min_in_sync: int = 2
    in_sync_timeout_ms: int = 500
    max_loss_ms: int = 0
    max_loss_bytes: int = 0
    log: str = "always"
    """What of the stream is on disk: "none", "everysec" or "always" synced."""
    diskless_delay_ms: int = 0
    repl_timeout_ms: int = 3_000
    repl_ping_ms: int = 1_000
    # The clients.
    clients: int = 2
    think_ms: float = 50.0
    # The network and the clocks.
    delay_ms_mean: float = 0.5
    reorder_odds: float = 0.0
    """Of each message between sentinels."""
    duplicate_odds: float = 0.0
    """Of each message between sentinels, and each of the lease."""
    damage_odds: float = 0.0
    """Of each message of a leader to a follower: one bit of it."""
    clock_rate_spread: float = 0.0
    # The faults.
    fault_period_ms: int = 1_000
    faults_for_ms: int = 0
    crash_odds: float = 0.0
    power_odds: float = 0.0
    """Of a crash: the machine goes down, and what was not synced is lost."""
    crash_after_persist_odds: float = 0.0
    """Of each state that a sentinel makes durable."""
    partition_odds: float = 0.0
    one_way_odds: float = 0.0
    link_odds: float = 0.0
    split_odds: float = 0.0
    move_odds: float = 0.0
    heal_odds: float = 0.3
    pause_odds: float = 0.0
    slow_disk_odds: float = 0.0
    wall_jump_odds: float = 0.0
    manual_odds: float = 0.0
    without: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join(f"{f.name}={getattr(self, f.name)}" for f in fields(self))


def draw(chance: random.Random, without: tuple[str, ...] = ()) -> Options:
    """Options for one run."""
    pick = chance.choice
    sentinels = pick((3, 3, 3, 5))
    in_sync = chance.random() < 0.5
    bound = pick(("", "ms", "bytes", "both")) if not in_sync else ""
    drawn = Options(
        sentinels=sentinels,
        data_nodes=pick((2, 3, 3)),
        quorum=sentinels // 2 + 1,
        down_after_ms=pick((300, 600, 1_000)),
        publish_period_ms=pick((600, 1_000, 1_000)),
        failover_timeout_ms=pick((2_000, 3_000)),
        lease_ttl_ms=pick((600, 1_200, 1_500)),
        in_sync=in_sync,
        linearizable=in_sync and chance.random() < 0.7,
        min_in_sync=2,
        in_sync_timeout_ms=pick((300, 700)),
        max_loss_ms=pick((150, 500)) if bound in ("ms", "both") else 0,
        max_loss_bytes=pick((200, 800)) if bound in ("bytes", "both") else 0,
        log=pick(("none", "none", "everysec", "always")),
        diskless_delay_ms=pick((0, 200)),
        repl_timeout_ms=pick((1_500, 4_000)),
        repl_ping_ms=pick((400, 1_000)),
        clients=pick((1, 2, 3)),
        think_ms=pick((60.0, 150.0, 300.0)),
        delay_ms_mean=pick((0.5, 5.0, 25.0)),
        reorder_odds=pick((0.0, 0.05, 0.2)),
        duplicate_odds=pick((0.0, 0.05, 0.2)),
        damage_odds=pick((0.0, 0.0, 0.01)),
        clock_rate_spread=pick((0.0, 0.0049)),
        fault_period_ms=pick((300, 700, 1_500)),
        faults_for_ms=pick((4_000, 8_000)),
        crash_odds=pick((0.1, 0.3)),
        power_odds=pick((0.0, 0.5)),
        crash_after_persist_odds=pick((0.0, 0.0, 0.1, 0.4)),
        partition_odds=pick((0.0, 0.3)),
        one_way_odds=pick((0.0, 0.2)),
        link_odds=pick((0.0, 0.2)),
        split_odds=pick((0.0, 0.15)),
        move_odds=pick((0.0, 0.5)),
        heal_odds=pick((0.15, 0.3)),
        pause_odds=pick((0.0, 0.2)),
        slow_disk_odds=pick((0.0, 0.0, 0.3)),
        wall_jump_odds=pick((0.0, 0.2)),
        manual_odds=pick((0.0, 0.15)),
        without=without,
    )
    return _where_it_hurts(drawn)


def _where_it_hurts(drawn: Options) -> Options:
    """Without a rule: the runs in which its absence does harm more often."""
    if "persisted-vote" in drawn.without:
        return replace(drawn, crash_after_persist_odds=0.4, reorder_odds=0.2, delay_ms_mean=25.0)
    if "drain" in drawn.without:
        return replace(drawn, manual_odds=0.4, think_ms=60.0, clients=3)
    if "in-sync-check" in drawn.without:
        # Harm is done where members are alive but silent and somebody else is not.
        return replace(
            drawn,
            in_sync=True,
            data_nodes=3,
            link_odds=0.4,
            pause_odds=0.6,
            crash_odds=0.0,
            in_sync_timeout_ms=300,
            faults_for_ms=10_000,
            fault_period_ms=700,
        )
    if "frame-epoch" in drawn.without:
        # Harm is done where an earlier leader, in the smaller part, is met by who followed a later.
        return replace(
            drawn,
            data_nodes=3,
            publish_period_ms=400,
            crash_odds=0.0,
            crash_after_persist_odds=0.0,
            partition_odds=0.0,
            one_way_odds=0.0,
            link_odds=0.0,
            pause_odds=0.0,
            slow_disk_odds=0.0,
            split_odds=0.15,
            move_odds=0.4,
            heal_odds=0.05,
            fault_period_ms=1_500,
            faults_for_ms=25_000,
        )
    return drawn
