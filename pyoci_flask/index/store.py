"""Where the listing cache keeps its entries: SQLite in a private folder that workers share.

A failure costs speed only. An entry that cannot be read is missing, and one that cannot be written
is not there. If a change cannot be counted, the whole database is moved away, and every process
notices that before its next use.
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
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from pyoci_flask.index.lock import make_private

logger = logging.getLogger("pyoci.cache")

_T = TypeVar("_T")

_MOST_BYTES = 48 * 1024 * 1024
"""Bytes of the database. One listing of up to 16 MiB may come on top."""
_PATIENCE = 0.5
"""Seconds to wait for another process that writes."""
_REST = 5.0
"""Seconds without a cache after it failed: threads must not queue up for the next failure."""
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
    """Bytes that live for a time, shared by several processes. The oldest go when it is full."""

    def get_many(self, keys: Collection[str]) -> Mapping[str, Stored]:
        """Return what is there of these keys; nothing if the store does not work."""
        ...

    def set_many(self, values: Mapping[str, bytes], ttl: float) -> bool:
        """Keep values for `ttl` seconds; return whether they are there."""
        ...

    def increment(self, keys: Collection[str]) -> Mapping[str, int]:
        """Add one to each of these decimal numbers that is there; return the new ones.

        A missing number stays missing. If the store cannot do this, it forgets everything.
        """
        ...

    def close(self) -> None:
        """Close connections; the next use opens them again."""
        ...


class SQLiteStore:
    """A `Store` for the processes of one host.

    Expiry goes by the machine's monotonic clock, which all its processes share.
    """

    def __init__(
        self, folder: Path | None, parent: Path, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Use the database in `folder`; without one, a folder of this process in `parent`.

        Nothing is made before the first use.
        """
        self._folder = folder
        self._parent = parent
        self._clock = clock
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._files: dict[Path, tuple[int, int] | None] = {}
        """The identities of the open database, of its log, and of the index that SQLite keeps."""
        self._rests_until = 0.0

    def get_many(self, keys: Collection[str]) -> Mapping[str, Stored]:
        """Return what is there of these keys; nothing if the store does not work."""
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
        """Keep values for `ttl` seconds; return whether they are there."""
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

    def increment(self, keys: Collection[str]) -> Mapping[str, int]:
        """Add one to each of these decimal numbers that is there; return the new ones.

        A missing number stays missing. If that fails, the database is moved away.
        """
        wanted = (json.dumps(list(keys)),)

        def run(database: sqlite3.Connection) -> dict[str, int]:
            with _transaction(database):
                database.execute(
                    "UPDATE entries SET value = CAST(CAST(value AS INTEGER) + 1 AS BLOB) "
                    "WHERE key IN (SELECT value FROM json_each(?))",
                    wanted,
                )
                rows = database.execute(
                    "SELECT key, CAST(value AS INTEGER) FROM entries "
                    "WHERE key IN (SELECT value FROM json_each(?))",
                    wanted,
                )
                return dict(rows.fetchall())

        counted = self._use(run, must=True)
        return {} if counted is None else counted

    def close(self) -> None:
        """Close the database; the next use opens it again."""
        with self._lock:
            self._close()

    def _use(self, run: Callable[[sqlite3.Connection], _T], *, must: bool = False) -> _T | None:
        """Run it on the database; None if that fails. `must` tries even after a failure."""
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
        """Return the open database, or open the one that took its place."""
        path = self._path()
        if self._connection is not None:
            found = {file: _identity(file) for file in self._files}
            if found == self._files:
                return self._connection
            if found[path] == self._files[path]:
                # A cleaner of temporary folders removed a file that locks and commits go through.
                # Processes that open the database now would not see what is written here.
                self._move_away()
        self._close()
        make_private(path.parent.parent)
        make_private(path.parent)
        # SQLite finds the log of a database by its name. Each has a name that no other ever has, so
        # that no process mixes the log of one with the pages of another.
        with contextlib.suppress(FileExistsError):
            path.symlink_to(f"{secrets.token_hex(8)}.sqlite")
        own = path.with_name(path.readlink().name)
        # Identified before it is opened: another process may move it away in between.
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
                raise OSError("the database was moved away while it was opened")
            opened.pop_all()
        self._connection = database
        return database

    def _close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _move_away(self) -> None:
        """Move the database out of the way of all processes. Renaming needs no room and no lock."""
        self._close()
        try:
            folder = self._path().parent
            aside = folder.with_name(f"old-{secrets.token_hex(8)}")
            folder.rename(aside)
        except FileNotFoundError:
            return
        except OSError as error:
            # This process must not show old listings. It cannot warn the others.
            self._rests_until = math.inf
            logger.warning("listings may be old for PYOCI_CACHE_TTL seconds: %s", error)
            return
        shutil.rmtree(aside, ignore_errors=True)


def _shrink(database: sqlite3.Connection, now: float) -> None:
    """Drop what expired, and if that is not enough, what expires first."""
    database.execute("DELETE FROM entries WHERE expires <= ?", (now,))
    first = (
        "DELETE FROM entries WHERE key IN (SELECT key FROM entries ORDER BY expires "
        "LIMIT (SELECT count(*) / 4 + 1 FROM entries))"
    )
    while _used(database) > _MOST_BYTES and database.execute(first).rowcount:
        pass


def _used(database: sqlite3.Connection) -> int:
    """Return the bytes in use. The pragmas cost nothing: the file's header has these numbers."""
    pages, free, size = (
        database.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


@contextlib.contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
