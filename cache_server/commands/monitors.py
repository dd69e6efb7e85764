"""MONITOR's audience, and what is kept out of every log: passwords.

1795310557.928737 [0 127.0.0.1:51234] "set" "k" "v\\x00"
"""

from __future__ import annotations

from typing import Any

from cache_server import client as states
from cache_server.wire.replies import Status

_ESCAPES = {
    0x5C: "\\\\",
    0x22: '\\"',
    0x0A: "\\n",
    0x0D: "\\r",
    0x09: "\\t",
    0x07: "\\a",
    0x08: "\\b",
}
REDACTED = b"(redacted)"
#: Settings whose values are passwords, or names that go with one.
_SECRETS = frozenset(
    (
        *(b"requirepass", b"masterauth", b"masteruser"),
        *(b"tls-key-file-pass", b"tls-client-key-file-pass"),
    )
)


def quoted(word: bytes) -> str:
    """A word in double quotes, with escapes for what is not printable ASCII."""
    shown = []
    for byte in word:
        if byte in _ESCAPES:
            shown.append(_ESCAPES[byte])
        else:
            shown.append(chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}")
    return '"' + "".join(shown) + '"'


def redacted(args: list[bytes]) -> list[bytes]:
    """The request without its secrets."""
    name = args[0].lower()
    if name == b"auth":
        return [args[0], *[REDACTED] * (len(args) - 1)]
    if name == b"hello":
        return _redact_after(args, b"auth", 2)
    if name == b"config" and len(args) > 3 and args[1].lower() == b"set":
        shown = list(args)
        for index in range(3, len(shown), 2):
            if shown[index - 1].lower() in _SECRETS:
                shown[index] = REDACTED
        return shown
    if name == b"acl" and len(args) > 2 and args[1].lower() == b"setuser":
        return [*args[:2], *[REDACTED] * (len(args) - 2)]
    if name == b"migrate":
        return _redact_after(_redact_after(args, b"auth", 1), b"auth2", 2)
    return args


def _redact_after(args: list[bytes], option: bytes, count: int) -> list[bytes]:
    shown = list(args)
    for index, arg in enumerate(args):
        if arg.lower() == option:
            for place in range(index + 1, min(index + 1 + count, len(shown))):
                shown[place] = REDACTED
    return shown


class Monitors:
    """Clients that see every request. `changed(any_left)` is called when the first comes, the last
    goes."""

    def __init__(self, changed: Any) -> None:
        self._clients: dict[Any, None] = {}
        self._changed = changed

    def add(self, client: Any) -> None:
        client.flags |= states.MONITOR
        self._clients[client] = None
        self._changed(True)

    def remove(self, client: Any) -> None:
        """Forgets a client, monitor or not."""
        client.flags &= ~states.MONITOR
        if client in self._clients:
            del self._clients[client]
            self._changed(bool(self._clients))

    def feed(self, client: Any, args: list[bytes], now_ns: int) -> None:
        """Shows a request to all of them."""
        stamp = f"{now_ns // 10**9}.{now_ns // 1000 % 10**6:06d}"
        peer = (
            "unix:" + client.local.rsplit(":", 1)[0] if client.peer.startswith("/") else client.peer
        )
        words = " ".join(quoted(arg) for arg in redacted(args))
        line = Status(f"{stamp} [{client.db.index} {peer}] {words}".encode("latin-1"))
        for monitor in self._clients:
            monitor.push(line)
