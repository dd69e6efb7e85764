"""The driver: actions carried out in order, and never past a state that could not be kept."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from cache_server.coordination.driver import Driver
from cache_server.coordination.link import Command
from replication.failover.actions import (
    LeaderMoved,
    LinkKind,
    OpenLink,
    Persist,
    Publish,
    Reply,
    SendCommand,
    SentinelAction,
)
from replication.failover.cluster_view import Address, ClusterView, SentinelState
from replication.failover.events import (
    CommandReplied,
    FlushAsked,
    HelloReceived,
    LinkClosed,
    LinkOpened,
    SentinelEvent,
    WireError,
)

STATE = SentinelState("me")


class FakeMachine:
    """Notes events; answers each with the actions prepared for it."""

    busy = False

    def __init__(self) -> None:
        self.events: list[SentinelEvent] = []
        self.actions: list[SentinelAction] = []
        self.follow_ups: dict[type, list[SentinelAction]] = {}

    def receive(self, event: SentinelEvent, now_ms: float) -> None:
        self.events.append(event)
        self.actions += self.follow_ups.pop(type(event), [])

    def tick(self, now_ms: float) -> None:
        """Time passed."""

    def take_actions(self) -> list[SentinelAction]:
        taken, self.actions = self.actions, []
        return taken

    def view(self, now_ms: float) -> ClusterView:
        return ClusterView("me", 0, False, 0, ())


class FakeHost:
    """Notes what it was asked to do, in order."""

    def __init__(self) -> None:
        self.done: list[Any] = []
        self.disk_full = False

    def save(self, state: SentinelState) -> None:
        if self.disk_full:
            raise OSError("full")
        self.done.append("saved")

    def state_lost(self, error: OSError) -> None:
        self.done.append("lost")

    def published(self, event: Publish) -> None:
        self.done.append(event.channel)

    def leader_moved(self, move: LeaderMoved) -> None:
        self.done.append(move)

    def introduction(self, kind: LinkKind, master: str) -> list[Command]:
        return [(b"AUTH", b"secret"), (b"CLIENT", b"SETNAME", kind.value.encode())]

    def link_context(self) -> None:
        return None

    def source_address(self) -> str:
        return ""

    def may_dial(self, host: str) -> bool:
        return False

    def dialled(self, host: str, ip: str, local_ip: str) -> None:
        self.done.append(("dialled", ip))

    def renamed(self, master: str, args: Command) -> Command:
        return (b"renamed", *args[1:]) if args[0] == b"CONFIG" else args


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(10):
            await test()

    asyncio.run(bounded())


def started() -> tuple[Driver, FakeMachine, FakeHost]:
    machine, host = FakeMachine(), FakeHost()
    driver = Driver(host)
    driver.start(machine)
    return driver, machine, host


def test_a_request_is_answered_after_what_it_rests_on_is_durable() -> None:
    async def test() -> None:
        driver, machine, host = started()
        machine.follow_ups[FlushAsked] = [Persist(STATE), Reply(1, b"OK"), Publish("+x", "y")]
        driver.ask(FlushAsked, host.done.append)
        assert host.done == ["saved", b"OK", "+x"]
        driver.stop()

    run(test)


def test_nothing_leaves_after_a_state_that_could_not_be_kept() -> None:
    async def test() -> None:
        driver, machine, host = started()
        host.disk_full = True
        machine.follow_ups[FlushAsked] = [Persist(STATE), Reply(1, b"OK"), Publish("+x", "y")]
        driver.ask(FlushAsked, host.done.append)
        driver.receive(HelloReceived(None, b""))
        assert host.done == ["lost"]
        assert len(machine.events) == 1

    run(test)


class Peer:
    """A scripted node: answers each command with the next of `replies`."""

    def __init__(self, *replies: bytes) -> None:
        self.replies = list(replies)
        self.received = b""
        self.writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Address:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return Address("127.0.0.1", self.server.sockets[0].getsockname()[1])

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        for writer in self.writers:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        while data := await reader.read(4096):
            for _ in range(data.count(b"*")):
                if self.replies:
                    writer.write(self.replies.pop(0))
            self.received += data


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def test_a_link_introduces_itself_and_carries_commands_in_order_under_their_new_names() -> None:
    async def test() -> None:
        driver, machine, _ = started()
        peer = Peer(b"+OK\r\n", b"+OK\r\n", b"+first\r\n", b"-ERR second\r\n")
        async with peer as address:
            machine.actions = [OpenLink(7, LinkKind.COMMAND, "m", address, 1000)]
            driver.receive(HelloReceived(None, b""))
            await until(lambda: LinkOpened(7) in machine.events)
            machine.actions = [SendCommand(7, 1, (b"PING",)), SendCommand(7, 2, (b"CONFIG", b"x"))]
            driver.receive(HelloReceived(None, b""))
            await until(lambda: CommandReplied(7, 2, WireError("ERR second")) in machine.events)
            assert CommandReplied(7, 1, b"first") in machine.events
            assert b"renamed" in peer.received
            driver.stop()

    run(test)


def test_a_wrong_password_closes_the_link_unless_the_node_needs_none() -> None:
    async def test() -> None:
        driver, machine, _ = started()
        wrong = Peer(b"-WRONGPASS invalid\r\n", b"-NOAUTH Authentication required.\r\n")
        none = Peer(b"-ERR AUTH <password> called without any password configured\r\n", b"+OK\r\n")
        async with wrong as one, none as other:
            machine.actions = [
                OpenLink(1, LinkKind.COMMAND, "m", one, 1000),
                OpenLink(2, LinkKind.COMMAND, "m", other, 1000),
            ]
            driver.receive(HelloReceived(None, b""))
            await until(lambda: LinkOpened(2) in machine.events)
            await until(lambda: any(isinstance(one, LinkClosed) for one in machine.events))
            closed = next(one for one in machine.events if isinstance(one, LinkClosed))
            assert (closed.link, "WRONGPASS" in closed.reason) == (1, True)
            driver.stop()

    run(test)


def test_a_silent_node_a_dead_port_and_a_name_end_in_a_closed_link() -> None:
    async def test() -> None:
        driver, machine, _ = started()
        async with Peer() as silent:
            machine.actions = [
                OpenLink(1, LinkKind.COMMAND, "m", silent, 50),
                OpenLink(2, LinkKind.COMMAND, "m", Address("127.0.0.1", 1), 1000),
                OpenLink(3, LinkKind.COMMAND, "m", Address("localhost", 1), 1000),
            ]
            driver.receive(HelloReceived(None, b""))
            await until(lambda: sum(isinstance(e, LinkClosed) for e in machine.events) == 3)
            reasons = {e.link: e.reason for e in machine.events if isinstance(e, LinkClosed)}
            assert reasons[1] == "timed out"
            assert "resolve-hostnames" in reasons[3]
            driver.stop()

    run(test)


def test_a_subscribed_link_hears_hellos_and_bad_bytes_close_only_it() -> None:
    async def test() -> None:
        driver, machine, _ = started()
        hello = b"*3\r\n$7\r\nmessage\r\n$18\r\n__sentinel__:hello\r\n$2\r\nhi\r\n"
        subscribed = b"*3\r\n$9\r\nsubscribe\r\n$18\r\n__sentinel__:hello\r\n:1\r\n"
        peer = Peer(b"+OK\r\n", b"+OK\r\n", subscribed + hello)
        async with peer as address:
            machine.actions = [OpenLink(4, LinkKind.PUBSUB, "m", address, 1000)]
            driver.receive(HelloReceived(None, b""))
            await until(lambda: HelloReceived(4, b"hi") in machine.events)
            peer.writers[0].write(b"?rubbish\r\n")
            await until(lambda: any(isinstance(e, LinkClosed) for e in machine.events))
            driver.stop()

    run(test)
