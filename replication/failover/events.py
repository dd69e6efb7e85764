"""Everything that may come into the failover machines.

The shell (`cache_server/sentinel`, `cache_server/coordination`) turns sockets into these and hands
them in as `machine.receive(event, now_ms)`. `now_ms` is one monotonic clock of the process, in
milliseconds.

Links are named by numbers that the machine chose in `actions.OpenLink`; an event about a link that
the machine has closed since is ignored. Requests are named by numbers that the shell chooses; each
is answered by exactly one `actions.Reply` with that number, in this batch of actions or a later
one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from replication.failover.cluster_view import Address, MasterConfig, Timings
from replication.failover.stores import Outcome


@dataclass(frozen=True, slots=True)
class WireError:
    """An error reply (`-ERR ...`), text without the leading minus."""

    text: str


RespValue: TypeAlias = "bytes | int | WireError | tuple[RespValue, ...] | None"
"""A decoded reply: simple and bulk strings are bytes, arrays tuples, nil None."""


# Links that the machine asked for.


@dataclass(frozen=True, slots=True)
class LinkOpened:
    """A link is ready: connected, authenticated, named (CLIENT SETNAME), and subscribed if of that
    kind.
    """

    link: int


@dataclass(frozen=True, slots=True)
class LinkClosed:
    """A link broke or could not be opened. Commands unanswered on it will not be answered.

    The machine asks for a new link by itself; the shell never redials.
    """

    link: int
    reason: str


@dataclass(frozen=True, slots=True)
class CommandReplied:
    """The reply to `actions.SendCommand` with this link and tag."""

    link: int
    tag: int
    reply: RespValue


@dataclass(frozen=True, slots=True)
class HelloReceived:
    """A message on `__sentinel__:hello`: from a subscribed link, or (link None) PUBLISHed to us by
    a peer.
    """

    link: int | None
    payload: bytes


@dataclass(frozen=True, slots=True)
class AddressResolved:
    """What a name resolves to now. Only needed where names and IPs are mixed; sent before they are
    used.
    """

    host: str
    ip: str


# Requests from other sentinels; arguments as they came, after the subcommand's name.


@dataclass(frozen=True, slots=True)
class DownQuestionAsked:
    """`SENTINEL IS-MASTER-DOWN-BY-ADDR <ip> <port> <epoch> <runid or *>`.

    Reply: (down 0|1, leader id or b"*", leader epoch). The vote is durable before the reply.
    """

    request: int
    args: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class RegisterAsked:
    """`SENTINEL REGISTER <PREPARE|ACCEPT|LEARN|GET> <master name> ...` (see quorum.py for the
    forms).
    """

    request: int
    args: tuple[bytes, ...]


# Requests from people and tools.


@dataclass(frozen=True, slots=True)
class FailoverAsked:
    """`SENTINEL FAILOVER <name>`. Reply: OK, or -INPROG, -NOGOODSLAVE, -ERR No such master with
    that name.
    """

    request: int
    name: str
    forced: bool = False
    """Also a follower that may lack acknowledged writes."""


@dataclass(frozen=True, slots=True)
class ExplainAsked:
    """`SENTINEL EXPLAIN <name>`. Reply: lines of text (explaining.py)."""

    request: int
    name: str


@dataclass(frozen=True, slots=True)
class MonitorAsked:
    """`SENTINEL MONITOR`: watch one more master. Reply: OK or an error as Redis words it."""

    request: int
    config: MasterConfig


@dataclass(frozen=True, slots=True)
class RemoveAsked:
    """`SENTINEL REMOVE <name>`. Reply: OK or -ERR No such master with that name."""

    request: int
    name: str


@dataclass(frozen=True, slots=True)
class ResetAsked:
    """`SENTINEL RESET <glob pattern>`; the shell matches the pattern. Reply: how many were
    reset.
    """

    request: int
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReconfigureAsked:
    """`SENTINEL SET`: the whole new configuration of a master (its name and address stay). Reply:
    OK.

    `reconnect` is set where credentials changed: links to the master's nodes are opened anew.
    """

    request: int
    config: MasterConfig
    reconnect: bool = False


@dataclass(frozen=True, slots=True)
class TimingsChanged:
    """`SENTINEL DEBUG <option> <ms> ...`: the whole new set of periods."""

    request: int
    timings: Timings


@dataclass(frozen=True, slots=True)
class FlushAsked:
    """`SENTINEL FLUSHCONFIG`: write the state again. Reply: OK after it is durable."""

    request: int


@dataclass(frozen=True, slots=True)
class AnnounceChanged:
    """The address under which this sentinel announces itself changed (`SENTINEL CONFIG SET
    announce-ip`).
    """

    address: Address


@dataclass(frozen=True, slots=True)
class StoreAnswered:
    """What became of `actions.AskStore` with this tag. Every AskStore is answered once."""

    tag: int
    outcome: Outcome


SentinelEvent: TypeAlias = (
    LinkOpened
    | LinkClosed
    | CommandReplied
    | HelloReceived
    | AddressResolved
    | DownQuestionAsked
    | RegisterAsked
    | FailoverAsked
    | ExplainAsked
    | MonitorAsked
    | RemoveAsked
    | ResetAsked
    | ReconfigureAsked
    | TimingsChanged
    | FlushAsked
    | AnnounceChanged
    | StoreAnswered
)


# For the data node's side of the lease (lease.LeaderLease).


@dataclass(frozen=True, slots=True)
class LeaseAsked:
    """`LEASE <RENEW|EPOCH|FORGET> ...` from a sentinel (forms in lease.py): arguments after the
    word LEASE.
    """

    request: int
    args: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class RoleChanged:
    """This node became a leader (`leading`) or a follower by any command (REPLICAOF, FAILOVER);
    `handed`: the leader itself gave its place to this node.
    """

    leading: bool
    handed: bool = False


@dataclass(frozen=True, slots=True)
class LeaseGivenUp:
    """Writes are paused and the heir has all of this node's history: hand the lease over to it."""

    heir: Address


@dataclass(frozen=True, slots=True)
class LeaseTakenBack:
    """The handing over failed (the heir is gone): ask the sentinels for the lease again."""


LeaseEvent: TypeAlias = LeaseAsked | RoleChanged | LeaseGivenUp | LeaseTakenBack | StoreAnswered
