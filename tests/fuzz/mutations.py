"""What happens to bytes on the way: flipped, cut, doubled, overwritten, mixed with others.

One random number decides one mutation, so that millions a minute are possible.
"""

from __future__ import annotations

from random import Random

#: Numbers that lengths and offsets go wrong at, as bytes of several widths.
EDGES = [
    value.to_bytes(width, order)
    for width in (1, 2, 4, 8)
    for value in (0, 1, 2, 127, 128, 254, 255, 2**15, 2**16 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)
    for order in ("little", "big")
    if value < 1 << 8 * width
]
PASTE_BYTES_MAX = 40


def mutated(rng: Random, sample: bytes, others: list[bytes]) -> bytes:
    """`sample` after one to four mutations. May be what it was before."""
    data = bytearray(sample)
    dice = rng.getrandbits(62)
    for _ in range(1 + (dice & 3) % 4):
        dice = rng.getrandbits(62)
        kind, dice = dice & 7, dice >> 3
        at, dice = dice % (len(data) + 1), dice >> 20
        if kind <= 1:
            if at < len(data):
                data[at] ^= 1 << (dice & 7)
        elif kind == 2:
            if at < len(data):
                data[at] = dice & 255
        elif kind == 3:
            edge = EDGES[dice % len(EDGES)]
            data[at : at + len(edge)] = edge
        elif kind == 4:
            del data[at : at + 1 + dice % PASTE_BYTES_MAX]
        elif kind == 5:
            data[at:at] = data[at : at + 1 + dice % PASTE_BYTES_MAX]
        elif kind == 6:
            other = others[dice % len(others)]
            begin = (dice >> 8) % (len(other) + 1)
            data[at:at] = other[begin : begin + 1 + (dice >> 16) % PASTE_BYTES_MAX]
        elif dice & 1:
            del data[at:]
        else:
            data[at:at] = rng.randbytes(1 + dice % 9)
    return bytes(data)
