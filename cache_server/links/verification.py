"""Comparing data with another node's: the walks and repairs that the machines ask for.

    as a leader     CompareOwnData, AbandonComparison, ReadValues  --> OwnDataCompared, ValuesRead
    as a follower   CompareData, RepairKeys, Rebuild               --> DataCompared, RebuildWanted

Both may be under way at once, since a follower is a leader to followers of its own; so each has a
walk of its own (`sameness.py`).

Invariant: a follower answers no question whose link is closed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from cache_server.errors import CommandError
from cache_server.links.sameness import Comparison, listed_with_buckets, read_values, repair
from replication import actions as act
from replication import events as ev
from replication.actions import Action
from replication.questions import DECLINED, DIGESTS, DONE, KEYS, pack_keys, pack_numbers

log = logging.getLogger("cache_server")


class Verification:
    """The hands of a replicator's machines where data is compared."""

    def __init__(self, replicator: Any) -> None:
        self.replicator = replicator
        self.server = replicator.server
        self.comparison, self._asked_comparison = Comparison(self.server), Comparison(self.server)
        self.carry_out: dict[type[Action], Callable[[Any], None]] = {
            act.CompareOwnData: self._do_compare_own_data,
            act.AbandonComparison: self._do_abandon_comparison,
            act.ReadValues: self._do_read_values,
            act.CompareData: self._do_compare_data,
            act.RepairKeys: self._do_repair_keys,
            act.Rebuild: self._do_rebuild,
        }

    def stop(self) -> None:
        """The server ends."""
        self.comparison.stop()

    def link_closed(self) -> None:
        """The leader that asked is gone."""
        self._asked_comparison.stop()

    # -- as a leader ---------------------------------------------------------------------------

    def start(self) -> None:
        """Begins to compare our data with the followers'. Raises CommandError."""
        replicator = self.replicator
        replicator.flush()
        refusal = replicator.sameness.start(replicator.now_ms(), by_hand=True)
        if refusal is not None:
            raise CommandError(f"ERR {refusal}")
        replicator.settle()

    def answered(self, client: Any, payload: bytes) -> None:
        """A follower's answer to a verification."""
        replicator = self.replicator
        replicator.flush()
        replicator.sameness.answered(client.id, payload, replicator.now_ms())
        replicator.settle()

    def _do_compare_own_data(self, action: act.CompareOwnData) -> None:
        replicator = self.replicator

        def done(walk: Any) -> None:
            sums = None if action.buckets is not None else tuple(walk.sums)
            listed = listed_with_buckets(walk)
            event = ev.OwnDataCompared(action.number, walk.keys_total, sums, listed)
            replicator.flush()
            replicator.sameness.own_data_compared(event, replicator.now_ms())
            replicator.settle()

        self.comparison.begin(action.buckets, action.budget_percent, done)

    def _do_abandon_comparison(self, action: act.AbandonComparison) -> None:
        self.comparison.stop()

    def _do_read_values(self, action: act.ReadValues) -> None:
        replicator = self.replicator
        replicator.flush()
        values = read_values(self.server.keyspace, action.keys)
        replicator.sameness.values_read(ev.ValuesRead(action.link, values), replicator.now_ms())

    # -- as a follower -------------------------------------------------------------------------

    def _do_compare_data(self, action: act.CompareData) -> None:
        number, tell = action.number, self.replicator.tell_follower
        if not self.server.config.replica_read_only:
            reason = b"it takes writes of its own (replica-read-only no)"
            tell(ev.DataCompared(number, DECLINED, (reason,)))
            return
        if self.replicator.follower.rewind.active:
            tell(ev.DataCompared(number, DECLINED, (b"it is being rewound",)))
            return

        def done(walk: Any) -> None:
            if action.buckets is None:
                answer = ev.DataCompared(number, DIGESTS, (pack_numbers(walk.sums),))
            else:
                answer = ev.DataCompared(number, KEYS, tuple(pack_keys(walk.listed)))
            tell(answer)

        self._asked_comparison.begin(action.buckets, action.budget_percent, done)

    def _do_repair_keys(self, action: act.RepairKeys) -> None:
        count = repair(self.server, action.values)
        log.warning("Verification: %d keys differed from the master's and were repaired", count)
        self.replicator.tell_follower(ev.DataCompared(action.number, DONE, (b"%d" % count,)))

    def _do_rebuild(self, action: act.Rebuild) -> None:
        self.replicator.tell_follower(ev.RebuildWanted(action.reason))


__all__ = ["Verification"]
