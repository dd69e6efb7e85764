"""When a leader answers a write: `durability`, `max-loss-ms`, `linearizable-reads`.

A client that wrote has its channel's gate set by the dispatcher; the gate is asked before the reply
leaves. Here is what it answers:

    durability in-sync      not before every member of the in-sync set has the write
    max-loss-*              at once while the followers are near; later and later towards the bound
    neither                 at once, while the lease lasts

A channel that is held reads no further request, so its other replies keep their order; everybody
else goes on. Positions are given at the end of the turn of the loop, when what was written in it is
in the stream, so a turn costs one frame however many clients wrote.

Writes are refused (NOREPLICAS) while the set is smaller than `min-in-sync`, or while the bound of
what may be lost is reached. Without sentinels there is no register: the leader keeps its set alone.

Invariants: a held channel has STOP_HELD; a reply that was held leaves only under the lease, and is
dropped with its connection where its write may be lost (the role changed, the lease ended).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from cache_server.client import CLOSE_AFTER_REPLY, STOP_HELD
from cache_server.commands.dispatch import GATE_READS
from cache_server.errors import CommandError
from replication.failover.in_sync import InSyncSet, InSyncSettings
from replication.failover.loss import LossBound

log = logging.getLogger("cache_server")

_SETTINGS = (
    "durability",
    "min-in-sync",
    "in-sync-timeout",
    "linearizable-reads",
    "max-loss-ms",
    "max-loss-bytes",
)
#: A held reply whose set cannot answer is given up after so many times `in-sync-timeout`.
_PATIENCE = 5


@dataclass(slots=True)
class _Held:
    since_ms: float
    position: int = -1
    """-1: to be given at the end of this turn."""
    until_ms: float = float("inf")
    """When it leaves anyway (slowed down, not held)."""


class Durability:
    """A part of the server. `replication` is its Replicator, `lease` its DataNodeLease."""

    def __init__(self, server: Any, replication: Any, lease: Any) -> None:
        self._server = server
        self._config = server.config
        self._dispatcher = server.dispatcher
        self._loop = server.loop
        self._replication = replication
        self._lease = lease
        self._held: dict[Any, _Held] = {}
        self._turn_scheduled = False
        self._reign: tuple[int, bool] | None = None
        self.in_sync = InSyncSet("")
        self.loss = LossBound()
        for name in _SETTINGS:
            self._config.on_change[name] = self._setting_changed
        replication.on_ack = self.advance
        lease.on_learned = self._learned
        lease.reply_gate = self._gate_if_needed

    # -- part of the server --------------------------------------------------------------------

    async def start(self) -> None:
        """The node knows who it is."""
        self.in_sync.me = self._lease.member_id
        self._replication.follower.settings.member_id = self.in_sync.me
        self._replication.on_role.append(self._role_changed)
        self._role_changed(self._replication.leading)
        self._setting_changed(None)

    def cron(self, now_ms: int) -> None:
        """Looks after debts and held replies; asks for acknowledgements while somebody waits."""
        if not self.holding:
            return
        if self._held or self.loss.bounded:
            self._replication.ask_for_acks()
            self._at_risk()
        self.advance()
        self._give_up_late()

    async def stop(self) -> None:
        """Who is still held is closed with the rest."""

    def info_lines(self) -> dict[str, Any]:
        """Lines of INFO's section `replication`."""
        if not self.holding:
            return {}
        if self._in_sync_wanted:
            members = sorted(self.in_sync.confirmed)
            return {
                "in_sync_members": ",".join(members),
                "in_sync_count": len(members),
                "in_sync_held_replies": len(self._held),
            }
        ms, size = self._at_risk()
        return {"loss_ms": int(ms), "loss_bytes": size}

    # -- settings and roles --------------------------------------------------------------------

    @property
    def _in_sync_wanted(self) -> bool:
        return bool(self._config.durability == "in-sync")

    @property
    def holding(self) -> bool:
        """Whether replies may be held at all."""
        return self._in_sync_wanted or self.loss.bounded

    def _setting_changed(self, _value: Any) -> None:
        config = self._config
        self.in_sync.settings = InSyncSettings(config.min_in_sync, config.in_sync_timeout)
        self.loss.ms_max, self.loss.bytes_max = config.max_loss_ms, config.max_loss_bytes
        self._hold_reads(self._replication.leading)
        self._replication.write_check = self._check if self.holding else None
        self._replication.refresh()
        self._lease.gate_changed()
        if self._in_sync_wanted:
            self.advance()
        else:
            self._ask_for(() if self.in_sync.confirmed else None)
            self._release(self._replication.written_position())

    def _hold_reads(self, leading: bool) -> None:
        """Replies to reads wait where this node leads; what a follower shows may be old anyway."""
        reads = leading and self._in_sync_wanted and self._config.linearizable_reads
        gates = self._dispatcher.gates
        self._dispatcher.gates = gates | GATE_READS if reads else gates & ~GATE_READS

    def _gate_if_needed(self) -> Any:
        return self._gate if self.holding else None

    def _role_changed(self, leading: bool) -> None:
        self._drop_held("this node leads no longer")
        self._hold_reads(leading)
        if leading:
            self.in_sync.begin(self._replication.written_position())
        self.loss.begin(self._now_ms())

    def _learned(self, epoch: int, version: int, members: tuple[str, ...]) -> None:
        """What the register says, as the lease was told; another epoch is another reign."""
        reign = (epoch, bool(self._replication.leading))
        if reign != self._reign:
            self._reign = reign
            if reign[1]:
                self.in_sync.begin(self._replication.written_position())
        if self._in_sync_wanted or members:
            self.in_sync.learn(version, members)
        self.advance()

    # -- the path of a write -------------------------------------------------------------------

    def _check(self) -> None:
        """Before a write. Raises NOREPLICAS."""
        if self._in_sync_wanted:
            if not self.in_sync.enough(self._acked()):
                raise CommandError(
                    b"NOREPLICAS Not enough in-sync replicas to write (min-in-sync)."
                )
        elif self.loss.reached(*self._at_risk()) or self.loss.unsure(self._lease.unconfirmed_ms()):
            raise CommandError(
                b"NOREPLICAS Too much is not replicated yet (max-loss-ms, max-loss-bytes)."
            )

    def _gate(self, channel: Any) -> bool:
        """Whether what the channel has written may leave now."""
        if not self._lease.admits(channel):
            self._held.pop(channel, None)
            return False
        if channel in self._held:
            return False
        until_ms = float("inf")
        now_ms = self._now_ms()
        if not self._in_sync_wanted:
            wait_ms = self.loss.wait_ms(*self._at_risk())
            if wait_ms <= 0:
                channel.gate = None
                return True
            until_ms = now_ms + wait_ms
        self._held[channel] = _Held(now_ms, until_ms=until_ms)
        channel.gate = self._gate  # whoever asked first (the log) has stepped aside
        channel.stop |= STOP_HELD
        if not self._turn_scheduled:
            # Behind the turn's own flush of the stream, which was called for by the write.
            self._turn_scheduled = True
            self._loop.call_soon(self._end_turn)
        return False

    def _end_turn(self) -> None:
        self._turn_scheduled = False
        end = self._replication.written_position()
        for held in self._held.values():
            if held.position < 0:
                held.position = end
        self._replication.ask_for_acks()
        self.advance()

    def advance(self) -> None:
        """Somebody acknowledged, or time passed: let go what may leave."""
        if not self._replication.leading or not self.holding:
            return
        if not self._in_sync_wanted:
            self._release(self._best_acked())
            return
        owed = max((one.position for one in self._held.values()), default=0)
        end = self._replication.leader.backlog.end
        wanted = self.in_sync.update(self._acked(), end, owed, self._now_ms())
        self._ask_for(None if wanted is None else wanted[1])
        self._release(self.in_sync.released)

    def _ask_for(self, members: tuple[str, ...] | None) -> None:
        """Has the register take the set up; without sentinels it counts at once."""
        version = max(0, self.in_sync.version)
        if self._lease.managed:
            self._lease.want(None if members is None else (version, members))
        elif members is not None:
            self.in_sync.learn(version + 1, members)

    def _release(self, position: int) -> None:
        now_ms = self._now_ms()
        ready = [
            channel
            for channel, held in self._held.items()
            if 0 <= held.position <= position or now_ms >= held.until_ms
        ]
        for channel in ready:
            del self._held[channel]
            channel.stop &= ~STOP_HELD
            if channel.client is None or not self._lease.admits(channel):
                continue
            channel.gate = None
            channel.flush()
            if channel.client.flags & CLOSE_AFTER_REPLY:
                channel.client.connection.pass_needs_care()
            else:
                self._loop.call_soon(channel.client.connection.resume)

    def _give_up_late(self) -> None:
        """Replies that nobody will ever confirm: their connections end, the outcome is unknown."""
        patience_ms = _PATIENCE * self._config.in_sync_timeout
        now_ms = self._now_ms()
        for channel, held in list(self._held.items()):
            if channel.client is None or now_ms - held.since_ms > patience_ms:
                self._drop(channel, "its write was not acknowledged by the in-sync set in time")

    def _drop_held(self, reason: str) -> None:
        for channel in list(self._held):
            self._drop(channel, reason)

    def _drop(self, channel: Any, reason: str) -> None:
        del self._held[channel]
        if channel.client is not None:
            log.warning("Closing client %s: %s", channel.client.peer, reason)
            channel.writer.take()
            channel.client.connection.close()

    # -- what followers have -------------------------------------------------------------------

    def _now_ms(self) -> float:
        return float(self._loop.time() * 1000)

    def _acked(self) -> dict[str, int]:
        return {
            one.member: one.acked_position
            for one in self._replication.leader.followers.values()
            if one.online and one.member
        }

    def _best_acked(self) -> int:
        online = [one for one in self._replication.leader.followers.values() if one.online]
        return max((one.acked_position for one in online), default=-1)

    def _at_risk(self) -> tuple[float, int]:
        """What would be lost if the leader died now: age of the oldest write in ms, bytes."""
        leader = self._replication.leader
        now_ms = self._now_ms()
        end = self._replication.written_position()
        return self.loss.note(self._best_acked(), end, bool(leader.active), now_ms)
