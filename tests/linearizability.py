"""Is a history of reads and writes linearizable, key by key?

A history is linearizable if every operation can be given one instant between its start and its end
so that each read returns what was written last (Herlihy and Wing 1990). A key is one register, and
registers can be looked at one by one, since linearizability is local.

In general that is a search. Here every write writes another value, so a read names its write, and
the question is one of order (Gibbons and Korach 1997): a *cluster* is a write with its reads, and
all of it happens while its value is the register's. So cluster a comes before cluster b where some
operation of a ended before some operation of b began:

    a.ended_ms  = the earliest end in a         a before b  iff  a.ended < b.began
    a.began_ms  = the latest start in a

    time ------------------------------------------------------>
    write a |----|            read a |----|        ended a = 5, began a = 22
            0    5                   22   27
                     |---------|                   write b: 9..18, and nobody reads it
    a.ended < b.began and b.ended < a.began: b must be after a, and before it. Not linearizable.

The order has a cycle only if it has one of two clusters, so pairs are all that is looked at: first
the clusters sorted by time, each against those it overlaps.

What is not known: an operation without an end may have happened at any time after its start, or
never. A read without an end says nothing; a write without one counts only if somebody read it.
Equal times are concurrent.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple


class Operation(NamedTuple):
    """One operation on one key, as its client saw it. Times are of one clock, in any unit."""

    op: str
    """"write" or "read"; a write that certainly did not happen is left out."""
    key: Hashable
    value: Hashable
    """What was written, another value each time; what was read, None before any write."""
    start: float
    end: float | None
    """None: no answer came, so the outcome is unknown."""


@dataclass(slots=True)
class _Cluster:
    """A write (None: the register before any write) and the reads that returned its value."""

    value: Hashable
    write: Operation | None
    reads: list[Operation] = field(default_factory=list)
    ended: float = math.inf
    began: float = -math.inf

    def measure(self) -> None:
        """Sets the earliest end and the latest start."""
        if self.write is None:
            self.ended = -math.inf
        else:
            self.began = self.write.start
            self.ended = math.inf if self.write.end is None else self.write.end
        for read in self.reads:
            assert read.end is not None
            self.began = max(self.began, read.start)
            self.ended = min(self.ended, read.end)


def violations(operations: Iterable[Operation]) -> list[str]:
    """What is wrong with the history, a sentence for each key that has no order; [] if nothing is.

    Raises ValueError where it is no history: two writes of one value to one key, an unknown `op`,
    an end before its start.
    """
    by_key: dict[Hashable, list[Operation]] = {}
    for one in operations:
        if one.op not in ("write", "read") or (one.end is not None and one.end < one.start):
            raise ValueError(f"not an operation: {one}")
        by_key.setdefault(one.key, []).append(one)
    found = (_violation(of_key) for of_key in by_key.values())
    return [sentence for sentence in found if sentence]


def _violation(operations: list[Operation]) -> str:
    """Of one key; "" if there is an order."""
    clusters: dict[Hashable, _Cluster] = {None: _Cluster(None, None)}
    for one in operations:
        if one.op == "write":
            if one.value in clusters:
                raise ValueError(f"two writes of one value: {one}")
            clusters[one.value] = _Cluster(one.value, one)
    for one in operations:
        if one.op == "write" or one.end is None:
            continue
        cluster = clusters.get(one.value)
        if cluster is None:
            return f"{_told(one)}, which nobody wrote"
        if cluster.write is not None and one.end < cluster.write.start:
            return f"{_told(one)} before it was written: {_told(cluster.write)}"
        cluster.reads.append(one)
    counted = []
    for cluster in clusters.values():
        unsure = cluster.write is not None and cluster.write.end is None
        if cluster.reads or not (unsure or cluster.write is None):
            cluster.measure()
            counted.append(cluster)
    return _contradiction(counted)


def _contradiction(clusters: list[_Cluster]) -> str:
    """Two clusters each of which has to come before the other, in words; "" if there are none."""
    clusters.sort(key=lambda one: (min(one.ended, one.began), one.ended < one.began))
    # The first of two that contradict each other lasts, from its earliest end to its latest start;
    # of those that begin in time, the one that lasts longest is the one to meet.
    lasting: _Cluster | None = None
    for one in clusters:
        if lasting is not None and lasting.ended < one.began and one.ended < lasting.began:
            return _explained(lasting, one)
        if one.ended < one.began and (lasting is None or one.began > lasting.began):
            lasting = one
    return ""


def _explained(one: _Cluster, other: _Cluster) -> str:
    def last(cluster: _Cluster) -> Operation:
        everything = [*cluster.reads, *([cluster.write] if cluster.write else [])]
        return max(everything, key=lambda each: each.start)

    return (
        f"{one.value!r} has to come before {other.value!r} and after it: "
        f"{_told(last(one))}, and {_told(last(other))}"
    )


def _told(one: Operation) -> str:
    verb = "a write of" if one.op == "write" else "a read gave"
    return f"{one.key!r}: {verb} {one.value!r} in [{one.start}, {one.end}]"
