"""The folder of the listing cache, which gunicorn's master makes for all its workers.

A server that is killed leaves it behind with up to 64 MiB; the next start removes it. A lock tells
whether anybody still uses it: the master holds it and hands it down to its workers, and it ends
with the last of them, however they end.
"""

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Collection
from pathlib import Path

_PREFIX = "pyoci-flask-cache-"
_OWNER = "owner"
"""The file that is locked. It gets this name once it is: nobody meets it before."""
_DAY = 24 * 60 * 60.0
"""Seconds after which a folder without that file, in which nothing changed, counts as abandoned.

It may be one that is just being made, of an older version, or of another WSGI server's process: an
idle one of those makes its folder anew.
"""


def make_cache_folder(parent: Path, uid: int, gid: int) -> Path:
    """Make a folder in `parent` for this process and those that it forks, who run as `uid`.

    Raises:
        OSError: it cannot be made.
    """
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    unlocked = folder / f"{_OWNER}.new"
    # Closed by nobody, and by the end of the last process that has it.
    descriptor = os.open(unlocked, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with contextlib.suppress(OSError):  # a file system that has no locks
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        unlocked.rename(folder / _OWNER)
    if os.geteuid() == 0:
        os.chown(descriptor, uid, gid)
        os.chown(folder, uid, gid)
    return folder


def remove_abandoned(parent: Path, uids: Collection[int]) -> None:
    """Remove the folders in `parent` that belong to one of `uids` and that nobody uses any more.

    What cannot be looked at or removed stays.
    """
    with contextlib.suppress(OSError):
        for folder in list(parent.glob(f"{_PREFIX}*")):
            with contextlib.suppress(OSError):
                found = folder.lstat()  # a link is none of ours, wherever it leads
                if stat.S_ISDIR(found.st_mode) and found.st_uid in uids and _is_abandoned(folder):
                    shutil.rmtree(folder, ignore_errors=True)


def _is_abandoned(folder: Path) -> bool:
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(folder / _OWNER, flags)
    except FileNotFoundError:
        return time.time() - _last_change(folder) > _DAY
    try:
        # Of a folder nothing comes back once it is given up: no new owner can come in between.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _last_change(folder: Path) -> float:
    """When anything in it was last written; seconds since the epoch."""
    times = [folder.lstat().st_mtime]
    for path, folders, files in os.walk(folder):
        times += [Path(path, name).lstat().st_mtime for name in (*folders, *files)]
    return max(times)
