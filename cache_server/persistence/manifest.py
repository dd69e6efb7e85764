"""The manifest of Redis 7's append-only files: which files, in which order, make up the data.

    file appendonly.aof.7.base.rdb seq 7 type b        the data as it was once
    file appendonly.aof.2.incr.aof seq 2 type h        history: of no use any more
    file appendonly.aof.3.incr.aof seq 3 type i        what was written since, in order

A rewrite makes a new base; the files that it makes useless become history, are named so in the
manifest, and are deleted only after that manifest is durable. Names with spaces or other odd bytes
are quoted as Redis quotes them. Keywords that are not known are skipped.

Invariants: at most one base; the numbers of the increments rise; a name is no path. Parsing is pure
and either gives a manifest that keeps these or raises InputError with Redis's words and the line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from cache_server.constants import MANIFEST_BYTES_MAX, MANIFEST_LINE_BYTES_MAX
from cache_server.errors import InputError

BASE = "b"
HISTORY = "h"
INCREMENT = "i"

_SEQ_MAX = 2**63 - 1
_LINE = re.compile(rb"[^\n]*\n|[^\n]+")
_PLAIN_NAME = re.compile(r"[!-~]+")
_ESCAPES = {"n": 10, "r": 13, "t": 9, "b": 8, "a": 7}
_UNESCAPES = {number: letter for letter, number in _ESCAPES.items()} | {34: '"', 92: "\\"}


@dataclass(frozen=True)
class LogFile:
    """One file: its name within the folder, its number, and BASE, HISTORY or INCREMENT."""

    name: str
    seq: int
    kind: str

    def line(self) -> str:
        return f"file {_quoted(self.name)} seq {self.seq} type {self.kind}\n"


@dataclass
class Manifest:
    """The files. `base_seq` and `increment_seq` are the highest numbers given so far."""

    base: LogFile | None = None
    history: list[LogFile] = field(default_factory=list)
    increments: list[LogFile] = field(default_factory=list)
    base_seq: int = 0
    increment_seq: int = 0

    @property
    def empty(self) -> bool:
        """Whether there is nothing to be loaded."""
        return self.base is None and not self.increments

    @property
    def loaded_files(self) -> list[LogFile]:
        """What makes up the data, in order."""
        return ([] if self.base is None else [self.base]) + self.increments

    def copy(self) -> Manifest:
        return replace(self, history=list(self.history), increments=list(self.increments))

    def text(self) -> bytes:
        """The contents of the manifest's file."""
        files = [*([] if self.base is None else [self.base]), *self.history, *self.increments]
        return "".join(one.line() for one in files).encode("utf-8", "surrogateescape")

    def begin_increment(self, filename: str) -> LogFile:
        """Adds the next increment. `filename` is the setting appendfilename."""
        self.increment_seq += 1
        one = LogFile(f"{filename}.{self.increment_seq}.incr.aof", self.increment_seq, INCREMENT)
        self.increments.append(one)
        return one

    def replace_base(self, filename: str, *, snapshot: bool, keep_last_increment: bool) -> LogFile:
        """A new base takes the place of the old one and of the increments before the last (or of
        all); they become history, newest first. `snapshot`: RDB, or commands."""
        self.base_seq += 1
        name = f"{filename}.{self.base_seq}.base.{'rdb' if snapshot else 'aof'}"
        if self.base is not None:
            self.history.insert(0, replace(self.base, kind=HISTORY))
        self.base = LogFile(name, self.base_seq, BASE)
        kept = self.increments[-1:] if keep_last_increment else []
        past = self.increments[: len(self.increments) - len(kept)]
        for one in reversed(past):
            self.history.insert(0, replace(one, kind=HISTORY))
        self.increments = kept
        return self.base


def parse_manifest(data: bytes) -> Manifest:
    """The manifest. Raises InputError, worded as in Redis, with the line."""
    if not data:
        raise InputError("Found an empty AOF manifest")
    if len(data) > MANIFEST_BYTES_MAX:
        raise InputError(f"the AOF manifest is longer than {MANIFEST_BYTES_MAX} bytes")
    manifest = Manifest()
    for number, line in enumerate(_LINE.findall(data), 1):
        if line.startswith(b"#"):
            continue
        try:
            _take_line(manifest, line)
        except InputError as error:
            shown = line[:100].decode("utf-8", "backslashreplace").rstrip()
            raise InputError(f"{error} (line {number}: '{shown}')") from None
    return manifest


def _take_line(manifest: Manifest, line: bytes) -> None:
    if not line.endswith(b"\n") or len(line) > MANIFEST_LINE_BYTES_MAX:
        raise InputError("The AOF manifest file contains too long line")
    one = _parse_line(line)
    if one.kind == BASE:
        if manifest.base is not None:
            raise InputError("Found duplicate base file information")
        manifest.base, manifest.base_seq = one, one.seq
    elif one.kind == HISTORY:
        manifest.history.append(one)
    elif one.kind == INCREMENT:
        if one.seq <= manifest.increment_seq:
            raise InputError("Found a non-monotonic sequence number")
        manifest.increments.append(one)
        manifest.increment_seq = one.seq
    else:
        raise InputError("Unknown AOF file type")


def _parse_line(line: bytes) -> LogFile:
    words = _split(line.strip(b" \t\r\n"))
    if words is None or len(words) < 6 or len(words) % 2:
        raise InputError("Invalid AOF manifest file format")
    name, seq, kind = "", 0, ""
    for keyword, value in zip(words[::2], words[1::2]):
        match keyword.lower():
            case b"file":
                name = value.decode("utf-8", "surrogateescape")
                if "/" in name or "\0" in name or name in (".", ".."):
                    raise InputError("File can't be a path, just a filename")
            case b"seq":
                seq = int(value) if value.isdigit() and len(value) < 20 else 0
            case b"type":
                kind = value[:1].decode("latin-1")
    if not name or not kind or not 0 < seq <= _SEQ_MAX:
        raise InputError("Invalid AOF manifest file format")
    return LogFile(name, seq, kind)


def _quoted(name: str) -> str:
    if _PLAIN_NAME.fullmatch(name) and '"' not in name and "\\" not in name and "'" not in name:
        return name
    out = []
    for byte in name.encode("utf-8", "surrogateescape"):
        if byte in _UNESCAPES:
            out.append("\\" + _UNESCAPES[byte])
        elif 32 <= byte < 127:
            out.append(chr(byte))
        else:
            out.append(f"\\x{byte:02x}")
    return '"' + "".join(out) + '"'


def _split(line: bytes) -> list[bytes] | None:
    """Words, some of them quoted as Redis quotes; None where a quote is not closed."""
    words: list[bytes] = []
    at, end = 0, len(line)
    while at < end:
        if line[at] in b" \t\r\n\0":
            at += 1
            continue
        if line[at] in b"\"'":
            word, at = _quoted_word(line, at + 1, line[at])
            if at < 0:
                return None
        else:
            start = at
            while at < end and line[at] not in b" \t\r\n\0":
                at += 1
            word = line[start:at]
        words.append(word)
    return words


def _quoted_word(line: bytes, at: int, quote: int) -> tuple[bytes, int]:
    """The word whose quote was opened before `at`, and where it ends; -1 for nowhere."""
    word = bytearray()
    end = len(line)
    while at < end:
        byte = line[at]
        if byte == quote:
            followed = at + 1 < end and line[at + 1] not in b" \t\r\n\0"
            return bytes(word), -1 if followed else at + 1
        if byte == 92 and at + 1 < end:
            at += 1
            byte = line[at]
            digits = line[at + 1 : at + 3]
            if quote == 34 and byte == 120 and re.fullmatch(rb"[0-9a-fA-F]{2}", digits):
                byte = int(digits, 16)
                at += 2
            elif quote == 34:
                byte = _ESCAPES.get(chr(byte), byte)
            elif byte != 39:
                word.append(92)
        word.append(byte)
        at += 1
    return b"", -1
