"""Which follower becomes leader: a pure function over what is known at one instant.

Order, as Redis Sentinel's documentation gives it
(https://redis.io/docs/latest/operate/oss_and_stack/management/ sentinel/, "Replica selection and
priority"): lowest priority number, then highest replication offset, then smallest run id. Who is
not fit for it is refused with a reason in words, so that a refusal can be explained.
"""

from __future__ import annotations

from dataclasses import dataclass

from replication.failover import constants
from replication.failover.cluster_view import Address


@dataclass(frozen=True, slots=True)
class Candidate:
    """A follower as the sentinel sees it; ages in milliseconds."""

    address: Address
    run_id: str
    priority: int
    repl_offset: int
    down: bool
    connected: bool
    answer_age_ms: float
    info_age_ms: float
    link_down_ms: float
    node_id: str = ""
    in_sync: bool = True


@dataclass(frozen=True, slots=True)
class Situation:
    """What the bounds of fitness depend on."""

    leader_down: bool
    leader_down_for_ms: float
    down_after_ms: int
    ping_period_ms: int
    info_period_ms: int


def unfit(candidate: Candidate, now: Situation) -> str:
    """Why this follower may not be promoted; "" if it may."""
    info_age_ms_max = 3 * now.info_period_ms
    if now.leader_down:
        info_age_ms_max = 5 * constants.INFO_PERIOD_FAST_MS
    link_down_ms_max = now.leader_down_for_ms + 10 * now.down_after_ms
    rules = (
        (candidate.down, "it is down"),
        (not candidate.in_sync, "it is not in the in-sync set: acknowledged writes may be missing"),
        (not candidate.connected, "it is disconnected"),
        (candidate.answer_age_ms > 5 * now.ping_period_ms, "it has not answered for long"),
        (candidate.priority == 0, "its priority is 0: never promote"),
        (candidate.info_age_ms > info_age_ms_max, "its INFO is old"),
        (candidate.link_down_ms > link_down_ms_max, "its link was down long before the leader"),
    )
    return next((reason for broken, reason in rules if broken), "")


def order(candidate: Candidate) -> tuple[object, ...]:
    """The better comes first. A node that tells no run id (a very old one) is last among equals."""
    return (
        candidate.priority,
        -candidate.repl_offset,
        not candidate.run_id,
        candidate.run_id,
        candidate.address,
    )


def best(candidates: list[Candidate], now: Situation) -> Candidate | None:
    """The follower to promote, or None where nobody is fit."""
    fit = [one for one in candidates if not unfit(one, now)]
    return min(fit, key=order, default=None)
