"""The debugger of one script: its commands, breakpoints, and what it says.

    client -> *2 $5 break $1 7       a command, as a request of the protocol
    client <- *3 +line +line +line   what it has to say, as an array of simple strings

The script is stopped within its own command: the wire is read and written right here, and whoever
runs the script waits. `lua/debugger.lua` asks `stops` at each line, then `next` what to do until
it may go on; what needs no look at Lua's stack is answered here.

A client that goes away lets the script run to its end.

Source: https://redis.io/docs/latest/develop/interact/programmability/lua-debugging/.
"""

from __future__ import annotations

import time
from typing import Any, Protocol

BREAKPOINTS_MAX = 64
COMMAND_BYTES_MAX = 1 << 20
WORDS_MAX = 1024
WORD_BYTES_MAX = 1024
CONTEXT_LINES = 5
SHOWN_BYTES_MAX = 256
SHOWN_BYTES_LEAST = 60
TIMEOUT_MS = 5000
_HINT = b"<hint> The above reply was trimmed. Use 'maxlen 0' to disable trimming."
_UNKNOWN = b"<error> Unknown Redis Lua debugger command or wrong number of arguments."
_HELP = b"""Redis Lua debugger help:
[h]elp               Show this help.
[s]tep               Run the line and stop at the next one.
[n]ext               The same as step.
[c]ontinue           Run to the next breakpoint.
[l]ist               Show the source around the current line.
[l]ist [line]        Show the source around [line]; 0 is the current one.
[l]ist [line] [ctx]  The same, with [ctx] lines before and after it.
[w]hole              Show the whole source.
[p]rint              Show all local variables.
[p]rint <var>        Show a variable; of the global ones KEYS and ARGV.
[b]reak              Show all breakpoints.
[b]reak <line>       Stop at a line.
[b]reak -<line>      Do not stop at a line any more.
[b]reak 0            Remove all breakpoints.
[t]race              Show a backtrace.
[e]val <code>        Run some Lua code (in a frame of its own).
[r]edis <cmd>        Run a command of Redis.
[m]axlen [len]       Trim replies and values to len bytes; 0 is unlimited.
[a]bort              End the script. In sync mode what it has changed stays.

What a script can call:
redis.debug()        Show values in the debugger.
redis.breakpoint()   Stop at the next line, as at a breakpoint.""".split(b"\n")
_FULL_NAMES = {
    name[:1]: name
    for name in b"help step next continue list whole print break trace eval redis maxlen abort"
    .split()
}  # fmt: skip


class Wire(Protocol):
    """The connection of the one who debugs."""

    def send(self, data: bytes) -> None:
        """Sends all of it; who is gone is sent nothing."""

    def receive(self) -> bytes:
        """What has come, waited for; empty when the other side is gone."""


class RefusedError(Exception):
    """Not a command: the script ends with this text."""


def parse_command(data: bytes) -> list[bytes] | None:
    """The words of a request; None while it is not whole. Raises RefusedError."""
    start = data.find(b"*")
    if start < 0:
        raise RefusedError("protocol error")
    count, at = _number(data, start + 1, WORDS_MAX)
    words: list[bytes] = []
    while count is not None and len(words) < count:
        if at >= len(data):
            return None
        if data[at : at + 1] != b"$":
            raise RefusedError("protocol error")
        size, at = _number(data, at + 1, WORD_BYTES_MAX)
        if size is None or at + size + 2 > len(data):
            return None
        if data[at + size : at + size + 2] != b"\r\n":
            raise RefusedError("protocol error")
        words.append(data[at : at + size])
        at += size + 2
    return None if count is None else words


def _number(data: bytes, at: int, limit: int) -> tuple[int | None, int]:
    """A positive number and where its line ends; None where that has not come."""
    end = data.find(b"\r\n", at)
    if end < 0:
        return None, at
    text = data[at:end]
    if not text.isdigit() or not 0 < int(text[:8]) <= limit:
        raise RefusedError("protocol error")
    return int(text[:8]), end + 2


class Debugger:
    """`threshold_ms`: a script that ran so long without a stop is stopped."""

    def __init__(self, wire: Wire, source: bytes, threshold_ms: int) -> None:
        self._wire = wire
        self._lines = source.rstrip(b"\r\n").split(b"\n")
        self._threshold_ms = threshold_ms if threshold_ms > 0 else TIMEOUT_MS
        self._log: list[bytes] = []
        self._breakpoints: list[int] = []
        self._step = True
        self._break_next = False
        self._line = 0
        self._shown_max = SHOWN_BYTES_MAX
        self._hinted = False
        self._input = b""
        self._gone = False
        self._answering = False
        self._timed_out = False
        self._resumed_ns = time.monotonic_ns()

    # -- what Lua asks -------------------------------------------------------------------------

    def stops(self, line: int, counted: bool) -> bool:
        """Whether the script stops here; `counted`: it is asked for the instructions that have
        run, not for a new line."""
        self._line = int(line)
        at_breakpoint = self._break_next or self._line in self._breakpoints
        reason = b"step over"
        if at_breakpoint:
            called = b"redis.breakpoint() called"
            reason = called if self._break_next else b"break point"
        elif counted and not self._step:
            if (time.monotonic_ns() - self._resumed_ns) // 1_000_000 < self._threshold_ms:
                return False
            reason = b"timeout reached, infinite loop?"
            self._timed_out = True
        elif not self._step:
            return False
        self._step = self._break_next = False
        self.say(b"* Stopped at %d, stop reason = %b" % (self._line, reason))
        self._show_line(self._line)
        self._answering = True
        return True

    def next(self) -> Any:
        """What Lua is to do: ("run",), ("raise", text), or a command that needs its stack. The
        others are answered meanwhile."""
        while True:
            if self._answering:
                self.flush()
            self._answering = True
            try:
                words = self._command()
            except RefusedError as refusal:
                return (b"raise", str(refusal).encode())
            if words is None:
                return self._left()
            name = _FULL_NAMES.get(words[0].lower(), words[0].lower())
            if name in (b"step", b"next", b"continue"):
                self._step = name != b"continue"
                self._answering = False
                self._resumed_ns = time.monotonic_ns()
                return b"run"
            if name == b"abort":
                return (b"raise", b"script aborted for user request")
            if name == b"print":
                return (name, words[1]) if len(words) == 2 else name
            if name == b"eval":
                return (name, b" ".join(words[1:]))
            if name == b"redis" and len(words) > 1:
                self._step = True  # shown, as a step of the script is
                return (name, *words[1:])
            if name == b"trace":
                return name
            self._answer(name, words)

    def show(self, text: bytes, trimmed: bool) -> None:
        """Says what Lua has to say; `trimmed` to what `maxlen` allows."""
        if trimmed and 0 < self._shown_max < len(text):
            self.say(text[: self._shown_max] + b" ...")
            if not self._hinted:
                self._hinted = True
                self.say(_HINT)
        else:
            self.say(text)

    def stepping(self) -> bool:
        """Whether calls and their replies are shown."""
        return self._step

    def breakpoint(self) -> None:
        """redis.breakpoint()"""
        self._break_next = True

    def trace(self, text: bytes, line: int) -> None:
        """One frame of a backtrace."""
        self.say(text)
        self._show_line(int(line))

    # -- the wire ------------------------------------------------------------------------------

    def say(self, text: bytes) -> None:
        """A line of what is sent next."""
        self._log.append(text.replace(b"\r", b" ").replace(b"\n", b" "))

    def flush(self) -> None:
        """Sends what has been said."""
        lines, self._log = self._log, []
        if not self._gone:
            self._wire.send(b"*%d\r\n" % len(lines) + b"".join(b"+%b\r\n" % one for one in lines))

    def _command(self) -> list[bytes] | None:
        while not self._gone:
            if self._input:
                words = parse_command(self._input)
                if words is not None:
                    self._input = b""
                    if self._step:  # what `redis` has set, for its own call alone
                        self._step = False
                    return words
            data = self._wire.receive()
            self._gone = not data
            self._input += data
            if len(self._input) > COMMAND_BYTES_MAX:
                self._input = b""
                raise RefusedError("max client buffer reached")
        return None

    def _left(self) -> Any:
        """The client is gone: the script goes on alone, unless that would be for ever."""
        self._step = self._answering = False
        self._breakpoints = []
        self._resumed_ns = time.monotonic_ns()
        if self._timed_out:
            return (b"raise", b"timeout during Lua debugging with client closing connection")
        return b"run"

    # -- commands that are answered here -------------------------------------------------------

    def _answer(self, name: bytes, words: list[bytes]) -> None:
        if name == b"help":
            self._log += _HELP
        elif name == b"list":
            numbers = [_leading_integer(word) for word in words[1:3]]
            around = numbers[0] if numbers and numbers[0] > 0 else self._line
            self._list(around, numbers[1] if len(numbers) > 1 else CONTEXT_LINES)
        elif name == b"whole":
            self._list(1, len(self._lines))
        elif name == b"break":
            self._break(words[1:])
        elif name == b"maxlen":
            self._maxlen(words[1:])
        else:
            self.say(_UNKNOWN)

    def _show_line(self, number: int) -> None:
        inside = 0 < number <= len(self._lines)
        text = self._lines[number - 1] if inside else b"<out of range source code line>"
        mark = b"->" if number == self._line else b"  "
        mark += b"#" if number in self._breakpoints else b" "
        self.say(b"%b%-3d %b" % (mark, number, text))

    def _list(self, around: int, context: int) -> None:
        first, last = max(1, around - context), min(len(self._lines), around + context)
        for number in range(first, last + 1):
            self._show_line(number)

    def _break(self, words: list[bytes]) -> None:
        if not words and not self._breakpoints:
            self.say(b"No breakpoints set. Use 'b <line>' to add one.")
        elif not words:
            self.say(b"%d breakpoints set:" % len(self._breakpoints))
            for number in self._breakpoints:
                self._show_line(number)
        for word in words:
            try:
                number = int(word)
            except ValueError:
                self.say(b"Invalid argument:'%b'" % word)
                continue
            self._change_breakpoint(number)

    def _change_breakpoint(self, number: int) -> None:
        known = self._breakpoints
        if number == 0:
            known.clear()
            self.say(b"All breakpoints removed.")
        elif number < 0:
            if -number in known:
                known.remove(-number)
                self.say(b"Breakpoint removed.")
            else:
                self.say(b"No breakpoint in the specified line.")
        elif len(known) == BREAKPOINTS_MAX:
            self.say(b"Too many breakpoints set.")
        elif number > len(self._lines):
            self.say(b"Wrong line number.")
        else:
            if number not in known:
                known.append(number)
            self._list(number, 1)

    def _maxlen(self, words: list[bytes]) -> None:
        if len(words) == 1:
            self._hinted = True
            wanted = _leading_integer(words[0])
            self._shown_max = max(SHOWN_BYTES_LEAST, wanted) if wanted else 0
        if self._shown_max:
            self.say(b"<value> replies are truncated at %d bytes." % self._shown_max)
        else:
            self.say(b"<value> replies are unlimited.")


def _leading_integer(word: bytes) -> int:
    """The number that a word is; 0 for no number."""
    try:
        return int(word)
    except ValueError:
        return 0
