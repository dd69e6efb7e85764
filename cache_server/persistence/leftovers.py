"""What a killed process left half written: found at the start, and removed.

The problem: a file is written beside the one that it is to replace (`disk.py`), and who is killed
meanwhile leaves it there, as large as a whole snapshot. The idea: whoever writes such a file holds
a lock on it, which ends with the process; so a file of such a name that nobody holds is nobody's.

    temp-<stem>-<pid>-<n><extension>      of the snapshot, of a rollback file, of base and manifest
    temp-<appendfilename>.incr            the log's first increment, before there is a base

Invariant: only regular files of exactly these names go, and only under their lock; where a file
system knows no locks they stay. What redis-server left (`temp-<pid>.rdb`) is not ours.
"""

from __future__ import annotations

import logging
import os
import re

from cache_server.disk import Disk

log = logging.getLogger("cache_server")

_ROLLBACK = r"rollback-[0-9a-f]{12}-\d+-\d+"


def _temporary(stem: str, extension: str) -> str:
    return rf"temp-{stem}-\d+-\d+{extension}"


def remove_leftovers(disk: Disk, folder: str, snapshot: str, log_folder: str, log_name: str) -> int:
    """Removes what nobody writes any more; returns how many files that were. `snapshot` and
    `log_name` are the settings dbfilename and appendfilename. What cannot be removed stays, and the
    log says so."""
    stem, extension = os.path.splitext(snapshot)
    name = re.escape(log_name)
    of_data = [_temporary(re.escape(stem), re.escape(extension)), _temporary(_ROLLBACK, r"\.aof")]
    of_log = [
        _temporary(name, r"\.manifest"),
        _temporary(rf"{name}\.\d+\.base", r"\.(?:rdb|aof)"),
        rf"temp-{name}\.incr",
    ]
    return _remove(disk, folder, of_data) + _remove(disk, log_folder, of_log)


def _remove(disk: Disk, folder: str, patterns: list[str]) -> int:
    wanted = re.compile("|".join(f"(?:{each})" for each in patterns))
    removed = 0
    try:
        with os.scandir(folder) as entries:
            found = [
                entry.path
                for entry in entries
                if wanted.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)
            ]
    except FileNotFoundError:
        return 0
    except OSError as error:
        log.warning("Files left by a killed process are not looked for: %s", error)
        return 0
    for path in found:
        try:
            size = disk.remove_unheld(path)
        except OSError as error:
            log.warning("%s was left by a killed process and stays: %s", path, error.strerror)
            continue
        if size is not None:
            removed += 1
            log.info("Removed %s, %d bytes that a killed process left", path, size)
    return removed
