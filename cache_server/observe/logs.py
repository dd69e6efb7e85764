"""The log, in Redis's format, so that what reads Redis's logs reads ours.

    8559:M 22 Nov 2026 01:22:37.928 * Ready to accept connections
    pid  role M leader, S follower, C child, X sentinel      . debug - verbose * notice # warning

Levels are those of `logging`: NOTICE is `info`, VERBOSE lies between it and `debug`.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable

VERBOSE = 15

_MARKS = ((logging.WARNING, "#"), (logging.INFO, "*"), (VERBOSE, "-"), (0, "."))
_LEVELS = {
    "debug": logging.DEBUG,
    "verbose": VERBOSE,
    "notice": logging.INFO,
    "warning": logging.WARNING,
}


class RedisFormatter(logging.Formatter):
    """One line a record; `role()` is the letter after the process id."""

    def __init__(self, role: Callable[[], str]) -> None:
        super().__init__()
        self._role = role
        self._pid = os.getpid()

    def format(self, record: logging.LogRecord) -> str:
        pid = os.getpid()
        role = self._role() if pid == self._pid else "C"
        mark = next(mark for level, mark in _MARKS if record.levelno >= level)
        stamp = time.strftime("%d %b %Y %H:%M:%S", time.localtime(record.created))
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return f"{pid}:{role} {stamp}.{int(record.msecs):03d} {mark} {text}"


class _ReopeningHandler(logging.Handler):
    """Appends each record to a file that may be moved away at any time, as Redis does."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = os.path.abspath(path)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            with open(self._path, "a", encoding="utf-8", errors="surrogateescape") as file:
                file.write(self.format(record) + "\n")
        except OSError:
            self.handleError(record)


def set_up(logfile: str, level: str, role: Callable[[], str]) -> None:
    """Sends our log to `logfile`, or to standard output where it is empty."""
    logger = logging.getLogger("cache_server")
    handler: logging.Handler = (
        _ReopeningHandler(logfile) if logfile else logging.StreamHandler(sys.stdout)
    )
    handler.setFormatter(RedisFormatter(role))
    logger.handlers[:] = [handler]
    logger.propagate = False
    set_level(level)


def set_level(level: str) -> None:
    """debug, verbose, notice or warning."""
    logging.getLogger("cache_server").setLevel(_LEVELS[level])
