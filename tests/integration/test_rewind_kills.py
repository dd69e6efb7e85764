"""Killed in the middle of a rewind: at every stage, and at any moment, the next life ends with the
leader's data, without a full sync, and with one rollback file that holds what was discarded."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cache_server.disk import Disk
from cache_server.persistence.rollback import RollbackReader
from tests.integration.processes import OURS, Process, free_port, wait_for

pytestmark = pytest.mark.integration

#: How often a node is killed at a random moment of its rewind; 200 for a longer look.
KILLS = int(os.environ.get("TEST_REWIND_KILLS", "1"))
#: Settings with which a new base takes a minute.
SLOW_BASE = "rdb-key-save-delay 30000\n"
TAIL_KEYS = 2500
VALUE_BYTES = 4000
SETTINGS = [
    "repl-diskless-sync-delay 0",
    'save ""',
    "enable-debug-command yes",
    "appendonly yes",
    "auto-aof-rewrite-percentage 0",
]


def until(condition: Callable[[], Any], what: str) -> Any:
    """Waits for it, also on a busy machine."""
    return wait_for(condition, what, 60)


class Parted:
    """A leader that was cut off, with a log that ends in a tail of its own; and its successor."""

    def __init__(self, folder: Path) -> None:
        self.old = Process(OURS, folder / "old", SETTINGS)
        self.old.start()
        upstream = f"replicaof 127.0.0.1 {self.old.port}"
        self.new = Process(OURS, folder / "new", [*SETTINGS, upstream])
        self.new.start()
        self.old.client().set("before", 1)
        until(lambda: self.new.client().get("before"), "the follower to catch up")
        self.new.client().replicaof("127.0.0.1", free_port())
        until(lambda: self.old.info()["connected_slaves"] == 0, "the link to be gone")
        self.new.client().replicaof("NO", "ONE")
        self.tail: list[list[bytes]] = []
        with self.old.client(socket_timeout=60).pipeline(transaction=False) as pipe:
            for at in range(TAIL_KEYS):
                words = [b"SET", b"tail:%d" % at, b"%d" % at * (VALUE_BYTES // len(b"%d" % at))]
                self.tail.append(words)
                pipe.execute_command(*words)
            pipe.execute()
        with self.new.client(socket_timeout=60).pipeline(transaction=False) as pipe:
            for at in range(0, TAIL_KEYS, 3):
                pipe.set(f"tail:{at}", "of the new leader")
            pipe.execute()
        with self.old.conf.open("a", encoding="utf-8") as conf:
            conf.write(f"replicaof 127.0.0.1 {self.new.port}\n")

    def begin_to_rewind(self) -> None:
        """From here on the old leader follows, by order or because it is started again."""
        self.old.kill()
        self.old.spawn()

    def kill(self) -> None:
        """Kills the old leader; its successor goes on, whatever held it up."""
        self.old.kill()
        self.new.send(signal.SIGCONT)

    def files(self, pattern: str) -> list[Path]:
        """Those in the old leader's folder."""
        return list(self.old.folder.glob(pattern))

    def assert_rewinds_whole(self) -> None:
        """Its next life ends as if it had never been killed."""
        old, new = self.old, self.new
        old.kill()
        begun = old.log_count("Rewinding to offset")
        old.start()
        until(lambda: old.info()["master_link_status"] == "up", f"the rewind: {old.log()}")
        new.client().incr("since")
        offset = new.info()["master_repl_offset"]
        until(lambda: old.info()["master_repl_offset"] >= offset, "the stream to go on")
        digests = [each.client().execute_command("DEBUG", "DIGEST") for each in (old, new)]
        assert digests[0] == digests[1]
        assert new.info("stats")["sync_full"] == 0
        assert old.log_count("Rewinding to offset") <= begun + 1
        (path,) = self.files("rollback-*")
        assert [one.words for one in RollbackReader(Disk(), str(path)).commands()] == self.tail
        assert not self.files("temp-rollback-*")


@pytest.fixture
def parted(tmp_path: Path) -> Iterator[Parted]:
    made = Parted(tmp_path)
    yield made
    for each in (made.old, made.new):
        each.kill()


def test_killed_at_every_stage_and_any_moment_it_ends_with_the_leader_s_data(
    parted: Parted,
) -> None:
    old, new = parted.old, parted.new

    # The tail is being written: its file has no name yet.
    parted.begin_to_rewind()
    until(lambda: parted.files("*rollback-*"), "the tail's file")
    parted.kill()

    # It is written, and the new leader has not agreed yet: it is held up.
    begun = old.log_count("is put aside")
    parted.begin_to_rewind()
    until(lambda: old.log_count("is put aside") > begun, "the tail to be read")
    new.send(signal.SIGSTOP)
    until(lambda: parted.files("rollback-*"), "the file to be whole")
    parted.kill()

    # Keys are being fetched, and the values do not come.
    begun = old.log_count("Rewinding to offset")
    parted.begin_to_rewind()
    until(lambda: old.log_count("Rewinding to offset") > begun, "the rewind to begin")
    new.send(signal.SIGSTOP)
    until(old.answers, "an answer")
    parted.kill()

    # Any moment; the new base is never whole, so the tail is always there.
    with old.conf.open("a", encoding="utf-8") as conf:
        conf.write(SLOW_BASE)
    rng = random.Random(KILLS)
    for _ in range(KILLS):
        parted.begin_to_rewind()
        until(old.answers, "the server to be there")
        moment = time.monotonic() + rng.uniform(0, 0.5)
        until(lambda moment=moment: time.monotonic() > moment, "the moment")
        parted.kill()

    # All is fetched, and the new base is being written.
    parted.begin_to_rewind()
    until(lambda: old.info()["master_link_status"] == "up", f"the rewind: {old.log()}")
    assert old.info("persistence")["aof_rewrite_in_progress"] == 1
    assert parted.files("appendonlydir/temp-*")
    parted.kill()
    old.conf.write_text(old.conf.read_text().replace(SLOW_BASE, ""))
    parted.assert_rewinds_whole()

    # The base is whole: nothing of the tail is there any more.
    until(lambda: old.info("persistence")["aof_rewrite_in_progress"] == 0, "the new base")
    begun = old.log_count("Rewinding to offset")
    parted.assert_rewinds_whole()
    assert old.log_count("Rewinding to offset") == begun
