"""What is measured: one command each, and what has to be there before it runs.

The first part is redis-benchmark's default run. The second is what else people's load is made of.
A command that takes things out (a pop, a group's read) finds enough of them put in beforehand: an
empty answer is cheap on every server and says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import redis

SCRIPT = """
local sum = 0
for i = 1, #ARGV do sum = sum + tonumber(ARGV[i]) end
local old = redis.call('GET', KEYS[1])
redis.call('SET', KEYS[1], sum)
return {old, sum}
"""
Filling = Callable[[int], Iterable[list[str]]]


@dataclass(frozen=True)
class Case:
    """`command` as redis-benchmark takes it; `filling(requests)` gives the commands before it;
    a `share` of the requests of a plain test is run; `subscribers` listen to the channel `news`."""

    command: list[str]
    filling: Filling = field(default=lambda requests: ())
    share: float = 1.0
    subscribers: int = 0


def _batches(command: list[str], words: Callable[[int], list[str]]) -> Filling:
    """Commands of a hundred elements each, one element a request."""

    def filling(requests: int) -> Iterable[list[str]]:
        for start in range(0, requests, 100):
            yield command + [word for number in range(start, start + 100) for word in words(number)]

    return filling


def _fixed(*commands: list[str]) -> Filling:
    return lambda requests: commands


def _group(requests: int) -> Iterable[list[str]]:
    yield ["XGROUP", "CREATE", "filled", "workers", "0", "MKSTREAM"]
    for _ in range(requests):
        yield ["XADD", "filled", "*", "myfield", "xxx"]


def _members(first: int, count: int) -> list[str]:
    return [f"member:{number}" for number in range(first, first + count)]


_LIST = _batches(["RPUSH", "filled"], lambda number: ["xxx"])
_RANGES = _fixed(["RPUSH", "list600", *["xxx"] * 600])

DEFAULTS = {
    "PING": Case(["PING"]),
    "SET": Case(["SET", "key:__rand_int__", "xxx"]),
    "GET": Case(["GET", "key:__rand_int__"]),
    "INCR": Case(["INCR", "counter:__rand_int__"]),
    "LPUSH": Case(["LPUSH", "mylist", "xxx"]),
    "RPUSH": Case(["RPUSH", "mylist", "xxx"]),
    "LPOP": Case(["LPOP", "filled"], _LIST),
    "RPOP": Case(["RPOP", "filled"], _LIST),
    "SADD": Case(["SADD", "myset", "element:__rand_int__"]),
    "HSET": Case(["HSET", "myhash", "element:__rand_int__", "xxx"]),
    "ZADD": Case(["ZADD", "myzset", "__rand_int__", "element:__rand_int__"]),
    "SPOP": Case(
        ["SPOP", "filled"], _batches(["SADD", "filled"], lambda number: [f"element:{number}"])
    ),
    "ZPOPMIN": Case(
        ["ZPOPMIN", "filled"],
        _batches(
            ["ZADD", "filled"],
            lambda number: [str(number * 7919 % 1_000_003), f"element:{number}"],
        ),
    ),
    "LRANGE_100": Case(["LRANGE", "list600", "0", "99"], _RANGES, 0.2),
    "LRANGE_300": Case(["LRANGE", "list600", "0", "299"], _RANGES, 0.1),
    "LRANGE_600": Case(["LRANGE", "list600", "0", "599"], _RANGES, 0.1),
    "MSET": Case(["MSET", *["key:__rand_int__", "xxx"] * 10], share=0.2),
    "XADD": Case(["XADD", "mystream", "*", "myfield", "xxx"]),
}

FAMILIES = {
    "XREADGROUP": Case(
        ["XREADGROUP", "GROUP", "workers", "me", "COUNT", "1", "STREAMS", "filled", ">"],
        _group,
        0.5,
    ),
    "ZRANGEBYSCORE": Case(
        ["ZRANGEBYSCORE", "scores", "400", "420"],
        _fixed(["ZADD", "scores", *(w for n in range(1000) for w in (str(n), f"member:{n}"))]),
        0.5,
    ),
    "HGETALL_20": Case(
        ["HGETALL", "fields"],
        _fixed(["HSET", "fields", *(w for n in range(20) for w in (f"field:{n}", f"value:{n}"))]),
        0.5,
    ),
    "SUNION": Case(
        ["SUNION", "left", "right"],
        _fixed(["SADD", "left", *_members(0, 20)], ["SADD", "right", *_members(10, 20)]),
        0.2,
    ),
    "BITCOUNT": Case(["BITCOUNT", "bits"], _fixed(["SET", "bits", "xyz0" * 256])),
    "PFADD": Case(["PFADD", "seen", "element:__rand_int__"]),
    "EVAL": Case(["EVAL", SCRIPT, "1", "total", "1", "2", "3"], share=0.5),
    "PUBLISH_100": Case(["PUBLISH", "news", "xxx"], share=0.02, subscribers=100),
}

CASES = DEFAULTS | FAMILIES


def fill(client: redis.Redis, case: Case, requests: int) -> None:
    """Empties the database and puts in what the case needs. Raises redis.ResponseError."""
    client.flushall()
    pipe = client.pipeline(transaction=False)
    for number, command in enumerate(case.filling(requests), 1):
        pipe.execute_command(*command)
        if number % 1000 == 0:
            pipe.execute()
    pipe.execute()
