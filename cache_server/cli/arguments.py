"""redis-server's command line: a configuration file, options as if they stood in it, actions.

    cache-server [FILE] [-] [--name value ...] ...      `-` reads further configuration from stdin

An option begins with two dashes and takes the words up to the next one that does; a word right
after the option's name is its value even if it begins with dashes (`--logfile --my-file`). Name and
value may come as one argument (`--maxmemory 100mb`). Everything becomes lines of configuration.

Source: `redis-server --help`, and its behaviour in version 7.0.15.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cache_server.config_file import split_words
from cache_server.config_kinds import ConfigError, quote


@dataclass
class Arguments:
    """What was asked for. `action` is "serve", "version", "help", "sentinel", or "refuse"."""

    action: str = "serve"
    file: str = ""
    from_stdin: bool = False
    options: str = ""
    refusal: str = ""


def parse_arguments(words: list[str]) -> Arguments:
    """The command line without the program's name. Bad options are found when they are loaded."""
    first = words[0] if words else ""
    if first in ("-v", "--version"):
        return Arguments("version")
    if first in ("-h", "--help"):
        return Arguments("help")
    if first in ("--test-memory", "--check-system"):
        return Arguments("refuse", refusal=f"{first} is not supported.")
    result = Arguments("sentinel" if "--sentinel" in words else "serve")
    if first and not first.startswith("-"):
        result.file = first
        words = words[1:]
    rest = len(words)
    options = _Options()
    for index, word in enumerate(words):
        at_an_end = (index == 0 and not result.file) or index == rest - 1
        if word == "-" and at_an_end:
            result.from_stdin = True
        else:
            options.take(word, words[index + 1] if index + 1 < rest else None)
    result.options = options.text()
    return result


@dataclass
class _Options:
    """Lines of configuration in the making. `_open`: an option's name still waits for a value."""

    _lines: list[str] = field(default_factory=list)
    _open: bool = False

    def take(self, word: str, following: str | None) -> None:
        if self._open or not word.startswith("--"):
            self._append(quote(word))
            self._open = False
            return
        self._lines.append(word[2:])
        self._open = self._is_name_only(word)
        option_follows = following is None or following.startswith("--")
        if self._open and option_follows and word.lower() == "--save":
            self._append('""')
            self._open = False
        elif self._open and option_follows and word.lower() == "--sentinel":
            self._open = False

    def text(self) -> str:
        return "\n".join(self._lines)

    def _append(self, text: str) -> None:
        if self._lines:
            self._lines[-1] += " " + text
        else:
            self._lines.append(text)

    @staticmethod
    def _is_name_only(word: str) -> bool:
        try:
            return len(split_words(word)) == 1
        except ConfigError:
            return False


HELP = """\
Usage: cache-server [/path/to/redis.conf] [options] [-]
       cache-server - (read config from stdin)
       cache-server -v or --version
       cache-server -h or --help

Options are the settings of redis.conf: --name value.

Examples:
       cache-server (run the server with default conf)
       echo 'maxmemory 128mb' | cache-server -
       cache-server /etc/redis/6379.conf
       cache-server --port 7777
       cache-server --port 7777 --replicaof "127.0.0.1 8888"
       cache-server /etc/myredis.conf --loglevel verbose -

Sentinel mode:
       cache-server /etc/sentinel.conf --sentinel
"""
