"""Going back to the fork: a simulated node's hands for the actions of `replication.rewind`.

As in `cache_server/links/rewind.py`: the tail is put aside in a rollback file and its keys are
dirty, commands of the stream on dirty keys are passed over, and their values are fetched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replication import actions as act
from replication import events as ev
from replication.actions import KeyValue
from replication.frames import HEADER_BYTES
from tests.sim.disk import entries_in, register_of

if TYPE_CHECKING:
    from tests.sim.replication import Replication

PREPARE_MS = 5.0
BATCH_KEYS = 2


class Rewinding:
    """Of one life of a node."""

    def __init__(self, replication: Replication) -> None:
        self._replication = replication
        self.dirty: set[int] = set()
        self.active = False
        self._wanted: act.PrepareRewind | None = None
        self._prepared: set[int] = set()
        self._before: set[int] = set()

    def prepare(self, action: act.PrepareRewind) -> None:
        """The tail is read and written to its file, which takes a moment."""
        self._wanted = action
        self._replication.node.later(PREPARE_MS, self._was_prepared, action)

    def _was_prepared(self, action: act.PrepareRewind) -> None:
        if self._wanted is not action:
            return
        self._wanted = None
        replication, fork = self._replication, action.fork.position
        backlog = replication.leader.backlog
        start = max(fork, backlog.start)
        tail = [
            entry
            for sealed in backlog.sealed_from(start)
            for entry in entries_in(sealed[HEADER_BYTES:])
        ]
        replication.disk.rollback.update(tail)
        self._prepared = {register_of(entry) for entry in tail}
        if tail:
            replication.node.world.tell(
                f"{replication.node.name} puts {len(tail)} writes aside, {tail[0]} to {tail[-1]}"
            )
        if start > fork:
            event = ev.RewindPrepared(None, "the tail has left the backlog")
        else:
            event = ev.RewindPrepared(backlog.mark_at(fork))
        replication.follow_event(event)

    def begin(self) -> None:
        """The history ends at the fork now; so does the data, but for the dirty keys."""
        replication = self._replication
        replication.node.check.goes_back(replication.node, replication.leader_process)
        if not self.active:
            self._before = replication.entries()
        self.dirty |= self._prepared
        self.active = True
        replication.disk.suspend()

    def fetch(self) -> None:
        """Asks for keys, as long as there are any."""
        if self.dirty:
            keys = tuple((0, b"%d" % key) for key in sorted(self.dirty)[:BATCH_KEYS])
            self._replication.follow_event(ev.KeysWanted(keys))
            return
        self._end()

    def take(self, values: tuple[KeyValue, ...]) -> None:
        """Values as they are at the position that the data has now."""
        if not self.active:
            return
        for value in values:
            register = int(value.key)
            self._replication.put(register, value.payload)
            self.dirty.discard(register)
        self.fetch()

    def forget(self) -> None:
        """The data has been replaced as a whole."""
        self.active = False
        self.dirty = set()
        self._replication.disk.resume()

    def give_up(self) -> None:
        """This node leads now, with keys of another history: its data is nobody else's."""
        if not self.active:
            return
        replication = self._replication
        self.forget()
        replication.change_id()
        replication.follow_event(ev.RewindEnded())
        replication.log_anew()

    def _end(self) -> None:
        replication = self._replication
        self.forget()
        replication.node.check.rewound(replication.node, self._before)
        replication.follow_event(ev.RewindEnded())
        replication.log_anew()
        replication.node.reached()

    def read(self, action: act.ReadKeys) -> ev.KeysRead:
        """Keys as they are now, for another node that rewinds."""
        values = tuple(
            KeyValue(0, key, 0, self._replication.payload(int(key))) for _, key in action.keys
        )
        return ev.KeysRead(action.link, action.number, values)
