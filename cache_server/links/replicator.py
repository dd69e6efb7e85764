"""Replication in this process: the two machines, their clock, and hands for their actions.

The machines of `replication` decide; here their actions are carried out on sockets and on the data.
There is one way in (`_serve` for the leader machine, `_follow` for the follower machine) and one
way out (`_settle`), which is never entered twice: what an action's event asks for is done after
what was asked before.

    commands, connections, timers --event--> Leader / Follower --actions--> _settle --> _do_<Action>

Before the leader machine looks, what this turn's commands propagated is appended to the backlog, so
that the end of the backlog is always the position of the data.

Invariants: the gates of the dispatcher, the expiry mode and whether effects are collected follow
from role, link and settings alone (`refresh`); a node that follows never writes to its stream.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import Callable
from typing import Any

from cache_server import client as states
from cache_server.commands import dispatch
from cache_server.errors import CommandError, InputError, ProtocolError
from cache_server.keyspace.database import EXPIRE_DELETE, EXPIRE_HIDE
from cache_server.links.follower_link import LeaderConnection, SnapshotIntake
from cache_server.links.leader_feed import FeedLink, SnapshotSource
from cache_server.links.overflow import OverflowFile
from cache_server.links.rewind import Rewinding
from cache_server.links.sameness import Comparison, listed_with_buckets, read_values, repair
from cache_server.links.stream_applier import StreamApplier
from cache_server.links.sync_progress import SyncProgressLog
from cache_server.observe import logs
from cache_server.persistence.append_log import AppendLog
from cache_server.persistence.recovery import RecoveredHistory, history_aux
from cache_server.persistence.replay import Tail
from cache_server.wire.replies import NO_REPLY, Raw
from replication import actions as act
from replication import events as ev
from replication.actions import Action, LogLevel
from replication.backlog import Backlog
from replication.follower import Follower
from replication.handover import HandoverState
from replication.history import History, HistoryMark, is_replid
from replication.leader import Leader
from replication.progress import INFO_STATES, Progress
from replication.questions import DECLINED, DIGESTS, DONE, KEYS, pack_keys, pack_numbers
from replication.rewind import KeyServer
from replication.sameness import Sameness
from replication.settings import FollowerSettings, LeaderSettings

log = logging.getLogger("cache_server")

_LOG_LEVELS = {
    LogLevel.VERBOSE: logs.VERBOSE,
    LogLevel.NOTICE: logging.INFO,
    LogLevel.WARNING: logging.WARNING,
}


#: Settings that count from the moment they are changed.
_SETTINGS = (
    "masterauth",
    "masteruser",
    "min-replicas-max-lag",
    "min-replicas-to-write",
    "repl-backlog-size",
    "repl-backlog-ttl",
    "repl-diskless-sync",
    "repl-diskless-sync-delay",
    "repl-diskless-sync-max-replicas",
    "repl-ping-replica-period",
    "repl-timeout",
    "replica-announce-ip",
    "replica-announce-port",
    "replica-read-only",
    "replica-serve-stale-data",
    "replication-verify-budget",
    "replication-verify-interval",
)
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
        #: Walks over our data: as a leader, and as a follower that is asked.
        self.comparison, self._asked_comparison = Comparison(server), Comparison(server)
        #: Told when this node begins to lead (True) or to follow (False).
        self.on_role: list[Callable[[bool], None]] = []
        #: Told when a follower has acknowledged something.
        self.on_ack: Callable[[], None] | None = None
        #: Asked before each write, besides min-replicas-to-write; raises the refusal.
        self.write_check: Callable[[], None] | None = None
        #: Whether this node leads because its leader handed over to it.
        self.handed = False
        self._feeds: dict[int, FeedLink] = {}
        self._snapshots: dict[int, SnapshotSource] = {}
        self._connection: LeaderConnection | None = None
        self._dialling: asyncio.Task[None] | None = None
        self._applier = StreamApplier(server, self._getack)
        self._intake: SnapshotIntake | None = None
        self.rewinding = Rewinding(self)
        self._selected_before = 0
        self._reply: bytes | None = None
        self._waiters: dict[int, Any] = {}
        self._last_token = 0
        self._settling = False
        self._stream_db: int | None = None
        self._counted = (0, 0, 0)
        #: Where this node began to lead for want of another leader; None where it did not.
        self._shifted_at: int | None = None
        for name in _SETTINGS:
            config.on_change[name] = self._setting_changed
        server.persistence.history_fields = self.history_fields
        server.persistence.is_sending = lambda: bool(self._snapshots)
        server.persistence.receiving = self._receiving
        self._log: AppendLog = server.append_log
        self._log.history = self.history
        self._log.on_switched = self._log_switched
        self._log.on_writable = self._settle
        self._read_settings()

    # -- life ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Goes on where the loaded data was, and follows whom the configuration says."""
        persistence = self.server.persistence
        load, recovered = persistence.log_load, persistence.recovered
        intact = False
        if recovered is not None and is_replid(recovered.replication_id):
            self._recovered(recovered)
            if load is not None and load.replay.tail is not None:
                self._take_tail(load.replay.tail)
                intact = load.intact
        if self.server.config.appendonly:
            self._begin_log()
        self._begin_leading(recovered is not None, intact)
        self.refresh()
        if self.server.config.replicaof is not None:
            host, port = self.server.config.replicaof
            self.follow(host, port, resume=self.follower.resumable)

    def cron(self, now_ms: int) -> None:
        """Lets the machines do what is due. `now_ms` is wall time; theirs is monotonic."""
        self._read_settings()
        offset_ms = now_ms - self._now_ms()
        self.leader.wall_offset_ms = self.follower.wall_offset_ms = offset_ms
        self._flush()
        self.leader.tick(self._now_ms())
        self.follower.tick(self._now_ms())
        self.sameness.tick(self._now_ms())
        self._settle()
        for source in list(self._snapshots.values()):
            source.relieve()
        self._applier.trim()
        self.progress_log.tick(self._now_ms())

    async def stop(self) -> None:
        """Closes what we dialled; who dialled us is a client."""
        self.comparison.stop()
        self._do_close_leader_link(act.CloseLeaderLink("the server ends"))
        for number in list(self._snapshots):
            self._do_abort_snapshot(act.AbortSnapshot(number))

    def _recovered(self, found: RecoveredHistory) -> None:
        """The data was loaded, and what it was loaded from names this point of a history."""
        history, backlog = self.leader.history, self.leader.backlog
        history.restart(found.replication_id)
        history.replid2, history.replid2_position = found.second_id, found.second_id_offset
        history.raise_epoch(found.epoch)
        mark = None if found.checksum is None else HistoryMark(found.checksum, found.base)
        backlog.reset(found.offset, mark)
        self._applier.restart(found.offset, found.stream_db)
        self.follower.resumable = True

    def _take_tail(self, tail: Tail) -> None:
        """What the log's end holds can be sent to followers again."""
        backlog = self.leader.backlog
        backlog.reset(tail.start, tail.mark)
        backlog.active = True
        for frame in tail.frames:
            backlog.append_sealed(frame)

    def _begin_log(self) -> None:
        self.leader.backlog.active = True
        self._log.begin(self.history(), self.leader.backlog.checksum)
        self._log_switched()

    def _log_switched(self) -> None:
        """The log takes every frame from here on, or none."""
        backlog, on = self.leader.backlog, self._log.on
        if on:
            self._flush()
            backlog.active = True
        backlog.on_sealed = self._log.take if on else None
        backlog.on_reset = self._log_outdated if on else None
        self._read_settings()
        self.refresh()

    def _log_outdated(self) -> None:
        self._log.stream_replaced(self.leader.backlog.end, self.leader.backlog.mark.checksum)

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
            self.leader.promote(self._now_ms())
            self._settle()
            self._shifted_at = self.leader.history.replid2_position
        self.refresh()
        if self.server.keyspace.expire_mode == EXPIRE_DELETE:
            self._drop_expired()

    def _forget_shift(self, handover: bool) -> None:
        """A node that led because it found no other order when it started, or because its heir did
        not answer, wrote nothing and follows now, goes on in the history that it had."""
        if self._shifted_at == self.leader.backlog.end and not handover:
            self.leader.history.unshift()
            self._log.history_changed()
        self._shifted_at = None

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
        self._flush()

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
        self._flush()
        was_leading = self.leader.leading
        if was_leading:
            self.leader.demote()
            self._forget_shift(handover)
            self.follower.resumable = resume
            self._applier.restart(self.leader.backlog.end, self._selected_db())
        self.server.config.replicaof = (host, port)
        self._follow(ev.FollowRequested(host, port, handover))
        self.refresh()
        if was_leading:
            self.server.blocking.unblock_all()
            for told in self.on_role:
                told(False)

    def promote(self) -> None:
        """Leads from here on. A leader stays one."""
        if self.leader.leading:
            return
        self._follow(ev.UnfollowRequested())
        self._stream_begins()
        self.leader.promote(self._now_ms())
        self._has_promoted()
        self._settle()

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
        database = self._applier.client.db.index
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
        self._flush()
        return [(b"cache-keys", len(self.server.keyspace)), *history_aux(self.history())]

    def history(self) -> RecoveredHistory:
        """The history at the position that the data has."""
        history, backlog = self.leader.history, self.leader.backlog
        position = self.follower.position
        stream_db = self._selected_db() if self.leading else self._applier.client.db.index
        checksum = backlog.checksum if position == backlog.end else None
        return RecoveredHistory(
            history.replid,
            position,
            stream_db,
            history.epoch,
            checksum,
            backlog.base,
            history.replid2,
            history.replid2_position,
        )

    def settle_stream(self) -> None:
        """Everything that was propagated is in the backlog, and as far as possible in the log."""
        self._flush()
        self._write_log()

    def _receiving(self) -> str:
        """INFO's word for a snapshot that is being received: it is `async_loading` for one of the
        very history that we serve meanwhile, where Redis would serve as well."""
        follower = self.follower
        if not follower.syncing:
            return ""
        swaps = self.server.config.repl_diskless_load == "swapdb"
        same = follower.load.replid == follower.history.replid
        return "async_loading" if swaps and same else "loading"

    # -- asked by commands ---------------------------------------------------------------------

    def request(self, client: Any, event: ev.Event) -> Any:
        """Passes on what a peer asked for on its connection; returns the reply."""
        self._feeds.setdefault(client.id, FeedLink(client))
        self._reply = None
        self._serve(event)
        reply, self._reply = self._reply, None
        return NO_REPLY if reply is None else Raw(reply)

    def tell(self, event: ev.Event) -> None:
        """Passes on what happened to a follower's link or to a waiting client."""
        self._serve(event)
        if self.on_ack is not None and type(event) is ev.AckReceived:
            self.on_ack()

    def client_gone(self, client: Any) -> None:
        """A connection has ended, that of a follower or of a client that waits perhaps."""
        feed = self._feeds.pop(client.id, None)
        if feed is not None:
            feed.cut()
            self._serve(ev.LinkClosed(client.id))
        if self._waiters:
            for token in [t for t, waiter in self._waiters.items() if waiter is client]:
                self._end_wait(token)

    def wait(self, client: Any, count: int, timeout_ms: int) -> Any:
        """WAIT: the number of followers that have the client's writes, now or when enough have."""
        if client.write_offset < 0:
            client.write_offset = self.written_position()
        position = client.write_offset
        acked = self.leader.acked_count(position)
        if acked >= count or client.flags & (states.IN_EXEC | states.DENY_BLOCKING):
            return acked
        self._last_token += 1
        token = self._last_token
        self._waiters[token] = client

        def give_up() -> int:
            self._end_wait(token)
            return self.leader.acked_count(position)

        value = self.server.blocking.wait(client, timeout_ms, give_up)
        if token in self._waiters:
            self._serve(ev.WaitStarted(token, position, count, None))
        return value

    def unsent_bytes(self) -> int:
        """Output that followers have not taken yet."""
        waiting = sum(int(feed.client.connection.output_bytes) for feed in self._feeds.values())
        return waiting + self.buffer_bytes_beyond_backlog()

    def _end_wait(self, token: int) -> None:
        del self._waiters[token]
        self._serve(ev.WaitCancelled(token))

    def written_position(self) -> int:
        """The position after everything this node has written."""
        self._flush()
        return self.leader.backlog.end

    def check_min_replicas(self) -> None:
        """Raises NOREPLICAS when fewer followers are good than min-replicas-to-write asks for."""
        if not self.leader.enough_good(self._now_ms()):
            raise CommandError(b"NOREPLICAS Not enough good replicas to write.")
        if self.write_check is not None:
            self.write_check()

    def ask_for_acks(self) -> None:
        """Followers are asked how far they are, once for what they have been sent."""
        if self.leader.attached:
            self._serve(ev.AcksWanted())

    def start_failover(self, event: ev.FailoverRequested) -> None:
        """Begins a FAILOVER. Raises Redis's error where it cannot begin."""
        self._flush()
        refusal = self.leader.failover_refusal(event)
        if refusal is not None:
            raise CommandError(f"ERR {refusal}")
        self._serve(event)
        self.refresh()

    def abort_failover(self) -> None:
        """FAILOVER ABORT. Raises Redis's error when there is nothing to abort."""
        if not self.failing_over:
            raise CommandError(b"ERR No failover in progress.")
        self._serve(ev.FailoverAborted())
        self.refresh()

    def pause_stream(self, paused: bool) -> None:
        """What our leader writes waits, as our clients' writes do, or goes on."""
        self._follow(ev.StreamPaused(paused))

    def cut_leader_link(self) -> bool:
        """CLIENT KILL of our leader's link; False where there is none. It is dialled again."""
        connection = self._connection
        if connection is None or not self.follower.connected:
            return False
        connection.close()
        self._follow(ev.LeaderLinkClosed())
        return True

    def verify(self) -> None:
        """Begins to compare our data with the followers'. Raises CommandError."""
        self._flush()
        refusal = self.sameness.start(self._now_ms(), by_hand=True)
        if refusal is not None:
            raise CommandError(f"ERR {refusal}")
        self._settle()

    def verified(self, client: Any, payload: bytes) -> None:
        """A follower's answer to a verification."""
        self._flush()
        self.sameness.answered(client.id, payload, self._now_ms())
        self._settle()

    def keys_asked(self, client: Any, payload: bytes) -> None:
        """A follower that rewinds asks for keys."""
        self.keys.asked(client.id, payload)
        self._settle()

    def data_flushed(self) -> None:
        """FLUSHALL: a snapshot of what was there is not worth sending any more."""
        self.leader.give_up_pass("the data was flushed")
        self._settle()

    def change_id(self) -> None:
        """Takes an id that shares nothing with the past: nobody can resume any more."""
        self._flush()
        self.leader.history.restart(new_replid())

    def followers_behind(self) -> int:
        """Followers that have not acknowledged everything written; they are asked to."""
        self._flush()
        end = self.leader.backlog.end
        behind = sum(1 for p in self.leader.attached if p.acked_position < end)
        if behind:
            self._serve(ev.AcksWanted())
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

    @property
    def leader_connection(self) -> LeaderConnection | None:
        """The connection to our leader."""
        return self._connection

    @property
    def stream_client(self) -> Any:
        """The client through which the leader's stream is executed."""
        return self._applier.client

    def lag_seconds(self, heard_ms: int) -> int:
        """Whole seconds since a time of the machines' clock."""
        return max(0, (self._now_ms() - heard_ms) // 1000)

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
        return self.leader.good_count(self._now_ms())

    def received_keys(self) -> tuple[int, int]:
        """Keys received in the full sync under way, and how many the leader announced."""
        return (0, 0) if self._intake is None else self._intake.keys

    def lag_bytes(self, progress: Progress) -> int:
        """Bytes that a follower had yet to apply when it was heard of last."""
        return self.leader.lag_bytes(progress, self._now_ms())

    def lag_ms(self, progress: Progress) -> int:
        """Age of the oldest of these bytes, in ms."""
        return self.leader.lag_ms(progress, self._now_ms())

    def applied_lag_ms(self) -> int:
        """How old what was applied last was when it was applied, by the leader's own timestamp;
        without a link, how old it is. In ms, and as exact as the two clocks agree."""
        follower = self.follower
        written_ms = follower.stream.leader_timestamp_ms
        if follower.connected or not written_ms:
            return follower.stream.lag_ms
        return max(0, self._now_ms() + follower.wall_offset_ms - written_ms)

    # -- the stream ----------------------------------------------------------------------------

    def stream(self, data: bytes) -> None:
        """Takes what the commands of this turn propagated, and sends it on."""
        self.leader.append(data, self._now_ms())
        if self.leader.followers or self._settling:
            self._settle()
        else:
            self._write_log()

    def _flush(self) -> None:
        data = self.server.propagation.take()
        if data:
            self.leader.append(data, self._now_ms())

    # -- machines ------------------------------------------------------------------------------

    def _now_ms(self) -> int:
        return int(self.loop.time() * 1000)

    def _serve(self, event: ev.Event) -> None:
        self._flush()
        self.leader.receive(event, self._now_ms())
        self._settle()

    def _write_log(self) -> bool:
        """Hands new frames to the log, before anyone else gets them; False where it fails."""
        files = self._log
        if not files.held:
            return not files.failing
        end = self.leader.backlog.end
        boundary = end if self.leader.leading else max(end, self._applier.position)
        return files.write(boundary)

    def _follow(self, event: ev.Event) -> None:
        self.follower.receive(event, self._now_ms())
        self._settle()

    def _settle(self) -> None:
        """Carries out actions until there are none."""
        if self._settling:
            return
        self._settling = True
        leader, follower = self.leader, self.follower
        try:
            while True:
                if leader.upstream_connected != follower.connected:
                    leader.upstream_connected = follower.connected
                    self.refresh()
                if self._write_log() and leader.needs_pump:
                    leader.pump(self._now_ms())
                actions = follower.take_actions() + leader.take_actions()
                actions += self.sameness.take_actions() + self.keys.take_actions()
                if not actions:
                    break
                for action in actions:
                    _CARRY_OUT[type(action)](self, action)
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

    def _getack(self, position: int) -> None:
        self._follow(ev.GetackReceived(position))

    # -- settings ------------------------------------------------------------------------------

    def _setting_changed(self, _value: Any) -> None:
        self._read_settings()
        self.refresh()

    def _read_settings(self) -> None:
        config, backlog = self.server.config, self.leader.backlog
        settings = self.leader.settings
        settings.backlog_size_bytes = config.repl_backlog_size
        if backlog.size_bytes != config.repl_backlog_size:
            backlog.resize(config.repl_backlog_size)
        # The log is of one stream, which does not end because nobody follows.
        settings.backlog_ttl_ms = 0 if self._log.on else config.repl_backlog_ttl * 1000
        settings.ping_period_ms = config.repl_ping_replica_period * 1000
        settings.timeout_ms = config.repl_timeout * 1000
        hard, soft, seconds = config.client_output_buffer_limit["slave"]
        # The backlog is kept anyway, so a limit below it is no limit (as in Redis).
        settings.output_limit_hard_bytes = max(hard, backlog.size_bytes) if hard else 0
        settings.output_limit_soft_bytes = max(soft, backlog.size_bytes) if soft else 0
        settings.output_limit_soft_ms = seconds * 1000
        settings.min_followers = config.min_replicas_to_write
        settings.min_followers_lag_max_ms = config.min_replicas_max_lag * 1000
        settings.diskless = config.repl_diskless_sync
        settings.diskless_delay_ms = config.repl_diskless_sync_delay * 1000
        self.sameness.interval_ms = config.replication_verify_interval * 1000
        self.sameness.budget_percent = config.replication_verify_budget
        settings.diskless_followers_max = config.repl_diskless_sync_max_replicas
        following = self.follower.settings
        own_port = (config.tls_replication and config.tls_port) or config.port
        following.listening_port = config.replica_announce_port or own_port
        following.announce_ip = config.replica_announce_ip
        following.user = config.masteruser.encode("utf-8", "surrogateescape")
        following.password = config.masterauth.encode("utf-8", "surrogateescape")
        following.timeout_ms = config.repl_timeout * 1000

    # -- actions: both sides -------------------------------------------------------------------

    def _do_log(self, action: act.Log) -> None:
        log.log(_LOG_LEVELS[action.level], "%s", action.text)

    def _do_record_history(self, action: act.RecordHistory) -> None:
        self.refresh()
        self._log.history_changed()

    def _do_force_select(self, action: act.ForceSelect) -> None:
        self.forget_selected()

    def _do_drop_followers(self, action: act.DropFollowers) -> None:
        self.leader.drop_all(action.reason)

    # -- actions: serving ----------------------------------------------------------------------

    def _do_reply(self, action: act.Reply) -> None:
        progress = self.leader.followers.get(action.link)
        if progress is not None and progress.attached:
            # The stream may follow at once: the reply goes the same way, ahead of it.
            self._attach(action.link).send(action.data)
        else:
            self._reply = action.data

    def _do_send(self, action: act.Send) -> None:
        self._attach(action.link).send(action.data)

    def _attach(self, link: int) -> FeedLink:
        feed = self._feeds[link]
        feed.client.flags |= states.FOLLOWER
        return feed

    def _do_close_link(self, action: act.CloseLink) -> None:
        feed = self._feeds.pop(action.link, None)
        if feed is not None:
            log.log(logs.VERBOSE, "Closing a replica's link: %s", action.reason)
            feed.close(flush=action.flush)

    def _do_start_snapshot(self, action: act.StartSnapshot) -> None:
        config = self.server.config
        snapshot = self.server.persistence.snapshot(
            data=act.SnapshotParts.DATA in action.parts,
            functions=act.SnapshotParts.FUNCTIONS in action.parts,
        )
        source = SnapshotSource(
            action.snapshot,
            snapshot,
            self.loop,
            self._serve,
            folder=config.dir,
            key_delay_us=lambda: int(config.rdb_key_save_delay),
        )
        self._snapshots[action.snapshot] = source
        if not action.spooled:
            log.info("Background RDB transfer started by pid %d", os.getpid())
        if action.spooled:
            source.spool()

    def _do_pull_snapshot(self, action: act.PullSnapshot) -> None:
        self._snapshots[action.snapshot].pull()

    def _do_feed_later(self, action: act.FeedLater) -> None:
        self.loop.call_soon(self._serve, ev.FeedDue())

    def _do_abort_snapshot(self, action: act.AbortSnapshot) -> None:
        source = self._snapshots.pop(action.snapshot, None)
        if source is not None:
            source.close()

    def _do_wait_done(self, action: act.WaitDone) -> None:
        client = self._waiters.pop(action.waiter, None)
        if client is not None:
            self.server.blocking.unblock(client, action.count)

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
        self._shifted_at = self.leader.history.replid2_position
        self.server.lease.taken_back()

    def _do_promote(self, action: act.Promote) -> None:
        self._follow(ev.UnfollowRequested())
        self._stream_begins()
        self.handed = True
        self._has_promoted()
        self.handed = False

    def _do_yield_to(self, action: act.YieldTo) -> None:
        log.warning("A peer has seen epoch %d: someone else leads or has led since", action.epoch)

    # -- actions: comparing data -----------------------------------------------------------------

    def _do_compare_own_data(self, action: act.CompareOwnData) -> None:
        def done(walk: Any) -> None:
            sums = None if action.buckets is not None else tuple(walk.sums)
            listed = listed_with_buckets(walk)
            event = ev.OwnDataCompared(action.number, walk.keys_total, sums, listed)
            self._flush()
            self.sameness.own_data_compared(event, self._now_ms())
            self._settle()

        self.comparison.begin(action.buckets, action.budget_percent, done)

    def _do_abandon_comparison(self, action: act.AbandonComparison) -> None:
        self.comparison.stop()

    def _do_read_values(self, action: act.ReadValues) -> None:
        self._flush()
        values = read_values(self.server.keyspace, action.keys)
        self.sameness.values_read(ev.ValuesRead(action.link, values), self._now_ms())

    def _do_compare_data(self, action: act.CompareData) -> None:
        number = action.number
        if not self.server.config.replica_read_only:
            reason = b"it takes writes of its own (replica-read-only no)"
            self._follow(ev.DataCompared(number, DECLINED, (reason,)))
            return
        if self.follower.rewind.active:
            self._follow(ev.DataCompared(number, DECLINED, (b"it is being rewound",)))
            return

        def done(walk: Any) -> None:
            if action.buckets is None:
                answer = ev.DataCompared(number, DIGESTS, (pack_numbers(walk.sums),))
            else:
                answer = ev.DataCompared(number, KEYS, tuple(pack_keys(walk.listed)))
            self._follow(answer)

        self._asked_comparison.begin(action.buckets, action.budget_percent, done)

    def _do_repair_keys(self, action: act.RepairKeys) -> None:
        count = repair(self.server, action.values)
        log.warning("Verification: %d keys differed from the master's and were repaired", count)
        self._follow(ev.DataCompared(action.number, DONE, (b"%d" % count,)))

    def _do_rebuild(self, action: act.Rebuild) -> None:
        self._follow(ev.RebuildWanted(action.reason))

    # -- actions: rewinding --------------------------------------------------------------------

    def _do_read_keys(self, action: act.ReadKeys) -> None:
        self._flush()
        self.keys.keys_read(self.rewinding.read(action))

    def _do_prepare_rewind(self, action: act.PrepareRewind) -> None:
        self.rewinding.prepare(action)

    def _do_begin_rewind(self, action: act.BeginRewind) -> None:
        self.rewinding.begin(action.position)

    def _do_fetch_keys(self, action: act.FetchKeys) -> None:
        self.rewinding.fetch()

    def _do_take_values(self, action: act.TakeValues) -> None:
        self.rewinding.take(action.values)

    # -- actions: following --------------------------------------------------------------------

    def _do_dial(self, action: act.Dial) -> None:
        connection = LeaderConnection(
            lambda data: self._follow(ev.LeaderBytes(data)),
            lambda reason: self._follow(ev.LeaderLinkClosed(reason)),
        )
        self._connection = connection
        self._dialling = self.loop.create_task(self._dial(connection, action.host, action.port))

    async def _dial(self, connection: LeaderConnection, host: str, port: int) -> None:
        source = self.server.config.bind_source_addr
        try:
            await self.loop.create_connection(
                lambda: connection,
                host,
                port,
                ssl=self.server.tls.link_context(),
                local_addr=(source, 0) if source else None,
            )
        except OSError as error:
            if self._connection is connection:
                self._follow(ev.LeaderUnreachable(error.strerror or str(error)))
            return
        if self._connection is connection:
            self._applier.client.peer = connection.peer
            self._follow(ev.LeaderConnected())

    def _do_send_to_leader(self, action: act.SendToLeader) -> None:
        if self._connection is not None:
            self._connection.write(action.data)

    def _do_send_ack(self, action: act.SendAck) -> None:
        if self._connection is not None:
            self._connection.write(action.data)

    def _do_close_leader_link(self, action: act.CloseLeaderLink) -> None:
        connection, self._connection = self._connection, None
        self._asked_comparison.stop()
        if connection is not None:
            connection.close()
        if self._dialling is not None:
            self._dialling.cancel()
            self._dialling = None

    def _do_load_begin(self, action: act.LoadBegin) -> None:
        log.info("MASTER <-> REPLICA sync: Loading DB in memory")
        self._intake = SnapshotIntake(self.server.persistence)

    def _do_load_chunk(self, action: act.LoadChunk) -> None:
        if self._intake is None:
            return
        try:
            self._intake.feed(action.data)
        except InputError as error:
            self._intake = None
            self._follow(ev.SnapshotRejected(str(error)))

    def _do_load_commit(self, action: act.LoadCommit) -> None:
        intake, self._intake = self._intake, None
        if intake is None:
            return
        try:
            self._stream_db = intake.commit()
            self.rewinding.forget()
            self._log.data_replaced()
        except InputError as error:
            self._follow(ev.SnapshotRejected(str(error)))
            return
        self.sameness.stop(self._now_ms())
        position = self.follower.load.position
        self._applier.restart(position, self._stream_db)
        self._follow(ev.SnapshotLoaded())

    def _do_apply_held_later(self, action: act.ApplyHeldLater) -> None:
        self.loop.call_soon(self._follow, ev.HeldDue())

    def _do_read_leader(self, action: act.ReadLeader) -> None:
        if self._connection is not None:
            self._connection.read(action.reading)

    def _do_load_abort(self, action: act.LoadAbort) -> None:
        self._intake = None

    def _do_apply_stream(self, action: act.ApplyStream) -> None:
        try:
            self._applier.apply(action.data)
        except ProtocolError as error:
            self._follow(ev.StreamApplied(self._applier.position))
            log.warning("Protocol error from the master: %s", error)
            self._follow(ev.StreamUnreadable(str(error)))
            return
        self._follow(ev.StreamApplied(self._applier.position))

    def _do_stream_reset(self, action: act.StreamReset) -> None:
        self._applier.restart(self.follower.position)

    def _do_handover_answered(self, action: act.HandoverAnswered) -> None:
        self._serve(ev.HandoverEnded(action.accepted, action.reason))


_CARRY_OUT: dict[type[Action], Callable[[Replicator, Any], None]] = {
    act.Log: Replicator._do_log,
    act.RecordHistory: Replicator._do_record_history,
    act.ForceSelect: Replicator._do_force_select,
    act.DropFollowers: Replicator._do_drop_followers,
    act.Reply: Replicator._do_reply,
    act.Send: Replicator._do_send,
    act.CloseLink: Replicator._do_close_link,
    act.StartSnapshot: Replicator._do_start_snapshot,
    act.PullSnapshot: Replicator._do_pull_snapshot,
    act.FeedLater: Replicator._do_feed_later,
    act.AbortSnapshot: Replicator._do_abort_snapshot,
    act.WaitDone: Replicator._do_wait_done,
    act.PauseWrites: Replicator._do_pause_writes,
    act.ResumeWrites: Replicator._do_resume_writes,
    act.HandOver: Replicator._do_hand_over,
    act.TakeBack: Replicator._do_take_back,
    act.Promote: Replicator._do_promote,
    act.YieldTo: Replicator._do_yield_to,
    act.CompareOwnData: Replicator._do_compare_own_data,
    act.AbandonComparison: Replicator._do_abandon_comparison,
    act.ReadValues: Replicator._do_read_values,
    act.CompareData: Replicator._do_compare_data,
    act.RepairKeys: Replicator._do_repair_keys,
    act.Rebuild: Replicator._do_rebuild,
    act.ReadKeys: Replicator._do_read_keys,
    act.PrepareRewind: Replicator._do_prepare_rewind,
    act.BeginRewind: Replicator._do_begin_rewind,
    act.FetchKeys: Replicator._do_fetch_keys,
    act.TakeValues: Replicator._do_take_values,
    act.Dial: Replicator._do_dial,
    act.SendToLeader: Replicator._do_send_to_leader,
    act.SendAck: Replicator._do_send_ack,
    act.CloseLeaderLink: Replicator._do_close_leader_link,
    act.LoadBegin: Replicator._do_load_begin,
    act.LoadChunk: Replicator._do_load_chunk,
    act.LoadCommit: Replicator._do_load_commit,
    act.LoadAbort: Replicator._do_load_abort,
    act.ApplyHeldLater: Replicator._do_apply_held_later,
    act.ReadLeader: Replicator._do_read_leader,
    act.ApplyStream: Replicator._do_apply_stream,
    act.StreamReset: Replicator._do_stream_reset,
    act.HandoverAnswered: Replicator._do_handover_answered,
}
