"""The store of the listing cache, and what is left of it when something fails."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from pyoci_flask.index.store import SQLiteStore
from tests.patience import PATIENCE
from tests.servers import wait_until

KEY = "entry\nhttp://registry.test/team/foo\n1.0"
OTHER = "entry\nhttp://registry.test/team/foo\n1.0-é"
NUMBER = "changes\nhttp://registry.test/team/foo\n1"


class Clock:
    """Seconds, moved by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(folder: Path, clock: Clock) -> Iterator[SQLiteStore]:
    with closing(SQLiteStore(folder, folder.parent, clock)) as made:
        yield made


@pytest.fixture
def other(folder: Path, clock: Clock) -> Iterator[SQLiteStore]:
    """The same folder, as another process has it."""
    with closing(SQLiteStore(folder, folder.parent, clock)) as made:
        yield made


@pytest.fixture
def no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that failed is tried again at once."""
    monkeypatch.setattr("pyoci_flask.index.store._REST", 0.0)


def _values(store: SQLiteStore, *keys: str) -> dict[str, bytes]:
    return {key: one.value for key, one in store.get_many(keys or (KEY, OTHER, NUMBER)).items()}


def _locked(folder: Path) -> "closing[sqlite3.Connection]":
    holder = sqlite3.connect(folder / "listings" / "records.sqlite", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    return closing(holder)


def test_what_was_written_is_read_by_others_until_it_expires(
    store: SQLiteStore, other: SQLiteStore, clock: Clock
) -> None:
    assert store.get_many([]) == {}
    assert _values(store) == {}

    assert store.set_many({KEY: b"a", OTHER: b"\0\xff"}, 60)
    clock.now += 20

    assert _values(other) == {KEY: b"a", OTHER: b"\0\xff"}
    assert other.get_many([KEY])[KEY].left == 40
    assert store.set_many({OTHER: b"b"}, 60)
    clock.now += 40
    assert _values(other) == {OTHER: b"b"}
    clock.now += 20
    assert _values(other) == {}


def test_what_was_written_later_than_now_is_not_believed(store: SQLiteStore, clock: Clock) -> None:
    """The clock of the machine may be set back."""
    assert store.set_many({KEY: b"a"}, 60)
    clock.now -= 1
    assert _values(store) == {}


def test_numbers_count_up_and_missing_ones_stay_missing(
    store: SQLiteStore, other: SQLiteStore
) -> None:
    assert store.set_many({NUMBER: b"%d" % (2**62 - 1)}, 60)

    assert store.increment([NUMBER, KEY]) == {NUMBER: 2**62}
    assert other.increment([NUMBER]) == {NUMBER: 2**62 + 1}

    assert _values(store) == {NUMBER: b"%d" % (2**62 + 1)}


@pytest.mark.usefixtures("no_rest")
def test_many_parallel_writers_lose_nothing(folder: Path) -> None:
    keys = [f"1.{number}" for number in range(6)]

    def write(key: str) -> None:
        with closing(SQLiteStore(folder, folder.parent)) as mine:
            # Others may be in the way for longer than a writer waits.
            wait_until(lambda: mine.set_many({key: b""}, 60))
            wait_until(lambda: NUMBER in mine.increment([NUMBER]))

    with closing(SQLiteStore(folder, folder.parent)) as reader:
        assert reader.set_many({NUMBER: b"0"}, 60)
        with ThreadPoolExecutor(len(keys)) as executor:
            list(executor.map(write, keys))
        assert _values(reader, *keys, NUMBER) == {**dict.fromkeys(keys, b""), NUMBER: b"6"}


@pytest.mark.usefixtures("no_rest")
def test_what_expired_goes_first_and_then_what_expires_first(
    store: SQLiteStore, clock: Clock, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyoci_flask.index.store._MOST_BYTES", 1_500_000)
    assert store.set_many({NUMBER: b"7"}, 86_400)
    assert store.set_many({KEY: bytes(600_000)}, 5)
    assert store.set_many({f"first {number}": bytes(1000) for number in range(300)}, 60)
    clock.now += 5

    assert store.set_many({f"then {number}": bytes(1000) for number in range(300)}, 60)
    assert len(_values(store, *(f"first {number}" for number in range(300)))) == 300
    assert store.set_many({f"last {number}": bytes(1000) for number in range(600)}, 60)

    assert len(_values(store, *(f"last {number}" for number in range(600)))) == 600
    assert 0 < len(_values(store, *(f"then {number}" for number in range(300)))) <= 300
    assert len(_values(store, *(f"first {number}" for number in range(300)))) < 200
    assert _values(store) == {NUMBER: b"7"}
    database = folder / "listings" / "records.sqlite"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert database.stat().st_size < 3_000_000


@pytest.mark.usefixtures("no_rest")
def test_what_is_larger_than_all_is_dropped_and_the_store_works_on(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyoci_flask.index.store._MOST_BYTES", 1_000_000)
    store.set_many({KEY: bytes(1_500_000)}, 60)
    assert _values(store) == {}
    assert store.set_many({KEY: b"small"}, 60)
    assert _values(store) == {KEY: b"small"}


def test_after_a_failed_write_the_store_is_not_used_for_a_while(
    store: SQLiteStore, other: SQLiteStore, folder: Path
) -> None:
    assert store.set_many({KEY: b"1"}, 60)

    with _locked(folder):
        assert _values(other) == {KEY: b"1"}  # readers do not wait for a writer
        assert not store.set_many({KEY: b"2"}, 60)
        assert _values(store) == {}
    assert not store.set_many({KEY: b"2"}, 60)
    assert _values(store) == {}
    assert other.set_many({KEY: b"3"}, 60)


def test_if_a_change_cannot_be_counted_everything_is_forgotten_by_all(
    store: SQLiteStore, other: SQLiteStore, folder: Path
) -> None:
    assert store.set_many({KEY: b"old", NUMBER: b"7"}, 60)
    assert _values(other) == {KEY: b"old", NUMBER: b"7"}

    with _locked(folder):
        assert store.increment([NUMBER]) == {}

        assert _values(other) == {}
        assert other.increment([NUMBER]) == {}
        assert other.set_many({KEY: b"new"}, 60)
    assert [entry.name for entry in folder.iterdir()] == ["listings"]


def test_the_next_database_has_a_name_of_its_own(
    store: SQLiteStore, other: SQLiteStore, folder: Path
) -> None:
    """SQLite finds the log of a database by its name, and must not take that of another one.

    With one name for all, a number was counted twice, about once in a thousand databases.
    """
    link = folder / "listings" / "records.sqlite"
    names = set()
    for _ in range(3):
        assert store.set_many({NUMBER: b"7"}, 60)
        names.add(link.resolve().name)
        with _locked(folder):
            assert other.increment([NUMBER]) == {}
    assert len(names) == 3


@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
def test_processes_agree_after_a_cleaner_removed_a_file_of_the_database(
    store: SQLiteStore, folder: Path, suffix: str
) -> None:
    """SQLite's locks are on one of these files: each process would have locks of its own."""
    program = (
        "import sys; from pathlib import Path; from pyoci_flask.index import store as module\n"
        "module._REST, folder = 0.0, Path(sys.argv[1])\n"
        "store = module.SQLiteStore(folder, folder.parent, lambda: 1000.0)\n"
        f"store.increment([{NUMBER!r}])\n"
        "print('counted', flush=True); sys.stdin.read()\n"
        f"print(sorted(one.value for one in store.get_many([{NUMBER!r}]).values()))"
    )
    assert store.set_many({NUMBER: b"7"}, 60)
    database = (folder / "listings" / "records.sqlite").resolve()
    database.with_name(f"{database.name}{suffix}").unlink()

    with subprocess.Popen(
        [sys.executable, "-c", program, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as newer:
        assert newer.stdout is not None
        assert newer.stdout.readline() == "counted\n"
        # What it counted is not missed: the number of before is not shown any more.
        assert _values(store) == {}
        assert store.set_many({NUMBER: b"70"}, 60)
        assert newer.communicate("", PATIENCE)[0] == "[b'70']\n"


def test_a_change_is_counted_even_while_the_store_rests(
    store: SQLiteStore, other: SQLiteStore, folder: Path
) -> None:
    assert store.set_many({NUMBER: b"7"}, 60)
    with _locked(folder):
        assert not store.set_many({KEY: b"new"}, 60)
    assert _values(store) == {}

    store.increment([NUMBER])

    assert _values(other) == {NUMBER: b"8"}


@pytest.mark.usefixtures("no_rest")
def test_on_a_full_disk_the_database_begins_again(
    store: SQLiteStore, other: SQLiteStore, folder: Path
) -> None:
    assert store.set_many({KEY: b"old", NUMBER: b"7"}, 60)
    assert store._connection is not None
    store._connection.execute("PRAGMA max_page_count = 40")

    assert not store.set_many({KEY: bytes(1_000_000)}, 60)

    assert _values(other) == {}
    assert store.set_many({KEY: b"new"}, 60)
    assert _values(other) == {KEY: b"new"}
    assert [entry.name for entry in folder.iterdir()] == ["listings"]


@pytest.mark.usefixtures("no_rest")
@pytest.mark.parametrize("suffix", ["", "-wal"])
def test_a_broken_database_begins_again(folder: Path, suffix: str) -> None:
    with closing(SQLiteStore(folder, folder.parent)) as before:
        before.set_many({KEY: b"old"}, 60)
        database = (folder / "listings" / "records.sqlite").resolve()
        broken = database.with_name(f"{database.name}{suffix}")
        if suffix:
            # Left behind as a crash leaves it, and then overwritten.
            broken.write_bytes(b"\xa5" * 20_000)
    broken.write_bytes(b"\xa5" * 20_000)

    with closing(SQLiteStore(folder, folder.parent)) as after:
        for _ in range(3):
            assert _values(after) in ({}, {KEY: b"old"})
        assert after.set_many({KEY: b"new"}, 60)
        assert _values(after) == {KEY: b"new"}


@pytest.mark.parametrize("part", ["cache", "cache/listings"])
def test_a_link_in_place_of_a_folder_is_not_followed(tmp_path: Path, part: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / part).parent.mkdir(exist_ok=True)
    (tmp_path / part).symlink_to(elsewhere)

    with closing(SQLiteStore(tmp_path / "cache", tmp_path)) as store:
        assert not store.set_many({KEY: b"1"}, 60)
        assert store.increment([NUMBER]) == {}
        assert _values(store) == {}
    assert list(elsewhere.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_the_folder_of_another_user_is_not_used(folder: Path) -> None:
    folder.mkdir()
    os.chown(folder, 12345, 12345)

    with closing(SQLiteStore(folder, folder.parent)) as store:
        assert not store.set_many({KEY: b"1"}, 60)
    assert list(folder.iterdir()) == []


def test_without_a_shared_folder_it_has_its_own_until_the_process_ends(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from pyoci_flask.index.store import SQLiteStore\n"
        "parent = Path(sys.argv[1]); store = SQLiteStore(None, parent)\n"
        "assert not list(parent.iterdir())\n"
        "assert store.set_many({'key': b'value'}, 60)\n"
        "print([oct(each.stat().st_mode & 0o777) for each in parent.rglob('*') if each.is_dir()])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert json.loads(ran.stdout.replace("'", '"')) == ["0o700", "0o700"]
    assert list(tmp_path.iterdir()) == []
