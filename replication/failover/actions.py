"""Everything the failover machines may ask for.

`machine.take_actions()` returns them in order, and the order is the contract: an action that comes
after a `Persist` or `PersistLease` may be carried out only once that state is durable (fsync of
file and folder). If the state cannot be made durable the shell must drop the rest and stop the
process: a promise that was not written must not leave the machine.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TypeAlias

from replication.failover.cluster_view import Address, LeaseState, SentinelState
from replication.failover.events import RespValue
from replication.failover.stores import Ask


class LinkKind(enum.Enum):
    """What a link is for: each kind is its own connection."""

    COMMAND = "cmd"
    """Commands to a data node; named `sentinel-<first 8 of id>-cmd`."""
    PUBSUB = "pubsub"
    """SUBSCRIBE __sentinel__:hello on a data node; named `sentinel-<first 8 of id>-pubsub`."""
    SENTINEL = "sentinel"
    """Commands to another sentinel."""


@dataclass(frozen=True, slots=True)
class OpenLink:
    """Connect, AUTH with the credentials set for `master`, name the connection, subscribe if
    PUBSUB.

    Ends in LinkOpened or LinkClosed. Connecting is given up after `timeout_ms`.
    """

    link: int
    kind: LinkKind
    master: str
    address: Address
    timeout_ms: int


@dataclass(frozen=True, slots=True)
class CloseLink:
    """Close it; nothing more is heard of it."""

    link: int


@dataclass(frozen=True, slots=True)
class SendCommand:
    """Send one command; its reply comes back as CommandReplied with the same link and tag.

    Commands on one link go out in the order of the actions, pipelined. The first word may be
    renamed by the shell (`rename-command`); the machine always speaks of commands by their own
    names.
    """

    link: int
    tag: int
    args: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Persist:
    """Write the sentinel's state file (`state.encode`) durably before any later action."""

    state: SentinelState


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a request event. `OK` is b"OK" and goes out as a simple string."""

    request: int
    value: RespValue


@dataclass(frozen=True, slots=True)
class Publish:
    """A Sentinel event: log it as `<channel> <payload>` and PUBLISH it to our own subscribers.

    `warning` marks those that Redis logs as warnings and for which `notification-script` runs.
    """

    channel: str
    payload: str
    warning: bool = True


@dataclass(frozen=True, slots=True)
class LeaderMoved:
    """The leader's address changed: what `client-reconfig-script` is told.

    `role` is "leader" where this sentinel drove the change, else "observer"; `state` is "start" or
    "end".
    """

    master: str
    role: str
    state: str
    old: Address
    new: Address


@dataclass(frozen=True, slots=True)
class AskStore:
    """Ask the external store; what became of it comes back as StoreAnswered with this tag."""

    tag: int
    ask: Ask


SentinelAction: TypeAlias = (
    OpenLink | CloseLink | SendCommand | Persist | Reply | Publish | LeaderMoved | AskStore
)


# For the data node's side of the lease (lease.LeaderLease).


@dataclass(frozen=True, slots=True)
class PersistLease:
    """Write the data node's lease state file durably before any later action."""

    state: LeaseState


@dataclass(frozen=True, slots=True)
class Lead:
    """The register names this node leader of `epoch`: do REPLICAOF NO ONE where it follows.

    Writes stay refused until the lease allows them (`LeaderLease.writes_until_ms`).
    """

    epoch: int


@dataclass(frozen=True, slots=True)
class Yield:
    """The register names another leader: refuse writes at once and do REPLICAOF `leader`."""

    epoch: int
    leader: Address


LeaseAction: TypeAlias = PersistLease | Reply | Lead | Yield | AskStore
