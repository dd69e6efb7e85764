"""SENTINEL SET, SENTINEL CONFIG and SENTINEL DEBUG: options by name, checked, one at a time.

SENTINEL SET takes its pairs in order; the first bad one ends it, and what came before holds, as in
Redis.
"""

from __future__ import annotations

from dataclasses import replace

from cache_server.errors import CommandError
from cache_server.sentinel.front import Sentinel
from cache_server.sentinel.settings import Settings, is_executable
from cache_server.structures import glob
from replication.failover.actions import Publish
from replication.failover.cluster_view import MasterView, Timings
from replication.failover.constants import SENTINELS_MAX
from replication.failover.events import ReconfigureAsked

_NUMBER_MAX = 2**31 - 1

#: Option, attribute of MasterConfig, lowest and highest value.
_NUMBERS: dict[str, tuple[str, int, int]] = {
    "down-after-milliseconds": ("down_after_ms", 1, _NUMBER_MAX),
    "failover-timeout": ("failover_timeout_ms", 1, _NUMBER_MAX),
    "parallel-syncs": ("parallel_syncs", 1, _NUMBER_MAX),
    "quorum": ("quorum", 1, SENTINELS_MAX),
    "members": ("members", 0, SENTINELS_MAX),
    "master-reboot-down-after-period": ("master_reboot_down_after_ms", 0, _NUMBER_MAX),
}

#: Option, what it is called in the error.
_SCRIPTS = {
    "notification-script": "Notification script",
    "client-reconfig-script": "Client reconfiguration script",
}


class _BadValueError(Exception):
    """The value at fault."""


def _number(word: str, low: int, high: int) -> int:
    digits = word.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 19:
        raise _BadValueError(word)
    if not low <= int(word) <= high:
        raise _BadValueError(word)
    return int(word)


class MasterChanges:
    """The changes of one SENTINEL SET, applied as they are taken."""

    def __init__(self, sentinel: Sentinel, master: MasterView) -> None:
        self.count = 0
        self._sentinel = sentinel
        self._config = master.config
        self._options = sentinel.options(master.config.name)
        self._address = master.node.address
        self._reconnect = False

    def event(self, number: int) -> ReconfigureAsked:
        """What the machine is told."""
        return ReconfigureAsked(number, self._config, self._reconnect)

    def take(self, words: list[str]) -> CommandError | None:
        """Takes options and values in order; the error that ended it, or None."""
        position = 0
        while position < len(words):
            option, rest = words[position], words[position + 1 :]
            try:
                used = self._take_one(option.lower(), rest)
            except _BadValueError as bad:
                return CommandError(f"ERR Invalid argument '{bad}' for SENTINEL SET '{option}'")
            except CommandError as error:
                return error
            if not used:
                return CommandError(
                    f"ERR Unknown option or number of arguments for SENTINEL SET '{option}'"
                )
            self.count += 1
            self._tell(option, rest[:used])
            position += 1 + used
        return None

    def _take_one(self, option: str, rest: list[str]) -> int:
        """How many values it took; 0 for an unknown option or too few values."""
        if option in _NUMBERS and rest:
            attribute, low, high = _NUMBERS[option]
            changes = {attribute: _number(rest[0], low, high)}
            self._config = replace(self._config, **changes)  # type: ignore[arg-type]
            return 1
        if option in _SCRIPTS and rest:
            self._take_script(option, rest[0])
            return 1
        if option in ("auth-pass", "auth-user") and rest:
            setattr(self._options, option.replace("-", "_"), rest[0])
            self._reconnect = True
            return 1
        if option == "rename-command" and len(rest) > 1:
            self._rename(rest[0], rest[1])
            return 2
        return 0

    def _take_script(self, option: str, path: str) -> None:
        if self._sentinel.settings.deny_scripts_reconfig:
            raise CommandError(
                "ERR Reconfiguration of scripts path is denied for security reasons. Check the "
                "deny-scripts-reconfig configuration directive in your Sentinel configuration"
            )
        if path and not is_executable(path):
            raise CommandError(f"ERR {_SCRIPTS[option]} seems non existing or non executable")
        setattr(self._options, option.replace("-", "_"), path)

    def _rename(self, old: str, new: str) -> None:
        if not old or not new:
            raise _BadValueError("")
        self._options.renames.pop(old.lower(), None)
        if old.lower() != new.lower():
            self._options.renames[old.lower()] = new

    def _tell(self, option: str, values: list[str]) -> None:
        shown = ["******"] if option.lower() == "auth-pass" else values
        host, port = self._sentinel.shown_host(self._address.host), self._address.port
        words = ["master", self._config.name, host, str(port), option, *shown]
        self._sentinel.published(Publish("+set", " ".join(words)))


# -- SENTINEL CONFIG ------------------------------------------------------------------------------


def _yes_no(value: bool) -> str:
    return "yes" if value else "no"


def shown(settings: Settings, pattern: bytes) -> list[bytes]:
    """Names and values that match."""
    values = {
        "resolve-hostnames": _yes_no(settings.resolve_hostnames),
        "announce-hostnames": _yes_no(settings.announce_hostnames),
        "announce-ip": settings.announce_ip,
        "announce-port": str(settings.announce_port),
        "sentinel-user": settings.sentinel_user,
        "sentinel-pass": settings.sentinel_pass,
    }
    reply: list[bytes] = []
    for name, value in values.items():
        if glob.match(pattern, name.encode(), nocase=True):
            reply += [name.encode(), value.encode("utf-8", "surrogateescape")]
    return reply


def change(sentinel: Sentinel, option: str, value: str) -> None:
    """One global setting. Raises CommandError."""
    settings, name = sentinel.settings, option.lower()
    try:
        if name in ("resolve-hostnames", "announce-hostnames"):
            if value.lower() not in ("yes", "no"):
                raise _BadValueError(value)
            setattr(settings, name.replace("-", "_"), value.lower() == "yes")
        elif name == "announce-ip":
            settings.announce_ip = value
        elif name == "announce-port":
            settings.announce_port = _number(value, 0, 65535)
        elif name in ("sentinel-user", "sentinel-pass"):
            setattr(settings, name.replace("-", "_"), value)
        else:
            raise CommandError(f"ERR Invalid argument '{option}' to SENTINEL CONFIG SET")
    except _BadValueError:
        raise CommandError(
            f"ERR Invalid value '{value}' to SENTINEL CONFIG SET '{option}'"
        ) from None
    if name.startswith("announce-"):
        sentinel.announce_again()
    if name.startswith("sentinel-"):
        sentinel.driver.hang_up_peers()


# -- SENTINEL DEBUG -------------------------------------------------------------------------------

#: Parameter, attribute of Timings; the last two are the scripts'.
_TIMINGS = {
    "info-period": "info_period_ms",
    "ping-period": "ping_period_ms",
    "ask-period": "ask_period_ms",
    "publish-period": "publish_period_ms",
    "default-down-after": "default_down_after_ms",
    "default-failover-timeout": "default_failover_timeout_ms",
    "tilt-trigger": "tilt_trigger_ms",
    "tilt-period": "tilt_period_ms",
    "slave-reconf-timeout": "slave_reconf_timeout_ms",
    "min-link-reconnect-period": "min_link_reconnect_ms",
    "election-timeout": "election_timeout_ms",
}
_SCRIPT_TIMES = {"script-max-runtime": "runtime_ms_max", "script-retry-delay": "retry_delay_ms"}


def shown_timings(sentinel: Sentinel) -> list[bytes]:
    """All parameters, in capitals as Redis shows them, with their milliseconds."""
    reply: list[bytes] = []
    for name, attribute in _TIMINGS.items():
        reply += [name.upper().encode(), b"%d" % getattr(sentinel.timings, attribute)]
    for name, attribute in _SCRIPT_TIMES.items():
        reply += [name.upper().encode(), b"%d" % getattr(sentinel.scripts, attribute)]
    return reply


def changed_timings(sentinel: Sentinel, words: list[str]) -> Timings:
    """The timings with the pairs taken in; scripts' times are set at once. Raises CommandError."""
    timings, position = sentinel.timings, 0
    while position < len(words):
        option = words[position].lower()
        if position + 1 == len(words) or option not in (*_TIMINGS, *_SCRIPT_TIMES):
            raise CommandError(
                f"ERR Unknown option or number of arguments for SENTINEL DEBUG '{words[position]}'"
            )
        value = words[position + 1]
        try:
            milliseconds = _number(value, 1, _NUMBER_MAX)
        except _BadValueError:
            raise CommandError(
                f"ERR Invalid argument '{value}' for SENTINEL DEBUG '{words[position]}'"
            ) from None
        if option in _SCRIPT_TIMES:
            setattr(sentinel.scripts, _SCRIPT_TIMES[option], milliseconds)
        else:
            timings = replace(timings, **{_TIMINGS[option]: milliseconds})
        position += 2
    return timings
