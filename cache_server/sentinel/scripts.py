"""Scripts that are told of events: `notification-script` and `client-reconfig-script`.

At most RUNNING_MAX run at a time and QUEUE_MAX are known. Exit code 1, or death by a signal, means
"again": after RETRY_DELAY_MS, doubled each time, RETRIES_MAX times in all. One that runs longer
than `runtime_ms_max` is killed. Any other exit code is final.

Source: the comments of Redis's sentinel.conf, "SCRIPTS EXECUTION".
"""

from __future__ import annotations

import asyncio
import logging
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
    """One call of a script: its arguments, the times in milliseconds of the loop's clock."""

    argv: tuple[str, ...]
    start_ms: float
    retries: int = 0
    pid: int = 0
    task: asyncio.Task[None] | None = None


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
        return sum(job.task is not None for job in self.jobs)

    def call(self, *argv: str) -> None:
        """Queues a call; the oldest one that waits is dropped where there are too many."""
        if len(self.jobs) >= QUEUE_MAX:
            waiting = next((job for job in self.jobs if job.task is None), None)
            if waiting is None:
                return
            self.jobs.remove(waiting)
        self.jobs.append(Job(argv, _now_ms()))
        self.run_due()

    def run_due(self) -> None:
        """Starts what is due; called about once a second."""
        loop = asyncio.get_running_loop()
        for job in self.jobs:
            if self.running >= RUNNING_MAX:
                return
            if job.task is None and job.start_ms <= _now_ms():
                job.start_ms = _now_ms()
                job.task = loop.create_task(self._run(job))

    def stop(self) -> None:
        """Ends those that run."""
        for job in self.jobs:
            if job.task is not None:
                job.task.cancel()
        self.jobs.clear()

    def pending(self) -> list[list[bytes | int | list[bytes]]]:
        """What SENTINEL PENDING-SCRIPTS shows: flat field and value lists."""
        now_ms = _now_ms()
        rows: list[list[bytes | int | list[bytes]]] = []
        for job in self.jobs:
            running = job.task is not None
            elapsed_ms = int(now_ms - job.start_ms) if running else 0
            wait_ms = 0 if running else max(0, int(job.start_ms - now_ms))
            rows.append(
                [
                    b"argv",
                    [word.encode() for word in job.argv],
                    b"flags",
                    b"running" if running else b"scheduled",
                    b"pid",
                    job.pid,
                    b"run-time" if running else b"run-delay",
                    elapsed_ms if running else wait_ms,
                    b"retry-num",
                    job.retries,
                ]
            )
        return rows

    async def _run(self, job: Job) -> None:
        code = await self._exit_code(job)
        job.task, job.pid = None, 0
        if code == 1 or code < 0:
            job.retries += 1
            if job.retries < RETRIES_MAX:
                job.start_ms = _now_ms() + self.retry_delay_ms * 2 ** (job.retries - 1)
                return
        if code != 0:
            self._event("-script-error", f"{job.argv[0]} {max(0, code)} {-min(code, 0)}")
        self.jobs.remove(job)

    async def _exit_code(self, job: Job) -> int:
        try:
            process = await asyncio.create_subprocess_exec(
                *job.argv, stdin=asyncio.subprocess.DEVNULL, start_new_session=True
            )
        except OSError as error:
            log.warning("Script %s cannot be started: %s", job.argv[0], error)
            return 2
        job.pid = process.pid
        try:
            async with asyncio.timeout(self.runtime_ms_max / 1000):
                return await process.wait()
        except TimeoutError:
            self._event("-script-timeout", f"{job.argv[0]} {job.pid}")
            process.kill()
            return await process.wait()
        except asyncio.CancelledError:
            process.kill()
            raise


def _now_ms() -> float:
    return asyncio.get_running_loop().time() * 1000
