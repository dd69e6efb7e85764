"""What a killed process left half written is removed at the start, and nothing else is."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cache_server.disk import Disk
from cache_server.persistence.leftovers import remove_leftovers
from cache_server.persistence.saving import Persistence
from tests.unit.persistence.test_saving import Host

OURS = [
    "temp-dump-17-0.rdb",
    "temp-rollback-0123456789ab-17-4711-17-3.aof",
    "log/temp-appendonly.aof-17-0.manifest",
    "log/temp-appendonly.aof.12.base-17-0.rdb",
    "log/temp-appendonly.aof.12.base-17-1.aof",
    "log/temp-appendonly.aof.incr",
]
OTHERS = [
    "dump.rdb",
    "temp-17.rdb",
    "temp-dump-17.rdb",
    "temp-dump-17-0.rdb.bak",
    "temp-other-17-0.rdb",
    "rollback-0123456789ab-17-4711.aof",
    "log/temp-dump-17-0.rdb",
    "log/appendonly.aof.12.base.rdb",
    "log/appendonly.aof.manifest",
    "log/temp-rewriteaof-17.aof",
]


def remove(folder: Path) -> int:
    log_folder = str(folder / "log")
    return remove_leftovers(Disk(), str(folder), "dump.rdb", log_folder, "appendonly.aof")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "log").mkdir()
    for name in OURS + OTHERS:
        (tmp_path / name).write_bytes(b"half")
    return tmp_path


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_files_of_our_names_that_nobody_holds_go(folder: Path) -> None:
    assert remove(folder) == len(OURS)
    assert names(folder) == set(OTHERS)


def test_a_folder_that_is_not_there_is_no_reason_to_fail(tmp_path: Path) -> None:
    assert remove(tmp_path / "gone") == 0


def test_what_a_living_process_writes_stays_and_goes_when_it_is_killed(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    script = (
        "import sys; from cache_server.disk import Disk; disk = Disk()\n"
        "one = disk.replace('dump.rdb'); two = disk.append('log/temp-appendonly.aof.incr')\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    root = str(Path(__file__).parents[3])
    writer = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": root},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"held\n"
        held = names(tmp_path)
        assert len(held) == 2
        assert remove(tmp_path) == 0
        assert names(tmp_path) == held
        writer.kill()
    assert remove(tmp_path) == 2
    assert not names(tmp_path)


def test_a_link_of_such_a_name_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"data")
    (tmp_path / "temp-dump-1-0.rdb").symlink_to(tmp_path / "precious")
    assert remove(tmp_path) == 0
    assert names(tmp_path) == {"precious", "temp-dump-1-0.rdb"}


def test_the_start_removes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "temp-dump-1-0.rdb").write_bytes(b"half")

    async def start() -> None:
        await Persistence(Host(asyncio.get_running_loop())).start()

    asyncio.run(start())
    assert not names(tmp_path)
