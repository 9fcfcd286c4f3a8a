"""The SQLite database of the listing cache: its schema, its rows and their checksums."""

import contextlib
import json
import sqlite3
import struct
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

_PATIENCE = 0.5
"""Seconds to wait while another process writes."""
_AHEAD = 60.0
"""Seconds. Rows from further in the future were written by a wrong clock. They count as missing,
so they must not prevent `start_many` from storing others."""

# If this changes, the name of kept folders must change too (see `store_folder`).
_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    key TEXT PRIMARY KEY,
    written REAL NOT NULL,
    expires REAL NOT NULL,
    value BLOB NOT NULL,
    checksum INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS expiry ON entries (expires);
CREATE INDEX IF NOT EXISTS writing ON entries (written);
"""
_REPLACE = "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?)"
_ADD = "INSERT OR IGNORE INTO entries VALUES (?, ?, ?, ?, ?)"
_TYPES = (float, float, bytes)


class Row(NamedTuple):
    """What is stored for a key."""

    written: float
    expires: float
    value: bytes

    def columns(self, key: str) -> tuple[object, ...]:
        """Return the columns of the row: key, times, value, and a checksum of all these."""
        head = struct.pack("<dd", self.written, self.expires) + key.encode()
        checksum = zlib.crc32(self.value, zlib.crc32(head))
        return key, self.written, self.expires, self.value, checksum


def connect(path: Path, *, kept: bool) -> sqlite3.Connection:
    """Open a database and make its schema if it is empty.

    `kept` says that a crash of the machine must not damage it.

    Raises:
        sqlite3.Error: it cannot be opened, or it has another schema.
    """
    with contextlib.ExitStack() as opened:
        database = sqlite3.connect(
            path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
        )
        opened.enter_context(contextlib.closing(database))
        database.execute("PRAGMA journal_mode = WAL")
        database.execute(f"PRAGMA synchronous = {'NORMAL' if kept else 'OFF'}")
        database.executescript(_SCHEMA)
        if _format(database) != _expected_format():
            raise sqlite3.DatabaseError("the database has another schema")
        opened.pop_all()
        return database


def read(database: sqlite3.Connection, keys: Collection[str]) -> dict[str, Row]:
    """Read rows. SQLite does not notice if the bytes of a value changed on the disk.

    Raises:
        sqlite3.DatabaseError: a row is damaged.
    """
    found = database.execute(
        "SELECT key, written, expires, value, checksum FROM entries "
        "WHERE key IN (SELECT value FROM json_each(?))",
        (json.dumps(list(keys)),),
    )
    rows = {}
    for columns in found:
        key, written, expires, value, _ = columns
        row = Row(written, expires, value)
        # Each column of SQLite may hold values of any type.
        if tuple(map(type, row)) != _TYPES or row.columns(key) != columns:
            raise sqlite3.DatabaseError("a row is damaged")
        rows[key] = row
    return rows


def write(database: sqlite3.Connection, rows: Mapping[str, Row], *, over: bool = True) -> None:
    """Write rows; `over` says whether those that exist are replaced."""
    statement = _REPLACE if over else _ADD
    database.executemany(statement, [row.columns(key) for key, row in rows.items()])


def shrink(database: sqlite3.Connection, now: float, most_bytes: int) -> None:
    """Delete what has expired, and if that is not enough, what expires next."""
    database.execute("DELETE FROM entries WHERE expires <= ? OR written > ?", (now, now + _AHEAD))
    first = (
        "DELETE FROM entries WHERE key IN (SELECT key FROM entries ORDER BY expires "
        "LIMIT (SELECT count(*) / 4 + 1 FROM entries))"
    )
    while _used(database) > most_bytes and database.execute(first).rowcount:
        pass


def transaction(database: sqlite3.Connection) -> AbstractContextManager[object]:
    """Begin a transaction, which the block commits, or rolls back if it raises."""
    database.execute("BEGIN IMMEDIATE")
    return database


@contextlib.contextmanager
def durable(database: sqlite3.Connection) -> Iterator[None]:
    """Let commits of the block wait for the disk. After an error, close the database."""
    database.execute("PRAGMA synchronous = FULL")
    yield
    database.execute("PRAGMA synchronous = NORMAL")


def _used(database: sqlite3.Connection) -> int:
    """Return the bytes in use. The pragmas only read these numbers from the file's header."""
    pages, free, size = (
        database.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _format(database: sqlite3.Connection) -> list[object]:
    """Return a version number, which is not used, and the statements that made the schema."""
    schema = database.execute("SELECT sql FROM sqlite_schema ORDER BY rowid")
    return [*database.execute("PRAGMA user_version").fetchone(), *schema.fetchall()]


@lru_cache(maxsize=1)
def _expected_format() -> list[object]:
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        database.executescript(_SCHEMA)
        return _format(database)
