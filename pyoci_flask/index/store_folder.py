"""The folder of the listing cache's database: a temporary one, or one that is kept over restarts.

The database is in a folder `listings` inside that folder, so that it can be moved away in one step.
"""

import atexit
import contextlib
import errno
import os
import re
import secrets
import shutil
import sqlite3
import stat
import tempfile
from pathlib import Path

from pyoci_flask.index.lock import NotOursError, make_private

_FORMAT = "listings-2"
"""Name of a kept folder. Change the number with the schema of the database or the form of values:
another version of this program must not read them, and must not miss changes counted here."""
_FORMATS = re.compile(r"listings-\d+")
_ASIDE = "old-"
_NAME = re.compile(r"[0-9a-f]{16}\.sqlite")
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


def kept_folder(parent: Path) -> Path:
    """Return the folder in `PYOCI_CACHE_FOLDER` which this version of the program uses."""
    return parent / _FORMAT


def prepare_kept(parent: Path) -> Path:
    """Make the folder that is kept in `parent`, and return it.

    Folders of other formats are removed, and so is one to which other users could have written.

    Raises:
        OSError: it cannot be made or written, or other users control it.
    """
    try:
        parent.mkdir(0o700, parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError("it is not a folder") from error
    for found in (parent.lstat(), parent.stat()):  # a link must not belong to others either
        if found.st_uid not in {0, os.geteuid()}:
            raise NotOursError("it belongs to another user")
    if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        raise NotOursError("every user may write to it")
    folder = kept_folder(parent)
    remove_kept(parent, but=_FORMAT)
    make_private(folder)
    folder.chmod(0o700)  # fails if the file system is read-only
    if _is_foreign(folder):
        raise NotOursError(f"{folder.name} contains files of other users")
    for aside in folder.glob(f"{_ASIDE}*"):  # a process was killed before it had removed this
        _remove(aside)
    return folder


def remove_kept(parent: Path, but: str | None = None) -> None:
    """Remove this user's kept folders in `parent`, except for one named `but` that is private."""
    with contextlib.suppress(OSError):
        for folder in list(parent.iterdir()):
            if not _FORMATS.fullmatch(folder.name):
                continue
            with contextlib.suppress(OSError):
                found = folder.lstat()
                is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
                if is_ours and (folder.name != but or _is_foreign(folder)):
                    shutil.rmtree(folder, ignore_errors=True)


class StoreFolder:
    """The place of a database, which all processes find by the same link.

    Each database has a unique name, because SQLite finds the log of a database by its name. So no
    process mixes the log of one with the pages of another.
    """

    def __init__(self, folder: Path | None, parent: Path, *, kept: bool) -> None:
        """Use `folder`, or if it is None, one in `parent` that is removed with this process.

        Nothing is created before the first use.
        """
        self._folder = folder
        self._parent = parent
        self.is_kept = kept

    def link(self) -> Path:
        """Return the link to the database."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="pyoci-flask-cache-", dir=self._parent))
            atexit.register(shutil.rmtree, self._folder, ignore_errors=True)
        return self._folder / "listings" / "records.sqlite"

    def prepare(self) -> Path:
        """Make what is missing; return the path of the database, which might be an empty file.

        Raises:
            sqlite3.DatabaseError: something that is not a database is in its place.
            OSError: the folder cannot be used.
        """
        link = self.link()
        if self.is_kept:  # it might have been removed with its parents
            link.parent.parent.parent.mkdir(0o700, parents=True, exist_ok=True)
        make_private(link.parent.parent)
        try:
            make_private(link.parent)
            with contextlib.suppress(FileExistsError):
                link.symlink_to(f"{secrets.token_hex(8)}.sqlite")
            path = link.with_name(_target(link))
            path.touch(mode=0o600)
            if not stat.S_ISREG(path.lstat().st_mode):
                raise sqlite3.DatabaseError("the database is not a file")
        except (NotOursError, FileExistsError) as error:
            raise sqlite3.DatabaseError(f"its folder is damaged: {error}") from error
        return path

    def move_away(self) -> None:
        """Move the database away from all processes. Renaming needs no disk space and no lock.

        Raises:
            OSError: it is still there, or might be there again after a crash of the machine.
        """
        folder = self.link().parent
        aside = folder.with_name(f"{_ASIDE}{secrets.token_hex(8)}")
        try:
            folder.rename(aside)
        except FileNotFoundError:
            return
        if self.is_kept:
            _sync(folder.parent)
        _remove(aside)


def _target(link: Path) -> str:
    try:
        name = str(link.readlink())
    except FileNotFoundError:
        raise  # another process moved the database away
    except OSError as error:
        raise sqlite3.DatabaseError("something else is in the place of its link") from error
    if not _NAME.fullmatch(name):
        raise sqlite3.DatabaseError("its link is damaged")
    return name


def _is_foreign(folder: Path) -> bool:
    """Return whether anything in a folder belongs to other users, or could be written by them."""
    paths = [folder]
    for inside, folders, files in os.walk(folder):
        paths += [Path(inside, name) for name in (*folders, *files)]
    for path in paths:
        with contextlib.suppress(FileNotFoundError):  # another server uses the folder
            found = path.lstat()
            is_open = found.st_mode & _OTHERS_MAY_WRITE and not stat.S_ISLNK(found.st_mode)
            if found.st_uid != os.geteuid() or is_open:
                return True
    return False


def _sync(folder: Path) -> None:
    """Write the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some file systems do this on their own
            raise
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    """Remove a file, a link or a folder, as far as possible."""
    with contextlib.suppress(OSError):
        if stat.S_ISDIR(path.lstat().st_mode):
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
