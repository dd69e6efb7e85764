"""The manifest of the log: what is read, what is refused, how files are named."""

from __future__ import annotations

import pytest

from cache_server.errors import InputError
from cache_server.persistence.manifest import LogFile, Manifest, parse_manifest

TEXT = b"""file appendonly.aof.7.base.rdb seq 7 type b
file appendonly.aof.2.incr.aof seq 2 type h
file appendonly.aof.3.incr.aof seq 3 type i
file appendonly.aof.9.incr.aof seq 9 type i
"""


def test_what_is_read_is_written_again() -> None:
    manifest = parse_manifest(TEXT)
    assert manifest.text() == TEXT
    assert manifest.base == LogFile("appendonly.aof.7.base.rdb", 7, "b")
    assert [one.seq for one in manifest.increments] == [3, 9]
    assert (manifest.base_seq, manifest.increment_seq) == (7, 9)


def test_comments_and_keywords_that_are_not_known_are_skipped() -> None:
    manifest = parse_manifest(b"# a comment\nFILE a SEQ 1 TYPE i colour green\n")
    assert manifest.loaded_files == [LogFile("a", 1, "i")]


@pytest.mark.parametrize("name", ["a b.aof", 'q"uote', "back\\slash", "tab\there", "umlaut-ü"])
def test_odd_names_are_quoted(name: str) -> None:
    manifest = Manifest(increments=[LogFile(name, 1, "i")])
    assert parse_manifest(manifest.text()).increments[0].name == name


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "Found an empty AOF manifest"),
        (b"\n", "Invalid AOF manifest file format"),
        (b"file a seq 1\n", "Invalid AOF manifest file format"),
        (b"file a seq 1 type i x\n", "Invalid AOF manifest file format"),
        (b"file a seq 0 type i\n", "Invalid AOF manifest file format"),
        (b"file a seq 99999999999999999999 type i\n", "Invalid AOF manifest file format"),
        (b'file "a seq 1 type i\n', "Invalid AOF manifest file format"),
        (b"file a seq 1 type x\n", "Unknown AOF file type"),
        (b"file ../a seq 1 type i\n", "File can't be a path, just a filename"),
        (b"file a seq 1 type i", "The AOF manifest file contains too long line"),
        (b"file " + b"a" * 2000 + b" seq 1 type i\n", "contains too long line"),
        (b"file a seq 1 type b\nfile b seq 2 type b\n", "Found duplicate base file information"),
        (b"file a seq 2 type i\nfile b seq 2 type i\n", "Found a non-monotonic sequence number"),
    ],
)
def test_a_malformed_manifest_is_refused_in_redis_words(text: bytes, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        parse_manifest(text)


def test_a_rewrite_makes_a_base_and_history_newest_first() -> None:
    manifest = parse_manifest(TEXT)
    manifest.begin_increment("appendonly.aof")
    manifest.replace_base("appendonly.aof", snapshot=False, keep_last_increment=True)
    assert manifest.text().decode().splitlines() == [
        "file appendonly.aof.8.base.aof seq 8 type b",
        "file appendonly.aof.3.incr.aof seq 3 type h",
        "file appendonly.aof.9.incr.aof seq 9 type h",
        "file appendonly.aof.7.base.rdb seq 7 type h",
        "file appendonly.aof.2.incr.aof seq 2 type h",
        "file appendonly.aof.10.incr.aof seq 10 type i",
    ]
