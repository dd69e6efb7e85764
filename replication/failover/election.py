"""Which sentinel drives a change: one vote per epoch, and counting.

Problem: several sentinels see the same dead leader at the same moment.

Idea: as in Redis Sentinel, each asks the others for their vote in a new epoch. A sentinel votes
once per epoch, for the first who asks, and its vote is durable before it is told. The winner needs
a majority of all sentinels known and at least `quorum`. The register alone makes a change safe (two
drivers could only lose a race there); the election makes it quick and keeps Sentinel's API true.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Vote:
    """For whom a sentinel voted, in which epoch; epoch 0 and "" before any vote."""

    epoch: int = 0
    sentinel_id: str = ""


def cast(own: Vote, current_epoch: int, asked_epoch: int, candidate: str) -> Vote:
    """This sentinel's vote after being asked for one: the same, or a new one that must be made
    durable.
    """
    if own.epoch < asked_epoch and current_epoch <= asked_epoch:
        return Vote(asked_epoch, candidate)
    return own


def leading_candidate(votes: Iterable[Vote], epoch: int) -> str:
    """Who has most votes in `epoch`; the smaller id where equal, "" where nobody has any."""
    tally = Counter(vote.sentinel_id for vote in votes if vote.epoch == epoch and vote.sentinel_id)
    return min(tally, key=lambda one: (-tally[one], one), default="")


def winner(votes: Iterable[Vote], epoch: int, voters: int, quorum: int) -> str:
    """Who won the election of `epoch` among `voters` sentinels; "" while nobody has."""
    votes = list(votes)
    first = leading_candidate(votes, epoch)
    count = sum(1 for vote in votes if vote.epoch == epoch and vote.sentinel_id == first)
    return first if first and count >= max(voters // 2 + 1, quorum) else ""


def lost(votes: Iterable[Vote], epoch: int, voters: int, quorum: int, candidate: str) -> bool:
    """Whether the votes told so far leave too few for `candidate`: a split vote need not be waited
    out.
    """
    others = sum(1 for vote in votes if vote.epoch == epoch and vote.sentinel_id != candidate)
    return voters - others < max(voters // 2 + 1, quorum)
