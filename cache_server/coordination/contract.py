"""What a store has to do, whichever it is: two cells per master name, and compare-and-set.

    await store.read(name)    -> Cells             both cells, no older than the asking
    await store.write(write)  -> Written(version)  done, for good
                              -> Conflict(cells)   not done: a version differed; what is there
    either raises StoreUnreachable: the write may have been done, may still be done, or never

"Lost the race" is a value and "cannot reach the store" an exception, so no caller takes one for
the other. Both calls end within `timeout_s`, and hold no more than one reply's bytes.

How register and lease are made of that is `replication.failover.stores`. `StoreDesk` is where the
machines' questions become calls and the calls' ends become outcomes: one for each question.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from cache_server.coordination.constants import STORE_CALLS_MAX
from replication.failover.coordinator import Unreachable
from replication.failover.stores import Ask, Cells, Conflict, Outcome, Read, Write, Written

log = logging.getLogger("cache_server")


class StoreUnreachable(Exception):  # noqa: N818 - it is a result, named like the others
    """Nobody knows what became of the question; the text says what happened."""


class StoreReplyError(StoreUnreachable):
    """The store answered with what no store of its kind says, or with too much of it."""


class Store(Protocol):
    """etcd.py, zookeeper.py."""

    async def read(self, name: str) -> Cells:
        """Both cells. Raises StoreUnreachable."""

    async def write(self, ask: Write) -> Written | Conflict:
        """Compare and set. Raises StoreUnreachable."""

    async def close(self) -> None:
        """Hang up."""


class StoreDesk:
    """Carries out questions, several at a time. `label` is what the store is called in messages."""

    def __init__(self, store: Store, label: str) -> None:
        self.label = label
        self.trouble = ""
        self._store = store
        self._calls: set[asyncio.Task[None]] = set()

    def ask(self, ask: Ask, done: Callable[[Outcome], None]) -> None:
        """`done` is called once with the outcome, later on the loop."""
        if len(self._calls) >= STORE_CALLS_MAX:
            refused = Unreachable("too many questions wait for the store")
            asyncio.get_running_loop().call_soon(done, refused)
            return
        task = asyncio.get_running_loop().create_task(self._carry_out(ask, done))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    async def close(self) -> None:
        """Nothing is answered any more."""
        for task in self._calls:
            task.cancel()
        await self._store.close()

    async def _carry_out(self, ask: Ask, done: Callable[[Outcome], None]) -> None:
        outcome: Outcome
        try:
            if isinstance(ask, Read):
                outcome = await self._store.read(ask.name)
            else:
                outcome = await self._store.write(ask)
        except StoreUnreachable as error:
            outcome = Unreachable(str(error)[:200])
        self._note(outcome.reason if isinstance(outcome, Unreachable) else "")
        done(outcome)

    def _note(self, trouble: str) -> None:
        if trouble and not self.trouble:
            log.warning("The coordinator %s is out of reach: %s", self.label, trouble)
        elif self.trouble and not trouble:
            log.warning("The coordinator %s is reached again", self.label)
        self.trouble = trouble
