"""How often the registry is called, counted in front of a real one, or by one with tokens."""

import http.client
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
import requests
from werkzeug.wrappers import Request, Response

from tests.conftest import AppServer
from tests.doubles import wsgi_server
from tests.integration.index_client import IndexClient, address
from tests.integration.oci_client import OCIClient, push_original
from tests.packages import make_wheel
from tests.patience import PATIENCE
from tests.quirks.registry import QuirkyRegistry, quirky_registry
from tests.quirks.switches import Auth, Quirks
from tests.quirks.tokens import OWNER
from tests.registries import RunningRegistry

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

WHEEL = "my_pkg-1.0-py3-none-any.whl"
JSON = {"Accept": "application/vnd.pypi.simple.v1+json"}
_LATENCY = 0.4
"""Seconds, far more than a call takes here, so that parallel calls visibly overlap."""
_NOT_PASSED = frozenset({"connection", "transfer-encoding", "server", "date"})


@dataclass(frozen=True, slots=True)
class Passed:
    """One call, with the seconds of its begin and its end."""

    method: str
    path: str
    begun: float
    ended: float


@dataclass(slots=True)
class CountingProxy:
    """Passes everything on to the registry at `netloc`, after `latency` seconds."""

    netloc: str
    latency: float = 0.0
    calls: list[Passed] = field(default_factory=list)
    broken: dict[str, int] = field(default_factory=dict)
    """Tags whose manifest is answered with a status instead."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        begun = time.monotonic()
        request = Request(environ)
        time.sleep(self.latency)
        answer = self._pass(request)
        with self.lock:
            self.calls.append(Passed(request.method, request.path, begun, time.monotonic()))
        return answer(environ, start)

    def _pass(self, request: Request) -> Response:
        before, _, tag = request.path.rpartition("/")
        if before.endswith("/manifests") and tag in self.broken:
            return Response("broken", self.broken[tag])
        query = request.query_string.decode("ascii")
        target = f"{quote(request.path, safe='/:')}{'?' if query else ''}{query}"
        # The Host of the proxy is passed on, so that Locations lead to the proxy, too.
        headers = {name: value for name, value in request.headers.items() if value}
        with closing(http.client.HTTPConnection(self.netloc, timeout=PATIENCE)) as connection:
            connection.request(request.method, target, request.get_data(), headers)
            reply = connection.getresponse()
            kept = [pair for pair in reply.getheaders() if pair[0].lower() not in _NOT_PASSED]
            return Response(reply.read(), reply.status, kept)

    def taken(self) -> list[Passed]:
        """Return the calls since the last time."""
        with self.lock:
            calls, self.calls[:] = self.calls[:], []
        return calls


def longest_sequence(calls: list[Passed]) -> int:
    """Return the most calls of which each began only after the previous one had ended."""
    lengths: dict[Passed, int] = {}
    for call in sorted(calls, key=lambda one: one.ended):
        before = (length for one, length in lengths.items() if one.ended <= call.begun)
        lengths[call] = 1 + max(before, default=0)
    return max(lengths.values(), default=0)


@pytest.fixture(scope="module")
def proxy(docker_open: RunningRegistry) -> CountingProxy:
    return CountingProxy(docker_open.netloc)


@pytest.fixture(scope="module")
def proxy_url(proxy: CountingProxy) -> Iterator[str]:
    with wsgi_server(proxy) as url:
        yield url


IndexOf = Callable[..., IndexClient]


@pytest.fixture
def index_of(
    app_server: AppServer, proxy_url: str, namespace: str, http: requests.Session
) -> IndexOf:
    """Make clients of new applications, whose caches are empty, with one namespace."""

    def make(**environ: str) -> IndexClient:
        return IndexClient(f"{app_server(environ)}/{address(proxy_url)}/{namespace}", None, http)

    return make


@pytest.fixture
def versions(docker_open: RunningRegistry, namespace: str, http: requests.Session) -> list[str]:
    """The versions of the project, each with one sdist, pushed by another program."""
    oci = OCIClient(docker_open, f"{namespace}/my_pkg", http)
    tags = [f"1.{number}" for number in range(5)]
    for tag in tags:
        push_original(oci, tag, {".tar.gz": tag.encode()})
    return tags


@pytest.fixture
def cold(index_of: IndexOf, proxy: CountingProxy, tmp_path: Path) -> IndexClient:
    """A new application, for a wheel that another one has published."""
    wheel = make_wheel(tmp_path, "my_pkg", "1.0", summary="Says hello")
    index_of().published(wheel, "my-pkg", "1.0")
    proxy.taken()
    return index_of()


def _counted(proxy: CountingProxy, response: requests.Response, status: int = 200) -> int:
    assert response.status_code == status, response.text
    return len(proxy.taken())


def test_a_cold_page_takes_a_call_for_the_tags_and_one_for_each_version_a_warm_page_one_call(
    index_of: IndexOf, proxy: CountingProxy, versions: list[str]
) -> None:
    index = index_of()
    proxy.taken()

    assert _counted(proxy, index.get("/my-pkg/", headers=JSON)) == 1 + len(versions)
    for headers in (JSON, {"Accept": "text/html"}, JSON):
        assert _counted(proxy, index.get("/my-pkg/", headers=headers)) == 1


def test_legacy_json_takes_the_calls_of_the_page_and_shares_what_was_read(
    index_of: IndexOf, proxy: CountingProxy, versions: list[str]
) -> None:
    for first, second in (("/my-pkg/json", "/my-pkg/"), ("/my-pkg/", "/my-pkg/json")):
        index = index_of()
        proxy.taken()

        assert _counted(proxy, index.get(first)) == 1 + len(versions)
        assert _counted(proxy, index.get(second)) == 1


def test_legacy_json_of_what_has_core_metadata_takes_no_call_more(
    cold: IndexClient, proxy: CountingProxy
) -> None:
    for calls in (1 + 1, 1):
        answer = cold.get("/my-pkg/json")
        assert answer.json()["info"]["summary"] == "Says hello"
        assert _counted(proxy, answer) == calls


def test_legacy_json_of_one_version_that_has_core_metadata_takes_no_call_more(
    app_server: AppServer,
    cold: IndexClient,
    proxy: CountingProxy,
    proxy_url: str,
    namespace: str,
    http: requests.Session,
) -> None:
    assert cold.get("/my-pkg/").ok
    root = app_server({"PYOCI_INDEX": f"{proxy_url}/{namespace}"})
    proxy.taken()

    for calls in (1 + 1, 1):
        answer = http.get(f"{root}/pypi/my-pkg/1.0/json")
        assert answer.json()["info"]["summary"] == "Says hello"
        assert _counted(proxy, answer) == calls


def test_legacy_json_of_one_version_reads_this_version_only(
    app_server: AppServer,
    proxy: CountingProxy,
    proxy_url: str,
    namespace: str,
    versions: list[str],
    http: requests.Session,
) -> None:
    root = app_server({"PYOCI_INDEX": f"{proxy_url}/{namespace}"})
    proxy.taken()

    for calls in (1 + 1, 1):
        assert _counted(proxy, http.get(f"{root}/pypi/my-pkg/{versions[1]}/json")) == calls


@pytest.mark.parametrize("status", [403, 418, 500])
def test_legacy_json_of_a_project_with_a_version_that_fails_holds_the_others(
    index_of: IndexOf, proxy: CountingProxy, versions: list[str], status: int
) -> None:
    index = index_of()
    proxy.broken[versions[-1]] = status
    try:
        cold, warm = index.get("/my-pkg/json"), index.get("/my-pkg/json")
        assert index.get("/my-pkg/", headers=JSON).status_code >= 400
    finally:
        proxy.broken.clear()
    whole = index.get("/my-pkg/json").json()

    assert cold.json() == warm.json()
    assert list(cold.json()["releases"]) == list(whole["releases"]) == versions[::-1]
    assert cold.json()["releases"] == {**whole["releases"], versions[-1]: []}
    assert [answer["info"]["version"] for answer in (cold.json(), whole)] == versions[-2:]


@pytest.mark.parametrize(("status", "answered"), [(403, {401, 403}), (500, {502})])
def test_legacy_json_fails_where_no_version_can_be_read(
    index_of: IndexOf,
    proxy: CountingProxy,
    versions: list[str],
    status: int,
    answered: set[int],
) -> None:
    index = index_of()
    proxy.broken.update(dict.fromkeys(versions, status))
    try:
        proxy.taken()
        assert index.get("/my-pkg/json").status_code in answered
        # Each version once; the transport tries again after a 500.
        asked = [call for call in proxy.taken() if "/manifests/" in call.path]
        assert len(asked) == len(versions) * (3 if status == 500 else 1)
    finally:
        proxy.broken.clear()
    assert index.get("/my-pkg/json").ok


@pytest.mark.parametrize("path", ["1.0/files/", "versions/"])
def test_web_pages_of_files_and_of_versions_take_the_calls_of_the_list(
    app_server: AppServer,
    proxy: CountingProxy,
    proxy_url: str,
    namespace: str,
    versions: list[str],
    http: requests.Session,
    path: str,
) -> None:
    root = app_server({"PYOCI_INDEX": f"{proxy_url}/{namespace}"})
    proxy.taken()

    for calls in (1 + len(versions), 1):
        assert _counted(proxy, http.get(f"{root}/ui/simple/my-pkg/{path}")) == calls


def test_only_versions_that_are_shown_are_asked_for(
    index_of: IndexOf, proxy: CountingProxy, versions: list[str]
) -> None:
    index = index_of(PYOCI_MAX_VERSIONS="2")
    proxy.taken()

    response = index.get("/my-pkg/", headers=JSON)

    assert _counted(proxy, response) == 1 + 2 < 1 + len(versions)
    assert len(response.json()["files"]) == 2


def test_the_first_page_with_another_credential_takes_one_manifest_to_prove_the_right_to_it(
    index_of: IndexOf, proxy: CountingProxy, versions: list[str]
) -> None:
    index = index_of()
    page = index.get("/my-pkg/", headers=JSON)
    assert len(page.json()["files"]) == len(versions)
    proxy.taken()

    response = index.get("/my-pkg/", headers=JSON, auth=("another", "user"))

    assert _counted(proxy, response) == 2
    assert response.content == page.content
    assert _counted(proxy, index.get("/my-pkg/", auth=("another", "user"))) == 1


def test_without_a_time_to_live_every_page_and_download_is_cold(
    index_of: IndexOf, proxy: CountingProxy, versions: list[str]
) -> None:
    index = index_of(PYOCI_CACHE_TTL="0")
    proxy.taken()

    for _ in range(2):
        assert _counted(proxy, index.get("/my-pkg/", headers=JSON)) == 1 + len(versions)
        assert _counted(proxy, index.get("/my-pkg/my_pkg-1.0.tar.gz")) == 2


def test_a_new_version_adds_the_one_call_for_it(
    index_of: IndexOf, proxy: CountingProxy, cold: IndexClient, tmp_path: Path
) -> None:
    assert cold.filenames("my-pkg") == [WHEEL]
    index_of().published(make_wheel(tmp_path, "my_pkg", "2.0"), "my-pkg", "2.0")
    proxy.taken()

    assert len(cold.filenames("my-pkg")) == 2
    assert [call.path.rpartition("/")[2] for call in proxy.taken()] == ["list", "2.0"]


def test_a_cold_download_takes_two_calls_and_a_warm_one_only_that_for_the_blob(
    proxy: CountingProxy, cold: IndexClient
) -> None:
    assert _counted(proxy, cold.get(f"/my-pkg/{WHEEL}")) == 2
    for headers in ({}, {"Range": "bytes=1-3"}):
        assert cold.get(f"/my-pkg/{WHEEL}", headers=headers).ok
        (call,) = proxy.taken()
        assert (call.method, "/blobs/sha256:" in call.path) == ("GET", True)


def test_a_page_makes_the_downloads_of_its_files_warm(
    proxy: CountingProxy, cold: IndexClient
) -> None:
    assert cold.filenames("my-pkg") == [WHEEL]
    proxy.taken()

    assert _counted(proxy, cold.get(f"/my-pkg/{WHEEL}")) == 1


def test_warm_head_and_304_of_a_file_take_no_call(proxy: CountingProxy, cold: IndexClient) -> None:
    path = f"/my-pkg/{WHEEL}"
    etag = cold.get(path).headers["ETag"]
    proxy.taken()

    assert _counted(proxy, cold.request("HEAD", path)) == 0
    assert _counted(proxy, cold.get(path, headers={"If-None-Match": etag}), 304) == 0


def test_core_metadata_takes_one_call_more_than_the_index(
    proxy: CountingProxy, cold: IndexClient
) -> None:
    assert _counted(proxy, cold.get(f"/my-pkg/{WHEEL}.metadata")) == 2
    assert _counted(proxy, cold.get(f"/my-pkg/{WHEEL}.metadata")) == 1


@pytest.fixture
def latency(proxy: CountingProxy) -> Iterator[None]:
    proxy.latency = _LATENCY
    yield
    proxy.latency = 0.0


@pytest.mark.usefixtures("latency")
def test_publishing_a_wheel_takes_twelve_calls_of_which_at_most_seven_wait_for_another(
    index_of: IndexOf, proxy: CountingProxy, tmp_path: Path
) -> None:
    index = index_of()
    proxy.taken()

    index.published(make_wheel(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")

    calls = proxy.taken()
    # Two of them, apart from others, look for other spellings of the version and of the project.
    assert len(calls) == 12, calls
    assert longest_sequence(calls) <= 7, calls


@pytest.mark.usefixtures("latency")
def test_the_second_wheel_of_a_version_does_not_ask_for_the_config_that_both_share(
    index_of: IndexOf, proxy: CountingProxy, tmp_path: Path
) -> None:
    index = index_of()
    index.published(make_wheel(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")
    proxy.taken()

    index.published(make_wheel(tmp_path, "my_pkg", "1.0", tag="cp311-none-any"), "my-pkg", "1.0")

    calls = proxy.taken()
    assert len(calls) == 8, calls
    assert longest_sequence(calls) <= 6, calls
    assert len({call.path for call in calls if "/blobs/sha256:" in call.path}) == 1
    assert len(index.filenames("my-pkg")) == 2


@pytest.fixture
def tokens(tmp_path: Path) -> Iterator[QuirkyRegistry]:
    with quirky_registry(tmp_path / "tokens", Quirks(auth=Auth(scheme="bearer"))) as registry:
        yield registry


def test_tokens_add_two_calls_to_the_first_page_and_one_to_that_of_another_repository(
    app_server: AppServer, tokens: QuirkyRegistry, http: requests.Session, tmp_path: Path
) -> None:
    def index() -> IndexClient:
        return IndexClient(f"{app_server()}/{address(tokens.url)}/team", OWNER, http)

    publisher, reader = index(), index()
    for name in ("foo", "bar"):
        for version in ("1.0", "2.0", "3.0"):
            publisher.published(make_wheel(tmp_path, name, version), name, version)

    def counted(name: str) -> tuple[int, int]:
        tokens.calls.clear()
        tokens.tokens.asked.clear()
        assert len(reader.filenames(name)) == 3
        return len(tokens.calls), len(tokens.tokens.asked)

    assert counted("foo") == (1 + 1 + 3, 1)
    assert counted("foo") == (1, 0)
    assert counted("bar") == (1 + 3, 1)
    assert counted("bar") == (1, 0)
