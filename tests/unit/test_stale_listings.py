"""For how long a version is shown that was read earlier, and what the registry is asked."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from werkzeug.wrappers import Request, Response

from pyoci_flask.errors import DeniedError
from pyoci_flask.index.cache import CachedReader
from pyoci_flask.oci.reference import EMBEDDED
from tests.unit.cache_lab import SDIST, WHEEL, as_somebody, names
from tests.unit.conftest import Callers
from tests.unit.index_doubles import FaultyRegistry, refusing
from tests.unit.stale_lab import CHANGED, CREATED, DAY, HOUR, TTL, Stale, make_stale


@pytest.fixture
def lab(caller_of: Callers, tmp_path: Path) -> Iterator[Stale]:
    with make_stale(caller_of, tmp_path) as made:
        yield made


# The seconds since the last change, the seconds since the reading, and what the next page does.
AT_ONCE, BEHIND, FIRST = ["shown without a call"], ["HEAD 1.0"], ["GET 1.0"]


@pytest.mark.parametrize(
    ("age", "idle", "calls"),
    [
        (10 * DAY, TTL - 1, []),
        (10 * DAY, TTL, BEHIND),
        (10 * DAY, HOUR, BEHIND),
        (10 * DAY, DAY - 1, BEHIND),
        (10 * DAY, DAY, FIRST),
        (1000 * DAY, DAY - 1, BEHIND),
        (1000 * DAY, DAY, FIRST),
        (10 * HOUR, HOUR - 1, BEHIND),
        (10 * HOUR, HOUR, FIRST),
        (DAY, DAY / 10 - 1, BEHIND),
        (DAY, DAY / 10, FIRST),
        (10 * TTL, TTL, FIRST),
        (TTL, TTL - 1, []),
        (TTL, TTL, FIRST),
        (0.0, TTL - 1, []),
        (0.0, TTL, FIRST),
        (-HOUR, TTL, FIRST),
        (-1000 * DAY, TTL, FIRST),
    ],
)
def test_a_version_is_shown_for_a_tenth_of_the_time_that_it_had_not_changed(
    lab: Stale, age: float, idle: float, calls: list[str]
) -> None:
    lab.last_changed(age)
    assert names(lab.seen()) == [WHEEL]
    lab.calls()

    lab.clock.now += idle

    before: list[list[str]] = []
    found, tags = lab.reader.find_project([lab.repository])
    proof = lab.calls()
    rest: list[Callable[[], None]] = []
    lab.reader.project(found, tags, 0, later=rest.append)
    before.append(lab.calls())
    for function in rest:
        function()
    after = lab.calls()
    # Its proof is as old as the version. A new one is of use only if the version may be shown.
    assert proof == (["HEAD 1.0"] if calls == BEHIND else [])
    assert (before[0], after) == ((calls, []) if calls == FIRST else ([], calls))
    # What was checked or read is fresh again.
    lab.seen()
    assert lab.calls() == []


@pytest.mark.parametrize("value", [None, "", "yesterday", "0001-01-01T00:00:00+14:00", 5])
def test_a_version_without_a_known_change_is_asked_for_each_time(lab: Stale, value: object) -> None:
    def change(document: dict[str, Any]) -> None:
        for one in (document, *document["manifests"]):
            one["annotations"].pop(CREATED)
            if isinstance(value, str):
                one["annotations"][CREATED] = value

    lab.edit("1.0", change)
    lab.seen()
    lab.clock.now += TTL
    lab.calls()

    lab.seen()

    assert "GET 1.0" in lab.calls()


def test_the_newest_time_counts(lab: Stale) -> None:
    lab.last_changed(10 * DAY)
    lab.edit("1.0", lambda one: one["annotations"].update({CHANGED: lab.ago(20 * TTL)}))
    lab.seen()
    lab.clock.now += 2 * TTL - 1
    lab.calls()
    lab.seen()
    assert lab.calls() == ["HEAD 1.0", "HEAD 1.0"]  # its proof, and the check

    lab.last_changed(10 * DAY)
    lab.edit("1.0", lambda one: one["annotations"].update({CHANGED: lab.ago(20 * DAY)}))
    lab.edit("1.0", lambda one: one["manifests"][0]["annotations"].update({CREATED: lab.ago(0)}))
    lab.clock.now += DAY
    lab.seen()
    lab.clock.now += TTL + 1
    lab.calls()
    lab.seen()
    assert lab.calls()


def test_without_stale_everything_is_asked_for_after_the_time_to_live(lab: Stale) -> None:
    reader = CachedReader(lab.reader.pool, lab.records, TTL, lab.clock)
    lab = replace(lab, reader=reader)
    lab.last_changed(1000 * DAY)
    lab.seen()
    lab.calls()
    lab.clock.now += TTL - 1
    lab.seen()
    assert lab.calls() == []
    lab.clock.now += 1
    lab.seen()
    assert "GET 1.0" in lab.calls()


KINDS: dict[str, Callable[[dict[str, Any]], object]] = {
    "yanked": lambda one: one["manifests"][0]["annotations"].update({"com.pyoci.yanked": "broken"}),
    "file removed": lambda one: one["manifests"].clear(),
    "summary": lambda one: one["annotations"].update({"com.pyoci.summary": "other"}),
    "no package any more": lambda one: one.update({"artifactType": "application/other"}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("idle", [TTL, HOUR, DAY - 1])
def test_a_change_without_this_server_shows_at_the_second_view(
    lab: Stale, kind: str, idle: float
) -> None:
    lab.last_changed(10 * DAY)
    old = lab.seen()
    lab.edit("1.0", lambda one: KINDS[kind](one) and None)
    lab.clock.now += idle
    lab.calls()

    assert lab.seen() is old
    assert lab.calls() == ["GET 1.0", "HEAD 1.0", "HEAD 1.0"]
    new = lab.seen()
    assert new.files != old.files
    assert lab.calls() == []
    # Another worker sees it as well.
    assert lab.another().seen().files == new.files


@pytest.mark.parametrize("idle", [0.0, TTL, HOUR])
def test_a_change_through_this_server_shows_at_once(lab: Stale, idle: float) -> None:
    lab.last_changed(10 * DAY)
    assert names(lab.seen()) == [WHEEL]
    lab.clock.now += idle
    with lab.reader.changing([lab.repository], "1.0"):
        lab.publish(SDIST)

    assert names(lab.seen()) == [WHEEL, SDIST]


def test_a_change_through_this_server_while_a_check_runs_is_not_undone(lab: Stale) -> None:
    lab.last_changed(10 * DAY)
    lab.seen()
    lab.clock.now += HOUR

    def change_meanwhile(_: FaultyRegistry, request: Request) -> Response | None:
        if request.method == "HEAD" and request.path.endswith("/manifests/1.0"):
            lab.store.registry.faults.clear()
            answer = lab.store.registry.ask("HEAD", request.path)
            with lab.reader.changing([lab.repository], "1.0"):
                lab.publish(SDIST)
            return answer
        return None

    found, tags = lab.reader.find_project([lab.repository])
    lab.store.registry.faults.append(change_meanwhile)
    lab.reader.project(found, tags, 0)

    assert names(lab.seen()) == [WHEEL, SDIST]


def test_a_version_that_came_or_went_shows_at_once(lab: Stale) -> None:
    lab.publish("hello-2.0.tar.gz")
    for tag in ("1.0", "2.0"):
        lab.last_changed(10 * DAY, tag)
    lab.seen()
    lab.clock.now += HOUR
    lab.publish("hello-3.0.tar.gz")
    path = f"/v2/{lab.repository.caller.repository.name}/manifests/1.0"
    assert lab.store.registry.ask("DELETE", path).status_code == 202

    assert names(lab.seen()) == ["hello-3.0.tar.gz", "hello-2.0.tar.gz"]


def test_downloads_never_go_by_an_old_index(lab: Stale) -> None:
    lab.last_changed(10 * DAY)
    lab.seen()
    assert lab.reader.recall([lab.repository], "1.0") is not None
    lab.clock.now += TTL
    lab.seen()  # its check makes the version fresh again
    assert lab.reader.recall([lab.repository], "1.0") is not None
    lab.clock.now += TTL
    lab.reader.find_project([lab.repository])  # proves that the caller may read
    lab.store.registry.faults.append(refusing({"HEAD"}, "/manifests/", 503, "UNKNOWN"))
    assert names(lab.seen()) == [WHEEL]
    assert lab.reader.recall([lab.repository], "1.0") is None


def test_an_unchanged_project_stays_the_same_object_in_each_worker(lab: Stale) -> None:
    lab.last_changed(10 * DAY)
    other = lab.another()
    mine, theirs = lab.seen(), other.seen()
    for _ in range(3):
        lab.clock.now += HOUR
        assert lab.seen() is mine
        assert other.seen() is theirs
    lab.clock.now += DAY  # now the registry is asked first
    lab.calls()
    assert lab.seen() is mine
    assert lab.calls() == ["GET 1.0"]


def test_the_workers_check_once_together(lab: Stale) -> None:
    lab.last_changed(10 * DAY)
    other = lab.another()
    lab.seen()
    other.seen()
    lab.clock.now += HOUR
    lab.calls()
    lab.seen()
    assert lab.calls() == ["HEAD 1.0", "HEAD 1.0"]
    other.seen()
    assert lab.calls() == ["HEAD 1.0"]  # only its own proof
    other.seen()
    assert lab.calls() == []


def test_only_one_check_of_a_repository_runs_at_a_time(lab: Stale) -> None:
    lab.last_changed(10 * DAY)
    lab.seen()
    lab.clock.now += HOUR
    nested: list[list[str]] = []

    def look_meanwhile(registry: FaultyRegistry, request: Request) -> Response | None:
        if request.method == "HEAD":
            registry.faults.clear()
            lab.calls()
            other = lab.another()
            other.seen()
            nested.append(lab.calls())
        return None

    found, tags = lab.reader.find_project([lab.repository])
    lab.store.registry.faults.append(look_meanwhile)
    lab.reader.project(found, tags, 0)

    assert nested == [["HEAD 1.0"]]  # the proof of the other worker


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_check_ends_at_the_first_error_and_rests(lab: Stale, status: int) -> None:
    for version in range(2, 9):
        lab.publish(f"hello-{version}.0.tar.gz")
    for version in range(1, 9):
        lab.last_changed(10 * DAY, f"{version}.0")
    old = lab.seen()
    lab.clock.now += HOUR
    lab.reader.find_project([lab.repository])  # proves that the caller may read
    lab.store.registry.faults.append(refusing({"HEAD"}, "/manifests/", status, "UNKNOWN"))
    lab.calls()

    assert lab.seen() is old
    assert len(lab.calls()) == 1
    assert lab.seen() is old
    assert lab.calls() == []
    lab.store.registry.faults.clear()
    lab.clock.now += 61
    assert lab.seen() is old
    assert len(lab.calls()) == 8 + 1


def test_a_registry_without_head_is_asked_by_get(lab: Stale) -> None:
    lab.publish("hello-2.0.tar.gz")
    for tag in ("1.0", "2.0"):
        lab.last_changed(10 * DAY, tag)
    old = lab.seen()
    lab.clock.now += HOUR
    lab.store.registry.faults.append(refusing({"HEAD"}, "/manifests/", 405, "UNSUPPORTED"))
    lab.calls()

    assert lab.seen() is old
    # A HEAD for the proof, which fails, and a GET in its place. Then one HEAD, and GETs.
    assert lab.calls().count("GET 1.0") + lab.calls().count("GET 2.0") <= 3
    assert lab.seen() is old
    assert lab.calls() == []


def test_no_caller_sees_what_only_others_have_read(lab: Stale) -> None:
    lab.last_changed(10 * DAY)
    lab.seen()
    somebody = as_somebody(lab.repository, "somebody")
    lab.store.registry.faults.append(refusing({"GET", "HEAD"}, "/manifests/", 403, "DENIED"))
    for idle in (0, HOUR, DAY):
        lab.clock.now += idle
        with pytest.raises(DeniedError):
            lab.seen(somebody)


def test_listing_is_no_proof_of_pulling(lab: Stale) -> None:
    lab.last_changed(10 * DAY)
    lab.seen()
    somebody = as_somebody(lab.repository, "somebody")
    lab.store.registry.faults.append(refusing({"HEAD"}, "/manifests/", 401, "UNAUTHORIZED"))
    lab.store.registry.faults.append(refusing({"GET"}, "/manifests/", 404, "MANIFEST_UNKNOWN"))

    assert names(lab.seen(somebody)) == []


def test_who_may_no_longer_read_sees_nothing_after_the_check(lab: Stale) -> None:
    lab.last_changed(10 * DAY)
    old = lab.seen()
    lab.clock.now += HOUR
    lab.reader.find_project([lab.repository])  # proves that the caller may read
    lab.store.registry.faults.append(refusing({"GET", "HEAD"}, "/manifests/", 403, "DENIED"))

    assert lab.seen() is old
    with pytest.raises(DeniedError):
        lab.seen()


@pytest.mark.parametrize("idle", [TTL, HOUR])
def test_a_registry_in_this_process_is_asked_first(
    caller_of: Callers, tmp_path: Path, idle: float
) -> None:
    with make_stale(caller_of, tmp_path, EMBEDDED) as lab:
        lab.last_changed(10 * DAY)
        lab.seen()
        lab.publish(SDIST)
        lab.clock.now += idle
        lab.calls()

        assert names(lab.seen()) == [WHEEL, SDIST]
        assert lab.calls() == ["GET 1.0"]
