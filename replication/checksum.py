"""The checksums of replication. Frozen for ever: bytes sealed today are verified by any later us.

Three questions, three answers:

- *Is this frame as it was sealed?* CRC-32C over header and over body. It finds every burst of up
  to 32 bits and any odd number of flipped bits, and the processor computes it at memory speed.
- *Did two nodes see the same stream up to here?* The history checksum: CRC-64 carried on over all
  bytes of the stream, whatever frames they were cut into. Cutting must not matter because a
  resume may begin in the middle of a frame.
- *Is this snapshot the one that was written?* CRC-64 again: it is the trailer of Redis's RDB
  format, so the digest of a framed snapshot costs one pass.

These find damage and mistakes, not malice: whoever can write to a link can seal a frame.
"""

from collections.abc import Callable
from typing import Final

from anycrc import Model
from crc32c import crc32c as _crc32c

_redis_model = Model("CRC64-REDIS")
_crc64: Final[Callable[[bytes, int], int]] = _redis_model.calc

Buffer = bytes | bytearray | memoryview


def crc32c(data: Buffer, crc: int = 0) -> int:
    """CRC-32C (Castagnoli, RFC 3720 B.4) of `data`, carried on from `crc`."""
    return int(_crc32c(data, crc))


def crc64_redis(data: Buffer, crc: int = 0) -> int:
    """CRC-64 as Redis's RDB format uses it (Jones polynomial, reflected, no final inversion).

    `crc64_redis(b, crc64_redis(a)) == crc64_redis(a + b)`.
    """
    return int(_crc64(bytes(data), crc)) if data else crc


history_checksum = crc64_redis
"""Carries the running checksum of a stream over more of its bytes."""
