"""Lists, sets and waiting clients: the same requests get the same replies from redis-server."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from random import Random

import pytest

from tests.compat.both import RawClient, both, dirty, needs_redis, play

pytestmark = [pytest.mark.integration, needs_redis]

Words = list[str]
NUMBERS = ["0", "1", "2", "-1", "-2", "3", "5", "100", "-100", "x", "", "1.5", "-0", "+1"]
NUMBERS += ["9223372036854775807", "9223372036854775808"]
ELEMENTS = ["a", "b", "c", "1", "2", "10", "-5", "007", ""]
#: Replies whose order is the server's own.
UNORDERED = {"smembers", "sinter", "sunion", "sdiff", "spop", "srandmember"}


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    with both(tmp_path_factory.mktemp("both")) as found:
        yield found


class Requests:
    """Random requests, right ones and wrong ones, drawn from a seed."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.lists: dict[str, Callable[[], Words]] = {
            "lpush": lambda: [self.key(), *self.elements(6)],
            "rpush": lambda: [self.key(), *self.elements(6)],
            "lpushx": lambda: [self.key(), *self.elements(3)],
            "rpushx": lambda: [self.key(), *self.elements(3)],
            "lpop": lambda: [self.key(), *self.numbers(2)],
            "rpop": lambda: [self.key(), *self.numbers(1)],
            "lmove": lambda: [self.key(), self.key(), self.side(), self.side()],
            "rpoplpush": lambda: [self.key(), self.key()],
            "lmpop": lambda: [*self.counted_keys(), self.side(), *self.options("COUNT")],
            "llen": lambda: [self.key()],
            "lrange": lambda: [self.key(), self.number(), self.number()],
            "lindex": lambda: [self.key(), self.number()],
            "lpos": lambda: [
                self.key(),
                *self.elements(1),
                *self.options("RANK", "COUNT", "MAXLEN"),
            ],
            "lset": lambda: [self.key(), self.number(), *self.elements(1)],
            "linsert": lambda: [self.key(), self.of("BEFORE", "after", "x"), *self.elements(2)],
            "lrem": lambda: [self.key(), self.number(), *self.elements(1)],
            "ltrim": lambda: [self.key(), self.number(), self.number()],
            "blpop": lambda: [self.key(), self.key(), self.timeout()],
            "brpop": lambda: [self.key(), self.timeout()],
            "blmove": lambda: [self.key(), self.key(), self.side(), self.side(), self.timeout()],
            "brpoplpush": lambda: [self.key(), self.key(), self.timeout()],
            "blmpop": lambda: [self.timeout(), *self.counted_keys(), self.side()],
        }
        self.sets: dict[str, Callable[[], Words]] = {
            "sadd": lambda: [self.key(), *self.elements(6)],
            "srem": lambda: [self.key(), *self.elements(3)],
            "smembers": lambda: [self.key()],
            "sismember": lambda: [self.key(), *self.elements(1)],
            "smismember": lambda: [self.key(), *self.elements(3)],
            "scard": lambda: [self.key()],
            "smove": lambda: [self.key(), self.key(), *self.elements(1)],
            "sinter": lambda: [self.key(), self.key()],
            "sunion": lambda: [self.key(), self.key()],
            "sdiff": lambda: [self.key(), self.key(), self.key()],
            "sinterstore": lambda: [self.key(), self.key(), self.key()],
            "sunionstore": lambda: [self.key(), self.key(), self.key()],
            "sdiffstore": lambda: [self.key(), self.key(), self.key()],
            "sintercard": lambda: [*self.counted_keys(), *self.options("LIMIT")],
            "spop": lambda: [self.key(), self.of("100", "0", "x", "-1")],
            "srandmember": lambda: [self.key(), self.of("100", "0", "x", "-9223372036854775808")],
            "object": lambda: ["encoding", self.key()],
        }

    def of(self, *choices: str) -> str:
        return self.rng.choice(choices)

    def key(self) -> str:
        return self.of("k1", "k2", "k3", "string")

    def side(self) -> str:
        return self.of("LEFT", "RIGHT", "left", "Right", "up")

    def number(self) -> str:
        return self.rng.choice(NUMBERS[:7] if self.rng.random() < 0.7 else NUMBERS)

    def numbers(self, most: int) -> Words:
        return [self.number() for _ in range(self.rng.randint(0, most))]

    def timeout(self) -> str:
        return self.of("0.001", "0.001", "0.001", "-1", "x", "nan", "0x1p-10", " 1", "", "1_0")

    def elements(self, most: int) -> Words:
        return [self.rng.choice(ELEMENTS) for _ in range(self.rng.randint(1, most))]

    def counted_keys(self) -> Words:
        keys = [self.key() for _ in range(self.rng.randint(1, 3))]
        count = str(len(keys)) if self.rng.random() < 0.8 else self.of("0", "-1", "x", "10")
        return [count, *keys]

    def options(self, *names: str) -> Words:
        words: Words = []
        for _ in range(self.rng.choice([0, 0, 1, 1, 2, 3])):
            words += [self.of(*names, "bad"), self.number()][: self.rng.choice([1, 2, 2, 2, 2, 2])]
        return words

    def draw(self, kind: str) -> Words:
        """A request of one kind, now and then one that breaks or removes a value."""
        dice = self.rng.random()
        if dice < 0.02:
            return ["del", self.key()]
        if dice < 0.03:
            return ["set", "string", "v"]
        rows = self.lists if kind == "lists" else self.sets
        name = self.of(*rows)
        words = [name, *rows[name]()]
        return words[: self.rng.randint(1, len(words))] if dice < 0.05 else words


def comparable(words: Words, reply: bytes) -> object:
    """The reply; for one without order its elements, sorted."""
    if words[0] in UNORDERED and reply[:1] in b"*~":
        return sorted(re.split(rb"(?=\$)", reply))
    return reply


@pytest.mark.parametrize("kind", ["lists", "sets"])
@pytest.mark.parametrize("protocol", ["2", "3"])
def test_random_requests_get_equal_replies_and_count_equal_changes(
    ports: tuple[int, int], kind: str, protocol: str
) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(closing(RawClient(port))) for port in ports]
        for client in clients:
            client("HELLO", protocol)
            client("FLUSHALL")
            client("SET", "string", "v")
        before = [dirty(client) for client in clients]
        requests = Requests(int(protocol))
        for number in range(1500):
            words = requests.draw(kind)
            ours, theirs = (comparable(words, client(*words)) for client in clients)
            assert ours == theirs, f"request {number}: {words}"
            if number % 10 == 0:
                counted = [dirty(client) - base for client, base in zip(clients, before)]
                assert counted[0] == counted[1], f"changes up to request {number}: {words}"


#: As `play` reads them.
STORIES = {
    "order of arrival": "a> blpop l 0|wait 1|b> blpop l m 0|wait 2|c rpush l x y z|a:|b:|c llen l",
    "requests behind it": "a> blpop l 0|a> llen l|a> rpush m v|wait 1|c rpush l 1 2|a:|a:|a:",
    "a chain": "a> blmove l m LEFT RIGHT 0|wait 1|b> blpop m 0|wait 2|c rpush l v|a:|b:|c exists m",
    "a loop": "a> brpoplpush l m 0|wait 1|b> brpoplpush m l 0|wait 2|c rpush l v|a:|b:|c llen l",
    "onto itself": "a> brpoplpush l l 0|wait 1|c rpush l v|a:|c lrange l 0 -1",
    "a target of another type": "c set t v|a> brpoplpush l t 0|wait 1|c rpush l v|a:|c llen l",
    "a key of another type": "a> blpop l 0|wait 1|c set l v|c del l|c rpush l x|a:",
    "more than one": "a> blmpop 0 2 l m LEFT COUNT 2|wait 1|c rpush m 1 2 3|a:|c lrange m 0 -1",
    "a transaction": "a> blpop l 0|wait 1|c multi|c rpush l a|c del l|c rpush l b c|c exec|a:",
    "inside a transaction": "a multi|a blpop l 0|a blmove l m LEFT LEFT 0|a bzpopmin z 0|a exec",
    "a renamed key": "a> blpop l 0|wait 1|c rpush m v|c rename m l|a:",
    "exchanged databases": "a select 1|a> blpop l 0|wait 1|c rpush l v|c swapdb 0 1|a:",
    "sorted sets": "a> bzpopmin z 0|wait 1|b> bzpopmax z 0|wait 2|c zadd z 1 a 2 b 3 c|a:|b:",
    "time": "a blpop l 0.02|a blmove l m LEFT LEFT 0.02|a blmpop 0.02 1 l LEFT|a bzpopmin z 0.02",
}


@pytest.mark.parametrize("name", STORIES)
def test_waiting_clients_are_answered_as_by_redis(ports: tuple[int, int], name: str) -> None:
    ours, theirs = (play(port, STORIES[name]) for port in ports)
    assert ours == theirs
