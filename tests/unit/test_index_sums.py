"""What a listing as a whole may take, and what is left out of it."""

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from pyoci_flask.common.budget import ByteBudget
from pyoci_flask.errors import BusyError, OversizedError
from pyoci_flask.index.cache import CachedReader
from pyoci_flask.index.fetch import FetchPool
from pyoci_flask.index.listing import find_project
from pyoci_flask.index.names import ProjectName
from pyoci_flask.index.project import Project
from pyoci_flask.index.project_repository import ProjectRepository
from pyoci_flask.index.reader import VersionReader
from pyoci_flask.index.store import SQLiteStore
from tests.doubles import wsgi_server
from tests.unit.conftest import Callers
from tests.version_documents import Documents, file_entry, image_index, other_entry

SMALL = image_index([file_entry(1)])
TOO_LARGE = {
    "bytes": SMALL + b" " * (4 * 1024 * 1024),
    "values": image_index([file_entry(1)], more=f',"x":[{",".join(["{}"] * 130_000)}]'),
    "entries": image_index(other_entry(1) for _ in range(10_001)),
}


@pytest.fixture(params=["plain", "cached"])
def reader(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VersionReader]:
    pool = FetchPool(4)
    with closing(SQLiteStore(tmp_path / "cache", tmp_path)) as records:
        plain = request.param == "plain"
        with closing(VersionReader(pool) if plain else CachedReader(pool, records, 60)) as made:
            yield made


@contextmanager
def served(tags: Mapping[str, bytes], caller_of: Callers) -> Iterator[ProjectRepository]:
    with wsgi_server(Documents(tags)) as url:
        yield ProjectRepository(ProjectName("hello"), caller_of(url))


def listed(reader: VersionReader, repository: ProjectRepository) -> Project:
    return reader.project(*find_project([repository]), 0)


def lines(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [
        one.getMessage()
        for one in caplog.records
        if one.name == "pyoci.index" and one.levelno == level
    ]


@pytest.mark.parametrize("kind", TOO_LARGE)
def test_version_that_is_too_large_is_left_out_with_one_warning(
    reader: VersionReader, caller_of: Callers, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    tags = {"1.0": SMALL, "2.0": TOO_LARGE[kind], "3.0": SMALL}
    with served(tags, caller_of) as repository:
        project = listed(reader, repository)
        with pytest.raises(OversizedError):
            reader.find([repository], "2.0")

    assert [file.version for file in project.files] == ["3.0", "1.0"]
    assert project.versions == ("3.0", "2.0", "1.0")
    assert project.left_out == ("2.0",)
    (line,) = {*lines(caplog, logging.WARNING)}
    assert "1 versions (2.0: " in line


def test_version_that_is_too_large_is_asked_for_once(caller_of: Callers, tmp_path: Path) -> None:
    registry = Documents({"1.0": SMALL, "2.0": TOO_LARGE["bytes"]})
    records = SQLiteStore(tmp_path / "cache", tmp_path)
    with (
        wsgi_server(registry) as url,
        closing(records),
        closing(CachedReader(FetchPool(4), records, 60)) as reader,
        closing(CachedReader(FetchPool(4), records, 60)) as other,
    ):
        repository = ProjectRepository(ProjectName("hello"), caller_of(url))
        first = listed(reader, repository)
        assert listed(reader, repository) is first
        # Its proof is its own: it reads one version, and takes the other from the record.
        assert listed(other, repository).left_out == ("2.0",)

    assert registry.asked.count("1.0") + registry.asked.count("2.0") == 3


def test_oldest_versions_are_left_out_of_a_listing_that_is_too_large(
    reader: VersionReader, caller_of: Callers, caplog: pytest.LogCaptureFixture
) -> None:
    document = image_index(file_entry(number, ">=3" + "0" * 100_000) for number in range(10))
    tags = {f"1.{number}": document for number in range(25)}
    with served(tags, caller_of) as repository:
        project = listed(reader, repository)

    assert {file.version for file in project.files} | {*project.left_out} == {*tags}
    assert len(project.versions) == 25
    # 16 of them fit into 16 MiB less what the others of a pool of four threads may take.
    assert len(project.left_out) == 25 - 16
    assert set(project.versions[:12]).isdisjoint(project.left_out)
    assert project.weight <= 16 * 1024 * 1024
    (line,) = lines(caplog, logging.WARNING)
    assert "9 versions (" in line


@pytest.mark.parametrize("count", [100, 400])
def test_large_listing_reads_each_version_once(caller_of: Callers, count: int) -> None:
    """It takes the place of a large one while it reads, if there is one."""
    document = image_index(file_entry(number, ">=3" + "0" * 2_000) for number in range(3))
    registry = Documents({f"1.{number}": document for number in range(count)})
    with wsgi_server(registry) as url, closing(VersionReader(FetchPool(4))) as reader:
        repository = ProjectRepository(ProjectName("hello"), caller_of(url))
        project = listed(reader, repository)

    assert len(project.files) == 3 * count
    assert registry.asked.count("1.7") == 1
    assert len([tag for tag in registry.asked if tag.startswith("1.")]) == count


@pytest.mark.parametrize("limit", [0, 100])
def test_large_project_in_two_repositories_is_read_once_and_as_a_whole(
    reader: VersionReader, caller_of: Callers, limit: int
) -> None:
    name = ',"annotations":{"com.pyoci.name":"zope.dotted"}'
    large = image_index([file_entry(number, ">=3" + "0" * 100_000) for number in range(10)], name)
    first = Documents({f"1.{number}": large for number in range(10)})
    second = Documents({"0.1": SMALL})
    with wsgi_server(first) as url, wsgi_server(second) as other_url:
        project = ProjectName("zope.dotted")
        other = ProjectRepository(project, caller_of(other_url, "acme/zope.dotted"))
        repository = ProjectRepository(project, caller_of(url, "acme/zope_dotted"), others=(other,))
        found = reader.project(repository, list(first.tags), limit)

    assert found.left_out == ()
    assert {file.version for file in found.files} == {*first.tags, *second.tags}
    assert sorted(first.asked) == sorted(first.tags)


def test_entries_that_are_no_files_are_one_line_for_each_version(
    reader: VersionReader, caller_of: Callers, caplog: pytest.LogCaptureFixture
) -> None:
    document = image_index([file_entry(0), *(other_entry(number) for number in range(500))])
    with served({"1.0": document, "2.0": document}, caller_of) as repository:
        assert len(listed(reader, repository).files) == 2

    first, second = lines(caplog, logging.WARNING)
    assert "500 entries (" in first
    assert "500 entries (" in second
    assert len(first) < 1000


def test_tags_that_are_no_packages_are_one_line(
    reader: VersionReader, caller_of: Callers, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pyoci.index")
    foreign = image_index([], kind="x" * 60_000)
    with served({f"1.{number}": foreign for number in range(50)}, caller_of) as repository:
        assert listed(reader, repository).files == ()

    (line,) = lines(caplog, logging.INFO)
    assert "50 tags (" in line
    assert len(line) < 1000


def test_budget_is_held_by_bytes_and_by_user() -> None:
    budget = ByteBudget(100, share=60, patience=0)
    with budget.hold(1000, "a"):  # a share at most
        with pytest.raises(BusyError, match="try again"), budget.hold(1, "a"):
            pass
        with budget.hold(40, "b"), pytest.raises(BusyError), budget.hold(1, "c"):
            pass
        with budget.hold(40, "c"):
            pass
    with budget.hold(60, "a"):
        pass


def test_budget_is_waited_for() -> None:
    budget = ByteBudget(10)
    done = threading.Event()

    def wait() -> None:
        with budget.hold(10):
            done.set()

    thread = threading.Thread(target=wait)
    with budget.hold(1):
        thread.start()
        assert not done.is_set()
    thread.join()
    assert done.is_set()


def test_budget_is_kept_as_long_as_its_owner_lives() -> None:
    class Owner:
        pass

    budget, owner = ByteBudget(10), Owner()
    budget.keep(10, owner)
    with pytest.raises(BusyError, match="try again"):
        budget.keep(1, Owner())
    del owner
    budget.keep(10, Owner())


def test_tags_beyond_the_first_40_000_are_left_out_with_one_warning(
    caller_of: Callers, caplog: pytest.LogCaptureFixture
) -> None:
    numbers = sorted(map(str, range(40_001)))
    with served(dict.fromkeys(numbers, SMALL), caller_of) as repository:
        _, tags = find_project([repository])

    assert len(tags) == 40_000
    assert set(numbers) - set(tags) == {"0"}
    (line,) = lines(caplog, logging.WARNING)
    assert "40001 tags" in line


def test_of_too_many_tags_final_releases_are_kept_the_newest_first(
    caller_of: Callers, caplog: pytest.LogCaptureFixture
) -> None:
    finals = ["9.0", "10.0.post1", "v10.1", "1_0.1", "10.0-cpu.1"]
    older = [f"1.{number}" for number in range(39_994)]
    others = ["9.1rc1", "10.2.dev1", "2.0a1", "sha256-0123.sig", "latest"]
    # As registries list them: by the alphabet.
    with served(dict.fromkeys(sorted([*finals, *older, *others]), SMALL), caller_of) as repository:
        _, tags = find_project([repository])

    assert len(tags) == 40_000
    assert set(tags) == {*finals, *older, "10.2.dev1"}
    (line,) = lines(caplog, logging.WARNING)
    assert "0 final releases, 2 pre-releases, 2 others" in line
