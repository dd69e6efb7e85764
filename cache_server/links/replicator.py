"""Replication in this process: the two machines, their clock, and hands for their actions.

The machines of `replication` decide; here their actions are carried out on sockets and on the data.
There is one way in (`tell_leader`, `tell_follower`) and one way out (`settle`), which is never
entered twice: what an action's event asks for is done after what was asked before.

    commands, connections, timers --event--> Leader / Follower --actions--> settle --> carry_out

    serving_side.py     links of followers, snapshots for them, WAIT
    following_side.py   the link to the leader, and the data that comes on it
    verification.py     data compared with another node's
    rewind.py           back to the fork, when a leader returns
    kept_history.py     what our files say of the history; the log, which has each frame first
    link_settings.py    the configuration, in the machines' units
    this module         roles, handover, the stream, and what others ask

Before the leader machine looks, what this turn's commands propagated is appended to the backlog, so
that the end of the backlog is always the position of the data.

Invariants: the gates of the dispatcher, the expiry mode and whether effects are collected follow
from role, link and settings alone (`refresh`); a node that follows never writes to its stream.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from typing import Any

from cache_server.commands import dispatch
from cache_server.errors import CommandError
from cache_server.keyspace.database import EXPIRE_DELETE, EXPIRE_HIDE
from cache_server.links import link_settings
from cache_server.links.following_side import FollowingSide
from cache_server.links.kept_history import KeptHistory
from cache_server.links.overflow import OverflowFile
from cache_server.links.rewind import Rewinding
from cache_server.links.serving_side import ServingSide
from cache_server.links.sync_progress import SyncProgressLog
from cache_server.links.verification import Verification
from cache_server.observe import logs
from cache_server.persistence.recovery import history_aux
from replication import actions as act
from replication import events as ev
from replication.actions import Action, LogLevel
from replication.backlog import Backlog
from replication.follower import Follower
from replication.handover import HandoverState
from replication.history import History
from replication.leader import Leader
from replication.progress import INFO_STATES, Progress
from replication.rewind import KeyServer
from replication.sameness import Sameness
from replication.settings import FollowerSettings, LeaderSettings

log = logging.getLogger("cache_server")

_LOG_LEVELS = {
    LogLevel.VERBOSE: logs.VERBOSE,
    LogLevel.NOTICE: logging.INFO,
    LogLevel.WARNING: logging.WARNING,
}

#: The purpose under which writes are paused while a failover drains.
BY_FAILOVER = "failover"
#: The end of a pause that ends when the failover does, in Unix ms.
PAUSE_FOR_EVER_MS = 1 << 62


def new_replid() -> str:
    """A replication id nobody else has: 160 random bits in hexadecimal."""
    return secrets.token_hex(20)


class Replicator:
    """The server's replication. Commands ask it, connections report to it, the server ticks it."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.loop = server.loop
        config = server.config
        history = History(new_replid())
        backlog = Backlog(config.repl_backlog_size)
        self.leader = Leader(history, backlog, LeaderSettings(), new_replid)
        self.follower = Follower(history, backlog, FollowerSettings())
        self.leader.new_overflow = self.follower.new_overflow = lambda: OverflowFile(config.dir)
        self.progress_log = SyncProgressLog(self)
        self.sameness = Sameness(self.leader)
        self.sameness.at_end = lambda: self.leading or self.follower.position == backlog.end
        self.keys = KeyServer(self.leader)
        self.keys.at_end = self.sameness.at_end
        #: Told when this node begins to lead (True) or to follow (False).
        self.on_role: list[Callable[[bool], None]] = []
        #: Told when a follower has acknowledged something.
        self.on_ack: Callable[[], None] | None = None
        #: Asked before each write, besides min-replicas-to-write; raises the refusal.
        self.write_check: Callable[[], None] | None = None
        #: Whether this node leads because its leader handed over to it.
        self.handed = False
        self.kept = KeptHistory(self)
        self.serving = ServingSide(self)
        self.following = FollowingSide(self)
        self.verification = Verification(self)
        self.rewinding = Rewinding(self)
        self._carry_out: dict[type[Action], Callable[[Any], None]] = {
            **self._own_hands(),
            **self.serving.carry_out,
            **self.following.carry_out,
            **self.verification.carry_out,
            **self.rewinding.carry_out,
        }
        self._selected_before = 0
        self._settling = False
        self._counted = (0, 0, 0)
        for name in link_settings.COUNT_AT_ONCE:
            config.on_change[name] = self._setting_changed
        server.persistence.history_fields = self.history_fields
        server.persistence.is_sending = lambda: self.serving.sending
        server.persistence.receiving = self.following.loading_word
        self.read_settings()

    # -- life ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Goes on where the loaded data was, and follows whom the configuration says."""
        intact = self.kept.recover()
        if self.server.config.appendonly:
            self.kept.begin_log()
        self._begin_leading(self.server.persistence.recovered is not None, intact)
        self.refresh()
        if self.server.config.replicaof is not None:
            host, port = self.server.config.replicaof
            self.follow(host, port, resume=self.follower.resumable)

    def cron(self, now_ms: int) -> None:
        """Lets the machines do what is due. `now_ms` is wall time; theirs is monotonic."""
        self.read_settings()
        offset_ms = now_ms - self.now_ms()
        self.leader.wall_offset_ms = self.follower.wall_offset_ms = offset_ms
        self.flush()
        self.leader.tick(self.now_ms())
        self.follower.tick(self.now_ms())
        self.sameness.tick(self.now_ms())
        self.settle()
        self.serving.relieve()
        self.following.applier.trim()
        self.progress_log.tick(self.now_ms())

    async def stop(self) -> None:
        """Closes what we dialled; who dialled us is a client."""
        self.verification.stop()
        self.following.stop()
        self.serving.stop()

    def _begin_leading(self, recovered: bool, intact: bool) -> None:
        """A leader goes on under the id it had where its log cannot have lost what a follower may
        have; else under a new one, and its followers may continue from the old one."""
        if not recovered or self.server.config.replicaof is not None:
            return
        if not self.follower.resumable:
            return
        self.leader.backlog.active = True
        self._stream_begins()
        if not intact:
            self.leader.promote(self.now_ms())
            self.settle()
            self.kept.shifted()
        self.refresh()
        if self.server.keyspace.expire_mode == EXPIRE_DELETE:
            self._drop_expired()

    def _drop_expired(self) -> None:
        """Deletes what has expired while we were away, in the stream, for the followers' sake."""
        keyspace, dispatcher = self.server.keyspace, self.server.dispatcher
        dispatcher.begin_pass()
        count = 0
        for db in keyspace.databases:
            for key, entry in list(db.volatile.items()):
                if entry.expire_ms <= keyspace.now_ms:
                    db.expire_now(key)
                    dispatcher.finish_unit()
                    count += 1
        self.server.persistence.keys_expired += count
        self.flush()

    # -- roles ---------------------------------------------------------------------------------

    @property
    def leading(self) -> bool:
        """Whether this node is a leader."""
        return self.leader.leading

    @property
    def failing_over(self) -> bool:
        """Whether a FAILOVER is under way."""
        return self.leader.handover.state is not HandoverState.IDLE

    def follow(self, host: str, port: int, *, resume: bool = True, handover: bool = False) -> None:
        """Becomes (or stays) a follower, of the leader at this address."""
        self.flush()
        was_leading = self.leader.leading
        if was_leading:
            self.leader.demote()
            self.kept.forget_shift(handover)
            self.follower.resumable = resume
            self.following.applier.restart(self.leader.backlog.end, self._selected_db())
        self.server.config.replicaof = (host, port)
        self.tell_follower(ev.FollowRequested(host, port, handover))
        self.refresh()
        if was_leading:
            self.server.blocking.unblock_all()
            for told in self.on_role:
                told(False)

    def promote(self) -> None:
        """Leads from here on. A leader stays one."""
        if self.leader.leading:
            return
        self.tell_follower(ev.UnfollowRequested())
        self._stream_begins()
        self.leader.promote(self.now_ms())
        self._has_promoted()
        self.settle()

    def _has_promoted(self) -> None:
        self.server.config.replicaof = None
        self.rewinding.give_up()
        self.refresh()
        for told in self.on_role:
            told(True)

    def _selected_db(self) -> int:
        """The database that our own stream has selected last: it goes on there."""
        selected = int(self.server.propagation.selected_db)
        return selected if selected >= 0 else self._selected_before

    def forget_selected(self) -> None:
        """The next command is preceded by a SELECT; which database was selected is remembered."""
        self._selected_before = self._selected_db()
        self.server.propagation.forget_selected()

    def _stream_begins(self) -> None:
        """This node writes the stream from here on, and begins with a SELECT."""
        database = self.following.applier.client.db.index
        self.server.propagation.forget_selected()
        self._selected_before = database
        self.rewinding.stream_begins(self.leader.backlog.end, database)

    def refresh(self) -> None:
        """Brings gates, expiry and propagation in line with role, link and settings."""
        config, dispatcher = self.server.config, self.server.dispatcher
        leading = self.leader.leading
        gates = {
            dispatch.GATE_READONLY: not leading and config.replica_read_only,
            dispatch.GATE_STALE: not leading
            and not self.follower.connected
            and (self.follower.rewind.active or not config.replica_serve_stale_data),
            dispatch.GATE_MIN_REPLICAS: leading
            and (config.min_replicas_to_write > 0 or self.write_check is not None),
        }
        for gate, closed in gates.items():
            dispatcher.gates = dispatcher.gates | gate if closed else dispatcher.gates & ~gate
        held = dispatcher.gates & (dispatch.GATE_PAUSED | dispatch.GATE_LEASE)
        self.server.keyspace.expire_mode = EXPIRE_DELETE if leading and not held else EXPIRE_HIDE
        self.server.propagation.active = leading and self.leader.active

    def history_fields(self) -> list[tuple[bytes, Any]]:
        """What a snapshot taken now says of its place in the stream; nothing where there is no
        stream, or the data is not that of one place."""
        if not self.leader.active or self.follower.rewind.active:
            return []
        self.flush()
        return [(b"cache-keys", len(self.server.keyspace)), *history_aux(self.kept.history())]

    def stream_db(self) -> int:
        """The database that the stream has selected at the position of the data."""
        return self._selected_db() if self.leading else int(self.following.applier.client.db.index)

    def settle_stream(self) -> None:
        """Everything that was propagated is in the backlog, and as far as possible in the log."""
        self.flush()
        self.kept.write_log()

    # -- asked by commands ---------------------------------------------------------------------

    def tell(self, event: ev.Event) -> None:
        """Passes on what happened to a follower's link or to a waiting client."""
        self.tell_leader(event)
        if self.on_ack is not None and type(event) is ev.AckReceived:
            self.on_ack()

    def unsent_bytes(self) -> int:
        """Output that followers have not taken yet, and what the stream takes besides
        repl-backlog-size: frames' own bytes are no reason to evict a key."""
        beyond = self.buffer_bytes() - int(self.server.config.repl_backlog_size)
        return self.serving.waiting_bytes() + max(0, beyond)

    def written_position(self) -> int:
        """The position after everything this node has written."""
        self.flush()
        return self.leader.backlog.end

    def check_min_replicas(self) -> None:
        """Raises NOREPLICAS when fewer followers are good than min-replicas-to-write asks for."""
        if not self.leader.enough_good(self.now_ms()):
            raise CommandError(b"NOREPLICAS Not enough good replicas to write.")
        if self.write_check is not None:
            self.write_check()

    def ask_for_acks(self) -> None:
        """Followers are asked how far they are, once for what they have been sent."""
        if self.leader.attached:
            self.tell_leader(ev.AcksWanted())

    def start_failover(self, event: ev.FailoverRequested) -> None:
        """Begins a FAILOVER. Raises Redis's error where it cannot begin."""
        self.flush()
        refusal = self.leader.handover.refusal(event)
        if refusal is not None:
            raise CommandError(f"ERR {refusal}")
        self.tell_leader(event)
        self.refresh()

    def abort_failover(self) -> None:
        """FAILOVER ABORT. Raises Redis's error when there is nothing to abort."""
        if not self.failing_over:
            raise CommandError(b"ERR No failover in progress.")
        self.tell_leader(ev.FailoverAborted())
        self.refresh()

    def keys_asked(self, client: Any, payload: bytes) -> None:
        """A follower that rewinds asks for keys."""
        self.keys.asked(client.id, payload)
        self.settle()

    def data_flushed(self) -> None:
        """FLUSHALL: a snapshot of what was there is not worth sending any more."""
        self.leader.give_up_pass("the data was flushed")
        self.settle()

    def change_id(self) -> None:
        """Takes an id that shares nothing with the past: nobody can resume any more."""
        self.flush()
        self.leader.history.restart(new_replid())

    def followers_behind(self) -> int:
        """Followers that have not acknowledged everything written; they are asked to."""
        self.flush()
        end = self.leader.backlog.end
        behind = sum(1 for p in self.leader.attached if p.acked_position < end)
        if behind:
            self.tell_leader(ev.AcksWanted())
        return behind

    def log_followers_at_shutdown(self) -> None:
        """Which followers have everything, and which have not, as Redis words it."""
        attached, end = self.leader.attached, self.leader.backlog.end
        in_sync = 0
        for progress in attached:
            lag = end - progress.acked_position
            if lag == 0:
                in_sync += 1
                continue
            log.warning(
                "Lagging replica %s:%d reported offset %d behind master, lag=%d, state=%s.",
                progress.host,
                progress.listening_port,
                lag,
                self.lag_seconds(progress.heard_ms) if progress.online else 0,
                INFO_STATES[progress.state],
            )
        if attached:
            log.info("%d of %d replicas are in sync when shutting down.", in_sync, len(attached))

    def lag_seconds(self, heard_ms: int) -> int:
        """Whole seconds since a time of the machines' clock."""
        return max(0, (self.now_ms() - heard_ms) // 1000)

    def buffer_bytes(self) -> int:
        """Memory that the backlog takes, with what followers have yet to be sent."""
        return self.leader.backlog.memory_bytes if self.leader.active else 0

    def buffer_bytes_beyond_backlog(self) -> int:
        """What of it is there for slow followers only."""
        if not self.leader.attached and self.leader.backlog.pinned_position is None:
            return 0
        return max(0, self.buffer_bytes() - int(self.server.config.repl_backlog_size))

    def good_followers(self) -> int:
        """Followers online and heard of within min-replicas-max-lag."""
        return self.leader.good_count(self.now_ms())

    def lag_bytes(self, progress: Progress) -> int:
        """Bytes that a follower had yet to apply when it was heard of last."""
        return self.leader.lag_bytes(progress, self.now_ms())

    def lag_ms(self, progress: Progress) -> int:
        """Age of the oldest of these bytes, in ms."""
        return self.leader.lag_ms(progress, self.now_ms())

    def applied_lag_ms(self) -> int:
        """How old what was applied last was when it was applied, by the leader's own timestamp;
        without a link, how old it is. In ms, and as exact as the two clocks agree."""
        follower = self.follower
        written_ms = follower.stream.leader_timestamp_ms
        if follower.connected or not written_ms:
            return follower.stream.lag_ms
        return max(0, self.now_ms() + follower.wall_offset_ms - written_ms)

    # -- the stream ----------------------------------------------------------------------------

    def stream(self, data: bytes) -> None:
        """Takes what the commands of this turn propagated, and sends it on."""
        self.leader.append(data, self.now_ms())
        if self.leader.followers or self._settling:
            self.settle()
        else:
            self.kept.write_log()

    def data_replaced(self) -> None:
        """The data set is another one, of the leader's history."""
        self.rewinding.forget()
        self.kept.log.data_replaced()

    def flush(self) -> None:
        """What was propagated in this turn is in the backlog."""
        data = self.server.propagation.take()
        if data:
            self.leader.append(data, self.now_ms())

    # -- machines ------------------------------------------------------------------------------

    def now_ms(self) -> int:
        """The machines' clock."""
        return int(self.loop.time() * 1000)

    def tell_leader(self, event: ev.Event) -> None:
        """Passes an event to the leader machine."""
        self.flush()
        self.leader.receive(event, self.now_ms())
        self.settle()

    def tell_follower(self, event: ev.Event) -> None:
        """Passes an event to the follower machine."""
        self.follower.receive(event, self.now_ms())
        self.settle()

    def settle(self) -> None:
        """Carries out actions until there are none."""
        if self._settling:
            return
        self._settling = True
        leader, follower, carry_out = self.leader, self.follower, self._carry_out
        try:
            while True:
                if leader.upstream_connected != follower.connected:
                    leader.upstream_connected = follower.connected
                    self.refresh()
                if self.kept.write_log() and leader.needs_pump:
                    leader.pump(self.now_ms())
                actions = follower.take_actions() + leader.take_actions()
                actions += self.sameness.take_actions() + self.keys.take_actions()
                if not actions:
                    break
                for action in actions:
                    carry_out[type(action)](action)
        finally:
            self._settling = False
        self._count()

    def _count(self) -> None:
        """Carries the machines' counters over to the server's, which can be reset."""
        ours, stats = self.leader.stats, self.server.stats
        full, partial_ok, partial_err = self._counted
        stats.sync_full += ours.sync_full - full
        stats.sync_partial_ok += ours.sync_partial_ok - partial_ok
        stats.sync_partial_err += ours.sync_partial_err - partial_err
        self._counted = (ours.sync_full, ours.sync_partial_ok, ours.sync_partial_err)

    # -- settings ------------------------------------------------------------------------------

    def _setting_changed(self, _value: Any) -> None:
        self.read_settings()
        self.refresh()

    def read_settings(self) -> None:
        """The machines are given what the configuration says now."""
        link_settings.read_settings(self, logged=self.kept.log.on)

    # -- actions that change what this node is ---------------------------------------------------

    def _own_hands(self) -> dict[type[Action], Callable[[Any], None]]:
        return {
            act.Log: self._do_log,
            act.RecordHistory: self._do_record_history,
            act.ForceSelect: self._do_force_select,
            act.DropFollowers: self._do_drop_followers,
            act.PauseWrites: self._do_pause_writes,
            act.ResumeWrites: self._do_resume_writes,
            act.HandOver: self._do_hand_over,
            act.TakeBack: self._do_take_back,
            act.Promote: self._do_promote,
            act.YieldTo: self._do_yield_to,
            act.HandoverAnswered: self._do_handover_answered,
            act.ReadKeys: self._do_read_keys,
        }

    def _do_log(self, action: act.Log) -> None:
        log.log(_LOG_LEVELS[action.level], "%s", action.text)

    def _do_record_history(self, action: act.RecordHistory) -> None:
        self.refresh()
        self.kept.log.history_changed()

    def _do_force_select(self, action: act.ForceSelect) -> None:
        self.forget_selected()

    def _do_drop_followers(self, action: act.DropFollowers) -> None:
        self.leader.drop_all(action.reason)

    def _do_pause_writes(self, action: act.PauseWrites) -> None:
        self.server.pauses.pause(BY_FAILOVER, PAUSE_FOR_EVER_MS, everything=False)
        self.refresh()

    def _do_resume_writes(self, action: act.ResumeWrites) -> None:
        self.refresh()

        def resume() -> None:
            if not self.failing_over:
                self.server.pauses.end(BY_FAILOVER)

        if self.leading:
            resume()
        else:
            self.server.lease.when_heir_is_known(resume)

    def _do_hand_over(self, action: act.HandOver) -> None:
        self.follow(action.host, action.port, handover=True)
        self.server.lease.given_up(action.host, action.port)

    def _do_take_back(self, action: act.TakeBack) -> None:
        self.promote()
        self.kept.shifted()
        self.server.lease.taken_back()

    def _do_promote(self, action: act.Promote) -> None:
        self.tell_follower(ev.UnfollowRequested())
        self._stream_begins()
        self.handed = True
        self._has_promoted()
        self.handed = False

    def _do_yield_to(self, action: act.YieldTo) -> None:
        log.warning("A peer has seen epoch %d: someone else leads or has led since", action.epoch)

    def _do_handover_answered(self, action: act.HandoverAnswered) -> None:
        self.tell_leader(ev.HandoverEnded(action.accepted, action.reason))

    def _do_read_keys(self, action: act.ReadKeys) -> None:
        self.flush()
        self.keys.keys_read(self.rewinding.read(action))
