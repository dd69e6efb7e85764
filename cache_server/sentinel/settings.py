"""sentinel.conf: what each `sentinel ...` line means, and which lines say what is known.

The machine's own configuration of a master is `MasterConfig`; what only the shell needs of it
(credentials, scripts, renamed commands) is `MasterOptions`. A file is read in the order that Redis
reads it: settings of the whole sentinel, then `monitor` lines, then lines that speak of a master.

Source of names, limits and error texts: sentinel.conf and the start of redis-sentinel 7.0. Ours:
`sentinel members <name> <count>`, the number of sentinels of which a majority decides.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from cache_server.coordination.link import is_ip
from replication.failover.cluster_view import (
    Address,
    KnownSentinel,
    MasterConfig,
    MasterState,
    SentinelState,
)
from replication.failover.constants import (
    EPOCH_MAX,
    ID_BYTES_MAX,
    NAME_BYTES_MAX,
    REPLICAS_MAX,
    SENTINELS_MAX,
)

_NAME = re.compile(r"[^\s,\x00-\x1f\x7f]+\Z")
_NUMBER_MAX = 2**31 - 1


class SettingError(Exception):
    """A line that cannot be; the text is Redis's where Redis has one. `words` is the line."""

    words: tuple[str, ...] = ()


@dataclass
class MasterOptions:
    """What the shell keeps of one master."""

    auth_user: str = ""
    auth_pass: str = ""
    notification_script: str = ""
    client_reconfig_script: str = ""
    renames: dict[str, str] = field(default_factory=dict)


@dataclass
class Settings:
    """What holds for the whole sentinel, and the options of each master by its name."""

    announce_ip: str = ""
    announce_port: int = 0
    resolve_hostnames: bool = False
    announce_hostnames: bool = False
    deny_scripts_reconfig: bool = True
    sentinel_user: str = ""
    sentinel_pass: str = ""
    options: dict[str, MasterOptions] = field(default_factory=dict)


def number(word: str, high: int = _NUMBER_MAX) -> int:
    """A whole number from 0 to `high`. Raises SettingError."""
    if not (word.isascii() and word.isdigit()) or len(word) > 19 or int(word) > high:
        raise SettingError(f"'{word[:64]}' is not a number from 0 to {high}.")
    return int(word)


def yes_no(word: str, option: str) -> bool:
    """yes or no. Raises SettingError."""
    if word.lower() not in ("yes", "no"):
        raise SettingError(f"Please specify yes or no for the {option} option.")
    return word.lower() == "yes"


def is_name(word: str) -> bool:
    """Whether a master may be called so: it appears in messages that are split at commas and
    spaces."""
    return bool(_NAME.match(word)) and len(word) <= NAME_BYTES_MAX


def is_executable(path: str) -> bool:
    """Whether a script could be run."""
    return os.access(path, os.X_OK)


def _port(word: str) -> int:
    port = number(word)
    if not 0 < port < 65536:
        raise SettingError("Invalid port number.")
    return port


class Reader:
    """Collects the lines of a file; `finish` makes settings and the state they imply of them."""

    def __init__(self) -> None:
        self.settings = Settings()
        self.sentinel_id = ""
        self.current_epoch = 0
        self._masters: dict[str, MasterState] = {}
        self._lines: list[list[str]] = []
        self._whole: dict[str, Callable[[list[str]], None]] = {
            "announce-ip": self._announce_ip,
            "announce-port": self._announce_port,
            "resolve-hostnames": self._resolve_hostnames,
            "announce-hostnames": self._announce_hostnames,
            "deny-scripts-reconfig": self._deny_scripts,
            "sentinel-user": self._sentinel_user,
            "sentinel-pass": self._sentinel_pass,
            "current-epoch": self._current_epoch,
            "myid": self._myid,
        }
        self._of_master: dict[str, tuple[int, Callable[[str, list[str]], None]]] = {
            "down-after-milliseconds": (1, self._down_after),
            "failover-timeout": (1, self._failover_timeout),
            "parallel-syncs": (1, self._parallel_syncs),
            "master-reboot-down-after-period": (1, self._reboot_down_after),
            "members": (1, self._members),
            "notification-script": (1, self._notification_script),
            "client-reconfig-script": (1, self._reconfig_script),
            "auth-pass": (1, self._auth_pass),
            "auth-user": (1, self._auth_user),
            "config-epoch": (1, self._config_epoch),
            "leader-epoch": (1, self._leader_epoch),
            "known-replica": (2, self._known_replica),
            "known-slave": (2, self._known_replica),
            "known-sentinel": (3, self._known_sentinel),
            "rename-command": (2, self._rename_command),
        }

    def add(self, words: list[str]) -> None:
        """One line's words after `sentinel`."""
        self._lines.append(words)

    def finish(self) -> SentinelState:
        """Reads the lines in Redis's order; what they say of the past is the state. Raises
        SettingError."""
        passes: list[Callable[[str], bool]] = [
            lambda word: word in self._whole,
            lambda word: word == "monitor",
            lambda word: word not in self._whole and word != "monitor",
        ]
        for wanted in passes:
            for words in self._lines:
                if wanted(words[0].lower() if words else ""):
                    try:
                        self._read(words)
                    except SettingError as error:
                        error.words = tuple(words)
                        raise
        masters = tuple(self._masters.values())
        epoch = max([self.current_epoch, *(one.config_epoch for one in masters)])
        return SentinelState(self.sentinel_id, epoch, masters)

    def _read(self, words: list[str]) -> None:
        word, rest = (words[0].lower() if words else ""), words[1:]
        if word in self._whole and len(rest) == 1:
            self._whole[word](rest)
        elif word == "monitor" and len(rest) == 4:
            self._monitor(rest)
        elif word == "known-sentinel" and len(rest) == 3:
            return  # the form without an id, of long ago
        elif word in self._of_master and len(rest) == self._of_master[word][0] + 1:
            if rest[0] not in self._masters:
                raise SettingError("No such master with specified name.")
            self._of_master[word][1](rest[0], rest[1:])
        else:
            raise SettingError("Unrecognized sentinel configuration statement.")

    # -- of the whole sentinel -----------------------------------------------------------------

    def _announce_ip(self, words: list[str]) -> None:
        self.settings.announce_ip = words[0]

    def _announce_port(self, words: list[str]) -> None:
        self.settings.announce_port = number(words[0], 65535)

    def _resolve_hostnames(self, words: list[str]) -> None:
        self.settings.resolve_hostnames = yes_no(words[0], "resolve-hostnames")

    def _announce_hostnames(self, words: list[str]) -> None:
        self.settings.announce_hostnames = yes_no(words[0], "announce-hostnames")

    def _deny_scripts(self, words: list[str]) -> None:
        if words[0].lower() not in ("yes", "no"):
            raise SettingError("Please specify yes or no for the deny-scripts-reconfig options.")
        self.settings.deny_scripts_reconfig = words[0].lower() == "yes"

    def _sentinel_user(self, words: list[str]) -> None:
        self.settings.sentinel_user = words[0]

    def _sentinel_pass(self, words: list[str]) -> None:
        self.settings.sentinel_pass = words[0]

    def _current_epoch(self, words: list[str]) -> None:
        self.current_epoch = max(self.current_epoch, number(words[0], EPOCH_MAX))

    def _myid(self, words: list[str]) -> None:
        if len(words[0]) != 40 or not is_name(words[0]):
            raise SettingError("Malformed Sentinel id in myid option.")
        self.sentinel_id = words[0]

    # -- of one master -------------------------------------------------------------------------

    def _monitor(self, words: list[str]) -> None:
        name, host, port, quorum = words
        if not is_name(name):
            raise SettingError("Invalid master name: no spaces, commas or control characters.")
        if name in self._masters:
            raise SettingError("Duplicate master name.")
        if number(quorum) <= 0:
            raise SettingError("Quorum must be 1 or greater.")
        address = self._address(host, port)
        config = MasterConfig(name, address, number(quorum))
        self._masters[name] = MasterState(config, address)
        self.settings.options[name] = MasterOptions()

    def _address(self, host: str, port: str) -> Address:
        if not host or (not self.settings.resolve_hostnames and not is_ip(host)):
            raise SettingError("Can't resolve instance hostname.")
        return Address(host, _port(port))

    def _configure(self, name: str, **changes: int) -> None:
        state = self._masters[name]
        config = replace(state.config, **changes)  # type: ignore[arg-type]
        self._masters[name] = replace(state, config=config)

    def _positive(self, word: str) -> int:
        value = int(word) if re.fullmatch(r"-?\d{1,10}", word) else 0
        if not 0 < value <= _NUMBER_MAX:
            raise SettingError("negative or zero time parameter.")
        return value

    def _down_after(self, name: str, words: list[str]) -> None:
        self._configure(name, down_after_ms=self._positive(words[0]))

    def _failover_timeout(self, name: str, words: list[str]) -> None:
        self._configure(name, failover_timeout_ms=self._positive(words[0]))

    def _parallel_syncs(self, name: str, words: list[str]) -> None:
        self._configure(name, parallel_syncs=number(words[0]))

    def _reboot_down_after(self, name: str, words: list[str]) -> None:
        if words[0].startswith("-"):
            raise SettingError("negative time parameter.")
        self._configure(name, master_reboot_down_after_ms=number(words[0]))

    def _members(self, name: str, words: list[str]) -> None:
        self._configure(name, members=number(words[0], SENTINELS_MAX))

    def _notification_script(self, name: str, words: list[str]) -> None:
        if not is_executable(words[0]):
            raise SettingError("Notification script seems non existing or non executable.")
        self.settings.options[name].notification_script = words[0]

    def _reconfig_script(self, name: str, words: list[str]) -> None:
        if not is_executable(words[0]):
            raise SettingError(
                "Client reconfiguration script seems non existing or non executable."
            )
        self.settings.options[name].client_reconfig_script = words[0]

    def _auth_pass(self, name: str, words: list[str]) -> None:
        self.settings.options[name].auth_pass = words[0]

    def _auth_user(self, name: str, words: list[str]) -> None:
        self.settings.options[name].auth_user = words[0]

    def _rename_command(self, name: str, words: list[str]) -> None:
        renames = self.settings.options[name].renames
        if words[0].lower() in renames:
            raise SettingError("Same command renamed multiple times with rename-command.")
        renames[words[0].lower()] = words[1]

    # -- what is known -------------------------------------------------------------------------

    def _config_epoch(self, name: str, words: list[str]) -> None:
        state = self._masters[name]
        self._masters[name] = replace(state, config_epoch=number(words[0], EPOCH_MAX))

    def _leader_epoch(self, name: str, words: list[str]) -> None:
        state = self._masters[name]
        self._masters[name] = replace(state, vote_epoch=number(words[0], EPOCH_MAX))

    def _known_replica(self, name: str, words: list[str]) -> None:
        state, address = self._masters[name], self._address(words[0], words[1])
        if address in (state.address, *state.replicas):
            raise SettingError("Duplicate hostname and port for replica.")
        if len(state.replicas) >= REPLICAS_MAX:
            raise SettingError(f"More than {REPLICAS_MAX} replicas of one master.")
        self._masters[name] = replace(state, replicas=(*state.replicas, address))

    def _known_sentinel(self, name: str, words: list[str]) -> None:
        state, sentinel_id = self._masters[name], words[2]
        if not is_name(sentinel_id) or len(sentinel_id) > ID_BYTES_MAX:
            raise SettingError("Malformed Sentinel id.")
        if any(one.sentinel_id == sentinel_id for one in state.sentinels):
            raise SettingError("Duplicate runid for sentinel.")
        if len(state.sentinels) >= SENTINELS_MAX:
            raise SettingError(f"More than {SENTINELS_MAX} sentinels of one master.")
        known = KnownSentinel(sentinel_id, self._address(words[0], words[1]))
        self._masters[name] = replace(state, sentinels=(*state.sentinels, known))


def merge(written: SentinelState, kept: SentinelState | None) -> SentinelState:
    """The state of the configuration file joined with that of the state file.

    Which masters there are, and their options, the configuration file decides: a person may have
    edited it. Promises (votes, ballots, epochs) are never weakened: the higher one holds.
    """
    if kept is None:
        return written
    ours = {one.config.name: one for one in kept.masters}
    masters = tuple(
        _merge_master(one, ours[one.config.name], not written.sentinel_id)
        if one.config.name in ours
        else one
        for one in written.masters
    )
    return SentinelState(
        written.sentinel_id or kept.sentinel_id,
        max(written.current_epoch, kept.current_epoch),
        masters,
    )


def _merge_master(written: MasterState, kept: MasterState, fresh_file: bool) -> MasterState:
    newer = kept.config_epoch > written.config_epoch
    voted_for = kept.voted_for if kept.vote_epoch >= written.vote_epoch else ""
    return replace(
        written,
        address=kept.address if newer else written.address,
        config_epoch=max(written.config_epoch, kept.config_epoch),
        vote_epoch=max(written.vote_epoch, kept.vote_epoch),
        voted_for=voted_for,
        acceptor=kept.acceptor,
        register=kept.register,
        replicas=kept.replicas if fresh_file else written.replicas,
        sentinels=kept.sentinels if fresh_file else written.sentinels,
    )
