"""Damaged logs and manifests: what is handed out was written, everything else is a typed error."""

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from cache_server.errors import InputError
from cache_server.persistence.log_chain import Chain
from cache_server.persistence.log_codec import (
    DamageError,
    Group,
    LogParser,
    Place,
    Placed,
    Plain,
    encode_command,
    encode_group,
    encode_place,
)
from cache_server.persistence.manifest import LogFile, Manifest, parse_manifest
from replication.checksum import history_checksum
from replication.frames import seal

words = st.lists(st.binary(max_size=40), min_size=1, max_size=4)
passes = st.lists(st.lists(words, min_size=1, max_size=3), min_size=1, max_size=5)
PLACE = Place("a" * 40, "0" * 40, -1, 0, 0, 0, 0, 0, "boot")


def a_log(given_passes: list[list[list[bytes]]], frame_bytes: int) -> tuple[bytes, list[bytes]]:
    """A log of these passes, in frames of so many bytes; and the bodies of its groups."""
    data, position, checksum, bodies = encode_place(PLACE), 0, 0, []
    for commands in given_passes:
        body = b"".join(encode_command(command) for command in commands)
        frames = []
        for at in range(0, len(body), frame_bytes):
            part = body[at : at + frame_bytes]
            checksum = history_checksum(part, checksum)
            frames.append(seal(1, 0, position, 5, checksum, part))
            position += len(part)
        data += encode_group(frames)
        bodies.append(body)
    return data, bodies


def follow(data: bytes, sizes: list[int]) -> tuple[list[bytes], bool]:
    """Bodies of the groups up to the first fault, and whether there was one."""
    parser, chain, found, at = LogParser(), Chain(), [], 0
    try:
        for size in [*sizes, len(data)]:
            parser.feed(data[at : at + size])
            at += size
            while (item := parser.next_item()) is not None:
                if isinstance(item, Group):
                    chain.group(item)
                    found.append(b"".join(frame.body for frame in item.frames))
                elif isinstance(item, Placed):
                    chain.placed(item)
                else:
                    chain.end()
        parser.finish()
    except DamageError:
        return found, True
    return found, False


@settings(max_examples=150, deadline=None)
@given(passes, st.integers(5, 200), st.lists(st.integers(0, 90), max_size=10))
def test_what_is_written_is_read_in_any_pieces(
    given_passes: list[list[list[bytes]]], frame_bytes: int, sizes: list[int]
) -> None:
    data, bodies = a_log(given_passes, frame_bytes)
    assert follow(data, sizes) == (bodies, False)


@settings(max_examples=300, deadline=None)
@given(passes, st.integers(5, 200), st.data())
def test_a_damaged_log_gives_a_beginning_of_what_was_written(
    given_passes: list[list[list[bytes]]], frame_bytes: int, draw: st.DataObject
) -> None:
    data, bodies = a_log(given_passes, frame_bytes)
    at = draw.draw(st.integers(0, len(data) - 1))
    kind = draw.draw(st.sampled_from(["flip", "cut", "insert", "remove", "double"]))
    damaged = bytearray(data)
    if kind == "flip":
        damaged[at] ^= draw.draw(st.integers(1, 255))
    elif kind == "cut":
        del damaged[at:]
    elif kind == "insert":
        damaged[at:at] = draw.draw(st.binary(min_size=1, max_size=20))
    elif kind == "remove":
        del damaged[at : at + draw.draw(st.integers(1, 150))]
    else:
        damaged[at:at] = data[at : at + 150]
    found, _ = follow(bytes(damaged), [])
    assert found == bodies[: len(found)]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_commands_or_damage(data: bytes) -> None:
    parser = LogParser()
    parser.feed(data)
    with contextlib.suppress(DamageError):
        while (item := parser.next_item()) is not None:
            assert isinstance(item, Plain)


@settings(max_examples=200, deadline=None)
@given(
    st.text(st.characters(codec="utf-8", exclude_characters="/\0\n"), min_size=1, max_size=30),
    st.integers(1, 2**63 - 1),
)
def test_a_manifest_is_read_as_it_was_written(name: str, seq: int) -> None:
    if name in (".", ".."):
        return
    manifest = Manifest(increments=[LogFile(name, seq, "i")], increment_seq=seq)
    assert parse_manifest(manifest.text()) == manifest


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_manifest_or_refused(data: bytes) -> None:
    with contextlib.suppress(InputError):
        parse_manifest(data)
