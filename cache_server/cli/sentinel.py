"""`cache-sentinel FILE [--name value ...]`: redis-sentinel's command line and start-up.

It needs a configuration file of its own that it may write: it remembers there what it found out,
and beside it (`FILE.state`) what it promised. The process is the same server as `cache-server`,
with the commands of a sentinel and no data.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

from cache_server import __version__
from cache_server.access.control import Access
from cache_server.cli import serve
from cache_server.cli.arguments import HELP, Arguments, parse_arguments
from cache_server.config import Config, ConfigError, ConfigFileError
from cache_server.config_file import read_text, split_words
from cache_server.config_kinds import quote
from cache_server.constants import REDIS_VERSION
from cache_server.coordination import store_address
from cache_server.errors import InputError
from cache_server.listeners import ListenError
from cache_server.observe import logs
from cache_server.sentinel import commands
from cache_server.sentinel.front import Sentinel, read_state
from cache_server.sentinel.settings import Reader, SettingError, merge
from cache_server.server import Part, Server
from replication.failover.cluster_view import SentinelState

log = logging.getLogger("cache_server")

PORT_DEFAULT = 26379

#: Commands of a data node that a sentinel has too.
SHARED_COMMANDS = frozenset(
    {
        "acl",
        "auth",
        "client",
        "command",
        "info",
        "ping",
        "psubscribe",
        "punsubscribe",
        "subscribe",
        "unsubscribe",
    }
)

#: Sections of INFO that a sentinel has too.
INFO_SECTIONS = ("server", "clients", "stats", "cpu")


class SentinelConfig(Config):
    """The server's settings with Sentinel's defaults, and the `sentinel ...` lines."""

    def __init__(self) -> None:
        super().__init__()
        self.port = PORT_DEFAULT
        self.protected_mode = False
        self.reader = Reader()

    def _file_directive(self, name: str, values: list[str]) -> bool:
        if name != "sentinel":
            return super()._file_directive(name, values)
        if values:
            self.reader.add(values)
        return True

    def known(self) -> SentinelState:
        """What the lines say was known. Raises ConfigFileError."""
        try:
            return self.reader.finish()
        except SettingError as error:
            words = ["sentinel", *error.words]
            number = _line_number(self.file, words)
            line = " ".join(quote(word) for word in words)
            raise ConfigFileError(str(error), self.file, number, line) from None


def _line_number(path: str, words: list[str]) -> int:
    """Where in the file a line with these words is; 0 where it came from the command line."""
    for number, line in enumerate(read_text(path).split("\n"), 1):
        try:
            found = split_words(line.strip())
        except ConfigError:
            continue
        if [word.lower() for word in found] == [word.lower() for word in words]:
            return number
    return 0


class SentinelServer(Server):
    """A server that has a sentinel in place of data."""

    def __init__(self, config: SentinelConfig, state: SentinelState) -> None:
        super().__init__(config, asyncio.get_running_loop())
        self.sentinel = Sentinel(
            config.file,
            config.reader.settings,
            state,
            (config.tls_replication and config.tls_port) or config.port,
            self.pubsub.publish,
            lambda: str(config.requirepass),
            self.tls.link_context,
            lambda: str(config.bind_source_addr),
            self.finish,
            store_address.parse(config.coordinator),
        )
        self.parts = [_SentinelPart(self.sentinel), self.admission, self.observation]
        self._choose_commands()
        self.access = Access(self)
        self.sentinel.user_lines = self.access.config_lines
        self._choose_info()

    def _choose_commands(self) -> None:
        shared = [
            row
            for name, row in self.dispatcher.commands.items()
            if name.decode() in SHARED_COMMANDS
        ]
        self.dispatcher.commands.clear()
        self.dispatcher.lookup.clear()
        for row in [*shared, *commands.COMMANDS]:
            self.dispatcher.register(row)

    def _choose_info(self) -> None:
        sections = self.info.sections
        for name in [name for name in sections if name not in INFO_SECTIONS]:
            del sections[name]
        title, fields = sections["server"]
        sections["server"] = (title, lambda server: map(_sentinel_mode, fields(server)))
        sections["sentinel"] = ("Sentinel", lambda _: self.sentinel.info_lines())

    def signalled(self, name: str) -> None:
        """There is nothing to save."""
        log.warning("Received %s scheduling shutdown...", name)
        self.finish()


def _sentinel_mode(field: tuple[str, object] | str) -> tuple[str, object] | str:
    return ("redis_mode", "sentinel") if field[0] == "redis_mode" else field


class _SentinelPart(Part):
    """The sentinel's place among the parts of a server."""

    def __init__(self, sentinel: Sentinel) -> None:
        self._sentinel = sentinel

    async def start(self) -> None:
        self._sentinel.start()

    def cron(self, _now_ms: int) -> None:
        self._sentinel.cron()

    async def stop(self) -> None:
        await self._sentinel.stop()


def main(words: Sequence[str] | None = None) -> int:
    """Runs until the sentinel ends; returns the exit code."""
    given = list(sys.argv[1:] if words is None else words)
    arguments = parse_arguments([word for word in given if word != "--sentinel"])
    if arguments.action == "version":
        print(serve.version_line())
        return 0
    if arguments.action in ("help", "refuse"):
        sys.stderr.write(arguments.refusal + "\n" if arguments.refusal else HELP)
        return 1
    loaded = _load(arguments)
    if loaded is None:
        return 1
    config, state = loaded
    if config.daemonize and config.supervised == "no":
        serve.daemonize()
    logs.set_up(config.logfile, config.loglevel, lambda: "X")
    log.warning(
        "cache-sentinel version=%s, Redis version=%s, bits=64, pid=%d, just started (%s)",
        __version__,
        REDIS_VERSION,
        os.getpid(),
        serve.core_name(),
    )
    log.warning("Configuration loaded")
    with asyncio.Runner(loop_factory=serve.new_loop) as runner:
        return runner.run(_serve(config, state))


def _load(arguments: Arguments) -> tuple[SentinelConfig, SentinelState] | None:
    """Settings and state; None when they were refused, which standard error or the log tells."""
    config = SentinelConfig()
    try:
        path = os.path.abspath(arguments.file) if arguments.file else ""
        _check_file(path)
        config.load(path, None, arguments.options)
        state = merge(config.known(), read_state(path))
    except ConfigFileError as error:
        sys.stderr.write(error.report)
        return None
    except (InputError, OSError) as error:
        logs.set_up("", "notice", lambda: "X")
        log.warning("%s", error)
        return None
    if not state.sentinel_id:
        state = replace(state, sentinel_id=secrets.token_hex(20))
    return config, state


def _check_file(path: str) -> None:
    """Raises InputError where the file cannot hold what the sentinel learns."""
    if not path:
        raise InputError("Sentinel needs config file on disk in order to save state. Exiting...")
    for place in (path, os.path.dirname(path)):
        if not os.access(place, os.W_OK):
            raise InputError(
                f"Sentinel config file {path} is not writable: "
                f"{'no such file' if not os.path.exists(place) else 'permission denied'}: {place}. "
                "Exiting..."
            )


async def _serve(config: SentinelConfig, state: SentinelState) -> int:
    server = SentinelServer(config, state)
    try:
        server.access.load_configured()
        server.listeners.bind()
    except InputError as error:
        log.warning("%s", error)
        return 1
    except ListenError:
        return 1
    pidfile = serve.write_pidfile(config)
    serve.install_signals(server, server.loop)
    log.info("Running mode=sentinel, port=%d.", config.port or config.tls_port)
    log.info("cache-sentinel %s (%s), PID: %d", __version__, serve.core_name(), os.getpid())
    log.warning("Server initialized")
    started = time.monotonic()
    try:
        await server.start()
    except OSError as error:
        log.warning("The sentinel cannot start: %s. Exiting.", error)
        server.listeners.close()
        return 1
    log.info("Ready to accept connections (after %.0f ms)", (time.monotonic() - started) * 1000)
    code = await server.finished
    await server.stop()
    if pidfile:
        serve.remove_pidfile(pidfile)
    log.warning("Sentinel is now ready to exit, bye bye...")
    return code


if __name__ == "__main__":
    sys.exit(main())
