"""Files that must survive a crash whole: the state of a sentinel, the state of a data node.

A new file is written beside the old one, synced, renamed over it, and the folder is synced: after
`write` returned, the new content is on the disk; before, the old one is, never a mixture. All
safety of failover rests on the disk being honest about fsync.
"""

from __future__ import annotations

import os

from cache_server.coordination.constants import STATE_BYTES_MAX
from cache_server.errors import InputError


def write(path: str, content: bytes) -> None:
    """Makes `content` the file's, durably. Raises OSError, and the old file is as it was."""
    beside = f"{path}.new"
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError:
        os.unlink(beside)
        raise
    _sync_folder(os.path.dirname(path) or ".")


def _sync_folder(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(path: str) -> bytes | None:
    """The content, None where there is no such file. Raises OSError, InputError if too large."""
    try:
        with open(path, "rb") as file:
            content = file.read(STATE_BYTES_MAX + 1)
    except FileNotFoundError:
        return None
    if len(content) > STATE_BYTES_MAX:
        raise InputError(f"{path}: larger than any state file of ours")
    return content
