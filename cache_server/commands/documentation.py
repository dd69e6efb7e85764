"""What is known of a command beyond its row: arguments, history, key specifications, tips.

It is only shown (COMMAND DOCS, COMMAND INFO), never acted upon, so it is kept as data, in
`documentation.json`: one command a line, written by `tests/compat/documentation.py` from what a
redis-server 7.0 answers, and read when it is first asked for.

Source: https://redis.io/docs/latest/commands/command-docs/.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

from cache_server.wire.replies import Map, SetReply, Status

#: Fields of an argument that are numbers.
_NUMBERS = frozenset(("key_spec_index",))


@cache
def entry(full_name: str) -> dict[str, Any]:
    """What the file says of a command; empty for one of our own."""
    found: dict[str, Any] = _entries().get(full_name, {})
    return found


@cache
def _entries() -> dict[str, Any]:
    file = resources.files("cache_server.commands").joinpath("documentation.json")
    found: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return found


def statuses(words: list[str]) -> SetReply:
    """Flags, as a set of simple strings."""
    return SetReply(Status(word.encode()) for word in words)


def key_specifications(full_name: str) -> SetReply:
    """As COMMAND INFO shows them."""
    shown = SetReply()
    for flags, search, find, *notes in entry(full_name).get("keys", ()):
        spec = Map([b"notes", notes[0].encode()] if notes else [])
        spec += [b"flags", statuses(flags.split())]
        for step, (kind, fields) in ((b"begin_search", search), (b"find_keys", find)):
            pairs = Map()
            for name, value in fields.items():
                pairs += [name.encode(), value.encode() if isinstance(value, str) else value]
            spec += [step, Map([b"type", kind.encode(), b"spec", pairs])]
        shown.append(spec)
    return shown


def tips(full_name: str) -> SetReply:
    """Hints for proxies and clients of a cluster."""
    return SetReply(tip.encode() for tip in entry(full_name).get("tips", ()))


def fields(full_name: str) -> list[Any]:
    """COMMAND DOCS' fields that are not in a command's row, in Redis's order."""
    known = entry(full_name)
    shown: list[Any] = []
    for name, value in known.get("more", {}).items():
        shown += [name.encode(), statuses(value) if isinstance(value, list) else value.encode()]
    if "history" in known:
        lines = SetReply([since.encode(), change.encode()] for since, change in known["history"])
        shown += [b"history", lines]
    if "args" in known:
        shown += [b"arguments", [_argument(each) for each in known["args"]]]
    return shown


def _argument(form: str | list[Any]) -> Map:
    """`name type|field=value|...`, or a list of that and the arguments below it."""
    line, below = (form, []) if isinstance(form, str) else (form[0], form[1:])
    head, *rest = line.split("|")
    name, _, kind = head.rpartition(" ")
    shown = Map([b"name", name.encode(), b"type", kind.encode()])
    for pair in rest:
        field, _, value = pair.partition("=")
        if field == "flags":
            shown += [b"flags", statuses(value.split(","))]
        else:
            shown += [field.encode(), int(value) if field in _NUMBERS else value.encode()]
    if below:
        shown += [b"arguments", [_argument(each) for each in below]]
    return shown
