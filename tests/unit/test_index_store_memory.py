"""What is true for each store of the listing cache: the one in memory and the one in a database."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from pyoci_flask.index.store import SQLiteStore, Store
from pyoci_flask.index.store_memory import MemoryStore

KEY, OTHER = "entry\nregistry\n1.0", "entry\nregistry\n1.0-é"
NUMBER = "changes\nregistry\n1"
MOST = 1_000_000


class Clock:
    """Seconds, moved by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["in memory", "in a database"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Store]:
    made: Store
    if request.param == "in memory":
        monkeypatch.setattr("pyoci_flask.index.store_memory._BYTES", MOST)
        made = MemoryStore(clock)
    else:
        monkeypatch.setattr("pyoci_flask.index.store._MOST_BYTES", MOST)
        monkeypatch.setattr("pyoci_flask.index.store._REST", 0.0)
        made = SQLiteStore(tmp_path / "cache", tmp_path, clock)
    with closing(made):
        yield made


def _values(store: Store, *keys: str) -> dict[str, bytes]:
    return {key: one.value for key, one in store.get_many(keys or (KEY, OTHER, NUMBER)).items()}


def test_what_was_written_is_read_until_it_expires(store: Store, clock: Clock) -> None:
    assert store.get_many([]) == {}
    assert _values(store) == {}
    assert store.set_many({KEY: b"a", OTHER: b"\0\xff"}, 60)
    clock.now += 20
    assert _values(store) == {KEY: b"a", OTHER: b"\0\xff"}
    assert store.get_many([KEY])[KEY].left == 40
    assert store.set_many({OTHER: b"b"}, 60)
    clock.now += 40
    assert _values(store) == {OTHER: b"b"}
    clock.now += 20
    assert _values(store) == {}


def test_what_is_stored_for_no_time_is_gone(store: Store) -> None:
    store.set_many({KEY: b"a"}, 60)
    store.set_many({KEY: b"b"}, 0)
    assert _values(store) == {}


def test_only_missing_values_are_started(store: Store, clock: Clock) -> None:
    assert store.start_many({KEY: b"1", OTHER: b"2"}, 60) == {KEY: b"1", OTHER: b"2"}
    clock.now += 30
    assert store.start_many({KEY: b"3", NUMBER: b"4"}, 60) == {KEY: b"1", NUMBER: b"4"}
    clock.now += 30
    assert store.start_many({KEY: b"5"}, 60) == {KEY: b"5"}
    assert _values(store) == {KEY: b"5", NUMBER: b"4"}


def test_numbers_count_up_until_they_expire_and_missing_ones_stay_missing(
    store: Store, clock: Clock
) -> None:
    assert store.set_many({NUMBER: b"%d" % (2**62 - 1)}, 60)
    clock.now += 30
    assert store.increment([NUMBER, KEY]) == {NUMBER: 2**62}
    assert store.increment([NUMBER]) == {NUMBER: 2**62 + 1}
    assert store.get_many([NUMBER])[NUMBER].left == 30
    clock.now += 30
    assert _values(store) == {}


def test_no_thread_loses_what_another_one_counts(store: Store) -> None:
    threads, times = 6, 50
    store.set_many({NUMBER: b"0"}, 60)
    ready = threading.Barrier(threads)

    def count(_: int) -> list[int]:
        ready.wait()
        return [store.increment([NUMBER])[NUMBER] for _ in range(times)]

    with ThreadPoolExecutor(threads) as executor:
        counted = [one for each in executor.map(count, range(threads)) for one in each]
    assert sorted(counted) == list(range(1, threads * times + 1))


def test_of_many_threads_one_starts_a_value(store: Store) -> None:
    threads = 8
    ready = threading.Barrier(threads)

    def start(number: int) -> bytes:
        ready.wait()
        return store.start_many({KEY: b"%d" % number}, 60)[KEY]

    with ThreadPoolExecutor(threads) as executor:
        assert len(set(executor.map(start, range(threads)))) == 1


def test_what_is_larger_than_all_is_dropped_and_the_store_works_on(store: Store) -> None:
    store.set_many({KEY: bytes(MOST + MOST // 2)}, 60)
    assert _values(store) == {}
    assert store.set_many({KEY: b"small"}, 60)
    assert _values(store) == {KEY: b"small"}


def test_if_it_is_full_the_oldest_values_are_dropped(store: Store, clock: Clock) -> None:
    store.set_many({NUMBER: b"7"}, 86_400)
    for number in range(300):
        clock.now += 0.1
        store.set_many({f"entry {number}": bytes(10_000)}, 60)
        assert _values(store, NUMBER) == {NUMBER: b"7"}  # it is used, and lives longest
    left = [number for number in range(300) if _values(store, f"entry {number}")]
    assert 299 in left
    assert 0 not in left
    assert len(left) * 10_000 <= MOST
    assert left == list(range(300 - len(left), 300))


def test_the_store_in_memory_bounds_the_number_of_values_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pyoci_flask.index.store_memory._ENTRIES", 10)
    store = MemoryStore()
    for number in range(100):
        store.set_many({f"{number}": b""}, 60)
    assert sorted(map(int, _values(store, *map(str, range(100))))) == list(range(90, 100))
