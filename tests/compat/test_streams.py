"""Streams and their groups: the same requests get the same replies from redis-server."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.compat.both import RawClient, both, dirty, needs_redis, play

pytestmark = [pytest.mark.integration, needs_redis]

Words = list[str]
NUMBERS = ["0", "1", "2", "3", "5", "100", "-1", "x", "", "007", "1.5", "9223372036854775808"]
ENDS = ["-", "+", "(", "(-", "(3", "(5-1", "(0-0", "(18446744073709551615-18446744073709551615"]
IDS = ["0", "0-0", "0-1", "18446744073709551615-18446744073709551615", "x", "", "1-", "-1", "1-2-3"]
IDS += ["+5", " 5", "05-1", "5-+1", "18446744073709551616", "-", "+", "$", ">", "5-*", "*"]
#: Replies tell times, which are not equal: they are put in the place of what differs.
IDLE = {"xpending", "xinfo"}


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    with both(tmp_path_factory.mktemp("both")) as found:
        yield found


class Requests:
    """Random requests, right ones and wrong ones, drawn from a seed."""

    def __init__(self, seed: int, approximate: bool) -> None:
        """`approximate`: trim with `~` too, whose outcome shows where nodes begin."""
        self.rng = Random(seed)
        self.marks = [[], ["="], ["~"], ["~"]] if approximate else [[], ["="]]
        self.time = 0
        self.rows: dict[str, Callable[[], Words]] = {
            "xadd": self.adding,
            "xlen": lambda: [self.key()],
            "xdel": lambda: [self.key(), *self.ids(4)],
            "xtrim": lambda: [self.key(), *self.trimming()],
            "xrange": lambda: [self.key(), self.end(), self.end(), *self.options("COUNT")],
            "xrevrange": lambda: [self.key(), self.end(), self.end(), *self.options("COUNT")],
            "xsetid": lambda: [
                *(self.key(), str(self.time + 50) if self.rng.random() < 0.7 else self.id()),
                *self.options("ENTRIESADDED", "MAXDELETEDID"),
            ],
            "xread": lambda: [*self.options("COUNT"), *self.block(), "STREAMS", *self.streams("$")],
            "xreadgroup": self.reading_in_group,
            "xgroup": self.group_subcommand,
            "xack": lambda: [self.key(), self.group(), *self.ids(5)],
            "xpending": self.pending,
            "xclaim": self.claiming,
            "xautoclaim": lambda: [
                *(self.key(), self.group(), self.consumer(), self.number(), self.end()),
                *self.options("COUNT"),
                *self.some("JUSTID"),
            ],
            "xinfo": self.info,
            "copy": lambda: [self.key(), self.key(), "REPLACE"],
            "debug": lambda: ["DIGEST-VALUE", self.key()],
            "object": lambda: ["encoding", self.key()],
        }
        self.names = [name for name in self.rows for _ in range(self.weight(name))]

    @staticmethod
    def weight(name: str) -> int:
        return {"xadd": 8, "xreadgroup": 8, "xgroup": 4, "xclaim": 3, "copy": 1}.get(name, 2)

    def of(self, *choices: str) -> str:
        return self.rng.choice(choices)

    def some(self, *words: str) -> Words:
        return [word for word in words if self.rng.random() < 0.4]

    def key(self) -> str:
        return self.of("s1", "s1", "s2", "s3", "string") if self.rng.random() < 0.3 else "s1"

    def group(self) -> str:
        return self.of("g1", "g1", "g1", "g2", "none")

    def consumer(self) -> str:
        return self.of("alice", "bob", "carol", "")

    def number(self) -> str:
        return self.rng.choice(NUMBERS[:6] if self.rng.random() < 0.85 else NUMBERS)

    def id(self) -> str:
        dice = self.rng.random()
        if dice < 0.08:
            return self.rng.choice(IDS)
        ms = self.rng.randint(max(0, self.time - 12), self.time + 1)
        return f"{ms}-{self.rng.randint(0, 2)}" if dice < 0.7 else str(ms)

    def ids(self, most: int) -> Words:
        return [self.id() for _ in range(self.rng.randint(1, most))]

    def end(self) -> str:
        return self.rng.choice(ENDS) if self.rng.random() < 0.4 else self.id()

    def fields(self) -> Words:
        return [self.of("f", "g", "1", "") for _ in range(2 * self.rng.randint(1, 3))]

    def adding(self) -> Words:
        self.time += self.rng.randint(0, 2)
        new = f"{self.time}-{self.rng.randint(0, 2)}"
        where = self.of(new, new, new, f"{self.time + 1}-*", f"{self.time}", self.id())
        options = self.trimming() if self.rng.random() < 0.1 else self.some("NOMKSTREAM")[:1]
        return [self.key(), *options, where, *self.fields()]

    def trimming(self) -> Words:
        kind = self.of("MAXLEN", "MINID", "maxlen")
        far = str(self.rng.randint(5, 30)) if kind != "MINID" else str(max(0, self.time - 20))
        mark = self.rng.choice(self.marks)
        limit = ["LIMIT", self.number()] if self.rng.random() < 0.2 else []
        return [kind, *mark, far if self.rng.random() < 0.9 else self.number(), *limit]

    def options(self, *names: str) -> Words:
        words: Words = []
        for _ in range(self.rng.choice([0, 0, 0, 1, 1, 2])):
            words += [self.of(*names, *names, *names, "bad"), self.number()]
        return words

    def block(self) -> Words:
        return (
            ["BLOCK", self.of("1", "1", "2", "-1", "x", "1.5")] if self.rng.random() < 0.1 else []
        )

    def streams(self, special: str) -> Words:
        keys = [self.key() for _ in range(self.rng.choice([1, 1, 1, 2, 3]))]
        ids = [special if self.rng.random() < 0.75 else self.id() for _ in keys]
        return [*keys, *ids][: 2 * len(keys) - (self.rng.random() < 0.03)]

    def reading_in_group(self) -> Words:
        who = ["GROUP", self.group(), self.consumer()]
        rest = [*self.options("COUNT", "COUNT"), *self.block(), *self.some("NOACK")[:1]]
        return [*who, *rest, "STREAMS", *self.streams(">")]

    def group_subcommand(self) -> Words:
        where = [self.key(), self.group()]
        read = self.rng.choice([[], [], [], ["ENTRIESREAD", self.of("3", "-1", "-2", "x")]])
        return self.rng.choice(
            [
                ["CREATE", *where, self.of("$", "0", self.id()), *self.some("MKSTREAM"), *read],
                ["CREATE", *where, self.of("$", "0", self.id()), *self.some("MKSTREAM"), *read],
                ["SETID", *where, self.of("$", "-", "+", self.id()), *read],
                ["DESTROY", self.key(), self.of("g1", "g2", "g2", "g2")],
                ["CREATECONSUMER", *where, self.consumer()],
                ["DELCONSUMER", *where, self.of("carol", "", "bob")],
            ]
        )

    def pending(self) -> Words:
        where = [self.key(), self.group()]
        if self.rng.random() < 0.3:
            return where
        idle = ["IDLE", self.of("0", "1000000", "x")] if self.rng.random() < 0.2 else []
        return [*where, *idle, self.end(), self.end(), self.number(), *self.some(self.consumer())]

    def claiming(self) -> Words:
        options = [*self.some("FORCE"), *self.some("JUSTID")]
        options += self.options("IDLE", "TIME", "RETRYCOUNT")
        if self.rng.random() < 0.1:
            options += ["LASTID", self.id()]
        least = self.of("0", "0", "0", "1000000", "x", "-1")
        return [self.key(), self.group(), self.consumer(), least, *self.ids(4), *options]

    def info(self) -> Words:
        key = self.key()
        count = ["COUNT", self.number()] if self.rng.random() < 0.5 else []
        return self.rng.choice(
            [
                ["STREAM", key],
                ["STREAM", key, "FULL", *count],
                ["GROUPS", key],
                ["CONSUMERS", key, self.group()],
            ]
        )

    def draw(self) -> Words:
        """A request; now and then one that is cut short or removes a stream."""
        dice = self.rng.random()
        if dice < 0.003:
            return ["del", self.of("s1", "s2", "s3")]
        name = self.of(*self.names)
        words = [name, *self.rows[name]()]
        return words[: self.rng.randint(1, len(words))] if dice < 0.04 else words


def comparable(words: Words, reply: bytes) -> object:
    """The reply without times, and without nodes: Redis keeps one whose entries are all deleted if
    they went in two ways."""
    if words[0] not in IDLE:
        return reply
    reply = full(reply)
    reply = re.sub(rb"(seen-time|idle)(\r\n):\d+", rb"\1\2:n", reply)
    reply = re.sub(rb":\d{13}\r\n", b":time\r\n", reply)
    if words[0] == "xpending":
        return re.sub(rb"\r\n:\d+\r\n(?=:)", b"\r\n:idle\r\n", reply)
    return reply


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(0, 2**32), st.sampled_from("23"), st.sampled_from(["3", "100"]))
def test_random_requests_get_equal_replies_and_count_equal_changes(
    ports: tuple[int, int], seed: int, protocol: str, entries: str
) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(closing(RawClient(port))) for port in ports]
        for client in clients:
            client("HELLO", protocol)
            client("FLUSHALL")
            client("CONFIG", "SET", "stream-node-max-entries", entries)
            client("SET", "string", "v")
        before = [dirty(client) for client in clients]
        requests = Requests(seed, entries == "100")
        for number in range(400):
            words = requests.draw()
            ours, theirs = (comparable(words, client(*words)) for client in clients)
            assert ours == theirs, f"request {number}: {words}"
            counted = [dirty(client) - base for client, base in zip(clients, before)]
            assert counted[0] == counted[1], f"changes up to request {number}: {words}"
        assert_dumps_are_exchangeable(*clients)


def assert_dumps_are_exchangeable(ours: RawClient, theirs: RawClient) -> None:
    """What one server dumps the other restores, to what the first one shows."""
    for key in ("s1", "s2", "s3"):
        for giver, taker in ((ours, theirs), (theirs, ours)):
            if giver("EXISTS", key) == b":0\r\n":
                continue
            payload = giver("DUMP", key).partition(b"\r\n")[2][:-2]
            assert taker("RESTORE", "other", "0", payload, "REPLACE") == b"+OK\r\n"
            shown = ["xinfo", "STREAM", key, "FULL", "COUNT", "0"]
            there = ["xinfo", "STREAM", "other", "FULL", "COUNT", "0"]
            assert full(giver(*shown)) == full(taker(*there))
            assert giver("DEBUG", "DIGEST-VALUE", key) == taker("DEBUG", "DIGEST-VALUE", "other")


def full(reply: bytes) -> bytes:
    return re.sub(rb"(radix-tree-(?:keys|nodes)\r\n):\d+", rb"\1:n", reply)


GROUP = "c xgroup create s g 0 MKSTREAM|"
READ = "a> xreadgroup GROUP g alice BLOCK 0 STREAMS s >|wait 1|"
#: As `play` reads them.
STORIES = {
    "new entries": "a> xread BLOCK 0 STREAMS s t $ 0|wait 1|c xadd t 1-1 f v|a:",
    "both are served": "a> xread BLOCK 0 STREAMS s $|b> xread BLOCK 0 STREAMS s 0|wait 2|"
    "c xadd s 1-1 f v|a:|b:",
    "a high id": "a> xread BLOCK 0 STREAMS s 5|wait 1|c xadd s 4-1 f v|c xadd s 6-1 f w|a:",
    "a key twice": "a> xread BLOCK 0 STREAMS s s 0 5|wait 1|c xadd s 4-1 f v|a:",
    "added and deleted": "a> xread BLOCK 0 STREAMS s $|wait 1|c multi|c xadd s 1-1 f v|"
    "c xdel s 1-1|c exec|a:",
    "not for a transaction": "a multi|a xread BLOCK 0 STREAMS s $|a exec",
    "another type": "a> xread BLOCK 0 STREAMS s $|wait 1|c lpush s v|c del s|c xadd s 1-1 f v|a:",
    "one of a group": GROUP + READ + "b> xreadgroup GROUP g bob BLOCK 0 STREAMS s >|wait 2|"
    "c xadd s 1-1 f v|a:|c xadd s 2-1 f v|b:|c xpending s g",
    "without acknowledgement": GROUP + "a> xreadgroup GROUP g alice BLOCK 0 NOACK STREAMS s >|"
    "wait 1|c xadd s 1-1 f v|a:|c xpending s g|c xinfo groups s",
    "group destroyed": GROUP + READ + "c xgroup destroy s g|a:",
    "key deleted": GROUP + READ + "c del s|a:",
    "key unlinked": GROUP + READ + "c unlink s|a:",
    "key overwritten": GROUP + READ + "c set s v|a:",
    "key replaced": GROUP + READ + "c multi|c del s|c sadd s e|c exec|a:",
    "key deleted and made": GROUP + READ + "c multi|c del s|c xadd s 1-1 f v|c exec|a:",
    "key renamed": GROUP + READ + "c rename s t|a:",
    "another renamed to it": GROUP + READ + "c xadd t 1-1 f v|c rename t s|a:",
    "key expired": GROUP + READ + "c pexpire s 1|a:",
    "key moved": GROUP + READ + "c move s 1|a:",
    "all flushed": GROUP + READ + "c flushall|a:",
    "databases exchanged": GROUP + READ + "c swapdb 0 1|a:|c swapdb 0 1",
    "stored over": GROUP + READ + "c sadd t 1|c sunionstore s t|a:",
    "time": "a xread BLOCK 20 STREAMS s $|c xgroup create s g $ MKSTREAM|"
    "a xreadgroup GROUP g alice BLOCK 20 STREAMS s >|c xinfo groups s",
    "resp3": "a hello 3|a> xread BLOCK 0 STREAMS s $|wait 1|c xadd s 1-1 f v|a hello 2",
    "many entries": "c xgroup create s g 0 MKSTREAM|" + READ + "c multi|"
    + "".join(f"c xadd s {n}-1 f v|" for n in range(1, 1100)) + "c exec|a:|c xpending s g",
}  # fmt: skip


@pytest.mark.parametrize("name", STORIES)
def test_waiting_clients_are_answered_as_by_redis(ports: tuple[int, int], name: str) -> None:
    ours, theirs = (
        [re.sub(rb"(\r\nid\r\n):\d+", rb"\1:n", reply) for reply in play(port, STORIES[name])]
        for port in ports
    )
    assert ours == theirs
