"""The error families.

A command that cannot be carried out raises a `CommandError`; its text is exactly what goes on the
wire after the dash, code first, as Redis words it. A fault in bytes that came from outside and were
not a command (a snapshot, a configuration file) is an `InputError`. Anything else is our own fault
and is neither caught nor translated where it is raised.
"""

from __future__ import annotations


class CommandError(Exception):
    """A refusal to be sent to the client: `text` is the error line without dash and line end."""

    def __init__(self, text: str | bytes) -> None:
        self.text: bytes = text.encode() if isinstance(text, str) else text
        super().__init__(self.text)

    @property
    def code(self) -> str:
        """The first word: ERR, WRONGTYPE, ... (counted in INFO errorstats)."""
        return self.text.split(b" ", 1)[0].decode("ascii", "replace")


class CountedError(CommandError):
    """A refusal that INFO's errorstats know already: it arose in a script, which passes it on."""


class ProtocolError(Exception):
    """Bytes that are no request: the client gets `-ERR Protocol error: text` and is closed."""


class InputError(Exception):
    """A file or stream from outside that fails a check; the text says where and what."""


def wrong_type() -> CommandError:
    """The key holds a value of another type."""
    return CommandError(b"WRONGTYPE Operation against a key holding the wrong kind of value")


def syntax_error() -> CommandError:
    return CommandError(b"ERR syntax error")


def not_an_integer() -> CommandError:
    return CommandError(b"ERR value is not an integer or out of range")


def not_a_float() -> CommandError:
    return CommandError(b"ERR value is not a valid float")


def wrong_arity(name: str) -> CommandError:
    return CommandError(f"ERR wrong number of arguments for '{name}' command")


def no_such_key() -> CommandError:
    return CommandError(b"ERR no such key")
