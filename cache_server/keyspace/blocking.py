"""Clients that wait: for a key to hold something (BLPOP, BZPOPMIN ...), or for an event (WAIT).

Problem. A blocking command that finds nothing has to be answered later, in the order in which the
clients came, exactly once, and with the same effects as if it had been sent at that moment.

Idea. What waits is a request, not a half-run command. A handler tries; finding nothing it calls
`wait_for_keys`, which parks the client and returns what the handler has to return. When a key that
somebody waits for appears, the keyspace reports it (`key_ready`), and once the unit that made it
has gone out (`serve`), the waiting requests are run again in order through `dispatcher.call`, as
non-blocking attempts, so that counters, propagation and WATCH see an ordinary command. An attempt
that finds nothing calls `wait_for_keys` again and gets NO_REPLY: the client keeps its place.

    request -> handler -> nothing there -> wait_for_keys -> NO_REPLY, channel stopped
                                                |
    LPUSH key -> Database.ready -> key_ready -> dispatcher.ready_keys -> serve -> handler -> reply
    timeout, CLIENT UNBLOCK, change of role ------------------------------------> unblock -> reply

An attempt is made for the key that is ready and for a value of the type waited for: a key of
another type leaves the client waiting, and `retry(key)` gives the request to run, reduced to that
key. A client that relies on the value that is there (XREADGROUP on a group) waits in `db.relied_on`
too: the keyspace reports its key also when the value goes, and the client is answered with `gone`.

Invariants: a client has BLOCKED set, STOP_BLOCKED set on its channel, and `client.blocked` not
None exactly while it is in `waiting`; `db.blocked[key]` and `db.relied_on[key]` are never empty,
and their order is that of arrival; serving is never entered twice: what becomes ready meanwhile is
served by the same loop.

Source: https://redis.io/docs/latest/commands/blpop/ (section on priority and order of service).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from cache_server import client as states
from cache_server.errors import CommandError
from cache_server.wire.replies import NO_REPLY, NULL_ARRAY

#: Clients in these states never wait: a transaction, a script, the leader's stream, a replay.
_NEVER_WAITS = states.MULTI | states.IN_EXEC | states.DENY_BLOCKING | states.LEADER | states.REPLAY

_INT64_MAX = 2**63 - 1


class Waiting:
    """One parked client. `kind` is the class of value waited for, None for any."""

    def __init__(
        self,
        client: Any,
        kind: type | None,
        keys: list[bytes],
        retry: Callable[[bytes], list[bytes]] | None,
        on_timeout: Callable[[], Any],
        gone: CommandError | None = None,
    ) -> None:
        self.client = client
        self.db = client.db
        self.cmd = client.last_command
        self.kind = kind
        self.keys = keys
        self.retry = retry
        self.on_timeout = on_timeout
        self.gone = gone
        self.timer: Any = None


class Blocking:
    """All waiting clients of a server.

    `call_later(seconds, function, *args)` returns a handle with `cancel()`; `resume(client)` lets a
    client go on with its further requests, later in this turn of the loop or in the next."""

    def __init__(
        self,
        dispatcher: Any,
        call_later: Callable[..., Any],
        resume: Callable[[Any], None],
    ) -> None:
        self.waiting: dict[int, Waiting] = {}
        self._dispatcher = dispatcher
        self._call_later = call_later
        self._resume = resume
        self._serving = False
        #: the same (database, key) pairs as in dispatcher.ready_keys, to report each once
        self._reported: set[tuple[int, bytes]] = set()

    def __len__(self) -> int:
        """Clients that wait, for INFO's blocked_clients."""
        return len(self.waiting)

    @property
    def timed(self) -> int:
        """Clients that wait with a timeout."""
        return sum(1 for waiting in self.waiting.values() if waiting.timer is not None)

    # -- parking -------------------------------------------------------------------------------

    def wait_for_keys(
        self,
        client: Any,
        kind: type | None,
        keys: list[bytes],
        timeout_ms: int,
        retry: Callable[[bytes], list[bytes]],
        gone: CommandError | None = None,
    ) -> Any:
        """Parks the client until one of `keys` holds a `kind`; returns the handler's reply value.

        That is NO_REPLY, or the null array for a client that may not wait (inside EXEC and the
        like). `timeout_ms` 0 is for ever; the reply to a timeout is the null array. `retry(key)` is
        the request to run again when `key` is ready; `gone`, where given, the reply when a key does
        not hold a `kind` any more."""
        if client.blocked is not None:
            return NO_REPLY
        if client.flags & _NEVER_WAITS or client.channel is None:
            return NULL_ARRAY
        waiting = Waiting(client, kind, list(dict.fromkeys(keys)), retry, _null_array, gone)
        for parked in _registers(waiting):
            for key in waiting.keys:
                parked.setdefault(key, {})[client.id] = waiting
        return self._park(waiting, timeout_ms)

    def wait(self, client: Any, timeout_ms: int, on_timeout: Callable[[], Any]) -> Any:
        """Parks the client until `unblock`; returns NO_REPLY, or `on_timeout()` if it may not wait.

        `on_timeout()` gives the reply when the time is over (0: never)."""
        if client.flags & _NEVER_WAITS or client.channel is None:
            return on_timeout()
        return self._park(Waiting(client, None, [], None, on_timeout), timeout_ms)

    def _park(self, waiting: Waiting, timeout_ms: int) -> Any:
        client = waiting.client
        client.blocked = waiting
        client.flags |= states.BLOCKED
        client.channel.stop |= states.STOP_BLOCKED
        self.waiting[client.id] = waiting
        # The command counts as called when it is answered; the dispatcher counts this run of it.
        waiting.cmd.calls -= 1
        if timeout_ms:
            waiting.timer = self._call_later(timeout_ms / 1000, self._timed_out, waiting)
        return NO_REPLY

    def forget(self, client: Any) -> None:
        """The client waits no more and gets no reply (it is gone, or is about to be answered)."""
        waiting = self.waiting.pop(client.id, None)
        if waiting is None:
            return
        client.blocked = None
        client.flags &= ~states.BLOCKED
        client.channel.stop &= ~states.STOP_BLOCKED
        if waiting.timer is not None:
            waiting.timer.cancel()
        for parked in _registers(waiting):
            for key in waiting.keys:
                clients = parked[key]
                del clients[client.id]
                if not clients:
                    del parked[key]

    # -- answering -----------------------------------------------------------------------------

    def unblock(self, client: Any, reply: Any) -> bool:
        """Answers a waiting client, counts the call, lets it go on. False: it does not wait."""
        waiting = self.waiting.get(client.id)
        if waiting is None:
            return False
        waiting.cmd.calls += 1
        if isinstance(reply, CommandError):
            waiting.cmd.failed += 1
            client.server.stats.count_error(reply)
        self._answer(client, reply)
        return True

    def run_again(self, client: Any, request: list[bytes]) -> bool:
        """Runs a waiting client's request as an attempt that may answer it. False: it does not
        wait."""
        waiting = self.waiting.get(client.id)
        if waiting is None:
            return False
        reply = self._dispatcher.call_tracked(client, waiting.cmd, request)
        if reply is NO_REPLY:
            waiting.cmd.calls -= 1
        else:
            self._answer(client, reply)
        return True

    def client_unblock(self, client: Any, with_error: bool) -> bool:
        """CLIENT UNBLOCK id [TIMEOUT|ERROR]: as if the time were over, or with an error."""
        waiting = self.waiting.get(client.id)
        if waiting is None:
            return False
        if with_error:
            error = CommandError(b"UNBLOCKED client unblocked via CLIENT UNBLOCK")
            return self.unblock(client, error)
        return self.unblock(client, waiting.on_timeout())

    def unblock_all(self) -> None:
        """The node follows now: what waits could only write. They are told so and closed."""
        for waiting in list(self.waiting.values()):
            client = waiting.client
            self.unblock(
                client,
                CommandError(
                    b"UNBLOCKED force unblock from blocking operation, "
                    b"instance state changed (master -> replica?)"
                ),
            )
            client.connection.close_after_reply()

    def _timed_out(self, waiting: Waiting) -> None:
        waiting.timer = None
        self.unblock(waiting.client, waiting.on_timeout())

    def _answer(self, client: Any, reply: Any) -> None:
        self.forget(client)
        if not client.flags & states.REPLY_OFF:
            client.push(reply)
        self._resume(client)

    # -- serving -------------------------------------------------------------------------------

    def key_ready(self, db: Any, key: bytes) -> None:
        """The keyspace's on_ready: somebody waits for `key`, and it holds something or lost it."""
        if (db.index, key) not in self._reported:
            self._reported.add((db.index, key))
            self._dispatcher.ready_keys.append((db, key))

    def serve(self) -> None:
        """Runs the requests that wait for keys that are ready, until none is left that can be."""
        if self._serving:
            return
        self._serving = True
        ready = self._dispatcher.ready_keys
        try:
            while ready:
                db, key = ready.pop(0)
                self._reported.discard((db.index, key))
                self._serve_key(db, key)
        finally:
            self._serving = False

    def _serve_key(self, db: Any, key: bytes) -> None:
        for waiting in list(db.relied_on.get(key, {}).values()):
            if type(db.peek(key)) is not waiting.kind:
                self.unblock(waiting.client, waiting.gone)
        for waiting in list(db.blocked.get(key, {}).values()):
            value = db.peek(key)
            if value is None:
                return
            client = waiting.client
            if client.blocked is not waiting:
                continue
            if waiting.kind is not None and type(value) is not waiting.kind:
                continue
            request = waiting.retry(key)
            if client.flags & states.RESTRICTED:
                # Rules may have changed since it began to wait.
                refusal = client.server.access.refusal(client, waiting.cmd, request)
                if refusal is not None:
                    self.unblock(client, refusal)
                    continue
            self.run_again(client, request)


def _registers(waiting: Waiting) -> list[dict[bytes, dict[int, Waiting]]]:
    """Where the client stands in line."""
    db = waiting.db
    return [db.blocked] if waiting.gone is None else [db.blocked, db.relied_on]


def _null_array() -> Any:
    return NULL_ARRAY


def parse_timeout_ms(word: bytes, *, in_seconds: bool, now_ms: int) -> int:
    """A blocking command's timeout as milliseconds, rounded up; 0 is for ever.

    Raises CommandError with Redis's text; where 7.0 calls a time beyond 64 bits negative, with the
    text of 7.2."""
    if in_seconds:
        seconds = _float(word)
        if seconds is None:
            raise CommandError(b"ERR timeout is not a float or out of range")
        if seconds * 1000 > _INT64_MAX:
            raise CommandError(b"ERR timeout is out of range")
        timeout_ms = -1 if seconds * 1000 < -1 else math.ceil(seconds * 1000)
    else:
        digits = word.removeprefix(b"-")
        if not digits.isdigit() or (digits[:1] == b"0" and word != b"0") or len(digits) > 19:
            raise CommandError(b"ERR timeout is not an integer or out of range")
        timeout_ms = int(word)
        if not -_INT64_MAX <= timeout_ms <= _INT64_MAX:
            raise CommandError(b"ERR timeout is not an integer or out of range")
    if timeout_ms < 0:
        raise CommandError(b"ERR timeout is negative")
    if timeout_ms > _INT64_MAX - now_ms:
        raise CommandError(b"ERR timeout is out of range")
    return timeout_ms


def _float(word: bytes) -> float | None:
    """A number as C's strtold reads it, hexadecimal too; None for what it does not take whole."""
    if not word or word[:1].isspace() or word[-1:].isspace() or b"_" in word:
        return None
    try:
        text = word.decode("ascii")
        value = float.fromhex(text) if b"x" in word.lower() else float(text)
    except OverflowError:
        return math.inf
    except ValueError:
        return None
    return None if math.isnan(value) else value
