"""COMMAND INFO and COMMAND DOCS say of each command what redis-server says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.compat.both import RawClient, both, needs_redis

pytestmark = [pytest.mark.integration, needs_redis]

#: Ours alone, and a row whose summary ends with a full stop there.
OWN = {"lease", "latency", "latency|help"}


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    with both(tmp_path_factory.mktemp("both")) as ports:
        yield ports


def names(client: RawClient) -> set[str]:
    """All commands, subcommands as `container|name`."""
    lines = client("COMMAND", "LIST", "FILTERBY", "PATTERN", "*").decode().split()
    return {line for line in lines if line[0] not in "*$"}


@pytest.mark.parametrize("protocol", ["2", "3"])
@pytest.mark.parametrize("word", ["INFO", "DOCS"])
def test_rows_are_redis_s(ports: tuple[int, int], protocol: str, word: str) -> None:
    clients = [RawClient(port) for port in ports]
    different = []
    for client in clients:
        client("HELLO", protocol)
    for name in sorted(names(clients[0]) & names(clients[1]) - OWN):
        # Sets and subcommands come in any order.
        ours, theirs = (sorted(client("COMMAND", word, name).split()) for client in clients)
        if ours != theirs:
            different.append(name)
    for client in clients:
        client.close()
    assert different == []
