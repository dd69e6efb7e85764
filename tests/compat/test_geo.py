"""Geo: any requests get redis-server's replies, to the last decimal, and leave the same scores."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.compat.both import Pair, both, needs_redis, pairs, thorough

pytestmark = [pytest.mark.integration, needs_redis]

Words = list[str | bytes]
KEYS = st.sampled_from(["g", "h", "list", "none", "odd"])
MEMBERS = st.sampled_from(["a", "b", "c", "d", "e", "Paris", "Rome", "pole", "edge", "none"])
LONGITUDES = st.one_of(
    st.floats(-180, 180).map(repr),
    st.floats(2, 3).map(repr),
    st.sampled_from(["180", "-180", "0", "181", "x", "nan", "inf", "1e400"]),
)
LATITUDES = st.one_of(
    st.floats(-85.05112878, 85.05112878).map(repr),
    st.floats(48, 49).map(repr),
    st.sampled_from(["85.05112878", "-85.05112878", "0", "86", "-90", ""]),
)
LENGTHS = st.one_of(
    st.floats(0, 30_000_000).map(repr),
    st.floats(0, 500).map(repr),
    st.sampled_from(["0", "1", "-1", "x", "inf", "5000", "100000"]),
)
UNITS = st.sampled_from(["m", "km", "KM", "ft", "mi", "km", "x"])
COUNTS = st.sampled_from(["1", "2", "5", "100", "0", "-1", "x"])
WHERE = st.one_of(
    st.builds(lambda a: ["FROMMEMBER", a], MEMBERS),
    st.builds(lambda a, b: ["fromlonlat", a, b], LONGITUDES, LATITUDES),
)
AREA = st.one_of(
    st.builds(lambda a, b: ["BYRADIUS", a, b], LENGTHS, UNITS),
    st.builds(lambda a, b, c: ["bybox", a, b, c], LENGTHS, LENGTHS, UNITS),
)
SHOWN = st.sampled_from([["WITHDIST"], ["withhash"], ["WITHCOORD"]])
ORDER = st.sampled_from([["ASC"], ["desc"]])
COUNT = st.one_of(
    st.builds(lambda a: ["COUNT", a], COUNTS), st.builds(lambda a: ["count", a, "ANY"], COUNTS)
)
STORE = st.sampled_from([["STORE", "d"], ["storedist", "d"], ["STOREDIST"], ["STORE"]])
RARE = st.sampled_from([["x"], ["any"], ["COUNT"], ["FROMMEMBER"], ["BYBOX", "1", "1"]])
EXTRAS = st.lists(st.one_of(SHOWN, SHOWN, ORDER, ORDER, COUNT, STORE, RARE), max_size=4)


def flat(*parts: Words) -> Words:
    return [word for part in parts for word in part]


POINTS = st.lists(st.tuples(LONGITUDES, LATITUDES, MEMBERS), min_size=1, max_size=4)
OPTIONS = st.lists(st.sampled_from(["NX", "xx", "CH", "ch"]), max_size=2)
REQUESTS = st.one_of(
    st.builds(
        lambda key, options, points: ["GEOADD", key, *options, *flat(*map(list, points))],
        KEYS,
        OPTIONS,
        POINTS,
    ),
    st.builds(lambda key, a, b, unit: ["GEODIST", key, a, b, *unit], KEYS, MEMBERS, MEMBERS,
              st.lists(UNITS, max_size=2)),
    st.builds(lambda name, key, members: [name, key, *members],
              st.sampled_from(["GEOHASH", "geopos"]), KEYS, st.lists(MEMBERS, max_size=3)),
    st.builds(lambda key, a, b, rest: flat(["GEOSEARCH", key], a, b, *rest), KEYS, WHERE, AREA,
              EXTRAS),
    st.builds(lambda key, a, b, rest: flat(["geosearchstore", "d", key], a, b, *rest), KEYS, WHERE,
              AREA, EXTRAS),
    st.builds(lambda name, key, x, y, radius, unit, rest: flat([name, key, x, y, radius, unit],
              *rest), st.sampled_from(["GEORADIUS", "georadius_ro"]), KEYS, LONGITUDES, LATITUDES,
              LENGTHS, UNITS, EXTRAS),
    st.builds(lambda name, key, member, radius, unit, rest: flat([name, key, member, radius, unit],
              *rest), st.sampled_from(["GEORADIUSBYMEMBER", "georadiusbymember_ro"]), KEYS, MEMBERS,
              LENGTHS, UNITS, EXTRAS),
)  # fmt: skip


def setup() -> list[Words]:
    """Cities, the ends of the Earth, and scores that no GEOADD makes."""
    return [
        ["RPUSH", "list", "a"],
        ["GEOADD", "g", "2.3522", "48.8566", "Paris", "12.4964", "41.9028", "Rome"],
        ["GEOADD", "g", "0", "85.05", "pole", "179.99", "-10", "edge", "-179.98", "-10", "a"],
        ["ZADD", "odd", "-1", "a", "-inf", "b", "inf", "c", "1e19", "d", "0.5", "e"],
        ["ZADD", "odd", "9007199254740993", "Paris", "-1e300", "Rome", "1.8e19", "pole"],
    ]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with both(tmp_path_factory.mktemp("both")) as ports, pairs(*ports) as clients:
        yield clients


@thorough
@given(protocol=st.sampled_from("23"), requests=st.lists(REQUESTS, min_size=1, max_size=30))
def test_any_requests_get_equal_replies_and_leave_equal_keys(
    pair: Pair, protocol: str, requests: list[Words]
) -> None:
    pair.begin(protocol, setup())
    for words in requests:
        pair.same(*words)
    pair.same_keys()


@thorough
@given(
    points=st.lists(
        st.tuples(st.floats(-180, 180), st.floats(-85, 85)), min_size=1, max_size=200, unique=True
    ),
    centre=st.tuples(st.floats(-180, 180), st.floats(-85, 85)),
    radius=st.floats(0, 20_000_000),
)
def test_a_search_of_many_points_finds_what_redis_finds_in_its_order(
    pair: Pair,
    points: list[tuple[float, float]],
    centre: tuple[float, float],
    radius: float,
) -> None:
    added: Words = ["GEOADD", "g"]
    for number, (longitude, latitude) in enumerate(points):
        added += [repr(longitude), repr(latitude), str(number)]
    pair.begin("2", [added])
    where = ["FROMLONLAT", repr(centre[0]), repr(centre[1])]
    shown = ["WITHDIST", "WITHHASH", "WITHCOORD"]
    pair.same("GEOSEARCH", "g", *where, "BYRADIUS", repr(radius), "m", *shown)
    pair.same("GEOSEARCH", "g", *where, "BYBOX", repr(radius), repr(radius / 2), "ft", *shown)
    pair.same("GEOSEARCH", "g", *where, "BYRADIUS", repr(radius), "m", "COUNT", "5", "ANY")
    pair.same_keys()
