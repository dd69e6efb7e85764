"""The contract of the register: one value per master name, changed by compare-and-set.

Any backend (the sentinels themselves, etcd, ZooKeeper) answers a change with one of three results,
and they are never mixed up:

- `Won`: the value is now the proposed one, durably, for everybody.
- `LostRace`: somebody else changed it first; here is what it is now. The loser adopts it.
- `Unreachable`: nobody knows. The change may have happened or may still happen. The asker must not
act as if
  it had, must not act as if it had not, and learns the truth by reading.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

from replication.failover.cluster_view import RegisterValue


@dataclass(frozen=True, slots=True)
class Won:
    """The change was made."""

    value: RegisterValue


@dataclass(frozen=True, slots=True)
class LostRace:
    """The register held something else than expected: this."""

    current: RegisterValue | None


@dataclass(frozen=True, slots=True)
class Unreachable:
    """No majority answered in time, or the store is out of reach."""

    reason: str


Result: TypeAlias = Won | LostRace | Unreachable


class Coordinator(Protocol):
    """A change at a time per master; driven like every machine: events in, ticks, results out."""

    def change(self, expected: RegisterValue | None, value: RegisterValue, now_ms: float) -> None:
        """Ask for the value to become `value` if it is `expected` now."""

    def tick(self, now_ms: float) -> None:
        """Time passed."""

    def take_result(self) -> Result | None:
        """The outcome of the change asked for, once it is known."""


def may_replace(current: RegisterValue | None, value: RegisterValue) -> bool:
    """The rule of epochs that every backend keeps: a new leader needs a higher epoch, and within
    one epoch the in-sync set changes under a higher version.
    """
    if current is None or value == current:
        return True
    if value.epoch == current.epoch:
        same = (value.leader_id, value.address) == (current.leader_id, current.address)
        return same and value.version > current.version
    return value.epoch > current.epoch
