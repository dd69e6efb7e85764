"""Files: the seam through which everything that must survive a crash reaches the disk.

A file is never changed in place. Its replacement is written beside it under a temporary name, made
durable, and renamed over it, so at any moment the name leads to the old contents or the new, whole.

    Replacement: write ... write, commit   or, when anything went wrong, abandon

The one exception is the log, which grows at its end:

    Appender: write ... write, sync        what a failed write left behind is cut off again

Who writes a file holds a lock on it (flock), which the system gives up with the process: what is
half written and not locked was left by one that was killed (`persistence/leftovers.py`).

Invariant: `commit` returns only after contents and name have been handed to the disk (fsync of the
file, rename, fsync of the folder). Every method raises OSError as the system does.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from typing import BinaryIO


class Replacement:
    """A new version of the file `path`, not yet under its name. May be used from any one thread."""

    def __init__(self, path: str, temporary: str) -> None:
        self.path = path
        self.temporary = temporary
        self.written_bytes = 0
        self._over = False
        self._file: BinaryIO = open(temporary, "wb", buffering=0)  # noqa: SIM115 - closed by commit
        _hold(self._file.fileno())

    @property
    def removed(self) -> bool:
        """Whether it was taken for a leftover before it was held."""
        return os.fstat(self._file.fileno()).st_nlink == 0

    def write(self, data: bytes) -> None:
        """Appends all of `data`."""
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) or 0 :]
        self.written_bytes += len(data)

    def sync(self) -> None:
        """Hands what was written to the disk, so that little is left for `commit`."""
        os.fdatasync(self._file.fileno())

    def commit(self) -> None:
        """Makes the contents durable and puts them under the name."""
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self.temporary, self.path)
        self._over = True
        sync_folder(os.path.dirname(self.path) or ".")

    def abandon(self) -> None:
        """Removes what was written; the file keeps its old contents. Nothing after `commit`."""
        if self._over:
            return
        self._over = True
        self._file.close()
        with suppress(FileNotFoundError):
            os.unlink(self.temporary)


class Appender:
    """A file that grows. `size_bytes` is what was written whole; `sync` may run in a thread beside
    `write`."""

    def __init__(self, path: str) -> None:
        self.path = path
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o644)
        _hold(self._descriptor, wait=False)
        status = os.fstat(self._descriptor)
        self.size_bytes = status.st_size
        self.identity = _identity(status)
        #: Whether the file is longer than `size_bytes`, by what a failed write left in it.
        self._torn = False

    def write(self, data: bytes) -> None:
        """Appends all of `data` or, as far as a later reader can see, nothing of it."""
        if self._torn:
            os.ftruncate(self._descriptor, self.size_bytes)
            self._torn = False
        written = os.write(self._descriptor, data)
        if written < len(data):
            self._torn = True
            view = memoryview(data)
            while written < len(data):
                written += os.write(self._descriptor, view[written:])
            self._torn = False
        self.size_bytes += len(data)

    def sync(self) -> None:
        """Returns once what was written is durable."""
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Nothing after this. What a failed write left is cut off."""
        if self._torn:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self.size_bytes)
        os.close(self._descriptor)


def _hold(descriptor: int, *, wait: bool = True) -> None:
    """Locks a file until it is closed, where the file system knows locks. To wait takes no longer
    than somebody's look at whether it is a leftover."""
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def sync_folder(path: str) -> None:
    """Makes the names in a folder durable."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _identity(status: os.stat_result) -> str:
    return f"{status.st_dev:x}.{status.st_ino:x}"


class Disk:
    """The real disk. The simulator has another one with the same methods."""

    def replace(self, path: str) -> Replacement:
        """Begins a new version of the file. Several at once do not disturb each other."""
        folder, name = os.path.split(path)
        stem, extension = os.path.splitext(name)
        for attempt in range(1000):
            temporary = os.path.join(folder, f"temp-{stem}-{os.getpid()}-{attempt}{extension}")
            if os.path.exists(temporary):
                continue
            replacement = Replacement(path, temporary)
            if not replacement.removed:
                return replacement
            replacement.abandon()
        raise FileExistsError(f"no free temporary name beside {path}")

    def open(self, path: str) -> BinaryIO:
        """The file, to be read from its beginning."""
        return open(path, "rb")

    def exists(self, path: str) -> bool:
        return os.path.lexists(path)

    def size_bytes(self, path: str) -> int:
        return os.stat(path).st_size

    def append(self, path: str) -> Appender:
        """The file, to be written at its end; it is made where there is none."""
        return Appender(path)

    def identity(self, path: str) -> str:
        """Tells this file from a copy of it."""
        return _identity(os.stat(path))

    def make_folder(self, path: str) -> None:
        """Makes the folder, unless it is there."""
        os.makedirs(path, mode=0o755, exist_ok=True)

    def rename(self, old: str, new: str) -> None:
        """Gives the file another name, durably."""
        os.rename(old, new)
        sync_folder(os.path.dirname(new) or ".")

    def remove(self, path: str) -> None:
        """Removes the file, if it is there."""
        with suppress(FileNotFoundError):
            os.unlink(path)

    def remove_unheld(self, path: str) -> int | None:
        """Removes the file unless somebody writes it; returns its size, None where it stays."""
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            status = os.fstat(descriptor)
            os.unlink(path)
        except BlockingIOError:
            return None
        finally:
            os.close(descriptor)
        return status.st_size

    def truncate(self, path: str, size_bytes: int) -> None:
        """Cuts the file, durably."""
        with open(path, "r+b") as file:
            file.truncate(size_bytes)
            os.fsync(file.fileno())

    def sync_folder(self, path: str) -> None:
        """Makes the names in the folder durable."""
        sync_folder(path)
