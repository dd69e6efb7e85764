"""EVAL, EVALSHA, FCALL and their read-only forms, SCRIPT, FUNCTION.

A script's own commands are propagated, not the script; libraries of functions are data, so FUNCTION
LOAD, DELETE, FLUSH and RESTORE are propagated as they are.

Source: https://redis.io/docs/latest/develop/interact/programmability/.
"""

from __future__ import annotations

from typing import Any

from cache_server.commands.dispatch import GATE_MONITOR
from cache_server.commands.helping import help_row
from cache_server.commands.table import Command, container_only
from cache_server.datatypes.arguments import integer_or_none
from cache_server.errors import CommandError, not_an_integer
from cache_server.scripting.flags import shown_flags
from cache_server.scripting.scripts import NO_SCRIPT
from cache_server.wire.replies import OK, Map, SetReply, Status

_SHA_BYTES = 40


def _key_count(args: list[bytes]) -> int:
    count = integer_or_none(args[2])
    if count is None:
        raise not_an_integer()
    if count > len(args) - 3:
        raise CommandError(b"ERR Number of keys can't be greater than number of args")
    if count < 0:
        raise CommandError(b"ERR Number of keys can't be negative")
    return count


def _show(ctx: Any, args: list[bytes], scripting: Any) -> None:
    """MONITOR sees a script before its commands."""
    if scripting.dispatcher.gates & GATE_MONITOR:
        ctx.server.feed_monitors(ctx, args)


def eval_command(ctx: Any, args: list[bytes]) -> Any:
    """EVAL script numkeys [key ...] [arg ...]"""
    return _eval(ctx, args, False)


def eval_ro_command(ctx: Any, args: list[bytes]) -> Any:
    """EVAL_RO script numkeys [key ...] [arg ...]"""
    return _eval(ctx, args, True)


def _eval(ctx: Any, args: list[bytes], read_only: bool) -> Any:
    scripting = ctx.server.scripting
    _show(ctx, args, scripting)
    if scripting.debugging.modes and scripting.debugging.mode(ctx):
        return scripting.debugging.eval(ctx, args, read_only, _key_count)
    key_count = _key_count(args)
    script = scripting.script_of_text(args[1])
    return scripting.run_script(ctx, script, args, key_count, read_only)


def evalsha_command(ctx: Any, args: list[bytes]) -> Any:
    """EVALSHA sha1 numkeys [key ...] [arg ...]"""
    return _evalsha(ctx, args, False)


def evalsha_ro_command(ctx: Any, args: list[bytes]) -> Any:
    """EVALSHA_RO sha1 numkeys [key ...] [arg ...]"""
    return _evalsha(ctx, args, True)


def _evalsha(ctx: Any, args: list[bytes], read_only: bool) -> Any:
    scripting = ctx.server.scripting
    _show(ctx, args, scripting)
    if len(args[1]) != _SHA_BYTES:
        raise CommandError(NO_SCRIPT)
    if scripting.debugging.modes and scripting.debugging.mode(ctx):
        raise CommandError(b"ERR Please use EVAL instead of EVALSHA for debugging")
    key_count = _key_count(args)
    script = scripting.script_of_sha(args[1])
    return scripting.run_script(ctx, script, args, key_count, read_only)


def fcall_command(ctx: Any, args: list[bytes]) -> Any:
    """FCALL function numkeys [key ...] [arg ...]"""
    return _fcall(ctx, args, False)


def fcall_ro_command(ctx: Any, args: list[bytes]) -> Any:
    """FCALL_RO function numkeys [key ...] [arg ...]"""
    return _fcall(ctx, args, True)


def _fcall(ctx: Any, args: list[bytes], read_only: bool) -> Any:
    scripting = ctx.server.scripting
    _show(ctx, args, scripting)
    function = scripting.libraries.find(args[1])
    if function is None:
        raise CommandError(b"ERR Function not found")
    if integer_or_none(args[2]) is None:
        raise CommandError(b"ERR Bad number of keys provided")
    key_count = _key_count(args)
    return scripting.run_function(ctx, function, args, key_count, read_only)


# -- SCRIPT ----------------------------------------------------------------------------------------


def _usage(container: str, word: bytes) -> CommandError:
    return CommandError(
        b"ERR unknown subcommand or wrong number of arguments for '%b'. Try %b HELP."
        % (word[:128], container.encode())
    )


def script_load_command(ctx: Any, args: list[bytes]) -> Any:
    """SCRIPT LOAD script"""
    return ctx.server.scripting.script_of_text(args[2]).sha


def script_exists_command(ctx: Any, args: list[bytes]) -> Any:
    """SCRIPT EXISTS sha1 [sha1 ...]"""
    scripts = ctx.server.scripting.scripts
    return [int(sha.lower() in scripts) for sha in args[2:]]


def script_flush_command(ctx: Any, args: list[bytes]) -> Any:
    """SCRIPT FLUSH [ASYNC|SYNC]: the interpreter is dropped either way."""
    if len(args) > 3 or (len(args) == 3 and args[2].lower() not in (b"sync", b"async")):
        raise CommandError(b"ERR SCRIPT FLUSH only support SYNC|ASYNC option")
    ctx.server.scripting.flush_scripts()
    return OK


def script_kill_command(ctx: Any, args: list[bytes]) -> Any:
    """SCRIPT KILL"""
    ctx.server.scripting.kill(is_eval=True)
    return OK


def script_debug_command(ctx: Any, args: list[bytes]) -> Any:
    """SCRIPT DEBUG YES|SYNC|NO: whether the client's next EVAL stops at its lines."""
    mode = args[2].lower()
    if ctx.channel is not None and len(ctx.channel.writer):
        raise CommandError(b"ERR SCRIPT DEBUG must be called outside a pipeline")
    if mode not in (b"no", b"yes", b"sync"):
        raise CommandError(b"ERR Use SCRIPT DEBUG YES/SYNC/NO")
    ctx.server.scripting.debugging.choose(ctx, mode.decode())
    return OK


# -- FUNCTION --------------------------------------------------------------------------------------


def function_load_command(ctx: Any, args: list[bytes]) -> Any:
    """FUNCTION LOAD [REPLACE] code"""
    replace = False
    for word in args[2:-1]:
        if word.lower() != b"replace":
            raise CommandError(b"ERR Unknown option given: " + word)
        replace = True
    obeyed = ctx.server.scripting.obeys(ctx)
    name = ctx.server.scripting.libraries.load(args[-1], replace=replace, limited=not obeyed)
    ctx.keyspace.dirty += 1
    return name


def function_delete_command(ctx: Any, args: list[bytes]) -> Any:
    """FUNCTION DELETE library"""
    ctx.server.scripting.libraries.delete(args[2])
    ctx.keyspace.dirty += 1
    return OK


def function_flush_command(ctx: Any, args: list[bytes]) -> Any:
    """FUNCTION FLUSH [ASYNC|SYNC]: the interpreter is dropped either way."""
    if len(args) > 3:
        raise _usage("FUNCTION", args[1])
    if len(args) == 3 and args[2].lower() not in (b"sync", b"async"):
        raise CommandError(b"ERR FUNCTION FLUSH only supports SYNC|ASYNC option")
    ctx.server.scripting.libraries.flush()
    ctx.keyspace.dirty += 1
    return OK


def function_dump_command(ctx: Any, args: list[bytes]) -> Any:
    """FUNCTION DUMP"""
    return ctx.server.scripting.libraries.dump()


def function_restore_command(ctx: Any, args: list[bytes]) -> Any:
    """FUNCTION RESTORE payload [FLUSH|APPEND|REPLACE]"""
    if len(args) > 4:
        raise _usage("FUNCTION", args[1])
    policy = args[3].lower() if len(args) == 4 else b"append"
    if policy not in (b"append", b"replace", b"flush"):
        raise CommandError(
            b"ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE."
        )
    ctx.server.scripting.libraries.restore(args[2], policy)
    ctx.keyspace.dirty += 1
    return OK


def function_list_command(ctx: Any, args: list[bytes]) -> Any:
    """FUNCTION LIST [LIBRARYNAME pattern] [WITHCODE]"""
    pattern: bytes | None = None
    with_code = False
    index = 2
    while index < len(args):
        word = args[index].lower()
        if word == b"withcode" and not with_code:
            with_code = True
        elif word == b"libraryname" and pattern is None:
            index += 1
            if index == len(args):
                raise CommandError(b"ERR library name argument was not given")
            pattern = args[index]
        else:
            raise CommandError(b"ERR Unknown argument " + args[index])
        index += 1
    shown = []
    for library in ctx.server.scripting.libraries.matching(pattern):
        row = Map([b"library_name", library.name, b"engine", b"LUA", b"functions"])
        row.append([_described(function) for function in library.functions.values()])
        if with_code:
            row += [b"library_code", library.code]
        shown.append(row)
    return shown


def _described(function: Any) -> Map:
    flags = SetReply(Status(name) for name in shown_flags(function.flags))
    return Map([b"name", function.name, b"description", function.description, b"flags", flags])


def function_kill_command(ctx: Any, args: list[bytes]) -> Any:
    """FUNCTION KILL"""
    ctx.server.scripting.kill(is_eval=False)
    return OK


def function_stats_command(ctx: Any, args: list[bytes]) -> Any:
    """FUNCTION STATS: what is running, and how much there is."""
    scripting = ctx.server.scripting
    run = scripting.running
    if run is not None and run.is_eval:
        raise CommandError(scripting.busy_text())
    running = None
    if run is not None:
        running = Map([b"name", run.name, b"command", list(run.args)])
        running += [b"duration_ms", run.elapsed_ms]
    libraries = scripting.libraries
    counts = Map([b"libraries_count", len(libraries.libraries)])
    counts += [b"functions_count", len(libraries.functions)]
    return Map([b"running_script", running, b"engines", Map([b"LUA", counts])])


_RUNS = "noscript stale skip_monitor no_mandatory_keys movablekeys"
_SCRIPT_HELP = help_row(
    "SCRIPT",
    "DEBUG (YES|SYNC|NO)",
    "    Set the debug mode for subsequent scripts executed.",
    "EXISTS <sha1> [<sha1> ...]",
    "    Tell which of the scripts are known.",
    "FLUSH [ASYNC|SYNC]",
    "    Forget all scripts.",
    "KILL",
    "    Kill the script that is running.",
    "LOAD <script>",
    "    Make a script known without running it.",
    group="scripting",
    since="5.0.0",
)
_FUNCTION_HELP = help_row(
    "FUNCTION",
    "DELETE <LIBRARY NAME>",
    "    Delete a library.",
    "DUMP",
    "    Return all libraries as FUNCTION RESTORE takes them.",
    "FLUSH [ASYNC|SYNC]",
    "    Delete all libraries.",
    "KILL",
    "    Kill the function that is running.",
    "LIST [LIBRARYNAME PATTERN] [WITHCODE]",
    "    Return the libraries, their functions and, if asked for, their code.",
    "LOAD [REPLACE] <FUNCTION CODE>",
    "    Load a library, in place of one of the same name if so asked.",
    "RESTORE <PAYLOAD> [FLUSH|APPEND|REPLACE]",
    "    Load the libraries of FUNCTION DUMP: in place of all (FLUSH), besides those that are",
    "    there (APPEND, the default), or in place of those of the same names (REPLACE).",
    "STATS",
    "    Return what is running, and how many libraries and functions there are.",
    group="scripting",
    since="7.0.0",
)


def _row(name: str, arity: int, flags: str, handler: Any, summary: str, **more: Any) -> Command:
    more.setdefault("group", "scripting")
    more.setdefault("since", "7.0.0")
    return Command(name, arity, flags, handler, summary=summary, **more)


def _runner(name: str, handler: Any, summary: str, *, read_only: bool, since: str) -> Command:
    flags = ("readonly " if read_only else "may_replicate ") + _RUNS
    return _row(
        name,
        -3,
        flags,
        handler,
        summary,
        keys=_keys,
        since=since,
        complexity=f"Depends on the {'function' if name[0] == 'f' else 'script'} that is executed.",
        categories="scripting" if read_only else "",
    )


def _keys(args: list[bytes]) -> list[int]:
    """Key positions; none where the count is none."""
    count = integer_or_none(args[2])
    if count is None or count < 1 or count > len(args) - 3:
        return []
    return list(range(3, 3 + count))


COMMANDS = [
    _runner("eval", eval_command, "Execute a Lua script server side", read_only=False,
            since="2.6.0"),
    _runner("evalsha", evalsha_command, "Execute a Lua script server side", read_only=False,
            since="2.6.0"),
    _runner("eval_ro", eval_ro_command, "Execute a read-only Lua script server side",
            read_only=True, since="7.0.0"),
    _runner("evalsha_ro", evalsha_ro_command, "Execute a read-only Lua script server side",
            read_only=True, since="7.0.0"),
    _runner("fcall", fcall_command, "Invoke a function", read_only=False, since="7.0.0"),
    _runner("fcall_ro", fcall_ro_command, "Invoke a read-only function", read_only=True,
            since="7.0.0"),
    _row("script", -2, "", container_only, "A container for Lua scripts management commands",
         since="2.6.0", complexity="Depends on subcommand.", subcommands=[
             _row("debug", 3, "noscript", script_debug_command,
                  "Set the debug mode for executed scripts.", since="3.2.0"),
             _row("exists", -3, "noscript", script_exists_command,
                  "Check existence of scripts in the script cache.", since="2.6.0",
                  complexity="O(N) with N being the number of scripts to check (so checking a "
                  "single script is an O(1) operation)."),
             _row("flush", -2, "noscript", script_flush_command,
                  "Remove all the scripts from the script cache.", since="2.6.0",
                  complexity="O(N) with N being the number of scripts in cache"),
             _SCRIPT_HELP,
             _row("kill", 2, "noscript allow_busy", script_kill_command,
                  "Kill the script currently in execution.", since="2.6.0"),
             _row("load", 3, "noscript stale", script_load_command,
                  "Load the specified Lua script into the script cache.", since="2.6.0",
                  complexity="O(N) with N being the length in bytes of the script body."),
         ]),
    _row("function", -2, "", container_only, "A container for function commands",
         complexity="Depends on subcommand.", subcommands=[
             _row("delete", 3, "write noscript", function_delete_command,
                  "Delete a function by name"),
             _row("dump", 2, "noscript", function_dump_command,
                  "Dump all functions into a serialized binary payload",
                  complexity="O(N) where N is the number of functions"),
             _row("flush", -2, "write noscript", function_flush_command,
                  "Deleting all functions",
                  complexity="O(N) where N is the number of functions deleted"),
             _FUNCTION_HELP,
             _row("kill", 2, "noscript allow_busy", function_kill_command,
                  "Kill the function currently in execution."),
             _row("list", -2, "noscript", function_list_command,
                  "List information about all the functions",
                  complexity="O(N) where N is the number of functions"),
             _row("load", -3, "write denyoom noscript", function_load_command,
                  "Create a function with the given arguments (name, code, description)",
                  complexity="O(1) (considering compilation time is redundant)"),
             _row("restore", -3, "write denyoom noscript", function_restore_command,
                  "Restore all the functions on the given payload",
                  complexity="O(N) where N is the number of functions on the payload"),
             _row("stats", 2, "noscript allow_busy", function_stats_command,
                  "Return information about the function currently running (name, "
                  "description, duration)"),
         ]),
]  # fmt: skip
