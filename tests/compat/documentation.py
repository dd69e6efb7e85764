"""Writes cache_server/commands/documentation.json from what a real redis-server says of itself.

    python -m tests.compat.documentation PORT

One command a line: `args` (COMMAND DOCS' trees), `history`, `more` (deprecation), `keys` (COMMAND
INFO's key specifications), `tips`. An argument is `name type|field=value|...`, or a list of that
and its own arguments. Commands of modules are left out.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import redis

FILE = Path(__file__).parents[2] / "cache_server" / "commands" / "documentation.json"
_LEFT_OUT = ("module",)
_MORE = ("doc_flags", "deprecated_since", "replaced_by")


def text(value: Any) -> Any:
    """Replies with strings for bytes and lists for sets."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, dict):
        return {text(name): text(each) for name, each in value.items()}
    return [text(each) for each in value] if isinstance(value, list | set | tuple) else value


def argument(description: dict[str, Any]) -> Any:
    """One argument in the file's form."""
    shown = f"{description.pop('name')} {description.pop('type')}"
    below = description.pop("arguments", None)
    for field, value in description.items():
        shown += f"|{field}={','.join(value) if isinstance(value, list) else value}"
    return shown if below is None else [shown, *map(argument, below)]


def specification(spec: dict[str, Any]) -> list[Any]:
    """A key specification: flags, where to begin, what to find, notes."""
    steps = [spec["begin_search"], spec["find_keys"]]
    return [
        " ".join(spec["flags"]),
        *([step["type"], step["spec"]] for step in steps),
        *([spec["notes"]] if "notes" in spec else []),
    ]


def collect(client: Any) -> dict[str, dict[str, Any]]:
    """The file's content."""
    found: dict[str, dict[str, Any]] = {}

    def documented(docs: dict[str, Any]) -> None:
        for name, doc in docs.items():
            entry = found.setdefault(name, {})
            entry["args"] = [argument(each) for each in doc.get("arguments", [])]
            entry["history"] = doc.get("history", [])
            entry["more"] = {field: doc[field] for field in _MORE if field in doc}
            documented(doc.get("subcommands", {}))

    def described(row: list[Any]) -> None:
        entry = found.setdefault(row[0], {})
        entry["tips"], entry["keys"] = row[7], [specification(each) for each in row[8]]
        for sub in row[9]:
            described(sub)

    documented(text(execute(client, "COMMAND", "DOCS")))
    for row in text(execute(client, "COMMAND")):
        described(row)
    return found


def execute(client: Any, *words: str) -> Any:
    """The reply as it came, not in redis-py's own form."""
    connection = client.connection_pool.get_connection()
    connection.send_command(*words)
    return connection.read_response()


def main(port: int) -> None:
    """Writes the file."""
    found = collect(redis.Redis(port=port, protocol=3))
    lines = []
    for name in sorted(found):
        entry = {field: value for field, value in found[name].items() if value}
        if entry and name.partition("|")[0] not in _LEFT_OUT:
            lines.append(f"{json.dumps(name)}:{json.dumps(entry, separators=(',', ':'))}")
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
