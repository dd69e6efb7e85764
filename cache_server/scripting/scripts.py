"""Scripts and runs: what EVAL keeps, what is running, and when others are told BUSY.

    Script      the text of an EVAL, its SHA1, its flags, its number in the interpreter
    Scripting   the server's part: the interpreters, the cache of scripts, the libraries, the run

A script runs to its end within one command. One that runs longer than busy-reply-threshold lets the
server answer others (`server.serve_while_busy`): they get BUSY, except for what may be called then,
SCRIPT KILL among it. See docs/decisions/0002-a-busy-script-serves-others.md.

Invariants: `running` is a Run exactly while Lua runs; a script that has written is not killed; a
library is in `functions` whole or not at all.
"""

from __future__ import annotations

import hashlib
import logging
import time
from typing import Any

from cache_server import client as states
from cache_server.commands import table as rows
from cache_server.commands.dispatch import GATE_BUSY, GATE_READONLY, GATE_STALE
from cache_server.constants import SCRIPT_TEXTS_MAX
from cache_server.errors import CommandError, CountedError
from cache_server.scripting.debugging import DebugSessions
from cache_server.scripting.engine import Engine
from cache_server.scripting.flags import (
    ALLOW_OOM,
    ALLOW_STALE,
    COMPATIBLE,
    NO_WRITES,
    script_flags,
)
from cache_server.scripting.functions import Function, Libraries
from cache_server.scripting.host import Host
from cache_server.wire.replies import Raw

log = logging.getLogger("cache_server")

NO_SCRIPT = b"NOSCRIPT No matching script. Please use EVAL."
BUSY_EVAL = (
    b"BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."
)
BUSY_FUNCTION = (
    b"BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE."
)
KILLED = b"ERR Script killed by user with SCRIPT KILL..."
LOAD_TIMEOUT_MS = 500
#: What Redis's dictionaries take for a script besides its text, in bytes (INFO memory).
_SCRIPT_OVERHEAD_BYTES = 120
_MEMORY_READ_RUNS = 64
_STALE = GATE_STALE
_COMPATIBLE, _ALLOW_OOM, _NO_WRITES = COMPATIBLE, ALLOW_OOM, NO_WRITES


class Script:
    """A text that EVAL knows."""

    def __init__(self, body: bytes, sha: bytes, flags: int, number: int) -> None:
        self.body = body
        self.sha = sha
        self.flags = flags
        self.number = number


class Run:
    """What is running: a script by its SHA1, or a function by its name."""

    def __init__(
        self, caller: Any, name: bytes, args: list[bytes], is_eval: bool, began_ns: int
    ) -> None:
        self.caller = caller
        self.name = name
        self.args = args
        self.is_eval = is_eval
        self.began_ns = began_ns
        self.busy = False
        self.killed = False

    @property
    def elapsed_ms(self) -> int:
        return (time.monotonic_ns() - self.began_ns) // 1_000_000


class Scripting:
    """The server's part for scripts."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.dispatcher = server.dispatcher
        self.host = Host(server)
        self.host.interrupt_hook = self._interrupt
        self.scripts: dict[bytes, Script] = {}
        self._texts: dict[bytes, Script] = {}
        #: Clients repeat a script: comparing texts is cheaper than hashing one.
        self._last_text = b""
        self._last_script: Script | None = None
        self._next_number = 1
        self._engine: Engine | None = None
        self.libraries = Libraries(self)
        self.debugging = DebugSessions(self)
        self.running: Run | None = None
        self.scripts_bytes = 0
        self._load_until_ns = 0
        self._runs = 0

    async def start(self) -> None:
        """Interpreters are made when they are first needed."""

    def cron(self, _now_ms: int) -> None:
        self._read_memory()
        self.debugging.reap()

    async def stop(self) -> None:
        """Ends the sessions of the debugger: they are processes."""
        self.debugging.end_all()

    @property
    def engine(self) -> Engine:
        """The interpreter of EVAL."""
        if self._engine is None:
            self._engine = self.new_engine(for_functions=False)
        return self._engine

    def new_engine(self, *, for_functions: bool, debugger: Any = None) -> Engine:
        return Engine(
            self.host,
            for_functions=for_functions,
            deprecated_api=bool(self.server.config.lua_enable_deprecated_api),
            debugger=debugger,
        )

    # -- the cache -----------------------------------------------------------------------------

    def script_of_text(self, body: bytes) -> Script:
        """The script with this text, compiled when it is new. Raises CommandError."""
        if body == self._last_text and self._last_script is not None:
            return self._last_script
        script = self._texts.get(body)
        if script is not None:
            self._last_text, self._last_script = body, script
            return script
        sha = hashlib.sha1(body, usedforsecurity=False).hexdigest().encode()
        script = self.scripts.get(sha)
        if script is None:
            script = self._compile(body, sha)
        if len(self._texts) < SCRIPT_TEXTS_MAX:
            self._texts[body] = script
        return script

    def _compile(self, body: bytes, sha: bytes) -> Script:
        flags, code = script_flags(body)
        number = self.next_number()
        problem = self.engine.load_script(number, code)
        if problem is not None:
            raise CommandError(b"ERR Error compiling script (new function): " + problem)
        script = self.scripts[sha] = Script(body, sha, flags, number)
        self.scripts_bytes += len(body) + len(sha)
        return script

    def script_of_sha(self, sha: bytes) -> Script:
        """A script by its SHA1 in hexadecimal. Raises NOSCRIPT."""
        script = self.scripts.get(sha) or self.scripts.get(sha.lower())
        if script is None:
            raise CommandError(NO_SCRIPT)
        return script

    def next_number(self) -> int:
        """A number for something that can be run."""
        self._next_number += 1
        return self._next_number

    def flush_scripts(self) -> None:
        """Forgets every script, and what they left in the interpreter."""
        self.scripts = {}
        self._texts = {}
        self._last_script = None
        self.scripts_bytes = 0
        self._engine = None
        self._read_memory()

    def flags_of(self, cmd: Any, args: list[bytes]) -> int:
        """A row's flags as the script that is to run changes them. Never raises."""
        flags = self._declared(cmd.name, args)
        if flags is None or flags & COMPATIBLE:
            return int(cmd.flags)
        bits = cmd.flags & ~(rows.STALE | rows.DENYOOM | rows.WRITE | rows.MAY_REPLICATE)
        if not flags & (ALLOW_OOM | NO_WRITES):
            bits |= rows.DENYOOM
        if not flags & NO_WRITES:
            bits |= rows.WRITE
        if flags & ALLOW_STALE:
            bits |= rows.STALE
        return int(bits)

    def _declared(self, name: str, args: list[bytes]) -> int | None:
        if name.startswith("fcall"):
            function = self.libraries.find(args[1])
            return None if function is None else int(function.flags)
        script = self._texts.get(args[1])
        if name.startswith("evalsha"):
            script = self.scripts.get(args[1].lower())
        elif script is None and args[1].startswith(b"#!"):
            try:
                return script_flags(args[1])[0]
            except CommandError:
                return None
        return None if script is None else script.flags

    # -- running -------------------------------------------------------------------------------

    def run_script(
        self,
        ctx: Any,
        script: Script,
        args: list[bytes],
        key_count: int,
        read_only: bool,
        engine: Engine | None = None,
    ) -> Any:
        """Runs a script for a client; its reply. `engine`: another than EVAL's, where the script
        was loaded. Raises CommandError."""
        flags = script.flags
        if flags != _COMPATIBLE or self.dispatcher.gates & _STALE:
            self._check(ctx, flags, read_only)
            if flags != _COMPATIBLE:
                read_only = read_only or bool(flags & _NO_WRITES)
        self.host.begin(ctx, read_only, bool(flags & _ALLOW_OOM))
        run = Run(ctx, script.sha, args, True, self.dispatcher.clock_ns)
        return self._run(run, engine or self._engine or self.engine, script.number, key_count)

    def run_debugged(
        self, ctx: Any, args: list[bytes], key_count: int, read_only: bool, debugger: Any
    ) -> Any:
        """Runs the script of an EVAL in an interpreter of its own, under a debugger. Nobody is
        served meanwhile, however long it takes. Raises CommandError."""
        engine = self.new_engine(for_functions=False, debugger=debugger)
        flags, code = script_flags(args[1])
        problem = engine.load_script(0, code)
        if problem is not None:
            raise CommandError(b"ERR Error compiling script (new function): " + problem)
        sha = hashlib.sha1(args[1], usedforsecurity=False).hexdigest().encode()
        self.host.interrupt_hook = None
        try:
            return self.run_script(
                ctx, Script(args[1], sha, flags, 0), args, key_count, read_only, engine
            )
        finally:
            self.host.interrupt_hook = self._interrupt

    def run_function(
        self, ctx: Any, function: Function, args: list[bytes], key_count: int, read_only: bool
    ) -> Any:
        """Runs a function of a library; its reply. Raises CommandError."""
        flags = function.flags
        self._check(ctx, flags, read_only)
        self.host.begin(ctx, read_only or bool(flags & NO_WRITES), bool(flags & ALLOW_OOM))
        run = Run(ctx, function.name, args, False, self.dispatcher.clock_ns)
        return self._run(run, self.libraries.engine, function.number, key_count)

    def _run(self, run: Run, engine: Engine, number: int, key_count: int) -> Any:
        self.running = run
        try:
            result = engine.run(number, run.caller, key_count, run.args)
        finally:
            self._end_run(run, engine)
        self.dispatcher.clock_ns = run.began_ns
        if type(result) is tuple:
            return self._reply(result, run.name)
        if type(result) is float:
            return integer_reply(result)
        return result

    def _end_run(self, run: Run, engine: Engine) -> None:
        self.running = None
        self.host.end()
        run.caller.propagate_nothing()  # its commands have propagated themselves
        if run.busy:
            self.dispatcher.gates &= ~GATE_BUSY
            self.server.busy_script_ended()
        self._runs += 1
        if self._runs >= _MEMORY_READ_RUNS:
            self._runs = 0
            engine.step()
            self._read_memory()

    @staticmethod
    def _reply(result: tuple[Any, ...], name: bytes) -> Any:
        if result[0]:
            return Raw(result[1])
        _, text, place, counted = result
        if not text and place is not None:
            text, place = b"ERR Error running script %b, %.100b" % (name, place), None
        if place is not None:
            text = b"%b script: %b, on %b." % (text, name, place)
        text = text.strip(b"\r\n").replace(b"\r", b" ").replace(b"\n", b" ")
        raise (CountedError if counted else CommandError)(text)

    def _check(self, ctx: Any, flags: int, read_only: bool) -> None:
        """Whether a script with these flags may run in this state. Raises CommandError."""
        server, gates = self.server, self.dispatcher.gates
        if flags & COMPATIBLE:
            if gates & GATE_STALE:
                raise CommandError(
                    b"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to "
                    b"'no'."
                )
            return
        if gates & GATE_STALE and not flags & ALLOW_STALE:
            raise CommandError(
                b"MASTERDOWN Link with MASTER is down, replica-serve-stale-data is set to 'no' "
                b"and 'allow-stale' flag is not set on the script."
            )
        obeyed = ctx.flags & (states.LEADER | states.REPLAY)
        if not flags & NO_WRITES and not obeyed:
            self._check_writing(gates, read_only)
        if not flags & (ALLOW_OOM | NO_WRITES) and not obeyed and server.out_of_memory():
            raise CommandError(
                b"OOM allow-oom flag is not set on the script, can not run it when used memory > "
                b"'maxmemory'"
            )

    def _check_writing(self, gates: int, read_only: bool) -> None:
        server = self.server
        if gates & GATE_READONLY:
            raise CommandError(b"READONLY Can not run script with write flag on readonly replica")
        try:
            server.check_disk()
        except CommandError:
            raise CommandError(
                b"MISCONF Redis is configured to save RDB snapshots, but it's currently unable to "
                b"persist to disk. Writable scripts are blocked. Use 'no-writes' flag for read "
                b"only scripts."
            ) from None
        if read_only:
            raise CommandError(b"ERR Can not execute a script with write flag using *_ro command.")
        server.check_min_replicas()

    @staticmethod
    def obeys(ctx: Any) -> bool:
        """Whether what the client sends has happened already (the leader's stream, a log)."""
        return bool(ctx.flags & (states.LEADER | states.REPLAY))

    # -- while it runs -------------------------------------------------------------------------

    def _interrupt(self) -> bytes | None:
        """Every 100,000 instructions. The text of the error that is to end the script, or None."""
        run = self.running
        if run is None:
            late = 0 < self._load_until_ns < time.monotonic_ns()
            return b"ERR FUNCTION LOAD timeout" if late else None
        threshold_ms = self.server.config.busy_reply_threshold
        if not run.busy:
            if threshold_ms <= 0 or run.elapsed_ms < threshold_ms:
                return None
            log.warning(
                "Slow script detected: still in execution after %d milliseconds. You can try "
                "killing the script using the %s command. Script name is: %s.",
                run.elapsed_ms,
                "SCRIPT KILL" if run.is_eval else "FUNCTION KILL",
                run.name.decode("latin-1"),
            )
            run.busy = True
            self.dispatcher.gates |= GATE_BUSY
        self._serve_others(run)
        if self.server.finished.done():
            self.server.propagation.pending.clear()  # the process ends within the script
            return KILLED
        if run.killed:
            log.warning("Lua script killed by user with SCRIPT KILL.")
            return KILLED
        return None

    def _serve_others(self, run: Run) -> None:
        keyspace, dispatcher = self.server.keyspace, self.dispatcher
        now_ms, clock_ns, effects = keyspace.now_ms, dispatcher.clock_ns, run.caller.effects
        try:
            self.server.serve_while_busy(run.caller)
        finally:
            keyspace.now_ms, dispatcher.clock_ns = now_ms, clock_ns
            run.caller.effects = effects

    def kill(self, is_eval: bool) -> None:
        """SCRIPT KILL or FUNCTION KILL. Raises CommandError with Redis's reason."""
        run = self.running
        if run is None:
            raise CommandError(b"NOTBUSY No scripts in execution right now.")
        if run.caller.flags & (states.LEADER | states.REPLAY):
            raise CommandError(
                b"UNKILLABLE The busy script was sent by a master instance in the context of "
                b"replication and cannot be killed."
            )
        if self.host.wrote:
            raise CommandError(
                b"UNKILLABLE Sorry the script already executed write commands against the "
                b"dataset. You can either wait the script termination or kill the server in a "
                b"hard way using the SHUTDOWN NOSAVE command."
            )
        if is_eval != run.is_eval:
            raise CommandError(self.busy_text())
        run.killed = True

    def busy_text(self) -> bytes:
        """What clients are told while a script runs too long."""
        return BUSY_EVAL if self.running is None or self.running.is_eval else BUSY_FUNCTION

    # -- loading functions ---------------------------------------------------------------------

    def begin_load(self, limited: bool) -> None:
        """Code of a library runs; `limited` to LOAD_TIMEOUT_MS."""
        self._load_until_ns = time.monotonic_ns() + LOAD_TIMEOUT_MS * 1_000_000 if limited else 0

    def end_load(self) -> None:
        self._load_until_ns = 0

    # -- what INFO says ------------------------------------------------------------------------

    def _read_memory(self) -> None:
        """Tells the gauge what the interpreters hold: maxmemory counts it."""
        self.server.interpreters_hold(self.eval_bytes + self.libraries.engine_bytes)

    @property
    def eval_bytes(self) -> int:
        """Memory of EVAL's interpreter, in bytes."""
        return 0 if self._engine is None else self._engine.memory_bytes

    def info_fields(self) -> dict[str, int]:
        """Fields of INFO memory."""
        functions_bytes = self.libraries.engine_bytes
        cached = self.scripts_bytes + len(self.scripts) * _SCRIPT_OVERHEAD_BYTES
        own = self.libraries.overhead_bytes
        return {
            "used_memory_lua": self.eval_bytes,
            "used_memory_vm_eval": self.eval_bytes,
            "used_memory_scripts_eval": cached,
            "number_of_cached_scripts": len(self.scripts),
            "number_of_functions": len(self.libraries.functions),
            "number_of_libraries": len(self.libraries.libraries),
            "used_memory_vm_functions": functions_bytes,
            "used_memory_vm_total": self.eval_bytes + functions_bytes,
            "used_memory_functions": own,
            "used_memory_scripts": cached + own,
        }


def integer_reply(number: float) -> int:
    """A Lua number as an integer reply: a C cast."""
    if number != number or not -(2.0**63) <= number < 2.0**63:
        return -(2**63)
    return int(number)
