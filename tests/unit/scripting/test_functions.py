"""Libraries of functions: loaded whole or not at all, called, listed, dumped, restored."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cache_server.keyspace.database import Keyspace
from cache_server.persistence.snapshot import Snapshot
from cache_server.persistence.snapshot_codec import Loader
from tests.unit.scripting.talking import ask
from tests.unit.talk import Room, Shell


def library(name: str, *functions: str) -> str:
    body = "\n".join(
        f"redis.register_function('{each}', function(keys, args) return '{name}.{each}' end)"
        for each in functions
    )
    return f"#!lua name={name}\n{body}"


def load(shell: Shell, code: str, *options: str) -> bytes:
    return ask(shell, "FUNCTION", "LOAD", *options, code)


def test_a_function_is_called_with_keys_and_arguments(client: Shell) -> None:
    code = (
        "#!lua name=l\n"
        "redis.register_function('f', function(k, a) return {k[1], a[1], redis.call('dbsize')} end)"
    )
    assert load(client, code) == b"$1\r\nl\r\n"
    assert ask(client, "FCALL", "F", "1", "key", "arg") == b"*3\r\n$3\r\nkey\r\n$3\r\narg\r\n:0\r\n"


def test_a_function_keeps_what_its_library_holds(client: Shell) -> None:
    load(
        client, "#!lua name=l\nlocal n=0 redis.register_function('f',function() n=n+1 return n end)"
    )
    assert [ask(client, "FCALL", "f", "0") for _ in range(2)] == [b":1\r\n", b":2\r\n"]


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("x", b"-ERR Missing library metadata"),
        ("#!lua name=a", b"-ERR Invalid library metadata"),
        ("#!lua\nx", b"-ERR Library name was not given"),
        ("#!lua name=a-b\nx", (b"-ERR Library names can only contain letters, numbers, or "
         b"underscores(_) and must be at least one character long")),
        ("#!py name=a\nx", b"-ERR Engine 'py' not found"),
        ("#!lua name=a\n", b"-ERR No functions registered"),
        ("#!lua name=a\nreturn (", (b"-ERR Error compiling function: user_function:2: unexpected "
         b"symbol near '<eof>'")),
        ("#!lua name=a\nlocal x = math.random()", (b"-ERR Error registering functions: ERR "
         b"user_function:2: Script attempted to access nonexistent global variable 'math'")),
        ("#!lua name=a\nredis.register_function('f')", (b"-ERR Error registering functions: ERR "
         b"calling redis.register_function with a single argument is only applicable to Lua table "
         b"(representing named arguments).")),
    ],
)  # fmt: skip
def test_a_library_that_is_none_is_refused(client: Shell, code: str, text: bytes) -> None:
    assert load(client, code).startswith(text)
    assert ask(client, "FUNCTION", "LIST") == b"*0\r\n"


def test_names_collide_in_no_case(client: Shell) -> None:
    load(client, library("a", "f"))
    assert load(client, library("a", "g")) == b"-ERR Library 'a' already exists\r\n"
    assert load(client, library("b", "F")) == b"-ERR Function F already exists\r\n"
    assert load(client, library("a", "g"), "REPLACE") == b"$1\r\na\r\n"
    assert ask(client, "FCALL", "f", "0") == b"-ERR Function not found\r\n"
    assert ask(client, "FCALL", "g", "0") == b"$3\r\na.g\r\n"


def test_a_replacement_that_fails_leaves_the_library(client: Shell) -> None:
    load(client, library("a", "f"))
    assert load(client, "#!lua name=a\nerror('x')", "REPLACE").startswith(b"-ERR")
    assert ask(client, "FCALL", "f", "0") == b"$3\r\na.f\r\n"


def test_a_function_that_says_no_writes_does_not_write(client: Shell) -> None:
    load(
        client,
        "#!lua name=l\nredis.register_function{function_name='f', flags={'no-writes'}, "
        "callback=function() return redis.call('set','a','b') end}",
    )
    assert b"Write commands are not allowed from read-only scripts" in ask(
        client, "FCALL", "f", "0"
    )
    load(client, library("m", "g"))
    assert ask(client, "FCALL_RO", "g", "0") == (
        b"-ERR Can not execute a script with write flag using *_ro command.\r\n"
    )


@pytest.mark.parametrize(
    ("policy", "reply", "left"),
    [
        ("APPEND", b"-ERR Library a already exists\r\n", {b"a": b"f", b"c": b"h"}),
        ("REPLACE", b"+OK\r\n", {b"a": b"e", b"b": b"g", b"c": b"h"}),
        ("FLUSH", b"+OK\r\n", {b"a": b"e", b"b": b"g"}),
    ],
)
def test_a_dump_is_restored_as_the_policy_says(
    client: Shell, policy: str, reply: bytes, left: dict[bytes, bytes]
) -> None:
    load(client, library("a", "e"))
    load(client, library("b", "g"))
    dump = ask(client, "FUNCTION", "DUMP").split(b"\r\n", 1)[1][:-2]
    ask(client, "FUNCTION", "FLUSH")
    load(client, library("a", "f"))
    load(client, library("c", "h"))
    assert ask(client, "FUNCTION", "RESTORE", dump, policy) == reply
    found = client.server.scripting.libraries.libraries
    assert {name: next(iter(each.functions)) for name, each in found.items()} == left


def test_libraries_are_in_a_snapshot_and_come_out_of_it(client: Shell) -> None:
    load(client, library("a", "f"))
    codes = client.server.scripting.libraries.codes()
    snapshot = Snapshot(Keyspace(1), functions=codes)
    data = b""
    while chunk := snapshot.next_chunk(4096):
        data += chunk
    loader = Loader(16, 0)
    loader.feed(data)
    room = Room()
    other = room.client()
    room.server.persistence.take(loader.finish())
    assert ask(other, "FCALL", "f", "0") == b"$3\r\na.f\r\n"
    room.close()


def test_loading_is_propagated_and_counts_as_a_change(client: Shell) -> None:
    client.server.propagation.active = True
    before = client.server.keyspace.dirty
    load(client, library("a", "f"))
    ask(client, "FUNCTION", "DELETE", "a")
    stream = client.server.propagation.take()
    assert b"LOAD" in stream
    assert b"DELETE" in stream
    assert client.server.keyspace.dirty == before + 2


def test_stats_count(client: Shell) -> None:
    load(client, library("a", "f", "g"))
    assert ask(client, "FUNCTION", "STATS") == (
        b"*4\r\n$14\r\nrunning_script\r\n$-1\r\n$7\r\nengines\r\n*2\r\n$3\r\nLUA\r\n*4\r\n"
        b"$15\r\nlibraries_count\r\n:1\r\n$15\r\nfunctions_count\r\n:2\r\n"
    )


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60), st.booleans())
def test_any_payload_is_refused_or_restored(shared: Shell, payload: bytes, framed: bool) -> None:
    if framed:
        payload = b"\xf5" + payload
    reply = ask(shared, "FUNCTION", "RESTORE", payload)
    assert reply.startswith((b"-ERR", b"+OK"))
