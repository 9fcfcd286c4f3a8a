"""The records of the listing cache, and what is left of them when something fails."""

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

from pyoci_flask.index.store import Record, RecordStore
from tests.servers import wait_until

KEY = "http://registry.test\nteam/foo"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def _store(folder: Path) -> RecordStore:
    return RecordStore(folder, folder.parent)


@pytest.fixture
def store(folder: Path) -> Iterator[RecordStore]:
    with closing(_store(folder)) as made:
        yield made


@pytest.fixture
def other(folder: Path) -> Iterator[RecordStore]:
    """The same folder, as another process has it."""
    with closing(_store(folder)) as made:
        yield made


@pytest.fixture
def no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that failed is tried again at once."""
    monkeypatch.setattr("pyoci_flask.index.store._REST", 0.0)


def _begun(store: RecordStore, key: str = KEY) -> Record:
    record = store.begin(key)
    assert record is not None
    return record


def _locked(folder: Path) -> "closing[sqlite3.Connection]":
    holder = sqlite3.connect(folder / "listings" / "records.sqlite", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    return closing(holder)


def test_what_was_written_is_read_by_others(store: RecordStore, other: RecordStore) -> None:
    assert store.revision(KEY) is None
    before = _begun(store)
    assert before.document == {}

    revision = store.write(KEY, before, {"1.0": ["a"], "1.0+é": [1.5, None]})

    assert revision not in {None, before.revision}
    assert other.revision(KEY) == revision
    assert _begun(other) == Record(
        before.generation, revision or 0, {"1.0": ["a"], "1.0+é": [1.5, None]}
    )
    assert _begun(other, "another").document == {}


def test_a_write_replaces_what_its_writer_had_read(store: RecordStore) -> None:
    store.write(KEY, _begun(store), {"1.0": [1], "2.0": [2]})
    store.write(KEY, _begun(store), {"2.0": [3]})

    assert _begun(store).document == {"2.0": [3]}


def test_writes_that_began_at_the_same_time_are_merged(
    store: RecordStore, other: RecordStore
) -> None:
    mine, theirs = _begun(store), _begun(other)

    assert store.write(KEY, mine, {"1.0": ["mine"], "both": ["mine"]}) is not None
    # It is told that the record holds more than it wrote.
    assert other.write(KEY, theirs, {"2.0": ["theirs"], "both": ["theirs"]}) is None

    expected = {"1.0": ["mine"], "2.0": ["theirs"], "both": ["theirs"]}
    assert _begun(store).document == expected


@pytest.mark.usefixtures("no_rest")
def test_many_parallel_writers_lose_nothing(folder: Path) -> None:
    names = {f"1.{number}" for number in range(6)}

    def write(name: str) -> None:
        with closing(_store(folder)) as mine:
            wait_until(lambda: _written(mine, name))

    with closing(_store(folder)) as reader:
        _begun(reader)
        with ThreadPoolExecutor(len(names)) as executor:
            list(executor.map(write, names))
        assert set(_begun(reader).document) == names


def _written(store: RecordStore, name: str) -> bool:
    """Try to add a member; somebody else may be in the way."""
    record = store.begin(KEY)
    return (
        record is not None and store.write(KEY, record, {**record.document, name: []}) is not None
    )


def test_a_write_is_dropped_once_the_generation_has_moved_on(
    store: RecordStore, other: RecordStore
) -> None:
    before = _begun(store)
    other.invalidate(KEY, "1.0")

    assert store.write(KEY, before, {"1.0": ["old"]}) is None
    assert _begun(store).document == {}
    assert store.write(KEY, _begun(store), {"1.0": ["new"]}) is not None


def test_invalidation_drops_one_member_of_one_record(
    store: RecordStore, other: RecordStore
) -> None:
    members = {"1.0": [1], "1.0.1": [2], "1_2.0-cpu": [3], "_x": [4]}
    for key in (KEY, "another"):
        store.write(key, _begun(store, key), members)
    before = _begun(store)

    for member in ("1.0", "1_2.0-cpu", "absent"):
        other.invalidate(KEY, member)
        other.invalidate("a key that nobody knows", member)

    after = _begun(store)
    assert after.document == {"1.0.1": [2], "_x": [4]}
    assert after.generation != before.generation
    assert after.revision != before.revision
    assert _begun(store, "another").document == members


def test_no_number_comes_again_not_even_in_a_new_database(store: RecordStore, folder: Path) -> None:
    numbers: list[int] = []
    for _ in range(5):
        for _ in range(20):
            record = _begun(store)
            revision = store.write(KEY, record, {"1.0": [1]})
            assert revision is not None
            store.invalidate(KEY, "1.0")
            numbers += [record.generation, record.revision, revision]
        (folder / "listings").rename(folder / f"aside-{len(numbers)}")

    assert len(set(numbers)) == len(numbers)


def test_a_record_that_is_too_large_is_not_written(store: RecordStore) -> None:
    store.write(KEY, _begun(store), {"1.0": ["small"]})

    assert store.write(KEY, _begun(store), {"1.0": ["x" * 9_000_000]}) is None
    assert _begun(store).document == {"1.0": ["small"]}


@pytest.mark.usefixtures("no_rest")
def test_a_full_database_begins_anew(
    folder: Path, other: RecordStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyoci_flask.index.store._MOST_PAGES", 64)
    with closing(_store(folder)) as small:
        small.write(KEY, _begun(small), {"1.0": ["kept"]})
        assert small.write("large", _begun(small, "large"), {"1.0": ["x" * 1_000_000]}) is None
        assert small.write(KEY, _begun(small), {"1.0": ["written again"]}) is not None
        assert _begun(other).document == {"1.0": ["written again"]}
        assert [entry.name for entry in folder.iterdir()] == ["listings"]


def test_who_cannot_write_goes_on_without_the_cache_for_a_while(
    store: RecordStore, other: RecordStore, folder: Path
) -> None:
    record = _begun(store)

    with _locked(folder):
        assert other.revision(KEY) == record.revision  # readers do not wait for a writer
        assert store.write(KEY, record, {"1.0": [1]}) is None
        assert store.revision(KEY) is None
    assert store.begin(KEY) is None
    assert other.write(KEY, record, {"1.0": [2]}) is not None


def test_where_a_record_cannot_be_invalidated_everybody_begins_anew(
    store: RecordStore, other: RecordStore, folder: Path
) -> None:
    store.write(KEY, _begun(store), {"1.0": ["old"]})
    before = _begun(other)
    assert before.document == {"1.0": ["old"]}

    with _locked(folder):
        store.invalidate(KEY, "1.0")

        assert other.revision(KEY) is None
        assert other.write(KEY, before, {"1.0": ["old"]}) is None
        now = _begun(other)
        assert now.document == {}
        assert now.generation != before.generation


def test_a_change_is_told_even_while_the_cache_rests(
    store: RecordStore, other: RecordStore, folder: Path
) -> None:
    store.write(KEY, _begun(store), {"1.0": ["old"]})
    with _locked(folder):
        assert store.write(KEY, _begun(store), {"1.0": ["new"]}) is None
    assert store.begin(KEY) is None

    store.invalidate(KEY, "1.0")

    assert _begun(other).document == {}


@pytest.mark.usefixtures("no_rest")
@pytest.mark.parametrize("name", ["records.sqlite", "records.sqlite-wal"])
def test_a_broken_database_begins_anew(folder: Path, name: str) -> None:
    with closing(_store(folder)) as before:
        before.write(KEY, _begun(before), {"1.0": ["old"]})
        if name.endswith("wal"):
            # Left behind as a crash leaves it, and then overwritten.
            (folder / "listings" / name).write_bytes(b"\xa5" * 20_000)
    (folder / "listings" / name).write_bytes(b"\xa5" * 20_000)

    with closing(_store(folder)) as after:
        seen = [after.begin(KEY) for _ in range(3)]
        assert seen[-1] is not None
        assert all(one is None or one.document in ({}, {"1.0": ["old"]}) for one in seen)
        assert after.write(KEY, _begun(after), {"1.0": ["new"]}) is not None
        assert _begun(after).document == {"1.0": ["new"]}


@pytest.mark.usefixtures("no_rest")
def test_a_record_that_was_damaged_is_not_believed(store: RecordStore, folder: Path) -> None:
    key = "http://registry.test\nteam/other"
    for one in (KEY, key):
        assert store.write(one, _begun(store, one), {"1.0": ["true"]}) is not None
    with closing(sqlite3.connect(folder / "listings" / "records.sqlite")) as database:
        database.execute("UPDATE records SET document = replace(document, 'true', 'fake')")
        database.commit()

    store.invalidate(key, "2.0")
    assert _begun(store, key).document == {}
    assert store.begin(KEY) is None  # all of it is done away with
    assert _begun(store).document == {}


@pytest.mark.parametrize("part", ["cache", "cache/listings"])
def test_a_link_in_place_of_a_folder_is_not_followed(tmp_path: Path, part: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / part).parent.mkdir(exist_ok=True)
    (tmp_path / part).symlink_to(elsewhere)

    with closing(_store(tmp_path / "cache")) as store:
        assert store.begin(KEY) is None
        store.invalidate(KEY, "1.0")
    assert list(elsewhere.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_the_folder_of_another_user_is_not_used(folder: Path) -> None:
    folder.mkdir()
    os.chown(folder, 12345, 12345)

    with closing(_store(folder)) as store:
        assert store.begin(KEY) is None
    assert list(folder.iterdir()) == []


def test_without_a_shared_folder_it_has_its_own_until_the_process_ends(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from pyoci_flask.index.store import RecordStore\n"
        "parent = Path(sys.argv[1]); store = RecordStore(None, parent)\n"
        "assert not list(parent.iterdir())\n"
        "assert store.begin('key')\n"
        "print([oct(each.stat().st_mode & 0o777) for each in parent.rglob('*') if each.is_dir()])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert json.loads(ran.stdout.replace("'", '"')) == ["0o700", "0o700"]
    assert list(tmp_path.iterdir()) == []
