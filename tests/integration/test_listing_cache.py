"""What the listing cache shows, to whom, and how long; its failures only cost time.

Two applications with one cache folder stand for two workers of a host.
"""

import contextlib
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests
from werkzeug.wrappers import Request

from pyoci_flask.app import create_app
from pyoci_flask.index.cache import CachedReader
from pyoci_flask.index.store import SQLiteStore
from pyoci_flask.registry import create_registry
from pyoci_flask.settings import Settings
from pyoci_flask.web.services import EXTENSION
from tests.doubles import Recorder, wsgi_server
from tests.integration.index_client import IndexClient, address
from tests.integration.oci_client import OCIClient, push_original, sha256
from tests.integration.registry_doubles import ALICE, BOB, challenge, error, serving
from tests.packages import make_sdist, make_wheel
from tests.registries import RunningRegistry
from tests.servers import gunicorn

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

TTL = 60
WHEEL, SDIST = "my_pkg-1.0-py3-none-any.whl", "my_pkg-1.0.tar.gz"
JSON = {"Accept": "application/vnd.pypi.simple.v1+json"}


@dataclass(slots=True)
class Clock:
    """The clock that all workers share, set by the test."""

    now: float = field(default_factory=time.time)

    def __call__(self) -> float:
        return self.now


@contextlib.contextmanager
def worker(folder: Path, clock: Callable[[], float], ttl: int = TTL) -> Iterator[str]:
    """Serve an application with a shared cache folder; yield its URL."""
    app = create_app(Settings.from_env({"PYOCI_CACHE_TTL": str(ttl)}), cache_folder=folder)
    services = app.extensions[EXTENSION]
    if ttl:
        store = SQLiteStore(folder, folder, clock)
        reader = CachedReader(services.versions.pool, store, ttl, clock)
        app.extensions[EXTENSION] = replace(services, versions=reader)
    try:
        with wsgi_server(app) as url:
            yield url
    finally:
        services.transport.close()
        services.versions.pool.close()


@dataclass(frozen=True, slots=True)
class Site:
    """Two workers with one registry, the cache that they share, and the way around them."""

    one: IndexClient
    other: IndexClient
    uncached: IndexClient
    registry: Recorder
    oci: OCIClient
    folder: Path
    clock: Clock

    @property
    def database(self) -> Path:
        return self.folder / "listings" / "records.sqlite"

    def calls(self, ask: Callable[[], object]) -> int:
        """Return how many calls to the registry it takes."""
        before = len(self.registry.calls)
        ask()
        return len(self.registry.calls) - before

    def warm(self, *filenames: str) -> None:
        """Let both workers show the project, and so cache it."""
        for index in (self.one, self.other):
            assert index.filenames("my-pkg") == list(filenames)


class Rights:
    """Asks for Basic. All `known` users can list tags; only the `readers` can do more."""

    def __init__(self, app: "WSGIApplication") -> None:
        self.app = app
        self.known = {ALICE, BOB}
        self.readers = {ALICE, BOB}
        self.status = 403

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        request = Request(environ)
        sent = request.authorization
        user = None if sent is None else (sent.username, sent.password)
        if user not in self.known:
            return challenge('Basic realm="double"')(environ, start)
        if user not in self.readers and not request.path.endswith("/tags/list"):
            return error(self.status)(environ, start)
        return self.app(environ, start)


@pytest.fixture
def rights(tmp_path: Path) -> Rights:
    return Rights(create_registry(tmp_path / "registry"))


@pytest.fixture
def site(rights: Rights, tmp_path: Path, http: requests.Session) -> Iterator[Site]:
    folder, clock, recorder = tmp_path / "cache", Clock(), Recorder(rights)
    with (
        serving(recorder, ALICE) as registry,
        worker(folder, clock) as one,
        worker(folder, clock) as other,
        worker(folder, clock, ttl=0) as uncached,
    ):
        first, second, third = (
            IndexClient(f"{url}/{address(registry.url)}/team", ALICE, http)
            for url in (one, other, uncached)
        )
        oci = OCIClient(registry, "team/my_pkg", http)
        yield Site(first, second, third, recorder, oci, folder, clock)


@pytest.fixture
def wheel(site: Site, tmp_path: Path) -> Path:
    return site.uncached.published(make_wheel(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")


@pytest.mark.usefixtures("wheel")
def test_a_change_through_one_worker_shows_immediately_through_the_other(
    site: Site, tmp_path: Path
) -> None:
    site.warm(WHEEL)

    site.one.published(make_sdist(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")
    site.warm(WHEEL, SDIST)
    assert site.one.request("PATCH", f"/my-pkg/{SDIST}", json={"yanked": "broken"}).ok
    for index in (site.other, site.one):
        links = {link.text: link.attributes for link in index.page("my-pkg")}
        assert links[SDIST]["data-yanked"] == "broken"
        assert "data-yanked" not in links[WHEEL]
    assert site.other.request("DELETE", f"/my-pkg/{SDIST}").ok
    site.warm(WHEEL)
    for index in (site.one, site.other):
        assert index.get(f"/my-pkg/{SDIST}").status_code == 404
    assert site.one.request("DELETE", "/my-pkg/1.0").ok
    for index in (site.other, site.one):
        assert index.request("HEAD", f"/my-pkg/{WHEEL}").status_code == 404


@pytest.mark.usefixtures("wheel")
def test_what_one_worker_has_read_the_other_reads_no_more(site: Site, tmp_path: Path) -> None:
    for version in ("2.0", "3.0", "4.0"):
        site.uncached.published(make_wheel(tmp_path, "my_pkg", version), "my-pkg", version)

    # Each has to send Basic credentials once, so the tags take two calls.
    assert site.calls(lambda: site.one.page("my-pkg")) == 2 + 4
    # Its proof is a HEAD at the same time as the tags, so that takes two calls as well.
    assert site.calls(lambda: site.other.page("my-pkg")) == 2 + 2
    assert site.calls(lambda: site.other.page("my-pkg")) == 1


@pytest.mark.usefixtures("wheel")
def test_a_foreign_new_version_shows_immediately_and_a_new_file_within_the_time_to_live(
    site: Site, tmp_path: Path
) -> None:
    site.warm(WHEEL)
    push_original(site.oci, "2.0", {".tar.gz": b"new version"})
    site.uncached.published(make_sdist(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")

    site.warm("my_pkg-2.0.tar.gz", WHEEL)
    site.clock.now += TTL - 1
    site.warm("my_pkg-2.0.tar.gz", WHEEL)
    site.clock.now += 1
    site.warm("my_pkg-2.0.tar.gz", WHEEL, SDIST)


@pytest.mark.usefixtures("wheel")
def test_a_clock_that_was_set_back_makes_nothing_live_longer(site: Site, tmp_path: Path) -> None:
    site.warm(WHEEL)
    site.uncached.published(make_sdist(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")

    site.clock.now -= 3600

    site.warm(WHEEL, SDIST)


@pytest.mark.usefixtures("wheel")
def test_a_file_that_the_remembered_index_does_not_name_is_asked_for_before_404(
    site: Site, tmp_path: Path
) -> None:
    site.warm(WHEEL)
    sdist = make_sdist(tmp_path, "my_pkg", "1.0")
    site.uncached.published(sdist, "my-pkg", "1.0")

    assert site.one.get(f"/my-pkg/{SDIST}").content == sdist.read_bytes()
    site.warm(WHEEL, SDIST)  # the result is cached
    assert site.one.get("/my-pkg/my_pkg-1.0-cp311-none-any.whl").status_code == 404


def test_a_file_that_was_replaced_behind_our_back_is_downloaded_as_it_is_now(
    site: Site, wheel: Path, tmp_path: Path
) -> None:
    site.warm(WHEEL)
    old = wheel.read_bytes()
    assert site.uncached.request("DELETE", f"/my-pkg/{WHEEL}").ok
    (tmp_path / "new").mkdir()
    new = make_wheel(tmp_path / "new", "my_pkg", "1.0", summary="another")
    site.uncached.published(new, "my-pkg", "1.0")
    assert site.oci.request("DELETE", f"blobs/sha256:{sha256(old)}").ok

    for path, expected in ((WHEEL, new.read_bytes()), (f"{WHEEL}.metadata", b"another")):
        for index in (site.one, site.other):
            response = index.get(f"/my-pkg/{path}")
            assert response.status_code == 200, response.text
            assert expected in response.content
            assert response.content != old


def test_a_file_without_a_digest_in_the_index_is_downloaded_as_it_is_now(site: Site) -> None:
    """Its digest would be in its manifest, which is gone."""
    push_original(site.oci, "1.0", {".tar.gz": b"old"}, digest_annotation=False)
    assert site.one.get(f"/my-pkg/{SDIST}").content == b"old"
    old = site.oci.document("1.0")["manifests"][0]["digest"]
    push_original(site.oci, "1.0", {".tar.gz": b"new"}, digest_annotation=False)
    assert site.oci.request("DELETE", f"manifests/{old}").ok

    response = site.one.get(f"/my-pkg/{SDIST}")

    assert (response.status_code, response.content) == (200, b"new")


def test_a_file_that_was_found_to_be_gone_is_gone_for_everybody(site: Site, wheel: Path) -> None:
    site.warm(WHEEL)
    assert site.uncached.request("DELETE", "/my-pkg/1.0").ok
    digest = f"sha256:{sha256(wheel.read_bytes())}"
    assert site.oci.request("DELETE", f"blobs/{digest}").ok

    assert site.one.get(f"/my-pkg/{WHEEL}").status_code == 404

    for index in (site.one, site.other):
        assert index.request("HEAD", f"/my-pkg/{WHEEL}").status_code == 404


def test_a_tag_that_is_no_package_is_remembered_as_such(site: Site, wheel: Path) -> None:
    image = site.oci.document(site.oci.document("1.0")["manifests"][0]["digest"])
    site.oci.push(image, "2.0")
    site.warm(wheel.name)

    assert site.calls(lambda: site.warm(wheel.name)) == 2
    assert site.one.get("/my-pkg/", headers=JSON).json()["versions"] == ["1.0"]
    assert site.one.get("/my-pkg/my_pkg-2.0-py3-none-any.whl").status_code == 404


class Ghost:
    """Lists a tag that no longer exists, as some registries do after a deletion."""

    def __init__(self, app: "WSGIApplication") -> None:
        self.app = app

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        if environ["PATH_INFO"].endswith("/manifests/9.9"):
            return error(404)(environ, start)
        return self.app(environ, start)


def test_a_tag_that_is_listed_but_gone_is_no_version_with_the_cache_as_without(
    site: Site, rights: Rights, wheel: Path
) -> None:
    site.oci.push(site.oci.document("1.0"), "9.9")
    rights.app = Ghost(rights.app)

    for index in (site.uncached, site.one, site.one):
        document = index.get("/my-pkg/", headers=JSON).json()
        assert document["versions"] == ["1.0"]
        assert [file["filename"] for file in document["files"]] == [wheel.name]


@pytest.mark.usefixtures("wheel")
@pytest.mark.parametrize("status", [401, 403, 404])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_who_may_not_pull_is_answered_as_without_the_cache(
    site: Site, rights: Rights, status: int, method: str
) -> None:
    site.warm(WHEEL)
    rights.readers, rights.status = {ALICE}, status
    etag = site.one.get(f"/my-pkg/{WHEEL}").headers["ETag"]

    for path in ("/my-pkg/", "/my-pkg/json", f"/my-pkg/{WHEEL}", f"/my-pkg/{WHEEL}.metadata"):
        for user in (BOB, ("some", "stranger"), None):
            for headers in (JSON, JSON | {"If-None-Match": etag}):
                expected = site.uncached.request(method, path, auth=user, headers=headers)
                assert expected.status_code in ({200, status} if user == BOB else {401})
                assert not expected.ok or WHEEL not in expected.text
                for index in (site.one, site.other):
                    answer = index.request(method, path, auth=user, headers=headers)
                    assert answer.status_code == expected.status_code, path
                    assert answer.ok or answer.text == expected.text
                    assert not answer.ok or WHEEL not in answer.text


@pytest.mark.usefixtures("wheel")
def test_a_user_who_gets_404_does_not_make_others_read_again(site: Site, rights: Rights) -> None:
    rights.status = 404
    rights.readers.remove(BOB)
    site.warm(WHEEL)

    assert site.one.get(f"/my-pkg/{WHEEL}", auth=BOB).status_code == 404

    assert site.calls(lambda: site.one.filenames("my-pkg")) == 1


@pytest.mark.usefixtures("wheel")
def test_a_user_whose_right_is_revoked_gets_neither_pages_nor_files(
    site: Site, rights: Rights
) -> None:
    site.warm(WHEEL)

    rights.known = set()

    for index in (site.one, site.other):
        for path in ("/my-pkg/", "/my-pkg/json", f"/my-pkg/{WHEEL}", f"/my-pkg/{WHEEL}.metadata"):
            assert index.get(path).status_code == 401, path


def _locked(site: Site) -> contextlib.AbstractContextManager[object]:
    holder = sqlite3.connect(site.database, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    return closing(holder)


def _corrupt(site: Site) -> contextlib.AbstractContextManager[object]:
    for file in site.database.parent.iterdir():
        file.write_bytes(b"\xa5" * 20_000)
    return contextlib.nullcontext()


def _removed(site: Site) -> contextlib.AbstractContextManager[object]:
    shutil.rmtree(site.folder)
    return contextlib.nullcontext()


def _file_in_its_place(site: Site) -> contextlib.AbstractContextManager[object]:
    shutil.rmtree(site.folder)
    site.folder.write_text("no folder")
    return contextlib.nullcontext()


@pytest.mark.usefixtures("wheel")
@pytest.mark.parametrize("fail", [_locked, _corrupt, _removed, _file_in_its_place])
def test_a_cache_that_fails_costs_time_only(
    site: Site,
    fail: Callable[[Site], contextlib.AbstractContextManager[object]],
    tmp_path: Path,
) -> None:
    site.warm(WHEEL)

    with fail(site):
        site.warm(WHEEL)
        site.one.published(make_sdist(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")
        site.warm(WHEEL, SDIST)
        assert site.other.request("DELETE", f"/my-pkg/{WHEEL}").ok
        site.warm(SDIST)
        assert site.one.get(f"/my-pkg/{WHEEL}").status_code == 404


def test_real_workers_share_what_they_read_and_see_each_others_changes(
    docker_htpasswd: RunningRegistry, namespace: str, tmp_path: Path
) -> None:
    settings = {"WEB_CONCURRENCY": "2", "PYOCI_THREADS": "4", "PYOCI_SPOOL": str(tmp_path)}
    with gunicorn(tmp_path, settings) as server, requests.Session() as session:
        session.trust_env = False
        # Each request on its own connection may reach either worker.
        session.headers["Connection"] = "close"
        base = f"{server.url}/{docker_htpasswd.address}/{namespace}"
        index = IndexClient(base, docker_htpasswd.auth, session)
        index.published(make_wheel(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")
        for _ in range(8):
            assert index.filenames("my-pkg") == [WHEEL]
        (folder,) = tmp_path.glob("pyoci-flask-cache-*")
        assert folder.stat().st_mode & 0o777 == 0o700
        with closing(sqlite3.connect(folder / "listings" / "records.sqlite")) as database:
            ((value,),) = database.execute(
                "SELECT value FROM entries WHERE key LIKE 'entry%my_pkg%'"
            ).fetchall()
            assert WHEEL in value.decode()

        index.published(make_sdist(tmp_path, "my_pkg", "1.0"), "my-pkg", "1.0")
        for _ in range(8):
            assert index.filenames("my-pkg") == [WHEEL, SDIST]
        for user in (None, ("alice", "wrong")):
            assert index.get("/my-pkg/", auth=user).status_code == 401
            assert index.request("HEAD", f"/my-pkg/{WHEEL}", auth=user).status_code == 401
        password = docker_htpasswd.password
        assert password
        for file in (folder / "listings").iterdir():
            assert password.encode() not in file.read_bytes()
    assert not folder.exists()
