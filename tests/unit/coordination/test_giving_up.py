"""After the hand-over: who is told, and until when held writes wait."""

from __future__ import annotations

import asyncio

from cache_server.coordination import giving_up
from cache_server.coordination.giving_up import GivingUp
from replication.failover.messages import HELLO_CHANNEL, LEASE_KNOCK


class FakeHub:
    def __init__(self) -> None:
        self.published: list[tuple[bytes, bytes]] = []

    def publish(self, channel: bytes, message: bytes) -> int:
        self.published.append((channel, message))
        return 1


def test_sentinels_are_asked_to_ask() -> None:
    async def run() -> None:
        hub = FakeHub()
        GivingUp(hub, asyncio.get_running_loop()).knock()
        assert hub.published == [(HELLO_CHANNEL, LEASE_KNOCK)]

    asyncio.run(run())


def test_held_writes_wait_for_the_heirs_epoch_and_are_answered_once() -> None:
    async def run() -> None:
        told: list[str] = []
        giving = GivingUp(FakeHub(), asyncio.get_running_loop())
        giving.hold(lambda: told.append("resumed"))
        await asyncio.sleep(0)
        assert told == []
        giving.known()
        giving.known()
        assert told == ["resumed"]

    asyncio.run(run())


def test_nobody_waits_for_ever() -> None:
    async def run() -> None:
        resumed = asyncio.Event()
        giving = GivingUp(FakeHub(), asyncio.get_running_loop())
        giving.hold(resumed.set)
        async with asyncio.timeout(30):
            await resumed.wait()

    giving_up.KNOWN_MS_MAX, before = 10, giving_up.KNOWN_MS_MAX
    try:
        asyncio.run(run())
    finally:
        giving_up.KNOWN_MS_MAX = before
