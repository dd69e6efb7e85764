"""Forms of what sentinels say to each other and to data nodes: hello, REGISTER, LEASE.

Every parser has limits and raises MessageError with the reason in words; nothing else.

    hello     <ip>,<port>,<sentinel id>,<current epoch>,<name>,<leader ip>,<leader port>,<config
    epoch>

    SENTINEL REGISTER PREPARE <name> <ballot> <proposer>           -> PROMISE <ballot> <proposer>
    <value...> SENTINEL REGISTER ACCEPT  <name> <ballot> <proposer> <value>   -> ACCEPTED | LEASED
    <ms> SENTINEL REGISTER LEARN   <name> <value>                       -> OK
    SENTINEL REGISTER GET     <name>                               -> VALUE <value>
              (a ballot that lost gets REFUSED <ballot> <proposer> of the one promised)

    <value>   <epoch> <leader id> <host> <port> <in-sync ids joined by commas> <version> <life>;
              `-` where empty; an empty register is the epoch -1, and the version 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from replication.failover import constants
from replication.failover.cluster_view import Address, Ballot, RegisterValue

VALUE_FIELDS = 7
_FORBIDDEN = frozenset(" ,\r\n\t\0")
_IN_SYNC_BYTES_MAX = 64 * constants.ID_BYTES_MAX


class MessageError(Exception):
    """A message that does not have its form; the text says what is wrong."""


def text(raw: object, limit: int = constants.NAME_BYTES_MAX) -> str:
    """A bounded string without spaces, commas or control bytes."""
    if not isinstance(raw, bytes):
        raise MessageError("a string was expected")
    if not raw or len(raw) > limit:
        raise MessageError("a string is empty or too long")
    try:
        decoded = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MessageError("a string is not UTF-8") from error
    if not _FORBIDDEN.isdisjoint(decoded):
        raise MessageError("a string has a space, a comma or a control byte")
    return decoded


def integer(raw: object, low: int = 0, high: int = constants.EPOCH_MAX) -> int:
    """A decimal within [low, high], as bytes or already an int."""
    if isinstance(raw, bytes):
        digits = raw[1:] if raw[:1] == b"-" else raw
        if not digits.isdigit() or len(digits) > 19:
            raise MessageError("value is not an integer or out of range")
        raw = int(raw)
    if not isinstance(raw, int):
        raise MessageError("value is not an integer or out of range")
    if not low <= raw <= high:
        raise MessageError("a number is out of range")
    return raw


def parse_address(host: object, port: object) -> Address:
    """A host and a port from 1 to 65535."""
    return Address(text(host), integer(port, 1, 65535))


def _dashed(raw: object, limit: int = constants.ID_BYTES_MAX) -> str:
    return "" if raw == b"-" else text(raw, limit)


def encode_value(value: RegisterValue | None) -> tuple[bytes, ...]:
    """The seven fields of a register value."""
    if value is None:
        return (b"-1", b"-", b"-", b"-", b"-", b"0", b"-")
    return (
        b"%d" % value.epoch,
        value.leader_id.encode() or b"-",
        value.address.host.encode(),
        b"%d" % value.address.port,
        encode_members(value.in_sync),
        b"%d" % value.version,
        value.life.encode() or b"-",
    )


def encode_members(members: tuple[str, ...]) -> bytes:
    """An in-sync set as one word."""
    return ",".join(members).encode() or b"-"


def parse_members(raw: object) -> tuple[str, ...]:
    """The inverse of `encode_members`."""
    if not isinstance(raw, bytes) or len(raw) > _IN_SYNC_BYTES_MAX:
        raise MessageError("the in-sync set is no string or too long")
    return () if raw == b"-" else tuple(text(one) for one in raw.split(b","))


def parse_value(fields: tuple[object, ...]) -> RegisterValue | None:
    """The inverse of `encode_value`."""
    if len(fields) != VALUE_FIELDS:
        raise MessageError("a register value has seven fields")
    epoch = integer(fields[0], -1)
    if epoch == -1:
        if fields[1:] != (b"-", b"-", b"-", b"-", b"0", b"-"):
            raise MessageError("an empty register has only dashes")
        return None
    in_sync, version = parse_members(fields[4]), integer(fields[5])
    leader_id, life = _dashed(fields[1]), _dashed(fields[6])
    address = parse_address(fields[2], fields[3])
    return RegisterValue(epoch, leader_id, address, in_sync, version, life)


def parse_ballot(number: object, sentinel_id: object) -> Ballot:
    """A ballot; the empty one is 0 and a dash."""
    return Ballot(integer(number), _dashed(sentinel_id))


def encode_ballot(ballot: Ballot) -> tuple[bytes, bytes]:
    """Its two fields."""
    return b"%d" % ballot.number, ballot.sentinel_id.encode() or b"-"


#: Where sentinels announce themselves, on every data node.
HELLO_CHANNEL = b"__sentinel__:hello"
#: A data node's message there: sentinels are to ask about its lease now. No hello has this form.
LEASE_KNOCK = b"lease"


@dataclass(frozen=True, slots=True)
class Hello:
    """What a sentinel announces every two seconds on `__sentinel__:hello`."""

    address: Address
    sentinel_id: str
    current_epoch: int
    name: str
    leader: Address
    config_epoch: int


def encode_hello(hello: Hello) -> bytes:
    """The eight fields joined by commas."""
    return (
        f"{hello.address.host},{hello.address.port},{hello.sentinel_id},{hello.current_epoch},"
        f"{hello.name},{hello.leader.host},{hello.leader.port},{hello.config_epoch}"
    ).encode()


def parse_hello(payload: bytes) -> Hello:
    """The inverse of `encode_hello`. Raises MessageError."""
    if len(payload) > constants.HELLO_BYTES_MAX:
        raise MessageError("a hello message is too long")
    fields = payload.split(b",")
    if len(fields) != 8:
        raise MessageError("a hello message has eight fields")
    return Hello(
        address=parse_address(fields[0], fields[1]),
        sentinel_id=text(fields[2], constants.ID_BYTES_MAX),
        current_epoch=integer(fields[3]),
        name=text(fields[4]),
        leader=parse_address(fields[5], fields[6]),
        config_epoch=integer(fields[7]),
    )


@dataclass(frozen=True, slots=True)
class LeaseRenew:
    """`RENEW|POLL <name> <sentinel id> <members> <epoch> <leader id> <host> <port> <token or ->
    [<version> <in-sync set> <leader's life>]`.

    The reply is (epoch, node id, ttl in ms, token); a ttl of 0 means that there is nothing to
    grant: the token is then `-`, `restarted` (the life that led is over: the node may lead again
    only under a new epoch), or `released` followed by the heir's host and port. A leader that wants
    another in-sync set appends the version that it knows and the set.

    POLL asks the same of a leader whose lease is in an external store: nothing is granted by it.
    """

    name: str
    sentinel_id: str
    members: int
    epoch: int
    leader_id: str
    leader: Address
    token: str
    version: int = 0
    in_sync: tuple[str, ...] = ()
    life: str = ""
    stored: bool = False

    def encode(self) -> tuple[bytes, ...]:
        """The whole command."""
        return (
            b"LEASE",
            b"POLL" if self.stored else b"RENEW",
            self.name.encode(),
            self.sentinel_id.encode(),
            b"%d" % self.members,
            b"%d" % self.epoch,
            self.leader_id.encode() or b"-",
            self.leader.host.encode(),
            b"%d" % self.leader.port,
            self.token.encode() or b"-",
            b"%d" % self.version,
            encode_members(self.in_sync),
            self.life.encode() or b"-",
        )


@dataclass(frozen=True, slots=True)
class LeaseEpoch:
    """`EPOCH <name> <epoch> <leader id> <host> <port> [<version> <in-sync set> <leader's life>]`:
    what the register says. Reply: OK.
    """

    name: str
    epoch: int
    leader_id: str
    leader: Address
    version: int = 0
    in_sync: tuple[str, ...] = ()
    life: str = ""

    def encode(self) -> tuple[bytes, ...]:
        """The whole command."""
        return (
            b"LEASE",
            b"EPOCH",
            self.name.encode(),
            b"%d" % self.epoch,
            self.leader_id.encode() or b"-",
            self.leader.host.encode(),
            b"%d" % self.leader.port,
            b"%d" % self.version,
            encode_members(self.in_sync),
            self.life.encode() or b"-",
        )


@dataclass(frozen=True, slots=True)
class LeaseRead:
    """`READ <name>`: the external store holds something new under this name. Reply: OK."""

    name: str

    def encode(self) -> tuple[bytes, ...]:
        """The whole command."""
        return (b"LEASE", b"READ", self.name.encode())


LeaseMessage: TypeAlias = LeaseRenew | LeaseEpoch | LeaseRead


def _set_of(fields: tuple[bytes, ...]) -> tuple[int, tuple[str, ...], str]:
    if not fields:
        return 0, (), ""
    return integer(fields[0]), parse_members(fields[1]), _dashed(fields[2])


def parse_lease(args: tuple[bytes, ...]) -> LeaseMessage | None:
    """The arguments after LEASE; None is FORGET. Raises MessageError."""
    word = args[0].upper() if args else b""
    if word == b"FORGET" and len(args) == 1:
        return None
    if word == b"READ" and len(args) == 2:
        return LeaseRead(text(args[1]))
    if word == b"EPOCH" and len(args) in (6, 9):
        leader = parse_address(args[4], args[5])
        return LeaseEpoch(
            text(args[1]), integer(args[2]), _dashed(args[3]), leader, *_set_of(args[6:])
        )
    if word in (b"RENEW", b"POLL") and len(args) in (9, 12):
        version, in_sync, life = _set_of(args[9:])
        return LeaseRenew(
            name=text(args[1]),
            sentinel_id=text(args[2], constants.ID_BYTES_MAX),
            members=integer(args[3], 1, constants.SENTINELS_MAX),
            epoch=integer(args[4]),
            leader_id=_dashed(args[5]),
            leader=parse_address(args[6], args[7]),
            token=_dashed(args[8]),
            version=version,
            in_sync=in_sync,
            life=life,
            stored=word == b"POLL",
        )
    raise MessageError("unknown subcommand or wrong number of arguments for 'lease' command")
