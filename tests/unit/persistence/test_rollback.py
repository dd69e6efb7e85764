"""Rollback files: what was discarded is read again exactly, and damage is found wherever it is."""

from __future__ import annotations

import errno
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cache_server.commands.registry import MODULES
from cache_server.disk import Disk
from cache_server.errors import InputError
from cache_server.links.own_tail import Source, Tail, last_selected, read_log_tail, scan_tail
from cache_server.persistence.inspection import inspect_log
from cache_server.persistence.log_codec import Place, encode_group, encode_place
from cache_server.persistence.rollback import (
    UNKNOWN_DB,
    RollbackHeader,
    RollbackReader,
    encode_header,
    parse_header,
    rollback_files,
    rollback_usage,
    write_rollback,
)
from replication.backlog import Backlog
from replication.constants import NO_REPLID
from tests.scenarios.miniature import command

ROWS = {row.name.encode(): row for name in MODULES for row in import_module(name).COMMANDS}
REPLID = "a" * 40


def stream(*pieces: bytes) -> Backlog:
    """A backlog in which each piece was sealed for itself."""
    backlog = Backlog(1 << 20)
    backlog.active = True
    for piece in pieces:
        backlog.append(piece, 1000, 3)
    return backlog


def source_of(backlog: Backlog, fork: int) -> Source:
    return Source(fork, backlog.sealed_from(fork), backlog.mark_at(fork))


def scanned(backlog: Backlog, fork: int, database_at_end: int = 0) -> Tail:
    tail = scan_tail(ROWS, source_of(backlog, fork), database_at_end, 16)
    assert tail is not None
    return tail


def written(folder: Path, backlog: Backlog, fork: int, bytes_max: int = 0) -> str:
    tail = scanned(backlog, fork)
    header = RollbackHeader(
        REPLID, fork, tail.start, backlog.end, tail.database, tail.commands, 5000, "h:1"
    )
    place = Place(
        REPLID,
        NO_REPLID,
        -1,
        3,
        tail.start,
        tail.mark.checksum,
        tail.mark.base,
        max(0, tail.database),
        "",
    )
    return write_rollback(Disk(), str(folder), header, place, tail.groups, bytes_max)


BEFORE = command(b"SELECT", b"2") + command(b"SET", b"old", b"1")
TRANSACTION = (
    command(b"MULTI") + command(b"INCR", b"n") + command(b"DEL", b"a", b"b") + command(b"EXEC")
)
LONG = command(b"SET", b"long", b"v" * 50_000)


@pytest.fixture
def file(tmp_path: Path) -> str:
    half = len(TRANSACTION) // 2
    backlog = stream(
        BEFORE + command(b"PING"),
        TRANSACTION[:half],
        TRANSACTION[half:],
        command(b"SELECT", b"5") + LONG,
        command(b"PUBLISH", b"channel", b"no write") + command(b"FLUSHDB"),
    )
    return written(tmp_path, backlog, len(BEFORE))


def test_it_holds_the_writes_with_offset_database_and_transaction(file: str) -> None:
    found = list(RollbackReader(Disk(), file).commands())
    assert [(one.database, one.words[0], one.unit) for one in found] == [
        (UNKNOWN_DB, b"INCR", 1),
        (UNKNOWN_DB, b"DEL", 1),
        (5, b"SET", 0),
        (5, b"FLUSHDB", 0),
    ]
    first = len(BEFORE) + len(command(b"PING")) + len(command(b"MULTI"))
    assert found[0].offset == first
    assert found[2].words[2] == b"v" * 50_000


def test_its_name_tells_history_and_offsets(file: str, tmp_path: Path) -> None:
    header = RollbackReader(Disk(), file).header
    assert file.endswith(f"rollback-{REPLID[:12]}-{header.start}-{header.end}.aof")
    assert rollback_files(str(tmp_path)) == [file]
    assert rollback_files(str(tmp_path / "nowhere")) == []


def test_the_log_s_reader_takes_it_too(file: str) -> None:
    report = inspect_log(Disk(), file, 0)
    assert report.fault is None
    assert report.files[0].frames == 8


def test_the_same_tail_is_not_written_twice(file: str, tmp_path: Path) -> None:
    Path(file).write_bytes(b"left as it is")
    backlog = stream(BEFORE, command(b"SET", b"k", b"v"))
    path = written(tmp_path, backlog, len(BEFORE))
    Path(path).write_bytes(b"kept")
    assert written(tmp_path, backlog, len(BEFORE)) == path
    assert Path(path).read_bytes() == b"kept"


def test_files_together_stay_below_the_limit_and_none_is_deleted(tmp_path: Path) -> None:
    backlog = stream(BEFORE, TRANSACTION, LONG)
    fork = len(BEFORE) + len(TRANSACTION)
    first = written(tmp_path, backlog, fork, 60_000)
    assert rollback_usage(str(tmp_path)) == (1, Path(first).stat().st_size)
    with pytest.raises(OSError, match="replication-rollback-max-bytes is 60000") as refused:
        written(tmp_path, backlog, len(BEFORE), 60_000)
    assert refused.value.errno == errno.EDQUOT
    assert [each.name for each in tmp_path.iterdir()] == [Path(first).name]
    assert written(tmp_path, backlog, fork, 60_000) == first, "what is there needs no room"
    written(tmp_path, backlog, len(BEFORE), 120_000)
    assert rollback_usage(str(tmp_path))[0] == 2
    assert rollback_usage(str(tmp_path / "nowhere")) == (0, 0)


def test_every_cut_tail_is_found(tmp_path: Path) -> None:
    path = Path(written(tmp_path, stream(BEFORE, TRANSACTION, command(b"INCR", b"n")), len(BEFORE)))
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError):
            list(RollbackReader(Disk(), str(path)).commands())


def test_every_changed_byte_is_found(tmp_path: Path) -> None:
    path = Path(written(tmp_path, stream(BEFORE, TRANSACTION, command(b"INCR", b"n")), len(BEFORE)))
    whole = path.read_bytes()
    for at in range(len(whole)):
        for flip in (0x01, 0x20, 0xFF):
            changed = bytearray(whole)
            changed[at] ^= flip
            path.write_bytes(changed)
            with pytest.raises(InputError):
                list(RollbackReader(Disk(), str(path)).commands())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(data=st.binary(max_size=200), sound=st.booleans())
def test_any_bytes_are_a_value_or_the_typed_error(tmp_path: Path, data: bytes, sound: bool) -> None:
    head = encode_header(RollbackHeader(REPLID, 0, 0, 9, 0, 1, 0, "")) if sound else b""
    path = tmp_path / "any.aof"
    path.write_bytes(head + data)
    with pytest.raises(InputError):
        list(RollbackReader(Disk(), str(path)).commands())


@pytest.mark.parametrize(
    "header",
    [
        RollbackHeader(REPLID, 5, 4, 9, 0, 1, 0, ""),
        RollbackHeader(REPLID, 5, 5, 5, 0, 0, 0, ""),
        RollbackHeader("b" * 39, 5, 5, 9, 0, 1, 0, ""),
        RollbackHeader(REPLID, 5, 5, 9, -2, 1, 0, ""),
        RollbackHeader(REPLID, 5, 5, 9, 0, 99, 0, ""),
        RollbackHeader(REPLID, 5, 5, 9, 0, 1, 1 << 60, ""),
    ],
)
def test_a_first_line_that_contradicts_itself_is_refused(header: RollbackHeader) -> None:
    with pytest.raises(InputError, match="first line"):
        parse_header(encode_header(header))


# -- the tail that goes into it -------------------------------------------------------------------


def test_a_tail_tells_the_keys_that_it_touched() -> None:
    backlog = stream(
        command(b"SELECT", b"1")
        + command(b"SET", b"a", b"1")
        + command(b"MOVE", b"b", b"3")
        + command(b"COPY", b"c", b"d", b"DB", b"4")
        + command(b"SORT", b"e", b"STORE", b"f")
        + command(b"PUBLISH", b"x", b"y")
        + command(b"LMOVE", b"g", b"h", b"LEFT", b"LEFT")
    )
    tail = scanned(backlog, 0)
    assert tail.keys == {
        (1, b"a"), (1, b"b"), (3, b"b"), (1, b"c"), (4, b"d"),
        (1, b"e"), (1, b"f"), (1, b"g"), (1, b"h"),
    }  # fmt: skip
    assert not tail.untraceable


@pytest.mark.parametrize(
    "words", [[b"FLUSHALL"], [b"FLUSHDB"], [b"SWAPDB", b"0", b"1"], [b"FUNCTION", b"FLUSH"],
              [b"EVAL", b"return 1", b"0"], [b"SOMETHING", b"k"]],
)  # fmt: skip
def test_what_changes_more_than_single_keys_is_said_to_be_untraceable(words: list[bytes]) -> None:
    tail = scanned(stream(command(b"SET", b"a", b"1") + command(*words)), 0)
    assert tail.untraceable
    assert tail.commands == 2


def test_a_database_that_is_never_selected_is_the_one_at_the_end() -> None:
    tail = scanned(stream(BEFORE, command(b"SET", b"a", b"1")), len(BEFORE), database_at_end=2)
    assert tail.database == 2
    assert tail.keys == {(2, b"a")}


def test_a_database_is_found_before_the_fork() -> None:
    assert last_selected([b"cut\r\n", BEFORE]) == 2
    assert last_selected([b"cut\r\n", command(b"SET", b"a", b"1")]) == UNKNOWN_DB


def test_keys_of_an_unknown_database_are_dirty_in_every_one() -> None:
    tail = scanned(stream(BEFORE, command(b"SET", b"a", b"1"), BEFORE), len(BEFORE))
    assert tail.database == UNKNOWN_DB
    assert {(index, b"a") for index in range(16)} < tail.keys


def test_a_tail_that_begins_within_a_command_begins_with_the_next() -> None:
    backlog = stream(LONG, command(b"SET", b"a", b"1"))
    cut = 20_000
    tail = scanned(backlog, cut)
    assert tail.start == len(LONG)
    assert tail.keys == {(0, b"a")}
    assert tail.mark == backlog.mark_at(len(LONG))


def test_a_tail_whose_frames_all_begin_within_commands_begins_within_one() -> None:
    trap = command(b"SET", b"trap", b"x\r\n*1\r\n$4\r\nPING\r\n")
    whole = trap + command(b"SET", b"a", b"1") + command(b"INCR", b"n")
    backlog = stream(whole[:20], whole[20:])
    tail = scanned(backlog, 20)
    assert tail.start == len(trap)
    assert tail.commands == 2
    assert tail.mark == backlog.mark_at(len(trap))


def test_the_log_on_disk_gives_the_tail_from_within_a_group(tmp_path: Path) -> None:
    backlog = stream(BEFORE + command(b"SET", b"a", b"1"), LONG, command(b"INCR", b"n"))
    mark = backlog.mark_at(0)
    place = Place(REPLID, NO_REPLID, -1, 3, 0, mark.checksum, mark.base, 0, "boot:file")
    path = tmp_path / "log"
    path.write_bytes(encode_place(place) + encode_group(backlog.sealed_from(0)))
    found = read_log_tail(Disk(), [str(path)], len(BEFORE), backlog.end)
    assert found is not None
    assert found.start == len(BEFORE)
    assert found.database == 2
    assert found.mark == backlog.mark_at(len(BEFORE))
    assert found.frames == backlog.sealed_from(len(BEFORE))
    assert read_log_tail(Disk(), [str(path)], len(BEFORE), backlog.end + 1) is None
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    assert read_log_tail(Disk(), [str(path)], len(BEFORE), backlog.end) is None
