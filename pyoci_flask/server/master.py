"""What gunicorn's master does before it forks its workers, and what the workers inherit.

This concerns signals, the limit on open files, the allocator's arenas, the filter of gunicorn's
log, and the folders of the listing cache.
"""

import contextlib
import ctypes
import fcntl
import logging
import os
import re
import resource
import shutil
import signal
import stat
import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from pyoci_flask.common.redaction import redact, redacted_traceback, without_userinfo

_ENOUGH = 65536
"""Number of open files to request; a hard limit might be in the millions."""
_M_ARENA_MAX = -8
"""glibc's `mallopt(3)`."""
_ARENAS = 2
# Matches the client's address and the fault, but not the quoted request: a request that could not
# be parsed might contain a password that cannot be recognised.
_UNREADABLE = re.compile(
    r"(Invalid request from ip=\S*: (?:\[\w+: \w+\] )?[\w -]*(?:\(\d+ > \d+\))?)"
)
_PREFIX = "pyoci-flask-cache-"
_OWNER = "owner"
"""The lock file. It gets this name after it is locked, so that no process sees it unlocked."""
_DAY = 24 * 60 * 60.0
"""Seconds without a change after which a folder without that file counts as abandoned.

A folder that is just being made does not contain the file. The same is true for a folder of an
older version or of another WSGI server, which makes its folder again if it is missing.
"""

_ENDING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT})


def let_new_workers_end() -> None:
    """Let a signal end a worker that has no handlers of its own yet.

    After its fork, a worker has the handlers of the master, which put a signal into a queue that no
    worker reads. A stop at that moment would then take `graceful_timeout` seconds.
    """

    def deliver() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)

    def begin_child() -> None:
        for one in _ENDING:
            signal.signal(one, signal.SIG_DFL)
        deliver()

    os.register_at_fork(
        before=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING),
        after_in_parent=deliver,
        after_in_child=begin_child,
    )


def raise_limit() -> int:
    """Raise the soft limit on open files of this process and of the workers that it forks.

    A worker that cannot open a file for a connection cannot accept the connection, and gunicorn's
    worker then ends with all its transfers. Idle clients soon reach 1024, the usual soft limit.

    Returns:
        How many files the process may have open now.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return _ENOUGH if soft == resource.RLIM_INFINITY else soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        return soft  # macOS has a lower limit of its own, which it does not report
    return wanted


def connections_that_fit(wanted: int, limit: int, *, threads: int, fetch_threads: int) -> int:
    """Return how many of the `wanted` connections a worker may keep if `limit` files can be open.

    The process also needs files for itself, for connections to registries and for uploads. At least
    half of the limit is for clients, because the other half is rarely needed completely.
    """
    requests = 2 * threads  # two calls at once each
    downloads = 4 * threads  # the most that wait for slow clients
    uploads = 4 * max(1, threads // 2)  # a spooled file, a lock, and two calls at once each
    others = 64 + requests + downloads + uploads + 2 * fetch_threads
    return max(1, min(wanted, max(limit - others, limit // 2)))


def keep_few_arenas() -> None:
    """Limit the memory arenas that the threads of this process, and of those it forks, share.

    glibc makes up to eight for each processor, and each keeps some of the freed memory, so that a
    worker with many threads grows for hours. Python runs one thread at a time anyway. Other C
    libraries have neither this call nor these arenas.
    """
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)


def keep_secrets_out() -> None:
    """Filter secrets from gunicorn's logs in this process and in those it forks.

    At every log level, gunicorn quotes what clients sent, unchanged.
    """
    for name in ("gunicorn.error", "gunicorn.access"):
        logging.getLogger(name).addFilter(_filter)


def _filter(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple):
        # One of the arguments is the path of the request.
        record.args = tuple(
            without_userinfo(one) if isinstance(one, str) else one for one in record.args
        )
    message = record.getMessage()
    unreadable = _UNREADABLE.match(message[:1000])
    record.msg = redact(unreadable[1].rstrip() if unreadable is not None else message)
    record.args = None
    if record.exc_info:
        # Formatters print this text if it is set.
        record.exc_text = redacted_traceback(logging.Formatter().formatException(record.exc_info))
    return True


def make_cache_folder(parent: Path, uid: int, gid: int) -> Path:
    """Make a folder in `parent` for this process and those that it forks, which run as `uid`.

    A lock shows whether the folder is in use. The master takes the lock and its workers inherit it,
    so the lock ends with the last of these processes, even if they are killed.

    Raises:
        OSError: the folder cannot be made.
    """
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    unlocked = folder / f"{_OWNER}.new"
    # The descriptor is never closed. It ends with the last process that has it.
    descriptor = os.open(unlocked, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with contextlib.suppress(OSError):  # a file system without locks
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        unlocked.rename(folder / _OWNER)
    if os.geteuid() == 0:
        os.chown(descriptor, uid, gid)
        os.chown(folder, uid, gid)
    return folder


@contextlib.contextmanager
def acting_as(uid: int, gid: int) -> Iterator[None]:
    """Use files as the user that the workers run as, if this process is root.

    What the block makes belongs to that user, and it can do no more than the workers can.
    """
    if os.geteuid() != 0 or uid == 0:
        yield
        return
    group = os.getegid()
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)


def make_for(uid: int, gid: int, folder: Path) -> None:
    """Make a folder for another user if it is missing and only root can make it."""
    if os.geteuid() != 0 or uid == 0 or os.path.lexists(folder):
        return
    with contextlib.suppress(OSError):  # the next use reports that it is missing
        folder.mkdir(0o700, parents=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fchown(descriptor, uid, gid)
        finally:
            os.close(descriptor)


def remove_abandoned(parent: Path, uids: Collection[int]) -> None:
    """Remove the unused folders in `parent` that belong to one of `uids`.

    A killed server leaves behind a folder of up to 64 MiB. Folders that cannot be read or removed
    are skipped.
    """
    with contextlib.suppress(OSError):
        for folder in list(parent.glob(f"{_PREFIX}*")):
            with contextlib.suppress(OSError):
                found = folder.lstat()  # a symbolic link is not ours, wherever it leads
                if stat.S_ISDIR(found.st_mode) and found.st_uid in uids and _is_abandoned(folder):
                    shutil.rmtree(folder, ignore_errors=True)


def _is_abandoned(folder: Path) -> bool:
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(folder / _OWNER, flags)
    except FileNotFoundError:
        return time.time() - _last_change(folder) > _DAY
    try:
        # An abandoned folder is never used again, so no new owner can lock it after this.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _last_change(folder: Path) -> float:
    """Return when anything in a folder last changed, in seconds since the epoch."""
    times = [folder.lstat().st_mtime]
    for path, folders, files in os.walk(folder):
        times += [Path(path, name).lstat().st_mtime for name in (*folders, *files)]
    return max(times)
