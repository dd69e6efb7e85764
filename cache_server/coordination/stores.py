"""From a `coordinator` line to a store at work. Libraries are loaded only where one is used."""

from __future__ import annotations

from cache_server.coordination.contract import Store, StoreDesk
from cache_server.coordination.store_address import StoreAddress

TIMEOUT_S_MIN = 0.25


def open_desk(address: StoreAddress) -> StoreDesk:
    """To be called on the loop. A question is given half a ttl: there is time for a second one."""
    timeout_s = max(TIMEOUT_S_MIN, address.ttl_ms / 2000)
    return StoreDesk(_connect(address, timeout_s), address.label)


def _connect(address: StoreAddress, timeout_s: float) -> Store:
    if address.kind == "etcd":
        from cache_server.coordination import etcd

        return etcd.connect(address, timeout_s)
    from cache_server.coordination import zookeeper

    return zookeeper.connect(address, timeout_s)
