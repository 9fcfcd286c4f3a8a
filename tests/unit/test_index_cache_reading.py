"""What a reader that remembers asks for, and what it makes of errors, gaps and large versions."""

import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from werkzeug.wrappers import Request, Response

from pyoci_flask.errors import BusyError, OversizedError, RegistryError
from pyoci_flask.index.cache import CachedReader
from pyoci_flask.index.fetch import _LARGE, LISTING_LIMIT, Failures, FetchPool
from pyoci_flask.index.reader import Found
from pyoci_flask.index.store import SQLiteStore
from pyoci_flask.oci.reference import Tag
from tests.unit.cache_lab import SDIST, WHEEL, Clock, Lab, as_somebody, make_lab, names
from tests.unit.conftest import Callers
from tests.unit.index_doubles import Fault, FaultyRegistry, refusing

NEWER = "hello-2.0.tar.gz"


@pytest.fixture
def lab(caller_of: Callers, tmp_path: Path) -> Iterator[Lab]:
    with make_lab(caller_of, tmp_path) as made:
        yield made


@pytest.fixture
def in_turn(lab: Lab) -> Iterator[Lab]:
    """The lab with a reader that makes one call at a time, the newest version first."""
    with closing(FetchPool(1)) as pool:
        yield lab.another(pool)


def _delete(lab: Lab, tag: str) -> None:
    """Delete a tag behind the reader's back."""
    assert lab.store.registry.ask("DELETE", lab.store.manifest(tag)).status_code == 202


def _copy(lab: Lab, tag: str, suffix: bytes = b"") -> None:
    """Put the index of 1.0 under another tag, behind the reader's back."""
    answer = lab.store.registry.ask("GET", lab.store.manifest("1.0"))
    body, media_type = answer.get_data() + suffix, answer.content_type or ""
    put = lab.store.registry.ask("PUT", lab.store.manifest(tag), body, media_type)
    assert put.status_code == 201


def _parts(lab: Lab, version: str) -> list[Found]:
    """All parts of a version that the reader remembers."""
    parts: list[Found] = []

    def refuse(part: Found) -> bool:
        parts.append(part)
        return False

    assert lab.reader.recall([lab.repository], version, refuse) is None
    return parts


def _sending_too_much(tag: str) -> Fault:
    def fault(_: FaultyRegistry, request: Request) -> Response | None:
        if not request.path.endswith(f"/manifests/{tag}"):
            return None
        return Response(b" " * 5_000_000, content_type="application/json")

    return fault


def test_each_remembered_part_of_a_version_is_recalled_once(lab: Lab) -> None:
    _copy(lab, "1.0.0")
    lab.listed()

    recalled = [(repository, found.version) for repository, found in _parts(lab, "1.0")]

    assert recalled == [(lab.repository, "1.0"), (lab.repository, "1.0.0")]


def test_no_part_that_expired_is_recalled(lab: Lab) -> None:
    _copy(lab, "1.0.0")
    lab.listed()
    lab.clock.now += 59
    assert lab.reader.find([lab.repository], "1.0.0") is not None
    lab.clock.now += 1

    assert [found.version for _, found in _parts(lab, "1.0")] == ["1.0.0"]


def test_a_repository_that_may_not_be_read_does_not_hide_the_next_one(lab: Lab) -> None:
    lab.listed()
    somebody = as_somebody(lab.repository, "somebody")

    recalled = lab.reader.recall([somebody, lab.repository], "1.0")

    assert recalled is not None
    assert recalled[0] is lab.repository


def test_what_another_worker_read_is_recalled_without_a_call_and_parsed_once(lab: Lab) -> None:
    lab.publish(NEWER)
    lab.listed()
    other = lab.another()
    assert other.reader.find([lab.repository], "2.0") is not None
    lab.asked()

    recalled = other.reader.recall([lab.repository], "1.0")

    assert recalled is not None
    assert [file.filename.text for file in recalled[1].files] == [WHEEL]
    again = other.reader.recall([lab.repository], "1.0")
    assert again is not None
    assert again[1] is recalled[1]
    assert other.reader.recall([lab.repository], "3.0") is None
    assert lab.asked() == []


def test_a_version_that_was_found_to_be_gone_is_gone_for_every_worker(lab: Lab) -> None:
    lab.publish(NEWER)
    lab.listed()
    other = lab.another()
    other.listed()
    _delete(lab, "1.0")

    assert lab.reader.read_tag(lab.repository, "1.0", Tag("1.0")) is None

    for one in (lab, other):
        assert one.reader.recall([lab.repository], "1.0") is None
        assert one.reader.recall([lab.repository], "2.0") is not None


def test_a_caller_who_may_not_read_makes_no_version_gone(lab: Lab) -> None:
    lab.listed()
    somebody = as_somebody(lab.repository, "somebody")
    lab.store.registry.faults.append(
        refusing({"GET"}, "/manifests/", 404, "MANIFEST_UNKNOWN", times=1)
    )

    assert lab.reader.read_tag(somebody, "1.0", Tag("1.0")) is None

    assert lab.reader.recall([lab.repository], "1.0") is not None


@pytest.mark.parametrize("tag", ["9.9", "8.8"])
def test_a_tag_that_was_known_to_be_gone_or_not_known_is_no_change(lab: Lab, tag: str) -> None:
    project = lab.reader.project(lab.repository, ["1.0", "9.9"], 0)

    assert lab.reader.read_tag(lab.repository, tag, Tag(tag)) is None

    assert lab.reader.project(lab.repository, ["1.0", "9.9"], 0) is project


def test_a_tag_that_is_no_package_is_no_version_and_the_log_says_so(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    index = lab.store.registry.document(lab.store.manifest("1.0"))
    path = lab.store.manifest(index["manifests"][0]["digest"])
    image = lab.store.registry.ask("GET", path)
    lab.store.registry.ask(
        "PUT", lab.store.manifest("2.0"), image.get_data(), image.content_type or ""
    )
    caplog.set_level(logging.INFO, "pyoci.index")

    assert lab.reader.read_tag(lab.repository, "2.0", Tag("2.0")) is None

    assert "skipped 1 tags (2.0 is a " in caplog.text


def test_a_version_that_is_too_large_to_be_read_is_named_by_every_worker(lab: Lab) -> None:
    lab.publish(NEWER)
    lab.store.registry.faults.append(_sending_too_much("2.0"))

    with pytest.raises(OversizedError, match=r"2\.0 .* cannot be read"):
        lab.reader.read_tag(lab.repository, "2.0", Tag("2.0"))

    lab.asked()
    first, second = lab.another(), lab.another()
    assert second.reader.find([lab.repository], "1.0") is not None
    assert lab.asked() == ["1.0"]
    # Without a proof of the right to read, the newest version is asked for.
    for one, asked in ((lab, []), (first, ["2.0"]), (first, []), (second, [])):
        project = one.listed()
        assert (names(project), project.left_out) == ([WHEEL], ("2.0",))
        assert project.versions == ("2.0", "1.0")
        assert lab.asked() == asked


def test_what_was_read_before_an_error_is_not_read_again(in_turn: Lab) -> None:
    in_turn.publish(NEWER)
    in_turn.asked()
    in_turn.store.registry.faults.append(
        refusing({"GET"}, "/manifests/1.0", 400, "MANIFEST_INVALID", times=1)
    )
    with pytest.raises(RegistryError):
        in_turn.listed()
    assert in_turn.asked() == ["1.0", "2.0"]

    assert in_turn.reader.recall([in_turn.repository], "2.0") is not None
    assert names(in_turn.listed()) == [NEWER, WHEEL]
    assert in_turn.asked() == ["1.0"]


def test_before_an_error_only_what_exists_is_remembered(in_turn: Lab) -> None:
    """Without a right to read, registries say of every tag that it does not exist."""
    in_turn.publish(NEWER)
    in_turn.store.registry.faults += [
        refusing({"GET"}, "/manifests/2.0", 404, "MANIFEST_UNKNOWN", times=1),
        refusing({"GET"}, "/manifests/1.0", 400, "MANIFEST_INVALID", times=1),
    ]
    with pytest.raises(RegistryError):
        in_turn.listed()

    assert names(in_turn.listed()) == [NEWER, WHEEL]


def test_an_error_that_was_tolerated_is_not_remembered(lab: Lab) -> None:
    lab.publish(NEWER)
    lab.store.registry.faults.append(
        refusing({"GET"}, "/manifests/2.0", 400, "MANIFEST_INVALID", times=1)
    )
    failures = Failures(1)

    project = lab.reader.project(lab.repository, ["2.0", "1.0"], 0, failures=failures)

    assert (names(project), project.left_out) == ([WHEEL], ("2.0",))
    assert len(failures.errors) == 1
    lab.asked()
    assert names(lab.listed()) == [NEWER, WHEEL]
    assert lab.asked() == ["2.0"]


def test_what_proves_a_right_to_read_is_remembered_for_all(lab: Lab) -> None:
    lab.listed()
    lab.publish(SDIST)
    lab.asked()

    assert names(lab.listed(repository=as_somebody(lab.repository, "somebody"))) == [WHEEL, SDIST]
    assert lab.asked() == ["1.0"]

    assert names(lab.listed()) == [WHEEL, SDIST]
    assert names(lab.another().listed()) == [WHEEL, SDIST]


def test_a_right_to_read_is_proven_for_the_time_to_live(lab: Lab) -> None:
    somebody = as_somebody(lab.repository, "somebody")
    lab.listed(repository=somebody)
    lab.clock.now += 59
    lab.publish(NEWER)
    lab.listed()
    lab.asked()
    assert lab.reader.recall([somebody], "2.0") is not None
    lab.clock.now += 1

    assert lab.reader.recall([somebody], "2.0") is None
    assert lab.reader.recall([lab.repository], "2.0") is not None


def test_a_gone_tag_is_not_asked_for_while_others_are_read(lab: Lab) -> None:
    lab.reader.project(lab.repository, ["1.0", "9.9"], 0)
    lab.publish(NEWER)
    lab.publish("hello-3.0.tar.gz")
    lab.asked()
    lab.clock.now += 4.9

    project = lab.reader.project(lab.repository, ["1.0", "2.0", "3.0", "9.9"], 0)

    assert project.versions == ("3.0", "2.0", "1.0")
    assert lab.asked() == ["2.0", "3.0"]
    lab.clock.now += 0.1
    lab.reader.project(lab.repository, ["1.0", "2.0", "3.0", "9.9"], 0)
    assert lab.asked() == ["9.9"]


def test_a_large_listing_takes_its_turn_wherever_its_versions_come_from(lab: Lab) -> None:
    for tag in ("1.1", "1.2", "1.3", "1.4", "1.5"):
        _copy(lab, tag, b" " * 250_000)
    share = lab.reader.pool.share(lab.repository.caller.repository.registry)
    other = lab.another()
    tags = ["1.1", "1.2", "1.3", "1.4", "1.5"]

    for reader in (lab.reader, lab.reader, other.reader):
        with ExitStack() as held:
            reader.project(lab.repository, tags, 0, held)
            with pytest.raises(BusyError), _LARGE.hold(LISTING_LIMIT, share, 0.0):
                pytest.fail("the listing has no turn")
        with _LARGE.hold(LISTING_LIMIT, share, 0.0):
            pass


def test_what_is_read_after_it_expired_is_not_shown_again(lab: Lab) -> None:
    """The time to live counts from when the registry was asked, not from its answer."""

    def answer_late(_: FaultyRegistry, request: Request) -> Response | None:
        lab.clock.now += 60 if request.path.endswith("/manifests/1.0") else 0
        return None

    lab.store.registry.faults.append(answer_late)
    assert names(lab.listed()) == [WHEEL]
    lab.store.registry.faults.clear()
    lab.publish(SDIST)

    assert names(lab.listed()) == [WHEEL, SDIST]


def test_closing_the_reader_stops_its_threads_and_closes_the_store(tmp_path: Path) -> None:
    pool, store = FetchPool(1), SQLiteStore(tmp_path / "cache", tmp_path, Clock())
    reader = CachedReader(pool, store, 60)
    assert store.set_many({"key": b"value"}, 60)

    reader.close()

    assert store._connection is None
    own = threading.get_ident()
    assert pool.map("registry", lambda _: threading.get_ident(), [1]) == [own]
