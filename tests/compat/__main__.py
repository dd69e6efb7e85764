"""python -m tests.compat SEED [--commands N]: random commands beside a redis-server."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.compat.differential import DifferenceError, run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("--commands", type=int, default=100_000)
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        try:
            run(options.seed, options.commands, Path(folder))
        except DifferenceError as difference:
            print(f"seed {options.seed}: {difference}")
            return 1
    seconds = time.monotonic() - began
    print(f"seed {options.seed}: {options.commands} commands, no difference ({seconds:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
