"""RESP2 and RESP3. Chooses the compiled core where there is one, and its pure twin elsewhere.

`COMPILED` says which it is; `CACHE_SERVER_PURE=1` in the environment asks for the twin.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cache_server.wire.pure import (
        Channel,
        Histogram,
        ReplyWriter,
        RequestReader,
        Stopwatch,
    )

    COMPILED = False
else:
    try:
        if os.environ.get("CACHE_SERVER_PURE"):
            raise ImportError("the pure twin was asked for")
        from cache_server._core._core import (
            Channel,
            Histogram,
            ReplyWriter,
            RequestReader,
            Stopwatch,
        )

        COMPILED = True
    except ImportError:
        from cache_server.wire.pure import (
            Channel,
            Histogram,
            ReplyWriter,
            RequestReader,
            Stopwatch,
        )

        COMPILED = False

__all__ = [
    "COMPILED",
    "Channel",
    "Histogram",
    "ReplyWriter",
    "RequestReader",
    "Stopwatch",
]
