"""Scripts that are told of events: `notification-script` and `client-reconfig-script`.

At most RUNNING_MAX run at a time and QUEUE_MAX are known. Exit code 1, or death by a signal, means
"again": after RETRY_DELAY_MS, doubled each time, RETRIES_MAX times in all. One that runs longer
than `runtime_ms_max` is killed. Any other exit code is final.

Source: the comments of Redis's sentinel.conf, "SCRIPTS EXECUTION".
"""

from __future__ import annotations

import logging
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

RUNNING_MAX = 16
QUEUE_MAX = 256
RETRIES_MAX = 10
RUNTIME_MS_MAX = 60_000
RETRY_DELAY_MS = 30_000

log = logging.getLogger("cache_server")


@dataclass(slots=True)
class Job:
    """One call of a script: its arguments, the times in milliseconds of the monotonic clock."""

    argv: tuple[str, ...]
    start_ms: float
    retries: int = 0
    process: subprocess.Popen[bytes] | None = None


class Scripts:
    """The queue. `event(channel, payload)` publishes what happened to a script."""

    def __init__(self, event: Callable[[str, str], None]) -> None:
        self.runtime_ms_max = RUNTIME_MS_MAX
        self.retry_delay_ms = RETRY_DELAY_MS
        self.jobs: list[Job] = []
        self._event = event

    @property
    def running(self) -> int:
        """How many run now."""
        return sum(job.process is not None for job in self.jobs)

    def call(self, *argv: str) -> None:
        """Queues a call; the oldest one that waits is dropped where there are too many."""
        if len(self.jobs) >= QUEUE_MAX:
            waiting = next((job for job in self.jobs if job.process is None), None)
            if waiting is None:
                return
            self.jobs.remove(waiting)
        self.jobs.append(Job(argv, _now_ms()))

    def poll(self) -> None:
        """Notes what has ended, kills what runs too long, starts what is due; called often."""
        for job in list(self.jobs):
            if job.process is not None:
                self._look_after(job, job.process)
        for job in list(self.jobs):
            if self.running < RUNNING_MAX and job.process is None and job.start_ms <= _now_ms():
                self._start(job)

    def stop(self) -> None:
        """Ends those that run."""
        for job in self.jobs:
            if job.process is not None:
                job.process.kill()
                job.process.wait()
        self.jobs.clear()

    def pending(self) -> list[list[bytes | list[bytes]]]:
        """What SENTINEL PENDING-SCRIPTS shows: flat field and value lists."""
        return [_shown(job) for job in self.jobs]

    def _start(self, job: Job) -> None:
        job.start_ms = _now_ms()
        try:
            job.process = subprocess.Popen(
                job.argv, stdin=subprocess.DEVNULL, start_new_session=True
            )
        except OSError as error:
            log.warning("Script %s cannot be started: %s", job.argv[0], error)
            self.jobs.remove(job)

    def _look_after(self, job: Job, process: subprocess.Popen[bytes]) -> None:
        code = process.poll()
        if code is None:
            if _now_ms() - job.start_ms > self.runtime_ms_max:
                self._event("-script-timeout", f"{job.argv[0]} {process.pid}")
                process.kill()
            return
        job.process = None
        if code == 1 or code < 0:
            job.retries += 1
            if job.retries < RETRIES_MAX:
                job.start_ms = _now_ms() + self.retry_delay_ms * 2 ** (job.retries - 1)
                return
        if code != 0:
            self._event("-script-error", f"{job.argv[0]} {-min(code, 0)} {max(code, 0)}")
        self.jobs.remove(job)


def _shown(job: Job) -> list[bytes | list[bytes]]:
    running = job.process is not None
    elapsed_ms = _now_ms() - job.start_ms
    return [
        b"argv",
        [word.encode("utf-8", "surrogateescape") for word in job.argv],
        b"flags",
        b"running" if running else b"scheduled",
        b"pid",
        b"%d" % (job.process.pid if job.process is not None else 0),
        b"run-time" if running else b"run-delay",
        b"%d" % max(0, elapsed_ms if running else -elapsed_ms),
        b"retry-num",
        b"%d" % job.retries,
    ]


def _now_ms() -> float:
    return time.monotonic() * 1000
