"""Entries that are kept for longer than they are fresh, and leases on their checks."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pyoci_flask.index.entries import Entries, Entry
from pyoci_flask.index.fetch import Read
from pyoci_flask.index.lifetimes import Lifetimes
from pyoci_flask.index.names import tag_of
from pyoci_flask.index.project_repository import ProjectRepository
from pyoci_flask.index.versions import Skipped, VersionFiles, load_files
from tests.unit.cache_lab import Lab, make_lab
from tests.unit.conftest import Callers

TTL, STALE, HOUR, DAY = 60.0, 86_400.0, 3600.0, 86_400.0
NOTHING = Skipped("an image", is_version=False)


@pytest.fixture
def lab(caller_of: Callers, tmp_path: Path) -> Iterator[Lab]:
    with make_lab(caller_of, tmp_path) as made:
        yield made


@pytest.fixture
def entries(lab: Lab) -> Entries:
    return Entries(lab.records, Lifetimes(TTL, STALE), lab.clock)


def old(lab: Lab, age: float) -> VersionFiles:
    """A version that had not changed for so many seconds."""
    found = load_files(lab.repository, "1.0", tag_of("1.0"))
    assert isinstance(found, VersionFiles)
    return replace(found, changed=datetime.fromtimestamp(lab.clock.now - age, UTC))


def write(
    entries: Entries, lab: Lab, read: dict[str, Read], others: dict[str, Entry] | None = None
) -> dict[str, Entry]:
    _, numbers = entries.look_up(lab.repository, read, {})
    return entries.write(lab.repository, read, numbers, lab.clock.now, others or {})[0]


def other_than(repository: ProjectRepository) -> ProjectRepository:
    caller = repository.caller
    place = replace(caller.repository, name="python/other")
    return replace(repository, caller=replace(caller, repository=place))


@pytest.mark.parametrize(
    ("age", "ttl", "stale", "fresh", "shown"),
    [
        (10 * HOUR, 60, DAY, 60, HOUR),
        (10 * HOUR, 60, 0, 60, 60),
        (10 * HOUR, 60, 30, 60, 60),
        (10 * HOUR, 60, 600, 60, 600),
        (10 * HOUR, 7200, DAY, 7200, 7200),
        (0, 60, DAY, 60, 60),
        (-HOUR, 60, DAY, 60, 60),
    ],
)
def test_the_lifetime_of_a_version(
    lab: Lab, age: float, ttl: float, stale: float, fresh: float, shown: float
) -> None:
    lifetimes = Lifetimes(ttl, stale)
    assert lifetimes.of(old(lab, age), lab.clock.now) == pytest.approx((fresh, shown))
    assert lifetimes.longest == max(ttl, stale)
    unknown = replace(old(lab, age), changed=None)
    for found in (unknown, NOTHING):
        assert lifetimes.of(found, lab.clock.now) == (ttl, ttl)


@pytest.mark.parametrize(("ttl", "seconds"), [(60, 5), (3, 3)])
def test_a_tag_that_does_not_exist_is_believed_for_five_seconds(ttl: float, seconds: float) -> None:
    assert Lifetimes(ttl, STALE).of(None, 1_000_000) == (seconds, seconds)


def test_the_store_keeps_versions_for_longer_than_all_else(lab: Lab, entries: Entries) -> None:
    read: dict[str, Read] = {"1.0": old(lab, 10 * DAY), "2.0": NOTHING, "3.0": None}
    write(entries, lab, read)
    for seconds, left in ((4, {*read}), (2, {"1.0", "2.0"}), (DAY - 7, {"1.0"}), (1, set())):
        lab.clock.now += seconds
        found = lab.records.get_many([f"entry\n{lab.key}\n{tag}" for tag in read])
        assert {key.rpartition("\n")[2] for key in found} == left


def test_times_alone_are_written_without_counting(lab: Lab, entries: Entries) -> None:
    _, numbers = entries.look_up(lab.repository, ["1.0"], {})
    before = entries.changes(lab.repository)
    read: dict[str, Read] = {"1.0": NOTHING}

    written = entries.write(lab.repository, read, numbers, lab.clock.now, count=False)

    assert set(written[0]) == {"1.0"}
    assert written[1] is None
    assert entries.changes(lab.repository) == before


def test_a_sample_is_the_version_that_may_be_shown_for_longest(lab: Lab, entries: Entries) -> None:
    assert entries.sample(lab.repository) is None
    write(entries, lab, {"0.1": NOTHING, "0.2": None})
    assert entries.sample(lab.repository) is None

    written = write(entries, lab, {"2.0": old(lab, 10 * HOUR), "1.0": old(lab, 20 * HOUR)})
    assert entries.sample(lab.repository) == "1.0"
    assert entries.sample(other_than(lab.repository)) is None
    write(entries, lab, {"3.0": old(lab, HOUR), "9.0": NOTHING}, written)
    assert entries.sample(lab.repository) == "1.0"
    lab.clock.now += 2 * HOUR - 1
    assert entries.sample(lab.repository) == "1.0"
    lab.clock.now += 1
    assert entries.sample(lab.repository) is None


@pytest.mark.parametrize("value", [b"", b"a/b", b"\xff\xfe", b"x" * 129])
def test_a_damaged_sample_is_none(lab: Lab, entries: Entries, value: bytes) -> None:
    write(entries, lab, {"1.0": old(lab, DAY)})
    assert lab.records.set_many({f"sample\n{lab.key}": value}, 60)
    assert entries.sample(lab.repository) is None


def test_a_check_holds_off_others_of_its_repository_for_a_minute(
    lab: Lab, entries: Entries
) -> None:
    lease = entries.begin_check(lab.repository)
    assert lease is not None
    assert len(lease) == 16
    assert entries.begin_check(other_than(lab.repository))
    lab.clock.now += 59.9
    assert entries.begin_check(lab.repository) is None
    lab.clock.now += 0.1
    second = entries.begin_check(lab.repository)
    assert second not in {None, lease}

    entries.end_check(lab.repository, lease)  # another one is running
    assert entries.begin_check(lab.repository) is None
    assert second is not None
    entries.end_check(lab.repository, second)
    assert entries.begin_check(lab.repository)
    entries.end_check(other_than(lab.repository), second)
    assert entries.begin_check(lab.repository) is None


def test_a_check_that_ended_twice_is_no_error(lab: Lab, entries: Entries) -> None:
    lease = entries.begin_check(lab.repository)
    assert lease is not None
    for _ in range(2):
        entries.end_check(lab.repository, lease)
    assert entries.begin_check(lab.repository)
