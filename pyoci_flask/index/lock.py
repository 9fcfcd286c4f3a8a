"""Locks on versions and on the blobs of repositories, for all processes of this host.

The lock files are in a folder that only this user may enter, and so is the listing cache (see
`make_private`).
"""

import errno
import hashlib
import os
import random
import stat
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
    except ImportError:  # Windows, where only commands that need no lock work
        fcntl = None  # `prepare` checks it before any other use

_TOO_MANY = frozenset({errno.EMFILE, errno.ENFILE})


class NotOursError(OSError):
    """The folder belongs to another user."""


def make_private(folder: Path) -> None:
    """Create `folder` for this user only, if it does not exist yet.

    Raises:
        NotOursError: the path is a link, or a folder of another user.
        OSError: the folder cannot be created.
    """
    found = None
    while found is None:
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        with suppress(FileNotFoundError):  # it has been removed again (see `tidy`)
            found = folder.lstat()
    if found.st_uid != os.geteuid() or stat.S_ISLNK(found.st_mode):
        raise NotOursError(f"{folder.name} is a link or belongs to another user")
    if not stat.S_ISDIR(found.st_mode):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))


class VersionLocks:
    """Locks with one file for each key that is locked or waited for, named by the key's hash.

    Waiters poll with a deadline: a lock that is not released in time causes an error, and
    does not block a thread forever.
    """

    def __init__(self, folder: Path, deadline: float = 30.0) -> None:
        """Use `folder`, which is created if missing; wait at most `deadline` seconds."""
        self._folder = folder
        self._deadline = deadline

    @classmethod
    def in_spool(cls, spool: Path) -> Self:
        """Use the folder that all processes of this user with the same `PYOCI_SPOOL` share."""
        return cls(spool / f"pyoci-flask-locks-{os.geteuid()}")

    def prepare(self) -> None:
        """Create the folder before uploads can fill the disk.

        Raises:
            ConfigurationError: the folder belongs to another user or cannot be created, or this
                system has no file locks.
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
                f"PYOCI_SPOOL must be a folder in which {self._folder.name} can be created "
                f"({error.strerror})"
            ) from error

    def tidy(self) -> None:
        """Remove the folder if no lock is held or waited for; the next lock creates it again."""
        with suppress(OSError):
            self._folder.rmdir()

    @contextmanager
    def hold(self, *key: str) -> Iterator[None]:
        """Hold the lock of `key`.

        Raises:
            BusyError: the lock was not released before the deadline.
            SpoolFullError: the folder belongs to another user, or cannot be created or written.
        """
        busy = "another upload or deletion of this version is under way"
        with self._held("version", key, busy, shared=False):
            yield

    @contextmanager
    def hold_blobs(self, *key: str, shared: bool) -> Iterator[None]:
        """Hold the lock on the blobs of `key`: a shared lock to upload, an exclusive one to delete.

        It can be held together with the lock on a version, but must be taken first.

        Raises the same exceptions as `hold`.
        """
        if shared:
            busy = "blobs of this repository are being deleted"
        else:
            busy = "uploads to this repository are under way"
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
            raise SpoolFullError(
                f"this server cannot change anything ({why})",
                advice="Ask the administrator of this server to check PYOCI_SPOOL",
            ) from error
        with file:
            try:
                yield
            finally:
                # Only the last holder removes the file, and only its own. If a cleaner removed that
                # file, other processes may now use another file of this name for the lock.
                with suppress(OSError):
                    if _take(file, shared=False) and _is_at(file, path):
                        path.unlink()

    def _wait(self, path: Path, busy: str, *, shared: bool) -> IO[bytes]:
        """Open the file of a lock and wait for the lock; closing the file releases it."""
        limit = time.monotonic() + self._deadline
        while True:
            # flock belongs to the open file, so two threads that open it exclude each other as
            # well, and the lock is released when the process ends, even if it is killed.
            with ExitStack() as opened:
                # The folder may have been removed or replaced while the server ran.
                self.prepare()
                try:
                    file = opened.enter_context(path.open("ab"))
                except FileNotFoundError:
                    if time.monotonic() > limit:
                        raise
                    continue  # it has been removed again
                while not _take(file, shared=shared):
                    if time.monotonic() > limit:
                        raise BusyError(f"try again in a few seconds: {busy}")
                    time.sleep(random.uniform(0.005, 0.05))  # noqa: S311 - only spreads waiters out
                if _is_at(file, path):
                    # Cleaners of temporary folders remove old files.
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
    """Return whether an open file still has this name. A removed file locks nothing."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
