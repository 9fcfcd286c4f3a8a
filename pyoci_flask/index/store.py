"""The store of the listing cache: an SQLite database in a private folder that workers share.

A failure costs only speed, because entries that cannot be read or written count as missing. If a
change cannot be counted, the whole database is moved away, and every process notices that before it
uses the database again.
"""

import atexit
import contextlib
import json
import logging
import math
import secrets
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from pyoci_flask.index.lock import make_private

logger = logging.getLogger("pyoci.cache")

_T = TypeVar("_T")

_MOST_BYTES = 48 * 1024 * 1024
"""Maximum size of the database, in bytes. One listing of up to 16 MiB may exceed it."""
_PATIENCE = 0.5
"""Seconds to wait while another process writes."""
_REST = 5.0
"""Seconds for which a cache that failed is not used, so that threads do not wait in a queue."""
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    key TEXT PRIMARY KEY,
    written REAL NOT NULL,
    expires REAL NOT NULL,
    value BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS expiry ON entries (expires);
"""


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

    Expiry is measured by the machine's monotonic clock, which all processes share.
    """

    def __init__(
        self, folder: Path | None, parent: Path, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Use the database in `folder`, or if it is None, in this process's own folder in `parent`.

        Nothing is created before the first use.
        """
        self._folder = folder
        self._parent = parent
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
            rows = database.execute(
                "SELECT key, CAST(value AS BLOB), expires - ? FROM entries "
                "WHERE written <= ? AND expires > ? "
                "AND key IN (SELECT value FROM json_each(?))",
                (now, now, now, json.dumps(list(keys))),
            )
            return {key: Stored(value, left) for key, value, left in rows}

        return (self._use(run) or {}) if keys else {}

    def set_many(self, values: Mapping[str, bytes], ttl: float) -> bool:
        """Store values for `ttl` seconds; return whether they were stored."""
        now = self._clock()

        def run(database: sqlite3.Connection) -> bool:
            with _transaction(database):
                database.executemany(
                    "INSERT INTO entries VALUES (?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET "
                    "written = excluded.written, expires = excluded.expires, "
                    "value = excluded.value",
                    [(key, now, now + ttl, value) for key, value in values.items()],
                )
                _shrink(database, now)
            return True

        return bool(self._use(run))

    def start_many(self, values: Mapping[str, bytes], ttl: float) -> Mapping[str, bytes]:
        """Store the values whose keys are missing; return what is stored for all these keys."""
        now = self._clock()

        def run(database: sqlite3.Connection) -> dict[str, bytes]:
            with _transaction(database):
                _shrink(database, now)
                database.executemany(
                    "INSERT INTO entries VALUES (?, ?, ?, ?) ON CONFLICT (key) DO NOTHING",
                    [(key, now, now + ttl, value) for key, value in values.items()],
                )
                return _read(database, values)

        return self._use(run) or {}

    def increment(self, keys: Collection[str]) -> Mapping[str, int]:
        """Increment the counters that exist and return their new values.

        Missing keys are not created. If the update fails, the database is moved away.
        """

        def run(database: sqlite3.Connection) -> dict[str, int]:
            with _transaction(database):
                database.execute(
                    "UPDATE entries SET value = CAST(CAST(value AS INTEGER) + 1 AS BLOB) "
                    "WHERE key IN (SELECT value FROM json_each(?))",
                    (json.dumps(list(keys)),),
                )
                return {key: int(value) for key, value in _read(database, keys).items()}

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
                logger.warning("the listing cache failed (%s)", error)
                self._rests_until = time.monotonic() + _REST
                code = getattr(error, "sqlite_errorcode", None)
                if must or not (code in _BUSY or isinstance(error, OSError)):
                    self._move_away()  # a change was not counted, or the database is damaged
        return None

    def _path(self) -> Path:
        """Return the link to the database, which all processes use."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="pyoci-flask-cache-", dir=self._parent))
            atexit.register(shutil.rmtree, self._folder, ignore_errors=True)
        return self._folder / "listings" / "records.sqlite"

    def _open(self) -> sqlite3.Connection:
        """Return the open database. If it was replaced, open the new one."""
        path = self._path()
        if self._connection is not None:
            found = {file: _identity(file) for file in self._files}
            if found == self._files:
                return self._connection
            if found[path] == self._files[path]:
                # A cleaner of temporary folders removed a file that SQLite needs for locks and
                # commits. Processes that open the database now would not see what is written here.
                self._move_away()
        self._close()
        make_private(path.parent.parent)
        make_private(path.parent)
        # SQLite finds the log of a database by the database's name. Each database has a unique
        # name, so that no process mixes the log of one with the pages of another.
        with contextlib.suppress(FileExistsError):
            path.symlink_to(f"{secrets.token_hex(8)}.sqlite")
        own = path.with_name(path.readlink().name)
        # Identify it before it is opened, because another process may move it away in between.
        own.touch(mode=0o600)
        identity = _identity(path)
        with contextlib.ExitStack() as opened:
            database = sqlite3.connect(
                own, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
            )
            opened.enter_context(contextlib.closing(database))
            database.execute("PRAGMA journal_mode = WAL")
            # Nothing here needs to survive a crash of the machine.
            database.execute("PRAGMA synchronous = OFF")
            database.executescript(_SCHEMA)
            files = (path, *(own.with_name(f"{own.name}{end}") for end in ("-wal", "-shm")))
            self._files = {file: _identity(file) for file in files}
            if identity is None or self._files[path] != identity:
                raise OSError("the database was moved away while it was being opened")
            opened.pop_all()
        self._connection = database
        return database

    def _close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _move_away(self) -> None:
        """Move the database away from all processes. Renaming needs no disk space and no lock."""
        self._close()
        try:
            folder = self._path().parent
            aside = folder.with_name(f"old-{secrets.token_hex(8)}")
            folder.rename(aside)
        except FileNotFoundError:
            return
        except OSError as error:
            # This process must not show old listings. It cannot warn the other processes.
            self._rests_until = math.inf
            logger.warning("listings may be out of date for PYOCI_CACHE_TTL seconds: %s", error)
            return
        shutil.rmtree(aside, ignore_errors=True)


def _read(database: sqlite3.Connection, keys: Collection[str]) -> dict[str, bytes]:
    rows = database.execute(
        "SELECT key, CAST(value AS BLOB) FROM entries "
        "WHERE key IN (SELECT value FROM json_each(?))",
        (json.dumps(list(keys)),),
    )
    return dict(rows.fetchall())


def _shrink(database: sqlite3.Connection, now: float) -> None:
    """Delete what has expired, and if that is not enough, what expires next."""
    database.execute("DELETE FROM entries WHERE expires <= ?", (now,))
    first = (
        "DELETE FROM entries WHERE key IN (SELECT key FROM entries ORDER BY expires "
        "LIMIT (SELECT count(*) / 4 + 1 FROM entries))"
    )
    while _used(database) > _MOST_BYTES and database.execute(first).rowcount:
        pass


def _used(database: sqlite3.Connection) -> int:
    """Return the bytes in use. The pragmas only read these numbers from the file's header."""
    pages, free, size = (
        database.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _transaction(database: sqlite3.Connection) -> contextlib.AbstractContextManager[object]:
    """Begin a transaction, which the block commits, or rolls back if it raises."""
    database.execute("BEGIN IMMEDIATE")
    return database


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
