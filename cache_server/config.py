"""Settings: one table of what there is, in redis.conf's words, and the values in force.

A setting is declared once, with kind, default and bounds; parsing, CONFIG GET, CONFIG SET and
rewriting read the declaration. Values are attributes of `Config` with underscores for dashes
(`config.repl_backlog_size`), in the unit that the declaration names; a read costs an attribute.

Source of names, kinds and defaults: redis.conf and CONFIG GET * of redis-server 7.0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_MEMORY_UNITS = {
    "": 1,
    "b": 1,
    "k": 1000,
    "kb": 1024,
    "m": 1000**2,
    "mb": 1024**2,
    "g": 1000**3,
    "gb": 1024**3,
}


class ConfigError(Exception):
    """A value that a setting does not take; the text is Redis's, without name or line."""


class Kind:
    """How a setting's words become a value and back."""

    def parse(self, words: list[str]) -> Any:
        """The value for the words given. Raises ConfigError."""
        if len(words) != 1:
            raise ConfigError("wrong number of arguments")
        return self.parse_word(words[0])

    def parse_word(self, word: str) -> Any:
        raise ConfigError(f"not a single word: {word}")

    def show(self, value: Any) -> str:
        """The value as CONFIG GET shows it."""
        return str(value)


class Text(Kind):
    def parse_word(self, word: str) -> str:
        return word


class Flag(Kind):
    def parse_word(self, word: str) -> bool:
        if word.lower() in ("yes", "no"):
            return word.lower() == "yes"
        raise ConfigError("argument must be 'yes' or 'no'")

    def show(self, value: bool) -> str:
        return "yes" if value else "no"


class Number(Kind):
    """An integer within bounds."""

    def __init__(self, low: int = 0, high: int = 2**31 - 1) -> None:
        self.low, self.high = low, high

    def parse_word(self, word: str) -> int:
        try:
            value = int(word)
        except ValueError:
            raise ConfigError("argument couldn't be parsed into an integer") from None
        return self.checked(value)

    def checked(self, value: int) -> int:
        if not self.low <= value <= self.high:
            raise ConfigError(
                f"argument must be between {self.low} and {self.high} inclusive"
            )
        return value


class Memory(Number):
    """Bytes, with k, kb, m, mb, g, gb as units."""

    def __init__(self, low: int = 0, high: int = 2**63 - 1) -> None:
        super().__init__(low, high)

    def parse_word(self, word: str) -> int:
        digits = word.rstrip("bBkKmMgG")
        unit = word[len(digits) :].lower()
        try:
            return self.checked(int(digits) * _MEMORY_UNITS[unit])
        except (ValueError, KeyError):
            raise ConfigError("argument must be a memory value") from None


class Choice(Kind):
    """One of a few words."""

    def __init__(self, *choices: str) -> None:
        self.choices = choices

    def parse_word(self, word: str) -> str:
        if word.lower() in self.choices:
            return word.lower()
        raise ConfigError(
            "argument(s) must be one of the following: " + ", ".join(self.choices)
        )


class Setting:
    """One row: name, kind, default (as a value), and whether CONFIG SET may change it."""

    def __init__(
        self,
        name: str,
        kind: Kind,
        default: Any,
        *,
        alias: str = "",
        fixed: bool = False,
        protected: bool = False,
        hidden: bool = False,
    ) -> None:
        self.name = name
        self.attribute = name.replace("-", "_")
        self.kind = kind
        self.default = default
        self.alias = alias
        self.fixed = fixed
        self.protected = protected
        self.hidden = hidden


SETTINGS: list[Setting] = [
    Setting("port", Number(0, 65535), 6379),
    Setting("databases", Number(1), 16, fixed=True),
    Setting("maxclients", Number(1, 2**32 - 1), 10000),
    Setting("timeout", Number(0), 0),
    Setting("tcp-keepalive", Number(0), 300),
    Setting("tcp-backlog", Number(0), 511, fixed=True),
    Setting("unixsocket", Text(), "", fixed=True),
    Setting("dir", Text(), ".", protected=True),
    Setting("loglevel", Choice("debug", "verbose", "notice", "warning"), "notice"),
    Setting("logfile", Text(), "", fixed=True),
    Setting("proto-max-bulk-len", Memory(1024 * 1024), 512 * 1024 * 1024),
    Setting("client-query-buffer-limit", Memory(1024 * 1024), 1024**3),
    Setting("maxmemory", Memory(), 0),
    Setting("hz", Number(0), 10),
    Setting("hash-max-listpack-entries", Number(0, 2**63 - 1), 512, alias="hash-max-ziplist-entries"),
    Setting("hash-max-listpack-value", Memory(), 64, alias="hash-max-ziplist-value"),
    Setting("set-max-intset-entries", Number(0, 2**63 - 1), 512),
    Setting("zset-max-listpack-entries", Number(0, 2**63 - 1), 128, alias="zset-max-ziplist-entries"),
    Setting("zset-max-listpack-value", Memory(), 64, alias="zset-max-ziplist-value"),
    Setting("list-max-listpack-size", Number(-(2**31)), -2, alias="list-max-ziplist-size"),
    Setting("list-compress-depth", Number(0), 0),
    Setting("stream-node-max-bytes", Memory(), 4096),
    Setting("stream-node-max-entries", Number(0, 2**63 - 1), 100),
    Setting("slowlog-log-slower-than", Number(-1, 2**63 - 1), 10000),
    Setting("slowlog-max-len", Number(0, 2**63 - 1), 128),
    Setting("repl-backlog-size", Memory(1), 1024 * 1024),
]


class Config:
    """The values in force. `on_change[name]` is called with the new value after a change."""

    def __init__(self) -> None:
        self.settings: dict[str, Setting] = {}
        self.on_change: dict[str, Callable[[Any], None]] = {}
        self.file = ""
        for setting in SETTINGS:
            self.settings[setting.name] = setting
            if setting.alias:
                self.settings[setting.alias] = setting
            setattr(self, setting.attribute, setting.default)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"no setting {name.replace('_', '-')}")
