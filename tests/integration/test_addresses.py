"""Every way to write the address of an index."""

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest
import requests

from pyoci_flask.registry import create_registry
from tests.conftest import AppServer
from tests.doubles import Recorder, wsgi_server
from tests.integration.index_client import IndexClient, address, links
from tests.integration.oci_client import OCIClient
from tests.packages import make_wheel
from tests.registries import RunningRegistry

WHEEL = "foo-1.0-py3-none-any.whl"


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    return make_wheel(tmp_path, "foo", "1.0")


@pytest.fixture
def calls(tmp_path: Path) -> Recorder:
    """The embedded registry, which remembers what it was asked."""
    return Recorder(create_registry(tmp_path / "registry"))


@pytest.fixture
def registry_url(calls: Recorder) -> Iterator[str]:
    with wsgi_server(calls) as url:
        yield url


def test_health_answers_without_asking_anything(shared_app: str, http: requests.Session) -> None:
    response = http.get(f"{shared_app}/health")

    assert response.status_code == 200
    assert http.head(f"{shared_app}/health").status_code == 200


def test_the_root_is_a_page_for_people(shared_app: str, http: requests.Session) -> None:
    response = http.get(f"{shared_app}/")

    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/html")
    assert "pip install" in response.text
    assert urlsplit(shared_app).netloc in response.text


def test_robots_are_kept_out_of_everything(shared_app: str, http: requests.Session) -> None:
    response = http.get(f"{shared_app}/robots.txt")

    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/plain")
    assert [line.strip() for line in response.text.splitlines()] == ["User-agent: *", "Disallow: /"]


WRITTEN: dict[str, Callable[[str], str]] = {
    "percent-encoded": lambda netloc: f"http%3A%2F%2F{netloc.replace(':', '%3A')}",
    "percent-encoded-lower-case": lambda netloc: f"http%3a%2f%2f{netloc}",
    "slashes-encoded-alone": lambda netloc: f"http:%2F%2F{netloc}",
    "plain": lambda netloc: f"http://{netloc}",
    "merged-slashes": lambda netloc: f"http:/{netloc}",
    "upper-case-scheme": lambda netloc: f"HTTP://{netloc}",
}


@pytest.mark.parametrize("written", WRITTEN)
def test_every_way_to_write_a_registry_means_the_same(
    shared_app: str, registry_url: str, http: requests.Session, wheel: Path, written: str
) -> None:
    netloc = urlsplit(registry_url).netloc
    index = IndexClient(f"{shared_app}/{WRITTEN[written](netloc)}/team", None, http)

    index.published(wheel, "foo", "1.0")

    (link,) = index.page("foo")
    assert index.follow("foo", link).content == wheel.read_bytes()
    assert index.get("/foo/json").json()["info"]["name"] == "foo"
    assert index.request("DELETE", f"/foo/{WHEEL}").ok
    reference = IndexClient(f"{shared_app}/{address(registry_url)}/team", None, http)
    assert reference.filenames("foo") == []


@pytest.mark.parametrize("written", ["percent-encoded", "plain", "merged-slashes"])
@pytest.mark.parametrize("sub_path", ["/acme-corp", "acme-corp/", "/a/b"])
def test_everything_but_health_moves_below_the_sub_path(
    app_server: AppServer,
    registry_url: str,
    http: requests.Session,
    wheel: Path,
    sub_path: str,
    written: str,
) -> None:
    root = app_server({"PYOCI_PATH": sub_path})
    app = f"{root}/{sub_path.strip('/')}"
    registry = WRITTEN[written](urlsplit(registry_url).netloc)
    index = IndexClient(f"{app}/{registry}/team", None, http)

    index.published(wheel, "foo", "1.0")

    (link,) = index.page("foo")
    assert index.follow("foo", link).content == wheel.read_bytes()
    assert http.get(f"{root}/health").status_code == 200
    assert http.get(f"{app}/").status_code == 200
    assert http.get(f"{root}/{registry}/team/foo/").status_code == 404


@pytest.mark.parametrize("sub_path", ["", "/", "//"])
def test_an_empty_sub_path_is_the_root(
    app_server: AppServer, registry_url: str, http: requests.Session, wheel: Path, sub_path: str
) -> None:
    app = app_server({"PYOCI_PATH": sub_path})
    index = IndexClient(f"{app}/{address(registry_url)}/team", None, http)

    index.published(wheel, "foo", "1.0")

    assert index.filenames("foo") == [WHEEL]


def test_a_namespace_may_have_many_segments(
    shared_app: str,
    registry: RunningRegistry,
    namespace: str,
    repository: Callable[[str], OCIClient],
    http: requests.Session,
    wheel: Path,
) -> None:
    base = f"{shared_app}/{registry.address}/{namespace}/team/sub-team/python"
    index = IndexClient(base, registry.auth, http)

    index.published(wheel, "foo", "1.0")

    (link,) = index.page("foo")
    assert index.follow("foo", link).content == wheel.read_bytes()
    assert repository("team/sub-team/python/foo").tags() == ["1.0"]


@pytest.mark.parametrize("prefix", ["", "/acme"])
def test_a_page_without_its_slash_redirects_relatively_and_uncached(
    app_server: AppServer,
    registry_url: str,
    http: requests.Session,
    wheel: Path,
    prefix: str,
) -> None:
    app = app_server({"PYOCI_PATH": prefix}) + prefix
    index = IndexClient(f"{app}/{address(registry_url)}/team", None, http)
    index.published(wheel, "foo", "1.0")

    response = index.get("/foo")

    assert response.status_code in {301, 302, 303, 307, 308}
    assert response.headers["Cache-Control"] == "no-store"
    location = response.headers["Location"]
    assert urlsplit(location).netloc == ""
    assert not location.startswith("/")
    followed = http.get(urljoin(response.url, location))
    assert [link.text for link in links(followed.text)] == [WHEEL]


def test_a_query_survives_the_redirect_to_the_slash(
    shared_app: str, registry_url: str, http: requests.Session, wheel: Path
) -> None:
    index = IndexClient(f"{shared_app}/{address(registry_url)}/team", None, http)
    index.published(wheel, "foo", "1.0")

    location = index.get("/foo?format=application/vnd.pypi.simple.v1%2Bhtml").headers["Location"]

    assert urlsplit(location).query.startswith("format=")


@pytest.mark.parametrize("path", ["", "/", "/foo", "/foo/"])
def test_a_post_never_redirects(shared_app: str, http: requests.Session, path: str) -> None:
    for base in (f"{shared_app}/simple", f"{shared_app}/embedded/team", shared_app):
        response = http.post(f"{base}{path}", data=b"", allow_redirects=False)
        assert not 300 <= response.status_code < 400, base


def test_the_pinned_index_serves_the_registry_that_was_set(
    app_server: AppServer,
    registry: RunningRegistry,
    namespace: str,
    repository: Callable[[str], OCIClient],
    http: requests.Session,
    wheel: Path,
) -> None:
    where = "embedded" if registry.address == "embedded" else registry.url
    environ = {"PYOCI_INDEX": f"{where}/{namespace}/python"}
    if registry.address == "embedded":
        environ["PYOCI_STORAGE"] = str(registry.storage)
    simple = IndexClient(f"{app_server(environ)}/simple", registry.auth, http)

    simple.published(wheel, "foo", "1.0")

    (link,) = simple.page("foo")
    assert simple.follow("foo", link).content == wheel.read_bytes()
    assert repository("python/foo").tags() == ["1.0"]
    assert simple.request("DELETE", f"/foo/{WHEEL}").ok
    assert simple.filenames("foo") == []


def test_storage_alone_pins_a_namespace_of_the_embedded_registry(
    app_server: AppServer, http: requests.Session, wheel: Path, tmp_path: Path
) -> None:
    app = app_server({"PYOCI_STORAGE": str(tmp_path / "storage")})

    IndexClient(f"{app}/simple", None, http).published(wheel, "foo", "1.0")

    assert IndexClient(f"{app}/embedded/python", None, http).filenames("foo") == [WHEEL]
    tags = http.get(f"{app}/v2/python/foo/tags/list").json()
    assert tags == {"name": "python/foo", "tags": ["1.0"]}


def test_the_embedded_registry_stays_at_the_root_of_a_sub_path(
    app_server: AppServer, http: requests.Session, wheel: Path, tmp_path: Path
) -> None:
    root = app_server({"PYOCI_STORAGE": str(tmp_path / "storage"), "PYOCI_PATH": "/acme"})

    IndexClient(f"{root}/acme/simple", None, http).published(wheel, "foo", "1.0")

    assert http.get(f"{root}/v2/python/foo/tags/list").json()["tags"] == ["1.0"]


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_without_an_index_simple_is_missing_and_names_both_settings(
    app_server: AppServer, http: requests.Session, method: str
) -> None:
    path = {"GET": "/x/", "POST": "/", "DELETE": "/x/x-1.0.tar.gz"}[method]

    response = http.request(method, f"{app_server()}/simple{path}")

    assert response.status_code == 404
    assert "PYOCI_INDEX" in response.text
    assert "PYOCI_STORAGE" in response.text


def test_without_storage_the_embedded_registry_is_missing(
    app_server: AppServer, http: requests.Session
) -> None:
    app = app_server()

    assert http.get(f"{app}/embedded/team/foo/").status_code == 404
    assert http.get(f"{app}/v2/").status_code == 404


def test_a_registry_url_with_a_path_is_refused_with_a_text(
    shared_app: str, registry_url: str, calls: Recorder, http: requests.Session
) -> None:
    response = http.get(f"{shared_app}/{address(registry_url + '/some/path')}/team/foo/")

    assert response.status_code == 400
    assert "host and port" in response.text
    assert calls.calls == []


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/team/foo/", {"GET", "HEAD", "OPTIONS", "POST"}),
        ("/team/foo/1.0", {"GET", "HEAD", "OPTIONS", "POST", "DELETE", "PATCH"}),
        (f"/team/foo/{WHEEL}", {"GET", "HEAD", "OPTIONS", "POST", "DELETE", "PATCH"}),
        (f"/team/foo/{WHEEL}.metadata", {"GET", "HEAD", "OPTIONS", "POST"}),
    ],
)
def test_options_are_the_methods_of_the_address(
    shared_app: str,
    registry_url: str,
    calls: Recorder,
    http: requests.Session,
    path: str,
    allowed: set[str],
) -> None:
    response = http.options(f"{shared_app}/{address(registry_url)}{path}")

    assert response.status_code == 200
    assert set(response.headers["Allow"].split(", ")) == allowed
    assert calls.calls == []


@pytest.mark.parametrize("path", ["/wp-login.php", "/.git/config", "/nothing/here"])
def test_options_of_what_is_not_there_are_not_found(
    shared_app: str, http: requests.Session, path: str
) -> None:
    assert http.options(f"{shared_app}{path}").status_code == 404


def test_deleting_something_other_than_a_file_is_refused_with_the_reason(
    shared_app: str, http: requests.Session
) -> None:
    response = http.delete(f"{shared_app}/simple/")
    assert response.status_code == 405
    assert set(response.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS", "POST"}

    response = http.delete(f"{shared_app}/simple/foo/{WHEEL}.metadata")
    assert response.status_code == 400
    assert "is neither a file nor a version" in response.text


def test_a_method_that_no_index_has_is_not_allowed(
    shared_app: str, registry_url: str, calls: Recorder, http: requests.Session
) -> None:
    response = http.put(f"{shared_app}/{address(registry_url)}/team/foo/{WHEEL}", data=b"x")

    assert response.status_code == 405
    assert calls.calls == []
