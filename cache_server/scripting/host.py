"""The host's side of the bridge: what the Lua side calls, and the run that is in progress.

    Lua: redis.call(...)  ->  Host.call(*args)  ->  Dispatcher.call  ->  handler  ->  replies.to_lua

One host stands for all interpreters, as only one script runs at a time. The commands of a script
run through the dispatcher's `call` with a client of their own (SCRIPT, DENY_BLOCKING) in the unit
of the caller, so that only their effects travel, and whole. While a script runs the clock stands
still.

Invariant: `caller` is a client exactly while a script runs; nothing that Lua hands over is trusted
to be of any type.
"""

from __future__ import annotations

import hashlib
import logging
from typing import Any

from cache_server import client as states
from cache_server.client import Client
from cache_server.commands import table as rows
from cache_server.commands.dispatch import (
    GATE_DISK_ERROR,
    GATE_LEASE,
    GATE_MEMORY,
    GATE_MIN_REPLICAS,
    GATE_MONITOR,
    GATE_READONLY,
    GATE_STALE,
)
from cache_server.errors import CommandError
from cache_server.observe.logs import VERBOSE
from cache_server.scripting import binary
from cache_server.scripting.bytecode import UnusableError, prepared
from cache_server.scripting.replies import ERROR, MISUSE, next_portion, to_lua

log = logging.getLogger("cache_server")

_SCRIPT = states.SCRIPT | states.DENY_BLOCKING
_RESTRICTED, _TRACKING = states.RESTRICTED, states.TRACKING
_WRITE, _READONLY, _NOSCRIPT = rows.WRITE, rows.READONLY, rows.NOSCRIPT
_MEMORY = GATE_MEMORY
_INHERITED = states.LEADER | states.REPLAY | states.RESTRICTED
READONLY = b"READONLY You can't write against a read only replica."
OUT_OF_MEMORY = b"OOM command not allowed when used memory > 'maxmemory'."
NO_ARGUMENTS = b"Please specify at least one argument for this redis lib call"
BAD_ARGUMENTS = b"Lua redis lib command arguments must be strings or integers"
UNKNOWN_COMMAND = b"ERR Unknown Redis command called from script"
WRONG_ARITY = b"ERR Wrong number of args calling Redis command from script"
NOT_ALLOWED = b"ERR This Redis command is not allowed from script"
REPL_FOLLOWERS = 2
REPL_ALL = 3
_FOLLOWERS, _ALL = REPL_FOLLOWERS, REPL_ALL

_LEVELS = (logging.DEBUG, VERBOSE, logging.INFO, logging.WARNING)
_RANDOM_STEP, _RANDOM_ADD, _RANDOM_MASK = 0x5DEECE66D, 0xB, (1 << 48) - 1


class _Voice:
    """Stands in for the channel of the client as which a script's commands run: it knows the
    protocol version that redis.setresp chose, and says nothing to anybody."""

    def __init__(self) -> None:
        self.protocol = 2
        self.gate: Any = None
        self.writer = self
        self.output_bytes = 0

    def write(self, _value: Any) -> None:
        """A script's client is sent no messages."""

    def output_added(self) -> None:
        """There is none."""


class Host:
    """`server` has dispatcher, keyspace, propagation and the checks behind the gates."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.dispatcher = server.dispatcher
        self.keyspace = server.keyspace
        self.propagation = server.propagation
        self.client = Client(server, server.keyspace.databases[0], 0)
        self.voice = _Voice()
        self.client.channel = self.client.connection = self.voice
        self.client.flags = states.SCRIPT | states.DENY_BLOCKING
        self.client.peer = "lua"
        #: NOSCRIPT commands are allowed too (DEBUG SET-DISABLE-DENY-SCRIPTS).
        self.deny_nothing = False
        self.caller: Any = None
        self.read_only = self.allow_oom = self.wrote = self.full = False
        self.replicate = REPL_ALL
        self.now_ms = 0
        self.stream: list[Any] = []
        self.staged: list[Any] = []
        self.interrupt_hook: Any = None
        self.library: Any = None
        self._random = server.keyspace.rng.getrandbits(48)

    # -- a run ---------------------------------------------------------------------------------

    def begin(self, caller: Any, read_only: bool, allow_oom: bool) -> None:
        """A script starts for `caller`."""
        client = self.client
        client.db = caller.db
        client.user = caller.user
        self.voice.protocol = 2
        client.flags = _SCRIPT | caller.flags & _INHERITED
        self.caller = caller
        self.read_only = read_only
        self.allow_oom = allow_oom
        self.wrote = False
        self.replicate = _ALL
        self.now_ms = self.keyspace.now_ms
        if self.dispatcher.gates & _MEMORY:
            self.full = not allow_oom and self.server.out_of_memory()

    def end(self) -> None:
        """The script is over."""
        self.caller = None
        if self.stream:
            self.stream.clear()
        if self.staged:
            self.staged.clear()

    # -- redis.call ----------------------------------------------------------------------------

    def call(self, *args: Any) -> Any:
        """Runs a command of the script; the answer as `replies.to_lua` says."""
        return self.answer(list(args))

    def answer(self, request: list[Any]) -> Any:
        """`call`, with the arguments in a list that becomes the request."""
        if self.caller is None:
            return (b"redis.call/pcall can only be called inside a script invocation", MISUSE)
        for index in range(len(request)):
            if type(request[index]) is not bytes:
                word = _word(request[index])
                if word is None:
                    return (BAD_ARGUMENTS, MISUSE)
                request[index] = word
        if not request:
            return (NO_ARGUMENTS, MISUSE)
        cmd = self.dispatcher.lookup.get(request[0])
        if cmd is None or cmd.subcommands is not None:
            cmd = self._find(request)
        refusal = None
        if cmd is None:
            refusal = UNKNOWN_COMMAND
        elif not cmd.accepts(len(request)) or (
            cmd.subcommands is not None and cmd.handler is rows.container_only
        ):
            refusal = WRONG_ARITY
        elif cmd.flags & _NOSCRIPT and not self.deny_nothing:
            refusal = NOT_ALLOWED
        elif self.dispatcher.gates or self.read_only or self.client.flags & _RESTRICTED:
            refusal = self._refusal(cmd, request)
        if refusal is not None:
            return self._refuse(cmd, refusal)
        if cmd is None:
            return None
        if cmd.flags & _WRITE:
            self.wrote = True
        if self.replicate & _FOLLOWERS:
            value = self.dispatcher.call(self.client, cmd, request)
        else:
            value = self._call_unseen(cmd, request)
        self.keyspace.now_ms = self.now_ms
        if self.caller.flags & _TRACKING and cmd.flags & _READONLY:
            self.server.tracking.script_read(self.caller)
        if type(value) is bytes:
            return value
        return to_lua(value, self.voice.protocol, self.stream)

    def _find(self, request: list[bytes]) -> Any:
        """The row of a request; None for an unknown one."""
        try:
            return self.dispatcher.find(request)
        except CommandError:
            return None

    def _call_unseen(self, cmd: Any, request: list[bytes]) -> Any:
        """A command whose effects stay here (redis.set_repl)."""
        known = len(self.propagation.pending)
        value = self.dispatcher.call(self.client, cmd, request)
        del self.propagation.pending[known:]
        return value

    def stage(self, *args: Any) -> None:
        """A portion of the arguments of a call that has very many."""
        self.staged += args

    def call_staged(self) -> Any:
        """The call with the arguments that were staged."""
        args, self.staged = self.staged, []
        return self.call(*args)

    def more(self) -> tuple[Any, ...]:
        """The next tokens of a long reply."""
        return next_portion(self.stream)

    def _refuse(self, cmd: Any, text: bytes) -> tuple[bytes, int]:
        if cmd is not None:
            cmd.rejected += 1
        self.server.stats.count_error(CommandError(text))
        return (text, ERROR)

    def _refusal(self, cmd: Any, request: list[bytes]) -> bytes | None:
        """Why a command may not run in this state of the server, of the script, of the user."""
        gates = self.dispatcher.gates
        try:
            if gates & GATE_STALE and not cmd.flags & rows.STALE:
                return b"ERR Can not execute the command on a stale replica"
            self.server.check_script_permission(self.client, cmd, request)
            if self.read_only and cmd.flags & (rows.WRITE | rows.MAY_REPLICATE):
                return b"ERR Write commands are not allowed from read-only scripts."
            obeyed = self.caller.flags & (states.LEADER | states.REPLAY)
            if cmd.flags & rows.WRITE and not self.wrote and not obeyed:
                self._check_write(gates)
            if gates & GATE_MEMORY and self.full and not obeyed and not self.wrote:
                needs_memory = cmd.flags & rows.DENYOOM and not self.allow_oom
                if needs_memory:
                    return OUT_OF_MEMORY
            if gates & GATE_MONITOR and not cmd.flags & (rows.SKIP_MONITOR | rows.ADMIN):
                self.server.feed_monitors(self.client, request)
        except CommandError as error:
            return error.text
        return None

    def _check_write(self, gates: int) -> None:
        if gates & GATE_READONLY:
            raise CommandError(READONLY)
        if gates & GATE_DISK_ERROR:
            self.server.check_disk()
        if gates & GATE_MIN_REPLICAS:
            self.server.check_min_replicas()
        if gates & GATE_LEASE:
            self.server.check_lease()

    # -- the other functions of `redis` --------------------------------------------------------

    def interrupt(self) -> bytes | None:
        """Every so many instructions: the text of the error that ends the script, or None."""
        text: bytes | None = None if self.interrupt_hook is None else self.interrupt_hook()
        return text

    def set_resp(self, version: int) -> None:
        self.voice.protocol = version

    def set_repl(self, flags: int) -> None:
        self.replicate = flags

    def sha1(self, text: bytes) -> bytes:
        return hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()

    def log(self, level: int, text: bytes) -> None:
        """redis.log; the level is one of four."""
        log.log(_LEVELS[int(level)], "%s", text.decode("utf-8", "backslashreplace"))

    def check_acl(self, *args: Any) -> Any:
        """redis.acl_check_cmd: (allowed, problem)."""
        if not args:
            return (None, NO_ARGUMENTS)
        request = [arg if type(arg) is bytes else _word(arg) for arg in args]
        if None in request:
            return (None, BAD_ARGUMENTS)
        cmd = self._find(request)  # type: ignore[arg-type]
        if cmd is None:
            return (None, b"Invalid command passed to redis.acl_check_cmd()")
        try:
            self.server.check_script_permission(self.client, cmd, request)
        except CommandError:
            return False
        return True

    def random(self) -> float:
        """The next of drand48's numbers, in [0, 1), the same on every machine for a seed."""
        self._random = (self._random * _RANDOM_STEP + _RANDOM_ADD) & _RANDOM_MASK
        limit = 2**31 - 1
        return float((self._random >> 17) % limit) / limit

    def seed(self, number: float) -> None:
        self._random = ((binary.integer_of(number) & 0xFFFFFFFF) << 16) + 0x330E

    def prepare(self, chunk: bytes) -> Any:
        """A chunk that was compiled, as it may run."""
        try:
            return prepared(chunk)
        except UnusableError as error:
            return (False, str(error).encode())

    def register(self, name: bytes, description: Any, flags: bytes) -> Any:
        """redis.register_function: the function's number, or (None, problem)."""
        if self.library is None:
            return (None, b"redis.register_function can only be called on FUNCTION LOAD command")
        try:
            number: int = self.library.register(name, description or None, flags)
        except CommandError as error:
            return (None, error.text)
        return number

    # -- struct and bit ------------------------------------------------------------------------

    def struct_pack(self, *args: Any) -> Any:
        return _guarded(binary.pack, args)

    def struct_unpack(self, *args: Any) -> Any:
        result = _guarded(binary.unpack, args)
        return (True, *result[1]) if result[0] else result

    def struct_size(self, *args: Any) -> Any:
        return _guarded(binary.size_of, args)

    def bit_operation(self, *args: Any) -> Any:
        return binary.bit_operation(*args)

    def double_bytes(self, number: float) -> bytes:
        return binary.double_bytes(number)

    def bytes_double(self, data: bytes) -> float:
        return binary.bytes_double(data)


def _word(arg: Any) -> bytes | None:
    """A number of Lua's as a command's argument; None for what is no string or number."""
    kind = type(arg)
    if kind is bytes:
        return arg  # type: ignore[no-any-return]
    if kind is int:
        return b"%d" % arg if -(10**17) < arg < 10**17 else b"%.17g" % arg
    return b"%.17g" % arg if kind is float else None


def _guarded(function: Any, args: tuple[Any, ...]) -> Any:
    try:
        return (True, function(*args))
    except binary.RefusedError as error:
        return (False, str(error).encode("latin-1"))
