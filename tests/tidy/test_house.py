"""The style guide as a test: who may import whom, how long a function may be, no dead files.

The table of rooms stands in docs/architecture.md; here it is checked. What is not listed is
refused.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FUNCTION_LINES_MAX = 70

#: What every room of cache_server may use.
COMMON = {
    "cache_server",
    "cache_server.errors",
    "cache_server.constants",
    "cache_server.config",
    "cache_server.config_kinds",
    "cache_server.observe",
}
#: Room -> rooms (or modules) it may import besides itself and COMMON.
ROOMS: dict[str, set[str]] = {
    "cache_server._core": {"cache_server.wire.inline", "cache_server.wire.replies"},
    "cache_server.structures": set(),
    "cache_server.wire": {"cache_server._core"},
    "cache_server.keyspace": {
        "cache_server.structures",
        "cache_server.client",
        "cache_server.wire",
    },
    "cache_server.datatypes": {
        "cache_server.structures",
        "cache_server.keyspace",
        "cache_server.wire",
        "cache_server.client",
        "cache_server.commands.table",
    },
    "cache_server.persistence": {
        "cache_server.datatypes",
        "cache_server.keyspace",
        "cache_server.structures",
        "cache_server.disk",
        "cache_server.wire",
        "cache_server.client",
        "replication",
    },
    "cache_server.access": {
        "cache_server.structures",
        "cache_server.wire",
        "cache_server.client",
        "cache_server.config_file",
        "cache_server.commands.table",
        "cache_server.commands.key_flags",
        "cache_server.commands.client_lines",
    },
    "cache_server.commands": {
        "cache_server.access",
        "cache_server.datatypes",
        "cache_server.keyspace",
        "cache_server.structures",
        "cache_server.persistence",
        "cache_server.wire",
        "cache_server.client",
        "replication",
    },
    "cache_server.scripting": {
        "cache_server.commands.dispatch",
        "cache_server.commands.helping",
        "cache_server.commands.table",
        "cache_server.datatypes.arguments",
        "cache_server.persistence.snapshot_codec",
        "cache_server.persistence.snapshot_reader",
        "cache_server.structures",
        "cache_server.wire",
        "cache_server.client",
        "replication.checksum",
    },
    "cache_server.links": {
        "cache_server.commands",
        "cache_server.persistence",
        "cache_server.keyspace",
        "cache_server.client",
        "cache_server.disk",
        "cache_server.wire",
        "replication",
    },
    "cache_server.coordination": {
        "cache_server.wire",
        "cache_server.client",
        "cache_server.disk",
        "cache_server.commands.dispatch",
        "replication.failover",
    },
    "cache_server.sentinel": {
        "cache_server.connection",
        "cache_server.client",
        "cache_server.coordination",
        "cache_server.commands",
        "cache_server.keyspace",
        "cache_server.wire",
        "cache_server.structures",
        "cache_server.listeners",
        "cache_server.config_file",
        "cache_server.disk",
        "replication.failover",
    },
}
PURE_STDLIB = {
    "__future__", "abc", "bisect", "collections", "collections.abc", "dataclasses", "enum",
    "functools", "heapq", "itertools", "math", "struct", "typing",
}  # fmt: skip
CHECKSUM_LIBRARIES = {"crc32c", "anycrc"}
#: Modules in which asyncio may appear.
ASYNCIO = re.compile(
    r"cache_server/(connection|server|listeners|links/.*|coordination/.*|sentinel/.*|proxy/.*|cli/.*"
    r"|persistence/(saving|log_sync)|lease)\.py"
)


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> set[str]:
    """Full names of what a file imports; `from a import b` counts as a.b where that is a module."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            node.body.clear()  # a name used as a type only is no dependency at run time
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                target = ROOT / Path(*full.split("."))
                is_module = target.with_suffix(".py").exists() or target.is_dir()
                found.add(full if is_module else node.module)
    return found


def room_of(name: str) -> str | None:
    parts = name.split(".")
    room = ".".join(parts[:2])
    return room if room in ROOMS else None


def allowed(name: str, permitted: set[str]) -> bool:
    return any(name == room or name.startswith(room + ".") for room in permitted)


def test_each_room_imports_only_its_neighbours() -> None:
    wrong = []
    for path in python_files("cache_server"):
        name = module_name(path)
        room = room_of(name)
        if room is None:
            continue
        permitted = ROOMS[room] | {room} | (COMMON - {"cache_server"})
        for imported in imports_of(path):
            ours = imported.startswith(("cache_server.", "replication"))
            if ours and not allowed(imported, permitted):
                wrong.append(f"{name} imports {imported}")
    assert wrong == []


def test_replication_is_pure() -> None:
    wrong = []
    for path in python_files("replication"):
        for imported in imports_of(path):
            library = imported in CHECKSUM_LIBRARIES and path.name == "checksum.py"
            if not (imported.startswith("replication") or imported in PURE_STDLIB or library):
                wrong.append(f"{module_name(path)} imports {imported}")
    assert wrong == []


def test_asyncio_stays_in_the_shells() -> None:
    wrong = [
        str(path.relative_to(ROOT))
        for path in python_files("cache_server")
        if "asyncio" in imports_of(path) and not ASYNCIO.fullmatch(str(path.relative_to(ROOT)))
    ]
    assert wrong == []


def test_no_function_is_longer_than_a_screen() -> None:
    long = []
    for path in python_files("cache_server", "replication", "tests", "bench"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                lines = node.end_lineno - node.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {lines}")
    assert long == []


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in python_files("cache_server", "replication", "bench")
        if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


def test_no_module_is_dead() -> None:
    """Every module is imported by another, is an entry point, or is named in a table of modules."""
    everything = {module_name(p): p for p in python_files("cache_server", "replication")}
    used: set[str] = set()
    for path in python_files("cache_server", "replication"):
        own = module_name(path)
        used |= {name for name in imports_of(path) if name != own}
    text = (ROOT / "pyproject.toml").read_text() + (ROOT / "Makefile").read_text()
    text += (ROOT / "docker-compose.yml").read_text()
    text += (ROOT / "cache_server/commands/registry.py").read_text()
    dead = [
        name
        for name, path in everything.items()
        if name not in used
        and path.name not in ("__init__.py", "__main__.py")
        and name not in text
        and path.stat().st_size > 0
    ]
    assert dead == []


@pytest.mark.parametrize("word", ["TO" + "DO", "FIX" + "ME", "XX" + "X:"])
def test_nothing_is_left_for_later(word: str) -> None:
    left = [
        str(path.relative_to(ROOT))
        for path in python_files("cache_server", "replication", "tests", "bench")
        if word in path.read_text()
    ]
    assert left == []


def test_the_command_table_is_whole() -> None:
    """Every row has a handler with a docstring, documentation, and keys within its arity."""
    script = (
        "from cache_server.commands import registry\n"
        "from importlib import import_module\n"
        "def rows():\n"
        "    for name in registry.MODULES:\n"
        "        for row in import_module(name).COMMANDS:\n"
        "            yield row\n"
        "            yield from (row.subcommands or {}).values()\n"
        "names = [row.full_name for row in rows()]\n"
        "assert len(names) == len(set(names)), 'a name is taken twice'\n"
        "bad = [r.full_name for r in rows() if not r.summary or not r.since or not r.group]\n"
        "assert not bad, f'without documentation: {bad}'\n"
        "bad = [r.full_name for r in rows() if r.first_key > abs(r.arity)]\n"
        "assert not bad, f'keys beyond the arity: {bad}'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
