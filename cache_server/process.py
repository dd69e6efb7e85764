"""What the kernel is asked for: open files for `maxclients`, and who is killed when memory runs
out.

Source: redis.conf on maxclients, oom-score-adj and oom-score-adj-values.
"""

from __future__ import annotations

import logging
import resource
from contextlib import suppress
from typing import Any

from cache_server.config_kinds import ConfigError

log = logging.getLogger("cache_server")

#: Files that the server itself needs beside its clients: listeners, logs, snapshots, links.
OWN_FILES = 32
_OOM_PATH = "/proc/self/oom_score_adj"
_OOM_MIN, _OOM_MAX = -1000, 1000


class ProcessLimits:
    """Keeps the process's limits as the settings say."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.config = server.config
        #: The score adjustment before we changed it; None while it is as we found it.
        self._score_before: int | None = None
        self.config.on_change["maxclients"] = self._maxclients_changed
        self.config.on_change["oom-score-adj"] = lambda _: self.adjust_score()
        self.config.on_change["oom-score-adj-values"] = lambda _: self.adjust_score()

    def begin(self) -> None:
        """At the start: makes room for `maxclients`, or lowers it to what there is room for."""
        possible = self._raise_open_files(self.config.maxclients)
        if possible < 1:
            raise ConfigError("the limit of open files leaves no room for clients")
        if possible < self.config.maxclients:
            log.warning(
                "You requested maxclients of %d requiring at least %d max file descriptors; the "
                "limit allows %d clients, and maxclients is set to that.",
                self.config.maxclients,
                self.config.maxclients + OWN_FILES,
                possible,
            )
            self.config.maxclients = possible
        self.adjust_score()

    def _maxclients_changed(self, wanted: int) -> None:
        possible = self._raise_open_files(wanted)
        if possible < wanted:
            raise ConfigError(
                "The operating system is not able to handle the specified number of clients, "
                f"try with {possible}"
            )

    @staticmethod
    def _raise_open_files(clients: int) -> int:
        """Asks for enough open files; returns how many clients the limit then allows."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = clients + OWN_FILES
        if soft == resource.RLIM_INFINITY or soft >= wanted:
            return clients
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        except (ValueError, OSError):
            return int(soft - OWN_FILES)
        return int(limit - OWN_FILES)

    def role_changed(self, _leads: bool) -> None:
        """A follower has a score of its own; one that cannot be set is in the log."""
        with suppress(ConfigError):
            self.adjust_score()

    def adjust_score(self) -> None:
        """Sets the score that the kernel's out-of-memory killer looks at."""
        mode = self.config.oom_score_adj
        try:
            if mode == "no":
                if self._score_before is not None:
                    _write_score(self._score_before)
                    self._score_before = None
                return
            if self._score_before is None:
                self._score_before = _read_score()
            score = self.config.oom_score_adj_values[1 if self.config.replicaof else 0]
            if mode == "yes":
                score += self._score_before
            _write_score(min(max(score, _OOM_MIN), _OOM_MAX))
        except OSError as error:
            log.warning("Unable to write oom_score_adj: %s", error.strerror)
            raise ConfigError(
                "Failed to apply new oom_score_adj configuration, check server logs."
            ) from None


def _read_score() -> int:
    with open(_OOM_PATH, encoding="ascii") as file:
        return int(file.read())


def _write_score(score: int) -> None:
    with open(_OOM_PATH, "w", encoding="ascii") as file:
        file.write(str(score))
