"""EVAL and its kin: values both ways, errors and their places, the cache, effects, refusals."""

from __future__ import annotations

import hashlib

import pytest

from tests.unit.scripting.talking import ask, run
from tests.unit.talk import Shell


@pytest.mark.parametrize(
    ("script", "reply"),
    [
        ("return 1", b":1\r\n"),
        ("return -1.9", b":-1\r\n"),
        ("return 1e30", b":-9223372036854775808\r\n"),
        ("return 'x'", b"$1\r\nx\r\n"),
        ("return true", b":1\r\n"),
        ("return false", b"$-1\r\n"),
        ("return nil", b"$-1\r\n"),
        ("return {1,2,nil,3}", b"*2\r\n:1\r\n:2\r\n"),
        ("return {'a',{true}}", b"*2\r\n$1\r\na\r\n*1\r\n:1\r\n"),
        ("return {ok='fine'}", b"+fine\r\n"),
        ("return {err='MY error'}", b"-MY error\r\n"),
        ("return {err='a\\r\\nb'}", b"-a  b\r\n"),
        ("return {double=3.25}", b"$4\r\n3.25\r\n"),
        ("return {map={a=1}}", b"*2\r\n$1\r\na\r\n:1\r\n"),
        ("return {set={a=true}}", b"*1\r\n$1\r\na\r\n"),
        ("return {big_number='12'}", b"$2\r\n12\r\n"),
        ("return {verbatim_string={format='txt',string='hi'}}", b"$2\r\nhi\r\n"),
        ("return function() end", b"$-1\r\n"),
        ("redis.setresp(3) return true", b":1\r\n"),
        ("redis.setresp(3) return false", b":0\r\n"),
    ],
)
def test_a_lua_value_becomes_a_reply(client: Shell, script: str, reply: bytes) -> None:
    assert run(client, script) == reply


@pytest.mark.parametrize(
    ("script", "reply"),
    [
        ("return true", b":1\r\n"),
        ("return nil", b"_\r\n"),
        ("redis.setresp(3) return true", b"#t\r\n"),
        ("return {double=3.25}", b",3.25\r\n"),
        ("return {map={a=1}}", b"%1\r\n$1\r\na\r\n:1\r\n"),
        ("return {set={a=true}}", b"~1\r\n$1\r\na\r\n"),
        ("return {big_number='1\\r\\n2'}", b"(1  2\r\n"),
        ("return {verbatim_string={format='txt',string='hi'}}", b"=6\r\ntxt:hi\r\n"),
        ("redis.setresp(3) return redis.call('hgetall','h')", b"%1\r\n$1\r\nf\r\n$1\r\nv\r\n"),
        ("return redis.call('hgetall','h')", b"*2\r\n$1\r\nf\r\n$1\r\nv\r\n"),
    ],
)
def test_a_lua_value_becomes_a_reply_of_resp3(client: Shell, script: str, reply: bytes) -> None:
    ask(client, "HELLO", "3")
    ask(client, "HSET", "h", "f", "v")
    assert run(client, script) == reply


@pytest.mark.parametrize(
    ("script", "reply"),
    [
        ("return type(redis.call('get','s'))", b"$6\r\nstring\r\n"),
        ("return type(redis.call('get','none'))", b"$7\r\nboolean\r\n"),
        ("return type(redis.call('strlen','s'))", b"$6\r\nnumber\r\n"),
        ("return redis.call('set','a','b').ok", b"$2\r\nOK\r\n"),
        ("return redis.pcall('incr','s').err",
         b"$43\r\nERR value is not an integer or out of range\r\n"),
        ("return #redis.call('lrange','l',0,-1)", b":300\r\n"),
        ("return redis.call('lrange','l',0,-1)[299]", b"$3\r\n299\r\n"),
        ("return redis.call('mget','s','none')", b"*2\r\n$1\r\nv\r\n$-1\r\n"),
        ("return redis.call('xrange','x','-','+')[1][2][1]", b"$1\r\nf\r\n"),
        ("redis.setresp(3) return redis.call('zscore','z','m').double", b":1\r\n"),
        ("redis.setresp(3) return type(redis.call('get','none'))", b"$3\r\nnil\r\n"),
        ("return redis.call('echo', 0.1)", b"$19\r\n0.10000000000000001\r\n"),
        ("return redis.call('echo', 12)", b"$2\r\n12\r\n"),
    ],
)  # fmt: skip
def test_a_reply_becomes_a_lua_value(client: Shell, script: str, reply: bytes) -> None:
    ask(client, "SET", "s", "v")
    ask(client, "RPUSH", "l", *[str(number) for number in range(1, 301)])
    ask(client, "XADD", "x", "1-1", "f", "v")
    ask(client, "ZADD", "z", "1.5", "m")
    assert run(client, script) == reply


def test_keys_and_arguments_arrive_apart(client: Shell) -> None:
    script = "return {#KEYS, KEYS[1], #ARGV, ARGV[1]}"
    assert run(client, script, "2", "a", "b", "c") == b"*4\r\n:2\r\n$1\r\na\r\n:1\r\n$1\r\nc\r\n"


def test_many_arguments_arrive_whole_in_order(client: Shell) -> None:
    words = [str(number) for number in range(5000)]
    reply = run(client, "return {#KEYS, #ARGV, KEYS[1000], ARGV[4000]}", "1000", *words)
    assert reply == b"*4\r\n:1000\r\n:4000\r\n$3\r\n999\r\n$4\r\n4999\r\n"


def test_a_call_takes_very_many_arguments(client: Shell) -> None:
    script = "local a = {} for i=1,7999 do a[i] = 1 end return redis.call('lpush','l',unpack(a))"
    assert run(client, script) == b":7999\r\n"


def error_of(script: str, text: str) -> bytes:
    sha = hashlib.sha1(script.encode()).hexdigest()
    return text.replace("<sha>", sha).encode() + b"\r\n"


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("return redis.call('nosuch')",
         "-ERR Unknown Redis command called from script script: <sha>, on @user_script:1."),
        ("\n\nreturn redis.call('incr','s')",
         "-ERR value is not an integer or out of range script: <sha>, on @user_script:3."),
        ("return redis.call('get')",
         ("-ERR Wrong number of args calling Redis command from script script: <sha>, on "
         "@user_script:1.")),
        ("return redis.call('blpop','l',0)",
         "-ERR This Redis command is not allowed from script script: <sha>, on @user_script:1."),
        ("return redis.call({})",
         ("-ERR Lua redis lib command arguments must be strings or integers script: <sha>, on "
         "@user_script:1.")),
        ("return redis.call()",
         ("-ERR Please specify at least one argument for this redis lib call script: <sha>, on "
         "@user_script:1.")),
        ("return foo",
         ("-ERR user_script:1: Script attempted to access nonexistent global variable 'foo' "
         "script: <sha>, on @user_script:1.")),
        ("foo = 1",
         ("-ERR user_script:1: Attempt to modify a readonly table script: <sha>, on "
         "@user_script:1.")),
        ("error({err='MY own'})", "-MY own script: <sha>, on @user_script:1."),
        ("return redis.pcall('incr','s')", "-ERR value is not an integer or out of range"),
        ("local function f()\n return redis.call('incr','s')\nend\nf()",
         "-ERR value is not an integer or out of range script: <sha>, on @user_script:2."),
    ],
)  # fmt: skip
def test_an_error_says_what_and_where(client: Shell, script: str, text: str) -> None:
    ask(client, "SET", "s", "v")
    assert run(client, script) == error_of(script, text)


def test_a_script_that_cannot_be_compiled_says_where(client: Shell) -> None:
    assert run(client, "return (").startswith(
        b"-ERR Error compiling script (new function): user_script:1: unexpected symbol near"
    )


def test_scripts_are_known_by_their_sha1_until_flushed(client: Shell) -> None:
    sha = hashlib.sha1(b"return 'hi'").hexdigest()
    missing = b"-NOSCRIPT No matching script. Please use EVAL.\r\n"
    assert ask(client, "EVALSHA", sha, "0") == missing
    assert ask(client, "SCRIPT", "LOAD", "return 'hi'") == b"$40\r\n%b\r\n" % sha.encode()
    assert ask(client, "EVALSHA", sha.upper(), "0") == b"$2\r\nhi\r\n"
    assert ask(client, "SCRIPT", "EXISTS", sha, "0" * 40) == b"*2\r\n:1\r\n:0\r\n"
    assert ask(client, "SCRIPT", "FLUSH") == b"+OK\r\n"
    assert ask(client, "EVALSHA", sha, "0") == missing


def test_read_only_forms_refuse_writes(client: Shell) -> None:
    assert ask(client, "EVAL_RO", "return redis.call('exists','a')", "0") == b":0\r\n"
    refused = ask(client, "EVAL_RO", "return redis.call('set','a','b')", "0")
    assert refused.startswith(b"-ERR Write commands are not allowed from read-only scripts.")


def test_flags_are_read_from_the_first_line(client: Shell) -> None:
    refused = run(client, "#!lua flags=no-writes\nreturn redis.call('set','a','b')")
    assert refused.startswith(b"-ERR Write commands are not allowed from read-only scripts.")
    assert run(client, "#!lua flags=bad\nreturn 1") == (
        b"-ERR Unexpected flag in script shebang: bad\r\n"
    )
    assert run(client, "#!lua name=x\nreturn 1") == b"-ERR Unknown lua shebang option: name=x\r\n"
    assert run(client, "#!py\nreturn 1") == b"-ERR Unexpected engine in script shebang: #!py\r\n"


def test_select_in_a_script_leaves_the_caller_where_it_is(client: Shell) -> None:
    run(client, "redis.call('select', 9) redis.call('set', 'a', 'b')")
    assert ask(client, "GET", "a") == b"$-1\r\n"
    ask(client, "SELECT", "9")
    assert ask(client, "GET", "a") == b"$1\r\nb\r\n"


def stream_of(shell: Shell, *requests: tuple[str, ...]) -> bytes:
    propagation = shell.server.propagation
    propagation.active = True
    for request in requests:
        ask(shell, *request)
    return propagation.take()


def test_only_the_effects_travel_and_several_as_one_unit(client: Shell) -> None:
    script = "redis.call('set','a',1) redis.call('incr','a') return redis.call('get','a')"
    stream = stream_of(client, ("EVAL", script, "0"))
    words = [line for line in stream.split(b"\r\n") if line[:1].isalpha()]
    assert words == [b"SELECT", b"MULTI", b"set", b"a", b"incr", b"a", b"EXEC"]


def test_one_effect_travels_alone_and_none_not_at_all(client: Shell) -> None:
    stream = stream_of(
        client,
        ("EVAL", "return redis.call('get','a')", "0"),
        ("EVAL", "redis.call('set','a',1)", "0"),
    )
    assert b"MULTI" not in stream
    assert stream.endswith(b"*3\r\n$3\r\nset\r\n$1\r\na\r\n$1\r\n1\r\n")


def test_set_repl_keeps_effects_here(client: Shell) -> None:
    script = "redis.set_repl(redis.REPL_NONE) redis.call('set','a',1)"
    assert stream_of(client, ("EVAL", script, "0")) == b""
    assert ask(client, "GET", "a") == b"$1\r\n1\r\n"


def test_a_script_in_a_transaction_is_part_of_its_unit(client: Shell) -> None:
    stream = stream_of(
        client,
        ("MULTI",),
        ("EVAL", "redis.call('set','a',1)", "0"),
        ("SET", "b", "2"),
        ("EXEC",),
    )
    assert stream.count(b"MULTI") == 1
    assert stream.index(b"$1\r\na\r\n") < stream.index(b"$1\r\nb\r\n") < stream.index(b"EXEC")


def test_time_stands_still_while_a_script_runs(client: Shell) -> None:
    script = """
        redis.call('set','a','b','px','1')
        local n = 0
        while n < 3000000 do n = n + 1 end
        return redis.call('exists','a')
    """
    assert run(client, script) == b":1\r\n"


def test_an_error_of_a_command_is_counted_once(client: Shell) -> None:
    run(client, "return redis.call('select', 99)")
    run(client, "return redis.pcall('select', 99)")
    assert client.server.stats.errors == {"ERR": 2}


def test_memory_beyond_the_limit_refuses_what_needs_more(client: Shell) -> None:
    ask(client, "SET", "large", "x" * 10_000_000)  # more than an earlier test's server gives back
    ask(client, "CONFIG", "SET", "maxmemory", "1")
    script = "return redis.call('set','a','b')"
    assert run(client, script).startswith(b"-OOM command not allowed when used memory")
    assert run(client, "#!lua\nreturn 1").startswith(b"-OOM command not allowed when")
    assert run(client, "#!lua flags=allow-oom\n" + script) == b"+OK\r\n"


def test_the_user_of_the_caller_is_who_runs_the_commands(client: Shell) -> None:
    ask(client, "ACL", "SETUSER", "bob", "on", ">p", "+@scripting", "+set", "~x*")
    ask(client, "AUTH", "bob", "p")
    assert run(client, "return redis.call('set','x','1')") == b"+OK\r\n"
    assert run(client, "return redis.call('set','y','1')").startswith(
        b"-ERR The user executing the script can't access at least one of the keys"
    )
    assert run(client, "return redis.acl_check_cmd('set','xx',1)") == b":1\r\n"
    assert run(client, "return redis.acl_check_cmd('get','xx')") == b"$-1\r\n"


def test_info_counts_scripts_and_libraries(client: Shell) -> None:
    run(client, "return 1")
    ask(client, "FUNCTION", "LOAD", "#!lua name=l\nredis.register_function('f',function() end)")
    info = ask(client, "INFO", "memory")
    for line in (b"number_of_cached_scripts:1", b"number_of_libraries:1", b"number_of_functions:1"):
        assert line in info
    used = int(info.split(b"used_memory_lua:")[1].split(b"\r\n")[0])
    assert 0 < used < 100 * 1024


def test_coordinates_are_doubles_to_a_script_in_resp3(client: Shell) -> None:
    ask(client, "GEOADD", "g", "1", "2", "m")
    script = "redis.setresp(3) return type(redis.call('GEOPOS', 'g', 'm')[1][2].double)"
    assert run(client, script) == b"$6\r\nnumber\r\n"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("12", "12"), ("-7", "-7"), ("-0", "-0"), ("007", "7"),
        ("123456789012345", "1.2345678901234e+14"),
        ("1234567890123456", "1.2345678901235e+15"), (" 7 ", "7"), ("0x1F", "31"), ("1e3", "1000"),
        ("1.5", "1.5"), ("", "nil"), ("-", "nil"), ("--1", "nil"), ("1a", "nil"), ("1\\0", "1"),
    ],
)  # fmt: skip
def test_tonumber_reads_what_lua_reads(client: Shell, text: str, number: str) -> None:
    answer = run(client, f"return tostring(tonumber('{text}'))")
    assert answer == b"$%d\r\n%b\r\n" % (len(number), number.encode())


def test_tonumber_takes_a_base_and_refuses_nothing_at_all(client: Shell) -> None:
    assert run(client, "return tonumber('11', 2)") == b":3\r\n"
    assert b"bad argument #1 to 'tonumber' (value expected)" in run(client, "return tonumber()")


def test_a_script_takes_and_hands_on_thousands_of_arguments(client: Shell) -> None:
    words = [str(number) for number in range(7_900)]
    script = "redis.call('RPUSH', KEYS[1], unpack(ARGV)) return {#KEYS, #ARGV, ARGV[#ARGV]}"
    answer = ask(client, "EVAL", script, "1", "list", *words)
    assert answer == b"*3\r\n:1\r\n:7900\r\n$4\r\n7899\r\n"
    assert ask(client, "LRANGE", "list", "7898", "-1") == b"*2\r\n$4\r\n7898\r\n$4\r\n7899\r\n"
    assert run(client, "return #ARGV", "0", *words) == b":7900\r\n"


def test_texts_that_take_turns_are_told_apart_and_flushed(client: Shell) -> None:
    for _ in range(2):
        assert run(client, "return 1") == b":1\r\n"
        assert run(client, "return 2") == b":2\r\n"
    assert ask(client, "SCRIPT", "FLUSH") == b"+OK\r\n"
    assert run(client, "return 2") == b":2\r\n"


def test_much_garbage_of_a_run_is_given_back_at_its_end(client: Shell) -> None:
    for _ in range(3):
        assert run(client, "return #string.rep('x', 2^27)") == b":134217728\r\n"
        info = ask(client, "INFO", "memory")
        assert int(info.split(b"used_memory_lua:")[1].split(b"\r\n")[0]) < 1 << 27


def test_many_short_runs_leave_little(client: Shell) -> None:
    for _ in range(3000):
        run(client, "return redis.call('INCR', KEYS[1])", "1", "x")
    info = ask(client, "INFO", "memory")
    assert int(info.split(b"used_memory_lua:")[1].split(b"\r\n")[0]) < 100 * 1024
