"""TLS: the settings `tls-*` as contexts for connections that are accepted and that are made.

A context is made anew whenever a setting changes, so that certificates can be exchanged while the
server runs: connections keep what they were opened with, the next one gets the new context. A
change that makes no working context is refused and everything stays as it was.

Who connects to us shows a certificate unless tls-auth-clients says otherwise; whom we connect to
(the leader, a data node) always does. Certificates are checked against the authorities, not against
host names, as in Redis: nodes go by addresses.

Source: https://redis.io/docs/latest/operate/oss_and_stack/management/security/encryption/.
"""

from __future__ import annotations

import logging
import ssl
import warnings
from collections.abc import Callable
from typing import Any

from cache_server.config import Config
from cache_server.config_kinds import ConfigError

log = logging.getLogger("cache_server")

#: A handshake that takes longer is given up, in seconds.
HANDSHAKE_SECONDS_MAX = 10.0
#: How long a closing connection waits for the other end's word, in seconds.
SHUTDOWN_SECONDS_MAX = 1.0

_PROTOCOLS = {
    "tlsv1": ssl.OP_NO_TLSv1,
    "tlsv1.1": ssl.OP_NO_TLSv1_1,
    "tlsv1.2": ssl.OP_NO_TLSv1_2,
    "tlsv1.3": ssl.OP_NO_TLSv1_3,
}
_PROTOCOLS_DEFAULT = "TLSv1.2 TLSv1.3"
_VERIFY = {"no": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "yes": ssl.CERT_REQUIRED}

_SETTINGS = (
    "tls-cert-file", "tls-key-file", "tls-key-file-pass", "tls-client-cert-file",
    "tls-client-key-file", "tls-client-key-file-pass", "tls-dh-params-file", "tls-ca-cert-file",
    "tls-ca-cert-dir", "tls-protocols", "tls-ciphers", "tls-ciphersuites", "tls-auth-clients",
    "tls-prefer-server-ciphers", "tls-session-caching", "tls-session-cache-size",
    "tls-session-cache-timeout", "tls-cluster", "tls-replication",
)  # fmt: skip


class Tls:
    """The contexts in force. `changed` is called when there are new ones."""

    def __init__(self, config: Config) -> None:
        self.config = config
        #: For connections that are accepted, and for those that are made; None before the first
        #: is needed.
        self.accepting: ssl.SSLContext | None = None
        self.dialling: ssl.SSLContext | None = None
        self.changed: Callable[[], None] = lambda: None
        for name in _SETTINGS:
            config.on_change[name] = self._setting_changed

    @property
    def wanted(self) -> bool:
        """Whether any connection is to be encrypted."""
        config = self.config
        return bool(config.tls_port or config.tls_replication or config.tls_cluster)

    def configure(self) -> None:
        """Makes the contexts anew. Raises ConfigError, with the reason in the log."""
        try:
            accepting, dialling = contexts(self.config)
        except ConfigError as error:
            log.warning("%s", error)
            raise ConfigError("Unable to update TLS configuration. Check server logs.") from None
        self.accepting, self.dialling = accepting, dialling
        self.changed()

    def link_context(self) -> ssl.SSLContext | None:
        """What a connection to another node is made with; None for in clear."""
        return self.dialling if self.config.tls_replication else None

    def _setting_changed(self, _: Any) -> None:
        if self.wanted:
            self.configure()


def contexts(config: Config) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Contexts for accepted and for dialled connections. Raises ConfigError with the reason."""
    if not config.tls_cert_file:
        raise ConfigError("No tls-cert-file configured!")
    if not config.tls_key_file:
        raise ConfigError("No tls-key-file configured!")
    verifies = config.tls_auth_clients != "no" or config.tls_cluster or config.tls_replication
    if verifies and not (config.tls_ca_cert_file or config.tls_ca_cert_dir):
        raise ConfigError(
            "Either tls-ca-cert-file or tls-ca-cert-dir must be specified when tls-cluster, "
            "tls-replication or tls-auth-clients are enabled!"
        )
    accepting = _context(ssl.PROTOCOL_TLS_SERVER, config)
    accepting.verify_mode = _VERIFY[config.tls_auth_clients]
    if config.tls_prefer_server_ciphers:
        accepting.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    else:
        accepting.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    if not config.tls_session_caching:
        accepting.options |= ssl.OP_NO_TICKET
        accepting.num_tickets = 0
    if config.tls_dh_params_file:
        _load("DH params file", accepting.load_dh_params, config.tls_dh_params_file)
    dialling = _context(ssl.PROTOCOL_TLS_CLIENT, config)
    dialling.check_hostname = False
    dialling.verify_mode = ssl.CERT_REQUIRED
    own = ("tls_cert_file", "tls_key_file", "tls_key_file_pass")
    client = ("tls_client_cert_file", "tls_client_key_file", "tls_client_key_file_pass")
    _load_certificate(accepting, config, own)
    _load_certificate(dialling, config, client if config.tls_client_cert_file else own)
    return accepting, dialling


def _context(side: int, config: Config) -> ssl.SSLContext:
    """What both sides have in common: protocols, ciphers, authorities."""
    context = ssl.SSLContext(side)
    words = (config.tls_protocols or _PROTOCOLS_DEFAULT).lower().split()
    if not set(words) <= set(_PROTOCOLS):
        raise ConfigError(
            "Invalid tls-protocols specified. Use a combination of 'TLSv1', 'TLSv1.1', 'TLSv1.2' "
            "and 'TLSv1.3'."
        )
    with warnings.catch_warnings():
        # Any set of versions may be asked for, and only these options can say every set.
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        for word, excluded in _PROTOCOLS.items():
            if word not in words:
                context.options |= excluded
    _load("ciphers", context.set_ciphers, config.tls_ciphers or "DEFAULT")
    if config.tls_ciphersuites:
        choose = getattr(context, "set_ciphersuites", None)  # not before Python 3.15
        if choose is None:
            log.warning("tls-ciphersuites has no effect: Python's ssl module chooses them")
        else:
            _load("ciphersuites", choose, config.tls_ciphersuites)
    if config.tls_ca_cert_file or config.tls_ca_cert_dir:
        _load(
            "CA certificate(s) file/directory",
            context.load_verify_locations,
            config.tls_ca_cert_file or None,
            config.tls_ca_cert_dir or None,
        )
    return context


def _load_certificate(context: ssl.SSLContext, config: Config, names: tuple[str, ...]) -> None:
    certificate, key, password = (getattr(config, name) for name in names)
    # Without a word of ours OpenSSL would ask for the password on the terminal.
    _load(f"certificate {certificate}", context.load_cert_chain, certificate, key, password)


def _load(what: str, use: Callable[..., object], *arguments: Any) -> None:
    try:
        use(*arguments)
    except (OSError, ValueError) as error:  # SSLError is an OSError
        raise ConfigError(f"Failed to configure TLS {what}: {error}") from None
