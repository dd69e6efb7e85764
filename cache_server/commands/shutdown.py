"""Ending the server: SHUTDOWN, SIGTERM, SIGINT.

    request -> leads under a lease? -> FAILOVER to a follower, wait for the sentinels to know
       |               |                       |
       +-> followers behind? -> writes paused, wait for them (shutdown-timeout)
                       |                       |
                       +--- none, or NOW ------+--> save where wanted -> the exit code is set

A shutdown that cannot save is refused and everything goes on, unless FORCE was asked for. While it
waits, SHUTDOWN ABORT ends it.

Invariant: clients in `waiting` are answered when a shutdown fails or is aborted, and closed with
the rest when it succeeds.

Source: https://redis.io/docs/latest/commands/shutdown/.
"""

from __future__ import annotations

import logging
from typing import Any

from cache_server import client as states
from cache_server.commands.pausing import BY_SHUTDOWN
from cache_server.errors import CommandError, syntax_error
from cache_server.wire.replies import NO_REPLY, OK
from replication.events import FailoverRequested

log = logging.getLogger("cache_server")

_REFUSED = b"ERR Errors trying to SHUTDOWN. Check logs."
#: How often followers that are behind are looked at, in seconds.
_CHECK_INTERVAL_S = 0.1
#: How often a hand-over is looked at, and how long the sentinels have to learn of it.
_HANDOVER_CHECK_S = 0.02
_HANDOVER_KNOWN_MS = 2_000


class Shutdown:
    """At most one shutdown in progress. `flags` are words: save, nosave, now, force."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.flags: frozenset[str] = frozenset()
        self.deadline_ms = 0
        self.waiting: dict[Any, None] = {}
        self._signal = ""
        self._timer: Any = None
        self._handed_epoch = 0
        self._handed_ms = 0

    def request(self, flags: frozenset[str]) -> bool:
        """Begins to end the server; False where it is refused, True also while it waits."""
        if self.deadline_ms:
            return True
        if self.server.loading:
            flags = (flags - {"save"}) | {"nosave"}  # what is not loaded cannot be saved
        self.flags = flags
        log.warning("User requested shutdown...")
        server = self.server
        waits = "now" not in flags and server.config.shutdown_timeout
        if waits and self._hand_over():
            return True
        if waits and server.followers_behind():
            log.info("Waiting for replicas before shutting down.")
            self.deadline_ms = server.now_ms() + server.config.shutdown_timeout * 1000
            server.pauses.pause(BY_SHUTDOWN, self.deadline_ms + 60_000, False)
            self._timer = server.loop.call_later(_CHECK_INTERVAL_S, self._check)
            return True
        return self._finish()

    def _hand_over(self) -> bool:
        """Gives the lead to a follower where sentinels lead this node; False where it cannot."""
        server = self.server
        timeout_ms = server.config.shutdown_timeout * 1000
        epoch = server.lease.epoch_led
        if epoch is None:
            return False
        try:
            server.replication.start_failover(FailoverRequested(None, False, timeout_ms))
        except CommandError as error:
            log.info("Shutting down without a hand-over: %s", error.text.decode("latin-1"))
            return False
        log.warning("Handing the lead over before shutting down.")
        self.deadline_ms = server.now_ms() + timeout_ms
        self._handed_epoch, self._handed_ms = epoch, 0
        self._timer = server.loop.call_later(_HANDOVER_CHECK_S, self._check_handover)
        return True

    def _check_handover(self) -> None:
        server = self.server
        now_ms = server.now_ms()
        if server.replication.failing_over and now_ms < self.deadline_ms:
            self._timer = server.loop.call_later(_HANDOVER_CHECK_S, self._check_handover)
            return
        self._handed_ms = self._handed_ms or now_ms
        known = server.lease.epoch > self._handed_epoch
        waited_ms = now_ms - self._handed_ms
        if not server.replication.leading and not known and waited_ms < _HANDOVER_KNOWN_MS:
            # The sentinels are told by our answers that the lease was given back, and to whom.
            self._timer = server.loop.call_later(_HANDOVER_CHECK_S, self._check_handover)
            return
        if not server.replication.leading:
            self._part_from_clients()
        self._timer = server.loop.call_later(_HANDOVER_CHECK_S, self._finish_or_go_on)

    def _part_from_clients(self) -> None:
        """Their next request would wait while the data is saved; so they ask who leads now."""
        for client in list(self.server.clients.values()):
            if not client.flags & (states.FOLLOWER | states.LEADER) and client not in self.waiting:
                client.connection.close()

    def _finish_or_go_on(self) -> None:
        if not self._finish():
            self._stop_waiting()

    def signalled(self, name: str) -> None:
        """SIGTERM or SIGINT arrived: `carry_out` does what it asks for."""
        log.warning("Received %s scheduling shutdown...", name)
        if self.deadline_ms and name == "SIGINT":
            log.warning("You insist... exiting now.")
            self.server.finish(1)
        self._signal = name

    def carry_out(self) -> None:
        """Begins the shutdown that a signal asked for, if one did."""
        name, self._signal = self._signal, ""
        if not name:
            return
        config = self.server.config
        flags = config.shutdown_on_sigint if name == "SIGINT" else config.shutdown_on_sigterm
        if not self.request(flags):
            log.warning(
                "%s received but errors trying to shut down the server, check the logs for more "
                "information",
                name,
            )

    def abort(self) -> None:
        """Ends the wait, or forgets the signal. Raises CommandError where there is neither."""
        if not self.deadline_ms and not self._signal:
            raise CommandError(b"ERR No shutdown in progress.")
        log.info("Shutdown manually aborted.")
        if self.server.replication.failing_over:
            self.server.replication.abort_failover()
        self._signal = ""
        self._stop_waiting()

    def forget(self, client: Any) -> None:
        """A client that waited is gone."""
        self.waiting.pop(client, None)

    def _check(self) -> None:
        server = self.server
        behind = server.followers_behind()
        if behind and server.now_ms() < self.deadline_ms:
            self._timer = server.loop.call_later(_CHECK_INTERVAL_S, self._check)
        else:
            self._finish_or_go_on()

    def _finish(self) -> bool:
        server, flags = self.server, self.flags
        server.log_followers_at_shutdown()
        try:
            saved = server.save_before_exit("save" in flags, "nosave" in flags)
        except CommandError as error:
            log.warning("%s", error.text.decode("latin-1"))
            saved = False
        if not saved:
            if "force" not in flags:
                log.warning("Error trying to save the DB, can't exit.")
                log.warning(
                    "Errors trying to shut down the server. Check the logs for more information."
                )
                return False
            log.warning("Error trying to save the DB. Exit anyway.")
        server.finish()
        return True

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.deadline_ms = 0
        self.server.pauses.end(BY_SHUTDOWN)
        waiting, self.waiting = self.waiting, {}
        for client in waiting:
            client.flags &= ~states.BLOCKED
            client.channel.stop &= ~states.STOP_BLOCKED
            client.push(CommandError(_REFUSED))
            client.connection.resume()


def shutdown_command(ctx: Any, args: list[bytes]) -> Any:
    """SHUTDOWN [NOSAVE|SAVE] [NOW] [FORCE] [ABORT]"""
    words = [arg.lower().decode("latin-1") for arg in args[1:]]
    if any(word not in ("save", "nosave", "now", "force", "abort") for word in words):
        raise syntax_error()
    flags = frozenset(words)
    if ("abort" in flags and len(words) > 1) or {"save", "nosave"} <= flags:
        raise syntax_error()
    shutdown = ctx.server.shutdown
    if "abort" in flags:
        shutdown.abort()
        return OK
    running = ctx.server.scripting.running
    if "nosave" not in flags and running is not None and running.busy:
        raise CommandError(ctx.server.busy_text())
    if "now" not in flags and ctx.flags & states.DENY_BLOCKING:
        raise CommandError(
            b"ERR SHUTDOWN without NOW or ABORT isn't allowed for DENY BLOCKING client"
        )
    if not shutdown.request(flags):
        raise CommandError(_REFUSED)
    if shutdown.deadline_ms and ctx.channel is not None:
        shutdown.waiting[ctx] = None
        ctx.flags |= states.BLOCKED
        ctx.channel.stop |= states.STOP_BLOCKED
    return NO_REPLY
