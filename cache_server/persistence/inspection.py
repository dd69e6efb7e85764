"""Looking at a log without carrying it out, and cutting it where it is damaged.

`inspect_log` reads every file that a manifest names (or a single one) and follows the chain through
them. `repair` cuts at the first fault: what comes after it, in that file and in later ones, is put
aside under another name and never loaded. Nothing is thrown away.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from cache_server.constants import LOG_READ_BYTES
from cache_server.disk import Disk
from cache_server.errors import InputError
from cache_server.persistence.log_chain import Chain
from cache_server.persistence.log_codec import (
    DamageError,
    Group,
    LogParser,
    Placed,
    Plain,
    TornError,
)
from cache_server.persistence.manifest import BASE, LogFile, Manifest, parse_manifest
from cache_server.persistence.recovery import recovered_history
from cache_server.persistence.snapshot_codec import Loaded, Loader

#: Databases that a snapshot may hold at most; the server that wrote it may have had as many.
DATABASES_MAX = 1024
MANIFEST_SUFFIX = ".manifest"


@dataclass
class FileReport:
    """What is in one file. `good_bytes` are those before the first fault."""

    path: str
    kind: str = "log"
    size_bytes: int = 0
    good_bytes: int = 0
    frames: int = 0
    groups: int = 0
    unsealed: int = 0
    loaded: Loaded | None = None
    history: str = ""
    fault: str = ""
    torn: bool = False

    @property
    def whole(self) -> bool:
        return not self.fault


@dataclass
class LogReport:
    """What is in all files of a log, up to the first that has a fault."""

    manifest_path: str = ""
    manifest: Manifest | None = None
    files: list[FileReport] = field(default_factory=list)

    @property
    def fault(self) -> FileReport | None:
        return next((one for one in self.files if one.fault), None)


def find_manifest(path: str) -> str:
    """The manifest that is meant by a path: itself, or the one in a folder; "" for neither. Raises
    InputError for a folder without exactly one."""
    if not os.path.isdir(path):
        return path if path.endswith(MANIFEST_SUFFIX) else ""
    found = [name for name in sorted(os.listdir(path)) if name.endswith(MANIFEST_SUFFIX)]
    if len(found) != 1:
        raise InputError(f"{path}: {len(found)} manifests in this folder")
    return os.path.join(path, found[0])


def inspect_log(disk: Disk, path: str, now_ms: int) -> LogReport:
    """Reads a manifest and its files, or a single file. Raises InputError for what is no log or
    snapshot at all, and OSError."""
    manifest_path = find_manifest(path)
    chain = Chain()
    if not manifest_path:
        return LogReport(files=[_inspect_file(disk, path, chain, now_ms)])
    with disk.open(manifest_path) as file:
        manifest = parse_manifest(file.read())
    report = LogReport(manifest_path, manifest)
    for one in manifest.loaded_files:
        inspected = _inspect_file(disk, _beside(manifest_path, one), chain, now_ms)
        if one.kind == BASE and inspected.kind == "snapshot":
            inspected.kind = "base"
        report.files.append(inspected)
        if inspected.fault:
            break
    return report


def repair(disk: Disk, report: LogReport) -> list[str]:
    """Cuts the log at its first fault; says what was done, one line each. Raises InputError where
    cutting is no help, and OSError."""
    fault = report.fault
    if fault is None:
        return []
    if fault.kind != "log":
        raise InputError(f"{fault.path}: a snapshot cannot be cut; take it from a copy or follower")
    done = _put_aside(disk, fault)
    manifest = report.manifest
    if manifest is None:
        return done
    names = [_beside(report.manifest_path, one) for one in manifest.increments]
    if fault.path not in names:
        return done
    kept = names.index(fault.path) + 1
    for path in names[kept:]:
        aside = f"{path}.aside"
        disk.rename(path, aside)
        done.append(f"{path}: behind the fault, put aside as {aside}")
    if names[kept:]:
        manifest.increments = manifest.increments[:kept]
        replacement = disk.replace(report.manifest_path)
        replacement.write(manifest.text())
        replacement.commit()
        done.append(f"{report.manifest_path}: names the first {kept} increments only")
    return done


def _put_aside(disk: Disk, fault: FileReport) -> list[str]:
    """Copies what is behind the fault, then cuts the file there."""
    aside = f"{fault.path}.from-{fault.good_bytes}"
    copy = disk.replace(aside)
    with disk.open(fault.path) as file:
        file.seek(fault.good_bytes)
        while data := file.read(LOG_READ_BYTES):
            copy.write(data)
    copy.commit()
    disk.truncate(fault.path, fault.good_bytes)
    cut_bytes = fault.size_bytes - fault.good_bytes
    return [f"{fault.path}: cut at {fault.good_bytes}; {cut_bytes} bytes put aside as {aside}"]


def _beside(manifest_path: str, one: LogFile) -> str:
    return os.path.join(os.path.dirname(manifest_path), one.name)


def _inspect_file(disk: Disk, path: str, chain: Chain, now_ms: int) -> FileReport:
    report = FileReport(path, size_bytes=disk.size_bytes(path))
    parser = LogParser()
    with disk.open(path) as file:
        head = file.read(5)
        file.seek(0)
        try:
            if head == b"REDIS":
                report.kind = "snapshot"
                loader, fed = Loader(DATABASES_MAX, now_ms), 0
                while not loader.complete:
                    data = file.read(LOG_READ_BYTES)
                    if not data:
                        loader.finish()
                    loader.feed(data)
                    fed += len(data)
                rest = bytes(loader.rest)
                report.loaded, report.good_bytes = loader.loaded, fed - len(rest)
                parser = LogParser(report.good_bytes)
                parser.feed(rest)
                if rest or report.good_bytes < report.size_bytes:
                    report.kind = "log"
            _follow(file, parser, chain, report)
        except TornError as error:
            report.fault, report.torn = error.reason, True
            report.good_bytes = error.offset
        except DamageError as error:
            report.fault = f"{error.reason} (offset {error.offset})"
            report.good_bytes = min(error.offset, parser.offset)
        except InputError as error:
            report.fault = str(error)
    _name_history(report, chain)
    return report


def _follow(file: object, parser: LogParser, chain: Chain, report: FileReport) -> None:
    read = file.read  # type: ignore[attr-defined]
    open_at: int | None = None
    while True:
        while (item := parser.next_item()) is not None:
            if isinstance(item, Group):
                chain.group(item)
                report.groups += 1
                report.frames += len(item.frames)
            elif isinstance(item, Placed):
                chain.placed(item)
            elif isinstance(item, Plain):
                chain.end()
                report.unsealed += 1
                word = item.words[0].lower()
                if word == b"multi":
                    open_at = item.offset
                elif word == b"exec":
                    open_at = None
            report.good_bytes = item.end
        data = read(LOG_READ_BYTES)
        if not data:
            break
        parser.feed(data)
    parser.finish()
    if open_at is not None:
        raise TornError(open_at, "the file ends within a transaction")
    report.good_bytes = parser.offset


def _name_history(report: FileReport, chain: Chain) -> None:
    if report.kind == "snapshot" and report.loaded is not None:
        found = recovered_history(report.loaded)
        if found is not None:
            report.history = f"{found.replication_id} at offset {found.offset}"
    elif chain.place is not None:
        report.history = (
            f"{chain.place.replid} at offset {chain.position}, checksum {chain.checksum:016x}"
        )
