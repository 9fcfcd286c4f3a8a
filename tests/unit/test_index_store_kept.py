"""A listing cache that is kept over restarts: who may have written it, and what is left of it."""

import contextlib
import os
import random
import shutil
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pyoci_flask.index import store_folder
from pyoci_flask.index.lock import NotOursError
from pyoci_flask.index.store import SQLiteStore
from pyoci_flask.index.store_folder import kept_folder, prepare_kept, remove_kept

KEY = "entry\nhttp://registry.test/team/foo\n1.0"
NUMBER = "changes\nhttp://registry.test/team/foo\n1"
VALUES = {KEY: b"what was read " * 2000, NUMBER: b"7"}
ONLY_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
SOMEONE = 12345


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    return tmp_path / "kept"


@pytest.fixture(autouse=True)
def _no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that failed is tried again immediately."""
    monkeypatch.setattr("pyoci_flask.index.store._REST", 0.0)


@contextlib.contextmanager
def started(parent: Path) -> Iterator[SQLiteStore]:
    """A store as a server that starts has it."""
    with closing(SQLiteStore(prepare_kept(parent), parent, kept=True)) as store:
        yield store


def _values(store: SQLiteStore) -> dict[str, bytes]:
    return {key: one.value for key, one in store.get_many(VALUES).items()}


def _filled(parent: Path) -> Path:
    """Fill the cache as a server does that is then stopped; return the folder of the database."""
    with started(parent) as store:
        assert store.set_many(VALUES, 600)
    return kept_folder(parent) / "listings"


def _crashed(parent: Path) -> Path:
    """The same for a server that is killed: the log of the database is still there."""
    folder = kept_folder(parent) / "listings"
    with started(parent) as store:
        assert store.set_many(VALUES, 600)
        shutil.copytree(folder, parent / "copy", symlinks=True)
    shutil.rmtree(folder)
    return (parent / "copy").rename(folder)


def _works(parent: Path) -> bool:
    with started(parent) as store:
        return store.set_many({KEY: b"new"}, 60) and _values(store)[KEY] == b"new"


@pytest.mark.parametrize("leave", [_filled, _crashed])
def test_it_survives_the_server_and_belongs_to_this_user_only(
    parent: Path, leave: Callable[[Path], Path]
) -> None:
    leave(parent)
    with started(parent) as store:
        assert _values(store) == VALUES
        assert 590 < store.get_many([KEY])[KEY].left <= 600
        assert store.increment([NUMBER]) == {NUMBER: 8}
        found = [path.lstat() for path in (parent, *parent.rglob("*")) if not path.is_symlink()]
    assert {(stat.S_ISDIR(one.st_mode), stat.S_IMODE(one.st_mode)) for one in found} == {
        (True, 0o700),
        (False, 0o600),
    }
    with started(parent) as store:
        assert _values(store) == {**VALUES, NUMBER: b"8"}


def test_the_clock_goes_on_while_the_machine_is_off(
    parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _filled(parent)
    now = time.time()
    monkeypatch.setattr("time.monotonic", lambda: 0.0)
    with closing(SQLiteStore(kept_folder(parent), parent, lambda: now + 599, kept=True)) as later:
        assert _values(later) == VALUES
    with closing(SQLiteStore(kept_folder(parent), parent, lambda: now + 601, kept=True)) as expired:
        assert _values(expired) == {}


def test_what_a_wrong_clock_wrote_does_not_stay_for_years(parent: Path) -> None:
    years = 10 * 365 * 24 * 60 * 60.0
    folder = prepare_kept(parent)
    with closing(SQLiteStore(folder, parent, lambda: time.time() + years)) as wrong:
        assert wrong.set_many(VALUES, 60)
        with closing(SQLiteStore(folder, parent)) as right:
            assert _values(right) == {}
            assert right.start_many({NUMBER: b"100"}, 60) == {NUMBER: b"100"}
            assert _values(right) == {NUMBER: b"100"}
        assert _values(wrong) == {}


def test_folders_of_other_formats_are_removed_and_nothing_else(parent: Path) -> None:
    parent.mkdir()
    stay = ["listings", "listings-", "listings-1.5", "listings-2x", "my-listings-1"]
    for name in ("listings-1", "listings-37", *stay):
        (parent / name / "listings").mkdir(parents=True)
    (parent / "listings-4").touch()
    (parent / "listings-5").symlink_to("my-listings-1")
    stay += ["listings-4", "listings-5", kept_folder(parent).name]

    _filled(parent)

    assert sorted(path.name for path in parent.iterdir()) == sorted(stay)
    assert (parent / "my-listings-1" / "listings").is_dir()
    remove_kept(parent)
    assert sorted(path.name for path in parent.iterdir()) == sorted(stay[:-1])


@ONLY_ROOT
def test_a_folder_of_another_user_is_neither_used_nor_removed(parent: Path) -> None:
    for name in ("listings-1", kept_folder(parent).name):
        (parent / name).mkdir(parents=True)
        os.chown(parent / name, SOMEONE, SOMEONE)
    with pytest.raises(NotOursError, match="another user"):
        prepare_kept(parent)
    assert len(list(parent.iterdir())) == 2


@ONLY_ROOT
def test_a_folder_in_the_folder_of_another_user_is_not_used(parent: Path, tmp_path: Path) -> None:
    _filled(parent)
    os.chown(parent, SOMEONE, SOMEONE)
    with pytest.raises(NotOursError, match="it belongs to another user"):
        prepare_kept(parent)
    os.chown(parent, os.geteuid(), os.getegid())
    link = tmp_path / "link"
    link.symlink_to(parent)
    assert prepare_kept(link) == link / kept_folder(parent).name
    os.chown(link, SOMEONE, SOMEONE, follow_symlinks=False)
    with pytest.raises(NotOursError, match="it belongs to another user"):
        prepare_kept(link)


@pytest.mark.parametrize(("mode", "works"), [(0o777, False), (0o1777, True), (0o2775, True)])
def test_a_folder_that_everyone_may_rename_is_not_used(
    parent: Path, mode: int, *, works: bool
) -> None:
    parent.mkdir()
    parent.chmod(mode)
    with contextlib.nullcontext() if works else pytest.raises(NotOursError, match="every user"):
        prepare_kept(parent)


def test_a_link_or_a_file_in_its_place_is_not_used(parent: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o755)
    parent.touch()
    with pytest.raises(NotADirectoryError, match="it is not a folder"):
        prepare_kept(parent)
    parent.unlink()
    parent.mkdir()
    kept_folder(parent).symlink_to(elsewhere)
    with pytest.raises(NotOursError, match="is a link"):
        prepare_kept(parent)
    assert list(elsewhere.iterdir()) == []
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o755
    kept_folder(parent).unlink()
    kept_folder(parent).touch()
    with pytest.raises(FileExistsError):
        prepare_kept(parent)


def _writable(folder: Path) -> None:
    folder.parent.chmod(0o770)


def _writable_inside(folder: Path) -> None:
    (folder / "records.sqlite").resolve().chmod(0o602)


def _given_away(folder: Path) -> None:
    os.chown((folder / "records.sqlite").resolve(), SOMEONE, SOMEONE)


@pytest.mark.parametrize(
    "change", [_writable, _writable_inside, pytest.param(_given_away, marks=ONLY_ROOT)]
)
def test_what_others_could_have_written_is_forgotten(
    parent: Path, change: Callable[[Path], None]
) -> None:
    change(_filled(parent))
    with started(parent) as store:
        assert _values(store) == {}
        assert store.set_many(VALUES, 60)
    with started(parent) as store:
        assert _values(store) == VALUES


def test_what_others_could_only_read_is_kept_and_made_private(parent: Path) -> None:
    folder = _filled(parent).parent
    folder.chmod(0o755)
    with started(parent) as store:
        assert _values(store) == VALUES
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_what_a_killed_process_had_moved_away_is_removed(parent: Path) -> None:
    folder = _filled(parent)
    folder.rename(folder.with_name("old-1"))
    (folder.with_name("old-2")).touch()
    prepare_kept(parent)
    assert list(folder.parent.iterdir()) == []


def _garbage(path: Path) -> None:
    path.write_bytes(b"\xa5" * 20_000)


def _halved(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _sql(statement: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with closing(sqlite3.connect(path)) as database:
            database.executescript(statement)

    return change


def _empty(path: Path) -> None:
    os.truncate(path, 0)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path], None]] = {
    "garbage": _garbage,
    "half of it": _halved,
    "nothing in it": _empty,
    "missing": Path.unlink,
    "a folder": _folder,
    "other columns": _sql("ALTER TABLE entries DROP COLUMN checksum"),
    "another table": _sql("DROP TABLE entries; CREATE TABLE entries (a, b, c, d, e)"),
    "one table more": _sql("CREATE TABLE more (a)"),
    "a trigger": _sql("CREATE TRIGGER t AFTER INSERT ON entries BEGIN DELETE FROM entries; END"),
    "another version": _sql("PRAGMA user_version = 7"),
    "another value": _sql("UPDATE entries SET value = CAST('8' AS BLOB)"),
    "no bytes": _sql("UPDATE entries SET value = 8"),
    "a text as time": _sql("UPDATE entries SET expires = 'never'"),
    "a longer life": _sql("UPDATE entries SET expires = expires + 1000"),
}


@pytest.mark.parametrize("leave", [_filled, _crashed])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_database_is_a_miss(
    parent: Path, leave: Callable[[Path], Path], damage: str
) -> None:
    DAMAGES[damage]((leave(parent) / "records.sqlite").resolve())
    # After a crash, everything is still in the log.
    left = VALUES if leave is _crashed and damage in {"garbage", "half of it"} else {}
    with started(parent) as store:
        assert _values(store) == left
        assert store.increment([NUMBER]) == ({NUMBER: 8} if left else {})
    assert _works(parent)


@pytest.mark.parametrize("change", [_garbage, _halved, _empty, Path.unlink])
@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
def test_a_damaged_log_is_a_miss(parent: Path, change: Callable[[Path], None], suffix: str) -> None:
    """The index of the log is made again from the log."""
    database = (_crashed(parent) / "records.sqlite").resolve()
    change(database.with_name(f"{database.name}{suffix}"))
    with started(parent) as store:
        assert _values(store) == (VALUES if suffix == "-shm" else {})
    assert _works(parent)


@pytest.mark.parametrize("target", ["/", "..", ".", "x", "../../secret.sqlite", ""])
def test_a_damaged_link_is_a_miss(parent: Path, target: str) -> None:
    link = _filled(parent) / "records.sqlite"
    link.unlink()
    if target:
        link.symlink_to(target)
    else:
        link.mkdir()
    with started(parent) as store:
        assert _values(store) == {}
        assert _values(store) == {}
    assert _works(parent)


def test_a_file_in_place_of_the_inner_folder_is_a_miss(parent: Path) -> None:
    folder = _filled(parent)
    shutil.rmtree(folder)
    folder.touch()
    with started(parent) as store:
        assert _values(store) == {}
    assert _works(parent)
    assert [path.name for path in kept_folder(parent).iterdir()] == ["listings"]


def test_no_other_byte_on_the_disk_is_taken_for_what_was_written(parent: Path) -> None:
    database = (_filled(parent) / "records.sqlite").resolve()
    good = database.read_bytes()
    chance = random.Random(1)
    misses = 0
    for _ in range(150):
        bad = bytearray(good)
        start = chance.randrange(len(bad))
        length = chance.choice([1, 2, 100, 4096])
        bad[start : start + length] = chance.randbytes(len(bad[start : start + length]))
        folder = kept_folder(parent) / "listings"
        folder.mkdir(exist_ok=True)
        for path in folder.iterdir():
            path.unlink()
        database.write_bytes(bad)
        (folder / "records.sqlite").symlink_to(database.name)
        with closing(SQLiteStore(folder.parent, parent, kept=True)) as store:
            found = _values(store)
            assert found.items() <= VALUES.items()
            counted = store.increment([NUMBER])
            assert counted in ({}, {NUMBER: 8})
            misses += found != VALUES
    assert misses > 50


def test_a_counted_change_is_on_the_disk_and_other_writes_do_not_wait_for_it(
    parent: Path,
) -> None:
    statements: list[str] = []
    with started(parent) as store:
        assert store.set_many(VALUES, 60)
        assert store._connection is not None
        store._connection.set_trace_callback(statements.append)
        store.set_many(VALUES, 60)
        assert not [one for one in statements if "synchronous" in one]
        store.increment([NUMBER])
        level = store._connection.execute("PRAGMA synchronous").fetchone()
    where = statements.index("PRAGMA synchronous = FULL")
    assert statements[where + 1] == "BEGIN IMMEDIATE"
    assert statements.index("COMMIT", where) < statements.index("PRAGMA synchronous = NORMAL")
    assert level == (1,)


def test_a_database_that_is_not_kept_never_waits_for_the_disk(tmp_path: Path) -> None:
    with closing(SQLiteStore(tmp_path / "cache", tmp_path)) as store:
        assert store.set_many(VALUES, 60)
        store.increment([NUMBER])
        assert store._connection is not None
        assert store._connection.execute("PRAGMA synchronous").fetchone() == (0,)


def test_a_database_that_was_moved_away_does_not_come_back_after_a_crash(
    parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _filled(parent)
    seen: list[tuple[Path, list[str]]] = []

    def sync(descriptor: int) -> None:
        synced = Path(f"/proc/self/fd/{descriptor}").readlink()
        seen.append((synced, [path.name[:4] for path in synced.iterdir()]))

    monkeypatch.setattr(os, "fsync", sync)
    with started(parent) as store, closing(sqlite3.connect(folder / "records.sqlite")) as other:
        other.execute("BEGIN IMMEDIATE")
        assert store.increment([NUMBER]) == {}
    assert seen == [(kept_folder(parent), ["old-"])]


def test_a_server_whose_folder_is_removed_goes_on(parent: Path) -> None:
    folder = prepare_kept(parent)
    with (
        closing(SQLiteStore(folder, parent, kept=True)) as store,
        closing(SQLiteStore(folder, parent, kept=True)) as other,
    ):
        assert store.set_many(VALUES, 60)
        assert _values(other) == VALUES
        shutil.rmtree(parent)
        assert _values(store) == {}
        assert other.set_many(VALUES, 60)
        assert store.increment([NUMBER]) == {NUMBER: 8}
        assert _values(other) == {**VALUES, NUMBER: b"8"}


def test_a_folder_that_cannot_be_used_is_said_once(
    parent: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyoci_flask.index.store._REST", 600.0)
    folder = prepare_kept(parent)
    folder.rmdir()
    folder.touch()
    with closing(SQLiteStore(folder, parent, kept=True)) as store:
        for _ in range(5):
            assert not store.set_many(VALUES, 60)
            assert store.increment([NUMBER]) == {}
            assert _values(store) == {}
    assert [record.getMessage().split(" (")[0] for record in caplog.records] == [
        "the listing cache failed"
    ]


def test_what_cannot_be_moved_away_is_not_shown_by_this_process(
    parent: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rename(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    folder = _filled(parent)
    with started(parent) as store, closing(sqlite3.connect(folder / "records.sqlite")) as other:
        other.execute("BEGIN IMMEDIATE")
        monkeypatch.setattr(store_folder.Path, "rename", rename)
        for _ in range(2):
            assert store.increment([NUMBER]) == {}
            assert _values(store) == {}
    assert len([one for one in caplog.records if "out of date" in one.getMessage()]) == 1
