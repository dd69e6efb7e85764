"""An interpreter: Lua 5.1 with the sandbox of `lua/core.lua` around it.

The Lua side keeps what can be run in a table by number; the host keeps the numbers. A run is one
call into Lua with the arguments as they came, and its result is converted on the Lua side, because
each object that crosses costs more than all that Lua does with it. The crossings that every script
makes go by `bridge.pyx` where that is built.

    run(number, caller, key_count, request)  ->  value | (True, RESP) | (False, error, place, told)

Limits: an interpreter holds at most SCRIPT_MEMORY_BYTES_MAX, then it says "not enough memory"; more
than ARGUMENTS_MAX arguments come through lupa in portions, as Lua's stack is small. What a run
leaves as garbage is collected at its end where it is much: Lua itself would wait until as much
again is taken.

Source: https://github.com/scoder/lupa, the Lua 5.1 reference manual.
"""

from __future__ import annotations

import os
from importlib import import_module
from importlib.resources import files
from typing import Any

from lupa import lua51

from cache_server.constants import (
    REDIS_VERSION,
    SCRIPT_GARBAGE_BYTES_MAX,
    SCRIPT_MEMORY_BYTES_MAX,
)
from cache_server.scripting.bytecode import prepared
from cache_server.scripting.host import Host

try:
    if os.environ.get("CACHE_SERVER_PURE"):
        raise ImportError
    Bridge = import_module("cache_server.scripting.bridge").Bridge
except ImportError:
    Bridge = None

ARGUMENTS_MAX = 200
_LIBRARIES = ("cjson", "cmsgpack", "struct", "bit", "debugger")
_COMPILE = b"return string.dump(assert(loadstring(..., '=engine')))"
#: What Lua may call of the host.
_HOST = """call stage call_staged more interrupt log sha1 random seed set_resp set_repl check_acl
    prepare register struct_pack struct_unpack struct_size bit_operation double_bytes
    bytes_double"""
_DEBUGGER = ("stops", "next", "show", "stepping", "breakpoint", "trace")
_STEP_KIB = 50
_chunks: dict[str, bytes] = {}


def _no_attributes(_object: Any, _name: Any, _setting: bool) -> Any:
    raise AttributeError("not for scripts")


def _runtime() -> Any:
    return lua51.LuaRuntime(
        encoding=None,
        source_encoding="latin-1",
        attribute_filter=_no_attributes,
        register_eval=False,
        register_builtins=False,
        unpack_returned_tuples=True,
        max_memory=SCRIPT_MEMORY_BYTES_MAX,
    )


def library_chunk(name: str) -> bytes:
    """A file of `lua/`, compiled."""
    if name not in _chunks:
        source = files("cache_server.scripting").joinpath(f"lua/{name}.lua").read_bytes()
        chunk = _runtime().execute(_COMPILE, source)
        _chunks[name] = prepared(chunk, tail_calls=True)
    return _chunks[name]


class Engine:
    """One interpreter for scripts, or one for functions, or one for a script with a debugger."""

    def __init__(
        self,
        host: Host,
        *,
        for_functions: bool,
        deprecated_api: bool = False,
        debugger: Any = None,
    ) -> None:
        self._runtime = _runtime()
        table = {name.encode(): getattr(host, name) for name in _HOST.split()}
        table[b"library"] = _library
        if debugger is not None:
            table |= {b"debug_%b" % name.encode(): getattr(debugger, name) for name in _DEBUGGER}
        table[b"version"] = REDIS_VERSION.encode()
        table[b"version_number"] = version_number(REDIS_VERSION)
        bridge = None if Bridge is None else Bridge(self._runtime, host)
        if bridge is not None:
            table[b"native"] = bridge.functions
        load = self._runtime.eval(b"loadstring")
        core = load(library_chunk("core"))
        self._run_words, run, finish, *others, collect = core(
            self._runtime.table_from(table), for_functions, deprecated_api
        )
        self._load_script, self._load_functions, self._stage, self.forget = others
        if bridge is not None:
            bridge.keep_functions(run, finish)
        #: (number, caller, key_count, request) -> what the run came to
        self.run = self._run_through_lupa if bridge is None else bridge.run
        self._collect = collect
        self._collect_at_bytes = 0
        self.collect()
        #: What the sandbox itself takes.
        self.own_bytes = int(self._runtime.get_memory_used())

    @property
    def memory_bytes(self) -> int:
        """Memory that scripts take."""
        return max(0, int(self._runtime.get_memory_used()) - self.own_bytes)

    def load_script(self, number: int, text: bytes) -> bytes | None:
        """Compiles a script; the problem, or None."""
        problem: bytes | None = self._load_script(number, text)
        return problem

    def load_functions(self, text: bytes) -> bytes | None:
        """Runs the code of a library, which registers its functions; the problem, or None."""
        result = self._load_functions(text)
        return None if result is True else result[1]

    def _run_through_lupa(
        self, number: int, caller: Any, key_count: int, request: list[bytes]
    ) -> Any:
        words = request[3:]
        if len(words) > ARGUMENTS_MAX:
            for are_keys, staged in ((True, words[:key_count]), (False, words[key_count:])):
                for at in range(0, max(1, len(staged)), ARGUMENTS_MAX):
                    self._stage(are_keys, *staged[at : at + ARGUMENTS_MAX])
            words = []
        try:
            return self._run_words(number, caller.protocol, key_count, *words)
        finally:
            if self._runtime.get_memory_used() > self._collect_at_bytes:
                self.collect()

    def step(self) -> None:
        """A part of a collection, as Redis does one now and then: Lua itself would let as much
        garbage come together as the sandbox is large."""
        self._collect(b"step", _STEP_KIB)

    def collect(self) -> None:
        """A full collection of garbage."""
        self._collect(b"collect")
        used_bytes = int(self._runtime.get_memory_used())
        self._collect_at_bytes = SCRIPT_GARBAGE_BYTES_MAX + 2 * used_bytes


def _library(name: bytes) -> bytes:
    return library_chunk(name.decode()) if name.decode() in _LIBRARIES else b""


def version_number(version: str) -> int:
    """7.0.15 as 0x0007000f."""
    major, minor, patch = (int(part) for part in version.split("."))
    return major << 16 | minor << 8 | patch
