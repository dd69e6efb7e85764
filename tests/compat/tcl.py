"""Redis's own Tcl suite against cache-server, in drop-in mode: it starts our server as its own.

    python -m tests.compat.tcl [UNIT ...] [--fast] [--jobs N] [--source FOLDER] [--list]

Each unit runs in a copy of the suite whose src/redis-server is ours and whose other programs are
the installed ones. A unit prints its counts: passed, failed, known (fails, and is listed), and
whether it ran to its end. What may fail is in known_failures.toml, each with its reason; the exit
code is 1 when anything else fails, so a test that passed cannot stop passing unseen.

UNIT is a glob, such as unit/type/*. Units of clusters and modules are left out. --fast is for
every commit: the units of fast_units.txt; one that fails is run again, alone. Where the suite
cannot be had it is skipped, which is said, and with CI set is a failure unless there is no place
to get it from.
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from tests.compat.redis_source import has_package_source, redis_source

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LEFT_OUT = ("unit/cluster*", "unit/moduleapi*")
TOOLS = ("sentinel", "cli", "benchmark", "check-rdb", "check-aof")
UNIT_SECONDS_MAX = 600
_EVENT = re.compile(r"^\[(ok|err|exception|TIMEOUT|\d+/\d+ done)\]: ?(.*)")


class KnownFailures:
    """The tests that may fail: globs of unit and of test (or of `tests`, for one reason). `skip`:
    not even run, as what it leaves behind makes others fail."""

    def __init__(self, path: Path) -> None:
        self.rows: list[dict[str, Any]] = []
        for row in tomllib.loads(path.read_text())["failure"]:
            assert row["reason"], row
            self.rows += [{**row, "test": test} for test in row.get("tests") or [row["test"]]]

    def covers(self, unit: str, test: str) -> bool:
        """Whether a test's failure is listed."""
        return any(
            fnmatch.fnmatchcase(unit, row["unit"]) and fnmatch.fnmatchcase(test, row["test"])
            for row in self.rows
        )

    def skipped(self, unit: str) -> list[str]:
        """Names that the suite is told not to run."""
        return [
            row["test"]
            for row in self.rows
            if row.get("skip") and fnmatch.fnmatchcase(unit, row["unit"])
        ]


class Outcome:
    """What one unit printed."""

    def __init__(self, unit: str, text: str) -> None:
        self.unit = unit
        self.passed: list[str] = []
        #: test -> why it failed
        self.failed: dict[str, str] = {}
        self.ended = False
        why: list[str] = []
        for line in text.split("\n                   The End\n")[0].splitlines():
            event = _EVENT.match(line)
            if event is None:
                why.append(line)
                continue
            kind, rest = event.groups()
            why = []
            if kind == "ok":
                self.passed.append(re.sub(r" \(\d+ ms\)$", "", rest))
            elif kind in ("err", "exception", "TIMEOUT"):
                name = re.sub(r" in tests/\S+\.tcl$", "", rest)
                self.failed[name] = ""
                why = _Lines(self.failed, name)
            else:
                self.ended = True


class _Lines(list):  # type: ignore[type-arg]
    """Lines that explain a failure, joined as they come."""

    def __init__(self, failed: dict[str, str], name: str) -> None:
        super().__init__()
        self._failed, self._name = failed, name

    def append(self, line: str) -> None:
        if len(self._failed[self._name]) < 400:
            self._failed[self._name] += " " + line.strip()


@contextmanager
def scratch_copy(source: Path) -> Iterator[Path]:
    """A copy of the suite with our server in the place of Redis's."""
    with tempfile.TemporaryDirectory(prefix="redis-tcl-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        shutil.copytree(source / "tests", folder / "tests", symlinks=True)
        (folder / "tests" / "tmp").mkdir(exist_ok=True)
        (folder / "src").mkdir()
        for tool in TOOLS:
            if path := shutil.which(f"redis-{tool}"):
                (folder / "src" / f"redis-{tool}").symlink_to(path)
        for entry in source.iterdir():
            if entry.name not in ("src", "tests"):
                (folder / entry.name).symlink_to(entry)
        server = folder / "src" / "redis-server"
        server.write_text(
            f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m cache_server.cli.serve "$@"\n'
        )
        server.chmod(0o755)
        yield folder


def run_unit(folder: Path, unit: str, base_port: int, known: KnownFailures) -> Outcome:
    """Runs one unit to its end or for UNIT_SECONDS_MAX."""
    command = ["tclsh", "tests/test_helper.tcl", "--single", unit, "--durable", "--clients", "1"]
    command += ["--baseport", str(base_port), "--portcount", "900"]
    command += ["--timeout", str(UNIT_SECONDS_MAX)]
    for name in known.skipped(unit):
        command += ["--skiptest", name]
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "TERM": "dumb"},
        )
        try:
            with suppress(subprocess.TimeoutExpired):  # told by the missing end of its output
                process.wait(UNIT_SECONDS_MAX + 30)
        finally:
            _end_session(process)
        output.seek(0)
        return Outcome(unit, output.read())


def _end_session(process: subprocess.Popen[bytes]) -> None:
    """Ends the suite with the servers that it started, which are in its session."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def units_of(source: Path) -> list[str]:
    """All units of the suite but for those left out."""
    command = ["tclsh", "tests/test_helper.tcl", "--list-tests"]
    listed = subprocess.run(command, cwd=source, text=True, capture_output=True, check=True)
    found = listed.stdout.split()
    return [unit for unit in found if not any(fnmatch.fnmatch(unit, each) for each in LEFT_OUT)]


def port_block() -> socket.socket:
    """Takes a block of ports for one worker: the socket that is bound to its first port."""
    for base in range(21000, 60000, 1000):
        with suppress(OSError):
            return socket.create_server(("127.0.0.1", base))
    raise OSError("no block of ports is free")


def report(outcome: Outcome, known: KnownFailures, seconds: float) -> bool:
    """Prints a unit's line and what is not listed; whether all is as it may be."""
    unit = outcome.unit
    surprises = {t: why for t, why in outcome.failed.items() if not known.covers(unit, t)}
    aborted = not outcome.ended and not known.covers(unit, "(aborted)")
    print(
        f"{unit:36s} passed={len(outcome.passed):<4d} failed={len(surprises):<3d} "
        f"known={len(outcome.failed) - len(surprises):<3d} {seconds:6.1f} s"
        f"{'' if outcome.ended else '  aborted'}",
        flush=True,
    )
    for test, why in surprises.items():
        print(f"    {test}:{why[:300]}")
    return not surprises and not aborted


def fast_units() -> list[str]:
    """The units of fast_units.txt."""
    lines = (HERE / "fast_units.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def source_or_why(given: str | None) -> Path | str:
    """Where the suite is, or why it cannot be run."""
    if shutil.which("tclsh") is None:
        return "tclsh is not installed"
    try:
        return redis_source(given)
    except (OSError, subprocess.SubprocessError, StopIteration) as error:
        return f"no source of Redis: {error}"


class Runner:
    """Runs units side by side, each job with ports of its own."""

    def __init__(self, source: Path, jobs: int) -> None:
        self.source = source
        self.jobs = jobs
        self.known = KnownFailures(HERE / "known_failures.toml")
        self._ports: SimpleQueue[int] = SimpleQueue()
        self._locks = [port_block() for _ in range(jobs)]
        for lock in self._locks:
            self._ports.put(lock.getsockname()[1] + 64)

    def close(self) -> None:
        """Gives the ports back."""
        for lock in self._locks:
            lock.close()

    def _run(self, unit: str) -> tuple[Outcome, float]:
        began, port = time.monotonic(), self._ports.get()
        with scratch_copy(self.source) as folder:
            outcome = run_unit(folder, unit, port, self.known)
        self._ports.put(port)
        return outcome, time.monotonic() - began

    def run(self, units: list[str]) -> tuple[list[str], list[int]]:
        """Runs the units: which were not as they may be, and the tests passed and failed, and the
        units that did not end."""
        wrong, counts = [], [0, 0, 0]
        with ThreadPoolExecutor(self.jobs) as pool:
            for outcome, seconds in pool.map(self._run, units):
                if not report(outcome, self.known, seconds):
                    wrong.append(outcome.unit)
                counts[0] += len(outcome.passed)
                counts[1] += len(outcome.failed)
                counts[2] += not outcome.ended
        return wrong, counts


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("units", nargs="*", default=["*"], metavar="UNIT")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--source", default=os.environ.get("REDIS_SOURCE"))
    parser.add_argument("--fast", action="store_true", help="the units of fast_units.txt")
    parser.add_argument("--list", action="store_true", help="list the units and leave")
    options = parser.parse_args()
    source = source_or_why(options.source)
    if isinstance(source, str):
        print(f"skipped: Redis's Tcl suite: {source}")
        wanted = not options.fast or (os.environ.get("CI") and has_package_source())
        return 1 if wanted else 0
    chosen = [u for u in units_of(source) if any(fnmatch.fnmatch(u, g) for g in options.units)]
    if options.fast:
        chosen = fast_units()
    if options.list:
        print("\n".join(chosen))
        return 0
    runner = Runner(source, options.jobs)
    wrong, counts = runner.run(chosen)
    if wrong and options.fast:
        print(f"again, alone: {', '.join(wrong)}")
        runner.jobs = 1
        wrong, _ = runner.run(wrong)
    runner.close()
    print(f"passed={counts[0]} failed={counts[1]} aborted units={counts[2]}")
    return 1 if wrong or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
