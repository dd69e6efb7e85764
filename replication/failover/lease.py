"""The lease: who may acknowledge writes, until when.

Problem: a leader that is cut off or was paused does not know that others have replaced it.

Idea: it may acknowledge writes only while a majority of the N sentinels has promised to take no
part in replacing it. Clocks are compared nowhere; only their rates must agree within
CLOCK_RATE_BOUND_PER_MILLE.

    sentinel                         leader
       | RENEW epoch, no token          |
       |------------------------------->|  notes the time of issue t0 in a token
       |        epoch, id, ttl, token   |
       |<-------------------------------|
       | promises until now + ttl*(1+r) |
       | RENEW epoch, token             |
       |------------------------------->|  counts this sentinel until t0 + ttl

The promise is made after t0 and lasts longer than ttl on any clock within the bound, so it ends
after the leader has stopped counting it. Two leaders at once would need two majorities of promises
at once; they share a sentinel, and one sentinel promises to one leader at a time. A sentinel
forgets its promises when it restarts, hence it keeps silent for one whole ttl after its start.

Invariants: a token counts only in the life of the process and in the tenure that issued it; a
released lease is never counted again; `writes_until_ms` moves forward only through majority.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from replication.failover import constants
from replication.failover.actions import Lead, LeaseAction, PersistLease, Reply, Yield
from replication.failover.cluster_view import Address, LeaseState, life_of
from replication.failover.events import (
    LeaseAsked,
    LeaseEvent,
    LeaseGivenUp,
    LeaseTakenBack,
    RespValue,
    RoleChanged,
    WireError,
)
from replication.failover.messages import (
    LeaseEpoch,
    LeaseMessage,
    LeaseRead,
    LeaseRenew,
    MessageError,
    encode_members,
    parse_lease,
)

NEVER_MS = -math.inf
ALWAYS_MS = math.inf


def majority(members: int) -> int:
    """How many of `members` are more than half."""
    return members // 2 + 1


def stretched_ms(ttl_ms: float) -> float:
    """The time a promise must last so that no clock within the rate bound sees it end early."""
    return ttl_ms * (1000 + constants.CLOCK_RATE_BOUND_PER_MILLE) / 1000


@dataclass(slots=True)
class _Grant:
    """What one sentinel has granted: counted until `until_ms` on our clock, out of `members`."""

    until_ms: float
    members: int


class LeaderLease:
    """The data node's side.

    `state` is what the node's state file held (LeaseState(node_id) for a new node); `boot_id`
    differs in each life of the process. The write path compares its clock with `writes_until_ms`
    before each write is acknowledged: +inf for a node that no sentinel manages, -inf where writes
    are refused.
    """

    def __init__(
        self,
        state: LeaseState,
        boot_id: str,
        leading: bool,
        ttl_ms: int = constants.LEASE_TTL_MS,
    ) -> None:
        assert 0 < ttl_ms <= constants.LEASE_TTL_MS_MAX
        assert boot_id
        self.state = state
        self.leading = leading
        self.heir: Address | None = None
        #: Epoch, version and in-sync set of the register, as far as this life was told.
        self.register: tuple[int, int, tuple[str, ...]] = (-1, 0, ())
        #: The in-sync set that is asked of the register, and the version it is to replace.
        self.want: tuple[int, tuple[str, ...]] | None = None
        #: An earlier life led in this epoch: what it acknowledged may be lost here.
        self.life_lost = state.under_lease and state.leader_id == state.node_id
        self._named = False
        self._handed = False
        self._handed_at = (0, NEVER_MS)
        self.writes_until_ms = NEVER_MS if state.under_lease else ALWAYS_MS
        self._boot_id = boot_id
        self._ttl_ms = ttl_ms
        self._tenure = 0
        self._grants: dict[str, _Grant] = {}
        self._actions: list[LeaseAction] = []

    @property
    def confirmed(self) -> bool:
        """Whether this node may act on what it believes about its role (False: it booted
        read-only).
        """
        return not self.state.under_lease or not self.leading or self.writes_until_ms > NEVER_MS

    @property
    def may_serve(self) -> bool:
        """Whether followers may take their history from this node.

        A node once under a lease that leads by its own opinion (it restarted so, or was told so by
        hand) may have lost its history; it serves when the register names this life of it, or when
        the leader itself handed over to it."""
        return not self.state.under_lease or not self.leading or self._named or self._handed

    @property
    def named(self) -> bool:
        """Whether the register, as far as is known here, names this life of this node."""
        return self.state.under_lease and self.leading and self._named and self.heir is None

    def unconfirmed_ms(self, now_ms: float) -> float:
        """For how long no majority has stood behind this node. 0 below half a ttl (that is jitter)
        and where no sentinel manages it.
        """
        age_ms = now_ms - (self.writes_until_ms - self._ttl_ms)
        return age_ms if age_ms >= self._ttl_ms / 2 else 0.0

    def writable(self, now_ms: float) -> bool:
        """Whether a write may be acknowledged at `now_ms`."""
        return now_ms < self.writes_until_ms

    def info_lines(self) -> dict[str, str]:
        """The INFO lines by which sentinels know this node."""
        return {"lease_node_id": self.state.node_id, "lease_epoch": str(self.state.epoch)}

    def receive(self, event: LeaseEvent, now_ms: float) -> None:
        """Take in one event; collect what follows with `take_actions`."""
        if isinstance(event, LeaseAsked):
            self._actions.append(Reply(event.request, self._answer(event.args, now_ms)))
        elif isinstance(event, RoleChanged):
            self._handed = event.leading and event.handed
            self._handed_at = (self.state.epoch, now_ms)
            if self.leading != event.leading:
                self.leading = event.leading
                self._new_tenure()
                # A node that follows its heir goes on saying that it gave the lease back.
                self.heir = None if event.leading else self.heir
        elif isinstance(event, LeaseGivenUp):
            self._new_tenure()
            self.heir = event.heir
        else:
            assert isinstance(event, LeaseTakenBack)
            self.heir = None

    def take_actions(self) -> list[LeaseAction]:
        """What is to be done, in order; a PersistLease comes before all that rests on it."""
        taken, self._actions = self._actions, []
        return taken

    def _new_tenure(self) -> None:
        """No token issued up to now counts any more."""
        self._tenure += 1
        self._grants.clear()
        if self.state.under_lease:
            self.writes_until_ms = NEVER_MS

    def _answer(self, args: tuple[bytes, ...], now_ms: float) -> RespValue:
        try:
            message = parse_lease(args)
        except MessageError as error:
            return WireError(f"ERR {error}")
        if message is None:
            return self._forget()
        if self.state.name not in ("", message.name):
            return WireError(f"ERR this node is led under the name {self.state.name}")
        return self._take(message, now_ms)

    def _take(self, message: LeaseMessage, now_ms: float) -> RespValue:
        if isinstance(message, LeaseRead) or (isinstance(message, LeaseRenew) and message.stored):
            return WireError(
                "ERR this node has no external store: give it the 'coordinator' of the sentinels"
            )
        self._learn(message, now_ms)
        if isinstance(message, LeaseEpoch):
            return b"OK"
        return self._renew(message, now_ms)

    def _forget(self) -> RespValue:
        self.state = LeaseState(self.state.node_id)
        self.life_lost = False
        self.register = (-1, 0, ())
        self._actions.append(PersistLease(self.state))
        self._new_tenure()
        self.writes_until_ms = ALWAYS_MS
        return b"OK"

    def _learn(self, message: LeaseRenew | LeaseEpoch, now_ms: float) -> None:
        """Adopt a higher epoch, or the very first one; then be what the register says."""
        state = self.state
        if message.epoch < state.epoch or not message.leader_id:
            return
        mine = message.leader_id == state.node_id
        if message.epoch > state.epoch or state.name == "":
            # A leader that no sentinel led before goes on writing until a majority leads it: the
            # first sentinel to start must not stop it. Every other node is fenced from now on.
            under = state.under_lease or not (mine and self.leading)
            self.state = replace(
                state,
                name=message.name,
                epoch=message.epoch,
                leader_id=message.leader_id,
                under_lease=under,
            )
            self._actions.append(PersistLease(self.state))
            self._new_tenure()
            self.heir = None
            self.life_lost = self._named = False
        if self.state.leader_id != message.leader_id:
            return
        if mine and message.life and message.life != life_of(self._boot_id):
            self.life_lost = True
        if (message.epoch, message.version) > self.register[:2]:
            self.register = (message.epoch, message.version, message.in_sync)
        self._named = mine and not self.life_lost
        if self.life_lost:
            return
        if mine and not self.leading and self.heir is None:
            self.leading = True
            self._actions.append(Lead(message.epoch))
        elif not mine and self.leading and not self._awaits_name(now_ms):
            self.leading = False
            self._new_tenure()
            self._actions.append(Yield(message.epoch, message.leader))

    def _awaits_name(self, now_ms: float) -> bool:
        """Whether our leader handed over to us a moment ago: who says that it leads in the epoch of
        then has not heard of it yet. (It cannot mislead us into writing: that takes a lease.)
        """
        epoch, at_ms = self._handed_at
        recent = now_ms - at_ms < constants.HANDED_SETTLE_MS
        return self._handed and recent and self.state.epoch == epoch

    def _renew(self, message: LeaseRenew, now_ms: float) -> RespValue:
        me = self.state.node_id.encode()
        ours = message.epoch == self.state.epoch and message.leader_id == self.state.node_id
        if self.heir is not None and ours:
            heir = self.heir
            return (
                self.state.epoch,
                me,
                0,
                b"released",
                heir.host.encode(),
                b"%d" % heir.port,
            )
        if ours and self.life_lost:
            return (self.state.epoch, me, 0, b"restarted")
        if not ours or not self.leading:
            return (self.state.epoch, me, 0, b"-")
        if message.token:
            self._count(message, now_ms)
        token = f"{self._boot_id}.{self._tenure}.{now_ms!r}"
        answer = (self.state.epoch, me, self._ttl_ms, token.encode())
        if self.want is None or self.register[0] != self.state.epoch:
            return answer
        version, members = self.want
        return (*answer, b"%d" % version, encode_members(members))

    def _count(self, message: LeaseRenew, now_ms: float) -> None:
        """A token that came back: count its sentinel from the time the token was issued."""
        boot, _, rest = message.token.partition(".")
        tenure, _, issued = rest.partition(".")
        if boot != self._boot_id or tenure != str(self._tenure):
            return
        try:
            issued_ms = float(issued)
        except ValueError:
            return
        if not now_ms - self._ttl_ms < issued_ms <= now_ms:
            return
        known = self._grants.get(message.sentinel_id)
        if known is None and len(self._grants) >= constants.SENTINELS_MAX:
            return
        until_ms = max(issued_ms + self._ttl_ms, known.until_ms if known else NEVER_MS)
        self._grants[message.sentinel_id] = _Grant(until_ms, message.members)
        self._settle(now_ms)

    def _settle(self, now_ms: float) -> None:
        """How long a majority holds. N is the greatest number that any granting sentinel counts."""
        live = {k: g for k, g in self._grants.items() if g.until_ms > now_ms}
        self._grants = live
        needed = majority(max((g.members for g in live.values()), default=1))
        if len(live) < needed:
            return
        if not self.state.under_lease:
            self.state = replace(self.state, under_lease=True)
            self._actions.append(PersistLease(self.state))
        self.writes_until_ms = sorted((g.until_ms for g in live.values()), reverse=True)[needed - 1]


class SentinelLease:
    """The granting side, one per monitored master: to whom this sentinel has promised, until when.

    `quiet_ms` is the longest ttl this sentinel ever grants; it keeps quiet so long after its start.
    """

    def __init__(self, now_ms: float, quiet_ms: int = constants.LEASE_TTL_MS) -> None:
        self._ttl_ms_max = quiet_ms
        self._holder: tuple[int, str] | None = None
        self._until_ms = now_ms + stretched_ms(quiet_ms)

    def grant(self, epoch: int, leader_id: str, ttl_ms: int, now_ms: float) -> bool:
        """Promise the lease to this leader in this epoch; False where another promise still
        holds.
        """
        if not 0 < ttl_ms <= self._ttl_ms_max or not leader_id:
            return False
        if now_ms < self._until_ms and not self._is_holder(leader_id):
            return False
        self._holder = (epoch, leader_id)
        self._until_ms = max(self._until_ms, now_ms + stretched_ms(ttl_ms))
        return True

    def release(self, epoch: int, leader_id: str) -> None:
        """The leader itself gave the lease back."""
        if self._holder == (epoch, leader_id):
            self._until_ms = NEVER_MS

    def blocked_ms(self, epoch: int, leader_id: str, now_ms: float) -> float:
        """How long this sentinel may not accept this leader in this epoch; 0 = it may."""
        if self._is_holder(leader_id):
            return 0.0
        return max(0.0, self._until_ms - now_ms)

    def _is_holder(self, leader_id: str) -> bool:
        """A promise binds to a node, in whichever epoch the register names it."""
        return self._holder is not None and self._holder[1] == leader_id

    def granted_ms(self, now_ms: float) -> float:
        """What remains of the promise in force, 0 if none."""
        return max(0.0, self._until_ms - now_ms) if self._holder else 0.0
