"""`python -m tests.fuzz [NAME ...] [--inputs N] [--seed S]`: exit 0 all held, 1 a promise broken.

Mutates samples of what a parser reads and checks what `targets.py` promises, on the compiled
parsers, or with CACHE_SERVER_PURE=1 on the pure ones. Every exception but the parser's typed error
is a failure; so is memory beyond MEMORY_BYTES_MAX, and a thousand inputs that take SECONDS_MAX. A
failing input is printed; `--input HEX` runs it again.
"""

from __future__ import annotations

import argparse
import gc
import resource
import signal
import sys
import time
import traceback
from random import Random
from typing import Any

from cache_server.wire import COMPILED
from tests.fuzz.targets import TARGETS, Target

#: What all parsers together may allocate beyond what there was at the start.
MEMORY_BYTES_MAX = 512 << 20
SECONDS_MAX = 60
#: Inputs between two looks at the clock.
BATCH = 1000


class TooSlowError(Exception):
    """An input that is not done with in time."""


def _bound_memory() -> None:
    with open("/proc/self/statm", encoding="ascii") as file:
        pages = int(file.read().split()[0])
    limit = pages * resource.getpagesize() + MEMORY_BYTES_MAX
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _too_slow(*_: Any) -> None:
    raise TooSlowError(f"not done within {SECONDS_MAX} s")


def failure(target: Target, data: bytes, sample: bytes) -> str | None:
    """What is wrong with a target's answer to an input; None if nothing is."""
    try:
        target.check(data, sample)
    except BaseException:
        return traceback.format_exc()
    return None


def fuzz(name: str, inputs: int, seed: int, seconds_max: int = 0) -> bool:
    """Runs a target; False for a promise broken, which is printed. `seconds_max` bounds a batch by
    SIGALRM."""
    target, rng = TARGETS[name], Random(f"{name} {seed}")
    samples, change, check = target.samples, target.change, target.check
    began, taken, done = time.perf_counter(), 0, 0
    data = sample = b""
    while done < inputs:
        batch = min(BATCH, inputs - done)
        signal.setitimer(signal.ITIMER_REAL, seconds_max)
        try:
            for number in range(batch):
                sample = samples[number % len(samples)]
                data = change(rng, sample, samples)
                taken += check(data, sample)
        except Exception:
            signal.setitimer(signal.ITIMER_REAL, 0)
            traceback.print_exc()
            print(f"{name}: broken within input {done + batch} of seed {seed}. Again:")
            print(f"    python -m tests.fuzz {name} --input {data.hex()}")
            return False
        done += batch
    signal.setitimer(signal.ITIMER_REAL, 0)
    took = time.perf_counter() - began
    print(
        f"{name}: {done:,} inputs of seed {seed} held, of {taken:,} at least a part was taken;"
        f" {done / took:,.0f} a second",
        flush=True,
    )
    return True


def main() -> int:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(TARGETS)}")
    parser.add_argument("--inputs", type=int, default=20_000, help="for each NAME")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--input", help="this one only, in hexadecimal")
    args = parser.parse_args()
    unknown = set(args.names) - set(TARGETS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    _bound_memory()
    signal.signal(signal.SIGALRM, _too_slow)
    gc.disable()
    print(f"{'compiled' if COMPILED else 'pure'} parsers", flush=True)
    names = args.names or list(TARGETS)
    if args.input is not None:
        found = failure(TARGETS[names[0]], bytes.fromhex(args.input), b"")
        print(found or "held")
        return 1 if found else 0
    held = [fuzz(name, args.inputs, args.seed, SECONDS_MAX) for name in names]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
