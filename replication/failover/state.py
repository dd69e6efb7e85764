"""The state files: bytes for what sentinels and data nodes must not forget.

One word-separated line per fact, readable and diffable; the last line seals all before it. A file
that was cut short, or changed by anything but this program, is refused as a whole: a sentinel that
has forgotten a promise must not guess one. The shell writes a new file beside the old one, syncs
it, and renames it.

    cache-sentinel-state 1                      cache-lease-state 1
    sentinel <id> <current epoch>               node <id> <name> <epoch> <leader id> <under lease
    0|1> master <name> <host> <port> <quorum> ...    seal <FNV-1a 64 of all bytes above, hex>
    at <host> <port> <config epoch>
    vote <epoch> <sentinel id>
    promised <ballot> <id>  accepted <ballot> <id>  value <...>  register <...>
    replica <host> <port>
    peer <sentinel id> <host> <port>
    seal ...

Frozen: the seal, the first line, and the meaning of every word. New facts are new words.
"""

from __future__ import annotations

from dataclasses import replace

from replication.failover.cluster_view import (
    AcceptorState,
    KnownSentinel,
    LeaseState,
    MasterConfig,
    MasterState,
    SentinelState,
)
from replication.failover.messages import (
    VALUE_FIELDS,
    MessageError,
    encode_ballot,
    encode_value,
    integer,
    parse_address,
    parse_ballot,
    parse_value,
    text,
)

_SENTINEL_HEAD = b"cache-sentinel-state 1"
_LEASE_HEAD = b"cache-lease-state 1"
_STATE_BYTES_MAX = 16 << 20


class StateError(Exception):
    """A state file that cannot be trusted; the text says why."""


def _seal(body: bytes) -> bytes:
    """FNV-1a, 64 bits: enough to tell an accident; it is no defence against an attacker."""
    digest = 0xCBF29CE484222325
    for byte in body:
        digest = (digest ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return b"seal %016x\n" % digest


def _sealed(head: bytes, lines: list[tuple[bytes, ...]]) -> bytes:
    body = b"".join(b" ".join(words) + b"\n" for words in [(head,), *lines])
    return body + _seal(body)


def _unsealed(head: bytes, raw: bytes) -> list[list[bytes]]:
    if len(raw) > _STATE_BYTES_MAX:
        raise StateError("the state file is too large")
    end = raw.rfind(b"seal ")
    if end < 0 or raw[end:] != _seal(raw[:end]):
        raise StateError("the state file is cut short or damaged")
    lines = raw[:end].split(b"\n")
    if lines[0] != head:
        raise StateError("the state file is of another kind or version")
    return [line.split(b" ") for line in lines[1:] if line]


def _number(value: int) -> bytes:
    return b"%d" % value


def _dash(value: str) -> bytes:
    return value.encode() or b"-"


def _undash(raw: bytes) -> str:
    return "" if raw == b"-" else text(raw)


def _master_lines(state: MasterState) -> list[tuple[bytes, ...]]:
    config, acceptor = state.config, state.acceptor
    numbers = (
        config.quorum,
        config.members,
        config.down_after_ms,
        config.failover_timeout_ms,
        config.parallel_syncs,
        config.master_reboot_down_after_ms,
    )
    host, port = config.address.host.encode(), _number(config.address.port)
    return [
        (b"master", config.name.encode(), host, port, *map(_number, numbers)),
        (
            b"at",
            state.address.host.encode(),
            _number(state.address.port),
            _number(state.config_epoch),
        ),
        (b"vote", _number(state.vote_epoch), _dash(state.voted_for)),
        (b"promised", *encode_ballot(acceptor.promised)),
        (b"accepted", *encode_ballot(acceptor.accepted), *encode_value(acceptor.value)),
        (b"register", *encode_value(state.register)),
        *((b"replica", one.host.encode(), _number(one.port)) for one in state.replicas),
        *(
            (
                b"peer",
                one.sentinel_id.encode(),
                one.address.host.encode(),
                _number(one.address.port),
            )
            for one in state.sentinels
        ),
    ]


def encode(state: SentinelState) -> bytes:
    """A sentinel's state file."""
    lines = [(b"sentinel", state.sentinel_id.encode(), _number(state.current_epoch))]
    return _sealed(
        _SENTINEL_HEAD, [*lines, *(li for m in state.masters for li in _master_lines(m))]
    )


def _config(words: list[bytes]) -> MasterConfig:
    if len(words) != 9:
        raise MessageError("a master line has nine words")
    numbers = [integer(word) for word in words[3:]]
    return MasterConfig(text(words[0]), parse_address(words[1], words[2]), *numbers)


def _with_fact(state: MasterState, word: bytes, rest: list[bytes]) -> MasterState:
    if word == b"at" and len(rest) == 3:
        address = parse_address(rest[0], rest[1])
        return replace(state, address=address, config_epoch=integer(rest[2]))
    if word == b"vote" and len(rest) == 2:
        return replace(state, vote_epoch=integer(rest[0]), voted_for=_undash(rest[1]))
    if word == b"promised" and len(rest) == 2:
        promised = parse_ballot(rest[0], rest[1])
        return replace(state, acceptor=replace(state.acceptor, promised=promised))
    if word == b"accepted" and len(rest) == 2 + VALUE_FIELDS:
        accepted, value = parse_ballot(rest[0], rest[1]), parse_value(tuple(rest[2:]))
        acceptor = AcceptorState(state.acceptor.promised, accepted, value)
        return replace(state, acceptor=acceptor)
    if word == b"register":
        return replace(state, register=parse_value(tuple(rest)))
    if word == b"replica" and len(rest) == 2:
        return replace(state, replicas=(*state.replicas, parse_address(rest[0], rest[1])))
    if word == b"peer" and len(rest) == 3:
        known = KnownSentinel(text(rest[0]), parse_address(rest[1], rest[2]))
        return replace(state, sentinels=(*state.sentinels, known))
    raise MessageError(f"unknown fact {word.decode('utf-8', 'replace')[:32]}")


def decode(raw: bytes) -> SentinelState:
    """The inverse of `encode`. Raises StateError."""
    lines = _unsealed(_SENTINEL_HEAD, raw)
    masters: list[MasterState] = []
    try:
        if not lines or lines[0][0] != b"sentinel" or len(lines[0]) != 3:
            raise MessageError("the first fact is not the sentinel's own")
        sentinel_id, epoch = text(lines[0][1]), integer(lines[0][2])
        for word, *rest in lines[1:]:
            if word == b"master":
                config = _config(rest)
                masters.append(MasterState(config, config.address))
            elif not masters:
                raise MessageError("a fact without its master")
            else:
                masters[-1] = _with_fact(masters[-1], word, rest)
    except MessageError as error:
        raise StateError(f"the state file does not parse: {error}") from error
    return SentinelState(sentinel_id, epoch, tuple(masters))


def encode_lease(state: LeaseState) -> bytes:
    """A data node's lease state file."""
    under = b"1" if state.under_lease else b"0"
    words = (state.node_id.encode(), _dash(state.name), _number(state.epoch))
    return _sealed(_LEASE_HEAD, [(b"node", *words, _dash(state.leader_id), under)])


def decode_lease(raw: bytes) -> LeaseState:
    """The inverse of `encode_lease`. Raises StateError."""
    lines = _unsealed(_LEASE_HEAD, raw)
    try:
        if len(lines) != 1 or lines[0][0] != b"node" or len(lines[0]) != 6:
            raise MessageError("one line about the node was expected")
        _, node_id, name, epoch, leader_id, under = lines[0]
        return LeaseState(
            text(node_id),
            _undash(name),
            integer(epoch),
            _undash(leader_id),
            integer(under, 0, 1) == 1,
        )
    except MessageError as error:
        raise StateError(f"the state file does not parse: {error}") from error
