"""What gunicorn's master does before it forks its workers, and what the workers inherit.

That is: the limit on open files, the allocator's arenas, the filter of gunicorn's log, and the
folder of the listing cache.
"""

import contextlib
import ctypes
import fcntl
import logging
import os
import re
import resource
import shutil
import stat
import tempfile
import time
from collections.abc import Collection
from pathlib import Path

from pyoci_flask.common.redaction import redact, redacted_traceback, without_userinfo

_ENOUGH = 65536
"""Where the hard limit is in the millions, that is for nobody to use up."""
_M_ARENA_MAX = -8
"""glibc's `mallopt(3)`."""
_ARENAS = 2
# The address of the client, and what is wrong up to where the request is quoted: whatever could
# not be read may hold a password in a form that nobody can tell from other text.
_UNREADABLE = re.compile(
    r"(Invalid request from ip=\S*: (?:\[\w+: \w+\] )?[\w -]*(?:\(\d+ > \d+\))?)"
)
_PREFIX = "pyoci-flask-cache-"
_OWNER = "owner"
"""The file that is locked. It gets this name once it is: nobody meets it before."""
_DAY = 24 * 60 * 60.0
"""Seconds after which a folder without that file, in which nothing changed, counts as abandoned.

It may be one that is just being made, of an older version, or of another WSGI server's process: an
idle one of those makes its folder anew.
"""


def raise_limit() -> int:
    """Raise this process's soft limit as far as it may, for the workers that it forks, too.

    Returns:
        How many files it may have open now.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return _ENOUGH if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        return soft  # macOS has another limit of its own, and does not tell
    return wanted


def connections_that_fit(wanted: int, limit: int, *, threads: int, fetch_threads: int) -> int:
    """Say how many of the `wanted` connections a worker may keep where `limit` files can be open.

    Beside them are the files of the process itself, connections to registries and what uploads
    need. Half of the files are for clients whatever the rest come to: it is rare that all of them
    are needed at once.
    """
    requests = 2 * threads  # two calls side by side each
    downloads = 4 * threads  # as many are under way at most while their clients are slow
    uploads = 4 * max(1, threads // 2)  # a spooled file, a lock, and two calls side by side each
    others = 64 + requests + downloads + uploads + 2 * fetch_threads
    return max(1, min(wanted, max(limit - others, limit // 2)))


def keep_few_arenas() -> None:
    """Let the threads of this process, and of those it forks, share few pools of memory.

    glibc gives up to eight to each processor, and each keeps some of what its threads gave back:
    a worker with many threads grows for hours. They take turns in Python anyway. Other C
    libraries have no such call, and no such pools.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)


def keep_secrets_out() -> None:
    """Filter gunicorn's logs in this process and in those it forks, whatever handlers they get."""
    for name in ("gunicorn.error", "gunicorn.access"):
        logging.getLogger(name).addFilter(_filter)


def _filter(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple):
        # The path of a request is one of them.
        record.args = tuple(
            without_userinfo(one) if isinstance(one, str) else one for one in record.args
        )
    message = record.getMessage()
    unreadable = _UNREADABLE.match(message[:1000])
    record.msg = redact(unreadable[1].rstrip() if unreadable is not None else message)
    record.args = None
    if record.exc_info:
        # Formatters print this text where there is one.
        record.exc_text = redacted_traceback(logging.Formatter().formatException(record.exc_info))
    return True


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
