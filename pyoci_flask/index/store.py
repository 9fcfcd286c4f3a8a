"""The store of the listing cache: an SQLite database in a private folder that workers share.

A failure costs only speed, because entries that cannot be read or written count as missing. If a
change cannot be counted, or the database is damaged, the whole database is moved away, and every
process notices that before it uses the database again.
"""

import contextlib
import logging
import math
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar
from weakref import finalize

from pyoci_flask.index.store_database import (
    Row,
    connect,
    durable,
    read,
    shrink,
    transaction,
    write,
)
from pyoci_flask.index.store_folder import StoreFolder

logger = logging.getLogger("pyoci.cache")

_T = TypeVar("_T")

_MOST_BYTES = 48 * 1024 * 1024
"""Maximum size of the database, in bytes. One listing of up to 16 MiB may exceed it."""
_REST = 5.0
"""Seconds for which a cache that failed is not used, so that threads do not wait in a queue."""
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})


class Stored(NamedTuple):
    """A value and the seconds until it expires."""

    value: bytes
    left: float


class Store(Protocol):
    """A store of bytes that expire, shared by several processes. If full, it drops the oldest."""

    def get_many(self, keys: Collection[str]) -> Mapping[str, Stored]:
        """Return the values of the keys that exist, or nothing if the store does not work."""
        ...

    def set_many(self, values: Mapping[str, bytes], ttl: float) -> bool:
        """Store values for `ttl` seconds; return whether they were stored."""
        ...

    def start_many(self, values: Mapping[str, bytes], ttl: float) -> Mapping[str, bytes]:
        """Store the values whose keys are missing; return what is stored for all these keys."""
        ...

    def increment(self, keys: Collection[str]) -> Mapping[str, int]:
        """Increment the counters that exist and return their new values.

        Missing keys are not created. If the update fails, the store discards its whole contents.
        """
        ...

    def close(self) -> None:
        """Close connections; the next use opens them again."""
        ...


class SQLiteStore:
    """A `Store` for the processes of one host.

    Expiry is measured by the time of day, which goes on while the machine is off. What was written
    later than now, by a clock that was wrong, counts as missing.
    """

    def __init__(
        self,
        folder: Path | None,
        parent: Path,
        clock: Callable[[], float] = time.time,
        *,
        kept: bool = False,
    ) -> None:
        """Use the database in `folder`, or if it is None, in this process's own folder in `parent`.

        `kept` says that the folder outlives the server, and perhaps a crash of the machine. Nothing
        is created before the first use.
        """
        self._folder = StoreFolder(folder, parent, kept=kept)
        self._clock = clock
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._files: dict[Path, tuple[int, int] | None] = {}
        """The identities of the open database, its log, and the index of the log."""
        self._rests_until = 0.0

    def get_many(self, keys: Collection[str]) -> Mapping[str, Stored]:
        """Return the values of the keys that exist, or nothing if the store does not work."""
        now = self._clock()

        def run(database: sqlite3.Connection) -> dict[str, Stored]:
            return {
                key: Stored(row.value, row.expires - now)
                for key, row in read(database, keys).items()
                if row.written <= now < row.expires
            }

        return (self._use(run) or {}) if keys else {}

    def set_many(self, values: Mapping[str, bytes], ttl: float) -> bool:
        """Store values for `ttl` seconds; return whether they were stored."""
        now = self._clock()

        def run(database: sqlite3.Connection) -> bool:
            with transaction(database):
                write(database, _rows(values, now, ttl))
                shrink(database, now, _MOST_BYTES)
            return True

        return bool(self._use(run))

    def start_many(self, values: Mapping[str, bytes], ttl: float) -> Mapping[str, bytes]:
        """Store the values whose keys are missing; return what is stored for all these keys."""
        now = self._clock()

        def run(database: sqlite3.Connection) -> dict[str, bytes]:
            with transaction(database):
                shrink(database, now, _MOST_BYTES)
                write(database, _rows(values, now, ttl), over=False)
                return {key: row.value for key, row in read(database, values).items()}

        return self._use(run) or {}

    def increment(self, keys: Collection[str]) -> Mapping[str, int]:
        """Increment the counters that exist and return their new values.

        Missing keys are not created. If the update fails, the database is moved away.
        """

        def run(database: sqlite3.Connection) -> dict[str, int]:
            # A crash of the machine may undo what else was written, but not this: what was read
            # before the change would be valid again.
            is_kept = self._folder.is_kept
            with durable(database) if is_kept else nullcontext(), transaction(database):
                rows = read(database, keys)
                if not all(row.value.isdigit() for row in rows.values()):
                    raise sqlite3.DatabaseError("a counter is damaged")
                counted = {key: int(row.value) + 1 for key, row in rows.items()}
                values = {key: str(number).encode() for key, number in counted.items()}
                write(database, {key: rows[key]._replace(value=values[key]) for key in rows})
                return counted

        return self._use(run, must=True) or {}

    def close(self) -> None:
        """Close the database; the next use opens it again."""
        with self._lock:
            self._close()

    def _use(self, run: Callable[[sqlite3.Connection], _T], *, must: bool = False) -> _T | None:
        """Call `run` with the database; return None if it fails. `must` ignores past failures."""
        if not must and time.monotonic() < self._rests_until:
            return None
        with self._lock:
            try:
                return run(self._open())
            except (sqlite3.Error, OSError) as error:
                now = time.monotonic()
                is_known = now < self._rests_until
                if not is_known:
                    logger.warning("the listing cache failed (%s)", error)
                self._rests_until = now + _REST
                is_busy = getattr(error, "sqlite_errorcode", 0) & 0xFF in _BUSY
                if must or not (is_busy or isinstance(error, OSError)):
                    # A change was not counted, or the database is damaged.
                    self._move_away(is_known=is_known)
        return None

    def _open(self) -> sqlite3.Connection:
        """Return the open database. If it was replaced, open the new one."""
        link = self._folder.link()
        if self._connection is not None:
            found = {file: _identity(file) for file in self._files}
            if found == self._files:
                return self._connection
            if found[link] == self._files[link]:
                # A cleaner of temporary folders removed a file that SQLite needs for locks and
                # commits. Processes that open the database now would not see what is written here.
                self._move_away()
        self._close()
        own = self._folder.prepare()
        # Identify it before it is opened, because another process may move it away in between.
        identity = _identity(link)
        database = connect(own, kept=self._folder.is_kept)
        files = (link, *(own.with_name(f"{own.name}{end}") for end in ("-wal", "-shm")))
        self._files = {file: _identity(file) for file in files}
        if identity is None or self._files[link] != identity:
            database.close()
            raise OSError("the database was moved away while it was being opened")
        self._connection = database
        # Close it when the interpreter exits, so that all that was written is in one file.
        self._closing = finalize(self, _close_at_exit, self._lock, database)
        return database

    def _close(self) -> None:
        if self._connection is not None:
            self._closing.detach()
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _move_away(self, *, is_known: bool = False) -> None:
        """Move the database away from all processes; warn if it fails, unless that `is_known`."""
        self._close()
        try:
            self._folder.move_away()
        except OSError as error:
            # This process must not show old listings. It cannot warn the other processes.
            self._rests_until = math.inf
            if not is_known:
                logger.warning("listings may be out of date for a while: %s", error)


def _close_at_exit(lock: threading.Lock, database: sqlite3.Connection) -> None:
    with lock, contextlib.suppress(sqlite3.Error):
        database.close()


def _rows(values: Mapping[str, bytes], now: float, ttl: float) -> dict[str, Row]:
    written, expires = float(now), float(now + ttl)  # the types in which SQLite returns them
    return {key: Row(written, expires, value) for key, value in values.items()}


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
