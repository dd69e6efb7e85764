"""The in-sync set, as the leader keeps it: whose acknowledgement a write waits for.

Problem: an acknowledged write must be on every node that could lead next, and a follower that died
must not stop writes for ever.

Idea (as in PacificA and Kafka): the register names the set, only its members may be elected, and
the leader answers a write once every member has it. The set changes by compare-and-set alone:

    joins   asked for once a follower has all that was ever acknowledged; from the asking on its
            acknowledgement is waited for, so it has everything when the register takes it in
    leaves  asked for once a member owed something for longer than the timeout; until the register
            has let it go, it is waited for still

So at any moment: waited for = the confirmed set and everybody in any set asked for on top of it.
What was asked for on top of a version cannot come true once a later version is confirmed.

Invariants: `released` never falls, and every member of the register's set has all bytes up to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class InSyncSettings:
    """`min-in-sync` counts the leader; `in-sync-timeout` is in ms."""

    members_min: int = 2
    timeout_ms: float = 1_000


@dataclass(slots=True)
class InSyncSet:
    """The leader's machine. `me` is its own member id; positions are bytes of its stream."""

    me: str
    settings: InSyncSettings = field(default_factory=InSyncSettings)
    released: int = -1
    """All up to here was on every member when it was acknowledged."""
    joins_from: int = 0
    """Who has all up to here has every write that was acknowledged before this node led."""
    version: int = -1
    confirmed: frozenset[str] = frozenset()
    """The register's set; empty while it has none, and then nothing is released."""
    _asked: set[str] = field(default_factory=set)
    _want: tuple[str, ...] | None = None
    _owes_since_ms: dict[str, float] = field(default_factory=dict)
    _owed: dict[str, int] = field(default_factory=dict)

    def begin(self, end: int) -> None:
        """This node begins to lead with all up to `end`; the register will tell the set."""
        self.released, self.joins_from = -1, end
        self.version, self.confirmed = -1, frozenset()
        self._asked.clear()
        self._owes_since_ms.clear()
        self._owed.clear()
        self._want = None

    def learn(self, version: int, members: tuple[str, ...]) -> None:
        """The register says so. An older version than the one known is passed over."""
        if version <= self.version:
            return
        self.version, self.confirmed = version, frozenset(members)
        self._asked.clear()
        self._want = None

    @property
    def waited_for(self) -> frozenset[str]:
        """Followers whose acknowledgement a write needs."""
        return (self.confirmed | self._asked) - {self.me}

    @property
    def want(self) -> tuple[int, tuple[str, ...]] | None:
        """The set asked of the register, with the version that it is to replace."""
        return None if self._want is None else (max(0, self.version), self._want)

    def update(
        self, acked: Mapping[str, int], end: int, owed: int, now_ms: float
    ) -> tuple[int, tuple[str, ...]] | None:
        """Takes what each online follower has acknowledged; returns `want`.

        `end` is the stream's end, `owed` the highest position that a held reply waits for."""
        if self.confirmed:
            self._release(acked, end)
        self._note_debts(acked, owed, now_ms)
        self._decide(acked, now_ms)
        return self.want

    def enough(self, acked: Mapping[str, int]) -> bool:
        """Whether as many members as `min-in-sync` asks for are there to take a write."""
        timely = sum(one in acked for one in self.confirmed - {self.me})
        return bool(self.confirmed) and 1 + timely >= self.settings.members_min

    def _release(self, acked: Mapping[str, int], end: int) -> None:
        if self.me not in self.confirmed or len(self.confirmed) < self.settings.members_min:
            return
        reached = end
        for one in self.waited_for:
            reached = min(reached, acked.get(one, -1))
        self.released = max(self.released, reached)

    def _note_debts(self, acked: Mapping[str, int], owed: int, now_ms: float) -> None:
        """Since when each member has owed what was wanted of it then; being away is a debt too."""
        for one in self.waited_for:
            has = acked.get(one, -1)
            target = self._owed.get(one, owed)
            if has >= owed and one in acked:
                self._owes_since_ms.pop(one, None)
                self._owed.pop(one, None)
            elif has >= target and one in acked:
                # It catches up, if slowly: it owes anew from here.
                self._owes_since_ms[one], self._owed[one] = now_ms, owed
            else:
                self._owes_since_ms.setdefault(one, now_ms)
                self._owed.setdefault(one, owed)
        for one in [one for one in self._owes_since_ms if one not in self.waited_for]:
            del self._owes_since_ms[one], self._owed[one]

    def _late(self, member: str, now_ms: float) -> bool:
        since_ms = self._owes_since_ms.get(member)
        return since_ms is not None and now_ms - since_ms > self.settings.timeout_ms

    def _decide(self, acked: Mapping[str, int], now_ms: float) -> None:
        joins_from = max(self.released, self.joins_from)
        joining = {one for one, has in acked.items() if has >= joins_from}
        staying = {one for one in self.confirmed - {self.me} if not self._late(one, now_ms)}
        asked = set(self._want or ()) - {self.me}
        if self._want is not None and not any(self._late(one, now_ms) for one in asked):
            return  # one question at a time, unless who was to join is gone again
        wanted = {self.me} | staying | {one for one in joining if not self._late(one, now_ms)}
        if len(wanted) < self.settings.members_min and self.confirmed:
            # Too few would be left to write anyway: who is late may yet come back.
            wanted |= self.confirmed
        if wanted == self.confirmed or len(wanted) < self.settings.members_min:
            self._want = None
            return
        self._want = tuple(sorted(wanted))
        self._asked |= wanted
