"""What one run is like: everything is drawn from the seed, and printed."""

from __future__ import annotations

import random
from dataclasses import dataclass, fields, replace

RULES = ("lease", "persisted-vote", "in-sync-check", "drain")


@dataclass(frozen=True)
class Options:
    """Sizes, periods (ms) and the odds of each fault (per step of the fault schedule)."""

    sentinels: int
    data_nodes: int
    quorum: int
    down_after_ms: int
    failover_timeout_ms: int
    lease_ttl_ms: int
    delay_ms_mean: float
    reorder_odds: float
    duplicate_odds: float
    clock_rate_spread: float
    fault_period_ms: int
    crash_odds: float
    crash_after_persist_odds: float
    partition_odds: float
    one_way_odds: float
    pause_odds: float
    manual_odds: float
    keeps_log: bool
    in_sync: bool
    min_in_sync: int
    in_sync_timeout_ms: int
    faults_for_ms: int
    without: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join(f"{f.name}={getattr(self, f.name)}" for f in fields(self))


def draw(chance: random.Random, without: tuple[str, ...] = ()) -> Options:
    """Options for one run."""
    sentinels = chance.choice((3, 3, 3, 5))
    drawn = Options(
        sentinels=sentinels,
        data_nodes=chance.choice((2, 3, 3)),
        quorum=sentinels // 2 + 1,
        down_after_ms=chance.choice((300, 600, 1_000)),
        failover_timeout_ms=chance.choice((2_000, 3_000)),
        lease_ttl_ms=chance.choice((600, 1_000, 1_500)),
        delay_ms_mean=chance.choice((0.5, 5.0, 25.0)),
        reorder_odds=chance.choice((0.0, 0.05, 0.2)),
        duplicate_odds=chance.choice((0.0, 0.05, 0.2)),
        clock_rate_spread=chance.choice((0.0, 0.0049)),
        fault_period_ms=chance.choice((300, 700, 1_500)),
        crash_odds=chance.choice((0.1, 0.3)),
        crash_after_persist_odds=chance.choice((0.0, 0.1, 0.4)),
        partition_odds=chance.choice((0.0, 0.3)),
        one_way_odds=chance.choice((0.0, 0.2)),
        pause_odds=chance.choice((0.0, 0.2)),
        manual_odds=chance.choice((0.0, 0.15)),
        keeps_log=chance.random() < 0.5,
        in_sync=chance.random() < 0.5,
        min_in_sync=2,
        in_sync_timeout_ms=chance.choice((300, 700)),
        faults_for_ms=9_000,
        without=without,
    )
    if "drain" in without:
        return replace(drawn, manual_odds=0.4)
    if "in-sync-check" in without:
        # Harm is done where members are alive but silent and others are not: look there.
        return replace(drawn, in_sync=True, data_nodes=3, pause_odds=0.6, partition_odds=0.5)
    return drawn
