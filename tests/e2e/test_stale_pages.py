"""Pages of versions that have not changed for long, while the registry is asked behind them."""

import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests
from werkzeug.wrappers import Request

from pyoci_flask.registry import create_registry
from tests.integration.oci_client import CREATED, OCIClient, push_original
from tests.integration.registry_doubles import serving
from tests.patience import PATIENCE
from tests.registries import RunningRegistry
from tests.servers import RunningServer, gunicorn, wait_until

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

VERSIONS = [f"{number}.0" for number in range(1, 21)]
JSON = {"Accept": "application/vnd.pypi.simple.v1+json"}
SETTINGS = {"PYOCI_CACHE_TTL": "1"}


@dataclass(slots=True)
class Watched:
    """A registry that notes its calls, and lets most HEADs wait while it `hangs`.

    It answers for version 9.0, by which callers prove that they may read. All versions may be shown
    for equally long, and this is the last tag in alphabetical order.
    """

    app: "WSGIApplication"
    calls: list[str] = field(default_factory=list)
    hangs: bool = False
    answers: str = "/9.0"
    """The end of the paths of HEADs that do not hang."""
    waiting: int = 0
    released: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        request = Request(environ)
        with self.lock:
            self.calls.append(f"{request.method} {request.path.rpartition('/')[2]}")
        if self.hangs and request.method == "HEAD" and not request.path.endswith(self.answers):
            with self.lock:
                self.waiting += 1
            self.released.wait(PATIENCE)
            with self.lock:
                self.waiting -= 1
        return self.app(environ, start)

    def taken(self) -> Counter[str]:
        """Return the calls since the last time."""
        with self.lock:
            calls, self.calls[:] = Counter(self.calls), []
        return calls


@dataclass(frozen=True, slots=True)
class World:
    """An index of one project, and its registry."""

    registry: Watched
    running: RunningRegistry
    oci: OCIClient

    def page(self, server: RunningServer, project: str = "hello") -> tuple[list[str], float]:
        """Return the names of the files on the project's page, and the seconds that it took."""
        url = f"{server.url}/{self.running.address}/team/{project}/"
        began = time.monotonic()
        response = requests.get(url, headers=JSON, timeout=PATIENCE)
        seconds = time.monotonic() - began
        assert response.status_code == 200, response.text
        return [file["filename"] for file in response.json()["files"]], seconds

    def checked(self) -> None:
        """Wait until every version was checked, each once."""
        heads: Counter[str] = Counter()

        def are_all() -> bool:
            heads.update(self.registry.taken())
            return sum(heads[f"HEAD {version}"] > 0 for version in VERSIONS) == len(VERSIONS)

        wait_until(are_all)
        assert not any(call.startswith("GET") and call != "GET list" for call in heads)


@contextmanager
def world(folder: Path) -> Iterator[World]:
    """Serve a registry with twenty versions that were published ten days ago."""
    registry = Watched(create_registry(folder / "registry"))
    with serving(registry) as running, requests.Session() as session:
        oci = OCIClient(running, "team/hello", session)
        old = (datetime.now(UTC) - timedelta(days=10)).isoformat()
        for version in VERSIONS:
            push_original(oci, version, {".tar.gz": version.encode()})
            document = oci.document(version)
            for one in (document, *document["manifests"]):
                one.setdefault("annotations", {})[CREATED] = old
            oci.push(document, version)
        try:
            yield World(registry, running, oci)
        finally:
            registry.released.set()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def _expire() -> None:
    time.sleep(1.1)  # the time to live is one second


def test_an_old_page_waits_only_for_the_tags_and_a_proof(registry: World, tmp_path: Path) -> None:
    with gunicorn(tmp_path, {**SETTINGS, "WEB_CONCURRENCY": "2"}) as server:
        files, _ = registry.page(server)
        assert len(files) == len(VERSIONS)
        _expire()
        registry.registry.taken()

        assert registry.page(server)[0] == files
        registry.checked()
        assert registry.page(server)[0] == files
        calls = registry.registry.taken()
        assert calls["GET list"] == 1
        assert calls.total() <= 2  # the other worker may ask for its own proof


def test_a_changed_version_shows_at_the_second_view(registry: World, tmp_path: Path) -> None:
    with gunicorn(tmp_path, SETTINGS) as server:
        registry.page(server)
        document = registry.oci.document("7.0")
        document["manifests"] = []
        registry.oci.push(document, "7.0")
        _expire()
        registry.registry.taken()

        assert "hello-7.0.tar.gz" in registry.page(server)[0]
        wait_until(lambda: "hello-7.0.tar.gz" not in registry.page(server)[0])
        assert registry.registry.taken()["GET 7.0"] == 1


def test_a_registry_that_hangs_behind_the_answer_delays_nothing(
    registry: World, tmp_path: Path
) -> None:
    with gunicorn(tmp_path, SETTINGS) as server:
        files, _ = registry.page(server)
        _expire()
        registry.registry.hangs = True
        registry.page(server)
        wait_until(lambda: registry.registry.waiting > 0)

        slowest = 0.0
        for _ in range(30):
            assert requests.get(f"{server.url}/health", timeout=PATIENCE).ok
            shown, seconds = registry.page(server)
            assert shown == files
            slowest = max(slowest, seconds)
        assert slowest < 6  # half of the time-out of a call that hangs
        assert registry.registry.waiting <= 8

        began = time.monotonic()
        server.process.terminate()
        assert server.process.wait(PATIENCE) == 0
        assert time.monotonic() - began < 6


@pytest.mark.acceptance
def test_a_proof_that_hangs_delays_a_page_by_seconds_only(registry: World, tmp_path: Path) -> None:
    registry.registry.answers = "/none"
    with gunicorn(tmp_path, SETTINGS) as server:
        files, _ = registry.page(server)
        _expire()
        registry.registry.hangs = True

        shown, seconds = registry.page(server)

        assert shown == files
        assert seconds < 10  # a call that may wait would take 12 seconds


@pytest.mark.acceptance
def test_checks_leave_no_connection_and_no_thread_behind(registry: World, tmp_path: Path) -> None:
    with gunicorn(tmp_path, SETTINGS) as server:
        (worker,) = server.workers

        def held() -> tuple[int, int]:
            process = Path(f"/proc/{worker}")
            files, threads = process / "fd", process / "task"
            return len(list(files.iterdir())), len(list(threads.iterdir()))

        def check() -> None:
            registry.registry.taken()
            _expire()
            registry.page(server)
            registry.checked()

        registry.page(server)
        check()
        files, threads = held()
        for _ in range(3):
            check()
        # The threads of a check end just after its last call.
        wait_until(lambda: held()[0] <= files + 8 and held()[1] <= threads)


def test_who_has_not_read_within_the_time_to_live_needs_the_registry(
    registry: World, tmp_path: Path
) -> None:
    with gunicorn(tmp_path, SETTINGS) as server:
        registry.page(server)
        _expire()
        url = f"{server.url}/{registry.running.address}/team/hello/"
        registry.registry.taken()

        response = requests.get(url, headers=JSON, auth=("bob", "secret"), timeout=PATIENCE)

        assert response.ok
        assert registry.registry.taken()["GET list"] == 1


def test_the_kept_folder_makes_a_restart_take_one_round_trip(
    registry: World, tmp_path: Path
) -> None:
    settings = {**SETTINGS, "PYOCI_CACHE_FOLDER": str(tmp_path / "cache")}
    with gunicorn(tmp_path, settings) as server:
        files, _ = registry.page(server)
    _expire()
    registry.registry.hangs = False
    registry.registry.taken()
    with gunicorn(tmp_path, settings) as server:
        assert registry.page(server)[0] == files
        registry.checked()
