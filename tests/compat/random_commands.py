"""Random commands over all types, the same for the same seed.

A template is a request with places to be filled:

    $y                           a key of members with one score: ranges by letter need that
    $s $l $u $h $z $x $b $p $g   a key that mostly holds a string, list, set, hash, sorted set,
                                 stream, bitmap, HyperLogLog, geo set (and sometimes any other)
    %m member  %v value  %i small integer  %n any integer  %f float  %d index  %r score bound
    %y lexical bound  %o bit offset  %t stream id  %e time in the far future, in seconds
    %m+          one to three of them
    (A|B)        one of the two, which may be of several words; (A|) is optional

Left out is what two servers answer differently by right: random choices, times that pass, ids made
from the clock, cursors.
"""

from __future__ import annotations

import re
from random import Random

TEMPLATES = """
SET $s %v (NX|XX|) (GET|) (EXAT %e|KEEPTTL|)
SET $s %n
GET $s
GETSET $s %v
GETDEL $s
GETEX $s (PERSIST|EXAT %e|)
APPEND $s %v
STRLEN $s
SETRANGE $s %i %v
GETRANGE $s %d %d
SUBSTR $s %d %d
INCR $s
DECR $s
INCRBY $s %n
DECRBY $s %n
INCRBYFLOAT $s %f
MSET $s %v $s %v
MSETNX $s %v $s %v
MGET $s $s $l
SETNX $s %v
LCS $s $s (LEN|IDX|)
LPUSH $l %v+
RPUSH $l %v+
LPUSHX $l %v
RPUSHX $l %v+
LPOP $l (%i|)
RPOP $l (%i|)
LLEN $l
LINDEX $l %d
LSET $l %d %v
LINSERT $l (BEFORE|AFTER) %v %v
LRANGE $l %d %d
LREM $l %d %v
LTRIM $l %d %d
LPOS $l %v (RANK %d|) (COUNT %i|) (MAXLEN %i|)
LMOVE $l $l (LEFT|RIGHT) (LEFT|RIGHT)
RPOPLPUSH $l $l
LMPOP 2 $l $l (LEFT|RIGHT) (COUNT %i|)
SADD $u %m+
SADD $u %i+
SREM $u %m+
SISMEMBER $u %m
SMISMEMBER $u %m+
SCARD $u
SMEMBERS $u
SMOVE $u $u %m
SINTER $u $u
SUNION $u $u
SDIFF $u $u
SINTERSTORE $u $u $u
SUNIONSTORE $u $u $u
SDIFFSTORE $u $u $u
SINTERCARD 2 $u $u (LIMIT %i|)
HSET $h %m %v %m %v
HSET $h %m %n
HMSET $h %m %v
HSETNX $h %m %v
HGET $h %m
HMGET $h %m+
HDEL $h %m+
HEXISTS $h %m
HLEN $h
HSTRLEN $h %m
HKEYS $h
HVALS $h
HGETALL $h
HINCRBY $h %m %n
HINCRBYFLOAT $h %m %f
ZADD $z (NX|XX|) (GT|LT|) (CH|) %f %m %f %m
ZADD $z (XX|) INCR %f %m
ZINCRBY $z %f %m
ZADD $y 0 %m 0 %m
ZREM $z %m+
ZSCORE $z %m
ZMSCORE $z %m+
ZCARD $z
ZCOUNT $z %r %r
ZLEXCOUNT $y %y %y
ZRANK $z %m
ZREVRANK $z %m
ZRANGE $z %d %d (REV|) (WITHSCORES|)
ZRANGE $z %r %r BYSCORE (REV|) (LIMIT %i %d|) (WITHSCORES|)
ZRANGE $y %y %y BYLEX (REV|) (LIMIT %i %d|)
ZREVRANGE $z %d %d (WITHSCORES|)
ZRANGEBYSCORE $z %r %r (WITHSCORES|) (LIMIT %i %d|)
ZREVRANGEBYSCORE $z %r %r (WITHSCORES|)
ZRANGEBYLEX $y %y %y
ZREVRANGEBYLEX $y %y %y
ZRANGESTORE $z $z %d %d
ZREMRANGEBYRANK $z %d %d
ZREMRANGEBYSCORE $z %r %r
ZREMRANGEBYLEX $y %y %y
ZPOPMIN $z (%i|)
ZPOPMAX $z (%i|)
ZMPOP 2 $z $z (MIN|MAX) (COUNT %i|)
ZUNIONSTORE $z 2 $z $z (WEIGHTS %i %f|) (AGGREGATE SUM|AGGREGATE MIN|AGGREGATE MAX|)
ZINTERSTORE $z 2 $z $u (AGGREGATE MAX|)
ZDIFFSTORE $z 2 $z $z
ZUNION 2 $z $u (WITHSCORES|)
ZINTER 2 $z $z (WITHSCORES|)
ZDIFF 2 $z $z (WITHSCORES|)
ZINTERCARD 2 $z $z (LIMIT %i|)
XADD $x (NOMKSTREAM|) (MAXLEN %i|MAXLEN = %i|) %t %m %v
XLEN $x
XRANGE $x (-|%t) (+|%t) (COUNT %i|)
XREVRANGE $x (+|%t) (-|%t) (COUNT %i|)
XDEL $x %t %t
XTRIM $x (MAXLEN|MAXLEN =) %i
XTRIM $x MINID %t
XREAD (COUNT %i|) STREAMS $x %t
XGROUP CREATE $x %m (0|$$|%t) (MKSTREAM|)
XGROUP DESTROY $x %m
XGROUP CREATECONSUMER $x %m %m
XGROUP DELCONSUMER $x %m %m
XGROUP SETID $x %m %t
XREADGROUP GROUP %m %m (COUNT %i|) STREAMS $x (>|%t)
XACK $x %m %t %t
XPENDING $x %m
XINFO GROUPS $x
XSETID $x %t
SETBIT $b %o (0|1)
GETBIT $b %o
BITCOUNT $b (%d %d|%d %d BIT|)
BITPOS $b (0|1) (%d|%d %d|%d %d BIT|)
BITOP (AND|OR|XOR) $b $b $s
BITOP NOT $b $b
BITFIELD $b (OVERFLOW SAT|OVERFLOW FAIL|) INCRBY i5 %o %i GET u8 %o
BITFIELD $b SET u7 #%i %n
BITFIELD_RO $b GET i16 %o
PFADD $p %m+
PFCOUNT $p $p
PFMERGE $p $p $p
GEOADD $g (NX|XX|) (CH|) %i.5 %d.25 %m
GEOPOS $g %m+
GEODIST $g %m %m (km|ft|)
GEOHASH $g %m+
GEOSEARCH $g FROMLONLAT %i 1 BYRADIUS 500 km ASC (COUNT 3|) (WITHDIST|)
GEOSEARCHSTORE $g $g FROMLONLAT 1 %i BYBOX 900 900 km (STOREDIST|)
SORT $l ALPHA (LIMIT %i %i|) (DESC|) (STORE $l|)
SORT $u ALPHA
SORT $z (ASC|DESC)
DEL $s $l $u
UNLINK $z $h
EXISTS $s $z $z
TYPE $z
TOUCH $s $h
RENAME $s $l
RENAMENX $u $z
COPY $z $u (REPLACE|)
COPY $h $h REPLACE
EXPIREAT $s %e (NX|XX|GT|LT|)
PEXPIREAT $z %e000
EXPIRETIME $s
PEXPIRETIME $z
PERSIST $s
OBJECT ENCODING $s
OBJECT ENCODING $l
OBJECT ENCODING $u
OBJECT ENCODING $h
OBJECT ENCODING $z
DBSIZE
KEYS *
MOVE $s 1
""".strip().splitlines()

#: Commands whose reply is a set or a map: compared in any order.
UNORDERED = frozenset(
    ["SMEMBERS", "SINTER", "SUNION", "SDIFF", "HKEYS", "HVALS", "HGETALL", "KEYS", "XINFO"]
)
#: What a script does with the request that it is given, in either protocol.
SCRIPTS = [
    b"return redis.call(unpack(ARGV))",
    b"return redis.pcall(unpack(ARGV))",
    b"redis.setresp(3) return redis.call(unpack(ARGV))",
    b"redis.setresp(3) local reply = redis.pcall(unpack(ARGV)) return {reply, type(reply), 7.9}",
]
SCRIPTED_EVERY = 12
_KINDS = "sluhzxbpg"
_CHOICE = re.compile(r"\(([^()]*)\)")
_MANY = re.compile(r"(%\w)\+")
_VALUES = ["", "a", "abc", "x" * 70, "b\x00\xff", "10", "-1", "3.5", "9223372036854775807", " 1"]
_INTEGERS = [0, 1, -1, 7, 2**31, -(2**63), 2**63 - 1, 2**63, 255]
_FLOATS = ["0", "1.5", "-2.25", "1e3", "inf", "-inf", "3", "0.1", "nan", "1e308", "17"]
_BOUNDS = ["-inf", "+inf", "0", "(1", "1.5", "(3", "17", "x"]
_LEXICAL = ["-", "+", "[m1", "(m3", "[m", "m"]


class Commands:
    """An endless row of requests."""

    def __init__(self, seed: int, known: set[str], keys: int = 4) -> None:
        self.random = Random(seed)
        self.keys = keys
        self.templates = [each for each in TEMPLATES if each.split()[0].lower() in known]
        self._stream_ms = 1

    def next(self) -> list[bytes]:
        """The next request; one in SCRIPTED_EVERY is made by a script."""
        request = self._request()
        if self.random.randrange(SCRIPTED_EVERY):
            return request
        return [b"EVAL", self.random.choice(SCRIPTS), b"0", *request]

    def _request(self) -> list[bytes]:
        random = self.random
        text = _CHOICE.sub(lambda found: random.choice(found[1].split("|")), self._template())
        text = _MANY.sub(lambda found: " ".join([found[1]] * random.randint(1, 3)), text)
        return [self._filled(word) for word in text.split()]

    def _template(self) -> str:
        return self.random.choice(self.templates)

    def _filled(self, word: str) -> bytes:
        if word == "$$":
            return b"$"
        if word[0] == "$":
            kind = word[1]
            if kind != "y" and self.random.random() < 0.05:
                kind = self.random.choice(_KINDS)
            return f"{kind}{self.random.randrange(self.keys)}".encode()
        place = word.find("%")
        if place < 0:
            return word.encode()
        filled = self._value(word[place + 1])
        return word[:place].encode() + filled + word[place + 2 :].encode()

    def _value(self, kind: str) -> bytes:
        random = self.random
        if kind == "v":
            return random.choice(_VALUES).encode("latin-1")
        if kind == "t":
            self._stream_ms += random.random() < 0.3
            ms = max(0, self._stream_ms - random.choice((0, 0, 0, 1, 5)))
            return b"%d-%d" % (ms, random.randrange(4))
        if kind == "m":
            return b"m%d" % random.randrange(12)
        if kind == "n":
            return b"%d" % random.choice(_INTEGERS)
        if kind == "o":
            return b"%d" % random.choice((0, 1, 7, 8, 63, 100, 1000))
        if kind == "e":
            return b"%d" % (4_000_000_000 + random.randrange(100))
        if kind in "id":
            return b"%d" % random.randint(-6 if kind == "d" else 0, 6)
        words = {"f": _FLOATS, "r": _BOUNDS, "y": _LEXICAL}[kind]
        return random.choice(words).encode()
