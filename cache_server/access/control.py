"""The server's part in access: clients and their users, AUTH, the refusals, files.

A client is its user from the moment it is let in; the object stays the same while rules change.
What it may do is asked only of clients that have the RESTRICTED state, which is those whose user
cannot do everything: nobody else pays for rules.

Invariants: a client of a deleted user is closed and is nobody until it is gone; a change of rules
is in force for the next request, and an open subscription that it no longer allows is closed.
"""

from __future__ import annotations

import logging
from typing import Any

from cache_server import client as states
from cache_server.access.catalogue import Catalogue
from cache_server.access.checking import CHANNEL, COMMAND, KEY, Denial, denial, reads_every_key
from cache_server.access.log import DenialLog, Entry
from cache_server.access.rules import ALLOWED, RuleError, User, has_blanks
from cache_server.access.users import DEFAULT, FILE_BYTES_MAX, Users, parse
from cache_server.commands.client_lines import describe
from cache_server.commands.table import Command
from cache_server.config_file import replace_file
from cache_server.config_kinds import quote
from cache_server.errors import CommandError, InputError

log = logging.getLogger("cache_server")

WRONG_PASSWORD = b"WRONGPASS invalid username-password pair or user is disabled."
NO_FILE = (
    b"ERR This Redis instance is not configured to use an ACL file. You may want to specify users "
    b"via the ACL SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis "
    b"configuration file set) in order to store users in the Redis configuration."
)
_NOT_SAVED = (
    b"ERR There was an error trying to save the ACLs. Please check the server logs for more "
    b"information"
)
_REFUSED = {
    KEY: b"NOPERM this user has no permissions to access one of the keys used as arguments",
    CHANNEL: b"NOPERM this user has no permissions to access one of the channels used as arguments",
}
_REFUSED_AT_EXEC = {
    COMMAND: b"no permission to execute the command or subcommand",
    KEY: b"no permission to touch the specified keys",
    CHANNEL: b"no permission to access one of the channels used as arguments to the command",
}
_REFUSED_IN_SCRIPT = {
    COMMAND: b"can't run this command or subcommand",
    KEY: b"can't access at least one of the keys mentioned in the command arguments",
    CHANNEL: b"can't publish to the channel mentioned in the command",
}


class Access:
    """Users and refusals of one server."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.config = server.config
        self.catalogue = Catalogue(server.dispatcher.commands.values())
        self.log = DenialLog()
        self.users = Users(self.catalogue, self._all_channels())
        self.users.set_default_password(_raw(self.config.requirepass))
        self.config.on_change["requirepass"] = self._password_changed
        self.config.on_change["acl-pubsub-default"] = self._channels_changed
        self.config.user_lines = self.config_lines

    def _all_channels(self) -> bool:
        return bool(self.config.acl_pubsub_default == "allchannels")

    # -- settings and files --------------------------------------------------------------------

    def load_configured(self) -> None:
        """The users of the configuration, or those of the file. Raises InputError."""
        if self.config.aclfile and self.config.users:
            raise InputError(
                "Configuring Redis with users defined in redis.conf and at the same setting an ACL "
                "file path is invalid. This setup is very likely to lead to configuration errors "
                "and security holes, please define either an ACL file or declare users directly in "
                "your redis.conf, but not both."
            )
        for words in self.config.users:
            self._load_user(_raw(words[0]), [_raw(word) for word in words[1:]])
        if self.config.aclfile:
            try:
                self._take(self._read_file())
            except RuleError as error:
                raise InputError(f"Aborting Redis startup because of ACL errors: {error}") from None

    def _load_user(self, name: bytes, words: list[bytes]) -> None:
        shown = name.decode("utf-8", "replace")
        if has_blanks(name):
            raise InputError("Spaces not allowed in ACL usernames")
        try:
            user = self.users.staged(name, [b"reset", *words] if name == DEFAULT else words)
        except RuleError as error:
            raise InputError(f"Error in user declaration '{shown}': {error}") from None
        self.users.put(user)
        if not user.enabled:
            log.info(
                "The user '%s' is disabled (there is no 'on' modifier in the user description). "
                "Make sure this is not a configuration error.",
                shown,
            )

    def _read_file(self) -> Users:
        """The users of the file. Raises RuleError."""
        path = self.config.aclfile
        try:
            with open(path, "rb") as file:
                text = file.read(FILE_BYTES_MAX + 1)
        except OSError as error:
            raise RuleError(
                f"Error loading ACLs, opening file '{path}': {error.strerror}"
            ) from None
        if len(text) > FILE_BYTES_MAX:
            raise RuleError(f"Error loading ACLs, file '{path}' is larger than {FILE_BYTES_MAX}")
        return parse(text, path, self.catalogue, self._all_channels())

    def load(self, running: Any) -> None:
        """ACL LOAD: the file's users take the place of all; whoever was another than `default` is
        closed. Raises CommandError, with everything as it was."""
        if not self.config.aclfile:
            raise CommandError(NO_FILE)
        try:
            fresh = self._read_file()
        except RuleError as error:
            raise CommandError(f"ERR {error}".encode("latin-1", "replace")) from None
        gone = [user for user in self.users.by_name.values() if user is not self.users.default]
        self._take(fresh)
        for user in gone:
            self._expel(user, running)

    def _take(self, fresh: Users) -> None:
        default = self.users.default
        default.adopt(fresh.default)
        fresh.by_name[DEFAULT] = fresh.default = default
        self.users = fresh
        self._changed(default)

    def save(self) -> None:
        """ACL SAVE. Raises CommandError."""
        if not self.config.aclfile:
            raise CommandError(NO_FILE)
        try:
            replace_file(self.config.aclfile, _text(self.users.text()))
        except OSError as error:
            log.warning("Writing ACL file for ACL SAVE: %s", error.strerror)
            raise CommandError(_NOT_SAVED) from None

    def config_lines(self) -> list[str]:
        """The `user` lines of a rewritten configuration: none where there is a file for users."""
        if self.config.aclfile:
            return []
        return [
            " ".join(["user", *(_quoted(word) for word in [user.name, *user.words()])])
            for user in self.users.sorted()
        ]

    def _password_changed(self, password: str) -> None:
        self.users.set_default_password(_raw(password))
        self._changed(self.users.default)

    def _channels_changed(self, _: str) -> None:
        self.users.all_channels_first = self._all_channels()

    # -- changes of users ----------------------------------------------------------------------

    def set_user(self, name: bytes, words: list[bytes], running: Any) -> None:
        """ACL SETUSER. Raises RuleError, with everything as it was."""
        staged = self.users.staged(name, words)
        known = self.users.find(name)
        if known is not None:
            self._close_revoked(known, staged, running)
        self._changed(self.users.put(staged))

    def delete_user(self, name: bytes, running: Any) -> bool:
        """Deletes a user and closes its clients; False where there is none."""
        user = self.users.by_name.pop(name, None)
        if user is None:
            return False
        self._expel(user, running)
        return True

    def _clients_of(self, user: User) -> list[Any]:
        return [client for client in self.server.clients.values() if client.user is user]

    def _changed(self, user: User) -> None:
        """The user's rules changed: its clients are restricted, or are no longer."""
        for client in self._clients_of(user):
            self._restrict(client)
        if user is self.users.default and not self._password_wanted():
            for client in self._clients_of(user):
                if client.flags & states.UNAUTHENTICATED:
                    self._let_in(client, user)

    def _expel(self, user: User, running: Any) -> None:
        for client in self._clients_of(user):
            self.begin(client)
            client.flags |= states.UNAUTHENTICATED
            self._close(client, running)

    def _close_revoked(self, user: User, staged: User, running: Any) -> None:
        """Closes the clients with subscriptions that the new rules do not allow."""
        for client in self._clients_of(user):
            own = client.subscriptions
            if own is not None and not all(
                any(selector.allows_channel(name, is_pattern) for selector in staged.selectors)
                for names, is_pattern in (
                    (own.patterns, True),
                    (own.channels, False),
                    (own.shards, False),
                )
                for name in names
            ):
                self._close(client, running)

    def _close(self, client: Any, running: Any) -> None:
        if client is running:
            client.connection.close_after_reply()
        else:
            self.server.kill(client)

    # -- clients -------------------------------------------------------------------------------

    def _password_wanted(self) -> bool:
        default = self.users.default
        return not (default.no_password and default.enabled)

    def begin(self, client: Any) -> None:
        """A new client, or one that is as new: it is `default`, let in where no password is
        wanted."""
        self._let_in(client, self.users.default)
        if self._password_wanted():
            client.flags |= states.UNAUTHENTICATED
            client.channel.reader.authenticated = False

    def _let_in(self, client: Any, user: User) -> None:
        client.user = user
        client.flags &= ~states.UNAUTHENTICATED
        self._restrict(client)
        if client.channel is not None:
            client.channel.reader.authenticated = True

    @staticmethod
    def _restrict(client: Any) -> None:
        if client.user.unrestricted:
            client.flags &= ~states.RESTRICTED
        else:
            client.flags |= states.RESTRICTED

    def authenticate(self, client: Any, word: bytes, name: bytes, password: bytes) -> None:
        """Lets a client in as a user; `word` is the command it used. Raises WRONGPASS, leaving
        the client as it was."""
        user = self.users.find(name)
        if user is None or not user.knows(password):
            self._note(client, "auth", word, name, _context(client))
            raise CommandError(WRONG_PASSWORD)
        self._let_in(client, user)

    # -- refusals ------------------------------------------------------------------------------

    def admit(self, client: Any, cmd: Command, args: list[bytes]) -> None:
        """Refuses what a restricted client may not do: raises NOPERM and logs it."""
        if client.user.decisions[self.catalogue.numbers[cmd]] == ALLOWED:
            return
        found = denial(client.user, cmd, args)
        if found is None:
            return
        self._log(client, found, cmd, args, _context(client))
        if found.reason == COMMAND:
            raise CommandError(
                f"NOPERM this user has no permissions to run the '{cmd.full_name}' command"
            )
        raise CommandError(_REFUSED[found.reason])

    def refusal(self, client: Any, cmd: Command, args: list[bytes]) -> CommandError | None:
        """What `admit` raises, where it does; None where the request is allowed."""
        try:
            self.admit(client, cmd, args)
        except CommandError as error:
            return error
        return None

    def queued_refusal(self, client: Any, cmd: Command, args: list[bytes]) -> CommandError | None:
        """What EXEC answers for a queued request that is no longer allowed; None where it is."""
        found = self._denied(client, cmd, args, b"multi")
        if found is None:
            return None
        return CommandError(
            b"NOPERM ACLs rules changed between the moment the transaction was accumulated and "
            b"the EXEC call. This command is no longer allowed for the following reason: "
            + _REFUSED_AT_EXEC[found.reason]
        )

    def script_refusal(self, client: Any, cmd: Command, args: list[bytes]) -> bytes:
        """What forbids a script of this client (who has the caller's user) a request: Redis's
        words after "The user executing the script ", b"" where nothing does."""
        found = self._denied(client, cmd, args, b"lua")
        return b"" if found is None else _REFUSED_IN_SCRIPT[found.reason]

    def reads_every_key(self, client: Any, cmd: Command, args: list[bytes]) -> bool:
        """Whether the client may run the request and read any key there can be (SORT's BY, GET)."""
        return client.user is None or reads_every_key(client.user, cmd, args)

    def _denied(
        self, client: Any, cmd: Command, args: list[bytes], context: bytes
    ) -> Denial | None:
        if client.user is None or client.user.unrestricted:
            return None
        found = denial(client.user, cmd, args)
        if found is not None:
            self._log(client, found, cmd, args, context)
        return found

    def _log(
        self, client: Any, found: Denial, cmd: Command, args: list[bytes], context: bytes
    ) -> None:
        named = cmd.full_name.encode() if found.reason == COMMAND else args[found.position]
        self._note(client, found.reason, named, client.user.name, context)

    def _note(self, client: Any, reason: str, subject: bytes, user: bytes, context: bytes) -> None:
        now_ms = self.server.now_ms()
        peer = self.server.scripting.host.caller if client.flags & states.SCRIPT else client
        line = "" if peer.channel is None else describe(peer, now_ms)
        shown = line.encode("utf-8", "surrogateescape")
        entry = Entry(reason.encode(), context, subject, user, shown, now_ms)
        self.log.add(entry, self.config.acllog_max_len)


def _context(client: Any) -> bytes:
    return b"multi" if client.flags & states.MULTI else b"toplevel"


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _quoted(word: bytes) -> str:
    """A word of a configuration line; a selector is several, unless its quotes have to be kept."""
    return quote(_text(word)) if b'"' in word or b"'" in word or not word else _text(word)
