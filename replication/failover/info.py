"""Reading a data node's INFO as a sentinel needs it.

INFO is the only judge of what a node is and whom it follows: replies to SLAVEOF are not believed. A
node may be hostile or half broken, so lines that do not parse are passed over one by one and the
number of followers taken from one report is limited.

Lines read (https://redis.io/commands/info, section replication and server): `run_id`, `role`,
`slaveN`, `master_host`, `master_port`, `master_link_status`, `master_link_down_since_seconds`,
`slave_priority`, `slave_repl_offset` (a leader: `master_repl_offset`), `replica_announced`; and
ours, absent on a stock server: `lease_node_id`, `lease_epoch`.
"""

from __future__ import annotations

from dataclasses import dataclass

from replication.failover import constants
from replication.failover.cluster_view import Address

_SLAVE_DIGITS_MAX = 6


@dataclass(frozen=True, slots=True)
class InfoReport:
    """One INFO, parsed. Missing lines leave the defaults."""

    run_id: str = ""
    role: str = ""
    followers: tuple[Address, ...] = ()
    master_host: str = ""
    master_port: int = 0
    link_up: bool = False
    link_down_ms: int = 0
    priority: int = 100
    repl_offset: int = 0
    announced: bool = True
    node_id: str = ""
    lease_epoch: int = 0


def number(text: str, default: int = 0) -> int:
    """A decimal of at most 19 digits, else the default: never raises."""
    digits = text[1:] if text[:1] == "-" else text
    if digits.isascii() and digits.isdigit() and len(digits) <= 19:
        return int(text)
    return default


def _follower(value: str) -> Address | None:
    """`ip=127.0.0.1,port=6380,state=online,...`, or the old `127.0.0.1,6380,online`."""
    parts = value.split(",")
    if "ip=" in value:
        fields = dict(part.split("=", 1) for part in parts if "=" in part)
        host, port = fields.get("ip", ""), number(fields.get("port", ""))
    else:
        host, port = parts[0], number(parts[1]) if len(parts) > 1 else 0
    return Address(host, port) if host and 0 < port < 65536 else None


def parse_info(text: bytes) -> InfoReport:
    """The report in `text`; input beyond INFO_BYTES_MAX is ignored. Never raises."""
    fields: dict[str, str] = {}
    followers: list[Address] = []
    for raw in text[: constants.INFO_BYTES_MAX].split(b"\r\n"):
        name, colon, value = raw.decode("utf-8", "replace").partition(":")
        if not colon:
            continue
        suffix = name[5:]
        if name.startswith("slave") and suffix.isascii() and suffix.isdigit():
            found = _follower(value) if len(suffix) <= _SLAVE_DIGITS_MAX else None
            if found and len(followers) < constants.REPLICAS_MAX:
                followers.append(found)
        else:
            fields[name] = value
    return InfoReport(
        run_id=fields.get("run_id", "")[: constants.ID_BYTES_MAX],
        role=fields.get("role", ""),
        followers=tuple(followers),
        master_host=fields.get("master_host", ""),
        master_port=number(fields.get("master_port", "")),
        link_up=fields.get("master_link_status", "") == "up",
        link_down_ms=max(0, number(fields.get("master_link_down_since_seconds", ""))) * 1000,
        priority=number(fields.get("slave_priority", ""), 100),
        repl_offset=number(
            fields.get("slave_repl_offset", "") or fields.get("master_repl_offset", "")
        ),
        announced=number(fields.get("replica_announced", ""), 1) != 0,
        node_id=fields.get("lease_node_id", "")[: constants.ID_BYTES_MAX],
        lease_epoch=max(0, number(fields.get("lease_epoch", ""))),
    )
