"""Checksums give the published values and carry on over pieces; crcmod is the oracle."""

import crcmod
from hypothesis import given
from hypothesis import strategies as st

from replication.checksum import crc32c, crc64_redis

oracle_64 = crcmod.mkCrcFun(0x1AD93D23594C935A9, initCrc=0, rev=True, xorOut=0)
oracle_32c = crcmod.predefined.mkCrcFun("crc-32c")


def test_published_check_values() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc64_redis(b"123456789") == 0xE9C6D914C4B8D9CA


@given(st.binary(max_size=300), st.integers(0, 300))
def test_any_cut_gives_the_oracles_value(data: bytes, cut: int) -> None:
    assert crc64_redis(data[cut:], crc64_redis(data[:cut])) == oracle_64(data)
    assert crc32c(data[cut:], crc32c(data[:cut])) == oracle_32c(data)


def test_nothing_changes_nothing() -> None:
    assert crc64_redis(b"", 77) == 77
    assert crc64_redis(memoryview(b"ab"), 0) == crc64_redis(bytearray(b"ab"), 0)
