"""Redis's source tree, for its Tcl suite: the one given, or Debian's source package.

apt is asked with lists of its own, made from the sources that the machine has, so nothing of the
machine's settings changes. Only the upstream tarball is unpacked: the suite is not patched.
"""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

APT_SECONDS_MAX = 90
CACHE = Path(__file__).parents[2] / ".venv" / "redis-source"


def redis_source(given: str | None = None) -> Path:
    """The folder with `runtest`. Raises OSError or SubprocessError where it cannot be had."""
    if given:
        return _checked(Path(given))
    if not (found := _unpacked()):
        CACHE.mkdir(parents=True, exist_ok=True)
        if not list(CACHE.glob("redis_*.orig.tar.*")):
            _download()
        with tarfile.open(next(CACHE.glob("redis_*.orig.tar.*"))) as archive:
            archive.extractall(CACHE, filter="data")
        found = _unpacked()
    return _checked(found[0] if found else CACHE)


def _unpacked() -> list[Path]:
    return sorted(path.parent for path in CACHE.glob("redis*/runtest"))


def _checked(folder: Path) -> Path:
    if not (folder / "tests" / "test_helper.tcl").exists():
        raise FileNotFoundError(f"no Redis source in {folder}")
    return folder


def _download() -> None:
    lists = CACHE / "lists"
    (lists / "partial").mkdir(parents=True, exist_ok=True)
    (CACHE / "sources.list").write_text("".join(sorted(_source_lines())))
    options = [
        *("-o", f"Dir::Etc::SourceList={CACHE}/sources.list", "-o", "Dir::Etc::SourceParts=-"),
        *("-o", f"Dir::State::Lists={lists}", "-o", "APT::Sandbox::User="),
    ]
    for words in (["update", "-qq"], ["source", "-qq", "--download-only", "redis"]):
        command = ["apt-get", *options, *words]
        subprocess.run(command, check=True, cwd=CACHE, timeout=APT_SECONDS_MAX)


def has_package_source() -> bool:
    """Whether this machine names a place from which the source package can come."""
    return shutil.which("apt-get") is not None and bool(_source_lines())


def _source_lines() -> set[str]:
    """deb-src lines for the suites of Debian that the machine's own apt sources name."""
    lines: set[str] = set()
    for path in glob.glob("/etc/apt/sources.list.d/*.sources"):
        for block in Path(path).read_text().split("\n\n"):
            pairs = [line.split(":", 1) for line in block.splitlines() if line[:1].isalpha()]
            field = {pair[0]: pair[1].strip() for pair in pairs if len(pair) == 2}
            if "debian" not in field.get("URIs", ""):
                continue
            signed = f"[signed-by={field['Signed-By']}] " if "Signed-By" in field else ""
            for uri in field["URIs"].split():
                lines |= {
                    f"deb-src {signed}{uri} {suite} main\n" for suite in field["Suites"].split()
                }
    for path in ("/etc/apt/sources.list", *glob.glob("/etc/apt/sources.list.d/*.list")):
        if os.path.exists(path):
            text = Path(path).read_text().splitlines()
            lines |= {
                f"deb-src{line[3:]}\n" for line in text if line[:4] == "deb " and "debian" in line
            }
    return lines
