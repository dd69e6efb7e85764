"""Redis's snapshot format (RDB): an encoder of version 10, and a decoder of versions 1 to 12.

    REDIS0010 | FA aux name, value ... | FE database | FB sizes | key ... | FF | CRC-64 (8, little)

    key      [FC expiry in ms (8)] [F8 idle seconds | F9 frequency] type (1) | key string | value
    length   00xxxxxx                     6 bits        80 and 4 bytes, big-endian
             01xxxxxx xxxxxxxx           14 bits        81 and 8 bytes, big-endian
    string   length, bytes | C0, C1, C2 and an integer of 1, 2, 4 bytes | C3, two lengths, LZF data

What is written is read by redis-server 5.0 and later: strings, lists, sets and hashes element by
element, sorted sets with binary scores, streams as listpacks. What is read is every encoding that a
stock server ever wrote.

The encoder appends to one bytearray. A value of many elements is encoded in steps, so that the
caller decides how long it stays away from its clients.

The decoder is fed bytes as they come and fills tables of its own: nothing is visible before the end
was seen and the checksum agreed. An item that is not whole yet is read again when there is more;
how much more doubles, so even an item that comes in many pieces is read a bounded number of times.

Invariants: every length is checked before it is believed and allocates nothing by itself; whatever
is fed, the result is the data or an InputError with the offset. A trailer of zeros means that the
writer did not compute the checksum (https://rdb.fnordig.de/file_format.html describes the format).
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Any

from cache_server.constants import (
    SNAPSHOT_AUX_FIELDS_MAX,
    SNAPSHOT_EMPTY_NAMES_MAX,
    SNAPSHOT_STEP_ELEMENTS,
)
from cache_server.datatypes.hashes import Hash, hash_of
from cache_server.datatypes.list_value import List, list_of
from cache_server.datatypes.sets import INTSET_MEMBERS_MAX, Set, set_of
from cache_server.datatypes.sorted_sets import SortedSet, sorted_set_of
from cache_server.datatypes.streams import Stream
from cache_server.errors import InputError
from cache_server.persistence import stream_codec
from cache_server.persistence.lzf import Compressor
from cache_server.persistence.packed import (
    read_intset,
    read_listpack,
    read_ziplist,
    read_zipmap,
)
from cache_server.persistence.snapshot_parts import (
    append_elements,
    append_integer,
    append_members,
    append_ms,
    append_number,
    append_string,
    append_words,
)
from cache_server.persistence.snapshot_reader import Reader, Truncated, parse_double
from cache_server.structures.entry import Entry, make_entry
from cache_server.structures.table import Table
from replication.checksum import crc64_redis

#: The version that is written: what redis-server 7.0 writes itself.
VERSION = 10
#: The newest that is read (redis-server 7.4).
VERSION_MAX = 12

STRING = 0
LIST = 1
SET = 2
ZSET = 3
HASH = 4
ZSET_2 = 5
MODULE = 6
MODULE_2 = 7
HASH_ZIPMAP = 9
LIST_ZIPLIST = 10
SET_INTSET = 11
ZSET_ZIPLIST = 12
HASH_ZIPLIST = 13
LIST_QUICKLIST = 14
STREAM_LISTPACKS = 15
HASH_LISTPACK = 16
ZSET_LISTPACK = 17
LIST_QUICKLIST_2 = 18
STREAM_LISTPACKS_2 = 19
SET_LISTPACK = 20
STREAM_LISTPACKS_3 = 21
HASH_WITH_EXPIRIES = (22, 23, 24, 25)

SLOT_INFO = 244
FUNCTION_2 = 245
FUNCTION_PRE_GA = 246
MODULE_AUX = 247
IDLE = 248
FREQ = 249
AUX = 250
RESIZE_DB = 251
EXPIRE_MS = 252
EXPIRE_SECONDS = 253
SELECT_DB = 254
EOF = 255

# Those that are asked for at every key: integers of C where this is compiled.
_STRING = STRING
_LIST = LIST
_SET = SET
_HASH = HASH
_ZSET_2 = ZSET_2
_OPCODES = SLOT_INFO

# What an encoder says about the last access of a key.
ACCESS_NONE = 0
ACCESS_IDLE = 1
ACCESS_FREQ = 2

_LISTPACK_CODES = {STREAM_LISTPACKS: 1, STREAM_LISTPACKS_2: 2, STREAM_LISTPACKS_3: 3}
_TYPE_CODES = {
    bytes: STRING,
    int: STRING,
    bytearray: STRING,
    List: LIST,
    Set: SET,
    Hash: HASH,
    SortedSet: ZSET_2,
    Stream: STREAM_LISTPACKS_2,
}
_MS = Struct("<Q")
_STEP = SNAPSHOT_STEP_ELEMENTS


# -- writing -------------------------------------------------------------------------------------


def type_code(value: Any) -> int:
    """The type byte under which the encoder writes `value`."""
    return _TYPE_CODES[type(value)]


class Encoder:
    """Appends a snapshot's parts to `out`. `access` is one of ACCESS_*; `now_ms` dates idleness."""

    def __init__(self, compress: bool = False, access: int = ACCESS_NONE, now_ms: int = 0) -> None:
        self.out = bytearray()
        self.access = access
        self.now_ms = now_ms
        self._lzf = Compressor() if compress else None

    def length(self, value: int) -> None:
        """A length, or any number from 0 to 2**64 - 1."""
        append_number(self.out, value)

    def string(self, data: Any) -> None:
        """A string: bytes, bytearray or int."""
        if type(data) is int:
            append_integer(self.out, data)
        else:
            append_string(self.out, bytes(data), self._lzf)

    def header(self) -> None:
        self.out += b"REDIS%04d" % VERSION

    def aux(self, name: bytes, value: Any) -> None:
        """One field of the preamble; a reader skips those that it does not know."""
        self.out.append(AUX)
        self.string(name)
        self.string(value)

    def function(self, library: bytes) -> None:
        """A library of functions, as it was read."""
        self.out.append(FUNCTION_2)
        self.string(library)

    def select(self, index: int) -> None:
        self.out.append(SELECT_DB)
        self.length(index)

    def sizes(self, keys: int, volatile: int) -> None:
        """How much there is in the database just selected: a hint for the reader."""
        self.out.append(RESIZE_DB)
        self.length(keys)
        self.length(volatile)

    def end(self) -> None:
        """The mark of the end; the trailer follows, see `trailer`."""
        self.out.append(EOF)

    def entries(self, items: list[tuple[bytes, Any]], start: int) -> int:
        """Encodes entries from `start` on; returns where it stopped.

        That is the end, or a value of so many elements that `steps` is the way to encode it."""
        stop = len(items)
        while start < stop:
            key, entry = items[start]
            value = entry.value
            kind = type(value)
            if (
                kind is not bytes
                and kind is not int
                and kind is not bytearray
                and len(value) > _STEP
            ):
                break
            self.entry(key, entry)
            start += 1
        return start

    def entry(self, key: bytes, entry: Entry) -> None:
        """One key as a whole."""
        value = entry.value
        self._before_value(key, entry, type_code(value))
        self.value(value)

    def steps(self, key: bytes, entry: Entry) -> Iterator[None]:
        """One key; yields now and then inside a value of many elements."""
        value = entry.value
        self._before_value(key, entry, type_code(value))
        yield from self._value_steps(value)

    def value(self, value: Any) -> None:
        """A value as a whole, without type byte."""
        kind = type(value)
        if kind is bytes:
            append_string(self.out, value, self._lzf)
        elif kind is int or kind is bytearray:
            self.string(value)
        elif not append_elements(self.out, value, self._lzf):
            for _ in stream_codec.encode_steps(self, value):
                pass

    def _before_value(self, key: bytes, entry: Entry, code: int) -> None:
        """Expiry and last access, then the type byte and the key."""
        out = self.out
        if entry.expire_ms:
            out.append(EXPIRE_MS)
            append_ms(out, entry.expire_ms)
        if self.access == ACCESS_IDLE:
            out.append(IDLE)
            append_number(out, max(0, self.now_ms - entry.access) // 1000)
        elif self.access == ACCESS_FREQ:
            out.append(FREQ)
            out.append(entry.access & 255)
        out.append(code)
        append_string(out, key, self._lzf)

    def _value_steps(self, value: Any) -> Iterator[None]:
        kind = type(value)
        if kind is Stream:
            yield from stream_codec.encode_steps(self, value)
            return
        if kind is bytes or kind is int or kind is bytearray or len(value) <= _STEP:
            self.value(value)
            return
        append_number(self.out, len(value))
        if kind is List:
            for chunk in value.chunks():
                append_words(self.out, chunk, self._lzf)
                yield
        elif kind is SortedSet:
            order = value.order
            for start in range(0, len(value), _STEP):
                stop = start + _STEP
                members, scores = order.member_slice(start, stop), order.score_slice(start, stop)
                append_members(self.out, members, scores, self._lzf)
                yield
        else:
            yield from self._table_steps(value.unpacked if kind is Hash else value.table, kind)

    def _table_steps(self, table: Table, kind: type) -> Iterator[None]:
        """The fields of a large hash with their values, or the members of a large set."""
        words: list[bytes] = []
        for index in range(table.bucket_count()):
            if kind is Hash:
                for pair in table.bucket_items(index):
                    words += pair
            else:
                words += table.bucket_keys(index)
            if len(words) >= _STEP:
                append_words(self.out, words, self._lzf)
                words = []
                yield
        append_words(self.out, words, self._lzf)


def trailer(crc: int) -> bytes:
    """The last 8 bytes of a snapshot, from the CRC-64 of all before."""
    return _MS.pack(crc)


# -- reading -------------------------------------------------------------------------------------


#: What a refused value is called in the log, in the words that log readers look for.
_PACKED_NAMES = {
    HASH_ZIPMAP: "Zipmap",
    LIST_ZIPLIST: "List ziplist",
    SET_INTSET: "Intset",
    ZSET_ZIPLIST: "Zset ziplist",
    HASH_ZIPLIST: "Hash ziplist",
    LIST_QUICKLIST: "Quicklist ziplist",
    LIST_QUICKLIST_2: "Quicklist listpack",
    HASH_LISTPACK: "Hash listpack",
    ZSET_LISTPACK: "Zset listpack",
    STREAM_LISTPACKS: "Stream listpack",
    STREAM_LISTPACKS_2: "Stream listpack",
    STREAM_LISTPACKS_3: "Stream listpack",
}


def read_value(reader: Reader, code: int) -> Any:
    """The value of type `code`; None for one without elements. Raises Truncated and InputError."""
    try:
        return _value_of(reader, code)
    except InputError as error:
        if code not in _PACKED_NAMES:
            raise
        name = _PACKED_NAMES[code]
        raise InputError(f"{name} integrity check failed: {error}") from None


def _value_of(reader: Reader, code: int) -> Any:
    if code == _STRING:
        return reader.string_value()
    if code == _HASH:
        return _hash(reader.strings(2 * reader.count()))
    if code == _ZSET_2:
        return _sorted_set(reader.scored_strings(reader.count()))
    if code == _LIST:
        return _list(reader.strings(reader.count()))
    if code == _SET:
        return _set(reader.strings(reader.count()))
    if code in (HASH_LISTPACK, HASH_ZIPLIST, HASH_ZIPMAP):
        return _hash(_hash_elements(reader, code))
    if code in (ZSET_LISTPACK, ZSET_ZIPLIST, ZSET):
        return _sorted_set(_sorted_set_parts(reader, code))
    if code in (LIST_QUICKLIST_2, LIST_QUICKLIST, LIST_ZIPLIST):
        return _list(_list_nodes(reader, code))
    if code == SET_INTSET:
        return _set(read_intset(reader.string()))
    if code == SET_LISTPACK:
        return _set(read_listpack(reader.string()))
    if code in _LISTPACK_CODES:
        return stream_codec.decode(reader, _LISTPACK_CODES[code])
    if code in HASH_WITH_EXPIRIES:
        raise InputError("a hash whose fields expire is not supported")
    if code in (MODULE, MODULE_2):
        raise InputError("a value of a module is not supported")
    raise InputError(f"value type {code} does not exist")


def _list(elements: list[bytes]) -> Any:
    return list_of(elements) if elements else None


def _list_nodes(reader: Reader, code: int) -> list[bytes]:
    if code == LIST_ZIPLIST:
        return read_ziplist(reader.string())
    elements: list[bytes] = []
    for _ in range(reader.count()):
        if code == LIST_QUICKLIST:
            elements += read_ziplist(reader.string())
            continue
        container = reader.number()
        if container == 1:
            element = reader.string()
            if not element:
                raise InputError("a list node is empty")
            elements.append(element)
        elif container == 2:
            elements += read_listpack(reader.string())
        else:
            raise InputError(f"a list node of kind {container} does not exist")
    return elements


def _set(members: list[bytes]) -> Any:
    if not members:
        return None
    value = set_of(members)
    if len(value) != len(members):
        raise InputError("a set has a member twice")
    return value


def _hash_elements(reader: Reader, code: int) -> list[bytes]:
    """Fields and values in turn."""
    if code == HASH_LISTPACK:
        return read_listpack(reader.string())
    if code == HASH_ZIPLIST:
        return read_ziplist(reader.string())
    return read_zipmap(reader.string())


def _hash(elements: list[bytes]) -> Any:
    if not elements:
        return None
    if len(elements) % 2:
        raise InputError("a hash has a field without a value")
    value = hash_of(elements)
    if value is None:
        raise InputError("a hash has a field twice")
    return value


def _sorted_set_parts(reader: Reader, code: int) -> tuple[list[bytes], list[float]]:
    """Members, and their scores."""
    if code == ZSET:
        members: list[bytes] = []
        scores: list[float] = []
        for _ in range(reader.count()):
            members.append(reader.string())
            scores.append(reader.old_double())
        return members, scores
    packed = reader.string()
    elements = read_listpack(packed) if code == ZSET_LISTPACK else read_ziplist(packed)
    if len(elements) % 2:
        raise InputError("a sorted set has a member without a score")
    return elements[::2], [parse_double(score) for score in elements[1::2]]


def _sorted_set(parts: tuple[list[bytes], list[float]]) -> Any:
    members, scores = parts
    if not members:
        return None
    for score in scores:
        if score != score:
            raise InputError("a score is not a number")
    value = sorted_set_of(members, scores)
    if value is None:
        raise InputError("a sorted set has a member twice")
    return value


class Fit:
    """Up to which size values count as packed (OBJECT ENCODING), by the settings in `config`."""

    def __init__(self, config: Any) -> None:
        self.hash_entries = config.hash_max_listpack_entries
        self.hash_bytes = config.hash_max_listpack_value
        self.zset_entries = config.zset_max_listpack_entries
        self.zset_bytes = config.zset_max_listpack_value
        self.set_integers = config.set_max_intset_entries

    def apply(self, value: Any) -> Any:
        """The value, with the encoding that the settings make of it."""
        kind = type(value)
        if kind is Hash:
            value.fit(self.hash_entries, self.hash_bytes)
        elif kind is SortedSet:
            value.fit(self.zset_entries, self.zset_bytes)
        elif kind is Set and self.set_integers != INTSET_MEMBERS_MAX:
            value.fit(self.set_integers)
        return value


# -- loading -------------------------------------------------------------------------------------


class Loaded:
    """The data of a snapshot: for each database a table of its entries and one of the volatile."""

    def __init__(self, databases: int) -> None:
        self.tables = [Table.of_entries() for _ in range(databases)]
        self.volatile = [Table.of_entries() for _ in range(databases)]
        self.aux: dict[bytes, bytes] = {}
        #: Libraries of functions, as they were written.
        self.functions: list[bytes] = []
        self.keys_loaded = 0
        self.keys_expired = 0
        #: Keys that held nothing, and were left out; the names of the first of them.
        self.keys_empty = 0
        self.empty_names: list[bytes] = []


class Loader:
    """Reads a snapshot that comes in pieces: `feed` until there is no more, then `finish`.

    `databases`       how many there may be
    `now_ms`          the time, Unix ms
    `drop_expired`    keys that have expired are left out, unless the snapshot names a replication
                      history: there a deletion has to be in the stream (and a follower drops
                      nothing: its leader decides)
    `verify`          whether a checksum that is there is checked
    `lfu`             whether access stamps are those of an LFU policy
    `fit`             decides the encodings; without it, the default settings do
    """

    def __init__(
        self,
        databases: int,
        now_ms: int,
        drop_expired: bool = False,
        verify: bool = True,
        lfu: bool = False,
        fit: Fit | None = None,
    ) -> None:
        self.fit = fit
        self.loaded = Loaded(databases)
        self.databases = databases
        self.now_ms = now_ms
        self.drop_expired = drop_expired
        self.verify = verify
        self.lfu = lfu
        #: Whether the end was seen and the checksum agreed.
        self.complete = False
        self.version = 0
        self._crc = 0
        self._offset = 0
        self._reader = Reader(b"")
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._wanted_bytes = 0
        self._table = self.loaded.tables[0]
        self._volatile = self.loaded.volatile[0]
        self._access = ((now_ms // 60_000) & 0xFFFF) << 8 | 5 if lfu else now_ms

    @property
    def rest(self) -> bytes:
        """What was fed behind the end."""
        return self._reader.data[self._reader.position :] + b"".join(self._waiting)

    def feed(self, data: bytes) -> None:
        """Takes more of the snapshot. Raises InputError, after which the loader is of no use."""
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        if self._waiting_bytes >= self._wanted_bytes and not self.complete:
            self._read()

    def finish(self) -> Loaded:
        """The data. Raises InputError when the snapshot is not whole, or goes on behind its end."""
        if self._waiting and not self.complete:
            self._read()
        if not self.complete:
            size = self._offset + len(self._reader.data)
            raise InputError(f"the snapshot is cut short: it ends at offset {size}")
        if self.rest:
            raise InputError(f"there are {len(self.rest)} bytes behind the end of the snapshot")
        return self.loaded

    def _read(self) -> None:
        reader = Reader(self._reader.data[self._reader.position :] + b"".join(self._waiting))
        self._reader = reader
        self._waiting.clear()
        self._waiting_bytes = 0
        mark = 0
        try:
            if not self.version:
                self._header(reader)
            while not self.complete:
                mark = reader.position
                self._item(reader, mark)
            mark = reader.position
        except Truncated:
            reader.position = mark
            left = reader.end - mark
            self._wanted_bytes = max(reader.wanted - reader.end, left >> 1)
        except InputError as error:
            raise InputError(f"{error}, at offset {self._offset + mark} of the snapshot") from None
        if mark and not self.complete:
            self._crc = crc64_redis(reader.data[:mark], self._crc)
        self._offset += mark

    def _header(self, reader: Reader) -> None:
        head = reader.take(9)
        if head[:5] != b"REDIS" or not head[5:].isdigit():
            raise InputError("Wrong signature: this is no snapshot")
        version = int(head[5:])
        if not 1 <= version <= VERSION_MAX:
            raise InputError(f"Can't handle RDB format version {version}")
        self.version = version

    def _item(self, reader: Reader, mark: int) -> None:
        """One key with what belongs to it, or one opcode."""
        expire_ms = 0
        access = self._access
        while True:
            code = reader.byte()
            if code < _OPCODES:
                self._key(reader, code, expire_ms, access)
                return
            if code == EXPIRE_MS:
                expire_ms = self._expiry(reader.signed_ms())
            elif code == EXPIRE_SECONDS:
                expire_ms = self._expiry(
                    1000 * int.from_bytes(reader.take(4), "little", signed=True)
                )
            elif code == IDLE:
                idle_ms = 1000 * reader.count()
                if not self.lfu:
                    access = max(0, self.now_ms - idle_ms)
            elif code == FREQ:
                frequency = reader.byte()
                if self.lfu:
                    access = (self._access & ~255) | frequency
            else:
                self._opcode(reader, code, mark)
                return

    def _expiry(self, expire_ms: Any) -> Any:
        """An expiry as the keyspace holds it; one at or before 1970 is long over."""
        return max(1, expire_ms)

    def _key(self, reader: Reader, code: int, expire_ms: int, access: int) -> None:
        key = reader.string()
        try:
            value = read_value(reader, code)
        except InputError as error:
            raise InputError(f"{error}, in the value of key {key[:80]!r}") from None
        loaded = self.loaded
        if value is None:
            loaded.keys_empty += 1
            if len(loaded.empty_names) < SNAPSHOT_EMPTY_NAMES_MAX:
                loaded.empty_names.append(key)
            return
        if expire_ms and self.drop_expired and expire_ms < self.now_ms:
            loaded.keys_expired += 1
            return
        if self.fit is not None:
            value = self.fit.apply(value)
        entry = make_entry(key, value, access)
        if not self._table.set(key, entry):
            raise InputError(f"the key {key[:80]!r} is there twice")
        if expire_ms:
            entry.expire_ms = expire_ms
            self._volatile.set(key, entry)
        loaded.keys_loaded += 1

    def _opcode(self, reader: Reader, code: int, mark: int) -> None:
        if code == SELECT_DB:
            index = reader.count()
            if index >= self.databases:
                raise InputError(f"database {index} where there are {self.databases}")
            self._table = self.loaded.tables[index]
            self._volatile = self.loaded.volatile[index]
        elif code == RESIZE_DB:
            reader.count()
            reader.count()
        elif code == AUX:
            name, value = reader.string(), reader.string()
            if name == b"repl-id":
                self.drop_expired = False
            if len(self.loaded.aux) < SNAPSHOT_AUX_FIELDS_MAX:
                self.loaded.aux[name] = value
        elif code == EOF:
            self._end(reader, mark)
        elif code == FUNCTION_2:
            self.loaded.functions.append(reader.string())
        elif code == SLOT_INFO:
            for _ in range(3):
                reader.count()
        elif code == FUNCTION_PRE_GA:
            raise InputError("functions of a release candidate are not supported")
        else:
            raise InputError("data of a module is not supported")

    def _end(self, reader: Reader, mark: int) -> None:
        if self.version >= 5:
            there = int.from_bytes(reader.take(8), "little")
            found = crc64_redis(reader.data[: mark + 1], self._crc)
            if there and self.verify and there != found:
                raise InputError(f"RDB CRC error: expected {there:016x}, found {found:016x}")
        self.complete = True


# -- single values -------------------------------------------------------------------------------


def dump_value(value: Any, compress: bool = True) -> bytes:
    """One value by itself, as DUMP gives it: type, value, version (2 bytes), CRC-64 (8 bytes)."""
    encoder = Encoder(compress)
    encoder.out.append(type_code(value))
    encoder.value(value)
    encoder.out += VERSION.to_bytes(2, "little")
    payload = bytes(encoder.out)
    return payload + trailer(crc64_redis(payload))


def dump_is_intact(payload: bytes, verify: bool = True) -> bool:
    """Whether a payload of DUMP has a version that we read and the right checksum."""
    if len(payload) < 10 or int.from_bytes(payload[-10:-8], "little") > VERSION_MAX:
        return False
    return not verify or payload[-8:] == trailer(crc64_redis(payload[:-8]))


def restore_value(payload: bytes) -> Any:
    """The value in an intact payload of DUMP. Raises InputError."""
    reader = Reader(payload[:-10])
    try:
        value = read_value(reader, reader.byte())
    except Truncated:
        raise InputError("the value is cut short") from None
    if value is None:
        raise InputError("the value is empty")
    if reader.position != reader.end:
        raise InputError("there are bytes behind the value")
    return value
