"""The `coordinator` directive: which store holds register and lease, and how it is reached.

    coordinator embedded                                   the sentinels themselves (the default)
    coordinator etcd://host:port[,host:port...][/prefix][?option=value&...]
    coordinator zookeeper://host:port,host:port/path

`etcds://` and `zookeepers://` are encrypted. `user:password@` before the hosts is etcd's own user,
or ZooKeeper's digest. Options: `ttl` (the lease, ms), `ca`, `cert`, `key` (files). The same
directive stands in the file of every sentinel and every data node.
"""

from __future__ import annotations

import importlib.util
import os
import ssl
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

from cache_server.config_kinds import ConfigError
from cache_server.coordination.constants import STORE_HOSTS_MAX
from replication.failover.constants import LEASE_TTL_MS, LEASE_TTL_MS_MAX

#: The directive's word for "no external store".
EMBEDDED = "embedded"
PREFIX_DEFAULT = "/cache-server"
TTL_MS_MIN = 200
#: Scheme -> default port, the library that speaks to it, and the extra that installs it.
_SCHEMES = {"etcd": (2379, "aiohttp", "etcd"), "zookeeper": (2181, "kazoo", "zookeeper")}
_OPTIONS = ("ttl", "ca", "cert", "key")


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """One `coordinator` line. `label` is how it is shown: without user and password."""

    kind: str
    encrypted: bool
    hosts: tuple[tuple[str, int], ...]
    prefix: str
    ttl_ms: int
    user: str = ""
    password: str = ""
    ca: str = ""
    cert: str = ""
    key: str = ""

    @property
    def places(self) -> str:
        """The hosts joined by commas."""
        return ",".join(f"[{h}]:{p}" if ":" in h else f"{h}:{p}" for h, p in self.hosts)

    @property
    def label(self) -> str:
        """The address without user, password and options."""
        return f"{self.kind}{'s' if self.encrypted else ''}://{self.places}{self.prefix}"


def parse(word: str) -> StoreAddress | None:
    """The directive's word; None for the embedded register. Raises ConfigError."""
    if word in ("", EMBEDDED):
        return None
    scheme = word.partition("://")[0]
    kind = scheme.removesuffix("s")
    if "://" not in word or kind not in _SCHEMES:
        raise ConfigError(
            "coordinator must be embedded, etcd://host:port[,host:port...][/prefix] or "
            "zookeeper://host:port[,host:port...][/path]"
        )
    try:
        parts = urlsplit(word)
        options = parse_qsl(parts.query, strict_parsing=True) if parts.query else []
    except ValueError as error:
        raise ConfigError(f"coordinator: {error}") from None
    login, at, places = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    if at and (not user or not password):
        raise ConfigError("coordinator: user and password are given as user:password@")
    if parts.fragment or any(ord(ch) <= 0x20 for ch in word):
        raise ConfigError("coordinator: a space or a '#' does not belong there; write %20 or %23")
    known = dict(options)
    if len(known) < len(options) or not set(known) <= set(_OPTIONS):
        raise ConfigError(f"coordinator: options are {', '.join(_OPTIONS)}, each once")
    return StoreAddress(
        kind,
        scheme != kind,
        _hosts(places, _SCHEMES[kind][0]),
        "/" + parts.path.strip("/") if parts.path.strip("/") else PREFIX_DEFAULT,
        _ttl(known.get("ttl", str(LEASE_TTL_MS))),
        unquote(user),
        unquote(password),
        **_files(known, encrypted=scheme != kind),
    )


def check(word: str) -> None:
    """What a configuration asks of the word: it can be read, and its library is there. Raises
    ConfigError."""
    address = parse(word)
    if address is None:
        return
    _, library, extra = _SCHEMES[address.kind]
    if importlib.util.find_spec(library) is None:
        raise ConfigError(
            f"coordinator {address.kind}:// needs the library {library}: "
            f"pip install 'cache-server[{extra}]'"
        )
    if address.encrypted:
        client_context(address)


def client_context(address: StoreAddress) -> ssl.SSLContext:
    """Checks the store's certificate and name, by the files that are named. Raises ConfigError."""
    try:
        context = ssl.create_default_context(cafile=address.ca or None)
        if address.cert:
            context.load_cert_chain(address.cert, address.key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"coordinator: a TLS file is no use: {error}") from None
    return context


def _hosts(places: str, port_default: int) -> tuple[tuple[str, int], ...]:
    hosts = []
    for place in places.split(","):
        host, port = place, ""
        if not place.endswith("]"):
            host, colon, port = place.rpartition(":") if ":" in place else (place, "", "")
            if colon and not port:
                raise ConfigError(f"coordinator: '{place}' has no port after its colon")
        host = host.removeprefix("[").removesuffix("]")
        if not host or (port and not (port.isascii() and port.isdigit() and len(port) <= 5)):
            raise ConfigError(f"coordinator: '{place}' is not host:port")
        number = int(port or port_default)
        if not 0 < number < 65536:
            raise ConfigError(f"coordinator: '{place}' has no port from 1 to 65535")
        hosts.append((host, number))
    if len(hosts) > STORE_HOSTS_MAX:
        raise ConfigError(f"coordinator: more than {STORE_HOSTS_MAX} hosts")
    return tuple(hosts)


def _ttl(word: str) -> int:
    if not (word.isascii() and word.isdigit()) or len(word) > 6:
        raise ConfigError(f"coordinator: ttl '{word[:32]}' is not a number of milliseconds")
    if not TTL_MS_MIN <= int(word) <= LEASE_TTL_MS_MAX:
        raise ConfigError(f"coordinator: ttl is from {TTL_MS_MIN} to {LEASE_TTL_MS_MAX} ms")
    return int(word)


def _files(known: dict[str, str], encrypted: bool) -> dict[str, str]:
    files = {name: path for name, path in known.items() if name != "ttl"}
    if files and not encrypted:
        raise ConfigError("coordinator: ca, cert and key need etcds:// or zookeepers://")
    if ("cert" in files) != ("key" in files):
        raise ConfigError("coordinator: cert and key are given together")
    for name, path in files.items():
        if not os.access(path, os.R_OK):
            raise ConfigError(f"coordinator: the file of {name}, {path}, cannot be read")
    return files
