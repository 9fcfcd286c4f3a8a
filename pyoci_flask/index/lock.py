"""Locks on versions, across the threads and worker processes of this host."""

import fcntl
import hashlib
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pyoci_flask.errors import BusyError, ConfigurationError
from pyoci_flask.index.folder import NotOursError, make_private

_STRIPES = 256


class VersionLocks:
    """A fixed set of lock files; a key always falls on the same one.

    Waiting is polling with a deadline: a lock that is not given up in time ends in an error and
    never ties a thread up.
    """

    def __init__(self, folder: Path, deadline: float = 30.0) -> None:
        """Use `folder` (made if missing, private to this user); wait `deadline` seconds at most.

        Raises:
            ConfigurationError: the folder belongs to somebody else or cannot be made.
        """
        self._folder = folder
        self._deadline = deadline
        self._make()

    def _make(self) -> None:
        try:
            make_private(self._folder)
        except NotOursError as error:
            raise ConfigurationError(
                f"PYOCI_SPOOL holds a {self._folder.name} of another user"
            ) from error
        except OSError as error:
            raise ConfigurationError(
                f"PYOCI_SPOOL must be a folder in which {self._folder.name} can be made "
                f"({error.strerror})"
            ) from error

    @contextmanager
    def hold(self, *key: str) -> Iterator[None]:
        """Hold the lock of `key`.

        Raises:
            BusyError: somebody else held it until the deadline.
        """
        digest = hashlib.blake2b("\n".join(key).encode(), digest_size=4).digest()
        path = self._folder / f"{int.from_bytes(digest) % _STRIPES:03d}"
        limit = time.monotonic() + self._deadline
        while True:
            # flock belongs to the open file, so two threads that open it exclude each other as
            # well, and it ends with the process, however that ends.
            with self._open(path) as file:
                while not _taken(file.fileno()):
                    if time.monotonic() > limit:
                        raise BusyError("another upload or deletion of this version is under way")
                    time.sleep(random.uniform(0.005, 0.05))  # noqa: S311 - spreads out, hides nothing
                if _is_at(file.fileno(), path):
                    # Cleaners of temporary folders go by age.
                    os.utime(file.fileno())
                    yield
                    return

    def _open(self, path: Path) -> IO[bytes]:
        try:
            return path.open("ab")
        except FileNotFoundError:
            # The folder was cleaned away while the server ran.
            self._make()
            return path.open("ab")


def _is_at(descriptor: int, path: Path) -> bool:
    """Tell whether an open file is still the one of that name: a removed one locks nobody out."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    here = os.fstat(descriptor)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
