"""Builds the compiled core, and the hot Python modules as they stand; without a compiler, neither.

`pyproject.toml` holds everything else. Every compiled `.py` runs unchanged when it is not compiled,
so an install without a C compiler is slower and otherwise the same. `CACHE_SERVER_NO_COMPILE=1`
asks for that.
"""

import glob
import os
import sys

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

#: Pure Python modules worth compiling: the path of a request from dispatch to the data and back.
HOT = [
    "cache_server/access/checking.py",
    "cache_server/access/control.py",
    "cache_server/client.py",
    "cache_server/commands/connection.py",
    "cache_server/commands/dispatch.py",
    "cache_server/commands/propagation.py",
    "cache_server/commands/subscriptions.py",
    "cache_server/commands/table.py",
    "cache_server/commands/keys.py",
    "cache_server/structures/[a-z]*.py",
    "cache_server/keyspace/[a-z]*.py",
    "cache_server/datatypes/[a-z]*.py",
    "cache_server/persistence/key_digests.py",
    "cache_server/scripting/[chrs][a-z]*.py",
    "cache_server/persistence/lzf.py",
    "cache_server/persistence/snapshot.py",
    "cache_server/persistence/snapshot_codec.py",
    "cache_server/persistence/snapshot_parts.py",
    "cache_server/persistence/snapshot_reader.py",
    "cache_server/persistence/append_log.py",
    "cache_server/persistence/log_codec.py",
    "cache_server/persistence/log_chain.py",
    "cache_server/persistence/log_sync.py",
    "cache_server/persistence/replay.py",
    "cache_server/links/following_side.py",
    "cache_server/links/kept_history.py",
    "cache_server/links/replicator.py",
    "cache_server/links/serving_side.py",
    "cache_server/links/stream_applier.py",
    "replication/backlog.py",
    "replication/frames.py",
    "replication/intake.py",
]


class OptionalBuild(build_ext):
    """A build that says what failed and goes on: the pure twin does the work then."""

    def build_extension(self, ext):
        try:
            super().build_extension(ext)
        except Exception as error:
            print(
                f"cache-server: {ext.name} is not compiled ({error}); it runs as pure Python",
                file=sys.stderr,
            )


def extensions():
    if os.environ.get("CACHE_SERVER_NO_COMPILE"):
        return []
    from Cython.Build import cythonize

    names = [
        Extension("cache_server._core._core", ["cache_server/_core/_core.pyx"]),
        Extension("cache_server._core.memory", ["cache_server/_core/memory.pyx"]),
        Extension("cache_server.scripting.bridge", ["cache_server/scripting/bridge.pyx"]),
    ]
    for path in sorted(p for pattern in HOT for p in glob.glob(pattern)):
        source = path[:-3] + ".pyx"
        names.append(
            Extension(path[:-3].replace("/", "."), [source if os.path.exists(source) else path])
        )
    for extension in names:
        extension.extra_compile_args = ["-O2", "-g0", "-Wno-unreachable-code"]
    return cythonize(
        names,
        nthreads=int(os.environ.get("CACHE_SERVER_BUILD_JOBS", os.cpu_count() or 1)),
        compiler_directives={"language_level": "3", "annotation_typing": False, "binding": True},
    )


setup(ext_modules=extensions(), cmdclass={"build_ext": OptionalBuild})
