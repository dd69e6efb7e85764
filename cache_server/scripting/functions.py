"""Libraries of functions: loaded, listed, dumped, restored; part of the data, unlike scripts.

    Library     #!lua name=...  and the code behind it; what it registered
    Libraries   those in force, with the interpreter they live in

A library is compiled by running its code, which calls redis.register_function. What is loaded is
first built aside and put in force only when nothing collides. Function names know no case.

    dump      F5 string code | F5 string code | ... | version 2 | CRC-64 8, little

Source: https://redis.io/docs/latest/develop/interact/programmability/functions-intro/.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from cache_server.errors import CommandError, InputError
from cache_server.persistence.snapshot_codec import (
    FUNCTION_2,
    Encoder,
    dump_is_intact,
    trailer,
)
from cache_server.persistence.snapshot_reader import Reader, Truncated
from cache_server.scripting.flags import FLAG_NAMES, first_line
from cache_server.structures.glob import match
from replication.checksum import crc64_redis

_NAME = re.compile(rb"[A-Za-z0-9_]+\Z")
_BAD_NAME = (
    b"ERR Library names can only contain letters, numbers, or underscores(_) and must be at least "
    b"one character long"
)
_LIBRARY_OVERHEAD_BYTES = 200
_FUNCTION_OVERHEAD_BYTES = 120


class Function:
    """A function: `number` in the interpreter, `flags` as it was registered."""

    def __init__(self, name: bytes, description: bytes | None, flags: int, number: int) -> None:
        self.name = name
        self.description = description
        self.flags = flags
        self.number = number


class Library:
    """A library while it is loaded and after. `code` is what FUNCTION LOAD was given."""

    def __init__(self, libraries: Libraries, name: bytes, code: bytes) -> None:
        self._libraries = libraries
        self.name = name
        self.code = code
        self.functions: dict[bytes, Function] = {}

    def register(self, name: bytes, description: bytes | None, flags: bytes) -> int:
        """redis.register_function: the function's number. Raises CommandError."""
        bits = 0
        for flag in flags.lower().split(b",") if flags else ():
            if flag not in FLAG_NAMES:
                raise CommandError(b"unknown flag given")
            bits |= FLAG_NAMES[flag]
        if not _NAME.match(name):
            raise CommandError(_BAD_NAME[4:])
        if name in self.functions:
            raise CommandError(b"Function already exists in the library")
        number: int = self._libraries.scripting.next_number()
        self.functions[name] = Function(name, description, bits, number)
        return number


class Libraries:
    """The libraries in force. `scripting` lends interpreters and limits their loading."""

    def __init__(self, scripting: Any) -> None:
        self.scripting = scripting
        self.libraries: dict[bytes, Library] = {}
        #: All functions by their names in lower case.
        self.functions: dict[bytes, Function] = {}
        self._engine: Any = None

    @property
    def engine(self) -> Any:
        """The interpreter of the functions."""
        if self._engine is None:
            self._engine = self.scripting.new_engine(for_functions=True)
        return self._engine

    @property
    def engine_bytes(self) -> int:
        """Memory of that interpreter, in bytes."""
        return 0 if self._engine is None else self._engine.memory_bytes

    @property
    def overhead_bytes(self) -> int:
        """What the libraries take outside of it, in bytes."""
        texts = sum(len(library.code) + len(name) for name, library in self.libraries.items())
        return (
            texts
            + len(self.libraries) * _LIBRARY_OVERHEAD_BYTES
            + len(self.functions) * _FUNCTION_OVERHEAD_BYTES
        )

    def find(self, name: bytes) -> Function | None:
        return self.functions.get(name) or self.functions.get(name.lower())

    # -- loading -------------------------------------------------------------------------------

    def load(self, code: bytes, *, replace: bool, limited: bool = True) -> bytes:
        """FUNCTION LOAD: the library's name. Raises CommandError; nothing has changed then."""
        name, _ = _metadata(code)
        old = self.libraries.get(name)
        if old is not None and not replace:
            raise CommandError(b"ERR Library '%b' already exists" % name)
        library = self._compiled(code, limited)
        others = {key for each in self.libraries.values() if each is not old for key in _keys(each)}
        try:
            _check_names(library, others)
        except CommandError:
            self._forget([library])
            raise
        if old is not None:
            self._unlink(old)
        self._link(library)
        return name

    def _compiled(self, code: bytes, limited: bool) -> Library:
        name, text = _metadata(code)
        library = Library(self, name, code)
        host = self.scripting.host
        host.library = library
        self.scripting.begin_load(limited)
        try:
            problem = self.engine.load_functions(text)
        finally:
            host.library = None
            self.scripting.end_load()
        if problem is None and not library.functions:
            problem = b"No functions registered"
        if problem is not None:
            self._forget([library])
            raise CommandError(b"ERR " + problem.replace(b"\r", b" ").replace(b"\n", b" "))
        return library

    def _link(self, library: Library) -> None:
        self.libraries[library.name] = library
        for name, function in library.functions.items():
            self.functions[name.lower()] = function

    def _unlink(self, library: Library) -> None:
        del self.libraries[library.name]
        for name in library.functions:
            del self.functions[name.lower()]
        self._forget([library])

    def _forget(self, libraries: Iterable[Library]) -> None:
        for library in libraries:
            for function in library.functions.values():
                self.engine.forget(function.number)

    def delete(self, name: bytes) -> None:
        """FUNCTION DELETE. Raises CommandError."""
        library = self.libraries.get(name)
        if library is None:
            raise CommandError(b"ERR Library not found")
        self._unlink(library)

    def flush(self) -> None:
        """FUNCTION FLUSH."""
        self.libraries = {}
        self.functions = {}
        self._engine = None

    # -- dump and restore ----------------------------------------------------------------------

    def codes(self) -> list[bytes]:
        """The code of every library, for a snapshot."""
        return [library.code for library in self.libraries.values()]

    def dump(self) -> bytes:
        """FUNCTION DUMP: the libraries as RESTORE takes them."""
        encoder = Encoder()
        for code in self.codes():
            encoder.function(code)
        payload = bytes(encoder.out) + VERSION
        return payload + trailer(crc64_redis(payload))

    def restore(self, payload: bytes, policy: bytes) -> None:
        """FUNCTION RESTORE with APPEND, REPLACE or FLUSH. Raises CommandError; nothing has changed
        then."""
        if len(payload) < 10 or not dump_is_intact(payload):
            raise CommandError(b"ERR DUMP payload version or checksum are wrong")
        self.install(_codes_of(payload[:-10]), policy)

    def install(self, codes: list[bytes], policy: bytes) -> None:
        """Loads libraries together, as the policy says. Raises CommandError; nothing has changed
        then."""
        new: dict[bytes, Library] = {}
        try:
            for code in codes:
                library = self._compiled(code, limited=False)
                if library.name in new:
                    self._forget([library])
                    raise CommandError(b"ERR Library '%b' already exists" % library.name)
                _check_names(library, {key for each in new.values() for key in _keys(each)})
                new[library.name] = library
            kept = self._kept(new, policy)
        except CommandError:
            self._forget(new.values())
            raise
        for library in list(self.libraries.values()):
            if library.name not in kept:
                self._unlink(library)
        for library in new.values():
            self._link(library)

    def _kept(self, new: dict[bytes, Library], policy: bytes) -> dict[bytes, Library]:
        if policy == b"flush":
            return {}
        kept = {name: each for name, each in self.libraries.items() if name not in new}
        if policy == b"append" and len(kept) < len(self.libraries):
            name = next(name for name in new if name in self.libraries)
            raise CommandError(b"ERR Library %b already exists" % name)
        taken = {key for each in kept.values() for key in _keys(each)}
        for library in new.values():
            _check_names(library, taken)
        return kept

    # -- FUNCTION LIST -------------------------------------------------------------------------

    def matching(self, pattern: bytes | None) -> list[Library]:
        """The libraries whose names match, in no case."""
        if pattern is None:
            return list(self.libraries.values())
        return [each for name, each in self.libraries.items() if match(pattern, name, nocase=True)]


VERSION = b"\x0a\x00"


def _keys(library: Library) -> list[bytes]:
    return [name.lower() for name in library.functions]


def _check_names(library: Library, taken: set[bytes]) -> None:
    for name in library.functions:
        if name.lower() in taken:
            raise CommandError(b"ERR Function %b already exists" % name)


def _metadata(code: bytes) -> tuple[bytes, bytes]:
    """(name, code after the first line). Raises CommandError."""
    if not code.startswith(b"#!"):
        raise CommandError(b"ERR Missing library metadata")
    try:
        words, text = first_line(code)
    except ValueError:
        raise CommandError(b"ERR Invalid library metadata") from None
    if words is None:
        raise CommandError(b"ERR Invalid library metadata")
    name: bytes | None = None
    for word in words[1:]:
        if word[:5].lower() != b"name=":
            raise CommandError(b"ERR Invalid metadata value given: " + word)
        if name is not None:
            raise CommandError(
                b"ERR Invalid metadata value, name argument was given multiple times"
            )
        name = word[5:]
    if name is None:
        raise CommandError(b"ERR Library name was not given")
    if not _NAME.match(name):
        raise CommandError(_BAD_NAME)
    if words[0][2:].lower() != b"lua":
        raise CommandError(b"ERR Engine '%b' not found" % words[0][2:])
    return name, text


def _codes_of(payload: bytes) -> list[bytes]:
    codes = []
    reader = Reader(payload)
    try:
        while reader.position < len(payload):
            if reader.byte() != FUNCTION_2:
                raise CommandError(b"ERR given type is not a function")
            codes.append(reader.string())
    except (InputError, Truncated):
        raise CommandError(b"ERR failed loading the given functions payload") from None
    return codes
