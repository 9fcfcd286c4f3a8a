"""Reading files of the user, which may be of any kind and size."""

import os
import stat
from pathlib import Path

LIMIT = 1024 * 1024
"""Bytes of a file of configuration. Real ones have a few hundred."""


def read_bounded(path: Path, limit: int = LIMIT) -> bytes | None:
    """Return the bytes of a regular file, or None if there is no file.

    Raises:
        ValueError: it is not a regular file, or larger than `limit` bytes.
        OSError: it cannot be read.
    """
    try:
        # Without O_NONBLOCK, opening a named pipe would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("not a regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(limit + 1)
    finally:
        os.close(descriptor)
    if len(content) > limit:
        raise ValueError(f"larger than {limit} bytes")
    return content
