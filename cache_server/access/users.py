"""All users of a server, and the file that holds them.

    user alice on #2bd8...a90 ~cache:* resetchannels -@all +@read

One line a user, words split at single blanks. `default` is always there: it is who a client is
until it says otherwise. A file is loaded whole or not at all.

Source: https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/.
"""

from __future__ import annotations

from cache_server.access.catalogue import Catalogue
from cache_server.access.rules import UNKNOWN, RuleError, User, has_blanks, merged, shown

DEFAULT = b"default"
FILE_BYTES_MAX = 64 * 1024 * 1024

UNCHANGED = (
    "WARNING: ACL errors detected, no change to the previously active ACL rules was performed"
)


class Users:
    """Users by name. `all_channels_first` (acl-pubsub-default): new users get all channels."""

    def __init__(self, catalogue: Catalogue, all_channels_first: bool = False) -> None:
        self.catalogue = catalogue
        self.all_channels_first = all_channels_first
        self.by_name: dict[bytes, User] = {}
        self.default = self._default()
        self.by_name[DEFAULT] = self.default

    def new(self, name: bytes) -> User:
        """A user that is not among the others yet."""
        return User(name, self.catalogue, self.all_channels_first)

    def _default(self) -> User:
        user = self.new(DEFAULT)
        user.apply_all((b"+@all", b"~*", b"&*", b"on", b"nopass"))
        return user

    def find(self, name: bytes) -> User | None:
        return self.by_name.get(name)

    def sorted(self) -> list[User]:
        """All users by name."""
        return [self.by_name[name] for name in sorted(self.by_name)]

    def staged(self, name: bytes, words: list[bytes]) -> User:
        """A user as the rules would make it of the one there is, or of a new one.

        Raises RuleError with Redis's whole text."""
        rules = merged(words)
        known = self.by_name.get(name)
        user = self.new(name) if known is None else known.copy()
        user.all_channels_first = self.all_channels_first
        for rule in rules:
            try:
                user.apply(rule)
            except RuleError as error:
                text = f"Error in ACL SETUSER modifier '{shown(rule)}': {error}"
                raise RuleError(text) from None
        user.settle()
        return user

    def put(self, staged: User) -> User:
        """Makes a staged user the one of its name; returns the object that clients hold."""
        user = self.by_name.get(staged.name)
        if user is None:
            self.by_name[staged.name] = staged
            return staged
        user.adopt(staged)
        return user

    def set_default_password(self, password: bytes) -> None:
        """requirepass: empty for no password."""
        self.default.apply_all((b"resetpass", b">" + password if password else b"nopass"))

    # -- the file ------------------------------------------------------------------------------

    def text(self) -> bytes:
        """All users as lines of a file."""
        return b"".join(line(user) + b"\n" for user in self.sorted())


def line(user: User) -> bytes:
    """A user as ACL LIST shows it."""
    return b"user " + user.name + b" " + user.describe()


def parse(text: bytes, origin: str, catalogue: Catalogue, all_channels_first: bool) -> Users:
    """The users of a file; `origin` names it in errors. Raises RuleError with all that is wrong."""
    users = Users(catalogue, all_channels_first)
    seen: dict[bytes, User] = {}
    errors = ""
    for number, raw in enumerate(text.split(b"\n"), 1):
        words = raw.strip(b" \t\r\n").split(b" ")
        if words == [b""]:
            continue
        place = f"{origin}:{number}"
        if words[0] != b"user" or len(words) < 2:
            errors += f"{place} should start with user keyword followed by the username. "
        elif has_blanks(words[1]):
            errors += f"'{place}: username '{shown(words[1])}' contains invalid characters. "
        elif words[1] in seen:
            errors += f"WARNING: Duplicate user '{shown(words[1])}' found on line {number}. "
        else:
            seen[words[1]] = user = users.new(words[1])
            errors += _apply_line(user, words[2:], place)
    if errors:
        raise RuleError(errors + UNCHANGED)
    users.by_name.update(seen)
    users.default = users.by_name[DEFAULT]
    return users


def _apply_line(user: User, words: list[bytes], place: str) -> str:
    """Carries out the rules of a line; returns what is wrong with it."""
    try:
        rules = merged(words)
    except RuleError:
        return f"{place}: Unmatched parenthesis in selector definition."
    errors = ""
    refused = False
    for rule in rules:
        rule = rule.strip(b"\t\r\n")
        try:
            user.apply(rule)
        except RuleError as error:
            if str(error) == UNKNOWN:
                errors += f"{place}: Error in applying operation '{shown(rule)}': {error}. "
            elif not refused:
                # The first one may be the cause of the others, and rules hold secrets.
                refused = True
                errors += f"{place}: {error}. "
    user.settle()
    return errors
