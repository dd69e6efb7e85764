"""The Lua debugger says what Redis's says, word for word, in both of its modes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.compat.both import RawClient, both, needs_redis
from tests.integration.processes import wait_for

pytestmark = [pytest.mark.integration, needs_redis]

SCRIPT = """
local a = {1, 2, "x\\n", {k = true}, "\\1\\255\\"\\\\"}
local n = 0
for i = 1, 3 do
  n = n + redis.call('INCRBY', KEYS[1], i)
end
redis.debug(a, n)
redis.breakpoint()
local function f(x)
  return x * 2
end
return {f(n), a[3], ARGV[1]}
""".strip()
COMMANDS = (
    """
s|S|print|p a|p zz|p KEYS|b 5 9|b|b -5|b -5|b x|b 99|l|l 1 2|list 0|w|step|next|r set k 1 2
redis get key|r lrange key 0 1|redis zadd z 1 a 2 b|redis zrange z 0 -1 withscores|r eval
r nosuch|redis hgetall none|redis get none|e return n|e n|e error("x")|e #KEYS[1]|e 1 +|e {{{1}}}
e string.rep("x", 300)|e string.rep("x", 300)|t|m 10|m|m 0|m x|e string.rep("x", 300)|r|bogus|c
trace|print|e x=1|b 0|c
""".replace("\n", "|")
    .strip("|")
    .split("|")
)


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    with both(tmp_path_factory.mktemp("debugger")) as found:
        yield found


def transcript(port: int, mode: str, commands: list[str], script: str = SCRIPT) -> list[bytes]:
    """All that is said in a session, and what follows it up to the end of the connection."""
    with closing(RawClient(port)) as client:
        said = [client("SCRIPT", "DEBUG", mode)]
        said.append(client("EVAL", script, "1", "key", "arg"))
        said += [client(*command.split(" ")) for command in commands]
        while said[-1]:
            said.append(client.reply())
        return said


@pytest.mark.parametrize("mode", ["sync", "yes"])
def test_a_session_is_told_as_in_redis(ports: tuple[int, int], mode: str) -> None:
    for port in ports:
        with closing(RawClient(port)) as client:
            client("FLUSHALL")
    ours, theirs = (transcript(port, mode, COMMANDS) for port in ports)
    for command, mine, real in zip(["debug", "eval", *COMMANDS], ours, theirs):
        assert mine == real, command
    assert ours == theirs
    for port in ports:
        with closing(RawClient(port)) as client:
            wanted = b"$1\r\n6\r\n" if mode == "sync" else b"$-1\r\n"
            assert client("GET", "key") == wanted


@pytest.mark.parametrize("mode", ["sync", "yes"])
@pytest.mark.parametrize(
    "script",
    ["return redis.call('nosuch')", "return {1, ", "error('own')", "return 1", "#!lua flags=x\n"],
)
def test_a_script_that_ends_early_is_told_as_in_redis(
    ports: tuple[int, int], mode: str, script: str
) -> None:
    commands = ["abort"] if script == "return 1" else ["c"] if "{" not in script else []
    commands = [] if script[0] == "#" else commands
    ours, theirs = (transcript(port, mode, commands, script) for port in ports)
    assert ours == theirs


def test_others_are_served_while_a_session_is_a_process(ports: tuple[int, int]) -> None:
    for port in ports:
        with closing(RawClient(port)) as client, closing(RawClient(port)) as other:
            client("SCRIPT", "DEBUG", "YES")
            client("EVAL", SCRIPT, "1", "key", "arg")
            assert other("SET", "meanwhile", "1") == b"+OK\r\n"
            assert client("redis", "get", "meanwhile").endswith(b"+<reply> NULL\r\n")


def test_what_is_no_command_ends_the_script(ports: tuple[int, int]) -> None:
    for port in ports:
        with closing(RawClient(port)) as client:
            client("SCRIPT", "DEBUG", "SYNC")
            client("EVAL", SCRIPT, "1", "key", "arg")
            client("list", "x" * 2000)
            assert b"protocol error" in client.reply()


def test_a_client_that_leaves_lets_the_script_end(ports: tuple[int, int]) -> None:
    for port in ports:
        with closing(RawClient(port)) as other:
            other("FLUSHALL")
            with closing(RawClient(port)) as client:
                client("SCRIPT", "DEBUG", "SYNC")
                client("EVAL", SCRIPT, "1", "key", "arg")
            with closing(RawClient(port)) as after:
                wait_for(lambda after=after: after("GET", "key") == b"$1\r\n6\r\n", "the script")


def test_when_the_debugger_is_refused(ports: tuple[int, int]) -> None:
    answers = []
    for port in ports:
        with closing(RawClient(port)) as client:
            said = [client("SCRIPT", "DEBUG", "maybe"), client("SCRIPT", "DEBUG", "SYNC")]
            said += [client("EVALSHA", "a" * 40, "0"), client("EVAL", "return 1", "x")[:4]]
        with closing(RawClient(port)) as client:
            client.send_all([["PING"], ["SCRIPT", "DEBUG", "SYNC"]])
            said += [client.reply(), client.reply(), client("SCRIPT", "DEBUG", "NO")]
        answers.append(said)
    assert answers[0] == answers[1]
