"""Soak test: `MINUTES=10 python -m tests.soak` prints a line a minute and a verdict; 1 = failed."""

import os
import sys
import tempfile
from pathlib import Path

from tests.soak.run import soak


def main() -> int:
    """Read the environment, run, and print the result."""
    minutes = float(os.environ.get("MINUTES") or 10)
    seed = int(os.environ.get("SEED") or 0)
    with tempfile.TemporaryDirectory(prefix="pyoci-soak-") as folder:
        found = soak(Path(folder), minutes, seed=seed, write=_write)
    for fault in found:
        _write(f"FAULT {fault}")
    _write("soak failed" if found else "soak passed")
    return 1 if found else 0


def _write(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
