"""The settings in force: loaded from files and the command line, read and changed by CONFIG.

Values are attributes of `Config` with underscores for dashes (`config.repl_backlog_size`), in the
unit that the setting's kind names; a read costs an attribute. The table is in `config_settings`,
how words become values in `config_kinds`, the syntax of files in `config_file`.

Invariant: a refused change, of however many settings, leaves every value as it was.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from cache_server.config_file import (
    ConfigFileError,
    FileReader,
    Rewriter,
    read_text,
    replace_file,
    split_words,
)
from cache_server.config_kinds import ConfigError
from cache_server.config_settings import SETTINGS, Setting

__all__ = ["Config", "ConfigError", "ConfigFileError", "Setting"]

#: Directives that only a file knows; their words are kept for whoever carries them out.
FILE_DIRECTIVES = ("rename-command", "user", "loadmodule", "sentinel")
#: Accepted without effect, as in Redis: settings of versions long gone.
OBSOLETE = ("list-max-ziplist-entries", "list-max-ziplist-value", "lua-replicate-commands")

HZ_MIN = 1
HZ_MAX = 500


class Config:
    """The values in force. `on_change[name](value)` is called when CONFIG SET has changed a value;
    what it raises as ConfigError undoes the whole change."""

    def __init__(self) -> None:
        self.settings: dict[str, Setting] = {}
        self.on_change: dict[str, Callable[[Any], None]] = {}
        #: Absolute path of the file that was loaded, "" without one.
        self.file = ""
        #: (name as called, new name or ""), from rename-command.
        self.renames: list[tuple[str, str]] = []
        #: The words after `user` of each user line.
        self.users: list[list[str]] = []
        #: The `user` lines that a rewrite is to have; None leaves the file's as they are.
        self.user_lines: Callable[[], list[str]] | None = None
        self._save_seen = False
        for setting in SETTINGS:
            self.settings[setting.name] = setting
            if setting.alias:
                self.settings[setting.alias] = setting
            setattr(self, setting.attribute, setting.default)

    if TYPE_CHECKING:  # settings are attributes by name; a hook would slow every look at one

        def __getattr__(self, name: str) -> Any: ...

    def value(self, setting: Setting) -> Any:
        return getattr(self, setting.attribute)

    def show(self, name: str) -> str:
        """The value of a setting as CONFIG GET shows it."""
        setting = self.settings[name]
        return setting.kind.show(self.value(setting))

    # -- files ---------------------------------------------------------------------------------

    def load(self, path: str = "", standard_input: str | None = None, options: str = "") -> None:
        """Loads a file, then standard input, then the command line's options: the last one counts.

        Raises ConfigFileError for a directive that is refused, InputError for an unreadable
        file."""
        reader = FileReader(self.apply_directive)
        if path:
            self.file = path
            reader.read_file(path)
        if standard_input is not None:
            reader.read_lines(standard_input, "standard input")
        if options:
            reader.read_lines(options, "the command line")
        self._check_logfile()
        hz = self.settings["hz"]
        self._assign(hz, min(max(self.value(hz), HZ_MIN), HZ_MAX))

    def apply_directive(self, words: list[str]) -> None:
        """Carries out one line of a file; `words[0]` in lower case. Raises ConfigError."""
        name, values = words[0], words[1:]
        setting = self.settings.get(name)
        if setting is not None:
            if not setting.kind.many_words and len(values) != 1:
                raise ConfigError("wrong number of arguments")
            if setting.kind.many_words and len(values) == 1 and values[0]:
                values = split_words(values[0])
            self._load_value(setting, setting.kind.parse(values))
        elif name in OBSOLETE and len(words) == 2:
            return
        elif not self._file_directive(name, values):
            raise ConfigError("Bad directive or wrong number of arguments")

    def _file_directive(self, name: str, values: list[str]) -> bool:
        if name == "rename-command" and len(values) == 2:
            self.renames.append((values[0], values[1]))
        elif name == "user" and values:
            if any(values[0] == user[0] for user in self.users):
                raise ConfigError(
                    f"Error in user declaration '{values[0]}': Duplicate user found. "
                    "A user can only be defined once in config files"
                )
            self.users.append(values)
        elif name == "loadmodule" and values:
            raise ConfigError("Modules are not supported")
        elif "." in name:
            if not values:
                raise ConfigError("Module config specified without value")
            raise ConfigError("Module config specified, but modules are not supported")
        elif name == "sentinel":
            if values:
                raise ConfigError("sentinel directive while not in sentinel mode")
        else:
            return False
        return True

    def _load_value(self, setting: Setting, value: Any) -> None:
        if setting.name == "save":
            # Lines add up, but the first replaces the defaults, and `save ""` what came before.
            if value and self._save_seen:
                value = [*self.save, *value]
            self._save_seen = True
        self._assign(setting, value)

    def _assign(self, setting: Setting, value: Any) -> None:
        kind = setting.kind
        value = kind.adopt(kind.merge(self.value(setting), value))
        setattr(self, setting.attribute, value)

    def _check_logfile(self) -> None:
        if not self.logfile:
            return
        try:
            with open(self.logfile, "ab"):
                pass
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise ConfigFileError(f"Can't open the log file: {reason}") from None

    # -- CONFIG --------------------------------------------------------------------------------

    def get(self, patterns: Iterable[str], matches: Callable[[str, str], bool]) -> dict[str, str]:
        """Names and shown values of what the patterns name; `matches(pattern, name)` is the
        glob."""
        found: dict[str, str] = {}
        for pattern in patterns:
            pattern = pattern.lower()
            if not any(mark in pattern for mark in "*?["):
                if pattern in self.settings:
                    found[pattern] = self.show(pattern)
                continue
            for name, setting in self.settings.items():
                if not setting.hidden and name not in found and matches(pattern, name):
                    found[name] = self.show(name)
        return found

    def set(
        self, pairs: list[tuple[str, str]], protected_allowed: bool, loading: bool = False
    ) -> None:
        """Changes settings together or not at all. Raises ConfigError with the whole reply text."""
        chosen = self._chosen(pairs, protected_allowed, loading)
        before = [(setting, self.value(setting)) for setting, _ in chosen]
        culprit = chosen[0][0] if chosen else None
        try:
            for setting, word in chosen:
                culprit = setting
                self._assign(setting, setting.kind.parse(_words_of(setting, word)))
            for setting, old in before:
                culprit = setting
                if self.value(setting) != old:
                    self._changed(setting)
        except ConfigError as error:
            self._restore(before)
            name = culprit.name if culprit else ""
            raise ConfigError(
                f"ERR CONFIG SET failed (possibly related to argument '{name}') - {error}"
            ) from None

    def _chosen(
        self, pairs: list[tuple[str, str]], protected_allowed: bool, loading: bool
    ) -> list[tuple[Setting, str]]:
        chosen: list[tuple[Setting, str]] = []
        refusal = ""
        for name, word in pairs:
            setting = self.settings.get(name.lower())
            if setting is None:
                raise ConfigError(
                    f"ERR Unknown option or number of arguments for CONFIG SET - '{name}'"
                )
            reason = ""
            if setting.fixed or (setting.lasting and word != self.show(setting.name)):
                reason = "can't set immutable config"
            elif setting.protected and not protected_allowed:
                reason = "can't set protected config"
            elif any(setting is other for other, _ in chosen):
                reason = "duplicate parameter"
            if loading and setting.deny_loading:
                raise ConfigError("LOADING Redis is loading the dataset in memory")
            if reason and not refusal:
                refusal = (
                    f"ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}"
                )
            chosen.append((setting, word))
        if refusal:
            raise ConfigError(refusal)
        return chosen

    def _changed(self, setting: Setting) -> None:
        hook = self.on_change.get(setting.name)
        if hook is not None:
            hook(self.value(setting))

    def _restore(self, before: list[tuple[Setting, Any]]) -> None:
        for setting, old in before:
            if self.value(setting) != old:
                setattr(self, setting.attribute, setting.kind.adopt(old))
                self._changed(setting)

    def rewrite(self, force: bool = False) -> None:
        """CONFIG REWRITE: settings that differ from their default, or that the file has, go into
        it.

        With `force` all of them. Raises OSError, InputError."""
        text = read_text(self.file) if os.path.exists(self.file) else ""
        rewriter = Rewriter(text, self._directive_name)
        for setting in SETTINGS:
            value = self.value(setting)
            lines = setting.kind.lines(value)
            shown = force or setting.kind.always_written or value != setting.default
            for line in lines:
                rewriter.put(setting.name, f"{setting.name} {line}", shown)
            rewriter.forget(setting.name)
        if self.user_lines is not None:
            for line in self.user_lines():
                rewriter.put("user", line)
            rewriter.forget("user")
        replace_file(self.file, rewriter.text())

    def _directive_name(self, words: list[str]) -> str | None:
        setting = self.settings.get(words[0])
        if setting is not None:
            return setting.name
        return words[0] if words[0] in ("include", *FILE_DIRECTIVES) else None


def _words_of(setting: Setting, word: str) -> list[str]:
    """CONFIG SET's single argument as the words that a file would have."""
    if not setting.kind.many_words:
        return [word]
    return word.split(" ") if word else []
