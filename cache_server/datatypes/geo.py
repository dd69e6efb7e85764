"""Geo: positions as the scores of a sorted set, and searches around a point.

GEOADD is a ZADD whose scores are 52-bit geohashes (`structures/geohash`), and travels as one. A
search reads up to nine ranges of scores and keeps the members whose distance fits. GEORADIUS and
GEORADIUSBYMEMBER are older spellings of GEOSEARCH: their first arguments say what its options say.

Source: https://redis.io/docs/latest/commands/?group=geo.
"""

from __future__ import annotations

import math
from typing import Any

from cache_server.commands.table import Command
from cache_server.datatypes.arguments import float_or_none, parse_float, parse_integer
from cache_server.datatypes.sorted_sets import SortedSet, fitted, zadd_command
from cache_server.errors import CommandError, syntax_error
from cache_server.keyspace.database import NOTIFY_GENERIC, NOTIFY_ZSET
from cache_server.structures import geohash
from cache_server.wire.replies import NULL_ARRAY, Raw

_UNITS = {b"m": 1.0, b"km": 1000.0, b"ft": 0.3048, b"mi": 1609.34}
#: Distance in metres, score, member.
Found = tuple[float, float, bytes]

_NO_MEMBER = b"ERR could not decode requested zset member"


# -- arguments and replies ---------------------------------------------------------------------


def _unit(word: bytes) -> float:
    metres = _UNITS.get(word.lower())
    if metres is None:
        raise CommandError(b"ERR unsupported unit provided. please use M, KM, FT, MI")
    return metres


def _position(args: list[bytes], index: int) -> tuple[float, float]:
    longitude = parse_float(args[index])
    latitude = parse_float(args[index + 1])
    if not (
        -geohash.LONGITUDE_MAX <= longitude <= geohash.LONGITUDE_MAX
        and -geohash.LATITUDE_MAX <= latitude <= geohash.LATITUDE_MAX
    ):
        raise CommandError(b"ERR invalid longitude,latitude pair %f,%f" % (longitude, latitude))
    return longitude, latitude


def _length(word: bytes, name: bytes) -> float:
    length = float_or_none(word)
    if length is None:
        raise CommandError(b"ERR need numeric " + name)
    return length


def _distance_text(metres: float) -> bytes:
    """Four decimals."""
    if math.isnan(metres):
        return b"-922337203685477.5808"
    units = round(metres * 10000.0)
    return b"%d.%04d" % divmod(units, 10000)


def _coordinate(ctx: Any, degrees: float) -> Any:
    """17 decimals without the zeros at the end; a double in RESP3."""
    text = (b"%.17f" % degrees).rstrip(b"0").rstrip(b".")
    if text == b"-0":
        text = b"0"
    return Raw(b"," + text + b"\r\n") if ctx.protocol == 3 else text


def _coordinates(ctx: Any, position: tuple[float, float]) -> list[Any]:
    return [_coordinate(ctx, position[0]), _coordinate(ctx, position[1])]


# -- adding and reading ------------------------------------------------------------------------


def geoadd_command(ctx: Any, args: list[bytes]) -> Any:
    """GEOADD key [NX | XX] [CH] longitude latitude member [longitude latitude member ...]"""
    first = 2
    options = set()
    while first < len(args) and args[first].lower() in (b"nx", b"xx", b"ch"):
        options.add(args[first].lower())
        first += 1
    if (len(args) - first) % 3 or {b"nx", b"xx"} <= options:
        raise syntax_error()
    request = [b"ZADD", *args[1:first]]
    for index in range(first, len(args), 3):
        longitude, latitude = _position(args, index)
        score = geohash.encode(longitude, latitude, geohash.STEPS_MAX)
        request += (b"%d" % score, args[index + 2])
    before = ctx.keyspace.dirty
    reply = zadd_command(ctx, request)
    if ctx.keyspace.dirty != before:
        ctx.propagate(*request)
    return reply


def _scores(ctx: Any, args: list[bytes]) -> list[float | None]:
    zset = ctx.db.read_as(args[1], SortedSet)
    return [None if zset is None else zset.score(member) for member in args[2:]]


def geohash_command(ctx: Any, args: list[bytes]) -> list[bytes | None]:
    """GEOHASH key [member ...]"""
    return [
        None if score is None else geohash.standard_text(*geohash.decode(score))
        for score in _scores(ctx, args)
    ]


def geopos_command(ctx: Any, args: list[bytes]) -> list[Any]:
    """GEOPOS key [member ...]"""
    return [
        NULL_ARRAY if score is None else _coordinates(ctx, geohash.decode(score))
        for score in _scores(ctx, args)
    ]


def geodist_command(ctx: Any, args: list[bytes]) -> bytes | None:
    """GEODIST key member1 member2 [M | KM | FT | MI]"""
    unit = _unit(args[4]) if len(args) == 5 else 1.0
    if len(args) > 5:
        raise syntax_error()
    first, second = _scores(ctx, args[:4])
    if first is None or second is None:
        return None
    return _distance_text(geohash.distance(*geohash.decode(first), *geohash.decode(second)) / unit)


# -- searching ---------------------------------------------------------------------------------

# What a search may be asked for: a name each, as several commands share the parser.
_BY_OPTIONS = "geosearch"
_BY_OPTIONS_STORING = "geosearchstore"
_BY_ARGUMENTS = "georadius"
_BY_ARGUMENTS_READING = "georadius_ro"


class Search:
    """One search: where, how far, in which order, and what to do with what is found.

    `value` is the sorted set or None; the arguments are checked all the same, but not the
    member that a search of nothing starts from. Raises CommandError."""

    def __init__(self, args: list[bytes], value: Any, style: str) -> None:
        self.value = value
        self.style = style
        self.center: tuple[float, float] | None = None
        self.from_member = False
        self.unit = 1.0
        self.radius: float | None = None
        self.sides: tuple[float, float] | None = None
        self.shown: set[bytes] = set()
        self.any = False
        self.order = b""
        self.count = 0
        self.target: bytes | None = None
        self.stores_distance = False
        self.args = args

    def parse(self, index: int) -> None:
        """The options from `index` on, and whether they go together."""
        while index < len(self.args):
            index += 1 + self._option(index)
        name = self.args[0]
        if self.target is not None and self.shown:
            stored = b"GEOSEARCHSTORE" if self._searches else b"STORE option in GEORADIUS"
            raise CommandError(
                b"ERR %b is not compatible with WITHDIST, WITHHASH and WITHCOORD options" % stored
            )
        if self._searches and self.center is None and not self.from_member:
            raise CommandError(
                b"ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for " + name
            )
        if self._searches and self.radius is None and self.sides is None:
            raise CommandError(
                b"ERR exactly one of BYRADIUS and BYBOX can be specified for " + name
            )
        if self.any and not self.count:
            raise CommandError(b"ERR the ANY argument requires COUNT argument")
        if self.count and not self.order and not self.any:
            self.order = b"asc"

    @property
    def _searches(self) -> bool:
        return self.style in (_BY_OPTIONS, _BY_OPTIONS_STORING)

    def _option(self, index: int) -> int:
        """Takes in the option at `index`; how many arguments it has."""
        args = self.args
        word = args[index].lower()
        left = len(args) - index - 1
        if word in (b"withdist", b"withhash", b"withcoord"):
            self.shown.add(word)
        elif word == b"any":
            self.any = True
        elif word in (b"asc", b"desc"):
            self.order = word
        elif word == b"count" and left >= 1:
            self.count = parse_integer(args[index + 1])
            if self.count <= 0:
                raise CommandError(b"ERR COUNT must be > 0")
            return 1
        elif word in (b"store", b"storedist") and left >= 1 and self.style == _BY_ARGUMENTS:
            self.target = args[index + 1]
            self.stores_distance = word == b"storedist"
            return 1
        elif word == b"storedist" and self.style == _BY_OPTIONS_STORING:
            self.stores_distance = True
        else:
            return self._place(word, index, left)
        return 0

    def _place(self, word: bytes, index: int, left: int) -> int:
        """An option of GEOSEARCH that says where or how far."""
        args = self.args
        if not self._searches:
            raise syntax_error()
        from_position = self.center is not None and not self.from_member
        if word == b"frommember" and left >= 1 and not from_position:
            self.from_member = True
            self.start_from(args[index + 1])
            return 1
        if word == b"fromlonlat" and left >= 2 and not self.from_member:
            self.center = _position(args, index + 1)
            return 2
        if word == b"byradius" and left >= 2 and self.sides is None:
            self.set_radius(index + 1)
            return 2
        if word == b"bybox" and left >= 3 and self.radius is None:
            width, height = _length(args[index + 1], b"width"), _length(args[index + 2], b"height")
            if width < 0 or height < 0:
                raise CommandError(b"ERR height or width cannot be negative")
            self.sides = width, height
            self.unit = _unit(args[index + 3])
            return 3
        raise syntax_error()

    def start_from(self, member: bytes) -> None:
        """The centre is where the member is."""
        if self.value is None:
            return
        score = self.value.score(member)
        if score is None:
            raise CommandError(_NO_MEMBER)
        self.center = geohash.decode(score)

    def set_radius(self, index: int) -> None:
        """The arguments at `index` are a radius and its unit."""
        radius = _length(self.args[index], b"radius")
        if radius < 0:
            raise CommandError(b"ERR radius cannot be negative")
        self.radius = radius
        self.unit = _unit(self.args[index + 1])

    # -- carrying it out

    def find(self) -> list[Found]:
        """What fits, in order."""
        found: list[Found] = []
        limit = self.count if self.any else 0
        last: geohash.Box = None
        for number, box in enumerate(self._boxes()):
            # Round the Earth neighbours may be the same box.
            if box is None or box == last:
                continue
            if limit and len(found) >= limit:
                break
            found += self._search_box(box, limit - len(found) if limit else 0)
            last = box if number else None
        if self.order:
            found.sort(key=_distance_of, reverse=self.order == b"desc")
        return found[: self.count] if self.count else found

    def _boxes(self) -> list[geohash.Box]:
        assert self.center is not None
        if self.sides is None:
            assert self.radius is not None
            metres = self.radius * self.unit
            return geohash.boxes(*self.center, metres, metres, metres)
        width, height = self.sides
        corner = math.sqrt((width / 2) * (width / 2) + (height / 2) * (height / 2)) * self.unit
        return geohash.boxes(
            *self.center, corner, self.unit * (width / 2), self.unit * (height / 2)
        )

    def _search_box(self, box: tuple[int, int], limit: int) -> list[Found]:
        low, high = geohash.scores(*box)
        order = self.value.order
        start, stop = order.rank_of_score(low, False), order.rank_of_score(high, False)
        assert self.center is not None
        radius, sides = -1.0, (0.0, 0.0)
        if self.sides is not None:
            sides = self.sides[0] * self.unit, self.sides[1] * self.unit
        elif self.radius is not None:
            radius = self.radius * self.unit
        members, scores = order.member_slice(start, stop), order.score_slice(start, stop)
        found: list[Found] = geohash.find_within(self.center, radius, sides, members, scores, limit)
        return found

    def reply(self, ctx: Any) -> list[Any]:
        """What is found, with what was asked for about each."""
        results: list[Any] = []
        for metres, score, member in self.find():
            if not self.shown:
                results.append(member)
                continue
            row: list[Any] = [member]
            if b"withdist" in self.shown:
                row.append(_distance_text(metres / self.unit))
            if b"withhash" in self.shown:
                row.append(int(score))
            if b"withcoord" in self.shown:
                row.append(_coordinates(ctx, geohash.decode(score)))
            results.append(row)
        return results


def _distance_of(point: Found) -> float:
    return point[0]


def _run(ctx: Any, search: Search) -> Any:
    """The reply of a search whose arguments are read."""
    target = search.target
    if target is None:
        return [] if search.value is None else search.reply(ctx)
    pairs = []
    if search.value is not None:
        unit = search.unit if search.stores_distance else 0.0
        for metres, score, member in search.find():
            pairs.append((member, metres / unit if unit else score))
    db = ctx.db
    if pairs:
        db.put(target, fitted(ctx, pairs))
        event = b"geosearchstore" if search.style == _BY_OPTIONS_STORING else b"georadiusstore"
        db.changed(target, NOTIFY_ZSET, event, len(pairs))
        db.ready(target)
    elif db.delete(target):
        db.changed(target, NOTIFY_GENERIC, b"del")
    return len(pairs)


def geosearch_command(ctx: Any, args: list[bytes]) -> Any:
    """GEOSEARCH key FROMMEMBER member | FROMLONLAT longitude latitude
    BYRADIUS radius unit | BYBOX width height unit [ASC | DESC] [COUNT count [ANY]]
    [WITHCOORD] [WITHDIST] [WITHHASH]"""
    search = Search(args, ctx.db.read_as(args[1], SortedSet), _BY_OPTIONS)
    search.parse(2)
    return _run(ctx, search)


def geosearchstore_command(ctx: Any, args: list[bytes]) -> Any:
    """GEOSEARCHSTORE destination source, then as GEOSEARCH without WITH..., [STOREDIST]"""
    search = Search(args, ctx.db.read_as(args[2], SortedSet), _BY_OPTIONS_STORING)
    search.target = args[1]
    search.parse(3)
    return _run(ctx, search)


def georadius_command(ctx: Any, args: list[bytes]) -> Any:
    """GEORADIUS key longitude latitude radius unit [WITHCOORD] [WITHDIST] [WITHHASH]
    [COUNT count [ANY]] [ASC | DESC] [STORE key] [STOREDIST key]"""
    return _radius(ctx, args, _BY_ARGUMENTS)


def georadius_ro_command(ctx: Any, args: list[bytes]) -> Any:
    """GEORADIUS_RO: GEORADIUS without STORE and STOREDIST."""
    return _radius(ctx, args, _BY_ARGUMENTS_READING)


def _radius(ctx: Any, args: list[bytes], style: str) -> Any:
    search = Search(args, ctx.db.read_as(args[1], SortedSet), style)
    search.center = _position(args, 2)
    search.set_radius(4)
    search.parse(6)
    return _run(ctx, search)


def georadiusbymember_command(ctx: Any, args: list[bytes]) -> Any:
    """GEORADIUSBYMEMBER key member radius unit, then as GEORADIUS."""
    return _radius_by_member(ctx, args, _BY_ARGUMENTS)


def georadiusbymember_ro_command(ctx: Any, args: list[bytes]) -> Any:
    """GEORADIUSBYMEMBER_RO: GEORADIUSBYMEMBER without STORE and STOREDIST."""
    return _radius_by_member(ctx, args, _BY_ARGUMENTS_READING)


def _radius_by_member(ctx: Any, args: list[bytes], style: str) -> Any:
    search = Search(args, ctx.db.read_as(args[1], SortedSet), style)
    if search.value is not None:
        search.start_from(args[2])
        search.set_radius(3)
    search.parse(5)
    return _run(ctx, search)


# -- rows --------------------------------------------------------------------------------------


def _keys_of_radius(first_option: int) -> Any:
    """The key, and what the first STORE and the first STOREDIST name."""

    def find(args: list[bytes]) -> list[int]:
        keys = [1]
        for word in (b"store", b"storedist"):
            for index in range(first_option, len(args) - 1):
                if args[index].lower() == word:
                    keys.append(index + 1)
                    break
        return keys

    return find


_ONE = (1, 1, 1)
_RADIUS = (
    "O(N+log(M)) where N is the number of elements inside the bounding box of the circular area "
    "delimited by center and radius and M is the number of items inside the index."
)
_AREA = (
    "O(N+log(M)) where N is the number of elements in the grid-aligned bounding box area around "
    "the shape provided as the filter and M is the number of items inside the shape"
)
_EACH = "O(log(N)) for each member requested, where N is the number of elements in the sorted set."


def _row(
    name: str,
    arity: int,
    flags: str,
    handler: Any,
    since: str,
    complexity: str,
    summary: str,
    keys: tuple[int, int, int] = _ONE,
    finder: Any = None,
) -> Command:
    return Command(
        name,
        arity,
        flags,
        handler,
        keys,
        finder=finder,
        group="geo",
        since=since,
        summary=summary,
        complexity=complexity,
    )


_MOVABLE = "write denyoom movablekeys"
_FROM_POINT = (
    "Query a sorted set representing a geospatial index to fetch members matching a given maximum "
    "distance from a point"
)
_FROM_MEMBER = (
    "Query a sorted set representing a geospatial index to fetch members matching a given maximum "
    "distance from a member"
)
_IN_AREA = (
    "Query a sorted set representing a geospatial index to fetch members inside an area of a box "
    "or a circle"
)

COMMANDS = [
    _row("geoadd", -5, "write denyoom", geoadd_command, "3.2.0",
         "O(log(N)) for each item added, where N is the number of elements in the sorted set.",
         ("Add one or more geospatial items in the geospatial index represented using a sorted "
          "set")),
    _row("geodist", -4, "readonly", geodist_command, "3.2.0", "O(log(N))",
         "Returns the distance between two members of a geospatial index"),
    _row("geohash", -2, "readonly", geohash_command, "3.2.0", _EACH,
         "Returns members of a geospatial index as standard geohash strings"),
    _row("geopos", -2, "readonly", geopos_command, "3.2.0",
         "O(N) where N is the number of members requested.",
         "Returns longitude and latitude of members of a geospatial index"),
    _row("georadius", -6, _MOVABLE, georadius_command, "3.2.0", _RADIUS, _FROM_POINT,
         finder=_keys_of_radius(6)),
    _row("georadius_ro", -6, "readonly", georadius_ro_command, "3.2.10", _RADIUS,
         "A read-only variant for GEORADIUS"),
    _row("georadiusbymember", -5, _MOVABLE, georadiusbymember_command, "3.2.0", _RADIUS,
         _FROM_MEMBER, finder=_keys_of_radius(5)),
    _row("georadiusbymember_ro", -5, "readonly", georadiusbymember_ro_command, "3.2.10", _RADIUS,
         "A read-only variant for GEORADIUSBYMEMBER"),
    _row("geosearch", -7, "readonly", geosearch_command, "6.2.0", _AREA, _IN_AREA + "."),
    _row("geosearchstore", -8, "write denyoom", geosearchstore_command, "6.2.0", _AREA,
         _IN_AREA + ", and store the result in another key.", (1, 2, 1)),
]  # fmt: skip
