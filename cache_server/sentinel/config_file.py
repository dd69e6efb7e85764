"""The configuration file of a sentinel: read once, rewritten whenever what is known changes.

Tools read what Redis Sentinel writes there (known-replica, known-sentinel, epochs), so it is
written as Redis writes it: the lines of an option are replaced where they stand, further ones come
at the end, lines of options that no longer hold go, everything else stays as the person wrote it.
"""

from __future__ import annotations

from collections.abc import Iterator

from cache_server.config_file import Rewriter
from cache_server.sentinel.settings import MasterOptions, Settings
from replication.failover.cluster_view import MasterConfig, MasterState, SentinelState

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-:/@%+=,*")

#: Options of which we write all lines: an old line that is not written again goes.
_OURS = (
    "myid",
    "deny-scripts-reconfig",
    "resolve-hostnames",
    "announce-hostnames",
    "monitor",
    "down-after-milliseconds",
    "failover-timeout",
    "parallel-syncs",
    "notification-script",
    "client-reconfig-script",
    "auth-pass",
    "auth-user",
    "master-reboot-down-after-period",
    "members",
    "config-epoch",
    "leader-epoch",
    "known-replica",
    "known-slave",
    "known-sentinel",
    "rename-command",
    "current-epoch",
    "announce-ip",
    "announce-port",
    "sentinel-user",
    "sentinel-pass",
)


def quoted(word: str) -> str:
    """The word as it has to stand in a file to be read back as it is."""
    if word and all(ch in _PLAIN for ch in word):
        return word
    parts = []
    for byte in word.encode("utf-8", "surrogateescape"):
        if byte in b'"\\':
            parts.append("\\" + chr(byte))
        elif 0x20 <= byte < 0x7F:
            parts.append(chr(byte))
        else:
            parts.append(f"\\x{byte:02x}")
    return '"' + "".join(parts) + '"'


def rewritten(text: str, settings: Settings, state: SentinelState, users: list[str]) -> str:
    """The file's text with what is known now; `users` are whole lines."""
    rewriter = Rewriter(text.rstrip("\n"), _directive)
    for option, line in _lines(settings, state):
        rewriter.put(f"sentinel {option}", line)
    for line in users:
        rewriter.put("user", line)
    rewriter.forget("user")
    for option in _OURS:
        rewriter.forget(f"sentinel {option}")
    return rewriter.text()


def _directive(words: list[str]) -> str:
    """What a line is about: `sentinel monitor`, `port`."""
    if words[0] == "sentinel" and len(words) > 1:
        return f"sentinel {words[1].lower()}"
    return words[0]


def _lines(settings: Settings, state: SentinelState) -> Iterator[tuple[str, str]]:
    def line(option: str, *words: object) -> tuple[str, str]:
        return option, " ".join(["sentinel", option, *(quoted(str(word)) for word in words)])

    yield line("myid", state.sentinel_id)
    if not settings.deny_scripts_reconfig:
        yield line("deny-scripts-reconfig", "no")
    if settings.resolve_hostnames:
        yield line("resolve-hostnames", "yes")
    if settings.announce_hostnames:
        yield line("announce-hostnames", "yes")
    for master in state.masters:
        options = settings.options.get(master.config.name, MasterOptions())
        for option, *words in _master_lines(master, options):
            yield line(str(option), *words)
    yield line("current-epoch", state.current_epoch)
    if settings.announce_ip:
        yield line("announce-ip", settings.announce_ip)
    if settings.announce_port:
        yield line("announce-port", settings.announce_port)
    if settings.sentinel_user:
        yield line("sentinel-user", settings.sentinel_user)
    if settings.sentinel_pass:
        yield line("sentinel-pass", settings.sentinel_pass)


def _master_lines(state: MasterState, options: MasterOptions) -> Iterator[tuple[object, ...]]:
    config, address = state.config, state.address
    name = config.name
    default = MasterConfig(name, address, config.quorum)
    yield "monitor", name, address.host, address.port, config.quorum
    if config.down_after_ms != default.down_after_ms:
        yield "down-after-milliseconds", name, config.down_after_ms
    if config.failover_timeout_ms != default.failover_timeout_ms:
        yield "failover-timeout", name, config.failover_timeout_ms
    if config.parallel_syncs != default.parallel_syncs:
        yield "parallel-syncs", name, config.parallel_syncs
    if config.members:
        yield "members", name, config.members
    if options.notification_script:
        yield "notification-script", name, options.notification_script
    if options.client_reconfig_script:
        yield "client-reconfig-script", name, options.client_reconfig_script
    if options.auth_pass:
        yield "auth-pass", name, options.auth_pass
    if options.auth_user:
        yield "auth-user", name, options.auth_user
    if config.master_reboot_down_after_ms:
        yield "master-reboot-down-after-period", name, config.master_reboot_down_after_ms
    yield "config-epoch", name, state.config_epoch
    yield "leader-epoch", name, state.vote_epoch
    for replica in state.replicas:
        yield "known-replica", name, replica.host, replica.port
    for known in state.sentinels:
        host, port = known.address.host, known.address.port
        yield "known-sentinel", name, host, port, known.sentinel_id
    for old, new in options.renames.items():
        yield "rename-command", name, old, new
