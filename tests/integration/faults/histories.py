"""What clients recorded, and the rules that it must obey.

A client knows when it sent a request and when it had the answer; the server did it some time in
between. Each write also carries what the server said of it in the same transaction: its clock (all
run on one machine, so these clocks are one) and the epoch in which it led. A request without an
answer may have been done, at any time after it was sent, or not.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tests.linearizability import Operation

NEVER = math.inf


@dataclass(slots=True)
class Write:
    """Times in seconds of one clock; `done_s` is NEVER where no answer came."""

    key: str
    value: str
    client: str
    node: str
    sent_s: float
    done_s: float = NEVER
    acknowledged: bool = False
    refused: bool = False
    """An error came back: it must not have been done."""
    executed_s: float = 0.0
    epoch: int = -1
    life: str = ""


@dataclass(slots=True)
class Read:
    """An answer of a node that said it leads; None where the key was not there."""

    key: str
    value: str | None
    node: str
    sent_s: float
    done_s: float


def operations(writes: Iterable[Write], reads: Iterable[Read]) -> Iterator[Operation]:
    """For `tests.linearizability`: a write that was refused is none, one without an answer may
    have been done."""
    for write in writes:
        if not write.refused:
            end_s = write.done_s if write.acknowledged else None
            yield Operation("write", write.key, write.value, write.sent_s, end_s)
    for read in reads:
        yield Operation("read", read.key, read.value, read.sent_s, read.done_s)


def lost(writes: Iterable[Write], present: set[str]) -> list[Write]:
    """Acknowledged writes that are not there, in the order in which they were done."""
    gone = [one for one in writes if one.acknowledged and one.value not in present]
    return sorted(gone, key=lambda one: one.executed_s)


def done_though_refused(writes: Iterable[Write], present: set[str]) -> Iterator[str]:
    """Values that are there although their client was told an error."""
    for one in writes:
        if one.refused and one.value in present:
            yield f"{one.value!r} was refused by {one.node} and is there"


def two_leaders(writes: Iterable[Write]) -> Iterator[str]:
    """Where acknowledged writes were done by two leaders at a time, by the servers' own clock.

    One epoch has one leader, and all that an epoch acknowledged was done before all that a later
    one did. (Answers prove less: one may be on its way for long.)
    """
    epochs: dict[int, list[Write]] = defaultdict(list)
    for write in writes:
        if write.acknowledged:
            epochs[write.epoch].append(write)
    last: Write | None = None
    for epoch, found in sorted(epochs.items()):
        lives = {(one.node, one.life) for one in found}
        if len(lives) > 1:
            yield f"two leaders in epoch {epoch}: {sorted(lives)}"
        first = min(found, key=lambda one: one.executed_s)
        if last is not None and first.executed_s < last.executed_s:
            yield (
                f"{last.node} acknowledged {last.value!r} of epoch {last.epoch} "
                f"{(last.executed_s - first.executed_s) * 1000:.3f} ms after {first.node} did "
                f"{first.value!r} of epoch {epoch}"
            )
        latest = max(found, key=lambda one: one.executed_s)
        if last is None or latest.executed_s > last.executed_s:
            last = latest


@dataclass(frozen=True, slots=True)
class Loss:
    """What one leader took with it: how many writes, within how long a time, how many bytes."""

    node: str
    epoch: int
    count: int
    ms: float
    size: int


def losses(gone: list[Write], bytes_each: int) -> list[Loss]:
    """Per leader and epoch, from the first to the last write that was lost."""
    found: dict[tuple[str, int], list[Write]] = defaultdict(list)
    for write in gone:
        found[write.node, write.epoch].append(write)
    return [
        Loss(
            *who,
            len(some),
            (some[-1].executed_s - some[0].executed_s) * 1000,
            len(some) * bytes_each,
        )
        for who, some in found.items()
    ]
