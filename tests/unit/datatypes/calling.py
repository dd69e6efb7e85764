"""Runs handlers as the dispatcher would, on a keyspace of their own."""

from __future__ import annotations

from random import Random
from typing import Any

from cache_server.client import Client
from cache_server.commands.propagation import Propagation
from cache_server.commands.table import Command
from cache_server.config import Config
from cache_server.errors import CommandError
from cache_server.keyspace.database import Keyspace


class FakeServer:
    """What a client and the commands of data types ask of a server."""

    def __init__(self) -> None:
        self.config = Config()
        self.propagation = Propagation(lambda: None)
        self.propagation.active = True

    def refuse_output(self, client: Any, size_bytes: int) -> None:
        """Nobody is connected who could be closed."""


class Caller:
    """A client whose commands are called by `caller("ZADD", "key", 1, "member")`.

    `dirty` is what the last command added to the dirty counter, `effects` what it propagates
    instead of itself (None: itself, `args`), `events` all its notifications."""

    def __init__(self, *modules: Any) -> None:
        self.keyspace = Keyspace(2, Random(1))
        self.keyspace.now_ms = 1_000_000
        self.keyspace.notify_flags = ~0x4800 & 0xFFFF  # no key misses, no new keys
        self.keyspace.on_notify = lambda kind, event, key, db: self.events.append((event, key))
        self.client = Client(FakeServer(), self.keyspace.databases[0], 1)
        self.rows: dict[str, Command] = {row.name: row for m in modules for row in m.COMMANDS}
        self.events: list[tuple[bytes, bytes]] = []
        self.effects: list[list[bytes]] | None = None
        self.args: list[bytes] = []
        self.dirty = 0

    @property
    def db(self) -> Any:
        return self.client.db

    def __call__(self, name: str, *words: Any) -> Any:
        """The reply; raises CommandError, after checking that a refusal changed nothing."""
        args = [word if isinstance(word, bytes) else str(word).encode() for word in (name, *words)]
        row = self.rows[name.lower()]
        assert row.accepts(len(args)), args
        self.args = args
        self.events.clear()
        self.client.effects = None
        before = self.keyspace.dirty
        try:
            return row.handler(self.client, args)
        except CommandError:
            assert self.keyspace.dirty == before
            assert not self.events
            raise
        finally:
            self.dirty = self.keyspace.dirty - before
            self.effects = self.client.effects

    def error(self, name: str, *words: Any) -> str:
        """The text of the refusal that is expected."""
        try:
            reply = self(name, *words)
        except CommandError as error:
            return error.text.decode()
        raise AssertionError(f"not refused: {reply!r}")
