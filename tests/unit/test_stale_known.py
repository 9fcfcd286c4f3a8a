"""What a worker keeps parsed of a project, and the listing that was made of it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pyoci_flask.index.entries import Entries, Entry
from pyoci_flask.index.known import Known, KnownVersions, Shown, is_fresh, may_be_shown
from pyoci_flask.index.lifetimes import Lifetimes
from pyoci_flask.index.names import tag_of
from pyoci_flask.index.project import Project
from pyoci_flask.index.versions import Skipped, VersionFiles, load_files
from tests.unit.cache_lab import Lab, make_lab
from tests.unit.conftest import Callers

NOTHING = Skipped("an image", is_version=False)


@pytest.fixture
def lab(caller_of: Callers, tmp_path: Path) -> Iterator[Lab]:
    with make_lab(caller_of, tmp_path) as made:
        yield made


@pytest.fixture
def entries(lab: Lab) -> Entries:
    return Entries(lab.records, Lifetimes(60), lab.clock)


@pytest.fixture
def versions(entries: Entries) -> KnownVersions:
    return KnownVersions(entries)


@pytest.fixture
def found(lab: Lab) -> VersionFiles:
    loaded = load_files(lab.repository, "1.0", tag_of("1.0"))
    assert isinstance(loaded, VersionFiles)
    return loaded


def project() -> Project:
    return Project(tag_of("1.0").text, (), ())  # type: ignore[arg-type] # any name


def entry(found: VersionFiles | Skipped | None = NOTHING, since: float = 10.0) -> Entry:
    return Entry(1, since, since + 10, since + 20, found)


@pytest.mark.parametrize(
    ("now", "fresh", "shown"),
    [
        (9.9, False, False),
        (10.0, True, True),
        (19.9, True, True),
        (20.0, False, True),
        (29.9, False, True),
        (30.0, False, False),
    ],
)
def test_an_entry_has_three_ages(now: float, fresh: bool, shown: bool) -> None:
    assert is_fresh(entry(), now) is fresh
    assert may_be_shown(entry(), now) is shown
    known = Known(1, {"1.0": entry()})
    assert known.missing(["1.0", "2.0"], now) == (["2.0"] if shown else ["1.0", "2.0"])


def test_a_listing_holds_as_long_as_all_its_entries() -> None:
    known = Known(1, {})
    known.show(["1.0", "2.0"], 5, {"1.0": entry(), "2.0": entry(since=15.0)}, project())
    shown = known.shown
    assert isinstance(shown, Shown)
    assert (shown.since, shown.until, shown.shown_until) == (15.0, 20.0, 30.0)
    assert shown.lists(["1.0", "2.0"], 5)
    assert not shown.lists(["2.0", "1.0"], 5)
    assert not shown.lists(["1.0", "2.0"], 0)


def test_a_listing_of_the_same_versions_is_the_same_object() -> None:
    known, first, second = Known(1, {}), project(), project()
    assert known.show(["1.0"], 0, {"1.0": entry()}, first) is first
    assert known.show(["1.0"], 0, {"1.0": entry(since=15.0)}, second) is first
    assert known.shown is not None
    assert known.shown.since == 15.0
    other = replace(NOTHING)
    assert known.show(["1.0"], 0, {"1.0": entry(other)}, second) is second
    assert known.show(["1.0"], 1, {"1.0": entry(other)}, first) is first
    assert known.show(["1.0", "2.0"], 1, {"1.0": entry(other)}, second) is second
    both = {"1.0": entry(other), "2.0": entry(other)}
    assert known.show(["1.0", "2.0"], 1, both, first) is first


def test_newer_entries_keep_the_listing_if_they_say_the_same() -> None:
    known, listing = Known(1, {"1.0": entry(), "2.0": entry()}), project()
    assert known.renewed({"3.0": entry()}).shown is None
    known.show(["1.0", "2.0"], 0, known.entries, listing)

    newer = known.renewed({"1.0": entry(since=15.0), "3.0": entry()})
    assert newer.shown is not None
    assert newer.shown.project is listing
    assert (newer.shown.since, newer.shown.until) == (15.0, 20.0)
    assert set(newer.entries) == {"1.0", "2.0", "3.0"}
    assert set(newer.shown.entries) == {"1.0", "2.0"}
    assert known.renewed({"1.0": entry(replace(NOTHING))}).shown is None


def test_all_that_was_parsed_counts(found: VersionFiles) -> None:
    one = entry(found)
    known = Known(1, {"1.0": one}, before={"1.0": entry(), "2.0": one})
    assert known.parsed == {"1.0": one, "2.0": one}
    assert known.size == 2 * one.size


def test_what_was_parsed_before_a_change_is_kept_but_not_shown(
    lab: Lab, entries: Entries, versions: KnownVersions
) -> None:
    changes = entries.changes(lab.repository)
    versions.keep(lab.repository, Known(changes, {"1.0": entry()}))
    assert versions.get(lab.repository).entries == {"1.0": entry()}

    entries.count_change([lab.repository], "1.0")

    known = versions.get(lab.repository)
    assert (known.entries, known.before) == ({}, {"1.0": entry()})
    assert known.changes == (changes or 0) + 1


def test_nothing_is_known_without_a_store(
    lab: Lab, entries: Entries, versions: KnownVersions, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = entries.changes(lab.repository)
    versions.keep(lab.repository, Known(changes, {"1.0": entry()}))
    versions.keep(lab.repository, Known(None, {"2.0": entry()}))
    monkeypatch.setattr(entries, "changes", lambda _: None)
    assert versions.get(lab.repository) == Known(None, {})
    monkeypatch.setattr(entries, "changes", lambda _: changes)
    assert set(versions.get(lab.repository).entries) == {"1.0"}


def test_what_is_read_again_and_is_the_same_is_no_change_for_other_workers(
    lab: Lab, entries: Entries, versions: KnownVersions, found: VersionFiles
) -> None:
    _, numbers = entries.look_up(lab.repository, ["1.0", "2.0"], {})
    read = {"1.0": found, "2.0": NOTHING}
    known = versions.write(
        lab.repository, versions.get(lab.repository), read, numbers, lab.clock.now
    )
    assert versions.get(lab.repository) is known
    lab.clock.now += 30

    # What was skipped is another object each time.
    again = {"1.0": found, "2.0": replace(NOTHING)}
    newer = versions.write(lab.repository, known, again, numbers, lab.clock.now)

    assert newer.changes == known.changes == entries.changes(lab.repository)
    assert newer.entries["1.0"].since == lab.clock.now
    assert versions.get(lab.repository) is newer
    # A version that was parsed again may be the same, but this is not looked for.
    for other in (
        {"1.0": replace(found)},
        {"2.0": replace(NOTHING, reason="other")},
        {"1.0": None},
    ):
        before = entries.changes(lab.repository) or 0
        newer = versions.write(lab.repository, newer, other, numbers, lab.clock.now)
        assert newer.changes == entries.changes(lab.repository) == before + 1
        assert set(newer.entries) == {"1.0", "2.0"}


def test_only_listed_tags_stay_known(
    lab: Lab, entries: Entries, versions: KnownVersions, found: VersionFiles
) -> None:
    tags = ["1.0", "2.0", "3.0"]
    _, numbers = entries.look_up(lab.repository, tags, {})
    known = versions.get(lab.repository)
    known = replace(known, before={"0.1": entry()})
    read = dict.fromkeys(tags, found)
    known = versions.write(lab.repository, known, read, numbers, lab.clock.now)
    assert set(known.parsed) == {*tags, "0.1"}

    other = {"1.0": replace(found)}
    known = versions.write(
        lab.repository, known, other, numbers, lab.clock.now, tags=["1.0", "2.0", "9.0"]
    )

    assert set(known.parsed) == {"1.0", "2.0"}
    assert known.entries["1.0"].found is other["1.0"]


def test_what_another_worker_wrote_meanwhile_is_not_hidden(
    lab: Lab, entries: Entries, versions: KnownVersions, found: VersionFiles
) -> None:
    _, numbers = entries.look_up(lab.repository, ["1.0", "2.0"], {})
    known = versions.get(lab.repository)
    entries.count_change([lab.repository], "2.0")

    written = versions.write(lab.repository, known, {"1.0": found}, numbers, lab.clock.now)

    assert written.entries["1.0"].found is found
    assert versions.get(lab.repository).entries == {}


def test_what_cannot_be_written_changes_nothing(
    lab: Lab, versions: KnownVersions, found: VersionFiles
) -> None:
    known = versions.get(lab.repository)
    assert versions.write(lab.repository, known, {"1.0": found}, {}, lab.clock.now) is known


def test_the_entries_of_the_store_say_what_was_there_before(
    lab: Lab, entries: Entries, versions: KnownVersions, found: VersionFiles
) -> None:
    _, numbers = entries.look_up(lab.repository, ["1.0"], {})
    before = entries.changes(lab.repository) or 0
    known, read = versions.get(lab.repository), {"1.0": found}
    stored = {"1.0": entry(found)}

    versions.write(lab.repository, known, read, numbers, lab.clock.now, before=stored)
    assert entries.changes(lab.repository) == before

    versions.write(lab.repository, known, read, numbers, lab.clock.now, before={})
    assert entries.changes(lab.repository) == before + 1
