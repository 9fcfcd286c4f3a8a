"""What a check of old versions may learn, and what it must not do."""

import json
import logging
import secrets
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from werkzeug.wrappers import Request, Response

from pyoci_flask.common.grammar import DOCKER_MANIFEST
from pyoci_flask.errors import DeniedError
from pyoci_flask.index import cache, recheck
from pyoci_flask.index.fetch import FetchPool
from pyoci_flask.index.project_repository import ProjectRepository
from pyoci_flask.index.versions import VersionFiles
from pyoci_flask.oci.client import RepositoryCaller
from pyoci_flask.oci.manifest_digests import head_manifest
from pyoci_flask.oci.reference import Digest, Tag
from tests.unit.cache_lab import WHEEL, as_somebody, names
from tests.unit.conftest import Callers
from tests.unit.index_doubles import Fault, FaultyRegistry, refusing
from tests.unit.stale_lab import DAY, HOUR, TTL, Stale, make_stale

SECOND = "hello-2.0.tar.gz"


@pytest.fixture
def lab(caller_of: Callers, tmp_path: Path) -> Iterator[Stale]:
    with make_stale(caller_of, tmp_path) as made:
        yield made


@pytest.fixture
def two(lab: Stale) -> Stale:
    """A lab with two old versions that were read an hour ago; the caller is known to be allowed."""
    lab.publish(SECOND)
    for tag in ("1.0", "2.0"):
        lab.last_changed(10 * DAY, tag)
    assert names(lab.seen()) == [SECOND, WHEEL]
    lab.clock.now += HOUR
    lab.reader.find_project([lab.repository])
    lab.calls()
    return lab


def after(calls: int, then: Fault) -> Fault:
    """Behave like `then`, but only after so many HEADs."""
    left = [calls]

    def fault(registry: FaultyRegistry, request: Request) -> Response | None:
        if left[0]:
            left[0] -= request.method == "HEAD"
            return None
        return then(registry, request)

    return fault


def test_a_caller_who_is_denied_during_a_check_has_to_prove_the_right_again(two: Stale) -> None:
    two.store.registry.faults.append(
        after(1, refusing({"GET", "HEAD"}, "/manifests/", 403, "DENIED"))
    )

    assert names(two.seen()) == [SECOND, WHEEL]
    assert len(two.calls()) == 2
    with pytest.raises(DeniedError):
        two.seen()


def test_a_check_that_finds_nothing_hides_no_version_from_others(two: Stale) -> None:
    """Registries report every tag as missing to callers without permission to read."""
    somebody = as_somebody(two.repository, "somebody")
    assert names(two.seen(somebody)) == [SECOND, WHEEL]  # the check makes them fresh again
    two.clock.now += HOUR
    for one in (somebody, two.repository):
        two.reader.find_project([one])
    gone = refusing({"GET", "HEAD"}, "/manifests/", 404, "MANIFEST_UNKNOWN")
    two.store.registry.faults.append(gone)

    assert names(two.seen(somebody)) == [SECOND, WHEEL]
    assert names(two.seen(somebody)) == []
    two.store.registry.faults.clear()
    assert names(two.seen()) == [SECOND, WHEEL]


def test_a_version_that_is_gone_but_listed_is_gone_at_the_second_view(two: Stale) -> None:
    two.store.registry.faults.append(
        refusing({"GET", "HEAD"}, "/manifests/1.0", 404, "MANIFEST_UNKNOWN")
    )

    assert names(two.seen()) == [SECOND, WHEEL]
    assert names(two.seen()) == [SECOND]
    assert names(two.another().seen()) == [SECOND]


def test_a_clock_that_was_set_back_does_not_stop_the_checks(two: Stale) -> None:
    two.store.registry.faults.append(refusing({"HEAD"}, "/manifests/", 503, "UNKNOWN"))
    two.seen()  # the failed check holds off others for a minute
    two.store.registry.faults.clear()
    two.clock.now -= 2 * HOUR
    two.reader.find_project([two.repository])
    two.seen()
    two.clock.now += HOUR
    two.reader.find_project([two.repository])
    two.calls()

    two.seen()

    assert two.calls() == ["HEAD 1.0", "HEAD 2.0"]


def test_a_check_that_takes_too_long_does_not_end_the_next_one(two: Stale) -> None:
    entries = two.reader._entries
    first = entries.begin_check(two.repository)
    assert first
    assert not entries.begin_check(two.repository)
    two.clock.now += 61
    second = entries.begin_check(two.repository)
    assert second

    entries.end_check(two.repository, first)
    assert not entries.begin_check(two.repository)

    entries.end_check(two.repository, second)
    assert entries.begin_check(two.repository)


def test_a_fault_of_this_program_ends_the_check(
    two: Stale, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise IndexError("of another kind")

    with monkeypatch.context() as patched:
        patched.setattr(recheck, "head_manifest", fail)
        with pytest.raises(IndexError):
            two.seen()  # the pool of these tests does not catch it
    assert two.calls() == []
    two.seen()
    assert two.calls() == []  # checks rest for a minute
    two.clock.now += 61
    two.reader.find_project([two.repository])
    two.calls()
    two.seen()
    assert two.calls() == ["HEAD 1.0", "HEAD 2.0"]


def test_a_proof_by_head_is_tried_once(lab: Stale, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page waits for it, and can do without it."""
    lab.last_changed(10 * DAY)
    lab.seen()
    asked: list[bool] = []

    def noting(caller: RepositoryCaller, tag: Tag) -> Digest | None:
        asked.append(caller.may_wait)
        return head_manifest(caller, tag)

    monkeypatch.setattr(cache, "head_manifest", noting)
    lab.seen(as_somebody(lab.repository, "somebody"))

    assert asked == [False]


def test_no_call_of_a_check_waits(two: Stale, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def noting(caller: RepositoryCaller, _: Tag) -> None:
        asked.append(caller.may_wait)

    def reading(repository: ProjectRepository, *_: object, known: VersionFiles) -> VersionFiles:
        asked.append(repository.caller.may_wait)
        return known

    monkeypatch.setattr(recheck, "head_manifest", noting)
    monkeypatch.setattr(recheck, "load_files", reading)
    two.seen()

    assert asked == [False] * 3  # one HEAD, which says nothing, and two GETs


@pytest.mark.parametrize("media_type", ["application/json", ""])
def test_a_document_of_a_proxy_proves_nothing(two: Stale, media_type: str) -> None:
    somebody = as_somebody(two.repository, "somebody")
    two.seen()

    def log_in(_: FaultyRegistry, request: Request) -> Response | None:
        if request.method == "HEAD" or "/manifests/" not in request.path:
            return None
        return Response('{"error": "log in first"}', 200, content_type=media_type)

    two.store.registry.faults += [refusing({"HEAD"}, "/manifests/", 401, "UNAUTHORIZED"), log_in]
    for _ in range(2):
        assert names(two.seen(somebody)) == []
    two.store.registry.faults.clear()
    two.calls()
    assert names(two.seen()) == [SECOND, WHEEL]
    assert two.calls() == []  # nor does it replace what the registry said


def test_an_image_is_a_proof_because_the_registry_has_shown_it(two: Stale) -> None:
    somebody = as_somebody(two.repository, "somebody")
    two.seen()
    image = {"schemaVersion": 2, "mediaType": DOCKER_MANIFEST}

    def answer(_: FaultyRegistry, request: Request) -> Response | None:
        if not request.path.endswith("/manifests/2.0"):
            return None
        return Response(json.dumps(image), 200, content_type=DOCKER_MANIFEST)

    two.store.registry.faults += [refusing({"HEAD"}, "/manifests/", 401, "UNAUTHORIZED"), answer]
    assert names(two.seen(somebody)) == [WHEEL]


@pytest.mark.parametrize(("seconds", "calls"), [(29.9, 2), (30.0, 1)])
def test_a_check_that_takes_long_leaves_the_rest_to_the_next_page(
    two: Stale, monkeypatch: pytest.MonkeyPatch, seconds: float, calls: int
) -> None:
    now = [1000.0]
    monkeypatch.setattr(recheck, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def slow(registry: FaultyRegistry, request: Request) -> Response | None:
        registry.faults.clear()
        now[0] += seconds * (request.method == "HEAD")
        return None

    found, tags = two.reader.find_project([two.repository])
    two.store.registry.faults.append(slow)
    two.reader.project(found, tags, 0)

    assert len(two.calls()) == calls
    two.seen()
    assert len(two.calls()) == 2 - calls
    two.seen()
    assert two.calls() == []


@dataclass(slots=True)
class Queue(FetchPool):
    """A pool whose background work waits until the test begins it."""

    most: int
    asked: int = 0
    waiting: list[Callable[[], None]] = field(default_factory=list)
    is_closed: bool = False

    def __post_init__(self) -> None:
        FetchPool.__init__(self, 4)

    def begin_background(self, _: str, function: Callable[[], None]) -> bool:
        """Keep the function, unless there are too many."""
        self.asked += 1
        if len(self.waiting) >= self.most:
            return False
        self.waiting.append(function)
        return True

    @property
    def closed(self) -> bool:
        return self.is_closed


@pytest.mark.parametrize("most", [1, 2, 3, 10])
def test_the_threads_of_a_check_write_once_when_the_last_one_ends(two: Stale, most: int) -> None:
    two.publish("hello-3.0.tar.gz")
    two.last_changed(10 * DAY, "3.0")
    with closing(Queue(most)) as pool:
        other = two.another(pool)
        other.seen()
        two.clock.now += HOUR
        other.reader.find_project([two.repository])
        pool.waiting.clear()
        other.seen()
        (lead,) = pool.waiting
        asked = pool.asked
        two.calls()

        lead()
        helpers = pool.waiting[1:]
        assert len(helpers) == min(2, most - 1)  # one thread less than versions
        assert pool.asked - asked == min(2, most)  # it stops when no thread is free
        assert two.calls() == ["HEAD 1.0", "HEAD 2.0", "HEAD 3.0"]
        pool.waiting.clear()
        for helper in helpers:
            assert not other.reader._entries.begin_check(two.repository)
            helper()
        assert two.calls() == []

        other.seen()
        assert pool.waiting == []  # everything is fresh
        assert other.reader._entries.begin_check(two.repository)


def test_a_worker_learns_what_another_one_has_checked(two: Stale) -> None:
    with closing(Queue(1)) as pool:
        other = two.another(pool)
        other.reader.find_project([two.repository])
        other.seen()
        two.seen()  # checks the versions first
        two.calls()

        pool.waiting.pop()()
        assert two.calls() == []
        other.seen()
        assert pool.waiting == []


def test_without_a_free_thread_no_check_begins(two: Stale) -> None:
    with closing(Queue(0)) as pool:
        other = two.another(pool)
        other.reader.find_project([two.repository])
        two.calls()
        assert names(other.seen()) == [SECOND, WHEEL]
        assert two.calls() == []
    two.seen()
    assert two.calls() == ["HEAD 1.0", "HEAD 2.0"]


def test_a_check_makes_no_further_call_and_writes_nothing_once_the_process_ends(
    two: Stale,
) -> None:
    with closing(Queue(1)) as pool:
        other = two.another(pool)
        other.reader.find_project([two.repository])

        def end(_: FaultyRegistry, request: Request) -> None:
            pool.is_closed |= request.method == "HEAD"

        other.seen()
        two.calls()
        two.store.registry.faults.append(end)  # type: ignore[arg-type]
        pool.waiting.pop()()
        assert len(two.calls()) == 1
        assert not other.reader._entries.begin_check(two.repository)
        two.store.registry.faults.clear()
        two.clock.now += TTL + 1
        two.reader.find_project([two.repository])
        two.calls()
        two.seen()
        assert two.calls() == ["HEAD 1.0", "HEAD 2.0"]


def test_after_a_head_that_is_not_supported_only_gets_are_sent(two: Stale) -> None:
    two.store.registry.faults.append(refusing({"HEAD"}, "/manifests/", 405, "UNSUPPORTED"))
    old = two.seen()
    calls = two.calls()
    assert [call[:4] for call in calls] == ["GET ", "GET ", "HEAD"]
    assert two.seen() is old
    assert two.calls() == []


def test_a_digest_that_is_wrong_each_time_costs_one_get_for_each_check(two: Stale) -> None:
    def lie(registry: FaultyRegistry, request: Request) -> Response | None:
        if request.method != "HEAD":
            return None
        answer = registry.ask("HEAD", request.path)
        answer.headers["Docker-Content-Digest"] = str(Digest.of(secrets.token_bytes(8)))
        return answer

    two.store.registry.faults.append(lie)
    old = two.seen()
    assert two.calls() == ["GET 1.0", "GET 2.0", "HEAD 1.0", "HEAD 2.0"]
    assert two.seen() is old
    assert two.calls() == []


def test_a_head_that_is_answered_304_proves_nothing(two: Stale) -> None:
    somebody = as_somebody(two.repository, "somebody")
    other = two.another()

    def unchanged(_: FaultyRegistry, request: Request) -> Response | None:
        is_head = request.method == "HEAD" and "/manifests/" in request.path
        return Response(status=304) if is_head else None

    two.store.registry.faults.append(unchanged)
    two.store.registry.faults.append(refusing({"GET"}, "/manifests/", 403, "DENIED"))
    with pytest.raises(DeniedError):
        other.seen(somebody)


def test_a_failed_check_says_why(two: Stale, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pyoci.cache")
    two.store.registry.faults.append(refusing({"HEAD"}, "/manifests/", 503, "UNKNOWN"))

    two.seen()

    (line,) = [one.getMessage() for one in caplog.records if one.name == "pyoci.cache"]
    assert str(two.repository.caller.repository) in line
    assert "could not check whether old versions have changed" in line
    assert "503" in line
