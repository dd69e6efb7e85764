"""ZooKeeper's client, played by an object that says what the test wants."""

import asyncio
import threading
from types import SimpleNamespace

import pytest
from kazoo.exceptions import (
    BadVersionError,
    ConnectionLoss,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    RolledBackError,
    RuntimeInconsistency,
)

from cache_server.coordination.contract import StoreDesk, StoreReplyError, StoreUnreachable
from cache_server.coordination.zookeeper import ZooKeeperStore
from replication.failover.coordinator import Unreachable
from replication.failover.stores import (
    CELL_BYTES_MAX,
    Cell,
    Cells,
    Conflict,
    Read,
    Which,
    Write,
    Written,
)

WRITE = Write("main", Which.REGISTER, b"new", 3, 5)


def stat(version):
    return SimpleNamespace(version=version)


FOUND = ((b"r", stat(2)), (b"l", stat(4)))


class Given:
    """kazoo's result; called back from a thread of its own, as kazoo's are."""

    def __init__(self, outcome):
        self.exception = outcome if isinstance(outcome, Exception) else None
        self.value = None if self.exception else outcome
        self.silent = outcome is Ellipsis
        self.callbacks = []

    def rawlink(self, callback):
        self.callbacks.append(callback)
        if not self.silent:
            threading.Thread(target=callback, args=(self,)).start()

    def release(self, outcome):
        self.exception = outcome
        for callback in self.callbacks:
            callback(self)


class Client:
    """`found` is what the two nodes hold, `results` what a multi gives."""

    def __init__(self, found=FOUND, results=()):
        self.connected, self.found, self.results = True, list(found), results
        self.multis, self.created, self.given = [], [], []

    def start_async(self):
        return None

    def stop(self):
        self.connected = False

    def close(self):
        return None

    def sync_async(self, _path):
        return Given("ok")

    def get_async(self, path):
        given = Given(self.found[0 if path.endswith("register") else 1])
        self.given.append(given)
        return given

    def create_async(self, path, value, makepath):
        assert value == b""
        assert makepath
        self.created.append(path)
        return Given(NodeExistsError())

    def transaction(self):
        steps = []
        self.multis.append(steps)
        return SimpleNamespace(
            check=lambda path, version: steps.append(("check", path, version)),
            set_data=lambda path, data, version: steps.append(("set", path, data, version)),
            commit_async=lambda: Given(self.results),
        )


def talk(client, call, timeout_s=5.0):
    """What `call(store)` gives."""

    async def run():
        store = ZooKeeperStore(client, "/p", timeout_s)
        try:
            return await call(store)
        finally:
            await store.close()

    return asyncio.run(run())


def test_a_read_gives_both_nodes_with_versions_counted_from_one():
    client = Client()
    assert talk(client, lambda one: one.read("a.b/c")) == Cells(Cell(b"r", 3), Cell(b"l", 5))
    assert client.created == ["/p/a%2Eb%2Fc/register", "/p/a%2Eb%2Fc/lease"]


def test_a_write_is_one_multi_that_checks_both_versions():
    client = Client(results=[True, stat(3)])
    assert talk(client, lambda one: one.write(WRITE)) == Written(4)
    assert client.multis == [
        [("check", "/p/main/lease", 4), ("set", "/p/main/register", b"new", 2)]
    ]


def test_a_lease_of_any_version_is_not_checked():
    client = Client(results=[stat(3)])
    ask = Write("main", Which.REGISTER, b"new", 3, None)
    assert talk(client, lambda one: one.write(ask)) == Written(4)
    assert client.multis == [[("set", "/p/main/register", b"new", 2)]]


@pytest.mark.parametrize(
    "results",
    [
        [BadVersionError(), RuntimeInconsistency()],
        [RolledBackError(), BadVersionError()],
        [NoNodeError(), RuntimeInconsistency()],
    ],
)
def test_another_version_is_a_conflict_that_tells_what_is_there(results):
    conflict = talk(Client(results=results), lambda one: one.write(WRITE))
    assert conflict == Conflict(Cells(Cell(b"r", 3), Cell(b"l", 5)))


@pytest.mark.parametrize(
    "results",
    [ConnectionLoss(), [NoAuthError(), RuntimeInconsistency()], [RuntimeInconsistency()]],
)
def test_any_other_failure_is_unreachable(results):
    with pytest.raises(StoreUnreachable, match="ZooKeeper"):
        talk(Client(results=results), lambda one: one.write(WRITE))


@pytest.mark.parametrize("results", [[], None, 7, [True, None], [True, stat("x")], [stat(-1)]])
def test_a_multi_that_gives_nonsense_is_told_apart(results):
    with pytest.raises(StoreReplyError):
        talk(Client(results=results), lambda one: one.write(WRITE))


@pytest.mark.parametrize(
    "node",
    [None, (b"x",), ("text", stat(1)), (b"x", None), (b"x" * (CELL_BYTES_MAX + 1), stat(1))],
)
def test_a_node_of_nonsense_is_told_apart(node):
    with pytest.raises(StoreReplyError):
        talk(Client(found=[node, (b"l", stat(4))]), lambda one: one.read("main"))


def test_without_a_connection_nothing_is_handed_over():
    client = Client()
    client.connected = False
    with pytest.raises(StoreUnreachable, match="not connected"):
        talk(client, lambda one: one.read("main"))
    assert client.created == []


def test_while_an_answer_is_overdue_nothing_more_is_handed_over():
    client = Client(found=[..., (b"l", stat(4))])

    async def call(store):
        with pytest.raises(StoreUnreachable, match="no answer"):
            await store.read("main")
        asked = len(client.given)
        with pytest.raises(StoreUnreachable, match="overdue"):
            await store.read("main")
        assert len(client.given) == asked
        client.given[0].release(ConnectionLoss())
        await asyncio.sleep(0)
        client.found[0] = (b"r", stat(2))
        return await store.read("main")

    assert talk(client, call, timeout_s=0.1) == Cells(Cell(b"r", 3), Cell(b"l", 5))


# What is made of it at the desk.


class Failing:
    """A store that raises what it is told."""

    def __init__(self, error):
        self.error = error

    async def read(self, _name):
        if self.error is not None:
            raise self.error
        return Cells(Cell(), Cell())

    async def write(self, _ask):
        return Written(1)

    async def close(self):
        return None


def test_the_desk_answers_every_question_once_and_tells_lost_from_unreachable():
    async def run():
        store, outcomes = Failing(StoreUnreachable("away")), []
        desk = StoreDesk(store, "label")
        desk.ask(Read("main"), outcomes.append)
        desk.ask(WRITE, outcomes.append)
        assert outcomes == []
        await asyncio.sleep(0.01)
        assert sorted(map(str, outcomes)) == sorted(map(str, [Unreachable("away"), Written(1)]))
        store.error = None
        desk.ask(Read("main"), outcomes.append)
        await asyncio.sleep(0.01)
        assert outcomes[2:] == [Cells(Cell(), Cell())]
        await desk.close()

    asyncio.run(run())
