"""What a follower machine asks for, done on the link to the leader and on the data.

    Dial, SendToLeader, SendAck, CloseLeaderLink        --> LeaderConnection   the socket
    LoadBegin, LoadChunk, LoadCommit, LoadAbort         --> SnapshotIntake     the data set to come
    ApplyStream, StreamReset, ApplyHeldLater            --> StreamApplier      the data we serve

A pause (`ReadLeader`) leaves what the leader sends in the sockets.

The problem: a dial, a snapshot and a stream each end in their own time, and what comes from one
that was given up must not reach the machine as if it were of the present one. The idea: at most one
of each is here, and who is not it any more is not listened to.

Invariants: `connection` is that of the machine's present link, from Dial to CloseLeaderLink;
`applier.position` is what the machine is told, after each piece of the stream.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from cache_server.errors import InputError, ProtocolError
from cache_server.links.follower_link import LeaderConnection, SnapshotIntake
from cache_server.links.stream_applier import StreamApplier
from replication import actions as act
from replication import events as ev
from replication.actions import Action

log = logging.getLogger("cache_server")


class FollowingSide:
    """The hands of a replicator's follower machine."""

    def __init__(self, replicator: Any) -> None:
        self.replicator = replicator
        self.server = replicator.server
        self.applier = StreamApplier(replicator.server, self._getack)
        self.connection: LeaderConnection | None = None
        self._dialling: asyncio.Task[None] | None = None
        self._intake: SnapshotIntake | None = None
        self.carry_out: dict[type[Action], Callable[[Any], None]] = {
            act.Dial: self._do_dial,
            act.SendToLeader: self._do_send_to_leader,
            act.SendAck: self._do_send_ack,
            act.CloseLeaderLink: self._do_close_leader_link,
            act.LoadBegin: self._do_load_begin,
            act.LoadChunk: self._do_load_chunk,
            act.LoadCommit: self._do_load_commit,
            act.LoadAbort: self._do_load_abort,
            act.ApplyHeldLater: self._do_apply_held_later,
            act.ReadLeader: self._do_read_leader,
            act.ApplyStream: self._do_apply_stream,
            act.StreamReset: self._do_stream_reset,
        }

    # -- the link ------------------------------------------------------------------------------

    def stop(self) -> None:
        """Closes what we dialled."""
        self._do_close_leader_link(act.CloseLeaderLink("the server ends"))

    def cut(self) -> bool:
        """CLIENT KILL of our leader's link; False where there is none. It is dialled again."""
        connection = self.connection
        if connection is None or not self.replicator.follower.connected:
            return False
        connection.close()
        self.replicator.tell_follower(ev.LeaderLinkClosed())
        return True

    def pause(self, paused: bool) -> None:
        """What our leader writes waits, as our clients' writes do, or goes on."""
        self.replicator.tell_follower(ev.StreamPaused(paused))

    def _do_dial(self, action: act.Dial) -> None:
        tell = self.replicator.tell_follower
        connection = LeaderConnection(
            lambda data: tell(ev.LeaderBytes(data)),
            lambda reason: tell(ev.LeaderLinkClosed(reason)),
        )
        self.connection = connection
        dial = self._dial(connection, action.host, action.port)
        self._dialling = self.server.loop.create_task(dial)

    async def _dial(self, connection: LeaderConnection, host: str, port: int) -> None:
        source = self.server.config.bind_source_addr
        try:
            await self.server.loop.create_connection(
                lambda: connection,
                host,
                port,
                ssl=self.server.tls.link_context(),
                local_addr=(source, 0) if source else None,
            )
        except OSError as error:
            if self.connection is connection:
                reason = error.strerror or str(error)
                self.replicator.tell_follower(ev.LeaderUnreachable(reason))
            return
        if self.connection is connection:
            self.applier.client.peer = connection.peer
            self.replicator.tell_follower(ev.LeaderConnected())

    def _do_send_to_leader(self, action: act.SendToLeader) -> None:
        if self.connection is not None:
            self.connection.write(action.data)

    def _do_send_ack(self, action: act.SendAck) -> None:
        if self.connection is not None:
            self.connection.write(action.data)

    def _do_close_leader_link(self, action: act.CloseLeaderLink) -> None:
        connection, self.connection = self.connection, None
        self.replicator.verification.link_closed()
        if connection is not None:
            connection.close()
        if self._dialling is not None:
            self._dialling.cancel()
            self._dialling = None

    # -- the snapshot --------------------------------------------------------------------------

    def received_keys(self) -> tuple[int, int]:
        """Keys received in the full sync under way, and how many the leader announced."""
        return (0, 0) if self._intake is None else self._intake.keys

    def loading_word(self) -> str:
        """INFO's word for a snapshot that is being received: it is `async_loading` for one of the
        very history that we serve meanwhile, where Redis would serve as well."""
        follower = self.replicator.follower
        if not follower.syncing:
            return ""
        swaps = self.server.config.repl_diskless_load == "swapdb"
        same = follower.load.replid == follower.history.replid
        return "async_loading" if swaps and same else "loading"

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
            self.replicator.tell_follower(ev.SnapshotRejected(str(error)))

    def _do_load_commit(self, action: act.LoadCommit) -> None:
        intake, self._intake = self._intake, None
        if intake is None:
            return
        replicator = self.replicator
        try:
            stream_db = intake.commit()
            replicator.data_replaced()
        except InputError as error:
            replicator.tell_follower(ev.SnapshotRejected(str(error)))
            return
        replicator.sameness.stop(replicator.now_ms())
        self.applier.restart(replicator.follower.load.position, stream_db)
        replicator.tell_follower(ev.SnapshotLoaded())

    def _do_load_abort(self, action: act.LoadAbort) -> None:
        self._intake = None

    # -- the stream ----------------------------------------------------------------------------

    def _do_apply_held_later(self, action: act.ApplyHeldLater) -> None:
        self.server.loop.call_soon(self.replicator.tell_follower, ev.HeldDue())

    def _do_read_leader(self, action: act.ReadLeader) -> None:
        if self.connection is not None:
            self.connection.read(action.reading)

    def _do_apply_stream(self, action: act.ApplyStream) -> None:
        tell, applier = self.replicator.tell_follower, self.applier
        try:
            applier.apply(action.data)
        except ProtocolError as error:
            tell(ev.StreamApplied(applier.position))
            log.warning("Protocol error from the master: %s", error)
            tell(ev.StreamUnreadable(str(error)))
            return
        tell(ev.StreamApplied(applier.position))

    def _do_stream_reset(self, action: act.StreamReset) -> None:
        self.applier.restart(self.replicator.follower.position)

    def _getack(self, position: int) -> None:
        self.replicator.tell_follower(ev.GetackReceived(position))


__all__ = ["FollowingSide"]
