"""Entries of the listing cache and numbers of changes, in a store that workers share."""

import sqlite3
import threading
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import cycle
from pathlib import Path

import pytest

from pyoci_flask.index.cache import CachedReader
from pyoci_flask.index.entries import Entries, Entry
from pyoci_flask.index.lifetimes import Lifetimes
from pyoci_flask.index.names import tag_of
from pyoci_flask.index.project_repository import ProjectRepository
from pyoci_flask.index.store import SQLiteStore, Stored
from pyoci_flask.index.versions import Skipped, VersionFiles, load_files
from pyoci_flask.oci.reference import Digest
from tests.patience import PATIENCE
from tests.unit.cache_lab import Lab, make_lab, names
from tests.unit.conftest import Callers

CHANGES = 6
DAY = 24 * 60 * 60
TOO_LARGE = Skipped("too large", is_version=True)


@pytest.fixture
def lab(caller_of: Callers, tmp_path: Path) -> Iterator[Lab]:
    with make_lab(caller_of, tmp_path) as made:
        yield made


@pytest.fixture
def repository(lab: Lab) -> ProjectRepository:
    return lab.repository


@pytest.fixture
def entries(lab: Lab) -> Entries:
    return Entries(lab.records, Lifetimes(60), lab.clock)


@dataclass(slots=True)
class Meeting:
    """A store in which calls for several tags wait a moment to meet another one."""

    store: SQLiteStore
    met: threading.Barrier = field(default_factory=lambda: threading.Barrier(2))
    meetings: int = 0

    def get_many(self, keys: Collection[str]) -> Mapping[str, Stored]:
        if sum(key.startswith("entry") for key in keys) > 1:
            try:
                self.met.wait(0.3)
                self.meetings += 1
            except threading.BrokenBarrierError:
                pass
        return self.store.get_many(keys)

    def set_many(self, values: Mapping[str, bytes], ttl: float) -> bool:
        return self.store.set_many(values, ttl)

    def start_many(self, values: Mapping[str, bytes], ttl: float) -> Mapping[str, bytes]:
        return self.store.start_many(values, ttl)

    def increment(self, keys: Collection[str]) -> Mapping[str, int]:
        return self.store.increment(keys)

    def close(self) -> None:
        self.store.close()


def _write(entries: Entries, repository: ProjectRepository, tag: str) -> dict[str, Entry]:
    """Write an entry as if the registry had just been asked."""
    before = entries.changes(repository)
    _, numbers = entries.look_up(repository, [tag], {})
    written, after = entries.write(repository, {tag: TOO_LARGE}, numbers, entries._clock())
    assert before is not None
    assert after == before + 1
    return written


def test_an_entry_counts_the_bytes_of_its_document(repository: ProjectRepository) -> None:
    found = load_files(repository, "1.0", tag_of("1.0"))
    assert isinstance(found, VersionFiles)
    assert found.document is not None
    one, gone, skipped = (Entry(1, 0, 1, 1, found) for found in (found, None, TOO_LARGE))

    assert (one.weight, gone.weight, skipped.weight) == (found.weight, 0, 0)
    assert one.size - gone.size == len(found.document)
    assert gone.size == skipped.size
    assert gone.size > 0  # tags that name nothing fill the memory as well


def test_an_index_without_a_document_has_a_weight_and_no_size(
    entries: Entries, repository: ProjectRepository
) -> None:
    large = VersionFiles("1.0", Digest.of(b"large"), (), 300_000)
    assert Entry(1, 0, 1, 1, large).weight == 300_000
    assert Entry(1, 0, 1, 1, large).size == Entry(1, 0, 1, 1, None).size
    _, numbers = entries.look_up(repository, ["1.0"], {})

    assert entries.write(repository, {"1.0": large}, numbers, entries._clock()) == ({}, None)


def test_an_entry_is_read_with_what_is_left_of_its_time(
    lab: Lab, entries: Entries, repository: ProjectRepository
) -> None:
    began = lab.clock.now
    written = _write(entries, repository, "2.0")["2.0"]
    assert (written.since, written.until, written.found) == (began, began + 60, TOO_LARGE)
    lab.clock.now += 20

    found, numbers = entries.look_up(repository, ["2.0", "3.0"], {})

    assert list(found) == ["2.0"]
    assert found["2.0"] == Entry(numbers["2.0"], began, began + 60, began + 60, TOO_LARGE)
    assert set(numbers) == {"2.0", "3.0"}
    lab.clock.now += 40
    assert entries.look_up(repository, ["2.0"], {})[0] == {}


def test_what_an_unanswered_call_left_is_not_written(
    entries: Entries, repository: ProjectRepository
) -> None:
    _, numbers = entries.look_up(repository, ["1.0"], {})
    before = entries.changes(repository)
    failed = Skipped("it hung", is_version=True, answered=False)

    assert entries.write(repository, {"1.0": failed}, numbers, entries._clock()) == ({}, None)
    assert entries.changes(repository) == before


def test_without_the_number_that_was_read_before_the_call_nothing_is_written(
    entries: Entries, repository: ProjectRepository
) -> None:
    entries.look_up(repository, ["1.0"], {})

    assert entries.write(repository, {"1.0": TOO_LARGE}, {}, entries._clock()) == ({}, None)


def test_each_entry_and_each_change_counts_for_the_repository(
    entries: Entries, repository: ProjectRepository
) -> None:
    first = entries.changes(repository)
    assert first is not None

    _write(entries, repository, "1.0")
    assert entries.changes(repository) == first + 1
    entries.count_change([repository], "2.0")
    assert entries.changes(repository) == first + 2


@pytest.mark.parametrize("spelling", ["1.0", "1.0.0", "1", "v1.0"])
def test_a_change_concerns_all_spellings_of_the_version_and_no_other(
    entries: Entries, repository: ProjectRepository, spelling: str
) -> None:
    for tag in ("1.0", "1.0.0", "1.1", "latest"):
        _write(entries, repository, tag)

    entries.count_change([repository], spelling)

    found, _ = entries.look_up(repository, ["1.0", "1.0.0", "1.1", "latest"], {})
    assert set(found) == {"1.1", "latest"}


def test_a_change_concerns_every_repository_of_the_project_and_no_other(
    lab: Lab, entries: Entries, caller_of: Callers
) -> None:
    first, second, third = (
        ProjectRepository(lab.repository.project, caller_of("embedded", f"{namespace}/hello"))
        for namespace in "abc"
    )
    for one in (first, second, third):
        _write(entries, one, "1.0")

    entries.count_change([first, second], "1.0")

    assert [bool(entries.look_up(one, ["1.0"], {})[0]) for one in (first, second, third)] == [
        False,
        False,
        True,
    ]


def test_what_was_asked_for_before_a_change_is_not_read_after_it(
    entries: Entries, repository: ProjectRepository
) -> None:
    _, numbers = entries.look_up(repository, ["1.0"], {})
    entries.count_change([repository], "1.0")

    entries.write(repository, {"1.0": TOO_LARGE}, numbers, entries._clock())

    assert entries.look_up(repository, ["1.0"], {})[0] == {}


def test_a_number_that_was_dropped_never_comes_back(
    lab: Lab, entries: Entries, repository: ProjectRepository
) -> None:
    _write(entries, repository, "1.0")
    _, numbers = entries.look_up(repository, ["1.0"], {})
    changes = entries.changes(repository)
    keys = [f"changes\n{lab.key}\n1", f"changes\n{lab.key}\n"]
    assert lab.records.set_many(dict.fromkeys(keys, b"1"), 0)

    entries.count_change([repository], "1.0")
    found, others = entries.look_up(repository, ["1.0"], {})

    assert found == {}
    assert others != numbers
    assert entries.changes(repository) != changes


def test_threads_that_start_a_number_together_agree_on_it(
    entries: Entries, repository: ProjectRepository
) -> None:
    caller = repository.caller
    with ThreadPoolExecutor(8) as threads:
        for attempt in range(30):
            place = replace(caller.repository, name=f"team/project{attempt}")
            other = replace(repository, caller=replace(caller, repository=place))
            started = set(threads.map(entries.changes, [other] * 8))
            assert started == {entries.changes(other)}


def test_numbers_outlive_entries_by_far(
    lab: Lab, entries: Entries, repository: ProjectRepository
) -> None:
    _, numbers = entries.look_up(repository, ["1.0"], {})
    lab.clock.now += DAY + 60 - 1  # an entry lives for 60 seconds
    assert entries.look_up(repository, ["1.0"], {})[1] == numbers
    lab.clock.now += 1
    assert entries.look_up(repository, ["1.0"], {})[1] != numbers


def test_without_a_store_nothing_is_known_and_no_number_is_made_up(
    tmp_path: Path, repository: ProjectRepository
) -> None:
    (tmp_path / "blocked").write_text("a file where the folder should be")
    with closing(SQLiteStore(tmp_path / "blocked", tmp_path)) as store:
        entries = Entries(store, Lifetimes(60))

        assert entries.changes(repository) is None
        assert entries.look_up(repository, ["1.0"], {}) == ({}, {})
        numbers = {"1.0": 7}
        assert entries.write(repository, {"1.0": TOO_LARGE}, numbers, 0) == ({}, None)


def test_closing_closes_the_store(lab: Lab, entries: Entries) -> None:
    assert lab.records.set_many({"key": b"value"}, 60)
    entries.close()
    assert lab.records._connection is None


def test_one_thread_at_a_time_parses_several_versions(
    lab: Lab, repository: ProjectRepository
) -> None:
    store = Meeting(lab.records)
    entries = Entries(store, Lifetimes(60), lab.clock)

    with ThreadPoolExecutor(2) as threads:
        for _ in range(2):
            threads.submit(entries.look_up, repository, ["1.0", "2.0"], {})

    assert store.meetings == 0


def test_one_version_is_looked_up_while_others_are_parsed(
    entries: Entries, repository: ProjectRepository
) -> None:
    with ThreadPoolExecutor(1) as threads, entries._parsing:
        found = threads.submit(entries.look_up, repository, ["1.0"], {})
        assert found.result(PATIENCE)[1]


def test_whatever_workers_do_at_once_no_page_is_older_than_the_last_change(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers list and change a version while entries, numbers and databases are dropped."""
    monkeypatch.setattr("pyoci_flask.index.store._REST", 0.0)
    changed: list[str] = []
    is_over = threading.Event()

    def change(worker: Lab, part: int) -> None:
        for number in range(CHANGES):
            filename = f"hello-1.0-{part}{number}-py3-none-any.whl"
            with worker.reader.changing([lab.repository], "1.0"):
                worker.publish(filename)
            changed.append(filename)

    def look(worker: Lab) -> list[str]:
        missed: list[str] = []
        while not is_over.is_set():
            before = list(changed)
            shown = set(names(worker.listed()))
            missed += [filename for filename in before if filename not in shown]
        return missed

    def drop() -> None:
        with closing(SQLiteStore(tmp_path / "cache", tmp_path, lab.clock)) as store:
            for number in cycle(range(20)):
                if is_over.wait(0.002):
                    return
                if number == 0:
                    store._move_away()  # as if a change could not be counted
                    continue
                kind = ("entry", "changes")[number % 2]
                store._use(partial(_drop, kind))

    with ExitStack() as opened, ThreadPoolExecutor(7) as threads:
        stores = [
            opened.enter_context(closing(SQLiteStore(tmp_path / "cache", tmp_path, lab.clock)))
            for _ in range(2)
        ]
        workers = [
            replace(lab, reader=CachedReader(lab.reader.pool, store, 60, lab.clock))
            for store in stores
        ]
        looking = [threads.submit(look, worker) for worker in workers for _ in range(2)]
        dropping = threads.submit(drop)
        try:
            for one in [
                threads.submit(change, *pair) for pair in zip(workers, (1, 2), strict=True)
            ]:
                one.result(PATIENCE)
        finally:
            is_over.set()
        dropping.result(PATIENCE)
        assert [one.result(PATIENCE) for one in looking] == [[]] * 4
        for worker in workers:
            assert len(names(worker.listed())) == 1 + 2 * CHANGES
            lab.asked()
            worker.listed()
            assert lab.asked() == []


def _drop(kind: str, database: sqlite3.Connection) -> None:
    database.execute("DELETE FROM entries WHERE key GLOB ?", (f"{kind}*",))
