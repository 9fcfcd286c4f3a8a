"""Locks on versions and on the blobs of repositories, for all processes of this host.

They are in a folder that only this user may enter, and so is the listing cache (`make_private`).
"""

import errno
import hashlib
import os
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

from pyoci_flask.errors import BusyError, ConfigurationError, SpoolFullError

if TYPE_CHECKING:
    import fcntl
else:
    try:
        import fcntl
    except ImportError:  # Windows: commands that take no lock run there as well
        fcntl = None  # `prepare` checks it before any other use

_TOO_MANY = frozenset({errno.EMFILE, errno.ENFILE})


class NotOursError(OSError):
    """The folder belongs to another user."""


def make_private(folder: Path) -> None:
    """Make `folder` for this user only, if it is not there yet.

    Raises:
        NotOursError: the path is a link, or a folder of another user.
        OSError: the folder cannot be made.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.lstat().st_uid != os.geteuid() or folder.is_symlink():
        raise NotOursError(f"{folder.name} belongs to another user")


class VersionLocks:
    """One file for each lock that is held or waited for, named by a hash of its key.

    Waiting is polling with a deadline: a lock that is not released in time ends in an error, and
    does not block a thread for good.
    """

    def __init__(self, folder: Path, deadline: float = 30.0) -> None:
        """Use `folder` (made if missing, private to this user); wait at most `deadline` seconds."""
        self._folder = folder
        self._deadline = deadline

    @classmethod
    def in_spool(cls, spool: Path) -> Self:
        """Use the folder that all processes of this user with the same `PYOCI_SPOOL` share."""
        return cls(spool / f"pyoci-flask-locks-{os.geteuid()}")

    def prepare(self) -> None:
        """Make the folder before uploads can fill the disk.

        Raises:
            ConfigurationError: the folder belongs to another user or cannot be made, or this
                system has no such locks.
        """
        if fcntl is None:
            raise ConfigurationError(
                "this system has no file locks (flock), which uploads and deletions need"
            )
        try:
            make_private(self._folder)
        except NotOursError as error:
            raise ConfigurationError(
                f"PYOCI_SPOOL contains {self._folder.name}, which belongs to another user"
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
            BusyError: the lock was not released before the deadline.
            SpoolFullError: the folder is gone, belongs to another user or cannot be written.
        """
        busy = "another upload or deletion of this version is under way"
        with self._held("version", key, busy, shared=False):
            yield

    @contextmanager
    def hold_blobs(self, *key: str, shared: bool) -> Iterator[None]:
        """Hold the lock on the blobs of `key`: shared to upload some, alone to delete some.

        It can be held together with the lock of a version. Take it first.

        Raises: as `hold` does.
        """
        if shared:
            busy = "blobs of this repository are being deleted; try again"
        else:
            busy = "uploads to this repository are under way; try again"
        with self._held("blobs", key, busy, shared=shared):
            yield

    @contextmanager
    def _held(self, kind: str, key: tuple[str, ...], busy: str, *, shared: bool) -> Iterator[None]:
        name = hashlib.blake2b("\n".join(key).encode(), digest_size=16).hexdigest()
        path = self._folder / f"{kind}-{name}"
        try:
            file = self._wait(path, busy, shared=shared)
        except (OSError, ConfigurationError) as error:
            if isinstance(error, OSError) and error.errno in _TOO_MANY:
                raise BusyError("this server has too many files open; try again") from error
            why = f"PYOCI_SPOOL: {error.strerror}" if isinstance(error, OSError) else error
            raise SpoolFullError(f"this server can change nothing ({why})") from error
        with file:
            try:
                yield
            finally:
                # Only the last holder removes the file, and only its own. If a cleaner removed that
                # one, another file of this name locks for others now.
                with suppress(OSError):
                    if _take(file, shared=False) and _is_at(file, path):
                        path.unlink()

    def _wait(self, path: Path, busy: str, *, shared: bool) -> IO[bytes]:
        """Open the file of a lock and wait for the lock; closing the file releases it."""
        limit = time.monotonic() + self._deadline
        while True:
            # flock belongs to the open file: two threads that open it exclude each other as well,
            # and the lock ends with the process, however that ends.
            with ExitStack() as opened:
                # The folder may have been removed or replaced while the server ran.
                self.prepare()
                file = opened.enter_context(path.open("ab"))
                while not _take(file, shared=shared):
                    if time.monotonic() > limit:
                        raise BusyError(busy)
                    time.sleep(random.uniform(0.005, 0.05))  # noqa: S311 - spreads out, hides nothing
                if _is_at(file, path):
                    # Cleaners of temporary folders remove what is old.
                    os.utime(file.fileno())
                    opened.pop_all()
                    return file


def _take(file: IO[bytes], *, shared: bool) -> bool:
    """Take a lock if it is free; return whether it is held."""
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(file: IO[bytes], path: Path) -> bool:
    """Return whether an open file still has this name: a removed one locks nothing."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
