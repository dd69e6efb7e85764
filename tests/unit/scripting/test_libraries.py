"""cjson, cmsgpack, struct and bit: known answers, round trips, and inputs that are none."""

from __future__ import annotations

import json
import math
import struct
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lupa import lua51

from cache_server.scripting import binary
from cache_server.scripting.bytecode import HEADER, UnusableError, prepared
from tests.unit.scripting.talking import run
from tests.unit.talk import Shell


def bulk(text: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(text), text)


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("{1,2,{a='b'}}", b'[1,2,{"a":"b"}]'),
        ("{}", b"{}"),
        ("'a\"/\\\\\\n\\127'", b'"a\\"\\/\\\\\\n\\u007f"'),
        ("{[1]=1,[3]=3}", b"[1,null,3]"),
        ("{[1.5]=1}", b'{"1.5":1}'),
        ("1/3", b"0.33333333333333"),
        ("cjson.null", b"null"),
    ],
)
def test_cjson_encodes(shared: Shell, expression: str, text: bytes) -> None:
    assert run(shared, f"return cjson.encode({expression})") == bulk(text)


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("cjson.encode({[1]=1,[100]=2})", b"Cannot serialise table: excessively sparse array"),
        ("cjson.encode(0/0)", b"Cannot serialise number: must not be NaN or Inf"),
        ("cjson.encode(print_)", b"nonexistent"),
        ("cjson.encode({[true]=1})", (b"Cannot serialise boolean: table key must be a number or "
         b"string")),
        ("(function() local t = {} t.t = t return cjson.encode(t) end)()",
         b"Cannot serialise, excessive nesting (1001)"),
        ("cjson.decode('[1,]')", b"Expected value but found T_ARR_END at character 4"),
        ("cjson.decode('{a:1}')", (b"Expected object key string but found invalid token at "
         b"character 2")),
        ("cjson.decode(string.rep('[',1001))", b"Found too many nested data structures (1001)"),
        ("cmsgpack.unpack('\\146\\1')", b"Missing bytes in input."),
        ("cmsgpack.unpack('\\193')", b"Bad data format in input."),
        ("struct.pack('i33', 1)", b"integral size 33 is larger than limit of 32"),
        ("struct.unpack('i4', 'x')", b"data string too short"),
        ("bit.band('x')", b"bad argument #1 to 'band' (number expected, got string)"),
    ],
)  # fmt: skip
def test_what_cannot_be_converted_is_refused_in_the_library_s_words(
    shared: Shell, script: str, text: bytes
) -> None:
    assert text in run(shared, f"return {script}")


JSON = st.recursive(
    st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=8) | st.floats(-1e6, 1e6),
    lambda inner: st.lists(inner, min_size=1, max_size=4)
    | st.dictionaries(st.text(st.characters(categories=["Ll"]), min_size=1), inner, min_size=1,
                      max_size=4),
    max_leaves=12,
)  # fmt: skip


def close(left: Any, right: Any) -> bool:
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(close(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(close(*pair) for pair in zip(left, right))
    if isinstance(left, float | int) and not isinstance(left, bool):
        return math.isclose(left, right, rel_tol=1e-12)
    return bool(left == right)


@settings(max_examples=100, deadline=None)
@given(JSON)
def test_json_goes_through_cjson_unchanged(shared: Shell, value: Any) -> None:
    text = json.dumps(value)
    reply = run(shared, "return cjson.encode(cjson.decode(ARGV[1]))", "0", text)
    assert close(value, json.loads(reply.split(b"\r\n", 1)[1][:-2]))


@settings(max_examples=100, deadline=None)
@given(JSON)
def test_values_go_through_cmsgpack_unchanged(shared: Shell, value: Any) -> None:
    script = "return cjson.encode(cmsgpack.unpack(cmsgpack.pack(cjson.decode(ARGV[1]))))"
    reply = run(shared, script, "0", json.dumps(value))
    assert close(value, json.loads(reply.split(b"\r\n", 1)[1][:-2]))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_are_decoded_or_refused(shared: Shell, data: bytes) -> None:
    for name in ("cmsgpack.unpack", "cjson.decode"):
        reply = run(shared, f"{name}(ARGV[1]) return 1", "0", data)
        assert reply == b":1\r\n" or reply.startswith(b"-ERR user_script:1: ")


@pytest.mark.parametrize(
    ("form", "values", "data"),
    [
        (b">I2I4", (1, 2), b"\0\1\0\0\0\2"),
        (b"<i2", (-2,), b"\xfe\xff"),
        (b"!4bi", (1, 2), b"\1\0\0\0\2\0\0\0"),
        (b"s", (b"abc",), b"abc\0"),
        (b"c2", (b"abc",), b"ab"),
        (b">d", (1.5,), struct.pack(">d", 1.5)),
        (b"xb", (7,), b"\0\7"),
        (b"<i16", (-1,), b"\xff" * 8 + bytes(8)),
    ],
)
def test_struct_packs(form: bytes, values: tuple[Any, ...], data: bytes) -> None:
    assert binary.pack(form, *values) == data


def test_struct_unpacks_and_tells_the_position_after() -> None:
    assert binary.unpack(b">I2s", b"\1\2ab\0x") == [258.0, b"ab", 6]
    assert binary.unpack(b"bc0", b"\3abcdef") == [b"abc", 5]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=12), st.binary(max_size=24), st.integers(-3, 30))
def test_any_format_is_carried_out_or_refused(form: bytes, data: bytes, at: int) -> None:
    for function, args in (
        (binary.unpack, (form, data, at)),
        (binary.pack, (form, data, at, 1.5, data)),
        (binary.size_of, (form,)),
    ):
        with suppress(binary.RefusedError):
            function(*args)


@pytest.mark.parametrize(
    ("args", "result"),
    [
        ((b"tobit", 2**32 + 5), 5),
        ((b"tobit", 2.5), 2),
        ((b"bnot", 0), -1),
        ((b"band", 255, 15, 7), 7),
        ((b"bxor", b"0xff", 1), 254),
        ((b"lshift", 1, 31), -(2**31)),
        ((b"arshift", -256, 4), -16),
        ((b"rol", 0x12345678, 8), 0x34567812),
        ((b"bswap", 0x12345678), 0x78563412),
        ((b"tohex", 65535, -(2**31)), b"0000FFFF"),
        ((b"tohex", 255, 4), b"00ff"),
    ],
)
def test_bit_operations(args: tuple[Any, ...], result: Any) -> None:
    assert binary.bit_operation(*args) == result


def chunk(source: str) -> bytes:
    """A chunk as Lua compiles it."""
    runtime = lua51.LuaRuntime(encoding=None, source_encoding="latin-1")
    compiled = runtime.execute(b"return string.dump(loadstring(...))", source.encode())
    assert isinstance(compiled, bytes)
    return compiled


def test_a_tail_call_keeps_the_frame_of_its_caller() -> None:
    before = chunk("return redis.call('x')")
    after = prepared(before)
    assert before.startswith(HEADER)
    assert len(after) == len(before)
    changed = [(old, new) for old, new in zip(before, after) if old != new]
    assert [(old & 0x3F, new & 0x3F) for old, new in changed] == [(29, 28)]


def test_a_function_that_calls_itself_keeps_its_tail_call(shared: Shell) -> None:
    script = "local function f(n) if n == 0 then return 1 end return f(n - 1) end return f(100000)"
    assert run(shared, script) == b":1\r\n"


def test_a_vararg_function_has_room_for_all_its_parameters() -> None:
    names = ",".join(f"p{number}" for number in range(40))
    before = chunk(f"return function({names},...) end")
    assert prepared(before) != before
    many = ",".join(f"p{number}" for number in range(190))
    with pytest.raises(UnusableError):
        prepared(chunk(f"return function({many},...) local a,b,c,d,e,f,g,h end"))
