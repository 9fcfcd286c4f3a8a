"""Locks on versions, across the threads and worker processes of this host."""

import contextlib
import errno
import fcntl
import hashlib
import os
import random
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Self

from pyoci_flask.errors import BusyError, ConfigurationError, SpoolFullError
from pyoci_flask.index.folder import NotOursError, make_private

_STRIPES = 4096
_TOO_MANY = frozenset({errno.EMFILE, errno.ENFILE})
_KEY_FILE = "secret"
_SECRET_SIZE = 32
"""Bytes."""


class VersionLocks:
    """A fixed set of lock files; a key always falls on the same one.

    Which one is decided with a secret that lies beside them: nobody can choose the name of a
    version in a slow registry so that its lock is that of somebody else's version.

    Waiting is polling with a deadline: a lock that is not given up in time ends in an error and
    never ties a thread up.
    """

    def __init__(self, folder: Path, deadline: float = 30.0) -> None:
        """Use `folder` (made if missing, private to this user); wait `deadline` seconds at most."""
        self._folder = folder
        self._deadline = deadline

    @classmethod
    def in_spool(cls, spool: Path) -> Self:
        """Use the folder that all processes of this user with the same `PYOCI_SPOOL` share."""
        return cls(spool / f"pyoci-flask-locks-{os.geteuid()}")

    def prepare(self) -> None:
        """Make the folder and the secret in it before uploads can fill the disk.

        Raises:
            ConfigurationError: the folder belongs to somebody else or cannot be made.
        """
        self._make()
        with contextlib.suppress(OSError):  # a full disk; who needs a lock later is told
            self._secret()

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
            SpoolFullError: the folder went away, changed hands or cannot be written.
        """
        busy = "another upload or deletion of this version is under way"
        with self._acquired(key, "", fcntl.LOCK_EX, busy):
            yield

    @contextmanager
    def hold_blobs(self, *key: str, shared: bool) -> Iterator[None]:
        """Hold the lock on the blobs of `key`: shared to upload some, alone to delete some.

        It has files of its own, so it can be held together with that of a version. Take it first.

        Raises: as `hold` does.
        """
        if shared:
            kind, busy = fcntl.LOCK_SH, "blobs of this repository are being deleted; try again"
        else:
            kind, busy = fcntl.LOCK_EX, "uploads to this repository are under way; try again"
        with self._acquired(key, "blobs-", kind, busy):
            yield

    def _acquired(self, key: tuple[str, ...], prefix: str, kind: int, busy: str) -> IO[bytes]:
        """Open the file of a lock and wait for it; closing the file gives it up."""
        try:
            return self._wait("\n".join(key).encode(), prefix, kind, busy)
        except (OSError, ConfigurationError) as error:
            if isinstance(error, OSError) and error.errno in _TOO_MANY:
                raise BusyError("this server has too many files open; try again") from error
            why = f"PYOCI_SPOOL: {error.strerror}" if isinstance(error, OSError) else error
            raise SpoolFullError(f"this server can change nothing ({why})") from error

    def _wait(self, name: bytes, prefix: str, kind: int, busy: str) -> IO[bytes]:
        limit = time.monotonic() + self._deadline
        while True:
            secret = self._secret()
            digest = hashlib.blake2b(name, key=secret, digest_size=8).digest()
            path = self._folder / f"{prefix}{int.from_bytes(digest) % _STRIPES:04d}"
            # flock belongs to the open file, so two threads that open it exclude each other as
            # well, and it ends with the process, however that ends.
            with contextlib.ExitStack() as opened:
                file = opened.enter_context(self._open(path))
                while not _taken(file.fileno(), kind):
                    if time.monotonic() > limit:
                        raise BusyError(busy)
                    time.sleep(random.uniform(0.005, 0.05))  # noqa: S311 - spreads out, hides nothing
                if _is_at(file.fileno(), path) and self._secret() == secret:
                    # Cleaners of temporary folders go by age.
                    os.utime(file.fileno())
                    opened.pop_all()
                    return file

    def _secret(self) -> bytes:
        """Read the secret: each time, so that all go by the one that is there."""
        path = self._folder / _KEY_FILE
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            os.utime(file.fileno())  # as in `hold`
            found = file.read()
            if len(found) == _SECRET_SIZE:
                return found
        self._make()
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b") as file:
            # Whoever comes first writes it; a writer that was killed amid that left it too short.
            fcntl.flock(file.fileno(), fcntl.LOCK_EX)
            found = file.read()
            if len(found) != _SECRET_SIZE:
                found = secrets.token_bytes(_SECRET_SIZE)
                file.seek(0)
                file.truncate()
                file.write(found)
            return found

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


def _taken(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
