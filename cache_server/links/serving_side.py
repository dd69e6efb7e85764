"""What a leader machine asks for, done on the links of followers and on waiting clients.

    Reply, Send, CloseLink            --> FeedLink         one follower's connection
    StartSnapshot, Pull..., Abort...  --> SnapshotSource   one reading of the data for full syncs
    WaitDone                          --> the client that waits in WAIT

The problem: the machine knows links by number and clients not at all. The idea: the numbers are
kept here, beside what they stand for, and what ends is told to the machine under its number.

Invariants: a link is here from its first request until it is closed by either side; a snapshot
until the machine aborts it; a waiting client until its WAIT is done or given up, by whichever comes
first.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

from cache_server import client as states
from cache_server.links.leader_feed import FeedLink, SnapshotSource
from cache_server.observe import logs
from cache_server.wire.replies import NO_REPLY, Raw
from replication import actions as act
from replication import events as ev
from replication.actions import Action

log = logging.getLogger("cache_server")


class ServingSide:
    """The hands of a replicator's leader machine."""

    def __init__(self, replicator: Any) -> None:
        self.replicator = replicator
        self.server = replicator.server
        self._feeds: dict[int, FeedLink] = {}
        self._snapshots: dict[int, SnapshotSource] = {}
        self._reply: bytes | None = None
        self._waiters: dict[int, Any] = {}
        self._last_token = 0
        self.carry_out: dict[type[Action], Callable[[Any], None]] = {
            act.Reply: self._do_reply,
            act.Send: self._do_send,
            act.CloseLink: self._do_close_link,
            act.StartSnapshot: self._do_start_snapshot,
            act.PullSnapshot: self._do_pull_snapshot,
            act.FeedLater: self._do_feed_later,
            act.AbortSnapshot: self._do_abort_snapshot,
            act.WaitDone: self._do_wait_done,
        }

    # -- links ---------------------------------------------------------------------------------

    def request(self, client: Any, event: ev.Event) -> Any:
        """Passes on what a peer asked for on its connection; returns the reply."""
        self._feeds.setdefault(client.id, FeedLink(client))
        self._reply = None
        self.replicator.tell_leader(event)
        reply, self._reply = self._reply, None
        return NO_REPLY if reply is None else Raw(reply)

    def client_gone(self, client: Any) -> None:
        """A connection has ended, that of a follower or of a client that waits perhaps."""
        feed = self._feeds.pop(client.id, None)
        if feed is not None:
            feed.cut()
            self.replicator.tell_leader(ev.LinkClosed(client.id))
        if self._waiters:
            for token in [t for t, waiter in self._waiters.items() if waiter is client]:
                self._end_wait(token)

    def waiting_bytes(self) -> int:
        """Output on the links that followers have not taken yet."""
        return sum(int(feed.client.connection.output_bytes) for feed in self._feeds.values())

    def _do_reply(self, action: act.Reply) -> None:
        progress = self.replicator.leader.followers.get(action.link)
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

    # -- snapshots -----------------------------------------------------------------------------

    @property
    def sending(self) -> bool:
        """Whether the data set is being read for followers."""
        return bool(self._snapshots)

    def relieve(self) -> None:
        """What writes have made the snapshots read early is handed over."""
        for source in list(self._snapshots.values()):
            source.relieve()

    def stop(self) -> None:
        """Ends what reads the data."""
        for number in list(self._snapshots):
            self._do_abort_snapshot(act.AbortSnapshot(number))

    def _do_start_snapshot(self, action: act.StartSnapshot) -> None:
        config = self.server.config
        snapshot = self.server.persistence.snapshot(
            data=act.SnapshotParts.DATA in action.parts,
            functions=act.SnapshotParts.FUNCTIONS in action.parts,
        )
        source = SnapshotSource(
            action.snapshot,
            snapshot,
            self.server.loop,
            self.replicator.tell_leader,
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
        self.server.loop.call_soon(self.replicator.tell_leader, ev.FeedDue())

    def _do_abort_snapshot(self, action: act.AbortSnapshot) -> None:
        source = self._snapshots.pop(action.snapshot, None)
        if source is not None:
            source.close()

    # -- WAIT ----------------------------------------------------------------------------------

    def wait(self, client: Any, count: int, timeout_ms: int) -> Any:
        """WAIT: the number of followers that have the client's writes, now or when enough have."""
        leader = self.replicator.leader
        if client.write_offset < 0:
            client.write_offset = self.replicator.written_position()
        position = client.write_offset
        acked = leader.acked_count(position)
        if acked >= count or client.flags & (states.IN_EXEC | states.DENY_BLOCKING):
            return acked
        self._last_token += 1
        token = self._last_token
        self._waiters[token] = client

        def give_up() -> int:
            self._end_wait(token)
            return int(leader.acked_count(position))

        value = self.server.blocking.wait(client, timeout_ms, give_up)
        if token in self._waiters:
            self.replicator.tell_leader(ev.WaitStarted(token, position, count, None))
        return value

    def _end_wait(self, token: int) -> None:
        del self._waiters[token]
        self.replicator.tell_leader(ev.WaitCancelled(token))

    def _do_wait_done(self, action: act.WaitDone) -> None:
        client = self._waiters.pop(action.waiter, None)
        if client is not None:
            self.server.blocking.unblock(client, action.count)


__all__ = ["ServingSide"]
