"""Where a follower's link to its leader is: the states, and who may follow whom.

    IDLE --follow--> WAITING --> DIALLING --> HELLO --> CONFIGURING --> ASKING
                       ^                                               |      |
                       |                                      CONTINUE |      | FULLRESYNC
                       |                                               v      v
                       +---- any failure, from any state ---------- STREAM <- COMMITTING <- LOADING

- HELLO, CONFIGURING, ASKING: the two agree where to go on (`handshake.py`).
- PREPARING: the leader has named the fork behind which our history is ours alone; that part is
  being put aside, then we ask for what follows the fork (`rewind.py`).
- LOADING, COMMITTING: a snapshot arrives, and takes the old data's place (`snapshot_load.py`).
- STREAM: bytes are verified, applied, relayed (`followed_stream.py`).

Invariant: the machine goes along `FOLLOWER_EDGES` alone; another edge is a fault of ours.
"""

import enum
from typing import Final


class FollowerState(enum.Enum):
    """Where the link to the leader is."""

    IDLE = "idle"
    WAITING = "waiting"
    DIALLING = "dialling"
    HELLO = "hello"
    CONFIGURING = "configuring"
    ASKING = "asking"
    PREPARING = "preparing"
    LOADING = "loading"
    COMMITTING = "committing"
    STREAM = "stream"


_S = FollowerState
_FAILURE: Final = frozenset({_S.WAITING, _S.IDLE})

FOLLOWER_EDGES: Final[dict[FollowerState, frozenset[FollowerState]]] = {
    _S.IDLE: frozenset({_S.WAITING}),
    _S.WAITING: frozenset({_S.DIALLING, _S.IDLE}),
    _S.DIALLING: frozenset({_S.HELLO}) | _FAILURE,
    _S.HELLO: frozenset({_S.CONFIGURING}) | _FAILURE,
    _S.CONFIGURING: frozenset({_S.ASKING}) | _FAILURE,
    _S.ASKING: frozenset({_S.STREAM, _S.LOADING, _S.PREPARING}) | _FAILURE,
    _S.PREPARING: frozenset({_S.CONFIGURING, _S.ASKING}) | _FAILURE,
    _S.LOADING: frozenset({_S.COMMITTING}) | _FAILURE,
    _S.COMMITTING: frozenset({_S.STREAM}) | _FAILURE,
    _S.STREAM: _FAILURE,
}

ROLE_WORDS: Final = {
    _S.IDLE: "none",
    _S.WAITING: "connect",
    _S.DIALLING: "connecting",
    _S.HELLO: "handshake",
    _S.CONFIGURING: "handshake",
    _S.ASKING: "handshake",
    _S.PREPARING: "handshake",
    _S.LOADING: "sync",
    _S.COMMITTING: "sync",
    _S.STREAM: "connected",
}
"""The states in ROLE's reply."""

HANDSHAKE: Final = frozenset({_S.HELLO, _S.CONFIGURING, _S.ASKING})
"""The leader speaks in lines."""
SYNCING: Final = frozenset({_S.LOADING, _S.COMMITTING})
"""The data set comes, or is being changed for the one that came."""
LINKED: Final = HANDSHAKE | SYNCING | {_S.STREAM, _S.PREPARING}
"""There is a connection."""
AT_WORK: Final = frozenset({_S.COMMITTING, _S.PREPARING})
"""This node is busy, so a silence of the leader means nothing."""

TIMEOUT_TEXTS: Final = {
    _S.DIALLING: "Timeout connecting to the MASTER...",
    _S.HELLO: "Timeout connecting to the MASTER...",
    _S.LOADING: (
        "Timeout receiving bulk data from MASTER... If the problem persists try to set the"
        " 'repl-timeout' parameter in redis.conf to a larger value."
    ),
    _S.STREAM: "MASTER timeout: no data nor PING received...",
}
"""What Redis logs when the leader is silent for `repl-timeout`; in other states that of HELLO."""
