"""Persistence: when the data is saved to the snapshot file, when it is loaded, and what INFO says.

    save              in one go, nobody is served meanwhile (SAVE, shutdown)
    background_save   between the turns of the loop, in slices of SAVE_SLICE_US; the file is written
                      by a thread (BGSAVE, save points)
    start             loads the file, in steps, before the server serves

Invariants: the file is replaced whole or not at all; at most one background save runs; `changes` is
what `Keyspace.dirty` rose by since the instant that the newest whole file shows.
"""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
from collections.abc import Callable, Generator
from types import coroutine
from typing import Any, Protocol

from cache_server.constants import (
    LOAD_PAUSE_SECONDS_MAX,
    REDIS_VERSION,
    SAVE_CHUNK_BYTES,
    SAVE_RETRY_SECONDS,
    SAVE_SLICE_US,
    SAVE_SYNC_BYTES,
)
from cache_server.disk import Disk, Replacement
from cache_server.errors import CommandError, InputError
from cache_server.keyspace.database import Keyspace
from cache_server.persistence.command_encoder import LOG_TIME
from cache_server.persistence.leftovers import remove_leftovers
from cache_server.persistence.log_folder import LogLoad
from cache_server.persistence.recovery import (
    RecoveredHistory,
    install,
    merge,
    read_file,
    recovered_history,
)
from cache_server.persistence.snapshot import Snapshot
from cache_server.persistence.snapshot_codec import (
    ACCESS_FREQ,
    ACCESS_IDLE,
    ACCESS_NONE,
    Fit,
    Loaded,
    Loader,
)

log = logging.getLogger("cache_server")

MISCONF = (
    b"MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to "
    b"disk. Commands that may modify the data set are disabled, because this instance is "
    b"configured to report errors during writes if RDB snapshotting fails "
    b"(stop-writes-on-bgsave-error option). Please check the Redis logs for details about the RDB "
    b"error."
)


@coroutine
def _next_turn() -> Generator[None, None, None]:
    """Lets the loop serve others once."""
    yield


class KeptLibraries:
    """Libraries of functions where nothing runs them: they go from snapshot to snapshot."""

    def __init__(self) -> None:
        self._codes: list[bytes] = []

    def codes(self) -> list[bytes]:
        return self._codes

    def install(self, codes: list[bytes], _policy: bytes) -> None:
        self._codes = codes


class Persistence:
    """The server's part for snapshots. `server` has config, keyspace, dispatcher and loop.

    `history_fields` gives the fields of the preamble that name the replication history, where there
    is one to be found again; `recovered` is the history that the loaded file names."""

    def __init__(self, server: Any, disk: Disk | None = None) -> None:
        self.server = server
        self.config = server.config
        self.keyspace = server.keyspace
        self.disk = Disk() if disk is None else disk
        self.history_fields: Callable[[], list[tuple[bytes, Any]]] = list
        self.recovered: RecoveredHistory | None = None
        #: Whether followers are being sent a snapshot; and which of INFO's words, `loading` or
        #: `async_loading`, tells that one is being received from a leader.
        self.is_sending: Callable[[], bool] = bool
        self.receiving: Callable[[], str] = str
        #: The libraries of functions: `codes()` of all, `install(codes, policy)`.
        self.libraries: Any = KeptLibraries()
        #: The server's log, and what was read of it at the start.
        self.log: Any = None
        self.log_load: LogLoad | None = None
        self.skip_checksum = False
        self.last_save_s = int(time.time())
        self.last_save_ok = True
        self.last_duration_s = -1
        self.saves = 0
        self.scheduled = False
        self.loading: Loading | None = None
        self.keys_loaded = 0
        self.keys_expired = 0
        self.running: BackgroundSave | None = None
        self._tried_s = 0
        self._dirty_saved = 0
        self._early_bytes = 0

    @property
    def changes(self) -> int:
        """Changes since the last save."""
        return int(self.keyspace.dirty) - self._dirty_saved

    @property
    def path(self) -> str:
        """The snapshot file, in `dir`, which is the process's folder."""
        return os.path.abspath(str(self.config.dbfilename))

    # -- the server's part ---------------------------------------------------------------------

    async def start(self) -> None:
        """Loads the log where it is on and there is one, else the snapshot's file, if there is one.
        Raises InputError and OSError when what is there is of no use."""
        began = time.monotonic()
        self._remove_leftovers()
        collecting = gc.isenabled()
        gc.disable()
        try:
            if self.config.appendonly and self._find_log():
                await self._load_log()
                log.info("DB loaded from append only file: %.3f seconds", time.monotonic() - began)
            elif self.disk.exists(self.path):
                await self._load_file()
                log.info("DB loaded from disk: %.3f seconds", time.monotonic() - began)
        finally:
            self.loading = None
            if collecting:
                gc.freeze()  # what was loaded makes no cycles; to walk it would only cost time
                gc.enable()
        self._dirty_saved = self.keyspace.dirty

    def _remove_leftovers(self) -> None:
        config = self.config
        log_folder = os.path.abspath(str(config.appenddirname))
        folder = os.path.dirname(self.path)
        remove_leftovers(self.disk, folder, config.dbfilename, log_folder, config.appendfilename)

    async def _load_file(self) -> None:
        loader = self.loader(drop_expired=not self.config.replicaof)
        self.loading = Loading(self.disk.size_bytes(self.path))
        step_bytes = self.config.loading_process_events_interval_bytes
        try:
            for read_bytes in read_file(self.disk, self.path, loader, step_bytes):
                self.loading.read_bytes = read_bytes
                await self._after_load_step(loader)
            loaded = loader.finish()
        except InputError as error:
            log.warning("Internal error in RDB reading: %s", error)
            raise
        self.take(loaded)
        self.recovered = recovered_history(loaded)

    def _find_log(self) -> bool:
        """Reads the manifest; whether there is anything to load."""
        folder = self.log.folder
        folder.read_manifest()
        folder.upgrade()
        return not folder.manifest.empty

    async def _load_log(self) -> None:
        folder = self.log.folder
        self.loading = Loading(folder.total_bytes())
        load = self.log_load = LogLoad(folder, self, self.path)
        for read_bytes in load.steps(int(self.config.loading_process_events_interval_bytes)):
            self.loading.read_bytes = read_bytes
            await _next_turn()
        self.recovered = load.replay.history

    def reload_log(self) -> None:
        """DEBUG LOADAOF: the log's files in place of the data. Raises CommandError; what could be
        read is the data then."""
        self.log.write_held()
        folder, dirty = self.log.folder, self.keyspace.dirty
        folder.read_manifest()
        install(self.keyspace, Loaded(len(self.keyspace.databases)))
        self.loading = Loading(0)
        self.server.set_loading(True)  # a script in it may run long
        try:
            for _ in LogLoad(folder, self).steps(SAVE_SYNC_BYTES):
                pass
        except (InputError, OSError) as error:
            log.warning("Fatal error loading the log: %s", error)
            raise CommandError(
                b"ERR Error trying to load the AOF files, check server logs."
            ) from None
        finally:
            self.loading = None
            self.server.set_loading(False)
            self.keyspace.dirty = dirty  # nothing was changed that the stream has to tell
        self._dirty_saved = dirty
        log.warning("Append Only File loaded by DEBUG LOADAOF")

    def cron(self, now_ms: int) -> None:
        """Starts what a save point or BGSAVE SCHEDULE asks for."""
        if self.running is not None:
            return
        now_s = now_ms // 1000
        if not self.last_save_ok and now_s - self._tried_s <= SAVE_RETRY_SECONDS:
            return
        if self.scheduled:
            self.background_save()
            return
        changes = self.changes
        for seconds, changes_min in self.config.save:
            if changes >= changes_min and now_s - self.last_save_s > seconds:
                log.info("%d changes in %d seconds. Saving...", changes_min, seconds)
                self.background_save()
                return

    async def stop(self) -> None:
        """Ends a background save; the file stays as it was."""
        self.stop_background_save()

    # -- saving --------------------------------------------------------------------------------

    def snapshot(
        self,
        *,
        log_base: bool = False,
        commands: bool = False,
        data: bool = True,
        functions: bool = True,
    ) -> Snapshot:
        """A snapshot of the data as it is now, as the settings want it. `log_base`: it begins a
        log. `commands`: it is written as commands, not as RDB. `data`, `functions`: whether it
        holds these."""
        policy = self.config.maxmemory_policy
        access = ACCESS_NONE
        if "lru" in policy:
            access = ACCESS_IDLE
        elif "lfu" in policy:
            access = ACCESS_FREQ
        return Snapshot(
            self.keyspace if data else Keyspace(0),
            self._log_time() if commands else self._preamble(log_base),
            functions=self.libraries.codes() if functions else (),
            compress=self.config.rdbcompression,
            checksum=self.config.rdbchecksum,
            access=access,
            commands=commands,
        )

    def save(self) -> bool:
        """Saves in one go; False when the disk refused, which is logged."""
        self.saves += 1
        dirty = self.keyspace.dirty
        snapshot = self.snapshot()
        try:
            self.write_all(snapshot, self.path)
        except OSError as error:
            log.warning("Write error saving DB on disk(%s): %s", self.path, error.strerror)
            return False
        finally:
            snapshot.close()
        log.info("DB saved on disk")
        self._saved(dirty)
        return True

    def background_save(self) -> bool:
        """Begins to save in the background; False when the disk refused at once."""
        assert self.running is None
        self.scheduled = False
        self.saves += 1
        self._tried_s = int(time.time())
        try:
            replacement = self.disk.replace(self.path)
        except OSError as error:
            log.warning("Can't save in background: %s: %s", self.path, error.strerror)
            self._set_status(False)
            return False
        self.running = BackgroundSave(self, self.snapshot(), replacement)
        log.info("Background saving started by pid %d", os.getpid())
        self.running.begin()
        return True

    def background_save_over(self, save: BackgroundSave, error: OSError | None) -> None:
        """The background save came to its end."""
        self.running = None
        self.last_duration_s = int(time.monotonic() - save.began)
        self._early_bytes = save.snapshot.early_bytes
        if save.aborted:
            log.warning("Background saving stopped before its end")
        elif error is not None:
            log.warning("Background saving error: %s: %s", self.path, error.strerror)
            self._set_status(False)
        else:
            log.info("DB saved on disk")
            log.info("Background saving terminated with success")
            self._saved(save.dirty)

    def stop_background_save(self) -> None:
        """What is being saved is no longer wanted (FLUSHALL, or another way of saving)."""
        if self.running is not None:
            self.running.abort()

    def flushed_all(self) -> None:
        """FLUSHALL was carried out: with save points, the emptied data is saved at once."""
        if self.loading is not None:
            return  # the log's own FLUSHALL
        self.stop_background_save()
        if self.config.save:
            self.save()

    def save_before_exit(self, wanted: bool = False, refused: bool = False) -> bool:
        """The saving step of a shutdown: with save points, or when `wanted`, unless `refused`.

        False when the disk refused, or the log has no base yet: the server then had better go on.
        """
        if self.log is not None and not self.log.may_end():
            return False
        if self.running is not None:
            log.warning("There is a child saving an .rdb. Killing it!")
            self.running.abort()
        if self.loading is not None or not (wanted or (self.config.save and not refused)):
            return True
        log.info("Saving the final RDB snapshot before exiting.")
        return self.save()

    def check_writable(self) -> None:
        """Refuses a write while saving fails and the settings say so. Raises CommandError."""
        if self.config.stop_writes_on_bgsave_error and self.config.save and not self.last_save_ok:
            raise CommandError(MISCONF)

    # -- loading -------------------------------------------------------------------------------

    def take(self, loaded: Loaded) -> None:
        """Makes loaded data the server's own."""
        self._install_libraries(loaded, b"flush")
        install(self.keyspace, loaded)
        self.server.tracking.data_flushed()
        self._log_loaded(loaded)

    def _install_libraries(self, loaded: Loaded, policy: bytes) -> None:
        try:
            self.libraries.install(loaded.functions, policy)
        except CommandError as error:
            text = error.text.decode("latin-1")
            raise InputError(f"Failed loading a library of functions: {text}") from None

    def reload(self, *, save: bool = True, flush: bool = True, replace: bool = False) -> None:
        """DEBUG RELOAD: saves, and loads the file in place of the data.

        Without `flush` the file's keys are added; those already there are refused, or with
        `replace` overwritten. Raises CommandError; the data is then what it was."""
        self.stop_background_save()
        if save and not self.save():
            raise CommandError(b"ERR")
        loader = self.loader(drop_expired=not self.config.replicaof)
        try:
            for _ in read_file(self.disk, self.path, loader, SAVE_SYNC_BYTES):
                pass
            loaded = loader.finish()
            policy = b"flush" if flush else b"replace" if replace else b"append"
            self._install_libraries(loaded, policy)
            if not flush:
                merge(self.keyspace, loaded, replace)
        except (InputError, OSError) as error:
            log.warning("Fatal error loading the DB: %s", error)
            raise CommandError(b"ERR Error trying to load the RDB dump") from None
        if flush:
            install(self.keyspace, loaded)
            self.server.tracking.data_flushed()
        self._log_loaded(loaded)
        self._dirty_saved = self.keyspace.dirty
        log.warning("DB reloaded by DEBUG RELOAD")

    def loader(self, drop_expired: bool) -> Loader:
        """A loader for a snapshot that comes now."""
        return Loader(
            len(self.keyspace.databases),
            time.time_ns() // 1_000_000,
            drop_expired=drop_expired,
            verify=self.config.rdbchecksum and not self.skip_checksum,
            lfu=self.keyspace.lfu,
            fit=Fit(self.config),
        )

    async def _after_load_step(self, loader: Loader) -> None:
        delay_us = self.config.key_load_delay
        loaded = loader.loaded
        keys = loaded.keys_loaded + loaded.keys_expired
        if delay_us and self.loading is not None:
            new_keys, self.loading.keys = keys - self.loading.keys, keys
            until = time.monotonic() + new_keys * _microseconds(delay_us) / 1e6
            while (left_s := until - time.monotonic()) > 0:
                pause_s = min(left_s, LOAD_PAUSE_SECONDS_MAX)
                await self.server.loop.run_in_executor(None, time.sleep, pause_s)
        await _next_turn()

    def _log_loaded(self, loaded: Loaded) -> None:
        self.keys_loaded, self.keys_expired = loaded.keys_loaded, loaded.keys_expired
        aux = loaded.aux
        if b"redis-ver" in aux:
            version = aux[b"redis-ver"].decode("latin-1")
            log.info("Loading RDB produced by version %s", version)
        if aux.get(b"ctime", b"").isdigit():
            log.info("RDB age %d seconds", max(0, int(time.time()) - int(aux[b"ctime"])))
        if aux.get(b"used-mem", b"").isdigit():
            log.info("RDB memory usage when created %.2f Mb", int(aux[b"used-mem"]) / 1024**2)
        for key in loaded.empty_names:
            log.warning("skipping empty key: %s", key.decode("utf-8", "backslashreplace"))
        text = f"keys loaded: {loaded.keys_loaded}, keys expired: {loaded.keys_expired}"
        if loaded.keys_empty:
            text += f", empty keys skipped: {loaded.keys_empty}"
        log.info("Done loading RDB, %s.", text)

    # -- INFO ----------------------------------------------------------------------------------

    def info_lines(self) -> list[str]:
        """`name:value` lines of INFO persistence."""
        running, loading = self.running, self.loading
        snapshot = None if running is None else running.snapshot
        running_s = -1 if running is None else int(time.monotonic() - running.began)
        early = 0 if snapshot is None else snapshot.early_bytes
        done, total = (0, 0) if snapshot is None else (snapshot.keys_done, snapshot.keys_total)
        receiving = self.receiving()
        lines = [
            f"loading:{int(loading is not None or receiving == 'loading')}",
            f"async_loading:{int(receiving == 'async_loading')}",
            f"current_cow_peak:{early}",
            f"current_cow_size:{early}",
            "current_cow_size_age:0",
            f"current_fork_perc:{100 * done / total if total else 0:.2f}",
            f"current_save_keys_processed:{done}",
            f"current_save_keys_total:{total}",
            f"rdb_changes_since_last_save:{self.changes}",
            f"rdb_bgsave_in_progress:{int(running is not None or self.is_sending())}",
            f"rdb_last_save_time:{self.last_save_s}",
            f"rdb_last_bgsave_status:{'ok' if self.last_save_ok else 'err'}",
            f"rdb_last_bgsave_time_sec:{self.last_duration_s}",
            f"rdb_current_bgsave_time_sec:{running_s}",
            f"rdb_saves:{self.saves}",
            f"rdb_last_cow_size:{self._early_bytes}",
            f"rdb_last_load_keys_expired:{self.keys_expired}",
            f"rdb_last_load_keys_loaded:{self.keys_loaded}",
        ]
        if self.log is not None:
            lines += self.log.info_lines()
        return lines if loading is None else lines + loading.info_lines()

    def info_fields(self) -> list[tuple[str, object]]:
        """INFO persistence as pairs of field and value."""
        pairs = (line.partition(":") for line in self.info_lines())
        return [(name, value) for name, _, value in pairs]

    # -- parts ---------------------------------------------------------------------------------

    def _preamble(self, log_base: bool) -> list[tuple[bytes, Any]]:
        return [
            (b"redis-ver", REDIS_VERSION.encode()),
            (b"redis-bits", 64),
            (b"ctime", int(time.time())),
            (b"used-mem", resident_bytes()),
            *self.history_fields(),
            (b"aof-base", int(log_base)),
        ]

    def _log_time(self) -> list[tuple[bytes, Any]]:
        return [(LOG_TIME, int(time.time()))] if self.config.aof_timestamp_enabled else []

    def write_all(self, snapshot: Snapshot, path: str) -> None:
        """Writes a snapshot to a file in one go. Raises OSError, and the file is as it was."""
        replacement = self.disk.replace(path)
        try:
            while chunk := snapshot.next_chunk(SAVE_CHUNK_BYTES):
                replacement.write(chunk)
            replacement.commit()
        finally:
            replacement.abandon()

    def _saved(self, dirty: int) -> None:
        self._dirty_saved = dirty
        self.last_save_s = int(time.time())
        self._set_status(True)

    def _set_status(self, ok: bool) -> None:
        self.last_save_ok = ok
        self.server.disk_failing(not ok)


class Loading:
    """The progress of a load, for INFO."""

    def __init__(self, total_bytes: int) -> None:
        self.total_bytes = total_bytes
        self.read_bytes = 0
        self.keys = 0
        self.began_s = time.time()

    def info_lines(self) -> list[str]:
        elapsed_s = time.time() - self.began_s
        left_s = elapsed_s * (self.total_bytes - self.read_bytes) / max(1, self.read_bytes)
        return [
            f"loading_start_time:{int(self.began_s)}",
            f"loading_total_bytes:{self.total_bytes}",
            "loading_rdb_used_mem:0",
            f"loading_loaded_bytes:{self.read_bytes}",
            f"loading_loaded_perc:{100 * self.read_bytes / max(1, self.total_bytes):.2f}",
            f"loading_eta_seconds:{int(left_s)}",
        ]


class SaveOwner(Protocol):
    """Who wants a save: asked for settings and the loop, and told of the end."""

    server: Any
    config: Any
    keyspace: Any

    def background_save_over(self, save: BackgroundSave, error: OSError | None) -> None: ...


class BackgroundSave:
    """One save in the background.

        begin -> slice -> write (thread) -> slice -> ... -> commit (thread) -> over
                   ^________________|

    The thread has at most one job at a time and holds `_file_lock` over it: who has the lock may
    touch the file."""

    def __init__(self, owner: SaveOwner, snapshot: Any, replacement: Replacement) -> None:
        self.owner = owner
        #: A Snapshot; None for one that is still to be taken.
        self.snapshot = snapshot
        self.replacement = replacement
        self.dirty = owner.keyspace.dirty
        self.began = time.monotonic()
        self.aborted = False
        self.over = False
        self._loop = owner.server.loop
        self._chunks: list[bytes] = []
        self._bytes = 0
        self._unsynced_bytes = 0
        self._ended = False
        self._file_lock = threading.Lock()

    def begin(self) -> None:
        self._loop.call_soon(self._slice)

    def abort(self) -> None:
        """The save is not wanted any more. Waits for the one write that may be under way."""
        self.aborted = True
        with self._file_lock:
            self._finish(None)

    def _slice(self) -> None:
        """Encodes for a while, then lets others go on."""
        if self.over:
            return
        snapshot = self.snapshot
        delay_us = self.owner.config.rdb_key_save_delay
        keys = snapshot.keys_done
        until = time.monotonic() + SAVE_SLICE_US / 1e6
        while not self._ended and self._bytes < SAVE_CHUNK_BYTES and time.monotonic() < until:
            chunk = snapshot.next_chunk(1 if delay_us else SAVE_CHUNK_BYTES // 16)
            self._chunks.append(chunk)
            self._bytes += len(chunk)
            self._ended = not chunk
            if delay_us and snapshot.keys_done > keys:
                break
        if delay_us and snapshot.keys_done > keys:
            pause_s = (snapshot.keys_done - keys) * _microseconds(delay_us) / 1e6
            self._loop.call_later(pause_s, self._slice)
        elif self._ended or self._bytes >= SAVE_CHUNK_BYTES:
            self._write()
        else:
            self._loop.call_soon(self._slice)

    def _write(self) -> None:
        data = b"".join(self._chunks)
        self._chunks.clear()
        self._unsynced_bytes += self._bytes
        self._bytes = 0
        sync = False
        if self._unsynced_bytes >= SAVE_SYNC_BYTES:
            self._unsynced_bytes = 0
            sync = bool(self.owner.config.rdb_save_incremental_fsync)
        job = self._loop.run_in_executor(None, self._write_in_thread, data, sync, self._ended)
        job.add_done_callback(self._written)

    def _write_in_thread(self, data: bytes, sync: bool, last: bool) -> None:
        with self._file_lock:
            if self.aborted:
                return
            self.replacement.write(data)
            if last:
                self._commit()
            elif sync:
                self.replacement.sync()

    def _commit(self) -> None:
        """In the thread: all of it is written and becomes the file."""
        self.replacement.commit()

    def _written(self, job: Any) -> None:
        error = job.exception()
        if self.over:
            return
        if error is not None and not isinstance(error, OSError):
            raise error
        if error is not None or self._ended:
            self._finish(error)
        else:
            self._slice()

    def _finish(self, error: OSError | None) -> None:
        self.over = True
        if self.snapshot is not None:
            self.snapshot.close()
        self.replacement.abandon()
        self.owner.background_save_over(self, error)


def _microseconds(setting: int) -> float:
    """A debugging delay per key: microseconds, or where negative one for so many keys."""
    return setting if setting >= 0 else 1 / -setting


def resident_bytes() -> int:
    """Memory of this process, in bytes; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
