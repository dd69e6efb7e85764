"""One user's rules: words in, decisions and the same words out.

    on >secret ~cache:* %R~config:* &news:* +@read -keys +config|get (+set ~job:*)

A user has passwords, kept as SHA-256 digests, and selectors. A selector says which commands, keys
and channels go together; the first is the user's own, each further one stands in parentheses. A
request is allowed when one selector allows all of it.

What a selector allows is a bitmap over the catalogue's rows. To say it in words again we look for
the categories that come nearest and correct them command by command, so that words mean the same
bitmap, but need not be the words that were given.

Invariants: `describe` applied to a fresh user gives an equal user; a rule that is refused leaves
a half-changed user behind, so callers apply rules to a copy. `decisions` is up to date after every
`settle`.

Source: https://redis.io/docs/latest/commands/acl-setuser/.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable

from cache_server.access.catalogue import READ, WRITE, Catalogue
from cache_server.errors import ProtocolError
from cache_server.structures.glob import match, matcher
from cache_server.wire.inline import split_inline

# What a user may do with a row, whatever the arguments.
DENIED = 0
LOOK = 1  # it depends on the arguments
ALLOWED = 2

UNKNOWN = "Unknown command or category name in ACL"
SYNTAX = "Syntax error"
KEYS_AFTER_ALL = (
    "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have "
    "any effect. Try 'resetkeys' to start with an empty list of patterns"
)
CHANNELS_AFTER_ALL = (
    "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not "
    "have any effect. Try 'resetchannels' to start with an empty list of channels"
)
NO_SUCH_PASSWORD = "The password you are trying to remove from the user does not exist"
BAD_HASH = (
    "The password hash must be exactly 64 characters and contain only lowercase hexadecimal "
    "characters"
)
FIRST_ARGUMENT = "Allowing first-arg of a subcommand is not supported"

_BLANK = re.compile(rb"[\s\0]")
_HASH = re.compile(rb"[0-9a-f]{64}")
_PREFIXES = {READ: b"%R~", WRITE: b"%W~", READ | WRITE: b"~"}


class RuleError(Exception):
    """A rule that is refused; the text is Redis's reason, without the rule."""


def has_blanks(word: bytes) -> bool:
    """Whether a word would not survive in a line of words."""
    return _BLANK.search(word) is not None


def password_hash(password: bytes) -> bytes:
    """What is kept of a password: 64 hex digits."""
    return hashlib.sha256(password).hexdigest().encode()


class Selector:
    """Commands, keys and channels that go together. A new one allows nothing."""

    def __init__(self, catalogue: Catalogue, all_channels: bool) -> None:
        self.catalogue = catalogue
        self.allowed = 0
        #: Whether commands that a later version brings are meant as well (+@all was said).
        self.future = False
        #: Forbidden commands that are allowed with these first arguments: row number -> words.
        self.first_arguments: dict[int, list[bytes]] = {}
        self.all_keys = False
        self.patterns: dict[bytes, int] = {}
        self._matchers: list[tuple[int, Callable[[bytes], object]]] = []
        self.all_channels = all_channels
        self.channels: dict[bytes, None] = {}

    def copy(self) -> Selector:
        twin = Selector(self.catalogue, self.all_channels)
        twin.allowed, twin.future, twin.all_keys = self.allowed, self.future, self.all_keys
        twin.first_arguments = {row: list(words) for row, words in self.first_arguments.items()}
        twin.patterns, twin.channels = dict(self.patterns), dict(self.channels)
        return twin

    # -- rules ---------------------------------------------------------------------------------

    def apply(self, rule: bytes) -> None:
        """Carries out one rule. Raises RuleError."""
        word = rule.lower()
        if word in (b"allkeys", b"~*", b"resetkeys"):
            self.all_keys = word != b"resetkeys"
            self.patterns.clear()
        elif word in (b"allchannels", b"&*", b"resetchannels"):
            self.all_channels = word != b"resetchannels"
            self.channels.clear()
        elif word in (b"allcommands", b"+@all", b"nocommands", b"-@all"):
            self.future = word in (b"allcommands", b"+@all")
            self.allowed = self.catalogue.everything if self.future else 0
            self.first_arguments.clear()
        elif rule[:1] in (b"~", b"%"):
            self._add_pattern(rule)
        elif rule[:1] == b"&":
            self._add_channel(rule[1:])
        elif rule[:2] in (b"+@", b"-@"):
            self._change_category(word[2:], rule[:1] == b"+")
        elif rule[:1] == b"+" and b"|" in rule:
            self._allow_part(rule[1:])
        elif rule[:1] in (b"+", b"-"):
            self._change_command(rule[1:], rule[:1] == b"+")
        else:
            raise RuleError(SYNTAX)

    def _add_pattern(self, rule: bytes) -> None:
        if self.all_keys:
            raise RuleError(KEYS_AFTER_ALL)
        access, pattern = READ | WRITE, rule[1:]
        if rule[:1] == b"%":
            letters, _, pattern = pattern.partition(b"~")
            known = {b"r": READ, b"w": WRITE, b"rw": READ | WRITE, b"wr": READ | WRITE}
            if letters.lower() not in known:
                raise RuleError(SYNTAX)
            access = known[letters.lower()]
        if has_blanks(pattern):
            raise RuleError(SYNTAX)
        self.patterns[pattern] = self.patterns.get(pattern, 0) | access

    def _add_channel(self, pattern: bytes) -> None:
        if self.all_channels:
            raise RuleError(CHANNELS_AFTER_ALL)
        if has_blanks(pattern):
            raise RuleError(SYNTAX)
        self.channels[pattern] = None

    def _change(self, rows: int, allow: bool) -> None:
        self.allowed = self.allowed | rows if allow else self.allowed & ~rows

    def _change_category(self, name: bytes, allow: bool) -> None:
        catalogue = self.catalogue
        if name not in catalogue.categories:
            raise RuleError(UNKNOWN)
        self._change(catalogue.category_reach[name], allow)
        for row in [row for row in self.first_arguments if catalogue.categories[name] >> row & 1]:
            del self.first_arguments[row]

    def _change_command(self, name: bytes, allow: bool) -> None:
        row = self.catalogue.find(name)
        if row is None:
            raise RuleError(UNKNOWN)
        self._change(self.catalogue.reach(row), allow)
        self.first_arguments.pop(self.catalogue.numbers[row], None)

    def _allow_part(self, name: bytes) -> None:
        """`+config|get` is a subcommand's row; `+select|0` a first argument of a plain command."""
        command, _, part = name.rpartition(b"|")
        row = self.catalogue.find(command)
        if row is None:
            raise RuleError(UNKNOWN)
        if row.container:
            raise RuleError(FIRST_ARGUMENT)
        if not part or has_blanks(part):
            raise RuleError(SYNTAX)
        if row.subcommands:
            self._change_command(name, True)
            return
        words = self.first_arguments.setdefault(self.catalogue.numbers[row], [])
        if part.lower() not in [word.lower() for word in words]:
            words.append(part)

    # -- questions -----------------------------------------------------------------------------

    def allows_key(self, key: bytes, access: int) -> bool:
        """Whether the key may be accessed so; access 0 asks for any pattern that names it."""
        if self.all_keys:
            return True
        for granted, matches in self._matchers:
            if granted & access == access and matches(key):
                return True
        return False

    def settle(self) -> None:
        """Makes the key patterns ready; after rules were applied."""
        self._matchers = [(granted, matcher(text)) for text, granted in self.patterns.items()]

    def allows_every_key(self, access: int) -> bool:
        """Whether all keys there can be may be accessed so."""
        return self.all_keys or self.patterns.get(b"*", 0) & access == access != 0

    def allows_channel(self, channel: bytes, is_pattern: bool) -> bool:
        """A pattern to subscribe to has to be granted word for word."""
        if self.all_channels or (is_pattern and channel in self.channels):
            return True
        return not is_pattern and any(match(pattern, channel) for pattern in self.channels)

    # -- words ---------------------------------------------------------------------------------

    def command_words(self) -> list[bytes]:
        """Rules that lead to this bitmap: +@all or -@all, then categories, then commands."""
        catalogue = self.catalogue
        words = [b"+@all" if self.future else b"-@all"]
        reached = catalogue.everything if self.future else 0
        left = self.allowed
        unused = dict(catalogue.categories)
        while (best := self._nearest(left, unused)) is not None:
            del unused[best]
            reach = catalogue.category_reach[best]
            reached = reached & ~reach if self.future else reached | reach
            left = left | reach if self.future else left & ~reach
            words.append((b"-@" if self.future else b"+@") + best)
        for number, row in enumerate(catalogue.rows):
            allowed = self.allowed >> number & 1
            name = row.full_name.encode()
            if allowed != reached >> number & 1:
                words.append((b"+" if allowed else b"-") + name)
                reach = catalogue.reach(row)
                reached = reached | reach if allowed else reached & ~reach
            if not allowed:
                parts = self.first_arguments.get(number, ())
                words += [b"+%b|%b" % (name, part) for part in parts]
        return words

    def _nearest(self, left: int, categories: dict[bytes, int]) -> bytes | None:
        """The category that agrees most with what is left to be said, where it does at all."""
        best, best_wrong, best_right = None, 0, 0
        for name, members in categories.items():
            on = (left & members).bit_count()
            off = members.bit_count() - on
            right, wrong = (off, on) if self.future else (on, off)
            if right <= wrong:
                continue
            nearer = wrong < best_wrong or (wrong == best_wrong and right > best_right)
            if best is None or nearer:
                best, best_wrong, best_right = name, wrong, right
        return best

    def key_words(self) -> list[bytes]:
        if self.all_keys:
            return [b"~*"]
        return [_key_word(pattern, access) for pattern, access in self.patterns.items()]

    def channel_words(self) -> list[bytes]:
        return [b"&*"] if self.all_channels else [b"&" + channel for channel in self.channels]

    def words(self) -> list[bytes]:
        """All rules, keys first."""
        channels = self.channel_words()
        if not self.all_channels:
            channels.insert(0, b"resetchannels")
        return self.key_words() + channels + self.command_words()


class User:
    """One user. A new one is off, has no password and may do nothing."""

    def __init__(self, name: bytes, catalogue: Catalogue, all_channels: bool = False) -> None:
        self.name = name
        self.catalogue = catalogue
        #: What acl-pubsub-default gives a new selector.
        self.all_channels_first = all_channels
        self.enabled = False
        self.no_password = False
        self.passwords: dict[bytes, None] = {}
        #: "", "skip-sanitize-payload" or "sanitize-payload": kept, RESTORE always checks.
        self.sanitizing = b""
        self.selectors = [Selector(catalogue, all_channels)]
        self.settle()

    def copy(self) -> User:
        twin = User(self.name, self.catalogue, self.all_channels_first)
        twin.adopt(self)
        return twin

    def adopt(self, other: User) -> None:
        """Takes over everything but the name."""
        self.enabled, self.no_password = other.enabled, other.no_password
        self.passwords, self.sanitizing = dict(other.passwords), other.sanitizing
        self.selectors = [selector.copy() for selector in other.selectors]
        self.settle()

    def settle(self) -> None:
        """Works out the decisions; after rules were applied."""
        catalogue = self.catalogue
        allowed = look = 0
        for selector in self.selectors:
            selector.settle()
            reach = selector.allowed | catalogue.always
            for number in selector.first_arguments:
                look |= 1 << number
            look |= reach
            if not selector.all_keys:
                reach &= ~catalogue.keyed
            if not selector.all_channels:
                reach &= ~catalogue.channelled
            allowed |= reach
        #: DENIED, LOOK or ALLOWED by row number.
        self.decisions = bytes(
            ALLOWED if allowed >> number & 1 else LOOK if look >> number & 1 else DENIED
            for number in range(len(catalogue.rows))
        )
        #: Whether no request has to be looked at.
        self.unrestricted = allowed == catalogue.everything
        self._described: bytes | None = None

    # -- rules ---------------------------------------------------------------------------------

    def apply_all(self, rules: Iterable[bytes]) -> None:
        """Carries out rules. Raises RuleError; then the user is not to be used any more."""
        for rule in rules:
            self.apply(rule)
        self.settle()

    def apply(self, rule: bytes) -> None:
        """Carries out one rule; `settle` comes after the last. Raises RuleError."""
        word = rule.lower()
        if not rule:
            return
        if word in (b"on", b"off"):
            self.enabled = word == b"on"
        elif word in (b"skip-sanitize-payload", b"sanitize-payload"):
            self.sanitizing = word
        elif word in (b"nopass", b"resetpass"):
            self.no_password = word == b"nopass"
            self.passwords.clear()
        elif rule[:1] in (b">", b"#"):
            self.passwords[_hash_of(rule, b">")] = None
            self.no_password = False
        elif rule[:1] in (b"<", b"!"):
            wanted = _hash_of(rule, b"<")
            if wanted not in self.passwords:
                raise RuleError(NO_SUCH_PASSWORD)
            del self.passwords[wanted]
        elif rule[:1] == b"(" and rule[-1:] == b")" and len(rule) > 1:
            self._add_selector(rule[1:-1])
        elif word == b"clearselectors":
            del self.selectors[1:]
        elif word == b"reset":
            self._reset()
        else:
            self.selectors[0].apply(rule)

    def _add_selector(self, text: bytes) -> None:
        selector = Selector(self.catalogue, self.all_channels_first)
        try:
            words = split_inline(text)
        except ProtocolError:
            raise RuleError(SYNTAX) from None
        for word in words:
            selector.apply(word)
        self.selectors.append(selector)

    def _reset(self) -> None:
        self.enabled = self.no_password = False
        self.passwords.clear()
        self.sanitizing = b"sanitize-payload"
        self.selectors = [Selector(self.catalogue, self.all_channels_first)]

    # -- questions -----------------------------------------------------------------------------

    def knows(self, password: bytes) -> bool:
        """Whether the password lets in. The time it takes tells nothing of the password."""
        if not self.enabled:
            return False
        digest = password_hash(password)
        known = [hmac.compare_digest(digest, other) for other in self.passwords]
        return self.no_password or any(known)

    # -- words ---------------------------------------------------------------------------------

    def flags(self) -> list[bytes]:
        """The words that are neither passwords nor selectors, in Redis's order."""
        shown = [b"on" if self.enabled else b"off"]
        if self.no_password:
            shown.append(b"nopass")
        if self.sanitizing:
            shown.append(self.sanitizing)
        return shown

    def words(self) -> list[bytes]:
        """Rules that make this user from a new one, one selector a word."""
        shown = self.flags() + [b"#" + digest for digest in self.passwords]
        shown += self.selectors[0].words()
        for selector in self.selectors[1:]:
            inner = b" ".join(_quoted_in_selector(word) for word in selector.words())
            shown.append(b"(" + inner + b")")
        return shown

    def describe(self) -> bytes:
        """The rules as ACL LIST and the file show them."""
        if self._described is None:
            self._described = b" ".join(self.words())
        return self._described


def _key_word(pattern: bytes, access: int) -> bytes:
    """`~*` alone means allkeys, after which no pattern may come: the pattern is told apart."""
    if pattern == b"*" and access == READ | WRITE:
        return b"%RW~*"
    return _PREFIXES[access] + pattern


def _hash_of(rule: bytes, plain: bytes) -> bytes:
    """The digest that a rule about a password means: of a word in clear, or as it stands."""
    if rule[:1] == plain:
        return password_hash(rule[1:])
    if not _HASH.fullmatch(rule[1:]):
        raise RuleError(BAD_HASH)
    return rule[1:]


def _quoted_in_selector(word: bytes) -> bytes:
    """A word within parentheses: quoted where it would be unquoted, or would close them."""
    if b'"' not in word and b"'" not in word and not word.endswith(b")"):
        return word
    return b'"' + word.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def merged(words: list[bytes]) -> list[bytes]:
    """Puts selectors that were split at their blanks together again.

    Raises RuleError, with the whole text, for a parenthesis that is not closed."""
    whole: list[bytes] = []
    opened: list[bytes] = []
    for word in words:
        if not opened and (word[:1] != b"(" or word[-1:] == b")"):
            whole.append(word)
            continue
        if word[:1] == b"(" and word[-1:] != b")":
            opened = [word]  # as in Redis, an inner parenthesis begins again
            continue
        opened.append(word)
        if word[-1:] == b")":
            whole.append(b" ".join(opened))
            opened = []
    if opened:
        raise RuleError(f"Unmatched parenthesis in acl selector starting at '{shown(opened[0])}'.")
    return whole


def shown(word: bytes) -> str:
    """A word as an error text has it: up to a NUL, on one line."""
    text = word.split(b"\0", 1)[0].decode("latin-1")
    return text.replace("\r", " ").replace("\n", " ")
