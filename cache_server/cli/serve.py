"""`cache-server`: reads the configuration, becomes the process asked for, and runs the server.

The order is Redis's: configuration (errors on standard error, exit 1, before any port is opened),
daemon, log, sockets bound, process id file, data loaded, ready. What the tools around Redis wait
for in the log is worded as there.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import logging
import os
import signal
import sys
from collections.abc import Sequence

import setproctitle

from cache_server import __version__
from cache_server.cli.arguments import HELP, Arguments, parse_arguments
from cache_server.commands.registry import rename_command
from cache_server.config import Config, ConfigError, ConfigFileError
from cache_server.config_settings import check_title_template
from cache_server.constants import REDIS_VERSION
from cache_server.errors import InputError
from cache_server.listeners import ListenError
from cache_server.observe import logs
from cache_server.server import Server
from cache_server.wire import COMPILED

log = logging.getLogger("cache_server")

PIDFILE_DEFAULT = "/var/run/redis.pid"


def main(words: Sequence[str] | None = None) -> int:
    """Runs until the server ends; returns the exit code."""
    arguments = parse_arguments(list(sys.argv[1:] if words is None else words))
    if arguments.action == "version":
        print(version_line())
        return 0
    if arguments.action == "help":
        sys.stderr.write(HELP)
        return 1
    if arguments.action == "refuse":
        sys.stderr.write(arguments.refusal + "\n")
        return 1
    if arguments.action == "sentinel":
        sentinel = importlib.import_module("cache_server.cli.sentinel")
        given = list(sys.argv[1:] if words is None else words)
        return int(sentinel.main([word for word in given if word != "--sentinel"]) or 0)
    config = load_config(arguments)
    if config is None:
        return 1
    if config.daemonize and config.supervised == "no":
        daemonize()
    logs.set_up(config.logfile, config.loglevel, lambda: "S" if config.replicaof else "M")
    log.warning("oO0OoO0OoO0Oo cache-server is starting oO0OoO0OoO0Oo")
    log.warning(
        "cache-server version=%s, Redis version=%s, bits=64, pid=%d, just started (%s)",
        __version__,
        REDIS_VERSION,
        os.getpid(),
        core_name(),
    )
    if len(sys.argv) == 1:
        log.warning("Warning: no config file specified, using the default config.")
    else:
        log.warning("Configuration loaded")
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(_serve(config))


def version_line() -> str:
    """As `redis-server --version`: tools look for `v=`."""
    build = f"cache-server-{__version__}"
    return f"Redis server v={REDIS_VERSION} sha=00000000:0 malloc=libc bits=64 build={build}"


def core_name() -> str:
    """What runs the requests: the extension, or its Python twin."""
    return "compiled core" if COMPILED else "pure twin"


def load_config(arguments: Arguments) -> Config | None:
    """The configuration; None when it was refused, which standard error (or the log) then tells."""
    config = Config()
    try:
        standard_input = None
        if arguments.from_stdin:
            standard_input = sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
        path = os.path.abspath(arguments.file) if arguments.file else ""
        config.load(path, standard_input, arguments.options)
    except ConfigFileError as error:
        sys.stderr.write(error.report)
        return None
    except InputError as error:
        logs.set_up("", "notice", lambda: "C")
        log.warning("%s", error)
        return None
    return config


def daemonize() -> None:
    """Goes on in a child that has no terminal."""
    if os.fork() != 0:
        os._exit(0)
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    if null > 2:
        os.close(null)


def new_loop() -> asyncio.AbstractEventLoop:
    """What every process of ours runs on."""
    import uvloop

    return uvloop.new_event_loop()


async def _serve(config: Config) -> int:
    loop = asyncio.get_running_loop()
    server = Server(config, loop)
    try:
        for old, new in config.renames:
            rename_command(server.dispatcher, old, new)
        server.access.load_configured()
        server.process_limits.begin()
        server.listeners.bind()
    except InputError as error:
        log.warning("%s", error)
        return 1
    except ConfigError as error:
        sys.stderr.write(ConfigFileError(str(error)).report)
        return 1
    except ListenError:
        return 1
    pidfile = write_pidfile(config)
    install_signals(server, loop)
    _set_title(server)
    _announce(config)
    log.warning("Server initialized")
    starting = loop.create_task(server.start())
    await asyncio.wait((starting, server.finished), return_when=asyncio.FIRST_COMPLETED)
    try:
        if starting.done():
            await starting
            _ready(config)
            code = await server.finished
            await server.stop()
        else:
            # Told to end while the data is being loaded: there is nothing to save.
            starting.cancel()
            server.listeners.close()
            code = server.finished.result()
    except (InputError, OSError) as error:
        server.listeners.close()
        if isinstance(error, InputError):
            log.warning("Terminating server after rdb file reading failure.")
        log.warning("Fatal error loading the DB: %s. Exiting.", error)
        return 1
    if pidfile:
        log.info("Removing the pid file.")
        remove_pidfile(pidfile)
    log.warning("%s is now ready to exit, bye bye...", "Redis")
    return code


def _ready(config: Config) -> None:
    """The server serves."""
    if config.port or config.tls_port:
        log.info("Ready to accept connections")
    if config.unixsocket:
        log.info("The server is now ready to accept connections at %s", config.unixsocket)
    if 0 < config.maxmemory < 1024 * 1024:
        log.warning("WARNING: You specified a maxmemory value that is less than 1MB.")
    # Requests make no cycles; what is there now stays, and walking it would only stop the loop.
    gc.collect()
    gc.freeze()
    gc.disable()


def _announce(config: Config) -> None:
    """The line (or the logo's lines) from which start-up scripts read the process id."""
    log.info("Running mode=standalone, port=%d.", config.port or config.tls_port)
    if config.always_show_logo or (not config.logfile and sys.stdout.isatty()):
        log.info("cache-server %s (%s), PID: %d", __version__, core_name(), os.getpid())


def write_pidfile(config: Config) -> str:
    """Writes the process id file where one is wanted; returns its path. Failing costs only a
    line."""
    path: str = config.pidfile or (PIDFILE_DEFAULT if config.daemonize else "")
    if not path:
        return ""
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")
    except OSError as error:
        log.log(logs.VERBOSE, "Failed to write PID file: %s", error.strerror)
        return ""
    return os.path.abspath(path)


def remove_pidfile(path: str) -> None:
    """Failing costs only a line."""
    try:
        os.unlink(path)
    except OSError as error:
        log.warning("Error removing the pid file: %s", error.strerror)


def install_signals(server: Server, loop: asyncio.AbstractEventLoop) -> None:
    """SIGTERM and SIGINT end the server in order."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    loop.add_signal_handler(signal.SIGTERM, server.signalled, "SIGTERM")
    loop.add_signal_handler(signal.SIGINT, server.signalled, "SIGINT")


def _set_title(server: Server) -> None:
    """The process's title as ps shows it, from proc-title-template; follows the settings."""
    config = server.config
    name = sys.argv[0]
    if not config.set_proc_title:
        return

    def show(_: object = None) -> None:
        check_title_template(config.proc_title_template)
        port = config.port or config.tls_port
        address = f"{config.bind[0] if config.bind else '*'}:{port}"
        values = {
            "title": name,
            "listen-addr": address if port else f"unixsocket:{config.unixsocket}",
            "server-mode": "",
            "config-file": config.file or "-",
            "port": str(config.port),
            "tls-port": str(config.tls_port),
            "unixsocket": config.unixsocket,
        }
        title = config.proc_title_template
        for variable, value in values.items():
            title = title.replace("{" + variable + "}", value)
        setproctitle.setproctitle(title.rstrip())

    config.on_change["proc-title-template"] = show
    show()


if __name__ == "__main__":
    sys.exit(main())
