"""History: which stream this node holds, and when two histories may continue one another.

A stream position means something only within a history, named by a replication id. Redis's rules:

- A leader that starts anew draws a random id. A follower takes its leader's id.
- A promoted follower draws a new id and remembers the old one as its *second id*, good up to the
  position of the promotion, so that the other followers of the old leader can continue with it.
- A peer that asks for the byte after position P under id R may continue when R is the id, or R is
  the second id and P is not beyond the promotion, and the backlog still has every byte from P on.

Ours adds three things. Ids before the second one are remembered too, each good up to the position
where it ended: leaders may change twice before a follower comes back. The *epoch* is the number of
the reign under which bytes are written; it only rises. The *history checksum* (kept by the backlog)
runs over all bytes; where two of ours resume, both say their checksum at that position, and
disagreement means that one of them has silently diverged, so it is rebuilt. The checksum begins at
a *base* position: a follower of a stock Redis starts one where its full sync ended, and values with
different bases are not comparable.

Positions count bytes before a point, from zero: the byte Redis calls `wanted` is at `wanted - 1`.
"""

from dataclasses import dataclass

from replication.constants import NO_REPLID, REPLID_LENGTH

OLDER_IDS_MAX = 14
"""Ids remembered besides the second one: as many changes of leader as may pass a follower by."""

_HEX = frozenset("0123456789abcdef")


def is_replid(text: str) -> bool:
    """Whether `text` is a replication id: 40 lower-case hexadecimal digits."""
    return len(text) == REPLID_LENGTH and _HEX.issuperset(text)


@dataclass(frozen=True, slots=True)
class HistoryMark:
    """The running checksum of a history at some position, and where it began to run."""

    checksum: int
    base: int


@dataclass(slots=True)
class History:
    """The ids under which this node's stream is known. Positions are the backlog's."""

    replid: str
    replid2: str = NO_REPLID
    replid2_position: int = -1
    """Positions up to this one belong to `replid2` as well; -1 if there is no second id."""
    epoch: int = 0
    older: tuple[tuple[str, int], ...] = ()
    """Ids before `replid2`, newest first, each with the last position that belongs to it."""

    def shift(self, new_replid: str, position: int) -> None:
        """Starts a new id at `position`, keeping the present one as second id (a promotion)."""
        assert is_replid(new_replid)
        if self.replid2 != NO_REPLID:
            second = (self.replid2, min(self.replid2_position, position))
            self.older = (second, *self.older[: OLDER_IDS_MAX - 1])
        self.replid2 = self.replid
        self.replid2_position = position
        self.replid = new_replid

    def unshift(self) -> None:
        """Takes `shift` back, where nothing was written since. The id that was given up is still
        known, for those who heard of it.
        """
        assert self.replid2 != NO_REPLID
        given_up = (self.replid, self.replid2_position)
        self.replid = self.replid2
        self.replid2, self.replid2_position = self.older[0] if self.older else (NO_REPLID, -1)
        self.older = (given_up, *self.older[1:])

    def restart(self, new_replid: str) -> None:
        """Takes an id that shares nothing with the past (new leader, or after a full sync)."""
        assert is_replid(new_replid)
        self.replid = new_replid
        self.replid2 = NO_REPLID
        self.replid2_position = -1
        self.older = ()

    def lineage(self, end: int) -> tuple[tuple[str, int], ...]:
        """Every id known, newest first, each with the last position that belongs to it. `end` is
        where the stream is now."""
        named = [(self.replid, end), (self.replid2, self.replid2_position), *self.older]
        return tuple((replid, last) for replid, last in named if replid != NO_REPLID)

    def go_back(self, replid: str, position: int) -> None:
        """Forgets all that came after `position` under `replid`, which is one of the ids known."""
        known = self.lineage(position)
        at = [name for name, _ in known].index(replid)
        before = tuple((name, min(last, position)) for name, last in known[at + 1 :])
        self.replid = replid
        self.replid2, self.replid2_position = before[0] if before else (NO_REPLID, -1)
        self.older = before[1:]

    @property
    def second_repl_offset(self) -> int:
        """`second_repl_offset` as INFO shows it: first byte not in the second history, or -1."""
        return self.replid2_position + 1 if self.replid2_position >= 0 else -1

    def raise_epoch(self, epoch: int) -> None:
        """Takes a higher epoch. Epochs never fall."""
        assert epoch >= self.epoch
        self.epoch = epoch

    def refusal_of_id(self, replid: str, position: int) -> str | None:
        """Why a peer under `replid` may not continue from `position`; None if it may."""
        if replid == self.replid:
            return None
        if replid == self.replid2 and replid != NO_REPLID:
            if position <= self.replid2_position:
                return None
            return (
                f"Requested offset for second ID was {position + 1}, but I can reply up to"
                f" {self.second_repl_offset}"
            )
        if any(replid == known and position <= last for known, last in self.older):
            return None
        return (
            f"Replication ID mismatch (Replica asked for '{replid}', my replication IDs are"
            f" '{self.replid}' and '{self.replid2}')"
        )

    def invariants(self) -> None:
        """Raises `AssertionError` where the ids contradict themselves."""
        assert is_replid(self.replid)
        assert is_replid(self.replid2)
        assert (self.replid2 == NO_REPLID) == (self.replid2_position < 0)
        assert self.epoch >= 0
