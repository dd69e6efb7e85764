"""The folder of the log: its manifest and the files that it names, as Redis 7 lays them out.

    appendonlydir/appendonly.aof.manifest
    appendonlydir/appendonly.aof.7.base.rdb      the data as it was when the log was trimmed
    appendonlydir/appendonly.aof.3.incr.aof      what was written since

`load` reads them in order and carries them out. What may be wrong, and what comes of it:

    the last file ends within an item     it is cut there, and the log line says by how many bytes
    it ends with zeros                    the same: the system lost what it had not written yet
    anything else                         InputError with file and offset; `cachectl repair` cuts
    the base cannot be used               the snapshot file, where the log covers its position

Invariant: nothing is changed on the disk but a torn tail, and the upgrade of a single old file.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from cache_server.constants import LOG_READ_BYTES, MANIFEST_BYTES_MAX
from cache_server.disk import Disk
from cache_server.errors import InputError
from cache_server.persistence.log_codec import DamageError, LogParser, TornError
from cache_server.persistence.manifest import BASE, LogFile, Manifest, parse_manifest
from cache_server.persistence.recovery import recovered_history
from cache_server.persistence.replay import Replay, Replaying
from cache_server.persistence.snapshot_codec import Loaded

log = logging.getLogger("cache_server")

_SNAPSHOT_MAGIC = b"REDIS"


@dataclass
class LogFolder:
    """Paths and manifest. `dirname` and `filename` are the settings appenddirname and
    appendfilename."""

    disk: Disk
    dirname: str
    filename: str
    manifest: Manifest = field(default_factory=Manifest)
    #: Held by who makes the next manifest of this one, in the loop or in a thread.
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def manifest_path(self) -> str:
        return self.path(f"{self.filename}.manifest")

    def path(self, name: str) -> str:
        """Where a file of the folder is."""
        return os.path.join(os.path.abspath(self.dirname), name)

    def read_manifest(self) -> Manifest:
        """What the folder's manifest says, an empty one where there is none. Raises InputError."""
        path = self.manifest_path
        self.manifest = Manifest()
        if self.disk.exists(path):
            with self.disk.open(path) as file:
                data = file.read(MANIFEST_BYTES_MAX + 1)
            try:
                self.manifest = parse_manifest(data)
            except InputError as error:
                raise InputError(f"{path}: {error}") from None
        return self.manifest

    def write_manifest(self, manifest: Manifest) -> None:
        """Makes this the folder's manifest, durably. Raises OSError, and the old one counts."""
        self.disk.make_folder(os.path.abspath(self.dirname))
        replacement = self.disk.replace(self.manifest_path)
        try:
            replacement.write(manifest.text())
            replacement.commit()
        finally:
            replacement.abandon()
        self.manifest = manifest

    def upgrade(self) -> None:
        """Takes over a single append-only file of an older Redis as the base, as Redis 7 does."""
        manifest, old = self.manifest, os.path.abspath(self.filename)
        moved = self.path(self.filename)
        interrupted = (
            manifest.base is not None
            and not manifest.increments
            and manifest.base.name == self.filename
            and not self.disk.exists(moved)
        )
        if not self.disk.exists(old) or not (manifest.empty or interrupted):
            return
        if not interrupted:
            fresh = Manifest(base=LogFile(self.filename, 1, BASE), base_seq=1)
            self.write_manifest(fresh)
        self.disk.rename(old, moved)
        log.info(
            "Successfully migrated an old-style AOF file (%s) into the AOF directory (%s).",
            self.filename,
            self.dirname,
        )

    def total_bytes(self) -> int:
        """Size of the files to be loaded. Raises OSError where one is missing."""
        total = 0
        for one in self.manifest.loaded_files:
            try:
                total += self.disk.size_bytes(self.path(one.name))
            except OSError as error:
                log.warning(
                    "Unable to obtain the AOF file %s length. stat: %s", one.name, error.strerror
                )
                raise
        return total

    def remove_history(self) -> None:
        """Deletes what is history, then names it no longer: who ends in between, deletes the rest
        at the next start. Raises OSError."""
        with self.lock:
            manifest = self.manifest.copy()
            for one in manifest.history:
                self.disk.remove(self.path(one.name))
            manifest.history = []
            self.write_manifest(manifest)


class LogLoad:
    """One pass over the files. `persistence` gives loaders and takes what they loaded; `steps`
    yields the bytes read so far, and when it ends `replay` holds what the log said.

    `fallback` is the path of a snapshot that may stand in for a base that cannot be used."""

    def __init__(self, folder: LogFolder, persistence: Any, fallback: str = "") -> None:
        self.folder = folder
        self.disk = folder.disk
        self.persistence = persistence
        self.server = persistence.server
        self.config = persistence.config
        self.fallback = fallback
        self.read_bytes = 0
        self.torn_bytes = 0
        self.replay = self._replay_from(None)

    def _replay_from(self, loaded: Loaded | None) -> Replay:
        history = None if loaded is None else recovered_history(loaded)
        return Replay(self.server, history, int(self.config.repl_backlog_size))

    def steps(self, step_bytes: int) -> Iterator[int]:
        """Loads. Raises InputError and OSError."""
        files = self.folder.manifest.loaded_files
        for number, one in enumerate(files):
            last = not self._written(files[number + 1 :])
            try:
                yield from self._file(one, step_bytes, last)
            except (InputError, OSError) as error:
                if one.kind != BASE or not self.fallback:
                    raise
                log.warning("The base of the log cannot be used: %s", error)
                yield from self._load_fallback(step_bytes, error)
        self._done()

    def _written(self, files: list[LogFile]) -> list[LogFile]:
        """Those with anything in them: an increment is named before it is needed."""
        return [one for one in files if self.disk.size_bytes(self.folder.path(one.name))]

    @property
    def intact(self) -> bool:
        """Whether the log cannot have lost anything that was written to it: the system has been up
        ever since, and this is the very file and no copy."""
        boot, files = boot_name(), self._written(self.folder.manifest.increments)
        if not boot or not files:
            return False
        identity = self.disk.identity(self.folder.path(files[-1].name))
        return self.replay.boot == f"{boot}:{identity}"

    def _done(self) -> None:
        history = self.replay.history
        place = "" if history is None else f", history at offset {history.offset}"
        log.info("Log loaded: %d commands%s", self.replay.commands_run, place)

    def _file(self, one: LogFile, step_bytes: int, last: bool) -> Iterator[int]:
        path = self.folder.path(one.name)
        kind = "base" if one.kind == BASE else "incr"
        try:
            with self.disk.open(path) as file:
                head = file.read(len(_SNAPSHOT_MAGIC))
                file.seek(0)
                offset, rest = 0, b""
                self.replay.new_file()
                if head == _SNAPSHOT_MAGIC:
                    offset, rest = yield from self._snapshot(file, path, step_bytes)
                yield from self._commands(file, path, offset, rest, step_bytes, last)
        except OSError as error:
            log.warning("Fatal error: can't open the append log file %s for reading", path)
            raise OSError(error.errno, f"{path}: {error.strerror}") from None
        log.info("DB loaded from %s file %s", kind, one.name)

    def _snapshot(self, file: Any, path: str, step_bytes: int) -> Any:
        """Loads a snapshot at the file's beginning; gives where it ends and what was read on."""
        log.info("Reading RDB base file on AOF loading...")
        loader = self.persistence.loader(drop_expired=False)
        fed = 0
        while not loader.complete:
            data = file.read(step_bytes)
            try:
                if not data:
                    loader.finish()
                loader.feed(data)
            except InputError as error:
                raise InputError(f"{path}: {error}") from None
            fed += len(data)
            self.read_bytes += len(data)
            yield self.read_bytes
        rest = bytes(loader.rest)
        self.persistence.take(loader.loaded)
        self.replay = self._replay_from(loader.loaded)
        return fed - len(rest), rest

    def _commands(
        self, file: Any, path: str, offset: int, rest: bytes, step_bytes: int, last: bool
    ) -> Iterator[int]:
        parser = LogParser(offset)
        parser.feed(rest)
        since_yield = 0
        try:
            while True:
                with Replaying(self.server):
                    while (item := parser.next_item()) is not None:
                        self.replay.take(item)
                data = file.read(max(LOG_READ_BYTES, parser.wanted - parser.buffered_bytes))
                if not data:
                    break
                parser.feed(data)
                self.read_bytes += len(data)
                since_yield += len(data)
                if since_yield >= min(step_bytes, LOG_READ_BYTES):
                    since_yield = 0
                    yield self.read_bytes
            parser.finish()
            self.replay.finish_file()
        except DamageError as error:
            self._damaged(path, error, last, parser)

    def _damaged(self, path: str, error: DamageError, last: bool, parser: LogParser) -> None:
        """Cuts a torn tail; raises InputError for anything else."""
        torn = last and (isinstance(error, TornError) or self._ends_with_zeros(path, parser))
        if not torn:
            raise InputError(_damage_text(path, error)) from None
        offset = error.offset if isinstance(error, TornError) else parser.offset
        if not self.config.aof_load_truncated:
            raise InputError(
                f"Unexpected end of file reading the append only file {path}: at offset {offset}:"
                f" {error.reason}. Run 'cachectl repair {path}', or set aof-load-truncated to yes"
            ) from None
        self.torn_bytes = self.disk.size_bytes(path) - offset
        log.warning("!!! Warning: short read while loading the AOF file %s!!!", path)
        log.warning(
            "!!! Truncating the AOF %s at offset %d: %d bytes are cut off !!!",
            path,
            offset,
            self.torn_bytes,
        )
        self.disk.truncate(path, offset)
        log.warning("AOF %s loaded anyway because aof-load-truncated is enabled", path)

    def _ends_with_zeros(self, path: str, parser: LogParser) -> bool:
        """Whether only a tail of zeros makes the rest of the file wrong."""
        return zeros_only_damage(self.disk, path, parser.offset, parser.sealed)

    def _load_fallback(self, step_bytes: int, error: Exception) -> Iterator[int]:
        """The snapshot file in the base's place: its position must be one that the log covers."""
        if not self.disk.exists(self.fallback):
            raise error
        with self.disk.open(self.fallback) as file:
            _, rest = yield from self._snapshot(file, self.fallback, step_bytes)
        if rest or self.replay.history is None:
            raise error
        log.warning(
            "Falling back to the snapshot %s, taken at offset %d of the history",
            self.fallback,
            self.replay.history.offset,
        )


def zeros_only_damage(disk: Disk, path: str, offset: int, sealed: bool) -> bool:
    """Whether the file from `offset` on would be torn and not damaged without the zeros at its
    end. `sealed`: frames came before."""
    with disk.open(path) as file:
        file.seek(offset)
        rest = file.read()
    kept = rest.rstrip(b"\0")
    if len(kept) == len(rest):
        return False
    parser = LogParser()
    parser.sealed = sealed
    parser.feed(kept)
    try:
        while parser.next_item() is not None:
            pass
    except DamageError:
        return False
    return True


def _damage_text(path: str, error: DamageError) -> str:
    reason = error.reason
    if reason.startswith("Unknown command"):
        return f"{reason} reading the append only file {path} at offset {error.offset}"
    return (
        f"Bad file format reading the append only file {path}: at offset {error.offset}: {reason}."
        f" The file is as it was; 'cachectl check' shows more and 'cachectl repair' cuts it there"
    )


def boot_name() -> str:
    """Names the run of the system; "" where it does not tell."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read(64).strip().replace(" ", "")
    except OSError:
        return ""
