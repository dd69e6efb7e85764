"""The log: every frame of the stream goes to disk as well, in the order it was sealed.

    sealed frames ──> held ──write──> file ──sync (thread)──> durable ──> replies of its writers
                      (a turn's)                               (appendfsync always)

`write` hands the frames of a turn to the system at once, before any follower is sent them: so a
leader that is killed has on its disk whatever a follower may have. `sync` runs in a thread, one at
a time; what was written meanwhile is covered by the next, together (group commit). With `always`
the channel of a client that wrote is stopped and its replies are held until then.

A rewrite trims the log. A snapshot begins, and from its very position on frames go to a new file:

    base.7  incr.3  [incr.4 ...              the snapshot becomes base.8; base.7 and incr.3 history

    OFF ──appendonly yes──> FIRST (writes to a temporary file) ──first rewrite──> ON

What is slow about that - the new file, the manifest, syncs, what becomes history - is the thread's
work: first the increment is made and named, then the loop goes over to it and takes the snapshot;
and the base is named where it was written.

Where the disk refuses, frames stay held, followers wait too, writes are refused with MISCONF, and
it is tried again; once it succeeds everything goes on. After a failed sync nothing in the file can
be trusted, so a rewrite puts everything into new files first.

Invariants: the file holds whole groups, contiguous from the base's position to `position`; nothing
is sent to followers beyond `position`; no reply to a write leaves under `always` before `durable`.
"""

from __future__ import annotations

import enum
import logging
import os
import time
from collections.abc import Callable
from struct import Struct
from typing import Any

from cache_server.constants import (
    LOG_HELD_BYTES_MAX,
    LOG_RETRY_SECONDS,
    REWRITE_DELAY_MINUTES_MAX,
    REWRITE_FAILURES_MAX,
)
from cache_server.disk import Appender, Disk
from cache_server.errors import CommandError
from cache_server.persistence.log_codec import Place, encode_group, encode_place, encode_time
from cache_server.persistence.log_folder import LogFolder, boot_name
from cache_server.persistence.log_sync import Syncs
from cache_server.persistence.recovery import RecoveredHistory
from cache_server.persistence.saving import BackgroundSave
from replication.frames import parse, parse_header, reseal_head, reseal_tail

log = logging.getLogger("cache_server")


#: Length, position and history checksum out of a frame's header that is our own and in memory.
_SPAN = Struct("<4xI8xQ8xQ")


class LogState(enum.Enum):
    """Whether frames are logged, and whereto."""

    OFF = "off"
    FIRST = "first"
    """To a temporary file, until the first base is there."""
    ON = "on"


class AppendLog:
    """The server's part for the log. `history` tells the history at the end of the data; the log
    knows position and checksum of what it has written by itself."""

    def __init__(self, server: Any, disk: Disk | None = None) -> None:
        self.server = server
        self.config = server.config
        self.keyspace = server.keyspace
        self.disk = Disk() if disk is None else disk
        self.state = LogState.OFF
        self.folder = LogFolder(self.disk, self.config.appenddirname, self.config.appendfilename)
        self.boot = boot_name()
        #: Told by replication: the history at the end of the data, whether this node leads, what to
        #: do when the log was switched on or off, and when it can be written again.
        self.history: Callable[[], RecoveredHistory] = lambda: RecoveredHistory("", 0, 0)
        self.on_switched: Callable[[], None] = lambda: None
        self.on_writable: Callable[[], None] = lambda: None
        self.held: list[bytes] = []
        self._held_bytes = 0
        #: Position at the end of the last frame held.
        self._held_end = 0
        self._mark = -1
        #: Where the log ends: what was handed to the system.
        self.position = 0
        self._checksum = 0
        self._file: Appender | None = None
        self._place_due = True
        self._outdated = False
        #: Whether the data is between two histories, so that nothing of it may be logged.
        self.suspended = False
        self._database = 0
        self._annotated_s = 0
        self.failing = False
        self.failure = ""
        self._failed_at = 0.0
        self.rewriting: Rewrite | None = None
        self.scheduled = False
        self.rewrites = 0
        self.rewrite_failures = 0
        self.last_rewrite_ok = True
        self.last_rewrite_s = -1
        self._limited_until = 0.0
        self._delay_minutes = 0
        self.base_bytes = 0
        self.closed_bytes = 0
        self.flush_delay_us = 0
        self._early_bytes = 0
        self.syncs = Syncs(self)
        for name, follow in (
            ("appendonly", self._switched),
            ("appendfsync", lambda _: self._fsync_changed()),
            ("aof-disable-auto-gc", lambda _: self.collect_history()),
        ):
            self.config.on_change[name] = follow

    # -- life ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Persistence loads, and replication tells where to go on: see `begin`."""

    def begin(self, history: RecoveredHistory, checksum: int) -> None:
        """The data is loaded and its history known: the log goes on where it ends. Raises OSError.

        A log without files gets an empty base, as Redis gives it one."""
        self.position, self._checksum = history.offset, checksum
        manifest = self.folder.manifest.copy()
        if manifest.empty:
            snapshot = bool(self.config.aof_use_rdb_preamble)
            base = manifest.replace_base(
                self.folder.filename, snapshot=snapshot, keep_last_increment=False
            )
            log.info("Creating AOF base file %s on server start", base.name)
            self.disk.make_folder(os.path.abspath(self.folder.dirname))
            self._write_base(self.folder.path(base.name), snapshot)
        if not manifest.increments:
            one = manifest.begin_increment(self.folder.filename)
            log.info("Creating AOF incr file %s on server start", one.name)
        else:
            log.info("Opening AOF incr file %s on server start", manifest.increments[-1].name)
        self._open(self.folder.path(manifest.increments[-1].name), history.stream_db)
        if manifest.text() != self.folder.manifest.text():
            self.folder.write_manifest(manifest)
        self._close_earlier(manifest)
        self.base_bytes = self.current_bytes
        self.state = LogState.ON
        self._fsync_changed()
        if manifest.history:
            self.syncs.run(self.collect_history, _reported)

    def cron(self, now_ms: int) -> None:
        """What is due: a sync each second, a write that failed, a rewrite."""
        if self.state is LogState.OFF:
            if self.scheduled and self._may_rewrite():
                self.rewrite()
            return
        if self.failing and time.monotonic() - self._failed_at >= LOG_RETRY_SECONDS:
            self._retry()
        if self.config.appendfsync == "everysec":
            self.syncs.every_second(self._sync_hindered())
        if self.rewriting is None:
            self._rewrite_if_due()

    def may_end(self) -> bool:
        """Whether a shutdown loses nothing of the log; a rewrite under way is given up."""
        if self.state is LogState.FIRST:
            log.warning("Writing initial AOF, can't exit.")
            return False
        if self.rewriting is not None:
            log.warning("There is a child rewriting the AOF. Killing it!")
            self.stop_rewrite()
        if self.on:
            log.info("Calling fsync() on the AOF file.")
        return True

    async def stop(self) -> None:
        """Writes and syncs what is held."""
        self.stop_rewrite()
        if self._file is not None and self.state is LogState.ON and not self.failing:
            try:
                await self.syncs.drain()
                self.write_held()
                self._file.sync()
            except OSError as error:
                log.warning("The log could not be ended in order: %s", error.strerror)
        self._close_file()
        self.syncs.close()

    # -- frames --------------------------------------------------------------------------------

    @property
    def on(self) -> bool:
        """Whether frames are logged."""
        return self.state is not LogState.OFF

    def take(self, sealed: bytes) -> None:
        """A frame was added to the stream."""
        if self.suspended:
            return
        self.held.append(sealed)
        self._held_bytes += len(sealed)
        body_bytes, start, _ = _SPAN.unpack_from(sealed)
        self._held_end = start + body_bytes

    def write(self, boundary: int) -> bool:
        """Writes the frames held, as far as a command ends there. `boundary` is a position, the end
        of the frames held or beyond, at which one does. False where the disk refuses.

        Frames beyond stay held; if they become many, one is cut."""
        if not self.held:
            return not self.failing
        if self.failing:
            return False
        end = self._held_end
        if boundary == end:
            return self._write_frames(self.held, [])
        if self._mark <= self.position:
            self._mark = boundary
        if self._held_bytes > LOG_HELD_BYTES_MAX and self._mark <= end:
            done, left = self._cut(self._mark)
            self._mark = boundary
            return self._write_frames(done, left)
        return True

    def write_held(self) -> bool:
        """`write`, up to where a command ends for certain: where the data is."""
        return self.write(max(self.history().offset, self._held_end))

    def data_replaced(self) -> None:
        """A full sync: once the new history is known, all begins anew."""
        self._outdated = True
        self.suspended = False

    def suspend(self) -> None:
        """The data leaves what is logged, and is nothing whole yet: until `resume` nothing is
        written. The files stay as they are, and count until new ones are complete."""
        self.suspended = True
        if self.on:
            self.stop_rewrite()
            self._forget_held()
            self._close_file()

    def resume(self) -> None:
        """The data is that of one history again, and is logged anew."""
        if self.suspended:
            self.suspended = False
            if self.on:
                self._restart()

    def stream_replaced(self, position: int, checksum: int) -> None:
        """The stream goes on elsewhere, or at the same position under a checksum that begins
        anew."""
        if self.state is LogState.ON and position == self.position and not self.held:
            self._checksum = checksum
            self._place_due = True
            self._database = self.history().stream_db
        else:
            self._outdated = True

    def _restart(self) -> None:
        """The files are of no use for the stream as it is now: all begins anew, and until the
        first base is there the old files count."""
        self._outdated = self.scheduled = False
        self.stop_rewrite()
        self._forget_held()
        self._close_file()
        self.state = LogState.FIRST
        self.rewrite()

    def _cut(self, position: int) -> tuple[list[bytes], list[bytes]]:
        """The frames held, before and from a position within them."""
        checksum = self._checksum
        for at, sealed in enumerate(self.held):
            header = parse_header(sealed)
            end = header.start + header.body_bytes
            if end == position:
                return self.held[: at + 1], self.held[at + 1 :]
            if end > position:
                keep_bytes = position - header.start
                if keep_bytes == 0:
                    return self.held[:at], self.held[at:]
                head = reseal_head(parse(sealed), keep_bytes, checksum)
                tail = reseal_tail(sealed, keep_bytes)
                return [*self.held[:at], head], [tail, *self.held[at + 1 :]]
            checksum = header.history
        return self.held, []

    def _write_frames(self, frames: list[bytes], left: list[bytes]) -> bool:
        file = self._file
        if not frames or file is None:
            return True
        switch = self.rewriting
        if switch is not None and switch.begins_at > self.position:
            return self._write_until_switch(switch, frames, left)
        data = encode_group(frames)
        if self._place_due or self.config.aof_timestamp_enabled:
            data = self._annotations() + data
        try:
            if self.flush_delay_us:
                time.sleep(self.flush_delay_us / 1e6)
            file.write(data)
        except OSError as error:
            self._failed(f"{error.strerror}", "Error writing to the AOF file")
            return False
        self._written(frames[-1], left)
        return True

    def _written(self, last: bytes, left: list[bytes]) -> None:
        body_bytes, start, self._checksum = _SPAN.unpack_from(last)
        self.position = start + body_bytes
        self._place_due = False
        self.held = left
        self._held_bytes = sum(map(len, left)) if left else 0
        if self.syncs.always:
            self.syncs.begin()

    def _write_until_switch(self, switch: Rewrite, frames: list[bytes], left: list[bytes]) -> bool:
        """A rewrite began ahead of the log: what is before its position goes to the old file."""
        last = parse_header(frames[-1])
        everything, self.held = self.held, frames
        before, after = self._cut(min(switch.begins_at, last.start + last.body_bytes))
        self.held = everything
        switch_at, switch.begins_at = switch.begins_at, -1
        if not self._write_frames(before, after + left):
            switch.begins_at = switch_at
            return False
        if self.position < switch_at:
            switch.begins_at = switch_at
        elif not self._switch_file(switch):
            return False
        return self._write_frames(after, left) if after else True

    def _annotations(self) -> bytes:
        parts = []
        if self.config.aof_timestamp_enabled:
            now_s = int(self.keyspace.now_ms) // 1000
            if now_s > self._annotated_s:
                self._annotated_s = now_s
                parts.append(encode_time(now_s))
        if self._place_due:
            assert self._file is not None
            writer = f"{self.boot}:{self._file.identity}" if self.boot else ""
            parts.append(encode_place(self._place(self.history(), writer)))
        return b"".join(parts)

    def _place(self, history: RecoveredHistory, boot: str) -> Place:
        return Place(
            history.replication_id,
            history.second_id,
            history.second_id_offset,
            history.epoch,
            self.position,
            self._checksum,
            history.base,
            self._database,
            boot,
        )

    def history_changed(self) -> None:
        """The history's ids or epoch are others now: the next group is preceded by them."""
        if self.suspended:
            return
        if self._outdated and self.on:
            self._restart()
        elif self.on and not self._place_due:
            self.write_held()
            self._place_due = True
            self._database = self.history().stream_db

    def _forget_held(self) -> None:
        self.held = []
        self._held_bytes = 0
        self._mark = -1

    # -- the disk refuses ----------------------------------------------------------------------

    def _failed(self, reason: str, what: str) -> None:
        self._failed_at = time.monotonic()
        if not self.failing or reason != self.failure:
            log.warning("%s: %s", what, reason)
        self.failing, self.failure = True, reason
        self.server.disk_failing(True)

    def _retry(self) -> None:
        self.failing = False
        if self.syncs.broken:
            self._failed_at = time.monotonic()
            if self.rewriting is None:
                self.rewrite()
            self.write_held()  # up to where the rewrite began: only there it can go to its file
            self.failing = True
        elif self.write_held():
            log.warning("AOF write error looks solved, Redis can write again.")
            self.server.disk_failing(False)
            self.syncs.release_written()
            self.on_writable()

    def check_writable(self) -> None:
        """Refuses a write while the log cannot be written. Raises CommandError."""
        if self.failing:
            raise CommandError(f"MISCONF Errors writing to the AOF file: {self.failure}")

    def sync_failed(self, error: OSError) -> None:
        """Nobody knows what is on the disk now. A rewrite makes it whole again."""
        self._failed(f"{error.strerror}", "Fail to fsync the AOF file")

    def sync_trusted(self) -> None:
        """New files hold everything again."""
        self.failing = False
        if self.write_held():
            self.server.disk_failing(False)
            self.syncs.release_written()
            self.on_writable()

    # -- files ---------------------------------------------------------------------------------

    @property
    def file(self) -> Appender | None:
        """The file that grows."""
        return self._file

    @property
    def current_bytes(self) -> int:
        """Size of the files that would be loaded."""
        return self.closed_bytes + (0 if self._file is None else self._file.size_bytes)

    def _open(self, path: str, database: int) -> None:
        """Goes on in this file, in which nothing is selected yet, except by what is in it."""
        self._go_on_in(self.disk.append(path), database)

    def _go_on_in(self, file: Appender, database: int) -> None:
        self._close_file()
        self._file = file
        self._place_due = True
        self._database = database

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            self.syncs.close_file(file)

    def _close_earlier(self, manifest: Any) -> None:
        sizes = 0
        for one in manifest.loaded_files:
            path = self.folder.path(one.name)
            if self._file is None or self._file.path != path:
                sizes += self.disk.size_bytes(path)
        self.closed_bytes = sizes

    def _write_base(self, path: str, as_snapshot: bool) -> None:
        snapshot = self.server.persistence.snapshot(log_base=True, commands=not as_snapshot)
        try:
            self.server.persistence.write_all(snapshot, path)
        finally:
            snapshot.close()

    def collect_history(self) -> None:
        """Deletes what is history, unless the settings keep it. In the loop or in a thread."""
        history = self.folder.manifest.history
        if self.config.aof_disable_auto_gc or not history:
            return
        for one in history:
            log.info("Removing the history file %s in the background", one.name)
        try:
            self.folder.remove_history()
        except OSError as error:
            log.warning("The log's history cannot be removed: %s", error.strerror)

    # -- rewriting -----------------------------------------------------------------------------

    def rewrite(self) -> bool:
        """Begins to trim the log; False where the disk refused at once."""
        assert self.rewriting is None
        self.scheduled = False
        as_snapshot = bool(self.config.aof_use_rdb_preamble)
        manifest = self.folder.manifest.copy()
        try:
            self.disk.make_folder(os.path.abspath(self.folder.dirname))
            name = manifest.replace_base(
                self.folder.filename, snapshot=as_snapshot, keep_last_increment=False
            ).name
            replacement = self.disk.replace(self.folder.path(name))
        except OSError as error:
            log.warning("Can't rewrite append only file in background: %s", error.strerror)
            self._rewrite_failed()
            return False
        rewrite = self.rewriting = Rewrite(self, replacement)
        self.rewrites += 1
        if self.state is LogState.ON:
            self.syncs.run(
                lambda: self._make_increment(rewrite),
                lambda error: self._increment_made(rewrite, error),
            )
            return True
        return self._begin_rewrite(rewrite)

    def _make_increment(self, rewrite: Rewrite) -> None:
        """In the thread: the file to which the rewrite will go over, named after the present one.
        It may stay empty."""
        with self.folder.lock:
            manifest = self.folder.manifest.copy()
            one = manifest.begin_increment(self.folder.filename)
            path = self.folder.path(one.name)
            self.disk.remove(path)
            rewrite.increment = self.disk.append(path)
            self.folder.write_manifest(manifest)
        log.info("Creating AOF incr file %s on background rewrite", one.name)

    def _increment_made(self, rewrite: Rewrite, error: Exception | None) -> None:
        if error is not None and not isinstance(error, OSError):
            raise error
        if rewrite.over:
            self._drop_increment(rewrite)
        elif error is not None:
            log.warning("Can't open the append-only file: %s", error.strerror)
            rewrite.fail(error)
        else:
            self._begin_rewrite(rewrite)

    def _drop_increment(self, rewrite: Rewrite) -> None:
        file, rewrite.increment = rewrite.increment, None
        if file is not None:
            self.syncs.close_file(file)

    def _begin_rewrite(self, rewrite: Rewrite) -> bool:
        self.server.replication.settle_stream()
        if self.server.replication.leading:
            self.server.replication.forget_selected()  # every file begins with a SELECT
        rewrite.snapshot = self.server.persistence.snapshot(
            log_base=True, commands=not rewrite.as_snapshot
        )
        rewrite.history = self.history()
        if self.state is LogState.OFF or self._begin_switch(rewrite):
            log.info("Background append only file rewriting started by pid %d", os.getpid())
            rewrite.begin()
            return True
        rewrite.abort()
        return False

    def _begin_switch(self, rewrite: Rewrite) -> bool:
        if self._file is None:
            # Nothing is logged yet: the log begins here.
            self.position, self._checksum = rewrite.history.offset, rewrite.history.checksum or 0
            self._forget_held()
            return self._switch_file(rewrite)
        rewrite.begins_at = rewrite.history.offset
        if self.position >= rewrite.begins_at:
            return self._switch_file(rewrite)
        return True

    def _switch_file(self, rewrite: Rewrite) -> bool:
        """From here on the log goes into a new file."""
        rewrite.begins_at = -1
        temporary = self.state is LogState.FIRST
        try:
            if temporary:
                path = self.folder.path(f"temp-{self.folder.filename}.incr")
                self._close_file()
                self.disk.remove(path)
                self._open(path, rewrite.history.stream_db)
            else:
                old_bytes = self.current_bytes
                file, rewrite.increment = rewrite.increment, None
                assert file is not None
                self._go_on_in(file, rewrite.history.stream_db)
                self.closed_bytes = old_bytes
        except OSError as error:
            log.warning("Can't open the append-only file: %s", error.strerror)
            return False
        return True

    def background_save_over(self, rewrite: BackgroundSave, error: OSError | None) -> None:
        """The rewrite came to its end."""
        assert isinstance(rewrite, Rewrite)
        self.rewriting = None
        self.last_rewrite_s = int(time.monotonic() - rewrite.began)
        if rewrite.snapshot is not None:
            self._early_bytes = rewrite.snapshot.early_bytes
        self._drop_increment(rewrite)
        if rewrite.stored:
            self._rewritten()
            return
        if rewrite.aborted:
            log.warning("Background AOF rewrite stopped before its end")
        elif error is not None:
            log.warning("Background AOF rewrite terminated with error: %s", error.strerror)
        self._rewrite_failed()
        self._drop_temporary()

    def store_base(self, rewrite: Rewrite) -> None:
        """In the thread: the new base is durable and is named, and what it replaces is history.
        Raises OSError."""
        with self.folder.lock:
            manifest = self.folder.manifest.copy()
            if self.state is LogState.FIRST:
                one = manifest.begin_increment(self.folder.filename)
                assert self._file is not None
                path = self.folder.path(one.name)
                self.disk.rename(self._file.path, path)
                self._file.path = path
            manifest.replace_base(
                self.folder.filename, snapshot=rewrite.as_snapshot, keep_last_increment=self.on
            )
            self.folder.write_manifest(manifest)

    def _rewritten(self) -> None:
        """The manifest names the new base."""
        base = self.folder.manifest.base
        assert base is not None
        if self.state is LogState.FIRST:
            self.state = LogState.ON
        self.closed_bytes = self.disk.size_bytes(self.folder.path(base.name))
        self.base_bytes = self.current_bytes
        self.last_rewrite_ok = True
        self.rewrite_failures = self._delay_minutes = 0
        self._limited_until = 0.0
        log.info("Background AOF rewrite terminated with success")
        log.info("Background AOF rewrite finished successfully")
        if self.syncs.broken:
            self.syncs.mend()

    def _rewrite_failed(self) -> None:
        self.last_rewrite_ok = False
        self.rewrite_failures += 1
        if self.rewrite_failures >= REWRITE_FAILURES_MAX:
            doubled = max(1, self._delay_minutes * 2)
            self._delay_minutes = min(doubled, REWRITE_DELAY_MINUTES_MAX)
            self._limited_until = time.monotonic() + 60 * self._delay_minutes
            log.warning(
                "Background AOF rewrite has repeatedly failed and triggered the limit, will retry "
                "in %d minutes",
                self._delay_minutes,
            )
        if self.state is LogState.FIRST:
            self.scheduled = True  # without a base there is no log at all

    def _drop_temporary(self) -> None:
        if self.state is LogState.FIRST and self._file is not None:
            path = self._file.path
            self._close_file()
            self._forget_held()
            log.info("Removing the temp incr aof file %s in the background", os.path.basename(path))
            self.syncs.remove(path)

    def stop_rewrite(self) -> None:
        """What is being written is not wanted any more."""
        if self.rewriting is not None:
            log.warning("Killing running AOF rewrite child: %d", os.getpid())
            self.rewriting.abort()

    def _may_rewrite(self) -> bool:
        busy = self.rewriting is not None or self.server.persistence.running is not None
        return not busy and not self.suspended

    def _rewrite_if_due(self) -> None:
        limited = time.monotonic() < self._limited_until
        if self.scheduled:
            if self._may_rewrite() and not (limited and self.state is LogState.ON):
                self.rewrite()
            return
        percentage = self.config.auto_aof_rewrite_percentage
        if self.state is not LogState.ON or not percentage or limited or self.suspended:
            return
        size = self.current_bytes
        if size <= self.config.auto_aof_rewrite_min_size:
            return
        growth = size * 100 // max(1, self.base_bytes) - 100
        if growth >= percentage:
            log.info("Starting automatic rewriting of AOF on %d%% growth", growth)
            self.rewrite()

    # -- settings ------------------------------------------------------------------------------

    def _switched(self, on: bool) -> None:
        if on and self.state is LogState.OFF:
            self.state = LogState.FIRST
            self.on_switched()
            self.folder.read_manifest()
            if self.suspended:
                self.scheduled = True
            elif self.server.persistence.running is not None:
                self.scheduled = True
                log.warning("AOF was enabled but there is already another background operation.")
            else:
                if self.rewriting is not None:
                    self.stop_rewrite()
                self.rewrite()
        elif not on and self.on:
            self.stop_rewrite()
            self.write_held()
            self._say_it_ends_here()
            self._drop_temporary()
            self._close_file()
            self._forget_held()
            self.scheduled = False
            self.state = LogState.OFF
            if self.failing:
                self.failing = self.syncs.broken = False
                self.server.disk_failing(False)
            self.on_switched()
        self._fsync_changed()

    def _say_it_ends_here(self) -> None:
        """The stream goes on without the log: at the next start nobody may believe that the log has
        all of it."""
        if self._file is None or self.failing or self.held:
            return
        history = self.history()
        self._database = history.stream_db
        try:
            self._file.write(encode_place(self._place(history, "")))
        except OSError as error:
            log.warning("The log could not be ended: %s", error.strerror)

    def _fsync_changed(self) -> None:
        always = self.on and self.config.appendfsync == "always"
        self.syncs.set_mode(self.on, always)

    def _sync_hindered(self) -> bool:
        """no-appendfsync-on-rewrite: while a snapshot keeps the disk busy, nothing is synced."""
        busy = self.rewriting is not None or self.server.persistence.running is not None
        return busy and bool(self.config.no_appendfsync_on_rewrite)

    # -- INFO ----------------------------------------------------------------------------------

    def info_lines(self) -> list[str]:
        """`name:value` lines of INFO persistence."""
        rewriting = self.rewriting
        running_s = -1 if rewriting is None else int(time.monotonic() - rewriting.began)
        lines = [
            f"aof_enabled:{int(self.on)}",
            f"aof_rewrite_in_progress:{int(rewriting is not None)}",
            f"aof_rewrite_scheduled:{int(self.scheduled)}",
            f"aof_last_rewrite_time_sec:{self.last_rewrite_s}",
            f"aof_current_rewrite_time_sec:{running_s}",
            f"aof_last_bgrewrite_status:{'ok' if self.last_rewrite_ok else 'err'}",
            f"aof_rewrites:{self.rewrites}",
            f"aof_rewrites_consecutive_failures:{self.rewrite_failures}",
            f"aof_last_write_status:{'err' if self.failing else 'ok'}",
            f"aof_last_cow_size:{self._early_bytes}",
            "module_fork_in_progress:0",
            "module_fork_last_cow_size:0",
        ]
        if self.on:
            lines += [
                f"aof_current_size:{self.current_bytes}",
                f"aof_base_size:{self.base_bytes}",
                f"aof_pending_rewrite:{int(self.scheduled)}",
                f"aof_buffer_length:{self._held_bytes}",
                f"aof_pending_bio_fsync:{int(self.syncs.running)}",
                f"aof_delayed_fsync:{self.syncs.delayed}",
            ]
        return lines


class Rewrite(BackgroundSave):
    """A snapshot that becomes the log's base. `begins_at` is its position as long as the log has
    not come there, -1 afterwards; `increment` the file to which the log goes over there."""

    def __init__(self, owner: AppendLog, replacement: Any) -> None:
        super().__init__(owner, None, replacement)
        self.history = RecoveredHistory("", 0, 0)
        self.begins_at = -1
        self.increment: Appender | None = None
        #: Whether the manifest names the new base.
        self.stored = False
        self._log = owner

    @property
    def as_snapshot(self) -> bool:
        """Whether the base is an RDB file, and not commands."""
        return bool(self.replacement.path.endswith(".rdb"))

    def fail(self, error: OSError) -> None:
        """It ends before its snapshot was taken."""
        self._finish(error)

    def _write(self) -> None:
        if self._ended and self.begins_at >= 0:
            self._loop.call_later(LOG_RETRY_SECONDS, self._write_unless_over)
        else:
            super()._write()

    def _write_unless_over(self) -> None:
        if not self.over:
            self._write()

    def _commit(self) -> None:
        super()._commit()
        self._log.store_base(self)
        self.stored = True
        self._log.collect_history()


def _reported(error: Exception | None) -> None:
    if error is not None:
        raise error
