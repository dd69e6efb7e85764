"""`python -m tests.integration.fault_rounds --rounds N --durability in-sync|async --seed S`

Rounds of random faults over real processes, one leader, two followers and three sentinels, under
eight recording writers (and four readers in in-sync). After each round the cluster must be whole
again within a bound, all nodes must hold the same data, and the records must obey the rules:

    in-sync   no acknowledged write is lost; every key's history is linearizable
    async     what a leader took with it is within max-loss-ms and max-loss-bytes
    both      no two leaders acknowledge at a time; what was refused was not done

The seed chooses the faults and their times; the machine's own timing is its own. A round that fails
tells its story; `--first N` begins with its faults.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import hiredis

from tests.integration.faults.clients import READERS, WRITERS, Client, Record
from tests.integration.faults.cluster import (
    LOSS_BYTES,
    LOSS_MS,
    NODES,
    FaultCluster,
    NotInTimeError,
    until,
)
from tests.integration.faults.faults import Faults, Step
from tests.integration.faults.histories import (
    done_though_refused,
    losses,
    lost,
    operations,
    two_leaders,
)
from tests.linearizability import violations

#: Writes that must be acknowledged before and after the faults of a round.
WARM = 30
#: Of the bound: what was under way to the promoted follower when it was cut off.
UNDER_WAY_MS = 100
#: Of the bound on bytes: writes that one turn of the loop may still take, and what one takes.
WRITE_BYTES = 330


class Round:
    """One round on a whole cluster; `violations` says what was wrong."""

    def __init__(self, cluster: FaultCluster, number: int, seed: int) -> None:
        self._cluster = cluster
        self._rng = random.Random(f"{seed}.{number}")
        self.record = Record(number)
        self.violations: list[str] = []
        self.counts: Counter[str] = Counter()

    async def run(self) -> None:
        """Raises nothing: what goes wrong is a violation."""
        cluster = self._cluster
        cluster.story.clear()
        try:
            leader = await cluster.leader()
            cluster.tell(f"round {self.record.number}: {leader} leads")
            await self._under_load(Faults(cluster, leader, self._rng).choose())
            await until(cluster.missing, "the cluster to be whole again")
            await until(cluster.differing, "all nodes to hold the same data")
            await self._judge(await cluster.leader())
        except NotInTimeError as error:
            self.violations.append(str(error))

    async def _under_load(self, faults: list[list[Step]]) -> None:
        ports = [(name, self._cluster.processes[name].port) for name in NODES]
        writers = [
            Client(f"w{n}", ports, random.Random(self._rng.random())) for n in range(WRITERS)
        ]
        readers = [Client(f"r{n}", ports, random.Random(n)) for n in range(READERS)]
        tasks = [asyncio.create_task(one.write(self.record)) for one in writers]
        if self._cluster.in_sync:
            tasks += [asyncio.create_task(one.read(self.record)) for one in readers]
        try:
            await self._more_writes("before the faults")
            await asyncio.gather(*(self._play(steps) for steps in faults))
            self._cluster.tell("the faults are over")
            await self._more_writes("after the faults")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for one in (*writers, *readers):
                one.close()

    async def _more_writes(self, when: str) -> None:
        enough = self.record.acknowledged + WARM

        async def missing() -> str:
            return "" if self.record.acknowledged >= enough else "not acknowledged"

        await until(missing, f"{WARM} writes {when}")

    async def _play(self, steps: list[Step]) -> None:
        for step in steps:
            await asyncio.sleep(step.wait_s)
            self._cluster.tell(step.text)
            try:
                await step.do()
            except (OSError, TimeoutError, hiredis.ReplyError) as error:
                self._cluster.tell(f"... {error!r}")

    # -- the rules -----------------------------------------------------------------------------

    async def _judge(self, leader: str) -> None:
        record, number = self.record, self.record.number
        present: set[str] = set()
        for place in range(WRITERS):
            listed = await self._told(leader, "LRANGE", f"all:{number}:w{place}", "0", "-1")
            present |= {value.decode() for value in listed}
        gone = lost(record.writes, present)
        self.violations += list(done_though_refused(record.writes, present))[:5]
        self.violations += list(two_leaders(record.writes))[:5]
        for loss in losses(gone, WRITE_BYTES):
            text = f"{loss.node} of epoch {loss.epoch} lost {loss.count} acknowledged writes"
            text += f" within {loss.ms:.1f} ms, {loss.size} bytes"
            self._cluster.tell(text)
            over = loss.ms > LOSS_MS + UNDER_WAY_MS
            over = over or loss.size > LOSS_BYTES + WRITERS * WRITE_BYTES
            if self._cluster.in_sync or over:
                self.violations.append(text)
            self.counts["loss_ms_max"] = max(self.counts["loss_ms_max"], int(loss.ms))
        if self._cluster.in_sync:
            self._linearizable()
        self.counts["writes"] = record.acknowledged
        self.counts["lost"] = len(gone)
        self.counts["reads"] = len(record.reads)
        self.counts["epochs"] = len({one.epoch for one in record.writes if one.acknowledged}) - 1
        await self._told(leader, "FLUSHALL")

    async def _told(self, leader: str, *words: str) -> Any:
        """The answer; a busy machine may end the lease for a moment, and the connection with it."""
        answers = []

        async def unanswered() -> str:
            answers.append(await self._cluster.ask(leader, *words))
            return ""

        await until(unanswered, " ".join(words))
        return answers[-1]

    def _linearizable(self) -> None:
        history = operations(self.record.writes, self.record.reads)
        self.violations += [f"not linearizable: {one}" for one in violations(history)]

    def tale(self) -> str:
        """What happened, for a person."""
        lines = [f"round {self.record.number} failed:", *(f"  {one}" for one in self.violations)]
        lines += self._cluster.story
        last = None
        for write in sorted(self.record.writes, key=lambda one: one.executed_s):
            if write.acknowledged and (write.node, write.epoch) != last:
                last = (write.node, write.epoch)
                lines.append(f"  acknowledges from {write.executed_s:.3f}: {last}")
        return "\n".join(lines)


async def run_rounds(folder: Path, in_sync: bool, seed: int, numbers: range) -> list[str]:
    """The tales of the rounds that failed. After a failure a new cluster is made."""
    tales: list[str] = []
    total: Counter[str] = Counter()
    cluster: FaultCluster | None = None
    begun_s, pause_s = time.monotonic(), 0.0
    try:
        for number in numbers:
            if cluster is None:
                cluster = FaultCluster(folder / f"from-{number}", in_sync)
                await cluster.start()
            one = Round(cluster, number, seed)
            await one.run()
            pause_s = max(pause_s, one.record.pause_s_max)
            loss_ms = max(total["loss_ms_max"], one.counts["loss_ms_max"])
            total.update(one.counts)
            total["loss_ms_max"] = loss_ms
            if one.violations:
                tales.append(one.tale())
                print(tales[-1], flush=True)
                await cluster.stop()
                cluster = None
            if (number + 1) % 10 == 0:
                print(f"{number + 1 - numbers.start} rounds: {dict(total)}", flush=True)
    finally:
        if cluster is not None:
            await cluster.stop()
    print(
        f"{len(numbers)} rounds, {'in-sync' if in_sync else 'async'}, seed {seed}: "
        f"{len(tales)} failed; {total['writes']} writes acknowledged, {total['lost']} lost (at "
        f"most {total['loss_ms_max']} ms of one leader), {total['reads']} reads, "
        f"{total['epochs']} changes of epoch, longest pause {pause_s:.2f} s; "
        f"{time.monotonic() - begun_s:.0f} s, load {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    return tales


def main() -> int:
    """0 where no round failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--durability", choices=("in-sync", "async"), default="in-sync")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="a folder for the nodes' logs, kept")
    args = parser.parse_args()
    folder = args.keep or Path(tempfile.mkdtemp())
    numbers = range(args.first, args.first + args.rounds)
    try:
        return bool(
            asyncio.run(run_rounds(folder, args.durability == "in-sync", args.seed, numbers))
        )
    finally:
        if args.keep is None:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
