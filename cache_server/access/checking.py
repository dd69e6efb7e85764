"""Whether a user may run a request, and what forbids it.

A selector has to allow the command, every key as the request uses it, and every channel. Where no
selector allows all of it, what comes nearest is told: a channel before a key before the command,
and of several keys the last one in the request.

Keys that cannot be told (a count that is no number) are none: the command refuses the request then.
"""

from __future__ import annotations

from typing import NamedTuple

from cache_server.access.catalogue import PUBLISHING, READ, SUBSCRIBING, Catalogue, access_of
from cache_server.access.rules import ALLOWED, DENIED, Selector, User
from cache_server.commands.table import Command
from cache_server.errors import CommandError

COMMAND = "command"
KEY = "key"
CHANNEL = "channel"

_NEARNESS = {COMMAND: 0, KEY: 1, CHANNEL: 2}


class Denial(NamedTuple):
    """What forbids a request: the command, or the key or channel at a position in its arguments."""

    reason: str
    position: int = 0


def key_accesses(catalogue: Catalogue, row: Command, args: list[bytes]) -> list[tuple[int, int]]:
    """Where a request's keys are, and how each is accessed: READ, WRITE, both, or 0 for neither."""
    if not catalogue.keyed >> catalogue.numbers[row] & 1:
        return []
    try:
        positions = row.key_positions(args)
    except (CommandError, IndexError):
        return []
    known = catalogue.accesses.get(row)
    if known is None:
        return [(pos, access_of(row, index, args)) for index, pos in enumerate(positions)]
    first, others = known
    return [(pos, others if index else first) for index, pos in enumerate(positions)]


def channels(row: Command, args: list[bytes]) -> list[int]:
    """Where the channels are that a request publishes or subscribes to."""
    if row.full_name in PUBLISHING:
        return [1]
    return list(range(1, len(args))) if row.full_name in SUBSCRIBING else []


def denial(user: User, row: Command, args: list[bytes]) -> Denial | None:
    """What forbids the request to the user; None where it is allowed."""
    decision = user.decisions[user.catalogue.numbers[row]]
    if decision == ALLOWED:
        return None
    if decision == DENIED:
        return Denial(COMMAND)
    keys = key_accesses(user.catalogue, row, args)
    nearest = Denial(COMMAND)
    for selector in user.selectors:
        found = _denied_by(selector, row, args, keys)
        if found is None:
            return None
        if (_NEARNESS[found.reason], found.position) > (
            _NEARNESS[nearest.reason],
            nearest.position,
        ):
            nearest = found
    return nearest


def _denied_by(
    selector: Selector, row: Command, args: list[bytes], keys: list[tuple[int, int]]
) -> Denial | None:
    catalogue = selector.catalogue
    number = catalogue.numbers[row]
    if not (selector.allowed | catalogue.always) >> number & 1:
        parts = selector.first_arguments.get(number, ())
        if len(args) < 2 or args[1].lower() not in [part.lower() for part in parts]:
            return Denial(COMMAND)
    for position, access in keys:
        if not selector.allows_key(args[position], access):
            return Denial(KEY, position)
    if selector.all_channels or not catalogue.channelled >> number & 1:
        return None
    is_pattern = row.full_name == "psubscribe"
    for position in channels(row, args):
        if not selector.allows_channel(args[position], is_pattern):
            return Denial(CHANNEL, position)
    return None


def reads_every_key(user: User, row: Command, args: list[bytes]) -> bool:
    """Whether one selector allows the request and to read any key (SORT's BY and GET patterns)."""
    keys = key_accesses(user.catalogue, row, args)
    return any(
        selector.allows_every_key(READ) and _denied_by(selector, row, args, keys) is None
        for selector in user.selectors
    )
