"""cache-server: a Redis-protocol-compatible leader-follower cache.

With `CACHE_SERVER_PURE=1` in the environment every module is taken as the Python file it is, even
where a compiled copy lies beside it: that is how the tests run the pure twin on a built tree.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.machinery import FileFinder, ModuleSpec, SourceFileLoader
from types import ModuleType

__version__ = "0.1.0"


class _SourceFinder:
    """Finds our modules as source files only."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not name.startswith("cache_server.") or path is None:
            return None
        for folder in path:
            spec = FileFinder(folder, (SourceFileLoader, [".py"])).find_spec(name)
            if spec is not None:
                return spec
        return None


if os.environ.get("CACHE_SERVER_PURE"):
    sys.meta_path.insert(0, _SourceFinder)
