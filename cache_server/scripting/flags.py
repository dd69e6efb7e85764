"""What a script says of itself: `#!lua flags=no-writes,allow-stale` on its first line.

Source: https://redis.io/docs/latest/develop/interact/programmability/lua-api/#script_flags.
"""

from __future__ import annotations

from cache_server.errors import CommandError, ProtocolError
from cache_server.wire.inline import split_inline

NO_WRITES = 1
ALLOW_OOM = 2
ALLOW_STALE = 4
NO_CLUSTER = 8
COMPATIBLE = 16  # a script without a first line: as before there were flags
ALLOW_CROSS_SLOT = 32

FLAG_NAMES = {
    b"no-writes": NO_WRITES,
    b"allow-oom": ALLOW_OOM,
    b"allow-stale": ALLOW_STALE,
    b"no-cluster": NO_CLUSTER,
    b"allow-cross-slot-keys": ALLOW_CROSS_SLOT,
}


def shown_flags(flags: int) -> list[bytes]:
    """Their names, in Redis's order."""
    return [name for name, bit in FLAG_NAMES.items() if flags & bit]


def first_line(body: bytes) -> tuple[list[bytes] | None, bytes]:
    """The words of a `#!` line, None where they cannot be told, and what follows it with its line
    end, so that line numbers stay. Raises ValueError where the line has no end."""
    end = body.index(b"\n")
    try:
        return split_inline(body[:end]) or None, body[end:]
    except ProtocolError:
        return None, body[end:]


def script_flags(body: bytes) -> tuple[int, bytes]:
    """(flags, code) of a script for EVAL. Raises CommandError."""
    if not body.startswith(b"#!"):
        return COMPATIBLE, body
    try:
        words, code = first_line(body)
    except ValueError:
        raise CommandError(b"ERR Invalid script shebang") from None
    if words is None:
        raise CommandError(b"ERR Invalid engine in script shebang")
    if words[0] != b"#!lua":
        raise CommandError(b"ERR Unexpected engine in script shebang: " + words[0])
    flags = 0
    for word in words[1:]:
        if not word.startswith(b"flags="):
            raise CommandError(b"ERR Unknown lua shebang option: " + word)
        for name in word[6:].split(b",") if word[6:] else ():
            if name not in FLAG_NAMES:
                raise CommandError(b"ERR Unexpected flag in script shebang: " + name)
            flags |= FLAG_NAMES[name]
    return flags, code
