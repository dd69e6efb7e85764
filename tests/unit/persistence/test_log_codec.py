"""The log's layout: what is written is read, and nothing else is."""

from __future__ import annotations

import pytest

from cache_server.persistence.log_codec import (
    DamageError,
    Group,
    Item,
    LogParser,
    Place,
    Placed,
    Plain,
    TornError,
    encode_command,
    encode_group,
    encode_place,
    encode_select,
    encode_time,
)
from replication.checksum import history_checksum
from replication.frames import seal

SET = encode_command([b"SET", b"key", b"value"])
PLACE = Place("a" * 40, "0" * 40, -1, 3, 0, 0, 0, 0, "boot:1.2")


def sealed(body: bytes, start: int = 0, checksum: int = 0) -> bytes:
    return seal(1, 3, start, 1_000, history_checksum(body, checksum), body)


def read(data: bytes, chunk_bytes: int = 1 << 20) -> list[Item]:
    parser, items = LogParser(), []
    for at in range(0, len(data), chunk_bytes):
        parser.feed(data[at : at + chunk_bytes])
        while (item := parser.next_item()) is not None:
            items.append(item)
    parser.finish()
    assert parser.offset == len(data)
    return items


def a_log() -> bytes:
    halves = [sealed(SET[:10], len(SET)), sealed(SET[10:], len(SET) + 10)]
    return encode_place(PLACE) + encode_group([sealed(SET)]) + encode_group(halves)


def test_the_layout_is_frozen() -> None:
    assert encode_group([sealed(SET)]) == (
        b"#CF:4346010121000000" + sealed(SET)[8:48].hex().encode() + b"\r\n" + SET
    )
    assert encode_place(PLACE) == (
        b"#CH:1 "
        + b"a" * 40
        + b" "
        + b"0" * 40
        + b" -1 3 0 0000000000000000 0 0 boot:1.2 58305586\r\n"
    )


@pytest.mark.parametrize("chunk_bytes", [1, 7, 100, 1 << 20])
def test_what_is_written_is_read_whatever_pieces_it_comes_in(chunk_bytes: int) -> None:
    placed, first, second = read(a_log(), chunk_bytes)
    assert isinstance(placed, Placed)
    assert placed.place == PLACE
    assert isinstance(first, Group)
    assert [frame.body for frame in first.frames] == [SET]
    assert isinstance(second, Group)
    assert b"".join(frame.body for frame in second.frames) == SET
    assert second.end == len(a_log())


def test_a_place_in_another_database_selects_it_for_those_that_skip_the_line() -> None:
    place = Place("a" * 40, "0" * 40, -1, 3, 0, 0, 0, 5, "b")
    data = encode_place(place)
    assert data.endswith(encode_select(5))
    (item,) = read(data)
    assert isinstance(item, Placed)
    assert item.place == place


def test_a_stock_log_is_read_command_by_command() -> None:
    items = read(encode_time(17) + SET + b"#any annotation\r\n" + SET, 5)
    assert [item.words for item in items if isinstance(item, Plain)] == [
        [b"SET", b"key", b"value"]
    ] * 2


def test_a_stock_server_may_go_on_with_our_log() -> None:
    items = read(a_log() + encode_select(0) + SET)
    assert [type(item) for item in items] == [Placed, Group, Group, Plain, Plain]


def test_a_log_cut_anywhere_is_torn_where_its_last_item_begins() -> None:
    data = a_log()
    ends = [0]
    parser = LogParser()
    parser.feed(data)
    while (item := parser.next_item()) is not None:
        ends.append(item.end)
    for size in range(len(data)):
        if size in ends:
            assert len(read(data[:size])) == ends.index(size)
            continue
        with pytest.raises(TornError) as caught:
            read(data[:size])
        assert caught.value.offset == max(end for end in ends if end <= size)


def test_a_log_with_any_bit_flipped_gives_nothing_that_was_not_written() -> None:
    data, whole = a_log(), read(a_log())
    for at in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[at] ^= 1 << bit
            try:
                items = read(bytes(damaged))
            except DamageError:
                continue
            raise AssertionError(f"bit {bit} of byte {at} was not found: {items} {whole}")


@pytest.mark.parametrize(
    "data",
    [
        b"!!!",
        b"*0\r\n",
        b"*-1\r\n",
        b"*99999999999999999999\r\n",
        b"*1\n$1\na\n",
        b"*1\r\n:1\r\na\r\n",
        b"*1\r\n$-1\r\n",
        b"*1\r\n$1\r\nab\r",
        b"*1\r\n$99999999999\r\n",
        b"#" + b"x" * 2000,
    ],
)
def test_bytes_that_are_no_command_are_damage(data: bytes) -> None:
    with pytest.raises(DamageError):
        read(data + b"x" * 30)


def test_frames_that_do_not_follow_one_another_are_no_group() -> None:
    apart = [sealed(SET[:10]), sealed(SET[10:], 11)]
    with pytest.raises(DamageError, match="does not come next"):
        read(encode_place(PLACE) + encode_group(apart))


@pytest.mark.parametrize("blank", [b" ", b"\t", b"\n", b"A", b"\x00"])
def test_blanks_in_a_header_are_damage(blank: bytes) -> None:
    data = a_log().replace(b"#CF:4346010121", b"#CF:43460101" + blank + b"1", 1)
    with pytest.raises(DamageError, match="lower-case hexadecimal"):
        read(data)
