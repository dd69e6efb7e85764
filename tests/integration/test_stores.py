"""What every backend of register and lease has to do, on each: the conformance suite.

The embedded register, three etcd servers, three ZooKeeper servers. All the time, every twentieth
of a second, no two claimants may write (`Bench._run`).
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from replication.failover.cluster_view import Address, RegisterValue
from replication.failover.coordinator import LostRace, Unreachable, Won
from tests.integration.store_benches import Bench, Embedded, External
from tests.integration.stores import needs_store, started

pytestmark = [pytest.mark.integration, pytest.mark.slow]

TTL_MS = int(os.environ.get("TEST_COORDINATOR_TTL_MS", "1000"))
PLACES = {"a": Address("10.0.0.1", 6379), "b": Address("10.0.0.2", 6379)}
_names = itertools.count()

Make = Callable[[], Bench]
Body = Callable[[Bench], Coroutine[Any, Any, None]]


def named(epoch: int, leader: str) -> RegisterValue:
    return RegisterValue(epoch, leader, PLACES[leader], life="life-1")


@pytest.fixture(params=["embedded", "etcd", "zookeeper"], scope="module")
def backend(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Make]:
    """Makes benches of a name of their own at one cluster."""
    if request.param == "embedded":
        yield lambda: Embedded(f"name-{next(_names)}", TTL_MS // 2)
        return
    needs_store(request.param)
    store = started(request.param, tmp_path_factory.mktemp(request.param), 3)
    try:
        yield lambda: External(f"name-{next(_names)}", TTL_MS, store)
    finally:
        store.kill()


def run(make: Make, body: Body) -> None:
    async def all_of_it() -> None:
        async with make() as bench:
            await body(bench)

    asyncio.run(all_of_it())


def test_of_rivals_exactly_one_wins_and_the_others_are_told_who(backend: Make) -> None:
    async def body(bench: Bench) -> None:
        wanted = [RegisterValue(1, f"n{i}", Address("10.0.0.1", 1 + i)) for i in range(4)]
        results = await asyncio.gather(*(bench.change(None, one) for one in wanted))
        winner = next(one.value for one in results if isinstance(one, Won))
        assert sorted(map(str, results)) == sorted(
            str(Won(one) if one == winner else LostRace(winner)) for one in wanted
        )

    run(backend, body)


def test_a_change_that_expected_less_loses_and_what_is_there_stays(backend: Make) -> None:
    async def body(bench: Bench) -> None:
        assert await bench.change(None, named(1, "a")) == Won(named(1, "a"))
        assert await bench.change(named(1, "a"), named(2, "b")) == Won(named(2, "b"))
        assert await bench.change(named(1, "a"), named(3, "a")) == LostRace(named(2, "b"))
        assert await bench.change(named(2, "b"), named(2, "b")) == Won(named(2, "b"))

    run(backend, body)


def test_a_leader_that_renews_is_replaced_only_after_its_lease_has_ended(backend: Make) -> None:
    async def body(bench: Bench) -> None:
        old, new = bench.claim("a"), bench.claim("b")
        await bench.change(None, named(1, "a"))
        await bench.until(lambda: old.writable, "a to write")
        assert await bench.change(named(1, "a"), named(2, "b")) == Won(named(2, "b"))
        assert not old.writable
        await bench.until(lambda: new.writable, "b to write")
        assert not old.writable

    run(backend, body)


def test_a_lease_given_back_is_not_waited_for(backend: Make) -> None:
    async def body(bench: Bench) -> None:
        bench.ttl_ms = 30_000
        for acceptor in getattr(bench, "acceptors", ()):
            acceptor.lease._ttl_ms_max = 30_000
        old = bench.claim("a")
        await bench.change(None, named(1, "a"))
        await bench.until(lambda: old.writable, "a to write")
        old.give_up()
        assert not old.writable
        await asyncio.sleep(0)
        assert await bench.change(named(1, "a"), named(2, "b"), 20) == Won(named(2, "b"))

    run(backend, body)


def test_suspended_it_is_unreachable_and_leases_end_until_it_goes_on(backend: Make) -> None:
    async def body(bench: Bench) -> None:
        leader = bench.claim("a")
        await bench.change(None, named(1, "a"))
        await bench.until(lambda: leader.writable, "a to write")
        bench.suspend()
        try:
            result = await bench.change(named(1, "a"), named(2, "b"), 1.0)
            assert isinstance(result, Unreachable)
            await bench.until(lambda: not leader.writable, "writes to end")
        finally:
            bench.resume()
        await bench.until(lambda: leader.writable, "writes to go on")
        assert await bench.change(named(1, "a"), named(2, "b")) == Won(named(2, "b"))

    run(backend, body)


def test_restarted_it_has_forgotten_nothing(backend: Make) -> None:
    async def body(bench: Bench) -> None:
        leader = bench.claim("a")
        await bench.change(None, named(1, "a"))
        await bench.until(lambda: leader.writable, "a to write")
        await asyncio.to_thread(bench.restart)
        assert await bench.change(None, named(1, "b")) == LostRace(named(1, "a"))
        await bench.until(lambda: leader.writable, "a to write again")

    run(backend, body)


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL], ids=["stopped", "killed"])
def test_without_its_leader_a_majority_goes_on(backend: Make, number: signal.Signals) -> None:
    async def body(bench: Bench) -> None:
        old, new = bench.claim("a"), bench.claim("b")
        await bench.change(None, named(1, "a"))
        await bench.until(lambda: old.writable, "a to write")
        await asyncio.to_thread(bench.lose_leader, number)
        try:
            assert await bench.change(named(1, "a"), named(2, "b")) == Won(named(2, "b"))
            await bench.until(lambda: new.writable, "b to write")
        finally:
            await asyncio.to_thread(bench.find_leader)
        assert await bench.change(None, named(1, "a")) == LostRace(named(2, "b"))
        assert not old.writable

    run(backend, body)
