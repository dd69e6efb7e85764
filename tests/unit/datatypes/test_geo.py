"""Geo: scores, distances and searches, checked against known places and a plain search of all."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from cache_server.datatypes import geo, sets, sorted_set_ranges, sorted_sets
from cache_server.errors import CommandError
from cache_server.structures import geohash
from cache_server.wire.replies import NULL_ARRAY
from tests.unit.datatypes.calling import Caller


@pytest.fixture
def call() -> Caller:
    caller = Caller(geo, sorted_sets, sorted_set_ranges, sets)
    caller("GEOADD", "g", 13.361389, 38.115556, "Palermo", 15.087269, 37.502669, "Catania")
    return caller


def test_geoadd_is_a_zadd_of_geohashes_and_travels_as_one(call: Caller) -> None:
    assert call("ZSCORE", "g", "Palermo") == 3479099956230698
    assert call("GEOADD", "g", "CH", 13.361389, 38.115556, "Palermo", 1, 1, "new") == 1
    assert call.effects == [
        [b"ZADD", b"g", b"CH", b"3479099956230698", b"Palermo", b"3377822707026402", b"new"]
    ]
    assert call.events == [(b"zadd", b"g")]
    assert call("GEOADD", "g", "nx", 1, 1, "new") == 0
    assert call.effects is None


def test_places_are_told_as_positions_hashes_and_distances(call: Caller) -> None:
    assert call("GEOPOS", "g", "Palermo", "none") == [
        [b"13.36138933897018433", b"38.11555639549629859"], NULL_ARRAY,
    ]  # fmt: skip
    assert call("GEOHASH", "g", "Palermo", "none", "Catania") == [
        b"sqc8b49rny0", None, b"sqdtr74hyu0",
    ]  # fmt: skip
    assert call("GEODIST", "g", "Palermo", "Catania") == b"166274.1516"
    assert call("GEODIST", "g", "Palermo", "Catania", "mi") == b"103.3182"
    assert call("GEODIST", "g", "Palermo", "none") is None
    assert call("GEODIST", "none", "a", "b") is None


def test_a_search_shows_what_was_asked_for(call: Caller) -> None:
    where = ("FROMLONLAT", 15, 37, "BYRADIUS", 200, "km")
    assert call("GEOSEARCH", "g", *where) == [b"Palermo", b"Catania"]
    assert call("GEOSEARCH", "g", *where, "ASC", "WITHDIST", "WITHHASH") == [
        [b"Catania", b"56.4413", 3479447370796909],
        [b"Palermo", b"190.4424", 3479099956230698],
    ]
    assert call("GEOSEARCH", "g", *where, "COUNT", 1) == [b"Catania"]
    assert call("GEOSEARCH", "g", *where, "DESC", "COUNT", 1) == [b"Palermo"]
    assert call("GEORADIUS", "g", 15, 37, 100, "km") == [b"Catania"]
    assert call("GEORADIUSBYMEMBER_RO", "g", "Catania", 1, "m") == [b"Catania"]
    assert call("GEOSEARCH", "none", *where) == []
    assert call("GEOSEARCH", "g", "FROMLONLAT", 15, 37, "BYBOX", 400, 100, "km") == []


def test_a_stored_search_is_a_sorted_set_of_scores_or_distances(call: Caller) -> None:
    where = ("FROMLONLAT", 15, 37, "BYRADIUS", 200, "km")
    assert call("GEOSEARCHSTORE", "d", "g", *where) == 2
    assert call.dirty == 2
    assert call.events == [(b"geosearchstore", b"d")]
    assert call("ZSCORE", "d", "Palermo") == 3479099956230698
    assert call("GEORADIUS", "g", 15, 37, 100, "km", "STOREDIST", "d") == 1
    assert call.events == [(b"georadiusstore", b"d")]
    assert round(call("ZSCORE", "d", "Catania"), 4) == 56.4413
    assert call("GEOSEARCHSTORE", "d", "none", *where) == 0
    assert call.events == [(b"del", b"d")]


@pytest.mark.parametrize("seed", range(6))
def test_a_search_finds_what_a_walk_over_all_members_finds(call: Caller, seed: int) -> None:
    rng = Random(seed)
    width = rng.choice([1, 20, 360])
    for number in range(400):
        longitude = (rng.random() - 0.5) * width
        call("GEOADD", "p", longitude, (rng.random() - 0.5) * min(width, 160), number)
    for _ in range(10):
        center = (rng.random() - 0.5) * width, (rng.random() - 0.5) * min(width, 140)
        radius = rng.random() * width * 30_000
        expected = {
            member
            for member, score in call.db.peek(b"p").items()
            if geohash.distance(*center, *geohash.decode(score)) <= radius
        }
        found = call("GEOSEARCH", "p", "FROMLONLAT", *center, "BYRADIUS", radius, "m")
        assert len(found) == len(set(found))
        assert set(found) == expected


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("GEOADD g 200 10 m", "ERR invalid longitude,latitude pair 200.000000,10.000000"),
        ("GEOADD g x 10 m", "ERR value is not a valid float"),
        ("GEOADD g NX XX 1 1 m", "ERR syntax error"),
        ("GEOADD g NX 1 1", "ERR syntax error"),
        ("GEODIST g a b yard", "ERR unsupported unit provided. please use M, KM, FT, MI"),
        ("GEORADIUS g 1 1 x m", "ERR need numeric radius"),
        ("GEORADIUS g 1 1 -1 m", "ERR radius cannot be negative"),
        ("GEORADIUS g 1 1 1 m COUNT 0", "ERR COUNT must be > 0"),
        ("GEORADIUS g 1 1 1 m ANY", "ERR the ANY argument requires COUNT argument"),
        ("GEORADIUS_RO g 1 1 1 m STORE d", "ERR syntax error"),
        (
            "GEORADIUS g 1 1 1 m STORE d WITHDIST",
            (
                "ERR STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and "
                "WITHCOORD options"
            ),
        ),
        ("GEORADIUSBYMEMBER g none 1 m", "ERR could not decode requested zset member"),
        (
            "GeoSearch g BYRADIUS 1 m ASC WITHDIST",
            "ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for GeoSearch",
        ),
        (
            "GEOSEARCH g FROMLONLAT 1 1 ASC WITHDIST",
            "ERR exactly one of BYRADIUS and BYBOX can be specified for GEOSEARCH",
        ),
        ("GEOSEARCH g FROMLONLAT 1 1 FROMMEMBER Palermo", "ERR syntax error"),
        ("GEOSEARCH g FROMLONLAT 1 1 BYBOX 1 -1 m", "ERR height or width cannot be negative"),
        ("GEOSEARCH g FROMLONLAT 1 1 BYBOX x 1 m", "ERR need numeric width"),
        (
            "GEOPOS s m",
            "WRONGTYPE Operation against a key holding the wrong kind of value",
        ),
    ],
)
def test_a_wrong_request_is_refused(call: Caller, words: str, text: str) -> None:
    call("SADD", "s", "m")
    parts: list[Any] = words.split()
    with pytest.raises(CommandError) as refused:
        call(*parts)
    assert refused.value.text.decode() == text


def test_keys_of_a_radius_search_are_found() -> None:
    row = next(row for row in geo.COMMANDS if row.name == "georadius")
    words = b"georadius k 1 1 1 m store a storedist b".split()
    assert row.key_positions(words) == [1, 7, 9]
    assert row.key_positions(words[:6]) == [1]
