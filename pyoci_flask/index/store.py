"""The records of the listing cache: SQLite in a private folder, shared by the workers of a host.

Whatever fails here costs speed only. A record that cannot be read is a miss; one that cannot be
written is not there; and where a record cannot be invalidated, the whole database is done away
with, which every process notices before its next use.
"""

import atexit
import contextlib
import hashlib
import json
import logging
import math
import secrets
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pyoci_flask.index.private_folder import make_private

logger = logging.getLogger("pyoci.cache")

_T = TypeVar("_T")

_PAGE_BYTES = 4096
_MOST_PAGES = 64 * 1024 * 1024 // _PAGE_BYTES
_RECORD_LIMIT = 8 * 1024 * 1024
"""Characters of one record."""
_PATIENCE = 0.1
_PATIENCE_TO_INVALIDATE = 1.0
"""Seconds to wait for another process that writes."""
_REST = 5.0
"""Seconds without a cache after it failed: threads must not queue up for the next failure."""
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})

_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    key TEXT PRIMARY KEY,
    generation INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    document TEXT NOT NULL,
    seal BLOB NOT NULL
)
"""


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a repository, as JSON, with the numbers that tell of changes."""

    generation: int
    """Another one after every change to the repository that went through this host."""
    revision: int
    """Another one after every write of this record."""
    document: dict[str, Any]


class RecordStore:
    """One JSON record for each key. Numbers are random, so that none ever comes again."""

    def __init__(self, folder: Path | None, parent: Path) -> None:
        """Keep the database in `folder`, shared with others; None = one of our own in `parent`.

        Nothing is made before the first use.
        """
        self._folder = folder
        self._file: Path | None = None
        self._parent = parent
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._waits: float | None = None
        """The patience that the open database was told."""
        self._rests_until = 0.0

    def revision(self, key: str) -> int | None:
        """The revision of the record; None = there is none, or the cache does not work."""
        row = self._use(
            lambda database: database.execute(
                "SELECT revision FROM records WHERE key = ?", (key,)
            ).fetchone()
        )
        return None if row is None else row[0]

    def begin(self, key: str) -> Record | None:
        """Read the record, or make an empty one; None = the cache does not work."""

        def run(database: sqlite3.Connection) -> Record:
            select = "SELECT generation, revision, document, seal FROM records WHERE key = ?"
            row = database.execute(select, (key,)).fetchone()
            if row is None:
                database.execute(
                    "INSERT INTO records VALUES (?, ?, ?, '{}', ?) ON CONFLICT DO NOTHING",
                    (key, _number(), _number(), _seal(key, "{}")),
                )
                row = database.execute(select, (key,)).fetchone()
            if row[3] != _seal(key, row[2]):
                raise ValueError("a record was damaged")
            return Record(row[0], row[1], json.loads(row[2]))

        return self._use(run)

    def write(
        self,
        key: str,
        before: Record,
        document: dict[str, Any],
        changed: dict[str, Any] | None = None,
    ) -> int | None:
        """Replace the record unless the generation moved on since `before` was read.

        Where others wrote meanwhile, only what is `changed` (None = all of it) is added to
        theirs. Returns the new revision; None = the record is not `document` now.
        """

        def run(database: sqlite3.Connection) -> int | None:
            row = database.execute(
                "SELECT generation, revision, document, seal FROM records WHERE key = ?", (key,)
            ).fetchone()
            if row is None or row[0] != before.generation:
                return None
            whole = document
            if row[1] != before.revision:
                if row[3] != _seal(key, row[2]):
                    raise ValueError("a record was damaged")
                whole = json.loads(row[2]) | (document if changed is None else changed)
            text = json.dumps(whole, separators=(",", ":"))
            if len(text) > _RECORD_LIMIT:
                return None
            revision = _number()
            database.execute(
                "UPDATE records SET revision = ?, document = ?, seal = ? WHERE key = ?",
                (revision, text, _seal(key, text), key),
            )
            return revision if whole is document else None

        return self._use(run, write=True)

    def invalidate(self, key: str, member: str) -> None:
        """Move the generation on and drop one member of the record."""

        def run(database: sqlite3.Connection) -> bool:
            database.execute(
                "UPDATE records SET generation = ?, revision = ?, document = CASE "
                "WHEN seal = seal_of(key, document) THEN json_remove(document, ?) ELSE '{}' END "
                "WHERE key = ?",
                (_number(), _number(), f'$."{member}"', key),
            )
            database.execute(
                "UPDATE records SET seal = seal_of(key, document) WHERE key = ?", (key,)
            )
            return True

        if self._use(run, write=True, patience=_PATIENCE_TO_INVALIDATE, must=True) is None:
            self._do_away()

    def close(self) -> None:
        """Close the database; the next use opens it anew."""
        with self._lock:
            self._close()

    def _use(
        self,
        run: Callable[[sqlite3.Connection], _T],
        *,
        write: bool = False,
        patience: float = _PATIENCE,
        must: bool = False,
    ) -> _T | None:
        """Run it on the database; None where that fails. `must` tries even after a failure."""
        if not must and time.monotonic() < self._rests_until:
            return None
        with self._lock:
            try:
                database = self._open()
                if patience != self._waits:
                    database.execute(f"PRAGMA busy_timeout = {int(patience * 1000)}")
                    self._waits = patience
                with _transaction(database, write=write):
                    return run(database)
            except (sqlite3.Error, ValueError) as error:
                logger.warning("the listing cache failed (%s)", error)
                self._rests_until = time.monotonic() + _REST
                busy = getattr(error, "sqlite_errorcode", None) in _BUSY
            except OSError as error:
                logger.warning("the listing cache cannot be used (%s)", error)
                self._rests_until = time.monotonic() + _REST
                return None
        if not busy and not must:
            self._do_away()  # full or broken: it begins anew
        return None

    def _path(self) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="pyoci-flask-cache-", dir=self._parent))
            atexit.register(shutil.rmtree, self._folder, ignore_errors=True)
        if self._file is None:
            self._file = self._folder / "listings" / "records.sqlite"
        return self._file

    def _open(self) -> sqlite3.Connection:
        """The open database, or another one where it was done away with."""
        path = self._path()
        if self._connection is not None and _identity(path) == self._identity:
            return self._connection
        self._close()
        make_private(path.parent.parent)
        make_private(path.parent)
        # Known before it is opened: another process may do away with it in between.
        path.touch(mode=0o600)
        identity = _identity(path)
        database = sqlite3.connect(
            path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
        )
        self._connection, self._waits = database, _PATIENCE
        database.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
        database.execute("PRAGMA journal_mode = WAL")
        # Nothing here needs to outlive the machine.
        database.execute("PRAGMA synchronous = OFF")
        database.execute(f"PRAGMA max_page_count = {_MOST_PAGES}")
        database.create_function("seal_of", 2, _seal, deterministic=True)
        database.execute(_SCHEMA)
        if identity is None or _identity(path) != identity:
            raise OSError("it was done away with while it was opened")
        self._identity = identity
        return database

    def _close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _do_away(self) -> None:
        """Take the database out of everyone's way. Renaming needs no room and no lock."""
        with self._lock:
            self._close()
            try:
                folder = self._path().parent
                aside = folder.with_name(f"old-{secrets.token_hex(8)}")
                folder.rename(aside)
            except FileNotFoundError:
                return
            except OSError as error:
                # Old listings must not be shown; other processes cannot be told.
                self._rests_until = math.inf
                logger.warning("listings may be old for PYOCI_CACHE_TTL seconds: %s", error)
                return
        shutil.rmtree(aside, ignore_errors=True)


@contextlib.contextmanager
def _transaction(database: sqlite3.Connection, *, write: bool) -> Iterator[None]:
    if not write:
        yield
        return
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


def _seal(key: str, document: str) -> bytes:
    """What shows whether a disk, or an older program, left something else in the file."""
    return hashlib.blake2b(f"{key}\n{document}".encode(), digest_size=16).digest()


def _number() -> int:
    return secrets.randbits(62)
