"""After the hand-over: sentinels are told at once, held writes are answered when it is of use.

Problem: sentinels ask the leader for news of its lease only from time to time; and a client that is
refused before the sentinels know the heir asks them in vain, and then waits as long as its library
thinks fit.

Idea: the leader knocks, by a message on the channel that sentinels listen to anyway, and they ask
at once. Knocking says nothing else: what counts is the answer that they get. Writes that were held
during the hand-over are held on until a sentinel tells of the heir's epoch, and refused only then;
not longer than `KNOWN_MS_MAX`, so that a leader whose sentinels are gone leaves nobody hanging.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from replication.failover.messages import HELLO_CHANNEL, LEASE_KNOCK

#: How long writes are held for the sentinels to name the heir, in ms.
KNOWN_MS_MAX = 1_000


class GivingUp:
    """Of one data node: `hub` reaches the subscribers."""

    def __init__(self, hub: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._hub = hub
        self._loop = loop
        self._resume: Callable[[], None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def knock(self) -> None:
        """Asks the sentinels to ask."""
        self._hub.publish(HELLO_CHANNEL, LEASE_KNOCK)

    def hold(self, resume: Callable[[], None]) -> None:
        """Calls `resume` once the heir's epoch is known, or when time is up."""
        self.known()
        self._resume = resume
        self._timer = self._loop.call_later(KNOWN_MS_MAX / 1000, self.known)

    def known(self) -> None:
        """A later epoch was heard of: held writes need wait no more."""
        resume, self._resume = self._resume, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if resume is not None:
            resume()
