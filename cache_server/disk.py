"""Files: the seam through which everything that must survive a crash reaches the disk.

A file is never changed in place. Its replacement is written beside it under a temporary name, made
durable, and renamed over it, so at any moment the name leads to the old contents or the new, whole.

    Replacement: write ... write, commit   or, when anything went wrong, abandon

Invariant: `commit` returns only after contents and name have been handed to the disk (fsync of the
file, rename, fsync of the folder). Every method raises OSError as the system does.
"""

from __future__ import annotations

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


def sync_folder(path: str) -> None:
    """Makes the names in a folder durable."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class Disk:
    """The real disk. The simulator has another one with the same methods."""

    def replace(self, path: str) -> Replacement:
        """Begins a new version of the file. Several at once do not disturb each other."""
        folder, name = os.path.split(path)
        stem, extension = os.path.splitext(name)
        for attempt in range(1000):
            temporary = os.path.join(folder, f"temp-{stem}-{os.getpid()}-{attempt}{extension}")
            if not os.path.exists(temporary):
                return Replacement(path, temporary)
        raise FileExistsError(f"no free temporary name beside {path}")

    def open(self, path: str) -> BinaryIO:
        """The file, to be read from its beginning."""
        return open(path, "rb")

    def exists(self, path: str) -> bool:
        return os.path.lexists(path)

    def size_bytes(self, path: str) -> int:
        return os.stat(path).st_size
