"""Compiled Lua is looked through before it runs: places of errors, one hole, the sandbox's lines.

Lua 5.1 as it is bundled differs from the one that Redis carries in two ways that scripts can tell,
and both are put right in the compiled chunk, which `string.dump` shows and `loadstring` takes back:

    return redis.call(...)    is a tail call. Redis's `call` is a C function, which leaves the
                              caller's frame alone; ours is written in Lua and takes its place, so
                              an error would no longer know its line. TAILCALL becomes CALL, unless
                              the callee is an upvalue, as in a function that calls itself.
    function(a, b, ...)       with more parameters than the stack has room for writes beyond it
                              (CVE-2014-5461). Such a function asks for the room it needs.

Layout, little-endian, `int` 4 bytes, `size_t` 8, instructions 4, numbers 8 (checked):

    header 12 | function: source, lines 2 x int, upvalues, parameters, vararg, stack (1 byte each)
              | code: int n, n x 4 | constants: int n, type 1 + value | functions: int n, ...
              | line numbers: int n, n x int | local names | upvalue names

Source: lundump.c and lopcodes.h of Lua 5.1.5.
"""

from __future__ import annotations

from array import array
from struct import Struct

HEADER = b"\x1bLua\x51\x00\x01\x04\x08\x04\x08\x00"
STACK_MAX = 250

_GETUPVAL = 4
_CALL = 28
_TAILCALL = 29
_INT = Struct("<i")
_SIZE = Struct("<Q")
#: Instructions that put a value that may be called into their register A.
_LOADS = frozenset([0, 4, 5, 6, 11, 28, 36])


class UnusableError(Exception):
    """A chunk that is not run; the text says why."""


class _Walk:
    """One pass through a chunk; `out` is the chunk as it is to be."""

    def __init__(self, chunk: bytes, tail_calls: bool, lines: bool) -> None:
        self.chunk = chunk
        self.at = len(HEADER)
        self.out = [HEADER]
        self.tail_calls = tail_calls
        self.lines = lines

    def copy(self, size: int) -> None:
        self.out.append(self.chunk[self.at : self.at + size])
        self.at += size

    def count(self, *, copied: bool = True) -> int:
        value = int(_INT.unpack_from(self.chunk, self.at)[0])
        if copied:
            self.copy(4)
        else:
            self.at += 4
        return value

    def string(self) -> None:
        self.copy(8 + _SIZE.unpack_from(self.chunk, self.at)[0])

    def function(self) -> None:
        self.string()
        self.copy(8)
        upvalues, parameters, vararg, stack = self.chunk[self.at : self.at + 4]
        if vararg and parameters:
            stack += parameters
            if stack > STACK_MAX:
                raise UnusableError("function or expression too complex")
        self.out.append(bytes((upvalues, parameters, vararg, stack)))
        self.at += 4
        self.code()
        for _ in range(self.count()):
            self.constant()
        for _ in range(self.count()):
            self.function()
        self.names()

    def code(self) -> None:
        size = 4 * self.count()
        words = array("I", self.chunk[self.at : self.at + size])
        if not self.tail_calls:
            for at, word in enumerate(words):
                if word & 0x3F == _TAILCALL and _loader(words, at) != _GETUPVAL:
                    words[at] = (word & ~0x3F) | _CALL
        self.out.append(words.tobytes())
        self.at += size

    def constant(self) -> None:
        kind = self.chunk[self.at]
        self.copy(1)
        if kind == 4:
            self.string()
        else:
            self.copy({0: 0, 1: 1, 3: 8}[kind])

    def names(self) -> None:
        if self.lines:
            self.copy(4 * self.count())
        else:
            lines = self.count(copied=False)
            self.at += 4 * lines
            self.out.append(_INT.pack(0))
        for _ in range(self.count()):
            self.string()
            self.copy(8)
        for _ in range(self.count()):
            self.string()


def _loader(words: array[int], at: int) -> int:
    """The operation that loaded what the call at `at` calls."""
    register = words[at] >> 6 & 0xFF
    while at > 0:
        at -= 1
        word = words[at]
        if word >> 6 & 0xFF == register and word & 0x3F in _LOADS:
            return word & 0x3F
    return 0


def prepared(chunk: bytes, *, tail_calls: bool = False, lines: bool = True) -> bytes:
    """The chunk as it may run. `tail_calls` keeps them; without `lines` line numbers are dropped.

    Raises UnusableError. A chunk of another machine's layout is returned as it is."""
    if not chunk.startswith(HEADER):
        return chunk
    walk = _Walk(chunk, tail_calls, lines)
    walk.function()
    return b"".join(walk.out)
