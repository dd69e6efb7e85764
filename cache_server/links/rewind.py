"""Going back to the fork: the tail is put aside, and the keys that it touched are fetched.

`replication.rewind` and the follower's machine say when; here the tail is read and written to its
file (in a thread), the commands that meet dirty keys are found, and values are put in their place.

    prepare   thread: tail -> rollback file, dirty keys        nothing is changed yet
    begin     the data is at the fork, but for the dirty keys; log and reads are stopped
    fetch     a batch of dirty keys is asked for
    take      their values, at this very position
    end       no key is dirty: log and reads go on

The log on disk keeps its old files, with the tail in them, until a new base has been written behind
the rewind: who crashes before that comes back with the tail and rewinds again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cache_server.commands.touched_keys import Key, UntraceableError, find_row, touched_keys
from cache_server.links.own_tail import (
    SELECT_SEARCH_BYTES,
    Source,
    Tail,
    read_log_tail,
    scan_tail,
)
from cache_server.links.sameness import read_values, repair
from cache_server.persistence.append_log import LogState
from cache_server.persistence.log_codec import Place
from cache_server.persistence.rollback import (
    UNKNOWN_DB,
    RollbackHeader,
    rollback_usage,
    write_rollback,
)
from replication import actions as act
from replication import events as ev
from replication.actions import Action, KeyValue
from replication.constants import (
    NO_REPLID,
    REWIND_BATCH_BYTES,
    REWIND_BATCH_KEYS,
    REWIND_KEYS_MAX,
    REWIND_VALUES_BYTES,
)
from replication.frames import FrameError
from replication.history import HistoryMark

log = logging.getLogger("cache_server")

#: Positions at which our own stream began, remembered with the database selected there.
_BEGINNINGS_MAX = 16


class DirtyKeys:
    """Keys whose values are of another history than the rest, and what a command does to them."""

    def __init__(self, commands: Any, keys: set[Key]) -> None:
        self.keys = keys
        self._commands = commands
        self._database = 0

    def select(self, database: int) -> None:
        """The stream goes on in this database."""
        self._database = database

    def meets(self, words: list[bytes]) -> bool:
        """Takes note of a command of the stream; whether it is to be passed over, because what it
        writes cannot be right yet. Raises UntraceableError for one after which nobody knows."""
        row = find_row(self._commands, words)
        name = "" if row is None else row.name
        if name == "select":
            self._database = int(words[1])
            return False
        if name in ("flushall", "flushdb") or (row is not None and row.container == "function"):
            return False
        if name == "swapdb":
            self._swap(int(words[1]), int(words[2]))
            return False
        touched = touched_keys(row, words, self._database)
        dirty = self.keys
        if touched.from_unnamed or (touched.together and any(key in dirty for key in touched.keys)):
            dirty.update(touched.keys)
            return True
        return len(touched.keys) == 1 and touched.keys[0] in dirty

    def _swap(self, first: int, second: int) -> None:
        """Whether the exchange happens is not known before its transaction ends: a key counts as
        dirty in both."""
        other = {first: second, second: first}
        self.keys |= {(other[index], key) for index, key in self.keys if index in other}

    def batch(self) -> tuple[Key, ...]:
        """Some of them, to be asked for next."""
        taken: list[Key] = []
        size = 0
        for key in self.keys:
            size += len(key[1])
            if taken and (size > REWIND_BATCH_BYTES or len(taken) == REWIND_BATCH_KEYS):
                break
            taken.append(key)
        return tuple(taken)


@dataclass
class Prepared:
    """What came of the thread's work."""

    mark: HistoryMark | None = None
    database: int = UNKNOWN_DB
    keys: set[Key] = field(default_factory=set)
    refusal: str = ""
    failure: str = ""


@dataclass
class LastRollback:
    """What INFO tells of the last tail that was put aside."""

    path: str = ""
    writes: int = 0
    start: int = -1
    end: int = -1
    lost_to: int = -1
    """Where it should have begun and could not, -1 if it is whole."""
    at_s: int = 0
    failure: str = ""


class Rewinding:
    """The part of replication that goes back. `replicator` has the machines."""

    def __init__(self, replicator: Any) -> None:
        self.replicator = replicator
        self.server = replicator.server
        self.config = replicator.server.config
        self.dirty: DirtyKeys | None = None
        self.last = LastRollback()
        self.keys_fetched = 0
        self._began = 0.0
        self._prepared: Prepared | None = None
        self._wanted: act.PrepareRewind | None = None
        #: Database by position at which a stream of our own began.
        self._beginnings: dict[int, int] = {}
        self.carry_out: dict[type[Action], Callable[[Any], None]] = {
            act.PrepareRewind: self.prepare,
            act.BeginRewind: lambda action: self.begin(action.position),
            act.FetchKeys: lambda _: self.fetch(),
            act.TakeValues: lambda action: self.take(action.values),
        }

    # -- asked by replication ------------------------------------------------------------------

    def stream_begins(self, position: int, database: int) -> None:
        """This node begins a stream of its own here; until here this database was selected."""
        self._beginnings[position] = database
        while len(self._beginnings) > _BEGINNINGS_MAX:
            del self._beginnings[next(iter(self._beginnings))]

    def info_fields(self) -> list[tuple[str, object]]:
        """Fields of INFO replication."""
        last, dirty = self.last, self.dirty
        files, files_bytes = rollback_usage(self.config.dir)
        fields: list[tuple[str, object]] = [
            ("rewind_in_progress", int(dirty is not None)),
            ("rewind_keys_left", 0 if dirty is None else len(dirty.keys)),
            ("rewinds", self.replicator.follower.stats.rewinds),
            ("rewind_keys_fetched", self.keys_fetched),
            ("rollback_files", files),
            ("rollback_files_bytes", files_bytes),
        ]
        if last.at_s:
            fields += [
                ("last_rollback_status", "err" if last.failure else "ok"),
                ("last_rollback_file", last.path),
                ("last_rollback_writes", last.writes),
                ("last_rollback_start_offset", last.start),
                ("last_rollback_end_offset", last.end),
                ("last_rollback_lost_before_offset", last.lost_to),
                ("last_rollback_time", last.at_s),
            ]
        return fields

    # -- putting the tail aside ----------------------------------------------------------------

    def prepare(self, action: act.PrepareRewind) -> None:
        """Reads the tail, writes the file, finds the keys; then tells the machine."""
        backlog, fork = self.replicator.follower.backlog, action.fork.position
        start = max(fork, backlog.start)
        source = Source(backlog.end, [], backlog.mark)
        try:
            source = Source(start, backlog.sealed_from(start), backlog.mark_at(start))
            source.database = self._beginnings.get(fork, UNKNOWN_DB)
            source.before = self._bodies_before(start)
        except FrameError as error:
            log.warning("The backlog is damaged behind offset %d: %s", fork, error)
        self._wanted = action
        job = _Job(self, action, source, backlog.end, self._log_paths())
        future = self.server.loop.run_in_executor(None, job.run)
        future.add_done_callback(lambda done: self._was_prepared(action, done))

    def _bodies_before(self, start: int) -> list[bytes]:
        backlog = self.replicator.follower.backlog
        position = max(backlog.start, start - SELECT_SEARCH_BYTES)
        bodies = []
        while position < start:
            body, after = backlog.read(position, 1)
            bodies.append(body[: start - position])
            position = after
        return bodies

    def _log_paths(self) -> list[str]:
        files = self.server.append_log
        if files.state is not LogState.ON or files.suspended or not files.write_held():
            return []
        return [files.folder.path(one.name) for one in files.folder.manifest.increments]

    def _was_prepared(self, action: act.PrepareRewind, done: Any) -> None:
        if self._wanted is not action or done.cancelled():
            return
        self._wanted = None
        error = done.exception()
        if error is not None:
            log.error("The tail cannot be put aside", exc_info=error)
            self._prepared = Prepared(failure=f"the tail cannot be put aside: {error!r}")
        else:
            self._prepared = done.result()
        prepared = self._prepared
        self.replicator.tell_follower(
            ev.RewindPrepared(prepared.mark, prepared.refusal, prepared.failure)
        )

    # -- going back ----------------------------------------------------------------------------

    def begin(self, position: int) -> None:
        """The history ends at the fork now; so does the data, but for the dirty keys."""
        prepared, self._prepared = self._prepared, None
        assert prepared is not None
        keys = prepared.keys if self.dirty is None else prepared.keys | self.dirty.keys
        self.dirty = DirtyKeys(self.server.dispatcher.commands, keys)
        self._began = time.monotonic()
        replicator = self.replicator
        replicator.sameness.stop(replicator.now_ms())
        self.server.append_log.suspend()
        known = prepared.database != UNKNOWN_DB
        replicator.following.applier.restart(position, prepared.database if known else None)
        replicator.following.applier.passes_over = self._passes_over
        replicator.refresh()
        log.info("Rewinding to offset %d: %d keys are to be fetched", position, len(keys))

    def fetch(self) -> None:
        """Asks for keys, as long as there are any."""
        dirty = self.dirty
        if dirty is not None and dirty.keys:
            dirty.select(self.replicator.following.applier.client.db.index)
            self.replicator.tell_follower(ev.KeysWanted(dirty.batch()))
        else:
            self._end()

    def take(self, values: tuple[KeyValue, ...]) -> None:
        """Values as they are at the position that the data has now."""
        dirty = self.dirty
        if dirty is None:
            return
        if repair(self.server, values) != len(values):
            self.replicator.tell_follower(
                ev.RebuildWanted("a value of the master's cannot be read")
            )
            return
        self.keys_fetched += len(values)
        dirty.keys.difference_update((value.db_index, value.key) for value in values)
        self.fetch()

    def forget(self) -> None:
        """The data has been replaced as a whole."""
        self.dirty = None
        self.replicator.following.applier.passes_over = None

    def give_up(self) -> None:
        """This node leads now, with keys of another history: its data is nobody else's."""
        dirty = self.dirty
        if dirty is None:
            return
        log.warning(
            "Promoted in the middle of a rewind: %d keys hold discarded values, and no replica can"
            " resume from here",
            len(dirty.keys),
        )
        self.forget()
        self.replicator.change_id()
        self.replicator.tell_follower(ev.RewindEnded())
        self.server.append_log.resume()

    def _end(self) -> None:
        self.forget()
        took_ms = (time.monotonic() - self._began) * 1000
        log.info("Rewound: the data is the master's again, after %d ms", took_ms)
        self.replicator.tell_follower(ev.RewindEnded())
        self.server.append_log.resume()
        self.replicator.refresh()

    def _passes_over(self, words: list[bytes]) -> bool:
        assert self.dirty is not None
        try:
            return self.dirty.meets(words)
        except (UntraceableError, ValueError, IndexError) as error:
            self.replicator.tell_follower(ev.RebuildWanted(f"while rewinding: {error}"))
            return True

    # -- for others that rewind ----------------------------------------------------------------

    def read(self, action: act.ReadKeys) -> ev.KeysRead:
        """Keys as they are now; fewer where their values are many bytes."""
        keyspace = self.server.keyspace
        values: list[KeyValue] = []
        size = 0
        for key in action.keys:
            values += read_values(keyspace, [key])
            size += len(values[-1].payload)
            if size > REWIND_VALUES_BYTES:
                break
        return ev.KeysRead(action.link, action.number, tuple(values))


class _Job:
    """The work of the thread."""

    def __init__(
        self,
        rewinding: Rewinding,
        action: act.PrepareRewind,
        source: Source,
        end: int,
        log_paths: list[str],
    ) -> None:
        self.action = action
        self.source = source
        self.end = end
        self.log_paths = log_paths
        self.rewinding = rewinding
        server = rewinding.server
        self.commands = server.dispatcher.commands
        self.databases = len(server.keyspace.databases)
        self.database_at_end = rewinding.replicator.following.applier.client.db.index
        self.disk = server.append_log.disk
        self.folder = rewinding.config.dir
        self.wanted = bool(rewinding.config.replication_rollback_files)
        self.bytes_max = int(rewinding.config.replication_rollback_max_bytes)
        self.epoch = rewinding.replicator.follower.history.epoch

    def run(self) -> Prepared:
        fork = self.action.fork
        source = self.source
        if source.start > fork.position and self.log_paths:
            logged = read_log_tail(self.disk, self.log_paths, fork.position, self.end)
            if logged is not None and logged.start < source.start:
                source = logged
        tail = scan_tail(self.commands, source, self.database_at_end, self.databases)
        prepared = Prepared(source.mark if source.start == fork.position else None)
        if tail is None:
            prepared.refusal = "our own writes cannot be read"
            log.warning(
                "What was written behind offset %d is lost: no command can be made out in it",
                fork.position,
            )
            return prepared
        prepared.keys, prepared.database = tail.keys, tail.database
        prepared.refusal = self._refusal(tail)
        if tail.commands or tail.start > fork.position:
            self._put_aside(tail, prepared)
        return prepared

    def _refusal(self, tail: Tail) -> str:
        fork = self.action.fork
        if tail.start > fork.position:
            return f"what we wrote from {fork.position} to {tail.start} is no longer there"
        if tail.untraceable:
            return tail.untraceable
        if len(tail.keys) > REWIND_KEYS_MAX:
            return f"{len(tail.keys)} keys are too many to be fetched one by one"
        if tail.database == UNKNOWN_DB and fork.how != act.SELECTS:
            return "the database selected there is not known"
        return ""

    def _put_aside(self, tail: Tail, prepared: Prepared) -> None:
        last = self.rewinding.last = LastRollback(
            writes=tail.commands, start=tail.start, end=self.end, at_s=int(time.time())
        )
        fork = self.action.fork
        if tail.start > fork.position:
            last.lost_to = tail.start
            log.warning(
                "Discarded writes from offset %d to %d could not be kept: they have left backlog"
                " and log",
                fork.position,
                tail.start,
            )
        if not tail.groups:
            return
        if not self.wanted:
            log.warning(
                "%d discarded writes are not kept (replication-rollback-files no)", tail.commands
            )
            return
        header = RollbackHeader(
            fork.replid,
            fork.position,
            tail.start,
            self.end,
            tail.database,
            tail.commands,
            time.time_ns() // 1_000_000,
            self.action.leader,
        )
        try:
            last.path = write_rollback(
                self.disk, self.folder, header, self._place(tail), tail.groups, self.bytes_max
            )
        except OSError as error:
            last.failure = error.strerror or str(error)
            prepared.failure = (
                f"{tail.commands} writes that the master does not have cannot be put aside in"
                f" {self.folder}: {last.failure}. It is tried again; 'replication-rollback-files"
                f" no' discards them"
            )
            return
        log.warning(
            "%d writes from offset %d to %d that the master does not have are in %s; 'cachectl"
            " rollback show' lists and 'cachectl rollback replay' repeats them",
            tail.commands,
            tail.start,
            self.end,
            last.path,
        )

    def _place(self, tail: Tail) -> Place:
        return Place(
            self.action.fork.replid,
            NO_REPLID,
            -1,
            self.epoch,
            tail.start,
            tail.mark.checksum,
            tail.mark.base,
            max(0, tail.database),
            "",
        )
