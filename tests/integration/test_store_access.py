"""etcd with certificates, etcd and ZooKeeper with passwords: who may reach a store of ours."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cache_server.coordination.store_address import parse
from cache_server.coordination.stores import open_desk
from replication.failover.coordinator import Unreachable
from replication.failover.stores import Cells, Conflict, Outcome, Read, Which, Write, Written
from tests.integration import certificates
from tests.integration.processes import free_port
from tests.integration.stores import Server, Store, needs_store, started

pytestmark = [pytest.mark.integration, pytest.mark.slow]

PATIENCE_S = 60.0


def asked(word: str, enough: type[Any] = Cells, words: str = "") -> Outcome:
    """The first outcome of that kind (and with these words) of reading, or the last one."""

    async def ask_often() -> Outcome:
        address = parse(word)
        assert address is not None
        desk, loop = open_desk(address), asyncio.get_running_loop()
        try:
            until = loop.time() + PATIENCE_S
            while True:
                answer: asyncio.Future[Outcome] = loop.create_future()
                desk.ask(Read("main"), answer.set_result)
                outcome = await answer
                if isinstance(outcome, enough) and words in str(outcome):
                    return outcome
                if loop.time() > until:
                    return outcome
                await asyncio.sleep(0.05)
        finally:
            await desk.close()

    return asyncio.run(ask_often())


def written(word: str, cells: Cells) -> Outcome:
    """What becomes of a write."""

    async def ask_once() -> Outcome:
        address = parse(word)
        assert address is not None
        desk = open_desk(address)
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        try:
            while True:
                answer = asyncio.get_running_loop().create_future()
                versions = cells.register.version, cells.lease.version
                desk.ask(Write("main", Which.REGISTER, b"x", *versions), answer.set_result)
                if isinstance(await answer, Written | Conflict):
                    return answer.result()
                await asyncio.sleep(0.05)
        finally:
            await desk.close()

    return asyncio.run(asyncio.wait_for(ask_once(), PATIENCE_S))


def test_etcd_by_certificates(tmp_path: Path) -> None:
    needs_store("etcd")
    certificates.authority(tmp_path, "ca")
    certificates.certificate(tmp_path, "node", "ca", "IP:127.0.0.1")
    certificates.authority(tmp_path, "elsewhere")
    client, peer = f"https://127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}"
    command = ["etcd", "--data-dir", str(tmp_path / "data"), "--log-level", "error"]
    command += ["--listen-client-urls", client, "--advertise-client-urls", client]
    command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
    command += ["--initial-cluster", f"default={peer}", "--logger", "zap"]
    command += ["--cert-file", "node.crt", "--key-file", "node.key"]
    command += ["--client-cert-auth", "--trusted-ca-file", "ca.crt"]
    server = Server(command, tmp_path, 0)
    server.start()
    place = client.replace("https", "etcds") + "/p?ttl=5000&"
    ours = f"cert={tmp_path}/node.crt&key={tmp_path}/node.key"
    try:
        assert isinstance(asked(f"{place}ca={tmp_path}/ca.crt&{ours}"), Cells)
        for word in (f"{place}ca={tmp_path}/ca.crt", f"{place}ca={tmp_path}/elsewhere.crt&{ours}"):
            assert isinstance(asked(word, Unreachable), Unreachable)
    finally:
        server.kill()


@pytest.fixture(params=["etcd", "zookeeper"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    needs_store(request.param)
    store = started(request.param, tmp_path)
    try:
        yield store
    finally:
        store.kill()


def _close_etcd(store: Store) -> None:
    """Only root may use it."""
    for path, body in (
        ("user/add", {"name": "root", "password": "secret"}),
        ("user/grant", {"user": "root", "role": "root"}),
        ("enable", {}),
    ):
        url = f"http://127.0.0.1:{store.servers[0].port}/v3/auth/{path}"
        request = urllib.request.Request(url, json.dumps(body).encode(), method="POST")
        urllib.request.urlopen(request, timeout=10).read()


def test_who_has_no_password_cannot_reach_the_cells(store: Store) -> None:
    plain = store.address(5_000)
    if store.kind == "etcd":
        _close_etcd(store)
    ours, wrong = (plain.replace("://", f"://root:{word}@") for word in ("secret", "guess"))
    cells = asked(ours)
    assert isinstance(cells, Cells)
    assert isinstance(written(ours, cells), Written)
    for word in (plain, wrong):
        refused = asked(word, Unreachable, "" if store.kind == "etcd" else "ZooKeeper: ")
        assert isinstance(refused, Unreachable), refused
    assert isinstance(written(ours, cells), Conflict)
