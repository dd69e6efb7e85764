"""Hostile scripts: nothing outside is reached, nothing shared is changed, the process lives."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache_server.server import Server
from tests.unit.scripting.talking import ask, run, scripted
from tests.unit.talk import Room, Shell


@pytest.mark.parametrize(
    "name",
    ["io", "os", "require", "package", "module", "dofile", "loadfile", "print", "debug", "python",
     "newproxy", "getfenv", "setfenv"],
)  # fmt: skip
def test_what_would_lead_outside_is_not_there(client: Shell, name: str) -> None:
    assert b"nonexistent global variable '%b'" % name.encode() in run(client, f"return {name}")


@pytest.mark.parametrize(
    "script",
    [
        "redis.call = 1", "string.rep = 1", "cjson.encode = 1", "cmsgpack.pack = 1", "bit.band = 1",
        "struct.pack = 1", "math.random = 1", "table.insert = 1", "coroutine.wrap = 1", "_G = {}",
        "x = 1", "setmetatable(_G, {})", "getmetatable(_G).__index = 1",
        "getmetatable('').__index = 1", "getmetatable('').__index.rep = 1",
        "rawset(_G, 'x', 1)", "rawset(redis, 'call', 1)", "table.insert(redis, 1)",
        "local _, real = pairs(redis) rawset(real, 'call', 1)",
        "for k, v in pairs(_G) do if k == 'math' then v.x = 1 end end",
    ],
)  # fmt: skip
def test_what_scripts_share_cannot_be_changed(client: Shell, script: str) -> None:
    assert b"Attempt to modify a readonly table" in run(client, script)
    assert run(client, "return redis.call('ping')") == b"+PONG\r\n"


@pytest.mark.parametrize("name", ["redis.call", "redis.pcall", "tonumber", "string.rep", "error"])
def test_the_environment_of_a_function_leads_nowhere(name: str) -> None:
    with scripted(lua_enable_deprecated_api="yes") as client:
        script = f"local e = getfenv({name}) return {{tostring(e == _G), rawget(e, 'loadlib')}}"
        assert run(client, script) == b"*1\r\n$4\r\ntrue\r\n"


def test_a_script_leaves_no_trace_for_the_next(client: Shell) -> None:
    run(client, "KEYS[1] = 'x' ARGV.y = 1")
    assert run(client, "return {#KEYS, #ARGV, ARGV.y == nil}") == b"*3\r\n:0\r\n:0\r\n:1\r\n"


def test_compiled_code_is_not_taken(client: Shell) -> None:
    script = "return loadstring(string.dump(function() return 1 end))()"
    assert b"attempt to call a nil value" in run(client, script)
    assert b"Error compiling script" in run(client, b"\x1bLuaQ\x00\x01\x04\x08\x04\x08\x00junk")


def test_a_loaded_chunk_sees_the_sandbox_only(client: Shell) -> None:
    assert b"nonexistent global variable 'python'" in run(
        client, "return loadstring('return python')()"
    )
    assert b"readonly" in run(client, "loadstring('x = 1')()")


@pytest.mark.parametrize(
    "script",
    [
        "return unpack({1,2,3}, -2, 2147483647)",
        "return unpack({1,2,3}, -2147483648, -2)",
        "return unpack({}, 1, 1e9)",
        "return string.rep('x', 2^33)",
        "return string.rep('x', -1) .. string.rep('', 1e15)",
        "local s = 'x' while true do s = s .. s end",
        "local t = {} while true do t[#t+1] = string.rep('x', 1e6) .. #t end",
        "return string.find(string.rep('a', 200000), string.rep('a?', 200000))",
        "return string.gsub(string.rep('a', 200000), string.rep('(a*)', 40), '')",
        "return string.format('%99999d', 1)",
        "return string.format(string.rep('%s', 300), unpack({}, 1, 300))",
        "local function f() return 1 + f() end return f()",
        "local function f() pcall(f) error('x') end f()",
        "return " + "(" * 300 + "1" + ")" * 300,
        "local t = {} for i = 1, 300 do t = {t} end return cjson.encode(t)",
        "return cjson.decode(string.rep('[', 100000))",
        "return cmsgpack.unpack(string.rep('\\145', 100000))",
        "local f = loadstring('return function(' .. string.rep('a,', 150) .. '...) end') return 1",
        (
            "local a = {} for i = 1, 120 do a[i] = 'p' .. i end "
            "return loadstring('local function f(' .. table.concat(a, ',') .. ',...) return f end "
            "return f')()()"
        ),
        "return coroutine.wrap(function() coroutine.wrap(function() error('x') end)() end)()",
        (
            "local co co = coroutine.create(function() return coroutine.resume(co) end) "
            "return select(2, coroutine.resume(co))"
        ),
        "local a = {} a[1] = a return a",
        "local a = {} a.map = a return a",
        "return setmetatable({}, {__index = error, __tostring = error})",
        "return string.byte(string.rep('x', 9000), 1, -1)",
        "return struct.unpack(string.rep('b', 9000), string.rep('x', 9000))",
        "return table.concat({}, 'x', 1, 10)",
        "table.sort({3,1,2,5,4,9,8,7}, function() return true end)",
        "return tostring(cjson.new) .. tostring(coroutine.create(function() end))",
        "return load(function() return 'x' end)",
        "return select('#', string.gsub('x', '.', function() error({}) end))",
    ],
)
def test_a_hostile_script_ends_and_harms_nobody(client: Shell, script: str) -> None:
    assert run(client, script)[:1] in (b"-", b"$", b":", b"*", b"+")
    assert run(client, "return 1") == b":1\r\n"


def kill_from(shell: Shell, server: Server, kind: str) -> list[bytes]:
    """Has another client ask for PING and a KILL as soon as the script is busy."""
    other = Shell(server)
    heard: list[bytes] = []

    def serve(_caller: object) -> None:
        if not heard:
            heard.append(ask(other, "PING"))
            heard.append(ask(other, kind, "KILL"))

    server.serve_while_busy = serve  # type: ignore[method-assign, assignment]
    return heard


@pytest.mark.parametrize(
    "script",
    [
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "local f = coroutine.wrap(function() while true do end end) f()",
        "while true do redis.pcall('ping') end",
        "while true do coroutine.wrap(function() while true do end end)() end",
        "repeat xpcall(function() repeat until false end, function(e) return e end) until false",
    ],
)
def test_an_endless_script_is_told_and_killed(script: str) -> None:
    room = Room(busy_reply_threshold="20")
    client = room.client()
    heard = kill_from(client, room.server, "SCRIPT")
    assert b"Script killed by user with SCRIPT KILL..." in run(client, script)
    assert heard == [
        (
            b"-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN "
            b"NOSAVE.\r\n"
        ),
        b"+OK\r\n",
    ]
    assert run(client, "return 1") == b":1\r\n"
    assert ask(client, "PING") == b"+PONG\r\n"
    room.close()


def test_a_function_is_killed_by_its_own_word() -> None:
    room = Room(busy_reply_threshold="20")
    client = room.client()
    code = "#!lua name=l\nredis.register_function('f', function() while true do end end)"
    ask(client, "FUNCTION", "LOAD", code)
    heard = kill_from(client, room.server, "FUNCTION")
    assert b"killed by user" in ask(client, "FCALL", "f", "0")
    assert heard[0].startswith(b"-BUSY")
    assert b"FUNCTION KILL" in heard[0]
    assert heard[1] == b"+OK\r\n"
    room.close()


def test_a_script_that_has_written_is_not_killed() -> None:
    room = Room(busy_reply_threshold="20")
    client = room.client()
    heard = kill_from(client, room.server, "SCRIPT")
    run(client, "redis.call('set','a',1) for i = 1, 2e7 do end")
    assert heard[1].startswith(b"-UNKILLABLE Sorry the script already executed write commands")
    room.close()


def test_code_of_a_library_may_not_run_for_long(client: Shell) -> None:
    reply = ask(client, "FUNCTION", "LOAD", "#!lua name=l\nwhile true do end")
    assert b"FUNCTION LOAD timeout" in reply
    assert run(client, "return 1") == b":1\r\n"


WORDS = st.sampled_from(
    ["return", "local", "x", "=", "{", "}", "(", ")", "function", "end", "if", "then", "for", "in",
     "pairs", "redis", ".", "call", "pcall", "'get'", ",", "..", "1", "nil", "#", "[[", "]]", "--",
     "\n", "cjson.encode", "cmsgpack.unpack", "string.rep", "'a'", "...", "error", "_G", "KEYS",
     "[1]", "+", "not", "unpack", "setmetatable", "__index", ":", "~=", "goto", "\\", '"', "0x"]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(words=st.lists(WORDS, max_size=25), raw=st.binary(max_size=12))
def test_any_text_is_answered(shared: Shell, words: list[str], raw: bytes) -> None:
    reply = run(shared, " ".join(words).encode() + raw)
    assert reply[:1] in (b"-", b"$", b":", b"*", b"+")
