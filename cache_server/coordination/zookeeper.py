"""ZooKeeper as a store, by kazoo.

    <path>/<name>/register      each node one cell; its version, counted from one, is the cell's
    <path>/<name>/lease

A write is one multi: check the one node, set the other with its version. The nodes are made empty
before they are first used and never deleted by us; a version says nothing about a node that
somebody deleted and made again. Sessions and ephemeral nodes are not used: they end by the server's
clock, at the earliest after two of its ticks, and kazoo does not tell when its pings were sent
(stores.py).

A read is preceded by a sync. The two cells are read one after the other; that is enough, since a
write compares the versions of both.

kazoo works in threads of its own. Their results come back to the loop by `call_soon_threadsafe`,
and nothing here blocks it. While kazoo is not connected nothing is handed to it, so its queue stays
short. Nor is anything while an answer is overdue: requests keep kazoo from pinging, and without its
pings it would never notice that a server hangs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from urllib.parse import quote

from kazoo.client import KazooClient
from kazoo.exceptions import (
    BadVersionError,
    KazooException,
    NodeExistsError,
    NoNodeError,
    RolledBackError,
    RuntimeInconsistency,
)
from kazoo.retry import KazooRetry
from kazoo.security import make_digest_acl

from cache_server.coordination.contract import Store, StoreReplyError, StoreUnreachable
from cache_server.coordination.store_address import StoreAddress
from replication.failover.stores import CELL_BYTES_MAX, Cell, Cells, Conflict, Which, Write, Written

#: The session's timeout asked for: kazoo looks for another server after two thirds of it.
_SESSION_S = 2.0
_Value = TypeVar("_Value")


class ZooKeeperStore:
    """One session with an ensemble. `client` is a KazooClient, or a stand-in in tests."""

    def __init__(self, client: Any, prefix: str, timeout_s: float) -> None:
        self._client = client
        self._prefix = prefix
        self._timeout_s = timeout_s
        self._started = False
        self._overdue = False
        self._waiting = 0
        self._made: set[str] = set()

    async def read(self, name: str) -> Cells:
        """A sync, then both nodes."""
        return await self._in_time(lambda: self._read(name))

    async def write(self, ask: Write) -> Written | Conflict:
        """One multi."""
        return await self._in_time(lambda: self._write(ask))

    async def close(self) -> None:
        """Ends the session; kazoo waits for its threads, so that is done in one of ours."""

        def stop() -> None:
            self._client.stop()
            self._client.close()

        await asyncio.get_running_loop().run_in_executor(None, stop)

    # -- calls ---------------------------------------------------------------------------------

    async def _in_time(self, call: Callable[[], Awaitable[_Value]]) -> _Value:
        self._start()
        if not self._client.connected:
            raise StoreUnreachable("ZooKeeper is not connected")
        self._overdue = self._overdue and self._waiting > 0
        if self._overdue:
            raise StoreUnreachable("ZooKeeper's last answer is overdue")
        try:
            async with asyncio.timeout(self._timeout_s):
                return await call()
        except TimeoutError:
            self._overdue = True
            raise StoreUnreachable(f"ZooKeeper gave no answer in {self._timeout_s:g} s") from None
        except (KazooException, OSError) as error:
            text = str(error) or type(error).__name__
            raise StoreUnreachable(f"ZooKeeper: {text}") from None

    def _start(self) -> None:
        if not self._started:
            self._started = True
            self._client.start_async()

    async def _read(self, name: str) -> Cells:
        folder = self._folder(name)
        await self._make(folder)
        wanted = [f"{folder}/{which.value}" for which in Which]
        results = [self._client.sync_async(folder)]
        results += [self._client.get_async(path) for path in wanted]
        try:
            _, *found = await asyncio.gather(*(self._result(one) for one in results))
        except NoNodeError:
            self._made.discard(folder)  # somebody deleted it: the next question makes it again
            raise
        return Cells(*(_cell(one) for one in found))

    async def _write(self, ask: Write) -> Written | Conflict:
        folder = self._folder(ask.name)
        versions = {Which.REGISTER: ask.register_version, Which.LEASE: ask.lease_version}
        multi = self._client.transaction()
        for which, version in versions.items():
            if which is not ask.which and version is not None:
                multi.check(f"{folder}/{which.value}", version - 1)
        expected = versions[ask.which]
        number = -1 if expected is None else expected - 1
        multi.set_data(f"{folder}/{ask.which.value}", ask.value, number)
        results = await self._result(multi.commit_async())
        if not isinstance(results, list) or not results:
            raise StoreReplyError("ZooKeeper answered a multi with what is no list")
        failure = _failure(results)
        if failure is None:
            return Written(_version(results[-1]))
        if isinstance(failure, NoNodeError):
            self._made.discard(folder)
        if isinstance(failure, BadVersionError | NoNodeError):
            return Conflict(await self._read(ask.name))
        raise failure

    def _result(self, given: Any) -> asyncio.Future[Any]:
        """kazoo's result as a future of this loop; its callback runs in kazoo's thread."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._waiting += 1

        def settle() -> None:
            self._waiting -= 1
            if future.done():
                return
            if given.exception is not None:
                future.set_exception(given.exception)
            else:
                future.set_result(given.value)

        def told(_: Any) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(settle)

        given.rawlink(told)
        return future

    # -- nodes ---------------------------------------------------------------------------------

    def _folder(self, name: str) -> str:
        return f"{self._prefix}/{quote(name, safe='').replace('.', '%2E')}"

    async def _make(self, folder: str) -> None:
        """Makes both nodes, empty, where they are missing."""
        if folder in self._made:
            return
        for which in Which:
            path = f"{folder}/{which.value}"
            try:
                await self._result(self._client.create_async(path, b"", makepath=True))
            except NodeExistsError:
                continue
        self._made.add(folder)


def _failure(results: list[Any]) -> Exception | None:
    """The operation that failed; the others of its multi only say that they did not happen."""
    failures: list[Exception | None] = [one for one in results if isinstance(one, Exception)]
    others = (RolledBackError, RuntimeInconsistency)
    telling = [one for one in failures if not isinstance(one, others)]
    return (telling or failures or [None])[0]


def _version(stat: object) -> int:
    version = getattr(stat, "version", None)
    if not isinstance(version, int) or not 0 <= version < 2**31:
        raise StoreReplyError("ZooKeeper answered with no version")
    return version + 1


def _cell(found: object) -> Cell:
    if not isinstance(found, tuple) or len(found) != 2 or not isinstance(found[0], bytes):
        raise StoreReplyError("ZooKeeper answered with what is no node")
    if len(found[0]) > CELL_BYTES_MAX:
        raise StoreReplyError("ZooKeeper holds a value that is too large to be ours")
    return Cell(found[0], _version(found[1]))


def connect(address: StoreAddress, timeout_s: float) -> Store:
    """The store at that address; it dials when it is first asked."""
    logger = logging.getLogger("cache_server.kazoo")
    logger.setLevel(logging.CRITICAL)  # the desk tells what is out of reach, once
    options: dict[str, Any] = {}
    if address.user:
        options["auth_data"] = [("digest", f"{address.user}:{address.password}")]
        options["default_acl"] = [make_digest_acl(address.user, address.password, all=True)]
    if address.encrypted:
        options |= {"use_ssl": True, "verify_certs": True, "ca": address.ca or None}
        options |= {"certfile": address.cert or None, "keyfile": address.key or None}
    client = KazooClient(
        hosts=address.places,
        timeout=_SESSION_S,
        connection_retry=KazooRetry(max_tries=-1, delay=0.05, backoff=1, max_delay=0.2),
        logger=logger,
        **options,
    )
    return ZooKeeperStore(client, address.prefix, timeout_s)
