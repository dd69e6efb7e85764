"""The contract of an external store: two cells per master name, changed by compare-and-set.

Problem: the register and the lease may live in etcd or ZooKeeper, whose notions of a lease differ:
one counts in whole seconds, the other binds it to a session, and both let it end by a clock of
theirs. A store's leader that was stopped and goes on may end a lease that its holder renews with
the next one (etcd-io/etcd issue 15247).

Idea: ask of a store only what any of them does well, and keep the lease ourselves. A store holds
two cells of bytes and gives a new version to each write. It can

    read    both cells with their versions
    write   one cell, if the cells' versions still are those told: `Written`, else `Conflict` with
            what the cells hold now; `Unreachable` where nobody knows

The lease is a record in its cell, rewritten by its holder. Whoever wants to replace the leader
must have seen one version of that record for longer than its ttl on its own clock, and names that
version in the write (stored_register.py); a leader's renewal names the version of the register
under which it leads (stored_lease.py). So time is measured only by those who need it, each on one
clock, and the store orders their writes.

    register cell   cache-register 1 <the seven fields of a value>
    lease cell      cache-lease 1 <held|barred|released> <epoch> <leader id> <life> <ttl ms> <n>

An empty cell holds nothing. Frozen: the first two words, and the meaning of every field.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TypeAlias

from replication.failover import constants
from replication.failover.cluster_view import RegisterValue
from replication.failover.coordinator import Unreachable
from replication.failover.messages import MessageError, encode_value, integer, parse_value, text

#: A register with a full in-sync set takes 9 kB; anything larger was not written by us.
CELL_BYTES_MAX = 16 * 1024
VERSION_MAX = (1 << 63) - 1


class Which(enum.Enum):
    """One of the two cells."""

    REGISTER = "register"
    LEASE = "lease"


@dataclass(frozen=True, slots=True)
class Cell:
    """What a cell holds, b"" for nothing, and the version that its last write gave it."""

    value: bytes = b""
    version: int = 0


@dataclass(frozen=True, slots=True)
class Cells:
    """Both cells of a master name."""

    register: Cell
    lease: Cell


@dataclass(frozen=True, slots=True)
class Read:
    """Ask for both cells."""

    name: str


@dataclass(frozen=True, slots=True)
class Write:
    """Ask for one cell to become `value` if the cells have these versions (lease: None for any)."""

    name: str
    which: Which
    value: bytes
    register_version: int
    lease_version: int | None


@dataclass(frozen=True, slots=True)
class Written:
    """It was written, for good and for everybody; the cell has this version now."""

    version: int


@dataclass(frozen=True, slots=True)
class Conflict:
    """Nothing was written: a cell had another version. This is what they hold."""

    cells: Cells


Ask: TypeAlias = Read | Write
Outcome: TypeAlias = Cells | Written | Conflict | Unreachable


class Hold(enum.Enum):
    """What a lease record says."""

    HELD = "held"
    """The leader renews it."""
    BARRED = "barred"
    """A sentinel is about to replace the leader, who does not renew it now."""
    RELEASED = "released"
    """The leader gave it back."""


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """The lease as it stands in its cell. `number` counts its renewals; `ttl_ms` is the time that
    the holder counts from the sending of each."""

    hold: Hold
    epoch: int
    leader_id: str
    life: str
    ttl_ms: int
    number: int = 0


_REGISTER_HEAD = (b"cache-register", b"1")
_LEASE_HEAD = (b"cache-lease", b"1")


def encode_register(value: RegisterValue) -> bytes:
    """The register's cell."""
    return b" ".join((*_REGISTER_HEAD, *encode_value(value)))


def decode_register(raw: bytes) -> RegisterValue | None:
    """The inverse; None for an empty cell. Raises MessageError."""
    if not raw:
        return None
    words = _words(raw, _REGISTER_HEAD)
    return parse_value(tuple(words))


def encode_lease(record: LeaseRecord) -> bytes:
    """The lease's cell."""
    words = (
        record.hold.value.encode(),
        b"%d" % record.epoch,
        record.leader_id.encode(),
        record.life.encode(),
        b"%d" % record.ttl_ms,
        b"%d" % record.number,
    )
    return b" ".join((*_LEASE_HEAD, *words))


def decode_lease(raw: bytes) -> LeaseRecord | None:
    """The inverse; None for an empty cell. Raises MessageError."""
    if not raw:
        return None
    words = _words(raw, _LEASE_HEAD)
    if len(words) != 6:
        raise MessageError("a lease record has six fields")
    try:
        hold = Hold(words[0].decode("ascii", "replace"))
    except ValueError:
        raise MessageError("a lease record is held, barred or released") from None
    return LeaseRecord(
        hold,
        integer(words[1]),
        text(words[2], constants.ID_BYTES_MAX),
        text(words[3], constants.ID_BYTES_MAX),
        integer(words[4], 1, constants.LEASE_TTL_MS_MAX),
        integer(words[5]),
    )


def _words(raw: bytes, head: tuple[bytes, bytes]) -> list[bytes]:
    if len(raw) > CELL_BYTES_MAX:
        raise MessageError("a cell is too large")
    words = raw.split(b" ")
    if tuple(words[:2]) != head:
        raise MessageError(f"a cell does not begin with {b' '.join(head).decode()}")
    return words[2:]
