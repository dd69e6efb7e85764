"""Scripts that are told of events: run, tried again, ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from cache_server.sentinel import scripts
from cache_server.sentinel.scripts import Scripts


def poll_until(queue: Scripts, condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until
        queue.poll()
        time.sleep(0.01)


def test_a_script_gets_its_arguments_and_is_forgotten_when_it_succeeds(tmp_path: Path) -> None:
    queue = Scripts(lambda *_: None)
    out = tmp_path / "out"
    queue.call("/bin/sh", "-c", f'echo "$0 $1" > {out}', "+sdown", "master m 1.2.3.4 5")
    poll_until(queue, lambda: not queue.jobs)
    assert out.read_text() == "+sdown master m 1.2.3.4 5\n"


def test_exit_code_one_means_again_and_any_other_is_final() -> None:
    events: list[tuple[str, str]] = []
    queue = Scripts(lambda channel, payload: events.append((channel, payload)))
    queue.retry_delay_ms = 1
    queue.call("/bin/sh", "-c", "exit 1")
    poll_until(queue, lambda: queue.jobs[0].retries == 2)
    queue.jobs.clear()
    queue.call("/bin/sh", "-c", "exit 3")
    poll_until(queue, lambda: not queue.jobs)
    assert events == [("-script-error", "/bin/sh 0 3")]


def test_a_script_that_runs_too_long_is_killed() -> None:
    events: list[tuple[str, str]] = []
    queue = Scripts(lambda channel, payload: events.append((channel, payload)))
    queue.runtime_ms_max = 20
    queue.call("/bin/sh", "-c", "sleep 60")
    poll_until(queue, lambda: bool(events) and queue.jobs[0].retries == 1)
    assert events[0][0] == "-script-timeout"
    assert queue.pending()[0][3] == b"scheduled"


def test_the_queue_is_bounded_and_drops_the_oldest_that_waits() -> None:
    queue = Scripts(lambda *_: None)
    for number in range(scripts.QUEUE_MAX + 1):
        queue.call("script", str(number))
    assert len(queue.jobs) == scripts.QUEUE_MAX
    assert queue.jobs[0].argv == ("script", "1")
