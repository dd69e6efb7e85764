"""Kinds of settings: how words become a value, how a value is shown and written back.

A kind checks everything that the words alone can tell and raises ConfigError with Redis's text.
Words and values are `str`; bytes that are no UTF-8 travel as surrogate escapes.

Source: the refusals of redis-server 7.0 to CONFIG SET and in its configuration file.
"""

from __future__ import annotations

import math
import os
import re
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
_MEMORY = re.compile(r"(\d{1,20})([a-z]*)", re.IGNORECASE | re.ASCII)
_INTEGER = re.compile(r"-?(0|[1-9]\d{0,18})", re.ASCII)
_LOOSE_INTEGER = re.compile(r"\s*[+-]?\d{1,19}", re.ASCII)
_EVENT_CLASSES = "g$lshzxetdn"


class ConfigError(Exception):
    """A value that a setting does not take; the text is Redis's, without name or line."""


def parse_memory(word: str) -> int:
    """Bytes from digits and a unit: 1kb is 1024, 1k is 1000. Raises ConfigError."""
    match = _MEMORY.fullmatch(word)
    if match is None or match[2].lower() not in _MEMORY_UNITS:
        raise ConfigError("argument must be a memory value")
    return int(match[1]) * _MEMORY_UNITS[match[2].lower()]


def format_memory(size: int) -> str:
    """The shortest exact form for a configuration file: gb, mb, kb or plain bytes."""
    for unit in ("gb", "mb", "kb"):
        factor = _MEMORY_UNITS[unit]
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    return str(size)


def quote(word: str) -> str:
    """A word in double quotes with escapes, as a configuration line takes it."""
    escapes = {
        "\\": "\\\\",
        '"': '\\"',
        "\n": "\\n",
        "\r": "\\r",
        "\t": "\\t",
        "\a": "\\a",
        "\b": "\\b",
    }
    shown = []
    for byte in word.encode("utf-8", "surrogateescape"):
        character = chr(byte)
        if character in escapes:
            shown.append(escapes[character])
        else:
            shown.append(character if 0x20 <= byte < 0x7F else f"\\x{byte:02x}")
    return '"' + "".join(shown) + '"'


class Kind:
    """How a setting's words become a value and back. `many_words` takes any number of words;
    `always_written`: a rewritten file says it even where it is the default."""

    many_words = False
    always_written = False

    def parse(self, words: list[str]) -> Any:
        """The value for the words given. Raises ConfigError."""
        if len(words) != 1:
            raise ConfigError("wrong number of arguments")
        return self.parse_word(words[0])

    def parse_word(self, word: str) -> Any:
        raise NotImplementedError

    def merge(self, old: Any, value: Any) -> Any:
        """What a new value makes of the old one: it takes its place, unless the kind says more."""
        return value

    def adopt(self, value: Any) -> Any:
        """Called with a value that is about to be in force; returns what to keep of it."""
        return value

    def show(self, value: Any) -> str:
        """The value as CONFIG GET shows it."""
        return str(value)

    def lines(self, value: Any) -> list[str]:
        """The value's part of each line that says it in a configuration file; [] for no line."""
        return [self.show(value)]


class Text(Kind):
    """Any word. `nullable`: empty means not set, and is not written. `check` raises ConfigError."""

    def __init__(self, nullable: bool = False, check: Callable[[str], None] | None = None) -> None:
        self.nullable = nullable
        self.check = check

    def parse_word(self, word: str) -> str:
        if self.check is not None:
            self.check(word)
        return word

    def lines(self, value: str) -> list[str]:
        return [] if self.nullable and not value else [quote(value)]


class Directory(Kind):
    """The working folder: being in force means the process is in it."""

    always_written = True

    def parse_word(self, word: str) -> str:
        return word

    def adopt(self, value: str) -> str:
        try:
            os.chdir(value)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise ConfigError(reason or str(error)) from None
        return os.getcwd()

    def show(self, value: str) -> str:
        return os.path.abspath(value)

    def lines(self, value: str) -> list[str]:
        return [quote(os.path.abspath(value))]


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
        if not _INTEGER.fullmatch(word):
            raise ConfigError("argument couldn't be parsed into an integer")
        return self.checked(int(word))

    def checked(self, value: int) -> int:
        if not self.low <= value <= self.high:
            raise ConfigError(f"argument must be between {self.low} and {self.high} inclusive")
        return value


class Octal(Number):
    """File permissions."""

    def parse_word(self, word: str) -> int:
        if not re.fullmatch("[0-7]{1,10}", word):
            raise ConfigError("argument couldn't be parsed as an octal number")
        return self.checked(int(word, 8))

    def show(self, value: int) -> str:
        return f"{value:o}"


class Memory(Number):
    """Bytes, with k, kb, m, mb, g, gb as units."""

    def __init__(self, low: int = 0, high: int = 2**63 - 1) -> None:
        super().__init__(low, high)

    def parse_word(self, word: str) -> int:
        return self.checked(parse_memory(word))

    def lines(self, value: int) -> list[str]:
        return [format_memory(value)]


class MemoryOrPercent(Memory):
    """Bytes, or a share of maxmemory written `5%` and held as -5."""

    def parse_word(self, word: str) -> int:
        if word.endswith("%"):
            if not re.fullmatch(r"\d{1,18}", word[:-1], re.ASCII):
                raise ConfigError("argument must be a memory or percent value")
            if int(word[:-1]) > -self.low:
                raise ConfigError(f"percentage argument must be less or equal to {-self.low}")
            return -int(word[:-1])
        try:
            value = parse_memory(word)
        except ConfigError:
            raise ConfigError("argument must be a memory or percent value") from None
        return self.checked(value)

    def show(self, value: int) -> str:
        return f"{-value}%" if value < 0 else str(value)

    def lines(self, value: int) -> list[str]:
        return [self.show(value) if value < 0 else format_memory(value)]


class Choice(Kind):
    """One of a few words; `synonyms` map a further word to the one that is shown."""

    def __init__(self, *choices: str, synonyms: dict[str, str] | None = None) -> None:
        self.choices = choices
        self.synonyms = synonyms or {}

    def parse_word(self, word: str) -> str:
        word = word.lower()
        if word not in self.choices:
            raise ConfigError(
                "argument(s) must be one of the following: " + ", ".join(self.choices)
            )
        return self.synonyms.get(word, word)


class ShutdownFlags(Choice):
    """`default`, or any of save, nosave, now, force: a frozenset, empty for `default`."""

    many_words = True

    def __init__(self) -> None:
        super().__init__("default", "save", "nosave", "now", "force")

    def parse(self, words: list[str]) -> frozenset[str]:
        if not words:
            self.parse_word("")
        flags = frozenset(self.parse_word(word) for word in words) - {"default"}
        if {"save", "nosave"} <= flags:
            raise ConfigError("shutdown options SAVE and NOSAVE can't be used simultaneously")
        return flags

    def show(self, value: frozenset[str]) -> str:
        return " ".join(word for word in self.choices if word in value) or "default"


class SavePoints(Kind):
    """(seconds, changes) pairs. In a file each line adds to those before it; see `Config`."""

    many_words = True
    always_written = True

    def parse(self, words: list[str]) -> list[tuple[int, int]]:
        if words == [""]:
            return []
        numbers = []
        for word in words:
            if not _LOOSE_INTEGER.fullmatch(word):
                raise ConfigError("Invalid save parameters")
            numbers.append(int(word))
        pairs = list(zip(numbers[::2], numbers[1::2], strict=False))
        if len(numbers) % 2 or any(seconds < 1 or changes < 0 for seconds, changes in pairs):
            raise ConfigError("Invalid save parameters")
        return pairs

    def show(self, value: list[tuple[int, int]]) -> str:
        return " ".join(f"{seconds} {changes}" for seconds, changes in value)

    def lines(self, value: list[tuple[int, int]]) -> list[str]:
        return [f"{seconds} {changes}" for seconds, changes in value] or ['""']


class BufferLimits(Kind):
    """Output limits per class of client: {class: (hard bytes, soft bytes, soft seconds)}.

    The words name some classes; the others keep what they had (`merge`)."""

    many_words = True
    classes = ("normal", "slave", "pubsub")

    def parse(self, words: list[str]) -> dict[str, tuple[int, int, int]]:
        if len(words) % 4:
            raise ConfigError("Wrong number of arguments in buffer limit configuration.")
        limits = {}
        for index in range(0, len(words), 4):
            name = words[index].lower()
            name = "slave" if name == "replica" else name
            if name not in self.classes:
                raise ConfigError("Invalid client class specified in buffer limit configuration.")
            hard, soft, seconds = words[index + 1 : index + 4]
            try:
                limits[name] = (parse_memory(hard), parse_memory(soft), int(seconds))
            except (ConfigError, ValueError):
                limits[name] = (0, 0, -1)
            if limits[name][2] < 0:
                raise ConfigError(
                    "Error in hard, soft or soft_seconds setting in buffer limit configuration."
                )
        return limits

    def merge(
        self, old: dict[str, tuple[int, int, int]], value: dict[str, tuple[int, int, int]]
    ) -> dict[str, tuple[int, int, int]]:
        return {**old, **value}

    def show(self, value: dict[str, tuple[int, int, int]]) -> str:
        return " ".join("{} {} {} {}".format(name, *value[name]) for name in self.classes)

    def lines(self, value: dict[str, tuple[int, int, int]]) -> list[str]:
        shown = []
        for name in self.classes:
            hard, soft, seconds = value[name]
            word = "replica" if name == "slave" else name
            shown.append(f"{word} {format_memory(hard)} {format_memory(soft)} {seconds}")
        return shown


class ScoreAdjustments(Kind):
    """Three oom_score_adj values: leader, follower, background child."""

    many_words = True

    def parse(self, words: list[str]) -> tuple[int, int, int]:
        if len(words) != 3:
            raise ConfigError("wrong number of arguments")
        values = [int(word) if _LOOSE_INTEGER.fullmatch(word) else 9999 for word in words]
        if not all(-2000 <= value <= 2000 for value in values):
            raise ConfigError(
                "Invalid oom-score-adj-values, elements must be between -2000 and 2000."
            )
        return values[0], values[1], values[2]

    def show(self, value: tuple[int, int, int]) -> str:
        return " ".join(map(str, value))


class EventClasses(Kind):
    """Classes of keyspace events as letters, kept in the order in which Redis shows them."""

    def parse_word(self, word: str) -> str:
        letters = set(word)
        if not letters <= set("AKEm" + _EVENT_CLASSES):
            raise ConfigError("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")
        everything = set(_EVENT_CLASSES) - {"n"}
        if "A" in letters or everything <= letters:
            shown = "An" if "n" in letters else "A"
        else:
            shown = "".join(letter for letter in _EVENT_CLASSES if letter in letters)
        return shown + "".join(letter for letter in "KEm" if letter in letters)

    def show(self, value: str) -> str:
        return value.replace("n", "") if "A" in value else value

    def lines(self, value: str) -> list[str]:
        return [quote(value)]


class Addresses(Kind):
    """Addresses to listen on; a leading minus marks one that need not exist."""

    many_words = True

    def parse(self, words: list[str]) -> list[str]:
        if len(words) > 16:
            raise ConfigError("Too many bind addresses specified.")
        return [] if words == [""] else list(words)

    def show(self, value: list[str]) -> str:
        return " ".join(value)

    def lines(self, value: list[str]) -> list[str]:
        return [self.show(value) or '""']


class LeaderAddress(Kind):
    """(host, port) of the leader to follow, or None for `no one`."""

    many_words = True

    def parse(self, words: list[str]) -> tuple[str, int] | None:
        if len(words) != 2:
            raise ConfigError("wrong number of arguments")
        if [word.lower() for word in words] == ["no", "one"]:
            return None
        if not _LOOSE_INTEGER.fullmatch(words[1]) or not 0 <= int(words[1]) <= 65535:
            raise ConfigError("Invalid master port")
        return words[0], int(words[1])

    def show(self, value: tuple[str, int] | None) -> str:
        return "" if value is None else f"{value[0]} {value[1]}"

    def lines(self, value: tuple[str, int] | None) -> list[str]:
        return [] if value is None else [self.show(value)]


class Percentiles(Kind):
    """Numbers from 0 to 100."""

    many_words = True

    def parse(self, words: list[str]) -> list[float]:
        values = []
        for word in [] if words == [""] else words:
            try:
                value = float(word.strip() and word)
            except ValueError:
                value = math.nan
            if math.isnan(value) or "_" in word or word != word.strip():
                raise ConfigError("Invalid latency-tracking-info-percentiles parameters")
            if not 0 <= value <= 100:
                raise ConfigError(
                    "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]"
                )
            values.append(value)
        return values

    def show(self, value: list[float]) -> str:
        return " ".join(f"{part:f}".rstrip("0").rstrip(".") for part in value)

    def lines(self, value: list[float]) -> list[str]:
        return [self.show(value) or '""']
