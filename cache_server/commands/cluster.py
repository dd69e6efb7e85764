"""Commands of cluster mode, as a server outside of a cluster has them: each says that it is none.

Clients ask for them to find out, and access rules name them.

Source: https://redis.io/docs/latest/commands/cluster-info/ and its neighbours' pages.
"""

from __future__ import annotations

from typing import Any

from cache_server.commands.table import Command, container_only
from cache_server.errors import CommandError

_READ = "stale"
_ADMIN = "admin stale"
_CHANGE = "admin stale no_async_loading"

_SLOTS = (
    "O(N) where N is the total number of the slots between the start slot and end slot arguments."
)
_NODES = (
    "O(N) where N is the number of known nodes. The command may execute a FLUSHALL as a side "
    "effect."
)

#: name, arity, flags, since, summary, complexity
_SUBCOMMANDS = (
    (
        "addslots",
        -3,
        _CHANGE,
        "3.0.0",
        "Assign new hash slots to receiving node",
        "O(N) where N is the total number of hash slot arguments",
    ),
    (
        "addslotsrange",
        -4,
        _CHANGE,
        "7.0.0",
        "Assign new hash slots to receiving node",
        _SLOTS,
    ),
    ("bumpepoch", 2, _CHANGE, "3.0.0", "Advance the cluster config epoch", "O(1)"),
    (
        "count-failure-reports",
        3,
        _ADMIN,
        "3.0.0",
        "Return the number of failure reports active for a given node",
        "O(N) where N is the number of failure reports",
    ),
    (
        "countkeysinslot",
        3,
        _READ,
        "3.0.0",
        "Return the number of local keys in the specified hash slot",
        "O(1)",
    ),
    (
        "delslots",
        -3,
        _CHANGE,
        "3.0.0",
        "Set hash slots as unbound in receiving node",
        "O(N) where N is the total number of hash slot arguments",
    ),
    (
        "delslotsrange",
        -4,
        _CHANGE,
        "7.0.0",
        "Set hash slots as unbound in receiving node",
        _SLOTS,
    ),
    (
        "failover",
        -2,
        _CHANGE,
        "3.0.0",
        "Forces a replica to perform a manual failover of its master.",
        "O(1)",
    ),
    ("flushslots", 2, _CHANGE, "3.0.0", "Delete a node's own slots information", "O(1)"),
    ("forget", 3, _CHANGE, "3.0.0", "Remove a node from the nodes table", "O(1)"),
    (
        "getkeysinslot",
        4,
        _READ,
        "3.0.0",
        "Return local key names in the specified hash slot",
        "O(log(N)) where N is the number of requested keys",
    ),
    (
        "help",
        2,
        "loading stale",
        "5.0.0",
        "Show helpful text about the different subcommands",
        "O(1)",
    ),
    ("info", 2, _READ, "3.0.0", "Provides info about Redis Cluster node state", "O(1)"),
    (
        "keyslot",
        3,
        _READ,
        "3.0.0",
        "Returns the hash slot of the specified key",
        "O(N) where N is the number of bytes in the key",
    ),
    (
        "links",
        2,
        _READ,
        "7.0.0",
        "Returns a list of all TCP links to and from peer nodes in cluster",
        "O(N) where N is the total number of Cluster nodes",
    ),
    ("meet", -4, _CHANGE, "3.0.0", "Force a node cluster to handshake with another node", "O(1)"),
    ("myid", 2, _READ, "3.0.0", "Return the node id", "O(1)"),
    (
        "nodes",
        2,
        _READ,
        "3.0.0",
        "Get Cluster config for the node",
        "O(N) where N is the total number of Cluster nodes",
    ),
    ("replicas", 3, _ADMIN, "5.0.0", "List replica nodes of the specified master node", "O(1)"),
    (
        "replicate",
        3,
        _CHANGE,
        "3.0.0",
        "Reconfigure a node as a replica of the specified master node",
        "O(1)",
    ),
    (
        "reset",
        -2,
        "admin noscript stale",
        "3.0.0",
        "Reset a Redis Cluster node",
        _NODES,
    ),
    ("saveconfig", 2, _CHANGE, "3.0.0", "Forces the node to save cluster state on disk", "O(1)"),
    ("set-config-epoch", 3, _CHANGE, "3.0.0", "Set the configuration epoch in a new node", "O(1)"),
    ("setslot", -4, _CHANGE, "3.0.0", "Bind a hash slot to a specific node", "O(1)"),
    (
        "shards",
        2,
        _READ,
        "7.0.0",
        "Get array of cluster slots to node mappings",
        "O(N) where N is the total number of cluster nodes",
    ),
    ("slaves", 3, _ADMIN, "3.0.0", "List replica nodes of the specified master node", "O(1)"),
    (
        "slots",
        2,
        _READ,
        "3.0.0",
        "Get array of Cluster slot to node mappings",
        "O(N) where N is the total number of Cluster nodes",
    ),
)


def no_cluster_command(ctx: Any, args: list[bytes]) -> Any:
    """What each of them answers."""
    raise CommandError(b"ERR This instance has cluster support disabled")


def _row(
    name: str,
    arity: int,
    flags: str,
    since: str,
    summary: str,
    complexity: str,
    category: str = "",
) -> Command:
    return Command(
        name,
        arity,
        flags,
        no_cluster_command,
        group="cluster",
        since=since,
        summary=summary,
        complexity=complexity,
        categories=category,
    )


COMMANDS = [
    _row(
        "asking",
        1,
        "fast",
        "3.0.0",
        "Sent by cluster clients after an -ASK redirect",
        "O(1)",
        "connection",
    ),
    _row(
        "readonly",
        1,
        "loading stale fast",
        "3.0.0",
        "Enables read queries for a connection to a cluster replica node",
        "O(1)",
        "connection",
    ),
    _row(
        "readwrite",
        1,
        "loading stale fast",
        "3.0.0",
        "Disables read queries for a connection to a cluster replica node",
        "O(1)",
        "connection",
    ),
    Command(
        "cluster",
        -2,
        "",
        container_only,
        group="cluster",
        since="3.0.0",
        summary="A container for cluster commands",
        complexity="Depends on subcommand.",
        subcommands=[_row(*row) for row in _SUBCOMMANDS],
    ),
]
