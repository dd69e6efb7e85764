"""What clients may send: bytes of the protocol, requests, scripts and their arguments, payloads of
RESTORE, rules of users, glob patterns.

A server without sockets gets them. Promises: nothing but replies comes of it, whole and in the
protocol's form; nothing raises; the compiled and the pure reader of requests read the same; what a
user's rules are said to be makes the same user again; what was restored can be read.
"""

from __future__ import annotations

import gc
import logging
import re
from pathlib import Path
from random import Random
from typing import Any

from cache_server.errors import ProtocolError
from cache_server.structures.glob import match, parse, walk
from cache_server.wire import RequestReader, pure
from tests.compat.random_commands import TEMPLATES, Commands
from tests.fuzz.mutations import mutated
from tests.fuzz.test_snapshot import resealed
from tests.unit.talk import Room

INPUTS_PER_SERVER = 2000
logging.getLogger("cache_server").addHandler(logging.NullHandler())  # else refusals are printed
#: What a mutated number may make the server allocate for one value.
VALUE_BYTES_MAX = 1 << 20


def encoded(words: list[bytes]) -> bytes:
    """A request."""
    parts = [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
    return b"*%d\r\n" % len(words) + b"".join(parts)


def check_replies(data: bytes) -> int:
    """The number of replies in what a server sent. Raises AssertionError for anything else."""
    at = count = 0
    while at < len(data):
        at = _reply_end(data, at)
        count += 1
    return count


def _reply_end(data: bytes, at: int) -> int:
    wanted = 1
    while wanted:
        wanted -= 1
        end = data.index(b"\r\n", at)
        kind, rest = data[at : at + 1], data[at + 1 : end]
        at = end + 2
        if kind in (b"$", b"=") and rest != b"-1":
            at += int(rest) + 2
            assert data[at - 2 : at] == b"\r\n", data
        elif kind in (b"*", b"~", b">") and rest != b"-1":
            wanted += int(rest)
        elif kind == b"%":
            wanted += 2 * int(rest)
        else:
            assert kind, data
            assert kind in b"+-:$*_#,(", data
    return at


class Servers:
    """A server that is replaced after so many inputs, and a client of it for each input."""

    def __init__(self) -> None:
        self._room: Room | None = None
        self._left = 0

    @property
    def room(self) -> Room:
        """The server. A script is ended when it has run for some thousand instructions."""
        if self._room is None:
            self._room = Room(proto_max_bulk_len=str(VALUE_BYTES_MAX), save="")
            self._room.server.scripting.host.interrupt_hook = lambda: b"ERR long enough"
            self._left = INPUTS_PER_SERVER
        return self._room

    def close(self) -> None:
        """Lets the server go."""
        if self._room is not None:
            self._room.close()
            self._room = None
            gc.collect()  # a server is many cycles

    def next_input(self) -> None:
        """An input comes: time for another server, it may be."""
        self._left -= 1
        if self._left < 0:
            self.close()

    def ask(self, *requests: list[bytes]) -> bytes:
        """What a new client gets for its requests."""
        return self.send(b"".join(encoded(words) for words in requests))

    def send(self, data: bytes) -> bytes:
        """What a new client gets for its bytes; the client is gone then."""
        shell = self.room.client()
        server = shell.server
        shell.channel.data_received(data)
        answer = shell.take()
        shell.close()
        if shell.client.id in server.clients:
            server.client_disconnected(shell.client)
        shell.channel.release()
        return answer


_SERVERS = Servers()

# -- the protocol --------------------------------------------------------------------------------


def _pipelines() -> list[bytes]:
    source = Commands(7, {line.split()[0].lower() for line in TEMPLATES}, keys=3)
    return [b"".join(encoded(source.next()) for _ in range(4)) for _ in range(2000)]


def _read(reader: Any, pieces: list[bytes]) -> list[Any]:
    found: list[Any] = []
    try:
        for piece in pieces:
            reader.feed(piece)
            while (request := reader.next_request()) is not None:
                found.append(request)
    except ProtocolError as error:
        found.append(str(error))
    return found


def check_requests(data: bytes, _sample: bytes) -> bool:
    """Both readers find the same requests and the same error, whatever the pieces."""
    third = len(data) // 3
    pieces = [data[:third], data[third : third + 1], data[third + 1 :]]
    mine = _read(RequestReader(), pieces)
    assert mine == _read(pure.RequestReader(), [data]), mine
    return bool(mine) and isinstance(mine[0], list)


def check_commands(data: bytes, _sample: bytes) -> bool:
    """Whatever was read as requests is answered, one reply each."""
    _SERVERS.next_input()
    answer = _SERVERS.send(data)
    return check_replies(answer) > 0 and not answer.startswith(b"-")


# -- scripts -------------------------------------------------------------------------------------

SCRIPTS = [
    b"return {KEYS[1], ARGV[1], #ARGV, 3.7, true, false, {1, {2, {'x'}}}, nil, 4}",
    b"local t = {} for i = 1, 20 do t[i] = redis.call('INCR', KEYS[1]) end return t",
    b"return redis.pcall('HSET', KEYS[1], ARGV[1], ARGV[2], unpack({'a', 'b'}))",
    b"redis.setresp(3) return redis.call('HGETALL', KEYS[2])",
    b"return cjson.encode({a = {1, 2, {b = ARGV[1]}}, c = cjson.null, d = 1e300 * 10})",
    b'return cjson.decode(\'{"a": [1, 2.5, null, true, "\\\\u00e9"]}\').a[5]',
    b"return cmsgpack.unpack(cmsgpack.pack({1, -1, 2^40, 'x', {k = {}}, 1.5, true}))[4]",
    b"return {struct.unpack('>I4hs', struct.pack('>I4hs', 7, -2, 'abc'))}",
    b"return bit.tohex(bit.bxor(bit.lshift(0xff, 4), bit.bnot(3)), -8)",
    b"local f = function(...) return select('#', ...), ... end return {pcall(f, nil, 1, {})}",
    b"local s = ('ab'):rep(50) return {s:find('(a)(b)%1'), s:gsub('%w', '%0%0', 3), s:sub(-3)}",
    b"return {string.format('%5.2f|%-10s|%q|%x|%c', 1/3, 'x', 'a\\n', 255, 65), tostring(nil)}",
    (
        b"local c = coroutine.wrap(function(a) for i = 1, 3 do a = a + coroutine.yield(a) end end) "
        b"return c(1) + c(2)"
    ),
    b"local t = setmetatable({}, {__index = function(_, k) return k end}) return t.x .. t[1]",
    b"return redis.error_reply('MY error') or redis.status_reply('fine') or redis.sha1hex('')",
    b"local a = loadstring('return ...') return {a(1, 2), type(load), table.concat({1, 2}, ',')}",
    b"#!lua flags=no-writes,allow-stale\nreturn redis.call('GET', KEYS[1])",
    (
        b"table.sort(ARGV, function(a, b) return a > b end) "
        b"return {math.floor(2.5), math.random(1, 3), ARGV}"
    ),
    b"local ok, e = pcall(redis.call, 'NOSUCH') return {ok, e, redis.log(redis.LOG_DEBUG, 'x')}",
    b"repeat local x = (x or 0) + 1 until x > 3 while true do break end goto = nil return #'a\\0b'",
]
#: Words of Lua that may stand in each other's place.
_CLASSES = [
    b"and or == ~= < >= .. + - * / ^".split(),
    b"0 1 -1 2 255 2^31 2^53 1e308 -0 0x7fffffff nil true '' 'x' {} KEYS ARGV #ARGV ...".split(),
    b"""
    cjson.encode cjson.decode cmsgpack.pack cmsgpack.unpack struct.pack struct.unpack
    struct.size bit.bor bit.lshift bit.tohex string.rep string.format string.gsub string.find
    string.dump loadstring load setmetatable getmetatable rawset rawget select unpack pcall
    xpcall error tostring tonumber table.insert table.concat table.sort table.remove
    coroutine.create coroutine.resume coroutine.wrap math.floor math.huge math.random
    redis.call redis.pcall redis.setresp redis.log redis.error_reply redis.sha1hex
    redis.acl_check_cmd redis.breakpoint collectgarbage getfenv setfenv newproxy require debug
    os io print dofile next pairs ipairs type
    """.split(),
    b"'GET' 'SET' 'HSET' 'LRANGE' 'XADD' 'ZRANGE' 'EVAL' 'NOSUCH' 'KEYS' 'TIME' 'MULTI'".split(),
]
_CLASS_OF = {word: words for words in _CLASSES for word in words}
_TOKEN = re.compile(
    rb"'[^']*'|[A-Za-z_][\w.]*|-?\d[\w^]*|==|~=|>=|\.\.\.?|\{\}|#ARGV|\s+|.", re.DOTALL
)


def changed_script(rng: Random, sample: bytes, others: list[bytes]) -> bytes:
    """A script with bytes changed, or with words changed for others of their class."""
    if rng.random() < 0.2:
        return mutated(rng, sample, others)
    tokens = _TOKEN.findall(sample)
    places = [place for place, token in enumerate(tokens) if token in _CLASS_OF]
    for _ in range(rng.randint(1, 4)):
        if places:
            place = rng.choice(places)
            tokens[place] = rng.choice(_CLASS_OF[tokens[place]])
    return b"".join(tokens)


def check_script(data: bytes, _sample: bytes) -> bool:
    """A script is answered once, with a reply or an error."""
    _SERVERS.next_input()
    answer = _SERVERS.ask([b"EVAL", data, b"2", b"k1", b"k2", b"a1", b"17"])
    assert check_replies(answer) == 1, answer
    return not answer.startswith(b"-")


#: Each takes one argument apart.
_TAKERS = [
    b"return cjson.encode(cjson.decode(ARGV[1]))",
    b"return cmsgpack.pack(cmsgpack.unpack(ARGV[1]))",
    b"return {struct.unpack(ARGV[2], ARGV[1])}",
    b"return {struct.size(ARGV[1]), struct.pack(ARGV[1], 1, 2, 'x')}",
    b"return {ARGV[1]:find(ARGV[2]), tonumber(ARGV[1]), ARGV[1]:rep(3):upper():reverse()}",
    b"return {pcall(string.format, ARGV[1], 1, 'x', 2.5)}",
    b"return {pcall(string.gsub, ARGV[2], ARGV[1], ARGV[2])}",
    b"return redis.sha1hex(ARGV[1]) .. tostring(loadstring(ARGV[1]))",
]
ARGUMENTS = [
    b'{"a":[1,2.5e3,-0,null,true,{"b":"\\u00e9\\ud83d\\ude00\\n"}],"c":{}}',
    b"\x93\x01\xa1x\x82\xa1k\xc3\xa1l\xcb?\xf8\x00\x00\x00\x00\x00\x00\xcd\x01\x00\xda\x00\x02ab\xdc\x00\x01\xc0",
    b"<i4I2bBhHlLfds0c0xs!8>",
    b"%5.2f %-10s %q %x %c %d %i %e %g %%",
    b"(%w+)=([%d%.]-)%s*[^%a]%b()%f[%w]%1",
    b"return function() return 1 end",
    b"0x7fffffffffffffff 1e400 -nan 9007199254740993",
]


def check_argument(data: bytes, _sample: bytes) -> bool:
    """Libraries of scripts take any argument."""
    _SERVERS.next_input()
    taker = _TAKERS[len(data) % len(_TAKERS)]
    answer = _SERVERS.ask([b"EVAL", taker, b"0", data, b"<i4s0"])
    assert check_replies(answer) == 1, answer
    return not answer.startswith(b"-")


# -- RESTORE, ACL, glob --------------------------------------------------------------------------

DUMPED = [
    bytes.fromhex(line.split()[0])
    for line in (Path(__file__).parent.parent / "data/dumped_values.txt").read_text().splitlines()
    if not line.startswith("#")
]
_READERS = [
    [[b"GET", b"r"]],
    [[b"LRANGE", b"r", b"0", b"-1"], [b"LPOP", b"r"]],
    [[b"SMEMBERS", b"r"], [b"SPOP", b"r"]],
    [[b"HGETALL", b"r"], [b"HSET", b"r", b"f", b"v"]],
    [[b"ZRANGE", b"r", b"0", b"-1", b"WITHSCORES"], [b"ZADD", b"r", b"1", b"m"]],
    [[b"XINFO", b"STREAM", b"r", b"FULL"], [b"XADD", b"r", b"MAXLEN", b"3", b"*", b"f", b"v"]],
]


def check_restore(data: bytes, _sample: bytes) -> bool:
    """A payload under a right checksum is refused, or is a value that commands can use."""
    _SERVERS.next_input()
    if len(data) < 11:
        return False
    requests = [request for one in _READERS for request in one]
    restored = [[b"RESTORE", b"r", b"0", resealed(data), b"REPLACE"]]
    answer = _SERVERS.ask(*restored, *requests, [b"DUMP", b"r"], [b"DEL", b"r"])
    assert check_replies(answer) == len(requests) + 3, answer
    return answer.startswith(b"+")


RULES = [
    b"on >secret ~cache:* %R~config:* &news:* +@read -keys +config|get (+set ~job:*)",
    b"off nopass allkeys allchannels +@all -@dangerous +debug|digest -client|kill",
    b"resetkeys resetchannels reset #" + b"a" * 64 + b" <secret !" + b"b" * 64 + b" resetpass",
    (
        b"%RW~a* %W~[a-z]? ~\\*x +select|0 nocommands allcommands clearselectors (~* -@all) "
        b"(%R~x +@string)"
    ),
    b"sanitize-payload skip-sanitize-payload +@write +acl|whoami -@admin +eval ~~ &* &\\&",
]


def check_rules(data: bytes, _sample: bytes) -> bool:
    """Rules are taken or refused; taken, they can be said and mean the same when they are."""
    _SERVERS.next_input()
    words = data.split(b" ")[:20]
    set_user = [b"ACL", b"SETUSER"]
    answer = _SERVERS.ask(
        [b"ACL", b"DELUSER", b"u", b"v"],
        [*set_user, b"u", *words],
        [b"ACL", b"GETUSER", b"u"],
        [b"ACL", b"DRYRUN", b"u", b"GET", b"cache:1"],
    )
    assert check_replies(answer) == 4, answer
    server = _SERVERS.room.server
    user = server.access.users.find(b"u")
    if user is None:
        return False
    said = user.describe()
    taken = _SERVERS.ask([*set_user, b"v", *said.split(b" ")])
    assert taken == b"+OK\r\n", (said, taken)
    again = server.access.users.find(b"v")
    assert again is not None
    assert again.describe() == said, (said, again.describe())
    return True


GLOBS = [
    b"a*b?c[a-z]d[^x-y]\\*e|abcz",
    b"*a*a*a*a*a*b|aaaaaaaaaaaaaaaaaaaaaaaa",
    b"[|[",
    b"h[]-a]*|ha-",
]


def check_glob(data: bytes, _sample: bytes) -> bool:
    """The expression of a pattern matches what a walk along its elements matches."""
    pattern, _, text = data.partition(b"|")
    found = [match(pattern, text, nocase) for nocase in (False, True)]
    assert found[0] == walk(parse(pattern, False), text), data
    assert found[1] == walk(parse(pattern, True), text.lower()), data
    return found[0]


PIPELINES = _pipelines()
