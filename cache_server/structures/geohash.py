# cython: cdivision=True
"""Positions on Earth as numbers that sort by place: 52-bit geohashes, and what covers an area.

Latitude (within 85.05112878, as in web maps) and longitude are each cut in halves 26 times; the
bits of the two take turns, longitude first. A prefix of 2n bits is a box, and all positions in it
are one range of numbers, so that a search is nine ranges: the box of the centre and its neighbours,
of a size that covers the area searched.

    step 1      longitude 0   1        step n     box = the first 2n bits
    latitude 1      01  11             step 26    a box of about 0.6 m, the score of a member
    latitude 0      00  10

Distances are those of `sphere`. All results are Redis's to the last bit: the same operations on
doubles in the same order.

Sources: G. M. Morton (1966) for the interleaving; https://redis.io/docs/latest/commands/geoadd/.
"""

from __future__ import annotations

import math

from cache_server.structures.sphere import EARTH_RADIUS, RADIAN, Sphere

LONGITUDE_MAX = 180.0
LATITUDE_MAX = 85.05112878
STEPS_MAX = 26

#: The same numbers for the compiled form, where they are C's.
_STEPS_MAX = STEPS_MAX
_LONGITUDE_MAX = LONGITUDE_MAX
_LATITUDE_MAX = LATITUDE_MAX
_LATITUDE_RANGE = LATITUDE_MAX - -LATITUDE_MAX
_LONGITUDE_RANGE = LONGITUDE_MAX - -LONGITUDE_MAX
_EARTH = Sphere()
_EARTH_RADIUS = EARTH_RADIUS
_MERCATOR_MAX = 20037726.37
_RADIAN = RADIAN
_ALPHABET = b"0123456789bcdefghjkmnpqrstuvwxyz"

_TWO_TO_64 = 1 << 64
_SIZE = float(1 << STEPS_MAX)
_MASK_32 = 0x00000000FFFFFFFF
_MASK_16 = 0x0000FFFF0000FFFF
_MASK_8 = 0x00FF00FF00FF00FF
_MASK_4 = 0x0F0F0F0F0F0F0F0F
_MASK_2 = 0x3333333333333333
_EVEN = 0x5555555555555555
_ODD = 0xAAAAAAAAAAAAAAAA

#: A box: its prefix and the number of steps; None for one that need not be searched.
Box = tuple[int, int] | None


# -- interleaving ------------------------------------------------------------------------------


def _spread(number: int) -> int:
    """32 bits with a zero before each."""
    number = (number | number << 16) & _MASK_16
    number = (number | number << 8) & _MASK_8
    number = (number | number << 4) & _MASK_4
    number = (number | number << 2) & _MASK_2
    return (number | number << 1) & _EVEN


def _gather(number: int) -> int:
    """Every second bit of 64, from the lowest on."""
    number &= _EVEN
    number = (number | number >> 1) & _MASK_2
    number = (number | number >> 2) & _MASK_4
    number = (number | number >> 4) & _MASK_8
    number = (number | number >> 8) & _MASK_16
    return (number | number >> 16) & _MASK_32


def encode(longitude: float, latitude: float, steps: int) -> int:
    """The box of `steps` that a position within the limits lies in."""
    size = _SIZE if steps == _STEPS_MAX else math.ldexp(1.0, steps)
    y = int((latitude - -_LATITUDE_MAX) / _LATITUDE_RANGE * size)
    x = int((longitude - -_LONGITUDE_MAX) / _LONGITUDE_RANGE * size)
    return _spread(y) | _spread(x) << 1


def decode(score: float) -> tuple[float, float]:
    """Longitude and latitude of the middle of a score's box; of any double, as C converts it."""
    longitude, latitude = _position(score)
    return longitude, latitude


def _position(score: float) -> tuple[float, float]:
    west, south, east, north = _area(_score_bits(score), _STEPS_MAX)
    longitude = (west + east) / 2
    latitude = (south + north) / 2
    return (
        min(max(longitude, -_LONGITUDE_MAX), _LONGITUDE_MAX),
        min(max(latitude, -_LATITUDE_MAX), _LATITUDE_MAX),
    )


def _score_bits(score: float) -> int:
    if 0.0 <= score < 1.8446744073709552e19:
        return int(score)
    if -9.223372036854775808e18 < score < 0.0:
        return _TWO_TO_64 + int(score)
    return 0 if score > 0.0 else _TWO_TO_64 >> 1


def _area(box: int, steps: int) -> tuple[float, float, float, float]:
    """West, south, east and north of a box."""
    size = _SIZE if steps == _STEPS_MAX else math.ldexp(1.0, steps)
    y = _gather(box)
    x = _gather(box >> 1)
    # The far edge is that of the next box, in 32 bits.
    y_next = (y + 1) & _MASK_32
    x_next = (x + 1) & _MASK_32
    return (
        -_LONGITUDE_MAX + (x / size) * _LONGITUDE_RANGE,
        -_LATITUDE_MAX + (y / size) * _LATITUDE_RANGE,
        -_LONGITUDE_MAX + (x_next / size) * _LONGITUDE_RANGE,
        -_LATITUDE_MAX + (y_next / size) * _LATITUDE_RANGE,
    )


def standard_text(longitude: float, latitude: float) -> bytes:
    """The geohash in letters that other programs use: latitude within 90, 11 letters."""
    size = _SIZE
    y = int((latitude - -90.0) / 180.0 * size)
    x = int((longitude - -180.0) / 360.0 * size)
    number = _spread(y) | _spread(x) << 1
    letters = bytearray()
    for shift in range(47, 0, -5):
        letters.append(_ALPHABET[number >> shift & 31])
    return bytes(letters) + b"0"  # 52 bits are ten letters and a bit


# -- distances ---------------------------------------------------------------------------------


def distance(longitude: float, latitude: float, longitude_2: float, latitude_2: float) -> float:
    """Metres between two positions."""
    return _EARTH.distance(longitude, latitude, longitude_2, latitude_2)


def find_within(
    center: tuple[float, float],
    radius: float,
    sides: tuple[float, float],
    members: list[bytes],
    scores: list[float],
    limit: int,
) -> list[tuple[float, float, bytes]]:
    """The members within `radius` metres of the centre, or where that is negative in the box of
    these sides: distance, score and member of each, at most `limit` (0: all)."""
    longitude, latitude = center
    half_width = sides[0] / 2
    half_height = sides[1] / 2
    found = []
    for index in range(len(members)):
        score = scores[index]
        longitude_2, latitude_2 = _position(score)
        if radius < 0:
            if _EARTH.latitude_distance(latitude_2, latitude) > half_height:
                continue
            if _EARTH.distance(longitude_2, latitude_2, longitude, latitude_2) > half_width:
                continue
        metres = _EARTH.distance(longitude, latitude, longitude_2, latitude_2)
        if radius >= 0 and metres > radius:
            continue
        found.append((metres, score, members[index]))
        if len(found) == limit:
            break
    return found


# -- covering ----------------------------------------------------------------------------------


def _steps_for(radius: float, latitude: float) -> int:
    """How small boxes may be, that nine of them cover most circles of `radius` metres."""
    if radius == 0:
        return STEPS_MAX
    steps = 1
    while radius < _MERCATOR_MAX:
        radius *= 2
        steps += 1
    steps -= 2
    # Boxes get narrower towards the poles.
    if abs(latitude) > 66:
        steps -= 1
        if abs(latitude) > 80:
            steps -= 1
    return min(max(steps, 1), STEPS_MAX)


def _moved(box: int, steps: int, x: int, y: int) -> int:
    """The neighbour `x` boxes east and `y` boxes north, each -1, 0 or 1; round the Earth.

    At the very end of a range a box has one bit too many: a move takes it from what it moves."""
    mask = (1 << (2 * steps)) - 1
    across, up = box & _ODD, box & _EVEN
    if x:
        rest = _EVEN & mask
        across = (across + (rest + 1) if x > 0 else (across | rest) - (rest + 1)) & _ODD & mask
    if y:
        rest = _ODD & mask
        up = (up + (rest + 1) if y > 0 else (up | rest) - (rest + 1)) & _EVEN & mask
    return across | up


def _cosine(angle: float) -> float:
    return math.cos(angle) if math.isfinite(angle) else math.nan


def _bounds(
    longitude: float, latitude: float, width: float, height: float
) -> tuple[float, float, float, float]:
    """West, south, east and north of what is `width` and `height` metres away from the centre."""
    up = height / _EARTH_RADIUS / _RADIAN
    edge = latitude - up if latitude < 0 else latitude + up
    across = width / _EARTH_RADIUS / _cosine(edge * _RADIAN) / _RADIAN
    return longitude - across, latitude - up, longitude + across, latitude + up


def boxes(
    longitude: float, latitude: float, radius: float, width: float, height: float
) -> list[Box]:
    """What to search for an area: centre, north, south, east, west, and the corners between.

    In metres: `radius` of a circle round the area, and half of its `width` and `height`."""
    west, south, east, north = _bounds(longitude, latitude, width, height)
    steps = _steps_for(radius, latitude)
    box = encode(longitude, latitude, steps)
    too_small = (
        _area(_moved(box, steps, 0, 1), steps)[3] < north
        or _area(_moved(box, steps, 0, -1), steps)[1] > south
        or _area(_moved(box, steps, 1, 0), steps)[2] < east
        or _area(_moved(box, steps, -1, 0), steps)[0] > west
    )
    if steps > 1 and too_small:
        steps -= 1
        box = encode(longitude, latitude, steps)
    found: list[Box] = [(box, steps)]
    inner_west, inner_south, inner_east, inner_north = _area(box, steps)
    for x, y in _AROUND:
        if steps >= 2 and (
            (y < 0 and inner_south < south)
            or (y > 0 and inner_north > north)
            or (x < 0 and inner_west < west)
            or (x > 0 and inner_east > east)
        ):
            found.append(None)
        else:
            found.append((_moved(box, steps, x, y), steps))
    return found


_AROUND = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1))


def scores(box: int, steps: int) -> tuple[float, float]:
    """The range of scores in a box; the second does not belong to it."""
    shift = 2 * (STEPS_MAX - steps)
    return float(box << shift), float((box + 1) << shift)
