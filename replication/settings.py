"""What an operator may tune in the machines. The shell fills these from its configuration and may
change them at any time; the machines read them at each step and keep no copies.
"""

from dataclasses import dataclass

from replication.constants import MIB


@dataclass(slots=True)
class LeaderSettings:
    """Serving followers. Each field is named after the Redis directive that sets it."""

    backlog_size_bytes: int = 1 * MIB
    backlog_ttl_ms: int = 3_600_000
    """How long a backlog nobody reads is kept; 0 keeps it for ever."""
    ping_period_ms: int = 10_000
    timeout_ms: int = 60_000
    output_limit_hard_bytes: int = 256 * MIB
    """A follower that is further behind what it was sent is dropped; 0 for no limit."""
    output_limit_soft_bytes: int = 64 * MIB
    output_limit_soft_ms: int = 60_000
    min_followers: int = 0
    min_followers_lag_max_ms: int = 10_000
    diskless: bool = True
    """Stream the snapshot while it is produced; otherwise its length is made known first."""
    diskless_delay_ms: int = 5_000
    """How long a streamed snapshot waits for more followers to share it."""
    diskless_followers_max: int = 0
    """Followers at which a streamed snapshot waits no longer; 0 for no such number."""


@dataclass(slots=True)
class FollowerSettings:
    """Following a leader."""

    listening_port: int = 6379
    announce_ip: str = ""
    user: bytes = b""
    password: bytes = b""
    member_id: str = ""
    """This life of this node, as the in-sync set of the sentinels' register names it."""
    timeout_ms: int = 60_000
    frames_offered: bool = True
    """Whether to ask for checksummed frames; off makes us indistinguishable from stock Redis."""
