"""`python -m tests.sim SEED [--seeds N] [--jobs N] [--without RULE]`: exit 0 all held, 1 a rule was
broken, 2 no convergence.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.sim.cluster import Outcome, run
from tests.sim.options import RULES

STORY_LINES_MAX = 120
#: Seeds that a worker takes at once; garbage is collected after them.
BATCH = 20


@dataclass(frozen=True)
class Tally:
    """What came of some seeds: sums, seeds that only got stuck, and the first that failed."""

    writes: int
    leaders: int
    rewinds: int
    stuck: tuple[int, ...]
    failed: int | None


def story(outcome: Outcome) -> str:
    """A failed run, readable: its options, the last events, how the nodes were, what was broken,
    how to see it again.
    """
    without = "".join(f" --without {rule}" for rule in outcome.options.without)
    lines = [
        f"seed {outcome.seed}: {outcome.violation}",
        f"options: {outcome.options}",
        f"the last {STORY_LINES_MAX} of {len(outcome.history)} events:",
        *outcome.history[-STORY_LINES_MAX:],
        "at the end:",
        *outcome.nodes,
        f"again: python -m tests.sim {outcome.seed}{without}",
    ]
    return "\n".join(lines)


def run_batch(work: tuple[range, tuple[str, ...]]) -> Tally:
    """Runs seeds until one fails."""
    seeds, without = work
    writes = leaders = rewinds = 0
    stuck: list[int] = []
    failed = None
    for seed in seeds:
        outcome = run(seed, without)
        writes, leaders = writes + outcome.writes, leaders + outcome.leaders
        rewinds += outcome.rewinds
        if without and outcome.kind == "convergence":
            # A cluster that lost a rule often just gets stuck; what is looked for is unsafe.
            stuck.append(seed)
        elif outcome.violation:
            failed = seed
            break
    gc.collect()
    return Tally(writes, leaders, rewinds, tuple(stuck), failed)


@contextmanager
def workers(jobs: int, batches: list[tuple[range, tuple[str, ...]]]) -> Iterator[Iterable[Tally]]:
    """Tallies of the batches, in order."""
    if jobs == 1 or len(batches) == 1:
        yield map(run_batch, batches)
        return
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        yield pool.imap(run_batch, batches)


def run_many(first: int, count: int, jobs: int, without: tuple[str, ...]) -> int:
    """Runs `count` seeds side by side; the exit code."""
    gc.freeze()
    began, writes, leaders, rewinds = time.perf_counter(), 0, 0, 0
    ends = range(first, first + count, BATCH)
    batches = [(range(at, min(at + BATCH, first + count)), without) for at in ends]
    with workers(jobs, batches) as tallies:
        for tally in tallies:
            writes, leaders = writes + tally.writes, leaders + tally.leaders
            rewinds += tally.rewinds
            for seed in tally.stuck:
                print(f"seed {seed}: stuck, not unsafe")
            if tally.failed is not None:
                return tell(run(tally.failed, without))
    took = time.perf_counter() - began
    print(
        f"{count} seeds from {first} held in {took:.1f} s: "
        f"{writes} acknowledged writes, {leaders} epochs with a leader, "
        f"{rewinds} rewinds"
    )
    return 0


def tell(outcome: Outcome) -> int:
    """Prints what came of one seed; the exit code."""
    if outcome.violation:
        print(story(outcome))
        return 2 if outcome.kind == "convergence" else 1
    print(f"seed {outcome.seed}: held. options: {outcome.options}")
    print(f"history {outcome.digest}, {len(outcome.history)} events")
    return 0


def main() -> int:
    """Run the seeds."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("seed", type=int, nargs="?", default=1)
    parser.add_argument("--seeds", type=int, default=1, help="how many, from SEED on")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--without", choices=RULES, action="append", default=[])
    parser.add_argument("--history", action="store_true", help="print every event of one seed")
    args = parser.parse_args()
    without = tuple(args.without)
    if args.seeds > 1:
        return run_many(args.seed, args.seeds, args.jobs, without)
    outcome = run(args.seed, without)
    if args.history:
        print("\n".join(outcome.history))
    return tell(outcome)


if __name__ == "__main__":
    sys.exit(main())
